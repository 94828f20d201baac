"""What is simulated: the measured runs again, then what no single machine can show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.benchmarks.stage import ENDPOINTS
from tests.simulation import assumed
from tests.simulation.figures import Measured, Spike
from tests.simulation.pipeline import simulate
from tests.simulation.population import Population, destination, mixed, webhooks
from tests.simulation.setting import Destination, Due, Outcome, Setting

SPIKE = 100_000
SAMPLE = 40_000
HALF_AN_HOUR = 1800.0
SHARD = 10_000_000
"""Subscriptions that share a database, where there are more."""


@dataclass(frozen=True, slots=True)
class Run:
    """A simulated setting, in words and in figures."""

    what: str
    setting: Setting
    outcome: Outcome


# ── the measured runs ────────────────────────────────────────────────────────────────────────────────────────────────


def reproduced(measured: Measured) -> Iterator[tuple[Spike, Spike]]:
    """Each measured spike, and the same one simulated from the parts."""
    for spike in measured.spikes:
        setting = Setting(
            spike.database, processes=spike.processes, cores=measured.cores, receiver_here=True, others=spike.others
        )
        endpoints = [Destination(f"endpoint {n}", "webhook", measured.round_trip) for n in range(ENDPOINTS)]
        yield spike, as_spike(simulate(setting, measured, webhooks(spike.due, endpoints)), setting)


def as_spike(outcome: Outcome, setting: Setting) -> Spike:
    """A run in the columns of a measured one."""
    return Spike(
        database=setting.database,
        processes=setting.processes,
        due=outcome.due,
        per_second=outcome.per_second,
        cpu_per_1000=outcome.cpu_per_1000,
        first=outcome.late(0.0),
        p50=outcome.late(0.5),
        p99=outcome.late(0.99),
        peak_mib=outcome.peak_mib,
        others=setting.others,
    )


# ── nine o'clock, once ───────────────────────────────────────────────────────────────────────────────────────────────


def nine_o_clock(measured: Measured, due: int = SPIKE) -> Iterator[Run]:
    """So many webhooks due in one instant, on ever more means; answers take what the internet takes."""
    to = [destination("webhook", f"endpoint {n}") for n in range(due // assumed.PER_ENDPOINT)]
    dues = webhooks(due, to)
    here, far = measured.cores, {"network": assumed.NETWORK_ROUND_TRIP, "server_cores": assumed.SERVER_CORES}
    settings = {
        "SQLite, 1 process": Setting("sqlite", cores=here),
        "SQLite, 2 processes": Setting("sqlite", processes=2, cores=here),
        "PostgreSQL here, 2 processes": Setting("postgresql", processes=2, cores=here),
        "PostgreSQL apart, 4 processes": Setting("postgresql", processes=4, cores=4, **far),
        "PostgreSQL apart, 8 processes, ranges": Setting("postgresql", processes=8, cores=8, ranges=True, **far),
    }
    for what, setting in settings.items():
        yield Run(what, setting, simulate(setting, measured, dues))


# ── ever more subscriptions ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Grown:
    """A population, the shards it is on, and the fullest shard's nine o'clock on the fullest day.

    ``due`` then; of so many at most ``SAMPLE`` are simulated, and all are as late as these, times ``scale``.
    """

    population: Population
    shards: int
    due: int
    setting: Setting
    outcome: Outcome

    @property
    def scale(self) -> float:
        """The lateness of a spike is what is due ÷ throughput."""
        return self.due / self.outcome.due


def grown(measured: Measured) -> Iterator[Grown]:
    """One machine for 1 M, one shard for 10 M, ten of these for 100 M; all channels. Shards share nothing."""
    here = Setting("postgresql", processes=2, cores=measured.cores)
    apart = Setting(
        "postgresql",
        processes=assumed.SENDING_CORES,
        cores=assumed.SENDING_CORES,
        server_cores=assumed.SERVER_CORES,
        network=assumed.NETWORK_ROUND_TRIP,
        ranges=True,
        at_once=assumed.WIDER_LANES,
    )
    wider = replace(here, at_once=assumed.WIDER_LANES)
    for subscriptions, setting in ((1_000_000, here), (1_000_000, wider), (SHARD, apart), (10 * SHARD, apart)):
        population, shards = Population(subscriptions), max(1, subscriptions // SHARD)
        fullest = assumed.FULLEST_SHARD if shards > 1 else 1.0
        due = round(population.in_the_fullest_instant() / shards * fullest)
        outcome = simulate(setting, measured, mixed(min(due, SAMPLE)), horizon=HALF_AN_HOUR)
        yield Grown(population, shards, due, setting, outcome)


# ── what holds it up ─────────────────────────────────────────────────────────────────────────────────────────────────


def limits(measured: Measured) -> Iterator[Run]:
    """Each provider's limit by itself, on one process with SQLite."""
    relay = destination("email", "relay")
    far_relay = destination("email", "relay", seconds=assumed.FAR_RELAY_SECONDS)
    cases: dict[str, Callable[[], list[Due]]] = {
        "60 to one Slack channel": lambda: webhooks(60, [destination("slack", "channel")]),
        "6,000 to 2,000 Slack channels": lambda: webhooks(
            6000, [destination("slack", f"channel {n}") for n in range(2000)]
        ),
        "1,000 to one webhook endpoint that takes 2 s": lambda: webhooks(
            1000, [destination("webhook", "endpoint", seconds=2.0)]
        ),
        "5,000 e-mails to a relay in the same place": lambda: webhooks(5000, [relay]),
        "5,000 e-mails to a provider far away": lambda: webhooks(5000, [far_relay]),
        "10,000 of all channels, within 10 minutes (spread)": lambda: mixed(10_000, spread=600.0),
        "10,000 of all channels, at once": lambda: mixed(10_000),
    }
    setting = Setting("sqlite", cores=measured.cores)
    for what, dues in cases.items():
        yield Run(what, setting, simulate(setting, measured, dues(), horizon=HALF_AN_HOUR))
    wider = replace(setting, at_once=assumed.WIDER_LANES)
    for to, what in ((relay, "to the same relay"), (far_relay, "to the same provider")):
        outcome = simulate(wider, measured, webhooks(5000, [to]), horizon=HALF_AN_HOUR)
        yield Run(f"5,000 e-mails {what}, {wider.at_once['email']} at once", wider, outcome)
