"""What an agent that has never seen the product reads: ``tools/list``."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import scheduler
from scheduler.mcp.tool import Tool
from scheduler.mcp.tools import TOOLS
from scheduler.subscriptions import FIELDS

PACKAGE = Path(scheduler.__file__).parent
BY_NAME = {each.name: each for each in TOOLS}
each_tool = pytest.mark.parametrize("tool", TOOLS, ids=list(BY_NAME))


def test_the_names_are_the_references() -> None:
    assert set(BY_NAME) == {
        "subscriptions-list",
        "subscriptions-create",
        "subscriptions-retrieve",
        "subscriptions-partial-update",
        "subscriptions-delete",
        "subscriptions-test-delivery-create",
        "subscriptions-deliveries-list",
        "subscriptions-deliveries-retrieve",
        "subscriptions-preview",
        "insights-list",
        "dashboards-list",
        "integrations-list",
    }


def test_every_field_that_can_be_written_is_an_argument() -> None:
    """A field that is new in the API is offered to agents, too, or named here with the reason why not."""
    takes = {name: set(each.takes["properties"]) for name, each in BY_NAME.items()}

    assert takes["subscriptions-create"] == FIELDS - {"deleted"}  # nobody makes a removed one
    assert takes["subscriptions-partial-update"] == FIELDS | {"id"}


def test_a_change_has_no_defaults_which_some_clients_fill_in() -> None:
    changes = BY_NAME["subscriptions-partial-update"].takes["properties"]

    assert [name for name, schema in changes.items() if "default" in str(schema).lower()] == []


@each_tool
def test_every_argument_is_described_and_every_schema_is_one(tool: Tool) -> None:
    Draft202012Validator.check_schema(tool.takes)
    Draft202012Validator.check_schema(tool.answers)
    assert tool.takes["additionalProperties"] is False
    for name, schema in tool.takes["properties"].items():
        assert schema["description"], name
        for example in (*schema.get("examples", ()), *([schema["default"]] if "default" in schema else ())):
            Draft202012Validator(schema).validate(example)


@each_tool
def test_every_other_tool_that_a_description_names_is_there(tool: Tool) -> None:
    words = {word.strip('.,:;()`"') for word in tool.description.split()}
    prefixes = ("subscriptions-", "insights-", "dashboards-", "integrations-")

    assert {word for word in words if word.startswith(prefixes)} <= set(BY_NAME)


def test_hints_say_what_may_be_called_without_asking_anybody() -> None:
    reading = {name for name, each in BY_NAME.items() if each.hints.read_only}
    sending = {name for name, each in BY_NAME.items() if each.hints.open_world}

    assert set(BY_NAME) - reading == {
        "subscriptions-create",
        "subscriptions-partial-update",
        "subscriptions-delete",
        "subscriptions-test-delivery-create",
    }
    assert sending == set(BY_NAME) - reading - {"subscriptions-delete"}


def test_the_list_is_short_enough_to_be_read_with_every_conversation() -> None:
    spoken = [(each.name, each.title, each.description, each.takes) for each in TOOLS]

    assert len(json.dumps(spoken)) < 21_000


def test_the_sdk_which_takes_a_second_is_imported_when_an_agent_calls_and_no_earlier() -> None:
    late = {"scheduler.mcp.server", "scheduler.mcp.stdio"}
    early = {
        f"{path.parent.name}/{path.name}"
        for path in PACKAGE.rglob("*.py")
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.ImportFrom)
        if statement.module in late or str(statement.module).split(".")[0] == "mcp"
    }

    assert early == {"mcp/server.py", "mcp/stdio.py"}
