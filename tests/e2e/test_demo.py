"""The first minute: ``paperround demo`` and ``paperround demo --serve``, in an empty folder, without any setting."""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND, Finished

pytestmark = pytest.mark.e2e

CHANNELS = {"email", "slack", "webhook"}


def environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PAPERROUND_")}


async def paperround(folder: Path, *arguments: str) -> Finished:
    async with started(folder, *arguments) as process:
        out, err = await process.communicate()
    return Finished(process.returncode or 0, out.decode(), err.decode())


@asynccontextmanager
async def started(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The real command, as a person starts it who has read one line of the README."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, cwd=folder, env=environ(), stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    for _ in range(int(seconds * 20)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to pass")


def mails(folder: Path) -> list[EmailMessage]:
    """What is in the outbox, oldest first."""
    files = sorted((folder / "outbox").glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
    return [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]


async def test_demo_shows_each_channel_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    shown = await paperround(tmp_path, "demo")

    assert (shown.code, shown.err) == (0, "")
    for heading in ("E-mail to ada@harbour-coffee.example", "Slack message in C0DEMO", "Webhook request to /"):
        assert shown.out.count(f"\n{heading}") == 1
    assert "signature verified" in shown.out
    assert "\x1b" not in shown.out
    assert list(tmp_path.iterdir()) == []


async def test_demo_as_json_is_what_each_receiver_got(tmp_path: Path) -> None:
    received = (await paperround(tmp_path, "demo", "--json")).json

    assert received.keys() == CHANNELS
    assert [mail["to"] for mail in received["email"]] == [
        ["ada@harbour-coffee.example"],
        ["grace@harbour-coffee.example"],
    ]
    assert all(mail["charts"] >= 1 for mail in received["email"])
    [message] = received["slack"]
    assert (message["channel"], len(message["replies"]) >= 1) == ("C0DEMO", True)
    [request] = received["webhook"]
    assert (request["signature_verified"], len(request["insights"])) == (True, 4)


async def test_demo_serve_delivers_at_once_says_where_to_look_and_starts_again(tmp_path: Path) -> None:
    first = await _served(tmp_path, signal.SIGTERM, mails_there=2)
    listed = await paperround(tmp_path, "deliveries", "list", "--json")
    after_first = Counter((each["target_type"], each["status"]) for each in listed.json["results"])
    second = await _served(tmp_path, signal.SIGINT, mails_there=4)
    again = await paperround(tmp_path, "deliveries", "list", "--json")
    next_ones = await paperround(tmp_path, "subscriptions", "list")

    for served in (first, second):
        assert served.code == 0, served.err
        assert f"outbox    {tmp_path / 'outbox'}" in served.out
        assert "paperround deliveries list" in served.out
        assert "Traceback" not in served.err
    assert after_first == {(channel, "completed"): 1 for channel in CHANNELS}
    assert Counter((each["target_type"], each["status"]) for each in again.json["results"]) == {
        (channel, "completed"): 2 for channel in CHANNELS
    }
    assert Counter(mail["To"] for mail in mails(tmp_path)) == {
        "ada@harbour-coffee.example": 2,
        "grace@harbour-coffee.example": 2,
    }
    assert "image/png" in [part.get_content_type() for part in mails(tmp_path)[0].walk()]
    assert len(next_ones.out.splitlines()) == 1 + len(CHANNELS)


async def _served(folder: Path, stop_by: signal.Signals, *, mails_there: int) -> Finished:
    """Start it, wait for so many mails and for the three records, stop it."""
    async with started(folder, "demo", "--serve", "--port", "0") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        log: list[bytes] = []
        while sum(b'"delivery.recorded"' in line for line in log) < len(CHANNELS):
            log.append(line := await process.stderr.readline())
            assert line, b"".join(log)
        await until(lambda: len(mails(folder)) == mails_there)
        process.send_signal(stop_by)
        out, err = await process.communicate()
    return Finished(process.returncode or 0, out.decode(), b"".join([*log, err]).decode())
