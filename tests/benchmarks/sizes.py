"""How much is measured: by default, quickly, or all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tests.benchmarks.stage import KINDS


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of rows and of runs. Every figure is the median of ``repeats``."""

    deliveries: int = 10_000
    repeats: int = 3
    databases: tuple[str, ...] = ("SQLite", "PostgreSQL")
    kinds: tuple[str, ...] = KINDS
    processes: tuple[int, ...] = (1, 2)
    serves: bool = True
    memory: tuple[int, ...] = (1_000,)
    """Beside ``deliveries``: how peak memory goes with what is due."""
    baselines: tuple[str, ...] = ("plain loop", "APScheduler", "Celery")
    compared: int = 500
    """What the baselines get: they are slow, and rates are compared."""
    spike: tuple[int, int] = (5_000, 50_000)
    """So many due in one instant, among so many."""
    ledger: tuple[tuple[int, int], ...] = ((10_000, 0),)
    """So many due, beside so many that are not."""
    mails: int = 5_000
    hanging: tuple[int, ...] = (200,)
    lists: int = 20_000

    @classmethod
    def quick(cls, *, deliveries: int = 50) -> Self:
        """One run of small numbers: whether everything works, not how fast."""
        return cls(
            deliveries=deliveries,
            repeats=1,
            processes=(1,),
            serves=False,
            memory=(),
            baselines=("plain loop",),
            compared=deliveries,
            spike=(deliveries, 10 * deliveries),
            ledger=((deliveries, 0),),
            mails=100,
            hanging=(10,),
            lists=1_000,
        )

    @classmethod
    def long(cls, *, deliveries: int = 10_000) -> Self:
        """All of it, once: an hour or two."""
        return cls(
            deliveries=deliveries,
            repeats=1,
            memory=(1_000, 100_000),
            spike=(100_000, 1_000_000),
            ledger=((10_000, 0), (10_000, 90_000), (10_000, 990_000), (100_000, 0), (1_000_000, 0)),
            hanging=(200, 1_000),
            lists=100_000,
        )
