"""The e-mail itself: built once a delivery, then addressed to each recipient by filling in what is theirs.

mixed( related( alternative( text, html ), pictures… ), attachments… ), each level only when it has something to hold.
What differs between recipients is their To, their Message-ID, the unsubscribe headers and the link. The link stands on
quoted-printable lines of its own, between soft line breaks: what is around it is encoded once, and a link that is
filled in there cannot break, nor can it break anything else. A picture is encoded once however many mails show it.
Sources: RFC 5322, RFC 2045 to 2047, RFC 2387 (related), RFC 2392 (cid), RFC 2369 and RFC 8058 (List-Unsubscribe),
RFC 3834 (Auto-Submitted), MS-OXCMAIL (X-Auto-Response-Suppress).
"""

from __future__ import annotations

import html
import re
from base64 import encodebytes
from binascii import b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.headerregistry import Address
from email.message import MIMEPart
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache
from urllib.parse import quote

from channels.addresses import Sender, WireAddress
from channels.base import UNSUBSCRIBE_URL, Attachment, Export, Message

MAX_SUBJECT = 500  # RFC 5322 allows any length once folded; nobody reads more
NO_PICTURES = "The pictures were left out: the mail server takes no larger messages."
PICTURES_KEPT = 32  # as many as a worker keeps insights: the deliveries of one tick show the same ones
NO_LINK = "#"
"""Where the page would lead somebody who has no link of their own."""

Pieces = tuple[bytes, ...]
"""Between each and the next goes the recipient's link, encoded."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One delivery's e-mail, all of it encoded but the links; ``has_pictures`` when it shows any."""

    message: Message
    sender: Sender
    headers: bytes
    text: Pieces
    text_without_link: bytes
    between: bytes
    page: Pieces
    rest: bytes
    has_pictures: bool

    def addressed_to(self, recipient: str, address: WireAddress) -> bytes:
        """The whole e-mail for one recipient, lines ending in CRLF."""
        url = self.message.unsubscribe_urls.get(recipient)
        return b"".join(
            [
                self._own_headers(recipient, address, url),
                self.headers,
                self.text_without_link if url is None else _unended(url).join(self.text),
                self.between,
                _unended(html.escape(url or NO_LINK)).join(self.page),
                self.rest,
            ]
        )

    def _own_headers(self, recipient: str, address: WireAddress, url: str | None) -> bytes:
        lines = [
            f"Message-ID: <{self.message.identity(recipient)}@{self.sender.domain}>",
            f"To: {address.text}",
        ]
        if url is not None:
            lines.append(f"List-Unsubscribe: <{quote(url, safe=_IN_URLS)}>")
            lines.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
        return "".join(f"{line}\r\n" for line in lines).encode()


_IN_URLS = ":/?#[]@!$&'()*+,;=%-._~"  # RFC 3986: reserved, unreserved and percent signs stay as they are


def compose(message: Message, sender: Sender) -> Mail:
    """Everything about the e-mail that is the same for all its recipients."""
    cids = {export.name: f"{export.name}.{message.identity('picture')}@{sender.domain}" for export in message.exports}
    page = _refer_to(cids, message.html)
    pictures = [
        _picture(export, export.image, cids[export.name])
        for export in message.exports
        if export.image and f"cid:{cids[export.name]}" in page
    ]
    body = _alternatives(message) if page else _Frame("text/plain", _text("plain"), b"", b"\r\n")
    body = _with_parts("related", message, body, pictures)
    body = _with_parts("mixed", message, body, [_attachment(each) for each in message.attachments])
    return Mail(
        message=message,
        sender=sender,
        headers=_common_headers(message, sender) + body.before,
        text=_around_links(message.text),
        text_without_link=_around_links(message.text_for(""))[0],
        between=body.between,
        page=_around_links(page),
        rest=body.after,
        has_pictures=bool(pictures),
    )


_ATTRIBUTES = r"""(?:[^>"']|"[^"]*"|'[^']*')*"""  # a quoted one may hold anything, ``>`` and ``src=`` too
_PICTURE = re.compile(rf"""<img\b{_ATTRIBUTES}?\ssrc\s*=\s*["']?cid:(?P<name>[\w.-]+)["']?{_ATTRIBUTES}+>""")


def without_pictures(message: Message) -> Message:
    """The same message, smaller: in place of each picture its title and the sentence that describes it."""
    drawn = {export.name: export for export in message.exports if export.image}
    remarks = iter([NO_PICTURES])  # said once, where the first picture was

    def in_words(picture: re.Match[str]) -> str:
        export = drawn.get(picture["name"])
        if export is None:
            return picture[0]
        words = ": ".join(filter(None, (export.title, export.text.partition("\n")[0])))
        return "".join(f"<p>{html.escape(each)}</p>" for each in (*remarks, words))

    page = _PICTURE.sub(in_words, message.html)
    return replace(message, html=page, exports=tuple(replace(export, image=None) for export in message.exports))


def _common_headers(message: Message, sender: Sender) -> bytes:
    return b"".join(
        [
            _from(sender),
            _subject(one_line(message.subject)[:MAX_SUBJECT]),
            f"Date: {format_datetime(message.sent_at)}\r\n".encode(),
            b"Auto-Submitted: auto-generated\r\n",
            b"X-Auto-Response-Suppress: OOF, AutoReply, DR, RN, NRN\r\n",
            b"MIME-Version: 1.0\r\n",
        ]
    )


