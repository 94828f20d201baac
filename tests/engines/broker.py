"""A RabbitMQ of our own: its own folder, ports, cookie and port mapper; it can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's, without the wrapper that changes to the system's own user and settings."""
MISSING = "RabbitMQ is not installed: apt-get install --no-install-recommends rabbitmq-server"
START_SECONDS = 60.0


def is_installed() -> bool:
    return SERVER.exists() and shutil.which("epmd") is not None


class Broker:
    """One node in ``folder``, on a free port of 127.0.0.1, which it keeps however often it is started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._dist, self._epmd = _free_ports(3)
        self._mapper: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None
        (folder / "plugins").write_text("[].")

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with (self._folder / "broker.log").open("a") as log:
            if self._mapper is None:
                self._mapper = subprocess.Popen(
                    ["epmd", "-port", str(self._epmd), "-address", "127.0.0.1"], stdout=log, stderr=log
                )
            self._node = subprocess.Popen([SERVER], env=self._environ(), stdout=log, stderr=log, start_new_session=True)
        self.wait()

    def wait(self) -> None:
        """Until it says the first word of AMQP."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=2) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                if connection.recv(1):
                    return
            assert self._node is not None
            assert self._node.poll() is None, (self._folder / "broker.log").read_text()[-2000:]
            time.sleep(0.1)
        raise TimeoutError((self._folder / "broker.log").read_text()[-2000:])

    def kill(self) -> None:
        """As kill -9 does it: the node and whatever it has started."""
        if self._node is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._node.pid, signal.SIGKILL)
            self._node.wait()
            self._node = None

    def close(self) -> None:
        """Nothing stays: a node that is thrown away needs no orderly end."""
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()

    def _environ(self) -> dict[str, str]:
        ours = {
            "NODENAME": f"tests{self._port}@localhost",
            "NODE_IP_ADDRESS": "127.0.0.1",
            "NODE_PORT": str(self._port),
            "DIST_PORT": str(self._dist),
            "MNESIA_BASE": str(self._folder),
            "LOG_BASE": str(self._folder),
            "PID_FILE": str(self._folder / "pid"),
            "ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "CONF_ENV_FILE": str(self._folder / "none.conf"),
            "CONFIG_FILE": str(self._folder / "none"),
        }
        here = {"HOME": str(self._folder), "ERL_EPMD_PORT": str(self._epmd), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        return {**os.environ, **{f"RABBITMQ_{name}": value for name, value in ours.items()}, **here}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis of our own, which keeps nothing on disk; its URL."""
    [port] = _free_ports(1)
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    server = subprocess.Popen(["redis-server", *where, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """A running one; gone at the end."""
    started = Broker(folder)
    try:
        started.start()
        yield started
    finally:
        started.close()
