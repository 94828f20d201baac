"""Secrets that people hand over, and what may be shown of them: Slack tokens, signing secrets, URLs of databases."""

from __future__ import annotations

import base64
import secrets

from sqlalchemy import URL, make_url
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from scheduler.errors import InvalidField

SIGNING_PREFIX = "whsec_"
LONGEST_TOKEN = 500
SHOWN = 4
"""So many of a secret's last characters are shown, when it is long enough for that to tell nothing."""
LONG_ENOUGH = 20


def check_slack_token(token: str | None) -> str:
    """A Slack bot's token. Raises :class:`InvalidField`, which does not repeat it."""
    is_one = token is not None and token.isascii() and token.isprintable() and token.startswith("xox")
    if token is None or not is_one or len(token) > LONGEST_TOKEN:
        raise InvalidField(
            "token", "a Slack bot token starts with xoxb-; to the command line, pipe it in with --token -"
        )
    return token


def new_signing_secret() -> str:
    """A secret to sign webhooks with, in Standard Webhooks' format."""
    return f"{SIGNING_PREFIX}{base64.b64encode(secrets.token_bytes(32)).decode()}"


def check_signing_secret(secret: str) -> str:
    """``whsec_`` and 24 to 64 bytes in base64 (Standard Webhooks). Raises :class:`InvalidField`."""
    try:
        size = len(base64.b64decode(secret.removeprefix(SIGNING_PREFIX), validate=True))
        Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        size = 0
    if not secret.startswith(SIGNING_PREFIX) or not 24 <= size <= 64:
        raise InvalidField("secret", "must be whsec_ and 24 to 64 bytes in base64; leave it out to have one made")
    return secret


def mask_of(secret: str) -> str:
    """Enough to know a token or a secret by, among one's own."""
    return f"…{secret[-SHOWN:]}" if len(secret) >= LONG_ENOUGH else "…"


def address_of(url: str) -> str:
    """Which database it is, without user, password and options; of a file only its name."""
    given = make_url(url)
    kind, database = given.get_backend_name(), given.database
    if kind == "sqlite":
        return f"{kind}:///…/{(database or '').rpartition('/')[2]}"
    return URL.create(kind, host=given.host, port=given.port, database=database).render_as_string(hide_password=True)
