"""What commands print: tables and colour for people on a terminal, plain lines when piped, JSON when asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scheduler.zones import zone

COLOURS = {
    "completed": "green",
    "sent": "green",
    "success": "green",
    "failed": "red",
    "skipped": "yellow",
    "retrying": "yellow",
    "uncertain": "yellow",
    "suppressed": "yellow",
    "on": "green",
    "paused": "yellow",
    "ended": "dim",
}


WHOLE = {"delivery", "opened (UTC)", "next", "status", "state"}
"""Columns that are read, or copied, in one piece."""


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))


def print_line(text: str) -> None:
    """One line for a person; its words are data, never markup."""
    Console(highlight=False, soft_wrap=True).print(Text(text))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Rows for a person on a terminal; tab-separated, with a heading, when piped. ``empty`` says what to do."""
    texts = [[_cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *texts]:
            print("\t".join(_one_line(cell) for cell in row))
        return
    if not texts:
        print_line(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column, overflow="fold", no_wrap=column in WHOLE, justify="right" if column == "id" else "left"
        )
    for row in texts:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)


def print_fields(fields: Mapping[str, object]) -> None:
    """One row, a line a field."""
    if not sys.stdout.isatty():
        for name, value in fields.items():
            print(f"{name}\t{_one_line(_cell(value))}")
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        text = _cell(value)
        table.add_row(Text(name), Text(text, style=COLOURS.get(text, "")))
    Console(highlight=False).print(table)


def in_short(kind: str, target: str) -> str:
    """A target for a table: the first of several addresses, a Slack channel by its name."""
    match kind:
        case "email":
            first, *others = target.split(",")
            return f"{first} +{len(others)}" if others else first
        case "slack":
            return f"slack {target.partition('|')[2] or target}"
        case _:
            return f"{kind} {target}"


def local(moment: datetime | None, timezone: str) -> str:
    """An instant for a person, in a zone: ``Mon 23 Nov 2026 09:00 CET``."""
    return "–" if moment is None else moment.astimezone(zone(timezone)).strftime("%a %d %b %Y %H:%M %Z")


def _cell(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case dict():
            return str(value.get("message") or value.get("email") or json.dumps(value, ensure_ascii=False))
        case list() | tuple():
            return ", ".join(_cell(each) for each in value) or "–"
        case _:
            return str(value)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
