"""One broker for all of these tests; they are skipped, with the reason, where none is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines import broker as brokers
from tests.engines.broker import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if not brokers.is_installed():
        pytest.skip(reason=brokers.MISSING)
    with brokers.broker(tmp_path_factory.mktemp("broker")) as started:
        yield started
