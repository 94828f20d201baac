"""The OpenAPI document: what every route says of itself, under stable names, with examples, and linked.

Tests hold it against what the service answers. Source: OpenAPI 3.1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import RouteContext, iter_route_contexts

from scheduler.api.access import scope_of
from scheduler.api.bodies import LARGEST
from scheduler.api.describing import definitions
from scheduler.api.refusals import Refusal, is_refusal, reference, refusals

API = "/api/"
SUMMARY = "Delivers the dashboards and insights people subscribed to, and keeps a true record of it."
DESCRIPTION = f"""\
Clients of PostHog's subscriptions API work here unchanged.

* Send a personal API key with every request: `Authorization: Bearer KEY`. `paperround keys create` makes the first one.
* Every path under `/api/projects/{{project_id}}/` is under `/api/environments/{{project_id}}/`, too; and every path
  works with and without a slash at its end.
* `HEAD` works wherever `GET` does; `OPTIONS`, and every 405, say in `Allow` which methods a path takes.
* Instants are ISO 8601: with any offset in, in UTC without one; with `Z` out.
* In a body, a field that is not in its table is ignored; so is one that is only shown.
* A body is a JSON object of at most {LARGEST:,} bytes. Whatever is in it: text is Unicode without NUL characters and
  lone surrogates, numbers are below 10^18 on either side of zero, no name stands twice in an object.
* Whatever is not 2xx has one shape: `type`, `code`, `detail` for people, and `attr`, which names the field
  (`byweekday__0` is the first entry of `byweekday`).
"""
TAGS = {
    "subscriptions": "Standing requests: this content, to this target, by this recurrence; and their deliveries.",
    "sharing": "A page for people without a key, of a subscription's newest delivery or of one delivery.",
    "insights": "What is shown: a query and how it is drawn.",
    "dashboards": "What is shown: insights in order.",
    "sources": "What the queries of insights run against.",
    "integrations": "Whose credentials deliveries are sent with.",
    "projects": "Everything above is in one, and so is what is decided about failures.",
    "organizations": "Who belongs together, and the domains and tokens that say so.",
    "people": "Who the caller is, what its key reaches, and its other keys.",
}
ONE_SUBSCRIPTION = "/api/projects/{project_id}/subscriptions/{subscription_id}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, and the document's object of it, to be completed."""

    path: str
    method: str
    says: dict[str, Any]

    @property
    def name(self) -> str:
        """Its ``operationId``."""
        return str(self.says["operationId"])


