"""Which methods a path takes: HEAD is GET without the body, OPTIONS and every 405 name them all.

Sources: RFC 9110, 9.3.2 (HEAD), 9.3.7 (OPTIONS), 15.5.6 (405). No header lets another site's page call this API.
"""

from __future__ import annotations

from fastapi import FastAPI, Response
from starlette.datastructures import MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Methods:
    """Around everything below ``/api/``."""

    def __init__(self, inner: ASGIApp, web: FastAPI) -> None:
        self.inner = inner
        self.web = web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self.inner(scope, receive, send)
        elif scope["method"] == "OPTIONS" and (allowed := self._allowed(scope)):
            await Response(status_code=204, headers={"allow": allowed})(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self.inner({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await self.inner(scope, receive, self._naming_the_allowed(scope, send))

    def _naming_the_allowed(self, scope: Scope, send: Send) -> Send:
        """The framework names the methods of one route alone, and several stand at one path."""

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                MutableHeaders(scope=message)["allow"] = self._allowed(scope)
            await send(message)

        return named

    def _allowed(self, scope: Scope) -> str:
        """Empty when nothing is at this path."""
        found = [method for method in METHODS if self._takes({**scope, "method": method})]
        implied = ["HEAD"] if "GET" in found else []
        return ", ".join([*found, *implied, "OPTIONS"]) if found else ""

    def _takes(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self.web.router.routes)


def _without_body(send: Send) -> Send:
    async def headed(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return headed
