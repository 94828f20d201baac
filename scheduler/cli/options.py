"""Options that several commands take; their names are the API's field names with dashes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from scheduler.errors import InvalidField
from scheduler.zones import parse_instant

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, exactly as the API returns it.")]
ProjectId = Annotated[int | None, typer.Option("--project", metavar="ID", help="The project; the first one if absent.")]

RECURRENCE: dict[str, Any] = {
    "frequency": Annotated[str | None, typer.Option(metavar="HOW-OFTEN", help="daily, weekly, monthly or yearly.")],
    "interval": Annotated[
        int | None, typer.Option(metavar="N", help="Every N days, weeks, months or years.", show_default="1")
    ],
    "byweekday": Annotated[
        list[str] | None, typer.Option(metavar="DAY", help="monday … sunday; repeat it for several days.")
    ],
    "bysetpos": Annotated[
        int | None, typer.Option(metavar="N", help="Of those weekdays in the period, the N-th (-1: the last).")
    ],
    "count": Annotated[int | None, typer.Option(metavar="N", help="So many occurrences, counted from the start.")],
    "start_date": Annotated[
        str | None, typer.Option(metavar="INSTANT", help="First occurrence, and the time of day.", show_default="now")
    ],
    "until_date": Annotated[str | None, typer.Option(metavar="INSTANT", help="No occurrence after this.")],
    "timezone": Annotated[
        str | None, typer.Option(metavar="ZONE", help="IANA name, such as Europe/Berlin.", show_default="the project's")
    ],
    "gap": Annotated[
        str | None, typer.Option(metavar="POLICY", help="A local time that does not exist: shift (default) or skip.")
    ],
    "fold": Annotated[
        str | None, typer.Option(metavar="POLICY", help="A local time that happens twice: first (default) or second.")
    ],
}
"""The recurrence's fields as options."""

SUBSCRIPTION: dict[str, Any] = {
    "insight": Annotated[str | None, typer.Option(metavar="NAME|ID", help="Show this insight …")],
    "dashboard": Annotated[str | None, typer.Option(metavar="NAME|ID", help="… or this dashboard.")],
    "dashboard_export_insights": Annotated[
        list[int] | None,
        typer.Option(metavar="ID", help="Of a dashboard, only this insight; repeat it.", show_default="all"),
    ],
    "target_type": Annotated[str | None, typer.Option(metavar="CHANNEL", help="email, slack or webhook.")],
    "target_value": Annotated[
        str | None, typer.Option(metavar="TARGET", help="Addresses (comma-separated), a Slack channel's id, or a URL.")
    ],
    "integration_id": Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Whose credentials; Slack needs one.")
    ],
    **RECURRENCE,
    "title": Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the subject says.", show_default="what is shown")
    ],
    "invite_message": Annotated[str | None, typer.Option(metavar="TEXT", help="A line to new e-mail recipients.")],
    "catch_up": Annotated[
        str | None, typer.Option(metavar="POLICY", help="After downtime: latest (default), all or skip.")
    ],
    "catch_up_hours": Annotated[
        int | None, typer.Option(metavar="HOURS", help="How late an occurrence may still be sent.", show_default="24")
    ],
    "spread_minutes": Annotated[
        int | None,
        typer.Option(
            metavar="MINUTES", help="Start within so long after each occurrence; the same every day.", show_default="0"
        ),
    ],
}
"""A subscription's fields as options."""


def taking(options: Mapping[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options, too; those a person gave reach it together, as ``fields``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [each for each in signature(command, eval_str=True).parameters.values() if each.name != "fields"]
        shared = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=option) for name, option in options.items()
        ]

        def run(**arguments: Any) -> None:
            fields = given(**{name: arguments.pop(name) for name in options})
            command(**arguments, fields=fields)

        run.__doc__, run.__name__ = command.__doc__, command.__name__
        run.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
        keyword_only = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in own]
        arguments = [each for each in keyword_only if each.default is Parameter.empty]
        run.__signature__ = Signature([*arguments, *shared, *(e for e in keyword_only if e not in arguments)])  # type: ignore[attr-defined]
        return run

    return decorate


def given(**options: Any) -> dict[str, Any]:
    """The options a person gave, as the contract's fields; an empty list was not given."""
    return {name: value for name, value in options.items() if value is not None and value != []}


def with_instants(fields: dict[str, Any], *, timezone: str) -> dict[str, Any]:
    """Dates as aware datetimes; one without an offset is local to the subscription's time zone."""
    zone = str(fields.get("timezone", timezone))
    dates = {
        name: parse_instant(fields[name], field=name, timezone=zone)
        for name in ("start_date", "until_date")
        if fields.get(name) is not None
    }
    return fields | dates


def read_secret(given_as: str | None, *, field: str) -> str | None:
    """A secret from standard input (``-``) or a variable (``env:NAME``): a command line is there for all to read."""
    if given_as is None:
        return None
    if given_as == "-":
        secret = sys.stdin.readline().strip()
    elif given_as.startswith("env:"):
        secret = os.environ.get(given_as.removeprefix("env:"), "").strip()
    else:
        raise InvalidField(field, f"give it on standard input (--{field} -) or by a variable (--{field} env:NAME)")
    if not secret:
        raise InvalidField(field, "nothing there; pipe it in, or set the variable", code="blank")
    return secret


def text_or_file(given_as: str, *, field: str) -> str:
    """Text, or with ``@FILE`` what stands in that file."""
    if not given_as.startswith("@"):
        return given_as
    try:
        return Path(given_as[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidField(field, f"cannot read {given_as[1:]}: {problem}") from None
