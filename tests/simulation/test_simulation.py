"""Laws that a simulation of queues has to keep, on figures that make them easy to see."""

from __future__ import annotations

import random
import statistics
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from scheduler.lanes import CAPACITY, RULES
from tests.simulation import assumed
from tests.simulation.events import Process, Servers, World
from tests.simulation.figures import Cost, Ledger, Measured, Size, Step, load, save
from tests.simulation.pipeline import simulate
from tests.simulation.population import Population, mixed, webhooks
from tests.simulation.scenarios import reproduced
from tests.simulation.setting import Destination, Due, Setting
from tests.simulation.tables import PAGE, TABLES, population, renew, sizes, steps

QUICK = [Destination(f"quick {n}", "webhook", 0.02) for n in range(50)]
APART = Setting("postgresql", cores=8, server_cores=8)


def step(*, loop: float = 50e-6, database: float = 20e-6) -> Step:
    return Step(Cost(0.001, loop), Cost(0.0005, database), Cost(0.0005, 0.0))


def ledger(*, database: float = 20e-6) -> Ledger:
    look, each = Step(Cost(0.001, 0.0), Cost(0.0, 0.0), Cost(0.0, 0.0)), step(database=database)
    return Ledger(look, each, each, each, 6000.0, 8.0, 0.5, 600.0, (Size("deliveries", "table", 1000.0),))


@pytest.fixture
def measured() -> Measured:
    """A machine of round figures: a send costs a millisecond, the ledger a seventh of that."""
    return Measured(
        machine="a machine of round figures",
        versions="none",
        commit="none",
        cores=2,
        sqlite=ledger(),
        postgresql=ledger(),
        send_cpu={"webhook": 0.001},
        warm_up=0.0,
        connect_cpu=0.0,
        receiver_cpu=0.0,
        round_trip=0.0,
        resting_mib=100.0,
        held_mib=0.05,
        spikes=(),
    )


# ── queues ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_server_keeps_its_callers_waiting_as_the_formula_says() -> None:
    world, chance, waits = World(), random.Random(1), []  # noqa: S311 - no secret
    server = Servers(world, 1)

    def call() -> Process:
        came = world.now
        yield from server.serve(1.0)
        waits.append(world.now - came - 1.0)

    def callers() -> Process:
        for _ in range(40_000):
            yield chance.expovariate(0.7)
            world.start(call())

    world.start(callers())
    world.run()

    load = 0.7  # Pollaczek and Khinchine: the mean wait for a server that takes the same time for everyone
    assert statistics.mean(waits) == pytest.approx(load / (2 * (1 - load)), rel=0.05)
    assert server.busy_seconds / world.now == pytest.approx(load, rel=0.02)


def test_the_same_seed_gives_the_same_run_and_another_one_another(measured: Measured) -> None:
    dues = mixed(500)

    runs = [simulate(APART, measured, dues, seed=seed, horizon=60.0) for seed in (1, 1, 2)]

    assert runs[0] == runs[1]
    assert runs[0].lateness != runs[2].lateness


def test_as_many_are_in_hand_as_arrive_times_how_long_they_stay(measured: Measured) -> None:
    outcome = simulate(replace(APART, processes=2), measured, webhooks(4000, QUICK))

    rate, stay = outcome.due / outcome.seconds, outcome.held_seconds / outcome.due
    assert outcome.held_average == pytest.approx(rate * stay, rel=1e-6)  # Little's law


# ── a spike ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_last_of_a_spike_are_as_late_as_the_spike_is_long(measured: Measured, database: str) -> None:
    outcome = simulate(replace(APART, database=database), measured, webhooks(5000, QUICK))

    assert outcome.late(0.99) == pytest.approx(outcome.due / outcome.per_second, rel=0.1)
    assert outcome.per_second == pytest.approx(1000, rel=0.25)  # what a millisecond of CPU allows, less the ledger's
    assert outcome.late(0) < 1.5


def test_memory_is_bounded_by_concurrency_not_by_what_is_due(measured: Measured) -> None:
    many = [Destination(f"{n}", "webhook", 0.5) for n in range(200)]

    few, more = (simulate(APART, measured, webhooks(due, many)) for due in (1000, 4000))

    assert few.held_most == more.held_most == CAPACITY
    assert few.peak_mib == more.peak_mib
    assert (more.written, more.kept) == (4 * few.written, 4 * few.kept) == (4000 * 6000.0, 4000 * 1000.0)


