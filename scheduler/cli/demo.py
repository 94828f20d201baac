"""``paperround demo``: all three channels at work, without any account."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.text import Text

from scheduler import logs
from scheduler.app import initialise, opened
from scheduler.cli.options import AsJson
from scheduler.cli.output import print_json, print_line
from scheduler.demo.project import make_demo, signing_secret
from scheduler.oneshot import run_due
from scheduler.settings import load_settings

if TYPE_CHECKING:
    from channels.receivers import SlackReceiver, SmtpReceiver, WebhookReceiver


def demo(
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Keep the demo project in this folder and run the service on it, e-mail to ./outbox."
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --serve: where to listen; 0 takes a free one.")
    ] = 8420,
    as_json: AsJson = False,
) -> None:
    """Show it working: a small shop's numbers by e-mail, Slack and webhook, to receivers on this machine."""
    asyncio.run(_serve(port, as_json=as_json) if serve else _show_once(as_json=as_json))


async def _show_once(*, as_json: bool) -> None:
    """In a temporary folder: subscribe, deliver once, show what each receiver got."""
    from channels.receivers import SlackReceiver, SmtpReceiver, WebhookReceiver  # noqa: PLC0415 - servers, for this

    with tempfile.TemporaryDirectory(prefix="paperround-demo-") as folder:
        async with SmtpReceiver() as smtp, SlackReceiver() as slack:
            settings = load_settings(
                database_url=SecretStr(f"sqlite:///{folder}/paperround.db"),
                smtp_url=SecretStr(f"{smtp.url}?starttls=never"),
                email_from="Paperround <numbers@harbour-coffee.example>",
                **_reaching(slack),
            )
            await initialise(settings, project="Demo", owner_email="owner@harbour-coffee.example")
            async with opened(settings) as app, WebhookReceiver(secret=await signing_secret(app)) as webhook:
                if not as_json:
                    print_line("A small shop, four insights, one dashboard, three subscriptions. Delivering …")
                await make_demo(app, shop=Path(folder) / "shop.db", webhook_url=webhook.url)
                await app.ready_to_deliver()
                await run_due(app.runner())
                received = _received(smtp, slack, webhook)
    if as_json:
        print_json(received)
        return
    _show(received)
    print_line(
        '\nThat was all on this machine. With your own data: paperround init, and the README\'s "Your own numbers".'
    )


async def _serve(port: int, *, as_json: bool) -> None:
    """In this folder: the same project on the default database and outbox, and the service."""
    from channels.receivers import SlackReceiver, WebhookReceiver  # noqa: PLC0415 - servers, for this
    from scheduler.serving import serve_until_stopped  # noqa: PLC0415 - a web framework, for this alone

    logs.configure(level="info", as_json=as_json)
    async with SlackReceiver() as slack:
        settings = load_settings(base_url=f"http://127.0.0.1:{port}", **_reaching(slack))
        made = await initialise(settings, project="Demo", owner_email="owner@harbour-coffee.example")
        async with opened(settings) as app, WebhookReceiver(secret=await signing_secret(app)) as webhook:
            shop = Path("demo") / "shop.db"
            shop.parent.mkdir(exist_ok=True)
            await make_demo(app, shop=shop, webhook_url=webhook.url)
            command = Path(sys.argv[0])
            for line in (
                "",
                f"The demo project is in {made['database']}. Where to look:",
                "  the log       below: every delivery ends with delivery.recorded",
                f"  the outbox    {Path('outbox').absolute()}: open an .eml file with any mail program",
                f"  the ledger    {command} deliveries list",
                f"  what is next  {command} subscriptions list",
                "Slack and the webhook's receiver are look-alikes inside this process. Ctrl-C stops it all.",
                "At every start the three subscriptions announce themselves, so that there is something to see.",
                "",
            ):
                print_line(line)
            await app.ready_to_deliver()
            await serve_until_stopped(app, host="127.0.0.1", port=port, workers=0, notify=lambda _: None, watchdog=None)


def _reaching(slack: SlackReceiver) -> dict[str, Any]:
    """Settings by which the look-alikes are reached, although they are neither https nor public."""
    return {"slack_api_url": slack.url, "allow_hosts": ("127.0.0.1",)}


def _received(smtp: SmtpReceiver, slack: SlackReceiver, webhook: WebhookReceiver) -> dict[str, list[dict[str, Any]]]:
    return {
        "email": [_mail(mail.message, to=mail.recipients, size=len(mail.raw)) for mail in smtp.mails],
        "slack": [
            {
                "channel": message.channel,
                "text": message.text,
                "replies": [reply.text for reply in slack.thread(message.ts)],
            }
            for message in slack.main_messages()
        ],
        "webhook": [
            {
                "path": request.path,
                "webhook_id": request.headers["webhook-id"],
                "signature_verified": request.verified,
                "insights": [insight["name"] for insight in request.data["insights"]],
            }
            for request in webhook.requests
        ],
    }


def _mail(message: EmailMessage, *, to: tuple[str, ...], size: int) -> dict[str, Any]:
    text = message.get_body(("plain",))
    return {
        "to": list(to),
        "subject": str(message["Subject"]).strip(),
        "bytes": size,
        "charts": sum(part.get_content_maintype() == "image" for part in message.walk()),
        "text": text.get_content() if text else "",
    }


def _show(received: dict[str, list[dict[str, Any]]]) -> None:
    for mail in received["email"]:
        _heading(f"E-mail to {', '.join(mail['to'])}")
        print_line(f"  Subject: {mail['subject']}")
        print_line(f"  {mail['bytes'] // 1024} KiB: plain text, HTML, {mail['charts']} charts; one click unsubscribes")
        for line in [line for line in mail["text"].splitlines() if line.strip()][:6]:
            print_line(f"  │ {line}")
    for message in received["slack"]:
        _heading(f"Slack message in {message['channel']}")
        print_line(f"  {message['text']}")
        for reply in message["replies"]:
            print_line(f"  └ {reply}")
    for request in received["webhook"]:
        _heading(f"Webhook request to {request['path']}")
        print_line(f"  webhook-id: {request['webhook_id']}")
        print_line(f"  signature {'verified' if request['signature_verified'] else 'WRONG'} (Standard Webhooks)")
        for insight in request["insights"]:
            print_line(f"  └ {insight}")


def _heading(text: str) -> None:
    Console(highlight=False).print(Text(f"\n{text}", style="bold"))
