"""Personal API keys: what one looks like, who may do what with it, and that a bad one is just a bad one."""

from __future__ import annotations

import asyncio
import re
import zlib
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

from scheduler.app import KEY_CHECK, initialise, opened
from scheduler.contract import key_json, user_json
from scheduler.db import Database
from scheduler.errors import DatabaseUnavailable, InvalidField, NotFound
from scheduler.keys import OBJECTS, SCOPES, Keys, Principal, allowed, is_well_formed, new_key
from scheduler.models import metadata
from scheduler.sealing import Box
from scheduler.settings import database_url, load_settings
from scheduler.store import people
from scheduler.store.keys import ApiKey
from scheduler.store.people import Role, User
from tests.conftest import SECRET_KEY
from tests.scheduler.conftest import NOON, World

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def keys_of(world: World) -> Keys:
    return Keys(world.app.database, world.clock)


async def made(world: World, *scopes: str, user: User | None = None, **how: Any) -> tuple[ApiKey, str]:
    return await keys_of(world).create(user or world.owner, name="Reports", scopes=scopes or ("*",), **how)


async def checked(world: World, value: str | None) -> Principal | None:
    """By a service of its own, whose note of the use is written when this returns."""
    keys = keys_of(world)
    principal = await keys.check(value)
    await keys.aclose()
    return principal


async def principal_of(world: World, *scopes: str, **how: Any) -> Principal:
    _, value = await made(world, *scopes, **how)
    principal = await checked(world, value)
    assert principal is not None
    return principal


async def add_user(world: World, email: str = "eve@example.org", **values: Any) -> User:
    async with world.app.database.write() as tx:
        usual = {"role": Role.MEMBER, "now": world.clock()}
        return await people.add_user(tx, world.project.organisation_id, email, **usual | values)


async def add_project(world: World, name: str = "Second") -> int:
    async with world.app.database.write() as tx:
        made = await people.add_project(tx, world.project.organisation_id, name, timezone="UTC", now=world.clock())
    return made.id


async def add_another_organisation(world: World) -> int:
    """With a user and a project of its own, whose id this is."""
    await world.sql("INSERT INTO organisations (id, name, created_at) VALUES (2, 'Other', '2026-01-01 00:00:00')")
    async with world.app.database.write() as tx:
        await people.add_user(tx, 2, "them@example.com", role=Role.ADMIN, now=world.clock())
        return (await people.add_project(tx, 2, "Theirs", timezone="UTC", now=world.clock())).id


async def last_used_at(world: World) -> datetime | None:
    [key] = await keys_of(world).listed(world.project.organisation_id)
    return key.last_used_at


# ── what one looks like ──────────────────────────────────────────────────────────────────────────────────────────────


def number(digits: str) -> int:
    total = 0
    for digit in digits:
        total = total * 62 + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(digit)
    return total


def test_a_key_is_a_prefix_256_random_bits_and_the_checksum_of_both() -> None:
    key = new_key()

    assert re.fullmatch(r"pr_[0-9A-Za-z]{49}", key)
    assert number(key[-6:]) == zlib.crc32(key[:-6].encode())


def test_keys_use_all_their_bits_and_never_repeat() -> None:
    numbers = {number(new_key()[3:-6]) for _ in range(1000)}

    assert len(numbers) == 1000
    assert {each.bit_length() <= 256 for each in numbers} == {True}
    # A bit that is the same in 1,000 keys by chance: once in 2 ** 991 runs.
    assert [bit for bit in range(256) if len({each >> bit & 1 for each in numbers}) == 1] == []


def test_one_wrong_character_anywhere_or_two_swapped_is_no_key() -> None:
    key = new_key()
    wrong = [key[:at] + other + key[at + 1 :] for at in range(len(key)) for other in "0Zz" if key[at] != other]
    swapped = [key[:at] + key[at + 1] + key[at] + key[at + 2 :] for at in range(len(key) - 1) if key[at] != key[at + 1]]

    assert is_well_formed(key)
    assert [each for each in (*wrong, *swapped) if is_well_formed(each)] == []


