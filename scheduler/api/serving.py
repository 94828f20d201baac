"""The API on a web server: routes under both prefixes, errors in one shape, no slash too many."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler.api import errors, people, subscriptions
from scheduler.app import App

PREFIXES = ("/api/projects/{project_id}", "/api/environments/{project_id}")
"""Clients of the reference use either; the same rows are behind both."""


def add_api(web: FastAPI, app: App) -> None:
    """Put the API on this web server."""
    web.state.paperround = app
    web.include_router(people.router, prefix="/api")
    for prefix in PREFIXES:
        within = APIRouter(prefix=prefix)
        within.include_router(subscriptions.router)
        web.include_router(within, include_in_schema=prefix is PREFIXES[0])
    errors.install(web)
    web.add_middleware(WithoutSlash)


class WithoutSlash:
    """``/api/…/`` is ``/api/…``: no redirect, since clients do not send their bodies again."""

    def __init__(self, inner: ASGIApp) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            scope = {**scope, "path": scope["path"].rstrip("/")}
        await self.inner(scope, receive, send)
