"""The galleries of a server and its pool of threads: loaded once, and never more work than there is room for."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from threading import Condition, Event
from typing import Any, TypeVar

from fastapi import Request

from veduta.errors import GalleryError
from veduta.files import MEGABYTE
from veduta.gallery.options import RecognizeOptions
from veduta.geo import Area
from veduta.images import check_limits, decoding_bytes, load
from veduta.library import Library
from veduta.recognizer import Recognizer
from veduta.types import Image, Recognition
from veduta.web.errors import ApiError
from veduta.web.image_source import Sources
from veduta.web.served import ServedGallery, ServedLibrary
from veduta.web.settings import Settings

Returned = TypeVar("Returned")
CLIENT_GONE: contextvars.ContextVar[Event | None] = contextvars.ContextVar("client_gone", default=None)
HEAVY: contextvars.ContextVar[bool] = contextvars.ContextVar("heavy", default=False)
HEAVY_BYTES = 96 * MEGABYTE  # held by decoding: 24 megapixels of RGB; JPEGs, which are reduced early, stay far below
WAIT_SECONDS = 1  # wait asked of a client for which there is no room, for each round of work that is queued


class _HeavyWorkError(Exception):
    """A photo takes much memory to decode, and its work has not waited for that."""


class MemoryBudget:
    """Bytes that threads share: each holds some while it works, and waits until they are free.

    Args:
        total: bytes there are.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold bytes while the body runs; what is more than there are counts as all of them."""
        size = min(size, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


class Engine:
    """The galleries of one server, and a bounded pool of threads.

    Args:
        galleries: their folders, whose names are theirs.
        settings: how many may work and wait.
        provider: execution provider.
        library: the library whose photos are kept for review, by the first gallery, and whose groups are named; with
            None each gallery keeps photos of its own.

    Raises:
        GalleryError: one is no gallery, or two have one name.
    """

    def __init__(
        self, galleries: Sequence[Path], settings: Settings, provider: str = "cpu", library: Library | None = None
    ) -> None:
        self.settings = settings
        self.served: dict[str, ServedGallery] = {}
        self.library = None if library is None else ServedLibrary(library)
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="veduta")
        self._admitted = self._held = 0
        self._memory = MemoryBudget(settings.decode_memory)
        self._heavy = asyncio.Semaphore(max(1, settings.workers - 1))
        self._stopping = Event()
        self.sources = Sources(settings)
        self.on_answer: Callable[[ServedGallery, Recognition], None] = lambda served, recognition: None
        for path in galleries:
            name = path.resolve().name
            if name in self.served:
                raise GalleryError(f"{path}: another gallery served is called {name!r} too; rename one folder")
            queue = None if library is None or self.served else library.folder
            self.served[name] = ServedGallery(name, path, provider, queue)

    def close(self) -> None:
        """Wait for the stages at work, drop those that come after, and close the galleries."""
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for served in self.served.values():
            served.close()

    def stop(self) -> None:
        """Have work end at its next stage."""
        self._stopping.set()

    @property
    def load(self) -> int:
        """Requests admitted: at work or waiting."""
        return self._admitted

    def named(self, name: str | None) -> ServedGallery:
        """Return the gallery of this name, or the first one.

        Raises:
            ApiError: there is none of this name.
        """
        if not name:
            return next(iter(self.served.values()))
        if name not in self.served:
            raise ApiError(404, f"there is no gallery {name!r}; there are {', '.join(self.served)}")
        return self.served[name]

    def select_galleries(self, name: str | None) -> list[ServedGallery]:
        """Return the galleries a question goes to: the one named, or all."""
        return [self.named(name)] if name else list(self.served.values())

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Admit a request before its body is read, if there is room.

        Raises:
            ApiError: there is none; the client is to come again later.
        """
        self._check_room()
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    def _check_room(self) -> None:
        if self._admitted >= self.settings.workers + self.settings.queue:
            seconds = WAIT_SECONDS * (1 + self._admitted // (4 * self.settings.workers))
            raise ApiError(429, f"too many requests at once; try again in {seconds} s", {"Retry-After": str(seconds)})

    @asynccontextmanager
    async def holding(self, request: Request) -> AsyncIterator[None]:
        """Read the body of a request, which takes no room from others before all of it is there.

        Raises:
            ApiError: there is no room anyway, or the bodies of all clients together would take too much memory.
        """
        self._check_room()
        with self.held() as hold:
            chunks = []
            async for chunk in request.stream():
                chunks.append(chunk)
                hold(len(chunk))
            request._body = b"".join(chunks)  # where Starlette looks for a body that was read
            chunks.clear()
            yield

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """Give a function that counts bytes as held until the end; with too many of all clients it raises ApiError."""
        total = 0

        def hold(size: int) -> None:
            nonlocal total
            total += size
            self._held += size
            if self._held > self.settings.max_waiting:
                raise ApiError(429, "too many large requests at once; try again in 2 s", {"Retry-After": "2"})

        try:
            yield hold
        finally:
            self._held -= total

    async def run(self, work: Callable[..., Returned], *values: Any, heavy: bool = False) -> Returned:
        """Return the result of `work`, run by a thread of the pool, unless the client goes before its turn comes.

        Work that decodes a photo of `HEAVY_BYTES` or more waits, without a thread, until it may take one: all but one
        thread may do such work, so that there is always one for the photos that most people have.

        Args:
            work: may be called again from its beginning when it turns out to be heavy, unless `heavy` says so before.
            *values: its arguments.
            heavy: whether it may be heavy, and must be called once only.
        """
        if not heavy:
            with suppress(_HeavyWorkError):
                return await self._in_pool(work, values)
        async with self._heavy:
            token = HEAVY.set(True)
            try:
                return await self._in_pool(work, values)
            finally:
                HEAVY.reset(token)

    async def _in_pool(self, work: Callable[..., Returned], values: tuple[Any, ...]) -> Returned:
        def unless_gone() -> Returned:
            self.check_wanted()
            return work(*values)

        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, unless_gone)

    def check_wanted(self) -> None:
        """Raise ApiError between two stages if nobody waits for the answer any more, or the server is being stopped."""
        if self._stopping.is_set():
            raise ApiError(503, "the server is being stopped; try again")
        gone = CLIENT_GONE.get()
        if gone is not None and gone.is_set():
            raise ApiError(499, "the client has hung up")

    def decode(self, content: bytes, name: str) -> Image:
        """Return the photo in these bytes, decoded, within the server's limits.

        Raises:
            ImageError: the bytes are no photo, or too large a one.
        """
        limits, held = self.settings, decoding_bytes(content, name)
        if HEAVY_BYTES <= held <= limits.decode_memory and not HEAVY.get():  # one beyond is refused at once
            raise _HeavyWorkError
        with self._memory.hold(held):
            self.check_wanted()
            return load(
                content,
                name=name,
                max_bytes=limits.max_photo,
                max_pixels=limits.max_pixels,
                max_memory=limits.decode_memory,
            )

    def check_limits(self, content: bytes, name: str) -> None:
        """Refuse a photo beyond the server's limits by its length and its header; nothing is decoded.

        Raises:
            TooLargeError: the photo has too many bytes or pixels.
        """
        check_limits(content, name, max_bytes=self.settings.max_photo, max_pixels=self.settings.max_pixels)

    def best(
        self,
        image: Image,
        served: Sequence[ServedGallery],
        area: Area | None = None,
        options: RecognizeOptions | None = None,
    ) -> tuple[ServedGallery, Recognition, Recognizer]:
        """Return the surest answer of several galleries, with the gallery and the recognizer that gave it."""
        answers = []
        for gallery in served:
            self.check_wanted()
            answers.append((gallery, *gallery.recognize(image, area, options)))
        best = max(answers, key=lambda answer: (answer[1].landmark is not None, answer[1].confidence))
        self.on_answer(best[0], best[1])
        return best
