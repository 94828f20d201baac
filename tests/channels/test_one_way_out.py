"""Every outgoing HTTP request takes one way: no module but that one makes anything that could send another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for folder in ("channels", "scheduler") for path in (ROOT / folder).rglob("*.py"))

WAY_OUT = {
    "channels/outbound_http.py": "the one way out",
    "channels/dialling.py": "its dial",
}
BOUND_TO_IT = {
    ("channels/slack_api.py", "slack_sdk.web.async_client.AsyncWebClient"): "sends through the session it is given",
    ("scheduler/mcp/asking.py", "httpx.ASGITransport"): "asks our own routes, in this process",
}
"""What looks like another way and is none, with the reason."""

CLIENTS = {
    "aiohttp": {"BaseConnector", "TCPConnector", "UnixConnector", "NamedPipeConnector", "request"},
    "asyncio": {"open_connection", "open_unix_connection"},
    "httpx": {
        *("Client", "AsyncClient", "HTTPTransport", "AsyncHTTPTransport", "BaseTransport", "AsyncBaseTransport"),
        *("ASGITransport", "WSGITransport", "MockTransport"),
        *("get", "options", "head", "post", "put", "patch", "delete", "request", "stream"),
    },
    "slack_sdk": {"WebClient", "AsyncWebClient", "WebhookClient", "AsyncWebhookClient", "SocketModeClient"},
    "socket": {"create_connection"},
}
"""What opens connections or has one opened, by library; of aiohttp, whatever else begins with ``Client``, too."""

WORDS = {"ClientTimeout", "ClientResponse", "ClientRequest"}
"""But these: limits, answers, questions."""

HTTP_LIBRARIES = {
    *("aiohappyeyeballs", "aiohttp_retry", "ftplib", "h11", "h2", "http.client", "httpcore", "httplib2", "httptools"),
    *("httpx_aiohttp", "mcp.client", "niquests", "pycurl", "requests", "starlette.testclient", "fastapi.testclient"),
    *("urllib.request", "urllib3", "websockets", "xmlrpc.client"),
}
"""Whose mere import is one too many."""

LOOPS_OWN = {"create_connection", "create_unix_connection", "sock_connect", "start_tls"}
"""Methods of any event loop."""


def ways_out(source: str) -> list[str]:
    """The dotted names in a module that make, or ask through, an HTTP client or a connection; annotations are none."""
    tree = ast.parse(source)
    imported = dict(_imported(tree))
    attributes = [node for node in _executed(tree) if isinstance(node, ast.Attribute)]
    named = [*imported.values(), *(_dotted(node, imported) or "" for node in attributes)]
    return [name for name in named if _is_a_way_out(name)] + [
        node.attr for node in attributes if node.attr in LOOPS_OWN
    ]


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What each import makes known, anywhere in the module: under which name, and what it is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, alias.name
                if not alias.asname:
                    yield alias.name.partition(".")[0], alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All of it but annotations, which are words only."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child
                yield from _executed(child)


def _dotted(node: ast.AST, imported: dict[str, str]) -> str | None:
    """``web.ClientSession`` as ``aiohttp.ClientSession``, where ``web`` was imported for ``aiohttp``."""
    if isinstance(node, ast.Name):
        return imported.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value, imported)):
        return f"{owner}.{node.attr}"
    return None


def _is_a_way_out(name: str) -> bool:
    library, last = name.partition(".")[0], name.rpartition(".")[2]
    if any(f"{name}.".startswith(f"{library}.") for library in HTTP_LIBRARIES):
        return True
    if library == "aiohttp" and last.startswith("Client"):
        return last not in WORDS and not last.endswith("Error")
    return "." in name and last in CLIENTS.get(library, ())


def test_nothing_else_makes_an_http_client() -> None:
    found = {(str(path.relative_to(ROOT)), name) for path in MODULES for name in ways_out(path.read_text("utf-8"))}

    assert {(module, name) for module, name in found if module not in WAY_OUT} - BOUND_TO_IT.keys() == set()


@pytest.mark.parametrize("module", WAY_OUT)
def test_the_one_way_out_is_where_we_say(module: str) -> None:
    assert ways_out((ROOT / module).read_text("utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import httpx\nhttpx.AsyncClient()",
        "import httpx as web\nweb.get('https://example.com')",
        "import httpx\nmake = httpx.AsyncClient",
        "from httpx import AsyncClient as C",
        "import httpx\nclass Own(httpx.AsyncBaseTransport): ...",
        "def later():\n    import httpx\n    return httpx.Client",
        "import httpx._client\nhttpx._client.Client()",
        "import aiohttp\naiohttp.ClientSession()",
        "import aiohttp.web\naiohttp.ClientSession()",
        "from aiohttp.connector import TCPConnector",
        "from aiohttp import client\nclient.ClientSession()",
        "from aiohttp import request",
        "from slack_sdk import WebClient",
        "from slack_sdk.webhook import async_client\nasync_client.AsyncWebhookClient('https://example.com')",
        "import urllib.request",
        "from urllib import request",
        "from urllib.request import urlopen",
        "import http.client",
        "from http.client import HTTPSConnection",
        "import requests",
        "import httpcore\nhttpcore.AsyncConnectionPool()",
        "import asyncio\nasyncio.open_connection('example.com', 80)",
        "from socket import create_connection",
        "async def f(loop):\n    await loop.create_connection(P, 'example.com', 80)",
    ],
)
def test_another_way_would_be_found(source: str) -> None:
    assert ways_out(source)


@pytest.mark.parametrize(
    "source",
    [
        "import httpx\ndef f(client: httpx.AsyncClient) -> httpx.AsyncClient: ...",
        "import httpx\nclient: httpx.AsyncClient | None = None",
        "import httpx\ntry: ...\nexcept httpx.ConnectError: ...",
        "import aiohttp\ntry: ...\nexcept aiohttp.ClientConnectorError: ...",
        "from urllib.parse import quote\nfrom http import HTTPStatus\nfrom aiohttp import web\nweb.Application()",
        "rows.get('x')\nrequest.stream()",
    ],
)
def test_a_word_or_a_server_is_no_way_out(source: str) -> None:
    assert not ways_out(source)
