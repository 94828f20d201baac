"""``paperround keys`` and ``paperround users``, as a shell runs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.db import Database
from scheduler.keys import SCOPES, Keys, Principal, is_well_formed
from scheduler.settings import database_url
from tests.conftest import SECRET_KEY
from tests.e2e.conftest import Finished, Installation
from tests.e2e.test_bad_input import assert_one_line
from tests.e2e.test_commands import INSTANT, UUID, CommandLine, restored_logging

pytestmark = pytest.mark.e2e

READS = ("keys", "create", "--scope", "insight:read")
LONG_AFTER = "2099-07-01T09:00"


@pytest.fixture
def paperround(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    """On an initialised database, in this process."""
    environ = {"PAPERROUND_DATABASE_URL": ledger_url, "PAPERROUND_SECRET_KEY": SECRET_KEY}
    with restored_logging():
        yield CommandLine(tmp_path, environ, monkeypatch, capsys)


async def checked(url: str, value: str) -> Principal | None:
    """As a service on this database would."""
    database = Database(database_url(url))
    keys = Keys(database, database.clock)
    principal = await keys.check(value)
    await keys.aclose()
    await database.aclose()
    return principal


def table(finished: Finished) -> list[list[str]]:
    assert (finished.code, finished.err) == (0, "")
    return [line.split("\t") for line in finished.out.splitlines()]


# ── the real process ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_real_command_makes_a_key_that_is_good_until_it_is_revoked(installation: Installation) -> None:
    url = installation.environ["PAPERROUND_DATABASE_URL"]
    await installation.must("init")
    await installation.must("users", "add", "ann@example.org")

    created = await installation.run(
        "keys", "create", "--scope", "subscription:write", "--user", "ann@example.org", "--name", "Shop"
    )
    value = created.out.removesuffix("\n")
    principal = await checked(url, value)
    revoked = await installation.run("keys", "revoke", "1")

    assert (created.code, is_well_formed(value)) == (0, True)
    assert created.err == "Key 1, Shop, of ann@example.org. Keep it: it is not shown again.\n"
    assert principal is not None
    assert (principal.user.email, principal.scopes) == ("ann@example.org", ("subscription:write",))
    assert (revoked.code, revoked.out, revoked.err) == (0, "Key 1, Shop, of ann@example.org: revoked.\n", "")
    assert await checked(url, value) is None


# ── what is printed ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_created_key_is_the_row_and_its_value_and_is_listed_without_it(paperround: CommandLine) -> None:
    [owner] = paperround.must("users", "list")["results"]

    created = paperround.must(*READS, "--scope", "source:write", "--project", "1", "--expires", f"{LONG_AFTER}Z")
    value = created.pop("value")
    listed = paperround.run("keys", "list", "--json")

    assert created == {
        "id": 1,
        "uuid": UUID,
        "name": "API key",
        "mask_value": f"{value[:6]}…{value[-4:]}",
        "user": owner,
        "scopes": ["insight:read", "source:write"],
        "scoped_teams": [1],
        "scoped_organizations": [],
        "created_at": INSTANT,
        "last_used_at": None,
        "expires_at": "2099-07-01T09:00:00Z",
        "revoked_at": None,
    }
    assert listed.json == {"results": [created]}
    assert value not in listed.out


def test_an_expiry_without_an_offset_is_local_to_the_project(paperround: CommandLine, tmp_path: Path) -> None:
    its_own = {"PAPERROUND_DATABASE_URL": f"sqlite:///{tmp_path / 'berlin.db'}"}
    in_berlin = replace(paperround, environ={**paperround.environ, **its_own, "PAPERROUND_TIMEZONE": "Europe/Berlin"})
    in_berlin.must("init")

    local, with_offset = (in_berlin.must(*READS, "--expires", each) for each in (LONG_AFTER, f"{LONG_AFTER}+05:00"))

    assert (local["expires_at"], with_offset["expires_at"]) == ("2099-07-01T07:00:00Z", "2099-07-01T04:00:00Z")


def test_a_key_that_is_pasted_for_its_id_is_not_echoed(paperround: CommandLine) -> None:
    value = paperround.run(*READS).out.strip()

    refused = paperround.run("keys", "revoke", value)

    assert_one_line(refused, "'ID'", "paperround keys revoke --help")
    assert value not in refused.err


def test_the_table_shows_masks_and_states(paperround: CommandLine) -> None:
    values = [paperround.run(*READS, "--name", name).out.strip() for name in ("First", "Second")]
    paperround.must("keys", "revoke", "1")

    heading, *rows = table(paperround.run("keys", "list"))

    assert heading == ["id", "name", "user", "key", "scopes", "projects", "last used (UTC)", "state"]
    masks = [f"{value[:6]}…{value[-4:]}" for value in values]
    assert rows == [
        ["2", "Second", "owner@example.org", masks[1], "insight:read", "all", "–", "good"],
        ["1", "First", "owner@example.org", masks[0], "insight:read", "all", "–", "revoked"],
    ]


def test_users_are_added_and_listed(paperround: CommandLine) -> None:
    names = ("--first-name", "Eve", "--last-name", "Müller")
    added = paperround.must("users", "add", "eve@example.org", *names, "--role", "viewer")
    said = paperround.run("users", "add", "bo@example.org")

    heading, *rows = table(paperround.run("users", "list"))

    assert added == {
        "id": 2,
        "uuid": UUID,
        "distinct_id": added["uuid"],
        "first_name": "Eve",
        "last_name": "Müller",
        "email": "eve@example.org",
        "is_email_verified": None,
        "hedgehog_config": None,
        "role_at_organization": "viewer",
    }
    assert "User 3, bo@example.org, member." in said.out
    assert "paperround keys create --user bo@example.org" in said.out
    assert heading == ["id", "email", "name", "role"]
    assert rows == [
        ["1", "owner@example.org", "", "admin"],
        ["2", "eve@example.org", "Eve Müller", "viewer"],
        ["3", "bo@example.org", "", "member"],
    ]
    assert paperround.must("users", "list")["results"][1] == added


# ── what a person got wrong ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("keys", "create"), ("scopes", *SCOPES), id="no scope"),
        pytest.param(("keys", "create", "--scope", "insights"), ("scopes", "'insights'", "insight:read"), id="no such"),
        pytest.param((*READS, "--project", "7"), ("project_ids", "no project 7", "1 Test"), id="unknown project"),
        pytest.param((*READS, "--name", "x" * 41), ("name", "40"), id="name too long"),
        pytest.param((*READS, "--expires", "soon"), ("expires_at", "2027-03-14T09:00"), id="no instant"),
        pytest.param((*READS, "--expires", "2020-01-01"), ("expires_at", "past", "later"), id="expired"),
        pytest.param((*READS, "--user", "eve@example.org"), ("eve@example.org", "users list"), id="unknown user"),
        pytest.param((*READS, "--user", "eve"), ("email", "'eve'", "ann@example.com"), id="no address"),
        pytest.param(("keys", "revoke", "7"), ("no key 7", "`paperround keys list`"), id="unknown key"),
        pytest.param(("keys", "revoke", "9" * 30), ("no key 999", "`paperround keys list`"), id="a huge id"),
        pytest.param(("keys", "revoke", "first"), ("'ID'", "paperround keys revoke --help"), id="no id"),
        pytest.param(("users", "add", "eve"), ("email", "'eve'", "ann@example.com"), id="user without address"),
        pytest.param(("users", "add", "owner@example.org"), ("email", "already", "users list"), id="user twice"),
        pytest.param(
            ("users", "add", "eve@example.org", "--role", "king"), ("role", "admin, member, viewer"), id="unknown role"
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_its_field_and_the_way_out(
    paperround: CommandLine, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused = paperround.run(*arguments)

    assert_one_line(refused, *words)
    assert paperround.must("keys", "list") == {"results": []}
    assert len(paperround.must("users", "list")["results"]) == 1


def test_a_viewers_key_is_given_no_write(paperround: CommandLine) -> None:
    paperround.must("users", "add", "eve@example.org", "--role", "viewer")

    refused = paperround.run(*READS, "--scope", "subscription:write", "--user", "eve@example.org")

    assert_one_line(refused, "scopes", "subscription:write", "viewer", "leave it out")
