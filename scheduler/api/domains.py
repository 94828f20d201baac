"""An organisation's domains, in the reference's shape: verified by a challenge in the DNS, and nothing more.

There is no single sign-on here: its fields are there for clients of the reference, whatever is sent in them is left
aside, and they are always off.
"""

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
from scheduler.api.schemas import Page, Shown, taken
from scheduler.contract import instant
from scheduler.domains import LONGEST_DOMAIN, challenge_name
from scheduler.errors import InvalidField
from scheduler.store import organisations as rows
from scheduler.store.organisations import Domain

router = APIRouter(prefix="/organizations/{organization_id}/domains", tags=["organizations"])

OFF: dict[str, Any] = {
    "jit_provisioning_enabled": False,
    "sso_enforcement": "",
    "has_saml": False,
    "saml_entity_id": None,
    "saml_acs_url": None,
    "saml_x509_cert": None,
    "has_scim": False,
    "scim_enabled": False,
    "scim_base_url": None,
    "scim_bearer_token": None,
    "has_id_jag": False,
    "id_jag_issuer_url": None,
    "id_jag_jwks_url": None,
    "id_jag_allowed_clients": [],
    "identity_provider_config": None,
}
"""Single sign-on, as the reference has it."""

Id = Annotated[UUID, Path(description="The domain's id.")]


class OrganizationDomain(Shown):
    """A domain of the organisation."""

    id: UUID
    domain: str = Field(description="ASCII, in lower case.")
    is_verified: bool
    verified_at: datetime | None
    verification_challenge: str = Field(description="The text of a TXT record, by which the domain is verified.")
    verification_record: str = Field(description="The name of that record.")
    last_looked_up_at: datetime | None = Field(description="When that record was last looked for.")
    jit_provisioning_enabled: bool = Field(description="Always off, as everything of single sign-on.")
    sso_enforcement: str
    has_saml: bool
    saml_entity_id: str | None
    saml_acs_url: str | None
    saml_x509_cert: str | None
    has_scim: bool
    scim_enabled: bool
    scim_base_url: str | None
    scim_bearer_token: str | None
    has_id_jag: bool
    id_jag_issuer_url: str | None
    id_jag_jwks_url: str | None
    id_jag_allowed_clients: list[str]
    identity_provider_config: str | None


class OrganizationDomainPage(Page):
    """An organisation's domains, by name."""

    results: list[OrganizationDomain]


class NewDomain(BaseModel):
    """A domain; the fields of single sign-on are taken, too, and left aside."""

    model_config = taken("domain", examples=[{"domain": "example.com"}])

    domain: str = Field(
        min_length=1,
        max_length=LONGEST_DOMAIN,
        description="Whatever its case or script; no scheme, port or path, and no address.",
        json_schema_extra={"format": "idn-hostname"},
    )


class DomainChange(BaseModel):
    """Nothing changes: the domain stays the same, and the fields of single sign-on are left aside."""

    model_config = taken(partial=True, examples=[{"sso_enforcement": ""}])

    domain: str = Field(default="", min_length=1, description="The same as before.")


@router.get("", **described(OrganizationDomainPage, asks=PAGED))
async def list_domains(request: Request, theirs: Reading) -> JSONResponse:
    """The organisation's domains, by name."""
    limit, offset = window(request)
    async with theirs.app.database.read() as connection:
        found, count = await rows.list_domains(connection, theirs.id, limit=limit, offset=offset)
    return JSONResponse(paged(request, [_shown(each) for each in found], count=count))


@router.post("", **described(OrganizationDomain, status=201, takes=NewDomain))
async def create_domain(request: Request, theirs: Writing) -> JSONResponse:
    """Add a domain; publish its challenge, then verify it."""
    made = await theirs.app.organisations.add_domain(theirs.id, _domain_in(await read_object(request)))
    return JSONResponse(_shown(made), status_code=201)


@router.get("/{domain_id}", **described(OrganizationDomain))
async def retrieve_domain(domain_id: Id, theirs: Reading) -> JSONResponse:
    """One domain."""
    async with theirs.app.database.read() as connection:
        return JSONResponse(_shown(await rows.find_domain(connection, theirs.id, domain_id)))


@router.patch("/{domain_id}", **described(OrganizationDomain, takes=DomainChange))
async def update_domain(domain_id: Id, request: Request, theirs: Writing) -> JSONResponse:
    """Nothing of a domain can be changed; single sign-on stays off."""
    body = await read_object(request)
    if "domain" not in body:
        return await retrieve_domain(domain_id, theirs)
    return JSONResponse(_shown(await theirs.app.organisations.keep_domain(theirs.id, domain_id, body["domain"])))


@router.put("/{domain_id}", **described(OrganizationDomain, takes=NewDomain))
async def replace_domain(domain_id: Id, request: Request, theirs: Writing) -> JSONResponse:
    """As PATCH, with the domain's name."""
    name = _domain_in(await read_object(request))
    return JSONResponse(_shown(await theirs.app.organisations.keep_domain(theirs.id, domain_id, name)))


@router.delete("/{domain_id}", **described(status=204))
async def remove_domain(domain_id: Id, theirs: Writing) -> Response:
    """It is gone, and so is its challenge."""
    await theirs.app.organisations.remove_domain(theirs.id, domain_id)
    return Response(status_code=204)


@router.post("/{domain_id}/verify", **described(OrganizationDomain, refuses=(400,)))
async def verify_domain(domain_id: Id, theirs: Writing) -> JSONResponse:
    """Look for the challenge in the DNS, once; ``is_verified`` says whether it is there."""
    return JSONResponse(_shown(await theirs.app.organisations.verify_domain(theirs.id, domain_id)))


def _domain_in(body: dict[str, Any]) -> Any:
    if "domain" not in body:
        raise InvalidField("domain", "This field is required.", code="required")
    return body["domain"]


def _shown(domain: Domain) -> dict[str, Any]:
    return {
        "id": str(domain.id),
        "domain": domain.domain,
        "is_verified": domain.verified_at is not None,
        "verified_at": instant(domain.verified_at),
        "verification_challenge": domain.challenge,
        "verification_record": challenge_name(domain.domain),
        "last_looked_up_at": instant(domain.last_looked_up_at),
        **OFF,
    }