def document(web: FastAPI, *, version: str, server: str) -> dict[str, Any]:
    """The OpenAPI document of this web server's API; ``server`` is a URL, or a path on whatever host was asked."""
    routes = [each for each in iter_route_contexts(web.routes) if (each.path or "").startswith(API)]
    made = get_openapi(
        title="Paperround",
        version=version,
        summary=SUMMARY,
        description=DESCRIPTION,
        routes=routes,
        servers=[{"url": server}],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas = definitions(Refusal)
    made["components"] = {
        "schemas": schemas,
        "responses": refusals(),
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A personal API key."}},
    }
    made["security"] = [{"key": []}]
    made["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    operations = list(_operations(made["paths"]))
    scopes = _scopes(routes)
    for each in operations:
        _complete(each, schemas, scope=scopes.get((each.path, each.method)))
    _link(operations, schemas)
    made["paths"][ONE_SUBSCRIPTION]["delete"] = _NEVER_DELETED
    _write_as_markdown(made)
    return made


def _operations(paths: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in paths.items():
        for method, says in methods.items():
            yield Operation(path, method, says)


_NEVER_DELETED = {
    "tags": ["subscriptions"],
    "operationId": "subscriptions_destroy",
    "summary": "Not allowed",
    "description": 'A subscription\'s record stays. `PATCH` it with `{"deleted": true}`: nothing more is sent.',
    "parameters": [
        {
            "name": f"{each}_id",
            "in": "path",
            "required": True,
            "schema": {"type": "integer"},
            "description": f"The {each}'s id.",
        }
        for each in ("project", "subscription")
    ],
    "responses": {"405": reference("405")},
}


def _write_as_markdown(part: Any) -> None:
    """What docstrings set in two backticks, this document sets in one."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if isinstance(value, str) and name in {"summary", "description"}:
            part[name] = value.replace("``", "`")
        else:
            _write_as_markdown(value)


# ── one operation ────────────────────────────────────────────────────────────────────────────────────────────────────


def _complete(operation: Operation, schemas: dict[str, Any], *, scope: str | None) -> None:
    says = operation.says
    said, _, more = str(says.get("description", "")).partition("\n")
    says["summary"] = said.removesuffix(".")
    says["description"] = "\n\n".join(filter(None, (more.strip(), f"Needs the scope `{scope}`." if scope else "")))
    responses = says["responses"]
    _drop_what_cannot_be(operation.path, responses)
    _tidy(operation.path, says.get("parameters", []))
    says["responses"] = {code: reference(code) if is_refusal(code) else each for code, each in responses.items()}
    says["operationId"] = _name(operation, is_list="results" in _shown(says, schemas))
    if scope is not None:
        says["security"] = [{"key": [scope]}]
    if "requestBody" in says:
        _complete_body(says["requestBody"], schemas)


def _complete_body(body: dict[str, Any], schemas: dict[str, Any]) -> None:
    content = body["content"]["application/json"]
    of = _resolved(content["schema"], schemas)
    body["required"] = bool(of.get("required"))  # no body at all is an empty object
    content["examples"] = {f"example_{place}": {"value": value} for place, value in enumerate(of["examples"], 1)}


def _drop_what_cannot_be(path: str, responses: dict[str, Any]) -> None:
    """FastAPI thinks that it validates paths; what cannot be in one is a 404 here. And without an id nothing is."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    if "{" not in path:
        responses.pop("404", None)


def _tidy(path: str, parameters: list[dict[str, Any]]) -> None:
    """In the order of the path; said once is enough."""
    parameters.sort(key=lambda each: path.find(f"{{{each['name']}}}") if each["in"] == "path" else len(path))
    for each in parameters:
        each["schema"] = {name: rule for name, rule in each["schema"].items() if name not in {"title", "description"}}


def _scopes(routes: Sequence[RouteContext]) -> dict[tuple[str, str], str]:
    """What each path and method needs, as far as it needs any scope."""
    found = ((route, _scope(route.dependant)) for route in routes)
    return {
        (str(route.path_format), method.lower()): scope
        for route, scope in found
        for method in route.methods or ()
        if scope is not None
    }


def _scope(dependant: Dependant) -> str | None:
    """Of the route's own dependencies, or of theirs."""
    found = (scope_of(each.call) or _scope(each) for each in dependant.dependencies)
    return next((scope for scope in found if scope is not None), None)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_VERBS = {"get": "retrieve", "post": "create", "put": "update", "patch": "partial_update", "delete": "destroy"}
_WITHIN = re.compile(r"/api/(?:projects|organizations)/\{\w+\}/(?!projects)")  # /api/projects has that name


def _name(operation: Operation, *, is_list: bool) -> str:
    """As clients that were generated from the reference call it: ``subscriptions_test_delivery_create``."""
    path = _WITHIN.sub(API, operation.path).removeprefix(API)
    words = [re.sub(r"\W+", "_", each).strip("_") for each in path.split("/") if not each.startswith("{")]
    return "_".join([*words, "list" if is_list else _VERBS[operation.method]])


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _link(operations: Sequence[Operation], schemas: dict[str, Any]) -> None:
    """From what makes or lists things to what can be done with one of them."""
    for source in operations:
        where = _where_ids_are(_shown(source.says, schemas), schemas)
        targets = [each for each in operations if _is_of_one(source.path, each.path)] if where else []
        if targets:
            _success(source.says)["links"] = {
                each.name: {"operationId": each.name, "parameters": _parameters(source.path, each.path, where)}
                for each in targets
            }


def _is_of_one(collection: str, path: str) -> bool:
    """``/things`` and ``/things/{id}/part``: the same path, and exactly one parameter more."""
    rest = path.removeprefix(f"{collection}/")
    return rest != path and rest.startswith("{") and rest.count("{") == 1


def _parameters(collection: str, path: str, where: str) -> dict[str, str]:
    given = {name: f"$request.path.{name}" for name in re.findall(r"\{(\w+)\}", collection)}
    [own] = re.findall(r"\{(\w+)\}", path[len(collection) :])
    return {**given, own: f"$response.body#{where}"}


def _where_ids_are(shown: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A JSON pointer to the id of what was made, or of the first that is listed; empty when there is none."""
    if "id" in shown:
        return "/id"
    items = _resolved(shown.get("results", {}), schemas).get("items", {})
    return "/results/0/id" if "id" in _resolved(items, schemas).get("properties", {}) else ""


def _success(says: dict[str, Any]) -> dict[str, Any]:
    return next((each for code, each in says["responses"].items() if code.startswith("2")), {})


def _shown(says: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The fields of an answer, as far as it is an object."""
    content = _success(says).get("content", {}).get("application/json", {})
    fields: dict[str, Any] = _resolved(content.get("schema", {}), schemas).get("properties", {})
    return fields


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found
