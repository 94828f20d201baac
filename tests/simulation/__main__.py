"""``make simulate``: the pipeline as a discrete-event simulation, from the figures of one measured machine.

::

    python -m tests.simulation                   # print every table, from measured.json
    python -m tests.simulation spike growth      # these
    python -m tests.simulation --write           # and put them into deploy/scale.md
    python -m tests.simulation --measure --write # take this machine's figures first, some ten minutes
"""

from __future__ import annotations

import argparse

from tests.simulation.figures import load
from tests.simulation.tables import PAGE, TABLES, renew


def main() -> None:
    asked = _arguments()
    if asked.measure:
        from tests.simulation.measuring import measure

        measure(rounds=asked.rounds, due=asked.due, kept=asked.kept)
    measured, tables = load(), {}
    for name in asked.tables or TABLES:
        tables[name] = TABLES[name](measured)
        print(f"{tables[name]}\n", flush=True)
    if asked.write:
        PAGE.write_text(renew(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], metavar="TABLE", help=f"of {', '.join(TABLES)}")
    parser.add_argument("--write", action="store_true", help="renew these tables in deploy/scale.md")
    parser.add_argument("--measure", action="store_true", help="take this machine's figures, into measured.json")
    parser.add_argument("--rounds", type=int, default=3, help="of measuring; the medians are kept")
    parser.add_argument("--due", type=int, default=3_000, help="in the measured spikes")
    parser.add_argument("--kept", type=int, default=20_000, help="deliveries whose sizes are measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()
