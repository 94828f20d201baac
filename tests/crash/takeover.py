"""How long a dead process's sends wait for the next one, with the lease that an installation has by default."""

from __future__ import annotations

from tests.crash.ground import Ground
from tests.crash.killing import AT_ONCE, LONGEST_WAIT, MARGIN, SLACK, drain, judge_takeovers
from tests.crash.ledger import Verdict, judge
from tests.crash.processes import Order


async def take_over(ground: Ground, *, kills: int) -> Verdict:
    """Kill while as much as possible is in flight; let the next process live until it has repeated it all."""
    lease = float(ground.settings.lease_seconds)
    killed = []
    async with ground.zygote() as zygote:
        for _ in range(kills):
            await ground.keep_busy(LONGEST_WAIT)
            killed.append(await zygote.run(Order(LONGEST_WAIT, "after answer", nth=AT_ONCE)))
            killed.append(await zygote.run(Order(lease + SLACK + MARGIN)))
        await drain(ground, zygote)
    verdict = await judge(ground, killed, at_once=AT_ONCE)
    judge_takeovers(ground, verdict, killed)
    if not verdict.figures["repetitions timed"]:
        verdict.violations.append("nothing was in flight at any kill: nothing was measured")
    return verdict
