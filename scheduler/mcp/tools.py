"""Every tool, in the order in which an agent meets them; their docstrings are what it reads.

Names are the reference's. Each says what it does, when to use it, what it answers and what comes next.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduler.api.access import LARGEST_ID
from scheduler.api.pages import cursor_of
from scheduler.errors import InvalidField
from scheduler.mcp import fields, shown
from scheduler.mcp.asking import Api
from scheduler.mcp.shown import Row
from scheduler.mcp.tool import Given, Hints, Tool, tool, whole_number
from scheduler.zones import parse_instant

# ── what there is to subscribe to ────────────────────────────────────────────────────────────────────────────────────


@tool("insights-list", "List insights", takes=fields.PAGED, answers=fields.counted(fields.INSIGHT_ROW))
async def insights_list(api: Api, given: Given) -> dict[str, Any]:
    """The insights of the project: each is one query, drawn as a chart, a number or a table.

    Use it to find the id of what somebody wants to be sent, by words of its name. If several fit, ask which one.
    Next: subscriptions-preview, then subscriptions-create with `insight`.
    """
    return await _listed(api, "/insights", given, shown.insight_row)


@tool("dashboards-list", "List dashboards", takes=fields.PAGED, answers=fields.counted(fields.DASHBOARD_ROW))
async def dashboards_list(api: Api, given: Given) -> dict[str, Any]:
    """The dashboards of the project, each with the ids and names of the insights on it, in order.

    Use it to find a dashboard's id, and the insight ids for `dashboard_export_insights`: for the whole dashboard, all
    of them (at most 25). Next: subscriptions-preview, then subscriptions-create with both.
    """
    return await _listed(api, "/dashboards", given, shown.dashboard_row)


@tool("integrations-list", "List integrations", takes=fields.PAGED, answers=fields.counted(fields.INTEGRATION_ROW))
async def integrations_list(api: Api, given: Given) -> dict[str, Any]:
    """The credentials that things are sent with: connected Slack workspaces, and secrets that sign webhooks.

    Use it before subscribing a Slack channel: `integration_id` is the id of one whose kind is slack. If there is none,
    a person has to connect Slack first; you cannot. E-mail needs none.
    """
    return await _listed(api, "/integrations", given, shown.integration_row)


# ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────────────


@tool(
    "subscriptions-preview",
    "Preview a recurrence",
    takes=fields.RECURRENCE | {"n": fields.whole("How many occurrences.", minimum=1, maximum=100, default=5)},
    required=("frequency",),
    answers=fields.PREVIEW,
)
async def preview(api: Api, given: Given) -> dict[str, Any]:
    """The next occurrences of a recurrence, with their weekdays, and the recurrence as a sentence; nothing is stored.

    Use it before every subscriptions-create and every change of a recurrence, and compare the answer with what was
    asked for. "Every first Monday at nine in Berlin" is {"frequency": "monthly", "byweekday": ["monday"], "bysetpos":
    1, "start_date": "2027-01-01T09:00", "timezone": "Europe/Berlin"}. Next: subscriptions-create with the same.
    """
    body = _with_instants(given, timezone=given.get("timezone", api.project.timezone))
    return shown.preview(await api.post("/subscriptions/preview", {"n": 5} | body))


@tool(
    "subscriptions-create",
    "Create a subscription",
    takes={
        **fields.CONTENT,
        **fields.TARGET,
        **fields.RECURRENCE,
        **fields.OTHER,
        "enabled": fields.flag("false makes it paused: nothing is sent, not even the announcement.", default=True),
    },
    required=("target_type", "target_value", "frequency"),
    answers=fields.SUBSCRIPTION,
    hints=Hints(open_world=True),
)
async def create(api: Api, given: Given) -> dict[str, Any]:
    """Subscribe: send an insight, or insights of a dashboard, to a target, again and again.

    Give `insight`, or `dashboard` with `dashboard_export_insights`. For Slack, the app has to be in the channel.
    It announces itself: unless `enabled` is false, every recipient is sent a first message at once, with what is shown.
    So be sure of the target (ask, never guess addresses or channel ids), of the recurrence (subscriptions-preview), and
    that there is no such subscription yet (subscriptions-list): calling twice makes two.
    Answers the subscription; tell the person its `summary` and `next_delivery_date`.
    """
    body = _with_instants(given, timezone=given.get("timezone", api.project.timezone))
    return shown.subscription(await api.post("/subscriptions", body))


@tool(
    "subscriptions-list",
    "List subscriptions",
    takes={
        **fields.PAGED,
        "insight": fields.whole("Only those of this insight."),
        "dashboard": fields.whole("Only those of this dashboard."),
        "target_type": fields.TARGET["target_type"] | {"description": "Only those to this channel."},
        "deleted": fields.flag("Removed ones instead of the others.", default=False),
        "ordering": fields.one_of(
            ("-created_at", "created_at", "next_delivery_date", "-next_delivery_date", "title", "-title"),
            "By what; a minus sign turns it round.",
            default="-created_at",
        ),
    },
    answers=fields.counted(fields.SUBSCRIPTION_ROW),
)
async def list_subscriptions(api: Api, given: Given) -> dict[str, Any]:
    """The subscriptions of the project in short, newest first.

    `search` looks at titles and at the names of what is shown, not at targets. Use it to find an id, and to see whether
    somebody is subscribed already. Next: subscriptions-retrieve for all of one, subscriptions-deliveries-list for what
    became of it.
    """
    return await _listed(api, "/subscriptions", given, shown.subscription_row)


@tool(
    "subscriptions-retrieve",
    "Show a subscription",
    takes={"id": fields.SUBSCRIPTION_ID},
    required=("id",),
    answers=fields.SUBSCRIPTION,
)
async def retrieve(api: Api, given: Given) -> dict[str, Any]:
    """One subscription with its whole recurrence; a removed one, too. Use it before you change one."""
    return shown.subscription(await api.get(_path(given)))


@tool(
    "subscriptions-partial-update",
    "Change a subscription",
    takes={
        "id": fields.SUBSCRIPTION_ID,
        **fields.CONTENT,
        **fields.TARGET,
        **fields.to_change(fields.RECURRENCE, clearable=("byweekday", "bysetpos", "count", "until_date")),
        **fields.to_change(fields.OTHER, clearable=("title",)),
        "enabled": fields.flag("false pauses it, true resumes it from the next occurrence on."),
        "deleted": fields.flag("false restores a removed one."),
    },
    required=("id",),
    answers=fields.SUBSCRIPTION,
    hints=Hints(destructive=True, idempotent=True, open_world=True),
)
async def partial_update(api: Api, given: Given) -> dict[str, Any]:
    """Change what you give of a subscription, leave the rest; null takes a value away.

    An announcement is sent at once when it is resumed, when what it shows changes (to every recipient) and when its
    target changes (by e-mail to the new addresses alone); other changes send nothing. `target_value` replaces all
    addresses: give the complete list. What an insight subscription shows cannot become a dashboard, nor the reverse.
    With another `timezone` give `start_date` again, or the time of day moves. Preview a new recurrence first.
    Answers the subscription as it is now.
    """
    body = {name: value for name, value in given.items() if name != "id"}
    if any(_is_local(body.get(name)) for name in INSTANTS):
        timezone = body.get("timezone") or (await api.get(_path(given)))["timezone"]
        body = _with_instants(body, timezone=timezone)
    return shown.subscription(await api.patch(_path(given), body))


@tool(
    "subscriptions-delete",
    "Remove a subscription",
    takes={"id": fields.SUBSCRIPTION_ID},
    required=("id",),
    answers=fields.SUBSCRIPTION,
    hints=Hints(destructive=True, idempotent=True),
)
async def delete(api: Api, given: Given) -> dict[str, Any]:
    """Remove a subscription: nothing more is sent, and nobody is told. Its deliveries stay on record.

    To stop it for a while, rather pause it: subscriptions-partial-update with `enabled` false; that is also the tool
    that brings a removed one back, with `deleted` false.
    """
    return shown.subscription(await api.patch(_path(given), {"deleted": True}))


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


@tool(
    "subscriptions-test-delivery-create",
    "Send a subscription now",
    takes={"id": fields.SUBSCRIPTION_ID},
    required=("id",),
    answers=fields.an_object({"delivery": fields.an_object(fields.DELIVERY_ROW)}, required=("delivery",)),
    hints=Hints(open_world=True),
)
async def test_delivery(api: Api, given: Given) -> dict[str, Any]:
    """Send it once, now, really, to every recipient, as on any occurrence; the next date stays as it is.

    Use it only when a person wants everybody on the target to get it now. Refused while another test of it is on its
    way (409), when it is paused (409), and when there were too many within a minute (429).
    Answers the delivery that was opened; a running service sends it within seconds.
    Next: subscriptions-deliveries-retrieve with its id, until its status is no longer starting.
    """
    await api.post(f"{_path(given)}/test-delivery")
    newest = (await api.get(f"{_path(given)}/deliveries"))["results"]
    return {"delivery": next(shown.delivery_row(each) for each in newest if each["trigger_type"] == "manual")}


@tool(
    "subscriptions-deliveries-list",
    "List deliveries",
    takes={
        "id": fields.SUBSCRIPTION_ID,
        "status": fields.STATUS,
        "limit": fields.whole("At most so many.", minimum=1, maximum=50, default=10),
        "cursor": fields.text("The next_cursor of the answer before: older ones."),
    },
    required=("id",),
    answers=fields.listing(fields.DELIVERY_ROW, next_cursor=fields.text("There are older ones: ask with this cursor.")),
)
async def deliveries_list(api: Api, given: Given) -> dict[str, Any]:
    """What became of a subscription's occurrences, tests and announcements: its deliveries, newest first, in short.

    Use it for "was it sent?" and "why did nobody get it?": `status`, `error`, and how many recipients of each status.
    Next: subscriptions-deliveries-retrieve for who exactly, and for what they were shown.
    """
    limit = whole_number(given, "limit", default=10, least=1, most=50)
    found = await api.get(f"{_path(given)}/deliveries", status=given.get("status"), cursor=given.get("cursor"))
    rows = found["results"][:limit]
    has_more = len(rows) < len(found["results"]) or found["next"] is not None
    following = {"next_cursor": _cursor_after(rows[-1])} if rows and has_more else {}
    return {"results": [shown.delivery_row(each) for each in rows], **following}


@tool(
    "subscriptions-deliveries-retrieve",
    "Show a delivery",
    takes={
        "id": fields.SUBSCRIPTION_ID,
        "delivery_id": fields.DELIVERY_ID,
        "include_content": fields.flag(
            f"Also the rows of every insight that was shown, {shown.MOST_ROWS} at most of each.", default=False
        ),
    },
    required=("id", "delivery_id"),
    answers=fields.DELIVERY,
)
async def deliveries_retrieve(api: Api, given: Given) -> dict[str, Any]:
    """One delivery: what happened to every recipient, with the reason where it failed, and what was shown.

    A recipient's "success" means that the provider accepted it; nobody can know of an inbox. "pending" with
    `next_attempt_at` is tried again by itself: there is nothing to do but wait.
    """
    found = await api.get(f"{_path(given)}/deliveries/{_delivery_id(given)}")
    return shown.delivery(found, rows=given.get("include_content") is True)


TOOLS: tuple[Tool, ...] = (
    insights_list,
    dashboards_list,
    integrations_list,
    preview,
    create,
    list_subscriptions,
    retrieve,
    partial_update,
    delete,
    test_delivery,
    deliveries_list,
    deliveries_retrieve,
)

# ── arguments ────────────────────────────────────────────────────────────────────────────────────────────────────────

INSTANTS = ("start_date", "until_date")


async def _listed(api: Api, path: str, given: Given, row: Callable[[Row], Row]) -> dict[str, Any]:
    limit = whole_number(given, "limit", default=fields.LISTED, least=1, most=fields.MOST_LISTED)
    offset = whole_number(given, "offset", default=0)
    found = await api.get(path, **{**given, "limit": limit, "offset": offset})
    return shown.page(found, [row(each) for each in found["results"]], offset=offset)


def _path(given: Given) -> str:
    subscription_id = whole_number(given, "id", default=0, least=1, most=LARGEST_ID)
    return f"/subscriptions/{subscription_id}"


def _delivery_id(given: Given) -> UUID:
    try:
        return UUID(given["delivery_id"])
    except (ValueError, TypeError, AttributeError):
        raise InvalidField(
            "delivery_id", "must be a delivery's id, as subscriptions-deliveries-list shows it"
        ) from None


def _with_instants(given: Given, *, timezone: Any) -> dict[str, Any]:
    """Local times as instants, as the command line takes them; agents get offsets wrong twice a year."""
    local = {name: given[name] for name in INSTANTS if _is_local(given.get(name))}
    return {
        **given,
        **{name: parse_instant(each, field=name, timezone=timezone).isoformat() for name, each in local.items()},
    }


def _is_local(value: object) -> bool:
    """Whether this is an instant without an offset; what is no instant at all is for the API to refuse."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is None
    except ValueError:
        return False


def _cursor_after(row: Row) -> str:
    """The API's pages are longer than an agent wants: ours end earlier, and go on from there."""
    return cursor_of(datetime.fromisoformat(row["created_at"]), UUID(row["id"]))
