"""Retrieval: the most similar references of every query, by one model or several fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from veduta.competition.descriptor_table import DescriptorTable
from veduta.competition.recipes import Recipe
from veduta.competition.votes import (
    fuse_similarities,
    non_landmark_similarity,
)
from veduta.datasets.gldv2 import Labels
from veduta.errors import DatasetError
from veduta.files import draft
from veduta.index import search_blocks
from veduta.types import Candidate, Float32, Int64


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
    if not np.isfinite(similarity).all():
        raise DatasetError("a table of descriptors holds no numbers; embed again into a new folder")
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
    with draft(path) as file:
        np.savez(
            file,
            queries=np.array(retrieved.queries, np.bytes_),
            references=np.array(retrieved.references, np.bytes_),
            landmarks=np.array(retrieved.landmarks),
            rows=retrieved.rows,
            similarity=retrieved.similarity,
        )


def load_candidates(path: Path) -> RetrievedCandidates:
    """Return the candidates that `save_candidates` stored; DatasetError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as data:
            queries, references = (
                tuple(id.decode("ascii") for id in data[name].tolist()) for name in ("queries", "references")
            )
            landmarks = tuple(data["landmarks"].tolist())
            retrieved = RetrievedCandidates(queries, references, landmarks, data["rows"], data["similarity"])
        _check(retrieved)
    except Exception as error:  # numpy and zipfile raise many kinds for what is damaged
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DatasetError(f"{path}: cannot be read ({reason}); remove it and run again") from error
    return retrieved


def _check(retrieved: RetrievedCandidates) -> None:
    """Raise ValueError unless arrays have the shapes, types and ranges of candidates."""
    rows, similarity = retrieved.rows, retrieved.similarity
    if rows.ndim != 2 or rows.dtype != np.int32 or similarity.dtype != np.float32 or rows.shape != similarity.shape:
        raise ValueError("expected rows and similarities")
    if rows.shape[0] != len(retrieved.queries) or len(retrieved.landmarks) != len(retrieved.references):
        raise ValueError("its parts do not fit each other")
    if not rows.shape[1] or rows.min(initial=0) < 0 or rows.max(initial=0) >= len(retrieved.references):
        raise ValueError("its rows lead to no reference")
    if not np.isfinite(similarity).all() or any(type(landmark) is not str for landmark in retrieved.landmarks):
        raise ValueError("its similarities or landmarks are damaged")