A_KEY = new_key()
MALFORMED = {
    "empty": "",
    "prefix alone": "pr_",
    "cut": A_KEY[:-1],
    "too long": A_KEY + "0",
    "another prefix": "ph" + A_KEY[2:],
    "upper case": A_KEY.upper(),
    "space before": f" {A_KEY}",
    "line break behind": f"{A_KEY}\n",
    "the whole header": f"Bearer {A_KEY}",
    "digits of another script": A_KEY[:-1] + "٣",
    "NUL": A_KEY[:-1] + "\0",
    "lone surrogate": A_KEY[:-1] + "\ud800",
    "a megabyte": "pr_" + "a" * 10**6,
}


@pytest.mark.parametrize("presented", [None, *MALFORMED.values()], ids=["missing", *MALFORMED])
async def test_what_cannot_be_a_key_is_refused_without_asking_the_database(presented: str | None) -> None:
    nowhere = Database(database_url("postgresql://reader@127.0.0.1:1/ledger"))
    keys = Keys(nowhere, lambda: NOON)

    assert await keys.check(presented) is None

    with pytest.raises(DatabaseUnavailable):
        await keys.check(A_KEY)
    await nowhere.aclose()


# ── made ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_key_is_shown_once_and_kept_as_a_digest_and_a_mask(world: World) -> None:
    key, value = await made(world, "subscription:write", "insight:read", expires_at=NOON + timedelta(days=90))

    assert key == ApiKey(
        id=key.id,
        uuid=key.uuid,
        user=world.owner,
        organisation_id=world.project.organisation_id,
        name="Reports",
        digest=sha256(value.encode()).hexdigest(),
        mask=f"{value[:6]}…{value[-4:]}",
        scopes=("subscription:write", "insight:read"),
        project_ids=None,
        created_at=NOON,
        last_used_at=None,
        expires_at=NOON + timedelta(days=90),
        revoked_at=None,
    )
    assert await keys_of(world).listed(world.project.organisation_id) == [key]
    rows = "\n".join([str(await world.sql(f"SELECT * FROM {table}")) for table in metadata.tables])
    assert value not in rows + repr(key)
    assert value[6:-4] not in rows
    assert key.digest in rows
    assert key.digest not in repr(key)


async def test_the_rows_json_is_the_references_and_has_no_digest(world: World) -> None:
    key, value = await made(world, "insight:read", project_ids=[world.project.id])
    everywhere, _ = await made(world, "insight:read")

    shown = key_json(key)

    assert shown == {
        "id": key.id,
        "uuid": str(key.uuid),
        "name": "Reports",
        "mask_value": f"{value[:6]}…{value[-4:]}",
        "user": user_json(world.owner),
        "scopes": ["insight:read"],
        "scoped_teams": [world.project.id],
        "scoped_organizations": [],
        "created_at": "2026-11-22T12:00:00Z",
        "last_used_at": None,
        "expires_at": None,
        "revoked_at": None,
    }
    assert key_json(everywhere)["scoped_teams"] == []


async def test_what_is_given_twice_counts_once_and_names_are_trimmed(world: World) -> None:
    project = world.project.id

    key, _ = await keys_of(world).create(
        world.owner, name=" Ü ", scopes=["insight:read", "*", "insight:read"], project_ids=[project, project]
    )

    assert (key.name, key.scopes, key.project_ids) == ("Ü", ("insight:read", "*"), (project,))


FIRST_ROWS = (
    "INSERT INTO installation (id, uuid, key_check_sealed, created_at) VALUES (1, :uuid, :sealed, :now)",
    "INSERT INTO organisations (id, name, created_at) VALUES (1, 'Test', :now)",
    (
        "INSERT INTO users (uuid, organisation_id, email, first_name, last_name, role, created_at)"
        " VALUES (:uuid, 1, 'owner@example.org', '', '', 'admin', :now)"
    ),
    "INSERT INTO projects (organisation_id, name, timezone, created_at) VALUES (1, 'Test', 'UTC', :now)",
)


