"""Secrets at rest: sealed with the secret key, opened only where they are used.

Fernet (AES-128-CBC and HMAC-SHA256, https://github.com/fernet/spec) under a key derived with HKDF (RFC 5869): any long
random text may be the secret key.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from scheduler.errors import ConfigurationError

SHORTEST_KEY = 32


class Box:
    """Seals and opens text; two purposes of one key never share derived keys."""

    def __init__(self, secret_key: str) -> None:
        """Raise :class:`ConfigurationError` when the key is too short to be one."""
        if len(secret_key) < SHORTEST_KEY:
            raise ConfigurationError(
                f"PAPERROUND_SECRET_KEY: shorter than {SHORTEST_KEY} characters; "
                "leave it unset for `paperround init` to make one, or use `openssl rand -base64 32`"
            )
        self._secret_key = secret_key
        self._fernet = Fernet(base64.urlsafe_b64encode(self.derived("sealing")))

    def derived(self, purpose: str) -> bytes:
        """32 bytes for one purpose (unsubscribe links, …)."""
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"paperround:{purpose}".encode())
        return hkdf.derive(self._secret_key.encode())

    def seal(self, text: str) -> str:
        """Text that may stand in a row."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """The text again. Raises :class:`ConfigurationError` when it was sealed with another key."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise ConfigurationError(
                "PAPERROUND_SECRET_KEY: this key does not open this database; "
                "set the key it was initialised with (`paperround init` wrote it beside the database)"
            ) from None


def read_or_make_key(path: Path) -> str:
    """The key kept at ``path``; made, with mode 0600, when there is none. Two at once end with the same key."""
    if not path.exists():
        descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
        Path(unfinished).unlink()
    return read_key(path)


def read_key(path: Path) -> str:
    """The key kept at ``path``. Raises :class:`ConfigurationError` when there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise ConfigurationError(
            f"PAPERROUND_SECRET_KEY: not set, and {path} cannot be read ({problem.strerror}); "
            "run `paperround init` where the service runs, or bring the key along"
        ) from None
