"""Rows as the API returns them, and as every command prints them with ``--json``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from scheduler.policy import parse_policy
from scheduler.recurrence import sentence_of
from scheduler.status import RecipientStatus
from scheduler.store.catalog import Dashboard, Insight, Integration, Source
from scheduler.store.deliveries import Delivery, PastAttempt, Recipient
from scheduler.store.keys import ApiKey
from scheduler.store.people import Project, User
from scheduler.store.subscriptions import Subscription
from scheduler.verification import Discrepancy, Verification


def instant(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with ``Z``, fractions only when there are any."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def subscription_json(subscription: Subscription, *, target_value: str) -> dict[str, Any]:
    """One subscription; ``target_value`` is the opened target, which is its owner's to see.

    The contract's fields, and ``spread_minutes`` where it is spread.
    """
    rule = subscription.recurrence
    return {
        "id": subscription.id,
        "dashboard": subscription.dashboard_id,
        "insight": subscription.insight_id,
        "insight_short_id": subscription.insight_short_id,
        "resource_name": subscription.resource_name,
        "resource_type": "insight" if subscription.dashboard_id is None else "dashboard",
        "dashboard_export_insights": list(subscription.dashboard_export_insights),
        "target_type": subscription.target.kind,
        "target_value": target_value,
        "frequency": rule.frequency,
        "interval": rule.interval,
        "byweekday": None if rule.byweekday is None else list(rule.byweekday),
        "bysetpos": rule.bysetpos,
        "count": rule.count,
        "start_date": instant(rule.start_at),
        "until_date": instant(rule.until_at),
        "timezone": rule.timezone,
        "gap": rule.gap,
        "fold": rule.fold,
        "catch_up": subscription.catch_up,
        "catch_up_hours": subscription.catch_up_hours,
        **({"spread_minutes": subscription.spread_minutes} if subscription.spread_minutes else {}),
        "created_at": instant(subscription.created_at),
        "created_by": user_json(subscription.created_by),
        "deleted": subscription.deleted,
        "enabled": subscription.enabled,
        "title": subscription.title,
        "summary": sentence_of(rule),
        "next_delivery_date": instant(subscription.next_delivery_date),
        "integration_id": subscription.integration_id,
        "invite_message": None,
        "summary_enabled": subscription.summary_enabled,
        "summary_prompt_guide": subscription.summary_prompt_guide,
        "last_error": subscription.last_error,
    }


def user_json(user: User) -> dict[str, Any]:
    """A person, in the reference's shape."""
    return {
        "id": user.id,
        "uuid": str(user.uuid),
        "distinct_id": str(user.uuid),
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email": user.email,
        "is_email_verified": None,
        "hedgehog_config": None,
        "role_at_organization": user.role,
    }


def key_json(key: ApiKey) -> dict[str, Any]:
    """A key without its value, which is shown once, when it is made; no ``scoped_teams`` means every project."""
    return {
        "id": key.id,
        "uuid": str(key.uuid),
        "name": key.name,
        "mask_value": key.mask,
        "user": user_json(key.user),
        "scopes": list(key.scopes),
        "scoped_teams": list(key.project_ids or ()),
        "scoped_organizations": [],
        "created_at": instant(key.created_at),
        "last_used_at": instant(key.last_used_at),
        "expires_at": instant(key.expires_at),
        "revoked_at": instant(key.revoked_at),
    }


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    """One delivery with its recipients and what it showed."""
    return {
        "id": str(delivery.id),
        "subscription": delivery.subscription_id,
        "temporal_workflow_id": delivery.run_id,
        "idempotency_key": delivery.idempotency_key,
        "trigger_type": delivery.trigger,
        "scheduled_at": instant(delivery.scheduled_at),
        "target_type": delivery.target_type,
        "target_value": delivery.target_value,
        "exported_asset_ids": list(delivery.export_ids),
        "content_snapshot": {
            "dashboard": None
            if delivery.dashboard is None
            else {"id": delivery.dashboard[0], "name": delivery.dashboard[1]},
            "insights": list(delivery.insights),
            "total_insight_count": len(delivery.export_ids),
        },
        "recipient_results": [recipient_json(recipient) for recipient in delivery.recipients],
        "status": delivery.status,
        "error": delivery.error,
        "created_at": instant(delivery.created_at),
        "last_updated_at": instant(delivery.updated_at),
        "finished_at": instant(delivery.finished_at),
        "change_summary": delivery.change_summary,
        "attempts": [attempt_json(recipient, each) for recipient in delivery.recipients for each in recipient.history],
    }


