"""Measurements that are programs of their own and print tables: run, shown, and read as figures.

A table's columns end where their titles end; what precedes a line's numbers is its case.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, takewhile

from tests.benchmarks.figures import Figure, Results
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.stage import ROOT, Missing, smtp_sink_command

NUMBER = re.compile(r"^-?\d+(\.\d+)?$")
SENTENCE = re.compile(r"^(?P<case>[^:]+): (?P<value>\d+(\.\d+)?) (?P<what>\D+)$")
ASKED_FOR = ("due", "beside", "mails", "recipients", "count", "endpoints")
"""Numbers that belong to the case."""
UNITS = {"ms": "ms", "µs": "µs", "s": "s"}


def next_dates(_: Sizes, results: Results) -> None:
    _run("next_dates", (), results)


def ledger(sizes: Sizes, results: Results) -> None:
    for due, beside in sizes.ledger:
        for _ in range(sizes.repeats):
            _run("ledger", [str(due), *(["--beside", str(beside)] if beside else [])], results)


def mails(sizes: Sizes, results: Results) -> None:
    try:
        smtp_sink_command()
    except Missing as missing:
        results.skip("mails", str(missing))
    else:
        _run("mails", [str(sizes.mails)], results)


def hanging(sizes: Sizes, results: Results) -> None:
    _run("hanging", [str(each) for each in sizes.hanging], results)


def lists(sizes: Sizes, results: Results) -> None:
    _run("lists", [str(sizes.lists)], results)


def _run(part: str, arguments: Sequence[str], results: Results) -> None:
    if not (ROOT / "tests" / "benchmarks" / f"{part}.py").exists():
        results.skip(part, f"tests/benchmarks/{part}.py is not there")
        return
    command = [sys.executable, "-m", f"tests.benchmarks.{part}", *arguments]
    process = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(process.stdout, flush=True)
    if process.returncode:
        sys.exit(f"{part}: exit {process.returncode}; what it said stands above")
    for case, figure, value in figures_of(process.stdout.splitlines()):
        results.keep(part.replace("_", " "), case, {figure: value})


def figures_of(lines: Iterable[str]) -> Iterator[tuple[str, Figure, float]]:
    """Case, figure and value of every number, in tables whose first line is their titles, and in ``case: 5 what``."""
    titles = ""
    for line in lines:
        if sentence := SENTENCE.match(line):
            yield sentence["case"], Figure(sentence["what"].strip(), "1/s"), float(sentence["value"])
        elif numbers := _numbers_at_the_end(line):
            yield from _of_line(line[: numbers[0].start()], numbers, titles)
        elif line.strip():
            titles = line


def _numbers_at_the_end(line: str) -> list[re.Match[str]]:
    words = list(re.finditer(r"\S+", line))
    found = list(takewhile(lambda word: NUMBER.match(word.group()), reversed(words)))
    return found[::-1]


def _of_line(start: str, numbers: Sequence[re.Match[str]], titles: str) -> Iterator[tuple[str, Figure, float]]:
    ends = [each.end() for each in numbers]
    first = titles[: ends[0]].rsplit("  ", 1)[-1]
    others = [titles[before:end] for before, end in pairwise(ends)]
    named = [(title.strip(), float(each.group())) for title, each in zip((first, *others), numbers, strict=True)]
    asked_for = [f"{value:,.0f} {title}" for title, value in named if title in ASKED_FOR]
    case = ", ".join([*_words(start, titles), *asked_for])
    for title, value in named:
        if title not in ASKED_FOR:
            yield case, Figure(title, _unit(title)), value


def _words(start: str, titles: str) -> list[str]:
    """What stands under each title before the numbers."""
    starts = [each.start() for each in re.finditer(r"\S+( \S+)*", titles) if each.start() < len(start)]
    cut = [start[begin:end].strip() for begin, end in pairwise([*starts, len(start)])]
    return [each for each in cut if each]


def _unit(title: str) -> str:
    return UNITS.get(title.rpartition(" ")[2], "1/s" if title.endswith("/s") else "")
