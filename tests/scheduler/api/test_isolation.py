"""Nobody reaches what is not theirs: every route, asked with somebody else's ids, is a 404, and changes nothing.

The routes are the router's own, so a new one is in by itself; one whose path has a parameter that is not known here
fails until :func:`furnish` says what it is elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from scheduler.models import metadata
from scheduler.store import people
from scheduler.store.people import Project, Role, User
from tests.scheduler.api.conftest import Client, served
from tests.scheduler.api.documented import operations
from tests.scheduler.conftest import World, settle

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

OPEN_TO_ALL = {
    "/healthz": "says that the process lives",
    "/readyz": "says whether it ticks",
    "/metrics": "is the operator's: counts, no rows",
    "/unsubscribe/{token}": "the token is the right to it",
    "/shared/{token}": "the token is the right to it",
    "/openapi.json": "is the same for everybody",
    "/docs": "is the same for everybody",
    "/docs/{name}": "is the same for everybody",
    "/mcp": "calls the routes below, with the caller's own key",
}
"""Outside ``/api/``, with the reason why nobody's project can be asked for there."""

Ids = Mapping[str, object]


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)", self.path)

    def at(self, ids: Ids) -> str:
        if unknown := [name for name in self.parameters if name not in ids]:
            pytest.fail(f"{self}: let furnish() say what another project's {unknown[0]} is")
        return re.sub(r"{(\w+)(:\w+)?}", lambda found: str(ids[found[1]]), self.path)


@dataclass(frozen=True)
class Place:
    """A project with everything that can be in one, and a key that may do everything there."""

    ids: Ids
    key: str


@dataclass(frozen=True)
class Everywhere:
    """Our project, another one of our organisation, and another organisation's."""

    http: httpx.AsyncClient
    world: World
    routes: list[Route]
    ours: Place
    next_door: Place
    foreign: Place
    limited_key: str
    """Ours, for next door alone."""

    async def ask(self, route: Route, ids: Ids, key: str) -> httpx.Response:
        as_documented = route.path.replace(":int", "").replace("/environments", "/projects")
        body = examples().get((route.method, as_documented))
        return await self.http.request(
            route.method, route.at(ids), json=body, headers={"authorization": f"Bearer {key}"}
        )

    async def rows(self) -> dict[str, list[Any]]:
        """Everything that is stored, but for what every use of a key notes."""
        tables = [name for name in metadata.tables if name != "api_keys"]
        return {name: await self.world.sql(f"SELECT * FROM {name}") for name in tables}


async def furnish(client: Client, admin: User, project: Project) -> Place:
    """Put one of everything there, over HTTP; ids by the names that they have in paths."""
    world, name = client.world, f"Of project {project.id}"
    key, value = await world.app.keys.create(admin, name="All", scopes=["*"])
    client = replace(client, prefix="/api")
    client.http.headers["authorization"] = f"Bearer {value}"

    async def make(path: str, **body: Any) -> Any:
        return (await client.must("POST", path, 201, json=body))["id"]

    source = await make(f"/projects/{project.id}/sources", name=name, url=f"sqlite:///{world.source_path}")
    sql = "SELECT n FROM t"
    insight = await make(f"/projects/{project.id}/insights", name=name, source=source, sql=sql, display="number")
    subscription = await make(f"/projects/{project.id}/subscriptions", **client.body(insight=insight))
    await settle(world.runner())
    sharing = f"/projects/{project.id}/subscriptions/{subscription}/sharing"
    await client.must("PATCH", sharing, json={"enabled": True, "password_required": True})
    [delivery] = (await client.must("GET", f"/projects/{project.id}/subscriptions/{subscription}/deliveries"))[
        "results"
    ]
    ids = {
        "project_id": project.id,
        "source_id": source,
        "insight_id": insight,
        "dashboard_id": await make(f"/projects/{project.id}/dashboards", name=name, insights=[insight]),
        "integration_id": await make(f"/projects/{project.id}/integrations", name=name, kind="webhook"),
        "subscription_id": subscription,
        "delivery_id": delivery["id"],
        "password_id": await make(f"{sharing}/passwords"),
        "organization_id": (await client.must("GET", "/organizations/@current"))["id"],
        "domain_id": await make("/organizations/@current/domains", domain=f"project{project.id}.example.com"),
        "token_id": await make("/organizations/@current/cimd_verification_tokens", label="Token"),
        "key_id": key.id,
    }
    return Place(ids, value)


@pytest.fixture(autouse=True)
def no_limit_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_REQUESTS_A_MINUTE", "0")


