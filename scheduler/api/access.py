"""Who asks, and what they may see and do: the same 401 for every bad key, 404 for whatever is not theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request

from scheduler.api.errors import not_authenticated, permission_denied
from scheduler.app import App
from scheduler.errors import NotFound
from scheduler.keys import Principal, is_well_formed
from scheduler.store.people import Project

LARGEST_ID = 2**63 - 1


async def app_of(request: Request) -> App:
    """The application that the composition root has put behind this web server."""
    app: App = request.app.state.paperround
    return app


Parts = Annotated[App, Depends(app_of)]


async def principal(request: Request, app: Parts) -> Principal:
    """Who presents a good key, and does not ask too often."""
    found = await identified(request, app)
    request.app.state.rate.take(found.key_id)
    return found


async def identified(request: Request, app: App) -> Principal:
    """Who presents a good key in the ``Authorization`` header (RFC 6750, 2.1); a key in the address is never good."""
    if any(is_well_formed(part) for pair in request.query_params.multi_items() for part in pair):
        raise not_authenticated()
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    found = await app.keys.check(key.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        raise not_authenticated()
    return found


Caller = Annotated[Principal, Depends(principal)]

_scopes: dict[object, str] = {}


def scope_of(dependency: object) -> str | None:
    """What a dependency made by :func:`needs` or :func:`within` asks for; None for any other."""
    return _scopes.get(dependency)


def needs(scope: str) -> Callable[[Principal], Awaitable[Principal]]:
    """A dependency: the caller, who may do this."""

    async def allowed(caller: Caller) -> Principal:
        return _allowed(caller, scope)

    _scopes[allowed] = scope
    return allowed


def _allowed(caller: Principal, scope: str) -> Principal:
    if not caller.may(scope):
        raise permission_denied(f"This key may not: it needs the scope {scope}, and a role that allows it.")
    return caller


@dataclass(frozen=True, slots=True)
class Asked:
    """A request within a project that its caller may see."""

    app: App
    caller: Principal
    project: Project


def within(scope: str) -> Callable[..., Awaitable[Asked]]:
    """A dependency: a project of the caller's, and the right to do this there."""

    async def asked(
        app: Parts,
        caller: Caller,
        project_id: Annotated[int, Path(ge=1, le=LARGEST_ID, description="The project's id.")],
    ) -> Asked:
        _allowed(caller, scope)
        if not caller.sees(project_id):
            raise NotFound(f"There is no project {project_id}.")
        return Asked(app, caller, await app.project(project_id))

    _scopes[asked] = scope
    return asked
