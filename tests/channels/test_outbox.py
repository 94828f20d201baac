"""E-mail as files."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from channels.base import Message, Sent, TransientFailure
from channels.email import OutboxEmailChannel

SENDER = "paper@paperround.example"


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_mail_is_a_file_named_by_time_and_identity(tmp_path: Path, message: Message) -> None:
    channel = OutboxEmailChannel(folder=tmp_path / "new" / "outbox", sender=SENDER)

    [result] = await channel.send(message, ["ann@example.com"])

    name = f"20270314T073000.000000Z-{message.identity('ann@example.com')}.eml"
    assert result.outcome == Sent(provider_id=name)
    mail = email.message_from_bytes((tmp_path / "new" / "outbox" / name).read_bytes(), policy=email.policy.default)
    assert mail["to"] == "ann@example.com"


async def test_names_sort_by_time(tmp_path: Path, message: Message) -> None:
    channel = OutboxEmailChannel(folder=tmp_path, sender=SENDER)
    later = replace(message, id="later", subject="later", sent_at=message.sent_at + timedelta(seconds=1))

    await channel.send(later, ["ann@example.com"])
    await channel.send(message, ["ann@example.com"])

    first, second = sorted(files_in(tmp_path))
    assert b"Subject: later" not in first.read_bytes()
    assert b"Subject: later" in second.read_bytes()


async def test_another_attempt_replaces_the_file(tmp_path: Path, message: Message) -> None:
    channel = OutboxEmailChannel(folder=tmp_path, sender=SENDER)

    await channel.send(message, ["ann@example.com", "ben@example.com"])
    await channel.send(replace(message, sent_at=message.sent_at + timedelta(minutes=5)), ["ann@example.com"])

    assert len(files_in(tmp_path)) == 2


async def test_a_folder_that_cannot_be_written_is_a_matter_for_the_operator(tmp_path: Path, message: Message) -> None:
    occupied = tmp_path / "outbox"
    occupied.touch()
    channel = OutboxEmailChannel(folder=occupied, sender=SENDER)

    [result] = await channel.send(message, ["ann@example.com"])

    assert result.outcome == TransientFailure("The outbox folder cannot be written: File exists.")
