"""The stages of a run: each writes one file, can be stopped at any moment, and resumes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veduta.competition.descriptor_table import DescriptorTable
from veduta.competition.feature_file import FeatureFile
from veduta.competition.recipes import NOTEBOOK_ITERATIONS, NOTEBOOK_KEYPOINT_THRESHOLD, Recipe
from veduta.competition.votes import (
    cosine_power,
    fuse_similarities,
    non_landmark_similarity,
    notebook_score,
    sum_of_best,
)
from veduta.concurrency import in_order, one_blas_thread
from veduta.datasets.gldv2 import Labels
from veduta.decision.model import heuristic_decider, landmark_votes
from veduta.errors import DatasetError
from veduta.features import make_extractor
from veduta.index import search_blocks
from veduta.masks import NOTEBOOK_MOVING, Masked, SegFormerMask, make_mask
from veduta.matching import LighterGlue, NearestMatcher, make_matcher
from veduta.models import card
from veduta.models.weights import SOURCES, find_weights
from veduta.progress import Progress
from veduta.protocols import Extractor, Matcher, Verifier
from veduta.types import Candidate, Float32, Int64, LocalFeatures

FLUSH_QUERIES = 16  # queries between writes of the evidence


def key_of(*parts: Any) -> str:
    """Return a digest of what a stage depends on: two runs with the same one have the same result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def digest_of(ids: npt.NDArray[np.bytes_]) -> str:
    """Return a digest of a list of ids."""
    return hashlib.sha256(ids.tobytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class RetrievedCandidates:
    """The candidates of every query.

    Attributes:
        queries: (Q,) ids of the test photos that have a descriptor.
        references: (R,) ids of the references, in the order that `rows` counts.
        landmarks: (R,) landmark id of each.
        rows: (Q, k) int32, the references found, best first.
        similarity: (Q, k) float32.
    """

    queries: tuple[str, ...]
    references: tuple[str, ...]
    landmarks: tuple[str, ...]
    rows: npt.NDArray[np.int32]
    similarity: Float32

    def of(self, query: int) -> list[Candidate]:
        """Return the candidates of one query, not verified."""
        return [
            Candidate(self.references[row], self.landmarks[row], min(1.0, float(similarity)))
            for row, similarity in zip(self.rows[query].tolist(), self.similarity[query].tolist(), strict=True)
        ]


# --- retrieve ---------------------------------------------------------------------------------------------------


def retrieve(
    train: Sequence[DescriptorTable],
    test: Sequence[DescriptorTable],
    labels: Labels,
    recipe: Recipe,
    bank: Sequence[DescriptorTable] = (),
) -> RetrievedCandidates:
    """Return the `recipe.depth` references with the largest similarity: the cosine, or the notebook's fusion.

    Args:
        train: a table per model; their rows may stand in different orders.
        test: likewise.
        labels: of the references; photos without a label are no references.
        recipe: depth, weights, and how to fuse.
        bank: a table per model of photos that show no landmark; references that resemble them are held back.
    """
    known = dict(labels.pairs())
    references = _common(train, known)
    queries = _common(test, None)
    query_rows = [table.rows(table.order(queries)) for table in test]
    if len(train) == 1 and len(references) == len(train[0]) and not bank:
        similarity, rows = search_blocks(train[0].blocks, query_rows[0], recipe.depth)
        similarity = _fused([similarity], recipe)  # of one model a rising function of the cosine: the order stays
    else:
        nothing = [table.rows(np.arange(len(table))) for table in bank]
        similarity, rows = _search_pieces(train, references, query_rows, recipe, nothing)
    landmarks = tuple(known[id] for id in references)
    return RetrievedCandidates(tuple(queries), tuple(references), landmarks, rows.astype(np.int32), similarity)


def _common(tables: Sequence[DescriptorTable], known: dict[str, str] | None) -> list[str]:
    """Return the ids that all tables have (and that are known), in the order of the first."""
    others = [set(table.ids.tolist()) for table in tables[1:]]
    ids = [id.decode("ascii") for id in tables[0].ids.tolist() if all(id in other for other in others)]
    common = ids if known is None else [id for id in ids if id in known]
    if not common:
        raise DatasetError(
            "no photo has both a descriptor of every model and a label; are the tables of this data set?"
        )
    return common


def _search_pieces(
    train: Sequence[DescriptorTable],
    references: list[str],
    queries: list[Float32],
    recipe: Recipe,
    nothing: Sequence[Float32],
) -> tuple[Float32, Int64]:
    """Return the largest similarities (Q, k) and their places in `references`, a piece at a time.

    With photos that show nothing, each reference's mean similarity to the ten nearest of them is subtracted: what
    `votes.fold_penalty` folds into an index.
    """
    orders = [table.order(references) for table in train]
    k = min(recipe.depth, len(references))
    best = np.full((len(queries[0]), k), -np.inf, np.float32)
    place = np.zeros((len(queries[0]), k), np.int64)
    for start in range(0, len(references), 8192):
        rows = [table.rows(order[start : start + 8192]) for table, order in zip(train, orders, strict=True)]
        fused = _fused([query @ block.T for query, block in zip(queries, rows, strict=True)], recipe)
        if nothing:
            near = _fused([block @ none.T for block, none in zip(rows, nothing, strict=True)], recipe)
            fused = fused - np.float32(recipe.penalty) * non_landmark_similarity(near).astype(np.float32)
        numbers = np.broadcast_to(np.arange(start, start + fused.shape[1]), fused.shape)
        best, place = _keep_best(np.c_[best, fused], np.c_[place, numbers], k)
    return best, place


def _fused(cosines: Sequence[Float32], recipe: Recipe) -> Float32:
    """Return one similarity of several models' cosines, by the recipe's way."""
    if recipe.fuse == "product":
        return fuse_similarities(cosines, recipe.weights)
    shares = [weight / sum(recipe.weights) for weight in recipe.weights]
    return np.asarray(sum(np.float32(s) * c for s, c in zip(shares, cosines, strict=True)), np.float32)


def _keep_best(similarity: Float32, place: Int64, k: int) -> tuple[Float32, Int64]:
    order = np.lexsort((place, -similarity), axis=1)[:, :k]
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(place, order, 1)


def save_candidates(path: Path, retrieved: RetrievedCandidates) -> None:
    """Write candidates, all or nothing."""
    draft = path.with_name(path.name + ".part")
    with draft.open("wb") as file:
        np.savez(
            file,
            queries=np.array(retrieved.queries, np.bytes_),
            references=np.array(retrieved.references, np.bytes_),
            landmarks=np.array(retrieved.landmarks),
            rows=retrieved.rows,
            similarity=retrieved.similarity,
        )
    draft.replace(path)


def load_candidates(path: Path) -> RetrievedCandidates:
    """Return the candidates that `save_candidates` stored."""
    with np.load(path, allow_pickle=False) as data:
        queries, references = (
            tuple(id.decode("ascii") for id in data[name].tolist()) for name in ("queries", "references")
        )
        return RetrievedCandidates(
            queries, references, tuple(data["landmarks"].tolist()), data["rows"], data["similarity"]
        )


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
    return np.fromfile(path, "<f4").reshape(len(retrieved.queries), depth)


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
