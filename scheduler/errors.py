"""What can go wrong, as a small tree; each message names the field and says the way out.

PaperroundError
├── InvalidField        what a person typed: ``field`` (attr), ``code`` (api-contract), text
├── NotFound            no such row in this project
├── Conflict            the row is not in a state that allows it
├── NotAllowed          the installation, or the organisation, has not switched it on
├── QuotaExceeded       the organisation has used up what it may have
├── ConfigurationError  settings, secret key, schema version
├── DatabaseUnavailable the database did not answer
├── BrokerUnavailable   the engine's broker did not take a message
└── NotDrawn            a picture could not be drawn (scheduler/pictures.py)
"""

from __future__ import annotations


class PaperroundError(Exception):
    """Everything this product raises on purpose; its text is for a person."""


class InvalidField(PaperroundError):
    """A value that cannot be accepted.

    ``field`` is the API's field name (nested joined by ``__``), None when it concerns the whole object;
    ``code`` is one of the contract's codes.
    """

    def __init__(self, field: str | None, message: str, *, code: str = "invalid_input") -> None:
        super().__init__(message)
        self.field = field
        self.code = code


class NotFound(PaperroundError):
    """No such row in this project."""


class Conflict(PaperroundError):
    """The row is not in a state that allows what was asked."""


class NotAllowed(PaperroundError):
    """Nobody here may have that; the text says who can switch it on."""


class QuotaExceeded(PaperroundError):
    """The organisation has all that it may have."""


class ConfigurationError(PaperroundError):
    """Settings, secret key or schema do not fit; the text says which and what to do."""


class DatabaseUnavailable(PaperroundError):
    """The database did not answer; the text says which database and what to check."""


class BrokerUnavailable(PaperroundError):
    """The engine's broker did not take a message; the text says what to check."""
