"""``/openapi.json``, and ``/docs``: the document to read and to try, in a page that loads nothing from elsewhere.

The page is Swagger UI (``templates/pages/docs``). It may run its own script and ask this service, nothing else.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from urllib.parse import urlsplit

from fastapi import FastAPI, Response

from scheduler.api.document import document
from scheduler.app import App
from scheduler.errors import NotFound

MEDIA_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "start.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "style-src 'self' 'unsafe-inline'; "  # its tables are laid out by style attributes
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def add_docs(web: FastAPI, app: App) -> None:
    """Put the document and its page on this web server; no key is needed to read them."""

    @cache
    def made() -> bytes:
        server = urlsplit(app.settings.base_url).path.rstrip("/")  # on whatever host it is read from
        whole = document(web, version=version("paperround"), server=server or "/")
        return json.dumps(whole, ensure_ascii=False).encode()

    @web.api_route("/openapi.json", methods=["GET", "HEAD"], include_in_schema=False)
    def openapi() -> Response:  # in a thread: the first one takes a moment to make
        return Response(made(), media_type="application/json", headers=HEADERS)

    @web.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> Response:
        return _file("index.html")

    @web.api_route("/docs/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def part(name: str) -> Response:
        return _file(name)


def _file(name: str) -> Response:
    if name not in MEDIA_TYPES:
        raise NotFound("There is nothing at this address.")
    return Response(_read(name), media_type=MEDIA_TYPES[name], headers=HEADERS)


@cache
def _read(name: str) -> bytes:
    return files("templates").joinpath("pages", "docs", name).read_bytes()
