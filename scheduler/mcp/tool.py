"""What a tool is: a name, words for an agent, what it takes and answers, and what it asks of the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

from scheduler.errors import InvalidField
from scheduler.mcp.asking import Api
from scheduler.mcp.fields import Schema, an_object

Given = Mapping[str, Any]
"""The arguments as an agent gave them: any JSON under the names that the tool takes."""
Ask = Callable[[Api, Given], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Hints:
    """What calling it may do (MCP, ``ToolAnnotations``)."""

    read_only: bool = False
    destructive: bool = False
    """Takes something away or overwrites it."""
    idempotent: bool = False
    """Twice is as once."""
    open_world: bool = False
    """Something may be sent to people outside."""


READS = Hints(read_only=True, idempotent=True)


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool; ``description`` is all that an agent knows of it."""

    name: str
    title: str
    description: str
    takes: Schema
    answers: Schema
    hints: Hints
    ask: Ask

    async def __call__(self, api: Api, given: Given) -> dict[str, Any]:
        """Its answer. Raises :class:`InvalidField` and whatever :class:`Api` raises."""
        self._check(given)
        return await self.ask(api, given)

    def _check(self, given: Given) -> None:
        """Unlike the API, which leaves unknown fields aside: what an agent misspelled should not pass for done."""
        known = self.takes["properties"]
        for name in given:
            if name not in known:
                raise InvalidField(name[:100], f"no such argument; there are {', '.join(known) or 'none'}")
        for name in self.takes.get("required", ()):
            if given.get(name) is None:
                raise InvalidField(name, "This field is required.", code="required")
        for name, value in given.items():
            choices = known[name].get("enum")
            if choices is not None and value is not None and value not in choices:
                raise InvalidField(name, f"must be one of {', '.join(choices)}", code="invalid_choice")


def tool(
    name: str,
    title: str,
    *,
    takes: Mapping[str, Schema],
    required: Sequence[str] = (),
    answers: Schema,
    hints: Hints = READS,
) -> Callable[[Ask], Tool]:
    """Make a tool of a function; the function's docstring is what an agent reads."""

    def made(ask: Ask) -> Tool:
        schema = {**an_object(takes, required=required), "additionalProperties": False}
        return Tool(name, title, cleandoc(ask.__doc__ or ""), schema, answers, hints, ask)

    return made


def whole_number(given: Given, name: str, *, default: int, least: int = 0, most: int | None = None) -> int:
    """An argument that this package itself counts with. Raises :class:`InvalidField` when it is anything else."""
    value = given.get(name, default)
    in_range = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not in_range or (most is not None and value > most):
        raise InvalidField(name, f"must be a whole number from {least}" + ("" if most is None else f" to {most}"))
    return int(value)
