"""What a person got wrong: one clear line that names the field and the way out, exit 2, and nothing has changed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.app import opened
from scheduler.settings import load_settings
from tests.conftest import SECRET_KEY
from tests.e2e.conftest import SALES, Finished, Installation
from tests.e2e.test_commands import CommandLine, restored_logging

pytestmark = pytest.mark.e2e

ON_SQLITE = pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
ADD = ("subscriptions", "add", "--insight", "Sales", "--frequency", "daily")
TO_ANN = ("--target-type", "email", "--target-value", "ann@example.org")
PASSWORD = "hunter2-correct-horse"


@pytest.fixture(scope="module")
def prepared(initialised_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an initialised database, a source and an insight, to copy."""
    folder = tmp_path_factory.mktemp("prepared")
    shutil.copy(initialised_sqlite, folder / "paperround.db")
    with closing(sqlite3.connect(folder / "shop.db")) as shop:
        shop.executescript(SALES)
    asyncio.run(_add_sales(folder))
    return folder


async def _add_sales(folder: Path) -> None:
    async with opened(load_settings(database_url=f"sqlite:///{folder}/paperround.db", secret_key=SECRET_KEY)) as app:
        project = await app.project()
        source = await app.catalog.add_source(project, "Shop", f"sqlite:///{folder}/shop.db")
        query = "SELECT day, amount FROM sales"
        await app.catalog.add_insight(project, "Sales", source=source.id, sql=query, display="line")


