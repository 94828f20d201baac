"""Subscriptions and their deliveries, as the contract has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse

from scheduler.api.access import LARGEST_ID, Asked, within
from scheduler.api.bodies import read_object
from scheduler.api.errors import permission_denied, throttled
from scheduler.api.pages import cursor_of, paged, read_cursor, window, with_cursor
from scheduler.contract import delivery_json, instant, subscription_json
from scheduler.errors import InvalidField, NotFound
from scheduler.recurrence import Recurrence
from scheduler.status import DeliveryStatus, Trigger
from scheduler.store import deliveries as ledger
from scheduler.store import subscriptions as rows
from scheduler.store.subscriptions import Filters, Subscription
from scheduler.subscriptions import FIELDS, RECURRENCE

router = APIRouter(prefix="/subscriptions", tags=["subscriptions"])

TESTS_A_MINUTE = 10
PREVIEWED, MOST_PREVIEWED = 10, 100
REQUIRED = ("target_type", "target_value", "frequency")
"""What a full update (PUT) has to say."""

Reading = Annotated[Asked, Depends(within("subscription:read"))]
Writing = Annotated[Asked, Depends(within("subscription:write"))]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The subscription's id.")]


@router.get("")
async def list_subscriptions(request: Request, asked: Reading) -> JSONResponse:
    """The project's subscriptions, newest first unless ``ordering`` says otherwise."""
    limit, offset = window(request)
    async with asked.app.database.read() as connection:
        found, count = await rows.page(connection, asked.project.id, _filters(request), limit=limit, offset=offset)
    return JSONResponse(paged(request, [_shown(asked, each) for each in found], count=count))


@router.post("", status_code=201)
async def create_subscription(request: Request, asked: Writing) -> JSONResponse:
    """Subscribe; enabled ones announce themselves."""
    fields = _fields(await read_object(request))
    made = await asked.app.subscriptions.create(asked.project, asked.caller.user, fields)
    return JSONResponse(_shown(asked, made), status_code=201)


@router.post("/preview")
async def preview_subscription(request: Request, asked: Reading) -> JSONResponse:
    """The next occurrences of a recurrence, and its sentence; nothing is stored."""
    body = await read_object(request)
    number = body.get("n", PREVIEWED)
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_PREVIEWED:
        raise InvalidField("n", f"must be a whole number from 1 to {MOST_PREVIEWED}")
    now = asked.app.clock()
    given = {name: body[name] for name in RECURRENCE if name in body}
    recurrence = Recurrence.parse(**{"start_date": now, "timezone": asked.project.timezone, "frequency": None, **given})
    occurrences = islice(recurrence.occurrences(now), number)
    return JSONResponse(
        {
            "summary": recurrence.describe(),
            "occurrences": [
                {"at": instant(each.at), "local": each.local.isoformat(), "dst_adjusted": each.dst_adjusted}
                for each in occurrences
            ],
        }
    )


@router.get("/summary_quota")
async def summary_quota(_: Reading) -> JSONResponse:
    """AI summaries: none are made here, so none are counted."""
    return JSONResponse({"active_count": 0, "limit": None, "at_limit": False})


@router.get("/{subscription_id}")
async def retrieve_subscription(subscription_id: Id, asked: Reading) -> JSONResponse:
    """One subscription, a removed one, too."""
    return JSONResponse(_shown(asked, await _find(asked, subscription_id)))


@router.patch("/{subscription_id}")
async def update_subscription(subscription_id: Id, request: Request, asked: Writing) -> JSONResponse:
    """Change some fields; ``deleted`` removes and restores."""
    fields = _fields(await read_object(request))
    return JSONResponse(_shown(asked, await asked.app.subscriptions.edit(asked.project, subscription_id, fields)))


@router.put("/{subscription_id}")
async def replace_subscription(subscription_id: Id, request: Request, asked: Writing) -> JSONResponse:
    """A full update: what a subscription needs has to be there."""
    fields = _fields(await read_object(request))
    await _find(asked, subscription_id)
    for name in REQUIRED:
        if name not in fields:
            raise InvalidField(name, "This field is required.", code="required")
    return JSONResponse(_shown(asked, await asked.app.subscriptions.edit(asked.project, subscription_id, fields)))


