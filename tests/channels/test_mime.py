"""The e-mail as a mail program reads it back."""

from __future__ import annotations

import email
import email.policy
from datetime import timedelta
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.addresses import parse_sender, wire_address
from channels.base import UNSUBSCRIBE_URL, Attachment, Export, Message
from channels.mime import NO_PICTURES, compose, without_pictures
from tests.channels.conftest import PNG, SENT_AT, a_message

SENDER = parse_sender("Päper Round <paper@paperround.example>")
ANN = "ann@example.com"
LINK = "https://paper.example/u?t=a=b&c=d.e&x=" + "y" * 200


def read(message: Message, recipient: str = ANN) -> EmailMessage:
    raw = compose(message, SENDER).addressed_to(recipient, wire_address(recipient))
    lines = raw.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(len(line) for line in lines) <= 998  # RFC 5322 section 2.1.1
    return email.message_from_bytes(raw, policy=email.policy.default)


def text_of(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_the_headers_say_who_what_when_and_that_a_machine_wrote_it() -> None:
    mail = read(a_message())

    assert mail["from"] == "Päper Round <paper@paperround.example>"
    assert mail["to"] == ANN
    assert mail["subject"] == "Sales: Größe & <Gewicht>"
    assert mail["date"].datetime == SENT_AT
    assert mail["auto-submitted"] == "auto-generated"
    assert "OOF" in mail["x-auto-response-suppress"]
    assert mail["message-id"] == f"<{a_message().identity(ANN)}@paperround.example>"
    assert not mail.defects


def test_two_attempts_have_the_same_message_id_and_two_recipients_do_not() -> None:
    first, again = read(a_message()), read(a_message(sent_at=SENT_AT + timedelta(hours=1)))
    other = read(a_message(), "ben@example.com")

    assert first["message-id"] == again["message-id"]
    assert first["message-id"] != other["message-id"]


def test_html_and_text_are_alternatives_related_to_their_pictures_beside_attachments() -> None:
    mail = read(a_message(attachments=(Attachment("Zahlen/März.csv", "text/csv", b"a;b\n1;2\n"),)))

    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/mixed",
        "multipart/related",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "image/png",
        "text/csv",
    ]
    [attachment] = mail.iter_attachments()
    assert attachment.get_filename() == "Zahlen-März.csv"
    assert attachment.get_payload(decode=True) == b"a;b\n1;2\n"


def test_a_picture_is_inline_and_found_by_the_cid_the_html_names() -> None:
    exports = tuple(Export(name, name, "", image=PNG + name.encode()) for name in ("chart-1", "chart-10", "unused"))
    page = "<img src='cid:chart-10'><img src=\"cid:chart-1\">"

    mail = read(a_message(exports=exports, html=page))

    pictures = [part for part in mail.walk() if part.get_content_maintype() == "image"]
    assert [part.get_content_disposition() for part in pictures] == ["inline", "inline"]
    assert [part.get_content() for part in pictures] == [PNG + b"chart-1", PNG + b"chart-10"]
    html = text_of(mail, "html")
    for part, quote in zip(pictures, "\"'", strict=True):
        assert f"cid:{part['content-id'].strip('<>')}{quote}" in html


def test_where_pictures_are_left_out_words_stand_and_nothing_looks_broken() -> None:
    orders = Export("orders", "Orders & <more>", "118 > 110\n  rows below", image=PNG)
    visits = Export("visits", "Visits", "", image=PNG)
    page = (
        '<p>Before</p><img alt="Orders > 110 src=cid:visits" width="9" src="cid:orders">'
        "<table><tr><td>118</td></tr></table><img src='cid:visits'><img src=\"https://example.com/logo.png\">"
    )

    mail = read(without_pictures(a_message(exports=(orders, visits), html=page)))

    assert text_of(mail, "html").rstrip("\n") == (
        f"<p>Before</p><p>{NO_PICTURES}</p><p>Orders &amp; &lt;more&gt;: 118 &gt; 110</p>"
        '<table><tr><td>118</td></tr></table><p>Visits</p><img src="https://example.com/logo.png">'
    )
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]


def test_leaving_out_pictures_changes_neither_text_nor_identity_nor_attachments() -> None:
    message = a_message(attachments=(Attachment("rows.csv", "text/csv", b"a;b\n"),))

    whole, smaller = read(message), read(without_pictures(message))

    assert smaller["message-id"] == whole["message-id"]
    assert text_of(smaller, "plain") == text_of(whole, "plain")
    assert [each.get_filename() for each in smaller.iter_attachments()] == ["rows.csv"]


def test_a_mail_knows_whether_it_shows_pictures() -> None:
    assert compose(a_message(), SENDER).has_pictures
    assert not compose(without_pictures(a_message()), SENDER).has_pictures
    assert not compose(a_message(html="<p>No picture is named here.</p>"), SENDER).has_pictures


