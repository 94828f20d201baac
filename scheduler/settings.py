"""Settings: environment, then ``paperround.toml``, then defaults; read once, into one frozen object.

Every setting ``X`` may also come from a file: ``PAPERROUND_X_FILE``, or a systemd credential named ``paperround_x``.
Every problem is reported at once, each with the name of its variable and the way out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from channels.addresses import parse_sender
from channels.email import OutboxFolder, SmtpServer, parse_smtp_url
from channels.outbound import OutboundPolicy
from channels.urls import parse_url
from scheduler.errors import ConfigurationError, InvalidField
from scheduler.recurrence import zone

PREFIX = "PAPERROUND_"
DEFAULT_SMTP_URL = "file:outbox"
BROKERS = ("amqp", "amqps", "redis", "rediss")


class _FileSource(PydanticBaseSettingsSource):
    """``PAPERROUND_X_FILE`` and ``$CREDENTIALS_DIRECTORY/paperround_x`` [systemd.exec(5), LoadCredential=]."""

    def get_field_value(  # the base class names the arguments
        self,
        field: FieldInfo,  # noqa: ARG002
        field_name: str,
    ) -> tuple[Any, str, bool]:
        path = self._path(field_name)
        if path is None:
            return None, field_name, False
        try:
            return path.read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else "it is not text"
            raise ConfigurationError(
                f"{PREFIX}{field_name.upper()}: cannot read {path}: {why}; check its path and owner"
            ) from None

    def _path(self, field_name: str) -> Path | None:
        if named := os.environ.get(f"{PREFIX}{field_name.upper()}_FILE"):
            return Path(named)
        if folder := os.environ.get("CREDENTIALS_DIRECTORY"):
            credential = Path(folder) / f"{PREFIX.lower()}{field_name}"
            return credential if credential.exists() else None
        return None

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class Settings(BaseSettings):
    """What the operator decided. Field names are the variables' names without ``PAPERROUND_``, in lower case."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, toml_file="paperround.toml", frozen=True, extra="ignore", env_ignore_empty=True
    )

    database_url: SecretStr = Field(
        default=SecretStr("sqlite:///paperround.db"),
        description="Where everything is kept: `sqlite:///FILE` or `postgresql://user:password@host/name`.",
    )
    base_url: str = Field(
        default="http://127.0.0.1:8420",
        description="How people reach this service from outside; stands in unsubscribe links.",
    )
    timezone: str = Field(default="UTC", description="IANA time zone of new projects, such as `Europe/Berlin`.")
    smtp_url: SecretStr = Field(
        default=SecretStr(DEFAULT_SMTP_URL),
        description=(
            "`smtp://user:password@host:587?starttls=required|auto|never`, `smtps://…`, or `file:///folder`; "
            "unset: e-mail is written as `.eml` files to `./outbox`."
        ),
    )
    email_from: str = Field(
        default="Paperround <paperround@localhost>", description="The sender of every e-mail, `Name <address>`."
    )
    email_a_second: float = Field(
        default=0,
        ge=0,
        le=10_000,
        description="How many e-mails the mail server takes in a second, of all processes together; 0: any number.",
    )
    slack_api_url: str = Field(
        default="https://slack.com/api/", description="Slack's Web API, or something that speaks like it."
    )
    allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated hosts or CIDRs that webhooks may reach although they are not public.",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="Seals tokens, webhook URLs and source URLs; made by `paperround init`, kept beside the database.",
    )
    lease_seconds: int = Field(
        default=30, ge=2, le=3600, description="How long a dead worker's deliveries stay its own, in seconds."
    )
    requests_a_minute: int = Field(
        default=480, ge=0, le=1_000_000, description="How many requests a key may make in a minute; 0: any number."
    )
    tests_a_minute: int = Field(
        default=10, ge=0, le=1_000_000, description="How many tests a project may ask for in a minute; 0: any number."
    )
    summary_url: str = Field(
        default="", description="An OpenAI-compatible API that writes summaries, `https://host/v1`; unset: none are."
    )
    summary_model: str = Field(default="", description="The model that writes them.")
    summary_key: SecretStr | None = Field(default=None, description="The key for that API.")
    summary_limit: int | None = Field(
        default=None,
        ge=0,
        description="How many subscriptions of an organisation may have a summary; unset: any number.",
    )
    engine: Literal["embedded", "celery"] = Field(
        default="embedded",
        description="What carries deliveries to their workers: the service itself, or Celery (on PostgreSQL only).",
    )
    broker_url: SecretStr = Field(
        default=SecretStr("amqp://guest@localhost//"),
        description="With `celery`: `amqp://user:password@host/vhost` (RabbitMQ, also `amqps`), or `redis://…`.",
    )

    @field_validator("allow_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            zone(value)
        except InvalidField as problem:
            raise ValueError(str(problem)) from None
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr) -> SecretStr:
        try:
            database_url(value.get_secret_value())
        except (ArgumentError, ValueError):  # the latter: int(port), which may be the password
            raise ValueError(
                "not a database URL; write sqlite:///FILE or postgresql://user:password@host/name"
            ) from None
        return value

    @field_validator("engine")
    @classmethod
    def _fits_the_database(cls, value: str, info: ValidationInfo) -> str:
        database: SecretStr | None = info.data.get("database_url")  # None: that problem is told already
        if value != "embedded" and database is not None and database.get_secret_value().startswith("sqlite"):
            raise ValueError(
                f"{value} needs PostgreSQL, which several machines can share: set PAPERROUND_DATABASE_URL to "
                "postgresql://user:password@host/name, or leave the engine embedded"
            )
        return value

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            fits = parts.scheme in BROKERS and (parts.port is None or parts.port > 0)
        except ValueError:  # its text may be the password
            fits = False
        if not fits:
            raise ValueError(
                "not a broker's URL; write amqp://user:password@host/vhost (RabbitMQ) or redis://:password@host/0"
            )
        return value

    @field_validator("smtp_url")
    @classmethod
    def _known_smtp(cls, value: SecretStr) -> SecretStr:
        smtp_server(value.get_secret_value())
        return value

    @field_validator("email_from")
    @classmethod
    def _has_an_address(cls, value: str) -> str:
        parse_sender(value)
        return value

    @field_validator("allow_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        OutboundPolicy(allow_hosts=value)
        return value

    @field_validator("base_url", "slack_api_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with https:// (or http://)")
        return value

    @field_validator("summary_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if value:
            parse_url(value)
        return value

    @field_validator("summary_key")
    @classmethod
    def _fits_into_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        key = value.get_secret_value() if value else ""
        if " " in key or not (key.isascii() and key.isprintable()):
            raise ValueError("not a key: it is one line of ASCII without spaces")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, _FileSource(settings_cls), TomlConfigSettingsSource(settings_cls))


def load_settings(**overrides: Any) -> Settings:
    """Read everything once. Raises :class:`ConfigurationError` that names every variable that does not fit."""
    try:
        return Settings(**overrides)
    except ValidationError as invalid:
        raise ConfigurationError("; ".join(_hint(error) for error in invalid.errors())) from None
    except ValueError as broken:  # not TOML
        raise ConfigurationError(f"paperround.toml: {broken}") from None


def _hint(error: Mapping[str, Any]) -> str:
    return f"{PREFIX}{str(error['loc'][0]).upper()}: {str(error['msg']).removeprefix('Value error, ')}"


def database_url(text: str) -> URL:
    """The SQLAlchemy URL with our drivers. Raises ``ArgumentError``: the ledger is kept in SQLite or PostgreSQL."""
    url = make_url(text)
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    backend = url.drivername.split("+")[0]
    if backend not in drivers or (backend == "sqlite" and url.database in {None, "", ":memory:"}):
        raise ArgumentError(text)
    return url.set(drivername=drivers[backend])


def smtp_server(text: str) -> SmtpServer | OutboxFolder:
    """Where e-mail goes; the default outbox is a folder below the current one."""
    if text == DEFAULT_SMTP_URL:
        return parse_smtp_url(f"file://{Path('outbox').absolute()}")
    return parse_smtp_url(text)
