"""Has imported everything and forks a process for each order: a cycle costs no start-up of the interpreter.

Orders come as JSON lines on standard input; for each, one line says which process was started, another how it ended.
The process runs the real command's code and is killed for real: by itself at a fail point, by the receiver, or here.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import aiosqlite
import alembic.command
import alembic.config
import apscheduler.triggers.date
import apscheduler.triggers.interval
import psycopg
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite.aiosqlite
import uvicorn.lifespan.off
import uvicorn.loops.auto
import uvicorn.protocols.http.auto
import uvicorn.protocols.websockets.auto

import scheduler.serving
from scheduler.cli import running
from tests.crash import points

NEEDED_LATER = (
    aiosqlite,
    alembic.command,
    alembic.config,
    apscheduler.triggers.date,
    apscheduler.triggers.interval,
    psycopg,
    sqlalchemy.dialects.postgresql.psycopg,
    sqlalchemy.dialects.sqlite.aiosqlite,
    uvicorn.lifespan.off,
    uvicorn.loops.auto,
    uvicorn.protocols.http.auto,
    uvicorn.protocols.websockets.auto,
    scheduler.serving,
)
"""What the command imports only when it runs."""

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1  # prctl(2)
IN_MODIFY = 0x2  # inotify(7)
LONGEST_EXIT = 60.0
"""Seconds a process gets to end after SIGTERM; then it is killed, and that is reported."""


def main() -> None:
    gc.freeze()  # a collection in the child would copy every page it shares with us
    for line in sys.stdin:
        order = json.loads(line)
        started_at = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _become(order)
        print(json.dumps({"pid": pid, "started_at": started_at}), flush=True)
        print(json.dumps(_watch(pid, order)), flush=True)


def _become(order: dict[str, Any]) -> None:
    """The process of the real command; never returns."""
    code = 0
    try:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it must not outlive a harness that was interrupted
        null, log = os.open(os.devnull, os.O_RDONLY), os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor, place in ((null, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, place)
        if order["database_url"] is not None:
            os.environ["PAPERROUND_DATABASE_URL"] = order["database_url"]
        points.install(order["point"], order["nth"])
        if order["command"] == "init":
            running.init(project="Crash", email="owner@example.org", as_json=True)
        else:
            running.serve(host="127.0.0.1", port=0, workers=0, sending_only=False, as_json=True)
    except BaseException:  # noqa: BLE001 - typer.Exit and SystemExit, too: this is where the process ends
        traceback.print_exc()
        code = 70  # EX_SOFTWARE
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch(pid: int, order: dict[str, Any]) -> dict[str, Any]:
    """Kill it when its time has come, unless something else did; how it ended."""
    process = os.pidfd_open(pid)
    changes = _changes_of(order["database"]) if order["point"] == points.CHECKPOINT else None
    poll = select.poll()
    for descriptor in (process, changes):
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
    ready = [descriptor for descriptor, _ in poll.poll(1000 * order["seconds"])]
    killed_at = time.monotonic()
    is_ours = process not in ready
    if is_ours:
        os.kill(pid, order["signal"])
        _end(process, pid)
    _, status = os.waitpid(pid, 0)
    ended_at = time.monotonic()
    for descriptor in (process, changes):
        if descriptor is not None:
            os.close(descriptor)
    return {
        "killed_at": killed_at,
        "ended_at": ended_at,
        "hit": changes in ready if changes is not None else not is_ours and order["point"] is not None,
        "code": os.waitstatus_to_exitcode(status),
    }


def _end(process: int, pid: int) -> None:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    if not poll.poll(1000 * LONGEST_EXIT):
        os.kill(pid, signal.SIGKILL)


def _changes_of(path: str) -> int:
    """Readable as soon as the file is written to; a database in WAL mode is, by checkpoints alone."""
    descriptor = int(LIBC.inotify_init1(os.O_NONBLOCK))
    if descriptor < 0 or LIBC.inotify_add_watch(descriptor, os.fsencode(Path(path)), IN_MODIFY) < 0:
        raise OSError(ctypes.get_errno(), f"cannot watch {path}")
    return descriptor


if __name__ == "__main__":
    main()