def test_two_processes_send_nearly_twice_as_much_while_the_database_is_not_the_limit(measured: Measured) -> None:
    dues = webhooks(4000, [Destination(f"{n}", "webhook", 0.02) for n in range(200)])

    def speed_up(setting: Setting, of: Measured) -> float:
        one, two = (simulate(replace(setting, processes=n), of, dues).per_second for n in (1, 2))
        return two / one

    slow = replace(measured, sqlite=ledger(database=1000e-6))  # one writer, who is busy for longer than the senders
    assert speed_up(replace(APART, ranges=True), measured) > 1.7
    assert speed_up(Setting("sqlite", cores=8), slow) < 1.3


# ── destinations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_destination_delays_no_other(measured: Measured) -> None:
    slow = Destination("slow", "webhook", 15.0)
    quick = webhooks(1000, QUICK)

    alone = simulate(APART, measured, quick)
    beside = simulate(APART, measured, [*webhooks(100, [slow]), *quick])

    last = max(each.late for each in beside.sent if each.to != "slow")
    assert last < 1.2 * alone.late(1.0)
    assert beside.late(1.0) >= 15.0 * 100 / RULES["webhook"].at_once * 0.9


def test_slots_hold_over_processes(measured: Measured) -> None:
    channel = Destination("channel", "slack", 0.01)

    outcome = simulate(replace(APART, processes=3), measured, webhooks(20, [channel]))

    gaps = [after.at - before.at for before, after in pairwise(outcome.sent)]
    assert len(outcome.sent) == 20
    assert min(gaps) > 0.95  # a slot is taken at the claim; the sends that follow differ by milliseconds
    assert outcome.late(1.0) < 22.0


def test_everything_due_was_sent_once_or_failed_or_still_waits(measured: Measured) -> None:
    wavering = [Destination(f"wavering {n}", "webhook", 0.02, failing=0.5) for n in range(20)]
    dues = webhooks(400, wavering)

    early = simulate(APART, measured, dues, horizon=60.0)
    late = simulate(APART, measured, dues, horizon=3 * 24 * 3600.0)

    assert len(early.sent) + early.failed + early.waiting == 400
    assert early.waiting > 0  # the second pause is five minutes
    assert (len(late.sent) + late.failed, late.waiting) == (400, 0)
    assert late.attempts > early.attempts > 400


def test_spread_starts_each_at_its_own_moment_and_never_early(measured: Measured) -> None:
    dues = [Due(10.0, QUICK[n % 50], offset=n * 0.06) for n in range(1000)]

    outcome = simulate(APART, measured, dues)

    assert min(outcome.lateness) >= 0
    assert outcome.late(0.99) < 2.0
    assert min(each.at for each in outcome.sent) >= 10.0


# ── who is due ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_day_of_a_population_is_whole() -> None:
    people = Population(1_000_000)

    assert sum(assumed.FREQUENCIES.values()) == pytest.approx(1)
    assert sum(assumed.CHANNELS.values()) == pytest.approx(1)
    assert sum(assumed.ZONES.values()) == pytest.approx(1)
    assert sum(number for _, number in people.fullest_day()) == pytest.approx(people.on_the_fullest_day(), abs=96)
    assert people.in_the_fullest_instant() == max(number for _, number in people.fullest_day())


# ── figures and tables ───────────────────────────────────────────────────────────────────────────────────────────────


def test_medians_of_the_rounds_are_kept(measured: Measured, tmp_path: Path) -> None:
    rounds = [replace(measured, warm_up=seconds) for seconds in (0.5, 9.0, 0.4)]

    save(rounds, tmp_path / "measured.json")

    assert load(tmp_path / "measured.json") == replace(measured, warm_up=0.5)


def test_the_simulation_comes_out_as_the_machine_did() -> None:
    off = [abs(again.per_second / spike.per_second - 1) for spike, again in reproduced(load())]

    assert statistics.median(off) < 0.25, "measure again on a quieter machine: python -m tests.simulation --measure"


def test_the_page_shows_what_was_measured_last() -> None:
    measured, page = load(), PAGE.read_text(encoding="utf-8")

    quick = {"steps": steps, "sizes": sizes, "population": population}
    assert renew(page, {name: table(measured) for name, table in quick.items()}) == page
    assert all(f"<!-- {name} -->" in page for name in TABLES)


def test_a_table_without_its_place_on_the_page_is_an_error() -> None:
    with pytest.raises(LookupError, match="<!-- spike -->"):
        renew("# A page\n", {"spike": "| a |"})
