"""The inverted file of an approximate index: which of millions are worth a second look.

Descriptors are dealt to lists by the nearest of many centres (Sivic and Zisserman 2003) and kept there as product codes
of four bits for two components (Jegou et al. 2011), which a processor compares 32 at a time from its registers (Andre
et al. 2015); by faiss (Douze et al. 2024).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import faiss as stubbed
import numpy as np

from veduta.errors import GalleryError
from veduta.types import Float32, Int64

faiss: Any = stubbed  # whose stubs know what C++ takes, not what its Python wrappers take
FIRST = 128  # one in so many lists is looked at before it is decided how far to go on
NEAREST = 30  # the neighbour whose similarity decides that
WORKERS = max(1, min(4, os.cpu_count() or 1))


class Lists:
    """An inverted file in memory.

    Args:
        index: of faiss, trained.
    """

    def __init__(self, index: Any) -> None:
        self.index = index
        self._centres = np.ascontiguousarray(index.quantizer.reconstruct_n(0, index.nlist))
        self._pool = ThreadPoolExecutor(WORKERS)

    @classmethod
    def read(cls, path: Path) -> Lists:
        """Return the inverted file kept in a file; GalleryError if it cannot be read."""
        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise GalleryError(f"{path}: cannot be read ({reason}); build the index again") from error

    def write(self, path: Path) -> None:
        """Keep it in a file, which is there as a whole or not at all."""
        draft = path.with_name(f".{path.name}")
        faiss.write_index(self.index, str(draft))
        draft.replace(path)

    def __len__(self) -> int:
        return int(self.index.nlist)

    @property
    def count(self) -> int:
        """How many descriptors it holds."""
        return int(self.index.ntotal)

    def add(self, descriptors: Float32) -> None:
        """Add descriptors (N, d); their positions go on from those before."""
        self.index.add(np.ascontiguousarray(descriptors))

    def look(self, query: Float32, wide: int, reach: float | None, selector: Any = None) -> Int64:
        """Return the positions (n,), n <= `wide`, of those most similar to a query by their codes.

        A few lists are looked at first. Those of a query with many like it have shown enough by then; for the others
        it goes on to every list whose centre is at most `reach` less similar than the 30th found so far: a member that
        much more similar than its centre is rare.

        Args:
            query: (d,) float32.
            wide: how many to return at most.
            reach: similarity; None looks at all lists.
            selector: of faiss, which positions count; None for all.
        """
        similarity = self._centres @ query
        order = np.argsort(-similarity, kind="stable")
        first = -(-len(order) // FIRST)
        scores, found = self._scan(query, order[:first], similarity, wide, selector)
        enough = np.partition(scores, -NEAREST)[-NEAREST] if len(scores) >= NEAREST else -np.inf
        end = len(order)
        if reach is not None:
            end = int(np.searchsorted(-similarity[order], reach - enough, side="right"))
        if end > first:
            more = self._scan(query, order[first:end], similarity, wide, selector)
            scores, found = np.concatenate([scores, more[0]]), np.concatenate([found, more[1]])
        if len(found) > wide:
            found = found[np.argpartition(-scores, wide - 1)[:wide]]
        return found

    def _scan(
        self, query: Float32, lists: Int64, similarity: Float32, wide: int, selector: Any
    ) -> tuple[Float32, Int64]:
        """Return scores (n,) and positions (n,) of the best in these lists, which are dealt to the cores."""
        shares = [lists[i::WORKERS] for i in range(WORKERS) if len(lists) > i]
        if len(lists) < 8 * WORKERS:
            shares = [lists]
        scan = partial(self._scan_some, query, similarity, wide, selector)
        parts = list(self._pool.map(scan, shares))
        return np.concatenate([scores for scores, _ in parts]), np.concatenate([found for _, found in parts])

    def _scan_some(
        self, query: Float32, similarity: Float32, wide: int, selector: Any, lists: Int64
    ) -> tuple[Float32, Int64]:
        # The wrapped method takes no options, so each thread could not have its own.
        options = faiss.SearchParametersIVF(nprobe=len(lists), sel=selector)
        scores, found = np.empty(wide, np.float32), np.empty(wide, np.int64)
        given = [np.ascontiguousarray(a) for a in (query, lists.astype(np.int64), similarity[lists])]
        pointers = [faiss.swig_ptr(a) for a in (*given, scores, found)]
        self.index.search_preassigned_c(1, pointers[0], wide, *pointers[1:], False, options)  # noqa: FBT003
        there = found >= 0
        return scores[there], found[there]


def make_lists(sample: Float32, lists: int, iterations: int, most: int) -> Lists:
    """Return an empty inverted file whose centres and codes are learned from a sample.

    Args:
        sample: (n, d) float32.
        lists: how many.
        iterations: of k-means.
        most: descriptors a centre is learned from, at most.
    """
    dim = sample.shape[1]
    parts = dim // 2 if dim % 2 == 0 else dim
    index = faiss.index_factory(dim, f"IVF{lists},PQ{parts}x4fsr", faiss.METRIC_INNER_PRODUCT)
    for clustering in (index.cp, index.pq.cp):
        clustering.niter, clustering.seed, clustering.min_points_per_centroid = iterations, 1, 1
    index.cp.spherical, index.cp.max_points_per_centroid = True, most
    index.pq.cp.niter = 25
    index.train(np.ascontiguousarray(sample))
    return Lists(index)
