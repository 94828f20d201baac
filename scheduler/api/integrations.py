"""Credentials of Slack workspaces and webhook receivers; what is secret goes in, and comes out once at most."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from scheduler.api import schemas_catalog as schemas
from scheduler.api.access import LARGEST_ID, Asked, within
from scheduler.api.catalog import listed, removed, retrieved, shown
from scheduler.api.describing import described
from scheduler.api.reading import read_body, said
from scheduler.credentials import new_signing_secret
from scheduler.errors import InvalidField
from scheduler.store import catalog as rows
from scheduler.store.catalog import Integration

router = APIRouter(prefix="/integrations", tags=["integrations"])

Reading = Annotated[Asked, Depends(within("integration:read"))]
Writing = Annotated[Asked, Depends(within("integration:write"))]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The integration's id.")]


@router.get("", **described(schemas.IntegrationPage, asks=schemas.LISTED))
async def list_integrations(request: Request, asked: Reading) -> Response:
    """The project's integrations, the oldest first."""
    return await listed(request, asked, Integration)


@router.post("", **described(schemas.MadeIntegration, status=201, takes=schemas.NewIntegration, refuses=(409,)))
async def create_integration(request: Request, asked: Writing) -> Response:
    """Keep a Slack token, or a secret to sign webhooks with; one that is made here is shown this once."""
    body = await read_body(request, schemas.NewIntegration)
    _refuse_the_others_secret(body, body.kind)
    if body.kind == "slack":
        made = await asked.app.catalog.add_slack(asked.project, body.name, token=body.token)
        return shown(asked, made, status=201)
    if body.secret is not None:
        made = await asked.app.catalog.add_webhook_secret(asked.project, body.name, secret=body.secret)
        return shown(asked, made, status=201)
    secret = new_signing_secret()
    made = await asked.app.catalog.add_webhook_secret(asked.project, body.name, secret=secret)
    return shown(asked, made, status=201, secret=secret)


@router.get("/{integration_id:int}", **described(schemas.Integration))
async def retrieve_integration(integration_id: Id, asked: Reading) -> Response:
    """One integration; its secret stays hidden."""
    return await retrieved(asked, Integration, integration_id)


@router.patch(
    "/{integration_id:int}", **described(schemas.Integration, takes=schemas.ChangedIntegration, refuses=(409,))
)
async def update_integration(integration_id: Id, request: Request, asked: Writing) -> Response:
    """Rename it; replace a Slack token."""
    body = await read_body(request, schemas.ChangedIntegration)
    return await _changed(asked, integration_id, body)


@router.put("/{integration_id:int}", **described(schemas.Integration, takes=schemas.NewIntegration, refuses=(409,)))
async def replace_integration(integration_id: Id, request: Request, asked: Writing) -> Response:
    """A full update: what a new one needs has to be there; a webhook's secret stays."""
    body = await read_body(request, schemas.NewIntegration)
    _refuse_the_others_secret(body, body.kind)
    return await _changed(asked, integration_id, body)


@router.post("/{integration_id:int}/rotate", **described(schemas.RotatedIntegration, refuses=(400,)))
async def rotate_integration(integration_id: Id, asked: Writing) -> Response:
    """Make a webhook a new secret, shown this once; the one before it signs, too, until the next time."""
    integration, secret = await asked.app.catalog.rotate_secret(asked.project, integration_id)
    return shown(asked, integration, secret=secret)


@router.delete("/{integration_id:int}", **described(status=204, refuses=(409,)))
async def remove_integration(integration_id: Id, asked: Writing) -> Response:
    """Forget credentials that no subscription uses."""
    return await removed(asked, Integration, integration_id)


async def _changed(
    asked: Asked, integration_id: int, body: schemas.NewIntegration | schemas.ChangedIntegration
) -> Response:
    async with asked.app.database.read() as connection:
        before = await rows.find(connection, Integration, asked.project.id, integration_id)
    if (body.kind or before.kind) != before.kind:
        raise InvalidField("kind", f"this one is for {before.kind}; make a new one for {body.kind}")
    _refuse_the_others_secret(body, before.kind)
    if body.secret is not None:
        raise InvalidField("secret", "is rotated: POST …/rotate makes a new one")
    changes = {name: value for name, value in said(body).items() if name in {"name", "token"}}
    return shown(asked, await asked.app.catalog.edit_integration(asked.project, integration_id, **changes))


def _refuse_the_others_secret(body: schemas.NewIntegration | schemas.ChangedIntegration, kind: str) -> None:
    if isinstance(body, schemas.NewIntegration) and kind == "slack" and body.token is None:
        raise InvalidField("token", "This field is required.", code="required")
    if kind == "webhook" and body.token is not None:
        raise InvalidField("token", "is Slack's; a webhook has a secret")
    if kind == "slack" and body.secret is not None:
        raise InvalidField("secret", "is a webhook's; Slack has a token")
