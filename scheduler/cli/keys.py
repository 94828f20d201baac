"""``paperround keys create | list | revoke``: personal keys for the API."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

from scheduler.app import App
from scheduler.cli.catalog import in_project
from scheduler.cli.options import AsJson
from scheduler.cli.output import print_json, print_line, print_table
from scheduler.contract import instant, key_json
from scheduler.keys import SCOPES
from scheduler.store import people
from scheduler.store.keys import ApiKey
from scheduler.store.people import Project
from scheduler.zones import parse_instant

app = typer.Typer(help="Personal keys for the API.", no_args_is_help=True)

COLUMNS = ("id", "name", "user", "key", "scopes", "projects", "last used (UTC)", "state")


@app.command("create")
def create_key(
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help=f"What it may do; repeat it. One of {', '.join(SCOPES)}."),
    ] = None,
    project: Annotated[
        list[int] | None,
        typer.Option(metavar="ID", help="Only in this project; repeat it.", show_default="all"),
    ] = None,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "API key",
    expires: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="Until when it is good.", show_default="until it is revoked")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="For whom it acts.", show_default="the first user")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once. It does what its scopes name, as far as its user's role allows."""

    async def create(app: App, first: Project) -> tuple[ApiKey, str]:
        async with app.database.read() as connection:
            organisation_id = first.organisation_id
            its_user = (
                await people.find_owner(connection, organisation_id)
                if user is None
                else await people.find_user(connection, organisation_id, user)
            )
        return await app.keys.create(
            its_user,
            name=name,
            scopes=scope or (),
            project_ids=project or None,
            expires_at=_instant(expires, timezone=first.timezone),
        )

    key, value = in_project(None, create)
    if as_json:
        print_json(key_json(key) | {"value": value})
        return
    print(value)  # alone on standard output: TOKEN=$(paperround keys create …)
    print(f"Key {key.id}, {key.name}, of {key.user.email}. Keep it: it is not shown again.", file=sys.stderr)


def _instant(expires: str | None, *, timezone: str) -> datetime | None:
    return None if expires is None else parse_instant(expires, field="expires_at", timezone=timezone)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Every key, newest first; of the key itself only its first and last characters."""

    async def read(app: App, project: Project) -> tuple[list[ApiKey], datetime]:
        return await app.keys.listed(project.organisation_id), app.clock()

    keys, now = in_project(None, read)
    if as_json:
        print_json({"results": [key_json(each) for each in keys]})
        return
    hint = "No key yet; make one with `paperround keys create --scope SCOPE`."
    print_table(COLUMNS, [_row(each, now=now) for each in keys], empty=hint)


def _row(key: ApiKey, *, now: datetime) -> tuple[object, ...]:
    used = None if key.last_used_at is None else instant(key.last_used_at.replace(microsecond=0))
    projects = "all" if key.project_ids is None else key.project_ids
    return (key.id, key.name, key.user.email, key.mask, key.scopes, projects, used, _state(key, now=now))


def _state(key: ApiKey, *, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "good" if key.is_valid(now=now) else "expired"


@app.command("revoke")
def revoke_key(
    key: Annotated[int, typer.Argument(metavar="ID", help="Its id, as `paperround keys list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """End a key, from this moment on."""
    revoked = in_project(None, lambda app, project: app.keys.revoke(project.organisation_id, key))
    if as_json:
        print_json(key_json(revoked))
    else:
        print_line(f"Key {revoked.id}, {revoked.name}, of {revoked.user.email}: revoked.")
