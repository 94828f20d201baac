"""What Celery may do here, and what not."""

from __future__ import annotations

import pytest

from scheduler.engines.base import MESSAGE
from scheduler.engines.celery_app import QUEUE, _Consumer, celery_app


def test_the_queue_outlives_a_broker_and_every_message_is_confirmed() -> None:
    app = celery_app("amqp://guest@localhost//", lease_seconds=30)

    assert app.amqp.queues[QUEUE].queue_arguments == {"x-queue-type": "quorum"}
    assert app.conf.broker_transport_options["confirm_publish"] is True


def test_a_dead_workers_message_goes_to_another_and_nothing_else_is_decided_by_celery() -> None:
    conf = celery_app("amqp://guest@localhost//", lease_seconds=30).conf

    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (True, True, 1)
    assert (conf.task_ignore_result, conf.result_backend, conf.task_publish_retry) == (True, None, False)
    assert (conf.worker_enable_remote_control, conf.worker_send_task_events) == (False, False)
    assert conf.accept_content == ["json"]
    assert not any("DelayedDelivery" in step for step in _Consumer.Blueprint.default_steps)
    assert 20 <= MESSAGE <= 200


@pytest.mark.parametrize("lease", [2, 30, 3600])
def test_on_redis_a_message_comes_again_only_after_the_lease(lease: int) -> None:
    app = celery_app("redis://localhost/0", lease_seconds=lease)

    assert app.conf.broker_transport_options["visibility_timeout"] > lease
