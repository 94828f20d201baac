"""The caller's organisation: what it is called, who belongs to it, whether its rows may go to a model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from scheduler.api.access import Parts, needs
from scheduler.api.bodies import read_object
from scheduler.api.describing import PAGED, described
from scheduler.api.pages import paged, window
from scheduler.api.schemas import Page, Person, Shown, taken
from scheduler.api.schemas_catalog import ProjectPage
from scheduler.app import App
from scheduler.contract import instant, project_json, user_json
from scheduler.errors import NotFound
from scheduler.keys import Principal
from scheduler.organisations import LONGEST_NAME
from scheduler.store import organisations as rows
from scheduler.store import people
from scheduler.store.organisations import Member
from scheduler.store.people import Role, User

router = APIRouter(prefix="/organizations", tags=["organizations"])

CURRENT = "@current"
ADMINISTRATOR, MEMBER = 8, 1
Level = Annotated[Literal[1, 8], Field(description="8: an admin; 1: a member or, unknown to the reference, a viewer.")]

# ── whose ────────────────────────────────────────────────────────────────────────────────────────────────────────────

Reader = Annotated[Principal, Depends(needs("organization:read"))]
Writer = Annotated[Principal, Depends(needs("organization:write"))]
Id = Annotated[str, Path(description=f"The organisation's id, or `{CURRENT}`: the caller's.")]


@dataclass(frozen=True, slots=True)
class Theirs:
    """A request about the caller's organisation."""

    app: App
    caller: Principal
    id: int


async def reading(app: Parts, caller: Reader, organization_id: Id) -> Theirs:
    """A dependency: the organisation is the caller's, who may read what is its own."""
    return await _theirs(app, caller, organization_id)


async def writing(app: Parts, caller: Writer, organization_id: Id) -> Theirs:
    """A dependency: the organisation is the caller's, who may change what is its own."""
    return await _theirs(app, caller, organization_id)


Reading = Annotated[Theirs, Depends(reading)]
Writing = Annotated[Theirs, Depends(writing)]


async def _theirs(app: App, caller: Principal, named: str) -> Theirs:
    if named != CURRENT:
        async with app.database.read() as connection:
            own = await people.find_organisation(connection, caller.organisation_id)
        if named.lower() != str(own.uuid):
            raise NotFound(f"There is no organisation {named[:40]}; `{CURRENT}` is yours.")
    return Theirs(app, caller, caller.organisation_id)


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class OrganizationProject(Shown):
    """A project of it that the key reaches."""

    id: int
    name: str


class Organization(Shown):
    """An organisation, and what its caller reaches there."""

    id: UUID
    name: str
    created_at: datetime
    membership_level: Level = Field(description="The caller's.")
    member_count: int
    is_ai_data_processing_approved: bool = Field(description="Whether what was shown may go to a model.")
    teams: list[OrganizationProject] = Field(description="As `projects`.")
    projects: list[OrganizationProject]


class OrganizationPage(Page):
    """The caller's organisation, as a list."""

    results: list[Organization]


class OrganizationChange(BaseModel):
    """What may be changed; what is absent stays as it is."""

    model_config = taken(partial=True, examples=[{"name": "Paper & Sons"}])

    name: str = Field(default="", min_length=1, max_length=LONGEST_NAME)
    is_ai_data_processing_approved: bool = Field(default=False, description="Whether what is shown may go to a model.")


class OrganizationMember(Shown):
    """A user, as a member of the organisation."""

    id: UUID
    user: Person
    level: Level
    joined_at: datetime
    updated_at: datetime
    is_2fa_enabled: bool = Field(description="Always false: there are no passwords here.")
    has_social_auth: bool = Field(description="Always false.")
    last_login: datetime | None = Field(description="Always null: people come with keys.")


class OrganizationMemberPage(Page):
    """Who belongs to the organisation, the first one first."""

    results: list[OrganizationMember]


# ── routes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.get("", **described(OrganizationPage, asks=PAGED))
async def list_organizations(request: Request, app: Parts, caller: Reader) -> JSONResponse:
    """The caller's organisation: a key belongs to one."""
    limit, offset = window(request)
    every = [await _shown(Theirs(app, caller, caller.organisation_id))]
    return JSONResponse(paged(request, every[offset : offset + limit], count=len(every)))


@router.get("/{organization_id}", **described(Organization))
async def retrieve_organization(theirs: Reading) -> JSONResponse:
    """The caller's organisation, and the projects its key reaches there."""
    return JSONResponse(await _shown(theirs))


@router.patch("/{organization_id}", **described(Organization, takes=OrganizationChange))
async def update_organization(request: Request, theirs: Writing) -> JSONResponse:
    """Rename it; allow, or stop, that what was shown goes to a model."""
    await theirs.app.organisations.change(theirs.id, await read_object(request))
    return JSONResponse(await _shown(theirs))


@router.get("/{organization_id}/projects", **described(ProjectPage, asks=PAGED))
async def list_organization_projects(request: Request, theirs: Reading) -> JSONResponse:
    """What ``/api/projects`` lists: clients of the reference ask here, too."""
    limit, offset = window(request)
    async with theirs.app.database.read() as connection:
        reached = [each for each in await people.listed_projects(connection) if theirs.caller.sees(each.id)]
    shown = [project_json(each) for each in reached[offset : offset + limit]]
    return JSONResponse(paged(request, shown, count=len(reached)))


@router.get("/{organization_id}/members", **described(OrganizationMemberPage, asks=PAGED))
async def list_members(request: Request, theirs: Reading) -> JSONResponse:
    """Who belongs to it."""
    limit, offset = window(request)
    async with theirs.app.database.read() as connection:
        found, count = await rows.members(connection, theirs.id, limit=limit, offset=offset)
    return JSONResponse(paged(request, [_member_json(each) for each in found], count=count))


async def _shown(theirs: Theirs) -> dict[str, Any]:
    async with theirs.app.database.read() as connection:
        organisation = await people.find_organisation(connection, theirs.id)
        terms = await rows.terms_of(connection, theirs.id)
        projects = await people.listed_projects(connection)
    reached = [{"id": each.id, "name": each.name} for each in projects if theirs.caller.sees(each.id)]
    return {
        "id": str(organisation.uuid),
        "name": organisation.name,
        "created_at": instant(terms.created_at),
        "membership_level": _level(theirs.caller.user),
        "member_count": terms.members,
        "is_ai_data_processing_approved": terms.summaries_allowed,
        "teams": reached,
        "projects": reached,
    }


def _level(user: User) -> int:
    return ADMINISTRATOR if user.role == Role.ADMIN else MEMBER


def _member_json(member: Member) -> dict[str, Any]:
    return {
        "id": str(member.user.uuid),
        "user": user_json(member.user),
        "level": _level(member.user),
        "joined_at": instant(member.joined_at),
        "updated_at": instant(member.joined_at),
        "is_2fa_enabled": False,
        "has_social_auth": False,
        "last_login": None,
    }
