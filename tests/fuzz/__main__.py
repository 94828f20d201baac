"""``make api-fuzz``: at least so many generated requests to a real service, and what they found.

Good data and bad, single requests and chains along the document's links; the same seed sends the same. Exit 1 when
there was a 5xx, a status, header or body that the document does not have, bad data that was taken, good data that was
refused, or when the service, its log or its ledger is not well afterwards.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crash.databases import postgresql_server
from tests.fuzz.ground import Service, service
from tests.fuzz.running import fuzz


def main() -> None:
    asked = _asked()
    print(f"{'seed':>6}{'operations':>12}{'requests':>10}{'seconds':>9}  found", flush=True)
    with _fuzzed(asked.database) as fuzzed:
        seed, requests, found = asked.seed, 0, 0
        while requests < asked.requests:
            sent = fuzz(fuzzed, seed=seed, examples=asked.examples, chains=asked.chains)
            print(sent, flush=True)
            seed, requests, found = seed + 1, requests + sent.requests, found + sent.found
        complaints = fuzzed.complaints()
    print(f"{requests} requests on {asked.database}, {found or 'nothing'} found.")
    print("\n".join(complaints) or "The service, its log and its ledger are well.")
    sys.exit(1 if found or complaints else 0)


@contextmanager
def _fuzzed(database: str) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="paperround-fuzz-") as name:
        folder = Path(name)
        if database == "sqlite":
            with service(folder) as fuzzed:
                yield fuzzed
        else:
            with postgresql_server(folder / "postgres") as url, service(folder, url) as fuzzed:
                yield fuzzed


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="at least so many, in as many rounds as it takes")
    parser.add_argument("--examples", type=int, default=25, help="in a round, for each operation")
    parser.add_argument("--chains", type=int, default=300, help="of requests, in a round")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    return parser.parse_args()


if __name__ == "__main__":
    main()
