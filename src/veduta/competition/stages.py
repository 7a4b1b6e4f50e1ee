"""The stages of a run: each writes one file, can be stopped at any moment, and resumes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veduta.competition.feature_file import FeatureFile
from veduta.competition.recipes import NOTEBOOK_ITERATIONS, NOTEBOOK_KEYPOINT_THRESHOLD, Recipe
from veduta.competition.retrieval import RetrievedCandidates
from veduta.competition.votes import (
    cosine_power,
    notebook_score,
    sum_of_best,
)
from veduta.concurrency import in_order, one_blas_thread
from veduta.decision.answer import landmark_votes
from veduta.decision.model import heuristic_decider
from veduta.errors import DatasetError
from veduta.features import make_extractor
from veduta.masks import NOTEBOOK_MOVING, Masked, SegFormerMask, make_mask
from veduta.matching import LighterGlue, NearestMatcher, make_matcher
from veduta.models.cards import card
from veduta.models.weights import SOURCES, find_weights
from veduta.progress import Progress
from veduta.protocols import Extractor, Matcher, Verifier
from veduta.types import Candidate, Float32, LocalFeatures

FLUSH_QUERIES = 16  # queries between writes of the evidence


def key_of(*parts: Any) -> str:
    """Return a digest of what a stage depends on: two runs with the same one have the same result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def digest_of(ids: npt.NDArray[np.bytes_]) -> str:
    """Return a digest of a list of ids."""
    return hashlib.sha256(ids.tobytes()).hexdigest()[:16]


# --- retrieve ---------------------------------------------------------------------------------------------------


# --- match and verify -------------------------------------------------------------------------------------------


def extractor_of(recipe: Recipe, provider: str = "cpu") -> Extractor:
    """Return the recipe's extractor, masked against moving things if the recipe has a mask.

    SuperPoint takes the notebook's threshold, and its mask the notebook's four classes.
    """
    if recipe.extractor == "superpoint":
        from veduta.features.superpoint import SuperPoint

        extractor: Extractor = SuperPoint(recipe.max_keypoints, recipe.max_side, provider, NOTEBOOK_KEYPOINT_THRESHOLD)
    else:
        extractor = make_extractor(recipe.extractor, recipe.max_keypoints, recipe.max_side, provider)
    if recipe.mask is None:
        return extractor
    mask = SegFormerMask(provider, NOTEBOOK_MOVING) if recipe.mask == "segformer" else make_mask(recipe.mask, provider)
    return Masked(extractor, mask)


def matcher_of(recipe: Recipe, provider: str = "cpu") -> Matcher:
    """Return the recipe's matcher with its threshold."""
    least = recipe.match_threshold
    if least is None or recipe.matcher not in ("nearest", "lighterglue", "lightglue", "superglue"):
        return make_matcher(recipe.matcher, recipe.extractor, provider)
    if recipe.matcher == "lighterglue":
        return LighterGlue(least, provider)
    if recipe.matcher == "lightglue":
        from veduta.matching.lightglue import LightGlue

        return LightGlue(recipe.extractor, least, provider)
    if recipe.matcher == "superglue":
        from veduta.matching.superglue import SuperGlue

        return SuperGlue(least, NOTEBOOK_ITERATIONS, provider)
    return NearestMatcher(least)


def weights_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the sha256 of the weights of the recipe's extractor, mask and matcher, empty for one without any."""
    matcher = f"lightglue-{recipe.extractor}" if recipe.matcher == "lightglue" else recipe.matcher
    names = (recipe.extractor, recipe.mask, matcher)
    return tuple("" if n is None else find_weights(n).sha256 if n in SOURCES else card(n).sha256 for n in names)


def evidence_of(query: LocalFeatures, reference: LocalFeatures, matcher: Matcher, verifier: Verifier | None) -> float:
    """Return the number of inliers, or without a verifier the sum of the matching scores, each clipped to [0, 1]."""
    matches = matcher.match(query, reference)
    if verifier is None:
        return float(np.clip(matches.scores, 0, 1).sum(dtype=np.float64))
    return float(verifier.verify(query, reference, matches).num_inliers)


