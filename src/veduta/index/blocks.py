"""Exact search over descriptors that stay on disk: memory-mapped rows, widened and compared a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from veduta.types import Float32, Int64

BLOCK = 32_768  # rows compared at a time
QUERIES = 4_096  # queries compared at a time


def search_blocks(
    blocks: Sequence[npt.NDArray[Any]], queries: Float32, k: int, block: int = BLOCK
) -> tuple[Float32, Int64]:
    """Return the cosines (Q, k') and row numbers (Q, k') of the k' = min(k, N) nearest of all rows.

    Rows are numbered through the blocks. Ordered by similarity falling, then row rising; which of several equally
    similar rows take the last places is left open. The next piece is read and widened to float32 while the last is
    compared, so memory stays at a few pieces whatever N is.

    Args:
        blocks: arrays (n, D) of float16 or float32, memory-mapped or not.
        queries: (Q, D) float32.
        k: neighbours wanted.
        block: rows in a piece.
    """
    total = sum(len(rows) for rows in blocks)
    k = min(k, total)
    if k < 1 or not len(queries):
        return np.zeros((len(queries), max(k, 0)), np.float32), np.zeros((len(queries), max(k, 0)), np.int64)
    found = [
        _search(blocks, np.ascontiguousarray(queries[i : i + QUERIES]), k, block)
        for i in range(0, len(queries), QUERIES)
    ]
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def _search(blocks: Sequence[npt.NDArray[Any]], queries: Float32, k: int, block: int) -> tuple[Float32, Int64]:
    best = faiss.ResultHeap(len(queries), k, keep_max=True)
    for start, rows in _ahead(pieces(blocks, block)):
        similarity, place = faiss.knn(queries, rows, min(k, len(rows)), metric=faiss.METRIC_INNER_PRODUCT)
        best.add_result(similarity, place + start)
    best.finalize()
    order = np.lexsort((best.I, -best.D), axis=1)
    return np.take_along_axis(best.D, order, 1), np.take_along_axis(best.I, order, 1)


def pieces(blocks: Sequence[npt.NDArray[Any]], block: int = BLOCK) -> Iterator[tuple[int, Float32]]:
    """Yield (number of the first row, rows (n, D) float32) of all blocks, `block` rows at a time."""
    start = 0
    for rows in blocks:
        for i in range(0, len(rows), block):
            yield start + i, np.ascontiguousarray(rows[i : i + block], np.float32)
        start += len(rows)


def _ahead(items: Iterator[tuple[int, Float32]]) -> Iterator[tuple[int, Float32]]:
    """Yield the items, the next one being made by a thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item
