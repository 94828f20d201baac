"""What is a domain's name, and what is not."""

from __future__ import annotations

import pytest

from scheduler.domains import LONGEST_DOMAIN, parse_domain
from scheduler.errors import InvalidField

LONGEST = "a" * 63 + "." + "b" * 60 + ".com"


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        (" example.com\n", "example.com"),
        ("example.com.", "example.com"),
        ("EXAMPLE.Co.UK", "example.co.uk"),
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("straße.de", "xn--strae-oqa.de"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("example。com", "example.com"),
        ("1and1.com", "1and1.com"),
        (LONGEST, LONGEST),
    ],
)
def test_whatever_its_script_and_case_a_domain_is_one(text: str, domain: str) -> None:
    assert parse_domain(text) == domain
    assert len(LONGEST) == LONGEST_DOMAIN


@pytest.mark.parametrize(
    "text",
    [
        "localhost",
        "com.",
        ".",
        "https://example.com",
        "//example.com",
        "example.com/path",
        "example.com:80",
        "ann@example.com",
        "*.example.com",
        "a_b.example.com",
        "_dmarc.example.com",
        "127.0.0.1",
        "127.1",
        "0x7f.0x1",
        "[::1]",
        "::1",
        "fe80::1%eth0",
        "１２７。０。０。１",
        "example..com",
        ".example.com",
        "example.com..",
        "-a.example.com",
        "a-.example.com",
        "exa mple.com",
        "example\n.com",
        "example.c",
        "xn--zzzzz-.com",
        "😀.example",
        "a" * 64 + ".com",
        "ü" * 60 + "." + "ü" * 60 + ".com",
    ],
)
def test_what_cannot_stand_in_the_dns_for_somebodys_domain_is_refused(text: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parse_domain(text)

    assert (refused.value.field, refused.value.code) == ("domain", "invalid_input")
