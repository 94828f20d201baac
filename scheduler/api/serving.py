"""The API on a web server: routes under both prefixes, errors in one shape, no slash too many."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler.api import (
    dashboards,
    docs,
    domains,
    errors,
    exports,
    insights,
    integrations,
    organizations,
    people,
    personal_keys,
    projects,
    sharing,
    sources,
    subscriptions,
    verification_tokens,
)
from scheduler.api.bodies import accepts_json
from scheduler.api.limits import Rate
from scheduler.api.methods import Methods
from scheduler.app import App

PREFIXES = ("/api/projects/{project_id}", "/api/environments/{project_id}")
"""Clients of the reference use either; the same rows are behind both."""
JSON = (Depends(accepts_json),)
"""What every route asks for first, save those that draw."""


def add_api(web: FastAPI, app: App) -> None:
    """Put the API on this web server."""
    put_behind(web, app)
    for each in (people, personal_keys, organizations, domains, verification_tokens):
        web.include_router(each.router, prefix="/api", dependencies=JSON)
    for prefix in PREFIXES:
        within = APIRouter(prefix=prefix)
        for each in (subscriptions, sharing, sources, insights, dashboards, integrations):
            within.include_router(each.router, dependencies=JSON)
        within.include_router(exports.router)
        in_schema = prefix is PREFIXES[0]
        without_id = prefix.removesuffix("/{project_id}")
        web.include_router(projects.router, prefix=without_id, include_in_schema=in_schema, dependencies=JSON)
        web.include_router(within, include_in_schema=in_schema)
    docs.add_docs(web, app)
    errors.install(web)
    web.add_middleware(Methods, web)
    web.add_middleware(WithoutSlash)


def put_behind(web: FastAPI, app: App) -> None:
    """Answer from this application; how often each key has come is counted anew."""
    web.state.paperround = app
    web.state.rate = Rate(app.settings.requests_a_minute, app.clock)


class WithoutSlash:
    """``/api/…/`` is ``/api/…``: no redirect, since clients do not send their bodies again."""

    def __init__(self, inner: ASGIApp) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            scope = {**scope, "path": scope["path"].rstrip("/")}
        await self.inner(scope, receive, send)
