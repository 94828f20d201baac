"""One line of the failure matrix, and how it is played out: for real, through the whole flow, up to the row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from inspect import isawaitable
from typing import Any, TypeVar

from sqlalchemy import select

from channels.base import Channel
from channels.receivers import SlackReceiver, SmtpReceiver, WebhookReceiver
from channels.registry import Channels
from scheduler.delivery import Runner
from scheduler.models import delivery_recipients
from scheduler.status import DeliveryStatus, RecipientStatus, Trigger, of_delivery
from scheduler.store.deliveries import Delivery, Recipient
from scheduler.store.subscriptions import Subscription
from tests.scheduler.conftest import World, settle

Opened = TypeVar("Opened")
Maker = Callable[..., Channel]

TOKEN = "xoxb-very-secret-token"


@dataclass
class BenchChannels:
    """The product's own registry, but for the kinds a case makes itself (with shorter limits, say)."""

    registry: Channels
    instead: dict[str, Maker] = field(default_factory=dict)

    def build(self, kind: str, *, token: str | None = None, secrets: Sequence[str] = ()) -> Channel:
        if kind in self.instead:
            return self.instead[kind](token=token, secrets=secrets)
        return self.registry.build(kind, token=token, secrets=secrets)


@dataclass
class Bench:
    """A whole small Paperround whose channels reach real receivers on this machine.

    ``arrange`` may script the receivers, point ``targets[kind]`` (what subscribing is given) elsewhere, put a channel
    with other limits into ``channels.instead[kind]``, ``open`` further receivers, and keep what it needs in ``kept``.
    """

    world: World
    channels: BenchChannels
    webhook: WebhookReceiver
    smtp: SmtpReceiver
    slack: SlackReceiver
    targets: dict[str, dict[str, Any]]
    stack: AsyncExitStack
    kept: dict[str, Any] = field(default_factory=dict)
    settle: Callable[[Runner], Awaitable[None]] = settle
    """How a worker works off what is due: tick by tick, unless a case has a daemon do it."""

    async def open(self, resource: AbstractAsyncContextManager[Opened]) -> Opened:
        """A receiver of this case's own, closed with the bench."""
        return await self.stack.enter_async_context(resource)

    async def subscribe(self, kind: str, **fields: Any) -> Subscription:
        """Daily at half past noon to this channel's target."""
        return await self.world.subscribe(target_type=kind, **(self.targets[kind] | fields))

    async def come_due(self, runner: Runner | None = None) -> Delivery:
        """Let the next occurrence come, send it once, and read what the ledger has of it.

        A day later, too, it is the newest delivery: each call plays out one more occurrence.
        """
        clock = self.world.clock
        due_at = clock.now.replace(hour=12, minute=30)
        clock.now = due_at if due_at > clock.now else due_at + timedelta(days=1)
        await self.settle(runner or self.world.runner())
        return await self.newest()

    async def newest(self) -> Delivery:
        """The delivery of the newest occurrence, as the ledger has it now."""
        return [each for each in await self.world.deliveries() if each.trigger is Trigger.SCHEDULED][-1]

    async def try_again(self, delivery: Delivery, *, later: timedelta, runner: Runner | None = None) -> Delivery:
        """The next attempt at the same delivery, when its time has come, and its destination's next slot."""
        self.world.clock.now += max(later, LONGEST_THREAD)
        await self.settle(runner or self.world.runner())
        return await self.world.delivery(delivery.id)


LONGEST_THREAD = timedelta(seconds=3)
"""A Slack channel's next slot after three messages."""
Arrangement = Callable[[Bench], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the failure matrix: what happens out there, and the row it ends in.

    ``again`` is exact: jitter is off, and a half of its spread gives the scheduled pause itself.
    """

    name: str
    """First column of the page, and the test's id."""
    arrange: Arrangement
    """Makes the real other side behave so."""
    recipient: RecipientStatus
    """The recipient's status after one attempt."""
    reason: str | None = None
    """The exact error in the row; None for sent."""
    again: timedelta | None = None
    """The pause until the next attempt; None when there is none."""
    counted: bool = True
    """Whether the attempt used up one of the schedule."""
    attempts: int = 1
    """How many there were by then: a worker may have died in the first."""
    disables: bool = False
    """Whether the subscription is disabled by it, at once."""
    note: str = ""
    """What else the page should say."""
    address: str | None = None
    """Which recipient of several the row is about; None is the first."""
    delivery: DeliveryStatus | None = None
    """The delivery's status, where it does not follow from this one recipient."""
    also: Arrangement | None = None
    """Looks at the other side afterwards; asserts what the note promises."""


async def play_out(case: Case, bench: Bench, *, kind: str) -> Delivery:
    """Arrange, subscribe, let one occurrence come due, and compare the row with the case. What was recorded."""
    await _done(case.arrange(bench))
    subscription = await bench.subscribe(kind)

    delivery = await bench.come_due()

    assert row_of(delivery, case.address, bench=bench) == expected_row(case)
    assert await _uses_up_an_attempt(bench, delivery, case.address) == case.counted
    assert (await bench.world.find(subscription.id)).enabled != case.disables
    if case.also is not None:
        await _done(case.also(bench))
    return delivery


def expected_row(case: Case) -> dict[str, Any]:
    """What the ledger has to say of this case."""
    return {
        "delivery": case.delivery or of_delivery([case.recipient]),
        "recipient": case.recipient,
        "reason": case.reason,
        "again": case.again,
        "attempts": case.attempts,
    }


def row_of(delivery: Delivery, address: str | None = None, *, bench: Bench) -> dict[str, Any]:
    """What the ledger says of one recipient, in the words of a case."""
    recipient = recipient_of(delivery, address)
    at = recipient.next_attempt_at
    return {
        "delivery": delivery.status,
        "recipient": recipient.status,
        "reason": recipient.error["message"] if recipient.error else None,
        "again": None if at is None else at - bench.world.clock.now,
        "attempts": recipient.attempts,
    }


def recipient_of(delivery: Delivery, address: str | None = None) -> Recipient:
    """The one with this address; the first when none is named."""
    return next(each for each in delivery.recipients if address in (None, each.address))


async def _uses_up_an_attempt(bench: Bench, delivery: Delivery, address: str | None) -> bool:
    used = select(delivery_recipients.c.attempts - delivery_recipients.c.uncounted).where(
        delivery_recipients.c.delivery_id == delivery.id,
        delivery_recipients.c.position == delivery.recipients.index(recipient_of(delivery, address)),
    )
    async with bench.world.app.database.read() as connection:
        return bool((await connection.execute(used)).scalar_one())


async def _done(doing: Awaitable[None] | None) -> None:
    if isawaitable(doing):
        await doing
