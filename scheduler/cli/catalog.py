"""``paperround sources | insights | dashboards | integrations list | show | add | remove``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from scheduler.app import App, opened
from scheduler.cli.options import AsJson, ProjectId, read_secret, text_or_file
from scheduler.cli.output import print_fields, print_json, print_line, print_table
from scheduler.errors import InvalidField
from scheduler.settings import load_settings
from scheduler.store import catalog as store
from scheduler.store.catalog import AnyEntry, Dashboard, Entry, Insight, Integration, Source
from scheduler.store.people import Project

sources = typer.Typer(help="Databases that insights ask.", no_args_is_help=True)
insights = typer.Typer(help="Named queries, and how they are drawn.", no_args_is_help=True)
dashboards = typer.Typer(help="Ordered sets of insights.", no_args_is_help=True)
integrations = typer.Typer(help="Credentials of Slack workspaces and webhook receivers.", no_args_is_help=True)

NameOrId = Annotated[str, typer.Argument(metavar="NAME|ID")]
Name = Annotated[str, typer.Argument(metavar="NAME")]

COLUMNS: dict[type[Any], tuple[str, ...]] = {
    Source: ("id", "name", "kind"),
    Insight: ("id", "name", "display", "source", "description"),
    Dashboard: ("id", "name", "insights", "description"),
    Integration: ("id", "name", "kind"),
}


def in_project(project_id: int | None, action: Callable[[App, Project], Awaitable[Any]]) -> Any:
    """Run one asynchronous action with the application open, on the project that was asked for."""

    async def run() -> Any:
        async with opened(load_settings()) as app:
            return await action(app, await app.project(project_id))

    return asyncio.run(run())


def _list(kind: type[Entry], project_id: int | None, *, as_json: bool) -> None:
    async def read(app: App, project: Project) -> list[dict[str, Any]]:
        async with app.database.read() as connection:
            return [app.catalog.shown(each) for each in await store.listed(connection, kind, project.id)]

    rows = in_project(project_id, read)
    if as_json:
        print_json({"results": rows})
        return
    columns, word = COLUMNS[kind], kind.__name__.lower()
    hint = f"No {word}s yet; make one with `paperround {word}s add`."
    print_table(columns, [[row[column] for column in columns] for row in rows], empty=hint)


def _show(kind: type[Entry], name_or_id: str, project_id: int | None, *, as_json: bool) -> None:
    async def read(app: App, project: Project) -> dict[str, Any]:
        async with app.database.read() as connection:
            return app.catalog.shown(await store.find(connection, kind, project.id, name_or_id))

    row = in_project(project_id, read)
    if as_json:
        print_json(row)
        return
    print_fields({name: value for name, value in row.items() if name != "tiles"})  # its insights say as much


def _add(
    project_id: int | None, add: Callable[[App, Project], Awaitable[AnyEntry]], *, as_json: bool, said: str
) -> None:
    """Add one; ``said`` has the names of its fields in braces."""

    async def added(app: App, project: Project) -> dict[str, Any]:
        return app.catalog.shown(await add(app, project))

    row = in_project(project_id, added)
    if as_json:
        print_json(row)
    else:
        print_line(said.format(**row))


def _remove(kind: type[Entry], name_or_id: str, project_id: int | None, *, as_json: bool) -> None:
    async def forget(app: App, project: Project) -> dict[str, Any]:
        return app.catalog.shown(await app.catalog.remove(project, kind, name_or_id))

    row = in_project(project_id, forget)
    if as_json:
        print_json(row)
    else:
        print_line(f"Removed {kind.__name__.lower()} {row['id']}, {row['name']}.")


def _usual_commands(group: typer.Typer, kind: type[Entry], *, remove: str, show: str | None = None) -> None:
    """``list``, ``show`` and ``remove`` are alike for all of them; how one is added, and shown in full, is its own."""
    word = kind.__name__.lower()

    def list_entries(project: ProjectId = None, as_json: AsJson = False) -> None:
        _list(kind, project, as_json=as_json)

    def show_entry(entry: NameOrId, project: ProjectId = None, as_json: AsJson = False) -> None:
        _show(kind, entry, project, as_json=as_json)

    def remove_entry(entry: NameOrId, project: ProjectId = None, as_json: AsJson = False) -> None:
        _remove(kind, entry, project, as_json=as_json)

    group.command("list", help=f"The project's {word}s.")(list_entries)
    if show is not None:
        group.command("show", help=show)(show_entry)
    group.command("remove", help=remove)(remove_entry)


_usual_commands(
    sources, Source, show="One source; its URL stays hidden.", remove="Forget a source that no insight uses."
)
_usual_commands(
    insights,
    Insight,
    show="One insight with its query.",
    remove="Forget an insight that no dashboard and no subscription shows.",
)
_usual_commands(
    dashboards,
    Dashboard,
    show="One dashboard and its insights, in order.",
    remove="Forget a dashboard that no subscription shows; its insights stay.",
)
_usual_commands(integrations, Integration, remove="Forget credentials that no subscription uses.")


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@sources.command("add")
def add_source(
    name: Name,
    url: Annotated[
        str, typer.Option(metavar="URL", help="sqlite:///FILE, postgresql://…, or - (standard input), or env:NAME.")
    ],
    kind: Annotated[str, typer.Option(metavar="KIND", help="sql: any database SQLAlchemy knows.")] = "sql",
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Do not connect to it now.")] = False,
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """Add a database; it is only ever read from."""
    if kind != "sql":
        raise InvalidField("kind", "must be sql", code="invalid_choice")
    opened_url = read_secret(url, field="url") if url == "-" or url.startswith("env:") else url

    async def add(app: App, project: Project) -> Source:
        return await app.catalog.add_source(project, name, str(opened_url), check=not unchecked)

    _add(
        project,
        add,
        as_json=as_json,
        said="Source {id}, {name}. Ask it: paperround insights add NAME --source {id} --sql …",
    )


# ── insights ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@insights.command("add")
def add_insight(
    name: Name,
    source: Annotated[str, typer.Option(metavar="NAME|ID", help="The source it asks.")],
    sql: Annotated[str, typer.Option(metavar="TEXT|@FILE", help="One SELECT; @FILE reads it from a file.")],
    display: Annotated[str, typer.Option(metavar="HOW", help="number, line, bar, area, pie or table.")] = "table",
    description: Annotated[str, typer.Option(metavar="TEXT", help="A line below its name.")] = "",
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Do not run the query now.")] = False,
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """Add a query; it is run once to see that it works."""
    query = text_or_file(sql, field="sql")

    async def add(app: App, project: Project) -> Insight:
        return await app.catalog.add_insight(
            project, name, source=source, sql=query, display=display, description=description, check=not unchecked
        )

    _add(
        project,
        add,
        as_json=as_json,
        said="Insight {id}, {name}. Subscribe to it: paperround subscriptions add --insight {id} …",
    )


# ── dashboards ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dashboards.command("add")
def add_dashboard(
    name: Name,
    insight: Annotated[list[str], typer.Option(metavar="NAME|ID", help="An insight; repeat it, in the order shown.")],
    description: Annotated[str, typer.Option(metavar="TEXT", help="A line below its name.")] = "",
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """Add an ordered set of insights."""

    async def add(app: App, project: Project) -> Dashboard:
        return await app.catalog.add_dashboard(project, name, insights=insight, description=description)

    _add(
        project,
        add,
        as_json=as_json,
        said="Dashboard {id}, {name}. Subscribe to it: paperround subscriptions add --dashboard {id} …",
    )


# ── integrations ─────────────────────────────────────────────────────────────────────────────────────────────────────


@integrations.command("show")
def show_integration(
    integration: NameOrId,
    reveal: Annotated[bool, typer.Option("--reveal", help="Print a webhook's signing secrets, newest first.")] = False,
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """One integration; its secret stays hidden unless asked for."""
    if not reveal:
        _show(Integration, integration, project, as_json=as_json)
        return
    secrets = in_project(project, lambda app, project: app.catalog.signing_secrets(project, integration))
    if as_json:
        print_json({"secrets": secrets})
    else:
        print("\n".join(secrets))


@integrations.command("add")
def add_integration(
    kind: Annotated[str, typer.Argument(metavar="slack|webhook")],
    token: Annotated[str | None, typer.Option(metavar="-|env:NAME", help="Slack's bot token, xoxb-….")] = None,
    secret: Annotated[
        str | None, typer.Option(metavar="-|env:NAME", help="A webhook's signing secret, whsec_…; made if absent.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What to call it.", show_default="its kind")] = None,
    rotate: Annotated[
        str | None,
        typer.Option(metavar="NAME|ID", help="Put the new secret before this one's; both sign until the next time."),
    ] = None,
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """Keep a Slack token, or a secret that webhooks are signed with (Standard Webhooks)."""

    async def add(app: App, project: Project) -> Integration:
        if kind == "slack":
            return await app.catalog.add_slack(project, name or "slack", token=read_secret(token, field="token"))
        if kind == "webhook":
            given = read_secret(secret, field="secret")
            if rotate is not None:
                return (await app.catalog.rotate_secret(project, rotate, secret=given))[0]
            return await app.catalog.add_webhook_secret(project, name or "webhook", secret=given)
        raise InvalidField("kind", "must be slack or webhook", code="invalid_choice")

    use = {
        "slack": "Use it: --integration-id {id}",
        "webhook": "Its secret, for the receiver: paperround integrations show {id} --reveal",
    }
    _add(project, add, as_json=as_json, said=f"Integration {{id}}, {{name}}. {use.get(kind, '')}")
