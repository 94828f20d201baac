"""How often one may ask: requests of a key, test deliveries of a project."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from scheduler.api.errors import Refused
from scheduler.api.limits import REMEMBERED, Rate
from scheduler.api.serving import add_api
from tests.scheduler.conftest import ToldClock, World, settle

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def taken(rate: Rate, *, of: int = 1) -> int:
    """How many requests pass, one after the other."""
    passed = 0
    try:
        while True:
            rate.take(of)
            passed += 1
    except Refused:
        return passed


def wait(rate: Rate, *, of: int = 1) -> str | None:
    """What ``Retry-After`` says."""
    with pytest.raises(Refused) as refused:
        rate.take(of)
    return dict(refused.value.headers or {})["retry-after"]


@pytest.mark.parametrize("a_minute", [1, 2, 7, 59, 60, 61, 480, 1001])
def test_a_minutes_requests_may_come_at_once_and_come_back_one_by_one(a_minute: int) -> None:
    clock = ToldClock()
    rate = Rate(a_minute, clock)

    assert taken(rate) == a_minute
    clock.advance(minutes=0.5)
    assert taken(rate) == a_minute // 2
    clock.advance(minutes=1)
    assert taken(rate) in {a_minute, a_minute - 1}  # of an odd number, half a request was left
    clock.advance(hours=1)
    assert taken(rate) == a_minute


def test_who_is_put_off_is_told_for_how_long_in_whole_seconds() -> None:
    clock = ToldClock()
    slow, fast = Rate(7, clock), Rate(480, clock)

    assert (taken(slow), taken(fast)) == (7, 480)
    assert (wait(slow), wait(fast)) == ("9", "1")
    clock.advance(seconds=8)
    assert wait(slow) == "1"
    clock.advance(seconds=1)
    slow.take(1)


def test_each_key_has_its_own_and_none_has_an_end_when_there_is_no_limit() -> None:
    rate, free = Rate(2, ToldClock()), Rate(0, ToldClock())

    assert (taken(rate, of=1), taken(rate, of=2)) == (2, 2)
    for _ in range(1000):
        free.take(1)


def test_a_clock_that_is_set_back_shuts_nobody_out() -> None:
    clock = ToldClock()
    rate = Rate(60, clock)
    assert taken(rate) == 60

    clock.advance(days=-1)

    assert wait(rate) == "1"
    clock.advance(seconds=1)
    assert taken(rate) == 1


def test_buckets_that_are_full_again_are_forgotten() -> None:
    clock = ToldClock()
    rate = Rate(60, clock)
    assert taken(rate, of=-1) == 60

    for key_id in range(20 * REMEMBERED):
        rate.take(key_id)
        clock.advance(seconds=0.01)

    assert len(rate._full_at) <= REMEMBERED
    assert taken(Rate(60, clock), of=-1) == 60


@asynccontextmanager
async def client(world: World, **settings: int) -> AsyncIterator[httpx.AsyncClient]:
    """With a key of its own, of a service with these settings."""
    web = FastAPI()
    add_api(web, replace(world.app, settings=world.app.settings.model_copy(update=settings)))
    _, key = await world.app.keys.create(world.owner, name="Test", scopes=["*"])
    transport = httpx.ASGITransport(app=web)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as http:
        yield http


@sqlite_only
async def test_a_key_that_asks_too_often_is_put_off_and_another_is_not(world: World) -> None:
    async with client(world, requests_a_minute=2) as http:
        answers = [await http.get("/api/projects/1/subscriptions") for _ in range(3)]
        _, other = await world.app.keys.create(world.owner, name="Other", scopes=["*"])
        others = await http.get("/api/users/@me", headers={"authorization": f"Bearer {other}"})
        world.clock.advance(seconds=30)
        later = await http.get("/api/projects/99/subscriptions")
        stranger = await http.get("/api/users/@me", headers={"authorization": "Bearer nobody"})

    assert [each.status_code for each in answers] == [200, 200, 429]
    refused = answers[-1]
    assert (refused.headers["retry-after"], refused.json()["type"], refused.json()["code"]) == (
        "30",
        "throttled_error",
        "throttled",
    )
    assert (others.status_code, later.status_code, stranger.status_code) == (200, 404, 401)


@sqlite_only
@pytest.mark.parametrize(("a_minute", "statuses"), [(1, [202, 429, 202]), (0, [202, 202, 202])])
async def test_how_many_tests_a_project_may_ask_for_is_a_setting(
    world: World, a_minute: int, statuses: list[int]
) -> None:
    made = await world.subscribe()
    answered = []

    async with client(world, tests_a_minute=a_minute) as http:
        for pause in (timedelta(0), timedelta(0), timedelta(seconds=61)):
            world.clock.now += pause
            answer = await http.post(f"/api/projects/1/subscriptions/{made.id}/test-delivery")
            answered.append(answer.status_code)
            await settle(world.runner())

    assert answered == statuses
