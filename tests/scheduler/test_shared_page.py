"""Shared pages as a visitor meets them: what they show, to whom, and what they never tell."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from channels.base import PermanentFailure
from scheduler.store.sharing import Shared
from scheduler.web.shared import COOKIE, LARGEST_FORM, add_shared_pages
from tests.scheduler.conftest import World, settle

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

HOME, ELSEWHERE = "203.0.113.7", "198.51.100.9"


@dataclass
class Visitor:
    """A browser at some address, and the owner's hand on what is shared."""

    world: World
    http: httpx.AsyncClient
    what: Shared
    token: str = ""

    @property
    def path(self) -> str:
        return f"/shared/{self.token}"

    async def share(self, **fields: Any) -> None:
        self.token = self.world.app.sharing.token(
            await self.world.app.sharing.change(self.what, {"enabled": True} | fields)
        )

    async def add_password(self, password: str = "correct horse") -> int:
        made, _ = await self.world.app.sharing.add_password(self.what, self.world.owner, {"password": password})
        return made.id

    async def look(self) -> httpx.Response:
        return await self.http.get(self.path)

    async def enter(self, password: str = "correct horse") -> httpx.Response:
        return await self.http.post(self.path, data={"password": password})

    async def send(self) -> None:
        """What is due half an hour later, and each day after it."""
        self.world.clock.advance(minutes=30)
        await settle(self.world.runner())
        self.world.clock.advance(hours=23, minutes=30)


def browser(world: World, *, address: str = HOME, base_url: str = "http://127.0.0.1:8420") -> httpx.AsyncClient:
    web = FastAPI()
    add_shared_pages(web, world.app.visits, base_url=base_url)
    transport = httpx.ASGITransport(app=web, client=(address, 12345))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420")


@pytest.fixture
async def visitor(world: World) -> AsyncIterator[Visitor]:
    """Of a subscription that is not shared yet."""
    made = await world.subscribe(title="Numbers & <names>")
    async with browser(world) as http:
        yield Visitor(world, http, Shared(world.project.id, made.id))


def words_of(page: httpx.Response) -> str:
    """Without the style, the markup and the pictures."""
    return " ".join(re.sub(r"<style.*?</style>|<[^>]+>|&nbsp;", " ", page.text, flags=re.DOTALL).split())


# ── what it shows ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_page_shows_what_was_sent_last_and_tells_nothing_of_recipients(visitor: Visitor) -> None:
    await visitor.share()
    await visitor.send()
    first = await visitor.look()
    with sqlite3.connect(visitor.world.source_path) as source:
        source.execute("INSERT INTO t VALUES ('2026-11-22', 33)")
    source.close()
    before = await visitor.look()
    await visitor.send()
    second = await visitor.look()
    visitor.world.email.answer("ann@example.org", PermanentFailure("no such mailbox"))
    await visitor.send()

    assert first.status_code == 200
    assert words_of(first) == (
        "Numbers &amp; &lt;names&gt; Test · Insight Numbers &amp; &lt;names&gt; "
        "Sunday, 22 November 2026, 12:30 UTC Numbers day n 2026-11-20 1 2026-11-21 2 "
        "The numbers are from Sunday, 22 November 2026, 12:30 UTC. Shared with Paperround."
    )
    assert before.text == first.text
    assert "2026-11-22 33" in words_of(second)
    assert (await visitor.look()).text == second.text  # what could not be sent is not there either
    assert not any(secret in second.text for secret in ("example.org", visitor.world.owner.email, "unsubscribe"))


@sqlite_only
async def test_before_anything_was_sent_it_says_so(visitor: Visitor) -> None:
    visitor.world.email.answer("ann@example.org", PermanentFailure("no such mailbox"))
    await visitor.send()
    await visitor.share()

    page = await visitor.look()

    assert (page.status_code, "Nothing has been sent yet." in page.text) == (200, True)
    assert "2026-11-20" not in page.text


@sqlite_only
async def test_the_page_of_a_delivery_stays_with_it(visitor: Visitor) -> None:
    await visitor.send()
    [sent] = await visitor.world.deliveries()
    visitor.what = Shared(visitor.what.project_id, visitor.what.subscription_id, sent.id)
    await visitor.share()
    first = await visitor.look()
    await visitor.world.sql("UPDATE deliveries SET created_at = '2026-11-01 00:00:00'")
    await visitor.send()

    assert "12:30 UTC" in words_of(first)
    assert (await visitor.look()).text == first.text

    await visitor.world.sql("UPDATE deliveries SET exported_asset_ids = NULL")
    assert "This delivery has nothing to show." in (await visitor.look()).text


