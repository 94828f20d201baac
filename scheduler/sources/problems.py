"""Why there are no rows: the kinds, the exception that carries one, and its text without secrets."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import quote, quote_plus

from sqlalchemy.engine import URL

NOT_ROWS = "The query did not answer with rows; write a SELECT."


class Problem(StrEnum):
    """``QueryError.type``: why there are no rows."""

    UNAVAILABLE = "SourceUnavailable"  # no connection, no file, no driver, or the connection broke
    FAILED = "QueryFailed"  # the database did not like the query
    TIMEOUT = "QueryTimeout"  # stopped after its time was up
    REFUSED = "QueryRefused"  # it would write, or is not a query


class Failure(Exception):
    """A database's answer on its way to ``QueryError``; the text may still hold secrets."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


def without_secrets(message: str, source: URL) -> str:
    """Its first line, short, without the URL, the password or anything in the URL that is called so."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "The database gave no reason.")
    secrets = [source.render_as_string(hide_password=False), str(source.password or "")]
    secrets += [str(value) for name, value in source.query.items() if re.search("pass|secret|token|key", name)]
    spellings = {spelling for secret in secrets for spelling in (secret, quote(secret, safe=""), quote_plus(secret))}
    for spelling in sorted(filter(None, spellings), key=len, reverse=True):
        line = line.replace(spelling, "***")
    return line if len(line) <= 300 else line[:299] + "…"
