"""A small coffee roastery's books, made up: two years of customers, orders and refunds in one SQLite file.

The same seed and the same day make the same shop, to the last cent. Nothing in it is anybody's: names are drawn from
two short lists, addresses end in ``.example`` (RFC 2606).
"""

from __future__ import annotations

import math
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path
from random import Random

from scheduler.snapshot import Display

DEMO_DASHBOARD_NAME = "Harbour Coffee this week"


@dataclass(frozen=True, slots=True)
class DemoInsight:
    """One question to the shop; ``sql`` counts back from the shop's own last day, never from the wall clock."""

    name: str
    description: str
    display: Display
    sql: str


DEMO_INSIGHTS = (
    DemoInsight(
        name="Revenue this week",
        description="The last seven days beside the seven before, without refunds.",
        display=Display.NUMBER,
        sql="""\
WITH today AS (SELECT date(max(ordered_at)) AS day FROM orders)
SELECT round(sum(CASE WHEN ordered_at >= date(day, '-6 days') THEN total_cents END) / 100.0) AS "Revenue (€)",
       round(sum(CASE WHEN ordered_at < date(day, '-6 days') THEN total_cents END) / 100.0) AS "Previous week (€)"
FROM orders, today
WHERE status = 'paid' AND ordered_at >= date(day, '-13 days')""",
    ),
    DemoInsight(
        name="Orders a day",
        description="The last 90 days, and the mean of seven days, which knows no weekends.",
        display=Display.LINE,
        sql="""\
WITH today AS (SELECT date(max(ordered_at)) AS day FROM orders),
     daily AS (
         SELECT date(ordered_at) AS day, count(*) AS orders
         FROM orders
         WHERE ordered_at >= (SELECT date(day, '-95 days') FROM today)
         GROUP BY 1
     ),
     smooth AS (
         SELECT day, orders, avg(orders) OVER (ORDER BY day ROWS 6 PRECEDING) AS mean FROM daily
     )
SELECT day AS "Day", orders AS "Orders", round(mean, 1) AS "Seven-day mean"
FROM smooth
WHERE day >= (SELECT date(day, '-89 days') FROM today)
ORDER BY day""",
    ),
    DemoInsight(
        name="Revenue by country",
        description="The last 30 days, by where the customer lives.",
        display=Display.BAR,
        sql="""\
SELECT customers.country AS "Country", round(sum(orders.total_cents) / 100.0) AS "Revenue (€)"
FROM orders JOIN customers ON customers.id = orders.customer_id
WHERE orders.status = 'paid' AND orders.ordered_at >= (SELECT date(max(ordered_at), '-29 days') FROM orders)
GROUP BY 1
ORDER BY 2 DESC
LIMIT 8""",
    ),
    DemoInsight(
        name="Top products",
        description="What the last 30 days were made of.",
        display=Display.TABLE,
        sql="""\
SELECT products.name AS "Product",
       products.category AS "Category",
       sum(order_lines.quantity) AS "Sold",
       round(sum(order_lines.quantity * order_lines.price_cents) / 100.0, 2) AS "Revenue (€)"
FROM order_lines
JOIN orders ON orders.id = order_lines.order_id
JOIN products ON products.id = order_lines.product_id
WHERE orders.status = 'paid' AND orders.ordered_at >= (SELECT date(max(ordered_at), '-29 days') FROM orders)
GROUP BY products.id
ORDER BY 4 DESC
LIMIT 8""",
    ),
)

_SCHEMA = """
CREATE TABLE products (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, price_cents INTEGER NOT NULL
);
CREATE TABLE customers (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, country TEXT NOT NULL, channel TEXT NOT NULL,
    signed_up_on TEXT NOT NULL
);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers, ordered_at TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('paid', 'refunded')), refunded_on TEXT, total_cents INTEGER NOT NULL
);
CREATE TABLE order_lines (
    order_id INTEGER NOT NULL REFERENCES orders, product_id INTEGER NOT NULL REFERENCES products,
    quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL
);
"""
_INDEXES = """
CREATE INDEX orders_by_time ON orders (ordered_at);
CREATE INDEX order_lines_by_order ON order_lines (order_id);
"""

