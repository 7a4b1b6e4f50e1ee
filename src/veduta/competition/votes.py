"""Candidates to one landmark and its confidence: the notebook's formula, and what winners used. Pure functions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from veduta.types import Float32, Float64

VotedAnswer = tuple[str, float]


def fuse_similarities(cosines: Sequence[Float32], weights: Sequence[float]) -> Float32:
    """Return the notebook's fusion of several models' cosines, any one shape, into one similarity in (0, 1].

    ``prod_m (max(0.8 - (1 - cos_m), 0.1) / 0.8) ** (w_m / sum(w))``: a weighted geometric mean with a floor.

    >>> float(fuse_similarities([np.array([0.9], np.float32)], [2.0])[0].round(3))
    0.875
    """
    if len(cosines) != len(weights) or not len(weights) or min(weights) <= 0:
        raise ValueError(f"expected a positive weight per model, got {len(cosines)} models and weights {weights}")
    total = sum(weights)
    fused = np.ones_like(cosines[0])
    for cosine, weight in zip(cosines, weights, strict=True):
        fused *= (np.maximum(FUSION_REACH - (1 - cosine), FUSION_FLOOR) / FUSION_REACH) ** (weight / total)
    return np.asarray(fused, np.float32)


FUSION_REACH = 0.8  # cosine distances beyond this count as one floor
FUSION_FLOOR = 0.1
MATCHES_ENOUGH = 200  # more matching scores than these add nothing
VOTERS = 3  # candidates whose scores are summed per landmark


def notebook_score(matching_sum: float, similarity: float) -> float:
    """Return ``min(n + 1, 200) / 200 * s`` of one candidate.

    >>> notebook_score(49.0, 0.8)
    0.2
    """
    return min(matching_sum + 1, MATCHES_ENOUGH) / MATCHES_ENOUGH * similarity


def sum_of_best(scored: Iterable[tuple[str, float]], voters: int = VOTERS) -> VotedAnswer | None:
    """Return the landmark with the largest sum over the best `voters` candidates, and that sum; None without any.

    >>> sum_of_best([("a", 0.5), ("b", 0.4), ("b", 0.3), ("c", 0.9)])
    ('c', 0.9)
    """
    best = sorted(scored, key=lambda item: (-item[1], item[0]))[:voters]
    sums: dict[str, float] = defaultdict(float)
    for landmark, score in best:
        sums[landmark] += score
    return min(sums.items(), key=lambda item: (-item[1], item[0])) if sums else None


def cosine_power(candidates: Iterable[tuple[str, float]], p: float = 8.0, best: int = 5) -> VotedAnswer | None:
    """Return the landmark with the largest sum of ``cos ** p`` over its `best` candidates (3rd place, 2020).

    >>> cosine_power([("a", 0.9), ("b", 0.8), ("b", 0.8), ("b", 0.8)], p=8)[0]
    'b'
    """
    cosines: dict[str, list[float]] = defaultdict(list)
    for landmark, cosine in candidates:
        cosines[landmark].append(max(cosine, 0.0))
    sums = {
        landmark: sum(cosine**p for cosine in sorted(values, reverse=True)[:best])
        for landmark, values in cosines.items()
    }
    return min(sums.items(), key=lambda item: (-item[1], item[0])) if sums else None


def concatenate(descriptors: Sequence[Float32], weights: Sequence[float]) -> Float32:
    """Return (N, sum of D) descriptors whose cosine is the weighted mean of the models' cosines (several winners).

    Each (N, D) of norm 1 is scaled by the root of its share of the weights.
    """
    if len(descriptors) != len(weights) or not len(weights) or min(weights) <= 0:
        raise ValueError(f"expected a positive weight per model, got {len(descriptors)} models and weights {weights}")
    shares = np.sqrt(np.asarray(weights, np.float64) / sum(weights))
    return np.concatenate([d * np.float32(share) for d, share in zip(descriptors, shares, strict=True)], axis=1)


def ban_frequent(answers: Mapping[str, VotedAnswer], most: int = 30) -> dict[str, VotedAnswer]:
    """Return the answers without those for landmarks predicted more than `most` times (3rd place, 2019).

    Needs the whole test set at once: what is answered for a photo then depends on the other photos.

    >>> ban_frequent({"q1": ("a", 0.9), "q2": ("a", 0.8), "q3": ("b", 0.7)}, most=1)
    {'q3': ('b', 0.7)}
    """
    counts = Counter(landmark for landmark, _ in answers.values())
    return {photo: answer for photo, answer in answers.items() if counts[answer[0]] <= most}


def non_landmark_similarity(similarities: Float32, best: int = 10) -> Float64:
    """Return (N,) the mean of each row's `best` largest similarities to photos that show no landmark (8th place, 2021).

    Args:
        similarities: (N, M) cosines of N photos with M photos that show no landmark.
        best: how many count.
    """
    best = min(best, similarities.shape[1])
    top = np.partition(similarities, similarities.shape[1] - best, axis=1)[:, -best:]
    return np.asarray(top.mean(1), np.float64)


def fold_penalty(descriptors: Float32, penalty: Float64) -> Float32:
    """Return (N, D + 1) references ``[g, B]``: their product with ``[q, -1]`` is the cosine less the penalty."""
    return np.asarray(np.c_[descriptors, penalty], np.float32)


def unfold_query(descriptors: Float32) -> Float32:
    """Return (Q, D + 1) queries ``[q, -1]`` for references made by `fold_penalty`."""
    return np.asarray(np.c_[descriptors, -np.ones(len(descriptors))], np.float32)
