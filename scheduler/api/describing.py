"""What the OpenAPI document says of a route: which body it takes, what it asks of the query, how it may answer.

Bodies and queries are read by ourselves, strictly and in the contract's order, so FastAPI cannot know them; every
route says them with :func:`described`, and :func:`document` puts them together. Tests hold the document against what
the service answers. Source: OpenAPI 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from scheduler.api.errors import INVALID, OURS, TOO_MANY, WHO, WRONG

REFERENCE = "#/components/schemas/{model}"


class Refusal(BaseModel):
    """Every answer that is not 2xx: the first error only."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"required": ["type", "code", "detail", "attr"]})
    type: str
    code: str
    detail: str
    attr: str | None


_REFUSALS: Mapping[int, tuple[str, str]] = {
    400: ("A field cannot be like this (`attr` names it), or the JSON cannot be read.", INVALID),
    401: ("The key is missing, malformed, unknown, revoked or expired.", WHO),
    402: ("The organisation's quota is used up.", OURS),
    403: ("The key, or its user's role, may not.", WHO),
    404: ("There is no such thing, or it is another project's.", WRONG),
    409: ("Not in its present state.", OURS),
    413: ("The body is too large.", WRONG),
    415: ("The body is not JSON.", WRONG),
    422: ("It was asked, and could not answer.", OURS),
    429: ("Too many requests; `Retry-After` says when to come back, in seconds.", TOO_MANY),
    503: ("The database does not answer; `Retry-After` says when to come back.", OURS),
}
ALWAYS = (401, 403, 404, 429, 503)
"""A key, a project, a rate and a database: any of them may stand in the way."""
OF_A_BODY = (400, 413, 415)

_taken: dict[str, type[BaseModel]] = {}


def described(
    shows: type[BaseModel] | None = None,
    *,
    status: int = 200,
    takes: type[BaseModel] | None = None,
    asks: Sequence[Mapping[str, Any]] = (),
    refuses: Sequence[int] = (),
    media: Sequence[str] = (),
) -> dict[str, Any]:
    """Arguments for a route's decorator.

    ``shows``: the model of the answer (none: empty, or of the ``media`` types that are named); ``takes``: of the body;
    ``asks``: parameters of the query (:func:`query`); ``refuses``: statuses beside those that any route may give.
    """
    codes = sorted({*ALWAYS, *refuses, *(OF_A_BODY if takes else ()), *((400,) if asks else ())})
    answers: dict[int | str, dict[str, Any]] = {code: _refusal(code) for code in codes}
    answers[status] = _answer(shows, media)
    extra: dict[str, Any] = {"parameters": list(asks)} if asks else {}
    if takes is not None:
        _taken[takes.__name__] = takes
        schema = {"$ref": REFERENCE.format(model=takes.__name__)}
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"status_code": status, "responses": answers, "openapi_extra": extra}


def query(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    """A parameter of the query; ``schema`` is JSON Schema."""
    return {"name": name, "in": "query", "required": False, "schema": dict(schema), "description": description}


WHOLE = {"type": "integer", "minimum": 0}
PAGED = (
    query("limit", WHOLE, "At most so many results (default 100, at most 1000)."),
    query("offset", WHOLE, "After so many results."),
)


def _answer(shows: type[BaseModel] | None, media: Sequence[str]) -> dict[str, Any]:
    if shows is not None:
        return {"model": shows, "description": _first_line(shows)}
    binary = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
    return {"description": "Done.", **({"content": dict.fromkeys(media, binary)} if media else {})}


def _refusal(code: int) -> dict[str, Any]:
    description, kind = _REFUSALS[code]
    headers = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}} if code in {429, 503} else {}
    return {"model": Refusal, "description": f"`{kind}`: {description}", **({"headers": headers} if headers else {})}


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or model.__name__).strip().splitlines()[0]


# ── the document ─────────────────────────────────────────────────────────────────────────────────────────────────────


def document(web: FastAPI, *, version: str, server: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of this web server's API."""
    made = get_openapi(
        title="Paperround",
        version=version,
        summary="Delivers the dashboards and insights people subscribed to, and keeps a true record of it.",
        routes=web.routes,
        servers=[{"url": server}],
    )
    _, definitions = models_json_schema([(each, "validation") for each in _taken.values()], ref_template=REFERENCE)
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.update(definitions.get("$defs", {}))
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "A personal API key."}}
    made["security"] = [{"key": []}]
    for path in made["paths"].values():
        for operation in path.values():
            _without_the_frameworks_own(operation["responses"])
    return made


def _without_the_frameworks_own(responses: dict[str, Any]) -> None:
    """FastAPI thinks that it validates paths; what cannot be in one is a 404 here."""
    found = responses.get("422", {})
    if "HTTPValidationError" in str(found):
        del responses["422"]
