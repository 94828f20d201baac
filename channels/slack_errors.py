"""What went wrong in talking to Slack, and what it means for a delivery.

Sources: the error tables of docs.slack.dev/reference/methods/chat.postMessage and its relatives, and
docs.slack.dev/apis/web-api/rate-limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError

from channels.base import PermanentFailure, TransientFailure
from channels.dialling import BlockedDial

_RECONNECT = "Slack no longer accepts the app's token; connect Slack again."
_RESTRICTED = "The channel does not let the app post; ask its owner, or choose another channel."

# Nothing can be delivered to this target until a person acts
GONE = {
    "channel_not_found": "Slack shows the app no such channel; invite the app or choose another one.",
    "not_in_channel": "The app is not in the channel; invite it there.",
    "is_archived": "The channel is archived; unarchive it or choose another one.",
    "invalid_channel": "Slack knows no such channel; choose another one.",
    "user_not_found": "Slack knows no such person; choose another one.",
    "user_disabled": "The person's Slack account is deactivated.",
    "cannot_dm_bot": "The target is a bot, which takes no messages.",
    "messages_tab_disabled": "The app takes no direct messages; turn its messages tab on.",
    "restricted_action": _RESTRICTED,
    "restricted_action_read_only_channel": _RESTRICTED,
    "restricted_action_thread_only_channel": _RESTRICTED,
    "restricted_action_non_threadable_channel": _RESTRICTED,
    "posting_to_channel_denied": _RESTRICTED,
    "account_inactive": _RECONNECT,
    "invalid_auth": _RECONNECT,
    "not_authed": _RECONNECT,
    "token_revoked": _RECONNECT,
    "token_expired": _RECONNECT,
    "not_allowed_token_type": _RECONNECT,
    "team_access_not_granted": "The app has no access to this workspace any more; connect Slack again.",
    "no_permission": "The app lacks a permission; connect Slack again.",
    "access_denied": "The app lacks a permission; connect Slack again.",
    "missing_scope": "The app lacks a permission{}; add it and connect Slack again.",
    "two_factor_setup_required": "Slack wants two-factor authentication set up for the app's account.",
    "enterprise_is_restricted": "The app may not be used from this Slack organisation.",
}
RATE_LIMITED = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
TROUBLE = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}
    | {"org_login_required", "external_channel_migrating"}
)
PERHAPS_DONE = frozenset({"internal_error", "fatal_error"})  # "some aspect of the operation may have succeeded"
BLOCKS_REFUSED = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"})


class SlackTrouble(Exception):
    """A call that did not succeed. ``perhaps_done``: it may have taken effect all the same.

    ``picture_refused``: the message was refused for its picture alone, which Slack has not finished looking at.
    ``blocks_refused``: for what its blocks are; its text may still be welcome.
    """

    def __init__(
        self,
        outcome: TransientFailure | PermanentFailure,
        *,
        perhaps_done: bool = False,
        picture_refused: bool = False,
        blocks_refused: bool = False,
    ) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome
        self.perhaps_done = perhaps_done
        self.picture_refused = picture_refused
        self.blocks_refused = blocks_refused

    @property
    def put_off(self) -> bool:
        """Slack only asked to come later."""
        return isinstance(self.outcome, TransientFailure) and self.outcome.put_off

    def of_a_harmless_call(self) -> SlackTrouble:
        """The same for a call that posts nothing: whatever became of it, nothing was handed over."""
        if isinstance(self.outcome, TransientFailure) and self.outcome.uncertain:
            return SlackTrouble(TransientFailure("Slack did not answer."))
        return SlackTrouble(self.outcome)

    def of_a_look_back(self) -> SlackTrouble:
        """The same for a look at what an earlier attempt posted: that stays as uncertain as it was."""
        if isinstance(self.outcome, TransientFailure):
            return SlackTrouble(replace(self.outcome, uncertain=True))
        return self


def trouble_of(error: Exception) -> SlackTrouble:
    """What the SDK, or aiohttp beneath it, raised."""
    if isinstance(error, SlackApiError):
        return _refused(error.response)
    if isinstance(error, BlockedDial):
        return SlackTrouble(PermanentFailure(str(error)))
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return SlackTrouble(TransientFailure("Slack could not be reached."))
    if isinstance(error, TimeoutError | aiohttp.ClientError | OSError):
        failure = TransientFailure("Slack took the message but did not answer.", uncertain=True)
        return SlackTrouble(failure, perhaps_done=True)
    return unreadable_answer()


def _refused(response: Any) -> SlackTrouble:
    """``response`` is the SDK's own, or aiohttp's where the SDK could not read the body."""
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    data = getattr(response, "data", None)
    code = data.get("error") if isinstance(data, Mapping) else None
    if status == 429 or code in RATE_LIMITED:
        wish = _seconds(response.headers.get("Retry-After"))
        return SlackTrouble(TransientFailure("Slack asks for fewer messages.", retry_after=wish, put_off=True))
    if not isinstance(data, Mapping) or not isinstance(code, str) or not re.fullmatch(r"\w{1,60}", code):
        return unreadable_answer(status)
    return refused_with(code, data)


def refused_with(code: str, data: Mapping[str, Any]) -> SlackTrouble:
    """Slack's ``error`` and the answer around it."""
    if code in TROUBLE:
        failure = TransientFailure(f"Slack has trouble of its own ({code}).")
        return SlackTrouble(failure, perhaps_done=code in PERHAPS_DONE)
    if code in GONE:
        needed = re.fullmatch(r"[\w:.,-]{1,60}", str(data.get("needed", "")))
        reason = GONE[code].format(f" ({needed[0]})" if needed else "")
        return SlackTrouble(PermanentFailure(reason, target_gone=True))
    details = str(data.get("errors", "")) + str(data.get("response_metadata", ""))
    picture_refused = code == "invalid_blocks" and ("slack_file" in details or "slack file" in details)
    return SlackTrouble(
        PermanentFailure(f"Slack refused the message ({code})."),
        picture_refused=picture_refused,
        blocks_refused=code in BLOCKS_REFUSED,
    )


def unreadable_answer(status: int | None = None) -> SlackTrouble:
    """A gateway's page instead of Slack's answer: what happened behind it is unknown."""
    shown = f" ({status})" if status and status != 200 else ""
    return SlackTrouble(TransientFailure(f"Slack gave no readable answer{shown}."), perhaps_done=True)


def _seconds(value: str | None) -> timedelta | None:
    return timedelta(seconds=int(value)) if value and re.fullmatch(r"[0-9]{1,9}", value) else None
