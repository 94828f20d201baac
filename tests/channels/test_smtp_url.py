"""Where e-mail goes out, as the operator writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from channels.email import OutboxFolder, SmtpServer, parse_smtp_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", SmtpServer("mail.example", 587, tls="required")),
        ("smtp://mail.example:2525?starttls=never", SmtpServer("mail.example", 2525, tls="never")),
        ("smtp://u%40x.example:p%2F%3F%23@mail.example", SmtpServer("mail.example", 587, "u@x.example", "p/?#")),
        ("smtps://u:p@mail.example", SmtpServer("mail.example", 465, "u", "p", tls="implicit")),
        ("smtp://localhost", SmtpServer("localhost", 25, tls="auto")),
        ("smtp://127.0.0.1:1025", SmtpServer("127.0.0.1", 1025, tls="auto")),
        ("smtp://[::1]:1025?starttls=required", SmtpServer("::1", 1025, tls="required")),
        ("file:///var/spool/out%20box", OutboxFolder(Path("/var/spool/out box"))),
    ],
)
def test_a_server_or_a_folder_is_one_url(url: str, expected: SmtpServer | OutboxFolder) -> None:
    assert parse_smtp_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example:587",
        "http://mail.example",
        "smtp://",
        "smtp://user:hunter2@",
        "smtp://user:hun/ter2@mail.example",
        "smtp://user:hun?ter2@mail.example",
        "smtp://user:hun#ter2@mail.example",
        "smtp://user:hunter2@mail.example:99999",
        "smtp://user:hunter2@mail.example:0",
        "smtp://user:hunter2@mail.example/inbox",
        "smtp://user:hunter2@mail.example?tls=yes",
        "smtp://user:hunter2@mail.example?starttls=hunter2",
        "smtps://user:hunter2@mail.example?starttls=never",
        "smtp://:hunter2@mail.example",
        "smtp://user@mail.example",
        "smtp://user:hunter2@[::1",
        "file://outbox",
        "file:outbox",
        "file:///",
    ],
)
def test_what_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as refused:
        parse_smtp_url(url)

    assert "hun" not in str(refused.value)


def test_a_password_is_not_shown_by_accident() -> None:
    assert "hunter2" not in repr(parse_smtp_url("smtp://user:hunter2@mail.example"))
