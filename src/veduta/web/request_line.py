"""Request lines in their other forms: HEAD where GET is answered, absolute addresses, and paths below a prefix."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ABSOLUTE = re.compile(rb"https?://([^/?#@\s]+)(/[^#]*)?", re.IGNORECASE)


class RequestLineMiddleware:
    """Middleware that passes each request on as a GET, POST, ... of a path.

    A HEAD is answered as the GET of the same path would be, without the body (RFC 9110, 9.3.2). The target of a request
    may be a whole address, whose host then counts instead of the header's (RFC 9112, 3.2.2).

    Args:
        app: the application behind this middleware.
        root_path: the path below which a proxy shows the application, such as ``/veduta``; empty for none.
    """

    def __init__(self, app: ASGIApp, root_path: str = "") -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        inner = with_path(scope)
        inner.update(path=self._below_root(inner["path"]), root_path=self.root_path)
        if scope["method"] == "HEAD":
            inner["method"] = "GET"
        try:
            await self.app(inner, receive, _without_body(send) if scope["method"] == "HEAD" else send)
        finally:
            scope["route"] = inner.get("route")  # for who counts requests further out

    def _below_root(self, path: str) -> str:
        """Return a path with the prefix, whether the proxy took that off or not."""
        if path == self.root_path:
            return f"{path}/"
        return path if path.startswith(f"{self.root_path}/") else self.root_path + path


def with_path(scope: Scope) -> Scope:
    """Return a copy of a request's scope whose target is a path; a whole address there names the host as well."""
    target = ABSOLUTE.fullmatch(scope.get("raw_path") or b"")
    if target is None:
        return {**scope}
    path = target[2] or b"/"
    headers = [(key, value) for key, value in scope["headers"] if key != b"host"]
    return {
        **scope,
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "headers": [(b"host", target[1]), *headers],
    }


def _without_body(send: Send) -> Send:
    async def sending(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sending