_PRODUCTS = [  # name, category, price in cents, how often it is bought
    ("House Espresso 250 g", "Beans", 890, 17),
    ("House Espresso 1 kg", "Beans", 2990, 13),
    ("Ethiopia Guji 250 g", "Beans", 1190, 14),
    ("Colombia Huila 250 g", "Beans", 1090, 12),
    ("Kenya Nyeri 250 g", "Beans", 1390, 7),
    ("Decaf Sidamo 250 g", "Beans", 1150, 6),
    ("Winter Blend 250 g", "Beans", 990, 5),
    ("Tasting Box", "Gifts", 2450, 6),
    ("Three-Month Subscription", "Gifts", 4900, 4),
    ("Gift Card", "Gifts", 2500, 3),
    ("Dripper, Porcelain", "Brewing", 2200, 4),
    ("Filter Papers, 100", "Brewing", 550, 11),
    ("French Press", "Brewing", 3490, 2),
    ("Hand Grinder", "Brewing", 7900, 2),
    ("Gooseneck Kettle", "Brewing", 6500, 1),
    ("Travel Mug", "Extras", 1950, 4),
    ("Stoneware Cup", "Extras", 1400, 5),
    ("Oat Bar, Box of 12", "Extras", 1680, 4),
]
_COUNTRIES = {
    "Germany": 31,
    "United Kingdom": 18,
    "France": 13,
    "Netherlands": 11,
    "Austria": 9,
    "Spain": 7,
    "Italy": 6,
    "Sweden": 5,
}
_CHANNELS = {"Search": 34, "Newsletter": 21, "Social": 19, "Friends": 15, "Direct": 11}
_FIRST_NAMES = [
    "Ada",
    "Ben",
    "Clara",
    "Dario",
    "Elif",
    "Finn",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kaya",
    "Lena",
    "Mats",
]
_LAST_NAMES = [
    "Abel",
    "Berg",
    "Costa",
    "Dahl",
    "Fuchs",
    "Grant",
    "Haas",
    "Jansen",
    "Keller",
    "Moreau",
    "Novak",
    "Rossi",
]

_DAYS = 731  # two years and the day itself
_WEEKDAYS = [1.12, 1.05, 1.0, 1.02, 1.1, 0.82, 0.68]  # Monday first: beans are ordered at work
_MONTHS = [0.94, 0.95, 0.99, 1.0, 0.97, 0.9, 0.82, 0.84, 0.99, 1.05, 1.22, 1.46]  # January first: few roast in July
_HOURS = [1, 0, 0, 0, 0, 1, 3, 7, 10, 11, 10, 9, 9, 8, 7, 7, 7, 8, 9, 11, 12, 10, 6, 3]
_FIRST_DAY_ORDERS, _YEARLY_GROWTH = 13.0, 1.42
_UNREST = 0.7  # of what chance alone would do: regulars order regularly
_NEW_CUSTOMERS = 0.36  # of all orders
_REFUNDS = 0.028
_QUANTITIES = [1, 1, 1, 1, 1, 2, 2, 3]
_LINES = [1, 1, 1, 2, 2, 3, 4]


