"""The HTTP API in the large, on both databases; ``test_contract_….py`` has the contract, rule by rule."""

from __future__ import annotations

import pytest

from tests.scheduler.api.conftest import HALF_PAST, Client
from tests.scheduler.conftest import settle

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


async def test_what_is_created_is_listed_retrieved_changed_removed_and_restored(api: Client) -> None:
    made = await api.must("POST", "/subscriptions/", 201, json=api.body(title="Numbers", byweekday=None))
    assert (made["title"], made["next_delivery_date"], made["summary"]) == (
        "Numbers",
        HALF_PAST,
        "every day at 12:30, UTC",
    )

    assert await api.must("GET", f"/subscriptions/{made['id']}/") == made
    listed = await api.must("GET", "/subscriptions/")
    assert listed == {"count": 1, "next": None, "previous": None, "results": [made]}

    changed = await api.must("PATCH", f"/subscriptions/{made['id']}/", json={"title": None, "interval": 2})
    assert (changed["title"], changed["interval"]) == (None, 2)
    replaced = await api.must("PUT", f"/subscriptions/{made['id']}", json=api.body(frequency="weekly"))
    assert replaced["frequency"] == "weekly"

    await api.must("PATCH", f"/subscriptions/{made['id']}", json={"deleted": True})
    assert (await api.must("GET", "/subscriptions"))["count"] == 0
    assert (await api.must("GET", f"/subscriptions/{made['id']}"))["deleted"] is True
    assert (await api.must("PATCH", f"/subscriptions/{made['id']}", json={"deleted": False}))["deleted"] is False


@sqlite_only
@pytest.mark.parametrize(
    ("content", "status", "kind", "code"),
    [
        (b"{", 400, "invalid_request", "parse_error"),
        (b"\xff", 400, "invalid_request", "parse_error"),
        (b'{"interval": NaN}', 400, "invalid_request", "parse_error"),
        (b'{"interval": 1, "interval": 2}', 400, "invalid_request", "parse_error"),
        (b"[" * 100_000, 400, "invalid_request", "parse_error"),
        (b'{"interval": ' + b"9" * 5000 + b"}", 400, "invalid_request", "parse_error"),
        (b'{"title": "\\ud800"}', 400, "validation_error", "invalid_input"),
        (b'{"\\ud800": "\\ud800"}', 400, "validation_error", "invalid_input"),
        (b'{"title": ' + b"[" * 50 + b"]" * 50 + b"}", 400, "validation_error", "invalid_input"),
        (b'{"title": [' + b"[], " * 60_000 + b"0]}", 400, "invalid_request", "parse_error"),
        (b'{"title": [' + b"0, " * 10_000 + b"0]}", 400, "validation_error", "invalid_input"),
        (b"[]", 400, "validation_error", "invalid_input"),
        (b'"' + b"x" * 1_000_001 + b'"', 413, "invalid_request", "error"),
    ],
    ids=range(13),
)
async def test_json_that_would_become_a_riddle_is_refused_at_the_door(
    api: Client, content: bytes, status: int, kind: str, code: str
) -> None:
    headers = {"content-type": "application/json"}

    assert (await api.refused("POST", "/subscriptions", content=content, headers=headers))[:3] == (status, kind, code)


async def test_deliveries_are_walked_by_their_cursor_while_new_ones_arrive(api: Client) -> None:
    made = await api.must("POST", "/subscriptions", 201, json=api.body(catch_up="all", catch_up_hours=8760))
    api.world.clock.advance(days=59, minutes=31)
    await settle(api.world.runner())
    before = {str(each.id) for each in await api.world.deliveries()}
    api.world.clock.advance(seconds=1)

    seen, url = [], f"http://api.test/api/projects/1/subscriptions/{made['id']}/deliveries"
    while url:
        page = (await api.http.get(url)).json()
        seen += [each["id"] for each in page["results"]]
        url = page["next"]
        await api.world.app.subscriptions.test(api.world.project, made["id"]) if url else None

    assert len(seen) == len(set(seen)) == len(before) == 61
    assert set(seen) == before


@sqlite_only
async def test_a_preview_stores_nothing(api: Client) -> None:
    rule = {"frequency": "daily", "start_date": "2027-03-27T02:30:00+01:00", "timezone": "Europe/Berlin", "n": 2}

    shown = await api.must("POST", "/subscriptions/preview", json=rule)

    assert shown["summary"].startswith("every day at 02:30, Europe/Berlin")
    assert [(each["at"], each["dst_adjusted"]) for each in shown["occurrences"]] == [
        ("2027-03-27T01:30:00Z", False),
        ("2027-03-28T01:30:00Z", True),
    ]
    assert (await api.must("GET", "/subscriptions"))["count"] == 0
