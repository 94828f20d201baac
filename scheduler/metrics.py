"""What a monitoring system reads: whether the ledger is true, and how late we are (Prometheus, text format)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from scheduler.clock import Clock
from scheduler.db import Database
from scheduler.status import DeliveryStatus
from scheduler.store import audit
from scheduler.store.audit import Figures


@dataclass(frozen=True, slots=True)
class Metrics:
    """The page behind ``GET /metrics``; every figure is read when it is asked for, none is kept in the process."""

    database: Database
    clock: Clock

    async def page(self) -> bytes:
        """All figures. Raises what the database raises when it does not answer."""
        async with self.database.read() as connection:
            figures = await audit.figures(connection)
        registry = CollectorRegistry()
        registry.register(_Collected(figures, self.clock()))
        return generate_latest(registry)


@dataclass(frozen=True)
class _Collected:
    """Figures of one moment, as the library wants them."""

    figures: Figures
    now: datetime

    def collect(self) -> Iterator[Metric]:
        yield from self._of_the_ledger()
        deliveries = GaugeMetricFamily(
            "paperround_deliveries", "Deliveries by status; those that have ended are not counted.", labels=["status"]
        )
        deliveries.add_metric([DeliveryStatus.STARTING], self.figures.starting)
        yield deliveries
        yield GaugeMetricFamily(
            "paperround_oldest_ready_seconds",
            "For how long the oldest delivery that may be claimed has been waiting; 0 when none is.",
            self._seconds_since(self.figures.oldest_ready_at),
        )
        yield GaugeMetricFamily(
            "paperround_oldest_due_seconds",
            "For how long the oldest due occurrence has been waiting to be opened; 0 when none is.",
            self._seconds_since(self.figures.oldest_due_at),
        )

    def _of_the_ledger(self) -> Iterator[Metric]:
        """Nothing before the first verification: no figure is better than one that was never observed."""
        if self.figures.verified_at is None or self.figures.discrepancies is None:
            return
        yield GaugeMetricFamily(
            "paperround_ledger_discrepancies",
            "What the last verification found wrong; `paperround verify` lists it.",
            self.figures.discrepancies,
        )
        yield GaugeMetricFamily(
            "paperround_ledger_verified_timestamp_seconds",
            "When the ledger was last verified, in seconds since 1970.",
            self.figures.verified_at.timestamp(),
        )

    def _seconds_since(self, moment: datetime | None) -> float:
        return 0.0 if moment is None else max(0.0, (self.now - moment).total_seconds())
