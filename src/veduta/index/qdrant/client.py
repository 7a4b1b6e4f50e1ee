"""The way to Qdrant: which nodes, how long each may take, what is retried, and the error when all fails."""

from __future__ import annotations

import atexit
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from veduta.errors import GalleryError, install_extra

KEY = "VEDUTA_QDRANT_API_KEY"  # of the environment; never written anywhere
MEMORY = ":memory:"
AGAIN = {408, 425, 429, 500, 502, 503, 504}  # statuses after which the same request may succeed
T = TypeVar("T")
_OPENED: WeakValueDictionary[str, Any] = WeakValueDictionary()  # a folder can be opened once in a process


@dataclass(frozen=True)
class RetryPolicy:
    """How long Qdrant is waited for.

    Attributes:
        seconds: for one answer, a whole number.
        tries: how often a request is sent, to one node after the other, before it is given up.
        pause: seconds between the first try and the second; doubled from then on.
        longest: seconds between two tries at most.
    """

    seconds: int = 30
    tries: int = 6
    pause: float = 0.5
    longest: float = 15.0

    def __post_init__(self) -> None:
        if self.seconds < 1 or self.tries < 1 or min(self.pause, self.longest) < 0:
            raise ValueError(f"Patience: expected at least 1 second, 1 try and no pause below 0, got {self}")


@dataclass(frozen=True)
class RequestFailure:
    """The reason why a request failed: problem, remedy, and whether and when to retry."""

    wrong: str
    remedy: str
    again: bool = False
    pause: float = 0.0


def addresses(address: str) -> list[str]:
    """Return the nodes of an address; ValueError for one that is none.

    Args:
        address: ``http(s)://host:port``, several of one cluster with commas between them; or a folder, or ``:memory:``,
            for a Qdrant inside this process.
    """
    nodes = [node.strip().rstrip("/") for node in address.split(",")]
    if not any("://" in node for node in nodes):
        if not address.strip():
            raise ValueError("address: expected http(s)://host:port or a folder, got nothing")
        return [address]
    for node in nodes:
        if "@" in node:
            raise ValueError(f"address: expected none with a password in it; put the key into {KEY}")
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", node):
            raise ValueError(f"address: expected http(s)://host:port, got {node!r}")
    return nodes


class QdrantConnection:
    """Clients of the nodes of one Qdrant, of which one is asked at a time.

    Args:
        address: as `addresses` takes it.
        patience: how long they are waited for.

    Raises:
        GalleryError: the extra is not installed, or the folder is open in another process.
        ValueError: it is no address.
    """

    def __init__(self, address: str, patience: RetryPolicy | None = None) -> None:
        self.address, self.patience = address, patience or RetryPolicy()
        self.nodes = addresses(address)
        self.local = "://" not in self.nodes[0]
        open_one = _in_process if self.local else self._remote
        self._clients = [open_one(node) for node in self.nodes]
        self._at = 0

    def _remote(self, node: str) -> Any:
        key = os.environ.get(KEY)
        # Not as `api_key`: then qdrant-client warns of every connection without TLS, also on this machine.
        known = {"metadata": {"api-key": key}} if key else {}
        client, port = _imported().QdrantClient, 443 if node.startswith("https") else 6333
        return client(url=node, port=port, timeout=self.patience.seconds, check_compatibility=False, **known)

    def ask(self, what: str, call: Callable[[Any], T]) -> T:
        """Return the result of `call` with a client, retried while that may help.

        A node that cannot be reached, does not answer in time or is overloaded is left for the next one of the address.

        Args:
            what: what is being done, for the message.
            call: what to do with a client; doing it twice must be as good as once.

        Raises:
            GalleryError: it did not work out; the message says why and what to do.
        """
        for attempt in range(1, self.patience.tries + 1):
            node = self.nodes[self._at]
            try:
                return call(self._clients[self._at])
            except _faults() as error:
                fault = self._fault(error)
                if not fault.again or attempt == self.patience.tries:
                    tried = f", tried {attempt} times" if attempt > 1 else ""
                    raise GalleryError(f"{node}: {fault.wrong} while {what}{tried}; {fault.remedy}") from error
            self._at = (self._at + 1) % len(self.nodes)
            self._pause(attempt, fault)
        raise ValueError("expected at least one try")  # Patience has seen to that

    def do(self, what: str, method: str, *args: Any, **options: Any) -> Any:
        """Return the result of a client's method of this name, retried as in `ask`."""
        return self.ask(what, lambda client: getattr(client, method)(*args, **options))

    def _pause(self, attempt: int, fault: RequestFailure) -> None:
        patience = self.patience
        time.sleep(min(max(patience.pause * 2 ** (attempt - 1), fault.pause), patience.longest))

    def _fault(self, error: Exception) -> RequestFailure:
        status = getattr(error, "status_code", None)
        if status is not None:
            return _of_status(int(status), _said(error))
        if hasattr(error, "retry_after_s"):  # what a 429 that says when to come again has become
            return RequestFailure("is overloaded", "try later", again=True, pause=float(error.retry_after_s))
        source = getattr(error, "source", error)
        if self.local:
            return RequestFailure(str(source), "was the collection dropped? upload again with 'veduta index GALLERY'")
        return _of_transport(source, self.patience.seconds)


