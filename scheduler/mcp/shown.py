"""Rows of the API as an agent needs them: short, without nulls, a webhook by its host, counts instead of contents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from channels.registry import shown as shown_as
from scheduler.mcp.fields import SUBSCRIPTION_ROW
from scheduler.recurrence import Weekday
from scheduler.subscriptions import RECURRENCE
from scheduler.zones import zone

MOST_ROWS = 50
"""So many of an insight's rows are shown to an agent who asks for them."""

WEEK = tuple(Weekday)

Row = Mapping[str, Any]


def without_nulls(row: Row) -> dict[str, Any]:
    """What there is to say."""
    return {name: value for name, value in row.items() if value is not None and value not in ("", [])}


# ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────────────


def subscription_row(row: Row) -> dict[str, Any]:
    """One of many."""
    shown = {**row, **_local(row, "next_delivery_date"), "state": _state(row), "target_value": _target(row)}
    return without_nulls({name: shown.get(name) for name in SUBSCRIPTION_ROW})


def subscription(row: Row) -> dict[str, Any]:
    """One, with its whole recurrence."""
    kept = ("dashboard_export_insights", "integration_id", "catch_up", "catch_up_hours", "created_at")
    more = {name: row[name] for name in (*RECURRENCE, *kept)} | _local(row, "start_date", "until_date")
    summaries = {name: row[name] for name in ("summary_enabled", "summary_prompt_guide") if row["summary_enabled"]}
    summaries |= {"spread_minutes": row["spread_minutes"]} if "spread_minutes" in row else {}
    by = {"created_by": row["created_by"]["email"]}
    return {**subscription_row(row), **without_nulls(more), **summaries, **by}


def _local(row: Row, *names: str) -> dict[str, str]:
    """Instants as the clocks of the subscription's zone show them: what an agent repeats to a person."""
    tz = zone(row["timezone"])
    given = {name: row[name] for name in names if row[name] is not None}
    return {name: datetime.fromisoformat(at).astimezone(tz).isoformat() for name, at in given.items()}


def _target(row: Row) -> str:
    value = str(row["target_value"])
    return shown_as("webhook", value) if row["target_type"] == "webhook" else value


def _state(row: Row) -> str:
    if row["deleted"]:
        return "removed"
    if not row["enabled"]:
        return "disabled" if row["last_error"] else "paused"
    return "ended" if row["next_delivery_date"] is None else "on"


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def delivery_row(row: Row) -> dict[str, Any]:
    """One of many: how it went, and for how many recipients."""
    kept = ("id", "subscription", "status", "trigger_type", "scheduled_at", "created_at", "finished_at")
    counts = Counter(each["status"] for each in row["recipient_results"])
    return without_nulls(
        {**{name: row[name] for name in kept}, "recipients": dict(counts), "error": _message(row["error"])}
    )


def delivery(row: Row, *, rows: bool) -> dict[str, Any]:
    """One, with what happened to every recipient; with ``rows`` also what they were shown."""
    content = [_content(each, rows=rows) for each in row["content_snapshot"]["insights"]]
    return delivery_row(row) | without_nulls(
        {
            "target_type": row["target_type"],
            "target_value": row["target_value"],
            "recipient_results": [_recipient(each) for each in row["recipient_results"]],
            "content": content,
            "change_summary": row["change_summary"],
        }
    )


def _recipient(result: Row) -> dict[str, Any]:
    kept = ("recipient", "status", "attempts", "sent_at", "next_attempt_at")
    return without_nulls({**{name: result[name] for name in kept}, "error": _message(result.get("error"))})


def _content(insight: Row, *, rows: bool) -> dict[str, Any]:
    about = {"insight": insight["id"], "name": insight["name"]}
    found = insight["query_results"]
    if found is None:
        return about | without_nulls({"error": _message(insight.get("query_error"))})
    result = found["result"]
    shown = {"rows": result[:MOST_ROWS], "rows_left_out": len(result) > MOST_ROWS} if rows else {}
    return {**about, "columns": found["columns"], "row_count": len(result), **shown}


def _message(error: Row | None) -> str | None:
    return None if error is None else str(error["message"])


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def preview(found: Row) -> dict[str, Any]:
    """The next occurrences, each with its weekday, which agents get wrong when they work it out."""
    return {"summary": found["summary"], "occurrences": [_occurrence(each) for each in found["occurrences"]]}


def _occurrence(each: Row) -> dict[str, Any]:
    weekday = WEEK[datetime.fromisoformat(each["local"]).weekday()]
    adjusted = {"dst_adjusted": True} if each["dst_adjusted"] else {}
    return {"local": each["local"], "weekday": str(weekday), "at": each["at"], **adjusted}


def insight_row(row: Row) -> dict[str, Any]:
    """An insight without its query."""
    return without_nulls({name: row[name] for name in ("id", "name", "description", "display")})


def dashboard_row(row: Row) -> dict[str, Any]:
    """A dashboard and the insights on it, by name."""
    about = without_nulls({name: row[name] for name in ("id", "name", "description")})
    return {**about, "insights": [{"id": each["insight"], "name": each["name"]} for each in row["tiles"]]}


def integration_row(row: Row) -> dict[str, Any]:
    """An integration, without anything of its secret."""
    return {name: row[name] for name in ("id", "kind", "name")}


def page(found: Row, rows: Sequence[Row], *, offset: int) -> dict[str, Any]:
    """A part of a counted list, and where the next one begins."""
    following = offset + len(rows)
    more = {"next_offset": following} if rows and following < found["count"] else {}
    return {"count": found["count"], "results": list(rows), **more}
