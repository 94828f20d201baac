"""The other side of each channel, on 127.0.0.1: what ``paperround demo`` sends to, and what the tests talk to.

They speak the real protocols over real sockets, keep what they receive, and can be told to misbehave.
"""

from channels.receivers.slack import SlackReceiver, SlackReply
from channels.receivers.smtp import ReceivedMail, SmtpReceiver
from channels.receivers.webhook import ReceivedRequest, Reply, WebhookReceiver

__all__ = [
    "ReceivedMail",
    "ReceivedRequest",
    "Reply",
    "SlackReceiver",
    "SlackReply",
    "SmtpReceiver",
    "WebhookReceiver",
]
