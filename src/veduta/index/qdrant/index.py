"""Qdrant as an index: descriptors that one machine does not hold, in a cluster with shards and replicas.

Qdrant chooses by codes of one byte a component and compares by the descriptors themselves; what it finds is compared
here once more, so that a cosine is the same number to the last bit, and equal ones come in the same order, whichever
index it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from veduta.errors import GalleryError
from veduta.index.exact import CLOSE, TIE_MARGIN, cosines
from veduta.index.overlay import merge_results
from veduta.index.qdrant.client import QdrantConnection, request_types
from veduta.index.qdrant.points import PointBatch, id_conditions, slices
from veduta.types import Float32, Int64

UPLOAD_BATCH = 256  # points sent at a time
IDS = 1_000  # asked for or removed by id at a time
FOUND = 4_000  # points in one answer; with 256 components each some 12 MB
MAX_RESULTS = 10_000  # found where still more than that are equally similar


@dataclass(frozen=True)
class SearchOptions:
    """How thoroughly Qdrant looks.

    Attributes:
        hnsw_ef: size of the candidate list of HNSW's search; None for Qdrant's own choice.
        oversampling: how many times the neighbors wanted are chosen by codes of one byte.
        exact: compare everything, without graph and codes.
    """

    hnsw_ef: int | None = 128
    oversampling: float = 2.0
    exact: bool = False


@dataclass(frozen=True, eq=False)
class ExactResults:
    """Qdrant's results for one query, compared exactly: cosines (n,), falling, ids (n,), and the lowest score."""

    similarity: Float32
    ids: Int64
    lowest: float

    def settled(self, k: int, wide: int) -> bool:
        """Return whether nothing that is missing can be among the best k, `wide` having been asked for."""
        return len(self.ids) < wide or bool(self.similarity[k - 1] > self.lowest + CLOSE)


NOTHING = ExactResults(np.zeros(0, np.float32), np.zeros(0, np.int64), 0.0)


