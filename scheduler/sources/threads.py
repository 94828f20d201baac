"""The edge to drivers that block: they run in a thread, and are stopped there when nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# Deliveries, runs and checks ask four at a time each: none waits here, while its time runs, for another's query.
_THREADS = ThreadPoolExecutor(max_workers=16, thread_name_prefix="paperround-query")
_STOP_EVERY = 0.5  # s; again and again: a stop between two statements stops neither
_STOP_TRIES = 20  # then the driver's own time-outs have to do


async def in_thread(read: Callable[[], None], stop: Callable[[], None]) -> None:
    """Run ``read`` in a thread; when cancelled, ``stop`` it and wait until it has ended."""
    job = _THREADS.submit(read)
    ended = asyncio.wrap_future(job)
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        ended.add_done_callback(lambda done: done.cancelled() or done.exception())  # being stopped is no news
        for _ in range(_STOP_TRIES):
            if job.cancel() or ended.done():
                break
            stop()
            await asyncio.wait({ended}, timeout=_STOP_EVERY)
        raise