def attempt_json(recipient: Recipient, attempt: PastAttempt) -> dict[str, Any]:
    """One try at one recipient; ``outcome`` is sent, transient, permanent or uncertain (an addition)."""
    return {
        "recipient": recipient.address,
        "attempt": attempt.number,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "started_at": instant(attempt.started_at),
        "finished_at": instant(attempt.finished_at),
    }


_SHOWN_AS = {
    RecipientStatus.PENDING: "pending",
    RecipientStatus.SENDING: "pending",
    RecipientStatus.RETRYING: "pending",
    RecipientStatus.UNCERTAIN: "uncertain",
    RecipientStatus.SENT: "success",
    RecipientStatus.FAILED: "failed",
    RecipientStatus.SUPPRESSED: "failed",
}


def _came_half_way(recipient: Recipient) -> bool:
    """Slack's main message is there, some reply is not and will not be."""
    return recipient.status is RecipientStatus.FAILED and "ts" in (recipient.progress or {})


def recipient_json(recipient: Recipient) -> dict[str, Any]:
    """One address: the contract's word for its status, ours beside it."""
    entry: dict[str, Any] = {
        "recipient": recipient.address,
        "status": "partial" if _came_half_way(recipient) else _SHOWN_AS[recipient.status],
        "state": recipient.status,
        "attempts": recipient.attempts,
        "sent_at": instant(recipient.sent_at),
        "next_attempt_at": instant(recipient.next_attempt_at),
    }
    if recipient.error is not None:
        entry["error"] = recipient.error
    elif recipient.status is RecipientStatus.SUPPRESSED:
        entry["error"] = {"type": "Suppressed", "message": "unsubscribed, paused or removed before it was sent"}
    return entry


def project_json(project: Project) -> dict[str, Any]:
    """A project and what it decides about failures, defaults included; pauses are seconds."""
    policy = parse_policy(project.policy)
    return {
        "id": project.id,
        "organization": str(project.organisation_uuid),
        "name": project.name,
        "timezone": project.timezone,
        "policy": {
            "retries": {kind: [pause.total_seconds() for pause in pauses] for kind, pauses in policy.retries.items()},
            "past_next": policy.past_next,
            "disable_after": policy.disable_after,
            "disable_after_hours": policy.disable_after_hours,
        },
    }


def source_json(source: Source, *, mask: str) -> dict[str, Any]:
    """A source; of its URL, which is write-only, ``mask`` is what may be seen."""
    return {
        "id": source.id,
        "name": source.name,
        "kind": source.kind,
        "mask_value": mask,
        "created_at": instant(source.created_at),
    }


def insight_json(insight: Insight) -> dict[str, Any]:
    """An insight: its query and how it is drawn."""
    return {
        "id": insight.id,
        "short_id": insight.short_id,
        "name": insight.name,
        "description": insight.description,
        "source": insight.source_id,
        "sql": insight.sql,
        "display": insight.display,
        "created_at": instant(insight.created_at),
        "updated_at": instant(insight.updated_at),
    }


def dashboard_json(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard and its insights in order."""
    tiles = enumerate(zip(dashboard.tiles, dashboard.tile_names, strict=True))
    return {
        "id": dashboard.id,
        "name": dashboard.name,
        "description": dashboard.description,
        "insights": list(dashboard.tiles),
        "tiles": [{"insight": id_, "name": name, "position": position} for position, (id_, name) in tiles],
        "created_at": instant(dashboard.created_at),
    }


def integration_json(integration: Integration, *, mask: str) -> dict[str, Any]:
    """An integration; of its secret, which is write-only, ``mask`` is what may be seen."""
    return {
        "id": integration.id,
        "kind": integration.kind,
        "name": integration.name,
        "mask_value": mask,
        "created_at": instant(integration.created_at),
    }


def verification_json(verification: Verification) -> dict[str, Any]:
    """What was compared, and every discrepancy."""
    return {
        "deliveries": verification.deliveries,
        "subscriptions": verification.subscriptions,
        "since": instant(verification.since),
        "discrepancies": [discrepancy_json(each) for each in verification.discrepancies],
    }


def discrepancy_json(discrepancy: Discrepancy) -> dict[str, Any]:
    """Something wrong in the ledger: what kind of thing, where, and what to do."""
    return {
        "kind": discrepancy.kind,
        "subscription": discrepancy.subscription_id,
        "delivery": None if discrepancy.delivery_id is None else str(discrepancy.delivery_id),
        "at": instant(discrepancy.at),
        "message": discrepancy.message,
    }
