"""Unsubscribe links: nobody can make one up, and they do not end."""

from __future__ import annotations

import base64

import pytest

from scheduler.links import UnsubscribeLinks

LINKS = UnsubscribeLinks("https://paperround.example/", b"k" * 32)


def token_of(url: str) -> str:
    return url.rpartition("/")[2]


@pytest.mark.parametrize("address", ["ann@example.org", "jürgen+a/b@bücher.example", '"a b"@example.org', "a@b.é"])
def test_a_link_is_read_back(address: str) -> None:
    url = LINKS.url(42, address)

    assert url.startswith("https://paperround.example/unsubscribe/")
    assert url.isascii()
    assert LINKS.read(token_of(url)) == (42, address)


def test_a_link_is_the_same_on_every_delivery() -> None:
    assert LINKS.url(42, "ann@example.org") == LINKS.url(42, "ann@example.org")


def test_a_link_stands_on_one_line_of_an_e_mails_header() -> None:
    assert set(token_of(LINKS.url(42, "ann@example.org"))) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    )


def test_a_link_of_another_key_or_made_up_is_not_ours() -> None:
    url = token_of(LINKS.url(42, "ann@example.org"))
    payload, _, signature = url.rpartition(".")
    other = base64.urlsafe_b64encode(b'[43,"ann@example.org"]').decode().rstrip("=")

    assert UnsubscribeLinks("https://paperround.example", b"x" * 32).read(url) is None
    for made_up in ("", "x", ".", "é", "a.b", payload, f"{other}.{signature}", f"{url}x", url[:-3], f".{url}", "\0"):
        assert LINKS.read(made_up) is None
