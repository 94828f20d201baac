"""Every answer that is not 2xx has one shape: ``{"type", "code", "detail", "attr"}``."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.exceptions import HTTPException

from scheduler.db import first_line
from scheduler.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidField,
    NotAllowed,
    NotFound,
    PaperroundError,
    QuotaExceeded,
)

log = structlog.get_logger()

INVALID, WRONG, WHO, TOO_MANY, OURS = (
    "validation_error",
    "invalid_request",
    "authentication_error",
    "throttled_error",
    "server_error",
)


class Refused(PaperroundError):
    """An answer that is decided here; ``code`` is one of the contract's."""

    def __init__(
        self,
        status: int,
        kind: str,
        code: str,
        detail: str,
        *,
        attr: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.code, self.attr, self.headers = status, kind, code, attr, headers


def not_authenticated() -> Refused:
    """The same for a key that is missing, malformed, unknown, revoked or expired: nobody learns which."""
    detail = "Send a personal API key: `Authorization: Bearer KEY`. It is missing, or it is not, or no longer, valid."
    return Refused(401, WHO, "not_authenticated", detail, headers={"www-authenticate": "Bearer"})


def permission_denied(detail: str) -> Refused:
    """The key is known, and may not."""
    return Refused(403, WHO, "permission_denied", detail)


def throttled(seconds: int, detail: str) -> Refused:
    """Too many requests; ``seconds`` until the next one is welcome (RFC 9110, 10.2.3)."""
    return Refused(429, TOO_MANY, "throttled", detail, headers={"retry-after": str(max(1, seconds))})


def answer(refused: Refused) -> JSONResponse:
    """The shape, for a refusal."""
    body = {"type": refused.kind, "code": refused.code, "detail": str(refused), "attr": refused.attr}
    return JSONResponse(body, status_code=refused.status, headers=dict(refused.headers or {}))


def refusal_of(problem: Exception) -> Refused:
    """What an exception means to a client; its text goes out only where it was written for people."""
    match problem:
        case Refused():
            found = problem
        case HTTPException():
            found = _of_the_framework(problem)
        case RequestValidationError():  # of the path alone: bodies and queries are read by ourselves
            found = Refused(404, WRONG, "not_found", "There is nothing at this address.")
        case InvalidField():
            found = Refused(400, INVALID, problem.code, str(problem), attr=problem.field)
        case NotFound():
            found = Refused(404, WRONG, "not_found", str(problem))
        case Conflict():
            found = Refused(409, OURS, "error", str(problem))
        case NotAllowed():
            found = permission_denied(str(problem))
        case QuotaExceeded():
            found = Refused(402, OURS, "quota_limit_exceeded", str(problem))
        case DatabaseUnavailable() | OperationalError() | InterfaceError():
            log.error("api.database", problem=first_line(problem))
            detail = "The database does not answer; try again."
            found = Refused(503, OURS, "error", detail, headers={"retry-after": "5"})
        case _:
            found = Refused(500, OURS, "error", "An error inside Paperround; its log has the traceback.")
    return found


def _of_the_framework(problem: HTTPException) -> Refused:
    codes = {404: "not_found", 405: "method_not_allowed"}
    details = {
        404: "There is nothing at this address.",
        405: "This method is not allowed here; `Allow` says which are.",
    }
    code, detail = codes.get(problem.status_code, "error"), details.get(problem.status_code, str(problem.detail))
    return Refused(problem.status_code, WRONG, code, detail, headers=problem.headers)


def install(web: FastAPI) -> None:
    """Answer every exception in the one shape."""

    async def refuse(_: Request, problem: Exception) -> JSONResponse:
        return answer(refusal_of(problem))

    for kind in (PaperroundError, OperationalError, InterfaceError, HTTPException, RequestValidationError):
        web.add_exception_handler(kind, refuse)
    web.add_exception_handler(Exception, refuse)
