"""The short run of ``make api-fuzz``: every operation, and chains of them, a little."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.ground import service
from tests.fuzz.running import fuzz

pytestmark = pytest.mark.e2e


def test_requests_that_nobody_wrote_get_answers_that_are_in_the_document(tmp_path: Path) -> None:
    with service(tmp_path) as fuzzed:
        sent = fuzz(fuzzed, seed=1, examples=1, chains=10, phases=("fuzzing", "stateful"))
        complaints = fuzzed.complaints()

    assert sent.found == 0, sent.output
    assert sent.requests >= 100
    assert complaints == []
