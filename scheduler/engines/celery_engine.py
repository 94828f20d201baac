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
        self._app = app
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker")
        self._connection: Connection | None = None
        self._producer: Producer | None = None

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
        with self._app.connection_for_write() as known:
            problems = (*known.connection_errors, *known.channel_errors, KombuError, OSError)
        for ids in messages:
            try:
                self._publish(ids)
            except problems:
                self._let_go()  # one that was not used for a while may be dead: the broker was started anew
                try:
                    self._publish(ids)
                except problems as problem:
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
        options = (
            {} if self._connection is None or not _confirms(self._connection) else {"confirm_timeout": CONNECT_SECONDS}
        )
        self._app.send_task(EXECUTE, args=[ids], producer=self._producer, retry=False, **options)

    def _let_go(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(Exception):  # it may be dead
                connection.release()  # type: ignore[no-untyped-call]


def _confirms(connection: Connection) -> bool:
    return bool(connection.transport.driver_type == "amqp")
