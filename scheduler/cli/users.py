"""``paperround users add | list``: who subscribes, and who may do what through the API."""

from __future__ import annotations

from typing import Annotated

import typer

from scheduler.app import App
from scheduler.cli.catalog import in_project
from scheduler.cli.options import AsJson
from scheduler.cli.output import print_json, print_line, print_table
from scheduler.contract import user_json
from scheduler.store import people
from scheduler.store.people import Project, Role, User

app = typer.Typer(help="People, and what they may do through the API.", no_args_is_help=True)


@app.command("add")
def add_user(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    first_name: Annotated[str, typer.Option(metavar="TEXT", help="What recipients read instead of the address.")] = "",
    last_name: Annotated[str, typer.Option(metavar="TEXT")] = "",
    role: Annotated[
        str,
        typer.Option(metavar="ROLE", help="admin (everything), member (no administration) or viewer (reads only)."),
    ] = Role.MEMBER,
    as_json: AsJson = False,
) -> None:
    """Add a person."""

    async def add(app: App, project: Project) -> User:
        async with app.database.write() as tx:
            return await people.add_user(
                tx,
                project.organisation_id,
                email,
                first_name=first_name,
                last_name=last_name,
                role=role,
                now=app.clock(),
            )

    user = in_project(None, add)
    if as_json:
        print_json(user_json(user))
    else:
        print_line(
            f"User {user.id}, {user.email}, {user.role}. "
            f"Their key for the API: paperround keys create --user {user.email} --scope …"
        )


@app.command("list")
def list_users(as_json: AsJson = False) -> None:
    """Everybody, the first one first."""

    async def read(app: App, project: Project) -> list[User]:
        async with app.database.read() as connection:
            return await people.listed_users(connection, project.organisation_id)

    found = in_project(None, read)
    if as_json:
        print_json({"results": [user_json(each) for each in found]})
        return
    rows = [(each.id, each.email, f"{each.first_name} {each.last_name}".strip(), each.role) for each in found]
    print_table(("id", "email", "name", "role"), rows, empty="Nobody yet; run `paperround init`.")
