"""The probability that two photos show one place: from the pair alone, then from the photos around the pair.

A pair by itself says little: a facade and its portal share no keypoint, and two windows of one maker share many. So
each photo's likely partners are found first, by a logistic regression over the pair alone, and then a second one
scores pairs by the partners they have in common (as k-reciprocal neighbors do: Zhong et al., CVPR 2017), which joins
photos that were never matched and parts some that were. Both were fitted by ``benchmarks/grouping.py --fit``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from veduta.types import Bool, Float32, Float64, Int64

NEIGHBORS = 30  # of each photo that are verified
FURTHER = 30  # partners of partners that are judged too
LINKED = 8  # inliers from which a pair is linked by geometry
NUM_SIMILAR = 20  # nearest descriptors whose overlap counts
LEAST_COMMON = 0.05  # partners in common below which two photos are no pair worth judging
PAIR_BLOCK = 1024

# Weights of the pair's own evidence, and of what is around it too; the last of each is the constant.
PAIR_WEIGHTS: tuple[float, ...] = (22.599, 1.059, -0.615, -30.094, -3.313)
CONTEXT_WEIGHTS: tuple[float, ...] = (
    *(5.26, 1.095, -1.208, -7.957, -0.745),
    *(0.591, 5.963, 10.127, -5.071),
    *(0.693, 2.538, 3.184, -11.573),
    *(-4.742, -4.07),
)


@dataclass(frozen=True, eq=False)
class PhotoPairs:
    """Pairs of photos, by their numbers, the smaller first, sorted.

    Attributes:
        a: (P,) int64.
        b: (P,) int64.
        similarity: (P,) float32, cosine of the descriptors.
        inliers: (P,) int64; 0 also where geometry was not asked.
        verified: (P,) bool, whether it was.
    """

    a: Int64
    b: Int64
    similarity: Float32
    inliers: Int64
    verified: Bool

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True, eq=False)
class WeightedGraph:
    """Weighted edges between N photos, by photo: those of photo i are places `start[i]` to `start[i + 1]`.

    Attributes:
        start: (N + 1,) int64.
        other: (E,) int64, the photo at the other end.
        weight: (E,) float64.
    """

    start: Int64
    other: Int64
    weight: Float64

    @classmethod
    def of(cls, count: int, a: Int64, b: Int64, weight: Float64) -> WeightedGraph:
        """Return the graph of `count` photos with these edges, each in both directions."""
        ends, others = np.concatenate((a, b)), np.concatenate((b, a))
        order = np.lexsort((others, ends))
        start = np.searchsorted(ends[order], np.arange(count + 1))
        return cls(start, others[order], np.concatenate((weight, weight))[order])

    def of_photo(self, i: int) -> slice:
        """Return the places of one photo's edges."""
        return slice(int(self.start[i]), int(self.start[i + 1]))

    def sums(self, values: Float64) -> Float64:
        """Return (N,) the sum of an (E,) figure over each photo's edges."""
        return np.diff(np.concatenate(([0.0], np.cumsum(values)))[self.start])


def nearest_photos(descriptors: Float32, count: int) -> Int64:
    """Return the numbers (N, K) of each photo's nearest, nearest first, itself left out; K is `count` or N - 1.

    Args:
        descriptors: (N, D) of norm 1.
        count: how many are wanted.
    """
    total = len(descriptors)
    count = min(count, total - 1)
    neighbors = np.zeros((total, max(count, 0)), np.int64)
    for start in range(0, total if count > 0 else 0, PAIR_BLOCK):
        similarity = descriptors[start : start + PAIR_BLOCK] @ descriptors.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -2
        top = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        order = np.lexsort((top, -np.take_along_axis(similarity, top, 1)), axis=1)
        neighbors[start : start + PAIR_BLOCK] = np.take_along_axis(top, order, 1)
    return neighbors


def pairs_of(neighbors: Int64) -> tuple[Int64, Int64]:
    """Return the pairs (P,), (P,) that photos form with their neighbors (N, K), each once, sorted."""
    count = len(neighbors)
    ends = np.repeat(np.arange(count), neighbors.shape[1])
    numbers = np.minimum(ends, neighbors.ravel()) * count + np.maximum(ends, neighbors.ravel())
    return np.divmod(np.unique(numbers), max(count, 1))


def pair_features(pairs: PhotoPairs, nothing: Float32) -> Float64:
    """Return (P, 4) the terms of each pair by itself.

    Args:
        pairs: all of them.
        nothing: (N,) how much each photo looks like photos of nothing in particular.
    """
    most = np.maximum(nothing[pairs.a], nothing[pairs.b])
    figures = (pairs.similarity, np.log1p(pairs.inliers), pairs.inliers >= LINKED, most)
    return np.stack(figures, 1).astype(np.float64)


def context_features(pairs: PhotoPairs, nothing: Float32, likely: WeightedGraph, neighbors: Int64) -> Float64:
    """Return (P, F) features of each pair alone and of the partners in common.

    Args:
        pairs: all of them.
        nothing: (N,) how much each photo looks like photos of nothing in particular.
        likely: how likely partners are by themselves.
        neighbors: (N, K) nearest descriptors.
    """
    count = len(nothing)
    links = pairs.inliers >= LINKED
    strength = np.minimum(pairs.inliers[links], 30) / 30.0
    linked = WeightedGraph.of(count, pairs.a[links], pairs.b[links], strength)
    kin = neighbors[:, :NUM_SIMILAR]
    near = WeightedGraph(np.arange(count + 1) * kin.shape[1], np.sort(kin, 1).ravel(), np.ones(kin.size))
    overlap = common_weight(near, pairs.a, pairs.b)
    share = overlap / np.maximum(2 * kin.shape[1] - overlap, 1)
    partners = [_in_common(pairs, graph) for graph in (likely, linked)]
    return np.column_stack([pair_features(pairs, nothing), pairs.verified, *partners, share]).astype(np.float64)


