"""Values as PostgreSQL reads them in the text of an array or of COPY: much cheaper than one parameter a value.

Sources: https://www.postgresql.org/docs/current/arrays.html (8.15.6), …/sql-copy.html (text format).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import JSON, Boolean, DateTime, Integer, String, Uuid
from sqlalchemy.types import TypeDecorator, TypeEngine

Text = Callable[[Any], str]


def array(values: Collection[Any], of: TypeEngine[Any]) -> str:
    """The literal of an array of these values."""
    text, is_plain = text_of(of)
    written = text if is_plain else lambda value: _quoted(text(value))
    return "{" + ",".join(each([*values], lambda value: "NULL" if value is None else written(value))) + "}"


def copied(columns: Iterable[Sequence[Any]], types: Sequence[TypeEngine[Any]]) -> str:
    """The lines of COPY for rows that are given column by column."""
    written = [_column(values, of) for values, of in zip(columns, types, strict=True)]
    return "\n".join(map("\t".join, zip(*written, strict=True))) + "\n"


def _column(values: Sequence[Any], of: TypeEngine[Any]) -> list[str]:
    text, is_plain = text_of(of)
    written = text if is_plain else lambda value: _escaped(text(value))
    return each(values, lambda value: "\\N" if value is None else written(value))


def each(values: Sequence[Any], process: Callable[[Any], Any]) -> list[Any]:
    """What the process makes of each value; once, where they are all equal: nothing, or the same instant."""
    if values and isinstance(values[0], _ALIKE) and values.count(values[0]) == len(values):
        return [process(values[0])] * len(values)
    return [process(value) for value in values]


_ALIKE = (type(None), str, datetime)
"""Equal means alike. Not so in JSON, where 1 equals true."""


def text_of(of: TypeEngine[Any]) -> tuple[Text, bool]:
    """How one value of this type is written, and whether that needs no escaping."""
    match of.impl if isinstance(of, TypeDecorator) else of:
        case Uuid():
            return attrgetter("hex"), True
        case Boolean():
            return (lambda value: "t" if value else "f"), True
        case Integer():
            return str, True
        case DateTime():
            return _instant, True
        case JSON():
            return json.dumps, False
        case String():
            return str, False
        case _:
            raise NotImplementedError(f"say here how PostgreSQL reads {of!r}")


def _instant(value: Any) -> str:
    """Refuse naive datetimes: nobody knows which instant they are."""
    if value.tzinfo is None:
        raise ValueError(f"naive datetime {value}")
    return value.isoformat()  # type: ignore[no-any-return]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    return text if _NEEDS_NO_ESCAPE(text) else text.translate(_ESCAPES)


_NEEDS_NO_ESCAPE = re.compile(r"[^\\\t\n\r]*").fullmatch
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
