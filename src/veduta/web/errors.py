"""Errors as HTTP answers: one shape for every route, and nothing that names the server's folders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from veduta.errors import ImageError, NoRoomError, NotFoundError, ReplacedError, UnwritableError, VedutaError
from veduta.web.schemas import ErrorDetail, ErrorResponse

# HTTP status -> the name Google's services give it.
STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    507: "RESOURCE_EXHAUSTED",
    **dict.fromkeys((400, 413, 415, 421, 422, 431), "INVALID_ARGUMENT"),
}
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"description": description, "model": ErrorResponse}
    for code, description in {
        400: "Something in the request is wrong.",
        401: "The token is missing or wrong.",
        403: "The server only reads, may not write the gallery, or another site's page asked.",
        404: "There is no such thing.",
        408: "The request came too slowly.",
        409: "It is there already.",
        413: "The request is too large.",
        415: "The body is of another kind.",
        422: "Not used: wrong fields are answered with 400.",
        429: "Too many requests at once; come again after Retry-After.",
        503: "The gallery was replaced while it was served, or the server is being stopped.",
        507: "The server's disk is full; nothing was stored.",
    }.items()
}
log = logging.getLogger("veduta.web")


class ApiError(HTTPException):  # FastAPI lets no other error out of the reading of a body
    """A request that cannot be answered, with the HTTP status and the message for the client.

    Args:
        code: the HTTP status.
        message: one line: what is wrong, with what, what to do.
        headers: to send with it.
    """

    def __init__(self, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(code, message, headers or {})
        self.code, self.message = code, message


def error_detail(code: int, message: str) -> ErrorDetail:
    """Return the error of a failed request or photo, as JSON has it."""
    return ErrorDetail(code=code, status=STATUSES.get(code, "UNKNOWN"), message=one_line(message))


def one_line(message: str) -> str:
    """Return a message as one line of text, whatever control characters a client sent."""
    return " ".join(message.encode("utf-8", "backslashreplace").decode().splitlines())


def first_problem(problems: Sequence[Any], skip: int = 0) -> str:
    """Return the first of pydantic's problems with a body as a message that begins with the field's name.

    Args:
        problems: as a validation error lists them.
        skip: leading parts of a field's place that are not of the body.
    """
    object_expected = problems[0]["type"] in ("model_type", "dict_type")  # pydantic would name the class
    message = "expected an object" if object_expected else str(problems[0]["msg"])
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in problems[0]["loc"][skip:])
    field = "".join(parts).removeprefix(".")
    return f"{field}: {message}" if field else message


def to_api_error(error: VedutaError) -> ApiError:
    """Return one of the library's errors as an HTTP error, without the server's folders."""
    if isinstance(error, ImageError):
        return ApiError(400, str(error))
    if isinstance(error, NotFoundError):
        return ApiError(404, f"there is no {error.subject}")
    if isinstance(error, (UnwritableError, NoRoomError)):
        log.error("%s", error)
        return _unstored(error)
    log.error("%s", error)
    if isinstance(error, ReplacedError):
        return ApiError(503, "the gallery was replaced, moved or deleted while it was served; restart the server")
    return ApiError(500, "the gallery cannot be used; see the server's log")


def _unstored(error: VedutaError) -> ApiError:
    """Return the error of a request whose change could not be stored."""
    if isinstance(error, NoRoomError):
        return ApiError(507, "the server's disk is full, so nothing was stored; make room there, then send it again")
    return ApiError(
        403, "this server may not write the gallery, so it only reads; give it the right to, and restart it"
    )


def add_error_handlers(app: FastAPI) -> None:
    """Give every error of this application one shape."""

    async def handle(_request: Request, error: Exception) -> JSONResponse:
        return error_response(error)

    for kind in (HTTPException, RequestValidationError, VedutaError, Exception):
        app.add_exception_handler(kind, handle)


def error_response(error: Exception) -> JSONResponse:
    """Return the answer to a request that ended in an error; a fault of the program is noted in the log."""
    code, headers = 500, {}
    if isinstance(error, VedutaError):
        error = to_api_error(error)
    if isinstance(error, HTTPException):
        code, message, headers = error.status_code, str(error.detail), dict(error.headers or {})
    elif isinstance(error, RequestValidationError):
        code, message = 400, first_problem(error.errors(), skip=1)
    elif isinstance(error, ClientDisconnect):  # nobody hears this
        code, message = 400, "the request ended before all of it had come"
    else:
        log.error("unexpected", exc_info=error)
        message = "something went wrong; see the server's log"
    return JSONResponse(ErrorResponse(error=error_detail(code, message)).model_dump(), code, headers)
