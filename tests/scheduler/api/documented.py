"""Whether an answer is one that the OpenAPI document has: its status, its headers, its media type, its body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import httpx
from fastapi import FastAPI
from jsonschema import Draft202012Validator, FormatChecker

from scheduler.api.document import document
from scheduler.api.serving import add_api
from scheduler.app import App
from scheduler.settings import load_settings

Json = dict[str, Any]
FORMATS = FormatChecker(formats=("date-time", "uuid"))


@cache
def api_alone() -> FastAPI:
    """The API's routes, put together once: that takes longer than most tests."""
    web = FastAPI(openapi_url=None)
    add_api(web, cast("App", SimpleNamespace(settings=load_settings(), clock=None)))
    return web


@cache
def the_document() -> Json:
    """As the service has it; what is behind the routes plays no part in it."""
    return document(api_alone(), version="0", server="/")


@dataclass(frozen=True)
class Operation:
    """One method of one path of the document."""

    path: str
    method: str
    says: Json

    @property
    def name(self) -> str:
        return str(self.says["operationId"])

    @property
    def success(self) -> int | None:
        """The status that says that it worked; none for what is never allowed."""
        return next((int(status) for status in self.says["responses"] if status.startswith("2")), None)

    @property
    def bodies(self) -> list[Any]:
        """Its examples, or that there is none."""
        content = self.says.get("requestBody", {}).get("content", {}).get("application/json", {})
        return [each["value"] for each in content.get("examples", {}).values()] or [None]


def operations() -> Iterator[Operation]:
    for path, methods in the_document()["paths"].items():
        for method, says in methods.items():
            yield Operation(path, method, says)


async def as_documented(answer: httpx.Response) -> None:
    """For an httpx client of the API, as one of its ``response`` hooks."""
    await answer.aread()
    assert not (wrong := complaint(answer)), wrong


def complaint(answer: httpx.Response) -> str:
    """What is wrong with it, or nothing. The document is of what is below ``/api/``, and a 500 is a bug."""
    path = re.sub("^/api/environments/", "/api/projects/", answer.request.url.path.rstrip("/"))
    method = "get" if answer.request.method == "HEAD" else answer.request.method.lower()
    says = _at(path).get(method)
    elsewhere = not path.startswith("/api/") or (says is None and answer.status_code in {204, 404, 405})
    if elsewhere or answer.status_code == 500:
        return ""
    if says is None or str(answer.status_code) not in says["responses"]:
        return f"{method} {path} does not document {answer.status_code}: {answer.text}"
    return _differs(says["responses"][str(answer.status_code)], answer)


def _at(path: str) -> Json:
    """What can be done there; of several that match, the one with the fewest parameters counts."""
    found = [each for each in the_document()["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each), path)]
    methods: Json = the_document()["paths"][min(found, key=lambda each: each.count("{"))] if found else {}
    return methods


def _differs(response: Json, answer: httpx.Response) -> str:
    response = _resolved(response)
    if missing := [name for name in response.get("headers", {}) if name not in answer.headers]:
        return f"{answer.status_code} without {missing}"
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    content = response.get("content", {})
    if not content or answer.request.method == "HEAD":
        return "a body, where none is documented" if answer.content else ""
    if media_type not in content:
        return f"{media_type!r} instead of {list(content)}"
    if media_type != "application/json":
        return ""
    errors = _validator(str(content[media_type]["schema"]["$ref"])).iter_errors(answer.json())
    return "; ".join(f"{error.json_path}: {error.message}" for error in errors)


@cache
def _validator(reference: str) -> Draft202012Validator:
    schema = {"$ref": reference, "components": the_document()["components"]}
    return Draft202012Validator(schema, format_checker=FORMATS)


def _resolved(response: Json) -> Json:
    reference = response.get("$ref", "").rpartition("/")[2]
    found: Json = the_document()["components"]["responses"][reference] if reference else response
    return found