@lru_cache(maxsize=8)
def _from(sender: Sender) -> bytes:
    return SMTP.fold_binary(
        "From", SMTP.header_factory("From", Address(display_name=sender.name, addr_spec=sender.address))
    )


@lru_cache(maxsize=64)
def _subject(text: str) -> bytes:
    """Kept, for many deliveries of one tick are of the same name and day."""
    return SMTP.fold_binary("Subject", SMTP.header_factory("Subject", text))


def one_line(text: str) -> str:
    """Line breaks and control characters become single spaces; lone surrogates become question marks."""
    text = text.encode("utf-8", "replace").decode()
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()


def _refer_to(cids: dict[str, str], page: str) -> str:
    """``cid:NAME`` becomes the picture's Content-ID, which is unique in the world as RFC 2045 section 7 asks."""
    if not cids:
        return page
    names = "|".join(re.escape(name) for name in sorted(cids, key=len, reverse=True))
    return re.sub(rf"cid:({names})(?![\w.-])", lambda match: f"cid:{cids[match[1]]}", page)


# ── what links are filled into ───────────────────────────────────────────────────────────────────────────────────────


def _around_links(text: str) -> Pieces:
    """The text encoded, up to, between and after its links."""
    first, *others = text.split(UNSUBSCRIBE_URL)
    if not others:
        return (_quoted_printable(first),)
    *inner, last = others
    return (
        _up_to_link(first),
        *(SOFT_BREAK + _up_to_link(each) for each in inner),
        (b"" if not last or last[0] in "\r\n" else SOFT_BREAK) + _quoted_printable(last),
    )


SOFT_BREAK = b"=\r\n"
"""Ends a line that goes on (RFC 2045, 6.7, rule 5)."""


def _up_to_link(text: str) -> bytes:
    """Ends where a line begins, as the link does."""
    encoded = _unended(text)
    return encoded + SOFT_BREAK if encoded and not encoded.endswith(b"\r\n") else encoded


def _unended(text: str) -> bytes:
    """Encoded, with room for a soft break on its last line: a line has 76 octets at most, and the break is one."""
    return _quoted_printable(f"{text}x")[:-1]


def _quoted_printable(text: str) -> bytes:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return b2a_qp(lines.encode("utf-8", "replace"), istext=True).replace(b"\n", b"\r\n")


# ── the parts ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stands around the text and the page; ``before`` begins with the headers of what ``content_type`` names."""

    content_type: str
    before: bytes
    between: bytes
    after: bytes


def _text(subtype: str) -> bytes:
    return (
        f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'.encode()
    )


def _alternatives(message: Message) -> _Frame:
    headers, delimiter = _multipart_headers("alternative", message)
    return _Frame(
        "multipart/alternative",
        before=headers + delimiter + _text("plain"),
        between=b"\r\n" + delimiter + _text("html"),
        after=b"\r\n" + _closing(delimiter),
    )


def _with_parts(subtype: str, message: Message, body: _Frame, parts: Sequence[bytes]) -> _Frame:
    """The body as the first part, these as the others; the body alone where there are none."""
    if not parts:
        return body
    headers, delimiter = _multipart_headers(subtype, message, of=body.content_type)
    return _Frame(
        f"multipart/{subtype}",
        before=headers + delimiter + body.before,
        between=body.between,
        after=b"".join([body.after, *(b"\r\n" + delimiter + part for part in parts), b"\r\n", _closing(delimiter)]),
    )


def _multipart_headers(subtype: str, message: Message, *, of: str = "") -> tuple[bytes, bytes]:
    """And the line that begins each of its parts. RFC 2387 wants the first part's type said."""
    # "=_" occurs in neither quoted-printable nor base64 (RFC 2045 section 6.7)
    boundary = f"=_{subtype}_{message.identity(subtype)}"
    kind = f'\r\n type="{of}";' if subtype == "related" else ""
    headers = f'Content-Type: multipart/{subtype};{kind}\r\n boundary="{boundary}"\r\n\r\n'
    return headers.encode(), f"--{boundary}\r\n".encode()


def _closing(delimiter: bytes) -> bytes:
    return delimiter[:-2] + b"--\r\n"


def _picture(export: Export, png: bytes, cid: str) -> bytes:
    headers = (
        "Content-Type: image/png\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: inline; filename="{export.name}.png"\r\n'
        f"Content-ID: <{cid}>\r\n\r\n"
    )
    return headers.encode() + _base64(png)


@lru_cache(maxsize=PICTURES_KEPT)
def _base64(content: bytes) -> bytes:
    return encodebytes(content).replace(b"\n", b"\r\n")


def _attachment(attachment: Attachment) -> bytes:
    match = re.match(r"(application|audio|font|image|text|video)/([\w.+-]+)(?:;|$)", attachment.media_type)
    main, sub = match.groups() if match else ("application", "octet-stream")
    part = MIMEPart(SMTP)
    part.set_content(
        attachment.content,
        maintype=main,
        subtype=sub,
        disposition="attachment",
        filename=re.sub(r"[/\\]", "-", one_line(attachment.filename)) or "attachment",
        params={"charset": "utf-8"} if main == "text" else None,
    )
    return bytes(part)
