"""Charts: what is read from the rows, how numbers and times are written, and that anything can be drawn."""

from __future__ import annotations

import itertools
import math
import random
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.charts import chart_in_words, chart_png
from scheduler.charts.axis import full_number, number_ticks, short_number, time_ticks
from scheduler.charts.bars import with_others
from scheduler.charts.figure import Figure, Scale, Series, Unit, figure_of, unit_of
from scheduler.charts.number import Headline, headline_of
from scheduler.charts.svg import OTHERS, PALETTE, font_files, shorten, text
from scheduler.snapshot import ColumnType, Display, InsightSnapshot, QueryError, QueryResult

NUMBER, TEXT, DATE, DATETIME, BOOLEAN = (
    ColumnType.NUMBER,
    ColumnType.TEXT,
    ColumnType.DATE,
    ColumnType.DATETIME,
    ColumnType.BOOLEAN,
)
DAYS = [(date(2026, 8, 25) + timedelta(days)).isoformat() for days in range(90)]


def rows_of(types, rows, columns=None):
    names = columns or [f"column {number}" for number in range(len(types))]
    return QueryResult(tuple(names), tuple(types), tuple(map(tuple, rows)), datetime(2026, 11, 23, 8, tzinfo=UTC))


def insight(display, types, rows, columns=None):
    return InsightSnapshot(1, "aB3xYz9Q", "Orders", "", Display(display), rows_of(types, rows, columns))


