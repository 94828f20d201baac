"""Celery with one task a subscription and two prefork processes; prints its seconds as JSON.

``python -m tests.benchmarks.baselines.celery_tasks URL BROKER_URL``. Defaults otherwise: classic queue, early
acknowledgement, no result backend, which is less than a delivery needs to survive a crash, and faster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import cache

from celery import Celery
from sqlalchemy import func, select

from scheduler import models
from tests.benchmarks.baselines.one_delivery import Sender, engine

PROCESSES = 2
app = Celery("baseline", broker=os.environ.get("BASELINE_BROKER", ""))
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@cache
def _sender() -> Sender:
    """One for each worker process, made by its first task."""
    return Sender(engine(os.environ["BASELINE_DATABASE"]))


@app.task(name="deliver")
def deliver(subscription_id: int) -> None:
    _sender().deliver(subscription_id)


@app.task(name="warm_up")
def warm_up() -> None:
    _sender()
    time.sleep(0.5)


def main() -> None:
    url, broker = sys.argv[1:]
    app.conf.broker_url = broker
    environ = {**os.environ, "BASELINE_DATABASE": url, "BASELINE_BROKER": broker}
    options = ("--pool", "prefork", "--concurrency", str(PROCESSES), "--loglevel", "WARNING", "--without-gossip")
    command = [sys.executable, "-m", "celery", "--app", __spec__.name, "worker", *options]
    worker = subprocess.Popen(command, env=environ, stdout=sys.stderr)
    try:
        sender = Sender(engine(url))
        _wait_until_ready(worker)
        began = time.perf_counter()
        due = sender.due()
        for subscription_id, _ in due:
            deliver.delay(subscription_id)
        _wait_for(sender, len(due), worker)
        print(json.dumps({"sent": len(due), "seconds": time.perf_counter() - began}))
    finally:
        worker.terminate()
        worker.wait()


def _wait_until_ready(worker: subprocess.Popen[bytes]) -> None:
    """Until the queue is empty of what warms its processes up: their imports and connections are not counted."""
    for _ in range(2 * PROCESSES):
        warm_up.delay()
    for _ in range(600):
        if _waiting() == 0:
            time.sleep(1.5)
            return
        if worker.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit("Celery's worker did not start; what it said stands above")


def _waiting() -> int:
    with app.connection_for_read() as connection:
        return int(connection.default_channel.queue_declare("celery", passive=True).message_count)


def _wait_for(sender: Sender, due: int, worker: subprocess.Popen[bytes]) -> None:
    asked = select(func.count()).select_from(models.deliveries)
    for _ in range(12_000):
        with sender.engine.connect() as connection:
            if connection.execute(asked).scalar_one() >= due:
                return
        if worker.poll() is not None:
            break
        time.sleep(0.02)
    sys.exit(f"not all {due} were sent; what Celery's worker said stands above")


if __name__ == "__main__":
    main()
