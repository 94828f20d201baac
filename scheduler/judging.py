"""What a channel's answer means for a recipient: sent, tried again at a certain time, or given up. No side effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.exc import DBAPIError

from channels.base import Outcome, PermanentFailure, RecipientResult, Sent, TransientFailure
from scheduler import backoff, status
from scheduler.backoff import Pause
from scheduler.db import first_line
from scheduler.errors import PaperroundError
from scheduler.status import Trigger
from scheduler.store.claiming import Claimed, ClaimedRecipient
from scheduler.store.recording import Attempt


def judged(
    claimed: Claimed,
    recipient: ClaimedRecipient,
    result: RecipientResult,
    *,
    started_at: datetime,
    now: datetime,
    chance: float,
) -> Attempt:
    """One attempt as it is recorded; ``chance`` (0 to 1) is the jitter of the next one."""
    outcome = result.outcome
    again = _again(claimed, recipient, outcome, now=now, chance=chance)
    pause = again if isinstance(again, Pause) else None
    given_up = f" {again}" if isinstance(again, str) else ""
    return Attempt(
        position=recipient.position,
        number=recipient.attempt,
        outcome=_named(outcome),
        status=status.after_attempt(outcome, last_attempt=pause is None),
        started_at=started_at,
        finished_at=now,
        next_attempt_at=None if pause is None else now + pause.length,
        provider_id=outcome.provider_id if isinstance(outcome, Sent) else None,
        error_type=status.failure_of(outcome),
        error_message=None if isinstance(outcome, Sent) else outcome.reason + given_up,
        progress=result.progress or recipient.progress,
        counted=pause is None or pause.counted,
        gone_after=outcome.gone_after if isinstance(outcome, PermanentFailure) and outcome.target_gone else None,
    )


def _again(
    claimed: Claimed, recipient: ClaimedRecipient, outcome: Outcome, *, now: datetime, chance: float
) -> Pause | str | None:
    """The pause before the next attempt, or why there is none after a failure that might have passed."""
    if not isinstance(outcome, TransientFailure):
        return None
    policy = claimed.policy
    schedule = policy.retries[claimed.target.kind]
    age = now - claimed.created_at
    pause = backoff.pause_after(outcome, attempt=recipient.in_series, schedule=schedule, age=age, chance=chance)
    if pause is None:
        return f"Given up after {recipient.in_series} attempts."
    is_bounded = claimed.trigger is Trigger.SCHEDULED and not policy.past_next
    if is_bounded and claimed.next_delivery_at is not None and now + pause.length >= claimed.next_delivery_at:
        return "Given up: the next occurrence comes before the next attempt."
    return pause


def _named(outcome: Outcome) -> str:
    match outcome:
        case Sent():
            return "sent"
        case TransientFailure(uncertain=True):
            return "uncertain"
        case TransientFailure():
            return "transient"
        case PermanentFailure():
            return "permanent"


def longest_wish(results: Sequence[RecipientResult]) -> timedelta | None:
    """For how long a provider wants to be left alone, within bounds; None where it said nothing of the kind."""
    answers = [each.outcome for each in results if isinstance(each.outcome, TransientFailure)]
    wishes = [backoff.put_off_for(each) for each in answers if each.put_off or each.retry_after is not None]
    return max(wishes, default=None)


# ── where no channel answered ────────────────────────────────────────────────────────────────────────────────────────


def of_exception(problem: Exception, recipient: ClaimedRecipient) -> Outcome:
    """A database that does not answer is tried again. The rest may be chance once; twice it is a bug."""
    match problem:
        case PaperroundError():
            return TransientFailure(str(problem))
        case DBAPIError():
            return TransientFailure(f"Paperround's database: {first_line(problem)}")
        case _:
            return _of_bug(problem, recipient)


def _of_bug(bug: Exception, recipient: ClaimedRecipient) -> Outcome:
    reason = f"an error inside Paperround ({type(bug).__name__}); the log has the traceback"
    return TransientFailure(reason) if recipient.in_series == 1 else PermanentFailure(reason)


def is_worn_out(recipient: ClaimedRecipient, claimed: Claimed) -> bool:
    """Every allowed attempt ended with its worker's death: it is not tried again, lest it kill the next one."""
    return recipient.in_series > 1 + len(claimed.policy.retries[claimed.target.kind])


def without_worn_out(claimed: Claimed) -> Claimed:
    """The same, with those recipients that are to be tried."""
    to_try = tuple([each for each in claimed.recipients if not is_worn_out(each, claimed)])
    return claimed if len(to_try) == len(claimed.recipients) else replace(claimed, recipients=to_try)


WORN_OUT = RecipientResult(
    "", PermanentFailure("every attempt ended without an answer: its worker stopped each time; see the log")
)
