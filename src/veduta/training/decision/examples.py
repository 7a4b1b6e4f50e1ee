"""Photos to examples: the evidence a recognizer would see for each, with landmarks withheld, to learn from.

A photo of the gallery is asked of the gallery without itself: it neither is a candidate, nor has it confirmed any
keypoint, nor is it a relative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import faiss
import numpy as np

from veduta.concurrency import in_order, one_blas_thread
from veduta.decision.candidates import CandidateContext, distractor_similarity
from veduta.decision.model import NUM_VERIFIED
from veduta.decision.terms import TERM_NAMES, compute_terms
from veduta.gallery.match_graph import MAX_PAIRS, count_confirmed, expected_inliers, keep_confirmed
from veduta.geometry import describe_pair
from veduta.protocols import Matcher, Verifier
from veduta.training.decision.fit import STAGE_NAMES, Example
from veduta.types import Candidate, Float32, Float64, Int64, LocalFeatures, PairGeometry, UInt8

DEPTH = 100
NUM_CENTERS = 64
GeometryPair = tuple[int, PairGeometry]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo with its landmark and local features.

    Attributes:
        id: unique.
        landmark: the landmark it shows; empty for none.
        features: its local features.
    """

    id: str
    landmark: str
    features: LocalFeatures


class PhotoCollection:
    """Photos held in memory, and what pairs of them say, computed once.

    Args:
        photos: all of them.
        matcher: asked about every pair.
        verifier: matches to inliers.
        reference_similarity: (N, D) descriptors by which relatives are chosen.
        references: numbers of the photos that may stand in a gallery.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        matcher: Matcher,
        verifier: Verifier,
        reference_similarity: Float32,
        references: Int64,
    ) -> None:
        self.photos, self._matcher, self._verifier = photos, matcher, verifier
        self.landmark = np.array([photo.landmark for photo in photos], object)
        self.pairs: dict[tuple[int, int], GeometryPair] = {}  # (query, reference) -> what they say, as far as asked
        self._kin: dict[int, dict[int, tuple[int, Int64]]] = {int(i): {} for i in references}
        self._compare(reference_similarity, references)

    def _compare(self, likeness: Float32, references: Int64) -> None:
        """Compare every reference with its nearest ones of the same landmark; both count the confirmations."""
        compared: set[tuple[int, int]] = set()
        for i in references.tolist():
            family = references[(self.landmark[references] == self.landmark[i]) & (references != i)]
            nearest = family[np.argsort(-(likeness[family] @ likeness[i]), kind="stable")][:MAX_PAIRS]
            compared |= {(min(i, j), max(i, j)) for j in nearest.tolist()}

        def work(pair: tuple[int, int]) -> tuple[Int64, Int64]:
            a, b = (self.photos[i].features for i in pair)
            matches = self._matcher.match(a, b)
            agreed = matches.indices[self._verifier.verify(a, b, matches).inliers]
            return agreed[:, 0], agreed[:, 1]

        with one_blas_thread():
            for (i, j), (a_inliers, b_inliers) in in_order(work, sorted(compared)):
                self._kin[i][j] = len(a_inliers), a_inliers
                self._kin[j][i] = len(b_inliers), b_inliers

    def kin(self, reference: int) -> Mapping[int, tuple[int, Int64]]:
        """Return relative -> inliers and the reference's keypoints among them."""
        return self._kin[reference]

    def expected_inliers(self, reference: int, without: int) -> float:
        """Return the inliers a reference has with its relatives, one of them left out; NaN without any."""
        return expected_inliers(count for other, (count, _) in self._kin[reference].items() if other != without)

    def pair(self, query: int, reference: int) -> GeometryPair:
        """Return the inliers and geometry of a query and a reference."""
        if (query, reference) not in self.pairs:
            self.pairs[query, reference] = self._look(query, reference)
        return self.pairs[query, reference]

    def _look(self, query: int, reference: int) -> GeometryPair:
        features, confirmed = self._kept(reference, without=query)
        features_of_query = self.photos[query].features
        matches = self._matcher.match(features_of_query, features)
        verification = self._verifier.verify(features_of_query, features, matches)
        return verification.num_inliers, describe_pair(features_of_query, features, matches, verification, confirmed)

    def _kept(self, reference: int, without: int) -> tuple[LocalFeatures, UInt8]:
        """Return the keypoints a gallery keeps of a reference, and how many relatives confirm each."""
        features = self.photos[reference].features
        counts = np.zeros(len(features), np.uint8)
        confirming = 0
        for other, (count, keypoints) in self._kin[reference].items():
            if other != without and count:
                counts = count_confirmed(counts, keypoints)
                confirming += 1
        return keep_confirmed(features, counts, confirming)

    def cases(
        self,
        descriptors: Float32,
        gallery: Int64,
        queries: Int64,
        centers: Float32,
        weight: Callable[[int], float] = lambda query: 1.0,
        fine_matcher: Callable[[int, Example, Sequence[Candidate]], Mapping[str, int]] | None = None,
    ) -> list[Example]:
        """Return a case for every query that leaves anything to be found.

        Args:
            descriptors: (N, D) of norm 1, of all photos.
            gallery: numbers of the references.
            queries: numbers of the photos asked about; one in the gallery is asked of the others.
            centers: (C, D) descriptors of photos of nothing.
            weight: query -> how much it counts.
            fine_matcher: asks the costlier matcher about a query, if it is worth it: returns reference id -> inliers.
        """
        present = np.isin(np.arange(len(self.photos)), gallery)
        counts = {str(k): int((self.landmark[gallery] == k).sum()) for k in set(self.landmark[gallery])}
        nothing = distractor_similarity(descriptors, centers)

        def work(query: int) -> Example:
            inside = bool(present[query])
            own_counts = (
                counts | {self.photos[query].landmark: counts[self.photos[query].landmark] - 1} if inside else counts
            )
            candidates, context = self._ask(descriptors, gallery, query, nothing, own_counts)
            known = own_counts.get(self.photos[query].landmark, 0) > 0
            truth = frozenset([self.photos[query].landmark]) if known else frozenset[str]()
            group = self.photos[query].landmark or self.photos[query].id
            case = make_example(self.photos[query].id, group, truth, candidates, context, weight(query))
            if fine_matcher is None:
                return case
            return with_fine_matches(case, candidates, context, fine_matcher(query, case, candidates))

        with one_blas_thread():
            return [case for _, case in in_order(work, queries.tolist())]

    def _ask(
        self, descriptors: Float32, gallery: Int64, query: int, nothing: Float32, counts: Mapping[str, int]
    ) -> tuple[list[Candidate], CandidateContext]:
        similarity = descriptors[gallery] @ descriptors[query]
        order = [i for i in np.argsort(-similarity, kind="stable")[: DEPTH + 1] if gallery[i] != query][:DEPTH]
        rows = gallery[order]
        candidates = [
            Candidate(self.photos[i].id, self.photos[i].landmark, float(s), row_id=int(i))
            for i, s in zip(rows.tolist(), similarity[order].tolist(), strict=True)
        ]
        for place, i in enumerate(rows[: max(NUM_VERIFIED.values())].tolist()):
            inliers, geometry = self.pair(query, i)
            candidates[place] = replace(candidates[place], num_inliers=inliers, geometry=geometry)
        context = CandidateContext(
            reference_similarity=descriptors[rows] @ descriptors[rows].T,
            query_distractor_similarity=float(nothing[query]),
            distractor_similarity=nothing[rows],
            expected_inliers=np.array([self.expected_inliers(i, query) for i in rows.tolist()], np.float32),
            references=counts,
        )
        return candidates, context