@pytest.fixture
def paperround(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    """The command in this process, in a folder of this test's own."""
    for name in ("paperround.db", "shop.db"):
        shutil.copy(prepared / name, tmp_path / name)
    with restored_logging():
        yield CommandLine(tmp_path, {"PAPERROUND_SECRET_KEY": SECRET_KEY}, monkeypatch, capsys)


def contents(database: Path) -> list[str]:
    """Every row of every table."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def assert_one_line(refused: Finished, *words: str) -> None:
    """Exit 2, nothing on standard output, and one line on standard error in which each of these words stands."""
    assert (refused.code, refused.out) == (2, ""), refused
    assert refused.err.startswith("paperround: ")
    assert refused.err.count("\n") == 1
    assert [word for word in words if word not in refused.err] == [], refused.err


# ── what is typed ────────────────────────────────────────────────────────────────────────────────────────────────────

TO = (*ADD, "--target-type")
SECRET_PATH = "T0K3N-IN-THE-PATH"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param((*ADD, *TO_ANN, "--timezone", "Europe/Berln"), ("timezone", "Europe/Berlin"), id="unknown zone"),
        pytest.param((*ADD, *TO_ANN, "--start-date", "2026-13-45"), ("start_date", "2027-03-14T09:00"), id="bad date"),
        pytest.param((*ADD, *TO_ANN, "--until-date", "soon"), ("until_date", "2027-03-14T09:00"), id="no date"),
        pytest.param((*ADD, *TO_ANN, "--until-date", "2020-01-01"), ("date",), id="over before it begins"),
        pytest.param((*ADD, *TO_ANN, "--interval", "0"), ("interval", "1"), id="interval 0"),
        pytest.param((*ADD, *TO_ANN, "--frequency", "hourly"), ("frequency", "daily, weekly"), id="unknown frequency"),
        pytest.param((*ADD, *TO_ANN, "--byweekday", "caturday"), ("byweekday", "monday"), id="unknown weekday"),
        pytest.param((*ADD, *TO_ANN, "--title", "x" * 101), ("title", "100"), id="title too long"),
        pytest.param((*ADD, *TO_ANN, "--catch-up", "maybe"), ("catch_up", "latest, all, skip"), id="unknown policy"),
        pytest.param((*ADD, *TO_ANN, "--insight", "Sails"), ("insight", "'Sails'", "Sales"), id="unknown insight"),
        pytest.param((*ADD, *TO_ANN, "--dashboard", "1"), ("exactly one", "insight", "dashboard"), id="two contents"),
        pytest.param(
            ("subscriptions", "add", "--insight", "Sales", *TO_ANN), ("frequency", "daily"), id="no frequency"
        ),
        pytest.param((*TO, "pigeon", "--target-value", "x"), ("target_type", "email, slack, webhook"), id="no channel"),
        pytest.param((*TO, "email", "--target-value", ""), ("target_value", "address"), id="empty address"),
        pytest.param((*TO, "email", "--target-value", " , "), ("target_value",), id="only commas"),
        pytest.param((*TO, "email", "--target-value", "ann"), ("target_value", "name@"), id="no at sign"),
        pytest.param(
            (*TO, "email", "--target-value", "ann@example.org\r\nBcc: eve@example.org"),
            ("target_value", "line breaks", "anew"),
            id="a header behind the address",
        ),
        pytest.param(
            (*TO, "email", "--target-value", "a@b.example>\r\nRCPT TO:<c@d.example>"),
            ("target_value", "line breaks", "anew"),
            id="a command behind the address",
        ),
        pytest.param((*TO, "email", "--target-value", "a\0@b.example"), ("target_value", "anew"), id="NUL"),
        pytest.param(
            (*TO, "slack", "--target-value", "C123"), ("integration_id", "integrations add slack"), id="slack"
        ),
        pytest.param(
            (*TO, "slack", "--target-value", "C123", "--integration-id", "nope"),
            ("integration_id", "'nope'", "Webhook signature"),
            id="unknown integration",
        ),
        pytest.param(
            (*TO, "slack", "--target-value", "C123", "--integration-id", "Webhook signature"),
            ("integration_id", "webhook", "slack"),
            id="another channel's integration",
        ),
        *(
            pytest.param((*TO, "webhook", "--target-value", url), ("target_value", way_out), id=f"webhook {name}")
            for name, url, way_out in (
                ("ftp", f"ftp://hooks.example/{SECRET_PATH}", "https://"),
                ("javascript", f"javascript:{SECRET_PATH}", "https://"),
                ("no scheme", f"hooks.example/{SECRET_PATH}", "https://"),
                ("http elsewhere", f"http://hooks.example/{SECRET_PATH}", "PAPERROUND_ALLOW_HOSTS"),
                ("loopback", f"https://127.0.0.1/{SECRET_PATH}", "PAPERROUND_ALLOW_HOSTS"),
                ("loopback as a number", f"https://2130706433/{SECRET_PATH}", "URL"),
                ("loopback in IPv6", f"https://[::ffff:127.0.0.1]/{SECRET_PATH}", "PAPERROUND_ALLOW_HOSTS"),
                ("user and password", f"https://me:{SECRET_PATH}@hooks.example/", "URL"),
                ("newline", f"https://hooks.example/{SECRET_PATH}\r\nHost: x", "URL"),
            )
        ),
        pytest.param(("sources", "add", "S", "--url", "nonsense"), ("url", "postgresql://"), id="no URL"),
        pytest.param(
            ("sources", "add", "S", "--url", "sqlite:////nowhere/at/all.db"), ("url", "path"), id="no source file"
        ),
        pytest.param(("sources", "add", "S", "--kind", "api", "--url", "-"), ("kind", "sql"), id="unknown kind"),
        pytest.param(
            ("insights", "add", "I", "--source", "Shop", "--sql", "SELECT nope FROM sales"),
            ("sql", "nope", "--unchecked"),
            id="SQL error",
        ),
        pytest.param(
            ("insights", "add", "I", "--source", "Shop", "--sql", "@nothing.sql"),
            ("sql", "nothing.sql"),
            id="no SQL file",
        ),
        pytest.param(
            ("insights", "add", "I", "--source", "Ship", "--sql", "SELECT 1"), ("source", "Shop"), id="unknown source"
        ),
        pytest.param(
            ("insights", "add", "I", "--source", "Shop", "--sql", "SELECT 1", "--display", "hologram"),
            ("display", "number, line, bar"),
            id="unknown display",
        ),
        pytest.param(
            ("insights", "add", "Sales", "--source", "Shop", "--sql", "SELECT 1"), ("name", "another"), id="name taken"
        ),
        pytest.param(("dashboards", "add", "D", "--insight", "Sails"), ("insight", "Sales"), id="tile unknown"),
        pytest.param(
            ("dashboards", "add", "D", "--insight", "Sales", "--insight", "Sales"), ("insight", "once"), id="tile twice"
        ),
        pytest.param(
            ("integrations", "add", "slack", "--token", f"xoxb-{SECRET_PATH}"),
            ("token", "standard input", "env:NAME"),
            id="token on the command line",
        ),
        pytest.param(
            ("integrations", "add", "webhook", "--secret", f"whsec_{SECRET_PATH}"),
            ("secret", "standard input", "env:NAME"),
            id="secret on the command line",
        ),
        pytest.param(("integrations", "add", "slack"), ("token", "--token -"), id="no token"),
        pytest.param(("integrations", "add", "slack", "--token", "-"), ("token", "pipe it in"), id="empty input"),
        pytest.param(("integrations", "add", "slack", "--token", "env:NOT_SET"), ("token", "variable"), id="unset"),
        pytest.param(("integrations", "add", "pigeon"), ("kind", "slack or webhook"), id="unknown integration kind"),
        pytest.param(("run-due", "--limit", "0"), ("--limit", "1"), id="limit 0"),
        pytest.param(("run-due", "--at", "yesterday"), ("at", "2027-03-14T09:00"), id="no instant"),
        pytest.param(("deliveries", "list", "--status", "lost"), ("status", "starting, completed"), id="no status"),
        pytest.param(("deliveries", "show", "seven"), ("delivery", "UUID"), id="no delivery id"),
        pytest.param(("deliveries", "resend", "0" * 32), ("no delivery", "deliveries list"), id="unknown delivery"),
        pytest.param(("subscriptions", "show", "7"), ("no subscription 7", "subscriptions list"), id="unknown id"),
        pytest.param(("subscriptions", "show", "x"), ("SUBSCRIPTION", "--help"), id="id is no number"),
        pytest.param(("sources", "remove", "Shop"), ("used by insight 1", "remove"), id="in use"),
        pytest.param(("sources", "list", "--project", "9"), ("no project 9",), id="unknown project"),
        pytest.param(("preview", "--frequency", "daily", "--timezone", "Mars/Up"), ("timezone",), id="Mars"),
        pytest.param(("preview",), ("frequency", "id"), id="nothing to preview"),
        pytest.param(("preview", "1", "--frequency", "daily"), ("not both",), id="two things to preview"),
        pytest.param(("serve", "--port", "65536"), ("--port", "65535"), id="no such port"),
        pytest.param(("frobnicate",), ("'frobnicate'", "`paperround --help`"), id="unknown command"),
        pytest.param(("sources", "frob"), ("'frob'", "`paperround sources --help`"), id="unknown sub-command"),
        pytest.param((*ADD, "--frob"), ("--frob", "`paperround subscriptions add --help`"), id="unknown option"),
    ],
)
def test_a_mistake_gets_one_line_that_says_the_way_out_and_changes_nothing(
    paperround: CommandLine, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = contents(paperround.folder / "paperround.db")

    refused = paperround.run(*arguments)

    assert_one_line(refused, *words)
    assert SECRET_PATH not in refused.err
    assert contents(paperround.folder / "paperround.db") == before


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM sales",
        "SELECT 1; DELETE FROM sales",
        "WITH gone AS (SELECT 1) DELETE FROM sales",
        "/* SELECT */ UPDATE sales SET amount = 0",
        "DROP TABLE sales",
        "INSERT INTO sales VALUES ('2026-11-22', 1)",
        "PRAGMA user_version = 3",
        "ATTACH 'elsewhere.db' AS elsewhere",
        "VACUUM INTO 'elsewhere.db'",
    ],
)
def test_sql_that_writes_is_refused_and_not_run(paperround: CommandLine, prepared: Path, sql: str) -> None:
    before = contents(paperround.folder / "paperround.db"), contents(prepared / "shop.db"), sorted(Path.cwd().iterdir())

    checked = paperround.run("insights", "add", "Bad", "--source", "Shop", "--sql", sql)
    unchecked = paperround.run("insights", "add", "Bad", "--source", "Shop", "--sql", sql, "--unchecked")

    for refused in (checked, unchecked):
        assert_one_line(refused, "sql", "SELECT")
    after = contents(paperround.folder / "paperround.db"), contents(prepared / "shop.db"), sorted(Path.cwd().iterdir())
    assert after == before


@ON_SQLITE
async def test_a_title_cannot_add_a_header_or_a_recipient(installation: Installation) -> None:
    insight = str(await installation.prepare())
    target = ("--target-type", "email", "--target-value", "ann@example.org")
    title = (
        "--title",
        "Numbers\r\nBcc: eve@example.org",
        "--invite-message",
        "Hello\r\n.\r\nRCPT TO:<eve@example.org>",
    )

    added = await installation.run(
        "subscriptions", "add", "--insight", insight, *target, *title, "--frequency", "daily", "--json"
    )
    await installation.must("run-due")

    assert added.code in {0, 2}, added
    assert [mail.recipients for mail in installation.smtp.mails] == [("ann@example.org",)] * (added.code == 0)
    assert [mail.message["Bcc"] for mail in installation.smtp.mails] == [None] * (added.code == 0)


# ── where it is typed: databases, keys, settings ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments", [("subscriptions", "list"), ("run-due",), ("serve", "--port", "0"), (*ADD, *TO_ANN), ("init",)]
)
def test_a_postgresql_that_does_not_answer_is_named_without_its_password(
    paperround: CommandLine, arguments: tuple[str, ...]
) -> None:
    url = f"postgresql://bob:{PASSWORD}@127.0.0.1:{_closed_port()}/reports"

    refused = paperround.run(*arguments, environ={"PAPERROUND_DATABASE_URL": url})

    assert_one_line(refused, "postgresql://bob:***@127.0.0.1", "does not answer", "refused")
    assert PASSWORD not in refused.err


@pytest.mark.parametrize("arguments", [("subscriptions", "list"), ("run-due",), ("serve", "--port", "0")])
def test_without_init_it_says_to_run_init_and_makes_no_file(
    paperround: CommandLine, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    nothing_there = replace(paperround, folder=elsewhere).run(*arguments)
    no_folder = paperround.run(*arguments, environ={"PAPERROUND_DATABASE_URL": f"sqlite:///{tmp_path}/missing/x.db"})

    assert_one_line(nothing_there, "paperround.db", "`paperround init`", "PAPERROUND_DATABASE_URL")
    assert_one_line(no_folder, f"{tmp_path}/missing/x.db", "`paperround init`")
    assert (list(elsewhere.iterdir()), (tmp_path / "missing").exists()) == ([], False)


def test_an_empty_postgresql_database_asks_for_init(paperround: CommandLine, postgres_url: str) -> None:
    refused = paperround.run("subscriptions", "list", environ={"PAPERROUND_DATABASE_URL": postgres_url})

    assert_one_line(refused, "empty", "`paperround init`")


def test_a_source_that_does_not_answer_is_refused_without_its_password(paperround: CommandLine) -> None:
    url = f"postgresql://bob:{PASSWORD}@127.0.0.1:{_closed_port()}/shop"
    before = contents(paperround.folder / "paperround.db")

    refused = paperround.run("sources", "add", "Warehouse", "--url", "-", text=f"{url}\n")

    assert_one_line(refused, "url", "refused", "--unchecked")
    assert PASSWORD not in refused.err
    assert contents(paperround.folder / "paperround.db") == before


def test_a_source_that_is_gone_shows_in_the_delivery_and_stops_nothing(
    paperround: CommandLine, prepared: Path, tmp_path: Path
) -> None:
    shutil.copy(prepared / "shop.db", tmp_path / "gone.db")
    paperround.must("sources", "add", "Soon gone", "--url", f"sqlite:///{tmp_path}/gone.db")
    query = ("--sql", "SELECT day FROM sales")
    insight = paperround.must("insights", "add", "Days", "--source", "Soon gone", *query)["id"]
    paperround.must("subscriptions", "add", "--insight", str(insight), *TO_ANN, "--frequency", "daily")
    (tmp_path / "gone.db").unlink()

    ran = paperround.must("run-due")
    [delivery] = paperround.must("deliveries", "list")["results"]

    assert (ran["completed"], ran["failed"]) == (1, 0)
    [shown] = delivery["content_snapshot"]["insights"]
    assert shown["query_results"] is None
    assert shown["query_error"]["message"]


@pytest.mark.parametrize("arguments", [("subscriptions", "list"), ("init",), ("serve", "--port", "0")])
@pytest.mark.parametrize(
    ("key", "words"),
    [
        pytest.param("another-secret-key-0123456789-0123456789", ("does not open this database", "init"), id="wrong"),
        pytest.param("hunter2", ("shorter than 32", "openssl rand"), id="too short"),
    ],
)
def test_a_key_that_does_not_fit_changes_nothing(
    paperround: CommandLine, arguments: tuple[str, ...], key: str, words: tuple[str, ...]
) -> None:
    before = contents(paperround.folder / "paperround.db")

    refused = paperround.run(*arguments, environ={"PAPERROUND_SECRET_KEY": key})

    assert_one_line(refused, "PAPERROUND_SECRET_KEY", *words)
    assert key not in refused.err
    assert contents(paperround.folder / "paperround.db") == before


def test_a_key_that_is_missing_is_asked_for_and_not_made_anew(paperround: CommandLine) -> None:
    refused = [paperround.run(*arguments, without="PAPERROUND_SECRET_KEY") for arguments in (("init",), ("run-due",))]

    for each in refused:
        assert_one_line(each, "PAPERROUND_SECRET_KEY", "paperround.key", "bring the key along")
    assert not (paperround.folder / "paperround.key").exists()


def test_a_second_init_does_nothing(paperround: CommandLine) -> None:
    before = contents(paperround.folder / "paperround.db")

    again = paperround.run("init", "--project", "Another", "--email", "eve@example.org")

    assert (again.code, again.err) == (0, "")
    assert "Nothing to do" in again.out
    assert contents(paperround.folder / "paperround.db") == before


@pytest.mark.parametrize("arguments", [("subscriptions", "list"), ("run-due",), ("init",), ("serve", "--port", "0")])
def test_an_older_binary_refuses_a_newer_schema(paperround: CommandLine, arguments: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(paperround.folder / "paperround.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = contents(paperround.folder / "paperround.db")

    refused = paperround.run(*arguments)

    assert_one_line(refused, "newer schema", "9999", "install the newer one")
    assert contents(paperround.folder / "paperround.db") == before


def test_several_wrong_settings_are_all_named_at_once(paperround: CommandLine) -> None:
    refused = paperround.run(
        "subscriptions",
        "list",
        environ={
            "PAPERROUND_DATABASE_URL": f"mysql://bob:{PASSWORD}@host/reports",
            "PAPERROUND_BASE_URL": "reports.example.org",
            "PAPERROUND_TIMEZONE": "Europe/Berln",
            "PAPERROUND_SMTP_URL": f"http://bob:{PASSWORD}@mail.example.org",
            "PAPERROUND_EMAIL_FROM": "nobody",
            "PAPERROUND_SLACK_API_URL": "slack",
            "PAPERROUND_ENGINE": "steam",
        },
    )

    assert_one_line(
        refused,
        *("PAPERROUND_DATABASE_URL: ", "sqlite:///FILE", "PAPERROUND_BASE_URL: ", "https://"),
        *("PAPERROUND_TIMEZONE: ", "Europe/Berlin", "PAPERROUND_SMTP_URL: ", "smtp://user"),
        *("PAPERROUND_EMAIL_FROM: ", "Name <name@", "PAPERROUND_SLACK_API_URL: ", "PAPERROUND_ENGINE: ", "embedded"),
    )
    assert PASSWORD not in refused.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://bob:{PASSWORD}@host/reports"),
        ("DATABASE_URL", f"postgresql://bob:{PASSWORD}/reports"),
        ("DATABASE_URL", f"bob:{PASSWORD}@host/reports"),
        ("SMTP_URL", f"smtp://bob:{PASSWORD}@mail.example.org:99999"),
        ("SMTP_URL", f"smtp://bob:{PASSWORD}/mail.example.org"),
        ("SMTP_URL", f"smtp://bob:{PASSWORD}[@mail.example.org"),
        ("SMTP_URL", f"smtp://bob:{PASSWORD}@mail.example.org?starttls=perhaps"),
    ],
)
def test_a_url_that_cannot_be_read_is_named_but_its_password_is_not_echoed(
    paperround: CommandLine, name: str, value: str
) -> None:
    refused = paperround.run("subscriptions", "list", environ={f"PAPERROUND_{name}": value})

    assert_one_line(refused, f"PAPERROUND_{name}: ")
    assert PASSWORD not in refused.err


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        pytest.param('timezone = "Europe/Berlin', ("paperround.toml",), id="not TOML"),
        pytest.param("smtp_url = [\n", ("paperround.toml",), id="not ended"),
        pytest.param(b"\xff\xfe", ("paperround.toml",), id="not UTF-8"),
        pytest.param("timezone = 3", ("PAPERROUND_TIMEZONE", "string"), id="a number"),
        pytest.param('timezone = "Berlin"', ("PAPERROUND_TIMEZONE", "Europe/Berlin"), id="no zone"),
        pytest.param("allow_hosts = [1]", ("PAPERROUND_ALLOW_HOSTS",), id="hosts that are numbers"),
    ],
)
def test_a_broken_settings_file_is_named(paperround: CommandLine, toml: str | bytes, words: tuple[str, ...]) -> None:
    (paperround.folder / "paperround.toml").write_bytes(toml.encode() if isinstance(toml, str) else toml)

    refused = paperround.run("subscriptions", "list")

    assert_one_line(refused, *words)


def test_a_secrets_file_that_cannot_be_read_is_named(paperround: CommandLine) -> None:
    refused = paperround.run("subscriptions", "list", environ={"PAPERROUND_SMTP_URL_FILE": "/nowhere/smtp_url"})

    assert_one_line(refused, "PAPERROUND_SMTP_URL", "/nowhere/smtp_url", "check its path")


@pytest.mark.parametrize("arguments", [(), ("subscriptions",), ("integrations",)])
def test_no_command_shows_the_help_and_says_so(paperround: CommandLine, arguments: tuple[str, ...]) -> None:
    helped = paperround.run(*arguments)

    assert helped.code == 2
    assert "Usage: paperround" in helped.out
    assert "--help`" in helped.err
    assert "paperround:  (" not in helped.err


# ── the real process ─────────────────────────────────────────────────────────────────────────────────────────────────


@ON_SQLITE
async def test_the_real_command_ends_with_2_and_one_line(installation: Installation) -> None:
    await installation.must("init")
    before = contents(installation.folder / "paperround.db")
    wrong: list[tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]] = [
        (("preview", "--frequency", "daily", "--timezone", "Europe/Berln"), {}, ("timezone", "Europe/Berlin")),
        (("integrations", "add", "slack", "--token", "xoxb-1"), {}, ("token", "standard input")),
        (("subscriptions", "list"), {"PAPERROUND_SECRET_KEY": "x" * 40}, ("PAPERROUND_SECRET_KEY", "does not open")),
        (("serve", "--port", "0"), {"PAPERROUND_DATABASE_URL": "sqlite:///nowhere.db"}, ("`paperround init`",)),
    ]

    refused = [await installation.run(*arguments, environ=environ) for arguments, environ, _ in wrong]

    for each, (_, _, words) in zip(refused, wrong, strict=True):
        assert_one_line(each, *words)
    assert contents(installation.folder / "paperround.db") == before
    assert not (installation.folder / "nowhere.db").exists()


def _closed_port() -> int:
    """A port that was free a moment ago, and on which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])
