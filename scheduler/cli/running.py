"""``paperround init | serve | run-due | preview``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scheduler import logs, systemd
from scheduler.app import App, initialise, opened
from scheduler.catchup import rounded
from scheduler.cli.options import RECURRENCE, AsJson, ProjectId, taking, with_instants
from scheduler.cli.output import local, print_json, print_line, print_table
from scheduler.clock import Clock, shifted_clock, system_clock
from scheduler.contract import delivery_json, instant
from scheduler.delivery import Runner
from scheduler.errors import InvalidField
from scheduler.oneshot import PATIENCE
from scheduler.oneshot import run_due as run_due_once
from scheduler.recurrence import Recurrence
from scheduler.rehearsal import rehearse
from scheduler.settings import load_settings
from scheduler.spread import offset
from scheduler.store import claiming
from scheduler.store import deliveries as ledger
from scheduler.store import subscriptions as store
from scheduler.zones import parse_instant


def init(
    project: Annotated[str, typer.Option(metavar="NAME", help="What to call the first project.")] = "Default project",
    email: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Its owner's address.", show_default="PAPERROUND_EMAIL_FROM's")
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Deliver from this copy: the database it was copied from is out of use.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the database and its secret key, or bring an older schema up to date; nothing happens when all is there."""
    made = asyncio.run(initialise(load_settings(), project=project, owner_email=email, adopt=adopt))
    if as_json:
        print_json(made)
        return
    did = "Made" if made["created"] else "Migrated" if made["migrated"] else "Nothing to do:"
    print_line(f"{did} {made['database']}, project {made['project']['id']}, {made['project']['name']}.")
    if made["key_file"]:
        print_line(f"Its secret key is in {made['key_file']}: keep a copy with your backups, apart from the database.")


