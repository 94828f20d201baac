"""``make crash CYCLES=1000 [DATABASE=postgresql] [PARTS="kill terminate"]``: the long version, as a table.

Exits 1 when a promise was broken. ``deploy/crash.md`` says what each part proves.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from scheduler import logs
from scheduler.settings import Settings
from tests.crash.databases import NewDatabase, postgresql_databases, postgresql_server, sqlite_files
from tests.crash.ground import LEASE, Ground, prepared
from tests.crash.killing import kill_again_and_again
from tests.crash.ledger import Verdict
from tests.crash.migrating import migrate_again_and_again
from tests.crash.soaking import library, soak
from tests.crash.takeover import take_over
from tests.crash.tearing import tear_again_and_again
from tests.crash.terminating import terminate_again_and_again

DAEMONS = {"sqlite": 1, "postgresql": 2}
DEFAULT_LEASE = int(Settings.model_fields["lease_seconds"].default)


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked for, and where it happens."""

    asked: argparse.Namespace
    folder: Path
    new_database: NewDatabase

    async def on_ground(self, part: Callable[[Ground], Awaitable[Verdict]], *, lease: int = LEASE) -> Verdict:
        """A part on an installation of its own."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        with self.new_database() as url:
            async with prepared(folder, url, lease=lease) as ground:
                return await part(ground)

    async def kill(self) -> Verdict:
        """SIGKILL at named points and at random moments."""
        cycles, daemons, seed = self.asked.cycles, self.asked.daemons, self.asked.seed
        return await self.on_ground(
            lambda ground: kill_again_and_again(ground, cycles=cycles, daemons=daemons, seed=seed)
        )

    async def terminate(self) -> Verdict:
        """SIGTERM at random moments."""
        cycles, seed = self.asked.terminations, self.asked.seed
        return await self.on_ground(lambda ground: terminate_again_and_again(ground, cycles=cycles, seed=seed))

    async def takeover(self) -> Verdict:
        """The time from a kill to the resend, with the default lease."""
        return await self.on_ground(lambda ground: take_over(ground, kills=2), lease=DEFAULT_LEASE)

    async def migrate(self) -> Verdict:
        """`init`, killed between any two statements."""
        rounds, seed = self.asked.migrations, self.asked.seed
        return await migrate_again_and_again(self.folder, self.new_database, rounds=rounds, seed=seed)

    async def tear(self) -> Verdict:
        """Copies under way, with a torn write-ahead log (SQLite)."""
        copies, seed = self.asked.copies, self.asked.seed
        return await self.on_ground(lambda ground: tear_again_and_again(ground, copies=copies, seed=seed))

    async def soak(self) -> Verdict:
        """A day in minutes, through the night in which the clocks change (faketime)."""
        hours, seed = self.asked.hours, self.asked.seed
        return await self.on_ground(
            lambda ground: soak(ground, hours=hours, subscriptions=int(60 * hours), kills=5, seed=seed)
        )


def main() -> None:
    asked = _asked()
    logs.configure(level="warning")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: a PostgreSQL server is not left behind
    broken = 0
    with ExitStack() as stack:
        folder = Path(asked.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="paperround-crash-")))
        folder.mkdir(parents=True, exist_ok=True)
        if asked.database == "postgresql":
            server = stack.enter_context(postgresql_server(folder / "postgresql"))
            run = Run(asked, folder, postgresql_databases(server))
        else:
            run = Run(asked, folder, sqlite_files(folder))
        for name in asked.parts:
            broken += _told(name, run)
    sys.exit(1 if broken else 0)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000, help="kills in all")
    parser.add_argument("--database", choices=DAEMONS, default="sqlite")
    parser.add_argument("--daemons", type=int, help="at once; 1 on SQLite, 2 on PostgreSQL")
    parser.add_argument("--terminations", type=int, default=200)
    parser.add_argument("--migrations", type=int, default=30, help="databases")
    parser.add_argument("--copies", type=int, default=20, help="torn ones")
    parser.add_argument("--hours", type=float, default=24, help="of the soak")
    parser.add_argument("--seed", type=int, default=0, help="of what is random")
    parser.add_argument("--keep", metavar="FOLDER", help="where databases and logs stay; else they are removed")
    parser.add_argument("--parts", nargs="*", choices=PARTS, help=f"of {', '.join(PARTS)}; all that apply if not given")
    asked = parser.parse_args()
    asked.daemons = asked.daemons or DAEMONS[asked.database]
    asked.parts = asked.parts or [name for name in PARTS if _applies(name, asked.database)]
    return asked


PARTS = {
    "kill": Run.kill,
    "terminate": Run.terminate,
    "takeover": Run.takeover,
    "migrate": Run.migrate,
    "tear": Run.tear,
    "soak": Run.soak,
}


def _applies(part: str, database: str) -> bool:
    if part == "tear":
        return database == "sqlite"
    if part == "soak" and library() is None:
        print("soak: left out, faketime is not installed; on Debian: apt-get install faketime")
        return False
    return True


def _told(name: str, run: Run) -> bool:
    """Run a part and print its table; whether a promise was broken."""
    part = PARTS[name]
    print(f"\n{name} on {run.asked.database}: {part.__doc__}", flush=True)
    begun = time.monotonic()
    verdict = asyncio.run(part(run))
    for figure, value in (verdict.figures | {"seconds": round(time.monotonic() - begun)}).items():
        print(f"  {figure:<52}{value!s:>20}")
    for violation in verdict.violations:
        print(f"  BROKEN: {violation}")
    sys.stdout.flush()
    return bool(verdict.violations)


if __name__ == "__main__":
    main()
