"""The nine o'clock spike alone, of any size: ``python -m tests.benchmarks.spike [DUE] [TOTAL]``."""

from __future__ import annotations

import argparse
from dataclasses import replace

from tests.benchmarks import nine_oclock
from tests.benchmarks.figures import Results, markdown
from tests.benchmarks.sizes import Sizes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.spike", description="One spike, on each database")
    parser.add_argument("due", nargs="?", type=int, default=10_000, help="due in one instant; 10000")
    parser.add_argument("total", nargs="?", type=int, default=100_000, help="among so many; 100000")
    asked = parser.parse_args()
    results = Results()
    nine_oclock.measure(replace(Sizes(), spike=(asked.due, asked.total), processes=(1,)), results)
    print(markdown(list(results.rows())))


if __name__ == "__main__":
    main()
