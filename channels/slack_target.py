"""Where a Slack message goes, and which Slack: what is needed before any of its libraries is."""

from __future__ import annotations

import re

from channels.base import TargetError

SLACK_API_URL = "https://slack.com/api/"

_TARGET = re.compile(r"([CDGUW][A-Z0-9]{2,})(?:\|.*)?", re.DOTALL)


def parse_channel(target: str) -> str:
    """The ID in ``CHANNELID`` or ``CHANNELID|#name``; a person's ID opens a direct message. Raises ``TargetError``."""
    match = _TARGET.fullmatch(target.strip())
    if match is None:
        raise TargetError("Give the channel's ID, such as C0123456789: in Slack, open the channel's details, About.")
    return match[1]
