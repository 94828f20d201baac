"""Who is due when: subscriptions by frequency, hour and zone, as :mod:`tests.simulation.assumed` has them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.simulation import assumed
from tests.simulation.setting import Destination, Due

QUARTERS = 96
NINE = 9 * 4


@dataclass(frozen=True, slots=True)
class Population:
    """So many subscriptions."""

    subscriptions: int

    def a_day(self) -> float:
        """Deliveries on an average day."""
        return self.subscriptions * _share(assumed.A_DAY)

    def on_the_fullest_day(self) -> float:
        """Deliveries on a Monday that is the first of a month."""
        return self.subscriptions * _share(assumed.ON_THE_FULLEST_DAY)

    def in_the_fullest_instant(self) -> int:
        """Due at nine o'clock of that day, where most people live."""
        return round(self.on_the_fullest_day() * max(_quarters()))

    def fullest_day(self) -> list[tuple[float, int]]:
        """Its instants, in seconds from midnight UTC, and how many are due at each."""
        return [(900.0 * n, round(self.on_the_fullest_day() * part)) for n, part in enumerate(_quarters())]


def _share(by_frequency: Mapping[str, float]) -> float:
    return sum(part * by_frequency[name] for name, part in assumed.FREQUENCIES.items())


def _quarters() -> list[float]:
    """The part of a day's deliveries that is due at each quarter of an hour, UTC."""
    parts = [(1 - assumed.AT_NINE) / QUARTERS] * QUARTERS
    for hours, part in assumed.ZONES.items():
        parts[int(NINE - 4 * hours) % QUARTERS] += assumed.AT_NINE * part
    return parts


def mixed(number: int, *, at: float = 0.0, spread: float = 0.0, seed: int = 1) -> list[Due]:
    """So many due at one instant, over the channels; ``spread``: each after a stable offset within so many seconds."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    to = _destinations(number, chance)
    return [Due(at, next(to), offset=chance.random() * spread) for _ in range(number)]


def webhooks(number: int, endpoints: Sequence[Destination]) -> list[Due]:
    """So many due at once, to these endpoints in turn."""
    return [Due(0.0, endpoints[n % len(endpoints)]) for n in range(number)]


def destination(kind: str, name: str, *, seconds: float | None = None) -> Destination:
    """One that answers as is assumed of its kind, or after so many seconds."""
    usual = assumed.ANSWER_SECONDS[kind] if seconds is None else seconds
    return Destination(name, kind, usual, spread=assumed.ANSWER_SPREAD, failing=assumed.FAILING)


def _destinations(number: int, chance: random.Random) -> Iterator[Destination]:
    parts = assumed.CHANNELS
    places = {
        "email": [destination("email", "email:smtp")],
        "webhook": [destination("webhook", f"webhook:{n}") for n in range(_some(number, "webhook"))],
        "slack": [destination("slack", f"slack:{n}") for n in range(_some(number, "slack"))],
    }
    while True:
        kind = chance.choices(list(parts), weights=list(parts.values()))[0]
        yield chance.choice(places[kind])


def _some(number: int, kind: str) -> int:
    each = assumed.PER_ENDPOINT if kind == "webhook" else assumed.PER_CHANNEL
    return max(1, round(number * assumed.CHANNELS[kind] / each))
