"""``/mcp``: streamable HTTP for agents, a key with every request, nothing kept between two of them.

Every request is served whole by itself, so it does not matter which process answers it, or whether the service was
restarted in between. Source: MCP 2025-11-25, Transports, and 2026-07-28.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.types import Receive, Scope, Send

from scheduler.api.access import identified
from scheduler.api.bodies import LARGEST
from scheduler.api.errors import WRONG, Refused, permission_denied
from scheduler.app import App
from scheduler.keys import Principal
from scheduler.mcp.asking import Api, project_of
from scheduler.store.people import Project

PATH = "/mcp"
PROJECT = "x-paperround-project"
"""The header in which a client says which project it works in, if not in the first that its key reaches."""


def add_mcp(web: FastAPI, app: App) -> None:
    """Put ``/mcp`` on the web server that has the API."""
    for path in (PATH, f"{PATH}/"):  # no redirect, which some clients would not follow
        web.add_route(path, Door(web, app), include_in_schema=False)  # type: ignore[arg-type]


class Door:
    """Who comes in, and for which project; the SDK does the rest."""

    def __init__(self, web: FastAPI, app: App) -> None:
        self._web = web
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refuse_foreign(request, self._app.settings.base_url)
        caller = await identified(request, self._app)  # tools are counted where they ask
        if request.method != "POST":  # nothing is kept, so there is no stream to open and no session to end
            raise Refused(405, WRONG, "method_not_allowed", "Only POST is allowed here.", headers={"allow": "POST"})
        project = await self._project(request, caller)
        key = request.headers["authorization"].partition(" ")[2].strip()
        await _serve(Api(self._web, key, project), scope, receive, send)

    async def _project(self, request: Request, caller: Principal) -> Project:
        wanted = request.headers.get(PROJECT)
        if wanted is not None and not (wanted.isascii() and wanted.isdigit() and len(wanted) <= 18):
            raise Refused(400, WRONG, "invalid_input", f"The header {PROJECT} must be a project's id.")
        return await project_of(self._app, caller, None if wanted is None else int(wanted))


async def _serve(api: Api, scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.to_thread(import_module, "scheduler.mcp.server")  # the first time it takes a second
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager  # noqa: PLC0415 - the SDK, see there

    from scheduler.mcp.server import mcp_server  # noqa: PLC0415 - as above

    manager = StreamableHTTPSessionManager(
        mcp_server(api), stateless=True, json_response=True, max_request_body_size=LARGEST
    )
    async with manager.run():
        await manager.handle_request(scope, receive, send)


def refuse_foreign(request: Request, base_url: str) -> None:
    """Against DNS rebinding: a page in somebody's browser reaches us under a name, or from an origin, of its own.

    Good are the name that the service goes by (``base_url``), this machine's, and, for ``Host`` alone, any address
    in digits: no rebinding leads to one. Raises :class:`Refused` (421, 403).
    """
    ours = urlsplit(base_url)
    host = _host_of(f"//{request.headers.get('host', '')}")
    if host not in {ours.hostname, "localhost"} and not _is_address(host):
        hint = f"PAPERROUND_BASE_URL says {ours.hostname}; set it to how clients reach this service."
        raise Refused(421, WRONG, "error", f"This service does not go by the name in the Host header. {hint}")
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{ours.scheme}://{ours.netloc}" and not _is_this_machine(_host_of(origin)):
        raise permission_denied("Requests from the pages of this origin are not answered.")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_this_machine(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)
