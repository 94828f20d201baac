"""From insights to what people read: the exports of a delivery, its message in each channel's wording, the pages.

The wording itself is in ``templates/``, a folder a channel.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, Generic, TypeVar
from uuid import UUID

from css_inline import CSSInliner
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from channels.base import UNSUBSCRIBE_URL, Entry, Export, Message, Progress
from scheduler.catchup import ON_TIME
from scheduler.charts import chart_in_words
from scheduler.snapshot import Display, InsightSnapshot, QueryResult
from scheduler.status import Trigger
from scheduler.tables import Table, aligned, one_line, table_of
from scheduler.zones import zone

It = TypeVar("It")
CARDS_KEPT = 64
"""Insights as they are shown: each that a worker keeps (:mod:`scheduler.content`), for mails and for Slack."""
ROWS_IN_DATA = 1000
ROWS_IN_EMAIL, ROWS_IN_TABLE, LEAST_ROWS = 60, 25, 5
COLUMNS_IN_EMAIL, CELL_IN_EMAIL = 8, 120
ROWS_IN_TEXT, COLUMNS_IN_TEXT, CELL_IN_TEXT = 8, 5, 24
NAME, SUBJECT, PREVIEW, WORDS = 120, 200, 140, 300
"""The longest name in a heading, subject, preview beside the subject, and description of a chart, in characters."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """What is delivered to whom, and why now: all that the wording needs.

    ``kind`` is the channel's; ``sender_name`` who subscribed; ``summary`` the recurrence as a sentence;
    ``is_invitation`` tells a new e-mail recipient from one whose subscription changed; ``change_summary`` is what a
    model says of what is shown, if it was asked.
    """

    kind: str
    delivery_id: UUID
    idempotency_key: str
    trigger: Trigger
    occurrence_at: datetime | None
    now: datetime
    subscription_id: int
    title: str | None
    resource_type: str
    resource_name: str
    dashboard: tuple[int, str] | None
    summary: str
    timezone: str
    next_at: datetime | None
    project_id: int
    project_name: str
    sender_name: str
    invite_message: str | None = None
    is_invitation: bool = True
    spread: timedelta = timedelta(0)
    """It may start so long after the occurrence, and is not late."""
    change_summary: str | None = None


class Wording(StrEnum):
    """How a message opens."""

    REGULAR = "regular"
    INVITATION = "invitation"
    """To somebody who was subscribed by another person."""
    CHANGED = "changed"
    SUBSCRIBED = "subscribed"
    """To a Slack channel or a webhook that is new, or shows something new."""


@dataclass(frozen=True, slots=True)
class Card:
    """One insight in a message: a picture ``size`` CSS pixels wide and high, or a table, or what is wrong with it."""

    name: str
    title: str
    description: str
    words: str
    text: str
    size: tuple[int, int] | None
    table: Table | None
    error: str | None


# ── one insight ──────────────────────────────────────────────────────────────────────────────────────────────────────


def export_of(snapshot: InsightSnapshot, *, image: bytes | None = None) -> Export:
    """The insight with its picture; its ``text`` says it in one line and, where it has many rows, shows some of them.

    ``image`` is a PNG of :func:`scheduler.charts.chart_spec`; None where there is nothing to draw, or no need to.
    """
    title = one_line(snapshot.name, NAME) or snapshot.short_id
    if snapshot.error is not None:
        error = one_line(snapshot.error.message, WORDS) or "It could not be computed."
        return Export(snapshot.short_id, title, error, error=error)
    return Export(snapshot.short_id, title, "\n".join(_lines(snapshot)), image)


def _lines(snapshot: InsightSnapshot) -> list[str]:
    result = snapshot.result
    if result is None or not result.rows:
        return ["The query returned no rows."]
    words = one_line(chart_in_words(snapshot), WORDS)
    if words and snapshot.display is Display.NUMBER:
        return [words]
    return [words or _size(result), *aligned(_excerpt(snapshot, result))]


def _excerpt(snapshot: InsightSnapshot, result: QueryResult) -> Table:
    """The newest rows of what runs along time, the first rows of the rest."""
    is_course = snapshot.display in {Display.LINE, Display.AREA}
    return table_of(result, rows=ROWS_IN_TEXT, columns=COLUMNS_IN_TEXT, cell=CELL_IN_TEXT, from_end=is_course)


def _size(result: QueryResult) -> str:
    more = "more than " if result.truncated else ""
    return f"{more}{len(result.rows):,} row{'' if len(result.rows) == 1 else 's'}"


def _cards(snapshots: Sequence[InsightSnapshot], exports: Sequence[Export]) -> list[Card]:
    """Tables share the rows that an e-mail has room for: beyond 102 kB, Gmail hides the rest and the footer with it."""
    tables = sum(export.image is None and export.error is None for export in exports)
    rows = max(LEAST_ROWS, min(ROWS_IN_TABLE, ROWS_IN_EMAIL // max(1, tables)))
    return [_card(_Same(each), _Same(export), rows=rows) for each, export in zip(snapshots, exports, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Same(Generic[It]):
    """What is kept by: this very object, however many rows it has, and not its equal."""

    it: It

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.it is self.it

    def __hash__(self) -> int:
        return id(self.it)


@lru_cache(maxsize=CARDS_KEPT)
def _card(of: _Same[InsightSnapshot], shown: _Same[Export], *, rows: int) -> Card:
    """Made once for all deliveries that show the same."""
    snapshot, export = of.it, shown.it
    result = snapshot.result if export.image is None else None
    return Card(
        name=export.name,
        title=export.title,
        description=one_line(snapshot.description, WORDS),
        words=export.text.partition("\n")[0],
        text=export.text,
        size=None if export.image is None else _size_of(export.image),
        table=table_of(result, rows=rows, columns=COLUMNS_IN_EMAIL, cell=CELL_IN_EMAIL)
        if result is not None and result.rows
        else None,
        error=export.error,
    )


def _size_of(png: bytes) -> tuple[int, int]:
    """In CSS pixels, each of which is two of the picture's (PNG, 11.2.1: width and height begin the first chunk)."""
    return int.from_bytes(png[16:20]) // 2, int.from_bytes(png[20:24]) // 2


