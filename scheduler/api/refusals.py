"""What every answer that is not 2xx looks like in the OpenAPI document, each status with examples.

The examples are made by the very code that refuses, so they say what it says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from scheduler.api import errors
from scheduler.api.describing import REFERENCE
from scheduler.api.errors import INVALID, OURS, TOO_MANY, WHO, WRONG, Refused
from scheduler.errors import Conflict, InvalidField, NotFound


class Refusal(BaseModel):
    """Every answer that is not 2xx: the first error only."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["validation_error", "invalid_request", "authentication_error", "throttled_error", "server_error"]
    code: Literal[
        "required",
        "null",
        "blank",
        "max_length",
        "min_value",
        "max_value",
        "invalid_choice",
        "does_not_exist",
        "invalid_input",
        "not_authenticated",
        "authentication_failed",
        "permission_denied",
        "not_found",
        "method_not_allowed",
        "throttled",
        "quota_limit_exceeded",
        "parse_error",
        "error",
    ]
    detail: str = Field(description="For people: what is wrong, and the way out.")
    attr: str | None = Field(description="The field, nested ones joined by `__`; null when it is the whole request.")


_DESCRIPTIONS: Mapping[int, str] = {
    400: f"`{INVALID}`: a field cannot be like this, `attr` names it. `{WRONG}`: the JSON cannot be read.",
    401: f"`{WHO}`: the key is missing, malformed, unknown, revoked or expired; nobody learns which.",
    402: f"`{OURS}`: the organisation's quota is used up.",
    403: f"`{WHO}`: the key, or its user's role, may not.",
    404: f"`{WRONG}`: there is no such thing, or it is another project's.",
    405: f"`{WRONG}`: this method is not allowed here; `Allow` says which are.",
    406: f"`{WRONG}`: the answer is JSON, which `Accept` leaves out.",
    409: f"`{OURS}`: not in its present state.",
    413: f"`{WRONG}`: the body is too large.",
    415: f"`{WRONG}`: the body is not JSON.",
    422: f"`{OURS}`: it was asked, and could not answer.",
    429: f"`{TOO_MANY}`: too many requests; `Retry-After` says when to come back.",
    503: f"`{OURS}`: the database does not answer; `Retry-After` says when to come back.",
}

_EXAMPLES: Mapping[int, Mapping[str, Exception]] = {
    400: {
        "a_field": InvalidField("interval", "interval must lie between 1 and 2147483647.", code="min_value"),
        "several_fields": InvalidField(None, "give exactly one of insight and dashboard", code="required"),
        "no_json": Refused(400, WRONG, "parse_error", "The body cannot be read: it is not JSON in UTF-8."),
    },
    401: {"no_key": errors.not_authenticated()},
    402: {"quota": Refused(402, OURS, "quota_limit_exceeded", "The organisation's quota is used up.")},
    403: {"scope": errors.permission_denied("This key may not: it needs the scope subscription:write.")},
    404: {"nothing": NotFound("There is no subscription 77.")},
    405: {"method": HTTPException(405)},
    406: {"accept": Refused(406, WRONG, "error", "The answer is JSON: send `Accept: application/json`.")},
    409: {"state": Conflict("subscription 1 is paused; resume it first")},
    413: {"size": Refused(413, WRONG, "error", "The body is larger than 1,000,000 bytes.")},
    415: {"kind": Refused(415, WRONG, "error", "Send JSON: `Content-Type: application/json`.")},
    422: {"query": Refused(422, OURS, "error", "The source answered: no such column: amuont.")},
    429: {"rate": errors.throttled(7, "Too many requests; come back in 7 seconds.")},
    503: {"database": Refused(503, OURS, "error", "The database does not answer; try again.")},
}

_HEADERS: Mapping[int, tuple[str, dict[str, Any], str]] = {
    401: ("WWW-Authenticate", {"const": "Bearer"}, "RFC 6750, 3."),
    405: ("Allow", {"type": "string"}, "The methods that are allowed here, separated by commas."),
    429: ("Retry-After", {"type": "integer", "minimum": 1}, "Seconds."),
    503: ("Retry-After", {"type": "integer", "minimum": 1}, "Seconds."),
}


def refusals() -> dict[str, dict[str, Any]]:
    """``components.responses``: every status that is not 2xx."""
    return {_name(status): _refusal(status) for status in _DESCRIPTIONS}


def is_refusal(status: str) -> bool:
    """Whether :func:`refusals` has it."""
    return status.isdigit() and int(status) in _DESCRIPTIONS


def reference(status: str) -> dict[str, str]:
    """Where the document has it."""
    return {"$ref": f"#/components/responses/{_name(int(status))}"}


def _name(status: int) -> str:
    return "".join(word.title() for word in HTTPStatus(status).name.split("_"))


def _refusal(status: int) -> dict[str, Any]:
    examples = {name: {"value": _body(problem)} for name, problem in _EXAMPLES[status].items()}
    schema = {"$ref": REFERENCE.format(model=Refusal.__name__)}
    made = {
        "description": _DESCRIPTIONS[status],
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }
    if status in _HEADERS:
        name, of, meaning = _HEADERS[status]
        made["headers"] = {name: {"schema": of, "description": meaning, "required": True}}
    return made


def _body(problem: Exception) -> Any:
    return json.loads(bytes(errors.answer(errors.refusal_of(problem)).body))
