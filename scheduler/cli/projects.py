"""``paperround projects list | show | edit``: what a project decides about failures."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scheduler.app import App
from scheduler.cli.catalog import in_project
from scheduler.cli.options import AsJson, ProjectId
from scheduler.cli.output import print_fields, print_json, print_table
from scheduler.contract import project_json
from scheduler.errors import InvalidField
from scheduler.policy import parse_pauses
from scheduler.store import people
from scheduler.store.people import Project

app = typer.Typer(help="Projects, and what they decide about failures.", no_args_is_help=True)


@app.command("list")
def list_projects(as_json: AsJson = False) -> None:
    """Every project."""

    async def read(app: App, _: Project) -> list[Project]:
        async with app.database.read() as connection:
            return await people.listed_projects(connection)

    found = [project_json(each) for each in in_project(None, read)]
    if as_json:
        print_json({"results": found})
        return
    rows = [(each["id"], each["name"], each["timezone"]) for each in found]
    print_table(("id", "name", "time zone"), rows, empty="No project yet; run `paperround init`.")


@app.command("show")
def show_project(project: ProjectId = None, as_json: AsJson = False) -> None:
    """One project: its retry schedules, and when it gives a subscription up."""

    async def read(_: App, project: Project) -> Project:
        return project

    _print(in_project(project, read), as_json=as_json)


@app.command("edit")
def edit_project(
    retries: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL=PAUSES", help="Pauses between attempts, such as webhook=5s,5m,2h; again for each."
        ),
    ] = None,
    retry_past_next: Annotated[
        bool | None,
        typer.Option(
            "--retry-past-next/--no-retry-past-next", help="Try a delivery again even when the next one has come."
        ),
    ] = None,
    disable_after: Annotated[
        int | None,
        typer.Option(metavar="N", help="Switch a subscription off after so many failed deliveries in a row."),
    ] = None,
    disable_after_hours: Annotated[
        int | None, typer.Option(metavar="HOURS", help="… or after so many hours of nothing but failure.")
    ] = None,
    defaults: Annotated[bool, typer.Option("--defaults", help="Back to the defaults first.")] = False,
    project: ProjectId = None,
    as_json: AsJson = False,
) -> None:
    """Change what a project decides about failures; what is not named stays."""
    given: dict[str, Any] = {
        "past_next": retry_past_next,
        "disable_after": disable_after,
        "disable_after_hours": disable_after_hours,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    schedules = dict(_schedule(each) for each in retries or ())
    if not changes and not schedules and not defaults:
        raise InvalidField(None, "nothing to change; name an option (see --help)")

    async def change(app: App, project: Project) -> Project:
        return await app.projects.edit(project, policy={**changes, "retries": schedules}, from_defaults=defaults)

    _print(in_project(project, change), as_json=as_json)


def _schedule(text: str) -> tuple[str, list[float]]:
    kind, equals, pauses = text.partition("=")
    if not equals:
        raise InvalidField("retries", f"{text[:40]!r}: write CHANNEL=PAUSES, such as email=5m,1h")
    return kind.strip(), parse_pauses(pauses)


def _print(project: Project, *, as_json: bool) -> None:
    row = project_json(project)
    if as_json:
        print_json(row)
        return
    policy = row.pop("policy")
    retries = {f"retries {kind}": ", ".join(map(str, pauses)) + " s" for kind, pauses in policy.pop("retries").items()}
    print_fields({**row, **retries, **policy})
