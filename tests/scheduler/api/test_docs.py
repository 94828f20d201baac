"""The page at ``/docs``, the document it shows, and what a path says of its methods."""

from __future__ import annotations

import re
from hashlib import sha256
from importlib.resources import files

import pytest

from scheduler.api.docs import MEDIA_TYPES
from tests.scheduler.api.conftest import Client
from tests.scheduler.api.documented import operations, the_document

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

PAGE = files("templates") / "pages" / "docs"


@pytest.fixture
def stranger(api: Client) -> Client:
    """Somebody without a key."""
    del api.http.headers["authorization"]
    api.prefix = ""
    return api


@sqlite_only
async def test_the_document_is_there_for_everybody(stranger: Client) -> None:
    answer = await stranger("GET", "/openapi.json")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["paths"] == the_document()["paths"]
    assert answer.json()["servers"] == [{"url": "/"}]  # whatever name it was asked by


@sqlite_only
async def test_the_page_loads_nothing_that_this_service_does_not_have(stranger: Client) -> None:
    page = await stranger("GET", "/docs")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    parts = [await stranger("GET", f"/{name}") for name in named if name != "data:,"]

    assert [each.status_code for each in parts] == [200] * 4
    for each in (page, *parts):
        policy = each.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; connect-src 'self';")
        assert "http" not in policy
    assert not re.search(r"https?:", page.text + (PAGE / "start.js").read_text())


@sqlite_only
async def test_nothing_else_of_its_folder_is_served(stranger: Client) -> None:
    for name in ("LICENSE", "nothing.js", "..%2Funsubscribe.html", "%00"):
        assert (await stranger("GET", f"/docs/{name}")).status_code == 404


def test_what_is_not_ours_is_as_it_was_published_and_says_whose_it_is() -> None:
    said = (PAGE / "VENDORED.txt").read_text()

    for name in MEDIA_TYPES.keys() - {"index.html", "start.js"}:
        assert sha256((PAGE / name).read_bytes()).hexdigest() in said
    assert "Apache License" in (PAGE / "LICENSE").read_text()


# ── methods ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_options_and_every_405_name_the_methods_that_the_document_has(stranger: Client) -> None:
    documented: dict[str, set[str]] = {}
    for each in operations():
        if each.success is not None:
            documented.setdefault(re.sub(r"\{\w+\}", "1", each.path), set()).add(each.method.upper())

    for path, methods in documented.items():
        expected = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        asked = await stranger("OPTIONS", path)
        refused = await stranger("TRACE", path)
        assert (asked.status_code, refused.status_code, asked.content) == (204, 405, b"")
        assert set(asked.headers["allow"].split(", ")) == set(refused.headers["allow"].split(", ")) == expected, path


@sqlite_only
async def test_head_is_get_without_the_body(api: Client) -> None:
    got = await api("GET", "/subscriptions")
    headed = await api("HEAD", "/subscriptions/")

    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-length"] == got.headers["content-length"]


@sqlite_only
async def test_what_is_not_there_has_no_methods(stranger: Client) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE", "TRACE"):
        answer = await stranger(method, "/api/projects/1/nothing")
        assert (answer.status_code, "allow" in answer.headers) == (404, False)
