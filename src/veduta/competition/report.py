"""The report of a run, one self-contained page: figures, curves, and the best and worst answers with evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from veduta.competition.recipes import Recipe
from veduta.competition.retrieval import RetrievedCandidates
from veduta.competition.score import Score
from veduta.competition.submissions import read_submission
from veduta.datasets.gldv2 import read_recognition_solution
from veduta.datasets.layout import PhotoFolder
from veduta.errors import ImageError
from veduta.files import write_atomic
from veduta.images import load
from veduta.metrics import Prediction
from veduta.pages import page_template, webp_source
from veduta.types import Float32, Image
from veduta.viz import draw_pair, encode

ANSWERS_SHOWN = 6  # answers of each kind with pictures
KS = (1, 5, 10, 20, 50, 100)


Curve = list[tuple[float, float]]
FramedPoints = tuple[Float32, tuple[int, int]]  # (K, 2) keypoints, and the size of the picture they are in


@dataclass(frozen=True)
class Evidence:
    """The photos and local features that explain an answer.

    Attributes:
        test: where the test photos are.
        train: where the references are.
        lines: (test id, reference id) -> the matched keypoints of both, those that count.
    """

    test: PhotoFolder
    train: PhotoFolder
    lines: Callable[[str, str], tuple[FramedPoints, FramedPoints]]


@dataclass(frozen=True)
class JudgedPrediction:
    """A prediction and whether the landmark is right.

    Attributes:
        prediction: the landmark and its confidence.
        right: whether the landmark is one of the photo's.
        truth: the photo's landmarks.
    """

    prediction: Prediction
    right: bool
    truth: tuple[str, ...]


def write_report(
    page: Path,
    retrieved: RetrievedCandidates,
    evidence: Float32,
    solution: Path,
    submission: Path,
    scores: dict[str, Score],
    show: Evidence,
    recipe: Recipe,
) -> None:
    """Write the page of a run whose truth is known.

    Args:
        page: where to.
        retrieved: what retrieval found.
        evidence: (Q, rerank_depth), inliers or sums of matching scores.
        solution: the truth.
        submission: the answers.
        scores: their figures.
        show: where the photos are and what joins them.
        recipe: what was done.
    """
    truth = read_recognition_solution(solution).part("all")
    judged = [
        JudgedPrediction(p, p.landmark in truth[p.id], truth[p.id])
        for p in read_submission(submission)[1]
        if p.id in truth
    ]
    judged.sort(key=lambda j: (-j.prediction.confidence, j.prediction.id))
    worst = [j for j in judged if not j.right][:ANSWERS_SHOWN]
    low = [j for j in judged if j.right][-ANSWERS_SHOWN:]
    best = [j for j in judged if j.right][:ANSWERS_SHOWN]
    kinds = (
        ("Wrong, and most sure of it", worst),
        ("Right, and least sure of it", low),
        ("Right, and most sure of it", best),
    )
    explain = partial(_answer, retrieved=retrieved, evidence=evidence, show=show, recipe=recipe)
    html = page_template(__file__, "report.html").render(
        title=f"Recipe {recipe.name}",
        subtitle=f"{submission.name} against {solution.name}",
        parts=list(scores),
        figures=_figures(scores),
        precision=_precision(judged, truth),
        reliability=_reliability(judged),
        recall=_recall(retrieved, truth),
        answers=[(kind, [answer for j in judged if (answer := explain(j))]) for kind, judged in kinds],
    )
    write_atomic(page, html)


def _figures(scores: dict[str, Score]) -> list[tuple[str, list[str]]]:
    """Return each figure's name with its value for every part."""
    names = next(iter(scores.values())).as_dict()
    return [(name.replace("_", " "), [_number(getattr(s, name)) for s in scores.values()]) for name in names]


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "not defined" if value != value else f"{value:.4f}"


# --- curves -----------------------------------------------------------------------------------------------------


