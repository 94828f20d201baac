"""The tables, as Markdown: for the terminal, and for ``deploy/scale.md`` between its markers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tests.simulation import assumed
from tests.simulation.figures import Measured
from tests.simulation.population import Population
from tests.simulation.scenarios import grown, limits, nine_o_clock, reproduced

PAGE = Path(__file__).parents[2] / "deploy" / "scale.md"
GB = 1e9


def machine(measured: Measured) -> str:
    """Where the figures come from."""
    return f"Measured on {measured.machine}; {measured.versions}; commit {measured.commit}. Medians of all rounds."


def steps(measured: Measured) -> str:
    """What one delivery costs in each step, in full batches."""
    rows = []
    for name in ("open", "claim", "record"):
        for database in ("sqlite", "postgresql"):
            step = getattr(measured.ledger(database), name)
            micros = [1e6 * cost.of(500) / 500 for cost in (step.loop, step.database, step.waiting)]
            rows.append([name, _named(database), *(f"{each:.0f}" for each in micros)])
    rows.append(["send a webhook", "either", f"{1e6 * measured.send_cpu['webhook']:.0f}", "0", "the receiver's answer"])
    return _table(["step, 500 at a time", "database", "event loop µs", "database µs", "waiting µs"], rows)


def sizes(measured: Measured) -> str:
    """Bytes that one delivery to one recipient keeps, by table and index."""
    rows: dict[str, list[str]] = {}
    for ledger, column in ((measured.postgresql, 0), (measured.sqlite, 1)):
        for each in ledger.sizes:
            name = _SQLITE_NAMES.get(each.name, each.name)
            rows.setdefault(name, [f"`{name}`", each.kind, "–", "–"])[2 + column] = f"{each.bytes_per_delivery:,.0f}"
    both = (measured.postgresql, measured.sqlite)
    totals = [
        ["**kept in all**", "", *(f"**{each.kept_per_delivery:,.0f}**" for each in both)],
        [
            "written to the disk (WAL; SQLite: and checkpoints)",
            "",
            *(f"{each.written_per_delivery:,.0f}" for each in both),
        ],
        ["rows inserted or updated", "", *(f"{each.changed_per_delivery:.1f}" for each in both)],
        ["updates that touch no index (HOT)", "", f"{measured.postgresql.hot_share or 0:.0%}", "–"],
        ["a subscription, with its indexes", "", *(f"{each.subscription_bytes:,.0f}" for each in both)],
    ]
    order = sorted(rows.values(), key=lambda row: (row[1] == "index", row[0]))
    return _table(["bytes a delivery", "", "PostgreSQL", "SQLite"], [*order, *totals])


_SQLITE_NAMES: Mapping[str, str] = {
    "sqlite_autoindex_attempts_1": "pk_attempts",
    "sqlite_autoindex_deliveries_1": "pk_deliveries",
    "sqlite_autoindex_deliveries_2": "uq_deliveries_idempotency_key",
    "sqlite_autoindex_delivery_recipients_1": "pk_delivery_recipients",
}


def reproduction(measured: Measured) -> str:
    """Measured beside simulated."""
    rows = []
    for spike, again in reproduced(measured):
        pairs = [
            (f"{spike.per_second:.0f}", f"{again.per_second:.0f}"),
            (f"{spike.cpu_per_1000:.2f}", f"{again.cpu_per_1000:.2f}"),
            (f"{spike.first:.2f}", f"{again.first:.2f}"),
            (f"{spike.p50:.2f}", f"{again.p50:.2f}"),
            (f"{spike.p99:.2f}", f"{again.p99:.2f}"),
            (f"{spike.peak_mib:.0f}", f"{again.peak_mib:.0f}"),
        ]
        off = f"{again.per_second / spike.per_second - 1:+.0%}"
        texts = [_named(spike.database), str(spike.processes), *(" / ".join(pair) for pair in pairs)]
        rows.append([*texts, off, f"{spike.others:.1f}"])
    title = f"{measured.spikes[0].due:,} due at once: measured / simulated"
    head = [
        title,
        "processes",
        "a second",
        "CPU s per 1,000",
        "first s",
        "p50 s",
        "p99 s",
        "peak MiB",
        "throughput off",
    ]
    return _table([*head, "cores of others"], rows)


def spike(measured: Measured) -> str:
    """100,000 webhooks due in one instant."""
    rows = [
        [
            run.what,
            f"{run.outcome.per_second:,.0f}",
            f"{run.outcome.late(0):.1f}",
            f"{run.outcome.late(0.5):.0f}",
            f"{run.outcome.late(0.99):.0f}",
            f"{run.outcome.cpu_per_1000:.2f}",
            f"{run.outcome.peak_mib:.0f}",
        ]
        for run in nine_o_clock(measured)
    ]
    return _table(["100,000 due", "a second", "first s", "p50 s", "p99 s", "CPU s per 1,000", "MiB a process"], rows)


def population(measured: Measured) -> str:
    """What falls due, and what it writes and keeps on PostgreSQL: arithmetic on the measured bytes."""
    rows = []
    for subscriptions in (10_000, 1_000_000, 10_000_000, 100_000_000):
        people, ledger = Population(subscriptions), measured.postgresql
        rows.append(
            [
                f"{subscriptions:,}",
                f"{people.a_day():,.0f}",
                f"{people.on_the_fullest_day():,.0f}",
                f"{people.in_the_fullest_instant():,}",
                f"{people.a_day() * ledger.written_per_delivery / GB:,.2f}",
                f"{people.a_day() * ledger.kept_per_delivery * assumed.KEPT_DAYS / GB:,.1f}",
                f"{subscriptions * ledger.subscription_bytes / GB:,.2f}",
            ]
        )
    kept = f"GB kept in {assumed.KEPT_DAYS} days"
    head = [
        "subscriptions",
        "a day",
        "on the fullest day",
        "in its fullest instant",
        "GB WAL a day",
        kept,
        "GB subscriptions",
    ]
    return _table(head, rows)


def growth(measured: Measured) -> str:
    """1 M, 10 M and 100 M subscriptions: the fullest shard at nine o'clock of the fullest day."""
    rows = []
    for each in grown(measured):
        out = each.outcome
        rows.append(
            [
                f"{each.population.subscriptions:,}",
                f"{each.shards} × {each.setting.processes}",
                str(each.setting.at_once["email"]),
                f"{each.due:,}",
                f"{out.per_second:,.0f}",
                *(f"{each.scale * out.late(part):.0f}" for part in (0.5, 0.9, 0.98)),
            ]
        )
    head = ["subscriptions", "databases × processes", "e-mails at once", "due in the fullest", "a second"]
    return _table([*head, "p50 s", "p90 s", "p98 s"], rows)


def providers(measured: Measured) -> str:
    """What each provider's limit comes to."""
    rows = [
        [
            run.what,
            f"{run.outcome.per_second:,.0f}",
            f"{run.outcome.late(0.5):.1f}",
            f"{run.outcome.late(0.99):.1f}",
            f"{run.outcome.waiting:,}",
        ]
        for run in limits(measured)
    ]
    return _table(["one process, half an hour", "a second", "p50 s", "p99 s", "not sent yet"], rows)


TABLES: Mapping[str, Callable[[Measured], str]] = {
    "machine": machine,
    "steps": steps,
    "sizes": sizes,
    "reproduction": reproduction,
    "spike": spike,
    "population": population,
    "growth": growth,
    "providers": providers,
}


def renew(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables between its markers ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    for name, table in tables.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not between.search(page):
            raise LookupError(
                f"the page has no markers <!-- {name} --> and <!-- /{name} -->; put them where the table goes"
            )
        page = between.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", page)
    return page


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _named(database: str) -> str:
    return "SQLite" if database == "sqlite" else "PostgreSQL"
