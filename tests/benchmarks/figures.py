"""What was measured: every run's value, its median, and tables for people and for BENCHMARKS.md."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is measured, and in what."""

    name: str
    unit: str


RATE = Figure("deliveries/s", "1/s")
STARTED_RATE = Figure("once started", "1/s")
CPU = Figure("CPU s per 1,000", "s")
PEAK = Figure("peak MiB a process", "MiB")
P50 = Figure("lateness p50 s", "s")
P99 = Figure("lateness p99 s", "s")
PAYLOAD = Figure("bytes a webhook", "B")


@dataclass(slots=True)
class Results:
    """All figures of one session, in the order in which they came."""

    values: dict[tuple[str, str, Figure], list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """What was not measured, and why."""

    def add(self, part: str, case: str, figures: Mapping[Figure, float]) -> None:
        """One more run of this case; who waits sees that it goes on."""
        print(f"{part}: {case}", file=sys.stderr, flush=True)
        self.keep(part, case, figures)

    def keep(self, part: str, case: str, figures: Mapping[Figure, float]) -> None:
        """The same, without a word."""
        for figure, value in figures.items():
            self.values.setdefault((part, case, figure), []).append(value)

    def skip(self, what: str, why: str) -> None:
        self.skipped[what] = why

    @property
    def parts(self) -> list[str]:
        return list(dict.fromkeys(part for part, _, _ in self.values))

    def rows(self) -> Iterator[dict[str, Any]]:
        """As JSON keeps them."""
        for (part, case, figure), runs in self.values.items():
            yield {
                "part": part,
                "case": case,
                "figure": figure.name,
                "unit": figure.unit,
                "median": _rounded(statistics.median(runs)),
                "runs": [_rounded(each) for each in runs],
            }


def markdown(rows: list[dict[str, Any]]) -> str:
    """A part's cases, one a line, its figures side by side."""
    figures = list(dict.fromkeys(row["figure"] for row in rows))
    medians = {(row["case"], row["figure"]): row["median"] for row in rows}
    cases = list(dict.fromkeys(row["case"] for row in rows))
    width = max(len(case) for case in ["case", *cases])
    lines = [_line("case".ljust(width), figures), _line("-" * width, ["-" * (len(each) - 1) + ":" for each in figures])]
    for case in cases:
        shown = [written(medians.get((case, figure))).rjust(len(figure)) for figure in figures]
        lines.append(_line(case.ljust(width), shown))
    return "\n".join(lines)


def written(value: float | None) -> str:
    """Three digits that mean something; thousands apart."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _line(first: str, others: list[str]) -> str:
    return f"| {' | '.join([first, *others])} |"


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
