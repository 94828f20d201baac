"""What schemathesis is told of this API beside its document; it loads this module by name.

Everything it finds is a failure, but for what is listed here, each with its reason.
"""

from __future__ import annotations

import os
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


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let nobody revoke the key that all of this goes by."""
    if case.operation.definition.raw.get("operationId") == "personal_api_keys_destroy":
        own = os.environ[OWN_KEY]
        if str(case.path_parameters.get("key_id")) == own:
            case.path_parameters["key_id"] = int(own) + 1
