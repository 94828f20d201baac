"""The OpenAPI document is valid, names everything, and what it says works."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from scheduler.api import schemas
from scheduler.subscriptions import FIELDS
from tests.scheduler.api.conftest import Client, served
from tests.scheduler.api.documented import Operation, operations, the_document
from tests.scheduler.conftest import World

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

OF_THE_REFERENCE = {
    "users_me_retrieve",
    "projects_list",
    "subscriptions_list",
    "subscriptions_create",
    "subscriptions_retrieve",
    "subscriptions_update",
    "subscriptions_partial_update",
    "subscriptions_destroy",
    "subscriptions_summary_quota_retrieve",
    "subscriptions_test_delivery_create",
    "subscriptions_deliveries_list",
    "subscriptions_deliveries_retrieve",
    "subscriptions_sharing_retrieve",
    "subscriptions_sharing_partial_update",
    "subscriptions_sharing_refresh_create",
    "subscriptions_sharing_passwords_create",
    "subscriptions_sharing_passwords_destroy",
    "domains_list",
    "domains_verify_create",
    "cimd_verification_tokens_create",
}
"""What clients that were generated from its document call."""
NEVER_ALLOWED = "subscriptions_destroy"


def test_it_is_openapi_3_1() -> None:
    assert the_document()["openapi"] == "3.1.0"
    validate(the_document())


def test_its_operations_have_the_names_that_generated_clients_expect() -> None:
    names = [each.name for each in operations()]

    assert set(names) >= OF_THE_REFERENCE
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch("[a-z][a-z_]+", name)] == []


@sqlite_only
async def test_every_route_of_the_api_is_in_it(world: World) -> None:
    routes = {
        (each.path_format, method.lower())
        for each in iter_route_contexts(served(world).routes)
        for method in each.methods or ()
        if str(each.path_format).startswith("/api/") and not str(each.path_format).startswith("/api/environments")
    }

    assert {(each.path, each.method) for each in operations() if each.name != NEVER_ALLOWED} == routes


@pytest.mark.parametrize("operation", [pytest.param(each, id=each.name) for each in operations()])
def test_every_operation_says_what_it_does_needs_and_answers(operation: Operation) -> None:
    says = operation.says

    assert set(says["tags"]) <= {each["name"] for each in the_document()["tags"]}
    assert says["summary"]
    assert operation.name == NEVER_ALLOWED or {"401", "429", "503", str(operation.success)} <= set(says["responses"])
    assert [each["name"] for each in says.get("parameters", ()) if not each.get("description")] == []
    assert ("requestBody" in says) == (operation.bodies != [None])


def test_every_example_of_a_body_or_a_refusal_fits_its_schema() -> None:
    document = the_document()
    media = [
        content["application/json"]
        for each in [*document["components"]["responses"].values(), *_bodies(document)]
        if "examples" in (content := each["content"])["application/json"]
    ]

    wrong = [
        (error.json_path, error.message)
        for each in media
        for example in each["examples"].values()
        for error in _validator(document, each["schema"]).iter_errors(example["value"])
    ]

    assert len(media) > 20
    assert wrong == []


def _bodies(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [each.says["requestBody"] for each in operations() if "requestBody" in each.says]


def _validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


def test_a_subscriptions_bodies_have_every_field_that_can_be_written() -> None:
    for model in (schemas.NewSubscription, schemas.ReplacedSubscription, schemas.ChangedSubscription):
        assert set(model.model_fields) == FIELDS


# ── what it says works ───────────────────────────────────────────────────────────────────────────────────────────────


PROJECT = "/api/projects/{project_id}"


@dataclass
class Walk:
    """Sends the document's requests as they stand; ids, by the path up to them, come from where its links say."""

    http: httpx.AsyncClient
    made: dict[str, Any] = field(default_factory=dict)
    listed: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    async def send(self, operation: Operation) -> None:
        path = re.sub(r"\{\w+\}", lambda found: self._id(operation.path, found.end()), operation.path)
        of_its_kind = operation.bodies[:1] if operation.method == "put" else operation.bodies
        for body in of_its_kind:
            answer = await self.http.request(operation.method, path, **({} if body is None else {"json": body}))
            if answer.status_code == operation.success:
                self._note(operation, answer)
            else:
                self.wrong.append(f"{operation.name} {body}: {answer.status_code} {answer.text}")

    def _id(self, path: str, end: int) -> str:
        """Things are made in project 1; another project is made and removed as a whole."""
        return "1" if path[:end] == PROJECT != path else str((self.listed | self.made)[path[:end]])

    def _note(self, operation: Operation, answer: httpx.Response) -> None:
        """What was made is what other requests are about, or else what was listed; of several, the first."""
        ids = self.made if operation.method == "post" else self.listed
        for link in operation.says["responses"][str(answer.status_code)].get("links", {}).values():
            target = next(each.path for each in operations() if each.name == link["operationId"])
            [(name, where)] = [each for each in link["parameters"].items() if each[1].startswith("$response.body#")]
            place = target[: target.index(f"{{{name}}}")] + f"{{{name}}}"
            if (found := _pointed_at(answer.json(), where.partition("#")[2])) is not None:
                ids.setdefault(place, found)


def _pointed_at(value: Any, pointer: str) -> Any:
    """What a JSON pointer leads to, or None (RFC 6901)."""
    for step in pointer.split("/")[1:]:
        if isinstance(value, list):
            value = value[int(step)] if int(step) < len(value) else None
        else:
            value = value and value.get(step)
    return value


def in_order(operation: Operation) -> tuple[bool, int, int]:
    """What is made before what is done with it; what ends it last, the innermost first."""
    depth, ends = operation.path.count("{"), operation.method == "delete"
    return ends, -depth if ends else depth, ("get", "patch", "put", "post", "delete").index(operation.method)


@sqlite_only
async def test_every_request_of_it_works_as_it_stands(api: Client) -> None:
    """In a project with source 1, insight 1 and dashboard 1, which the examples name."""
    with closing(sqlite3.connect(api.world.source_path)) as source:
        source.execute("CREATE TABLE orders (day TEXT)")
    await api.world.app.catalog.add_dashboard(api.world.project, "Board", insights=[api.world.insight])
    walk = Walk(api.http)

    for operation in sorted(operations(), key=in_order):
        if operation.name != NEVER_ALLOWED:
            await walk.send(operation)

    assert not walk.wrong, "\n".join(walk.wrong)
