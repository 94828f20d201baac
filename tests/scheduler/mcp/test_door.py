"""``/mcp``: who comes in, and the SDK's own client through it, in either of the protocol's eras."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from scheduler.api.bodies import LARGEST
from scheduler.keys import new_key
from scheduler.mcp.door import add_mcp
from tests.scheduler.api.conftest import served
from tests.scheduler.mcp.conftest import Agent

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

ACCEPT = {"accept": "application/json, text/event-stream"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
BASE = "http://127.0.0.1:8420"


def http(agent: Agent, **headers: str) -> httpx2.AsyncClient:
    """A client as agents bring it, with the agent's key unless another, or none, is named."""
    found = {"authorization": f"Bearer {agent.key}", **ACCEPT, **headers}
    transport = httpx2.ASGITransport(app=agent.web)
    return httpx2.AsyncClient(transport=transport, base_url=BASE, headers={k: v for k, v in found.items() if v})


async def posted(agent: Agent, content: Any = None, *, path: str = "/mcp", **headers: str) -> httpx2.Response:
    async with http(agent, **headers) as client:
        if isinstance(content, bytes):
            return await client.post(path, content=content, headers={"content-type": "application/json"})
        return await client.post(path, json=content or LIST)


async def test_the_sdks_client_lists_and_calls_tools(agent: Agent) -> None:
    made = await agent.subscribe()

    for mode in ("2026-07-28", "auto", "legacy"):
        async with (
            http(agent) as outgoing,
            Client(streamable_http_client(f"{BASE}/mcp", http_client=outgoing), mode=mode, cache=None) as client,
        ):
            listed = await client.list_tools()
            shown = await client.call_tool("subscriptions-retrieve", {"id": made["id"]})
            missing = await client.call_tool("subscriptions-retrieve", {"id": 99})

        assert "subscriptions-create" in [each.name for each in listed.tools], mode
        assert shown.structured_content == made
        assert missing.is_error


async def test_a_restart_between_two_requests_goes_unnoticed(agent: Agent) -> None:
    async with (
        http(agent) as outgoing,
        Client(streamable_http_client(f"{BASE}/mcp", http_client=outgoing), mode="legacy", cache=None) as client,
    ):
        another = served(agent.world)
        add_mcp(another, agent.world.app)
        outgoing._transport = httpx2.ASGITransport(app=another)

        assert (await client.call_tool("subscriptions-list", {})).structured_content == {"count": 0, "results": []}


async def test_who_has_no_good_key_is_answered_as_by_the_api(agent: Agent) -> None:
    async with http(agent, authorization="") as client:
        api = await client.get("/api/projects/1/subscriptions")
    assert api.status_code == 401

    for authorization in ("", "Bearer ", f"Bearer {new_key()}", f"Basic {agent.key}", agent.key):
        refused = await posted(agent, authorization=authorization)
        assert (refused.status_code, refused.json()) == (401, api.json())
        assert refused.headers["www-authenticate"] == "Bearer"
    in_the_address = await posted(agent, path=f"/mcp?key={agent.key}")
    assert in_the_address.status_code == 401


async def test_pages_of_others_do_not_come_in(agent: Agent) -> None:
    """DNS rebinding: MCP, Transports, Security Warning."""
    agents = {"authorization": f"Bearer {agent.key}"}
    good = [
        {},
        {"host": "localhost:8420"},
        {"host": "10.1.2.3:8420"},
        {"host": "[::1]:8420"},
        {"origin": BASE},
        {"origin": "http://localhost:6274"},
    ]
    bad = {
        421: [{"host": "evil.example"}, {"host": "127.0.0.1.evil.example"}, {"host": "["}, {"host": "localhost.evil"}],
        403: [
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://localhost.evil.example"},
            {"origin": "http://10.1.2.3"},
        ],
    }

    for headers in good:
        assert (await posted(agent, **agents, **headers)).status_code == 200, headers
    for status, cases in bad.items():
        for headers in cases:
            refused = await posted(agent, **agents, **headers)
            assert (refused.status_code, set(refused.json())) == (status, {"type", "code", "detail", "attr"}), headers


async def test_nothing_is_kept_so_there_is_nothing_to_get_or_to_delete(agent: Agent) -> None:
    async with http(agent) as client:
        for method in ("GET", "DELETE", "PUT", "OPTIONS"):
            refused = await client.request(method, "/mcp")
            assert (refused.status_code, refused.headers["allow"]) == (405, "POST"), method


async def test_a_slash_at_the_end_does_not_matter(agent: Agent) -> None:
    assert (await posted(agent, path="/mcp/")).status_code == 200


async def test_the_project_is_named_in_a_header(agent: Agent) -> None:
    app, owner = agent.world.app, agent.world.owner
    second = await app.projects.add(agent.world.project.organisation_id, "Second", timezone="Asia/Tokyo")
    _, agent.key = await app.keys.create(owner, name="Second's", scopes=["*"], project_ids=[second.id])
    discover = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HANDSHAKE}

    answers = {
        wanted: await posted(agent, discover, **{"x-paperround-project": wanted} if wanted else {})
        for wanted in ("", str(second.id), "1", "99", "first", "9" * 30)
    }

    assert [each.status_code for each in answers.values()] == [200, 200, 404, 404, 400, 400]
    assert "Second" in answers[""].json()["result"]["instructions"]


HANDSHAKE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


async def test_what_is_no_message_is_refused(agent: Agent) -> None:
    """In either of the protocol's eras."""
    deep, huge = b"[" * 100_000, b'{"jsonrpc":"2.0","id":' + b"9" * 10_000 + b',"method":"ping"}'
    refused = {400: (b"", b"{", b"[]", b"\xff\xfe", deep, huge), 413: (b" " * (LARGEST + 1),)}

    for version in ("2025-11-25", "2026-07-28"):
        for status, contents in refused.items():
            for content in contents:
                answer = await posted(agent, content, **{"mcp-protocol-version": version})
                assert answer.status_code == status, (version, content[:20])
