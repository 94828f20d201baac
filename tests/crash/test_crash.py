"""The short version of ``make crash``: every part once, with few cycles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.databases import postgresql_databases, sqlite_files
from tests.crash.ground import prepared
from tests.crash.killing import kill_again_and_again
from tests.crash.migrating import migrate_again_and_again
from tests.crash.soaking import library, soak
from tests.crash.tearing import tear_again_and_again
from tests.crash.terminating import terminate_again_and_again

pytestmark = pytest.mark.e2e

AHEAD = 4.0
"""Seconds for which subscriptions are added at a time: what is left at the end has to be waited for."""
SLACK = 60.0
"""Seconds beyond the lease; ``make crash`` holds it to two, on a machine that has nothing else to do."""


async def test_processes_killed_anywhere_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path: Path) -> None:
    async with prepared(tmp_path) as ground:
        verdict = await kill_again_and_again(ground, cycles=11, daemons=1, seed=1, ahead=AHEAD, slack=SLACK)

    assert verdict.violations == []


async def test_two_daemons_on_postgresql_killed_anywhere_lose_nothing_either(tmp_path: Path, postgres_url: str) -> None:
    async with prepared(tmp_path, postgres_url) as ground:
        verdict = await kill_again_and_again(ground, cycles=10, daemons=2, seed=1, ahead=AHEAD, slack=SLACK)

    assert verdict.violations == []


async def test_processes_asked_to_stop_lose_and_repeat_nothing(tmp_path: Path) -> None:
    async with prepared(tmp_path) as ground:
        verdict = await terminate_again_and_again(ground, cycles=5, seed=1, ahead=AHEAD)

    assert verdict.violations == []


async def test_an_init_killed_between_two_statements_is_completed_by_the_next(tmp_path: Path) -> None:
    verdict = await migrate_again_and_again(tmp_path, sqlite_files(tmp_path), rounds=2, seed=1)

    assert verdict.violations == []


async def test_an_init_killed_on_postgresql_is_completed_by_the_next(tmp_path: Path, postgres_server: str) -> None:
    verdict = await migrate_again_and_again(tmp_path, postgresql_databases(postgres_server), rounds=2, seed=1)

    assert verdict.violations == []


async def test_a_copy_with_a_torn_log_is_a_prefix_of_the_ledger_and_goes_on(tmp_path: Path) -> None:
    async with prepared(tmp_path) as ground:
        verdict = await tear_again_and_again(ground, copies=2, seed=1, ahead=AHEAD)

    assert verdict.violations == []


@pytest.mark.skipif(library() is None, reason="faketime is not installed; on Debian: apt-get install faketime")
async def test_hours_of_service_in_seconds_leave_nothing_out(tmp_path: Path) -> None:
    async with prepared(tmp_path) as ground:
        verdict = await soak(ground, hours=0.5, subscriptions=30, kills=1, seed=1)

    assert verdict.violations == []