# ── the message ──────────────────────────────────────────────────────────────────────────────────────────────────────


def compose(
    occasion: Occasion,
    snapshots: Sequence[InsightSnapshot],
    exports: Sequence[Export],
    *,
    unsubscribe_urls: Mapping[str, str],
    progress: Mapping[str, Progress],
) -> Message:
    """What this delivery says; ``exports`` are the snapshots' own, in their order."""
    is_email = occasion.kind == "email"
    folder = "email" if is_email else "slack"
    shown = tuple(exports) if is_email else tuple(_for_chat(_Same(export)) for export in exports)
    words = _words(occasion, _cards(snapshots, shown), as_of=_oldest(snapshots))
    subject = one_line(_filled(f"{folder}/subject.txt", words), SUBJECT)
    return Message(
        id=occasion.idempotency_key,
        subject=subject,
        text=_filled(f"{folder}/body.txt", words).strip() + "\n",
        html=_mail_page({**words, **_sentences(words), "subject": subject}) if is_email else "",
        data=_data(occasion, [entry_of(each) for each in snapshots]),
        sent_at=occasion.now,
        exports=shown,
        unsubscribe_urls=unsubscribe_urls,
        progress=progress,
    )


def compose_data(occasion: Occasion, entries: Sequence[Entry]) -> Message:
    """What this delivery says to a program, in few words; ``entries`` are those of the insights."""
    name = one_line(occasion.title or occasion.resource_name, NAME) or "Untitled"
    return Message(
        id=occasion.idempotency_key,
        subject=f"Subscribed: {name}" if _wording(occasion) is Wording.SUBSCRIBED else name,
        text="",
        html="",
        data=_data(occasion, entries),
        sent_at=occasion.now,
    )


def compose_notice(occasion: Occasion, notice: Mapping[str, Any]) -> Message:
    """What a subscription's owner is told; ``notice`` is what :mod:`scheduler.consequences` wrote down."""
    at = datetime.fromisoformat(notice["scheduled_at"]) if notice.get("scheduled_at") else occasion.now
    words = {
        "kind": notice["kind"],
        "name": one_line(occasion.title or occasion.resource_name, NAME) or "Untitled",
        "project": one_line(occasion.project_name, NAME),
        "resource_type": occasion.resource_type,
        "resource_name": one_line(occasion.resource_name, NAME),
        "summary": occasion.summary,
        "subscription_id": occasion.subscription_id,
        "day": _day(at, occasion),
        "at": _in_full(at, occasion.timezone),
        "reason": one_line(notice.get("reason", "")),
        "nobody": notice.get("nobody", False),
        "failures": [[one_line(each) for each in pair] for pair in notice.get("failures", ())],
        "further": notice.get("further", 0),
        "commands": _commands(occasion, notice),
    }
    lead, why, advice = (_filled(f"notice/{name}.txt", words).strip() for name in ("lead", "why", "advice"))
    words |= {"subject": one_line(_filled("notice/subject.txt", words), SUBJECT), "lead": lead, "advice": advice}
    return Message(
        id=occasion.idempotency_key,
        subject=words["subject"],
        text=_filled("notice/body.txt", words).strip() + "\n",
        html=_page_of("notice/body.html", {**words, "why": why, "preview": lead[:PREVIEW]}),
        data={},
        sent_at=occasion.now,
    )


