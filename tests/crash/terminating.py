"""SIGTERM at any moment, again and again: nothing lost, and nothing repeated either."""

from __future__ import annotations

import signal
from collections import Counter

from tests.crash.ground import Ground
from tests.crash.killing import BUSY_AHEAD, YOUNGEST, drain
from tests.crash.ledger import Verdict, judge
from tests.crash.processes import Order, seeded

OLDEST = 1.0
"""Seconds; at this age a process has come to send."""
FINE = {0: "in order", -signal.SIGTERM: "before the service had begun"}


async def terminate_again_and_again(ground: Ground, *, cycles: int, seed: int, ahead: float = BUSY_AHEAD) -> Verdict:
    """So many processes in a row, each asked to stop at a random age; then drain, and judge."""
    chance = seeded(seed)
    codes: Counter[int] = Counter()
    async with ground.zygote() as zygote:
        for _ in range(cycles):
            await ground.keep_busy(ahead)
            ended = await zygote.run(Order(chance.uniform(YOUNGEST, OLDEST), signal=signal.SIGTERM))
            codes[ended.code] += 1
        await drain(ground, zygote)
    verdict = await judge(ground, [], at_once=0)
    verdict.figures |= {f"ended {how}": codes[code] for code, how in FINE.items()}
    verdict.none_of("processes that ended otherwise", [code for code in codes if code not in FINE])
    return verdict
