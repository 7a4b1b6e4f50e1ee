"""The pipeline, in the order things happen: embed, retrieve, rerank, decide."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import PIL.Image

from veduta.concurrency import one_blas_thread
from veduta.decision.model import (
    CASCADES,
    CONTINUE_BETWEEN,
    DEFAULT_EFFORT,
    DEFAULT_FLOOR,
    NUM_VERIFIED,
    Decider,
    LandmarkScore,
    decide,
    place_prior,
    rank_candidates,
)
from veduta.decision.terms import CandidateContext, distractor_similarity
from veduta.errors import ImageError
from veduta.features import make_extractor
from veduta.geo import Area, distance_km
from veduta.geometry import HomographyVerifier, describe_pair
from veduta.images import load
from veduta.matching import PAIR_MATCHERS, make_matcher, make_pair_matcher
from veduta.protocols import Embedder, Extractor, Index, Matcher, Verifier
from veduta.types import (
    Candidate,
    Decision,
    Float32,
    Image,
    Int64,
    Landmark,
    LocalFeatures,
    Matches,
    Recognition,
    UInt8,
    Verification,
)
from veduta.viz import draw_pair

TOGETHER = 8  # candidates matched at once, where there is no budget to keep
SPARE = 16  # retrieved beyond the depth, so that equal similarities at its edge are ordered by reference id
FINE_PAIRS = 2  # candidates of the likeliest landmark, and half as many of the next, for the fine matcher


@dataclass(frozen=True)
class Components:
    """One of each plug: what turns photos into evidence.

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


def _no_relatives(references: Sequence[str]) -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, eq=False)
class SearchFilter:
    """Some of the landmarks, the only ones that are to be named.

    Attributes:
        landmarks: their ids.
        allowed_ids: (N,) the numbers of their references.
    """

    landmarks: frozenset[str]
    allowed_ids: Int64


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """The references a recognizer looks through.

    Attributes:
        index: their descriptors, by number.
        labels: numbers -> number -> (reference id, landmark id); without those just removed.
        landmarks: landmark id -> landmark.
        features: numbers -> number -> its local features, and how many photos confirm each; without those just
            removed.
        counts: landmark id -> how many references it has.
        expected_inliers: reference ids -> inliers with their relatives, for those that have any.
        among: the only landmarks to be named; None for all. The others are still what a photo may show instead.
    """

    index: Index
    labels: Callable[[Sequence[int]], Mapping[int, tuple[str, str]]]
    landmarks: Mapping[str, Landmark]
    features: Callable[[Sequence[int]], Mapping[int, tuple[LocalFeatures, UInt8]]]
    counts: Mapping[str, int] = field(default_factory=dict)
    expected_inliers: Callable[[Sequence[str]], Mapping[str, float]] = _no_relatives
    among: SearchFilter | None = None


@dataclass(frozen=True)
class CascadeSettings:
    """How much work a recognizer may put into one photo.

    Attributes:
        stages: names of `veduta.decision.model.CASCADES`' stages, the next one only while the decision is open.
        depth: candidates retrieved.
        rerank_depth: most candidates verified, whatever the stages say; None for what they say.
        budget_ms: no further work is begun once this much time is spent; None for no limit.
    """

    stages: tuple[str, ...] = CASCADES[DEFAULT_EFFORT]
    depth: int = 100
    rerank_depth: int | None = None
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        if self.depth < 1 or (self.rerank_depth or 0) < 0 or (self.budget_ms or 0) < 0:
            got = f"{self.depth}, {self.rerank_depth}, {self.budget_ms}"
            raise ValueError(f"expected depth >= 1, rerank_depth >= 0 and budget_ms >= 0, got {got}")

    def steps(self) -> list[tuple[str, int]]:
        """Return the stages to go through, each with how many candidates it verifies."""
        most = self.rerank_depth
        if most is None:
            return [(name, NUM_VERIFIED[name]) for name in self.stages]
        # The last step is judged by the stage whose evidence is most like what so many candidates give.
        last = next((name for name in ("similarity", "first", "full") if NUM_VERIFIED[name] >= most), "full")
        before = [
            (name, NUM_VERIFIED[name])
            for name in self.stages
            if NUM_VERIFIED[name] < most and name not in (last, "glue")
        ]
        return [*before, (last, most), *([("glue", most)] if most and "glue" in self.stages else [])]


