"""Messages: what they say on each occasion, that they are safe whatever users wrote, and that every part is there."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from html.parser import HTMLParser
from importlib.resources import files
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from channels.addresses import parse_sender, wire_address
from channels.base import UNSUBSCRIBE_URL
from channels.mime import compose as mail_of
from scheduler.charts import chart_png
from scheduler.render import Occasion, compose, compose_data, entry_of, export_of, page
from scheduler.snapshot import ColumnType, Display, InsightSnapshot, QueryError, QueryResult
from scheduler.status import Trigger

NUMBER, TEXT, DATE, DATETIME = ColumnType.NUMBER, ColumnType.TEXT, ColumnType.DATE, ColumnType.DATETIME
MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)

OCCASION = Occasion(
    kind="email",
    delivery_id=UUID("0b9f3a0e-2f5c-4b57-9a34-6a6f0c2d7f11"),
    idempotency_key="subscription-42-2026-11-23T08:00:00Z",
    trigger=Trigger.SCHEDULED,
    occurrence_at=MONDAY,
    now=MONDAY + timedelta(seconds=3),
    subscription_id=42,
    title="Weekly shop numbers",
    resource_type="dashboard",
    resource_name="Shop overview",
    dashboard=(7, "Shop overview"),
    summary="every week on Monday at 09:00, Europe/Berlin",
    timezone="Europe/Berlin",
    next_at=MONDAY + timedelta(weeks=1),
    project_id=1,
    project_name="Corner Shop",
    sender_name="Ada Lovelace",
)


def insight(display, types, rows, *, number=11, name="Orders a day", columns=None, truncated=False, description=""):
    names = columns or [f"column {index}" for index in range(len(types))]
    result = QueryResult(tuple(names), tuple(types), tuple(map(tuple, rows)), MONDAY, truncated)
    return InsightSnapshot(number, f"short{number}", name, description, Display(display), result)


ORDERS = insight(
    "line", [DATE, NUMBER], [(f"2026-11-{day:02d}", day * 10) for day in range(1, 23)], columns=["day", "n"]
)
REVENUE = insight(
    "number", [NUMBER, NUMBER], [(1200, 1000)], number=12, name="Revenue", columns=["revenue_eur", "before"]
)
PRODUCTS = insight(
    "table",
    [TEXT, NUMBER, DATETIME],
    [(f"Coffee {n}", 20_000.5 - n, "2026-11-22T09:00:00Z") for n in range(137)],
    number=13,
    name="Products",
    columns=["Product", "Revenue (€)", "last_order"],
)
REFUNDS = InsightSnapshot(
    14,
    "short14",
    "Refunds",
    "",
    Display.BAR,
    error=QueryError("QueryTimeout", "The source took longer than 30 seconds."),
)


def composed(occasion=OCCASION, snapshots=(REVENUE, ORDERS), **changes):
    exports = [export_of(snapshot, image=chart_png(snapshot)) for snapshot in snapshots]
    return compose(replace(occasion, **changes), snapshots, exports, unsubscribe_urls={}, progress={})


class Page(HTMLParser):
    """What a mail program finds in the HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.rows = [], "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        if self.get_starttag_text() and self.lasttag not in {"style", "title"}:
            self.text += data
        if self.rows and self.lasttag in {"td", "th"} and data.strip():
            self.rows[-1].append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


# ── wording ──────────────────────────────────────────────────────────────────────────────────────────────────────────

NEW, KNOWN = {"is_invitation": True}, {"is_invitation": False}
ASKED = {"occurrence_at": None}


