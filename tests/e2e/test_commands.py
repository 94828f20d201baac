"""What each command prints: JSON of the documented shape, tables for people, plain lines for other programs."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer

from channels.receivers import Reply
from scheduler.cli import app, main
from tests.conftest import SECRET_KEY
from tests.e2e.conftest import COMMAND, SALES, Finished, Installation

pytestmark = pytest.mark.e2e

ON_SQLITE = pytest.mark.parametrize("installation", ["sqlite"], indirect=True)


@dataclass(frozen=True)
class CommandLine:
    """The command in this process, without the second that starting one takes; else as a shell would run it."""

    folder: Path
    environ: Mapping[str, str]
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def run(
        self, *arguments: str, text: str = "", environ: Mapping[str, str] | None = None, without: str = ""
    ) -> Finished:
        """Run to the end; ``text`` is what it reads on standard input, ``without`` a variable that is not set."""
        with self.monkeypatch.context() as here:
            for name in os.environ:
                if name.startswith("PAPERROUND_"):
                    here.delenv(name)
            for name, value in {**self.environ, **(environ or {})}.items():
                if name != without:
                    here.setenv(name, value)
            here.chdir(self.folder)
            here.setattr(sys, "argv", ["paperround", *arguments])
            here.setattr(sys, "stdin", io.StringIO(text))
            self.capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            out, err = self.capsys.readouterr()
        return Finished(int(str(ended.value.code or 0)), out, err)

    def must(self, *arguments: str, text: str = "") -> Any:
        """Run with ``--json``; its document, once it went well."""
        finished = self.run(*arguments, "--json", text=text)
        assert finished.code == 0, finished.err
        return finished.json


@contextmanager
def restored_logging() -> Iterator[None]:
    """Commands set logging up for their process; here it is the next test's, too."""
    handlers, level = logging.root.handlers[:], logging.root.level
    configured = structlog.get_config() if structlog.is_configured() else None
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults() if configured is None else structlog.configure(**configured)


