"""What is an organisation's own, over HTTP: its name, members, verification tokens and domains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns.asyncresolver import Resolver

from scheduler.api.domains import OFF
from scheduler.contract import user_json
from scheduler.models import metadata
from scheduler.organisations import Organisations
from scheduler.store import people
from scheduler.store.people import Role, User
from tests.scheduler.api.conftest import Client
from tests.scheduler.conftest import World

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
DOMAINS, TOKENS = "/organizations/@current/domains", "/organizations/@current/cimd_verification_tokens"
NOON_TEXT = "2026-11-22T12:00:00Z"


class NameServer(asyncio.DatagramProtocol):
    """A name server on a free port of 127.0.0.1, which knows a few TXT records, and can be told to misbehave."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.instead: bytes | dns.rcode.Rcode | None = None
        """Sent instead of an answer; no bytes: silence."""
        self.asked: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        self.asked.append(question.to_text())
        if isinstance(self.instead, bytes):
            self.transport.sendto(self.instead, address) if self.instead else None
            return
        response = dns.message.make_response(query)
        records = self.records.get(question.name.to_text())
        if self.instead is not None or records is None:
            response.set_rcode(self.instead or dns.rcode.NXDOMAIN)
        elif records:
            response.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", "TXT", records))
        self.transport.sendto(response.to_wire(), address)

    @property
    def resolver(self) -> Resolver:
        resolver = Resolver(configure=False)
        resolver.port = self.transport.get_extra_info("sockname")[1]
        resolver.nameservers = ["127.0.0.1"]
        resolver.lifetime = 0.3
        return resolver


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    yield server
    transport.close()


@pytest.fixture
def world(world: World, names: NameServer) -> World:
    """The usual one, where challenges are looked for at that name server."""
    organisations = Organisations(world.app.database, world.clock, resolver=names.resolver)
    return replace(world, app=replace(world.app, organisations=organisations))


@pytest.fixture
def here(api: Client) -> Client:
    """A client whose paths begin behind ``/api``."""
    api.prefix = "/api"
    return api


async def add_user(world: World, organisation_id: int = 1, *, role: Role) -> User:
    async with world.app.database.write() as tx:
        return await people.add_user(tx, organisation_id, f"{role}@example.org", role=role, now=world.clock())


async def come_as(client: Client, user: User, *scopes: str, project_ids: list[int] | None = None) -> None:
    keys = client.world.app.keys
    _, value = await keys.create(user, name="Other", scopes=scopes or ("*",), project_ids=project_ids)
    client.http.headers["authorization"] = f"Bearer {value}"


async def come_from_elsewhere(client: Client) -> None:
    """As an admin of another organisation."""
    await client.world.sql("INSERT INTO organisations (id, name, created_at) VALUES (2, 'Other', '2026-01-01')")
    await come_as(client, await add_user(client.world, 2, role=Role.ADMIN))


async def everything(world: World) -> str:
    return "\n".join([str(await world.sql(f"SELECT * FROM {table}")) for table in metadata.tables])


# ── the organisation ─────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_an_organisation_is_found_by_its_id_as_the_current_one_and_in_the_list(here: Client) -> None:
    shown = await here.must("GET", "/organizations/@current/")

    assert UUID(shown["id"])
    assert {**shown, "id": None, "created_at": None} == {
        "id": None,
        "name": "Default organisation",
        "created_at": None,
        "membership_level": 8,
        "member_count": 1,
        "is_ai_data_processing_approved": False,
        "teams": [{"id": 1, "name": "Test"}],
        "projects": [{"id": 1, "name": "Test"}],
    }
    for path in (shown["id"], shown["id"].upper()):
        assert await here.must("GET", f"/organizations/{path}") == shown
    page = await here.must("GET", "/organizations/")
    assert page == {"count": 1, "next": None, "previous": None, "results": [shown]}
    assert (await here.must("GET", "/organizations?offset=1"))["results"] == []


