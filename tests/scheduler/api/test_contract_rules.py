"""The contract and its tests stay together: every rule has a test that is named after it.

The contract's tables are repeated here, since its text is not part of this repository.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scheduler.api import test_contract_deliveries, test_contract_fields

RULES = {
    "conventions": (
        *("both_prefixes", "a_key_may_be_limited", "write_includes_read", "same_401", "row_of_another_project_is_404"),
        *(
            "one_shape",
            "406",
            "first_error",
            "order_of_the_field_table",
            "codes",
            "instants",
            "limit_and_offset",
            "by_cursor",
        ),
    ),
    "fields": tuple(each for each in test_contract_fields.FIELDS if not each.startswith("summary_")),
    "lists": (
        *("created_by", "dashboard_and_insight", "target_type", "resource_type", "deleted", "search", "ordering"),
        "newest_first",
    ),
    "side_effects": (
        *("create_enabled", "subscribed_wording", "create_disabled", "re_enables", "of_the_target", "integration"),
        *("selection", "soft_delete", "put", "delete_is_405", "next_delivery_date", "no_burst", "future_occurrence"),
        *("usable_integration", "202", "404_when_deleted", "409_when_disabled", "throttled", "summary_quota"),
    ),
    "deliveries": (*test_contract_deliveries.FIELDS, "filtered_by_status", "read_only"),
    "summaries": ("a_summary_field", "403", "402", "quota"),
    "people": ("users_at_me", "personal_api_keys_at_current", "projects", "organizations_at_current"),
    "better": (
        *("never_early", "wall_clock", "missed_occurrences", "zero_is_400", "signed_retried_idempotent"),
        *("unit_of_retry", "two_quick_target_changes", "unsubscribe_link", "checked_and_trimmed", "last_error"),
    ),
}
"""Words that stand in the name of a test in ``test_contract_….py``."""


@pytest.mark.parametrize("module", RULES)
def test_every_rule_of_the_contract_has_a_test_named_after_it(module: str) -> None:
    text = (Path(__file__).parent / f"test_contract_{module}.py").read_text()
    names = "\n".join(f"{name}_" for name in re.findall(r"async def (test_\w+)", text))

    assert [rule for rule in RULES[module] if f"_{rule}_" not in names] == []
