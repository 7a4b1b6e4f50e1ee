"""Work done ahead by a few threads, given back in the order it was asked for; and how many threads BLAS may use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = 2


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int = WORKERS
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, work(item)) in the order given, at most `2 * workers` items worked on ahead.

    An error raised by `work` is raised here, in its item's turn. Leaving the iteration early drops what is waiting.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > 2 * workers:
                    done, future = waiting.popleft()
                    yield done, future.result()
            for done, future in waiting:
                yield done, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


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
