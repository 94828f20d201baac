"""The seam for engines: they carry ids of deliveries to workers, and decide nothing.

plan (open, one transaction) ──▶ dispatch(ids) ──▶ … the engine … ──▶ Runner.execute(ids): claim, send, record

The rows stay the truth. What is sent, when it is tried again and who has it is in SQL alone, so an engine may lose a
message, bring it twice, late or out of order: :class:`~scheduler.engines.planning.Planner` dispatches again what stayed
ready, and a worker claims only what is ready still, under a lease with a token that the record checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

MESSAGE = 100
"""Ids that travel together: one message costs the broker about as much as one id would."""


class Engine(Protocol):
    """One way to carry ids. Celery is the first (:mod:`scheduler.engines.celery_engine`); Temporal could be another.

    What each has to keep, beside the two methods:

    * A message is ids and nothing else: no address, no secret, no content stands in a broker or in its history.
    * A worker gives them to ``Runner.execute(ids, run_id=…)``, where ``run_id`` is the engine's own name of that run,
      at most 80 characters; the API shows it as ``temporal_workflow_id``.
    * Whatever the engine can do by itself is off: retries, delays, timers, results, its own schedule. One try a
      message; one whose worker died need not come again (with Temporal: an activity with a maximum of one attempt).
    * One event loop lives as long as a worker's process, so that connections and what is kept in memory are used again.
    * A worker that is told to stop lets sends end and leaves the rest: its ids are ready, and somebody else's.
    """

    async def dispatch(self, ids: Sequence[UUID]) -> None:
        """Let workers have these, :data:`MESSAGE` at a time; they may get lost, or come twice.

        Raises :class:`BrokerUnavailable` within seconds when nobody takes them.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections; what was dispatched stays so."""
        ...
