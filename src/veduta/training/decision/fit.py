"""Cases to a decision: the regressions, their calibration on landmarks they have not seen, and the precision reached.

Needs the extra ``[calibrate]`` (scipy).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from veduta.decision.model import CASCADES, CONTINUE_BETWEEN, CalibratedLogistic, LearnedDecider
from veduta.decision.terms import TERM_NAMES
from veduta.training.decision.regression import fit_calibration, fit_regression, usable_terms
from veduta.types import Bool, Float32, Float64, Int64

FOLDS = 5
FLOORS = np.linspace(0, 0.99, 100)
ANSWERS = 20  # fewer answers than this at a floor say nothing about its precision
STAGE_NAMES = ("similarity", "first", "full", "fine")


@dataclass(frozen=True, eq=False)
class Example:
    """One photo asked of one gallery, with the evidence at every stage.

    Attributes:
        query: the photo.
        group: what must not be split between learning and measuring: the landmark it shows, or itself.
        truth: the landmarks of the gallery that it shows; empty for none.
        landmarks: stage -> the landmarks weighed, likeliest first by `veduta.decision.terms`.
        evidence: stage -> (L, T), a row for each.
        weight: how much the case counts.
        calibration_weight: how much it counts for the calibration and for the precision; 0 for photos that are easier
            than a user's.
        gallery: which gallery it was asked of, where there are several.
    """

    query: str
    group: str
    truth: frozenset[str]
    landmarks: Mapping[str, tuple[str, ...]]
    evidence: Mapping[str, Float64]
    weight: float = 1.0
    calibration_weight: float = 1.0
    gallery: tuple[int, ...] = ()


@dataclass(frozen=True)
class HeldOutAnswer:
    """A decision's answer to an example.

    Attributes:
        query: the photo.
        landmark: its guess, or None when it had no candidate.
        confidence: of the guess.
        right: whether the photo shows it.
        stage: how far it went.
    """

    query: str
    landmark: str | None
    confidence: float
    right: bool
    stage: str


FoldOf = Callable[[str], int]


def fold_of(group: str) -> int:
    """Return the fold a group belongs to, from 0, whatever else there is."""
    return zlib.crc32(group.encode()) % FOLDS


def assign_folds(cases: Sequence[Example]) -> FoldOf:
    """Return which fold each group of these cases belongs to, so that every fold has its share of each kind.

    For few landmarks, whose hashes may all fall into one fold. Groups with a known landmark are dealt first.
    """
    known = sorted({case.group for case in cases if case.truth}, key=lambda group: (zlib.crc32(group.encode()), group))
    others = sorted({case.group for case in cases} - set(known))
    dealt = {group: i % FOLDS for groups in (known, others) for i, group in enumerate(groups)}
    return lambda group: dealt.get(group, -1)  # what is no group of theirs is in no fold


def learn_decider(
    cases: Sequence[Example],
    centers: Float32,
    metadata: Mapping[str, Any] | None = None,
    without: Iterable[str] = (),
    fold_of: FoldOf = fold_of,
) -> tuple[LearnedDecider, list[LearnedDecider]]:
    """Return a decision learned from all cases, and one for each fold, learned from the others.

    The calibration, and the precision at each floor, are those of the folds' decisions on cases of their own fold, as
    far as they are trusted. (A fold's calibration is fitted to what the other folds' weights say of their own cases.)

    Args:
        cases: of many landmarks, and of photos that show none.
        centers: (C, D) descriptors of photos of nothing.
        metadata: what to say of where the decision comes from.
        without: terms left out, to see what they are worth.
        fold_of: group -> fold.

    Raises:
        ValueError: there are too few cases with and without a landmark.
    """
    allowed = np.array([name not in set(without) for name in TERM_NAMES])
    folds = np.array([fold_of(case.group) for case in cases])
    stages: dict[str, CalibratedLogistic] = {}
    parts: list[dict[str, CalibratedLogistic]] = [{} for _ in range(FOLDS)]
    for name in STAGE_NAMES:
        rows = _rows(cases, name)
        if name == "fine" and not len(rows.right):  # nobody asked the costlier matcher: there is nothing to weigh
            stages[name] = stages["full"]
            for k in range(FOLDS):
                parts[k][name] = parts[k]["full"]
            continue
        _check_both(rows.right)
        usable = allowed & usable_terms(name)
        fold = folds[rows.case]
        held = np.array([fold_of(landmark) for landmark in rows.landmark])
        for k in range(FOLDS):
            seen = (fold != k) & (held != k)
            parts[k][name] = fit_regression(rows.evidence[seen], rows.right[seen], rows.weight[seen], usable)
        scores, right = _best_guesses(cases, rows, name, [parts[k][name] for k in range(FOLDS)], fold)
        for k in range(FOLDS):
            others = fold != k
            calibration = fit_calibration(scores[others], right[others], rows.calibration_weight[others])
            parts[k][name] = replace(parts[k][name], calibration=calibration)
        whole = fit_regression(rows.evidence, rows.right, rows.weight, usable)
        stages[name] = replace(whole, calibration=fit_calibration(scores, right, rows.calibration_weight))
    decisions = [LearnedDecider(part, centers, {}, {}) for part in parts]
    return LearnedDecider(stages, centers, precision_curves(cases, decisions, fold_of), dict(metadata or {})), decisions


def recalibrate(
    decision: LearnedDecider, cases: Sequence[Example], fold_of: FoldOf = fold_of
) -> tuple[LearnedDecider, list[LearnedDecider]]:
    """Return the decision with its weights as they are and its calibration fitted to these cases; and one a fold.

    Those of the folds are fitted to the other folds' cases, and the precision at each floor is theirs.

    Raises:
        ValueError: as `learn_decider`.
    """
    folds = np.array([fold_of(case.group) for case in cases])
    stages: dict[str, CalibratedLogistic] = {}
    parts: list[dict[str, CalibratedLogistic]] = [{} for _ in range(FOLDS)]
    for name, stage in decision.stages.items():
        rows = _rows(cases, name)
        if name == "fine" and not len(rows.right):
            stages[name] = stage
            for k in range(FOLDS):
                parts[k][name] = stage
            continue
        _check_both(rows.right)
        fold = folds[rows.case]
        scores, right = _best_guesses(cases, rows, name, [stage] * FOLDS, fold)
        stages[name] = replace(stage, calibration=fit_calibration(scores, right, rows.calibration_weight))
        for k in range(FOLDS):
            others = fold != k
            part = fit_calibration(scores[others], right[others], rows.calibration_weight[others])
            parts[k][name] = replace(stage, calibration=part)
    held_out = [LearnedDecider(part, decision.centers, {}, {}) for part in parts]
    return LearnedDecider(
        stages, decision.centers, precision_curves(cases, held_out, fold_of), decision.metadata
    ), held_out


def answer_example(case: Example, decision: LearnedDecider, effort: str) -> HeldOutAnswer:
    """Return a decision's answer to an example, through the stages of an effort as a recognizer goes."""
    best: tuple[float, float, str] | None = None
    reached = ""
    for name in CASCADES[effort]:
        if not case.landmarks[name]:
            break
        stage = decision.stages[name]
        scores = stage.score(case.evidence[name])
        probability = stage.probability(scores)
        i = min(range(len(scores)), key=lambda i: (-probability[i], -scores[i], case.landmarks[name][i]))
        best, reached = (float(probability[i]), float(scores[i]), case.landmarks[name][i]), name
        low, high = CONTINUE_BETWEEN[name]
        if not low < best[0] < high:
            break
    if best is None:
        return HeldOutAnswer(case.query, None, 0.0, right=False, stage=reached)
    return HeldOutAnswer(case.query, best[2], best[0], best[2] in case.truth, reached)


