"""A submission against its solution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from veduta import metrics
from veduta.competition.submissions import read_submission
from veduta.datasets.gldv2 import read_recognition_solution
from veduta.errors import DatasetError
from veduta.metrics import Prediction

PARTS = ("public", "private", "all")


@dataclass(frozen=True)
class Score:
    """The figures of one part of a test set; NaN where one is undefined.

    Attributes:
        photos: how many photos it has, ignored ones not counted.
        landmark_photos: how many of them show a landmark.
        predictions: how many of them have a prediction.
        gap: see `veduta.metrics.gap`.
        gap_low: lower end of its 95 % bootstrap interval.
        gap_high: upper end.
        accuracy: share of landmark photos predicted right.
        distractors_answered: share of the others with a confidence of at least the floor.
        fpr95: their share that passes the threshold which keeps 95 % of the landmark photos.
        auroc: how well confidence tells the two apart.
        ece: expected calibration error; NaN when confidences are not probabilities.
    """

    photos: int
    landmark_photos: int
    predictions: int
    gap: float
    gap_low: float
    gap_high: float
    accuracy: float
    distractors_answered: float
    fpr95: float
    auroc: float
    ece: float

    def as_dict(self) -> dict[str, Any]:
        """Return the score as a JSON object, undefined figures being None."""
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(self).items()}


def score_submission(solution: Path, submission: Path, floor: float = 0.5, resamples: int = 200) -> dict[str, Score]:
    """Return the figures for the public part, the private part and both.

    Args:
        solution: ``id,landmarks,Usage``.
        submission: ``id,landmarks``.
        floor: confidence from which a photo counts as answered, in `distractors_answered`.
        resamples: of the bootstrap; 0 for no interval.

    Raises:
        DatasetError: a file is malformed, or the submission has an id the solution does not know.
    """
    truth = read_recognition_solution(solution)
    ids, predictions = read_submission(submission)
    unknown = next((id for id in ids if id not in truth.truth), None)
    if unknown is not None:
        raise DatasetError(f"{submission}: photo id {unknown} is not in {solution}")
    return {part: _score(truth.part(part), predictions, floor, resamples) for part in PARTS}


def _score(truth: dict[str, tuple[str, ...]], predictions: Sequence[Prediction], floor: float, resamples: int) -> Score:
    of_part = [p for p in predictions if p.id in truth]
    positives = sum(bool(right) for right in truth.values())
    nan = math.nan
    if not positives:
        return Score(len(truth), 0, len(of_part), nan, nan, nan, nan, nan, nan, nan, nan)
    figures = metrics.evaluate(truth, of_part, floor, resamples=resamples)
    return Score(
        photos=len(truth),
        landmark_photos=positives,
        predictions=len(of_part),
        gap=figures.gap,
        gap_low=figures.gap_interval[0],
        gap_high=figures.gap_interval[1],
        accuracy=figures.accuracy,
        distractors_answered=figures.open_set.distractors_answered,
        fpr95=figures.open_set.fpr95,
        auroc=figures.open_set.auroc,
        ece=figures.open_set.ece,
    )
