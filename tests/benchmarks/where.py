"""Where the CPU goes while webhooks or e-mails are sent: what a sampling profiler finds, by what it was spent on.

py-spy looks two hundred times a second from outside; a sample counts for the innermost part that is known by its name.
Samples that wait, for the network or for a thread's next task, do not count; nor does starting.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import aiosqlite.core

from tests.benchmarks import stage
from tests.benchmarks.figures import Figure, Results
from tests.benchmarks.sending import RUN_DUE, Scene, mail_sink, prepare_scene
from tests.benchmarks.sizes import Sizes

PART = "where the CPU goes"
KNOWN = {
    "SQLite itself": r"_connection_worker_thread",
    "HTTP client": r"aiohttp/|yarl/|multidict|channels/(http|outbound|dialling|checked)|hand_over",
    "ledger": r"scheduler/store/|scheduler/(db|consequences|recorder)\.py|sqlalchemy/|psycopg|aiosqlite/",
    "MIME, SMTP": r"channels/(mime|smtp|email)|aiosmtplib|/email/|base64\.py|quopri",
    "payload, signature": r"scheduler/app\.py|channels/webhook|json/|standardwebhooks|hmac\.py",
    "words, pages": r"scheduler/(render|content)\.py|jinja2|<template>|css_inline|templates/",
    "next dates": r"scheduler/(recurrence|catchup|periods|zones)\.py",
    "delivery.py, lanes": r"scheduler/(delivery|lanes|judging)\.py",
    "event loop": r"asyncio/|selectors\.py",
}
WAITS = re.compile(
    r"^(select \(selectors|EpollSelector\.select|_worker \(concurrent|ThreadedChildWatcher\._do_waitpid)"
)
STARTS = re.compile(r"importlib\._bootstrap|load_default_certs|create_default_context")


def measure(sizes: Sizes, results: Results) -> None:
    profiler = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if profiler is None:
        results.skip(PART, "py-spy is not here: pip install py-spy")
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hook, mail = stack.enter_context(stage.sink()), mail_sink(stack, sizes, results)
        due = {"webhook": sizes.deliveries} | ({} if mail is None else {"e-mail": sizes.deliveries // 10})
        for database, url in stage.urls(sizes.databases, folder).items():
            for kind, count in due.items():
                scene = Scene(database, url, folder, hook, mail, kind)
                asyncio.run(prepare_scene(scene, count))
                results.add(PART, f"{database}, {count:,} {kind}", _shares(_sampled(profiler, scene)))


def _sampled(profiler: str, scene: Scene) -> list[str]:
    """Stacks, outermost first, each with its count (py-spy's raw format)."""
    out = scene.folder / "stacks"
    command = [
        profiler,
        "record",
        "--rate",
        "200",
        "--format",
        "raw",
        "--threads",
        "--output",
        str(out),
        "--",
        *RUN_DUE,
    ]
    ran = subprocess.run(command, cwd=scene.folder, env=scene.environ, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"py-spy: exit {ran.returncode}\n{ran.stderr[-2000:]}")
    return out.read_text().splitlines()


def _shares(stacks: Iterable[str]) -> dict[Figure, float]:
    """Per cent of all samples in which something was done."""
    spent: Counter[str] = Counter()
    queue_line = _line_of(aiosqlite.core._connection_worker_thread, "tx.get()")
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        waits = WAITS.match(frames[-1]) or frames[-1].endswith(f"aiosqlite/core.py:{queue_line})")
        if len(frames) > 1 and not waits and not STARTS.search(stack):
            spent[_spent_on(frames)] += int(count)
    return {Figure(f"{what} %", "%"): 100 * count / spent.total() for what, count in spent.most_common()}


def _line_of(function: Callable[..., object], text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


def _spent_on(frames: Iterable[str]) -> str:
    for frame in reversed(list(frames)):
        for what, pattern in KNOWN.items():
            if re.search(pattern, frame):
                return what
    return "other"
