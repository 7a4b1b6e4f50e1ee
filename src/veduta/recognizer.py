"""The pipeline, in the order things happen: embed, retrieve, verify, score, decide."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

import numpy as np

from veduta.cascade import CascadeSettings, fine_candidates, is_over, stage_of
from veduta.concurrency import one_blas_thread
from veduta.decision.answer import DEFAULT_FLOOR, LandmarkScore, decide, place_prior, rank_candidates
from veduta.decision.candidates import CandidateContext, distractor_similarity
from veduta.decision.model import CONTINUE_BETWEEN, Decider
from veduta.geo import Area, distance_km
from veduta.geometry import describe_pair
from veduta.index.exact import TIE_MARGIN
from veduta.landmarks import Guess, Landmark, Position, TermValue
from veduta.protocols import Embedder, Extractor, Index, Matcher, Verifier
from veduta.types import Candidate, Decision, Float32, Image, Int64, LocalFeatures, PairComparison, Recognition, UInt8

CANDIDATES_AT_ONCE = 8  # candidates matched at once, where there is no budget to keep


@dataclass(frozen=True)
class Components:
    """One of each plug: the parts that turn photos into evidence.

    Attributes:
        embedder: photo to descriptor.
        extractor: photo to local features.
        matcher: asked about every candidate that is verified.
        verifier: matches to inliers.
        fine_matcher: the costlier matcher, asked by a thorough recognizer while the decision is open; None for none.
    """

    embedder: Embedder
    extractor: Extractor
    matcher: Matcher
    verifier: Verifier
    fine_matcher: Matcher | None = None


def _row_id(candidate: Candidate) -> int:
    """Return a retrieved candidate's row id; ValueError for a candidate that was made elsewhere."""
    if candidate.row_id is None:
        raise ValueError(f"expected candidates of Recognizer.retrieve, got one of {candidate.reference!r} by hand")
    return candidate.row_id


def _no_expectations(references: Sequence[str]) -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, eq=False)
class SearchFilter:
    """The only landmarks that are to be named.

    Attributes:
        landmarks: their ids.
        allowed_ids: (N,) the row ids of their references.
    """

    landmarks: frozenset[str]
    allowed_ids: Int64


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """The references a recognizer searches.

    Attributes:
        index: their descriptors, by row id.
        labels: row ids -> row id -> (reference id, landmark id); without those just removed.
        landmarks: landmark id -> landmark.
        features: row ids -> row id -> its local features, and how many photos confirm each; without those just
            removed.
        counts: landmark id -> how many references it has.
        expected_inliers: reference ids -> inliers with others of the same landmark, for those that have any.
        search_filter: the only landmarks to be named; None for all. The others are still what a photo may show
            instead.
    """

    index: Index
    labels: Callable[[Sequence[int]], Mapping[int, tuple[str, str]]]
    landmarks: Mapping[str, Landmark]
    features: Callable[[Sequence[int]], Mapping[int, tuple[LocalFeatures, UInt8]]]
    counts: Mapping[str, int] = field(default_factory=dict)
    expected_inliers: Callable[[Sequence[str]], Mapping[str, float]] = _no_expectations
    search_filter: SearchFilter | None = None


@dataclass(frozen=True, eq=False)
class _Gathered:
    """The evidence for one photo: verified candidates, scored landmarks, and the local features if any were needed."""

    candidates: list[Candidate]
    scores: list[LandmarkScore]
    features: LocalFeatures | None


