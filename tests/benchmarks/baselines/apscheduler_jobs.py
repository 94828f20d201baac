"""APScheduler with one job a subscription and twenty threads; prints its seconds as JSON.

``python -m tests.benchmarks.baselines.apscheduler_jobs URL``.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import httpx
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from tests.benchmarks.baselines.one_delivery import Sender, engine

THREADS = 20


def main() -> None:
    limits = httpx.Limits(max_connections=THREADS, max_keepalive_connections=THREADS)
    client = httpx.Client(timeout=10, trust_env=False, limits=limits)
    sender = Sender(engine(sys.argv[1], connections=THREADS), client)
    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(THREADS)}, timezone="UTC")
    all_sent = threading.Semaphore(0)

    def job(subscription_id: int) -> None:
        sender.deliver(subscription_id)
        all_sent.release()

    due = sender.due()
    for subscription_id, due_at in due:
        scheduler.add_job(job, "date", run_date=due_at, args=[subscription_id], misfire_grace_time=None)
    began = time.perf_counter()
    scheduler.start()
    for _ in due:
        if not all_sent.acquire(timeout=120):
            sys.exit("a job did not end within two minutes; its traceback stands above")
    print(json.dumps({"sent": len(due), "seconds": time.perf_counter() - began}))
    scheduler.shutdown()


if __name__ == "__main__":
    main()
