"""The real command in a real folder, with real receivers on free ports."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from channels.receivers import SlackReceiver, SmtpReceiver, WebhookReceiver
from tests.e2e.warm import Warm, can_say

COMMAND = Path(sys.executable).parent / "paperround"
SALES = "CREATE TABLE sales (day TEXT, amount INT); INSERT INTO sales VALUES ('2026-11-20', 10), ('2026-11-21', 30);"


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Installation:
    """A folder, its environment, and the command to run there."""

    folder: Path
    environ: dict[str, str]
    smtp: SmtpReceiver
    slack: SlackReceiver
    webhook: WebhookReceiver
    source_url: str
    warm: Warm
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(
        self, *arguments: str, environ: Mapping[str, str] | None = None, **options: Any
    ) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            cwd=self.folder,
            env=self.environ | dict(environ or {}),
            stdin=options.pop("stdin", asyncio.subprocess.DEVNULL),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.started.append(process)
        return process

    async def run(self, *arguments: str, text: str | None = None, environ: Mapping[str, str] | None = None) -> Finished:
        """Run to the end; ``text`` is what it reads on standard input."""
        every = self.environ | dict(environ or {})
        if can_say(every):
            return Finished(*await self.warm.run(arguments, folder=self.folder, environ=every, text=text or ""))
        process = await self.start(*arguments, environ=environ, stdin=asyncio.subprocess.PIPE)
        out, err = await process.communicate((text or "").encode())
        return Finished(process.returncode or 0, out.decode(), err.decode())

    async def must(self, *arguments: str, text: str | None = None) -> Any:
        """Run with ``--json``; its document, once it went well."""
        finished = await self.run(*arguments, "--json", text=text)
        assert finished.code == 0, finished.err
        return finished.json

    async def prepare(self) -> int:
        """Initialise, add the source and an insight; the insight's id."""
        await self.must("init")
        await self.must("sources", "add", "Shop", "--kind", "sql", "--url", self.source_url)
        query = "SELECT day, amount FROM sales ORDER BY day"
        added = await self.must("insights", "add", "Sales", "--source", "Shop", "--sql", query, "--display", "line")
        return int(added["id"])

    async def signing_secret(self) -> str:
        revealed = await self.must("integrations", "show", "Webhook signature", "--reveal")
        return str(revealed["secrets"][0])


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """One for all tests of this worker."""
    warm = Warm()
    yield warm
    warm.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def installation(request: pytest.FixtureRequest, tmp_path: Path, warm: Warm) -> AsyncIterator[Installation]:
    """Not yet initialised; on SQLite the source is SQLite, too, on PostgreSQL it is PostgreSQL."""
    if request.param == "sqlite":
        database_url, source_url = f"sqlite:///{tmp_path / 'paperround.db'}", f"sqlite:///{tmp_path / 'shop.db'}"
        connection = sqlite3.connect(tmp_path / "shop.db")
        connection.executescript(SALES)
        connection.close()
    else:
        database_url = source_url = request.getfixturevalue("postgres_url")
        with psycopg.connect(source_url) as shop:
            shop.execute(SALES)
    async with SmtpReceiver() as smtp, SlackReceiver() as slack, WebhookReceiver() as webhook:
        installation = Installation(
            folder=tmp_path,
            environ={
                **{name: value for name, value in os.environ.items() if not name.startswith("PAPERROUND_")},
                "PAPERROUND_DATABASE_URL": database_url,
                "PAPERROUND_SMTP_URL": f"{smtp.url}?starttls=never",
                "PAPERROUND_SLACK_API_URL": slack.url,
                "PAPERROUND_ALLOW_HOSTS": "127.0.0.1",
                "PAPERROUND_EMAIL_FROM": "Paperround <numbers@example.org>",
            },
            smtp=smtp,
            slack=slack,
            webhook=webhook,
            source_url=source_url,
            warm=warm,
        )
        yield installation
        for process in installation.started:
            if process.returncode is None:
                process.kill()
                await process.communicate()
