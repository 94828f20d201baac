"""Insights run and exported over HTTP: as a delivery would show them, and safe wherever the file is opened."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET

import pytest

from scheduler import exporting
from scheduler.api.exports import attachment
from scheduler.drawing import PNG
from tests.scheduler.api.conftest import Client

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

FORMS = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "csv": "text/csv; charset=utf-8; header=present",
    "html": "text/html; charset=utf-8",
}
SCRIPT = "<script>alert(1)</script>"
HOSTILE = f"SELECT '{SCRIPT}' AS \"<img src=x onerror=alert(2)>\", 3 AS v"


async def insight(api: Client, sql: str, *, name: str = "Sales", display: str = "bar") -> str:
    """Where it is."""
    body = {"name": name, "source": 1, "sql": sql, "display": display, "check": False}
    return f"/insights/{(await api.must('POST', '/insights', 201, json=body))['id']}"


# ── run ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_an_insight_is_run_now_and_the_ledger_is_not_told(api: Client) -> None:
    path = await insight(api, "SELECT day, n, NULL AS missing, 'é日本' AS word FROM t LIMIT 1")
    api.world.clock.advance(minutes=1)

    assert await api.must("POST", f"{path}/run/") == {
        "columns": ["day", "n", "missing", "word"],
        "types": ["date", "number", "text", "text"],
        "result": [["2026-11-20", 1, None, "é日本"]],
        "last_refresh": "2026-11-22T12:01:00Z",
        "has_more": False,
    }
    assert await api.world.sql("SELECT * FROM exports") == []


@sqlite_only
async def test_a_run_stops_where_a_delivery_stops(api: Client) -> None:
    counting = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i <= 10000) SELECT i FROM c"

    shown = await api.must("POST", f"{await insight(api, counting)}/run")

    assert (len(shown["result"]), shown["has_more"]) == (10_000, True)


@sqlite_only
async def test_who_would_wait_for_too_many_others_is_sent_away(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await insight(api, "SELECT 1 AS one")
    monkeypatch.setattr(exporting, "TURN_WITHIN", 0.05)
    for _ in range(exporting.RUNS_AT_ONCE):
        await api.world.app.exporting._running.acquire()

    told = await api("POST", f"{path}/run")

    assert (told.status_code, told.headers["retry-after"]) == (503, "5")
    api.world.app.exporting._running.release()
    await api.must("POST", f"{path}/run")


@sqlite_only
async def test_a_query_that_fails_is_a_422_in_the_databases_own_words(api: Client) -> None:
    path = await insight(api, "SELECT n FROM gone_table")

    for answer in [await api("POST", f"{path}/run"), *[await api("GET", f"{path}/export.{form}") for form in FORMS]]:
        assert (answer.status_code, answer.json()["type"], answer.json()["code"]) == (422, "server_error", "error")
        assert "gone_table" in answer.json()["detail"]


@sqlite_only
async def test_a_source_that_does_not_answer_keeps_its_password(api: Client) -> None:
    url = "postgresql://reader:pa55word@127.0.0.1:1/shop"
    source = await api.world.app.catalog.add_source(api.world.project, "Shop", url, check=False)
    path = await insight(api, "SELECT 1")
    await api.must("PATCH", path, json={"source": source.id, "check": False})

    answer = await api("POST", f"{path}/run")

    assert answer.status_code == 422
    assert "pa55word" not in answer.text


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_each_kind_of_file_says_what_it_is_and_lets_nothing_run(api: Client) -> None:
    path = await insight(api, "SELECT day, n FROM t", name='Sales "é" 日本 / 2026', display="line")

    for form, media_type in FORMS.items():
        answer = await api("GET", f"{path}/export.{form}")
        headers = answer.headers
        assert (answer.status_code, headers["content-type"], headers["cache-control"]) == (200, media_type, "no-store")
        assert headers["x-content-type-options"] == "nosniff"
        assert {"default-src 'none'", "sandbox"} <= set(headers["content-security-policy"].split("; "))
        assert headers["content-disposition"] == (
            f'attachment; filename="Sales e 2026.{form}"; '
            f"filename*=UTF-8''Sales%20%C3%A9%20%E6%97%A5%E6%9C%AC%202026.{form}"
        )
    assert await api.world.sql("SELECT * FROM exports") == []


ROWS = (
    ("SELECT day, n FROM t", "line"),
    ("SELECT day, n FROM t", "table"),
    ("SELECT n FROM t WHERE 0", "number"),
    ("SELECT NULL AS a, char(0) || 'b' AS b", "pie"),
    (f"SELECT {', '.join(f'n AS column_{number}' for number in range(120))} FROM t", "table"),
)
"""A chart, a table, no rows, no number to draw, more columns than anybody reads."""


@sqlite_only
async def test_whatever_the_rows_there_is_a_picture_and_a_page(api: Client) -> None:
    for number, (sql, display) in enumerate(ROWS):
        path = await insight(api, sql, name=f"Insight {number}", display=display)

        png = (await api("GET", f"{path}/export.png")).content
        svg = (await api("GET", f"{path}/export.svg")).text
        page = (await api("GET", f"{path}/export.html")).text

        assert png.startswith(PNG)
        assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own, without a DTD
        assert ("data:image/png;base64," in page) == (display == "line")
        assert ("no rows" in page) == ("no rows" in svg) == ("WHERE 0" in sql)


@sqlite_only
async def test_nothing_that_a_user_wrote_is_markup(api: Client) -> None:
    path = await insight(api, HOSTILE, name=SCRIPT)

    svg = (await api("GET", f"{path}/export.svg")).text
    page = (await api("GET", f"{path}/export.html")).text

    for text in (svg, page):
        assert "&lt;script&gt;" in text
        assert not re.search(r"<script|<img src=x|<[^>]*\son\w+=|javascript:", text)


@sqlite_only
async def test_a_csv_has_every_row_and_reads_back_as_it_was(api: Client) -> None:
    path = await insight(api, "SELECT day, n, 'a \"b\", c' || char(10) || 'd' AS text FROM t")

    answer = await api("GET", f"{path}/export.csv")

    assert answer.headers["x-has-more"] == "false"
    assert list(csv.reader(io.StringIO(answer.text, newline=""))) == [
        ["day", "n", "text"],
        ["2026-11-20", "1", 'a "b", c\nd'],
        ["2026-11-21", "2", 'a "b", c\nd'],
    ]


@sqlite_only
async def test_a_picture_that_cannot_be_drawn_is_a_503_and_the_page_goes_without(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await insight(api, "SELECT day, n FROM t", display="line")
    await api.world.app.pictures.aclose()

    answer = await api("GET", f"{path}/export.png")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "2026-11-21" in (await api("GET", f"{path}/export.html")).text


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "plain", "full"),
    [
        ("Orders a day", "Orders a day.csv", "Orders%20a%20day.csv"),
        ("../../etc/passwd", "etc passwd.csv", "etc%20passwd.csv"),
        ("a\r\nSet-Cookie: b", "a Set-Cookie b.csv", "a%20Set-Cookie%20b.csv"),
        ('x"; filename="evil.exe', "x filename evil exe.csv", "x%20%3B%20filename%3D%20evil%20exe.csv"),
        ("日本", "4f2a9c01.csv", "%E6%97%A5%E6%9C%AC.csv"),
        (".htaccess", "htaccess.csv", "htaccess.csv"),
        ("NUL", "NUL insight.csv", "NUL%20insight.csv"),
        ("…", "4f2a9c01.csv", "%E2%80%A6.csv"),
        ("x" * 200, f"{'x' * 99}.csv", f"{'x' * 99}%E2%80%A6.csv"),
    ],
)
def test_a_files_name_is_a_name_and_nothing_else(name: str, plain: str, full: str) -> None:
    assert attachment(name, "csv", otherwise="4f2a9c01") == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{full}"
