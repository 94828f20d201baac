"""Settings: environment, then paperround.toml, then defaults; every problem at once; no secret in any text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from channels.email import OutboxFolder
from scheduler.errors import ConfigurationError
from scheduler.settings import Settings, database_url, load_settings, smtp_server


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PAPERROUND_") and "TESTS" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)


def problem_of(**overrides: object) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(**overrides)
    return str(raised.value)


def test_without_any_setting_it_runs_on_this_machine() -> None:
    secret = {"database_url", "smtp_url", "broker_url"}
    settings = load_settings()

    assert {name: str(value) for name, value in settings.model_dump(exclude=secret).items()} == {
        "base_url": "http://127.0.0.1:8420",
        "timezone": "UTC",
        "email_from": "Paperround <paperround@localhost>",
        "email_a_second": "0.0",
        "slack_api_url": "https://slack.com/api/",
        "allow_hosts": "()",
        "secret_key": "None",
        "lease_seconds": "30",
        "requests_a_minute": "480",
        "tests_a_minute": "10",
        "summary_url": "",
        "summary_model": "",
        "summary_key": "None",
        "summary_limit": "None",
        "engine": "embedded",
    }
    assert settings.database_url.get_secret_value() == "sqlite:///paperround.db"
    assert settings.broker_url.get_secret_value() == "amqp://guest@localhost//"


def test_the_environment_goes_before_the_file_and_the_file_before_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "paperround.toml").write_text('timezone = "Europe/Berlin"\nbase_url = "https://from-file.example"\n')
    monkeypatch.setenv("PAPERROUND_TIMEZONE", "Asia/Tokyo")

    settings = load_settings()

    assert (settings.timezone, settings.base_url) == ("Asia/Tokyo", "https://from-file.example")
    assert settings.slack_api_url == "https://slack.com/api/"


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_TIMEZONE", "")
    monkeypatch.setenv("PAPERROUND_SECRET_KEY", "")

    assert (load_settings().timezone, load_settings().secret_key) == ("UTC", None)


def test_a_secret_comes_from_a_file_without_its_line_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the key in a file\n")
    monkeypatch.setenv("PAPERROUND_SECRET_KEY_FILE", str(tmp_path / "key"))

    assert load_settings().secret_key == SecretStr("the key in a file")

    monkeypatch.setenv("PAPERROUND_SECRET_KEY", "the key itself")
    assert load_settings().secret_key == SecretStr("the key itself")


def test_a_secret_comes_as_a_systemd_credential(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "paperround_smtp_url").write_text("smtps://user:pa55word@mail.example\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert load_settings().smtp_url.get_secret_value() == "smtps://user:pa55word@mail.example"


def test_a_file_that_cannot_be_read_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_SECRET_KEY_FILE", "missing.key")

    assert problem_of().startswith("PAPERROUND_SECRET_KEY: cannot read missing.key: No such file")


def test_allowed_hosts_are_a_list_between_commas_or_in_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "paperround.toml").write_text('allow_hosts = ["hooks.local", "10.0.0.0/8"]\n')
    assert load_settings().allow_hosts == ("hooks.local", "10.0.0.0/8")

    monkeypatch.setenv("PAPERROUND_ALLOW_HOSTS", " a.local ,, 127.0.0.1 ")
    assert load_settings().allow_hosts == ("a.local", "127.0.0.1")


def test_every_problem_is_told_at_once_each_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": "mysql://localhost/ledger",
        "BASE_URL": "paperround.example",
        "TIMEZONE": "Mars/Olympus",
        "SMTP_URL": "ftp://mail.example",
        "EMAIL_FROM": "nobody",
        "SUMMARY_URL": "model.example/v1",
        "SUMMARY_LIMIT": "-1",
        "ENGINE": "steam",
        "BROKER_URL": "pigeon://loft",
    }.items():
        monkeypatch.setenv(f"PAPERROUND_{name}", value)

    told = problem_of()

    assert [name for name in Settings.model_fields if f"PAPERROUND_{name.upper()}: " in told] == [
        "database_url",
        "base_url",
        "timezone",
        "smtp_url",
        "email_from",
        "summary_url",
        "summary_limit",
        "engine",
        "broker_url",
    ]
    assert "Value error" not in told


def test_an_engine_for_several_machines_needs_a_database_for_several_machines() -> None:
    assert problem_of(engine="celery").startswith("PAPERROUND_ENGINE: celery needs PostgreSQL")

    assert load_settings(engine="celery", database_url="postgresql://user@host/name").engine == "celery"


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "paperround.toml").write_text("timezone = Europe/Berlin\n")

    assert problem_of().startswith("paperround.toml: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("database_url", "mysql://user:pa55word@host/ledger"),
        ("database_url", "postgres//user:pa55word@host"),
        ("smtp_url", "ftp://user:pa55word@mail.example"),
        ("smtp_url", "smtp://user:pa55word@mail.example:notaport"),
        ("smtp_url", "smtp://user:pa55word@mail.example?starttls=maybe"),
        ("summary_url", "https://user:pa55word@model.example/v1"),
        ("summary_key", "pa55word\npa55word"),
        ("broker_url", "http://user:pa55word@broker.example"),
        ("broker_url", "amqp://user:pa55word@broker.example:notaport//"),
    ],
)
def test_no_problem_repeats_a_password(variable: str, value: str) -> None:
    assert "pa55word" not in problem_of(**{variable: value})


def test_settings_are_frozen_and_hide_their_secrets() -> None:
    settings = load_settings(
        database_url="postgresql://u:pa55word@host/ledger", secret_key="s3cret-key", summary_key="s3cret-key"
    )

    assert "pa55word" not in f"{settings!r}{settings}"
    assert "s3cret-key" not in f"{settings!r}{settings}"
    with pytest.raises(ValidationError, match="frozen"):
        settings.timezone = "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "drivername", "database"),
    [
        ("sqlite:///paperround.db", "sqlite+aiosqlite", "paperround.db"),
        ("sqlite:////var/lib/paperround.db", "sqlite+aiosqlite", "/var/lib/paperround.db"),
        ("postgresql://u:p@host/ledger", "postgresql+psycopg", "ledger"),
        ("postgres://u:p@host/ledger", "postgresql+psycopg", "ledger"),
        ("postgresql+asyncpg://u:p@host/ledger", "postgresql+psycopg", "ledger"),
    ],
)
def test_database_urls_as_people_write_them(text: str, drivername: str, database: str) -> None:
    url = database_url(text)

    assert (url.drivername, url.database) == (drivername, database)


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///:memory:", "mysql://host/x", "paperround.db", ""])
def test_a_ledger_in_memory_or_elsewhere_is_refused(text: str) -> None:
    assert "PAPERROUND_DATABASE_URL" in problem_of(database_url=text)


@pytest.mark.parametrize("sender", ["nobody", "A\nBcc: all@example.org <a@example.org>", ""])
def test_a_sender_has_one_address_on_one_line(sender: str) -> None:
    assert "PAPERROUND_EMAIL_FROM" in problem_of(email_from=sender)


def test_without_a_mail_server_e_mail_goes_to_the_outbox(tmp_path: Path) -> None:
    assert smtp_server(load_settings().smtp_url.get_secret_value()) == OutboxFolder(tmp_path / "outbox")


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
