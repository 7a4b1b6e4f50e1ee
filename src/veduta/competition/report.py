"""What a run was worth, as one self-contained page: figures, curves, and the best and worst answers with evidence."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from veduta.competition.recipes import Recipe
from veduta.competition.score import Score
from veduta.competition.stages import RetrievedCandidates
from veduta.competition.submissions import read_submission
from veduta.datasets.gldv2 import read_recognition_solution
from veduta.datasets.layout import PhotoFolder
from veduta.errors import ImageError
from veduta.gallery.evidence_page import STYLE
from veduta.images import load
from veduta.metrics import Prediction
from veduta.types import Float32, Image
from veduta.viz import draw_pair, encode

SHOWN = 6  # answers of each kind with pictures
KS = (1, 5, 10, 20, 50, 100)


FramedPoints = tuple[Float32, tuple[int, int]]  # (K, 2) keypoints, and the size of the picture they are in


@dataclass(frozen=True)
class Evidence:
    """What it takes to show why an answer was given.

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
    """A prediction and whether it is right.

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
    found: RetrievedCandidates,
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
        found: what retrieval found.
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
    worst = [j for j in judged if not j.right][:SHOWN]
    low = [j for j in judged if j.right][-SHOWN:]
    best = [j for j in judged if j.right][:SHOWN]
    parts = [
        _figures(scores),
        f'<section class="charts">{_gap_curve(judged, truth)}{_reliability(judged)}{_recall(found, truth)}</section>',
        _gallery("Wrong, and most sure of it", worst, found, evidence, show, recipe),
        _gallery("Right, and least sure of it", low, found, evidence, show, recipe),
        _gallery("Right, and most sure of it", best, found, evidence, show, recipe),
    ]
    title = f"Recipe {recipe.name}"
    draft = page.with_name(page.name + ".part")
    draft.write_text(_page(title, f"{submission.name} against {solution.name}", "\n".join(parts)), "utf-8")
    draft.replace(page)


def _page(title: str, subtitle: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}{CHART_STYLE}</style></head>
<body><header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header><main>{body}</main></body></html>
"""


def _figures(scores: dict[str, Score]) -> str:
    names = list(next(iter(scores.values())).as_dict())
    rows = "".join(
        f"<tr><td>{name.replace('_', ' ')}</td>"
        + "".join(f"<td>{_number(getattr(s, name))}</td>" for s in scores.values())
        + "</tr>"
        for name in names
    )
    head = "<tr><th>figure</th>" + "".join(f"<th>{part}</th>" for part in scores) + "</tr>"
    return f'<section><div class="wide"><table>{head}{rows}</table></div></section>'


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "not defined" if value != value else f"{value:.4f}"


# --- curves -----------------------------------------------------------------------------------------------------


def _chart(
    title: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], labels: tuple[str, str], note: str
) -> str:
    """Return an SVG chart of lines in the unit square."""

    def place(x: float, y: float) -> str:
        return f"{44 + 240 * x:.1f},{254 - 240 * y:.1f}"

    ticks = "".join(
        f'<text x="{44 + 240 * t}" y="270" text-anchor="middle">{t:g}</text>'
        f'<text x="38" y="{258 - 240 * t}" text-anchor="end">{t:g}</text>'
        f'<path class="grid" d="M{place(0, t)} L{place(1, t)} M{place(t, 0)} L{place(t, 1)}"/>'
        for t in (0, 0.25, 0.5, 0.75, 1)
    )
    drawn = "".join(
        f'<polyline class="{kind}" points="{" ".join(place(x, y) for x, y in points)}"/>' for kind, points in lines
    )
    return f"""<figure><figcaption><strong>{escape(title)}</strong></figcaption>
<svg viewBox="0 0 300 300" role="img" aria-label="{escape(title + ": " + note, quote=True)}">{ticks}{drawn}
<text x="164" y="292" text-anchor="middle">{escape(labels[0])}</text>
<text x="12" y="134" text-anchor="middle" transform="rotate(-90 12 134)">{escape(labels[1])}</text></svg>
<figcaption>{escape(note)}</figcaption></figure>"""


def _gap_curve(judged: Sequence[JudgedPrediction], truth: dict[str, tuple[str, ...]]) -> str:
    right = np.array([j.right for j in judged], bool)
    positives = max(1, sum(bool(t) for t in truth.values()))
    hits = np.cumsum(right)
    x, y = hits / positives, hits / np.arange(1, len(right) + 1)
    keep = np.unique(np.linspace(0, max(len(right) - 1, 0), min(len(right), 400)).astype(int))
    points = [(float(x[i]), float(y[i])) for i in keep]
    note = "GAP is the area below: predictions from the surest on; distractors answered with confidence pull it down."
    return _chart("Precision over recall", [("line", points)], ("landmark photos found", "precision so far"), note)


