"""Dispatch through Celery: messages with ids, each confirmed by the broker (publisher confirms)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.messaging import Producer

from scheduler.db import first_line
from scheduler.engines.base import MESSAGE
from scheduler.engines.celery_app import CONNECT_SECONDS, EXECUTE
from scheduler.errors import BrokerUnavailable


class CeleryEngine:
    """One connection, in a thread of its own: Celery's publishing blocks."""

    def __init__(self, app: Celery) -> None:
        """Raises ``ImportError`` when the client of this kind of broker is not installed; asks nobody anything yet."""
        self._app = app
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker")
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        broker = app.connection_for_write()
        self._problems = (*broker.connection_errors, *broker.channel_errors, KombuError, OSError)
        confirms = broker.transport.driver_type == "amqp"
        self._options = {"confirm_timeout": CONNECT_SECONDS} if confirms else {}

    async def dispatch(self, ids: Sequence[UUID]) -> None:
        """See :class:`~scheduler.engines.base.Engine`."""
        texts = [str(id_) for id_ in ids]
        messages = [texts[start : start + MESSAGE] for start in range(0, len(texts), MESSAGE)]
        await asyncio.get_running_loop().run_in_executor(self._thread, self._publish_all, messages)

    async def aclose(self) -> None:
        """See :class:`~scheduler.engines.base.Engine`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
        self._thread.shutdown(wait=False)

    def _publish_all(self, messages: Sequence[Sequence[str]]) -> None:
        for ids in messages:
            try:
                self._publish(ids)
            except self._problems:
                self._let_go()  # it may only have been this connection: unused for a while, or the broker started anew
                self._publish_anew(ids)

    def _publish_anew(self, ids: Sequence[str]) -> None:
        try:
            self._publish(ids)
        except self._problems as problem:
            self._let_go()
            raise BrokerUnavailable(
                f"the broker does not take messages ({first_line(problem)}); is it running, and is "
                "PAPERROUND_BROKER_URL its address?"
            ) from None

    def _publish(self, ids: Sequence[str]) -> None:
        if self._producer is None:
            self._connection = self._app.connection_for_write(heartbeat=0)  # nobody is here to answer them
            self._connection.connect()
            self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)
        self._app.send_task(EXECUTE, args=[ids], producer=self._producer, retry=False, **self._options)

    def _let_go(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(*self._problems):  # it may be dead
                connection.release()  # type: ignore[no-untyped-call]
