"""An agent: the SDK's own client, with a key, on the tools of a real application."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from mcp import Client
from mcp.types import CallToolResult

from scheduler.mcp.asking import Api
from scheduler.mcp.door import add_mcp
from scheduler.mcp.server import mcp_server
from tests.scheduler.api.conftest import served
from tests.scheduler.conftest import NOON, World, settle

HALF_PAST = "2026-11-22T12:30:00Z"

Refusal = tuple[int, str, str | None]
"""Status, code and attr."""


@dataclass
class Agent:
    """Calls tools in the world's project; the client checks every answer against its schema."""

    world: World
    web: FastAPI
    key: str

    async def said(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        async with Client(mcp_server(Api(self.web, self.key, self.world.project))) as client:
            return await client.call_tool(tool, arguments)

    async def __call__(self, tool: str, **arguments: Any) -> Any:
        result = await self.said(tool, arguments)
        assert not result.is_error, result.content
        assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
        return result.structured_content

    async def error(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.said(tool, arguments)
        assert result.is_error, result.content
        assert result.structured_content is None
        said: dict[str, Any] = json.loads(result.content[0].text)  # type: ignore[union-attr]
        return said

    async def refused(self, tool: str, **arguments: Any) -> Refusal:
        said = await self.error(tool, **arguments)
        assert said["detail"]
        return said["status"], said["code"], said.get("attr")

    async def subscribe(self, **fields: Any) -> Any:
        """Daily at half past noon to ann@example.org, unless said otherwise; its announcement has been sent."""
        usual = {"insight": self.world.insight, "target_type": "email", "target_value": "ann@example.org"}
        rule = {"frequency": "daily", "start_date": HALF_PAST}
        made = await self("subscriptions-create", **{**usual, **rule, **fields})
        await settle(self.world.runner())
        return made

    async def with_key(self, *scopes: str) -> Agent:
        """The same user with a lesser key."""
        _, key = await self.world.app.keys.create(self.world.owner, name="Lesser", scopes=scopes)
        return Agent(self.world, self.web, key)


@pytest.fixture
async def agent(world: World) -> Agent:
    world.clock.now = NOON
    web = served(world)
    add_mcp(web, world.app)
    _, key = await world.app.keys.create(world.owner, name="Agent", scopes=["*"])
    return Agent(world, web, key)