@pytest.fixture
def paperround(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    """On an initialised database, with a shop to ask; e-mail goes to the folder ``outbox``."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.executescript(SALES)
    environ = {"PAPERROUND_DATABASE_URL": ledger_url, "PAPERROUND_SECRET_KEY": SECRET_KEY}
    with restored_logging():
        yield CommandLine(tmp_path, environ, monkeypatch, capsys)


class Matching:
    """Equal to every text of this form."""

    def __init__(self, form: str) -> None:
        self._form = form

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self._form, other) is not None

    def __hash__(self) -> int:
        return hash(self._form)

    def __repr__(self) -> str:
        return f"<text like {self._form}>"


INSTANT = Matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
UUID = Matching(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

MONDAYS = ("--frequency", "weekly", "--byweekday", "monday", "--start-date", "2026-01-05T09:00")
IN_BERLIN = ("--timezone", "Europe/Berlin")
TO_ANN = ("--target-type", "email", "--target-value", "ann@example.org")


def add_sales(paperround: CommandLine) -> None:
    """The source Shop, the insight Sales, the dashboard Numbers."""
    paperround.must("sources", "add", "Shop", "--url", "sqlite:///shop.db")
    query = "SELECT day, amount FROM sales ORDER BY day"
    paperround.must("insights", "add", "Sales", "--source", "Shop", "--sql", query, "--display", "line")
    paperround.must("dashboards", "add", "Numbers", "--insight", "Sales")


def subscribe(paperround: CommandLine, *options: str) -> dict[str, Any]:
    added = paperround.must("subscriptions", "add", *TO_ANN, *MONDAYS, *IN_BERLIN, *options)
    assert isinstance(added, dict)
    return added


# ── every noun ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_init_says_what_it_made(paperround: CommandLine, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    made = replace(paperround, folder=elsewhere, environ={}).must("init", "--project", "Harbour")
    again = replace(paperround, folder=elsewhere, environ={}).must("init")

    assert made == {
        "created": True,
        "migrated": False,
        "database": "sqlite:///paperround.db",
        "key_file": "paperround.key",
        "project": {"id": 1, "name": "Harbour"},
    }
    assert again == made | {"created": False}
    assert (elsewhere / "paperround.key").stat().st_mode & 0o777 == 0o600


def test_what_is_added_is_listed_shown_by_name_and_id_and_removed(paperround: CommandLine) -> None:
    query = "SELECT day, amount FROM sales"
    source = paperround.must("sources", "add", "Shop", "--url", "-", text="sqlite:///shop.db\n")
    insight = paperround.must(
        *("insights", "add", "Sales", "--source", str(source["id"]), "--sql", query),
        *("--display", "line", "--description", "By day"),
    )
    dashboard = paperround.must("dashboards", "add", "Numbers", "--insight", "Sales", "--description", "All of it")
    slack = paperround.must("integrations", "add", "slack", "--name", "Team", "--token", "-", text="xoxb-1\n")
    webhook = paperround.must("integrations", "add", "webhook", "--name", "Signed")

    assert source == {
        "id": source["id"],
        "name": "Shop",
        "kind": "sql",
        "mask_value": "sqlite:///…/shop.db",
        "created_at": INSTANT,
    }
    assert insight == {
        "id": insight["id"],
        "short_id": Matching("[0-9a-f]{8}"),
        "name": "Sales",
        "description": "By day",
        "source": source["id"],
        "sql": query,
        "display": "line",
        "created_at": INSTANT,
        "updated_at": INSTANT,
    }
    assert dashboard == {
        "id": dashboard["id"],
        "name": "Numbers",
        "description": "All of it",
        "insights": [insight["id"]],
        "tiles": [{"insight": insight["id"], "name": "Sales", "position": 0}],
        "created_at": INSTANT,
    }
    seen = {"mask_value": "…", "created_at": INSTANT}  # a token as short as this one would be told by its end
    assert slack == {"id": slack["id"], "kind": "slack", "name": "Team", **seen}
    seen |= {"mask_value": Matching("….{4}")}
    assert webhook == {"id": webhook["id"], "kind": "webhook", "name": "Signed", **seen}
    for noun, row in (
        ("dashboards", dashboard),
        ("insights", insight),
        ("sources", source),
        ("integrations", slack),
        ("integrations", webhook),
    ):
        assert row in paperround.must(noun, "list")["results"]
        assert paperround.must(noun, "show", row["name"]) == row
        assert paperround.must(noun, "show", str(row["id"])) == row
        assert paperround.must(noun, "remove", row["name"]) == row
        assert row not in paperround.must(noun, "list")["results"]
        assert paperround.run(noun, "show", row["name"]).code == 2


def test_a_webhooks_secret_is_revealed_only_when_asked_and_rotated_with_the_old_one_behind_it(
    paperround: CommandLine,
) -> None:
    before = paperround.must("integrations", "show", "Webhook signature", "--reveal")["secrets"]
    mine = "whsec_" + "QUJD" * 10

    paperround.must(
        "integrations", "add", "webhook", "--rotate", "Webhook signature", "--secret", "-", text=f"{mine}\n"
    )
    after = paperround.must("integrations", "show", "Webhook signature", "--reveal")["secrets"]
    hidden = paperround.run("integrations", "show", "Webhook signature")

    assert before == [Matching("whsec_[A-Za-z0-9+/]+=*")]
    assert after == [mine, *before]
    assert "whsec_" not in hidden.out


def test_what_is_in_use_is_not_removed(paperround: CommandLine) -> None:
    add_sales(paperround)
    paperround.must("integrations", "add", "slack", "--name", "Team", "--token", "-", text="xoxb-1\n")
    slack = ("--target-type", "slack", "--target-value", "C123", "--integration-id", "Team")
    paperround.must("subscriptions", "add", "--dashboard", "Numbers", *slack, *MONDAYS)
    before = [paperround.must(noun, "list") for noun in ("sources", "insights", "dashboards", "integrations")]

    refused = [
        paperround.run(noun, "remove", name)
        for noun, name in (
            ("sources", "Shop"),
            ("insights", "Sales"),
            ("dashboards", "Numbers"),
            ("integrations", "Team"),
        )
    ]

    assert [each.code for each in refused] == [2, 2, 2, 2]
    assert [each.err.removeprefix("paperround: ") for each in refused] == [
        "source 'Shop' is used by insight 1; remove or change that first\n",
        "insight 'Sales' is used by dashboard 1; remove or change that first\n",
        "dashboard 'Numbers' is used by subscription 1; remove or change that first\n",
        "integration 'Team' is used by subscription 1; remove or change that first\n",
    ]
    assert [paperround.must(noun, "list") for noun in ("sources", "insights", "dashboards", "integrations")] == before


# ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_subscription_has_every_field_of_the_api(paperround: CommandLine) -> None:
    add_sales(paperround)

    added = subscribe(paperround, "--insight", "Sales", "--title", "Monday numbers", "--count", "500")

    assert added == {
        "id": added["id"],
        "dashboard": None,
        "insight": 1,
        "insight_short_id": Matching("[0-9a-f]{8}"),
        "resource_name": "Sales",
        "resource_type": "insight",
        "dashboard_export_insights": [],
        "target_type": "email",
        "target_value": "ann@example.org",
        "frequency": "weekly",
        "interval": 1,
        "byweekday": ["monday"],
        "bysetpos": None,
        "count": 500,
        "start_date": "2026-01-05T08:00:00Z",
        "until_date": None,
        "timezone": "Europe/Berlin",
        "gap": "shift",
        "fold": "first",
        "catch_up": "latest",
        "catch_up_hours": 24,
        "created_at": INSTANT,
        "created_by": {
            "id": added["created_by"]["id"],
            "uuid": UUID,
            "distinct_id": added["created_by"]["uuid"],
            "first_name": "",
            "last_name": "",
            "email": "owner@example.org",
            "is_email_verified": None,
            "hedgehog_config": None,
            "role_at_organization": "admin",
        },
        "deleted": False,
        "enabled": True,
        "title": "Monday numbers",
        "summary": added["summary"],
        "next_delivery_date": INSTANT,
        "integration_id": None,
        "invite_message": None,
        "summary_enabled": False,
        "summary_prompt_guide": "",
        "last_error": None,
    }
    assert added["summary"].startswith("every week on Monday")
    assert paperround.must("subscriptions", "list") == {"results": [added]}
    assert paperround.must("subscriptions", "show", str(added["id"])) == added


def test_a_dashboard_is_shown_whole_unless_some_of_its_insights_are_named(paperround: CommandLine) -> None:
    add_sales(paperround)
    paperround.must("insights", "add", "Days", "--source", "Shop", "--sql", "SELECT day FROM sales")
    paperround.must("dashboards", "add", "Both", "--insight", "Days", "--insight", "Sales")

    whole = subscribe(paperround, "--dashboard", "Both")
    part = subscribe(paperround, "--dashboard", "Both", "--dashboard-export-insights", "1")

    assert (whole["resource_type"], whole["resource_name"]) == ("dashboard", "Both")
    assert (whole["dashboard_export_insights"], part["dashboard_export_insights"]) == ([2, 1], [1])


def test_edit_changes_what_is_given_and_clears_what_is_named(paperround: CommandLine) -> None:
    add_sales(paperround)
    added = subscribe(paperround, "--insight", "Sales", "--title", "Numbers", "--until-date", "2100-01-01")
    number = str(added["id"])

    renamed = paperround.must("subscriptions", "edit", number, "--title", "Sales on Monday")
    fridays = paperround.must("subscriptions", "edit", number, "--byweekday", "friday")
    cleared = paperround.must("subscriptions", "edit", number, "--clear", "title", "--clear", "until-date")
    refused = paperround.run("subscriptions", "edit", number, "--clear", "frequency")

    assert renamed == added | {"title": "Sales on Monday"}
    assert (fridays["byweekday"], fridays["next_delivery_date"] != added["next_delivery_date"]) == (["friday"], True)
    assert (cleared["title"], cleared["until_date"]) == (None, None)
    assert (refused.code, "cannot be cleared" in refused.err) == (2, True)


def test_a_subscription_is_paused_resumed_tested_and_removed(paperround: CommandLine) -> None:
    add_sales(paperround)
    added = subscribe(paperround, "--insight", "Sales", "--paused")
    number = str(added["id"])

    while_paused = paperround.run("subscriptions", "test", number)
    resumed = paperround.must("subscriptions", "resume", number)
    tested = paperround.must("subscriptions", "test", number)
    tested_again = paperround.run("subscriptions", "test", number)
    paused = paperround.must("subscriptions", "pause", number)
    removed = paperround.must("subscriptions", "remove", number)

    assert added["enabled"] is False
    assert (while_paused.code, "resume it first" in while_paused.err) == (2, True)
    assert resumed == added | {"enabled": True}
    assert tested == {"delivery": UUID}
    assert (tested_again.code, "still in progress" in tested_again.err) == (2, True)
    assert paused == added
    assert removed == added | {"deleted": True}
    assert paperround.must("subscriptions", "list") == {"results": []}
    assert paperround.must("subscriptions", "show", number) == removed
    listed = paperround.must("deliveries", "list", "--subscription", number)["results"]
    assert [each["trigger_type"] for each in listed] == ["manual", "target_change"]


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_delivery_has_every_field_of_the_api(paperround: CommandLine) -> None:
    add_sales(paperround)
    added = subscribe(paperround, "--dashboard", "Numbers")

    ran = paperround.must("run-due")
    [delivery] = paperround.must("deliveries", "list", "--status", "completed")["results"]

    assert delivery == {
        "id": UUID,
        "subscription": added["id"],
        "temporal_workflow_id": Matching("paperround-.+"),
        "idempotency_key": delivery["idempotency_key"],
        "trigger_type": "target_change",
        "scheduled_at": None,
        "target_type": "email",
        "target_value": "ann@example.org",
        "exported_asset_ids": [1],
        "content_snapshot": {
            "dashboard": {"id": 1, "name": "Numbers"},
            "insights": delivery["content_snapshot"]["insights"],
            "total_insight_count": 1,
        },
        "recipient_results": [
            {
                "recipient": "ann@example.org",
                "status": "success",
                "state": "sent",
                "attempts": 1,
                "sent_at": INSTANT,
                "next_attempt_at": None,
            }
        ],
        "status": "completed",
        "error": None,
        "created_at": INSTANT,
        "last_updated_at": INSTANT,
        "finished_at": INSTANT,
        "change_summary": None,
        "attempts": [
            {
                "recipient": "ann@example.org",
                "attempt": 1,
                "outcome": "sent",
                "reason": None,
                "started_at": INSTANT,
                "finished_at": INSTANT,
            }
        ],
    }
    [shown] = delivery["content_snapshot"]["insights"]
    assert shown["query_results"]["result"] == [["2026-11-20", 10], ["2026-11-21", 30]]
    assert paperround.must("deliveries", "show", delivery["id"]) == delivery
    assert ran == {
        "opened": 0,
        "completed": 1,
        "failed": 0,
        "skipped": 0,
        "retrying": 0,
        "deliveries": [
            {name: delivery[name] for name in ("id", "subscription", "status", "scheduled_at", "recipient_results")}
        ],
    }
    assert paperround.must("deliveries", "list", "--status", "failed") == {"results": []}
    assert len(list((paperround.folder / "outbox").glob("*.eml"))) == 1


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_a_delivery_is_shown_with_its_summary(paperround: CommandLine, ledger_url: str) -> None:
    add_sales(paperround)
    subscribe(paperround, "--dashboard", "Numbers")
    paperround.must("run-due")
    with closing(sqlite3.connect(ledger_url.removeprefix("sqlite:///"))) as ledger, ledger:
        ledger.execute("UPDATE deliveries SET change_summary = 'Sales rose by 20.'")
    [delivery] = paperround.must("deliveries", "list", "--status", "completed")["results"]

    shown = paperround.run("deliveries", "show", delivery["id"])

    assert "change_summary\tSales rose by 20.\n" in shown.out


@ON_SQLITE
async def test_only_what_failed_is_sent_again(installation: Installation) -> None:
    insight = str(await installation.prepare())
    target = ("--target-type", "webhook", "--target-value", installation.webhook.url)
    await installation.must("subscriptions", "add", "--insight", insight, *target, *MONDAYS)
    installation.webhook.script(Reply(status=400))
    failed = (await installation.run("run-due", "--json")).json["deliveries"][0]

    again = await installation.must("deliveries", "resend", failed["id"])
    ran = await installation.must("run-due")
    refused = await installation.run("deliveries", "resend", failed["id"])

    assert (failed["status"], again["status"], again["recipient_results"][0]["state"]) == (
        "failed",
        "starting",
        "pending",
    )
    assert [(each["id"], each["status"]) for each in ran["deliveries"]] == [(failed["id"], "completed")]
    assert ran["deliveries"][0]["recipient_results"][0]["attempts"] == 2
    assert len({request.headers["webhook-id"] for request in installation.webhook.requests}) == 1
    assert (refused.code, refused.out) == (2, "")


# ── preview ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_preview_needs_no_database_and_shows_where_daylight_saving_moves_an_occurrence(
    paperround: CommandLine, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    anywhere = replace(paperround, folder=empty, environ={})
    rule = ("--frequency", "daily", "--start-date", "2027-03-13T02:30", "--timezone", "America/New_York")

    shown = anywhere.must("preview", *rule, "--after", "2027-03-13T12:00", "-n", "2")
    ended = anywhere.must("preview", *rule, "--count", "3", "--after", "2030-01-01")

    assert shown == {
        "summary": shown["summary"],
        "occurrences": [
            {"at": "2027-03-14T07:30:00Z", "local": "2027-03-14T03:30:00-04:00", "dst_adjusted": True},
            {"at": "2027-03-15T06:30:00Z", "local": "2027-03-15T02:30:00-04:00", "dst_adjusted": False},
        ],
    }
    assert shown["summary"].startswith("every day")
    assert ended == {"summary": ended["summary"], "occurrences": []}
    assert list(empty.iterdir()) == []


def test_preview_of_a_subscription_begins_with_its_next_delivery(paperround: CommandLine) -> None:
    add_sales(paperround)
    added = subscribe(paperround, "--insight", "Sales")

    shown = paperround.must("preview", str(added["id"]), "-n", "3")

    assert shown["summary"] == added["summary"]
    assert len(shown["occurrences"]) == 3
    assert shown["occurrences"][0]["at"] == added["next_delivery_date"]


def test_preview_says_when_a_spread_delivery_starts(paperround: CommandLine) -> None:
    add_sales(paperround)
    added = subscribe(paperround, "--insight", "Sales", "--spread-minutes", "30")

    shown = paperround.must("preview", str(added["id"]), "-n", "1")

    assert shown["occurrences"][0]["at"] == added["next_delivery_date"]
    assert 0 <= shown["starts_after_seconds"] < 30 * 60


# ── for people, and for other programs ───────────────────────────────────────────────────────────────────────────────


def commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that can be run, by what is typed."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"),
    [pytest.param(path, command, id=" ".join(path)) for path, command in commands(typer.main.get_group(app))],
)
def test_every_command_that_answers_takes_json(path: tuple[str, ...], command: Any) -> None:
    options = {option for parameter in command.params for option in parameter.opts}

    assert "--json" in options or path[0] in {"demo", "mcp"}  # a show; a protocol of its own
    assert command.help, "it does not say what it does"


def test_piped_tables_are_plain_tab_separated_lines_whatever_is_in_them(paperround: CommandLine) -> None:
    add_sales(paperround)
    subscribe(paperround, "--insight", "Sales", "--title", "[red]Tab\there\nand \x1b[31mred")
    paperround.must("run-due")
    environ = {"TERM": "xterm-256color", "FORCE_COLOR": ""}

    for arguments in (
        *((noun, "list") for noun in ("sources", "insights", "dashboards", "integrations")),
        ("subscriptions", "list"),
        ("deliveries", "list"),
    ):
        listed = paperround.run(*arguments, environ=environ)
        heading, *rows = listed.out.splitlines()

        assert (listed.code, listed.err, "\x1b" in listed.out) == (0, "", False)
        assert rows
        assert {row.count("\t") for row in rows} == {heading.count("\t")}
    for arguments in (("insights", "show", "Sales"), ("subscriptions", "show", "1"), ("sources", "show", "1")):
        shown = paperround.run(*arguments, environ=environ)

        assert (shown.code, "\x1b" in shown.out) == (0, False)
        assert {line.count("\t") for line in shown.out.splitlines()} == {1}


@ON_SQLITE
async def test_on_a_terminal_tables_are_coloured_unless_colour_is_not_wanted(installation: Installation) -> None:
    insight = str(await installation.prepare())
    await installation.must("subscriptions", "add", "--insight", insight, *TO_ANN, *MONDAYS)

    coloured = _on_a_terminal(installation, "subscriptions", "list")
    plain = _on_a_terminal(installation, "subscriptions", "list", NO_COLOR="1")
    document = _on_a_terminal(installation, "subscriptions", "list", "--json")

    assert "\x1b[32mon" in coloured
    assert "\x1b[32m" not in plain
    assert "\x1b" not in document
    for table in (coloured, plain):
        assert "ann@example.org" in table
        assert "\t" not in table


def _on_a_terminal(installation: Installation, *arguments: str, **environ: str) -> str:
    """What it writes when its standard output is a terminal, 200 columns wide."""
    ours, its = pty.openpty()
    terminal = {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "50"}
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=installation.folder,
        env=installation.environ | terminal | environ,
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=subprocess.STDOUT,
    )
    os.close(its)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode()


@ON_SQLITE
async def test_neither_log_nor_rows_show_a_target_a_token_or_a_url(installation: Installation) -> None:
    insight = str(await installation.prepare())
    token = "xoxb-0123-very-secret"
    await installation.must("integrations", "add", "slack", "--token", "-", text=f"{token}\n")
    subscribe = ("subscriptions", "add", "--insight", insight, *MONDAYS, "--target-type")
    await installation.must(*subscribe, *TO_ANN[1:])
    await installation.must(*subscribe, "slack", "--target-value", "C0SECRET", "--integration-id", "slack")
    url = f"{installation.webhook.url}/T0K3N-IN-THE-PATH"
    await installation.must(*subscribe, "webhook", "--target-value", url)
    installation.webhook.script(Reply(status=400))

    ran = await installation.run("-v", "run-due")
    listed = [await installation.run("-v", noun, "list") for noun in ("subscriptions", "deliveries")]

    assert ran.code == 1, ran.err
    assert ran.err.count('"delivery.recorded"') == 3
    for secret in ("ann@example.org", token, "C0SECRET", "T0K3N", installation.slack.url, "smtp://", "sqlite:///"):
        assert secret not in ran.err
    for output in (ran.out, *(each.out + each.err for each in listed)):
        assert "T0K3N" not in output
        assert token not in output
    kept = b"".join(file.read_bytes() for file in installation.folder.glob("paperround.db*"))
    assert [secret for secret in (token, "T0K3N", "shop.db") if secret.encode() in kept] == []


@ON_SQLITE
async def test_moved_to_another_zone_nine_o_clock_stays_nine_o_clock(installation: Installation) -> None:
    insight = await installation.prepare()
    added = await installation.must(
        *("subscriptions", "add", "--insight", str(insight), "--target-type", "email", "--target-value", "a@b.example"),
        *("--frequency", "daily", "--start-date", "2026-01-05T09:00", "--timezone", "Europe/Berlin"),
    )

    moved = await installation.must("subscriptions", "edit", str(added["id"]), "--timezone", "Asia/Kolkata")

    assert moved["summary"] == "every day at 09:00, Asia/Kolkata"
