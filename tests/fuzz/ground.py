"""What is fuzzed: a real service on a free port of this machine, with something of everything in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from scheduler.app import initialise, opened
from scheduler.demo.shop import DEMO_INSIGHTS, create_shop
from scheduler.settings import Settings, load_settings

SECRET_KEY = "a-secret-key-for-fuzzing-only-0123456789"
COMMAND = Path(sys.executable).parent / "paperround"
NOBODY = "http://127.0.0.1:9/"
"""Where Slack would be: the discard port, at which nobody answers."""


@dataclass(frozen=True, slots=True)
class Service:
    """A process that ticks and answers; ``key`` may do everything."""

    process: subprocess.Popen[bytes]
    folder: Path
    environ: dict[str, str]
    url: str
    key: str
    key_id: int

    def complaints(self) -> list[str]:
        """What is wrong with it by now: it has ended, it logged an error, its ledger does not hold together."""
        verify = [COMMAND, "verify", "--json"]
        verified = subprocess.run(
            verify, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        wrong = [f"the ledger: {verified.stdout}{verified.stderr}"] if verified.returncode else []
        if self.process.poll() is not None:
            wrong.append(f"the service has ended, with {self.process.returncode}")
        return wrong + [line for line in _log(self.folder) if _is_a_complaint(line)]


@contextmanager
def service(folder: Path, database_url: str | None = None) -> Iterator[Service]:
    """One in ``folder``, until the end of the block: on SQLite there, unless an empty PostgreSQL database is given."""
    url = database_url or f"sqlite:///{folder}/paperround.db"
    settings = load_settings(database_url=url, secret_key=SECRET_KEY)
    key, key_id = asyncio.run(_prepare(settings, folder))
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PAPERROUND_")},
        "PAPERROUND_DATABASE_URL": url,
        "PAPERROUND_SECRET_KEY": SECRET_KEY,
        "PAPERROUND_SLACK_API_URL": NOBODY,
        "PAPERROUND_REQUESTS_A_MINUTE": "0",
        "PAPERROUND_TESTS_A_MINUTE": "0",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([COMMAND, "serve", "--port", "0"], cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        yield Service(process, folder, environ, _listening(process, folder), key, key_id)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


async def _prepare(settings: Settings, folder: Path) -> tuple[str, int]:
    """A source, an insight, a dashboard and a credential, each number 1; a key and its id."""
    await initialise(settings, project="Fuzzed", owner_email="owner@example.org")
    create_shop(folder / "shop.db", today=date(2026, 11, 22))
    async with opened(settings) as app:
        project = await app.project()
        source = await app.catalog.add_source(project, "Shop", f"sqlite:///{folder / 'shop.db'}")
        shown = DEMO_INSIGHTS[0]
        insight = await app.catalog.add_insight(
            project, shown.name, source=source.id, sql=shown.sql, display=shown.display
        )
        await app.catalog.add_dashboard(project, "Board", insights=[insight.id])
        await app.catalog.add_slack(project, "Slack", token="xoxb-of-nobody")
        key, value = await app.keys.create(await app.owner(project), name="Fuzz", scopes=["*"])
        return value, key.id


def _listening(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Its address, once it is ready."""
    while process.poll() is None:
        events = {event["event"]: event for event in map(_event, _log(folder))}
        if "service.ready" in events:
            return f"http://127.0.0.1:{events['service.listening']['port']}"
        time.sleep(0.05)
    raise RuntimeError("\n".join(_log(folder)))


def _log(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def _event(line: str) -> dict[str, Any]:
    """A line of the log, an empty one when it is something else."""
    found: dict[str, Any] = json.loads(line) if line.startswith("{") and line.endswith("}") else {"event": ""}
    return found


def _is_a_complaint(line: str) -> bool:
    """A traceback, a warning of Python's, or what the service itself calls an error."""
    of_the_web_server = "Invalid HTTP request received." in line  # that is how it says what it refused by itself
    return not of_the_web_server and _event(line).get("level") not in {"debug", "info", "warning"}