@router.post("/{subscription_id}/test-delivery", status_code=202)
async def test_delivery(subscription_id: Id, asked: Writing) -> Response:
    """Send it now, to everyone, once; the delivery is there before the answer."""
    await _not_too_often(asked)
    await asked.app.subscriptions.test(asked.project, subscription_id)
    return Response(status_code=202)


@router.get("/{subscription_id}/deliveries")
async def list_deliveries(subscription_id: Id, request: Request, asked: Reading) -> JSONResponse:
    """Its deliveries, newest first, fifty a page; owners' notices are not among them."""
    await _find(asked, subscription_id)
    status = request.query_params.get("status")
    if status is not None and status not in list(DeliveryStatus):
        raise InvalidField("status", f"must be one of {', '.join(DeliveryStatus)}", code="invalid_choice")
    async with asked.app.database.read() as connection:
        found = await ledger.newest(
            connection,
            asked.project.id,
            subscription_id=subscription_id,
            status=None if status is None else DeliveryStatus(status),
            before=read_cursor(request.query_params.get("cursor")),
            notices=False,
            shown=True,
            limit=ledger.PAGE + 1,
        )
    page = found[: ledger.PAGE]
    later = with_cursor(request, cursor_of(page[-1].created_at, page[-1].id)) if len(found) > ledger.PAGE else None
    return JSONResponse({"next": later, "previous": None, "results": [delivery_json(each) for each in page]})


@router.get("/{subscription_id}/deliveries/{delivery_id}")
async def retrieve_delivery(subscription_id: Id, delivery_id: UUID, asked: Reading) -> JSONResponse:
    """One delivery with every attempt."""
    async with asked.app.database.read() as connection:
        found = await ledger.find(connection, asked.project.id, delivery_id)
    if found.subscription_id != subscription_id or found.trigger is Trigger.NOTICE:
        raise NotFound(f"subscription {subscription_id} has no delivery {delivery_id}")
    return JSONResponse(delivery_json(found))


# ── in and out ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _shown(asked: Asked, subscription: Subscription) -> dict[str, Any]:
    return subscription_json(subscription, target_value=asked.app.subscriptions.target_value(subscription.target))


async def _find(asked: Asked, subscription_id: int) -> Subscription:
    async with asked.app.database.read() as connection:
        return await rows.find(connection, asked.project.id, subscription_id)


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """What can be written, of what was sent; the rest is shown only, or unknown: left aside, as the reference does."""
    if body.get("summary_enabled") is True:
        raise permission_denied("AI summaries are off: no model is configured.")
    fields = {name: value for name, value in body.items() if name in FIELDS}
    for name in ("dashboard", "insight", "integration_id"):  # ids alone: names are for the command line
        if isinstance(value := fields.get(name), str):
            fields[name] = int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else [value]
    return fields


def _filters(request: Request) -> Filters:
    asked = request.query_params
    return Filters(
        created_by=_uuid("created_by", asked.get("created_by")),
        dashboard=_id("dashboard", asked.get("dashboard")),
        insight=_id("insight", asked.get("insight")),
        target_type=_one_of("target_type", asked.get("target_type"), ("email", "slack", "webhook")),
        resource_type=asked.get("resource_type"),
        deleted=asked.get("deleted", "").lower() in {"true", "1"},
        words=tuple(asked.get("search", "").replace("\0", "").split()),
        ordering=tuple(asked.get("ordering", "").split(",")),
    )


def _uuid(field: str, text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidField(field, "must be a user's uuid") from None


def _id(field: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidField(field, "must be an id")
    return int(text)


def _one_of(field: str, text: str | None, choices: tuple[str, ...]) -> str | None:
    if text is not None and text not in choices:
        raise InvalidField(field, f"must be one of {', '.join(choices)}", code="invalid_choice")
    return text


async def _not_too_often(asked: Asked) -> None:
    now: datetime = asked.app.clock()
    async with asked.app.database.read() as connection:
        recent = await ledger.count_since(
            connection, asked.project.id, Trigger.MANUAL, since=now - timedelta(minutes=1)
        )
    if recent >= TESTS_A_MINUTE:
        raise throttled(60, f"At most {TESTS_A_MINUTE} tests a minute in one project; wait a little.")