class Recognizer:
    """Names the landmark in a photo. Every step is a public method that can be called and timed by itself.

    Args:
        components: embedder, extractor, matchers and verifier.
        references: the references.
        decider: turns evidence into a confidence.
        cascade: how much work one photo is worth.
        floor: least confidence of an answer; below it the answer is none.
        gps: whether the position in a photo counts, for landmarks that have one.
    """

    def __init__(
        self,
        components: Components,
        references: ReferenceSet,
        decider: Decider,
        cascade: CascadeSettings | None = None,
        floor: float = DEFAULT_FLOOR,
        *,
        gps: bool = True,
    ) -> None:
        if not 0 <= floor <= 1:
            raise ValueError(f"expected 0 <= floor <= 1, got {floor}")
        self.components, self.references, self.decider = components, references, decider
        self.cascade, self.floor, self.gps = cascade or CascadeSettings(), floor, gps

    @property
    def depth(self) -> int:
        """Candidates retrieved."""
        return self.cascade.depth

    @property
    def rerank_depth(self) -> int:
        """Most candidates verified."""
        return max(depth for _, depth in self.cascade.steps())

    def recognize(
        self, image: Image, spent: float = 0.0, area: Area | None = None, descriptor: Float32 | None = None
    ) -> Recognition:
        """Return the answer for one photo with its evidence; `seconds` counts from here.

        Args:
            image: the photo.
            spent: seconds already spent on it, which count towards the budget.
            area: where it was taken, for a photo that does not say so itself.
            descriptor: its descriptor, (D,), where that is known already.
        """
        start = time.perf_counter()
        budget = self.cascade.budget_ms
        until = None if budget is None else start + budget / 1000 - spent
        descriptor = self.embed(image) if descriptor is None else descriptor
        candidates = self.retrieve(descriptor)
        gathered = self.gather(image, descriptor, candidates, until) if candidates else _Gathered([], [], None)
        decision = self._decide(gathered.scores, gathered.candidates, image.position or area)
        return self._recognition(image, decision, gathered.features, time.perf_counter() - start)

    def embed(self, image: Image) -> Float32:
        """Return the photo's descriptor, (D,) float32 of norm 1."""
        return np.asarray(self.components.embedder.embed([image])[0], np.float32)

    def retrieve(self, descriptor: Float32, without: Collection[str] = ()) -> list[Candidate]:
        """Return the `depth` most similar references, most similar first, equal ones by reference id.

        Where only some landmarks are to be named, as many of theirs beside those of all, in turn.

        Args:
            descriptor: the photo's, (D,).
            without: landmarks to leave out as if the gallery did not know them.
        """
        nearest = self._nearest(descriptor, without)
        if self.references.search_filter is None:
            return nearest
        allowed = self._nearest(descriptor, without, self.references.search_filter.allowed_ids)
        in_turn = (c for pair in zip_longest(allowed, nearest) for c in pair if c is not None)
        return list({c.row_id: c for c in in_turn}.values())

    def _nearest(
        self, descriptor: Float32, without: Collection[str], allowed_ids: Int64 | None = None
    ) -> list[Candidate]:
        hidden = sum(self.references.counts.get(landmark, 0) for landmark in without)
        # A few beyond the depth, so that equal similarities at its edge are ordered by reference id.
        count = self.depth + TIE_MARGIN + hidden
        similarity, row_ids = self.references.index.search(descriptor[None], count, allowed_ids)
        labels = self.references.labels(row_ids[0].tolist())
        candidates = [
            Candidate(*labels[row_id], similarity=min(1.0, cosine), row_id=row_id)
            for cosine, row_id in zip(similarity[0].tolist(), row_ids[0].tolist(), strict=True)
            if row_id in labels and labels[row_id][1] not in without
        ]
        return sorted(candidates, key=lambda c: (-c.similarity, c.reference))[: self.depth]

    def gather(
        self, image: Image, descriptor: Float32, candidates: list[Candidate], until: float | None = None
    ) -> _Gathered:
        """Return the candidates with all the evidence the cascade allows, and the scores of their landmarks.

        Args:
            image: the photo.
            descriptor: its descriptor.
            candidates: those retrieved for it, not empty.
            until: a `time.perf_counter` after which no further work is begun.
        """
        context = self.context(descriptor, candidates)
        features: LocalFeatures | None = None
        scores: list[LandmarkScore] = []
        for name, depth in self.cascade.steps():
            if scores and is_over(until):
                break
            if depth and not is_over(until):
                features = self.extract(image) if features is None else features
                candidates = self.verify(features, candidates, depth, until)
            stage = stage_of(candidates) if is_over(until) else name
            if name == "fine":
                inliers = self.fine_inliers(features, candidates, scores, until) if features else {}
                context, stage = replace(context, fine_inliers=inliers), "fine" if inliers else stage_of(candidates)
            scores = self.decider.score_landmarks(stage, candidates, context)
            low, high = CONTINUE_BETWEEN[name]
            if not low < scores[0].probability < high:
                break
        return _Gathered(candidates, scores, features)

    def extract(self, image: Image) -> LocalFeatures:
        """Return the photo's local features."""
        return self.components.extractor.extract(image)

    def verify(
        self,
        features: LocalFeatures,
        candidates: Sequence[Candidate],
        depth: int | None = None,
        until: float | None = None,
    ) -> list[Candidate]:
        """Return the same candidates in the same order, the first `depth` verified; those that are, stay as they are.

        Args:
            features: of the query.
            candidates: most promising first.
            depth: how many are to be verified; None for the recognizer's most.
            until: a `time.perf_counter` after which no further one is begun.
        """
        depth = self.rerank_depth if depth is None else depth
        result = list(candidates)
        waiting = [i for i, candidate in enumerate(result[:depth]) if candidate.num_inliers is None]
        if not waiting or is_over(until):
            return result
        at_once = CANDIDATES_AT_ONCE if until is None else 1
        # All at once: they may have to come from a disk.
        stored = self.references.features([_row_id(result[i]) for i in waiting])
        with one_blas_thread():
            for start in range(0, len(waiting), at_once):
                if is_over(until):
                    break
                batch = waiting[start : start + at_once]
                verified = self._verified(features, [result[i] for i in batch], stored)
                for i, candidate in zip(batch, verified, strict=True):
                    result[i] = candidate
        return result

    def _verified(
        self,
        features: LocalFeatures,
        candidates: Sequence[Candidate],
        stored: Mapping[int, tuple[LocalFeatures, UInt8]],
    ) -> list[Candidate]:
        """Return the candidates verified, but for those whose reference has just been removed."""
        present = [stored[row_id] for row_id in map(_row_id, candidates) if row_id in stored]
        matched = iter(self.components.matcher.match_many(features, [reference for reference, _ in present]))
        result = []
        for candidate in candidates:
            if _row_id(candidate) not in stored:
                result.append(candidate)
                continue
            (reference, confirmed), matches = stored[_row_id(candidate)], next(matched)
            verification = self.components.verifier.verify(features, reference, matches)
            geometry = describe_pair(features, reference, matches, verification, confirmed)
            result.append(
                replace(
                    candidate,
                    num_inliers=verification.num_inliers,
                    geometry=geometry,
                    inliers=matches.indices[verification.inliers],
                    problem=verification.problem,
                )
            )
        return result

    def fine_inliers(
        self,
        features: LocalFeatures,
        candidates: Sequence[Candidate],
        scores: Sequence[LandmarkScore],
        until: float | None = None,
    ) -> dict[str, int]:
        """Return reference id -> inliers by the fine matcher, for the few candidates worth the time.

        Args:
            features: of the query.
            candidates: all of them.
            scores: of their landmarks, likeliest first.
            until: a `time.perf_counter` after which no further pair is begun.
        """
        inliers: dict[str, int] = {}
        if self.components.fine_matcher is None:
            return inliers
        chosen = fine_candidates(candidates, scores)
        stored = self.references.features([_row_id(candidate) for candidate in chosen])
        for candidate in chosen:
            if is_over(until):
                break
            if _row_id(candidate) in stored:
                reference, _ = stored[_row_id(candidate)]
                matches = self.components.fine_matcher.match(features, reference)
                verification = self.components.verifier.verify(features, reference, matches)
                inliers[candidate.reference] = verification.num_inliers
        return inliers

    def rerank(self, features: LocalFeatures, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates, the first `rerank_depth` verified, best evidence first."""
        return rank_candidates(self.verify(features, candidates))

    def context(self, descriptor: Float32, candidates: Sequence[Candidate]) -> CandidateContext:
        """Return the candidates' similarities to each other and to distractors, and their expected inliers."""
        centers = self.decider.centers
        vectors = self.references.index.vectors(np.array([_row_id(c) for c in candidates], np.int64))
        expected = self.references.expected_inliers([c.reference for c in candidates])
        return CandidateContext(
            reference_similarity=vectors @ vectors.T,
            query_distractor_similarity=float(distractor_similarity(descriptor[None], centers)[0]),
            distractor_similarity=distractor_similarity(vectors, centers),
            expected_inliers=np.array([expected.get(c.reference, np.nan) for c in candidates], np.float32),
            references=self.references.counts,
        )

    def score_landmarks(
        self, candidates: Sequence[Candidate], context: CandidateContext, stage: str | None = None
    ) -> list[LandmarkScore]:
        """Return the likeliest landmarks, likeliest first, by the stage that fits how many were verified."""
        return self.decider.score_landmarks(stage or stage_of(candidates), candidates, context)

    def decide(
        self,
        candidates: Sequence[Candidate],
        descriptor: Float32,
        position: Position | Area | None = None,
    ) -> Decision:
        """Return the landmark that the evidence speaks for, or none below the floor.

        Args:
            candidates: those of one photo, in any order.
            descriptor: the photo's, (D,).
            position: where it was taken, or the area it was taken in.
        """
        if not candidates:
            return decide((), ())
        scores = self.score_landmarks(candidates, self.context(descriptor, candidates))
        return self._decide(scores, candidates, position)

    def _decide(
        self,
        scores: Sequence[LandmarkScore],
        candidates: Sequence[Candidate],
        position: Position | Area | None,
    ) -> Decision:
        """Return the decision for the landmarks that may be named."""
        if not candidates:
            return decide((), ())
        if (allowed := self.references.search_filter) is not None:
            scores = [score for score in scores if score.landmark in allowed.landmarks]
            candidates = [c for c in candidates if c.landmark in allowed.landmarks]
        return decide(scores, candidates, self.floor, self.prior(scores, position))

    def prior(self, scores: Sequence[LandmarkScore], position: Position | Area | None) -> dict[str, float]:
        """Return landmark id -> log odds the photo's position adds, for landmarks whose place is known."""
        if position is None or not self.gps:
            return {}
        known = self.references.landmarks
        landmarks = [known[score.landmark] for score in scores if score.landmark in known]
        return {
            landmark.id: place_prior(distance_km(position, place))
            for landmark in landmarks
            if (place := landmark.position) is not None
        }

    def _recognition(
        self, image: Image, decision: Decision, features: LocalFeatures | None, seconds: float
    ) -> Recognition:
        landmarks = self.references.landmarks
        return Recognition(
            photo=image.name,
            landmark=landmarks[decision.landmark] if decision.landmark is not None else None,
            confidence=decision.confidence,
            evidence=decision.evidence,
            seconds=seconds,
            terms=tuple(TermValue(*term) for term in decision.terms),
            guesses=tuple(Guess(landmarks[key], p) for key, p in decision.guesses),
            features=features,
        )

    def compare(self, query: LocalFeatures, reference: LocalFeatures) -> PairComparison:
        """Return the matches of one pair of photos and their verification."""
        matches = self.components.matcher.match(query, reference)
        return PairComparison(matches, self.components.verifier.verify(query, reference, matches))