@pytest.mark.parametrize(
    ("kind", "trigger", "changes", "subject", "said"),
    [
        ("email", "scheduled", {}, "Weekly shop numbers – Monday, 23 November", "23 November 2026, 09:00 Berlin time"),
        ("email", "scheduled", {"title": None}, "Shop overview – Monday, 23 November", "Shop overview"),
        ("email", "manual", ASKED, "Weekly shop numbers – Monday, 23 November", "Revenue"),
        (
            "email",
            "target_change",
            ASKED | NEW,
            "Ada Lovelace subscribed you to Weekly shop numbers",
            "subscribed you to the dashboard “Shop overview” in Corner Shop. You will get it every week on Monday",
        ),
        (
            "email",
            "target_change",
            ASKED | KNOWN,
            "Updated: Weekly shop numbers",
            "It shows the dashboard “Shop overview”, every week on Monday",
        ),
        (
            "slack",
            "target_change",
            ASKED,
            "Subscribed: Weekly shop numbers",
            "Ada Lovelace subscribed this channel to the dashboard “Shop overview” in Corner Shop: every week",
        ),
        ("slack", "scheduled", {}, "Weekly shop numbers – Monday, 23 November", "*Revenue*: €1,200 (+20%"),
        ("slack", "manual", ASKED, "Weekly shop numbers – Monday, 23 November", "*Revenue*"),
        ("email", "backfill", {}, "Weekly shop numbers – Monday, 23 November", "Revenue"),
        ("email", "resend", {}, "Weekly shop numbers – Monday, 23 November", "Revenue"),
        (
            "email",
            "scheduled",
            {"now": datetime(2027, 1, 4, tzinfo=UTC)},
            "Weekly shop numbers – Monday, 23 November 2026",
            "Sent late",
        ),
    ],
)
def test_each_occasion_has_its_own_words(kind, trigger, changes, subject, said):
    message = composed(kind=kind, trigger=Trigger(trigger), **changes)

    assert message.subject == subject
    assert said in message.text
    if kind == "email":
        assert said in Page(message.html).text


@pytest.mark.parametrize(
    ("trigger", "minutes", "notice"),
    [
        (
            "scheduled",
            160,
            "Sent late: planned for Monday, 23 November 2026, 09:00 Berlin time, sent at 11:40.",
        ),
        ("backfill", 160, "Sent later, on request: planned for Monday, 23 November 2026, 09:00 Berlin time,"),
        ("resend", 26 * 60, "09:00 Berlin time, sent on Tuesday, 24 November 2026, 11:00 Berlin time."),
        ("scheduled", 14, None),
    ],
)
def test_a_late_delivery_says_when_it_was_planned_and_when_it_was_sent(trigger, minutes, notice):
    message = composed(trigger=Trigger(trigger), now=MONDAY + timedelta(minutes=minutes))

    for text in (message.text, Page(message.html).text):
        assert ("planned for" in text) == (notice is not None)
        assert notice is None or notice in text


@pytest.mark.parametrize(
    ("snapshots", "notice"),
    [
        ((REVENUE, ORDERS), None),
        (
            (REVENUE, REFUNDS, ORDERS, replace(REFUNDS, insight_id=15, short_id="short15")),
            "2 of 4 insights could not be",
        ),
        ((REFUNDS, replace(REFUNDS, insight_id=15, short_id="short15")), "None of the 2 insights could be computed."),
        ((REFUNDS,), "The insight could not be computed."),
    ],
)
@pytest.mark.parametrize("kind", ["email", "slack"])
def test_what_could_not_be_computed_is_said_at_the_top_and_in_its_place(kind, snapshots, notice):
    message = composed(kind=kind, snapshots=snapshots)

    assert (notice or "Revenue") in message.text
    assert ("computed" in message.text) == (notice is not None)
    assert message.text.count("longer than 30 seconds") == sum(each.error is not None for each in snapshots)


@pytest.mark.parametrize(
    ("timezone", "said"),
    [
        ("Europe/Berlin", "Monday, 23 November 2026, 09:00 Berlin time"),
        ("America/Argentina/Buenos_Aires", "Monday, 23 November 2026, 05:00 Buenos Aires time"),
        ("Pacific/Kiritimati", "Monday, 23 November 2026, 22:00 Kiritimati time"),
        ("UTC", "Monday, 23 November 2026, 08:00 UTC"),
        ("Etc/GMT+5", "Monday, 23 November 2026, 03:00 UTC-05:00"),
    ],
)
def test_instants_are_told_in_the_subscriptions_zone(timezone, said):
    assert said in composed(timezone=timezone).text


def test_an_invitation_quotes_its_message_and_says_how_to_leave():
    message = composed(
        trigger=Trigger.TARGET_CHANGE, occurrence_at=None, invite_message="Hi Grace,\n\n<b>as promised</b>\n"
    )

    assert "> Hi Grace,\n> \n> <b>as promised</b>\n" in message.text
    assert "Next delivery: Monday, 30 November 2026, 09:00 Berlin time" in message.text
    assert "Hi Grace," in Page(message.html).text
    assert not Page(message.html).all("b")
    assert [link["href"] for link in Page(message.html).all("a")] == [UNSUBSCRIBE_URL] * 2


