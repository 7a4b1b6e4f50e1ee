"""Limits before every route: size and time of a request, hosts and origins, and the security headers."""

from __future__ import annotations

import asyncio
import hmac
import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from veduta.web.errors import ApiError, error_response
from veduta.web.settings import Settings

SAFE = {"GET", "HEAD", "OPTIONS"}


def headers_of(settings: Settings) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer: a browser is to load nothing from elsewhere and to guess nothing."""
    tiles = f" {_origin(settings.tiles[0])}" if settings.tiles else ""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": f"'self' blob: data:{tiles}",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "cross-origin" if settings.content_aliases else "same-origin",
        "Permissions-Policy": "geolocation=(), microphone=()",
    }
    return [(key.lower().encode(), value.encode()) for key, value in headers.items()]


class LimitsMiddleware:
    """Middleware that refuses requests too large, too slow or from other sites' pages, and adds security headers.

    Args:
        app: the application behind this middleware.
        settings: the limits.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings, self._headers = app, settings, headers_of(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, guarded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        names = {key for key, value in scope["headers"] if value != b"0"}
        body = _Body(self.settings, receive, complete=not names & {b"content-length", b"transfer-encoding"})
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *self._headers]
                if not body.complete:  # its rest is not read: the connection cannot be used again
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, body, sending)
        except Exception as error:  # whoever catches it further out would send no security headers
            if started:
                raise
            await error_response(error)(scope, receive, sending)

    def _check(self, scope: Scope) -> None:
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self.settings.hosts and _name(host) not in self.settings.hosts:
            raise ApiError(421, f"this server does not answer to {_name(host)!r}; allow it with --host-name")
        port_lost = _port(host) is None and (scope.get("server") or ("", None))[1] not in (None, 80, 443)
        if scope["method"] not in SAFE:
            self._check_origin(headers, host, port_lost=port_lost)
        elif headers.get(b"sec-fetch-site") == "cross-site" and headers.get(b"sec-fetch-mode") != "navigate":
            # a picture or script of a page elsewhere; a link to here is none
            self._check_origin(headers, host, port_lost=port_lost)
        length = headers.get(b"content-length", "0")
        if length.isdigit() and int(length) > self.settings.max_body:
            raise _too_large(self.settings)

    def _check_origin(self, headers: dict[bytes, str], host: str, *, port_lost: bool) -> None:
        """Refuse the requests of other sites' pages: the browser's owner did not ask for them.

        Args:
            headers: of the request.
            host: the Host header.
            port_lost: whether a proxy has sent the name alone, as nginx's ``$host`` is: no client omits the port of
                this server. The names are compared then, unless the browser says that the page is another's.
        """
        origin, from_own = headers.get(b"origin"), headers.get(b"sec-fetch-site", "none") in ("none", "same-origin")
        if origin is None and from_own:
            return
        if origin is not None and (_host(origin) == host != "" or origin in self.settings.content_aliases):
            return
        if port_lost and from_own and host and _without_port(origin or "") == host.lower():
            return
        raise ApiError(403, "requests from pages of other sites are refused; allow the site with --allow-origin")


class _Body:
    """The body of a request, counted and timed while being read."""

    def __init__(self, settings: Settings, receive: Receive, *, complete: bool) -> None:
        self._settings, self._receive, self.complete = settings, receive, complete
        self._size, self._begun = 0, time.monotonic()

    async def __call__(self) -> Message:
        if self.complete:  # waiting for the client to leave takes as long as it takes
            return await self._receive()
        left = min(self._settings.chunk_seconds, self._begun + self._settings.body_seconds - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.01))
        except TimeoutError:
            raise ApiError(408, "the request came too slowly; send it again") from None
        self._size += len(message.get("body", b""))
        if self._size > self._settings.max_body:
            raise _too_large(self._settings)
        self.complete = not message.get("more_body", False)
        late = time.monotonic() - self._begun - self._settings.chunk_seconds / 2
        if not self.complete and self._size < late * self._settings.body_rate:
            raise ApiError(408, "the request came too slowly; send it again")
        return message


def _too_large(settings: Settings) -> ApiError:
    most = settings.max_body // 2**20
    return ApiError(413, f"the request has more than {most} MB; send fewer or smaller photos, or raise --max-body")


def _name(host: str) -> str:
    """Return the name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _port(host: str) -> int | None:
    """Return the port in a Host header, if there is one."""
    try:
        return urlsplit(f"//{host}").port
    except ValueError:
        return 0


def _without_port(origin: str) -> str:
    """Return the name in an Origin header, without the port; empty where it has more than both."""
    host = _host(origin).lower()
    return re.sub(r":\d{1,5}$", "", host) if origin.startswith(("https://", "http://")) and "@" not in host else ""


def _host(origin: str) -> str:
    """Return the host and port in an Origin header."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _origin(address: str) -> str:
    parts = urlsplit(address.replace("{s}", "*"))
    return f"{parts.scheme}://{parts.netloc}"


def may_write(request: Request, settings: Settings) -> None:
    """Refuse a request that may not write."""
    if settings.token is None:
        raise ApiError(403, "this server only reads; start it with VEDUTA_TOKEN set to allow changes")
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), settings.token.encode()):
        raise ApiError(
            401, "the token is missing or wrong; send it as 'Authorization: Bearer ...'", {"WWW-Authenticate": "Bearer"}
        )


def served_names(host: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names a server at an address answers to: its own, those of this machine, and the given ones.

    To no other: a page elsewhere could have its name lead here, and read what only this machine's users may.

    Args:
        host: the address it listens at; all of them for ``0.0.0.0`` and ``::``.
        names: further ones.
    """
    everywhere = host in ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to
    own: set[str] = set() if everywhere else {host}
    if everywhere:
        own.add(socket.gethostname())
        with suppress(OSError):
            own.update(str(address[4][0]) for address in socket.getaddrinfo(socket.gethostname(), None))
    return loopback_names([*sorted(own), *names])


def loopback_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names a server on the loopback interface answers to."""
    return ("localhost", "127.0.0.1", "::1", *names)
