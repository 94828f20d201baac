"""What tools take and answer, as JSON Schema with the words an agent goes by. Source: JSON Schema 2020-12."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from channels.registry import KINDS
from scheduler.catchup import CatchUp
from scheduler.quota import LONGEST_GUIDE
from scheduler.recurrence import Fold, Frequency, Gap, Weekday
from scheduler.status import DeliveryStatus
from scheduler.subscriptions import LONGEST_TITLE, MOST_INSIGHTS

Schema = dict[str, Any]


def whole(description: str, **more: Any) -> Schema:
    """A whole number."""
    return {"type": "integer", "description": description, **more}


def text(description: str, **more: Any) -> Schema:
    """A text."""
    return {"type": "string", "description": description, **more}


def flag(description: str, **more: Any) -> Schema:
    """True or false."""
    return {"type": "boolean", "description": description, **more}


def one_of(choices: type[StrEnum] | Sequence[str], description: str, **more: Any) -> Schema:
    """One of these texts."""
    return {"type": "string", "enum": [str(each) for each in choices], "description": description, **more}


def many(items: Schema, description: str, **more: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": items, "description": description, **more}


def an_object(properties: Mapping[str, Schema], *, required: Sequence[str] = ()) -> Schema:
    """An object that has these properties."""
    return {"type": "object", "properties": dict(properties), **({"required": list(required)} if required else {})}


def to_change(properties: Mapping[str, Schema], *, clearable: Sequence[str] = ()) -> dict[str, Schema]:
    """The same for a change: what is left out stays, so nothing has a default, and null takes some values away."""
    return {
        name: {
            **{key: value for key, value in schema.items() if key != "default"},
            "description": schema["description"].partition(" Default:")[0],
            "type": [schema["type"], "null"] if name in clearable else schema["type"],
        }
        for name, schema in properties.items()
    }


# ── arguments ────────────────────────────────────────────────────────────────────────────────────────────────────────

SUBSCRIPTION_ID = whole("The subscription's id, from subscriptions-list.", minimum=1)
DELIVERY_ID = text("The delivery's id, from subscriptions-deliveries-list.", format="uuid")

RECURRENCE: dict[str, Schema] = {
    "frequency": one_of(Frequency, "The period that `interval` and `bysetpos` count in."),
    "interval": whole("Every how many periods: weekly with 2 is every second week.", minimum=1, default=1),
    "byweekday": many(
        {"type": "string", "enum": [str(each) for each in Weekday]},
        "On these weekdays: weekly each of them, monthly or yearly every such day of the period unless `bysetpos` "
        "picks one. Left out, the day is that of start_date.",
        examples=[["monday"], ["monday", "tuesday", "wednesday", "thursday", "friday"]],
    ),
    "bysetpos": whole(
        "Only with `byweekday`: of those days in the period, the N-th; negative counts from the end. Monthly with "
        '["monday"] and 1 is the first Monday of the month; with Monday to Friday and -1, the last working day.',
        minimum=-366,
        maximum=366,
        examples=[1, -1],
    ),
    "start_date": text(
        "The time of day of every occurrence, and the day from which they count: it may lie in the past, and need not "
        "be an occurrence itself. ISO 8601; without an offset it is local time in `timezone`, which is what you want. "
        "Default: now.",
        examples=["2027-01-04T09:00"],
    ),
    "timezone": text(
        "IANA time zone. The time of day stays the same there when the clocks change. Default: the project's.",
        examples=["Europe/Berlin"],
    ),
    "count": whole("End after so many occurrences, counted from start_date.", minimum=1),
    "until_date": text(
        "No occurrence after this. Give the time, too: a date alone is its midnight.", examples=["2027-12-31T23:59"]
    ),
    "gap": one_of(Gap, "A local time that the clocks leave out: shift it past the gap, or skip it.", default="shift"),
    "fold": one_of(Fold, "A local time that happens twice: its first or its second pass.", default="first"),
}

CONTENT: dict[str, Schema] = {
    "insight": whole("Show this insight, by its id from insights-list. Give either insight or dashboard."),
    "dashboard": whole("Show this dashboard, by its id from dashboards-list, together with dashboard_export_insights."),
    "dashboard_export_insights": many(
        {"type": "integer"},
        "Needed with dashboard, refused without: ids of the insights on it that are shown, from dashboards-list.",
        minItems=1,
        maxItems=MOST_INSIGHTS,
    ),
}

TARGET: dict[str, Schema] = {
    "target_type": one_of(KINDS, "The channel."),
    "target_value": text(
        "email: addresses, comma-separated. slack: the channel's ID, not its name, which you ask the person for (in "
        "Slack: the channel's details, at the bottom), or find in another subscription; `ID|#name` keeps the name for "
        "people to read. webhook: an https URL; answers show only its host.",
        examples=["ann@example.org, bob@example.org", "C0123456789|#sales", "https://hooks.example.org/numbers"],
    ),
    "integration_id": whole(
        "The credentials to send with, from integrations-list: needed for slack, optional for webhook."
    ),
}

OTHER: dict[str, Schema] = {
    "title": text("What the message is headed with. Default: the name of what is shown.", maxLength=LONGEST_TITLE),
    "invite_message": text("A line for the recipients in the announcement that this call sends; not kept."),
    "catch_up": one_of(
        CatchUp,
        "After downtime, send the latest missed occurrence, all of them, or none (skip).",
        default=str(CatchUp.LATEST),
    ),
    "spread_minutes": whole(
        "Start within so many minutes after each occurrence, at the same moment every day; 0: at the occurrence.",
        minimum=0,
        default=0,
    ),
    "catch_up_hours": whole("How many hours late an occurrence may still be sent.", minimum=0, default=24),
    "summary_enabled": flag("With an AI summary of what changed; refused where no model is set up.", default=False),
    "summary_prompt_guide": text("What the AI summary should look at.", maxLength=LONGEST_GUIDE),
}

SEARCH = text("Words that all have to be found, in any order and case.", examples=["weekly sales"])
MOST_LISTED, LISTED = 100, 25
PAGED: dict[str, Schema] = {
    "search": SEARCH,
    "limit": whole("At most so many results.", minimum=1, maximum=MOST_LISTED, default=LISTED),
    "offset": whole("After so many results: the next_offset of the answer before.", minimum=0, default=0),
}

STATUS = one_of(DeliveryStatus, "Only those of this status.")

# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_TEXT, _WHOLE, _FLAG = ({"type": each} for each in ("string", "integer", "boolean"))

SUBSCRIPTION_ROW: dict[str, Schema] = {
    "id": _WHOLE,
    "title": _TEXT,
    "insight": _WHOLE,
    "dashboard": _WHOLE,
    "resource_name": text("The name of the insight or dashboard."),
    "target_type": _TEXT,
    "target_value": text("Of a webhook only the host."),
    "summary": text("The recurrence as a sentence."),
    "state": one_of(
        ("on", "paused", "disabled", "ended", "removed"),
        "paused: by a person; disabled: by the service, see last_error; ended: no further occurrence.",
    ),
    "next_delivery_date": text("When it is sent next, as the clocks in its time zone show it."),
    "last_error": text("Why it was disabled."),
}
SUBSCRIPTION = an_object(
    {
        **SUBSCRIPTION_ROW,
        **{name: {"type": schema["type"]} for name, schema in RECURRENCE.items()},
        "dashboard_export_insights": {"type": "array", "items": _WHOLE},
        "integration_id": _WHOLE,
        "created_at": _TEXT,
        "created_by": text("An e-mail address."),
    },
    required=("id", "target_type", "target_value", "summary", "state", "frequency", "start_date", "timezone"),
)

DELIVERY_ROW: dict[str, Schema] = {
    "id": _TEXT,
    "subscription": _WHOLE,
    "status": one_of(DeliveryStatus, "starting: on its way; completed: somebody was sent to; skipped: see error."),
    "trigger_type": text("scheduled, manual (a test), target_change (an announcement) …"),
    "scheduled_at": text("The occurrence; absent for tests and announcements."),
    "recipients": {"type": "object", "description": "How many of each status.", "additionalProperties": _WHOLE},
    "error": _TEXT,
    "created_at": _TEXT,
    "finished_at": _TEXT,
}
DELIVERY = an_object(
    {
        **DELIVERY_ROW,
        "target_type": _TEXT,
        "target_value": _TEXT,
        "recipient_results": many(
            an_object(
                {
                    "recipient": _TEXT,
                    "status": text("success, failed, partial, pending, or uncertain: perhaps sent."),
                    "attempts": _WHOLE,
                    "sent_at": _TEXT,
                    "next_attempt_at": _TEXT,
                    "error": _TEXT,
                }
            ),
            "One for each recipient.",
        ),
        "content": many(
            an_object(
                {
                    "insight": _WHOLE,
                    "name": _TEXT,
                    "columns": {"type": "array", "items": _TEXT},
                    "row_count": _WHOLE,
                    "rows": {"type": "array", "items": {"type": "array"}},
                    "rows_left_out": _FLAG,
                    "error": _TEXT,
                }
            ),
            "What was shown; rows only when asked for.",
        ),
        "change_summary": _TEXT,
    },
    required=("id", "subscription", "status", "trigger_type", "recipients", "created_at"),
)

PREVIEW = an_object(
    {
        "summary": text("The recurrence as a sentence."),
        "occurrences": many(
            an_object(
                {
                    "local": text("What the clocks show in the time zone."),
                    "at": text("The same in UTC."),
                    "weekday": _TEXT,
                    "dst_adjusted": flag("The rule's time does not exist that day, or happens twice."),
                },
                required=("local", "at"),
            ),
            "The next ones, in order; empty when there is none.",
        ),
    },
    required=("summary", "occurrences"),
)


def listing(row: Mapping[str, Schema], **more: Schema) -> Schema:
    """A page of rows."""
    results = {"type": "array", "items": an_object(row, required=("id",))}
    return an_object({**more, "results": results}, required=("results",))


def counted(row: Mapping[str, Schema]) -> Schema:
    """A page of rows that are counted."""
    return listing(row, count=whole("All of them."), next_offset=whole("There are more: ask again with this offset."))


INSIGHT_ROW: dict[str, Schema] = {
    "id": _WHOLE,
    "name": _TEXT,
    "description": _TEXT,
    "display": text("How it is drawn."),
}
DASHBOARD_ROW: dict[str, Schema] = {
    "id": _WHOLE,
    "name": _TEXT,
    "description": _TEXT,
    "insights": many(an_object({"id": _WHOLE, "name": _TEXT}), "Those on it, in order."),
}
INTEGRATION_ROW: dict[str, Schema] = {"id": _WHOLE, "kind": _TEXT, "name": _TEXT}
