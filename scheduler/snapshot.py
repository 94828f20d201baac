"""What was shown: an insight's rows (or why there are none) as plain values, and their JSON in the contract's shape.

``content`` makes them, ``store`` keeps them, ``render`` and ``charts`` draw them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

Cell = None | bool | int | float | str
"""One value as JSON has it: dates and instants are ISO 8601 text, NaN and infinities are None."""


class Display(StrEnum):
    """How an insight is drawn."""

    NUMBER = "number"
    LINE = "line"
    BAR = "bar"
    AREA = "area"
    PIE = "pie"
    TABLE = "table"


class ColumnType(StrEnum):
    """What the cells of one column are; ``date`` is ``2026-11-22``, ``datetime`` is ``2026-11-22T09:00:00Z``."""

    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    DATETIME = "datetime"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The rows of one query: ``len(columns) == len(types) == len(row)`` for every row."""

    columns: tuple[str, ...]
    types: tuple[ColumnType, ...]
    rows: tuple[tuple[Cell, ...], ...]
    refreshed_at: datetime
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class QueryError:
    """Why there are no rows; ``message`` is for a person and free of secrets."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class InsightSnapshot:
    """One insight as it was when it was shown: exactly one of ``result`` and ``error``."""

    insight_id: int
    short_id: str
    name: str
    description: str
    display: Display
    result: QueryResult | None = None
    error: QueryError | None = None

    def as_json(self) -> dict[str, Any]:
        """This insight's entry in ``content_snapshot`` (api-contract, Delivery)."""
        entry: dict[str, Any] = {
            "id": self.insight_id,
            "short_id": self.short_id,
            "name": self.name,
            "description": self.description,
            "query_results": None,
        }
        if self.result is not None:
            entry["query_results"] = {
                "columns": list(self.result.columns),
                "types": list(self.result.types),
                "result": [list(row) for row in self.result.rows],
                "last_refresh": self.result.refreshed_at.isoformat().replace("+00:00", "Z"),
                "has_more": self.result.truncated,
            }
        if self.error is not None:
            entry["query_error"] = {"type": self.error.type, "message": self.error.message}
        return entry

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], *, display: Display) -> InsightSnapshot:
        """The inverse of :meth:`as_json`; how it is drawn is not part of the contract's shape."""
        rows, problem = entry["query_results"], entry.get("query_error")
        return cls(
            insight_id=entry["id"],
            short_id=entry["short_id"],
            name=entry["name"],
            description=entry["description"],
            display=display,
            result=None
            if rows is None
            else QueryResult(
                columns=tuple(rows["columns"]),
                types=tuple(ColumnType(name) for name in rows["types"]),
                rows=tuple(tuple(row) for row in rows["result"]),
                refreshed_at=datetime.fromisoformat(rows["last_refresh"]),
                truncated=rows["has_more"],
            ),
            error=None if problem is None else QueryError(problem["type"], problem["message"]),
        )