def create_shop(path: Path, *, today: date, seed: int = 7) -> None:
    """Write the shop as it stands at the end of ``today``; a file that is there is replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    unfinished = Path(name)
    try:
        _write(unfinished, _Books(today=today, random=Random(seed)))  # noqa: S311 - a demo, not a secret
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write(path: Path, books: _Books) -> None:
    books.keep()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = OFF")  # nobody sees the file before it is whole
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            database.execute(statement)
        products = ((number, *product[:3]) for number, product in enumerate(_PRODUCTS, start=1))
        database.executemany("INSERT INTO products VALUES (?, ?, ?, ?)", products)
        database.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)", books.customers)
        database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", books.orders)
        database.executemany("INSERT INTO order_lines VALUES (?, ?, ?, ?)", books.lines)
        for statement in filter(str.strip, _INDEXES.split(";")):
            database.execute(statement)
        database.execute("COMMIT")


@dataclass(slots=True)
class _Books:
    """The rows, in the order in which they came about."""

    today: date
    random: Random
    customers: list[tuple[int, str, str, str, str, str]] = field(default_factory=list)
    orders: list[tuple[int, int, str, str, str | None, int]] = field(default_factory=list)
    lines: list[tuple[int, int, int, int]] = field(default_factory=list)

    def keep(self) -> None:
        for day, expected in _expected_orders(self.today):
            count = max(1, round(self.random.gauss(expected, _UNREST * math.sqrt(expected))))
            for second in sorted(self._second() for _ in range(count)):
                self._order(day, second)

    def _second(self) -> int:
        """Of the day, in UTC, when somebody orders."""
        return self.random.choices(range(24), cum_weights=_HOUR_WEIGHTS)[0] * 3600 + self.random.randrange(3600)

    def _order(self, day: date, second: int) -> None:
        number = len(self.orders) + 1
        customer = self._customer(day)
        total = self._fill_basket(number)
        at = f"{day}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
        refunded = self._refunded_on(day)
        status = "paid" if refunded is None else "refunded"
        self.orders.append((number, customer, at, status, refunded, total))

    def _customer(self, day: date) -> int:
        if not self.customers or self.random.random() < _NEW_CUSTOMERS:
            return self._sign_up(day)
        # Those who came lately come again: the square root leans towards the newest.
        return 1 + int(len(self.customers) * math.sqrt(self.random.random()))

    def _sign_up(self, day: date) -> int:
        number = len(self.customers) + 1
        first, last = self.random.choice(_FIRST_NAMES), self.random.choice(_LAST_NAMES)
        country = self.random.choices(list(_COUNTRIES), cum_weights=_COUNTRY_WEIGHTS)[0]
        channel = self.random.choices(list(_CHANNELS), cum_weights=_CHANNEL_WEIGHTS)[0]
        email = f"{first}.{last}.{number}@shoppers.example".lower()
        self.customers.append((number, f"{first} {last}", email, country, channel, str(day)))
        return number

    def _fill_basket(self, order: int) -> int:
        wanted = self.random.choices(range(len(_PRODUCTS)), cum_weights=_PRODUCT_WEIGHTS, k=self.random.choice(_LINES))
        total = 0
        for product in dict.fromkeys(wanted):
            quantity, price = self.random.choice(_QUANTITIES), _PRODUCTS[product][2]
            self.lines.append((order, product + 1, quantity, price))
            total += quantity * price
        return total

    def _refunded_on(self, day: date) -> str | None:
        if self.random.random() >= _REFUNDS:
            return None
        refunded = day + timedelta(days=self.random.randint(1, 14))
        return str(refunded) if refunded <= self.today else None


def _expected_orders(today: date) -> Iterator[tuple[date, float]]:
    """Each day and how many orders it would have were there no chance: growth, season, week and the November sale."""
    for age in range(_DAYS):
        day = today - timedelta(days=_DAYS - 1 - age)
        trend = _FIRST_DAY_ORDERS * _YEARLY_GROWTH ** (age / 365)
        sale = 1.5 if (day.month, day.weekday()) == (11, 4) and day.day >= 23 else 1.0
        yield day, trend * _season(day) * _WEEKDAYS[day.weekday()] * sale


def _season(day: date) -> float:
    """From the middle of one month to the middle of the next, without a step on the first."""
    place = (day.day - 15) / 30
    neighbour = _MONTHS[(day.month - 1 + (1 if place > 0 else -1)) % 12]
    return _MONTHS[day.month - 1] * (1 - abs(place)) + neighbour * abs(place)


_PRODUCT_WEIGHTS = list(accumulate(product[3] for product in _PRODUCTS))
_COUNTRY_WEIGHTS = list(accumulate(_COUNTRIES.values()))
_CHANNEL_WEIGHTS = list(accumulate(_CHANNELS.values()))
_HOUR_WEIGHTS = list(accumulate(_HOURS))
