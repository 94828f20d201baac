"""Rows as a file that a spreadsheet opens: RFC 4180, and no formulas."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scheduler.exporting import csv_of
from scheduler.snapshot import Cell, ColumnType, QueryResult


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (None, ""),
        ("", '""'),
        (True, "true"),
        (1.5, "1.5"),
        (-3, "-3"),
        ("-3.25e+10", "-3.25e+10"),  # too large for a number, and so kept as text
        ("plain", "plain"),
        (" padded", '" padded"'),
        ('say "hi"', '"say ""hi"""'),
        ("a,b", '"a,b"'),
        ("a\r\nb", '"a\r\nb"'),
        ("=1+1", "'=1+1"),
        ("+1 800 flowers", "'+1 800 flowers"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1+1", "'\t=1+1"),
        ("＝1+1", "'＝1+1"),
        ('=HYPERLINK("x")', '"\'=HYPERLINK(""x"")"'),
        ("a=b", "a=b"),
    ],
    ids=repr,
)
def test_a_cell_in_a_file(cell: Cell, written: str) -> None:
    result = QueryResult(("=n", "m"), (ColumnType.TEXT,) * 2, ((cell, 1),), datetime(2026, 11, 22, tzinfo=UTC))

    assert csv_of(result) == f"'=n,m\r\n{written},1\r\n"


def test_a_row_that_is_one_missing_value_is_still_a_row() -> None:
    result = QueryResult(("n",), (ColumnType.NUMBER,), ((None,), (1,)), datetime(2026, 11, 22, tzinfo=UTC))

    assert csv_of(result) == 'n\r\n""\r\n1\r\n'
