"""E-mail into a folder: one ``.eml`` file a recipient, for trying things out and for other programs to pick up."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC
from pathlib import Path

from channels.addresses import parse_addresses, parse_sender, wire_address
from channels.base import Message, Outcome, PermanentFailure, RecipientResult, Sent, TargetError, TransientFailure
from channels.mime import Mail, compose


class OutboxEmailChannel:
    """Files are named by time and identity (``20270314T073000.000000Z-IDENTITY.eml``), so they sort by time; another
    attempt at the same recipient replaces its file. The folder is created when it is missing."""

    kind = "email"

    def __init__(self, *, folder: Path, sender: str) -> None:
        self._folder = folder
        self._sender = parse_sender(sender)

    def recipients(self, target: str) -> list[str]:
        return parse_addresses(target)

    async def send(self, message: Message, recipients: Sequence[str]) -> list[RecipientResult]:
        return await asyncio.to_thread(self._write_all, message, recipients)

    async def aclose(self) -> None:
        """Nothing is kept open."""

    def _write_all(self, message: Message, recipients: Sequence[str]) -> list[RecipientResult]:
        mail = compose(message, self._sender)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            earlier = {path.stem[-36:]: path.name for path in self._folder.glob("*.eml")}
        except OSError as error:
            return [RecipientResult(recipient, _unwritable(error)) for recipient in recipients]
        return [RecipientResult(recipient, self._write(mail, recipient, earlier)) for recipient in recipients]

    def _write(self, mail: Mail, recipient: str, earlier: dict[str, str]) -> Outcome:
        identity = mail.message.identity(recipient)
        name = earlier.get(identity) or f"{mail.message.sent_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{identity}.eml"
        try:
            _replace(self._folder / name, mail.addressed_to(recipient, wire_address(recipient)))
        except TargetError as error:
            return PermanentFailure(str(error))
        except OSError as error:
            return _unwritable(error)
        return Sent(provider_id=name)


def _replace(path: Path, content: bytes) -> None:
    """The whole file or none of it, even when the machine dies: written aside, flushed to disk, then renamed."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except OSError:
        with suppress(OSError):
            Path(aside).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _unwritable(error: OSError) -> TransientFailure:
    return TransientFailure(f"The outbox folder cannot be written: {error.strerror}.")
