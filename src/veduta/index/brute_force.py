"""Exact search over descriptors that stay on disk: memory-mapped rows, widened and compared a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from veduta.types import Float32, Int64

SEARCH_BLOCK = 32_768  # rows compared at a time
QUERY_BLOCK = 4_096  # queries compared at a time


def search_blocks(
    blocks: Sequence[npt.NDArray[Any]], queries: Float32, k: int, block: int = SEARCH_BLOCK
) -> tuple[Float32, Int64]:
    """Return the cosines (Q, k') and row numbers (Q, k') of the k' = min(k, N) nearest of all rows.

    Rows are numbered through the blocks. Ordered by similarity falling, then row rising; which of several equally
    similar rows take the last places is left open. One piece at a time is read and widened to float32, so memory stays
    at a piece whatever N is.

    Args:
        blocks: arrays (n, D) of float16 or float32, memory-mapped or not.
        queries: (Q, D) float32.
        k: neighbors wanted.
        block: rows in a piece.
    """
    total = sum(len(rows) for rows in blocks)
    k = min(k, total)
    if k < 1 or not len(queries):
        return np.zeros((len(queries), max(k, 0)), np.float32), np.zeros((len(queries), max(k, 0)), np.int64)
    nearest = [
        _search(blocks, np.ascontiguousarray(queries[i : i + QUERY_BLOCK]), k, block)
        for i in range(0, len(queries), QUERY_BLOCK)
    ]
    return np.concatenate([f[0] for f in nearest]), np.concatenate([f[1] for f in nearest])


def _search(blocks: Sequence[npt.NDArray[Any]], queries: Float32, k: int, block: int) -> tuple[Float32, Int64]:
    best = faiss.ResultHeap(len(queries), k, keep_max=True)
    for start, rows in _pieces(blocks, block):
        similarity, place = faiss.knn(queries, rows, min(k, len(rows)), metric=faiss.METRIC_INNER_PRODUCT)
        best.add_result(similarity, place + start)
    best.finalize()
    order = np.lexsort((best.I, -best.D), axis=1)
    return np.take_along_axis(best.D, order, 1), np.take_along_axis(best.I, order, 1)


def _pieces(blocks: Sequence[npt.NDArray[Any]], block: int) -> Iterator[tuple[int, Float32]]:
    """Yield (number of the first row, rows (n, D) float32) of all blocks, `block` rows at a time.

    What is yielded is good until the next piece is asked for.
    """
    start, widen = 0, _Widener(block)
    for rows in blocks:
        for i in range(0, len(rows), block):
            yield start + i, widen(np.ascontiguousarray(rows[i : i + block]))
        start += len(rows)


class _Widener:
    """Half precision to single by faiss, with all cores and vector instructions, into the same memory every time.

    NumPy's cast takes three times as long; fresh memory for each piece costs more than either.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._wide = np.empty((0, 0), np.float32)

    def __call__(self, piece: npt.NDArray[Any]) -> Float32:
        if piece.dtype != np.float16:
            return piece.astype(np.float32, copy=False)
        n, dim = piece.shape
        if self._wide.shape[1] != dim:
            self._wide = np.empty((self._rows, dim), np.float32)
            self._half: Any = faiss.ScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16)
        # The plain method: the wrapper named `decode` makes another array.
        self._half.decode_c(faiss.swig_ptr(piece.view(np.uint8)), faiss.swig_ptr(self._wide), n)
        return self._wide[:n]
