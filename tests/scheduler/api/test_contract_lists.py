"""The filters, the search and the orderings of ``GET /subscriptions``, one by one, on both databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.scheduler.api.conftest import Client

Titles = Callable[[str], Awaitable[list[str]]]


@pytest.fixture
def titles(api: Client) -> Titles:
    """The titles that a query lists, in its order."""

    async def asked(query: str) -> list[str]:
        return [each["title"] for each in (await api.must("GET", f"/subscriptions?{query}"))["results"]]

    return asked


async def test_created_by_is_a_users_uuid_else_400(api: Client, titles: Titles) -> None:
    await api.world.subscribe(title="Mine")

    assert await titles(f"created_by={api.world.owner.uuid}") == ["Mine"]
    assert await titles("created_by=00000000-0000-0000-0000-000000000000") == []
    assert await api.refused("GET", "/subscriptions?created_by=me") == (
        400,
        "validation_error",
        "invalid_input",
        "created_by",
    )


async def test_dashboard_and_insight_are_ids_else_400(api: Client, titles: Titles) -> None:
    catalog, world = api.world.app.catalog, api.world
    overview = await catalog.add_dashboard(world.project, "Overview", insights=[world.insight])
    await world.subscribe(title="Insight")
    await world.subscribe(
        title="Dashboard", insight=None, dashboard=overview.id, dashboard_export_insights=[world.insight]
    )

    assert await titles(f"insight={world.insight}") == ["Insight"]
    assert await titles(f"dashboard={overview.id}") == ["Dashboard"]
    assert await titles("insight=999") == await titles("dashboard=999") == []
    for field in ("insight", "dashboard"):
        for wrong in ("x", "-1", "1.5"):
            refused = await api.refused("GET", f"/subscriptions?{field}={wrong}")
            assert refused == (400, "validation_error", "invalid_input", field)


async def test_target_type_is_one_that_there_is_else_400(api: Client, titles: Titles) -> None:
    await api.world.subscribe(title="Mail")
    await api.world.subscribe(title="Hook", target_type="webhook", target_value="https://hooks.example.org/")

    assert await titles("target_type=webhook") == ["Hook"]
    assert await titles("target_type=slack") == []
    refused = await api.refused("GET", "/subscriptions?target_type=fax")
    assert refused == (400, "validation_error", "invalid_choice", "target_type")


async def test_resource_type_is_insight_or_dashboard_and_nonsense_is_ignored(api: Client, titles: Titles) -> None:
    await api.world.subscribe(title="Insight")

    assert await titles("resource_type=insight") == ["Insight"]
    assert await titles("resource_type=dashboard") == []
    assert await titles("resource_type=nonsense") == ["Insight"]


async def test_deleted_lists_the_deleted_and_absent_only_live_rows(api: Client, titles: Titles) -> None:
    await api.world.subscribe(title="Paused", enabled=False)
    gone = await api.world.subscribe(title="Gone")
    await api.world.app.subscriptions.remove(api.world.project, gone.id)

    assert await titles("") == await titles("deleted=false") == ["Paused"]
    assert await titles("deleted=true") == ["Gone"]
    assert (await api.must("GET", f"/subscriptions/{gone.id}"))["deleted"] is True


async def test_search_is_case_blind_ands_words_and_looks_at_title_insight_and_dashboard(
    api: Client, titles: Titles
) -> None:
    catalog, world = api.world.app.catalog, api.world
    overview = await catalog.add_dashboard(world.project, "Overview of costs", insights=[world.insight])
    of_dashboard = {"insight": None, "dashboard": overview.id, "dashboard_export_insights": [world.insight]}
    await world.subscribe(title="Weekly Sales 100%")
    await world.subscribe(title="weekly", **of_dashboard)

    assert sorted(await titles("search=WEEKLY")) == ["Weekly Sales 100%", "weekly"]
    assert await titles("search=sales+weekly") == ["Weekly Sales 100%"]
    assert await titles("search=weekly+overVIEW") == ["weekly"]
    assert await titles("search=numbers") == ["Weekly Sales 100%"]
    assert await titles("search=100%25") == ["Weekly Sales 100%"]
    assert await titles("search=_") == await titles("search=sales+costs") == []
    assert len(await titles("search=")) == len(await titles("search=%20")) == 2


async def test_ordering_takes_four_fields_either_way_newest_first_by_default(api: Client, titles: Titles) -> None:
    for title, start in (("b", "13"), ("a", "12"), ("c", "14")):
        api.world.clock.advance(seconds=1)
        await api.world.subscribe(title=title, start_date=f"2026-11-23T{start}:00:00Z")

    orders = {ordering: "".join(await titles(f"ordering={ordering}")) for ordering in ORDERS}

    assert orders == ORDERS


ORDERS = {
    "": "cab",
    "created_at": "bac",
    "-created_at": "cab",
    "next_delivery_date": "abc",
    "-next_delivery_date": "cba",
    "title": "abc",
    "-title": "cba",
    "created_by__email,title": "abc",
    "-created_by__email,-title": "cba",
    "nonsense,password,title": "abc",
    "nonsense": "cab",
}
"""The titles of three subscriptions, made in the order ``bac``, under each ordering."""
