"""What a route says of itself for the OpenAPI document: which body it takes, what it asks of the query, how it answers.

Bodies and queries are read by ourselves, strictly and in the contract's order, so FastAPI cannot know them; every
route says them with :func:`described`, and ``scheduler.api.document`` puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import Response
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

REFERENCE = "#/components/schemas/{model}"

ALWAYS = (401, 403, 404, 429, 503)
"""A key, a project, a rate and a database: any of them may stand in the way."""
OF_A_BODY, OF_JSON = (400, 413, 415), (406,)

_described: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}


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

    ``shows``: the model of the answer (none: empty, or of the ``media`` types that are named); ``takes``: of the body,
    with an example that works (``json_schema_extra={"examples": […]}``); ``asks``: parameters of the query
    (:func:`query`); ``refuses``: statuses beside those that any route may give.
    """
    strict = any(each not in PAGED for each in asks)
    of_a_body = OF_A_BODY if takes else (400,) if strict else ()
    codes = sorted({*ALWAYS, *of_a_body, *(() if media else OF_JSON), *refuses})
    answers: dict[int | str, dict[str, Any]] = {code: {"description": "Refused."} for code in codes}
    answers[status] = _answer(shows, media)
    extra: dict[str, Any] = {"parameters": [dict(each) for each in asks]} if asks else {}
    if takes is not None:
        content = {"application/json": {"schema": _reference(takes, "validation")}}
        extra["requestBody"] = {"required": True, "content": content}
    # Answers are written by hand: FastAPI need not know of what class they are.
    return {"status_code": status, "response_class": Response, "responses": answers, "openapi_extra": extra}


def query(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    """A parameter of the query; ``schema`` is JSON Schema."""
    return {"name": name, "in": "query", "required": False, "schema": dict(schema), "description": description}


WHOLE = {"type": "integer", "minimum": 0}
PAGED = (
    query("limit", WHOLE, "At most so many results: 100 unless said, at most 1000; nonsense is as if not said."),
    query("offset", WHOLE, "After so many results; nonsense is as if not said."),
)


def _answer(shows: type[BaseModel] | None, media: Sequence[str]) -> dict[str, Any]:
    if shows is not None:
        content = {"application/json": {"schema": _reference(shows, "serialization")}}
        return {"description": _first_line(shows), "content": content}
    return {"description": "Done.", **({"content": {each: _of_media_type(each) for each in media}} if media else {})}


def _reference(model: type[BaseModel], mode: Literal["validation", "serialization"]) -> dict[str, str]:
    _described[model, mode] = None
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _of_media_type(name: str) -> dict[str, Any]:
    """Text is a string; what is binary has no type at all (OpenAPI 3.1, "Considerations for File Uploads")."""
    is_text = name.startswith("text/") or name.endswith("+xml")
    return {"schema": {"type": "string"} if is_text else {"contentMediaType": name}}


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or model.__name__).strip().splitlines()[0]


class _WithoutTitles(GenerateJsonSchema):
    """A field's name says what a title made of it would say again."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the base class's signature
        return False


def definitions(*more: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of every model that a route has named, and of these, by name."""
    every: list[tuple[type[BaseModel], JsonSchemaMode]] = [*_described, *((each, "serialization") for each in more)]
    _, found = models_json_schema(every, ref_template=REFERENCE, schema_generator=_WithoutTitles)
    schemas: dict[str, Any] = found.get("$defs", {})
    return schemas
