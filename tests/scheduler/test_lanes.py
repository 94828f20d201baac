"""Who may send now: bounded in all, capped and paced per destination, a slow one holds up nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

from scheduler.backoff import LONGEST_PUT_OFF
from scheduler.lanes import RULES, Lanes, Rule

FAST = {"webhook": Rule(at_once=2), "slack": Rule(at_once=1, seconds_apart=0.05)}


async def test_a_destination_gets_as_many_at_once_as_it_stands() -> None:
    lanes = Lanes(rules=FAST)
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
    lanes = Lanes(rules=FAST)
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


async def test_messages_to_one_paced_destination_come_one_after_another_and_apart() -> None:
    lanes = Lanes(rules=FAST)
    loop = asyncio.get_running_loop()
    began: list[float] = []
    for _ in range(3):
        lanes.hold("slack", "slack:C1")

    async def post() -> None:
        async with lanes.turn("slack:C1"):
            began.append(loop.time())

    await asyncio.gather(*(post() for _ in range(3)))

    assert all(later - earlier >= 0.05 for earlier, later in pairwise(began))


async def test_a_send_of_several_messages_takes_so_many_turns() -> None:
    lanes = Lanes(rules={"slack": Rule(at_once=1, seconds_apart=100)})
    lanes.hold("slack", "slack:C1")
    now = asyncio.get_running_loop().time()

    async with lanes.turn("slack:C1", messages=3):
        pass

    assert lanes._lanes["slack:C1"].next_turn >= now + 300


async def test_busy_is_who_has_enough_in_hand_or_whose_turn_is_not_yet() -> None:
    lanes = Lanes(rules=FAST)
    for _ in range(2):
        lanes.hold("webhook", "webhook:full:443")
    lanes.hold("webhook", "webhook:free:443")
    lanes.hold("slack", "slack:C1")
    async with lanes.turn("slack:C1"):
        lanes.hold_off("slack:C1", 100)

    assert sorted(lanes.busy()) == ["slack:C1", "webhook:full:443"]

    lanes.let_go("webhook:full:443")
    assert lanes.busy() == ["slack:C1"]
    assert lanes.room_at("webhook", "webhook:full:443") == 1


async def test_a_paced_destination_keeps_the_pause_it_asked_for_after_the_send() -> None:
    lanes = Lanes(rules=FAST)
    lanes.hold("slack", "slack:C1")
    async with lanes.turn("slack:C1"):
        lanes.hold_off("slack:C1", 100)
        lanes.hold_off("slack:C1", 1)  # a shorter wish shortens nothing
    lanes.let_go("slack:C1")

    assert lanes.busy() == ["slack:C1"]
    assert 1 < (lanes.soonest_turn() or 0) <= 100


async def test_a_refused_webhook_holds_up_no_other_of_its_host() -> None:
    lanes = Lanes(rules=FAST)
    lanes.hold("webhook", "webhook:hooks.example.org:443")

    lanes.hold_off("webhook:hooks.example.org:443", 100)

    assert lanes.busy() == []


async def test_no_provider_can_ask_for_a_pause_without_end() -> None:
    lanes = Lanes(rules=FAST)
    lanes.hold("slack", "slack:C1")
    lanes.hold_off("slack:C1", 365 * 24 * 3600)
    lanes.let_go("slack:C1")

    assert 0 < (lanes.soonest_turn() or 0) <= LONGEST_PUT_OFF.total_seconds()


async def test_the_soonest_turn_is_that_of_whoever_nothing_is_in_hand_for() -> None:
    lanes = Lanes(rules=FAST)
    for name, seconds in (("a", 50), ("b", 20), ("in hand", 10)):
        lanes.hold("slack", name)
        lanes.hold_off(name, seconds)
    assert lanes.soonest_turn() is None

    lanes.let_go("a")
    lanes.let_go("b")

    assert 10 < (lanes.soonest_turn() or 0) <= 20


async def test_what_a_process_holds_is_bounded_and_idle_lanes_are_forgotten() -> None:
    lanes = Lanes(rules=FAST, capacity=3)
    for number in range(3):
        lanes.hold("webhook", f"webhook:{number}:443")
    assert lanes.room() == 0

    for number in range(3):
        lanes.let_go(f"webhook:{number}:443")

    assert (lanes.room(), lanes._lanes, lanes.busy(), lanes.soonest_turn()) == (3, {}, [], None)


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
    assert RULES["slack"] == Rule(at_once=1, seconds_apart=1.0)
    assert Lanes().room_at("slack", "slack:C1") == 1
