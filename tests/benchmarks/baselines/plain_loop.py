"""A loop over what is due: ``python -m tests.benchmarks.baselines.plain_loop URL``; prints its seconds as JSON."""

from __future__ import annotations

import json
import sys
import time

from tests.benchmarks.baselines.one_delivery import Sender, engine


def main() -> None:
    sender = Sender(engine(sys.argv[1]))
    began = time.perf_counter()
    due = sender.due()
    for subscription_id, _ in due:
        sender.deliver(subscription_id)
    print(json.dumps({"sent": len(due), "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