def size_of(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[12:16] == b"IHDR"
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def has_much_in_it(png):
    start = png.index(b"IDAT")
    pixels = zlib.decompressobj().decompress(png[start + 4 :])
    return len(set(pixels)) > 20


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CHANNELS = [("Direct", 48210), ("Organic search", 39120), ("Newsletter", 21877), ("Social", 15310)]
PICTURES = {
    "a number": insight("number", [NUMBER], [(48210,)]),
    "a number and what it was": insight("number", [NUMBER, NUMBER], [(48210, 42880)], ["revenue_eur", "last week"]),
    "a word for a number": insight("number", [TEXT], [("All systems operational",)]),
    "a line": insight("line", [DATE, NUMBER], [(day, index % 7) for index, day in enumerate(DAYS)]),
    "two lines": insight("line", [DATE, NUMBER, NUMBER], [(day, i % 7, 3) for i, day in enumerate(DAYS)]),
    "lines in long form": insight(
        "line", [DATE, TEXT, NUMBER], [(d, c, len(c)) for d in DAYS[:9] for c in ("a", "bc")]
    ),
    "a line over names": insight("line", [TEXT, NUMBER], CHANNELS),
    "an area": insight("area", [DATETIME, NUMBER], [(f"2026-11-22T{h:02d}:00:00Z", h) for h in range(24)]),
    "stacked areas": insight("area", [DATE, NUMBER, NUMBER], [(day, 4, i) for i, day in enumerate(DAYS)]),
    "bars": insight("bar", [TEXT, NUMBER], CHANNELS[:1] * 3 + [("Mail", 3)]),
    "lying bars": insight(
        "bar", [TEXT, NUMBER], [(f"{name} and everything like it", count) for name, count in CHANNELS]
    ),
    "bars of days": insight("bar", [DATE, NUMBER], [(day, index) for index, day in enumerate(DAYS[:12])]),
    "bars of too many days": insight("bar", [DATE, NUMBER], [(day, index) for index, day in enumerate(DAYS)]),
    "grouped bars": insight("bar", [TEXT, NUMBER, NUMBER], [(f"Q{n}", n, 5 - n) for n in range(1, 5)]),
    "bars below zero": insight("bar", [TEXT, NUMBER], [("a name that needs some room", -3), ("b", 4)]),
    "a pie": insight("pie", [TEXT, NUMBER], [*CHANNELS, *[(f"small {n}", n) for n in range(20)]]),
    "a whole pie": insight("pie", [BOOLEAN, NUMBER], [(True, 12)]),
    "a pie below zero, as bars": insight("pie", [TEXT, NUMBER], [("a", 5), ("b", -3)]),
}


@pytest.mark.parametrize("snapshot", PICTURES.values(), ids=PICTURES)
def test_every_display_is_drawn_for_a_dense_screen_and_small_enough_to_mail(snapshot):
    png = chart_png(snapshot)

    assert png is not None
    width, height = size_of(png)
    assert width == 2 * 568
    assert 150 < height < 1200
    assert has_much_in_it(png)
    assert len(png) < 60_000


NOTHING = {
    "a table": insight("table", [TEXT, NUMBER], CHANNELS),
    "no rows": insight("line", [DATE, NUMBER], []),
    "no columns": insight("number", [], [()]),
    "not a single number": insight("bar", [TEXT, TEXT], [("a", "b")]),
    "only missing numbers": insight("area", [DATE, NUMBER], [(day, None) for day in DAYS]),
    "a missing number": insight("number", [NUMBER], [(None,)]),
    "no time": insight("line", [DATE, NUMBER], [(None, 3), ("2026-02-30", 4)]),
    "an error": InsightSnapshot(1, "x", "x", "", Display.LINE, error=QueryError("QueryTimeout", "too slow")),
}


@pytest.mark.parametrize("snapshot", NOTHING.values(), ids=NOTHING)
def test_where_there_is_nothing_to_draw_there_is_no_picture(snapshot):
    assert chart_png(snapshot) is None
    assert chart_in_words(snapshot) == ""


CHANCE = random.Random(7)  # noqa: S311 - test data
HOSTILE = {
    "ten thousand rows": insight("area", [NUMBER, NUMBER], [(n, CHANCE.gauss(50, 20)) for n in range(10_000)]),
    "ten thousand gaps": insight("line", [NUMBER, NUMBER], [(n, n if n % 2 else None) for n in range(10_000)]),
    "ten thousand series": insight("line", [NUMBER, TEXT, NUMBER], [(n // 2, f"user {n}", n) for n in range(10_000)]),
    "two hundred names": insight("bar", [TEXT, NUMBER], [(f"name {n} " * 9, CHANCE.gauss(0, 1e6)) for n in range(200)]),
    "one point": insight("line", [DATE, NUMBER], [("2026-11-22", 5)]),
    "always the same": insight("line", [DATE, NUMBER], [(day, 7) for day in DAYS]),
    "only zeros": insight("bar", [TEXT, NUMBER], [("a", 0), ("b", 0)]),
    "enormous": insight("line", [DATE, NUMBER], [(DAYS[0], 10**400), (DAYS[1], 1e308), (DAYS[2], -1e308)]),
    "enormous sums": insight("pie", [TEXT, NUMBER], [("a", 1e308), ("b", 1e308)]),
    "minute": insight("area", [DATE, NUMBER], [(DAYS[0], 5e-324), (DAYS[1], 1e-200), (DAYS[2], 0)]),
    "all of history": insight("bar", [DATE, NUMBER], [("0001-01-01", 1), ("9999-12-31", 2)]),
    "beyond history": insight(
        "line", [DATETIME, NUMBER], [("0001-01-01T00:00:00+14:00", 1), ("2026-11-22T09:00:00", 2)]
    ),
    "markup": insight(
        "bar", [TEXT, NUMBER], [("</text><script>alert(1)</script>", 3), ("<![CDATA[ ]]> &amp; &#0;", 4)]
    ),
    "code": insight("bar", [TEXT, NUMBER], [("{{ 7*7 }} ${x} $x_1$ datum.x", 3), ("{% include '/etc/passwd' %}", 4)]),
    "control characters": insight("bar", [TEXT, NUMBER], [("a\x00\x08\nb", 3), ("\ud800\ufffe\u202eevil", 4)]),
    "other scripts": insight(
        "pie", [TEXT, NUMBER], [("مرحبا", 3), ("שלום", 4), ("日本語", 5), ("👩‍🔬 Ünïcödé", 6), ("🚀", 7)]
    ),
    "nameless": insight("bar", [TEXT, NUMBER], [(None, 3), ("", 4)], ["", ""]),
    "endless names": insight("line", [DATE, TEXT, NUMBER], [(DAYS[n % 9], "x" * 900 + str(n), n) for n in range(90)]),
    "a long word for a number": insight("number", [TEXT], [("word " * 900,)]),
}


@pytest.mark.parametrize("snapshot", HOSTILE.values(), ids=HOSTILE)
def test_whatever_the_data_is_it_is_drawn_and_said_in_one_line(snapshot):
    assert size_of(chart_png(snapshot))[0] == 1136
    assert chart_in_words(snapshot)


CELLS = {
    NUMBER: st.none() | st.integers() | st.floats() | st.just(10**400),
    TEXT: st.none() | st.text(max_size=40),
    DATE: st.none() | st.dates().map(date.isoformat) | st.text(max_size=5),
    DATETIME: st.none() | st.datetimes().map(datetime.isoformat),
    BOOLEAN: st.none() | st.booleans(),
}


@st.composite
def anything(draw):
    types = draw(st.lists(st.sampled_from(list(CELLS)), max_size=4))
    rows = draw(st.lists(st.tuples(*(CELLS[kind] for kind in types)), max_size=12))
    return insight(draw(st.sampled_from(Display)), types, rows, [draw(st.text(max_size=12)) for _ in types])


@settings(max_examples=40, deadline=None)
@given(anything())
def test_no_result_whatsoever_breaks_the_drawing(snapshot):
    png = chart_png(snapshot)

    assert png is None or size_of(png)[0] == 1136
    assert bool(chart_in_words(snapshot)) == (png is not None)


def test_threads_draw_at_the_same_time_what_one_draws_alone():
    snapshots = list(PICTURES.values())[:6]

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(chart_png, snapshots * 2))

    assert together == [chart_png(snapshot) for snapshot in snapshots] * 2


def test_what_is_written_into_a_picture_is_text_and_nothing_else():
    label = "</text><image href='file:///etc/passwd'/>{{x}}"

    element = ET.fromstring(text(0, 0, label))  # noqa: S314 - our own

    assert (element.tag, element.text, list(element)) == ("text", label, [])


def test_emoji_are_left_out_beside_words_and_kept_alone():
    assert (shorten("🚀 Launch ☎️", 500), shorten("🚀", 500)) == ("Launch", "🚀")


def test_the_face_travels_with_us():
    assert all(Path(file).is_file() for file in font_files())


# ── what is read from the rows ───────────────────────────────────────────────────────────────────────────────────────


def drawn(types, rows, columns=None):
    figure = figure_of(rows_of(types, rows, columns))
    return figure and (figure.scale, figure.labels or figure.x, {each.name: each.values for each in figure.series})


def test_each_column_of_numbers_is_a_series():
    assert drawn([TEXT, NUMBER, NUMBER], [("Q1", 1, 2), ("Q2", None, 4)], ["q", "net_eur", "gross (€)"]) == (
        Scale.CATEGORY,
        ("Q1", "Q2"),
        {"net": (1, None), "gross": (2, 4)},
    )


def test_in_long_form_each_text_is_a_series_and_what_repeats_is_added_up():
    rows = [("2026-11-02", "b", 1), ("2026-11-01", "a", 2), ("2026-11-01", "b", 3), ("2026-11-01", "b", 4)]

    scale, x, series = drawn([DATE, TEXT, NUMBER], rows)

    assert (scale, x[1] - x[0]) == (Scale.TIME, 86400)
    assert series == {"b": (7, 1), "a": (2, None)}


def test_a_text_that_only_annotates_makes_no_series():
    assert drawn([TEXT, TEXT, NUMBER], [("a", "first", 1), ("b", "second", 2)], ["x", "note", "n"]) == (
        Scale.CATEGORY,
        ("a", "b"),
        {"n": (1, 2)},
    )


def test_the_names_lie_along_x_wherever_their_column_stands():
    assert drawn([NUMBER, TEXT], [(1, "a"), (2, "b")], ["n", "x"]) == (Scale.CATEGORY, ("a", "b"), {"n": (1, 2)})


def test_a_column_alone_is_counted():
    assert drawn([NUMBER], [(5,), (6,)], ["n"]) == (Scale.NUMBER, (1, 2), {"n": (5, 6)})


def test_the_six_largest_series_are_shown_and_the_others_counted():
    figure = figure_of(rows_of([TEXT, TEXT, NUMBER], [(x, f"series {n}", n) for x in "ab" for n in range(9)]))

    assert [each.name for each in figure.series] == [f"series {n}" for n in range(3, 9)]
    assert figure.left_out == 3


def test_what_does_not_fit_is_added_up_under_one_name():
    figure = Figure(Scale.CATEGORY, (0, 1, 2, 3), tuple("abcd"), (Series("n", (1, -9, None, 5)),), Unit())

    fitted = with_others(figure, keep=3)

    assert (fitted.labels, fitted.series[0].values, fitted.rest) == (("b", "d", "2 others"), (-9, 5, 1), 2)


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("revenue_eur", Unit("€")),
        ("Price ($)", Unit("$")),
        ("GBP", Unit("£")),
        ("open rate %", Unit(after="%")),
        ("uptime_percent", Unit(after="%")),
        ("neuron europe", Unit()),
    ],
)
def test_a_columns_name_tells_its_unit(column, unit):
    assert unit_of(column) == unit


# ── numbers and times ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "short", "full"),
    [
        (0, "0", "0"),
        (7, "7", "7"),
        (-0.5, "−0.5", "−0.5"),
        (12.345, "12.3", "12.35"),
        (999.5, "1,000", "999.5"),
        (1234, "1,234", "1,234"),
        (9999, "9,999", "9,999"),
        (48210.5, "48.2k", "48,210"),
        (999_950, "1M", "999,950"),
        (3_400_000, "3.4M", "3,400,000"),
        (-2.5e9, "−2.5B", "−2.5B"),
        (1.23e12, "1.23T", "1.23T"),
        (1e18, "1e18", "1e18"),
        (0.0021, "0.0021", "0.0021"),
        (2e-7, "2e-7", "2e-7"),
    ],
)
def test_numbers_are_as_short_as_they_can_be_read(value, short, full):
    assert (short_number(value), full_number(value)) == (short, full)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 48210, ["€0", "€20k", "€40k", "€60k"]),
        (0, 8000, ["€0", "€2,000", "€4,000", "€6,000", "€8,000"]),
        (-3, 9, ["−€5", "€0", "€5", "€10"]),
        (0, 1, ["€0", "€0.25", "€0.50", "€0.75", "€1.00"]),
        (0, 1.3e6, ["€0", "€0.5M", "€1.0M", "€1.5M"]),
        (0, 0, ["€0", "€1"]),
        (-1e300, 1e300, ["−€1e300", "−€5e299", "€0", "€5e299", "€1e300"]),
    ],
)
def test_an_axis_has_round_numbers(low, high, labels):
    assert [tick.label for tick in number_ticks(low, high, unit=Unit("€"))] == labels


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        ("2026-11-22T09:00", "2026-11-22T09:20", "09:00/22 Nov 09:05 09:10 09:15 09:20"),
        ("2026-11-22T00:00", "2026-11-23T00:00", "00:00/22 Nov 06:00 12:00 18:00 00:00/23 Nov"),
        ("2026-11-01T00:00", "2026-11-22T00:00", "2 Nov 9 Nov 16 Nov"),
        ("2026-12-20T00:00", "2027-01-20T00:00", "21 Dec/2026 28 Dec 4 Jan/2027 11 Jan 18 Jan"),
        ("2025-11-01T00:00", "2026-11-22T00:00", "Jan/2026 Apr Jul Oct"),
        ("2020-01-01T00:00", "2026-11-22T00:00", "2020 2022 2024 2026"),
    ],
)
def test_a_time_axis_has_round_times(first, last, labels):
    start, end = (datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (first, last))

    ticks = time_ticks([start + (end - start) * step / 99 for step in range(100)])

    assert " ".join(f"{tick.label}/{tick.below}" if tick.below else tick.label for tick in ticks) == labels