def make_example(
    query: str,
    group: str,
    truth: frozenset[str],
    candidates: Sequence[Candidate],
    context: CandidateContext,
    weight: float = 1.0,
) -> Example:
    """Return the case of one query, whose candidates stand most similar first and verified as deep as any stage asks.

    Each stage is shown as much as it would have seen; the one with the costlier matcher nothing, until
    `with_fine_matches`.
    """
    landmarks: dict[str, tuple[str, ...]] = {"fine": ()}
    evidence = {"fine": np.zeros((0, len(TERM_NAMES)))}
    for stage in (name for name in STAGE_NAMES if name != "fine"):
        seen = [c if i < NUM_VERIFIED[stage] else _unverified(c) for i, c in enumerate(candidates)]
        landmarks[stage], evidence[stage] = _side_by_side(seen, context)
    return Example(query, group, truth, landmarks, evidence, weight)


def empty_example(query: str, group: str) -> Example:
    """Return the case of a query that nothing was found for."""
    nothing = np.zeros((0, len(TERM_NAMES)))
    return Example(query, group, frozenset(), dict.fromkeys(STAGE_NAMES, ()), dict.fromkeys(STAGE_NAMES, nothing))


def with_fine_matches(
    case: Example, candidates: Sequence[Candidate], context: CandidateContext, glued: Mapping[str, int]
) -> Example:
    """Return the example with the fine matcher's inliers, or unchanged without any."""
    if not glued:
        return case
    landmarks, evidence = _side_by_side(candidates, replace(context, fine_inliers=glued))
    return replace(case, landmarks={**case.landmarks, "fine": landmarks}, evidence={**case.evidence, "fine": evidence})


def _side_by_side(candidates: Sequence[Candidate], context: CandidateContext) -> tuple[tuple[str, ...], Float64]:
    weighed = compute_terms(candidates, context)
    return tuple(weighed), np.array(list(weighed.values())).reshape(len(weighed), len(TERM_NAMES))


def _unverified(candidate: Candidate) -> Candidate:
    return replace(candidate, num_inliers=None, geometry=None)


def distractor_centers(descriptors: Float32, count: int = NUM_CENTERS, rounds: int = 20) -> Float32:
    """Return (count, D) centers of norm 1 of distractors' descriptors, by faiss's spherical k-means from spread seeds.

    With no more descriptors than centers, the descriptors themselves.
    """
    if len(descriptors) <= count:
        return descriptors.astype(np.float32)
    rows = np.ascontiguousarray(descriptors, np.float32)
    seeds = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": len(rows)}  # use all rows, without remarks
    kmeans = faiss.Kmeans(rows.shape[1], count, niter=rounds, spherical=True, seed=1, **limits)
    kmeans.train(rows, init_centroids=seeds)
    return np.asarray(kmeans.centroids, np.float32)


def two_fold_split(names: Iterable[str], seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names in two halves, drawn by a seed."""
    ordered = np.array(sorted(names), object)
    np.random.default_rng(seed).shuffle(ordered)
    middle = len(ordered) // 2
    return frozenset(ordered[:middle]), frozenset(ordered[middle:])
