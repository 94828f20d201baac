"""A RabbitMQ of our own: its own folder, ports and cookie, gone when the measurement is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.stage import Missing, free_port, wait_for_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's, without the wrapper that changes to the system's own user and settings."""


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Its URL. Raises :class:`Missing` when it is not installed."""
    if not SERVER.exists():
        raise Missing("RabbitMQ is not here: apt-get install --no-install-recommends rabbitmq-server")
    folder.mkdir()
    port, epmd = free_port(), free_port()
    environ = _environ(folder, port, epmd)
    with (folder / "broker.log").open("w") as log:
        broker = subprocess.Popen([SERVER], env=environ, stdout=log, stderr=log)
    try:
        wait_for_port(port)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        broker.terminate()
        broker.wait()
        subprocess.run(["epmd", "-port", str(epmd), "-kill"], env=environ, capture_output=True, check=False)


def _environ(folder: Path, port: int, epmd: int) -> dict[str, str]:
    (folder / "plugins").write_text("[].")
    ours = {
        "NODENAME": f"bench{port}@localhost",
        "NODE_IP_ADDRESS": "127.0.0.1",
        "NODE_PORT": str(port),
        "DIST_PORT": str(free_port()),
        "MNESIA_BASE": str(folder),
        "LOG_BASE": str(folder),
        "PID_FILE": str(folder / "pid"),
        "ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "CONF_ENV_FILE": str(folder / "none.conf"),
        "CONFIG_FILE": str(folder / "none"),
    }
    here = {"HOME": str(folder), "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1"}
    return {**os.environ, **{f"RABBITMQ_{name}": value for name, value in ours.items()}, **here}
