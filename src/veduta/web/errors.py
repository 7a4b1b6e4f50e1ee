"""What is told of an error: one shape for every route, and never anything of the server's own."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from veduta.errors import ImageError, NotFoundError, VedutaError

# HTTP status -> the name Google's services give it.
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    421: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
log = logging.getLogger("veduta.web")


class ApiError(HTTPException):  # FastAPI lets no other error out of the reading of a body
    """A request that cannot be answered, with the HTTP status and what to tell.

    Args:
        code: the HTTP status.
        message: one line: what is wrong, with what, what to do.
        headers: to send with it.
    """

    def __init__(self, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(code, message, headers or {})
        self.code, self.message = code, message

    def body(self) -> dict[str, dict[str, int | str]]:
        """Return what is told."""
        return error_body(self.code, self.message)


def error_body(code: int, message: str) -> dict[str, dict[str, int | str]]:
    """Return the JSON of an error."""
    return {"error": {"code": code, "status": STATUSES.get(code, "UNKNOWN"), "message": one_line(message)}}


def one_line(message: str) -> str:
    """Return a message as one line of text, whatever a client had put into it."""
    return " ".join(message.encode("utf-8", "backslashreplace").decode().splitlines())


def to_api_error(error: VedutaError) -> ApiError:
    """Return what to tell of one of the library's errors: folders of the server are not told."""
    if isinstance(error, ImageError):
        return ApiError(400, str(error))
    if isinstance(error, NotFoundError):
        return ApiError(404, f"there is no {error.subject}")
    log.error("%s", error)
    return ApiError(500, "the gallery cannot be used; see the server's log")


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of this application one shape."""

    @app.exception_handler(ApiError)
    @app.exception_handler(VedutaError)
    @app.exception_handler(Exception)
    async def failed(_request: Request, error: Exception) -> JSONResponse:
        return answer_to(error)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first.get("loc", ())[1:])
        message = f"{where}: {first.get('msg', 'is not valid')}" if where else str(first.get("msg", "is not valid"))
        return JSONResponse(error_body(400, message), 400)


def answer_to(error: Exception) -> JSONResponse:
    """Return what is told of an error; a fault of the program is noted in the log."""
    if isinstance(error, ClientDisconnect):  # nobody hears this
        error = ApiError(400, "the request ended before all of it had come")
    elif isinstance(error, VedutaError):
        error = to_api_error(error)
    elif not isinstance(error, ApiError):
        log.error("unexpected", exc_info=error)
        error = ApiError(500, "something went wrong; see the server's log")
    return JSONResponse(error.body(), error.code, error.headers)
