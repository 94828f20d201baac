"""The API of the real service, with a key that the real command made."""

from __future__ import annotations

import httpx

from tests.e2e.conftest import Installation
from tests.e2e.test_service import ON_SQLITE, serve, until


@ON_SQLITE
async def test_who_subscribes_by_the_api_is_delivered_to(installation: Installation) -> None:
    insight = await installation.prepare()
    key = (await installation.must("keys", "create", "--scope", "subscription:write"))["value"]
    service = await serve(installation)
    fields = {
        "insight": insight,
        "target_type": "email",
        "target_value": "ann@example.org",
        "frequency": "weekly",
        "byweekday": ["monday"],
    }
    url = await service.url("/api/projects/1/subscriptions/")

    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as client:
        made = await client.post(url, json=fields)
        assert made.status_code == 201, made.text
        await until(lambda: len(installation.smtp.mails) == 1)
        listed = await client.get(url)
        stranger = await client.get(url, headers={"authorization": "Bearer pr_nobody"})

    assert (made.status_code, listed.json()["results"]) == (201, [made.json()])
    assert installation.smtp.mails[0].recipients == ("ann@example.org",)
    assert stranger.status_code == 401
    assert await service.stop() == 0
    assert await installation.must("subscriptions", "show", str(made.json()["id"])) == made.json()