# ── the big number, and words ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("types", "columns", "rows", "headline"),
    [
        ([NUMBER], ["count(*)"], [(48210,)], Headline("48,210", "")),
        ([NUMBER], ["active_users"], [(48210,)], Headline("48,210", "active users")),
        (
            [NUMBER, NUMBER],
            ["Revenue (€)", "Previous week (€)"],
            [(1200, 1000)],
            Headline("€1,200", "Revenue", "+20%", "from €1,000 (Previous week)", 1),
        ),
        ([NUMBER], ["orders"], [(8,), (10,)], Headline("8", "orders", "−20%", "from 10 (before)", -1)),
        (
            [DATE, NUMBER],
            ["day", "orders"],
            [("2026-11-16", 10), ("2026-11-23", 15), ("2026-11-09", 99)],
            Headline("15", "orders", "+50%", "from 10 (16 Nov 2026)", 1),
        ),
        ([NUMBER, NUMBER], ["n", "before"], [(3, 0)], Headline("3", "", "+3", "from 0 (before)", 1)),
        ([NUMBER, NUMBER], ["n", "before"], [(3, 3)], Headline("3", "", "no change", "from 3 (before)", 0)),
        ([NUMBER, NUMBER], ["n", "before"], [(3, None)], Headline("3", "")),
        ([TEXT], ["status"], [("fine",)], Headline("fine", "")),
    ],
)
def test_a_number_is_compared_with_what_the_query_has_beside_or_below_it(types, columns, rows, headline):
    assert headline_of(rows_of(types, rows, columns)) == headline


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (PICTURES["a number and what it was"], "€48,210 revenue, +12.4% from €42,880 (last week)"),
        (PICTURES["an area"], "23 on 22 Nov 2026 23:00; between 0 and 23"),
        (PICTURES["stacked areas"], "column 1 4, column 2 89 on 22 Nov 2026"),
        (insight("bar", [TEXT, NUMBER], [(letter, 1) for letter in "abcdefg"]), "a 1, b 1, c 1, d 1, e 1 and 2 more"),
        (
            insight("bar", [TEXT, NUMBER, NUMBER], [("Q1", 1, None), ("Q2", 2, 3)], ["q", "x", "y"]),
            "Q1: x 1; Q2: x 2, y 3",
        ),
        (insight("pie", [TEXT, NUMBER], [("a", 1), ("b", 2999), ("c", 7000)]), "c 70%, b 30%, a <0.1%"),
        (insight("line", [DATE, NUMBER], [("2026-11-22", 5)]), "5 on 22 Nov 2026"),
    ],
)
def test_a_picture_is_said_in_a_sentence_too(snapshot, words):
    assert chart_in_words(snapshot) == words


# ── colours ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SEEN_WITHOUT = {  # Machado, Oliveira, Fernandes 2009, severity 1.0
    "nothing missing": [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
    "red": [(0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)],
    "green": [(0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)],
    "blue": [(1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)],
}


def lab(color, matrix):
    shares = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    red, green, blue = (min(1, max(0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in matrix)
    xyz = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089,
    )
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("matrix", SEEN_WITHOUT.values(), ids=SEEN_WITHOUT)
def test_the_colours_are_told_apart_whatever_the_eye_lacks(matrix):
    seen = [lab(color, matrix) for color in (*PALETTE, OTHERS)]

    assert min(math.dist(one, other) for one, other in itertools.combinations(seen, 2)) > 15
