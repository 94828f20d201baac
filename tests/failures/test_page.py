"""The page of the documentation says what the tests have seen, and nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.failures.page import HINT, PAGE, SECTIONS, TABLES, cases_of, rewritten, shown, table


@pytest.mark.parametrize("name", TABLES)
def test_the_page_shows_the_cases_as_they_are_tested(name: str) -> None:
    written = shown(name, PAGE.read_text(encoding="utf-8"))

    assert written == table(name), f"deploy/{PAGE.name} is out of date; run {HINT}"


def test_writing_the_page_changes_nothing_but_its_tables() -> None:
    before = "# Mine\n\n<!-- table: schedules -->\nold\n<!-- end: schedules -->\n\nMine, too\n"

    after = rewritten(before, ["schedules"])

    assert after == before.replace("old\n", table("schedules"))
    assert "| webhook | 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h | 8 |" in after


def test_a_page_without_a_tables_marks_says_which_lines_to_add() -> None:
    with pytest.raises(LookupError, match="<!-- table: email --> … <!-- end: email -->; add both lines"):
        shown("email", "# Nothing here\n")


@pytest.mark.parametrize("section", SECTIONS)
def test_each_case_has_a_name_of_its_own(section: str) -> None:
    twice = [name for name, count in Counter(case.name for case in cases_of(section)).items() if count > 1]

    assert twice == []
