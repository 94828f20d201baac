"""Secrets at rest: opened only with the key that sealed them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scheduler.errors import ConfigurationError
from scheduler.sealing import SHORTEST_KEY, Box, read_key, read_or_make_key

KEY = "a" * SHORTEST_KEY
ANOTHER = "b" * SHORTEST_KEY


@pytest.mark.parametrize("text", ["", "xoxb-1", "https://hooks.example/é\n", "x" * 100_000], ids=len)
def test_what_was_sealed_is_opened_again(text: str) -> None:
    assert Box(KEY).open(Box(KEY).seal(text)) == text


def test_the_same_text_never_looks_the_same_and_never_shows() -> None:
    box = Box(KEY)

    first, second = box.seal("xoxb-secret"), box.seal("xoxb-secret")

    assert first != second
    assert "xoxb" not in first


def test_another_key_opens_nothing_and_says_what_to_do() -> None:
    sealed = Box(KEY).seal("xoxb-secret")

    with pytest.raises(ConfigurationError, match=r"PAPERROUND_SECRET_KEY.*set the key it was initialised with"):
        Box(ANOTHER).open(sealed)


def test_a_changed_seal_is_not_opened() -> None:
    box = Box(KEY)
    sealed = box.seal("xoxb-secret")

    for changed in (sealed[:-4] + "AAAA", sealed[:20], ""):
        with pytest.raises(ConfigurationError):
            box.open(changed)


def test_a_short_key_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match=r"shorter than 32 characters.*openssl rand") as raised:
        Box("hunter2")

    assert "hunter2" not in str(raised.value)


def test_two_purposes_never_share_a_key() -> None:
    derived = {Box(key).derived(purpose) for key in (KEY, ANOTHER) for purpose in ("sealing", "unsubscribe")}

    assert len(derived) == 4
    assert {len(each) for each in derived} == {32}
    assert Box(KEY).derived("unsubscribe") == Box(KEY).derived("unsubscribe")


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "paperround.key"

    made = read_or_make_key(path)

    assert (read_or_make_key(path), read_key(path)) == (made, made)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["paperround.key"]
    Box(made)


def test_many_at_once_end_with_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "paperround.key"

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: read_or_make_key(path), range(32)))

    assert keys == {read_key(path)}
    assert [each.name for each in tmp_path.iterdir()] == ["paperround.key"]


def test_a_missing_key_names_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"not set, and .*missing\.key cannot be read .*paperround init"):
        read_key(tmp_path / "missing.key")