def _commands(occasion: Occasion, notice: Mapping[str, Any]) -> list[str]:
    """What the owner, or whoever has the command line, can type."""
    subscription = occasion.subscription_id
    match notice["kind"]:
        case "failed":
            return [f"paperround deliveries resend {notice['delivery_id']}"]
        case "ended":
            return [f"paperround subscriptions edit {subscription} --until-date DATE"]
        case _:
            return [f"paperround subscriptions resume {subscription}"]


def _mail_page(words: Mapping[str, Any]) -> str:
    """A frame of this delivery's own around cards that other deliveries show, too."""
    cards = "".join(_card_page(_Same(card), is_named=card.title != words["name"]) for card in words["cards"])
    return _page_of("email/body.html", words).replace(CARDS, cards)


CARDS = "<!--cards-->"
"""Where they go in the page; no word of a user's can look like this, for it is escaped."""


@lru_cache(maxsize=CARDS_KEPT)
def _card_page(card: _Same[Card], *, is_named: bool) -> str:
    words = {"card": card.it, "heading": "" if is_named else card.it.title, "subject": "", "preview": ""}
    return _page_of("email/card.html", words).split(CARDS)[1]


def _page_of(template: str, words: Mapping[str, Any]) -> str:
    """The HTML, its style on each element, for mail programs that read no style sheets. Sentences are escaped there."""
    return _inliner().inline(_filled(template, words))


def _sentences(words: Mapping[str, Any]) -> dict[str, str]:
    """The sentences that text and page share."""
    return {name: _filled(f"partials/{name}.txt", words).strip() for name in ("lead", "why")}


def _oldest(snapshots: Sequence[InsightSnapshot]) -> datetime | None:
    return min((each.result.refreshed_at for each in snapshots if each.result is not None), default=None)


def _words(occasion: Occasion, cards: Sequence[Card], *, as_of: datetime | None) -> dict[str, Any]:
    """What every template of a message can say."""
    at = occasion.occurrence_at or occasion.now
    return {
        "preview": one_line(" · ".join(f"{card.title}: {card.words}" for card in cards[:3]), PREVIEW),
        "wording": _wording(occasion),
        "kind": occasion.kind,
        "name": one_line(occasion.title or occasion.resource_name, NAME) or "Untitled",
        "resource_type": occasion.resource_type,
        "resource_name": one_line(occasion.resource_name, NAME),
        "project": one_line(occasion.project_name, NAME),
        "sender": one_line(occasion.sender_name, NAME) or "Somebody",
        "invite_message": [one_line(line) for line in (occasion.invite_message or "").strip().splitlines()],
        "summary": occasion.summary,
        "day": _day(at, occasion),
        "at": _in_full(at, occasion.timezone),
        "as_of": None if as_of is None else _in_full(as_of, occasion.timezone),
        "next_at": None if occasion.next_at is None else _in_full(occasion.next_at, occasion.timezone),
        "notices": [notice for notice in (_lateness(occasion), _missing(cards)) if notice],
        "change_summary": one_line(occasion.change_summary or ""),
        "cards": cards,
        "unsubscribe_url": UNSUBSCRIBE_URL,
    }


def _wording(occasion: Occasion) -> Wording:
    match occasion.trigger:
        case Trigger.TARGET_CHANGE if occasion.kind != "email":
            return Wording.SUBSCRIBED
        case Trigger.TARGET_CHANGE:
            return Wording.INVITATION if occasion.is_invitation else Wording.CHANGED
        case Trigger.SCHEDULED | Trigger.MANUAL | Trigger.BACKFILL | Trigger.RESEND | Trigger.NOTICE:
            return Wording.REGULAR  # a test, too: it shows what will come


def _lateness(occasion: Occasion) -> str:
    if occasion.occurrence_at is None or occasion.now - occasion.occurrence_at < ON_TIME + occasion.spread:
        return ""
    planned, sent = (each.astimezone(zone(occasion.timezone)) for each in (occasion.occurrence_at, occasion.now))
    how = "late" if occasion.trigger is Trigger.SCHEDULED else "later, on request"
    when = f"at {sent:%H:%M}" if sent.date() == planned.date() else f"on {_in_full(sent, occasion.timezone)}"
    return f"Sent {how}: planned for {_in_full(planned, occasion.timezone)}, sent {when}."


