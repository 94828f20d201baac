"""AI summaries by the contract: who may have one, how many there are, what is kept."""

from __future__ import annotations

import pytest

from scheduler.quota import SummaryRules
from scheduler.store import organisations, people
from tests.scheduler.api.conftest import Client

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
QUOTA = "/subscriptions/summary_quota"


async def agreed(api: Client, *, limit: int | None = None) -> None:
    """A model is configured, and the organisation has agreed to it."""
    api.world.app.subscriptions.summaries = SummaryRules(has_model=True, limit=limit)
    async with api.world.app.database.write() as tx:
        await organisations.change(tx, api.world.project.organisation_id, summaries_allowed=True)


@sqlite_only
async def test_a_summary_without_a_model_or_without_consent_is_a_403(api: Client) -> None:
    refused = (403, "authentication_error", "permission_denied", None)
    assert await api.refused("POST", "/subscriptions", json=api.body(summary_enabled=True)) == refused

    api.world.app.subscriptions.summaries = SummaryRules(has_model=True, limit=None)
    assert await api.refused("POST", "/subscriptions", json=api.body(summary_enabled=True)) == refused

    await agreed(api)
    made = await api.subscribe(summary_enabled=True, summary_prompt_guide="Look at Mondays")
    assert (made["summary_enabled"], made["summary_prompt_guide"]) == (True, "Look at Mondays")
    async with api.world.app.database.write() as tx:
        await organisations.change(tx, api.world.project.organisation_id, summaries_allowed=False)
    assert await api.refused("PATCH", f"/subscriptions/{made['id']}", json={"summary_enabled": True}) == refused
    assert (await api.must("PATCH", f"/subscriptions/{made['id']}", json={"title": "Still"}))["summary_enabled"] is True


@sqlite_only
@pytest.mark.parametrize(
    ("fields", "code", "attr"),
    [
        ({"summary_prompt_guide": "x" * 501}, "max_length", "summary_prompt_guide"),
        ({"summary_prompt_guide": None}, "null", "summary_prompt_guide"),
        ({"summary_prompt_guide": 1}, "invalid_input", "summary_prompt_guide"),
        ({"summary_enabled": "yes"}, "invalid_input", "summary_enabled"),
        ({"summary_enabled": None}, "null", "summary_enabled"),
    ],
    ids=str,
)
async def test_a_summary_field_that_cannot_be_is_refused_by_its_name(
    api: Client, fields: dict[str, object], code: str, attr: str
) -> None:
    assert await api.refused("POST", "/subscriptions", json=api.body(**fields)) == (400, "validation_error", code, attr)


async def test_the_quota_counts_the_organisations_paused_ones_and_not_its_removed_ones(api: Client) -> None:
    await agreed(api)
    first = await api.subscribe(summary_enabled=True)
    second = await api.subscribe(summary_enabled=True, enabled=False)
    await api.subscribe()
    assert await api.must("GET", QUOTA) == {"active_count": 2, "limit": None, "at_limit": False}

    async with api.world.app.database.write() as tx:
        another = await people.add_project(
            tx, api.world.project.organisation_id, "Another", timezone="UTC", now=api.world.clock()
        )
    await api.must("PATCH", f"/subscriptions/{second['id']}", json={"enabled": False, "title": "Paused"})
    await api.must("PATCH", f"/subscriptions/{first['id']}", json={"deleted": True})

    api.world.app.subscriptions.summaries = SummaryRules(has_model=True, limit=1)
    shown = await api.http.get(f"/api/projects/{another.id}{QUOTA}")
    assert shown.json() == {"active_count": 1, "limit": 1, "at_limit": True}


@sqlite_only
async def test_over_the_quota_becoming_an_active_summary_is_a_402_and_edits_of_an_active_one_pass(api: Client) -> None:
    await agreed(api, limit=1)
    active = await api.subscribe(summary_enabled=True)
    plain = await api.subscribe()
    refused = (402, "server_error", "quota_limit_exceeded", None)

    assert await api.refused("POST", "/subscriptions", json=api.body(summary_enabled=True)) == refused
    assert await api.refused("PATCH", f"/subscriptions/{plain['id']}", json={"summary_enabled": True}) == refused
    edited = await api.must("PATCH", f"/subscriptions/{active['id']}", json={"title": "New", "summary_enabled": True})
    assert edited["title"] == "New"

    await api.must("PATCH", f"/subscriptions/{active['id']}", json={"deleted": True})
    assert (await api.must("PATCH", f"/subscriptions/{plain['id']}", json={"summary_enabled": True}))["summary_enabled"]
    assert await api.refused("PATCH", f"/subscriptions/{active['id']}", json={"deleted": False}) == refused
