"""What an HTTP answer, or none, means for a delivery."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from channels.base import PermanentFailure, Sent, TransientFailure
from channels.http import outcome_of, retry_after
from tests.channels.conftest import SENT_AT


@pytest.mark.parametrize("status", range(200, 300))
def test_2xx_is_sent(status: int) -> None:
    assert outcome_of(status, {}, now=SENT_AT) == Sent()


@pytest.mark.parametrize("status", [408, 425, 429, *range(500, 600)])
def test_these_are_worth_another_attempt(status: int) -> None:
    outcome = outcome_of(status, {"retry-after": "17"}, now=SENT_AT)

    assert isinstance(outcome, TransientFailure)
    assert outcome.retry_after == timedelta(seconds=17)
    assert not outcome.uncertain


def test_410_says_at_once_that_the_target_is_gone() -> None:
    assert outcome_of(410, {}, now=SENT_AT) == PermanentFailure(
        "The receiver answered 410 Gone: the target is gone.", target_gone=True, gone_after=1
    )


@pytest.mark.parametrize(("status", "named"), [(403, "403 Forbidden"), (404, "404 Not Found")])
def test_these_say_it_only_three_times_in_a_row(status: int, named: str) -> None:
    assert outcome_of(status, {}, now=SENT_AT) == PermanentFailure(
        f"The receiver answered {named}: check the URL.", target_gone=True, gone_after=3
    )


@pytest.mark.parametrize("status", [*range(300, 309), 400, 401, 405, 413, 418, 422, 499])
def test_all_others_are_final(status: int) -> None:
    outcome = outcome_of(status, httpx.Headers({"location": "https://elsewhere.example"}), now=SENT_AT)

    assert isinstance(outcome, PermanentFailure)
    assert not outcome.target_gone
    assert str(status) in outcome.reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", timedelta(0)),
        (" 120 ", timedelta(seconds=120)),
        ("Sun, 14 Mar 2027 07:31:00 GMT", timedelta(minutes=1)),
        ("Sunday, 14-Mar-27 07:31:00 GMT", timedelta(minutes=1)),
        ("Sun, 14 Mar 2027 08:31:00 +0100", timedelta(minutes=1)),
        ("Sun, 14 Mar 2027 07:29:00 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("0000000000000012", timedelta(seconds=12)),
        ("999999999", timedelta(days=365)),
        ("9" * 40, timedelta(days=365)),
        ("9" * 5000, timedelta(days=365)),
        ("٣", None),
        ("Sun, 99 Mar 2027 07:31:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_rubbish_is_ignored(value: str | None, expected: timedelta | None) -> None:
    assert retry_after(value, now=SENT_AT) == expected
