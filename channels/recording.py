"""A channel that sends nothing and remembers everything: for ``run-due --dry-run`` and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from channels.base import Message, Outcome, RecipientResult, Sent, TargetError


class RecordingChannel:
    """``attempts`` is all it was given, ``sent`` what it accepted, both in order.

    ``outcomes`` scripts its answers by recipient: one outcome for always, or a sequence for one attempt after another
    (then accepted). Targets are taken as they come, in pieces between commas; of ``ID|#name`` the ID.
    """

    def __init__(
        self, *, kind: str = "email", outcomes: Mapping[str, Outcome | Sequence[Outcome]] | None = None
    ) -> None:
        self.kind = kind
        self.attempts: list[tuple[Message, str]] = []
        self.sent: list[tuple[Message, str]] = []
        self._always: dict[str, Outcome] = {}
        self._script: dict[str, list[Outcome]] = {}
        for recipient, scripted in (outcomes or {}).items():
            self.answer(recipient, scripted)

    def answer(self, recipient: str, scripted: Outcome | Sequence[Outcome]) -> None:
        """Script this recipient anew."""
        self._always.pop(recipient, None)
        self._script.pop(recipient, None)
        if isinstance(scripted, Sequence):
            self._script[recipient] = list(scripted)
        else:
            self._always[recipient] = scripted

    def recipients(self, target: str) -> list[str]:
        entries = [target] if self.kind == "webhook" else target.split(",")
        found = dict.fromkeys(entry.partition("|")[0].strip() for entry in entries)
        found.pop("", None)
        if not found:
            raise TargetError("Give a target.")
        return list(found)

    async def send(self, message: Message, recipients: Sequence[str]) -> list[RecipientResult]:
        return [self._record(message, recipient) for recipient in recipients]

    async def aclose(self) -> None:
        """Nothing is kept open."""

    def _record(self, message: Message, recipient: str) -> RecipientResult:
        self.attempts.append((message, recipient))
        outcome = self._next_outcome(recipient)
        if isinstance(outcome, Sent):
            self.sent.append((message, recipient))
        return RecipientResult(recipient, outcome)

    def _next_outcome(self, recipient: str) -> Outcome:
        if script := self._script.get(recipient):
            return script.pop(0)
        return self._always.get(recipient, Sent())
