"""Rows become a picture and a sentence, whatever the rows are."""

from __future__ import annotations

import json
import socket
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.charts import _chart, chart_in_words, chart_png
from scheduler.snapshot import Cell, ColumnType, Display, InsightSnapshot, QueryError, QueryResult

NUMBER, TEXT, DATE, DATETIME, BOOLEAN = (
    ColumnType.NUMBER,
    ColumnType.TEXT,
    ColumnType.DATE,
    ColumnType.DATETIME,
    ColumnType.BOOLEAN,
)
DRAWN = [display for display in Display if display is not Display.TABLE]
MONDAY = date(2026, 11, 2)
DAYS = [(MONDAY + timedelta(days=number)).isoformat() for number in range(30)]


def insight(display: Display, columns: dict[str, ColumnType], rows: Sequence[Sequence[Cell]]) -> InsightSnapshot:
    now = datetime(2026, 11, 23, 8, tzinfo=UTC)
    result = QueryResult(tuple(columns), tuple(columns.values()), tuple(map(tuple, rows)), now)
    return InsightSnapshot(1, "abc", "An insight", "", display, result)


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data, crc = png[at + 4 : at + 8], png[at + 8 : at + 8 + length], png[at + 8 + length : at + 12 + length]
        assert zlib.crc32(kind + data) == int.from_bytes(crc)
        yield kind, data
        at += 12 + length


def look(png: bytes | None) -> tuple[int, int]:
    """Width and height of a picture that is whole and shows something."""
    assert png is not None
    parts = list(chunks(png))
    assert [kind for kind, _ in parts if kind != b"pHYs"] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour = struct.unpack(">IIBB", parts[0][1][:10])
    assert (depth, colour) == (8, 6)
    pixels = zlib.decompress(dict(parts)[b"IDAT"])
    size = width * 4 + 1
    lines = {pixels[at : at + size] for at in range(0, len(pixels), size)}
    assert len(pixels) == size * height
    assert len(lines) > 10  # of one colour, all lines are the same
    return width, height


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("display", DRAWN)
def test_every_display_is_a_small_picture_as_wide_as_the_card(display: Display) -> None:
    rows = [(day, 40_000 + 900 * number - 3_000 * (number % 7)) for number, day in enumerate(DAYS)]

    png = chart_png(insight(display, {"day": DATE, "revenue_eur": NUMBER}, rows))

    width, height = look(png)
    assert width == 2 * 568
    assert 2 * 80 < height < 2 * 340
    assert len(png or b"") < 80_000


def test_there_is_no_picture_of_nothing() -> None:
    nothing = [
        insight(Display.TABLE, {"day": DATE, "orders": NUMBER}, [(DAYS[0], 3)]),
        insight(Display.LINE, {"day": DATE, "orders": NUMBER}, []),
        insight(Display.NUMBER, {"orders": NUMBER}, [(None,)]),
        insight(Display.NUMBER, {"name": TEXT}, [("Ada",)]),
        insight(Display.BAR, {"name": TEXT, "place": TEXT}, [("Ada", "London")]),
        insight(Display.LINE, {"orders": NUMBER}, [(1,), (2,)]),
        InsightSnapshot(1, "abc", "Failed", "", Display.LINE, error=QueryError("timeout", "It took too long.")),
    ]

    assert [chart_png(each) for each in nothing] == [None] * len(nothing)
    assert [chart_in_words(each) for each in nothing] == [""] * len(nothing)


def test_names_lie_in_rows_of_their_own_and_times_stand_on_one_axis() -> None:
    few, many = ([(f"A long name, number {n}", n + 1) for n in range(count)] for count in (3, 9))
    days = [(day, number + 1) for number, day in enumerate(DAYS)]

    heights = [
        look(chart_png(insight(Display.BAR, {"x": kind, "n": NUMBER}, rows)))[1]
        for kind, rows in ((TEXT, few), (TEXT, many), (DATE, days[:3]), (DATE, days))
    ]

    assert heights[0] + 6 * 2 * 34 == heights[1]
    assert heights[2] == heights[3]