def matched_keypoints(
    features: FeatureFile, query: str, reference: str, matcher: Matcher, verifier: Verifier | None
) -> tuple[tuple[Float32, tuple[int, int]], tuple[Float32, tuple[int, int]]]:
    """Return the keypoints of both photos that count as evidence, (K, 2) each, with the size they are in."""
    a, b = features.get(query), features.get(reference)
    if a is None or b is None:
        nothing = np.zeros((0, 2), np.float32), (1, 1)
        return nothing, nothing
    matches = matcher.match(a, b)
    pairs = matches.indices if verifier is None else matches.indices[verifier.verify(a, b, matches).inliers]
    return (a.keypoints[pairs[:, 0]], a.size), (b.keypoints[pairs[:, 1]], b.size)


def gather_evidence(
    path: Path,
    retrieved: RetrievedCandidates,
    features: FeatureFile,
    recipe: Recipe,
    verifier: Verifier | None,
    provider: str = "cpu",
    progress: Progress | None = None,
) -> Float32:
    """Return (Q, rerank_depth) float32 evidence, NaN where there are no features, going on in the file at `path`."""
    depth = min(recipe.rerank_depth, retrieved.rows.shape[1])
    width = depth * 4
    path.touch()
    done = path.stat().st_size // width
    matcher = matcher_of(recipe, provider)

    def work(number: int) -> Float32:
        query = features.get(retrieved.queries[number])
        row = np.full(depth, np.nan, np.float32)
        for j, reference in enumerate(retrieved.rows[number, :depth].tolist()):
            other = features.get(retrieved.references[reference])
            if query is not None and other is not None:
                row[j] = evidence_of(query, other, matcher, verifier)
        return row

    with path.open("r+b") as file:
        file.truncate(done * width)
        file.seek(done * width)
        with one_blas_thread():
            for number, row in in_order(work, range(done, len(retrieved.queries))):
                file.write(row.astype("<f4").tobytes())
                if number % FLUSH_QUERIES == 0:
                    file.flush()
                if progress:
                    progress(number + 1, len(retrieved.queries))
    evidence = np.fromfile(path, "<f4")
    if len(evidence) != len(retrieved.queries) * depth or np.isinf(evidence).any() or (evidence < 0).any():
        raise DatasetError(f"{path}: is damaged; remove it and run again")
    return evidence.reshape(len(retrieved.queries), depth)


# --- decide -----------------------------------------------------------------------------------------------------


def verified_candidates(retrieved: RetrievedCandidates, evidence: Float32, query: int) -> list[Candidate]:
    """Return the candidates of one query with their inliers."""
    candidates = retrieved.of(query)
    for j, n in enumerate(evidence[query].tolist()):
        if n == n:  # not NaN
            c = candidates[j]
            candidates[j] = Candidate(c.reference, c.landmark, c.similarity, int(n))
    return candidates


def decide_all(retrieved: RetrievedCandidates, evidence: Float32, recipe: Recipe) -> dict[str, tuple[str, float]]:
    """Return test id -> (landmark, confidence) by the recipe's rule; every photo with a candidate gets one."""
    if recipe.power is not None:
        voted = {
            query: cosine_power([(c.landmark, c.similarity) for c in retrieved.of(i)], recipe.power)
            for i, query in enumerate(retrieved.queries)
        }
        return {query: answer for query, answer in voted.items() if answer}
    if recipe.geometry:
        answers: dict[str, tuple[str, float]] = {}
        rule = heuristic_decider(Path(recipe.models[0]).name)  # a model, or the folder of its table
        for i, query in enumerate(retrieved.queries):
            scores = landmark_votes(verified_candidates(retrieved, evidence, i))
            if scores:
                landmark, score = next(iter(scores.items()))
                answers[query] = (landmark, rule.confidence(score))
        return answers
    return {query: answer for i, query in enumerate(retrieved.queries) if (answer := _notebook(retrieved, evidence, i))}


def _notebook(retrieved: RetrievedCandidates, evidence: Float32, query: int) -> tuple[str, float] | None:
    sums = np.nan_to_num(evidence[query]).tolist()
    scored = [
        (candidate.landmark, notebook_score(n, candidate.similarity))
        for candidate, n in zip(retrieved.of(query), sums, strict=False)
    ]
    return sum_of_best(scored)
