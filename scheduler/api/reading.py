"""A body as one of the OpenAPI document's own models: what the document says, and what is let in, cannot part ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from scheduler.api.bodies import read_object
from scheduler.errors import InvalidField


class Taken(BaseModel):
    """A body: no value is bent into another type; unknown fields are left aside."""

    model_config = ConfigDict(strict=True)


Body = TypeVar("Body", bound=Taken)


async def read_body(request: Request, model: type[Body]) -> Body:
    """The body, every field of it checked.

    Raises what :func:`read_object` raises, and :class:`InvalidField` for the first field, in the model's order, that
    cannot be.
    """
    try:
        return model.model_validate(await read_object(request))
    except ValidationError as problem:
        raise _invalid(problem.errors(include_url=False, include_context=True)[0]) from None


def said(body: BaseModel) -> dict[str, Any]:
    """The fields that were sent."""
    return body.model_dump(exclude_unset=True)


_CODES: Mapping[str, tuple[str, str]] = {
    "missing": ("required", "This field is required."),
    "string_too_short": ("blank", "may not be empty"),
    "string_too_long": ("max_length", "must be at most {max_length} characters"),
    "too_long": ("max_length", "must have at most {max_length} entries"),
    "too_short": ("invalid_input", "must have at least {min_length}"),
    "greater_than_equal": ("min_value", "must be at least {ge}"),
    "less_than_equal": ("max_value", "must be at most {le}"),
    "less_than": ("max_value", "must be less than {lt}"),
    "literal_error": ("invalid_choice", "must be {expected}"),
    "enum": ("invalid_choice", "must be {expected}"),
    "string_type": ("invalid_input", "must be text"),
    "int_type": ("invalid_input", "must be a whole number"),
    "float_type": ("invalid_input", "must be a number"),
    "bool_type": ("invalid_input", "must be true or false"),
    "list_type": ("invalid_input", "must be a list"),
    "model_type": ("invalid_input", "must be an object"),
}
"""Pydantic's word for what is wrong: the contract's code, and ours for people."""


def _invalid(error: ErrorDetails) -> InvalidField:
    field = "__".join(map(str, error["loc"])) or None
    code, text = _CODES.get(error["type"], ("invalid_input", error["msg"]))
    if error["type"] != "missing" and error["input"] is None:
        return InvalidField(field, "may not be null; leave it out", code="null")
    if code == "invalid_choice" and not isinstance(error["input"], str):
        code = "invalid_input"
    return InvalidField(field, text.format(**error.get("ctx", {})), code=code)