@sqlite_only
async def test_an_admin_renames_it_and_allows_models(here: Client) -> None:
    changes = {"name": " Paper & Sons ", "is_ai_data_processing_approved": True, "id": "of no account"}

    changed = await here.must("PATCH", "/organizations/@current/", json=changes)

    assert (changed["name"], changed["is_ai_data_processing_approved"]) == ("Paper & Sons", True)
    assert await here.must("PATCH", "/organizations/@current", json={}) == changed
    assert await here.must("GET", "/organizations/@current") == changed


@sqlite_only
async def test_what_an_organisation_cannot_be_is_refused_by_its_field(here: Client) -> None:
    before = await here.must("GET", "/organizations/@current")
    consent = "is_ai_data_processing_approved"

    for field, value, code in (
        ("name", "", "blank"),
        ("name", None, "null"),
        ("name", ["x"], "invalid_input"),
        ("name", "x" * 65, "max_length"),
        ("name", "a\nb", "invalid_input"),
        (consent, None, "null"),
        (consent, "yes", "invalid_input"),
    ):
        body = {"name": "Changed", field: value}
        refused = await here.refused("PATCH", "/organizations/@current", json=body)
        assert refused == (400, "validation_error", code, field)
    assert await here.must("GET", "/organizations/@current") == before


@sqlite_only
async def test_members_are_its_users_in_the_references_shape(here: Client) -> None:
    await come_as(here, await add_user(here.world, role=Role.VIEWER))

    page = await here.must("GET", "/organizations/@current/members?limit=1&offset=1")

    assert page["count"] == 2
    [member] = page["results"]
    assert member == {
        "id": member["user"]["uuid"],
        "user": {**member["user"], "email": "viewer@example.org", "role_at_organization": "viewer"},
        "level": 1,
        "joined_at": NOON_TEXT,
        "updated_at": NOON_TEXT,
        "is_2fa_enabled": False,
        "has_social_auth": False,
        "last_login": None,
    }
    assert (await here.must("GET", "/organizations/@current/members"))["results"][0]["level"] == 8


# ── whose ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_everybody_reads_and_only_admins_write_with_keys_that_no_project_limits(here: Client) -> None:
    domain = await here.must("POST", DOMAINS, 201, json={"domain": "example.com"})
    token = await here.must("POST", TOKENS, 201, json={"label": "Production"})
    reads = ("/organizations/@current", DOMAINS, f"{DOMAINS}/{domain['id']}", TOKENS, f"{TOKENS}/{token['id']}")
    writes = [
        ("PATCH", "/organizations/@current"),
        ("POST", DOMAINS),
        ("PATCH", f"{DOMAINS}/{domain['id']}"),
        ("PUT", f"{DOMAINS}/{domain['id']}"),
        ("POST", f"{DOMAINS}/{domain['id']}/verify"),
        ("DELETE", f"{DOMAINS}/{domain['id']}"),
        ("POST", TOKENS),
        ("DELETE", f"{TOKENS}/{token['id']}"),
    ]

    owner = here.world.owner
    for user, scopes, projects in (
        (await add_user(here.world, role=Role.MEMBER), ("*",), None),
        (await add_user(here.world, role=Role.VIEWER), ("*",), None),
        (owner, ("organization:read",), None),
        (owner, ("*",), [1]),
    ):
        await come_as(here, user, *scopes, project_ids=projects)
        assert [(await here("GET", path)).status_code for path in reads] == [200] * len(reads)
        assert {(await here.refused(method, path, json={}))[:3] for method, path in writes} == {
            (403, "authentication_error", "permission_denied")
        }
    await come_as(here, owner, "subscription:write")
    assert {(await here.refused("GET", path))[0] for path in reads} == {403}