def make_as_it_was_before(connection: Connection) -> None:
    """The schema of revision 0002, and its first rows."""
    config = Config()
    config.set_main_option("script_location", str(resources.files("scheduler") / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "0002")
    values = {"uuid": uuid4().hex, "sealed": Box(SECRET_KEY).seal(KEY_CHECK), "now": "2026-01-01 00:00:00.000000"}
    for each in FIRST_ROWS:
        connection.execute(text(each), values)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_database_from_before_there_were_keys_gets_their_table_and_keeps_its_rows(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'old.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    settings = load_settings(database_url=url, secret_key=SECRET_KEY)
    database = Database(database_url(url))
    async with database.write() as tx:
        await tx.run_sync(make_as_it_was_before)

    done = await initialise(settings, project="Another", owner_email=None)

    async with opened(settings) as app:
        owner = await app.owner(await app.project())
        keys = Keys(app.database, app.clock)
        _, value = await keys.create(owner, name="First", scopes=["*"])
        principal = await keys.check(value)
        await keys.aclose()
    await database.aclose()
    assert (done["created"], done["migrated"], done["project"]["name"]) == (False, True, "Test")
    assert principal is not None
    assert principal.user.email == "owner@example.org"


@pytest.mark.parametrize(
    ("how", "field", "words"),
    [
        pytest.param({"scopes": []}, "scopes", ("at least one of", "subscription:write"), id="no scope"),
        pytest.param({"scopes": ["insight:delete"]}, "scopes", ("'insight:delete'", "source:read"), id="unknown scope"),
        pytest.param({"scopes": ["insight"]}, "scopes", ("'insight'", "insight:read"), id="no action"),
        pytest.param({"scopes": ["INSIGHT:READ"]}, "scopes", ("'INSIGHT:READ'",), id="upper case"),
        pytest.param({"scopes": "insight:read"}, "scopes", ("'i'",), id="a text for a list"),
        pytest.param({"scopes": [{}]}, "scopes", ("{}", "insight:read"), id="something else"),
        pytest.param({"name": " "}, "name", ("what the key is for",), id="no name"),
        pytest.param({"name": "x" * 41}, "name", ("40",), id="name too long"),
        pytest.param({"name": "a\nb"}, "name", ("one line",), id="two lines"),
        pytest.param({"name": "a\0b"}, "name", ("printable",), id="NUL"),
        pytest.param({"project_ids": []}, "project_ids", ("leave it out",), id="no project"),
        pytest.param({"project_ids": [1, 77]}, "project_ids", ("no project 77", "1 Test"), id="unknown project"),
        pytest.param({"project_ids": [10**30]}, "project_ids", ("no project", "1 Test"), id="a huge project id"),
        pytest.param({"project_ids": [2]}, "project_ids", ("no project 2", "1 Test"), id="another organisation's"),
        pytest.param({"expires_at": NOON}, "expires_at", ("past", "later"), id="expires now"),
        pytest.param({"expires_at": datetime(1970, 1, 1, tzinfo=UTC)}, "expires_at", ("past",), id="expired"),
        pytest.param(
            {"scopes": ["organization:write"], "project_ids": [1]},
            "scopes",
            ("organization:write", "name no project"),
            id="beyond its projects",
        ),
    ],
)
async def test_what_cannot_be_is_refused_with_its_field_and_the_way_out(
    world: World, how: dict[str, Any], field: str, words: tuple[str, ...]
) -> None:
    assert await add_another_organisation(world) == 2
    usual = {"name": "Reports", "scopes": ["insight:read"]}

    with pytest.raises(InvalidField) as refused:
        await keys_of(world).create(world.owner, **usual | how)

    assert refused.value.field == field
    assert [word for word in words if word not in str(refused.value)] == []
    assert await keys_of(world).listed(world.project.organisation_id) == []


# ── checked ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_good_key_says_who_asks(world: World) -> None:
    key, value = await made(world, "subscription:write", project_ids=[world.project.id])

    assert await checked(world, value) == Principal(
        key_id=key.id,
        user=world.owner,
        organisation_id=world.project.organisation_id,
        scopes=("subscription:write",),
        project_ids=(world.project.id,),
        can=frozenset({"subscription:write", "subscription:read"}),
        reach=frozenset({world.project.id}),
    )


async def test_missing_malformed_unknown_revoked_and_expired_keys_look_the_same(world: World) -> None:
    revoked, revoked_value = await made(world)
    await keys_of(world).revoke(world.project.organisation_id, revoked.id)
    _, expired_value = await made(world, expires_at=NOON + timedelta(hours=1))
    _, good_value = await made(world)
    world.clock.advance(hours=1)

    presented = [None, "pr_nonsense", new_key(), revoked_value, expired_value]

    assert [await checked(world, each) for each in presented] == [None] * 5
    assert await checked(world, good_value) is not None


async def test_a_key_is_good_until_the_instant_it_expires_at(world: World) -> None:
    _, value = await made(world, expires_at=NOON + timedelta(hours=1))

    world.clock.advance(hours=1, microseconds=-1)
    assert await checked(world, value) is not None
    world.clock.advance(microseconds=1)
    assert await checked(world, value) is None


async def test_a_key_that_one_process_revokes_opens_nothing_in_another_at_once(world: World) -> None:
    here, there = keys_of(world), keys_of(world)
    key, value = await made(world)
    assert await here.check(value) is not None

    await there.revoke(world.project.organisation_id, key.id)

    assert await here.check(value) is None
    await here.aclose()


async def test_revoking_twice_keeps_the_first_moment(world: World) -> None:
    key, _ = await made(world)
    keys, organisation = keys_of(world), world.project.organisation_id

    first = await keys.revoke(organisation, key.id)
    world.clock.advance(hours=1)
    second = await keys.revoke(organisation, key.id)

    assert (first.revoked_at, second) == (NOON, first)


async def test_a_key_of_nobody_or_of_another_organisation_is_not_found(world: World) -> None:
    key, value = await made(world)
    keys, organisation = keys_of(world), world.project.organisation_id

    for where, key_id in ((organisation, key.id + 1), (organisation, 10**30), (organisation, -1), (2, key.id)):
        with pytest.raises(NotFound, match=rf"no key {key_id}; `paperround keys list`"):
            await keys.revoke(where, key_id)

    assert await keys.listed(2) == []
    assert await checked(world, value) is not None


# ── its last use ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_its_last_use_is_noted_at_most_once_a_minute(world: World) -> None:
    _, value = await made(world)
    noted = []

    for seconds in (0, 59, 1, 30, 3600):
        world.clock.advance(seconds=seconds)
        await checked(world, value)
        noted.append(await last_used_at(world))

    minute = NOON + timedelta(minutes=1)
    assert noted == [NOON, NOON, minute, minute, minute + timedelta(seconds=3630)]


async def test_of_many_requests_at_once_one_writes(world: World) -> None:
    _, value = await made(world)
    keys = [keys_of(world) for _ in range(5)]

    answers = await asyncio.gather(*(each.check(value) for each in keys * 5))
    for each in keys:
        await each.aclose()

    assert None not in answers
    assert await last_used_at(world) == NOON


async def test_a_refused_key_was_not_used(world: World) -> None:
    key, value = await made(world)
    await keys_of(world).revoke(world.project.organisation_id, key.id)

    await checked(world, value)

    assert await last_used_at(world) is None


async def test_the_answer_does_not_wait_for_a_locked_database(world: World) -> None:
    _, value = await made(world)
    keys = keys_of(world)

    async with world.app.database.write() as tx:  # SQLite locks the database with it, PostgreSQL the row
        await tx.execute(text("UPDATE api_keys SET name = name"))
        answers = [await keys.check(value) for _ in range(20)]
        noted_meanwhile = await last_used_at(world)
    await keys.aclose()

    assert None not in answers
    # Had one answer waited for its note, the note would have waited for this very transaction, and failed.
    assert (noted_meanwhile, await last_used_at(world)) == (None, NOON)


async def test_a_use_that_cannot_be_noted_is_a_line_in_the_log_and_no_error(world: World) -> None:
    key, value = await made(world)
    sqlite = "CREATE TRIGGER full BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(FAIL, 'disk full'); END"
    postgresql = "ALTER TABLE api_keys ADD CONSTRAINT never CHECK (last_used_at IS NULL)"
    await world.sql(sqlite if world.app.database.is_sqlite else postgresql)

    with capture_logs() as logged:
        principal = await checked(world, value)

    assert principal is not None
    [line] = logged
    assert (line["event"], line["log_level"], line["key_ids"]) == ("key.use_not_noted", "warning", [key.id])
    assert value not in str(line)


# ── what it lets its holder do ───────────────────────────────────────────────────────────────────────────────────────

EVERY_SCOPE = [f"{each}:{action}" for each in OBJECTS for action in ("read", "write")]


def test_the_scopes_are_the_contracts() -> None:
    assert sorted(SCOPES) == sorted([*EVERY_SCOPE, "*"])
    assert len(EVERY_SCOPE) == 16


READS = {f"{each}:read" for each in OBJECTS}
MEMBERS = {f"{each}:write" for each in ("subscription", "sharing_configuration", "insight", "dashboard")}


@pytest.mark.parametrize(
    ("role", "limited", "may"),
    [
        ("admin", False, set(EVERY_SCOPE)),
        ("admin", True, set(EVERY_SCOPE) - {"organization:write"}),
        ("member", False, READS | MEMBERS),
        ("member", True, READS | MEMBERS),
        ("viewer", False, READS),
        ("viewer", True, READS),
        ("nonsense", False, set()),
    ],
)
@sqlite_only
async def test_everything_is_what_the_users_role_allows(world: World, role: str, limited: bool, may: set[str]) -> None:
    _, value = await made(world, "*", project_ids=[world.project.id] if limited else None)
    await world.sql("UPDATE users SET role = :role", role=role)

    principal = await checked(world, value)

    assert principal is not None
    assert {scope for scope in EVERY_SCOPE if principal.may(scope)} == may == allowed(role, in_some_projects=limited)


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        (["subscription:read"], {"subscription:read"}),
        (["subscription:write"], {"subscription:read", "subscription:write"}),
        (["source:write", "insight:read"], {"source:read", "source:write", "insight:read"}),
    ],
)
@sqlite_only
async def test_write_includes_read_and_nothing_includes_anything_else(
    world: World, scopes: list[str], may: set[str]
) -> None:
    principal = await principal_of(world, *scopes)

    assert {scope for scope in EVERY_SCOPE if principal.may(scope)} == may