class Recognizer:
    """Names the landmark in a photo. Every step is a public method that can be called and timed by itself.

    Args:
        stages: embedder, extractor, matchers and verifier.
        references: the references.
        decider: what turns evidence into a confidence.
        effort: how much work one photo is worth.
        floor: least confidence of an answer; below it the answer is none.
        gps: whether the position in a photo counts, for landmarks that have one.
    """

    def __init__(
        self,
        stages: Components,
        references: ReferenceSet,
        decider: Decider,
        effort: CascadeSettings | None = None,
        floor: float = DEFAULT_FLOOR,
        *,
        gps: bool = True,
    ) -> None:
        if not 0 <= floor <= 1:
            raise ValueError(f"expected 0 <= floor <= 1, got {floor}")
        self.stages, self.references, self.decider = stages, references, decider
        self.effort, self.floor, self.gps = effort or CascadeSettings(), floor, gps

    @property
    def depth(self) -> int:
        """Candidates retrieved."""
        return self.effort.depth

    @property
    def rerank_depth(self) -> int:
        """Most candidates verified."""
        return max(depth for _, depth in self.effort.steps())

    def embed(self, image: Image) -> Float32:
        """Return the photo's descriptor, (D,) float32 of norm 1."""
        return np.asarray(self.stages.embedder.embed([image])[0], np.float32)

    def retrieve(self, descriptor: Float32, without: Collection[str] = ()) -> list[Candidate]:
        """Return the `depth` most similar references, most similar first, equal ones by reference id.

        Where only some landmarks are to be named, as many of theirs beside those of all, in turn.

        Args:
            descriptor: the photo's, (D,).
            without: landmarks to do as if the gallery did not know them.
        """
        found = self._nearest(descriptor, without)
        if self.references.among is None:
            return found
        some = self._nearest(descriptor, without, self.references.among.allowed_ids)
        turns = (c for pair in zip_longest(some, found) for c in pair if c is not None)
        return list({c.row_id: c for c in turns}.values())

    def _nearest(self, descriptor: Float32, without: Collection[str], among: Int64 | None = None) -> list[Candidate]:
        hidden = sum(self.references.counts.get(landmark, 0) for landmark in without)
        similarity, numbers = self.references.index.search(descriptor[None], self.depth + SPARE + hidden, among)
        labels = self.references.labels(numbers[0].tolist())
        found = [
            Candidate(*labels[number], similarity=min(1.0, cosine), row_id=number)
            for cosine, number in zip(similarity[0].tolist(), numbers[0].tolist(), strict=True)
            if number in labels and labels[number][1] not in without
        ]
        return sorted(found, key=lambda c: (-c.similarity, c.reference))[: self.depth]

    def extract(self, image: Image) -> LocalFeatures:
        """Return the photo's local features."""
        return self.stages.extractor.extract(image)

    def verify(
        self,
        features: LocalFeatures,
        candidates: Sequence[Candidate],
        depth: int | None = None,
        until: float | None = None,
    ) -> list[Candidate]:
        """Return the same candidates in the same order, the first `depth` verified; those that are, stay as they are.

        Args:
            features: of the photo asked about.
            candidates: most promising first.
            depth: how many are to be verified; None for the recognizer's most.
            until: a `time.perf_counter` after which no further one is begun.
        """
        depth = self.rerank_depth if depth is None else depth
        result = list(candidates)
        todo = [i for i, candidate in enumerate(result[:depth]) if candidate.num_inliers is None]
        if not todo or _over(until):
            return result
        together = TOGETHER if until is None else 1
        # Of all at once: they may have to come from a disk.
        kept = self.references.features([result[i].row_id for i in todo])
        with one_blas_thread():
            for start in range(0, len(todo), together):
                if _over(until):
                    break
                some = todo[start : start + together]
                for i, verified in zip(some, self._verified(features, [result[i] for i in some], kept), strict=True):
                    result[i] = verified
        return result

    def rerank(self, features: LocalFeatures, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates, the first `rerank_depth` verified, best evidence first."""
        return rank_candidates(self.verify(features, candidates))

    def context(self, descriptor: Float32, candidates: Sequence[Candidate]) -> CandidateContext:
        """Return what is known about the candidates beside themselves, in their order."""
        centres = self.decider.centers
        vectors = self.references.index.vectors(np.array([c.row_id for c in candidates], np.int64))
        expected = self.references.expected_inliers([c.reference for c in candidates])
        return CandidateContext(
            reference_similarity=vectors @ vectors.T,
            query_distractor_similarity=float(distractor_similarity(descriptor[None], centres)[0]),
            distractor_similarity=distractor_similarity(vectors, centres),
            expected_inliers=np.array([expected.get(c.reference, np.nan) for c in candidates], np.float32),
            references=self.references.counts,
        )

    def score_landmarks(
        self, candidates: Sequence[Candidate], around: CandidateContext, stage: str | None = None
    ) -> list[LandmarkScore]:
        """Return the likeliest landmarks, likeliest first, by the stage that fits how many were verified."""
        return self.decider.score_landmarks(stage or stage_of(candidates), candidates, around)

    def decide(
        self,
        candidates: Sequence[Candidate],
        descriptor: Float32,
        position: tuple[float, float] | Area | None = None,
    ) -> Decision:
        """Return the landmark the evidence speaks for, or none below the floor.

        Args:
            candidates: those of one photo, in any order.
            descriptor: the photo's, (D,).
            position: (degrees north, degrees east) where it was taken, or the area it was taken in.
        """
        if not candidates:
            return decide((), ())
        return self._decide(
            self.score_landmarks(candidates, self.context(descriptor, candidates)), candidates, position
        )

    def _decide(
        self,
        judged: Sequence[LandmarkScore],
        candidates: Sequence[Candidate],
        position: tuple[float, float] | Area | None,
    ) -> Decision:
        """Return the decision for what may be named."""
        if (among := self.references.among) is not None:
            judged = [j for j in judged if j.landmark in among.landmarks]
            candidates = [c for c in candidates if c.landmark in among.landmarks]
        return decide(judged, candidates, self.floor, self.prior(judged, position))

    def prior(self, judged: Sequence[LandmarkScore], position: tuple[float, float] | Area | None) -> dict[str, float]:
        """Return landmark id -> log odds the photo's position adds, for landmarks whose place is known."""
        if position is None or not self.gps:
            return {}
        places = {
            j.landmark: self.references.landmarks[j.landmark] for j in judged if j.landmark in self.references.landmarks
        }
        return {
            key: place_prior(distance_km(position, (place.latitude, place.longitude)))
            for key, place in places.items()
            if place.latitude is not None and place.longitude is not None
        }

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
        until = None if self.effort.budget_ms is None else start + self.effort.budget_ms / 1000 - spent
        descriptor = self.embed(image) if descriptor is None else descriptor
        candidates = self.retrieve(descriptor)
        decision = decide((), ())
        if candidates:
            candidates, judged = self.gather(image, descriptor, candidates, until)
            decision = self._decide(judged, candidates, image.position or area)
        return Recognition(
            photo=image.name,
            landmark=self.references.landmarks[decision.landmark] if decision.landmark is not None else None,
            confidence=decision.confidence,
            evidence=decision.evidence,
            seconds=time.perf_counter() - start,
            terms=decision.terms,
            guesses=tuple((self.references.landmarks[key], p) for key, p in decision.guesses),
        )

    def gather(
        self, image: Image, descriptor: Float32, candidates: list[Candidate], until: float | None = None
    ) -> tuple[list[Candidate], list[LandmarkScore]]:
        """Return the candidates with all the evidence the effort allows, and what it says of their landmarks.

        Args:
            image: the photo.
            descriptor: its descriptor.
            candidates: what was retrieved for it, not empty.
            until: a `time.perf_counter` after which no further work is begun.
        """
        around = self.context(descriptor, candidates)
        features: LocalFeatures | None = None
        judged: list[LandmarkScore] = []
        for name, depth in self.effort.steps():
            if judged and _over(until):
                break
            if depth and not _over(until):
                features = self.extract(image) if features is None else features
                candidates = self.verify(features, candidates, depth, until)
            stage = stage_of(candidates) if _over(until) else name
            if name == "glue":
                glued = self.fine_inliers(features, candidates, judged, until) if features else {}
                around, stage = replace(around, fine_inliers=glued), "glue" if glued else stage_of(candidates)
            judged = self.decider.score_landmarks(stage, candidates, around)
            low, high = CONTINUE_BETWEEN[name]
            if not low < judged[0].probability < high:
                break
        return candidates, judged

    def compare(self, query: LocalFeatures, reference: LocalFeatures) -> tuple[Matches, Verification]:
        """Return the matches of one pair of photos and what geometry says of them."""
        matches = self.stages.matcher.match(query, reference)
        return matches, self.stages.verifier.verify(query, reference, matches)

    def _verified(
        self,
        features: LocalFeatures,
        candidates: Sequence[Candidate],
        kept: Mapping[int, tuple[LocalFeatures, UInt8]],
    ) -> list[Candidate]:
        """Return the candidates verified, but for those whose reference has just been removed."""
        there = [kept[candidate.row_id] for candidate in candidates if candidate.row_id in kept]
        matched = iter(self.stages.matcher.match_many(features, [reference for reference, _ in there]))
        result = []
        for candidate in candidates:
            if candidate.row_id not in kept:
                result.append(candidate)
                continue
            (reference, confirmed), matches = kept[candidate.row_id], next(matched)
            verification = self.stages.verifier.verify(features, reference, matches)
            geometry = describe_pair(features, reference, matches, verification, confirmed)
            result.append(replace(candidate, num_inliers=verification.num_inliers, geometry=geometry))
        return result

    def fine_inliers(
        self,
        features: LocalFeatures,
        candidates: Sequence[Candidate],
        judged: Sequence[LandmarkScore],
        until: float | None = None,
    ) -> dict[str, int]:
        """Return reference id -> inliers found by the costlier matcher, for those worth asking; none without one.

        Args:
            features: of the photo asked about.
            candidates: all of them.
            judged: their landmarks, likeliest first.
            until: a `time.perf_counter` after which no further pair is begun.
        """
        found: dict[str, int] = {}
        if self.stages.fine_matcher is None:
            return found
        wanted = fine_candidates(candidates, judged)
        kept = self.references.features([candidate.row_id for candidate in wanted])
        for candidate in wanted:
            if _over(until):
                break
            if candidate.row_id in kept:
                reference, _ = kept[candidate.row_id]
                matches = self.stages.fine_matcher.match(features, reference)
                found[candidate.reference] = self.stages.verifier.verify(features, reference, matches).num_inliers
        return found


def _over(until: float | None) -> bool:
    return until is not None and time.perf_counter() >= until


def fine_candidates(candidates: Sequence[Candidate], judged: Sequence[LandmarkScore]) -> list[Candidate]:
    """Return those the costlier matcher is asked about: the best of the likeliest two landmarks."""
    ranked = rank_candidates(candidates)
    wanted: list[Candidate] = []
    for judgement, most in zip(judged, (FINE_PAIRS, FINE_PAIRS // 2), strict=False):
        wanted += [c for c in ranked if c.landmark == judgement.landmark][:most]
    return wanted


def stage_of(candidates: Sequence[Candidate]) -> str:
    """Return the stage whose evidence is like that of these candidates, by how many were verified."""
    verified = sum(candidate.num_inliers is not None for candidate in candidates)
    return next((name for name in ("similarity", "first", "full") if NUM_VERIFIED[name] >= verified), "full")


@dataclass(frozen=True, eq=False)
class PairVerification:
    """What `verify` found between two photos.

    Attributes:
        a: the first photo, as given; the query.
        b: the second photo, as given; the reference.
        num_keypoints: keypoints of both.
        num_matches: pairs before geometry.
        num_inliers: pairs that agree with the homography.
        homography: rows of the (3, 3) map from pixels of `a` to pixels of `b`, or None.
        problem: why there is none, or None.
        seconds: wall time, decoding included.
    """

    a: str
    b: str
    num_keypoints: tuple[int, int]
    num_matches: int
    num_inliers: int
    homography: tuple[tuple[float, ...], ...] | None
    problem: str | None
    seconds: float


def verify(
    a: str | Path,
    b: str | Path,
    draw: str | Path | None = None,
    extractor: str = "xfeat",
    matcher: str = "nearest",
    max_keypoints: int = 512,
    max_side: int = 576,
    provider: str = "cpu",
) -> PairVerification:
    """Return whether two photos show the same place, and draw them side by side with their inliers.

    Args:
        a: a photo, the query.
        b: another, the reference.
        draw: a PNG, JPEG or WebP file to draw to, or None.
        extractor: name of the local features.
        matcher: name of the matcher; one that needs no extractor, such as ``efficientloftr``, makes no use of it.
        max_keypoints: keypoints kept per photo.
        max_side: photos are reduced so that their longer side has at most this many pixels.
        provider: execution provider for the networks.

    Raises:
        ImageError: one of the photos cannot be read.
        ModelError: extractor and matcher are unknown, do not fit, or their weights are not here.
    """
    start = time.perf_counter()
    pair = _pair_matching(extractor, matcher, max_keypoints, max_side, provider)
    images = load(a), load(b)
    query, reference, matches = pair(*images)
    found = HomographyVerifier().verify(query, reference, matches)
    if draw is not None:
        lines = matches.indices[found.inliers]
        ends = query.keypoints[lines[:, 0]], reference.keypoints[lines[:, 1]]
        titles = Path(a).name, Path(b).name
        _save(draw_pair(*images, *ends, _caption(found), titles), Path(draw))
    return PairVerification(
        a=str(a),
        b=str(b),
        num_keypoints=(len(query), len(reference)),
        num_matches=len(matches),
        num_inliers=found.num_inliers,
        homography=None if found.homography is None else tuple(tuple(map(float, row)) for row in found.homography),
        problem=found.problem,
        seconds=time.perf_counter() - start,
    )


def _pair_matching(
    extractor: str, matcher: str, max_keypoints: int, max_side: int, provider: str
) -> Callable[[Image, Image], tuple[LocalFeatures, LocalFeatures, Matches]]:
    """Return what makes features and matches of two photos, with a detector or without."""
    if matcher in PAIR_MATCHERS:
        return make_pair_matcher(matcher, max_side, provider).match_images
    matching = make_matcher(matcher, extractor, provider)
    extracting = make_extractor(extractor, max_keypoints, max_side, provider)

    def pair(query: Image, reference: Image) -> tuple[LocalFeatures, LocalFeatures, Matches]:
        features = extracting.extract(query), extracting.extract(reference)
        return *features, matching.match(*features)

    return pair


def _save(picture: PIL.Image.Image, path: Path) -> None:
    try:
        picture.save(path)
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror or error})") from error
    except ValueError as error:
        raise ImageError(f"{path}: is no picture's name; use one ending in .png, .jpg or .webp") from error


def _caption(found: Verification) -> str:
    return f"{found.num_inliers} inliers" if found.problem is None else f"no inliers: {found.problem}"
