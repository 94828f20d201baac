"""``make bench``: everything that is measured, as tables and as JSON.

``python -m tests.benchmarks [--only NAME …] [--deliveries 10000] [--quick | --long] [--write]``. It starts its own
receivers, databases and broker; what is not on this machine is left out, and it says so. No time is judged here.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import comparison, nine_oclock, printed, sending, where
from tests.benchmarks.figures import Results, markdown
from tests.benchmarks.machine import machine, versions
from tests.benchmarks.pages import renew
from tests.benchmarks.sizes import Sizes

PARTS: dict[str, Callable[[Sizes, Results], None]] = {
    "next-dates": printed.next_dates,
    "ledger": printed.ledger,
    "sending": sending.measure,
    "mails": printed.mails,
    "comparison": comparison.measure,
    "spike": nine_oclock.measure,
    "hanging": printed.hanging,
    "lists": printed.lists,
    "cpu": where.measure,
}
LATEST = Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # what was started is ended first
    if not asked.renew:
        _measure(asked)
    if asked.renew or asked.write:
        renew(json.loads(asked.to.read_text()))


def _measure(asked: argparse.Namespace) -> None:
    """Each part in turn; what there is by then is kept after each, so that a failure costs one part."""
    about = {"command": _command(sys.argv[1:], to=asked.to), "machine": machine()}
    results, sizes, began = Results(), _sizes(asked), time.perf_counter()
    asked.to.parent.mkdir(parents=True, exist_ok=True)
    for name in asked.only or PARTS:
        already = set(results.parts)
        PARTS[name](sizes, results)
        _show(results, already)
        minutes = round((time.perf_counter() - began) / 60, 1)
        found = {"minutes": minutes, "skipped": results.skipped, "rows": list(results.rows())}
        asked.to.write_text(json.dumps(about | {"versions": versions()} | found, indent=1, ensure_ascii=False) + "\n")
    for what, why in results.skipped.items():
        print(f"\nNot measured: {what}: {why}")
    print(f"\nRaw figures: {asked.to}")


def _command(arguments: list[str], *, to: Path) -> str:
    """As it can be given again elsewhere: where the JSON was kept is nobody's business."""
    told = [each for each in arguments if each not in {"--to", str(to)}]
    return shlex.join(["python", "-m", "tests.benchmarks", *told])


def _show(results: Results, already: set[str]) -> None:
    for part in results.parts:
        if part not in already:
            print(f"\n{part}\n{markdown([row for row in results.rows() if row['part'] == part])}", flush=True)


def _sizes(asked: argparse.Namespace) -> Sizes:
    if asked.quick:
        sizes = Sizes.quick(deliveries=asked.deliveries or 50)
    elif asked.long:
        sizes = Sizes.long(deliveries=asked.deliveries or 10_000)
    else:
        sizes = Sizes(deliveries=asked.deliveries or 10_000)
    chosen = {"databases": asked.database, "kinds": asked.kind, "baselines": asked.baseline, "repeats": asked.repeats}
    return replace(
        sizes, **{name: tuple(given) if isinstance(given, list) else given for name, given in chosen.items() if given}
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--deliveries", type=int, help="due in each run of sending; 10000")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="these parts")
    parser.add_argument("--database", nargs="+", choices=Sizes().databases, help="both unless said otherwise")
    parser.add_argument("--kind", nargs="+", choices=Sizes().kinds, help="of what is sent; all of them")
    parser.add_argument("--baseline", nargs="+", choices=Sizes().baselines, help="to compare with; all of them")
    parser.add_argument("--repeats", type=int, help="runs that a median is taken of; 3")
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--quick", action="store_true", help="small numbers once: whether everything works")
    how_much.add_argument("--long", action="store_true", help="100,000 due among 1,000,000, and the like")
    parser.add_argument("--to", type=Path, default=LATEST, metavar="FILE", help="where the JSON is kept")
    parser.add_argument("--write", action="store_true", help="renew the tables of BENCHMARKS.md, too")
    parser.add_argument("--renew", action="store_true", help="only renew them, from the JSON that is there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