class QdrantIndex:
    """One collection of a Qdrant, or what an alias leads to at each call.

    Args:
        link: to Qdrant.
        collection: its name, or an alias.
        dim: length D of a descriptor.
        options: how thoroughly it looks.

    Raises:
        GalleryError: there is no such collection, its descriptors are of another length, or Qdrant does not answer.
    """

    def __init__(self, link: QdrantConnection, collection: str, dim: int, options: SearchOptions | None = None) -> None:
        self.link, self.collection, self.dim = link, collection, dim
        self.options = options or SearchOptions()
        info = link.do(f"opening {collection}", "get_collection", collection)
        size = getattr(info.config.params.vectors, "size", None)
        if size != dim:
            wrong = f"{collection} has descriptors of length {size}, expected {dim}"
            raise GalleryError(f"{link.address}: {wrong}; name another one, or upload a gallery of this model")

    def __len__(self) -> int:
        return self._count([])

    def _count(self, conditions: list[Any]) -> int:
        chosen = request_types().Filter(must=conditions) if conditions else None
        return int(self._do("counting", "count", count_filter=chosen).count)

    # --- changing ---------------------------------------------------------------------------------------------------

    def add(self, ids: Int64, descriptors: Float32) -> None:
        """Add (N,) ids with their (N, D) descriptors; ValueError for a wrong shape or an id already there."""
        self._check(descriptors)
        if len(ids) != len(descriptors):
            raise ValueError(f"ids: expected {len(descriptors)}, one per descriptor, got {len(ids)}")
        known = sorted(self._there(ids))[:5]
        if known or len({int(i) for i in ids}) != len(ids):
            raise ValueError(f"ids: expected new and different ones, got {known or 'repeated ones'}")
        for _ in self._put(ids, descriptors, [{}] * len(ids)):
            pass

    def upsert(self, points: PointBatch, confirmed: Callable[[int], None] = lambda id: None) -> None:
        """Store these references, new or in the place of those with their ids; repeating changes nothing.

        Args:
            points: the references.
            confirmed: called after each batch that Qdrant has, with the number of its last reference.
        """
        self._check(points.descriptors)
        for last in self._put(points.ids, points.descriptors, points.payloads()):
            confirmed(last)

    def _put(self, ids: Int64, descriptors: Float32, payloads: Sequence[dict[str, Any]]) -> Iterator[int]:
        for part in slices(len(ids), UPLOAD_BATCH):
            numbers, vectors = [int(i) for i in ids[part]], descriptors[part].tolist()
            batch = request_types().Batch(ids=numbers, vectors=vectors, payloads=list(payloads[part]))
            self._do(f"sending {len(numbers)} references", "upsert", batch, wait=True)
            yield numbers[-1]

    def remove(self, ids: Int64) -> int:
        """Remove these ids, ignoring unknown ones; return how many were there."""
        present = sorted(self._there(ids))
        for part in slices(len(present), IDS):
            gone = request_types().PointIdsList(points=present[part])
            self._do("removing references", "delete", gone, wait=True)
        return len(present)

    # --- asking -----------------------------------------------------------------------------------------------------

    def vectors(self, ids: Int64) -> Float32:
        """Return the descriptors (N, D) of these (N,) ids; KeyError for one that is not there."""
        by_id = {record.id: record.vector for record in self._retrieve(ids, vectors=True)}
        unknown = {int(i) for i in ids} - by_id.keys()
        if unknown:
            raise KeyError(f"no descriptor has the id {min(unknown)}")
        return np.array([by_id[int(i)] for i in ids], np.float32).reshape(len(ids), self.dim)

    def search(self, descriptors: Float32, k: int, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Return cosines (Q, k') and ids (Q, k') of the nearest that Qdrant finds, nearest first, then id rising.

        The cosines are exact, and k' = min(k, how many there are to find) is always reached.

        Args:
            descriptors: (Q, D) of the queries.
            k: neighbors wanted.
            among: (M,) the only ids that count, in any order; unknown ones are ignored. None for all.
        """
        self._check_query(descriptors, k)
        filters = [[]] if among is None else [[condition] for condition in id_conditions(among)]
        if not len(descriptors) or not filters:
            width = min(k, sum(map(self._count, filters)))
            return np.zeros((len(descriptors), width), np.float32), np.zeros((len(descriptors), width), np.int64)
        parts = [self._nearest(descriptors, k, condition) for condition in filters]
        return merge_results([similarity for similarity, _ in parts], [ids for _, ids in parts], k)

    def _nearest(self, descriptors: Float32, k: int, conditions: list[Any]) -> tuple[Float32, Int64]:
        results: list[ExactResults] = [NOTHING] * len(descriptors)
        wide, exact, open_queries = k + TIE_MARGIN, self.options.exact or self.link.local, list(range(len(descriptors)))
        while open_queries:
            answers = self._query(descriptors[open_queries], wide, conditions, exact=exact)
            if not exact and min(map(len, answers)) < wide:  # it may have lost its way in the graph
                exact = True
                continue
            for number, points in zip(open_queries, answers, strict=True):
                results[number] = self._compare(points, descriptors[number])
            open_queries = [
                number for number in open_queries if wide < MAX_RESULTS and not results[number].settled(k, wide)
            ]
            wide = min(2 * wide, MAX_RESULTS)
        width = min(k, *(len(result.ids) for result in results))  # alike, unless somebody is adding just now
        return np.stack([result.similarity[:width] for result in results]), np.stack(
            [result.ids[:width] for result in results]
        )

    def _query(self, descriptors: Float32, wide: int, conditions: list[Any], *, exact: bool) -> list[list[Any]]:
        """Return for each query the points Qdrant finds, with their descriptors."""
        kinds, points = request_types(), []
        chosen = kinds.Filter(must=conditions) if conditions else None
        shared = {"filter": chosen, "params": self._params(exact), "limit": wide, "with_vector": True}
        for part in slices(len(descriptors), max(1, FOUND // wide)):
            requests = [kinds.QueryRequest(query=vector, **shared) for vector in descriptors[part].tolist()]
            points += [answer.points for answer in self._do("searching", "query_batch_points", requests)]
        return points

    def _compare(self, points: Sequence[Any], query: Float32) -> ExactResults:
        vectors = np.array([point.vector for point in points], np.float32).reshape(len(points), self.dim)
        similarity, ids = cosines(vectors, query), np.array([point.id for point in points], np.int64)
        order = np.lexsort((ids, -similarity))
        return ExactResults(similarity[order], ids[order], min((point.score for point in points), default=0.0))

    def _params(self, exact: bool) -> Any:  # noqa: FBT001
        if self.link.local:  # compares everything anyway, and warns of being asked to
            return None
        kinds, options = request_types(), self.options
        codes = kinds.QuantizationSearchParams(rescore=True, oversampling=options.oversampling)
        return kinds.SearchParams(hnsw_ef=options.hnsw_ef, exact=exact, quantization=codes)

    def _there(self, ids: Int64) -> set[int]:
        return {int(record.id) for record in self._retrieve(ids, vectors=False)}

    def _retrieve(self, ids: Int64, *, vectors: bool) -> Iterator[Any]:
        point_ids = sorted({int(i) for i in ids if i >= 0})
        options = {"with_payload": False, "with_vectors": vectors}
        for part in slices(len(point_ids), IDS):
            yield from self._do("looking references up", "retrieve", point_ids[part], **options)

    def _do(self, what: str, method: str, *args: Any, **options: Any) -> Any:
        return self.link.do(f"{what} in {self.collection}", method, self.collection, *args, **options)

    def _check(self, descriptors: Float32) -> None:
        if descriptors.ndim != 2 or descriptors.shape[1] != self.dim or descriptors.dtype != np.float32:
            raise ValueError(
                f"descriptors: expected (N, {self.dim}) float32, got {descriptors.shape} {descriptors.dtype}"
            )

    def _check_query(self, descriptors: Float32, k: int) -> None:
        self._check(descriptors)
        if k < 1:
            raise ValueError(f"k: expected at least 1, got {k}")
