"""Agents and the real processes: the SDK's own client over standard input and output, and over HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.conftest import SECRET_KEY
from tests.e2e.conftest import COMMAND, Installation
from tests.e2e.test_bad_input import assert_one_line
from tests.e2e.test_commands import CommandLine, restored_logging
from tests.e2e.test_service import ON_SQLITE, inside, prepared, serve, until

pytestmark = pytest.mark.e2e

WEEKLY = {"target_type": "email", "target_value": "ann@example.org", "frequency": "weekly", "byweekday": ["monday"]}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


async def with_a_key(installation: Installation) -> str:
    """An insight, and a key for its project; made here, since a command takes seconds."""
    await prepared(installation)
    async with inside(installation) as app:
        _, key = await app.keys.create(await app.owner(await app.project()), name="Agent", scopes=["*"])
        return key


async def said(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


# ── standard input and output ────────────────────────────────────────────────────────────────────────────────────────


@ON_SQLITE
async def test_an_agent_on_this_machine_works_without_a_service(installation: Installation) -> None:
    key = await with_a_key(installation)
    command = StdioServerParameters(
        command=str(COMMAND),
        args=["mcp", "--project", "1"],
        env={**installation.environ, "PAPERROUND_API_KEY": key},
        cwd=installation.folder,
    )

    async with Client(command) as client:
        tools = {each.name for each in (await client.list_tools()).tools}
        [found] = (await said(client, "insights-list"))["results"]
        made = await said(client, "subscriptions-create", insight=found["id"], **WEEKLY)
        tested = await said(client, "subscriptions-test-delivery-create", id=made["id"])
        opened_by_now = await said(client, "subscriptions-deliveries-list", id=made["id"])
        refused = await client.call_tool("subscriptions-retrieve", {"id": 99})

    assert {"subscriptions-create", "subscriptions-preview", "dashboards-list"} <= tools
    assert (found["name"], refused.is_error, tested["delivery"]["status"]) == ("Sales", True, "starting")
    assert [each["trigger_type"] for each in opened_by_now["results"]] == ["manual", "target_change"]


@ON_SQLITE
async def test_standard_output_is_the_protocols_alone_and_the_end_of_input_is_the_end(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(f"{await with_a_key(installation)}\n")
    process = await installation.start("--verbose", "mcp", "--key-file", "key", stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    messages: list[Any] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        "no message at all",
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "subscriptions-list"}},
    ]

    process.stdin.write("".join(f"{json.dumps(each)}\n" for each in messages).encode())
    answers = [json.loads(await process.stdout.readline()) for _ in range(2)]
    process.stdin.close()
    rest, _ = await process.communicate()

    assert [each["id"] for each in answers] == [1, 2]
    assert answers[1]["result"]["structuredContent"] == {"count": 0, "results": []}
    assert (rest, process.returncode) == (b"", 0)


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        pytest.param((), {}, ("PAPERROUND_API_KEY", "keys create"), id="no key"),
        pytest.param((), {"PAPERROUND_API_KEY": "pr_nobody"}, ("no longer", "keys create"), id="no good key"),
        pytest.param(("--key", "pr_nobody"), {}, ("--key env:NAME",), id="on the command line"),
        pytest.param(("--key-file", "missing"), {}, ("missing",), id="no such file"),
    ],
)
def test_a_key_that_is_not_good_is_one_line(
    ledger_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    variables: dict[str, str],
    words: tuple[str, ...],
) -> None:
    environ = {"PAPERROUND_DATABASE_URL": ledger_url, "PAPERROUND_SECRET_KEY": SECRET_KEY, **variables}
    with restored_logging():
        refused = CommandLine(tmp_path, environ, monkeypatch, capsys).run("mcp", *arguments)

    assert_one_line(refused, *words)
    assert "pr_nobody" not in refused.err


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@ON_SQLITE
async def test_an_agent_elsewhere_comes_to_the_service_and_what_it_makes_is_sent(installation: Installation) -> None:
    key = await with_a_key(installation)
    service = await serve(installation)
    url = await service.url("/mcp")

    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}) as http,
        Client(streamable_http_client(url, http_client=http), mode="legacy") as client,
    ):
        preview = await said(client, "subscriptions-preview", frequency="weekly", byweekday=["monday"], n=1)
        made = await said(client, "subscriptions-create", insight=1, **WEEKLY)
        await until(lambda: len(installation.smtp.mails) == 1)
        listed = await said(client, "subscriptions-deliveries-list", id=made["id"])
        refused = await http.post(url, json={}, headers={"authorization": "Bearer pr_nobody"})

    assert preview["occurrences"][0]["weekday"] == "monday"
    assert listed["results"][0]["trigger_type"] == "target_change"
    assert refused.status_code == 401
    assert await service.stop() == 0
