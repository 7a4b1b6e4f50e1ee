"""Work done ahead by a few threads and returned in order; and the number of BLAS threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import cache
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = 2
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int = WORKERS
) -> Generator[tuple[Item, Result], None, None]:
    """Yield (item, work(item)) in the order given, at most `2 * workers` items worked on ahead.

    Their own thread draws the items, so a result is given back when it is there, even while the next item
    is still awaited. An error raised by `work` or by the items is raised here, in its turn. Leaving the iteration early
    drops what is waiting.
    """
    waiting: Queue[tuple[Item, Future[Result]] | BaseException | None] = Queue(2 * workers)
    left = Event()
    with ThreadPoolExecutor(workers) as pool:
        # A daemon: it may be waiting for an item that never comes when the iteration is left.
        feeder = Thread(target=_feed, args=(work, items, pool, waiting, left), daemon=True)
        feeder.start()
        try:
            while (entry := waiting.get()) is not None:
                if isinstance(entry, BaseException):
                    raise entry
                yield entry[0], entry[1].result()
        finally:
            left.set()
            pool.shutdown(wait=False, cancel_futures=True)
            feeder.join(0.5)


def _feed(
    work: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor, waiting: Queue[Any], left: Event
) -> None:
    """Put (item, future) of every item into the queue, then None; or the error that ended the items."""
    end: BaseException | None = None
    try:
        for item in items:
            if left.is_set() or not _put(waiting, (item, pool.submit(work, item)), left):
                return
    except BaseException as error:
        end = error
    _put(waiting, end, left)


def _put(waiting: Queue[Any], entry: Any, left: Event) -> bool:
    """Put an entry into the queue unless the iteration ends first; return whether the entry was put."""
    while not left.is_set():
        try:
            waiting.put(entry, timeout=0.1)
        except Full:
            continue
        return True
    return False


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which NumPy multiplies matrices on the calling thread alone.

    The matrices of one pair of photos are so small that a second thread gains little when it is free, and costs several
    times the product when it has to wait for a core.
    """
    return _controller().limit(limits=1, user_api="blas")  # type: ignore[no-any-return]


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def keep_memory() -> None:
    """Have the C library keep freed memory, up to 64 MB, instead of returning pages to the system each time.

    For a program's main, not for a library. The local features of thirty references are a few megabytes that come and
    go with every photo, and fresh pages for them cost more than what is computed in them. Only glibc can be set so.
    """
    with suppress(OSError, AttributeError):
        tell = ctypes.CDLL(None).mallopt
        tell(TRIM_THRESHOLD, 64 << 20)
        tell(MMAP_THRESHOLD, 4 << 20)
