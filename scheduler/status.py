"""Every status, what may follow what, and the one place where a delivery's status is derived.

Recipient::

    pending ──▶ sending ──▶ sent
                  │  ▲
                  ▼  │ (when its time has come, or its worker died)
               retrying / uncertain        … sending ──▶ failed, when no attempt is left or none can help
    any that waits ──▶ suppressed          … unsubscribed, paused or removed before it was sent

Delivery::

    starting ──▶ completed   at least one recipient sent, or none to send to
             ──▶ failed      nobody
    skipped                  born so: nothing to do, with its reason
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import assert_never

from channels.base import Outcome, PermanentFailure, Sent, TransientFailure


class Trigger(StrEnum):
    """Why a delivery exists (api-contract, ``trigger_type``)."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    TARGET_CHANGE = "target_change"
    BACKFILL = "backfill"
    RESEND = "resend"
    NOTICE = "notice"
    """A mail to the owner: a failure, a subscription that was disabled, a schedule that ended."""


class DeliveryStatus(StrEnum):
    """One occurrence on its way out."""

    STARTING = "starting"
    """Open: some recipient is still waiting for an outcome."""
    COMPLETED = "completed"
    """At least one recipient was sent to, or there was none to send to."""
    FAILED = "failed"
    """No recipient was sent to, and none will be."""
    SKIPPED = "skipped"
    """There was nothing to do; the reason stands in ``error``."""


class RecipientStatus(StrEnum):
    """One address of one delivery: the unit of retry and resend."""

    PENDING = "pending"
    """Not tried yet."""
    SENDING = "sending"
    """In the hands of the worker that holds the delivery's lease."""
    SENT = "sent"
    """The provider accepted it."""
    RETRYING = "retrying"
    """Refused for now; ``next_attempt_at`` says when it is tried again."""
    UNCERTAIN = "uncertain"
    """Handed over, but the answer was lost; it is repeated with the same identity."""
    FAILED = "failed"
    """No further attempt; the reason stands in its error."""
    SUPPRESSED = "suppressed"
    """No longer wanted: unsubscribed, paused or removed before it was sent."""


class Failure(StrEnum):
    """What kind of failure it was, beside its reason (``error.type`` in the API)."""

    TRANSIENT = "TransientFailure"
    PERMANENT = "PermanentFailure"
    TARGET_GONE = "TargetGone"
    """No later delivery to this target can succeed either: believed at once, or after some in a row."""
    SKIPPED = "Skipped"
    DISABLED = "Disabled"


FOLLOWS: dict[RecipientStatus, frozenset[RecipientStatus]] = {
    RecipientStatus.PENDING: frozenset({RecipientStatus.SENDING, RecipientStatus.SUPPRESSED}),
    RecipientStatus.SENDING: frozenset(
        {
            RecipientStatus.SENT,
            RecipientStatus.RETRYING,
            RecipientStatus.UNCERTAIN,
            RecipientStatus.FAILED,
            RecipientStatus.PENDING,  # given back before it was started
            RecipientStatus.SENDING,  # its worker died; the next one has it
            RecipientStatus.SUPPRESSED,  # its worker died, and by now it is no longer wanted
        }
    ),
    RecipientStatus.RETRYING: frozenset({RecipientStatus.SENDING, RecipientStatus.SUPPRESSED}),
    RecipientStatus.UNCERTAIN: frozenset({RecipientStatus.SENDING, RecipientStatus.SUPPRESSED}),
    RecipientStatus.SENT: frozenset(),
    RecipientStatus.FAILED: frozenset({RecipientStatus.PENDING}),  # a person asked to resend
    RecipientStatus.SUPPRESSED: frozenset(),
}
"""What may follow what. SQL that moves a recipient names the status it moves from: :func:`may_become`."""

OPEN = frozenset(
    {RecipientStatus.PENDING, RecipientStatus.SENDING, RecipientStatus.RETRYING, RecipientStatus.UNCERTAIN}
)
"""An outcome is still to come."""


def may_become(status: RecipientStatus) -> list[RecipientStatus]:
    """The statuses a recipient may have just before it becomes ``status``, for a WHERE."""
    return [before for before, after in FOLLOWS.items() if status in after]


def after_attempt(outcome: Outcome, *, last_attempt: bool) -> RecipientStatus:
    """What a recipient becomes by the answer to one attempt."""
    match outcome:
        case Sent():
            return RecipientStatus.SENT
        case PermanentFailure():
            return RecipientStatus.FAILED
        case TransientFailure() if last_attempt:
            return RecipientStatus.FAILED
        case TransientFailure(uncertain=True):
            return RecipientStatus.UNCERTAIN
        case TransientFailure():
            return RecipientStatus.RETRYING
        case _:
            assert_never(outcome)


def failure_of(outcome: Outcome) -> Failure | None:
    """The kind of failure in a channel's answer; None when it was sent."""
    match outcome:
        case Sent():
            return None
        case TransientFailure():
            return Failure.TRANSIENT
        case PermanentFailure(target_gone=True):
            return Failure.TARGET_GONE
        case PermanentFailure():
            return Failure.PERMANENT
        case _:
            assert_never(outcome)


def of_delivery(recipients: Iterable[RecipientStatus]) -> DeliveryStatus:
    """A delivery's status, derived from its recipients: the only place that decides it."""
    statuses = set(recipients)
    if statuses & OPEN:
        return DeliveryStatus.STARTING
    if RecipientStatus.FAILED in statuses and RecipientStatus.SENT not in statuses:
        return DeliveryStatus.FAILED
    return DeliveryStatus.COMPLETED
