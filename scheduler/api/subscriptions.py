"""Subscriptions and their deliveries, as the contract has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse

from scheduler.api import schemas
from scheduler.api.access import LARGEST_ID, Asked, within
from scheduler.api.bodies import read_object
from scheduler.api.describing import PAGED, described
from scheduler.api.errors import throttled
from scheduler.api.pages import paged, read_cursor, walked, window
from scheduler.contract import delivery_json, instant, subscription_json
from scheduler.errors import InvalidField, NotFound
from scheduler.recurrence import Recurrence
from scheduler.status import DeliveryStatus, Trigger
from scheduler.store import deliveries as ledger
from scheduler.store import subscriptions as rows
from scheduler.store.listing import Filters
from scheduler.store.subscriptions import Subscription
from scheduler.subscriptions import ABSENT, FIELDS, RECURRENCE

router = APIRouter(prefix="/subscriptions", tags=["subscriptions"])

PREVIEWED, MOST_PREVIEWED = 10, 100
REQUIRED = ("target_type", "target_value", "frequency")
"""What a full update (PUT) has to say."""

Reading = Annotated[Asked, Depends(within("subscription:read"))]
Writing = Annotated[Asked, Depends(within("subscription:write"))]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The subscription's id.")]
DeliveryId = Annotated[UUID, Path(description="The delivery's id.")]


@router.get("", **described(schemas.SubscriptionPage, asks=(*schemas.FILTERS, *PAGED)))
async def list_subscriptions(request: Request, asked: Reading) -> JSONResponse:
    """The project's subscriptions, newest first unless ``ordering`` says otherwise."""
    limit, offset = window(request)
    async with asked.app.database.read() as connection:
        found, count = await rows.page(connection, asked.project.id, _filters(request), limit=limit, offset=offset)
    return JSONResponse(paged(request, [_shown(asked, each) for each in found], count=count))


@router.post("", **described(schemas.Subscription, status=201, takes=schemas.NewSubscription, refuses=(402,)))
async def create_subscription(request: Request, asked: Writing) -> JSONResponse:
    """Subscribe; enabled ones announce themselves."""
    fields = _fields(await read_object(request))
    made = await asked.app.subscriptions.create(asked.project, asked.caller.user, fields)
    return JSONResponse(_shown(asked, made), status_code=201)


@router.post("/preview", **described(schemas.Preview, takes=schemas.RecurrenceToPreview))
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


@router.get("/summary_quota", **described(schemas.SummaryQuota))
async def summary_quota(asked: Reading) -> JSONResponse:
    """How many of the organisation's subscriptions have an AI summary; paused ones count, removed ones do not."""
    async with asked.app.database.read() as connection:
        quota = await asked.app.subscriptions.summaries.quota(connection, asked.project.organisation_id)
    return JSONResponse({"active_count": quota.active_count, "limit": quota.limit, "at_limit": quota.at_limit})


@router.get("/{subscription_id:int}", **described(schemas.Subscription))
async def retrieve_subscription(subscription_id: Id, asked: Reading) -> JSONResponse:
    """One subscription, a removed one, too."""
    return JSONResponse(_shown(asked, await _find(asked, subscription_id)))


@router.patch(
    "/{subscription_id:int}", **described(schemas.Subscription, takes=schemas.ChangedSubscription, refuses=(402,))
)
async def update_subscription(subscription_id: Id, request: Request, asked: Writing) -> JSONResponse:
    """Change some fields; ``deleted`` removes and restores."""
    fields = _fields(await read_object(request))
    return JSONResponse(_shown(asked, await asked.app.subscriptions.edit(asked.project, subscription_id, fields)))


@router.put(
    "/{subscription_id:int}", **described(schemas.Subscription, takes=schemas.ReplacedSubscription, refuses=(402,))
)
async def replace_subscription(subscription_id: Id, request: Request, asked: Writing) -> JSONResponse:
    """A full update: what a subscription needs has to be there."""
    fields = dict.fromkeys(REQUIRED, ABSENT) | _fields(await read_object(request))
    return JSONResponse(_shown(asked, await asked.app.subscriptions.edit(asked.project, subscription_id, fields)))


@router.post("/{subscription_id:int}/test-delivery", **described(status=202, refuses=(409,)))
async def test_delivery(subscription_id: Id, asked: Writing) -> Response:
    """Send it now, to everyone, once; the delivery is there before the answer."""
    await _not_too_often(asked)
    await asked.app.subscriptions.test(asked.project, subscription_id)
    return Response(status_code=202)


@router.get("/{subscription_id:int}/deliveries", **described(schemas.DeliveryPage, asks=schemas.DELIVERY_FILTERS))
async def list_deliveries(subscription_id: Id, request: Request, asked: Reading) -> JSONResponse:
    """Its deliveries, newest first, fifty a page; owners' notices are not among them."""
    await _find(asked, subscription_id)
    status = request.query_params.get("status")
    if status is not None and status not in list(DeliveryStatus):
        raise InvalidField("status", f"must be one of {', '.join(DeliveryStatus)}", code="invalid_choice")
    cursor = read_cursor(request.query_params.get("cursor"))
    back = cursor is not None and cursor.newer
    async with asked.app.database.read() as connection:
        found = await ledger.newest(
            connection,
            asked.project.id,
            subscription_id=subscription_id,
            status=None if status is None else DeliveryStatus(status),
            before=None if cursor is None or back else cursor.place,
            after=cursor.place if cursor is not None and back else None,
            notices=False,
            shown=True,
            limit=ledger.PAGE + 1,
        )
    page = found[-ledger.PAGE :] if back else found[: ledger.PAGE]
    return JSONResponse(walked(request, page, cursor=cursor, more=len(found) > ledger.PAGE))


@router.get("/{subscription_id:int}/deliveries/{delivery_id}", **described(schemas.Delivery))
async def retrieve_delivery(subscription_id: Id, delivery_id: DeliveryId, asked: Reading) -> JSONResponse:
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
    allowed = asked.app.settings.tests_a_minute
    if allowed == 0:
        return
    async with asked.app.database.read() as connection:
        since = asked.app.clock() - timedelta(minutes=1)
        recent = await ledger.count_tests(connection, asked.project.id, since=since)
    if recent >= allowed:
        raise throttled(60, f"At most {allowed} tests a minute in one project; wait a little.")