def serve(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8420,
    workers: Annotated[int, typer.Option(metavar="N", min=0, max=64, help="So many further sending processes.")] = 0,
    sending_only: Annotated[bool, typer.Option("--sending-only", hidden=True)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Log as JSON lines, on a terminal, too.")] = False,
) -> None:
    """Run the service: deliver what falls due, when it falls due; answer unsubscribe links and health checks."""
    from scheduler.serving import send_until_stopped, serve_until_stopped  # noqa: PLC0415 - a web framework, for this

    logs.configure(level="info", as_json=as_json)

    async def run() -> None:
        async with opened(load_settings()) as app:
            await app.ready_to_deliver()
            if sending_only:
                await send_until_stopped(app)
            else:
                await serve_until_stopped(
                    app,
                    host=host,
                    port=port,
                    workers=workers,
                    notify=lambda state: systemd.notify(state, socket_path=os.environ.get("NOTIFY_SOCKET")),
                    watchdog=systemd.watchdog_interval(os.environ),
                )

    asyncio.run(run())


def run_due(
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Open at most so many due subscriptions.")
    ] = None,
    at: Annotated[str | None, typer.Option(metavar="INSTANT", help="As if it were then.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compute and show it all; send and record nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for every retry, not only for those within 60 s.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send what is due, once, and come back. Safe beside a running service. Exit 1 when some delivery failed."""
    settings = load_settings()
    clock = _clock_at(at, settings.timezone)

    async def run() -> int:
        async with opened(settings) as app:
            if dry_run:
                return await _rehearse(app, clock or app.clock, limit=limit, as_json=as_json)
            await app.ready_to_deliver()
            runner = app.runner(due_clock=clock)
            with _progress(runner, shown=not as_json):
                await run_due_once(runner, limit=limit, patience=None if wait else PATIENCE)
            return await _report(app, runner, as_json=as_json)

    raise typer.Exit(asyncio.run(run()))


def _clock_at(at: str | None, timezone: str) -> Clock | None:
    return None if at is None else shifted_clock(parse_instant(at, field="at", timezone=timezone))


async def _report(app: App, runner: Runner, *, as_json: bool) -> int:
    async with app.database.read() as connection:
        counted = await claiming.count_by_status(connection, runner.work.run_id)
        counts = {
            "opened": runner.opened,
            "completed": counted.get("completed", 0),
            "failed": counted.get("failed", 0),
            "skipped": counted.get("skipped", 0),
            "retrying": counted.get("starting", 0),
        }
        if as_json:
            await _print_run_json(counts, ledger.of_run(connection, runner.work.run_id))
        else:
            print_line(", ".join(f"{count} {word}" for word, count in counts.items()))
            async for each in _troubled(ledger.of_run(connection, runner.work.run_id)):
                print_line(each)
    return 1 if counts["failed"] else 0


async def _print_run_json(counts: dict[str, int], deliveries: AsyncIterator[ledger.Delivery]) -> None:
    """Written as it is read: a run of a hundred thousand deliveries is not held in memory."""
    head = json.dumps(counts, indent=2).removesuffix("\n}")
    sys.stdout.write(f'{head},\n  "deliveries": [')
    separator = "\n    "
    async for each in deliveries:
        row = delivery_json(each)
        kept = {name: row[name] for name in ("id", "subscription", "status", "scheduled_at", "recipient_results")}
        sys.stdout.write(separator + json.dumps(kept, ensure_ascii=False))
        separator = ",\n    "
    sys.stdout.write("\n  ]\n}\n")


async def _troubled(deliveries: AsyncIterator[ledger.Delivery]) -> AsyncIterator[str]:
    async for each in deliveries:
        for recipient in each.recipients:
            if recipient.error is not None:
                again = f", next attempt {local(recipient.next_attempt_at, 'UTC')}" if recipient.next_attempt_at else ""
                reason = recipient.error["message"].rstrip(".")
                yield f"{recipient.status} {each.target_type} {recipient.address}: {reason}{again}"
        if each.error is not None and not each.recipients:
            when = instant(each.scheduled_at)
            yield f"{each.status} subscription {each.subscription_id}, {when}: {each.error['message']}"


@contextmanager
def _progress(runner: Runner, *, shown: bool) -> Iterator[None]:
    """A bar for people on a terminal, on standard error, while a run takes its time."""
    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield
        return
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("sending", total=None)
        runner.on_recorded = lambda: bar.update(
            task,
            completed=runner.recorded.total(),
            total=max(runner.opened, runner.recorded.total() + runner.in_flight),
        )
        yield


async def _rehearse(app: App, clock: Clock, *, limit: int | None, as_json: bool) -> int:
    rehearsed = await rehearse(app.runner(due_clock=clock, rehearses=True), limit=limit)
    if as_json:
        print_json(rehearsed)
        return 0
    print_table(
        ("subscription", "occurrence", "to", "recipients", "subject"),
        [
            (
                each["subscription"],
                each["scheduled_at"],
                each["target_type"],
                ", ".join(result["recipient"] for result in each["recipient_results"]),
                each["subject"],
            )
            for each in rehearsed["deliveries"]
        ],
        empty="Nothing is due.",
    )
    return 0


@taking(RECURRENCE)
def preview(
    subscription: Annotated[int | None, typer.Argument(metavar="[SUBSCRIPTION]", help="An existing one, or …")] = None,
    *,
    fields: dict[str, Any],
    after: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="Occurrences after this.", show_default="now")
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many.")] = 10,
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """Show the next occurrences, of a subscription or (without any database) of a recurrence given by options."""
    if subscription is None:
        recurrence, starts_after = _recurrence(fields), None
    elif fields:
        raise InvalidField("subscription", "give a subscription or recurrence options, not both")
    else:
        recurrence, starts_after = asyncio.run(_stored_recurrence(subscription, project))
    zone = recurrence.timezone
    since = system_clock() if after is None else parse_instant(after, field="after", timezone=zone)
    occurrences = list(islice(recurrence.occurrences(since), number))
    if as_json:
        print_json(
            {
                "summary": recurrence.describe(),
                "occurrences": [
                    {"at": instant(each.at), "local": each.local.isoformat(), "dst_adjusted": each.dst_adjusted}
                    for each in occurrences
                ],
                **({} if starts_after is None else {"starts_after_seconds": starts_after.total_seconds()}),
            }
        )
        return
    print_line(recurrence.describe())
    if starts_after is not None:
        print_line(f"Spread: each delivery starts {rounded(starts_after)} after its occurrence.")
    if not occurrences:
        print_line("It has ended: there is no further occurrence.")
        return
    print_table(
        ("local", "UTC", "note"),
        [
            (local(each.at, zone), local(each.at, "UTC"), "the clocks change" if each.dst_adjusted else "")
            for each in occurrences
        ],
        empty="It has ended: there is no further occurrence.",
    )


def _recurrence(fields: dict[str, Any]) -> Recurrence:
    if "frequency" not in fields:
        raise InvalidField("frequency", "give a subscription's id, or --frequency and its companions", code="required")
    settings = load_settings()
    complete = {"start_date": system_clock(), "timezone": settings.timezone}
    return Recurrence.parse(**complete | with_instants(fields, timezone=settings.timezone))


async def _stored_recurrence(subscription_id: int, project_id: int | None) -> tuple[Recurrence, timedelta | None]:
    """And how long after each occurrence its delivery starts, where it is spread."""
    async with opened(load_settings()) as app:
        project = await app.project(project_id)
        async with app.database.read() as connection:
            found = await store.find(connection, project.id, subscription_id)
        spread = timedelta(minutes=found.spread_minutes)
        return found.recurrence, offset(app.installation, found.id, spread) if spread else None
