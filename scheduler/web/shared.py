"""Shared pages: ``/shared/{token}``, for whoever has the address and, where one is asked for, a password."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from channels.base import Export
from scheduler.render import NAME, page, words_of_page
from scheduler.store.sharing import Page
from scheduler.tables import one_line
from scheduler.visits import ADMITTED_FOR, Seen, TooManyTries, Visits
from scheduler.web import HEADERS as OF_EVERY_PAGE

HEADERS = {
    **OF_EVERY_PAGE,
    "content-security-policy": f"{OF_EVERY_PAGE['content-security-policy']}; img-src data:; base-uri 'none'",
    "x-robots-tag": "noindex, nofollow",
}
COOKIE = "paperround_shared"
ASK = "Whoever shared this page can find out why."
"""Instead of what the database said, which is not for everybody."""
LARGEST_FORM = 4096
"""Bytes: the longest password, each character of which may take twelve, and more."""
NO_WORDS: dict[str, Any] = {"at": "", "as_of": None, "notice": "", "cards": [], "pictures": {}}


def add_shared_pages(web: FastAPI, visits: Visits, *, base_url: str) -> None:
    """Put the pages on this web server. ``base_url`` is where browsers find it."""
    outside = urlsplit(base_url)

    @web.api_route("/shared/{token}", methods=["GET", "HEAD"], include_in_schema=False)
    async def show(token: str, request: Request) -> Response:
        """The page, or the question for its password; the same 404 whatever is wrong with the token."""
        found = await visits.find(token)
        if found is None:
            return _door("unknown", status_code=404)
        if not visits.is_admitted(found, request.cookies.get(COOKIE)):
            return _door("ask")
        return HTMLResponse(_written(found, await visits.seen(found)), headers=HEADERS)

    @web.post("/shared/{token}", include_in_schema=False)
    async def enter(token: str, request: Request) -> Response:
        """With a right password a cookie, and back to the page."""
        found = await visits.find(token)
        if found is None:
            return _door("unknown", status_code=404)
        if found.hashes is None:
            return _to_the_page(token)
        try:
            cookie = await visits.admit(found, await _password_in(request), _address_of(request))
        except TooManyTries as problem:
            return _door("wait", status_code=429, seconds=problem.seconds)
        if cookie is None:
            return _door("wrong", status_code=403)
        return _admitted(token, cookie, outside)


def _admitted(token: str, cookie: str, outside: SplitResult) -> Response:
    """Back to the page, with a cookie that is sent there and nowhere else."""
    answer = _to_the_page(token)
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=int(ADMITTED_FOR.total_seconds()),
        path=f"{outside.path.rstrip('/')}/shared/{token}",
        secure=outside.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


async def _password_in(request: Request) -> str:
    """What was typed into the form; nothing, which is never a password, where it is no such form."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LARGEST_FORM:
            return ""
    try:
        return parse_qs(raw.decode("ascii", "replace"), max_num_fields=5).get("password", [""])[0]
    except ValueError:
        return ""


def _address_of(request: Request) -> str:
    """As the web server knows it: behind a proxy on this machine what that says (uvicorn, ``--proxy-headers``)."""
    return request.client.host if request.client else ""


def _to_the_page(token: str) -> Response:
    """Relative, so that it holds behind any proxy (RFC 9110, 10.2.2): GET it, lest a reload sends the form again."""
    return RedirectResponse(token, status_code=303, headers=HEADERS)


def _door(state: str, *, status_code: int = 200, seconds: int = 0) -> Response:
    text = page("shared_door.html", state=state, minutes=-(-seconds // 60))
    waiting = {"retry-after": str(seconds)} if seconds else {}
    return HTMLResponse(text, status_code=status_code, headers={**HEADERS, **waiting})


def _written(found: Page, seen: Seen | None) -> str:
    words = NO_WORDS if seen is None else _of(found, seen)
    return page(
        "shared.html",
        subject=one_line(found.title, NAME) or "Untitled",
        preview="",
        project=one_line(found.project, NAME),
        resource_type=found.resource_type,
        has_header=not found.settings.get("noHeader"),
        has_footer=not found.settings.get("whitelabel"),
        nothing=_nothing(found) if seen is None else "",
        **words,
    )


def _nothing(found: Page) -> str:
    if found.delivery_id is not None:
        return "This delivery has nothing to show."
    return "Nothing has been sent yet. What is sent next will be here."


def _of(found: Page, seen: Seen) -> dict[str, Any]:
    snapshots = [each.snapshot for each in seen.shown]
    exports = [_discreet(each.export) for each in seen.shown]
    if found.settings.get("hideExtraDetails"):
        snapshots = [replace(each, description="") for each in snapshots]
    return words_of_page(snapshots, exports, at=seen.at, timezone=found.timezone)


def _discreet(export: Export) -> Export:
    return export if export.error is None else replace(export, text=ASK, error=ASK)
