"""Celery as it is used here: one queue of messages with ids, carried once; everything else it can do is off."""

from __future__ import annotations

from typing import Any, ClassVar

from celery import Celery
from celery.worker.consumer import Consumer

QUEUE = "paperround"
EXECUTE = "paperround.execute"
"""The one task's name; its one argument is a list of ids."""
CONNECT_SECONDS = 4
"""So long the broker may take to answer a connection, and to confirm a message."""
LONGEST_MESSAGE_SECONDS = 300
"""Redis only: what a message takes at most, beside the lease; one that takes longer comes twice, which does no harm."""


class _Consumer(Consumer):  # type: ignore[misc]
    """Without what carries messages later (28 more queues), and without workers' talk among themselves."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        default_steps: ClassVar = [
            step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
        ]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "without_gossip": True, "without_mingle": True})


def celery_app(broker_url: str, *, lease_seconds: int) -> Celery:
    """The application for both sides; it has asked nobody anything yet.

    Sources: https://docs.celeryq.dev/en/stable/userguide/configuration.html,
    https://www.rabbitmq.com/docs/quorum-queues.
    """
    app = Celery("paperround", set_as_current=False)
    app.conf.update(
        broker_url=broker_url,
        broker_connection_timeout=CONNECT_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker outlives any absence of its broker
        broker_transport_options=_transport_options(broker_url, lease_seconds=lease_seconds),
        task_default_queue=QUEUE,
        task_default_queue_type="quorum",  # survives the broker's death, and on a cluster that of a machine
        task_default_exchange_type="direct",
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_publish_retry=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        worker_consumer=f"{__name__}:_Consumer",
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # what is claimed is sent and recorded all the same
        enable_utc=True,
    )
    return app


def _transport_options(broker_url: str, *, lease_seconds: int) -> dict[str, Any]:
    if broker_url.startswith("redis"):
        patience = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": 4 * CONNECT_SECONDS}
        return {"visibility_timeout": lease_seconds + LONGEST_MESSAGE_SECONDS, **patience}
    return {"confirm_publish": True, "read_timeout": None, "write_timeout": CONNECT_SECONDS}
