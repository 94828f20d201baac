"""Who may have an AI summary with a subscription: a model is configured, the organisation agreed, there is room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import InvalidField, NotAllowed, QuotaExceeded
from scheduler.store import summaries as rows
from scheduler.store.people import Project
from scheduler.store.subscriptions import Subscription

LONGEST_GUIDE = 500
FIELDS = ("summary_enabled", "summary_prompt_guide")


@dataclass(frozen=True, slots=True)
class Quota:
    """How full it is; ``limit`` None: without end."""

    active_count: int
    limit: int | None

    @property
    def at_limit(self) -> bool:
        """No subscription may get a summary that has none."""
        return self.limit is not None and self.active_count >= self.limit


@dataclass(frozen=True, slots=True)
class SummaryRules:
    """``limit`` is of an organisation, over all of its projects."""

    has_model: bool
    limit: int | None

    async def quota(self, connection: AsyncConnection, organisation_id: int) -> Quota:
        """How many of the organisation's subscriptions have a summary, and may have."""
        return Quota(await rows.count_active(connection, organisation_id), self.limit)

    async def columns(
        self, tx: AsyncConnection, project: Project, before: Subscription | None, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The fields as columns. Raises :class:`InvalidField`, :class:`NotAllowed`, :class:`QuotaExceeded`.

        An active one may be edited whatever the quota says; it counts when a subscription gets its summary, and when
        one that has one is restored.
        """
        columns = _checked(fields)
        if columns.get("summary_enabled"):
            await self._require_agreement(tx, project)
        was_active = before is not None and before.summary_enabled and not before.deleted
        enabled = columns.get("summary_enabled", before is not None and before.summary_enabled)
        deleted = fields.get("deleted", before is not None and before.deleted)
        if enabled and not deleted and not was_active:
            await self._require_room(tx, project)
        return columns

    async def _require_agreement(self, tx: AsyncConnection, project: Project) -> None:
        if not self.has_model:
            raise NotAllowed("AI summaries are off: set PAPERROUND_SUMMARY_URL and PAPERROUND_SUMMARY_MODEL first.")
        if not await rows.is_agreed(tx, project.organisation_id):
            raise NotAllowed(
                "The organisation has not agreed that its rows are shown to a model; an admin says so with "
                '`PATCH /api/organizations/@current {"is_ai_data_processing_approved": true}`.'
            )

    async def _require_room(self, tx: AsyncConnection, project: Project) -> None:
        await rows.is_agreed(tx, project.organisation_id, lock=True)
        if (await self.quota(tx, project.organisation_id)).at_limit:
            raise QuotaExceeded(
                f"The organisation has its {self.limit} subscriptions with an AI summary; switch one off first."
            )


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: fields[name] for name in FIELDS if name in fields}
    for name, value in given.items():
        if value is None:
            raise InvalidField(name, "may not be null; leave it out", code="null")
    if not isinstance(given.get("summary_enabled", False), bool):
        raise InvalidField("summary_enabled", "must be true or false")
    guide = given.get("summary_prompt_guide", "")
    if not isinstance(guide, str) or "\0" in guide:
        raise InvalidField("summary_prompt_guide", "must be text without a NUL character")
    if len(guide) > LONGEST_GUIDE:
        raise InvalidField("summary_prompt_guide", f"must be at most {LONGEST_GUIDE} characters", code="max_length")
    return given