def test_any_thread_may_draw() -> None:
    snapshot = insight(Display.LINE, {"day": DATE, "orders": NUMBER}, [(day, len(day)) for day in DAYS])

    with ThreadPoolExecutor(4) as pool:
        pictures = set(pool.map(chart_png, [snapshot] * 8))

    assert pictures == {chart_png(snapshot)}


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (812, "812"),
        (12.5, "12.5"),
        (0.0021, "0.0021"),
        (48_210, "48,210"),
        (1_248_210.4, "1,248,210"),
        (-3, "−3"),
        (4.2e9, "4.2B"),
        (10**400, ""),
        (1e300, "1e300"),
        (2**60, "1.15e18"),
    ],
)
def test_a_number_says_every_figure_that_matters(value: float, said: str) -> None:
    assert chart_in_words(insight(Display.NUMBER, {"n": NUMBER}, [(value,)])) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(9_020, "9,020"), (48_210, "48.2k"), (999_600, "1M"), (2_500_000, "2.5M"), (-15_310, "−15.3k"), (None, "–")],
)
def test_beside_a_bar_there_are_three_figures(value: float | None, said: str) -> None:
    assert (
        chart_in_words(insight(Display.BAR, {"k": TEXT, "n": NUMBER}, [("a", value), ("b", 1)])) == f"a: {said}; b: 1"
    )


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("revenue_eur", "€12"),
        ("Price ($)", "$12"),
        ("cost GBP", "£12"),
        ("open rate %", "12%"),
        ("neuro", "12"),
        ("cent", "12"),
    ],
)
def test_the_name_of_a_column_mentions_its_unit(column: str, said: str) -> None:
    assert chart_in_words(insight(Display.NUMBER, {column: NUMBER}, [(12,)])) == said


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        ({"orders": NUMBER, "last_week": NUMBER}, [(112, 100)], "112 (+12% from 100 (last week))"),
        ({"orders": NUMBER, "last_week": NUMBER}, [(5, 0)], "5 (+5 from 0 (last week))"),
        ({"orders": NUMBER}, [(5,), (10,)], "5 (−50% from 10 (before))"),
        ({"day": DATE, "n": NUMBER}, [("2026-11-16", 8), ("2026-11-23", 8)], "8 (no change from 8 (16 Nov 2026))"),
        (
            {"day": DATE, "n": NUMBER},
            [("2026-11-16", 8), (None, 1), ("2026-11-23", 9)],
            "9 (+12.5% from 8 (16 Nov 2026))",
        ),
    ],
)
def test_a_number_is_compared_with_what_is_beside_or_before_it(
    columns: dict[str, ColumnType], rows: list[tuple[Cell, ...]], said: str
) -> None:
    assert chart_in_words(insight(Display.NUMBER, columns, rows)) == said


def test_a_line_says_where_it_ended_and_between_what_it_ran() -> None:
    rows = [("2026-11-03", 7), ("2026-11-01", 3), ("2026-11-02", 12), ("2026-11-04", None)]

    assert chart_in_words(insight(Display.LINE, {"day": DATE, "n": NUMBER}, rows)) == "3 Nov 2026: 7; between 3 and 12"


def test_each_column_of_numbers_is_a_series_and_so_is_each_text_in_long_form() -> None:
    wide = insight(Display.LINE, {"at": DATETIME, "Paid": NUMBER, "Free": NUMBER}, [("2026-11-01T09:30:00Z", 3, 4)])
    long = insight(
        Display.LINE,
        {"day": DATE, "city": TEXT, "n": NUMBER},
        [("2026-11-01", "Köln", 1), ("2026-11-01", "Bonn", 2), ("2026-11-02", "Bonn", 5)],
    )

    assert chart_in_words(wide) == "1 Nov 2026 09:30: Paid 3, Free 4; between 3 and 4"
    assert chart_in_words(long) == "2 Nov 2026: Köln –, Bonn 5; between 1 and 5"


def test_a_unit_stands_beside_numbers_when_all_of_them_have_it() -> None:
    both, one = (
        chart_in_words(insight(Display.BAR, {"k": TEXT, first: NUMBER, second: NUMBER}, [("a", 1, 2)]))
        for first, second in (("paid_eur", "due_eur"), ("Paid (€)", "Paid ($)"))
    )

    assert both == "a: paid €1, due €2"
    assert one == "a: Paid (€) 1, Paid ($) 2"


def test_rows_that_agree_are_added_up() -> None:
    rows = [("a", 1), ("b", 2), ("a", 3), ("b", None)]

    assert chart_in_words(insight(Display.BAR, {"k": TEXT, "n": NUMBER}, rows)) == "a: 4; b: 2"


def test_beyond_five_names_the_rest_is_counted() -> None:
    rows = [(f"n{number}", number) for number in range(8)]

    said = chart_in_words(insight(Display.BAR, {"k": TEXT, "n": NUMBER}, rows))

    assert said == "n0: 0; n1: 1; n2: 2; n3: 3; n4: 4 and 3 more"