@pytest.mark.parametrize("scope", ["", "*", "subscription", "subscription:", "subscription:delete", "nonsense:read"])
@sqlite_only
async def test_nobody_may_do_what_is_no_scope(world: World, scope: str) -> None:
    assert not (await principal_of(world, "*")).may(scope)


@pytest.mark.parametrize(
    ("role", "scope"),
    [
        *(("viewer", f"{each}:write") for each in OBJECTS),
        *(("member", f"{each}:write") for each in ("organization", "project", "source", "integration")),
    ],
)
@sqlite_only
async def test_a_role_is_given_no_scope_that_it_does_not_allow(world: World, role: str, scope: str) -> None:
    eve = await add_user(world, role=role)

    with pytest.raises(InvalidField, match=f"{scope} is not for the role {role}; leave it out") as refused:
        await made(world, "insight:read", scope, user=eve)

    assert refused.value.field == "scopes"


async def test_whoever_loses_a_role_loses_it_with_every_key_at_once(world: World) -> None:
    eve = await add_user(world, role=Role.ADMIN)
    _, value = await made(world, "subscription:write", "source:write", user=eve)

    await world.sql("UPDATE users SET role = 'viewer' WHERE email = 'eve@example.org'")
    principal = await checked(world, value)

    assert principal is not None
    assert principal.user.role == "viewer"
    assert principal.scopes == ("subscription:write", "source:write")
    assert [scope for scope in EVERY_SCOPE if principal.may(scope)] == ["subscription:read", "source:read"]


