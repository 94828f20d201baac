"""A user's own keys. Only a key for everything (``*``) makes and revokes others: it stands for its user.

A key that may less, and leaks, would otherwise make another one before it is revoked. What is made reaches no further
and lives no longer than the key that makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from scheduler.api.access import LARGEST_ID, Caller, Parts
from scheduler.api.bodies import read_object
from scheduler.api.describing import PAGED, described
from scheduler.api.errors import permission_denied
from scheduler.api.pages import paged, window
from scheduler.api.schemas import Page, Shown, taken
from scheduler.app import App
from scheduler.contract import instant
from scheduler.errors import InvalidField, NotFound
from scheduler.keys import EVERYTHING, LONGEST_NAME, SCOPES, Principal
from scheduler.store.keys import ApiKey
from scheduler.zones import parse_instant

router = APIRouter(prefix="/personal_api_keys", tags=["people"])

Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The key's id.")]


class PersonalKey(Shown):
    """A personal API key, without its value."""

    id: int
    label: str
    mask_value: str = Field(description="Enough to know it by.")
    user_id: int
    scopes: list[Literal[SCOPES]]  # type: ignore[valid-type]
    scoped_teams: list[int] = Field(description="The projects it is limited to; empty: to none.")
    scoped_organizations: list[UUID] = Field(description="Always empty: a user belongs to one organisation.")
    created_at: datetime
    last_used_at: datetime | None = Field(description="To the minute.")
    expires_at: datetime | None


class PersonalKeyMade(PersonalKey):
    """A new personal API key, with its value."""

    value: str = Field(description="The key; it is shown this once.")


class PersonalKeyPage(Page):
    """The caller's own keys, newest first; revoked ones are gone."""

    results: list[PersonalKey]


class NewPersonalKey(BaseModel):
    """What a key is for, what it may do, where, and until when."""

    model_config = taken("label", "scopes", examples=[{"label": "Reports", "scopes": ["subscription:read"]}])

    label: str = Field(min_length=1, max_length=LONGEST_NAME)
    scopes: list[Literal[SCOPES]] = Field(  # type: ignore[valid-type]
        min_length=1, description="Writing includes reading; `*` is whatever the user's role allows."
    )
    scoped_teams: list[int] | None = Field(
        default=None, description="Only in these projects; none named: wherever the calling key is good."
    )
    expires_at: datetime | None = Field(
        default=None, description="Not later than the calling key; null: when that one does, if it does."
    )


@router.get("", **described(PersonalKeyPage, asks=PAGED))
async def list_keys(request: Request, app: Parts, caller: Caller) -> JSONResponse:
    """The caller's own keys, newest first."""
    limit, offset = window(request)
    own = [_shown(each) for each in await _own(app, caller)]
    return JSONResponse(paged(request, own[offset : offset + limit], count=len(own)))


@router.post("", **described(PersonalKeyMade, status=201, takes=NewPersonalKey))
async def create_key(request: Request, app: Parts, caller: Caller) -> JSONResponse:
    """Make a key; its value is in this answer and nowhere else."""
    if EVERYTHING not in caller.scopes:
        raise permission_denied(f"A key makes others only with the scope {EVERYTHING}; use `paperround keys create`.")
    fields = _read(await read_object(request))
    calling = await _find(app, caller, caller.key_id)
    try:
        made, value = await app.keys.create(
            caller.user,
            name=fields["label"],
            scopes=fields["scopes"],
            project_ids=_projects(fields["scoped_teams"], caller),
            expires_at=_until(fields["expires_at"], calling.expires_at),
        )
    except InvalidField as problem:
        raise InvalidField(_CALLED.get(problem.field or "", problem.field), str(problem), code=problem.code) from None
    return JSONResponse({**_shown(made), "value": value}, status_code=201)


@router.delete("/{key_id:int}", **described(status=204))
async def revoke_key(key_id: Id, app: Parts, caller: Caller) -> Response:
    """End one of the caller's own keys, from this moment on; any key may end itself."""
    if EVERYTHING not in caller.scopes and key_id != caller.key_id:
        raise permission_denied(f"A key ends others only with the scope {EVERYTHING}; use `paperround keys revoke`.")
    await app.keys.revoke(caller.organisation_id, (await _find(app, caller, key_id)).id)
    return Response(status_code=204)


async def _own(app: App, caller: Principal) -> list[ApiKey]:
    every = await app.keys.listed(caller.organisation_id)
    return [each for each in every if each.user.id == caller.user.id and each.revoked_at is None]


async def _find(app: App, caller: Principal, key_id: int) -> ApiKey:
    for each in await _own(app, caller):
        if each.id == key_id:
            return each
    raise NotFound(f"You have no key {key_id}.")


# ── in and out ───────────────────────────────────────────────────────────────────────────────────────────────────────

_CALLED = {"name": "label", "project_ids": "scoped_teams"}
"""What the reference calls the fields of a key."""


def _read(body: Mapping[str, Any]) -> dict[str, Any]:
    """Every field, in the order of the document; ids, scopes and instants are judged where they are used."""
    for name in ("label", "scopes"):
        if name not in body:
            raise InvalidField(name, "This field is required.", code="required")
        if body[name] is None:
            raise InvalidField(name, "may not be null", code="null")
    label, scopes, teams, until = (body.get(name) for name in ("label", "scopes", "scoped_teams", "expires_at"))
    if not isinstance(label, str):
        raise InvalidField("label", "must be text")
    if not isinstance(scopes, list) or not all(isinstance(each, str) for each in scopes):
        raise InvalidField("scopes", "must be a list of scopes, such as subscription:read")
    teams = [] if teams is None else teams
    if not isinstance(teams, list) or not all(type(each) is int for each in teams):
        raise InvalidField("scoped_teams", "must be a list of projects' ids")
    if until is not None and not isinstance(until, str):
        raise InvalidField("expires_at", "must be an instant such as 2027-03-14T09:00:00Z, or null")
    return {"label": label, "scopes": scopes, "scoped_teams": teams, "expires_at": until}


def _projects(named: list[int], caller: Principal) -> tuple[int, ...] | None:
    """No more than the calling key's own; naming none means wherever that one reaches."""
    if not named:
        return caller.project_ids
    if beyond := [each for each in named if not caller.sees(each)]:
        raise InvalidField("project_ids", f"there is no project {beyond[0]}", code="does_not_exist")
    return tuple(named)


def _until(given: str | None, calling: datetime | None) -> datetime | None:
    """No longer than the calling key."""
    until = calling if given is None else parse_instant(given, field="expires_at", timezone=None)
    if calling is not None and until is not None and until > calling:
        raise InvalidField("expires_at", f"must not be later than {instant(calling)}, when the calling key ends")
    return until


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "label": key.name,
        "mask_value": key.mask,
        "user_id": key.user.id,
        "scopes": list(key.scopes),
        "scoped_teams": list(key.project_ids or ()),
        "scoped_organizations": [],
        "created_at": instant(key.created_at),
        "last_used_at": instant(key.last_used_at),
        "expires_at": instant(key.expires_at),
    }