def test_no_other_mail_quotes_the_invitation():
    assert "as promised" not in composed(invite_message="as promised").text


def test_the_last_delivery_promises_no_further_one():
    message = composed(next_at=None)

    assert "No further delivery is planned." in message.text
    assert "No further delivery is planned." in Page(message.html).text


def test_every_mail_says_why_it_came_and_how_to_stop_it():
    message = composed()

    why = "You get this because Ada Lovelace subscribed this address to the dashboard “Shop overview” in Corner Shop"
    assert why in message.text
    assert why in Page(message.html).text
    assert "The numbers are from Monday, 23 November 2026, 09:00 Berlin time." in message.text
    assert f"Unsubscribe: {UNSUBSCRIBE_URL}\n" in message.text


def test_where_nobody_can_unsubscribe_by_link_the_line_is_gone():
    assert "nsubscribe" not in composed().text_for("a@example.org")


@pytest.mark.parametrize("kind", ["email", "slack"])
def test_a_subject_is_one_short_line(kind):
    message = composed(kind=kind, title="Bcc: everyone\r\nX: y\x00\u202e " + "long " * 90)

    assert message.subject.startswith("Bcc: everyone X: y long long")
    assert message.subject.endswith("– Monday, 23 November")
    assert message.subject.isprintable()
    assert len(message.subject) <= 200


# ── the HTML ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_picture_that_the_html_shows_is_there_with_its_size_and_its_words():
    message = composed(snapshots=(REVENUE, ORDERS, PRODUCTS, REFUNDS))

    shown = Page(message.html).all("img")
    pictures = {export.name: export for export in message.exports if export.image}
    assert [image["src"] for image in shown] == [f"cid:{name}" for name in pictures]
    for image, export in zip(shown, pictures.values(), strict=True):
        width, height = (int.from_bytes(export.image[start : start + 4]) // 2 for start in (16, 20))
        assert (image["width"], image["height"]) == (str(width), str(height))
        assert image["alt"] == f"{export.title}: {export.text.splitlines()[0]}"


def test_the_html_asks_nothing_of_the_network():
    page = Page(composed(snapshots=(REVENUE, ORDERS, PRODUCTS, REFUNDS)).html)

    references = [value for _, attributes in page.tags for name, value in attributes.items() if name in {"src", "href"}]
    assert {reference for reference in references if not reference.startswith("cid:")} == {UNSUBSCRIBE_URL}
    assert not {"script", "link", "iframe", "form", "object"} & {tag for tag, _ in page.tags}
    assert not [value for _, attributes in page.tags for value in attributes.values() if "url(" in (value or "")]


def test_the_style_is_on_each_element_and_only_phones_and_the_dark_need_a_sheet():
    html = composed().html

    (sheet,) = re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL)
    assert sheet.strip().startswith("@media (max-width: 480px)")
    assert "prefers-color-scheme: dark" in sheet
    assert "font-family" in Page(html).all("body")[0]["style"]
    assert Page(html).all("html") == [{"lang": "en"}]


def test_a_table_shows_its_first_rows_with_numbers_to_the_right():
    page = Page(composed(snapshots=(PRODUCTS,)).html)

    assert ["Product", "Revenue (€)", "last order"] in page.rows
    assert ["Coffee 0", "20,000.50", "2026-11-22 09:00 UTC"] in page.rows
    assert sum(bool(row) and row[0].startswith("Coffee") for row in page.rows) == 25
    assert "… and 112 more rows" in page.text
    numbers = [cell for cell in page.all("td") if cell.get("class", "").startswith("number")]
    assert len(numbers) == 25
    assert all("text-align:right" in cell["style"].replace(" ", "") for cell in numbers)


def test_a_wide_table_shows_its_first_columns():
    wide = insight("table", [NUMBER] * 14, [range(14)])

    assert "… and 6 more columns" in Page(composed(snapshots=(wide,)).html).text


def test_what_cannot_be_drawn_is_shown_as_a_table():
    page = Page(composed(snapshots=(insight("line", [TEXT, TEXT], [("a", "b")]),)).html)

    assert ["a", "b"] in page.rows
    assert not page.all("img")