def _of_status(status: int, message: str) -> RequestFailure:
    if status in (401, 403):
        return RequestFailure(f"refuses the key ({message or status})", f"put the right one into {KEY}")
    if status == 404:
        return RequestFailure(f"has no such collection ({message or status})", "upload with 'veduta index GALLERY'")
    if status in AGAIN:
        return RequestFailure(
            f"failed ({status} {message})", "see Qdrant's log and /cluster; then run the same again", again=True
        )
    return RequestFailure(f"refused ({status} {message})", "is it a Qdrant, of version 1.12 or newer?")


def _of_transport(source: Exception, seconds: int) -> RequestFailure:
    import httpx

    run_again = "is it running, and the address right? Then run the same again"
    if isinstance(source, httpx.TimeoutException):
        return RequestFailure(f"gave no answer within {seconds} s", run_again, again=True)
    if isinstance(source, httpx.TransportError):
        return RequestFailure(f"cannot be reached or broke off ({source})", run_again, again=True)
    return RequestFailure("did not answer as a Qdrant does", "is the address right?")


def _said(error: Exception) -> str:
    """Return Qdrant's message of an error, on one line."""
    content = getattr(error, "content", b"")
    try:
        return " ".join(str(json.loads(content)["status"]["error"]).split())[:300]
    except (ValueError, KeyError, TypeError):
        return str(getattr(error, "reason_phrase", ""))


def _faults() -> tuple[type[Exception], ...]:
    """Return the exceptions a client raises: its own, and plain ones of Qdrant in this process."""
    from qdrant_client.http.exceptions import ApiException

    plain = ValueError, RuntimeError, OSError, sqlite3.Error
    try:
        from qdrant_client.common.client_exceptions import QdrantException
    except ImportError:  # an older client has none for that
        return ApiException, *plain
    return ApiException, QdrantException, *plain


def _imported() -> Any:
    try:
        import qdrant_client
        import qdrant_client.models
    except ImportError as error:
        raise GalleryError(f"Qdrant needs the extra [qdrant] ({error.name}): {install_extra('qdrant')}") from error
    return qdrant_client


def request_types() -> Any:
    """Return the module of Qdrant's request types; GalleryError where the extra is not installed."""
    return _imported().models


@atexit.register
def _close() -> None:
    """Close the folders still open, before interpreter shutdown, when qdrant-client would try too late."""
    for client in list(_OPENED.values()):
        client.close()


def _in_process(path: str) -> Any:
    """Return a Qdrant inside this process, the one that is there already for this folder if there is one."""
    client = _imported().QdrantClient
    if path == MEMORY:
        return client(path)
    known = str(Path(path).expanduser().resolve())
    shared = _OPENED.get(known)
    if shared is not None:
        return shared
    try:
        opened = client(path=known, force_disable_check_same_thread=True)
    except (OSError, RuntimeError, ValueError) as error:
        wrong = f"cannot be opened as a Qdrant inside this process ({error})"
        raise GalleryError(f"{path}: {wrong}; end the process that has it open, or name a server") from error
    _OPENED[known] = opened
    return opened