def _precision(judged: Sequence[JudgedPrediction], truth: dict[str, tuple[str, ...]]) -> Curve:
    """Return precision over recall, predictions from the surest on; GAP is the area below."""
    right = np.array([j.right for j in judged], bool)
    positives = max(1, sum(bool(t) for t in truth.values()))
    hits = np.cumsum(right)
    x, y = hits / positives, hits / np.arange(1, len(right) + 1)
    keep = np.unique(np.linspace(0, max(len(right) - 1, 0), min(len(right), 400)).astype(int))
    return [(float(x[i]), float(y[i])) for i in keep]


def _reliability(judged: Sequence[JudgedPrediction]) -> Curve:
    """Return the share of right answers over their mean confidence, a tenth of confidence at a time."""
    confidence = np.array([j.prediction.confidence for j in judged])
    right = np.array([j.right for j in judged], float)
    points = []
    for low in np.arange(0, 1, 0.1):
        in_bin = (confidence >= low) & (confidence < low + 0.1 + 1e-9 * (low > 0.85))
        if in_bin.sum() >= 5:
            points.append((float(confidence[in_bin].mean()), float(right[in_bin].mean())))
    return points


def _recall(retrieved: RetrievedCandidates, truth: dict[str, tuple[str, ...]]) -> list[tuple[int, float]]:
    """Return (k, share of the landmark photos that have theirs among the first k candidates)."""
    ranks = []
    for i, query in enumerate(retrieved.queries):
        if truth.get(query):
            landmarks = [retrieved.landmarks[row] for row in retrieved.rows[i].tolist()]
            ranks.append(next((r for r, landmark in enumerate(landmarks, 1) if landmark in truth[query]), 10**9))
    depth = retrieved.rows.shape[1]
    return [(k, float(np.mean(np.array(ranks) <= k))) for k in KS if k <= depth] if ranks else []


# --- pictures ---------------------------------------------------------------------------------------------------


def _answer(
    judged: JudgedPrediction, retrieved: RetrievedCandidates, evidence: Float32, show: Evidence, recipe: Recipe
) -> dict[str, str | None] | None:
    """Return an answer with its strongest reference; None where no reranked one supports the answer."""
    p = judged.prediction
    query, depth = retrieved.queries.index(p.id), evidence.shape[1]
    rows = retrieved.rows[query, :depth].tolist()
    agreeing = [j for j, row in enumerate(rows) if retrieved.landmarks[row] == p.landmark]
    if not agreeing:
        return None
    first = max(agreeing, key=lambda j: (np.nan_to_num(evidence[query, j]), -j))
    reference = retrieved.references[rows[first]]
    unit = "inliers" if recipe.geometry else "sum of matching scores"
    facts = f"{unit} {evidence[query, first]:.0f}, similarity {retrieved.similarity[query, first]:.2f}"
    truth = " ".join(judged.truth) or "none"
    caption = f"{p.id}: answered {p.landmark} with {p.confidence:.3f}, true: {truth}; {facts}"
    return {"query": p.id, "reference": reference, "caption": caption, "picture": _picture(p.id, reference, show)}


def _picture(query: str, reference: str, show: Evidence) -> str | None:
    """Return both photos with their lines as the source of an image; None where they cannot be read any more."""
    try:
        images = load(show.test.path(query)), load(show.train.path(reference))
    except ImageError:
        return None
    (a, a_size), (b, b_size) = show.lines(query, reference)
    ends = _scaled(a, a_size, images[0]), _scaled(b, b_size, images[1])
    picture = draw_pair(images[0], images[1], ends[0], ends[1], "", (query, reference), height=260)
    return webp_source(encode(picture, "webp", 75))


def _scaled(points: Float32, size: tuple[int, int], image: Image) -> Float32:
    """Return (K, 2) keypoints found in a frame of this size in pixels of the photo itself."""
    scale = np.array([image.width / size[0], image.height / size[1]], np.float32)
    return np.asarray((points + 0.5) * scale - 0.5, np.float32)