def test_without_pictures_and_attachments_it_is_a_plain_alternative() -> None:
    assert read(a_message(exports=())).get_content_type() == "multipart/alternative"
    assert read(a_message(exports=(), html="")).get_content_type() == "text/plain"


def test_each_recipient_gets_their_own_link_in_headers_text_and_html() -> None:
    message = a_message(
        text=f"{'word ' * 12}{UNSUBSCRIBE_URL} and = sign\n",
        html=f'<p>{"ü" * 60}</p><a href="{UNSUBSCRIBE_URL}">stop</a>',
        unsubscribe_urls={ANN: LINK, "ben@example.com": "https://paper.example/ben"},
    )

    ann, ben = read(message), read(message, "ben@example.com")

    assert ann["list-unsubscribe"] == f"<{LINK}>"
    assert ann["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert text_of(ann, "plain") == f"{'word ' * 12}{LINK} and = sign\n"
    assert f'href="{LINK.replace("&", "&amp;")}"' in text_of(ann, "html")
    assert ben["list-unsubscribe"] == "<https://paper.example/ben>"
    assert "https://paper.example/ben" in text_of(ben, "plain")


FRAGMENTS = st.lists(
    st.text(max_size=200)
    | st.integers(60, 80).map("x".__mul__)
    | st.sampled_from([".", " ", "\r", "=", "é" * 26, "\n."]),
    min_size=1,
    max_size=4,
)
LINKS = st.sampled_from([LINK, "https://p.example/u", *(f"https://p.example/{'u' * n}" for n in range(50, 62))])


@settings(max_examples=150, deadline=None)
@given(text=FRAGMENTS, page=FRAGMENTS, url=LINKS)
def test_a_mail_with_the_link_filled_in_reads_as_one_written_for_that_recipient_alone(
    text: list[str], page: list[str], url: str
) -> None:
    html_url = url.replace("&", "&amp;")
    fields = {"html": f"<p>{UNSUBSCRIBE_URL.join(page)}</p>", "unsubscribe_urls": {ANN: url, "ben@example.com": LINK}}

    filled = read(a_message(**fields | {"text": UNSUBSCRIBE_URL.join(text)}))
    alone = read(a_message(**fields | {"text": url.join(text), "html": f"<p>{html_url.join(page)}</p>"}))

    assert [part.items() for part in filled.walk()] == [part.items() for part in alone.walk()]
    assert [content_of(part) for part in filled.walk()] == [content_of(part) for part in alone.walk()]
    assert max(len(line) for part in filled.walk() for line in body_lines(part)) <= 76  # RFC 2045, 6.7, rule 5


def content_of(part: EmailMessage) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def body_lines(part: EmailMessage) -> list[str]:
    payload = part.get_payload()
    return payload.splitlines() if isinstance(payload, str) else [""]


def test_without_a_link_the_line_that_would_show_it_goes() -> None:
    mail = read(a_message())

    assert mail["list-unsubscribe"] is None
    assert text_of(mail, "plain") == "Orders: 118\n\n"
    assert UNSUBSCRIBE_URL not in text_of(mail, "html")


@pytest.mark.parametrize("link", ["https://p.example/u\r\nBcc: x@example.com", "https://p.example/ ü>"])
def test_a_link_cannot_break_out_of_its_header(link: str) -> None:
    mail = read(a_message(unsubscribe_urls={ANN: link}))

    assert mail["bcc"] is None
    assert mail["list-unsubscribe"].startswith("<https://p.example/")
    assert mail["list-unsubscribe"].count(">") == 1


def test_a_subject_cannot_add_headers() -> None:
    mail = read(a_message(subject="Sales\r\nBcc: x@example.com\n\nBody\x00\x1b[31m"))

    assert mail["bcc"] is None
    assert mail["subject"] == "Sales Bcc: x@example.com Body [31m"


def test_a_strange_media_type_becomes_a_plain_file() -> None:
    mail = read(a_message(attachments=(Attachment("a\r\nX: y.bin", "text/html\r\nX: y", b"\x00\xff"),)))

    [attachment] = mail.iter_attachments()
    assert attachment.get_content_type() == "application/octet-stream"
    assert attachment.get_payload(decode=True) == b"\x00\xff"
    assert attachment["x"] is None


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=400), subject=st.text(max_size=120))
def test_any_text_comes_back_as_it_was(text: str, subject: str) -> None:
    mail = read(a_message(text=text, html=f"<p>{text}</p>", subject=subject, exports=()))

    whole = text.encode("utf-8", "replace").decode()
    whole = whole.replace("\r\n", "\n").replace("\r", "\n")
    assert text_of(mail, "plain").rstrip("\n") == whole.rstrip("\n")
    assert text_of(mail, "html").rstrip("\n") == f"<p>{whole}</p>"
    assert mail["subject"].split() == subject.encode("utf-8", "replace").decode().translate(_CONTROLS).split()


_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")
