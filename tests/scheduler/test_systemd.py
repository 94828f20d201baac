"""The other end is a real Unix datagram socket, as systemd's is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.systemd import READY, STOPPING, WATCHDOG, notify, status, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and its name as NOTIFY_SOCKET has it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@paperround-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        listener.setblocking(False)
        yield listener, name


@pytest.mark.parametrize("state", [READY, WATCHDOG, STOPPING, f"{READY}\n{status('3 ready – serving')}"])
def test_systemd_hears_each_state_as_one_datagram(manager: tuple[socket.socket, str], state: str) -> None:
    listener, name = manager

    assert notify(state, socket_path=name)

    assert listener.recv(4096).decode() == state


def test_a_status_is_one_line() -> None:
    assert status(" 3 ready\nREADY=1 ") == "STATUS=3 ready READY=1"


@pytest.mark.parametrize(
    "socket_path",
    [
        None,
        "",
        "relative",
        "vsock:2:1234",
        "/nowhere/notify",
        "@nobody-listens-here",
        "/run/\0x",
        "/" + "x" * 200,
        "/\ud800",
    ],
)
def test_without_a_listener_nothing_happens(socket_path: str | None) -> None:
    assert not notify(READY, socket_path=socket_path)


def test_a_listener_that_reads_nothing_does_not_hold_us_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.systemd._PATIENCE", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))

        assert notify(WATCHDOG, socket_path=str(tmp_path / "deaf"))
        while notify(WATCHDOG, socket_path=str(tmp_path / "deaf")):
            pass  # until its queue is full; the test's own time-out says if that never comes


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, timedelta(seconds=15)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, timedelta(seconds=15)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_must(environ: dict[str, str], interval: timedelta | None) -> None:
    assert watchdog_interval(environ) == interval