def test_a_pie_says_shares_largest_first_and_adds_up_the_small() -> None:
    rows = [("Mail", 20), ("Search", 50), ("None", 0), *((f"s{number}", 5) for number in range(6))]

    said = chart_in_words(insight(Display.PIE, {"source": TEXT, "visits": NUMBER}, rows))

    assert said == "Search 50.0%, Mail 20.0%, s0 5.0%, s1 5.0%, s2 5.0%, 3 others 15.0%"


def test_a_pie_of_what_is_no_whole_is_bars() -> None:
    rows = [("in", 20), ("out", -15)]

    said = [chart_in_words(insight(each, {"k": TEXT, "n": NUMBER}, rows)) for each in (Display.PIE, Display.BAR)]

    assert said == ["in: 20; out: −15"] * 2


# ── hostile rows ─────────────────────────────────────────────────────────────────────────────────────────────────────

LABELS = [
    "datum.x",
    "{{x}}",
    "{{7*7}}",
    "<b>bold</b>",
    "'; alert(1)",
    '"); throw 1; //',
    "${1}",
    '{"signal": "width"}',
    "a.b[c]",
    "\\",
    "",
    None,
    "(none)",
    " ",
    "line\nbreak\ttab\x00nul",
    "😀",
    "😀 smile",
    "smile",
    "שלום עולם",
    "مرحبا \u202e txt",
    "日本語",
    "\ud800",
    "0001",
    "null",
    "x" * 5_000,
]
NUMBERS = [1e300, -1e308, 1e-300, 5e-324, 2**60, -(2**60), 10**400, 0, -0.0, 0.1 + 0.2, None, True]
HOSTILE: dict[str, tuple[dict[str, ColumnType], list[tuple[Cell, ...]]]] = {
    "labels": ({"label": TEXT, "n": NUMBER}, [(label, number) for number, label in enumerate(LABELS)]),
    "labels as series": (
        {"day": DATE, "label": TEXT, "n": NUMBER},
        [(day, label, number) for day in DAYS[:3] for number, label in enumerate(LABELS)],
    ),
    "column names": (
        {"a.b[0]": DATE, 'it\'s "n"': NUMBER, "datum['y']": NUMBER, "": NUMBER, "😀": NUMBER},
        [(day, number, -number, None, 7) for number, day in enumerate(DAYS)],
    ),
    "numbers along time": ({"day": DATE, "n": NUMBER}, list(zip(DAYS, NUMBERS, strict=False))),
    "numbers by name": ({"k": TEXT, "n": NUMBER, "m": NUMBER}, [(f"k{n}", n, n) for n in NUMBERS]),
    "numbers along numbers": ({"x": NUMBER, "y": NUMBER}, [(n, n) for n in NUMBERS]),
    "the smallest": ({"day": DATE, "n": NUMBER}, [(day, 1e-300 * (number + 1)) for number, day in enumerate(DAYS)]),
    "all the same": ({"day": DATE, "n": NUMBER}, [(day, 0) for day in DAYS]),
    "one point": ({"day": DATE, "n": NUMBER}, [(DAYS[0], 5)]),
    "one point of two": ({"day": DATE, "n": NUMBER, "m": NUMBER}, [(DAYS[0], 5, 6)]),
    "negatives": ({"k": TEXT, "n": NUMBER}, [("a", -1), ("b", -200_000), ("c", None)]),
    "times": (
        {"at": DATETIME, "n": NUMBER},
        [
            ("9999-12-31T23:59:59Z", 1),
            ("0001-01-01T00:00:00+14:00", 2),
            ("0001-01-01", 3),
            ("2026-11-02", 4),
            ("no", 5),
        ],
    ),
    "booleans": (
        {"paid": BOOLEAN, "n": NUMBER, "late": BOOLEAN},
        [(True, 3, False), (False, 1, True), (None, 2, None)],
    ),
    "duplicates": ({"day": DATE, "n": NUMBER}, [(day, 1) for day in [*DAYS[::-1], *DAYS]]),
    "200 categories": ({"k": TEXT, "n": NUMBER}, [(f"category {n}", (-1) ** n * n) for n in range(200)]),
    "200 series": ({"day": DATE, "k": TEXT, "n": NUMBER}, [(day, f"k{n}", n) for day in DAYS[:9] for n in range(200)]),
    "2,000 names with gaps": (
        {"k": TEXT, "n": NUMBER, "m": NUMBER},
        [(f"k{n}", n if n % 3 else None, n % 7) for n in range(2_000)],
    ),
}