@sqlite_only
async def test_another_organisation_and_what_is_its_own_is_not_there(here: Client) -> None:
    organisation = (await here.must("GET", "/organizations/@current"))["id"]
    domain = (await here.must("POST", DOMAINS, 201, json={"domain": "example.com"}))["id"]
    token = (await here.must("POST", TOKENS, 201, json={"label": "Production"}))["id"]

    await come_from_elsewhere(here)

    for method, path in (
        ("GET", f"/organizations/{organisation}"),
        ("PATCH", f"/organizations/{organisation}"),
        ("GET", f"/organizations/{organisation}/domains"),
        ("GET", f"/organizations/{organisation}/members"),
        ("GET", f"{DOMAINS}/{domain}"),
        ("PATCH", f"{DOMAINS}/{domain}"),
        ("PATCH", f"{DOMAINS}/{uuid4()}"),
        ("POST", f"{DOMAINS}/{domain}/verify"),
        ("DELETE", f"{DOMAINS}/{domain}"),
        ("GET", f"{TOKENS}/{token}"),
        ("DELETE", f"{TOKENS}/{token}"),
        ("GET", f"{TOKENS}/1"),
        ("GET", "/organizations/1"),
    ):
        assert await here.refused(method, path, json={}) == (404, "invalid_request", "not_found", None), path
    assert [(await here.must("GET", path))["count"] for path in (DOMAINS, TOKENS)] == [0, 0]
    await here.must("POST", DOMAINS, 201, json={"domain": "example.com"})


# ── verification tokens ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_verification_token_is_shown_once_kept_as_a_digest_and_removed_for_good(here: Client) -> None:
    first = await here.must("POST", f"{TOKENS}/", 201, json={"label": " Production "})
    here.world.clock.advance(seconds=1)
    second = await here.must("POST", TOKENS, 201, json={"label": "Staging", "id": "mine"})
    value = first.pop("value")

    assert first == {
        "id": first["id"],
        "label": "Production",
        "mask_value": f"{value[:6]}…{value[-4:]}",
        "created_by": user_json(here.world.owner),
        "created_at": NOON_TEXT,
        "last_used_at": None,
    }
    assert len(value) == len("prv_") + 43
    assert await here.must("GET", f"{TOKENS}/{first['id']}/") == first
    listed = await here.must("GET", TOKENS)
    assert [listed["count"], *(each["id"] for each in listed["results"])] == [2, second["id"], first["id"]]
    assert (await here.must("GET", f"{TOKENS}?limit=1&offset=1"))["results"] == [first]
    rows = await everything(here.world)
    assert (value in rows, sha256(value.encode()).hexdigest() in rows) == (False, True)

    await here.must("DELETE", f"{TOKENS}/{first['id']}", 204)
    assert (await here.refused("DELETE", f"{TOKENS}/{first['id']}"))[0] == 404
    assert (await here.must("GET", TOKENS))["count"] == 1


@sqlite_only
async def test_a_label_says_in_one_short_line_what_a_token_is_for(here: Client) -> None:
    for body, code in (
        ({}, "required"),
        ({"label": None}, "null"),
        ({"label": " "}, "blank"),
        ({"label": "x" * 41}, "max_length"),
        ({"label": 7}, "invalid_input"),
        ({"label": "a\tb"}, "invalid_input"),
    ):
        assert await here.refused("POST", TOKENS, json=body) == (400, "validation_error", code, "label")
    assert (await here.must("GET", TOKENS))["count"] == 0


# ── domains ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_domain_is_added_once_stays_what_it_is_and_is_removed(here: Client) -> None:
    sent = {"domain": " Bücher.Example. ", "jit_provisioning_enabled": True, "saml_entity_id": "x", "has_scim": True}
    made = await here.must("POST", f"{DOMAINS}/", 201, json=sent)

    assert made == {
        "id": made["id"],
        "domain": "xn--bcher-kva.example",
        "is_verified": False,
        "verified_at": None,
        "verification_challenge": made["verification_challenge"],
        "verification_record": "_paperround-challenge.xn--bcher-kva.example",
        "last_looked_up_at": None,
        **OFF,
    }
    path = f"{DOMAINS}/{made['id']}"
    again = await here.refused("POST", DOMAINS, json={"domain": "bücher.example"})
    assert again == (400, "validation_error", "invalid_input", "domain")
    assert await here.must("PATCH", path, json={"sso_enforcement": "saml", "scim_enabled": True}) == made
    assert await here.must("PATCH", path, json={"domain": "BÜCHER.example"}) == made
    assert await here.must("PUT", path, json={"domain": "bücher.example", "saml_acs_url": "https://x"}) == made
    assert (await here.refused("PUT", path, json={}))[2:] == ("required", "domain")
    assert (await here.refused("PATCH", path, json={"domain": "example.com"}))[2:] == ("invalid_input", "domain")

    other = await here.must("POST", DOMAINS, 201, json={"domain": "a.example"})
    assert other["verification_challenge"] != made["verification_challenge"]
    listed = await here.must("GET", DOMAINS)
    assert (listed["count"], listed["results"]) == (2, [other, made])
    assert (await here.must("GET", f"{DOMAINS}?limit=1&offset=1"))["results"] == [made]

    await here.must("DELETE", path, 204)
    for method in ("GET", "PATCH", "DELETE"):
        assert (await here.refused(method, path))[0] == 404
    renewed = await here.must("POST", DOMAINS, 201, json={"domain": "bücher.example"})
    assert renewed["verification_challenge"] != made["verification_challenge"]


