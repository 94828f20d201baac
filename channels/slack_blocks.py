"""A message in Block Kit, cut to Slack's limits before it is sent.

Sources: docs.slack.dev/reference/block-kit/blocks (header 150 characters, section 3,000, 50 blocks a message),
docs.slack.dev/messaging/formatting-message-text (escaping), docs.slack.dev/reference/methods/chat.postMessage (text
4,000). All blocks together may hold about 13,200 characters of
JSON, which Slack does not document: github.com/slackapi/bolt-js/issues/2509.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from channels.base import Export, Message
from channels.mime import one_line

MAX_BLOCKS = 50
MAX_HEADER = 150
MAX_SECTION = 3000
MAX_ALT_TEXT = 2000
MAX_TOTAL = 13_000
MAX_FALLBACK = 3000
MAX_TEXT = 4000  # a longer text without blocks becomes several messages, of which only one is marked

CUT = "Cut here: Slack takes no longer messages."
NO_CHART = "The chart could not be shown here."

Block = dict[str, Any]


def main_blocks(message: Message, recipient: str, picture: str | None, *, lost: bool = False) -> list[Block]:
    """Subject, text and the first chart. ``picture`` is a file's id; ``lost``: there is one, but it cannot be shown."""
    head: list[Block] = [{"type": "header", "text": _plain(one_line(message.subject) or "Paperround", MAX_HEADER)}]
    tail = _picture(message.exports[0], picture, lost=lost) if message.exports else []
    return _fitted(head, message.text_for(recipient), tail)


def reply_blocks(export: Export, picture: str | None, *, lost: bool = False) -> list[Block]:
    """One further export: title, text or what is wrong with it, chart."""
    title = one_line(export.title) or export.name
    head: list[Block] = [{"type": "section", "text": _markdown(f"*{escape(_cut(title, MAX_HEADER))}*")}]
    return _fitted(head, _words(export), _picture(export, picture, lost=lost))


def main_text(message: Message, recipient: str) -> str:
    """The main message where its blocks are refused: the same words in one plain text."""
    drawn = bool(message.exports and message.exports[0].image)
    return _plain_text(one_line(message.subject) or "Paperround", message.text_for(recipient), drawn=drawn)


def reply_text(export: Export) -> str:
    """One further export where its blocks are refused."""
    return _plain_text(one_line(export.title) or export.name, _words(export), drawn=export.image is not None)


def fallback(text: str) -> str:
    """What notifications and screen readers get instead of the blocks."""
    return escape(_cut(one_line(text), MAX_FALLBACK // 6)) or "Paperround"


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _words(export: Export) -> str:
    return f"⚠ {export.error}" if export.error else export.text


def _plain_text(title: str, text: str, *, drawn: bool) -> str:
    head = f"*{escape(_cut(_decodable(title), MAX_HEADER))}*\n"
    tail = f"\n_{NO_CHART}_" if drawn else ""
    shown, room = escape(_decodable(text).rstrip()), MAX_TEXT - len(head) - len(tail)
    if len(shown) > room:
        tail = f"\n_{CUT}_{tail}"
        shown = _without_half_an_entity(shown[: MAX_TEXT - len(head) - len(tail)])
    return head + shown + tail


def _without_half_an_entity(escaped: str) -> str:
    return re.sub(r"&[a-z]*\Z", "", escaped)


def _picture(export: Export, picture: str | None, *, lost: bool) -> list[Block]:
    if picture is not None:
        alt_text = _cut(one_line(f"{export.title}. {export.text}"), MAX_ALT_TEXT)
        return [{"type": "image", "slack_file": {"id": picture}, "alt_text": alt_text}]
    return [_note(NO_CHART)] if lost else []


def _fitted(head: list[Block], text: str, tail: list[Block]) -> list[Block]:
    """As many sections of the text as go between head and tail, and a note where it was cut."""
    cut = _note(CUT)
    blocks = list(head)
    for section in _sections(text):
        grown = [*blocks, section]
        if len(grown) + len(tail) >= MAX_BLOCKS or _size([*grown, cut, *tail]) > MAX_TOTAL:
            return [*blocks, cut, *tail]
        blocks = grown
    return [*blocks, *tail]


def _sections(text: str) -> Iterator[Block]:
    """The text in pieces that fit a section each, broken at line ends where possible."""
    piece = ""
    for line in _short_lines(text):
        if len(piece) + len(line) > MAX_SECTION:
            yield from _section(piece)
            piece = ""
        piece += line
    yield from _section(piece)


def _section(piece: str) -> Iterator[Block]:
    if piece.strip():
        yield {"type": "section", "text": _markdown(piece.rstrip())}


def _short_lines(text: str) -> Iterator[str]:
    longest = MAX_SECTION // 6  # escaping makes one character five at most
    for line in _decodable(text).splitlines(keepends=True):
        for start in range(0, len(line), longest):
            yield escape(line[start : start + longest])


def _decodable(text: str) -> str:
    """Without lone surrogates, which no JSON in UTF-8 can carry."""
    return text.encode("utf-8", "replace").decode()


def _size(blocks: Sequence[Block]) -> int:
    return len(json.dumps(blocks, ensure_ascii=False))


def _note(text: str) -> Block:
    return {"type": "context", "elements": [_markdown(text)]}


def _plain(text: str, limit: int) -> Block:
    return {"type": "plain_text", "text": _cut(text, limit), "emoji": False}


def _markdown(text: str) -> Block:
    return {"type": "mrkdwn", "text": text}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
