"""Judging a descriptor as used in practice: references, queries, distractors, and the best neighbor's similarity.

No classifier is asked. What counts is GAP, closed and open, of landmarks the network was trained on and, above all, of
landmarks it was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from veduta.concurrency import WORKERS, in_order
from veduta.embedders.gem import resized
from veduta.errors import ImageError
from veduta.images import load
from veduta.index import ExactIndex
from veduta.metrics import Prediction, accuracy, gap
from veduta.progress import Progress
from veduta.training.descriptor.data.dataset import NON_LANDMARK, Protocol
from veduta.types import Float32, Int64, UInt8

Network = Callable[[UInt8], Float32]  # (b, h, w, 3) uint8 RGB to (b, D) of norm 1
EMBED_BATCH = 16


@dataclass(frozen=True)
class RetrievalMetrics:
    """The figures of a descriptor on one protocol, by its best neighbor alone.

    Attributes:
        protocol: ``seen`` or ``unseen``: whether the landmarks were trained on.
        recall_at_1: share of the landmark photos whose best neighbor is right, nothing withheld.
        gap_closed: GAP with all landmarks in the gallery.
        gap_open: GAP with some withheld, whose photos are then distractors.
    """

    protocol: str
    recall_at_1: float
    gap_closed: float
    gap_open: float


def evaluate_protocol(protocol: Protocol, descriptors: Float32, rows: Int64) -> RetrievalMetrics:
    """Return the figures of descriptors (M, D) of norm 1 that belong to the photos of these (M,) rising numbers."""
    where = np.searchsorted(rows, np.arange(len(protocol.classes)))
    closed = _ask(protocol, descriptors, where, protocol.gallery, protocol.queries, frozenset())
    inside = np.isin(protocol.classes[protocol.gallery], list(protocol.withheld))
    extra = protocol.gallery[inside]  # photos of landmarks nobody knows any more
    queries = np.concatenate((protocol.queries, extra))
    opened = _ask(protocol, descriptors, where, protocol.gallery[~inside], queries, protocol.withheld)
    return RetrievalMetrics(protocol.name, closed[1], closed[0], opened[0])


def _ask(
    protocol: Protocol,
    descriptors: Float32,
    where: Int64,
    gallery: Int64,
    queries: Int64,
    withheld: frozenset[int],
) -> tuple[float, float]:
    """Return GAP and recall@1."""
    index = ExactIndex(descriptors.shape[1])
    index.add(gallery, descriptors[where[gallery]])
    similarity, nearest = index.search(descriptors[where[queries]], 1)
    truth: dict[str, list[str]] = {}
    for query, landmark in zip(queries.tolist(), protocol.classes[queries].tolist(), strict=True):
        truth[str(query)] = [] if landmark == NON_LANDMARK or landmark in withheld else [str(landmark)]
    predictions = [
        Prediction(str(query), str(protocol.classes[neighbor]), float(cosine))
        for query, neighbor, cosine in zip(
            queries.tolist(), nearest[:, 0].tolist(), similarity[:, 0].tolist(), strict=True
        )
    ]
    return gap(truth, predictions), accuracy(truth, predictions)


def embed_photos(
    photos: Sequence[str],
    network: Network,
    side: int,
    step: int = 32,
    *,
    square: bool = False,
    workers: int = WORKERS,
    progress: Progress | None = None,
) -> Float32:
    """Return (N, D) descriptors of photos, made as `veduta.embedders.GemEmbedder` makes them.

    A photo that has become unreadable since the survey has a descriptor of zeros: like nothing.

    Args:
        photos: N paths.
        network: a batch of photos of one shape to descriptors.
        side: about `side` x `side` pixels in all.
        step: sides are multiples of it.
        square: squash into a square.
        workers: threads that decode.
        progress: called with photos done and photos in all.
    """
    by_number: dict[int, Float32] = {}
    for done, (numbers, batch) in enumerate(_batches(photos, side, step, square, workers), 1):
        by_number.update(zip(numbers, network(batch), strict=True))
        if progress:
            progress(min(done * EMBED_BATCH, len(photos)), len(photos))
    dim = len(next(iter(by_number.values()))) if by_number else 1
    return np.stack([by_number.get(i, np.zeros(dim, np.float32)) for i in range(len(photos))])


def _batches(
    photos: Sequence[str],
    side: int,
    step: int,
    square: bool,  # noqa: FBT001
    workers: int,
) -> Iterator[tuple[list[int], UInt8]]:
    """Yield (numbers, photos of one shape), as they fill up."""

    def small(number: int) -> UInt8 | None:
        try:
            # Decoding a large JPEG at half its size or less is quick; twice the side leaves the rest to the resize.
            return resized(load(photos[number], max_side=4 * side).pixels, side, step, square=square)
        except ImageError:
            return None

    waiting: dict[tuple[int, ...], list[tuple[int, UInt8]]] = {}
    for number, pixels in in_order(small, range(len(photos)), workers):
        if pixels is None:
            continue
        group = waiting.setdefault(pixels.shape, [])
        group.append((number, pixels))
        if len(group) == EMBED_BATCH:
            yield [n for n, _ in group], np.stack([p for _, p in group])
            group.clear()
    for group in waiting.values():
        if group:
            yield [n for n, _ in group], np.stack([p for _, p in group])