@sqlite_only
async def test_charts_are_in_the_page_and_failed_insights_say_so(visitor: Visitor) -> None:
    world = visitor.world
    chart, broken = [
        await world.app.catalog.add_insight(
            world.project, name, source="Source", sql=sql, display="line", description=f"About {name}"
        )
        for name, sql in (("Course", "SELECT day, n FROM t"), ("<Broken>", "SELECT day, n AS k FROM t"))
    ]
    await world.sql("UPDATE insights SET sql = 'SELECT nothing FROM t' WHERE id = :id", id=broken.id)
    both = [chart.id, broken.id]
    dashboard = await world.app.catalog.add_dashboard(world.project, "Both", insights=both)
    made = await world.subscribe(insight=None, dashboard=dashboard.id, dashboard_export_insights=both)
    visitor.what = Shared(world.project.id, made.id)
    await visitor.share()
    await visitor.send()

    page = await visitor.look()
    await visitor.share(settings={"whitelabel": True, "noHeader": True, "hideExtraDetails": True})
    bare = words_of(await visitor.look())

    assert re.search(r'<img src="data:image/png;base64,[\w+/]+=*" width="568" height="\d+" alt="Course: ', page.text)
    assert "cid:" not in page.text
    assert "1 of 2 insights could not be computed." in page.text
    assert "&lt;Broken&gt; About &lt;Broken&gt; This could not be computed. Whoever" in words_of(page)
    assert "no such column" not in page.text
    assert "Test · Dashboard Both" in words_of(page)
    assert not any(each in bare for each in ("Paperround", "Dashboard", "About"))


@sqlite_only
async def test_the_page_runs_nothing_and_is_found_cached_and_framed_nowhere(visitor: Visitor) -> None:
    await visitor.share()

    for answer in (await visitor.look(), await visitor.http.get("/shared/nothing")):
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; "
            "img-src data:; base-uri 'none'"
        )
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
        assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
        assert "set-cookie" not in answer.headers
    assert (await visitor.http.head(visitor.path)).status_code == 200


# ── what opens it ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_unknown_disabled_expired_and_removed_look_the_same(visitor: Visitor) -> None:
    await visitor.share()
    unknown = [await visitor.http.get(f"/shared/{token}") for token in ("x" * 32, "%00", "%ff", "é", "a" * 5000)]

    await visitor.world.app.sharing.refresh(visitor.what)
    in_grace = await visitor.look()
    visitor.world.clock.advance(minutes=5)
    expired, posted = await visitor.look(), await visitor.enter()

    await visitor.share(enabled=False)
    disabled = await visitor.look()
    await visitor.share()
    enabled = await visitor.look()
    await visitor.world.app.subscriptions.edit(visitor.world.project, visitor.what.subscription_id, {"deleted": True})
    removed = await visitor.look()

    assert (in_grace.status_code, enabled.status_code) == (200, 200)
    for each in (*unknown, expired, posted, disabled, removed):
        assert (each.status_code, each.text) == (404, unknown[0].text)
        assert each.headers == unknown[0].headers


@sqlite_only
async def test_a_password_opens_the_page_for_a_day(visitor: Visitor) -> None:
    await visitor.send()
    await visitor.share(password_required=True)
    await visitor.add_password("another one")
    await visitor.add_password("cafe\N{COMBINING ACUTE ACCENT} au lait")

    asked = await visitor.look()
    wrong = await visitor.enter("caf\N{LATIN SMALL LETTER E WITH ACUTE} au Lait")
    right = await visitor.enter("caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait")
    page = await visitor.look()
    visitor.world.clock.advance(hours=24)

    assert (asked.status_code, '<form method="post">' in asked.text) == (200, True)
    assert (wrong.status_code, "That is not the password." in wrong.text) == (403, True)
    for closed in (asked, wrong, await visitor.look()):
        assert not any(each in closed.text for each in ("Numbers", "2026-11-20", "Test"))
    assert (right.status_code, right.headers["location"]) == (303, visitor.token)
    assert re.fullmatch(
        rf"{COOKIE}=[\w.-]+; HttpOnly; Max-Age=86400; Path={visitor.path}; SameSite=lax", right.headers["set-cookie"]
    )
    assert "2026-11-20 1" in words_of(page)


