"""The inverted file of an approximate index: which of millions are worth a second look.

Descriptors are dealt to lists by the nearest of many centers (Sivic and Zisserman 2003) and kept there as product codes
of four bits for two components (Jegou et al. 2011), which a processor compares 32 at a time from its registers (Andre
et al. 2015); by faiss (Douze et al. 2024).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss as stubbed
import numpy as np

from veduta.errors import GalleryError
from veduta.index.exact import roughly
from veduta.index.ivf.lists_file import read_array, read_lists
from veduta.types import Float32, Int64

faiss: Any = stubbed  # whose stubs know what C++ takes, not what its Python wrappers take
FIRST_LISTS = 256  # one in so many lists is looked at before it is decided how far to go on
MIN_MEMBERS = 8  # members of which little is known
SPREAD = "spread.npy"  # beside the file of the lists
NUM_NEAREST = 30  # the neighbor whose similarity decides that
SCAN_THREADS = max(1, min(4, os.cpu_count() or 1))


@dataclass(frozen=True, eq=False)
class ListStatistics:
    """How alike the members of each list are to its center: what a query may expect to find there.

    Attributes:
        mean: (L,) cosine of a member and the center, on average.
        variance: (L,) of that cosine.
        freedom: dimensions that members differ in beside it.
    """

    mean: Float32
    variance: Float32
    freedom: float

    def expected(self, similarity: Float32) -> Float32:
        """Return (L,) the similarity to a query that a member has on average, by that (L,) of the centers."""
        return similarity * self.mean

    def lists_within(self, similarity: Float32, enough: float, probe_margin: float) -> Int64:
        """Return the lists whose average is at most `probe_margin` standard deviations below a similarity.

        A member is its share of the center and a rest in another direction, so a query sees both: the share as
        much as it sees the center, the rest as it sees anything. Where the same share of each list is worth
        finding, the least is looked at for what is found.
        """
        seen = np.minimum(similarity * similarity, 1)
        rest = np.maximum(1 - self.mean**2 - self.variance, 0) * (1 - seen) / self.freedom
        deviation = np.sqrt(seen * self.variance + rest)
        return np.flatnonzero(self.expected(similarity) + np.float32(probe_margin) * deviation >= enough)

    @classmethod
    def of(cls, sample: Float32, similarity: Float32, nearest: Int64, centers: Float32) -> ListStatistics:
        """Return that of lists by a sample (n, d) with their nearest centers (n,) and the cosines (n,) with these."""
        counts = np.bincount(nearest, minlength=len(centers))
        total, squares = (np.bincount(nearest, similarity**power, len(centers)) for power in (1, 2))
        middle, wide = float(similarity.mean()), float(similarity.var())
        # A list with few in the sample is taken to be like all lists as much as like these few.
        mean = (total + MIN_MEMBERS * middle) / (counts + MIN_MEMBERS)
        variance = np.maximum(squares - 2 * mean * total + counts * mean**2, 0) + MIN_MEMBERS * wide
        rest = sample - similarity[:, None] * centers[nearest]
        spectrum = np.linalg.eigvalsh(rest.T @ rest / len(rest))
        freedom = float(spectrum.sum() ** 2 / max((spectrum**2).sum(), 1e-12))
        return cls(mean.astype(np.float32), (variance / (counts + MIN_MEMBERS)).astype(np.float32), max(freedom, 1.0))

    def write(self, path: Path) -> None:
        """Write the statistics to a file."""
        np.save(path, np.stack([self.mean, self.variance, np.full_like(self.mean, self.freedom)]))

    @classmethod
    def read(cls, path: Path, lists: int) -> ListStatistics:
        """Return the statistics of so many lists in a file; GalleryError for an unreadable one."""
        mean, variance, freedom = read_array(path, 3, lists)
        if min(freedom) < 1 or min(variance) < 0:
            raise GalleryError(f"{path}: cannot be read (no statistics of lists); build the index again")
        return cls(mean, variance, float(freedom[0]))


class InvertedFile:
    """An inverted file in memory.

    Args:
        index: of faiss, trained.
        spread: of its lists.
    """

    def __init__(self, index: Any, spread: ListStatistics) -> None:
        self.index, self.spread = index, spread
        self._centers = np.ascontiguousarray(index.quantizer.reconstruct_n(0, index.nlist))
        # The lists are dealt to these threads; faiss would start as many again in each.
        self._pool = ThreadPoolExecutor(SCAN_THREADS, initializer=partial(faiss.omp_set_num_threads, 1))

    @classmethod
    def read(cls, path: Path) -> InvertedFile:
        """Return the inverted file in a file, with its statistics beside; GalleryError for unreadable ones."""
        index = read_lists(path)
        return cls(index, ListStatistics.read(path.with_name(SPREAD), index.nlist))

    def write(self, path: Path) -> None:
        """Write the inverted file atomically, and its statistics beside."""
        self.spread.write(path.with_name(SPREAD))
        draft = path.with_name(f".{path.name}")
        faiss.write_index(self.index, str(draft))
        draft.replace(path)

    def __len__(self) -> int:
        return int(self.index.nlist)

    @property
    def count(self) -> int:
        """The number of descriptors."""
        return int(self.index.ntotal)

    def add(self, descriptors: Float32) -> None:
        """Add descriptors (N, d); their positions go on from those before."""
        self.index.add(np.ascontiguousarray(descriptors))

    def probe(
        self, query: Float32, wide: int, probe_margin: float | None, selector: Any = None, rank: int = NUM_NEAREST
    ) -> tuple[Int64, Int64]:
        """Return positions (n,), n <= `wide`, of those most similar to a query by code, and the lists looked at (m,).

        A few lists are looked at first. Those of a query with many like it have shown enough by then; for the others
        it goes on to every list whose members are, on average, at most `probe_margin` standard deviations less
        similar than the one of this rank found so far.

        Args:
            query: (d,) float32.
            wide: how many to return at most.
            probe_margin: in standard deviations; None looks at all lists.
            selector: of faiss, which positions count; None for all.
            rank: of the neighbor that says how far to look.
        """
        similarity = roughly(self._centers, query)
        first = self._first(similarity)
        scores, positions = self._scan(query, first, similarity, wide, selector)
        enough = float(np.partition(scores, -rank)[-rank]) if len(scores) >= rank else -np.inf
        probed = np.arange(len(similarity))
        if probe_margin is not None:
            probed = self.spread.lists_within(similarity, enough, probe_margin)
        rest = np.setdiff1d(probed, first, assume_unique=True)
        if len(rest):
            more = self._scan(query, rest, similarity, wide, selector)
            scores, positions = np.concatenate([scores, more[0]]), np.concatenate([positions, more[1]])
        if len(positions) > wide:
            positions = positions[np.argpartition(-scores, wide - 1)[:wide]]
        return positions, np.concatenate([first, rest])

    def sizes(self, lists: Int64) -> Int64:
        """Return (m,) how many descriptors each of these lists (m,) holds."""
        return np.array([self.index.invlists.list_size(int(number)) for number in lists], np.int64)

    def _first(self, similarity: Float32) -> Int64:
        """Return the lists that promise most."""
        expected = self.spread.expected(similarity)
        most = -(-len(expected) // FIRST_LISTS)
        return np.asarray(np.argpartition(-expected, most - 1)[:most], np.int64)

    def _scan(
        self, query: Float32, lists: Int64, similarity: Float32, wide: int, selector: Any
    ) -> tuple[Float32, Int64]:
        """Return scores (n,) and positions (n,) of the best in these lists, which are dealt to the cores."""
        shares = [lists[i::SCAN_THREADS] for i in range(SCAN_THREADS) if len(lists) > i]
        if len(lists) < 8 * SCAN_THREADS:
            shares = [lists]
        scan = partial(self._scan_some, query, similarity, wide, selector)
        parts = list(self._pool.map(scan, shares))
        return np.concatenate([scores for scores, _ in parts]), np.concatenate([positions for _, positions in parts])

    def _scan_some(
        self, query: Float32, similarity: Float32, wide: int, selector: Any, lists: Int64
    ) -> tuple[Float32, Int64]:
        # The wrapped method takes no options, so each thread could not have its own.
        options = faiss.SearchParametersIVF(nprobe=len(lists), sel=selector)
        scores, positions = np.empty(wide, np.float32), np.empty(wide, np.int64)
        given = [np.ascontiguousarray(a) for a in (query, lists.astype(np.int64), similarity[lists])]
        pointers = [faiss.swig_ptr(a) for a in (*given, scores, positions)]
        self.index.search_preassigned_c(1, pointers[0], wide, *pointers[1:], False, options)  # noqa: FBT003
        present = positions >= 0
        return scores[present], positions[present]


def train_inverted_file(sample: Float32, lists: int, iterations: int, most: int) -> InvertedFile:
    """Return an empty inverted file whose centers, codes and spread are learned from a sample.

    Args:
        sample: (n, d) float32.
        lists: how many.
        iterations: of k-means.
        most: descriptors a center is learned from, at most.
    """
    dim = sample.shape[1]
    parts = dim // 2 if dim % 2 == 0 else dim
    index = faiss.index_factory(dim, f"IVF{lists},PQ{parts}x4fsr", faiss.METRIC_INNER_PRODUCT)
    for clustering in (index.cp, index.pq.cp):
        clustering.niter, clustering.seed, clustering.min_points_per_centroid = iterations, 1, 1
    index.cp.spherical, index.cp.max_points_per_centroid = True, most
    index.pq.cp.niter = 25
    sample = np.ascontiguousarray(sample)
    index.train_q1(len(sample), faiss.swig_ptr(sample), False, faiss.METRIC_INNER_PRODUCT)  # noqa: FBT003
    with _one_thread():
        index.train(sample)
    similarity, nearest = index.quantizer.search(sample, 1)
    centers = index.quantizer.reconstruct_n(0, lists)
    return InvertedFile(index, ListStatistics.of(sample, similarity[:, 0], nearest[:, 0], centers))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep faiss to one thread: codes are learned in thousands of small steps, at each of which threads would wait."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
