"""The failure matrix as a page: ``deploy/failures.md`` shows exactly the cases that the tests play out.

``python -m tests.failures.page`` prints the tables; with ``--write`` it puts them into the page. Names of tables
(``schedules webhook email slack system``) limit it to those.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from pathlib import Path

from scheduler.backoff import SCHEDULES
from tests.failures.case import Case

PAGE = Path(__file__).parents[2] / "deploy" / "failures.md"
SECTIONS = ("webhook", "email", "slack", "system")
TABLES = ("schedules", *SECTIONS)
HINT = "python -m tests.failures.page --write"
HEADER = "| what happens | recipient | its error | next attempt | and |\n| --- | --- | --- | --- | --- |\n"


def cases_of(section: str) -> Sequence[Case]:
    """``CASES`` of ``SECTION_cases.py``; a section without its module is an error."""
    cases: Sequence[Case] = import_module(f"tests.failures.{section}_cases").CASES
    return cases


def table(name: str) -> str:
    """One section's cases, or the schedules, as the page shows them."""
    if name == "schedules":
        return _schedules()
    return HEADER + "".join(f"| {' | '.join(_cells(case))} |\n" for case in cases_of(name))


def shown(name: str, page: str) -> str:
    """What stands on the page between a table's marks."""
    found = re.search(_framed(re.escape(name), "(?P<table>.*?)"), page, re.DOTALL)
    if found is None:
        raise LookupError(f"{PAGE.name} has no <!-- table: {name} --> … <!-- end: {name} -->; add both lines")
    return found["table"]


def rewritten(page: str, names: Sequence[str] = TABLES) -> str:
    """The page with these tables as the code has them now."""
    for name in names:
        page = page.replace(_framed(name, shown(name, page)), _framed(name, table(name)))
    return page


def _framed(name: str, content: str) -> str:
    return f"<!-- table: {name} -->\n{content}<!-- end: {name} -->"


def _schedules() -> str:
    header = "| channel | pauses after attempt 1, 2, 3 … | attempts |\n| --- | --- | --- |\n"
    return header + "".join(
        f"| {kind} | {', '.join(map(_spoken, pauses))} | {len(pauses) + 1} |\n" for kind, pauses in SCHEDULES.items()
    )


def _cells(case: Case) -> list[str]:
    return [
        _safe(case.name),
        f"`{case.recipient}`" if case.delivery is None else f"`{case.recipient}`, delivery `{case.delivery}`",
        _safe(case.reason or "") or "none",
        "none" if case.again is None else f"after {_spoken(case.again)}",
        "; ".join(filter(None, [_consequences(case), _safe(case.note)])),
    ]


def _consequences(case: Case) -> str:
    said = []
    if not case.counted:
        said.append("uses up no attempt")
    if case.disables:
        said.append("disables the subscription")
    return "; ".join(said)


def _spoken(pause: timedelta) -> str:
    """``5 s``, ``5 m``, ``1 h 30 m``."""
    seconds = int(pause.total_seconds())
    parts = [(seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"


def _safe(text: str) -> str:
    """Within a table's cell."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def main(arguments: Sequence[str]) -> None:
    names = [each for each in arguments if each != "--write"] or TABLES
    if unknown := set(names) - set(TABLES):
        sys.exit(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    if "--write" in arguments:
        PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), names), encoding="utf-8")
        return
    print("\n".join(f"{name}\n\n{table(name)}" for name in names))


if __name__ == "__main__":
    main(sys.argv[1:])
