"""``paperround deliveries list | show | resend``: the ledger."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from scheduler.app import App
from scheduler.cli.catalog import in_project
from scheduler.cli.options import AsJson, ProjectId
from scheduler.cli.output import in_short, local, print_fields, print_json, print_line, print_table
from scheduler.contract import delivery_json
from scheduler.errors import InvalidField
from scheduler.status import DeliveryStatus, RecipientStatus
from scheduler.store import deliveries as store
from scheduler.store.deliveries import Delivery
from scheduler.store.people import Project

app = typer.Typer(help="What was sent, what was not, and why.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="DELIVERY", help="Its id.")]


@app.command("list")
def list_deliveries(
    subscription: Annotated[int | None, typer.Option(metavar="ID", help="Only of this subscription.")] = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only starting, completed, failed or skipped ones.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """The newest deliveries first."""
    if status is not None and status not in list(DeliveryStatus):
        raise InvalidField("status", f"must be one of {', '.join(DeliveryStatus)}", code="invalid_choice")

    async def read(app: App, project: Project) -> list[Delivery]:
        async with app.database.read() as connection:
            wanted = None if status is None else DeliveryStatus(status)
            return await store.newest(
                connection, project.id, subscription_id=subscription, status=wanted, shown=as_json, limit=limit
            )

    found = in_project(project, read)
    if as_json:
        print_json({"results": [delivery_json(each) for each in found]})
        return
    print_table(
        ("opened (UTC)", "of", "why", "to", "recipients", "status", "delivery"),
        [_table_row(each) for each in found],
        empty="No deliveries yet; `paperround run-due` sends what is due.",
    )


def _table_row(each: Delivery) -> tuple[object, ...]:
    sent = sum(recipient.status is RecipientStatus.SENT for recipient in each.recipients)
    to = in_short(each.target_type, each.target_value)
    recipients = f"{sent}/{len(each.recipients)} sent"
    opened = f"{each.created_at:%d %b %H:%M:%S}"
    return (opened, each.subscription_id, each.trigger, to, recipients, each.status, each.id)


@app.command("show")
def show_delivery(delivery: Id, project: ProjectId = None, as_json: AsJson = False) -> None:
    """One delivery, each recipient with every attempt, and what it showed."""

    async def read(app: App, project: Project) -> Delivery:
        async with app.database.read() as connection:
            return await store.find(connection, project.id, _uuid(delivery))

    found = in_project(project, read)
    if as_json:
        print_json(delivery_json(found))
        return
    row = delivery_json(found)
    shown = [insight["name"] for insight in row.pop("content_snapshot")["insights"]]
    for hidden in ("recipient_results", "exported_asset_ids", "attempts"):
        del row[hidden]
    print_fields(row | {"error": found.error and found.error["message"], "shown": shown})
    print_line("")
    print_table(
        ("recipient", "status", "attempts", "sent", "next attempt", "reason"),
        [
            (
                each.address,
                each.status,
                each.attempts,
                local(each.sent_at, "UTC"),
                local(each.next_attempt_at, "UTC"),
                each.error and each.error["message"],
            )
            for each in found.recipients
        ],
        empty="No recipients.",
    )
    history = [(each.address, tried) for each in found.recipients for tried in each.history]
    if len(history) > len(found.recipients):
        print_line("")
        print_table(
            ("recipient", "attempt", "ended", "outcome", "reason"),
            [(who, each.number, local(each.finished_at, "UTC"), each.outcome, each.reason) for who, each in history],
            empty="",
        )


@app.command("resend")
def resend_delivery(delivery: Id, project: ProjectId = None, as_json: AsJson = False) -> None:
    """Try the failed recipients of an ended delivery again; those that have it get nothing twice."""

    async def again(app: App, project: Project) -> tuple[Delivery, int]:
        async with app.database.write() as tx:
            found = await store.find(tx, project.id, _uuid(delivery))
            count = await store.send_again(tx, found, now=app.clock())
            return await store.find(tx, project.id, found.id), count

    found, count = in_project(project, again)
    if as_json:
        print_json(delivery_json(found))
    else:
        print_line(f"{count} failed recipient{'s' * (count > 1)} will be tried again with the next run.")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidField("delivery", f"{text[:80]!r} is not a delivery's id (a UUID)") from None
