"""The pages: for now what e-mails link to, and what load balancers and monitoring ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError

from scheduler.errors import DatabaseUnavailable
from scheduler.links import UnsubscribeLinks
from scheduler.render import page
from scheduler.subscriptions import Subscriptions

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def web_app(
    *,
    subscriptions: Subscriptions,
    links: UnsubscribeLinks,
    is_alive: Callable[[], Awaitable[bool]],
    metrics: Callable[[], Awaitable[bytes]],
    trouble: Callable[[], str | None] = lambda: None,
) -> FastAPI:
    """``/unsubscribe/{token}``, ``/healthz`` (the process), ``/readyz`` (ticks and database) and ``/metrics``.

    ``trouble``: what holds up the sends although ticks go on, for ``/readyz`` to say: no reason to be replaced.
    """
    web = FastAPI(title="Paperround", docs_url=None, redoc_url=None, openapi_url=None)

    @web.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @web.get("/readyz")
    async def readyz() -> PlainTextResponse:
        if not await is_alive():
            return PlainTextResponse("not ticking\n", status_code=503)
        said = trouble()
        return PlainTextResponse("ok\n" if said is None else f"ok, but {said}\n")

    @web.get("/metrics")
    async def figures() -> Response:
        try:
            return Response(await metrics(), headers={"content-type": CONTENT_TYPE_LATEST})
        except (DatabaseUnavailable, SQLAlchemyError, OSError):
            return PlainTextResponse("the database does not answer\n", status_code=503)

    @web.get("/unsubscribe/{token}")
    async def ask(token: str) -> Response:
        """A page with one button: mail scanners follow links, so looking must not unsubscribe (RFC 8058, 2)."""
        link = links.read(token)
        if link is None:
            return _page("unknown", status_code=404)
        return _page("ask", address=link[1])

    @web.post("/unsubscribe/{token}")
    async def unsubscribe(token: str) -> Response:
        """One click, by the person's mail program or by the page's button (RFC 8058, 3.2); again is fine."""
        link = links.read(token)
        if link is None:
            return _page("unknown", status_code=404)
        await subscriptions.unsubscribe(*link)
        return _page("done", address=link[1])

    return web


def _page(state: str, *, address: str = "", status_code: int = 200) -> HTMLResponse:
    text = page("unsubscribe.html", state=state, address=address)
    return HTMLResponse(text, status_code=status_code, headers=HEADERS)
