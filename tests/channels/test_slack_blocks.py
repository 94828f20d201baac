"""Block Kit, within Slack's limits whatever is to be said."""

from __future__ import annotations

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from channels.base import UNSUBSCRIBE_URL, Export
from channels.slack_blocks import Block, fallback, main_blocks, main_text, reply_blocks, reply_text
from tests.channels.conftest import PNG, a_message

LIMITS = {"header": 150, "section": 3000}


def within_limits(blocks: list[Block]) -> bool:
    texts = [(block["type"], block["text"]["text"]) for block in blocks if "text" in block]
    return (
        0 < len(blocks) <= 50
        and len(json.dumps(blocks, ensure_ascii=False)) <= 13_200
        and all(0 < len(text) <= LIMITS[kind] for kind, text in texts)
    )


@settings(max_examples=60, deadline=None)
@given(
    subject=st.text(max_size=400),
    text=st.text(max_size=500).map(lambda piece: piece * 40),
    lost=st.booleans(),
    picture=st.sampled_from([None, "F012345678"]),
)
def test_any_message_fits(subject: str, text: str, lost: bool, picture: str | None) -> None:
    message = a_message(subject=subject, text=text, exports=(Export("x", subject, text, image=PNG),))

    assert within_limits(main_blocks(message, "C01", picture, lost=lost))
    assert within_limits(reply_blocks(message.exports[0], picture, lost=lost))
    assert 0 < len(fallback(subject)) <= 3000
    for plain in (main_text(message, "C01"), reply_text(message.exports[0])):
        assert 0 < len(plain) <= 4000
        assert plain.encode()


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="<&>a;\n", min_size=900, max_size=5000))
def test_a_text_without_blocks_is_never_cut_within_an_escaped_character(text: str) -> None:
    plain = reply_text(Export("x", "Title", text))

    assert len(plain) <= 4000
    assert re.fullmatch(r"(?:[^<>&]|&(?:amp|lt|gt);)*", plain)


def test_fifty_short_lines_are_one_section_and_a_cut_says_so() -> None:
    short = main_blocks(a_message(text="a\n" * 50, exports=()), "C01", None)
    cut = main_blocks(a_message(text="a long line of text\n" * 2000, exports=()), "C01", None)

    assert [block["type"] for block in short] == ["header", "section"]
    assert [block["type"] for block in cut] == ["header", *["section"] * 3, "context"]


def test_nothing_in_a_text_is_read_as_a_mention_or_a_link() -> None:
    blocks = reply_blocks(Export("x", "<!channel>", "<@U01> & <https://a.example|b>"), None)

    text = json.dumps(blocks)
    assert "<" not in text
    assert "&lt;@U01&gt; &amp; &lt;https://a.example|b&gt;" in text


def test_the_unsubscribe_line_shows_the_channels_own_link_or_goes() -> None:
    message = a_message(text=f"Numbers\nStop: {UNSUBSCRIBE_URL}\n", exports=())
    linked = a_message(text=message.text, exports=(), unsubscribe_urls={"C01": "https://p.example/u"})

    assert main_blocks(message, "C01", None)[1]["text"]["text"] == "Numbers"
    assert main_blocks(linked, "C01", None)[1]["text"]["text"] == "Numbers\nStop: https://p.example/u"
