"""The tools as the SDK serves them, whichever way a client comes. Importing this takes a second: do it late."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from typing import Any

import structlog
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    TextContent,
    ToolAnnotations,
)
from mcp.types import Tool as ListedTool

from scheduler.api.errors import Refused, refusal_of
from scheduler.mcp.asking import Api
from scheduler.mcp.tool import Tool
from scheduler.mcp.tools import TOOLS

log = structlog.get_logger()

INSTRUCTIONS = """\
Paperround sends insights and dashboards to e-mail, Slack or a webhook, again and again, and keeps a true record of it.

A subscription says what is shown (one insight, or chosen insights of one dashboard), where to (target_type and \
target_value: its recipients) and when (its recurrence). Each instant that the recurrence names is an occurrence; each \
occurrence becomes a delivery, which records the outcome for every recipient.

To subscribe somebody: insights-list or dashboards-list, for Slack also integrations-list; subscriptions-preview, \
until the dates are what was asked for; then subscriptions-create. Creating, resuming and changing a target send an \
announcement at once, and subscriptions-test-delivery-create sends to everybody: ask first if that was not asked for.

A refused call answers an error with a `code`, the argument it is about (`attr`) and what to do (`detail`): correct \
that, and call again.

You work in project {id}, {name}. Times that you give without an offset are local to the subscription's time \
zone, by default {timezone}; a Z in an answer means UTC."""

_BY_NAME: Mapping[str, Tool] = {each.name: each for each in TOOLS}


def mcp_server(api: Api) -> Server[Any]:
    """A server for the holder of one key: cheap enough to make one for every request."""

    async def list_tools(*_: object) -> ListToolsResult:
        return _LISTED

    async def call_tool(_: object, call: CallToolRequestParams) -> CallToolResult:
        tool = _BY_NAME.get(call.name)
        if tool is None:
            raise MCPError(code=INVALID_PARAMS, message=f"There is no such tool; there are {', '.join(_BY_NAME)}.")
        return await _called(tool, api, call.arguments or {})

    project = api.project
    return Server(
        "paperround",
        title="Paperround",
        version=installed_version("paperround"),
        instructions=INSTRUCTIONS.format(id=project.id, name=project.name, timezone=project.timezone),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=lambda name: _BY_NAME[name].takes if name in _BY_NAME else None,
    )


async def _called(tool: Tool, api: Api, given: Mapping[str, Any]) -> CallToolResult:
    """What it answers; a refusal is an answer, too, from which an agent can learn."""
    try:
        answer = await tool(api, given)
    except Exception as problem:  # the edge of one call: its text may not go out, its traceback is logged
        refused = refusal_of(problem)
        if refused.status == 500:
            log.exception("mcp.tool_broke", tool=tool.name)
        return CallToolResult(content=[_text(_error(refused))], is_error=True)
    return CallToolResult(content=[_text(answer)], structured_content=answer)


def _text(value: object) -> TextContent:
    return TextContent(type="text", text=json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _error(refused: Refused) -> dict[str, Any]:
    attr = {} if refused.attr is None else {"attr": refused.attr}
    later = {"retry_after": int(each)} if (each := (refused.headers or {}).get("retry-after")) else {}
    return {"status": refused.status, "code": refused.code, **attr, "detail": str(refused), **later}


def _listed(tool: Tool) -> ListedTool:
    hints = tool.hints
    return ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.takes),
        output_schema=dict(tool.answers),
        annotations=ToolAnnotations(
            read_only_hint=hints.read_only,
            destructive_hint=hints.destructive,
            idempotent_hint=hints.idempotent,
            open_world_hint=hints.open_world,
        ),
    )


_LISTED = ListToolsResult(tools=[_listed(each) for each in TOOLS])