@pytest.fixture
async def everywhere(no_limit_of_requests: None, world: World) -> AsyncIterator[Everywhere]:
    web = served(world)
    transport = httpx.ASGITransport(app=web, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
        client, now = Client(http, world), world.clock.now
        await world.sql("INSERT INTO organisations (id, name, created_at) VALUES (2, 'Foreign', '2026-11-22')")
        async with world.app.database.write() as tx:
            next_door = await people.add_project(tx, 1, "Next door", timezone="UTC", now=now)
            neighbour = await people.add_user(tx, 1, "neighbour@example.org", role=Role.ADMIN, now=now)
            foreign = await people.add_project(tx, 2, "Foreign", timezone="UTC", now=now)
            foreigner = await people.add_user(tx, 2, "foreigner@example.org", role=Role.ADMIN, now=now)
        places = [
            await furnish(client, admin, project)
            for admin, project in ((world.owner, world.project), (neighbour, next_door), (foreigner, foreign))
        ]
        _, limited = await world.app.keys.create(world.owner, name="Limited", scopes=["*"], project_ids=[next_door.id])
        del http.headers["authorization"]
        yield Everywhere(http, world, list(routes_of(web)), *places, limited_key=limited)


def routes_of(web: Any) -> Iterator[Route]:
    """Every method of every path below ``/api/``; elsewhere only what is open to all."""
    for each in iter_route_contexts(web.routes):
        path = (each.path or "").rstrip("/")
        if path.startswith("/api/"):
            yield from (Route(method, path) for method in sorted(each.methods or ()))
        else:
            assert path in OPEN_TO_ALL, f"{path}: say in OPEN_TO_ALL why everybody may ask for it"


@cache
def examples() -> Mapping[tuple[str, str], Any]:
    """Bodies that the OpenAPI document gives as examples, by method and path."""
    return {(each.method.upper(), each.path): each.bodies[0] for each in operations()}


async def test_our_own_ids_are_good_so_that_a_404_means_something(everywhere: Everywhere) -> None:
    ours, good = everywhere.ours, set[str]()

    for route in [each for each in everywhere.routes if each.method == "GET"]:
        answer = await everywhere.ask(route, ours.ids, ours.key)
        assert answer.is_success, f"{route}: {answer.text}"
        good.update(route.parameters)

    for name in sorted(set(ours.ids) - good, reverse=True):  # the key last
        removing = next(each for each in everywhere.routes if each.method == "DELETE" and each.parameters[-1] == name)
        answer = await everywhere.ask(removing, ours.ids, ours.key)
        assert answer.is_success, f"{removing}: {answer.text}"


async def test_whatever_is_not_ours_is_404_and_stays_as_it_is(everywhere: Everywhere) -> None:
    before = await everywhere.rows()

    for case in CASES:
        for route, ids, key in case(everywhere):
            answer = await everywhere.ask(route, ids, key)
            assert answer.status_code == 404, f"{case.__name__}: {route}: {answer.text}"

    listed = await everywhere.ask(Route("GET", "/api/projects"), {}, everywhere.limited_key)
    assert [each["name"] for each in listed.json()["results"]] == ["Next door"]
    assert await everywhere.rows() == before


async def test_what_a_body_names_is_of_the_same_project(everywhere: Everywhere) -> None:
    before, ours, theirs = await everywhere.rows(), everywhere.ours, everywhere.next_door.ids
    subscription = {"target_type": "email", "target_value": "ann@example.org", "frequency": "daily"}
    slack = {"target_type": "slack", "target_value": "C0123456", "insight": ours.ids["insight_id"]}
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("subscriptions", "insight", subscription | {"insight": theirs["insight_id"]}),
        ("subscriptions", "dashboard", subscription | {"dashboard": theirs["dashboard_id"]}),
        ("subscriptions", "integration_id", subscription | slack | {"integration_id": theirs["integration_id"]}),
        ("insights", "source", {"name": "N", "sql": "SELECT 1", "display": "table", "source": theirs["source_id"]}),
        ("dashboards", "insights__0", {"name": "N", "insights": [theirs["insight_id"]]}),
    ]

    for kind, attr, body in bodies:
        path = f"/api/projects/{ours.ids['project_id']}/{kind}"
        answer = await everywhere.http.post(path, json=body, headers={"authorization": f"Bearer {ours.key}"})
        assert (answer.status_code, answer.json()["code"], answer.json()["attr"]) == (400, "does_not_exist", attr), kind

    assert await everywhere.rows() == before


async def test_without_a_key_every_route_is_401(world: World) -> None:
    web = served(world)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=web), base_url="http://api.test") as http:
        for route in routes_of(web):
            answer = await http.request(route.method, re.sub(r"{\w+(:\w+)?}", "1", route.path))
            assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated"), f"{route}: {answer.text}"


# ── somebody else's ids ──────────────────────────────────────────────────────────────────────────────────────────────

Request = tuple[Route, Ids, str]
"""What is asked, with which ids, with whose key."""


def another_project_before_our_ids(all_: Everywhere) -> Iterator[Request]:
    """With a key that may enter both projects: what is in the one is not in the other."""
    for route in all_.routes:
        if "project_id" in route.parameters and len(route.parameters) > 1:
            yield route, {**all_.ours.ids, "project_id": all_.next_door.ids["project_id"]}, all_.ours.key


def their_ids_in_our_project(all_: Everywhere) -> Iterator[Request]:
    """All of them at once, and the last one alone: another's delivery of our subscription."""
    for route in all_.routes:
        things = [name for name in route.parameters if name not in {"project_id", "organization_id"}]
        owners = [all_.foreign] if "organization_id" in route.parameters else [all_.foreign, all_.next_door]
        for theirs in owners if things else ():
            for swapped in (things, things[-1:]):
                yield route, {**all_.ours.ids, **{name: theirs.ids[name] for name in swapped}}, all_.ours.key


def another_organisations_place(all_: Everywhere) -> Iterator[Request]:
    """With what is there, and with what is ours."""
    place = {name: all_.foreign.ids[name] for name in ("project_id", "organization_id")}
    for route in all_.routes:
        if set(route.parameters) & set(place):
            yield route, all_.foreign.ids, all_.ours.key
            yield route, {**all_.ours.ids, **place}, all_.ours.key


def our_ids_with_a_key_for_another_project(all_: Everywhere) -> Iterator[Request]:
    for route in all_.routes:
        if "project_id" in route.parameters:
            yield route, all_.ours.ids, all_.limited_key


CASES = (
    another_project_before_our_ids,
    their_ids_in_our_project,
    another_organisations_place,
    our_ids_with_a_key_for_another_project,
)
