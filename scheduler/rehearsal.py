"""What a run would do, computed and composed for real, sent to nobody and recorded nowhere (``run-due --dry-run``)."""

from __future__ import annotations

from typing import Any

from channels.recording import RecordingChannel
from scheduler.contract import instant
from scheduler.delivery import Runner
from scheduler.store import claiming, opening
from scheduler.store.claiming import Claimed
from scheduler.store.opening import NewDelivery

EVERYTHING = 1_000_000


async def rehearse(runner: Runner, *, limit: int | None = None) -> dict[str, Any]:
    """The answer of ``run-due --json``, with each delivery's subject; nothing is changed, nobody hears of it."""
    opened, claimed = await _imagined(runner, limit=limit or EVERYTHING)
    rehearsed = [await _rehearsed(runner, each) for each in claimed]
    return {
        "dry_run": True,
        "opened": len(opened),
        "completed": 0,
        "failed": 0,
        "skipped": sum(each.skipped_because is not None for each in opened),
        "retrying": 0,
        "deliveries": rehearsed,
    }


async def _imagined(runner: Runner, *, limit: int) -> tuple[list[NewDelivery], list[Claimed]]:
    """Open and claim in a transaction that is rolled back."""
    work, now, due_by = runner.work, runner.work.clock(), runner.work.due_clock()
    async with work.database.rehearsal() as tx:
        due = await opening.due(tx, now=due_by, limit=limit)
        plans = [await runner.read_plan(row, now=due_by) for row in due]
        opened = await opening.open_occurrences(
            tx,
            [planned for planned in plans if not isinstance(planned, Exception)],
            installation=work.installation,
            run_id=work.run_id,
            now=now,
        )
        claimed = await claiming.claim(
            tx,
            now=now,
            limit=limit,
            lease_for=work.lease,
            run_id=work.run_id,
            busy=[],
            room_at=lambda _kind, _destination: limit,
            pace=None,
            recipients=EVERYTHING,
        )
    return opened, [each for each in claimed if each.recipients]


async def _rehearsed(runner: Runner, claimed: Claimed) -> dict[str, Any]:
    channel = RecordingChannel(kind=claimed.target.kind)
    message = await runner.work.outlet.compose(claimed, await runner.show(claimed, drawn=False))
    await channel.send(message, [each.address for each in claimed.recipients])
    return {
        "id": str(claimed.id),
        "subscription": claimed.subscription_id,
        "status": "starting",
        "scheduled_at": instant(claimed.scheduled_at),
        "target_type": claimed.target.kind,
        "subject": message.subject,
        "recipient_results": [{"recipient": recipient, "status": "pending"} for _, recipient in channel.sent],
    }
