"""How good the answers are: GAP, mAP@100, recall@k, accuracy, open-set and calibration figures.

`truth` maps every query that counts to what is right for it: the landmarks a photo shows (none: it is a
distractor), or the relevant references. The order of mappings and predictions changes no result. GAP,
accuracy and mAP@100 are Kaggle's and GLDv2's: Weyand et al., "Google Landmarks Dataset v2", CVPR 2020.
A ValueError about one photo or query names it; one text where a collection belongs is a TypeError.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from veduta.types import Bool, Float64, Int64

Truth = Mapping[str, Collection[str]]
Ranked = Mapping[str, Sequence[str]]

ECE_BINS = 15  # of the calibration error, as in Guo et al. 2017


@dataclass(frozen=True)
class Prediction:
    """The best guess for one photo; a photo without a guess has no prediction.

    - `id`: the photo, in at most one prediction; `landmark`: the landmark guessed, not empty.
    - `confidence`: finite, larger is surer; a probability where calibration is asked for.
    """

    id: str
    landmark: str
    confidence: float


@dataclass(frozen=True)
class OpenSetReport:
    """How well confidence tells photos of a landmark from distractors; `open_set` has the formulas.

    - `distractors_answered`: share of the distractors at or above the floor; NaN without distractors.
    - `landmarks_answered`: share of the landmark photos at or above the floor; NaN without landmark photos.
    - `fpr95`: share of the distractors that pass where 95 % of the landmark photos do; NaN without either.
    - `auroc`: probability that a landmark photo is surer than a distractor; NaN without either.
    - `ece`: expected calibration error; NaN without predictions or with a confidence outside [0, 1].
    """

    distractors_answered: float
    landmarks_answered: float
    fpr95: float
    auroc: float
    ece: float


def gap(truth: Truth, predictions: Iterable[Prediction], ignored: Collection[str] = ()) -> float:
    """Return GAP, the global average precision (micro-AP) of Kaggle and GLDv2, in [0, 1].

    ``GAP = (1/M) * sum_i P(i) * rel(i)`` over the predictions of all photos in one list, sorted by confidence
    descending, then photo id ascending, then landmark ascending. M: photos with a landmark. P(i): share of
    the first i that are right. rel(i): 1 if the i-th landmark is among its photo's, else 0; so any prediction
    on a distractor is wrong. Those on `ignored` photos (Usage "Ignored") take no rank. From Perronnin et al.,
    "A Family of Contextual Measures of Similarity between Distributions", CVPR 2009, and Weyand et al. 2020.
    ValueError if an id is repeated, unknown, or both ignored and in `truth`; if a confidence is not finite or
    a landmark empty; if no photo shows a landmark, where GLDv2's code divides by zero.

    >>> truth = {"a": ["arc"], "b": ["louvre", "pyramid"], "c": [], "d": ["dome"]}
    >>> guesses = [Prediction("b", "pyramid", 0.7), Prediction("a", "arc", 0.9), Prediction("c", "arc", 0.8)]
    >>> round(gap(truth, guesses), 4)  # ranks: a right, c wrong, b right; M = 3: (1/1 + 2/3) / 3
    0.5556
    """
    return _gap(_judged(truth, predictions, ignored)[1], _num_positive(truth))


def accuracy(truth: Truth, predictions: Iterable[Prediction], ignored: Collection[str] = ()) -> float:
    """Return the share of the photos with a landmark whose prediction is right; without one they are wrong.

    Distractors and confidences play no part (GLDv2's Top1Accuracy, Weyand et al. 2020). Errors as `gap`.

    >>> truth = {"a": ["arc"], "b": ["louvre", "pyramid"], "c": [], "d": ["dome"], "e": ["arc"]}
    >>> accuracy(truth, [Prediction("b", "pyramid", 0.7), Prediction("a", "dome", 0.9)])  # b of a, b, d, e
    0.25
    """
    _, right = _judged(truth, predictions, ignored)
    return int(right.sum()) / _num_positive(truth)


def mean_average_precision(truth: Truth, ranked: Ranked, depth: int = 100) -> float:
    """Return mAP@depth of GLDv2's retrieval task, in [0, 1]; `ranked` holds references per query, best first.

    ``AP = sum (hits so far / rank) / min(relevant, depth)`` over the new and relevant hits among the first
    `depth`. A repeated reference counts once but takes its rank. The mean runs over all queries of `truth`:
    one not ranked, or with nothing relevant, adds 0 (GLDv2's solution has none of the latter). From Weyand et
    al. 2020. ValueError if `truth` is empty, depth < 1, or a query of `ranked` is unknown.

    >>> truth = {"q": ["r1", "r2", "r3"], "p": ["r4"]}
    >>> mean_average_precision(truth, {"q": ["r1", "r1", "r9", "r2"]})  # ((1/1 + 2/4) / 3 + 0) / 2
    0.25
    """
    _check_ranked(truth, ranked, depth)
    precisions = (_average_precision(frozenset(truth[q]), rows[:depth], depth) for q, rows in ranked.items())
    return math.fsum(precisions) / len(truth)


def recall_at_k(truth: Truth, ranked: Ranked, k: int) -> float:
    """Return recall@k as place recognition means it: the share of queries with a relevant one in the first k.

    One is enough, however many are relevant; it is not the share of the relevant references found. Queries
    with nothing relevant are left out; one that is not ranked is a miss. From Arandjelovic et al., "NetVLAD",
    CVPR 2016. ValueError if no query has anything relevant, k < 1, or a query of `ranked` is unknown.

    >>> truth = {"q": ["r1", "r2"], "p": ["r4"], "n": []}
    >>> [recall_at_k(truth, {"q": ["r9", "r2"], "p": ["r4"], "n": ["r1"]}, k) for k in (1, 2)]
    [0.5, 1.0]
    """
    _check_ranked(truth, ranked, k)
    hits = sum(not frozenset(truth[query]).isdisjoint(rows[:k]) for query, rows in ranked.items())
    return hits / _num_positive(truth)


def open_set(
    truth: Truth, predictions: Iterable[Prediction], floor: float, ignored: Collection[str] = ()
) -> OpenSetReport:
    """Return how well confidence separates photos of a landmark from distractors, and its calibration error.

    Pass the best guess for every photo, below the floor too; a photo without one has confidence -inf.

    - Answered: confidence >= floor.
    - FPR95 (Liang et al., "ODIN", ICLR 2018): the threshold is the largest t such that at least 95 % of the
      landmark photos have confidence >= t, whether or not their guess is right.
    - AUROC (Fawcett 2006): (pairs with landmark > distractor + half the ties) / pairs, exact.
    - ECE (Guo et al., ICML 2017): ``sum_b n_b / n * |share right_b - mean confidence_b|`` over all n
      predictions in 15 equal bins ((b-1)/15, b/15], 0 in the first; a guess on a distractor is wrong.

    ValueError as `gap`, except that what is missing gives NaN; and if `floor` is not finite.

    >>> truth = {"a": ["arc"], "b": ["dome"], "c": [], "d": []}
    >>> guesses = [Prediction("a", "arc", 1.0), Prediction("b", "arc", 0.5), Prediction("c", "arc", 0.75)]
    >>> report = open_set(truth, guesses, floor=0.6)
    >>> report.landmarks_answered, report.distractors_answered, report.fpr95, report.auroc
    (0.5, 0.5, 0.5, 0.75)
    >>> round(report.ece, 4)  # (|1 - 1| + |0 - 0.5| + |0 - 0.75|) / 3
    0.4167
    """
    if not math.isfinite(floor):
        raise ValueError(f"floor: expected a finite number, got {floor}")
    return _open_set(truth, *_judged(truth, predictions, ignored), floor)


def _open_set(truth: Truth, guesses: list[Prediction], right: Bool, floor: float) -> OpenSetReport:
    known = {p.id: p.confidence for p in guesses}
    confidence = np.array([known.get(photo, -math.inf) for photo in truth], dtype=np.float64)
    shows = _shows(truth, truth)
    positive, negative = confidence[shows], confidence[~shows]
    return OpenSetReport(
        distractors_answered=_share(negative >= floor),
        landmarks_answered=_share(positive >= floor),
        fpr95=_fpr95(positive, negative),
        auroc=_auroc(positive, negative),
        ece=_ece(np.array([p.confidence for p in guesses], dtype=np.float64), right),
    )


def bootstrap_gap(
    truth: Truth,
    predictions: Iterable[Prediction],
    ignored: Collection[str] = (),
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return a percentile bootstrap interval (low, high) of GAP over queries (Efron and Tibshirani 1993).

    Each resample draws as many queries as `truth` has, with replacement. A query drawn w times counts w times
    in M, and its prediction stands in the list as w copies in a row: nothing in GAP's order comes between. A
    resample without any landmark has no GAP and is drawn again. A seed always gives the same interval.
    ValueError as `gap`; and if resamples < 1 or `level` is not between 0 and 1.

    >>> truth = {"a": ["arc"], "b": ["dome"], "c": [], "d": ["dome"]}
    >>> guesses = [Prediction("a", "arc", 0.9), Prediction("b", "dome", 0.6), Prediction("c", "arc", 0.8)]
    >>> low, high = bootstrap_gap(truth, guesses)
    >>> low < gap(truth, guesses) < high
    True
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"expected resamples >= 1 and level in (0, 1), got {resamples} and {level}")
    _num_positive(truth)
    return _bootstrap(truth, *_judged(truth, predictions, ignored), resamples, seed, level)


def _bootstrap(
    truth: Truth, guesses: list[Prediction], right: Bool, resamples: int, seed: int, level: float
) -> tuple[float, float]:
    ids = [p.id for p in guesses]  # GAP's order first, so that the draws are counts along the ranking
    ids += sorted(set(truth).difference(ids))
    shows, hits = _shows(truth, ids), np.flatnonzero(right)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(ids) + 1))])
    rng = np.random.default_rng(seed)
    draws = (_draw(rng, shows) for _ in range(resamples))  # one at a time: they are as long as truth
    gaps = [_gap_of_copies(n[: len(guesses)], hits, harmonic) / int(n[shows].sum()) for n in draws]
    low, high = np.quantile(gaps, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Evaluation:
    """All figures of one set of answers.

    - gap, gap_interval: see `gap` and `bootstrap_gap`; the interval is (NaN, NaN) without resamples.
    - accuracy: see `accuracy`.
    - open_set: see `open_set`.
    """

    gap: float
    gap_interval: tuple[float, float]
    accuracy: float
    open_set: OpenSetReport


def evaluate(
    truth: Truth, predictions: Iterable[Prediction], floor: float, *, resamples: int = 1000, seed: int = 0
) -> Evaluation:
    """Return the results of `gap`, `bootstrap_gap`, `accuracy` and `open_set`, judging the answers once.

    Errors as theirs; resamples of 0 leave the interval out.

    >>> found = evaluate({"a": ["arc"], "b": []}, [Prediction("a", "arc", 0.9), Prediction("b", "arc", 0.2)], 0.5)
    >>> found.gap, found.accuracy, found.open_set.distractors_answered
    (1.0, 1.0, 0.0)
    """
    guesses, right = _judged(truth, predictions, ())
    positives = _num_positive(truth)
    interval = _bootstrap(truth, guesses, right, resamples, seed, 0.95) if resamples else (math.nan, math.nan)
    return Evaluation(
        gap=_gap(right, positives),
        gap_interval=interval,
        accuracy=int(right.sum()) / positives,
        open_set=_open_set(truth, guesses, right, floor),
    )


def _gap(right: Bool, positives: int) -> float:
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return float(precision[right].sum()) / positives


def _judged(truth: Truth, predictions: Iterable[Prediction], ignored: Collection[str]) -> tuple[list[Prediction], Bool]:
    """Return the P predictions that count, in GAP's order, and (P,) bool: which are right."""
    _reject_text("truth", truth)
    skipped = frozenset(ignored)
    if both := skipped.intersection(truth):
        raise ValueError(f"photo {min(both)!r} is both ignored and in truth")
    seen, counted = set[str](), list[Prediction]()
    for p in predictions:
        _check_prediction(p, seen)
        seen.add(p.id)
        if p.id in truth:
            counted.append(p)
        elif p.id not in skipped:
            raise ValueError(f"prediction for {p.id!r}: unknown photo, neither in truth nor ignored")
    counted.sort(key=lambda p: (-p.confidence, p.id, p.landmark))
    return counted, np.array([p.landmark in truth[p.id] for p in counted], dtype=np.bool_)


def _check_prediction(p: Prediction, seen: set[str]) -> None:
    if p.id in seen:
        raise ValueError(f"prediction for {p.id!r}: repeated, expected one per photo")
    if not math.isfinite(p.confidence) or not p.landmark:
        raise ValueError(f"prediction for {p.id!r}: expected a landmark and a finite confidence, got {p}")


def _check_ranked(truth: Truth, ranked: Ranked, depth: int) -> None:
    _reject_text("truth", truth)
    _reject_text("ranked", ranked)
    if unknown := set(ranked).difference(truth):
        raise ValueError(f"ranked: unknown query {min(unknown)!r}, not in truth")
    if depth < 1 or not truth:
        raise ValueError(f"expected at least one rank and one query, got {depth} and {len(truth)}")


def _reject_text(name: str, lists: Truth) -> None:
    for key, value in lists.items():
        if isinstance(value, str):  # in which "1" would be found to be in "12"
            raise TypeError(f"{name}[{key!r}]: expected a collection of texts, got the text {value!r}")


def _shows(truth: Truth, queries: Iterable[str]) -> Bool:
    return np.array([len(truth[query]) > 0 for query in queries], dtype=np.bool_)


def _num_positive(truth: Truth) -> int:
    if positive := sum(len(right) > 0 for right in truth.values()):
        return positive
    raise ValueError("truth: expected at least one query with something to find, got none")


def _average_precision(relevant: frozenset[str], rows: Sequence[str], depth: int) -> float:
    hits = [rank for rank, row in enumerate(rows, 1) if row in relevant and row not in rows[: rank - 1]]
    total = sum(n / rank for n, rank in enumerate(hits, 1))
    return total / min(len(relevant), depth) if relevant else 0.0


def _share(passed: Bool) -> float:
    return float(passed.mean()) if len(passed) else math.nan


def _fpr95(positive: Float64, negative: Float64) -> float:
    if not len(positive):
        return math.nan
    num_kept = -(-95 * len(positive) // 100)  # the ceiling, in integers: 0.95 * n may fall on the wrong side
    return _share(negative >= np.sort(positive)[-num_kept])


def _auroc(positive: Float64, negative: Float64) -> float:
    if not len(positive) or not len(negative):
        return math.nan
    below, upto = (np.searchsorted(np.sort(negative), positive, side) for side in ("left", "right"))
    return int(below.sum() + upto.sum()) / (2 * len(positive) * len(negative))


def _ece(confidence: Float64, right: Bool) -> float:
    if not len(confidence) or confidence.min() < 0 or confidence.max() > 1:
        return math.nan
    bins = np.searchsorted(np.arange(1, ECE_BINS) / ECE_BINS, confidence, "left")
    return float(np.abs(np.bincount(bins, weights=right - confidence)).sum()) / len(confidence)


def _draw(rng: np.random.Generator, shows: Bool) -> Int64:
    """Return how often each of N queries comes up in N draws, (N,), some query with a landmark among them."""
    while True:
        copies = np.bincount(rng.integers(len(shows), size=len(shows)), minlength=len(shows))
        if copies[shows].any():
            return copies


def _gap_of_copies(copies: Int64, hits: Int64, harmonic: Float64) -> float:
    """Return M * GAP when the i-th of P predictions stands `copies[i]` times in a row, right at `hits`.

    With n predictions before, f of them wrong, the j-th copy of a right one has precision 1 - f / (n + j). So
    its w copies add w - f * (H(n + w) - H(n)), where H are the (N + 1,) harmonic numbers.
    """
    w, end = copies[hits], np.cumsum(copies)[hits]
    wrong = end - np.cumsum(w)
    return float((w - wrong * (harmonic[end] - harmonic[end - w])).sum())