async def test_a_key_sees_its_projects_and_never_another_organisations(world: World) -> None:
    first, second, theirs = world.project.id, await add_project(world), await add_another_organisation(world)
    limited = await principal_of(world, project_ids=[second])
    everywhere, value = await made(world)

    third = await add_project(world, "Third")
    unlimited = await checked(world, value)

    assert everywhere.project_ids is None
    assert unlimited is not None
    ids = (first, second, third, theirs, 0, 10**30)
    assert [each for each in ids if unlimited.sees(each)] == [first, second, third]
    assert [each for each in ids if limited.sees(each)] == [second]


# ── users ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_user_is_added_listed_and_found_by_the_address_in_any_case(world: World) -> None:
    eve = await add_user(world, " Eve@EXAMPLE.org ", first_name=" Eve ", last_name="Müller", role="viewer")

    async with world.app.database.read() as connection:
        organisation = world.project.organisation_id
        everybody = await people.listed_users(connection, organisation)
        found = await people.find_user(connection, organisation, "eve@example.ORG")

    assert (eve.email, eve.first_name, eve.last_name, eve.role) == ("Eve@example.org", "Eve", "Müller", "viewer")
    assert (everybody, found) == ([world.owner, eve], eve)


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        pytest.param({"email": "eve"}, "email", ("'eve'", "ann@example.com"), id="no address"),
        pytest.param({"email": ""}, "email", ("ann@example.com",), id="empty"),
        pytest.param({"email": "a@example.org,b@example.org"}, "email", ("one",), id="two addresses"),
        pytest.param({"email": "a@example.org\nb"}, "email", ("one",), id="a line break"),
        pytest.param({"email": "OWNER@example.org"}, "email", ("already", "users list"), id="taken"),
        pytest.param({"role": "king"}, "role", ("admin, member, viewer",), id="unknown role"),
        pytest.param({"first_name": "x" * 151}, "first_name", ("150",), id="first name too long"),
        pytest.param({"last_name": "a\0"}, "last_name", ("printable",), id="NUL"),
    ],
)
async def test_what_is_no_user_is_refused_with_its_field_and_the_way_out(
    world: World, values: dict[str, Any], field: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidField) as refused:
        await add_user(world, **values)

    assert refused.value.field == field
    assert [word for word in words if word not in str(refused.value)] == []
    assert await world.sql("SELECT count(*) FROM users") == [(1,)]


async def test_of_two_who_add_the_same_address_at_once_one_is_told(world: World) -> None:
    answers = await asyncio.gather(*(add_user(world) for _ in range(4)), return_exceptions=True)

    assert sorted(type(each).__name__ for each in answers) == ["InvalidField"] * 3 + ["User"]
    assert await world.sql("SELECT count(*) FROM users") == [(2,)]


async def test_nobody_of_that_address_is_not_found(world: World) -> None:
    async with world.app.database.read() as connection:
        with pytest.raises(NotFound, match=r"no user eve@example\.org; `paperround users list`.*`users add`"):
            await people.find_user(connection, world.project.organisation_id, "eve@example.org")
        with pytest.raises(NotFound):
            await people.find_user(connection, 2, "owner@example.org")