def _reliability(judged: Sequence[JudgedPrediction]) -> str:
    confidence = np.array([j.prediction.confidence for j in judged])
    right = np.array([j.right for j in judged], float)
    points = []
    for low in np.arange(0, 1, 0.1):
        mine = (confidence >= low) & (confidence < low + 0.1 + 1e-9 * (low > 0.85))
        if mine.sum() >= 5:
            points.append((float(confidence[mine].mean()), float(right[mine].mean())))
    note = "Of the answers given with a confidence, how many are right; on the dashed line the number is honest."
    return _chart("Reliability", [("ideal", [(0, 0), (1, 1)]), ("line", points)], ("confidence", "share right"), note)


def _recall(found: RetrievedCandidates, truth: dict[str, tuple[str, ...]]) -> str:
    ranks = []
    for i, query in enumerate(found.queries):
        if truth.get(query):
            landmarks = [found.landmarks[row] for row in found.rows[i].tolist()]
            ranks.append(next((r for r, landmark in enumerate(landmarks, 1) if landmark in truth[query]), 10**9))
    depth = found.rows.shape[1]
    points = [(k, float(np.mean(np.array(ranks) <= k))) for k in KS if k <= depth] if ranks else []
    rows = "".join(f"<tr><td>{k}</td><td>{share:.4f}</td></tr>" for k, share in points)
    return f"""<figure><figcaption><strong>Recall before reranking</strong></figcaption>
<table class="narrow"><tr><th>first k candidates</th><th>hold the landmark</th></tr>{rows}</table></figure>"""


# --- pictures ---------------------------------------------------------------------------------------------------


def _gallery(
    title: str,
    judged: Sequence[JudgedPrediction],
    found: RetrievedCandidates,
    evidence: Float32,
    show: Evidence,
    recipe: Recipe,
) -> str:
    places = {query: i for i, query in enumerate(found.queries)}
    figures = "".join(_answer(j, places[j.prediction.id], found, evidence, show, recipe) for j in judged)
    return f"<section><h2>{title}</h2>{figures or '<p>none</p>'}</section>"


def _answer(
    judged: JudgedPrediction,
    query: int,
    found: RetrievedCandidates,
    evidence: Float32,
    show: Evidence,
    recipe: Recipe,
) -> str:
    p = judged.prediction
    depth = evidence.shape[1]
    rows = found.rows[query, :depth].tolist()
    mine = [j for j, row in enumerate(rows) if found.landmarks[row] == p.landmark]
    if not mine:
        return ""
    first = max(mine, key=lambda j: (np.nan_to_num(evidence[query, j]), -j))
    reference = found.references[rows[first]]
    what = "inliers" if recipe.geometry else "sum of matching scores"
    n = evidence[query, first]
    facts = f"{what} {n:.0f}, similarity {found.similarity[query, first]:.2f}"
    truth = "none" if not judged.truth else " ".join(judged.truth)
    text = f"{p.id}: answered {p.landmark} with {p.confidence:.3f}, true: {truth}; {facts}"
    return f"<figure>{_picture(p.id, reference, show)}<figcaption>{escape(text)}</figcaption></figure>"


def _picture(query: str, reference: str, show: Evidence) -> str:
    try:
        images = load(show.test.path(query)), load(show.train.path(reference))
    except ImageError:
        return "<p>the photos cannot be read any more</p>"
    (a, a_size), (b, b_size) = show.lines(query, reference)
    ends = _scaled(a, a_size, images[0]), _scaled(b, b_size, images[1])
    picture = draw_pair(images[0], images[1], ends[0], ends[1], "", (query, reference), height=260)
    data = base64.b64encode(encode(picture, "webp", 75)).decode()
    return f'<img src="data:image/webp;base64,{data}" alt="test photo {query} beside reference {reference}">'


def _scaled(points: Float32, size: tuple[int, int], image: Image) -> Float32:
    """Return (K, 2) keypoints found in a frame of this size in pixels of the photo itself."""
    scale = np.array([image.width / size[0], image.height / size[1]], np.float32)
    return np.asarray((points + 0.5) * scale - 0.5, np.float32)


CHART_STYLE = """
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem }
svg { width: 100%; max-width: 22rem; font: 11px system-ui, sans-serif; fill: var(--soft) }
polyline { fill: none; stroke: var(--yes); stroke-width: 2 }
.ideal { stroke: var(--soft); stroke-dasharray: 4 4; stroke-width: 1 }
.grid { stroke: var(--line); fill: none }
.narrow { min-width: 0 }
"""
