"""Photos at addresses that a request names: fetched without a thread, in one time for all, from allowed sites."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from veduta.web.settings import Settings

FETCH_SECONDS = 10.0  # for all of one photo: the name looked up, connected, asked and answered
FETCH_CONNECTIONS = 64  # at once; to wait for one counts as part of the time
PIECE = 64 * 1024  # bytes
NOT_ALLOWED, NO_ANSWER = 7, 3  # google.rpc.Code


class FaultError(Exception):
    """The reason why one image of a batch cannot be annotated, with a code of google.rpc."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Sources:
    """The sites that photos may be fetched from, and how many connections there are.

    Args:
        settings: the beginnings of addresses that are allowed, and the size of a photo.
        seconds: for all of one photo.
    """

    def __init__(self, settings: Settings, seconds: float = FETCH_SECONDS) -> None:
        self._settings, self._seconds = settings, seconds
        self._free = asyncio.Semaphore(FETCH_CONNECTIONS)

    async def fetch(self, address: str, hold: Callable[[int], None] = lambda size: None) -> bytes:
        """Return the bytes at an address that begins as the settings allow, at most one more than a photo may have.

        Args:
            address: of the photo.
            hold: called with the number of bytes of each piece that came.

        Raises:
            FaultError: the address may not be fetched, or cannot within the time.
        """
        if not any(_begins(address, prefix) for prefix in self._settings.image_prefixes):
            raise FaultError(
                NOT_ALLOWED, "source.imageUri: this server does not fetch from there; send content instead"
            )
        try:
            async with asyncio.timeout(self._seconds), self._free:
                return await _get(urlsplit(address), self._settings.max_photo + 1, hold)
        except TimeoutError as error:
            raise FaultError(NO_ANSWER, f"source.imageUri: took longer than {self._seconds:.0f} s") from error
        except (OSError, ValueError, h11.ProtocolError) as error:
            raise FaultError(NO_ANSWER, "source.imageUri: cannot be fetched (no answer)") from error


async def _get(address: SplitResult, most: int, hold: Callable[[int], None]) -> bytes:
    """Return at most `most` bytes of the answer at an address."""
    if not address.hostname:
        raise ValueError("no host")
    secure = address.scheme == "https"
    context = ssl.create_default_context() if secure else None
    port = address.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(address.hostname, port, ssl=context)
    try:
        data = bytearray()
        async with aclosing(_ask(reader, writer, address)) as pieces:
            async for piece in pieces:
                hold(len(piece))
                data += piece
                if len(data) >= most:
                    break
        return bytes(data[:most])
    finally:
        writer.transport.abort()  # the rest is not wanted, and a good-bye may take long


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: SplitResult
) -> AsyncGenerator[bytes, None]:
    """Ask for an address and give the pieces of the answer's body."""
    connection = h11.Connection(h11.CLIENT)
    target = (address.path or "/") + (f"?{address.query}" if address.query else "")
    headers = [("Host", address.netloc), ("Accept", "*/*"), ("User-Agent", "veduta"), ("Connection", "close")]
    sent = connection.send(h11.Request(method="GET", target=target.encode("ascii"), headers=headers)) or b""
    writer.write(sent + (connection.send(h11.EndOfMessage()) or b""))
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(PIECE))
        elif isinstance(event, h11.Response) and not 200 <= event.status_code < 300:
            raise FaultError(NO_ANSWER, f"source.imageUri: cannot be fetched (status {event.status_code})")
        elif isinstance(event, h11.Data):
            yield bytes(event.data)
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            return


def _begins(address: str, prefix: str) -> bool:
    """Return whether an address lies where a prefix says, on that very host and nowhere above or beside its path."""
    if not address.startswith(("https://", "http://")) or set(address) & set("\\@#") or not address.isprintable():
        return False
    try:
        target, allowed = urlsplit(address), urlsplit(prefix)
    except ValueError:
        return False
    inside = ".." not in re.split(r"[/\\]", unquote(target.path)) and " " not in address
    return inside and target[:2] == allowed[:2] and address.startswith(prefix)