def _missing(cards: Sequence[Card]) -> str:
    failed = sum(card.error is not None for card in cards)
    if failed == 0:
        return ""
    if len(cards) == 1:
        return "The insight could not be computed."
    if failed == len(cards):
        return f"None of the {len(cards)} insights could be computed."
    return f"{failed} of {len(cards)} insights could not be computed."


@lru_cache(maxsize=CARDS_KEPT)
def _for_chat(shown: _Same[Export]) -> Export:
    """Beside a picture its sentence is enough; rows keep their columns in a fixed-width block."""
    export = shown.it
    words, _, rows = export.text.partition("\n")
    if export.image is not None or not rows:
        return replace(export, text=words)
    return replace(export, text=f"{words}\n```\n{rows.replace('`', chr(39))}\n```")


def _day(moment: datetime, occasion: Occasion) -> str:
    """Monday, 23 November; with its year when that is not the present one."""
    here, now = (each.astimezone(zone(occasion.timezone)) for each in (moment, occasion.now))
    return f"{here:%A}, {here.day} {here:%B}" + (f" {here.year}" if here.year != now.year else "")


def _in_full(moment: datetime, timezone: str) -> str:
    """Monday, 23 November 2026, 09:00 Berlin time."""
    here = moment.astimezone(zone(timezone))
    return f"{here:%A}, {here.day} {here:%B} {here.year}, {here:%H:%M} {_zone_name(here, timezone)}"


def _zone_name(here: datetime, timezone: str) -> str:
    """Berlin time; where the zone's name has no place in it, its offset from UTC."""
    area, _, place = timezone.rpartition("/")
    if area and area != "Etc":
        return f"{place.replace('_', ' ')} time"
    offset = f"{here:%z}"
    return "UTC" if offset == "+0000" else f"UTC{offset[:3]}:{offset[3:]}"


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def entry_of(snapshot: InsightSnapshot) -> Entry:
    """One insight in the data; made once however many messages carry it."""
    return Entry(_capped(snapshot).as_json(), display=str(snapshot.display))


def _data(occasion: Occasion, entries: Sequence[Entry]) -> dict[str, Any]:
    """The JSON of ``templates/webhook/payload.schema.json``; the same for every attempt."""
    dashboard = occasion.dashboard
    return {
        "version": 1,
        "event": "subscription.delivery",
        "delivery": {
            "id": str(occasion.delivery_id),
            "idempotency_key": occasion.idempotency_key,
            "trigger_type": str(occasion.trigger),
            "scheduled_at": _instant(occasion.occurrence_at),
        },
        "subscription": {
            "id": occasion.subscription_id,
            "title": occasion.title,
            "resource_type": occasion.resource_type,
            "resource_name": occasion.resource_name,
            "summary": occasion.summary,
            "timezone": occasion.timezone,
            "next_delivery_date": _instant(occasion.next_at),
        },
        "project": {"id": occasion.project_id, "name": occasion.project_name},
        "dashboard": None if dashboard is None else {"id": dashboard[0], "name": dashboard[1]},
        "change_summary": occasion.change_summary,
        "insights": [*entries],
    }


def _capped(snapshot: InsightSnapshot) -> InsightSnapshot:
    result = snapshot.result
    if result is None or len(result.rows) <= ROWS_IN_DATA:
        return snapshot
    return replace(snapshot, result=replace(result, rows=result.rows[:ROWS_IN_DATA], truncated=True))


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def words_of_page(
    snapshots: Sequence[InsightSnapshot], exports: Sequence[Export], *, at: datetime, timezone: str
) -> dict[str, Any]:
    """What a page says of insights as they were shown at that instant; their pictures are part of it (RFC 2397)."""
    cards, as_of = _cards(snapshots, exports), _oldest(snapshots)
    return {
        "at": _in_full(at, timezone),
        "as_of": None if as_of is None else _in_full(as_of, timezone),
        "notice": _missing(cards),
        "cards": cards,
        "pictures": {
            each.name: f"data:image/png;base64,{b64encode(each.image).decode()}"
            for each in exports
            if each.image is not None
        },
    }


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────────


def page(name: str, **values: object) -> str:
    """One of ``templates/pages`` with these values, each of which is escaped."""
    return _filled(f"pages/{name}", values)


def _filled(name: str, values: Mapping[str, object]) -> str:
    return _templates().get_template(name).render(values)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("templates", ""),
        autoescape=select_autoescape(disabled_extensions=("txt", "css"), default=True),
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _inliner() -> CSSInliner:
    return CSSInliner(minify_css=True, load_remote_stylesheets=False)