def _in_common(pairs: PhotoPairs, graph: WeightedGraph) -> Float64:
    """Return (P, 4) figures of the partners that each pair has in common."""
    shared = common_weight(graph, pairs.a, pairs.b)
    total, length = graph.sums(graph.weight), np.sqrt(graph.sums(graph.weight**2))
    least, most = _least_most(total[pairs.a], total[pairs.b])
    alike = shared / (1e-3 + length[pairs.a] * length[pairs.b])
    return np.stack((np.log1p(shared), alike, shared / (1 + least), shared / (1 + most)), 1)


def _least_most(x: Float64, y: Float64) -> tuple[Float64, Float64]:
    return np.minimum(x, y), np.maximum(x, y)


def common_weight(graph: WeightedGraph, a: Int64, b: Int64) -> Float64:
    """Return (P,) for each pair the sum, over the partners in common, of the product of both weights."""
    count = len(graph.start) - 1
    sums, row = np.zeros(len(a)), np.zeros(count)
    starts = np.searchsorted(a, np.arange(count + 1))
    for i in range(count):
        run = slice(int(starts[i]), int(starts[i + 1]))
        if run.start == run.stop:
            continue
        edges = graph.of_photo(i)
        row[graph.other[edges]] = graph.weight[edges]
        lengths = (graph.start[b[run] + 1] - graph.start[b[run]]).tolist()
        places = _runs(graph.start[b[run]], lengths)
        products = np.concatenate(([0.0], np.cumsum(row[graph.other[places]] * graph.weight[places])))
        sums[run] = np.diff(products[np.concatenate(([0], np.cumsum(lengths)))])
        row[graph.other[edges]] = 0
    return sums


def _runs(starts: Int64, lengths: list[int]) -> Int64:
    """Return the numbers of several runs behind one another, each given by its start and length."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(lengths) else 0
    return np.asarray(np.arange(total) - np.repeat(ends - lengths - starts, lengths), np.int64)


def second_order_pairs(graph: WeightedGraph, known: set[int]) -> tuple[Int64, Int64]:
    """Return pairs (Q,), (Q,) of photos with partners in common that are not known, the best of each photo.

    Args:
        graph: how likely partners are.
        known: pairs that are known, as ``smaller * N + larger``.
    """
    count = len(graph.start) - 1
    numbers: list[Int64] = []
    row = np.zeros(count)
    for i in range(count):
        edges = graph.of_photo(i)
        partners = graph.other[edges]
        lengths = (graph.start[partners + 1] - graph.start[partners]).tolist()
        places = _runs(graph.start[partners], lengths)
        np.add.at(row, graph.other[places], np.repeat(graph.weight[edges], lengths) * graph.weight[places])
        row[i] = row[partners] = 0
        reached = np.flatnonzero(row >= LEAST_COMMON)
        best = reached[np.argsort(-row[reached], kind="stable")][:FURTHER]
        numbers.append(np.minimum(i, best) * count + np.maximum(i, best))
        row[graph.other[places]] = 0
    every = np.unique(np.concatenate(numbers)) if numbers else np.zeros(0, np.int64)
    fresh = every[[number not in known for number in every.tolist()]] if len(every) else every
    return np.divmod(fresh, max(count, 1))


def pair_probability(evidence: Float64, weights: tuple[float, ...]) -> Float64:
    """Return (P,) the probability that evidence (P, F) gives, by weights for each figure and a constant."""
    score = evidence @ np.array(weights[:-1]) + weights[-1]
    return np.asarray(1 / (1 + np.exp(-np.clip(score, -40, 40))), np.float64)


def with_second_order(pairs: PhotoPairs, descriptors: Float32, likely: WeightedGraph) -> PhotoPairs:
    """Return the pairs together with partners of partners, which are not verified."""
    count = len(descriptors)
    a, b = second_order_pairs(likely, set((pairs.a * count + pairs.b).tolist()))
    similarity = np.einsum("ij,ij->i", descriptors[a], descriptors[b]) if len(a) else np.zeros(0, np.float32)
    none = np.zeros(len(a), np.int64)
    both = PhotoPairs(
        np.concatenate((pairs.a, a)),
        np.concatenate((pairs.b, b)),
        np.concatenate((pairs.similarity, similarity.astype(np.float32))),
        np.concatenate((pairs.inliers, none)),
        np.concatenate((pairs.verified, none.astype(bool))),
    )
    order = np.lexsort((both.b, both.a))
    return PhotoPairs(both.a[order], both.b[order], both.similarity[order], both.inliers[order], both.verified[order])


def score_pairs(
    pairs: PhotoPairs, descriptors: Float32, nothing: Float32, neighbors: Int64
) -> tuple[PhotoPairs, Float64]:
    """Return the pairs worth judging, further ones among them, and (P,) how likely each shows one place."""
    own = pair_probability(pair_features(pairs, nothing), PAIR_WEIGHTS)
    likely = WeightedGraph.of(len(nothing), pairs.a, pairs.b, own)
    wider = with_second_order(pairs, descriptors, likely)
    return wider, pair_probability(context_features(wider, nothing, likely, neighbors), CONTEXT_WEIGHTS)
