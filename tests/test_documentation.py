"""What is there is written down: every setting, command, channel and status, where a person would look for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from channels.registry import KINDS
from scheduler.cli import app
from scheduler.settings import PREFIX, Settings
from scheduler.status import DeliveryStatus, RecipientStatus

REPOSITORY = Path(__file__).parents[1]
PAGES = ("README.md", "deploy/README.md")


@pytest.fixture(scope="module")
def written() -> str:
    """Both pages, as one text."""
    return "\n".join((REPOSITORY / page).read_text(encoding="utf-8") for page in PAGES)


def commands(group: Any, path: tuple[str, ...] = ("paperround",)) -> Iterator[tuple[str, ...]]:
    """Every command and sub-command, as it is typed."""
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


COMMANDS = list(commands(typer.main.get_group(app)))


def spoken_of(command: tuple[str, ...], text: str) -> bool:
    """Whether it stands there, alone or with others: ``paperround sources list``, ``paperround sources list|show``."""
    words = "|".join(sorted({re.escape(each[-1]) for each in COMMANDS}, key=len, reverse=True))
    between = rf"(?:[ ,`|\\]|(?<![\w-])(?:{words})(?![\w-]))*"
    return re.search(between.join(rf"(?<![\w-]){re.escape(word)}(?![\w-])" for word in command), text) is not None


@pytest.mark.parametrize("name", [f"{PREFIX}{name.upper()}" for name in Settings.model_fields])
def test_every_setting_is_documented(written: str, name: str) -> None:
    assert re.search(rf"\b{name}\b", written), f"{' and '.join(PAGES)} do not mention {name}"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_describes_itself(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_documented(written: str, command: tuple[str, ...]) -> None:
    assert spoken_of(command, written), f"{' and '.join(PAGES)} do not mention `{' '.join(command)}`"


@pytest.mark.parametrize("kind", KINDS)
def test_every_channel_is_documented(written: str, kind: str) -> None:
    assert re.search(rf"\b{kind}\b", written), f"{' and '.join(PAGES)} do not mention {kind}"


@pytest.mark.parametrize("status", sorted({*DeliveryStatus, *RecipientStatus}))
def test_every_status_is_documented(written: str, status: str) -> None:
    assert re.search(rf"`{status}`", written), f"{' and '.join(PAGES)} do not explain `{status}`"


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = {
        (page, link.partition("#")[0])
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", (REPOSITORY / page).read_text(encoding="utf-8"))
        if "://" not in link and not link.startswith(("#", "mailto:"))
    }

    assert [link for link in sorted(links) if not ((REPOSITORY / link[0]).parent / link[1]).exists()] == []


def test_no_test_is_skipped_without_a_reason() -> None:
    marks = re.compile(r"(?:mark\.|pytest\.)(?:skip|skipif|xfail)\b(?!_)(?P<arguments>\((?:[^()]|\([^()]*\))*\))?")
    unexplained = [
        f"{path.relative_to(REPOSITORY)}: {found.group()}"
        for path in sorted((REPOSITORY / "tests").rglob("*.py"))
        if path != Path(__file__)
        for found in marks.finditer(path.read_text(encoding="utf-8"))
        if not re.search(r"reason=|skip\(\s*f?[\"']", found.group())
    ]

    assert unexplained == []
