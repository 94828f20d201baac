"""Sharing, in the reference's shape: the public page of a subscription's newest delivery, or of a certain one.

Both have the same routes, below the subscription and below the delivery.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from scheduler.api.access import LARGEST_ID, Asked, within
from scheduler.api.bodies import read_object
from scheduler.api.describing import described
from scheduler.api.schemas import Shown, taken
from scheduler.contract import instant
from scheduler.errors import NotFound
from scheduler.passwords import LONGEST, SHORTEST
from scheduler.sharing import LONGEST_NOTE
from scheduler.store.sharing import Share, Shared, SharePassword

Reading = Annotated[Asked, Depends(within("sharing_configuration:read"))]
Writing = Annotated[Asked, Depends(within("sharing_configuration:write"))]
ProjectId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The project's id.")]
SubscriptionId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The subscription's id.")]
DeliveryId = Annotated[UUID, Path(description="The delivery's id.")]
PasswordId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The password's id.")]


# ── in and out ───────────────────────────────────────────────────────────────────────────────────────────────────────


class ShareSettings(BaseModel):
    """How the page looks. Any other name is ignored."""

    model_config = ConfigDict(alias_generator=to_camel)
    whitelabel: bool = Field(default=False, description="Without our name.")
    no_header: bool = Field(default=False, description="Without project, title and time.")
    show_inspector: bool = Field(default=False, description="Kept for clients of the reference.")
    legend: bool = Field(default=False, description="Kept for clients of the reference.")
    detailed: bool = Field(default=False, description="Kept for clients of the reference.")
    hide_extra_details: bool = Field(default=False, description="Without the insights' descriptions.")


class SharePasswordShown(Shown):
    """A password, by its note."""

    id: int
    created_at: datetime
    note: str
    created_by_email: str
    is_active: bool = Field(description="Always true: a removed one is gone.")


class SharePasswordMade(SharePasswordShown):
    """A new password."""

    password: str = Field(description="It is shown this once.")


class SharingConfiguration(Shown):
    """Whether there is a public page, and what opens it."""

    created_at: datetime | None = Field(description="Null while nothing here was ever changed.")
    enabled: bool
    access_token: str | None = Field(
        description="The page is at `/shared/{access_token}`; null as long as `created_at`."
    )
    settings: dict[str, bool]
    password_required: bool
    share_passwords: list[SharePasswordShown] = Field(description="The newest first.")


class SharingChange(BaseModel):
    """What is absent stays as it is."""

    model_config = taken(
        examples=[{"enabled": True}, {"password_required": True, "settings": {"whitelabel": True}}], partial=True
    )
    enabled: bool = Field(default=False, description="Whether the page is there.")
    settings: ShareSettings | None = Field(default=None, description="Replaces them all; null: none.")
    password_required: bool = Field(
        default=False, description="The page asks for one of the passwords; while there is none, nobody is admitted."
    )


class NewSharePassword(BaseModel):
    """A password to make."""

    model_config = taken(examples=[{"note": "For the board"}])
    password: Annotated[str, Field(min_length=SHORTEST, max_length=LONGEST)] | Literal[""] | None = Field(
        default=None, description="Absent, null or empty: one is made up. `raw_password` means the same."
    )
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] | None = Field(
        default=None, description="What it is for: printable, on one line."
    )


def _shown(asked: Asked, share: Share | None) -> dict[str, Any]:
    return {
        "created_at": None if share is None else instant(share.created_at),
        "enabled": share is not None and share.enabled,
        "access_token": None if share is None else asked.app.sharing.token(share),
        "settings": {} if share is None else dict(share.settings),
        "password_required": share is not None and share.password_required,
        "share_passwords": [] if share is None else [_shown_password(each) for each in share.passwords],
    }


def _shown_password(password: SharePassword) -> dict[str, Any]:
    return {
        "id": password.id,
        "created_at": instant(password.created_at),
        "note": password.note,
        "created_by_email": password.created_by_email,
        "is_active": True,
    }


# ── what is shared ───────────────────────────────────────────────────────────────────────────────────────────────────


def _newest(request: Request, project_id: ProjectId, subscription_id: SubscriptionId) -> None:
    request.state.shared = Shared(project_id, subscription_id)


def _one(request: Request, project_id: ProjectId, subscription_id: SubscriptionId, delivery_id: DeliveryId) -> None:
    request.state.shared = Shared(project_id, subscription_id, delivery_id)


def _shared(request: Request) -> Shared:
    what: Shared | None = getattr(request.state, "shared", None)
    if what is None:  # some id in the path is none
        raise NotFound("There is nothing at this address.")
    return what


What = Annotated[Shared, Depends(_shared)]

# ── routes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_routes = APIRouter(tags=["sharing"])


@_routes.get("", **described(SharingConfiguration))
async def retrieve_sharing(asked: Reading, what: What) -> JSONResponse:
    """Whether and how it is shared; looking shares nothing."""
    return JSONResponse(_shown(asked, await asked.app.sharing.find(what)))


@_routes.patch("", **described(SharingConfiguration, takes=SharingChange))
async def update_sharing(request: Request, asked: Writing, what: What) -> JSONResponse:
    """Share it, or no longer; with passwords, or without."""
    return JSONResponse(_shown(asked, await asked.app.sharing.change(what, await read_object(request))))


@_routes.post("/refresh", **described(SharingConfiguration))
async def refresh_sharing(asked: Writing, what: What) -> JSONResponse:
    """A new address; the old one works for five more minutes. Passwords have to be entered again."""
    return JSONResponse(_shown(asked, await asked.app.sharing.refresh(what)))


@_routes.post("/passwords", **described(SharePasswordMade, status=201, takes=NewSharePassword))
async def create_password(request: Request, asked: Writing, what: What) -> JSONResponse:
    """Make a password, once ``password_required`` is on; it is in this answer and nowhere else."""
    made, password = await asked.app.sharing.add_password(what, asked.caller.user, await read_object(request))
    return JSONResponse({**_shown_password(made), "password": password}, status_code=201)


@_routes.delete("/passwords/{password_id}", **described(status=204))
async def remove_password(password_id: PasswordId, asked: Writing, what: What) -> Response:
    """It opens the page no more, not even for those who are in."""
    await asked.app.sharing.remove_password(what, password_id)
    return Response(status_code=204)


router = APIRouter(prefix="/subscriptions/{subscription_id}")
router.include_router(_routes, prefix="/sharing", dependencies=[Depends(_newest)])
router.include_router(_routes, prefix="/deliveries/{delivery_id}/sharing", dependencies=[Depends(_one)])