@sqlite_only
async def test_a_removed_password_or_a_refreshed_token_shuts_out_who_came_in(visitor: Visitor) -> None:
    await visitor.send()
    await visitor.share(password_required=True)
    kept = await visitor.add_password()
    removed = await visitor.add_password("battery staple")

    await visitor.enter("battery staple")
    inside = await visitor.look()
    await visitor.world.app.sharing.remove_password(visitor.what, removed)
    shut_out = await visitor.look()
    await visitor.add_password("battery staple")  # the same again is another one
    still_out = await visitor.look()
    await visitor.enter()
    inside_again = await visitor.look()
    await visitor.world.app.sharing.refresh(visitor.what)
    asked_again = await visitor.look()
    await visitor.enter()
    in_grace = await visitor.look()

    assert kept != removed
    assert ["2026-11-20" in each.text for each in (inside, inside_again, in_grace)] == [True] * 3
    assert ["2026-11-20" in each.text for each in (shut_out, still_out, asked_again)] == [False] * 3


@sqlite_only
async def test_a_cookie_opens_no_other_page_and_none_can_be_made_up(visitor: Visitor) -> None:
    await visitor.send()
    await visitor.share(password_required=True)
    await visitor.add_password()
    await visitor.enter()
    cookie = visitor.http.cookies[COOKIE]
    [sent] = await visitor.world.deliveries()
    visitor.what = Shared(visitor.what.project_id, visitor.what.subscription_id, sent.id)
    await visitor.share(password_required=True)
    await visitor.add_password()

    for each in (cookie, cookie[:-1], "", "WzEsOTk5OTk5OTk5OV0.AAAA", "x" * 3000):
        page = await visitor.http.get(visitor.path, headers={"cookie": f"{COOKIE}={each}"})
        assert (page.status_code, "2026-11-20" in page.text) == (200, False)


@sqlite_only
async def test_without_a_password_to_know_nobody_is_admitted(visitor: Visitor) -> None:
    await visitor.send()
    await visitor.share()
    await visitor.share(password_required=True)

    answers = [await visitor.look(), await visitor.enter(""), await visitor.enter()]

    assert [each.status_code for each in answers] == [200, 403, 403]
    assert not any("2026-11-20" in each.text for each in answers)


@sqlite_only
async def test_guessing_is_slowed_down_for_each_page_and_address(
    visitor: Visitor, capfd: pytest.CaptureFixture[str]
) -> None:
    await visitor.send()
    await visitor.share(password_required=True)
    await visitor.add_password()

    guesses = [(await visitor.enter(f"guess {n}")).status_code for n in range(6)]
    right = await visitor.enter()
    visitor.world.clock.advance(minutes=14, seconds=30)
    async with browser(visitor.world, address=ELSEWHERE) as other:
        elsewhere = await other.post(visitor.path, data={"password": "correct horse"})
    still = await visitor.enter()
    visitor.world.clock.advance(seconds=30)

    assert guesses == [403] * 5 + [429]
    assert (right.status_code, right.headers["retry-after"], "set-cookie" in right.headers) == (429, "900", False)
    assert "Try again in 15 minutes." in right.text
    assert (elsewhere.status_code, still.headers["retry-after"]) == (303, "30")
    assert "Try again in 1 minute." in still.text
    assert (await visitor.enter()).status_code == 303
    said = "".join(capfd.readouterr())
    assert said.count("share.password_refused") == 5
    assert not any(secret in said for secret in ("guess", "correct horse", visitor.token, HOME))


@sqlite_only
async def test_addresses_of_one_machine_count_as_one(visitor: Visitor) -> None:
    await visitor.share(password_required=True)

    answers = []
    for number in range(6):
        async with browser(visitor.world, address=f"2001:db8:0:7::{number:x}") as http:
            answers.append((await http.post(visitor.path, data={"password": "x"})).status_code)
    async with browser(visitor.world, address="2001:db8:0:8::1") as http:
        answers.append((await http.post(visitor.path, data={"password": "x"})).status_code)

    assert answers == [403] * 5 + [429, 403]


@sqlite_only
async def test_a_form_of_another_kind_is_a_wrong_password_and_a_page_without_one_needs_none(visitor: Visitor) -> None:
    await visitor.share()
    needless = await visitor.enter("anything")
    await visitor.share(password_required=True)
    await visitor.add_password()

    bodies = (b"", b"\xff=\xfe", b"password=" + b"x" * LARGEST_FORM, b"&".join([b"a=b"] * 9))
    answers = [(await visitor.http.post(visitor.path, content=body)).status_code for body in bodies]

    assert (needless.status_code, "set-cookie" in needless.headers) == (303, False)
    assert answers == [403] * 4


@sqlite_only
async def test_behind_https_and_a_path_the_cookie_is_for_there_alone(visitor: Visitor) -> None:
    await visitor.share(password_required=True)
    await visitor.add_password()

    async with browser(visitor.world, base_url="https://example.com/reports/") as http:
        answer = await http.post(visitor.path, data={"password": "correct horse"})

    assert f"; Path=/reports{visitor.path}; SameSite=lax; Secure" in answer.headers["set-cookie"]
