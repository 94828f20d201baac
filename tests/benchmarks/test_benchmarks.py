"""The measurements work and are kept; how fast anything is, no test says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.figures import Figure, Results, markdown, written
from tests.benchmarks.pages import BEGIN, END, renew
from tests.benchmarks.printed import figures_of
from tests.benchmarks.stage import ROOT


def test_a_quick_run_measures_ours_and_a_baseline_and_keeps_every_run_as_json(tmp_path: Path) -> None:
    file = tmp_path / "results" / "quick.json"
    few = ("--quick", "--only", "comparison", "--database", "SQLite", "--deliveries", "5", "--to", str(file))
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *few], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    measured = json.loads(file.read_text())
    assert measured["command"] == (
        "python -m tests.benchmarks --quick --only comparison --database SQLite --deliveries 5"
    )
    assert {"processor", "memory", "system", "load before"} == set(measured["machine"])
    assert {"Paperround", "Python", "SQLite", "PostgreSQL", "httpx"} <= set(measured["versions"])
    rows = {row["figure"]: row for row in measured["rows"]}
    assert {(row["part"], row["case"], len(row["runs"])) for row in rows.values()} == {
        ("comparison", "SQLite, plain loop", 1)
    }
    ours, theirs = rows["Paperround's deliveries/s"]["median"], rows["baseline's deliveries/s"]["median"]
    assert abs(rows["ratio"]["median"] - ours / theirs) < 0.001 * ours / theirs
    assert 0.9 < rows["baseline's payload ÷ ours"]["median"] < 1.1
    assert "| SQLite, plain loop |" in ran.stdout


def test_a_figure_is_the_median_of_its_runs_and_a_table_shows_what_is_missing() -> None:
    results = Results()
    for value in (100.0, 3.0, 2.0):
        results.add("sending", "SQLite", {Figure("deliveries/s", "1/s"): value})
    results.add("sending", "PostgreSQL", {Figure("peak MiB", "MiB"): 12345.6})

    rows = list(results.rows())

    assert rows[0] == {
        "part": "sending",
        "case": "SQLite",
        "figure": "deliveries/s",
        "unit": "1/s",
        "median": 3.0,
        "runs": [100.0, 3.0, 2.0],
    }
    assert markdown(rows).splitlines() == [
        "| case       | deliveries/s | peak MiB |",
        "| ---------- | -----------: | -------: |",
        "| SQLite     |            3 |        – |",
        "| PostgreSQL |            – |   12,346 |",
    ]
    assert [written(each) for each in (0.01234, 1.234, 99.96)] == ["0.0123", "1.23", "100"]


def test_printed_tables_are_read_by_where_their_columns_end() -> None:
    table = [
        f"{'rule':<20}{'age':<10}{'µs':>8}{'dateutil µs':>13}",
        f"{'weekly, bysetpos':<20}{'1 day':<10}{12.5:>8.1f}{500:>13.0f}",
        "a mixed population: 21345 a second of one core",
        f"{'database':<11}{'due':>8}{'open/s':>10}{'empty ms':>10}",
        f"{'SQLite':<11}{10000:>8}{9000:>10}{0.25:>10.2f}",
        f"{'database':<11}{'100 of the list':<42}{'count':>8}{'p50 ms':>8}",
        f"{'PostgreSQL':<11}{'search: one row':<42}{1:>8}{2.5:>8.1f}",
    ]

    assert [(case, figure.name, figure.unit, value) for case, figure, value in figures_of(table)] == [
        ("weekly, bysetpos, 1 day", "µs", "µs", 12.5),
        ("weekly, bysetpos, 1 day", "dateutil µs", "µs", 500.0),
        ("a mixed population", "a second of one core", "1/s", 21345.0),
        ("SQLite, 10,000 due", "open/s", "1/s", 9000.0),
        ("SQLite, 10,000 due", "empty ms", "ms", 0.25),
        ("PostgreSQL, search: one row, 1 count", "p50 ms", "ms", 2.5),
    ]


def test_the_pages_prose_stays_when_its_tables_are_renewed(tmp_path: Path) -> None:
    page = tmp_path / "BENCHMARKS.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    row = {"part": "spike", "case": "SQLite", "figure": "first sent s", "unit": "s", "median": 1.5, "runs": [1.5]}
    about = {"command": "python -m tests.benchmarks", "minutes": 3, "machine": {"processor": "2 × a core"}}

    for _ in range(2):
        renew(about | {"versions": {"Python": "3.11"}, "skipped": {"Celery": "no broker"}, "rows": [row]}, page=page)

    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "| SQLite |          1.5 |" in text
    assert "not measured: Celery (no broker)" in text
    assert "old" not in text
