"""Who may send now: bounded in all, capped per destination, a slow one holds up nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta

import pytest

from scheduler.lanes import ASIDE, CAPACITY, RULES, SLOW_HANDS, Lanes, Rule

RULES_HERE = {"webhook": Rule(at_once=2), "slack": Rule(at_once=1, apart=timedelta(seconds=1))}


async def test_a_destination_gets_as_many_at_once_as_it_stands() -> None:
    lanes = Lanes(rules=RULES_HERE)
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def send(destination: str) -> None:
        lanes.hold("webhook", destination)
        async with lanes.turn(destination):
            running[destination] += 1
            most[destination] = max(most[destination], running[destination])
            await asyncio.sleep(0.001)
            running[destination] -= 1
        lanes.let_go(destination)

    await asyncio.gather(*(send(f"webhook:{number % 3}:443") for number in range(30)))

    assert most == {f"webhook:{number}:443": 2 for number in range(3)}


async def test_a_slow_destination_holds_up_nobody_else() -> None:
    lanes = Lanes(rules=RULES_HERE)
    slow_is_done = asyncio.Event()
    for destination in ("webhook:slow:443", "webhook:slow:443", "webhook:quick:443"):
        lanes.hold("webhook", destination)

    async def slow() -> None:
        async with lanes.turn("webhook:slow:443"):
            await slow_is_done.wait()

    hanging = [asyncio.create_task(slow()) for _ in range(2)]
    await asyncio.sleep(0)
    async with lanes.turn("webhook:quick:443"):
        slow_is_done.set()
    await asyncio.gather(*hanging)


def test_busy_is_who_has_enough_in_hand() -> None:
    lanes = Lanes(rules=RULES_HERE)
    for _ in range(2):
        lanes.hold("webhook", "webhook:full:443")
    lanes.hold("webhook", "webhook:free:443")
    lanes.hold("slack", "slack:C1")

    assert sorted(lanes.busy()) == ["slack:C1", "webhook:full:443"]

    lanes.let_go("webhook:full:443")
    assert lanes.busy() == ["slack:C1"]
    assert lanes.room_at("webhook", "webhook:full:443") == 1


async def test_what_a_process_holds_is_bounded_and_idle_lanes_are_forgotten() -> None:
    lanes = Lanes(rules=RULES_HERE, capacity=3)
    for number in range(3):
        lanes.hold("webhook", f"webhook:{number}:443")
    assert lanes.room() == 0

    for number in range(3):
        lanes.let_go(f"webhook:{number}:443")

    assert (lanes.room(), lanes._lanes, lanes.busy()) == (3, {}, [])


async def test_who_stands_aside_leaves_the_turns_to_others_and_comes_back_to_wait_for_one() -> None:
    lanes = Lanes(rules={"email": Rule(at_once=1)}, capacity=3)
    lanes.hold("email", "a")
    with lanes.aside("a"):
        assert (lanes.busy(), lanes.room_at("email", "a"), lanes.room()) == ([], 1, 2)
        lanes.hold("email", "a")
        lanes.let_go("a")
        lanes.hold("email", "a")

    async with lanes.turn("a"):
        assert (lanes.busy(), lanes.room_at("email", "a"), lanes.room()) == (["a"], -1, 1)
    lanes.let_go("a")
    lanes.let_go("a")
    assert (lanes.room(), lanes._lanes) == (3, {})


async def test_only_so_many_stand_aside() -> None:
    lanes = Lanes()
    with ExitStack() as stack:
        for number in range(ASIDE + 1):
            lanes.hold("slack", f"slack:{number}")
            stack.enter_context(lanes.aside(f"slack:{number}"))

        assert lanes.busy() == [f"slack:{ASIDE}"]
    assert len(lanes.busy()) == ASIDE + 1


async def test_a_failing_send_gives_its_place_free() -> None:
    lanes = Lanes(rules={"webhook": Rule(at_once=1)})
    for _ in range(2):
        lanes.hold("webhook", "a")

    async def breaks() -> None:
        async with lanes.turn("a"):
            raise ZeroDivisionError

    broken = await asyncio.gather(breaks(), return_exceptions=True)
    async with lanes.turn("a"):
        pass

    assert [type(each) for each in broken] == [ZeroDivisionError]


def test_slack_stands_one_message_a_second_a_channel() -> None:
    assert RULES["slack"] == Rule(at_once=1, apart=timedelta(seconds=1))
    assert Lanes().room_at("slack", "slack:C1") == 1


# ── who was slow to answer ───────────────────────────────────────────────────────────────────────────────────────────


class Answers:
    """Destinations that take so many seconds to answer."""

    def __init__(self, lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lanes, self.now = lanes, 0.0
        monkeypatch.setattr("scheduler.lanes._seconds", lambda: self.now)

    async def after(self, seconds: float, destination: str, *, kind: str = "webhook") -> None:
        self.lanes.hold(kind, destination)
        async with self.lanes.turn(destination):
            self.now += seconds
        self.lanes.let_go(destination)


async def test_thousands_that_hang_leave_the_others_hands_free(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = Lanes()
    answers = Answers(lanes, monkeypatch)
    for number in range(2 * SLOW_HANDS):
        await answers.after(30, f"hangs {number}")
    await answers.after(0.01, "answers")

    for number in range(2 * SLOW_HANDS):
        for _ in range(min(1, lanes.room_at("webhook", f"hangs {number}"))):
            lanes.hold("webhook", f"hangs {number}")

    assert lanes.room() == CAPACITY - SLOW_HANDS
    assert set(lanes.busy()) == {f"hangs {number}" for number in range(2 * SLOW_HANDS)}
    assert lanes.room_at("webhook", "answers") == 8

    lanes.let_go("hangs 0")
    assert [lanes.room_at("webhook", f"hangs {number}") for number in (0, 1, SLOW_HANDS)] == [1, 1, 1]


async def test_a_new_destination_gets_few_at_once_until_it_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = Lanes()
    answers = Answers(lanes, monkeypatch)

    rooms = [lanes.room_at("webhook", "new")]
    for seconds in (0.01, 30, 0.01):
        await answers.after(seconds, "new")
        rooms.append(lanes.room_at("webhook", "new"))

    assert rooms == [2, 8, 2, 8]


async def test_only_the_last_answers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.lanes.KNOWN", 3)
    lanes = Lanes()
    answers = Answers(lanes, monkeypatch)

    for name in "abcd":
        await answers.after(30, name)

    assert list(lanes._slow) == ["b", "c", "d"]


async def test_the_one_mail_server_gets_as_many_at_once_however_slow_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = Lanes()
    answers = Answers(lanes, monkeypatch)
    await answers.after(30, "email:smtp", kind="email")

    assert lanes.room_at("email", "email:smtp") == RULES["email"].at_once
