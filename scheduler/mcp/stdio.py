"""``paperround mcp``: the same tools for an agent on this machine, on standard input and output.

No service has to run: the API is asked in this process, on the installation's database. What is to be sent is sent by
the service, or by the next ``run-due``.
"""

from __future__ import annotations

import signal

from fastapi import FastAPI
from mcp.server.stdio import stdio_server

from scheduler.api.serving import add_api
from scheduler.app import App
from scheduler.errors import ConfigurationError
from scheduler.mcp.asking import Api, project_of
from scheduler.mcp.server import mcp_server


async def serve_stdio(app: App, *, key: str, project_id: int | None) -> None:
    """Serve until standard input ends. Raises :class:`ConfigurationError` for a key that is not valid."""
    caller = await app.keys.check(key)
    if caller is None:
        raise ConfigurationError("the API key is not, or no longer, valid; make one with `paperround keys create`")
    project = await project_of(app, caller, project_id)
    web = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_api(web, app)
    server = mcp_server(Api(web, key, project))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the thread that waits for input knows of no other end
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
