"""``paperround subscriptions list | show | add | edit | pause | resume | remove | test``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scheduler.app import App
from scheduler.cli.catalog import in_project
from scheduler.cli.options import SUBSCRIPTION, AsJson, ProjectId, taking, with_instants
from scheduler.cli.output import in_short, local, print_fields, print_json, print_line, print_table
from scheduler.contract import subscription_json
from scheduler.errors import InvalidField
from scheduler.recurrence import Recurrence, sentence_of, zone
from scheduler.store import catalog
from scheduler.store import subscriptions as store
from scheduler.store.catalog import Dashboard
from scheduler.store.people import Project
from scheduler.store.subscriptions import Subscription

app = typer.Typer(help="Who gets what, where and when.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(metavar="SUBSCRIPTION", help="Its id.")]
CLEARABLE = ("byweekday", "bysetpos", "count", "until_date", "title", "integration_id")


@app.command("list")
def list_subscriptions(project: ProjectId = None, as_json: AsJson = False) -> None:
    """The live subscriptions, newest first."""

    async def read(app: App, project: Project) -> list[tuple[Subscription, str]]:
        async with app.database.read() as connection:
            found = await store.listed(connection, project.id)
        return [(each, app.subscriptions.target_value(each.target)) for each in found]

    found = in_project(project, read)
    if as_json:
        print_json({"results": [subscription_json(each, target_value=target) for each, target in found]})
        return
    print_table(
        ("id", "title", "to", "when", "next", "state"),
        [_table_row(each) for each, _ in found],
        empty="No subscriptions yet; make one with `paperround subscriptions add`.",
    )


def _table_row(each: Subscription) -> tuple[object, ...]:
    to = in_short(each.target.kind, each.target.value)
    when = sentence_of(each.recurrence)
    return (each.id, each.title or each.resource_name, to, when, _next(each), _state(each))


def _next(each: Subscription) -> str:
    return local(each.next_delivery_date, each.recurrence.timezone)


def _state(each: Subscription) -> str:
    if each.deleted:
        return "removed"
    if not each.enabled:
        return "disabled" if each.last_error else "paused"
    return "ended" if each.next_delivery_date is None else "on"


@app.command("show")
def show_subscription(subscription: Id, project: ProjectId = None, as_json: AsJson = False) -> None:
    """One subscription with all its fields."""

    async def read(app: App, project: Project) -> dict[str, Any]:
        async with app.database.read() as connection:
            found = await store.find(connection, project.id, subscription)
        shown = app.subscriptions.target_value(found.target) if as_json else found.target.value
        return subscription_json(found, target_value=shown)

    (print_json if as_json else print_fields)(in_project(project, read))


@app.command("add")
@taking(SUBSCRIPTION)
def add_subscription(
    *,
    fields: dict[str, Any],
    paused: Annotated[bool, typer.Option("--paused", help="Add it without sending anything yet.")] = False,
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """Subscribe: what is shown, to whom, how often. The recipients are told with the next run."""

    async def add(app: App, project: Project) -> tuple[Subscription, str]:
        complete = await _with_all_tiles(app, project, with_instants(fields, timezone=project.timezone))
        complete |= {"enabled": not paused}
        made = await app.subscriptions.create(project, await app.owner(project), complete)
        return made, app.subscriptions.target_value(made.target)

    _print_changed(*in_project(project, add), as_json=as_json)


async def _with_all_tiles(app: App, project: Project, fields: dict[str, Any]) -> dict[str, Any]:
    """A dashboard is shown whole unless some of its insights were named."""
    if "dashboard" not in fields or "insight" in fields or "dashboard_export_insights" in fields:
        return fields
    async with app.database.read() as connection:
        dashboard = await catalog.find(connection, Dashboard, project.id, fields["dashboard"])
    return fields | {"dashboard_export_insights": list(dashboard.tiles)}


@app.command("edit")
@taking(SUBSCRIPTION)
def edit_subscription(
    subscription: Id,
    *,
    fields: dict[str, Any],
    clear: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Take a field's value away, such as until-date; repeat it."),
    ] = None,
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given, leave the rest. A changed target or content is announced with the next run."""
    fields |= _cleared(clear or [])

    async def edit(app: App, project: Project) -> tuple[Subscription, str]:
        async with app.database.read() as connection:
            before = await store.find(connection, project.id, subscription)
        on_the_same_clock = _same_wall_clock(fields, before.recurrence)
        timezone = before.recurrence.timezone
        complete = await _with_all_tiles(app, project, with_instants(on_the_same_clock, timezone=timezone))
        changed = await app.subscriptions.edit(project, subscription, complete)
        return changed, app.subscriptions.target_value(changed.target)

    _print_changed(*in_project(project, edit), as_json=as_json)


def _same_wall_clock(fields: dict[str, Any], before: Recurrence) -> dict[str, Any]:
    """Moved to another zone, nine o'clock stays nine o'clock, unless a new start says otherwise."""
    if "timezone" not in fields or "start_date" in fields:
        return fields
    wall = before.start_at.astimezone(zone(before.timezone)).replace(tzinfo=None)
    return {**fields, "start_date": wall.isoformat()}


def _cleared(names: list[str]) -> dict[str, None]:
    fields = [name.replace("-", "_") for name in names]
    if wrong := [field for field in fields if field not in CLEARABLE]:
        raise InvalidField("clear", f"{wrong[0]!r} cannot be cleared; these can: {', '.join(CLEARABLE)}")
    return dict.fromkeys(fields)


def _print_changed(subscription: Subscription, target_value: str, *, as_json: bool) -> None:
    if as_json:
        print_json(subscription_json(subscription, target_value=target_value))
        return
    print_line(f"Subscription {subscription.id}: {subscription.title or subscription.resource_name}")
    print_line(f"  {sentence_of(subscription.recurrence)}, to {subscription.target.kind} {subscription.target.value}")
    state = _state(subscription)
    print_line(f"  next: {_next(subscription)}" if state == "on" else f"  {state}")


def _moved(verb: str, subscription: int, project: int | None, *, as_json: bool) -> None:
    async def move(app: App, project: Project) -> tuple[Subscription, str]:
        changed = await getattr(app.subscriptions, verb)(project, subscription)
        return changed, app.subscriptions.target_value(changed.target)

    _print_changed(*in_project(project, move), as_json=as_json)


@app.command("pause")
def pause_subscription(subscription: Id, project: ProjectId = None, as_json: AsJson = False) -> None:
    """Send nothing until it is resumed."""
    _moved("pause", subscription, project, as_json=as_json)


@app.command("resume")
def resume_subscription(subscription: Id, project: ProjectId = None, as_json: AsJson = False) -> None:
    """Go on from the next occurrence, and tell the recipients so; what was missed stays missed."""
    _moved("resume", subscription, project, as_json=as_json)


@app.command("remove")
def remove_subscription(subscription: Id, project: ProjectId = None, as_json: AsJson = False) -> None:
    """End it; its deliveries stay in the ledger."""
    _moved("remove", subscription, project, as_json=as_json)


@app.command("test")
def send_test(subscription: Id, project: ProjectId = None, as_json: AsJson = False) -> None:
    """Send it once, now, to everyone; a running service picks it up, or the next `run-due`."""
    delivery_id = in_project(project, lambda app, project: app.subscriptions.test(project, subscription))
    if as_json:
        print_json({"delivery": str(delivery_id)})
    else:
        print_line(f"Delivery {delivery_id} is ready. Follow it: paperround deliveries show {delivery_id}")
