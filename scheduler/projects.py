"""Projects: adding, editing and removing them, and what each decides about failures.

The command line and the API both come here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.clock import Clock
from scheduler.credentials import new_signing_secret
from scheduler.db import Database
from scheduler.policy import parse_policy
from scheduler.sealing import Box
from scheduler.store import catalog, needs, people
from scheduler.store.catalog import Integration
from scheduler.store.people import Project
from scheduler.zones import zone


class Projects:
    """Every change of an organisation's projects."""

    def __init__(self, database: Database, box: Box, clock: Clock) -> None:
        self._database = database
        self._box = box
        self._clock = clock

    async def add(
        self, organisation_id: int, name: str, *, timezone: str, policy: Mapping[str, Any] | None = None
    ) -> Project:
        """A project that can deliver. Raises :class:`InvalidField` for the first value that cannot be."""
        name, timezone = catalog.usable_name(name), zone(timezone).key
        parse_policy(policy)
        async with self._database.write() as tx:
            now = self._clock()
            project = await people.add_project(tx, organisation_id, name, timezone=timezone, now=now)
            await add_signature(tx, self._box, project, now=now)
            await people.change_project(tx, project.id, policy=dict(policy or {}) or None)
            return await people.find_project(tx, project.id)

    async def edit(
        self,
        project: Project,
        *,
        name: str | None = None,
        timezone: str | None = None,
        policy: Mapping[str, Any] | None = None,
        from_defaults: bool = False,
    ) -> Project:
        """What is None, and what the policy does not name, stays, unless that starts ``from_defaults``.

        The time zone is that of new subscriptions. Raises :class:`InvalidField` for the first value that cannot be.
        """
        changes: dict[str, Any] = {}
        if name is not None:
            changes["name"] = catalog.usable_name(name)
        if timezone is not None:
            changes["timezone"] = zone(timezone).key
        async with self._database.write() as tx:
            if policy is not None or from_defaults:
                before = {} if from_defaults else (await people.find_project(tx, project.id)).policy
                changes["policy"] = _merged(before or {}, policy or {}) or None
            if changes:
                await people.change_project(tx, project.id, **changes)
            return await people.find_project(tx, project.id)

    async def remove(self, project: Project) -> None:
        """Forget an empty one. Raises :class:`Conflict` for any other."""
        async with self._database.write() as tx:
            await needs.remove_project(tx, project)


async def add_signature(tx: AsyncConnection, box: Box, project: Project, *, now: datetime) -> None:
    """What a project's webhooks are signed with, even if nobody chose a secret."""
    await catalog.add(
        tx,
        Integration,
        project_id=project.id,
        now=now,
        kind="webhook",
        name="Webhook signature",
        secret_sealed=box.seal(json.dumps({"secrets": [new_signing_secret()]})),
    )


def _merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Of the retries, each channel's alone. Raises :class:`InvalidField` for the first entry that cannot be."""
    retries = {**before.get("retries", {}), **changes.get("retries", {})}
    decided = {**before, **changes, **({"retries": retries} if retries else {})}
    parse_policy(decided)
    return decided
