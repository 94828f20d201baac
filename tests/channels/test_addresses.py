"""What a person may type as an e-mail target."""

from __future__ import annotations

import pytest

from channels.addresses import Sender, WireAddress, parse_addresses, parse_sender, wire_address
from channels.base import TargetError


def test_addresses_are_trimmed_and_duplicates_dropped_in_order() -> None:
    target = " ann@Example.com,ben@example.com , ann@example.COM, Ann@example.com"

    assert parse_addresses(target) == ["ann@example.com", "ben@example.com", "Ann@example.com"]


@pytest.mark.parametrize(
    "address",
    [
        "a@b>\r\nRCPT TO:<c@d>",
        "ann@example.com\r\nBcc: x@example.com",
        "ann@example.com\n",
        "ann\x00@example.com",
        "ann\u202e@example.com",
        "ann@example.com;ben@example.com",
        "ann@example.com>",
        '"ann smith"@example.com',
        "ann smith@example.com",
        "ann@[192.0.2.1]",
        "ann@192.0.2.1",
        "ann@-example.com",
        "ann@example",
        "ann@@example.com",
        "ann..b@example.com",
        f"{'a' * 65}@example.com",
    ],
)
def test_what_is_no_address_is_refused_and_shown_harmlessly(address: str) -> None:
    with pytest.raises(TargetError) as refused:
        parse_addresses(f"ok@example.com, {address}")

    assert len(str(refused.value)) < 200
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("address", ["root@localhost", "ann@mail.local", "ann@shop.test", "ann@shop.internal"])
def test_addresses_of_a_network_of_ones_own_are_fine(address: str) -> None:
    assert parse_addresses(address) == [address]


def test_an_international_domain_is_ascii_on_the_wire_and_a_local_part_needs_smtputf8() -> None:
    assert wire_address("ann@bücher.example") == WireAddress("ann@xn--bcher-kva.example")
    assert wire_address("jürgen@bücher.example") == WireAddress("jürgen@xn--bcher-kva.example", smtputf8=True)


def test_a_sender_has_a_name_an_address_and_a_domain() -> None:
    assert parse_sender("Páper <paper@localhost>") == Sender("Páper", "paper@localhost")
    assert parse_sender("paper@bücher.example").domain == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    "sender", ["", "Paperround", "Paper <paper@>", "p\r\nBcc: x <paper@example.com>", "ü@example.com"]
)
def test_an_unusable_sender_is_refused_with_what_to_write(sender: str) -> None:
    with pytest.raises(ValueError, match="write Name <name@domain>"):
        parse_sender(sender)
