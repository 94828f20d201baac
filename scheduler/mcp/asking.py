"""The API's own routes, asked in this process: no socket, and nothing that the API would not allow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.types import ASGIApp

from scheduler.api.errors import WRONG, Refused, permission_denied
from scheduler.app import App
from scheduler.errors import InvalidField, NotFound
from scheduler.keys import Principal
from scheduler.store.people import Project


@dataclass(frozen=True, slots=True)
class Api:
    """The API as the holder of one key finds it, in one project."""

    web: ASGIApp
    """What :func:`scheduler.api.serving.add_api` was called for."""
    key: str = field(repr=False)
    project: Project

    async def get(self, path: str, **query: object) -> Any:
        """What the project shows at this path; None in the query is left out."""
        return await self._ask("GET", path, params=_texts(query))

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Make something there."""
        return await self._ask("POST", path, body=body)

    async def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change what is there."""
        return await self._ask("PATCH", path, body=body)

    async def _ask(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        """The answer's JSON, None when it is empty. Raises :class:`Refused` for every answer that is not 2xx."""
        request = self._request(method, path, params, body)
        answer = await httpx.ASGITransport(app=self.web).handle_async_request(request)
        text = await answer.aread()
        said: Any = json.loads(text) if text else None
        if not answer.is_success:
            raise _refusal(answer, said)
        return said

    def _request(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> httpx.Request:
        url = f"http://paperround/api/projects/{self.project.id}{path}"
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        try:
            content = None if body is None else json.dumps(body)
            return httpx.Request(method, url, params=params, headers=headers, content=content)
        except (ValueError, RecursionError):
            raise Refused(400, WRONG, "parse_error", "The arguments are no JSON that could be read.") from None


def _texts(query: Mapping[str, object]) -> dict[str, str]:
    """Values as a query has them. Raises :class:`InvalidField` for one that has no place there."""
    texts = {}
    for name, value in query.items():
        if isinstance(value, bool):
            texts[name] = str(value).lower()
        elif isinstance(value, str | int):
            texts[name] = str(value)
        elif value is not None:
            raise InvalidField(name, f"{name} must be one text or number")
    return texts


def _refusal(answer: httpx.Response, said: Mapping[str, Any]) -> Refused:
    later = {name: value for name, value in answer.headers.items() if name == "retry-after"}
    return Refused(
        answer.status_code, said["type"], said["code"], said["detail"], attr=said["attr"], headers=later or None
    )


async def project_of(app: App, caller: Principal, wanted: int | None) -> Project:
    """The project that tools work in: the one that is wanted, or the first that the key reaches.

    Raises :class:`NotFound` for one that it does not reach, :class:`Refused` when it reaches none.
    """
    if wanted is not None and not caller.sees(wanted):
        raise NotFound(f"There is no project {wanted}, or the key does not reach it.")
    if not caller.reach:
        raise permission_denied("This key reaches no project; make one that does, with `paperround keys create`.")
    return await app.project(min(caller.reach) if wanted is None else wanted)
