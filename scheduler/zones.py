"""Time zones by their IANA names, and the way from a wall clock to an instant.

Zones come from the pinned ``tzdata`` package and never from the machine: two machines always agree on what 09:00 in
Berlin is, and a name can reach no other file.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import tzdata

from scheduler.errors import InvalidField

RULES_VERSION: str = tzdata.IANA_VERSION
"""Which edition of the IANA time zone database next dates are worked out with, such as ``2026c``."""

FIRST_YEAR, LAST_YEAR = 1970, 9000
"""The years an instant may be given in: a time that a person can mean, with room to reckon on both sides."""

_LONGEST = 64  # a longer name is not worth comparing with every zone


class Gap(StrEnum):
    """What becomes of a wall time that the clocks leap over in spring."""

    SHIFT = "shift"  # later by the length of the gap: 02:30 is sent at 03:30 (RFC 5545, 3.3.5)
    SKIP = "skip"


class Fold(StrEnum):
    """Which pass counts of a wall time that the clocks show twice in autumn."""

    FIRST = "first"  # RFC 5545, 3.3.5
    SECOND = "second"


@cache
def zone_names() -> frozenset[str]:
    """Every name that :func:`zone` knows."""
    return frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())


def zone(name: object) -> ZoneInfo:
    """The zone of this IANA name; ``InvalidField`` on ``timezone`` suggests the nearest ones."""
    if isinstance(name, str) and (known := _loaded.get(name)) is not None:
        return known
    if isinstance(name, str) and name in zone_names():
        return _loaded.setdefault(name, _load(name))
    if name is None:
        raise InvalidField("timezone", "timezone may not be null; use UTC when in doubt.", code="null")
    raise InvalidField("timezone", f"timezone is not one we know; {_suggest(name)}", code="invalid_choice")


_loaded: dict[str, ZoneInfo] = {}


def _load(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def _suggest(name: object) -> str:
    """The way out; the text is compared with whole names and with cities, whatever its case and spaces."""
    if isinstance(name, str) and len(name) <= _LONGEST:
        known = {
            spelling: known for known in zone_names() for spelling in (known.lower(), known.lower().split("/")[-1])
        }
        near = difflib.get_close_matches(name.strip().lower().replace(" ", "_"), known)
        if near:
            return f"did you mean {' or '.join(dict.fromkeys(known[spelling] for spelling in near))}?"
    return "write an IANA name such as Europe/Berlin or UTC."


def to_utc(wall: datetime, tz: ZoneInfo, *, gap: Gap = Gap.SHIFT, fold: Fold = Fold.FIRST) -> datetime | None:
    """The one instant of a naive wall time; None when it does not exist and is to be skipped."""
    return instant_of(wall.replace(tzinfo=tz, fold=0), gap=gap, fold=fold)


def instant_of(wall: datetime, *, gap: Gap = Gap.SHIFT, fold: Fold = Fold.FIRST) -> datetime | None:
    """The same of a wall time that has its zone, and whose fold is 0."""
    first = wall.astimezone(UTC)  # in a gap: by the offset before it, so shifted (PEP 495)
    if gap is _SHIFT and fold is _FIRST:
        return first
    second = wall.replace(fold=1).astimezone(UTC)
    if second < first and gap is Gap.SKIP:
        return None
    return second if second > first and fold is Fold.SECOND else first


_SHIFT, _FIRST = Gap.SHIFT, Fold.FIRST


def exists_once(wall: datetime, tz: ZoneInfo) -> bool:
    """Whether the clocks show this naive wall time exactly once: not in a gap, not in a fold."""
    return wall.replace(tzinfo=tz, fold=0).utcoffset() == wall.replace(tzinfo=tz, fold=1).utcoffset()


def parse_instant(text: str, *, field: str, timezone: str | None) -> datetime:
    """ISO 8601 text, also a date alone, as aware UTC; without an offset it is local to ``timezone`` (None: UTC).

    A local time that does not exist is shifted by the gap, one that happens twice is its first pass.
    """
    tz = zone("UTC" if timezone is None else timezone)
    try:
        moment = datetime.fromisoformat(text)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=tz, fold=0)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise InvalidField(
            field, f"{field} must be a date and time such as 2027-03-14T09:00 or 2027-03-14T09:00:00+01:00."
        ) from None
    return in_reach(moment, field=field)


def in_reach(moment: datetime, *, field: str) -> datetime:
    """The same instant, if its year is one that can be meant."""
    if FIRST_YEAR <= moment.year <= LAST_YEAR:
        return moment
    raise InvalidField(field, f"{field} must lie between the years {FIRST_YEAR} and {LAST_YEAR}.")
