"""``serve --workers``: further processes that send, and live no longer than the service."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("installation", ["sqlite"], indirect=True)]


async def test_workers_start_with_the_service_are_replaced_when_they_die_and_stop_with_it(
    installation: Installation,
) -> None:
    await installation.must("init")
    service = await installation.start("serve", "--port", "0", "--workers", "1", "--json")
    first = await _pid_of_next_worker(service)
    os.kill(first, signal.SIGKILL)
    second = await _pid_of_next_worker(service)

    service.send_signal(signal.SIGTERM)
    await service.communicate()

    assert service.returncode == 0
    assert first != second
    assert not _is_alive(second)


async def test_workers_end_when_the_service_is_killed(installation: Installation) -> None:
    await installation.must("init")
    service = await installation.start("serve", "--port", "0", "--workers", "1", "--json")
    worker = await _pid_of_next_worker(service)

    service.kill()

    async with asyncio.timeout(60):
        while _is_alive(worker):
            await asyncio.sleep(0.05)


async def _pid_of_next_worker(service: asyncio.subprocess.Process) -> int:
    assert service.stderr is not None
    async with asyncio.timeout(60):
        async for line in service.stderr:
            event = json.loads(line)
            if event["event"] == "worker.started":
                return int(event["pid"])
    raise AssertionError("no worker was started")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
