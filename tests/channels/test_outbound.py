"""Where outgoing requests may go, decided on the URL and decided again on the address."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from channels.base import TargetError
from channels.outbound import OutboundPolicy
from channels.special_addresses import is_public
from channels.urls import MAX_LENGTH

# IANA's special-purpose address registries of 2025 and its multicast blocks, whole; two lines are no addresses of
# their own but stand for the IPv4 address inside, and are left to the tests of those: ::ffff:0:0/96 and 64:ff9b::/96
REGISTRIES = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4
240.0.0.0/4 255.255.255.255/32
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128
2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16
2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "outbound_urls.json").read_text())["cases"]
SAVED = [case["url"] for case in VECTORS if case["refused_when"] == "saved"]
DIALLED = [case["url"] for case in VECTORS if case["refused_when"] == "dialled"]

# The vectors stand for "too long" with a path of a hundred letters, which is an ordinary length; here it is too long
TOO_LONG = next(url for url in SAVED if url.startswith("https://example.com/aaa"))
SAVED[SAVED.index(TOO_LONG)] = TOO_LONG + "a" * MAX_LENGTH


def secure(url: str) -> str:
    """The same over https: refused for its host, and not only for its scheme."""
    return url.replace("http://", "https://", 1)


@pytest.mark.parametrize("url", [*SAVED, *(secure(url) for url in SAVED)])
def test_a_hostile_url_is_not_saved(url: str) -> None:
    with pytest.raises(TargetError) as refused:
        OutboundPolicy().check(url)

    assert str(refused.value).endswith(".")
    assert url not in str(refused.value) or url == "https://"


@pytest.mark.parametrize("url", DIALLED)
def test_what_only_the_resolver_can_tell_is_left_to_it(url: str) -> None:
    assert OutboundPolicy().check(secure(url))
    with pytest.raises(TargetError, match="https://"):
        OutboundPolicy().check(url)


@pytest.mark.parametrize(
    ("url", "saved"),
    [
        ("https://hooks.example.com/T0/B0?x=1", "https://hooks.example.com/T0/B0?x=1"),
        (TOO_LONG, TOO_LONG),
        ("HTTPS://Hooks.Example.COM.:443", "https://hooks.example.com/"),
        ("https://hooks.example.com:8443?x#part", "https://hooks.example.com:8443/?x"),
        ("https://bücher.example/größe", "https://xn--bcher-kva.example/größe"),
        ("https://8.8.8.8/x", "https://8.8.8.8/x"),
        ("https://0x08080808/x", "https://8.8.8.8/x"),
        ("https://[2606:4700:0:0::1111]/x", "https://[2606:4700::1111]/x"),
        ("https://my_hook.example.com/", "https://my_hook.example.com/"),
    ],
)
def test_an_ordinary_url_is_saved_in_its_one_spelling(url: str, saved: str) -> None:
    assert OutboundPolicy().check(url) == saved


@pytest.mark.parametrize("port", [1, 25, 444, 1023, 2375, 3306, 5432, 6000, 6379, 6667, 11211, 65536])
def test_ports_of_other_services_are_refused(port: int) -> None:
    with pytest.raises(TargetError, match=r"[Pp]ort"):
        OutboundPolicy().check(f"https://hooks.example.com:{port}/")


@pytest.mark.parametrize("port", [80, 443, 1024, 3000, 8000, 8080, 8443, 18080, 65535])
def test_ports_of_web_servers_are_fine(port: int) -> None:
    assert OutboundPolicy().check(f"https://hooks.example.com:{port}/")


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("intern.example", "http://intern.example:9200/x"),
        ("intern.example", "http://INTERN.example./x"),
        ("localhost", "http://localhost:8080/"),
        ("127.0.0.0/8", "http://localhost:8080/"),
        ("127.0.0.0/8", "http://127.1:22/"),
        ("10.1.2.3", "http://10.1.2.3/"),
        ("10.0.0.0/8", "https://[::ffff:10.1.2.3]/"),
        ("fd00::/8", "http://[fd00::1]:8080/"),
        ("[::1]", "http://[::1]:8080/"),
        ("*.intern.example", "http://a.b.intern.example/"),
        ("db", "http://db:8123/"),
    ],
)
def test_what_the_operator_allows_may_be_private_and_plain(allowed: str, url: str) -> None:
    assert OutboundPolicy([allowed]).check(url)


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("intern.example", "http://evil-intern.example/"),
        ("intern.example", "http://intern.example.evil.example/"),
        ("*.intern.example", "http://intern.example/"),
        ("10.0.0.0/8", "http://11.0.0.1/"),
        ("127.0.0.1", "http://user@127.0.0.1/"),
        ("127.0.0.1", "http://127.0.0.1:0/"),
    ],
)
def test_and_nothing_else(allowed: str, url: str) -> None:
    with pytest.raises(TargetError):
        OutboundPolicy([allowed]).check(url)


@pytest.mark.parametrize("entry", ["", "http://intern.example", "intern.example/24", "10.0.0.0/99", "a b", "host:80"])
def test_an_entry_that_is_neither_name_nor_network_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="write intern"):
        OutboundPolicy([entry])


def test_one_bad_answer_of_the_resolver_refuses_them_all() -> None:
    policy = OutboundPolicy()

    assert [str(a) for a in policy.check_addresses("a.example", ["8.8.8.8", "2606:4700::1111"])] == [
        "8.8.8.8",
        "2606:4700::1111",
    ]
    for answers in (["8.8.8.8", "127.0.0.1"], ["fe80::1%eth0"], ["64:ff9b::7f00:1"], ["::ffff:169.254.169.254"], ["?"]):
        with pytest.raises(TargetError, match="PAPERROUND_ALLOW_HOSTS"):
            policy.check_addresses("a.example", answers)


def test_allowed_networks_and_names_hold_for_the_resolvers_answers_too() -> None:
    assert OutboundPolicy(["10.0.0.0/8"]).check_addresses("a.example", ["10.0.0.1"])
    assert OutboundPolicy(["a.example"]).check_addresses("a.example", ["10.0.0.1"])
    with pytest.raises(TargetError):
        OutboundPolicy(["a.example"]).check_addresses("b.example", ["10.0.0.1"])


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "100.63.255.255", "192.0.1.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"],
)
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.1.1"),
        *("192.0.0.8", "192.0.2.1", "192.88.99.1", "198.19.0.1", "224.0.0.1", "255.255.255.255", "168.63.129.16"),
        *("::", "::1", "::7f00:1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "200::1"),
        *(
            "2001::1",
            "2001:db8::1",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ),
    ],
)
def test_special_addresses_are_not(address: str) -> None:
    assert not is_public(ip_address(address))


def test_no_block_of_the_registries_is_public_from_its_first_address_to_its_last() -> None:
    blocks = [ip_network(block) for block in REGISTRIES.split()]
    inside = [address for block in blocks for address in (block[0], block[block.num_addresses // 2], block[-1])]

    assert [str(address) for address in inside if is_public(address)] == []


def test_what_lies_beside_a_block_is_public() -> None:
    beside = (
        "9.255.255.255 11.0.0.0 100.128.0.0 126.255.255.255 128.0.0.0 172.15.255.255 172.32.0.0 192.0.1.0 198.20.0.0"
    )
    beside += " 223.255.255.255 2001:200:: 2001:db7:ffff:: 2001:db9:: 2003:: 2620:4f:8001:: 3ffe:: 3fff:1000::"

    assert [address for address in beside.split() if not is_public(ip_address(address))] == []
