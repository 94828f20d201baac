"""The e-mail itself: built once a delivery, then addressed to each recipient by filling in what is theirs.

mixed( related( alternative( text, html ), pictures… ), attachments… ), each level only when it has something to hold.
What differs between recipients (To, Message-ID, the unsubscribe headers and link) is put in before the two texts are
encoded, so no encoding can break a link; pictures and attachments, the bulk, are encoded once.
Sources: RFC 5322, RFC 2045 to 2047, RFC 2387 (related), RFC 2392 (cid), RFC 2369 and RFC 8058 (List-Unsubscribe),
RFC 3834 (Auto-Submitted), MS-OXCMAIL (X-Auto-Response-Suppress).
"""

from __future__ import annotations

import binascii
import html
import re
from dataclasses import dataclass, replace
from email.headerregistry import Address
from email.message import MIMEPart
from email.policy import SMTP
from email.utils import format_datetime
from urllib.parse import quote
from uuid import uuid4

from channels.addresses import Sender, WireAddress
from channels.base import UNSUBSCRIBE_URL, Attachment, Export, Message

MAX_SUBJECT = 500  # RFC 5322 allows any length once folded; nobody reads more
NO_PICTURES = "The pictures were left out: the mail server takes no larger messages."


@dataclass(frozen=True, slots=True)
class Mail:
    """One delivery's e-mail with two gaps, where the text and the HTML go; ``has_pictures`` when it shows any."""

    message: Message
    sender: Sender
    headers: bytes
    html: str
    parts: tuple[bytes, ...]
    has_pictures: bool

    def addressed_to(self, recipient: str, address: WireAddress) -> bytes:
        """The whole e-mail for one recipient, lines ending in CRLF."""
        url = self.message.unsubscribe_urls.get(recipient)
        texts = [_quoted_printable(self.message.text_for(recipient))]
        if self.html:
            texts.append(_quoted_printable(self.html.replace(UNSUBSCRIBE_URL, html.escape(url or "#"))))
        filled = [piece for pair in zip(texts, self.parts[1:], strict=True) for piece in pair]
        return b"".join([self._own_headers(recipient, address, url), self.headers, self.parts[0], *filled])

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
    gap = f"gap-{uuid4().hex}"
    cids = {export.name: f"{export.name}.{message.identity('picture')}@{sender.domain}" for export in message.exports}
    page = _refer_to(cids, message.html)
    shown = [export for export in message.exports if export.image and f"cid:{cids[export.name]}" in page]
    texts = [_text("plain", gap), *([_text("html", gap)] if page else [])]

    body = _multipart("alternative", message, texts)
    body = _multipart("related", message, [body, *(_picture(export, cids[export.name]) for export in shown)])
    body = _multipart("mixed", message, [body, *(_attachment(attachment) for attachment in message.attachments)])
    return Mail(
        message=message,
        sender=sender,
        headers=_common_headers(message, sender),
        html=page,
        parts=tuple(bytes(body).split(gap.encode())),
        has_pictures=bool(shown),
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
    headers = {
        "From": Address(display_name=sender.name, addr_spec=sender.address),
        "Subject": one_line(message.subject)[:MAX_SUBJECT],
        "Date": format_datetime(message.sent_at),
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "OOF, AutoReply, DR, RN, NRN",
        "MIME-Version": "1.0",
    }
    return b"".join(SMTP.fold_binary(name, SMTP.header_factory(name, value)) for name, value in headers.items())


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


def _text(subtype: str, gap: str) -> MIMEPart:
    part = MIMEPart(SMTP)
    part["Content-Type"] = f'text/{subtype}; charset="utf-8"'
    part["Content-Transfer-Encoding"] = "quoted-printable"
    part.set_payload(gap)
    return part


def _quoted_printable(text: str) -> bytes:
    lines = re.sub(r"\r\n|\r", "\n", text)
    return binascii.b2a_qp(lines.encode("utf-8", "replace"), istext=True).replace(b"\n", b"\r\n")


def _multipart(subtype: str, message: Message, parts: list[MIMEPart]) -> MIMEPart:
    if len(parts) == 1:
        return parts[0]
    container = MIMEPart(SMTP)
    container["Content-Type"] = f"multipart/{subtype}"
    if subtype == "related":
        container.set_param("type", parts[0].get_content_type())
    # "=_" occurs in neither quoted-printable nor base64 (RFC 2045 section 6.7)
    container.set_boundary(f"=_{subtype}_{message.identity(subtype)}")
    for part in parts:
        container.attach(part)
    return container


def _picture(export: Export, cid: str) -> MIMEPart:
    part = MIMEPart(SMTP)
    part.set_content(
        export.image,
        maintype="image",
        subtype="png",
        disposition="inline",
        filename=f"{export.name}.png",
        cid=f"<{cid}>",
    )
    return part


def _attachment(attachment: Attachment) -> MIMEPart:
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
    return part
