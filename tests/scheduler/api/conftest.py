"""A client of the HTTP API, over a real application on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from scheduler.api.serving import put_behind
from scheduler.serving import all_pages
from tests.scheduler.api.documented import api_alone, as_documented
from tests.scheduler.conftest import World, settle

HALF_PAST = "2026-11-22T12:30:00Z"
"""Half an hour after the world's clock was last seen."""

Refusal = tuple[int, str, str, str | None]
"""Status, type, code and attr."""


@dataclass
class Client:
    """A client with a good key, in the world's project."""

    http: httpx.AsyncClient
    world: World
    prefix: str = "/api/projects/1"

    async def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self.http.request(method, f"{self.prefix}{path}", **options)

    async def must(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = await self(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, **options: Any) -> Refusal:
        answer = await self(method, path, **options)
        body = answer.json()
        assert set(body) == {"type", "code", "detail", "attr"}
        return answer.status_code, body["type"], body["code"], body["attr"]

    def body(self, **fields: Any) -> dict[str, Any]:
        return {
            "insight": self.world.insight,
            "target_type": "email",
            "target_value": "ann@example.org",
            "frequency": "daily",
            "start_date": HALF_PAST,
        } | fields

    async def subscribe(self, **fields: Any) -> dict[str, Any]:
        """What was made of :meth:`body`; its announcement has been sent."""
        made: dict[str, Any] = await self.must("POST", "/subscriptions", 201, json=self.body(**fields))
        await settle(self.world.runner())
        return made

    async def edit(self, subscription: dict[str, Any], **fields: Any) -> dict[str, Any]:
        changed: dict[str, Any] = await self.must("PATCH", f"/subscriptions/{subscription['id']}", json=fields)
        return changed

    async def refused_at(self, subscription: dict[str, Any] | None = None, **fields: Any) -> tuple[str, str | None]:
        """Code and attr of the 400 for such a new subscription, or for such an edit of this one."""
        if subscription is None:
            answer = await self.refused("POST", "/subscriptions", json=self.body(**fields))
        else:
            answer = await self.refused("PATCH", f"/subscriptions/{subscription['id']}", json=fields)
        assert answer[:2] == (400, "validation_error")
        return answer[2:]

    async def deliveries(self, subscription: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
        """Of its first page, the oldest first; what is ready has been sent."""
        await settle(self.world.runner())
        page = await self.must("GET", f"/subscriptions/{subscription['id']}/deliveries?{query}")
        return list(reversed(page["results"]))

    async def as_key(self, *scopes: str, projects: list[int] | None = None) -> None:
        """From now on with another key of the same user."""
        keys, owner = self.world.app.keys, self.world.owner
        _, key = await keys.create(owner, name="Another", scopes=scopes, project_ids=projects)
        self.http.headers["authorization"] = f"Bearer {key}"


def served(world: World) -> FastAPI:
    """Everything that the service answers, without the service."""

    async def is_alive() -> bool:
        return True

    return all_pages(world.app, is_alive=is_alive)


@pytest.fixture
async def api(world: World) -> AsyncIterator[Client]:
    _, key = await world.app.keys.create(world.owner, name="Test", scopes=["*"])
    put_behind(api_alone(), world.app)
    transport = httpx.ASGITransport(app=api_alone(), raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://api.test",
        headers=headers,
        event_hooks={"response": [as_documented]},
    ) as http:
        yield Client(http, world)