def test_a_mail_of_many_tables_stays_below_what_gmail_shows():
    tables = [replace(PRODUCTS, insight_id=number, short_id=f"s{number}") for number in range(25)]

    message = composed(snapshots=tables)

    assert len(message.html.encode()) < 102_000
    assert Page(message.html).text.count("more rows") == 25


def test_a_query_without_rows_says_so():
    message = composed(snapshots=(insight("bar", [TEXT, NUMBER], []),))

    assert "The query returned no rows." in message.text
    assert "The query returned no rows." in Page(message.html).text


def test_a_single_insight_is_not_named_twice():
    page = Page(composed(snapshots=(ORDERS,), title=None, resource_type="insight", resource_name="Orders a day").html)

    assert (len(page.all("h1")), len(page.all("h2"))) == (1, 0)


def test_the_mail_can_be_sent():
    message = composed(snapshots=(REVENUE, PRODUCTS))

    mail = mail_of(message, parse_sender("Paperround <paperround@example.org>"))
    raw = mail.addressed_to("ann@example.org", wire_address("ann@example.org"))
    page = message_from_bytes(raw, policy=policy.default).get_body(("html",)).get_content()

    assert page.count("cid:short12.") == 1
    assert f'href="{UNSUBSCRIBE_URL}"' in message.html
    assert 'href="#"' in page  # nobody's link was given


# ── what users write ─────────────────────────────────────────────────────────────────────────────────────────────────

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% for x in cards %}{{ x }}{% endfor %}",
    "</td></table></style><style>*{display:none}</style>",
    "&lt;b&gt; & <!-- --> ]]>",
    "javascript:alert(1) url(https://evil.example/x)",
]


@pytest.mark.parametrize("evil", EVIL)
def test_whatever_users_write_is_shown_as_they_wrote_it(evil):
    data = insight("table", [TEXT, NUMBER], [(evil, 1)], name=evil, columns=[evil, "n"], description=evil)
    drawn = insight("bar", [TEXT, NUMBER], [(evil, 1)], number=15, name=evil, columns=[evil, "n"])
    failed = replace(REFUNDS, name=evil, error=QueryError("QueryFailed", evil))

    message = composed(
        snapshots=(data, drawn, failed),
        trigger=Trigger.TARGET_CHANGE,
        title=evil,
        resource_name=evil,
        project_name=evil,
        sender_name=evil,
        invite_message=evil,
        summary=evil,
    )

    page, plain = Page(message.html), Page(composed(snapshots=(PRODUCTS, REVENUE, REFUNDS)).html)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}
    assert len(page.all("img")) == 1
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(" ".join(evil.split())) >= 10
    assert evil in message.text
    assert message.subject == f"{evil} subscribed you to {evil}"


def test_a_page_escapes_what_it_is_told():
    text = page("unsubscribe.html", state="ask", address="<script>a@example.org")

    assert "&lt;script&gt;a@example.org" in text
    assert not Page(text).all("script")
    assert Page(text).all("form") == [{"method": "post"}]


@pytest.mark.parametrize(("state", "title"), [("done", "Unsubscribed"), ("unknown", "This link does not work")])
def test_a_page_for_each_end_of_an_unsubscribe_link(state, title):
    text = page("unsubscribe.html", state=state, address="a@example.org")

    assert title in Page(text).text
    assert not Page(text).all("form")


# ── exports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        (REVENUE, "€1,200 (+20% from €1,000 (before))"),
        (
            insight("table", [TEXT, NUMBER], [("Coffee", 1200), ("Tea", -7)], columns=["what", "sold_pieces"]),
            "2 rows\nwhat    sold pieces\nCoffee         1200\nTea              −7",
        ),
        (
            insight("area", [DATE, NUMBER], [("2026-11-01", 1), ("2026-11-02", 2.5)], columns=["day", "n"]),
            "2 Nov 2026: 2.5; between 1 and 2.5\nday            n\n2026-11-01  1.00\n2026-11-02  2.50",
        ),
        (REFUNDS, "The source took longer than 30 seconds."),
        (insight("bar", [TEXT, NUMBER], []), "The query returned no rows."),
        (
            insight("table", [NUMBER], [(1,)], columns=["customer_id"], truncated=True),
            "more than 1 row\ncustomer id\n          1\n… and at least 0 more rows",
        ),
    ],
)
def test_an_export_says_in_its_first_line_what_it_shows(snapshot, text):
    export = export_of(snapshot)

    assert (export.name, export.title, export.text) == (snapshot.short_id, snapshot.name, text)
    assert export.error == (snapshot.error.message if snapshot.error else None)


