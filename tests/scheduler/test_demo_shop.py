"""The demo's shop is read the way a person's own database is: through scheduler/sources."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.demo.shop import DEMO_DASHBOARD_NAME, DEMO_INSIGHTS, DemoInsight, create_shop
from scheduler.snapshot import ColumnType, Display, QueryResult
from scheduler.sources import check_sql, run_query

TODAY = date(2026, 11, 22)
NOW = datetime(2031, 1, 1, tzinfo=UTC)  # the demo looks right whenever it is run


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "new folder" / "shop.db"
    create_shop(path, today=TODAY)
    return path


Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def ask(shop: Path) -> Ask:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(shop)) as database:
            return database.execute(sql).fetchall()

    return rows


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def test_the_same_seed_and_day_make_the_same_shop(shop: Path, tmp_path: Path) -> None:
    create_shop(tmp_path / "again.db", today=TODAY)
    create_shop(tmp_path / "other.db", today=TODAY, seed=8)

    assert dump(tmp_path / "again.db") == dump(shop)
    assert dump(tmp_path / "other.db") != dump(shop)


def test_an_older_shop_is_replaced_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    path.write_text("an older one")

    create_shop(path, today=date(2024, 2, 29))

    assert list(tmp_path.iterdir()) == [path]
    assert dump(path)[0] == "BEGIN TRANSACTION;"


def test_two_years_end_today_without_a_gap(ask: Ask) -> None:
    assert ask("SELECT min(date(ordered_at)), max(date(ordered_at)), count(DISTINCT date(ordered_at)) FROM orders") == [
        ("2024-11-22", "2026-11-22", 731)
    ]
    assert ask("SELECT count(*) FROM orders WHERE refunded_on > '2026-11-22'") == [(0,)]
    too_early = (
        "SELECT count(*) FROM orders JOIN customers ON customers.id = customer_id WHERE ordered_at < signed_up_on"
    )
    assert ask(too_early) == [(0,)]


def test_the_shop_looks_like_a_business(ask: Ask) -> None:
    [(orders, customers, refunded)] = ask(
        "SELECT count(*), count(DISTINCT customer_id), avg(status = 'refunded') FROM orders"
    )
    weekdays: dict[str, int] = dict(ask("SELECT strftime('%w', ordered_at), count(*) FROM orders GROUP BY 1"))
    months: dict[str, int] = dict(
        ask("SELECT strftime('%m', ordered_at), count(*) FROM orders WHERE ordered_at LIKE '2025%' GROUP BY 1")
    )
    [(first, second)] = ask("SELECT sum(ordered_at < '2025-11-22'), sum(ordered_at >= '2025-11-22') FROM orders")

    assert 8_000 < orders < 20_000
    assert orders / 4 < customers < orders / 2
    assert 0.02 < refunded < 0.04
    assert weekdays["0"] < weekdays["6"] < min(weekdays[day] for day in "12345")
    assert max(months, key=lambda month: months[month]) == "12"
    assert 1.2 < second / first < 1.6


def test_the_books_add_up(ask: Ask) -> None:
    wrong = """
        SELECT count(*) FROM orders
        JOIN (SELECT order_id, sum(quantity * price_cents) AS total FROM order_lines GROUP BY 1) ON order_id = id
        WHERE total <> total_cents OR total <= 0
    """

    assert ask(wrong) == [(0,)]
    assert ask("SELECT count(*) FROM orders") == ask("SELECT count(DISTINCT order_id) FROM order_lines")
    assert ask("SELECT count(DISTINCT country), count(DISTINCT channel) FROM customers") == [(8, 5)]


def test_four_insights_in_four_displays_make_the_dashboard() -> None:
    assert DEMO_DASHBOARD_NAME
    assert [insight.display for insight in DEMO_INSIGHTS] == [Display.NUMBER, Display.LINE, Display.BAR, Display.TABLE]
    assert len({insight.name for insight in DEMO_INSIGHTS}) == 4


async def answer(shop: Path, insight: DemoInsight) -> QueryResult:
    result = await run_query(f"sqlite:///{shop}", check_sql(insight.sql), now=NOW)
    assert isinstance(result, QueryResult), result
    return result


async def test_revenue_this_week_has_the_week_before_beside_it(shop: Path) -> None:
    result = await answer(shop, DEMO_INSIGHTS[0])

    assert result.columns == ("Revenue (€)", "Previous week (€)")
    assert result.types == (ColumnType.NUMBER, ColumnType.NUMBER)
    [(this_week, week_before)] = result.rows
    assert 3_000 < float(this_week or 0) < 20_000
    assert 0.5 < float(this_week or 0) / float(week_before or 1) < 2


async def test_orders_a_day_are_ninety_days_up_to_the_last(shop: Path) -> None:
    result = await answer(shop, DEMO_INSIGHTS[1])

    assert result.columns == ("Day", "Orders", "Seven-day mean")
    assert result.types == (ColumnType.DATE, ColumnType.NUMBER, ColumnType.NUMBER)
    assert len(result.rows) == 90
    assert (result.rows[0][0], result.rows[-1][0]) == ("2026-08-25", "2026-11-22")


async def test_revenue_by_country_starts_with_the_largest(shop: Path) -> None:
    result = await answer(shop, DEMO_INSIGHTS[2])

    assert result.columns == ("Country", "Revenue (€)")
    assert result.rows[0][0] == "Germany"
    revenue = [float(row[1] or 0) for row in result.rows]
    assert len(revenue) == 8
    assert revenue == sorted(revenue, reverse=True)


async def test_top_products_are_eight_rows_of_a_table(shop: Path) -> None:
    result = await answer(shop, DEMO_INSIGHTS[3])

    assert result.columns == ("Product", "Category", "Sold", "Revenue (€)")
    assert result.types == (ColumnType.TEXT, ColumnType.TEXT, ColumnType.NUMBER, ColumnType.NUMBER)
    assert len(result.rows) == 8
    assert not result.truncated
