"""Settings of a server, with their defaults."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from veduta.files import MEGABYTE


@dataclass(frozen=True)
class Settings:
    """How a server behaves.

    Attributes:
        token: whoever shows it may write; None for a server that only reads.
        workers: photos in work at once; while one is recognized the others are decoded.
        queue: requests that may wait for a worker; more are answered with 429.
        max_body: bytes of a request at most.
        max_photo: bytes of a photo at most.
        max_pixels: pixels of a photo at most, asked of its header before it is decoded.
        max_photos: photos of one request at most.
        max_waiting: bytes of all bodies held at once, being read or waiting.
        decode_memory: bytes that decoding may hold at once, in all threads together; no photo may take more.
        header_seconds: how long a client may take to send its request's head.
        chunk_seconds: how long it may pause within the body.
        body_seconds: how long it may take for the whole body.
        body_rate: bytes a second that a body must come at on average, after the first seconds.
        stop_seconds: how long requests in work may take when the server is stopped.
        hosts: names the server answers to; empty for all.
        content_aliases: other sites whose pages may use the services.
        image_prefixes: beginnings of the addresses that photos may be fetched from; none by default.
        root_path: the path below which a proxy shows the server, such as ``/veduta``; empty for none.
        tiles: (address with {z}, {x}, {y}; attribution) of map tiles that the page may show, or None.
    """

    token: str | None = None
    workers: int = (os.cpu_count() or 1) + 1
    queue: int = 32
    max_body: int = 64 * MEGABYTE
    max_photo: int = 25 * MEGABYTE
    max_pixels: int = 250_000_000
    max_photos: int = 16
    max_waiting: int = 192 * MEGABYTE
    decode_memory: int = 640 * MEGABYTE
    header_seconds: float = 10.0
    chunk_seconds: float = 10.0
    body_seconds: float = 120.0
    body_rate: int = 2_000
    stop_seconds: float = 15.0
    hosts: tuple[str, ...] = ()
    content_aliases: tuple[str, ...] = ()
    image_prefixes: tuple[str, ...] = ()
    root_path: str = ""
    tiles: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        limits = self.workers, self.queue + 1, self.max_body, self.max_photo, self.max_pixels, self.max_photos
        if min(*limits, self.max_waiting, self.decode_memory) < 1:
            raise ValueError(f"expected limits of at least 1, got {self}")
        if not is_root_path(self.root_path):
            raise ValueError(f"root_path: expected a path such as /veduta, got {self.root_path!r}")
        if self.token is not None and len(self.token) < 8:
            raise ValueError("token: expected at least 8 characters; make one with: openssl rand -hex 16")


def is_root_path(path: str) -> bool:
    """Return whether a server can be shown below a path: one such as ``/veduta``, or empty."""
    names = path.split("/")[1:]
    plain = re.fullmatch(r"(/[\w.~-]+)*", path, re.ASCII) is not None
    return plain and not {".", ".."} & set(names)
