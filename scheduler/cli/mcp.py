"""``paperround mcp``: for agents on this machine."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from scheduler.app import opened
from scheduler.cli.options import ProjectId, text_or_file
from scheduler.errors import InvalidField
from scheduler.settings import load_settings

VARIABLE = "PAPERROUND_API_KEY"


def mcp(
    key: Annotated[
        str | None,
        typer.Option(metavar="env:NAME", help="The variable that has the API key.", show_default=f"env:{VARIABLE}"),
    ] = None,
    key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file that has it.")] = None,
    project: ProjectId = None,
) -> None:
    """Serve agents: the API as MCP tools on standard input and output. Over HTTP, `serve` has them at /mcp."""
    api_key = _key(key, key_file)
    from scheduler.mcp.stdio import serve_stdio  # noqa: PLC0415 - the SDK takes a second to import

    async def run() -> None:
        async with opened(load_settings()) as app:
            await serve_stdio(app, key=api_key, project_id=project)

    asyncio.run(run())


def _key(variable: str | None, file: Path | None) -> str:
    """From a file or a variable: a command line is there for all to read, and standard input is the agent's."""
    if variable is not None and not variable.startswith("env:"):
        raise InvalidField("key", "give it by a variable (--key env:NAME) or a file (--key-file FILE)")
    if file is not None:
        found = text_or_file(f"@{file}", field="key_file")
    else:
        found = os.environ.get((variable or f"env:{VARIABLE}").removeprefix("env:"), "")
    if not found.strip():
        raise InvalidField(
            "key", f"no API key; set {VARIABLE}, to one that `paperround keys create` made", code="blank"
        )
    return found.strip()
