"""Kill, start again, a thousand times: at named points and at random moments, one process or several at once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle

from scheduler.lanes import RULES
from tests.crash.ground import Ground
from tests.crash.ledger import Verdict, judge, takeovers
from tests.crash.points import CHECKPOINT, POINTS
from tests.crash.processes import Ended, Order, Zygote, seeded

AT_ONCE = RULES["webhook"].at_once
"""Sends in flight to one destination, and so the most that a kill may repeat."""
SLACK, MARGIN = 2.0, 0.2
"""Seconds beyond the lease in which a dead process's sends are repeated; and a little, to see one that is late."""
RANDOM_SHARE = 0.4
"""Of all kills, those at random moments."""
SENDING = {"before send": 6, "mid request": 6, "after answer": 6}
"""Points passed once a send are hit at the first to sixth passage; the others, passed once a batch, at the first."""
LONGEST_WAIT = 8.0
"""Seconds to reach a fail point: something falls due every second."""
YOUNGEST, OLDEST = 0.02, 0.6
"""The age at a random kill: from the middle of its start to its first sends."""
REST = 16
"""Every so many cycles a process lives long enough to repeat what was left: no delivery meets its eighth death."""
BUSY_AHEAD = 20.0
"""Seconds for which subscriptions are added at a time."""
LONGEST_DRAIN = 120.0
LOOK_AGAIN = 0.3


@dataclass
class Killed:
    """Who was killed, and how often which point was hit."""

    ended: list[Ended] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)


def points_for(ground: Ground) -> tuple[str, ...]:
    """The named points that this database has."""
    return (*POINTS, CHECKPOINT) if ground.settings.database_url.get_secret_value().startswith("sqlite") else POINTS


def orders(chance: random.Random, cycles: int, points: Sequence[str], *, lease: float) -> Iterator[Order]:
    """What the cycles are: all points in turn, random moments between, now and then a rest."""
    moments = round(len(points) * RANDOM_SHARE / (1 - RANDOM_SHARE))
    turn = cycle([*points, *[None] * moments])
    for number in range(1, cycles + 1):
        if number % REST == 0:
            yield Order(seconds=lease + SLACK + MARGIN)
        elif number % REST == REST - 1:
            yield Order(LONGEST_WAIT, "after answer", nth=AT_ONCE)  # whose repetition the rest measures
        elif (point := next(turn)) is None:
            yield Order(seconds=chance.uniform(YOUNGEST, OLDEST))
        else:
            yield Order(LONGEST_WAIT, point, nth=chance.randint(1, SENDING.get(point, 1)))


async def kill_again_and_again(
    ground: Ground, *, cycles: int, daemons: int, seed: int, ahead: float = BUSY_AHEAD, slack: float = SLACK
) -> Verdict:
    """So many kills in all, spread over so many daemons at once; then drain, and judge."""
    chance = seeded(seed)
    killed = Killed()
    topping_up = asyncio.Lock()
    points = points_for(ground)

    async def live_and_die(zygote: Zygote, number: int) -> None:
        first = number * len(points) // daemons  # each begins at another point: few cycles, too, come by them all
        turned = (*points[first:], *points[:first])
        for order in orders(seeded(chance.random()), cycles // daemons, turned, lease=_lease(ground)):
            async with topping_up:
                await ground.keep_busy(ahead)
            ended = await zygote.run(order)
            killed.ended.append(ended)
            if ended.hit and order.point:
                killed.hits[order.point] += 1

    async with AsyncExitStack() as stack:
        zygotes = [await stack.enter_async_context(ground.zygote(f"daemon{each}")) for each in range(daemons)]
        await asyncio.gather(*(live_and_die(zygote, number) for number, zygote in enumerate(zygotes)))
        await drain(ground, zygotes[0])
    return await _judged(ground, killed, points, slack=slack)


def _lease(ground: Ground) -> float:
    return float(ground.settings.lease_seconds)


async def drain(ground: Ground, zygote: Zygote) -> None:
    """A healthy process finishes what is left, up to the last burst; then it is asked to stop."""
    assert ground.horizon is not None
    pid = await zygote.start(Order(LONGEST_DRAIN, signal=signal.SIGTERM))
    deadline = time.monotonic() + LONGEST_DRAIN
    await asyncio.sleep(ground.seconds_to_quiet())
    while await ground.unfinished(ground.horizon) and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_AGAIN)
    os.kill(pid, signal.SIGTERM)
    ended = await zygote.ended()
    assert ended.code == 0, f"after SIGTERM it ended with {ended.code}"


async def _judged(ground: Ground, killed: Killed, points: Sequence[str], *, slack: float) -> Verdict:
    verdict = await judge(ground, killed.ended, at_once=AT_ONCE)
    verdict.figures["kills"] = sum(each.was_killed for each in killed.ended)
    verdict.none_of("processes that ended otherwise", [each.code for each in killed.ended if not each.was_killed])
    verdict.figures["at random moments"] = len(killed.ended) - sum(killed.hits.values())
    verdict.figures |= {f"at {point}": killed.hits[point] for point in points}
    verdict.none_of("points never hit", [point for point in points if not killed.hits[point]])
    judge_takeovers(ground, verdict, killed.ended, slack=slack)
    return verdict


def judge_takeovers(ground: Ground, verdict: Verdict, killed: Sequence[Ended], *, slack: float = SLACK) -> None:
    """The time from a kill to the repetition of what was in flight."""
    limit = _lease(ground) + slack
    waits = takeovers(ground.sink.arrivals(), killed, limit=limit)
    verdict.figures["repetitions timed"] = len(waits)
    verdict.at_most("seconds from a kill to the resend", round(max(waits, default=0.0), 2), limit)
