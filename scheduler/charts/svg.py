"""The pen: a few SVG marks in one theme, and the step from SVG to PNG.

Sizes are CSS pixels; the PNG has twice as many each way. Everything written into a picture passes :func:`text`, which
escapes it: a label is a label, whatever it looks like.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from resvg_py import svg_to_bytes

from scheduler.tables import one_line

PICTURE_WIDTH, PAD = 568, 8
WIDTH = PICTURE_WIDTH - 2 * PAD
SCALE = 2
SIZE = 17
"""Of every label: on a phone the picture is shown at little more than half its size."""
CENTRE = 6
"""From the middle of a line of text down to its baseline."""

INK, MUTED, RULE, PAPER = "#1f262b", "#5b636a", "#e7e3db", "#ffffff"
PALETTE = ("#14615e", "#d9952b", "#1f2f6b", "#6fa8dc", "#c4532f", "#8e4a9e")
"""Told apart by people who see no red, no green or no blue: at least 18 apart in CIE Lab in each simulation."""
OTHERS = "#b9b4aa"

FACE = "Source Sans Pro"


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: float = SIZE,
    fill: str = MUTED,
    anchor: str = "start",
    bold: bool = False,
) -> str:
    """One line of text with its baseline at ``y``."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{fill}" text-anchor="{anchor}"{weight}>'
        f"{html.escape(clean(content))}</text>"
    )


def rule(x1: float, x2: float, y: float, *, color: str = RULE) -> str:
    """A horizontal hairline, on the pixel grid."""
    return f'<path d="M{x1:.1f} {round(y) + 0.5}H{x2:.1f}" stroke="{color}"/>'


def box(x: float, y: float, width: float, height: float, *, fill: str) -> str:
    """A bar; negative extents run left or up. Too thin to see is drawn as one pixel."""
    x, y = min(x, x + width), min(y, y + height)
    width, height = max(abs(width), 1.0), max(abs(height), 1.0)
    corner = min(2.5, width / 2, height / 2)
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{corner:.1f}" fill="{fill}"/>'


def dot(x: float, y: float, radius: float = 4.5, *, fill: str) -> str:
    """A point, set off from what it lies on by a white rim."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{fill}" stroke="{PAPER}" stroke-width="1.5"/>'


def path(points: Iterable[tuple[float, float]]) -> str:
    """The ``d`` of a polyline."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def picture(height: float, marks: Iterable[str]) -> bytes:
    """These marks (0 to ``WIDTH``, 0 to ``height``) as a PNG on white.

    The machine's own fonts are searched only when something is written that ours cannot write.
    """
    drawn = "".join(marks)
    tall = round(height) + 2 * PAD
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PICTURE_WIDTH}" height="{tall}" font-family="{FACE}">'
        f'<rect width="100%" height="100%" fill="{PAPER}"/><g transform="translate({PAD} {PAD})">{drawn}</g></svg>'
    )
    return bytes(
        svg_to_bytes(
            svg_string=svg,
            zoom=SCALE,
            font_files=font_files(),
            skip_system_fonts=_FOREIGN.search(drawn) is None,
        )
    )


@cache
def font_files() -> list[str]:
    """The face travels with us (SIL Open Font License): a bare container has none."""
    folder = files("font_source_sans_pro") / "files"
    return [str(folder / f"SourceSansPro-{weight}.ttf") for weight in ("Regular", "Semibold")]


_FOREIGN = re.compile("[^\x00-\u017e\u0370-\u0481\u1e00-\u1fff\u2010-\u2049\u20ac\u2190-\u2193\u2212\u25b2\u25bc]")
"""Beyond Latin, Greek, Cyrillic and the signs that we write ourselves."""

_PICTOGRAMS = re.compile("[\u2600-\u27bf\ufe0e\ufe0f\u200d\U0001f000-\U0001faff]+")
"""What few machines have a font for; beside words it is left out."""


def clean(content: str) -> str:
    """On one line, without control characters and, if it says something without them, without emoji."""
    content = one_line(content)
    return " ".join(_PICTOGRAMS.sub(" ", content).split()) or content


_EMS = {
    character: ems
    for ems, characters in (
        (0.25, " !',.:;Iijl|"),
        (0.33, "()-[]frt{}/\\"),
        (0.45, '"*?csvxyz'),
        (0.50, "0123456789#$+<=>^_~aegkFJLY"),
        (0.56, "bdhnopquABCEKPRSTVXZ`&"),
        (0.65, "DGHNOQU"),
        (0.75, "MWw"),
        (0.83, "m%@"),
    )
    for character in characters
}


def width_of(content: str, *, size: float = SIZE, bold: bool = False) -> float:
    """About how wide this is when written: close enough for margins."""
    return size * (1.06 if bold else 1.0) * sum(map(_ems, clean(content)))


@cache
def _ems(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    return _EMS.get(character, 0.58)


def shorten(content: str, width: float, *, size: float = SIZE) -> str:
    """As much of it as fits, with an ellipsis for the rest."""
    content = clean(content[:200])
    if width_of(content, size=size) <= width:
        return content
    while content and width_of(f"{content}…", size=size) > width:
        content = content[:-1]
    return f"{content.rstrip()}…"
