"""What schemathesis is told of this API beside its document; it loads this module by name.

Everything it finds is a failure, but for what is listed here, each with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import AllowHeaderMismatch, RejectedPositiveData

OWN_KEY = "PAPERROUND_FUZZ_KEY_ID"
"""The environment variable that names the key in use, which nobody may revoke meanwhile."""

LENIENT = {"limit", "offset", "deleted", "resource_type", "ordering", "search"}
"""Of the query: nonsense in them is as if it had not been said, as with the reference."""

EXPRESSIBLE = {"null", "blank", "max_length", "min_value", "max_value", "invalid_choice"}
"""Refusals for what a schema can say. One that got a body that fits its schema shows that the document is too wide;
the others are about what a schema cannot say: what exists, what goes together, what an address looks like."""

LONG_LISTS = {"timezone"}
"""Fields whose choices are too many for the document."""

AT_THE_DOOR = "is too large a number."
"""Whatever stands in a body, says the document; no field's schema says it again."""


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Whether it is one."""
    match failure:
        case AcceptedNegativeData():
            return not _made_wrong(case) <= LENIENT
        case RejectedPositiveData():
            return _is_of_the_schema(response.json(), case)
        case AllowHeaderMismatch():
            return failure.missing_methods != ["DELETE"] or failure.undocumented_methods != []  # it is there as a 405
        case _:
            return True


def _made_wrong(case: Any) -> set[str | None]:
    data = case.meta.phase.data
    return {each.parameter for each in data.mutations} or {data.parameter}


def _is_of_the_schema(refusal: dict[str, Any], case: Any) -> bool:
    """Of a field that the document has, in whichever body, and for what it could have said of it."""
    schemas = case.operation.schema.raw_schema["components"]["schemas"].values()
    fields = {field for each in schemas for field in each.get("properties", ())} - LONG_LISTS
    return refusal["attr"] in fields and refusal["code"] in EXPRESSIBLE and refusal["detail"] != AT_THE_DOOR


# ── so that more than the door is tried ──────────────────────────────────────────────────────────────────────────────
# Made-up ids are of nothing, made-up addresses of nobody. What fits its schema is brought near to what exists; what
# does not fit stays as it is.


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    if path_parameters is None:
        return None
    return {
        name: _ours(value) if name == "organization_id" else _near(value) for name, value in path_parameters.items()
    }


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {name: _NEARER[name](value) if name in _NEARER else value for name, value in body.items()}


def _near(value: Any) -> Any:
    """1 is the id of what was there from the beginning; small ones may be of what was made since."""
    return 1 if type(value) is int and 1_000 < value < 10**18 else value


def _ours(value: Any) -> Any:
    return "@current" if isinstance(value, str) and len(value) % 4 else value


def _near_several(value: Any) -> Any:
    return [1] if isinstance(value, list) and 1 <= len(value) <= 25 and _are_ids(value) else value


def _are_ids(values: list[Any]) -> bool:
    return all(type(each) is int and each >= 1 for each in values) and len(set(values)) == len(values)


def _to_somebody(value: Any) -> Any:
    """Two thirds of what could be an address are one."""
    return f"ann+{len(value)}@example.org" if isinstance(value, str) and value and len(value) % 3 else value


_NEARER: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("insight", "dashboard", "source", "integration_id"), _near),
    **dict.fromkeys(("insights", "dashboard_export_insights", "scoped_teams"), _near_several),
    "target_value": _to_somebody,
}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let nobody revoke the key that all of this goes by."""
    if case.operation.definition.raw.get("operationId") == "personal_api_keys_destroy":
        own = os.environ[OWN_KEY]
        if str(case.path_parameters.get("key_id")) == own:
            case.path_parameters["key_id"] = int(own) + 1
