"""``BENCHMARKS.md``: its tables stand between two markers and are written anew from the JSON; its prose is ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import markdown

PAGE = Path(__file__).parent / "BENCHMARKS.md"
BEGIN, END = "<!-- figures: begin (python -m tests.benchmarks --renew) -->", "<!-- figures: end -->"


def renew(measured: Mapping[str, Any], *, page: Path = PAGE) -> None:
    """Replace what is between the markers."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{shown(measured)}\n{END}{after}")


def shown(measured: Mapping[str, Any]) -> str:
    """Machine, versions, command, and a table a part."""
    return "\n".join(_lines(measured))


def _lines(measured: Mapping[str, Any]) -> Iterator[str]:
    yield f"`{measured['command']}`, {measured['minutes']} minutes.\n"
    for name, value in measured["machine"].items():
        yield f"* {name}: {value}"
    yield "* " + "; ".join(f"{name} {value}" for name, value in measured["versions"].items())
    for what, why in measured["skipped"].items():
        yield f"* not measured: {what} ({why})"
    for part in dict.fromkeys(row["part"] for row in measured["rows"]):
        yield f"\n### {part.capitalize()}\n"
        yield markdown([row for row in measured["rows"] if row["part"] == part])
    yield ""
