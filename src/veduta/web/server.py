"""The server itself: uvicorn, with a limit to how long a request's head may take."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from veduta.web.settings import Settings

STAGE_SECONDS = 13.0  # within which the longest stage of a request ends
MOST_HEADER = 32 * 1024  # bytes of a request's head


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 that hangs up on a client whose request's head does not come in time."""

    seconds = 10.0
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wind()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; stop waiting when a head is complete."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop()
        elif self._idle() and self._clock is None:
            self._wind()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._stop()
        super().connection_lost(error)

    def _idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _wind(self) -> None:
        self._clock = self.loop.call_later(self.seconds, self._hang_up)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._clock = None

    def _hang_up(self) -> None:
        self._clock = None
        if self._idle():
            self.transport.close()


class StoppableServer(uvicorn.Server):
    """A server that ends with status 0 on SIGTERM instead of dying of the signal afterwards.

    Attributes:
        stop_work: called when requests have had their time to finish; what is left ends at its next stage.
        patience: that time, in seconds.
    """

    stop_work: Callable[[], None] = staticmethod(lambda: None)
    patience = 20.0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests finish for a while, and end what is left in time before uvicorn cancels that."""
        asyncio.get_running_loop().call_later(self.patience, self.stop_work)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals stop the server; only a Ctrl-C is passed on after that."""
        with super().capture_signals():
            yield
            self._captured_signals[:] = [number for number in self._captured_signals if number != signal.SIGTERM]


def make_server(app: FastAPI, settings: Settings, host: str, port: int, log_level: str = "warning") -> uvicorn.Server:
    """Return a server for the application; `run` blocks until a signal, then lets requests finish."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=type("Timed", (TimedProtocol,), {"seconds": settings.header_seconds}),
        loop="asyncio",
        ws="none",
        log_level=log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(settings.stop_seconds + STAGE_SECONDS),
        h11_max_incomplete_event_size=MOST_HEADER,
    )
    server = StoppableServer(config)
    server.stop_work, server.patience = app.state.engine.stop, settings.stop_seconds
    return server
