"""The real command in a process of its own, forked from one that has imported it: without the second that this takes.

``Warm`` is the tests' side, ``python -m tests.e2e.warm`` the other. What an order cannot say to a process that runs
already (``LD_PRELOAD``, Python's own variables) is for the installed command; so are signals and terminals.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LARGEST_ORDER = 150_000


class Warm:
    """Runs commands to their end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.warm", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._orders = ours

    async def run(
        self, arguments: Sequence[str], *, folder: Path, environ: Mapping[str, str], text: str
    ) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        ended, tell = os.pipe()
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            stdin.write(text.encode())
            stdin.seek(0)
            order = json.dumps({"arguments": list(arguments), "folder": str(folder), "environ": dict(environ)})
            places = [each.fileno() for each in (stdin, stdout, stderr)]
            socket.send_fds(self._orders, [order.encode()], [*places, tell])
            os.close(tell)
            code = await asyncio.to_thread(os.read, ended, 10)
            os.close(ended)
            stdout.seek(0)
            stderr.seek(0)
            return int(code), stdout.read().decode(), stderr.read().decode()

    def close(self) -> None:
        """It ends when nobody can give orders any longer."""
        self._orders.close()
        self._process.wait(timeout=10)


def can_say(environ: Mapping[str, str]) -> bool:
    """Whether these variables mean the same to a process that was started before they were set."""
    early = {**environ, **os.environ}
    return all(
        environ.get(name) == os.environ.get(name) for name in early if name.startswith(("LD_", "PYTHON", "FAKETIME"))
    )


# ── the other side ───────────────────────────────────────────────────────────────────────────────────────────────────


def main() -> None:

    orders = socket.socket(fileno=int(sys.argv[1]))
    gc.freeze()
    with selectors.DefaultSelector() as waiting:
        waiting.register(orders, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not orders:
                    waiting.unregister(key.fileobj)
                    _tell(*key.data)
                elif not _take(orders, waiting):
                    return


def _take(orders: socket.socket, waiting: selectors.BaseSelector) -> bool:
    """Start what is ordered; False when nobody is there any longer."""
    text, places, _, _ = socket.recv_fds(orders, LARGEST_ORDER, 4)
    if not text:
        return False
    *standard, tell = places
    pid = os.fork()
    if pid == 0:
        _become(json.loads(text), standard)
    for place in standard:
        os.close(place)
    process = os.pidfd_open(pid)
    waiting.register(process, selectors.EVENT_READ, (pid, process, tell))
    return True


def _tell(pid: int, process: int, tell: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(process)
    os.write(tell, str(code).encode())
    os.close(tell)


def _become(order: dict[str, Any], standard: Sequence[int]) -> None:
    """The process of the real command; never returns."""
    from scheduler.cli import main as command

    code: Any = 70  # EX_SOFTWARE
    try:
        for place, descriptor in enumerate(standard):
            os.dup2(descriptor, place)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environ"])
        time.tzset()
        sys.argv = ["paperround", *order["arguments"]]
        command()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