def held_out_answers(
    cases: Sequence[Example], decisions: Sequence[LearnedDecider], effort: str, fold_of: FoldOf = fold_of
) -> list[HeldOutAnswer]:
    """Return for each example the answer of its fold's decision, which has not seen the example's group."""
    return [answer_example(case, decisions[fold_of(case.group)], effort) for case in cases]


def precision_curves(
    cases: Sequence[Example], decisions: Sequence[LearnedDecider], fold_of: FoldOf = fold_of
) -> dict[str, Float64]:
    """Return effort -> `precision_curve` of what each fold's decision says of its cases, as far as they are trusted."""
    weight = np.array([case.weight * case.calibration_weight for case in cases])
    curves = {}
    for effort in CASCADES:
        answers = held_out_answers(cases, decisions, effort, fold_of)
        confidence, right = np.array([a.confidence for a in answers]), np.array([a.right for a in answers], bool)
        curves[effort] = precision_curve(confidence, right, weight)
    return curves


def precision_curve(confidence: Float64, right: Bool, weight: Float64) -> Float64:
    """Return (K, 2), floors and the share of answers at or above each that are right.

    Smoothed so that it never falls as the floor rises, and as good as the last floor with enough answers beyond it.
    """
    curve = np.zeros(len(FLOORS))
    last = 0.0
    for i, floor in enumerate(FLOORS):
        answered = (confidence >= floor) & (weight > 0)
        if answered.sum() >= ANSWERS:
            last = float((weight * right)[answered].sum() / weight[answered].sum())
        curve[i] = max(last, curve[i - 1] if i else 0.0)
    return np.stack((FLOORS, curve), 1)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The likeliest landmark of every case at one stage, side by side."""

    case: Int64
    landmark: tuple[str, ...]
    evidence: Float64
    right: Bool
    weight: Float64
    calibration_weight: Float64


def _rows(cases: Sequence[Example], stage: str) -> _Rows:
    numbered = [(i, case) for i, case in enumerate(cases) if case.landmarks[stage]]
    guesses = tuple(case.landmarks[stage][0] for _, case in numbered)
    return _Rows(
        case=np.array([i for i, _ in numbered], np.int64),
        landmark=guesses,
        evidence=np.array([case.evidence[stage][0] for _, case in numbered]).reshape(len(numbered), len(TERM_NAMES)),
        right=np.array([guess in case.truth for guess, (_, case) in zip(guesses, numbered, strict=True)], bool),
        weight=np.array([case.weight for _, case in numbered]),
        calibration_weight=np.array([case.weight * case.calibration_weight for _, case in numbered]),
    )


def _check_both(right: Bool) -> None:
    if len(right) == 0 or right.all() or not right.any():
        raise ValueError("expected photos that show a landmark of the gallery and photos that show none of them")


def _best_guesses(
    cases: Sequence[Example], rows: _Rows, name: str, stages: Sequence[CalibratedLogistic], fold: Int64
) -> tuple[Float64, Bool]:
    """Return the largest score of each row's case, by the stage of its fold, and whether that landmark is right."""
    scores, right = np.zeros(len(rows.case)), np.zeros(len(rows.case), bool)
    for i, (number, k) in enumerate(zip(rows.case.tolist(), fold.tolist(), strict=True)):
        fold_scores = stages[k].score(cases[number].evidence[name])
        best = int(fold_scores.argmax())
        scores[i], right[i] = fold_scores[best], cases[number].landmarks[name][best] in cases[number].truth
    return scores, right