@sqlite_only
async def test_what_is_no_domain_is_refused(here: Client) -> None:
    for body, code in (
        ({}, "required"),
        ({"domain": None}, "null"),
        ({"domain": " "}, "blank"),
        ({"domain": 1}, "invalid_input"),
        ({"domain": "https://example.com"}, "invalid_input"),
        ({"domain": "a." * 63 + "com"}, "max_length"),
    ):
        assert await here.refused("POST", DOMAINS, json=body) == (400, "validation_error", code, "domain")
    assert (await here.must("GET", DOMAINS))["count"] == 0


# ── domains, verified ────────────────────────────────────────────────────────────────────────────────────────────────


async def added(client: Client) -> tuple[str, str, str]:
    """A domain's path, the name of its record, as the DNS writes it, and its challenge."""
    made = await client.must("POST", DOMAINS, 201, json={"domain": "bücher.example"})
    return f"{DOMAINS}/{made['id']}", f"{made['verification_record']}.", made["verification_challenge"]


async def test_a_domain_is_verified_by_its_challenge_in_the_dns_once(here: Client, names: NameServer) -> None:
    path, record, challenge = await added(here)
    names.records[record] = ['"v=spf1 -all"', f'"{challenge[:10]}" "{challenge[10:]}"']
    here.world.clock.advance(minutes=1)

    verified = await here.must("POST", f"{path}/verify/")

    assert names.asked == ["_paperround-challenge.xn--bcher-kva.example. IN TXT"]
    at = "2026-11-22T12:01:00Z"
    assert (verified["is_verified"], verified["verified_at"], verified["last_looked_up_at"]) == (True, at, at)
    assert await here.must("GET", path) == verified
    assert await here.refused("POST", f"{path}/verify") == (400, "validation_error", "invalid_input", None)
    assert len(names.asked) == 1


@sqlite_only
async def test_a_challenge_that_is_not_found_leaves_a_domain_as_it_was(here: Client, names: NameServer) -> None:
    path, record, challenge = await added(here)

    async def verified(*records: str) -> bool:
        here.world.clock.advance(minutes=1)
        names.records = {record: list(records)}
        shown = await here.must("POST", f"{path}/verify")
        assert shown["verified_at"] is None
        assert shown["last_looked_up_at"] == here.world.clock().isoformat().replace("+00:00", "Z")
        found: bool = shown["is_verified"]
        return found

    for records in ((), (f'"{challenge}x"', f'"{challenge[:-1]}"', f'"{challenge.swapcase()}"', '""', r'"\255"')):
        assert not await verified(*records)
    for instead in (dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED, b"no message", b""):
        names.instead = instead
        assert not await verified(f'"{challenge}"')
    names.transport.close()
    assert not await verified(f'"{challenge}"')


@sqlite_only
async def test_a_domain_that_is_removed_while_it_is_looked_up_is_gone(here: Client, names: NameServer) -> None:
    path, _, _ = await added(here)
    names.instead = b""

    verifying = asyncio.create_task(here("POST", f"{path}/verify"))
    while not names.asked:
        await asyncio.sleep(0)
    await here.must("DELETE", path, 204)

    assert (await verifying).status_code == 404