def test_the_newest_rows_of_a_course_and_the_first_rows_of_a_list_are_in_the_text():
    lines = export_of(ORDERS).text.splitlines()

    assert (lines[2], lines[-2], lines[-1]) == ("2026-11-15  150", "2026-11-22  220", "… and 14 more rows")
    assert export_of(PRODUCTS).text.splitlines()[2].startswith("Coffee 0")


def test_a_chat_gets_a_sentence_beside_a_picture_and_a_block_of_fixed_width_for_rows():
    message = composed(kind="slack", snapshots=(PRODUCTS, ORDERS))

    assert message.html == ""
    assert message.exports[0].text.startswith("137 rows\n```\nProduct ")
    assert message.exports[0].text.endswith("… and 129 more rows\n```")
    assert message.exports[1].text == "22 Nov 2026: 220; between 10 and 220"
    assert "*Products*: 137 rows\n```\nProduct " in message.text


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_data_is_the_contracts():
    assert composed(snapshots=(REVENUE, REFUNDS)).data == {
        "version": 1,
        "event": "subscription.delivery",
        "delivery": {
            "id": "0b9f3a0e-2f5c-4b57-9a34-6a6f0c2d7f11",
            "idempotency_key": "subscription-42-2026-11-23T08:00:00Z",
            "trigger_type": "scheduled",
            "scheduled_at": "2026-11-23T08:00:00Z",
        },
        "subscription": {
            "id": 42,
            "title": "Weekly shop numbers",
            "resource_type": "dashboard",
            "resource_name": "Shop overview",
            "summary": "every week on Monday at 09:00, Europe/Berlin",
            "timezone": "Europe/Berlin",
            "next_delivery_date": "2026-11-30T08:00:00Z",
        },
        "project": {"id": 1, "name": "Corner Shop"},
        "dashboard": {"id": 7, "name": "Shop overview"},
        "change_summary": None,
        "insights": [
            {
                "id": 12,
                "short_id": "short12",
                "name": "Revenue",
                "description": "",
                "display": "number",
                "query_results": {
                    "columns": ["revenue_eur", "before"],
                    "types": ["number", "number"],
                    "result": [[1200, 1000]],
                    "last_refresh": "2026-11-23T08:00:00Z",
                    "has_more": False,
                },
            },
            {
                "id": 14,
                "short_id": "short14",
                "name": "Refunds",
                "description": "",
                "display": "bar",
                "query_results": None,
                "query_error": {"type": "QueryTimeout", "message": "The source took longer than 30 seconds."},
            },
        ],
    }


@pytest.mark.parametrize(
    "changes",
    [{}, {"dashboard": None, "resource_type": "insight", "title": None}, {"occurrence_at": None, "next_at": None}],
)
def test_the_data_keeps_to_the_published_schema(changes):
    schema = json.loads((files("templates") / "webhook" / "payload.schema.json").read_text(encoding="utf-8"))
    occasion = replace(OCCASION, kind="webhook", **changes)
    data = compose_data(occasion, [entry_of(each) for each in (REVENUE, ORDERS, REFUNDS)]).data

    Draft202012Validator(schema).validate(json.loads(json.dumps(data)))


def test_the_data_has_a_thousand_rows_at_most():
    long = insight("line", [DATE, NUMBER], [("2026-11-22", number) for number in range(1001)])

    entry = entry_of(long)["query_results"]

    assert (len(entry["result"]), entry["has_more"]) == (1000, True)


def test_the_message_carries_the_deliverys_identity_links_and_progress():
    message = compose(
        OCCASION, [], [], unsubscribe_urls={"a@example.org": "https://x.example/u"}, progress={"C1": {"ts": "1"}}
    )

    assert (message.id, message.sent_at) == (OCCASION.idempotency_key, OCCASION.now)
    assert message.unsubscribe_urls == {"a@example.org": "https://x.example/u"}
    assert message.progress == {"C1": {"ts": "1"}}
