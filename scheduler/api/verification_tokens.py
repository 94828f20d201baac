"""An organisation's verification tokens, in the reference's shape: shown once, kept as a digest."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from scheduler.api.bodies import read_object
from scheduler.api.describing import PAGED, described
from scheduler.api.organizations import Reading, Writing
from scheduler.api.pages import paged, window
from scheduler.api.schemas import Page, Person, Shown, taken
from scheduler.contract import instant, user_json
from scheduler.errors import InvalidField
from scheduler.organisations import LONGEST_LABEL
from scheduler.store import organisations as rows
from scheduler.store.organisations import VerificationToken

router = APIRouter(prefix="/organizations/{organization_id}/cimd_verification_tokens", tags=["organizations"])

Id = Annotated[UUID, Path(description="The token's id.")]


class VerificationTokenShown(Shown):
    """A verification token, without its value."""

    id: UUID
    label: str
    mask_value: str = Field(description="Enough to know it by.")
    created_by: Person
    created_at: datetime
    last_used_at: datetime | None


class VerificationTokenMade(VerificationTokenShown):
    """A new verification token, with its value."""

    value: str = Field(description="The token; it is shown this once.")


class VerificationTokenPage(Page):
    """An organisation's verification tokens, newest first."""

    results: list[VerificationTokenShown]


class NewVerificationToken(BaseModel):
    """What a verification token is for."""

    model_config = taken("label", examples=[{"label": "Production"}])

    label: str = Field(min_length=1, max_length=LONGEST_LABEL)


@router.get("", **described(VerificationTokenPage, asks=PAGED))
async def list_tokens(request: Request, theirs: Reading) -> JSONResponse:
    """The organisation's verification tokens, newest first."""
    limit, offset = window(request)
    async with theirs.app.database.read() as connection:
        found, count = await rows.list_tokens(connection, theirs.id, limit=limit, offset=offset)
    return JSONResponse(paged(request, [_shown(each) for each in found], count=count))


@router.post("", **described(VerificationTokenMade, status=201, takes=NewVerificationToken))
async def create_token(request: Request, theirs: Writing) -> JSONResponse:
    """Make a token; its value is in this answer and nowhere else."""
    body = await read_object(request)
    if "label" not in body:
        raise InvalidField("label", "This field is required.", code="required")
    made, value = await theirs.app.organisations.add_token(theirs.id, theirs.caller.user, body["label"])
    return JSONResponse({**_shown(made), "value": value}, status_code=201)


@router.get("/{token_id}", **described(VerificationTokenShown))
async def retrieve_token(token_id: Id, theirs: Reading) -> JSONResponse:
    """One token, without its value."""
    async with theirs.app.database.read() as connection:
        return JSONResponse(_shown(await rows.find_token(connection, theirs.id, token_id)))


@router.delete("/{token_id}", **described(status=204))
async def remove_token(token_id: Id, theirs: Writing) -> Response:
    """From now on it is nobody's."""
    await theirs.app.organisations.remove_token(theirs.id, token_id)
    return Response(status_code=204)


def _shown(token: VerificationToken) -> dict[str, Any]:
    return {
        "id": str(token.id),
        "label": token.label,
        "mask_value": token.mask,
        "created_by": user_json(token.created_by),
        "created_at": instant(token.created_at),
        "last_used_at": instant(token.last_used_at),
    }