@pytest.mark.parametrize("rows", HOSTILE)
def test_hostile_rows_are_drawn_like_any_others(rows: str) -> None:
    snapshots = [insight(display, *HOSTILE[rows]) for display in DRAWN]

    widths = [None if png is None else look(png)[0] for png in map(chart_png, snapshots)]

    assert set(widths[1:]) == {2 * 568}
    assert widths[0] in {None, 2 * 568}
    assert all("\n" not in chart_in_words(each) for each in snapshots)


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.datetimes().map(datetime.isoformat),
)


@st.composite
def snapshots(draw: st.DrawFn) -> InsightSnapshot:
    kinds = draw(st.lists(st.sampled_from(ColumnType), min_size=1, max_size=4))
    rows = draw(st.lists(st.tuples(*[CELLS] * len(kinds)), max_size=12))
    names = draw(st.lists(st.text(max_size=12), min_size=len(kinds), max_size=len(kinds), unique=True))
    return insight(draw(st.sampled_from(DRAWN)), dict(zip(names, kinds, strict=True)), rows)


@settings(deadline=None, max_examples=300)
@given(snapshots())
def test_there_are_words_whenever_there_is_a_picture(snapshot: InsightSnapshot) -> None:
    chart = _chart(snapshot)

    assert bool(chart_in_words(snapshot)) == (chart is not None)
    assert json.dumps(chart, allow_nan=False)


@settings(deadline=None, max_examples=25)
@given(snapshots())
def test_whatever_the_rows_a_picture_is_whole(snapshot: InsightSnapshot) -> None:
    png = chart_png(snapshot)

    assert png is None or look(png)[0] == 2 * 568


def test_ten_thousand_rows_are_drawn() -> None:
    rows = [((datetime(2026, 1, 1) + timedelta(minutes=n)).isoformat(), n % 997, n % 89, -n) for n in range(10_000)]  # noqa: DTZ001
    columns = {"at": DATETIME, "a": NUMBER, "b": NUMBER, "c": NUMBER}

    for display in (Display.AREA, Display.PIE):
        assert look(chart_png(insight(display, columns, rows)))[0] == 2 * 568


def test_text_and_nothing_where_numbers_should_be_are_no_picture() -> None:
    rows: list[tuple[Cell, ...]] = [("a", "text"), ("b", None), ("c", "12")]

    pictures = [chart_png(insight(display, {"k": TEXT, "n": NUMBER}, rows)) for display in DRAWN]

    assert pictures == [None] * len(DRAWN)


def strings(spec: Any, *, of_data: bool) -> Iterator[str]:
    """Every key and text of a specification, those of its data or all others."""
    match spec:
        case dict():
            for key, value in spec.items():
                if key in {"values", "domain"}:
                    yield from strings(value, of_data=True) if of_data else ()
                elif key != "description":
                    yield from () if of_data else (key,)
                    yield from strings(value, of_data=of_data)
        case list() | tuple():
            for each in spec:
                yield from strings(each, of_data=of_data)
        case str():
            yield spec


@pytest.mark.parametrize("display", DRAWN)
def test_what_users_wrote_is_nothing_but_data(display: Display) -> None:
    rows = [(day, f"by-user-{number % 9}", number + 1, 3) for number, day in enumerate(DAYS + DAYS)]
    spec = _chart(
        insight(display, {"by-user-x": DATE, "by-user-k": TEXT, "by-user-y": NUMBER, "by-user-z": NUMBER}, rows)
    )

    assert spec is not None
    assert not [text for text in strings(spec, of_data=False) if "by-user" in text]
    assert not {"url", "href", "signal", "params", "transform"} & set(strings(spec, of_data=False))


@pytest.mark.parametrize("display", DRAWN)
def test_a_label_that_looks_like_a_link_is_not_followed(display: Display) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/picture.png"
        labels = [
            url,
            f'<image href="{url}"/>',
            f'</text><image xlink:href="{url}"/>',
            f"url({url})",
            f"@import '{url}'",
        ]
        columns = {"k": TEXT, url: NUMBER, f'"/><image href="{url}"/>': NUMBER}

        png = chart_png(insight(display, columns, [(label, number, 1) for number, label in enumerate(labels, start=1)]))

        look(png)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
