"""``paperround verify`` as people and timers run it: exit codes, lines, JSON, and copies."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.e2e.conftest import Installation

pytestmark = pytest.mark.e2e

ON_SQLITE = pytest.mark.parametrize("installation", ["sqlite"], indirect=True)


async def delivered(installation: Installation) -> datetime:
    """Four days of a daily subscription, run ahead of time; the first occurrence."""
    insight = await installation.prepare()
    added = await installation.must(
        *("subscriptions", "add", "--insight", str(insight), "--target-type", "email"),
        *("--target-value", "ann@example.org", "--frequency", "daily", "--timezone", "Europe/Berlin"),
    )
    first = datetime.fromisoformat(added["next_delivery_date"])
    await installation.must("run-due", "--at", (first + timedelta(days=3)).isoformat())
    return first


def spoil(installation: Installation, statement: str) -> None:
    """Change a row behind the product's back."""
    url = installation.environ["PAPERROUND_DATABASE_URL"]
    if url.startswith("postgresql"):
        with psycopg.connect(url) as server:
            server.execute(statement)
        return
    with closing(sqlite3.connect(installation.folder / "paperround.db")) as file, file:
        file.execute(statement)


async def test_a_true_ledger_is_one_line_and_exit_0_a_spoilt_one_is_a_list_and_exit_1(
    installation: Installation,
) -> None:
    first = await delivered(installation)

    fine = await installation.run("verify")
    spoil(installation, "UPDATE deliveries SET finished_at = NULL WHERE status = 'completed'")
    listed = await installation.run("verify")
    as_json = await installation.run("verify", "--json")
    later = await installation.run("verify", "--since", (first + timedelta(days=30)).isoformat())

    assert (fine.code, fine.out, fine.err) == (0, "5 deliveries of 1 subscription: no discrepancy\n", "")
    assert (listed.code, listed.err) == (1, "")
    heading, *rows, summary = listed.out.splitlines()
    assert heading.split("\t") == ["kind", "of", "delivery", "at (UTC)", "what is wrong, and what to do"]
    assert {row.split("\t")[0] for row in rows} == {"wrong_end"}
    assert summary == f"5 deliveries of 1 subscription: {len(rows)} discrepanc{'y' if len(rows) == 1 else 'ies'}"
    found = as_json.json
    assert (as_json.code, found["deliveries"], found["subscriptions"], found["since"]) == (1, 5, 1, None)
    assert [set(each) for each in found["discrepancies"]] == [
        {"kind", "subscription", "delivery", "at", "message"}
    ] * len(rows)
    assert later.code == 0
    assert later.out.startswith("0 deliveries of 1 subscription since ")
    assert later.out.endswith("Z: no discrepancy\n")


@ON_SQLITE
async def test_a_copy_is_verified_without_the_key_and_stays_as_it_is(
    installation: Installation, tmp_path: Path
) -> None:
    await delivered(installation)
    spoil(installation, "PRAGMA wal_checkpoint(TRUNCATE)")
    copy = tmp_path / "elsewhere" / "copy.db"
    copy.parent.mkdir()
    shutil.copy(installation.folder / "paperround.db", copy)
    before = copy.read_bytes()

    verified = await installation.run("verify", environ={"PAPERROUND_DATABASE_URL": f"sqlite:///{copy}"})

    assert (verified.code, verified.err) == (0, "")
    assert copy.read_bytes() == before


@ON_SQLITE
async def test_what_cannot_be_verified_says_the_way_out(installation: Installation) -> None:
    without = await installation.run("verify")
    await installation.must("init")
    wrong = await installation.run("verify", "--since", "last week")
    nobody = await installation.run("verify", "--project", "4711")

    assert [each.code for each in (without, wrong, nobody)] == [2, 2, 2]
    assert without.err.endswith("run `paperround init` (here, or set PAPERROUND_DATABASE_URL)\n")
    assert wrong.err.startswith("paperround: since must be a date and time such as ")
    assert nobody.err == "paperround: no project 4711\n"
