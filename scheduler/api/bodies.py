"""JSON in, strictly read, and JSON out: what would become a riddle further in is refused at the door."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from fastapi import Request

from scheduler.api.errors import WRONG, Refused
from scheduler.errors import InvalidField

_NOT_AT_ALL = re.compile(r"\bq\s*=\s*0(\.0*)?\s*$")

LARGEST = 1_000_000
"""Bytes."""
DEEPEST = 20
MOST = 10_000
"""Values, and five times as many brackets: a megabyte may hold 300,000 lists, and to read those takes a second."""
LARGEST_NUMBER = 10**18
"""Both databases keep whole numbers below it."""


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; an empty one is ``{}``.

    Raises :class:`Refused` (413, 415, 400 ``parse_error``) and :class:`InvalidField` for a value that no field takes.
    """
    raw = await _limited(request)
    if not raw.strip():
        return {}
    if not _is_json(request.headers.get("content-type", "application/json")):
        raise Refused(415, WRONG, "error", "Send JSON: `Content-Type: application/json`.")
    found = _parsed(raw)
    if not isinstance(found, dict):
        raise InvalidField(None, "The body must be a JSON object.")
    _check(found)
    return found


async def accepts_json(request: Request) -> None:
    """A dependency: whoever asks takes JSON, which is all there is. Raises :class:`Refused` (RFC 9110, 12.5.1)."""
    ranges = [each.partition(";") for each in request.headers.get("accept", "").lower().split(",") if each.strip()]
    taken = {name.strip() for name, _, weight in ranges if not _NOT_AT_ALL.search(weight)}
    if ranges and taken.isdisjoint({"*/*", "application/*", "application/json"}):
        raise Refused(406, WRONG, "error", "The answer is JSON: send `Accept: application/json`, or no such header.")


async def _limited(request: Request) -> bytes:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LARGEST:
            raise Refused(413, WRONG, "error", f"The body is larger than {LARGEST:,} bytes.")
    return bytes(raw)


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _parsed(raw: bytes) -> Any:
    try:
        _count_brackets(raw)
        return json.loads(raw.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as problem:
        said = str(problem) if isinstance(problem, _Unwelcome) else "it is not JSON in UTF-8"
        raise Refused(400, WRONG, "parse_error", f"The body cannot be read: {said}.") from None


class _Unwelcome(ValueError):
    """JSON that the grammar, or Python, lets through."""


def _count_brackets(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") > 5 * MOST:  # some stand in texts
        raise _Unwelcome("it has too many lists and objects")


def _no_number(text: str) -> float:
    raise _Unwelcome(f"{text} is not a number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unwelcome("a name stands twice in an object")
    return found


def _check(body: dict[str, Any]) -> None:
    seen = 0
    for field, value in body.items():
        if not _is_plain(field):
            raise InvalidField(None, "The body's names must be without NUL characters and lone surrogates.")
        for depth, each in _within(value):
            _check_value(field, each, depth)
            seen += 1
            if seen > MOST:
                raise InvalidField(field, f"is too much: a body has at most {MOST:,} values.")


def _check_value(field: str, value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise InvalidField(field, "is nested too deeply.")
    if isinstance(value, str) and not _is_plain(value):
        raise InvalidField(field, "must be text without NUL characters and lone surrogates.")
    if isinstance(value, int | float) and abs(value) >= LARGEST_NUMBER:
        raise InvalidField(field, "is too large a number.", code="max_value")


def _within(value: Any) -> Iterator[tuple[int, Any]]:
    """The value and all that is in it, each with its depth; no recursion, whatever somebody sends."""
    waiting = [(1, value)]
    while waiting:
        depth, each = waiting.pop()
        yield depth, each
        if depth <= DEEPEST and isinstance(each, dict):
            waiting += [(depth + 1, part) for pair in each.items() for part in pair]
        elif depth <= DEEPEST and isinstance(each, list):
            waiting += [(depth + 1, part) for part in each]


def _is_plain(text: str) -> bool:
    """Neither database keeps a NUL, and half a pair of surrogates is no character in UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text
