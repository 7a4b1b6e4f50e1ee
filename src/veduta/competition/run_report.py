"""The report of a run: its stages' time and memory, and the scores."""

from __future__ import annotations

import resource
import sys
from dataclasses import asdict, dataclass
from typing import Any

from veduta.competition.score import Score


@dataclass(frozen=True)
class StageReport:
    """The time and memory of a stage.

    Attributes:
        stage: its name.
        seconds: wall time in this run.
        peak_megabytes: most memory the process has held until its end.
        skipped: whether its result was there already.
    """

    stage: str
    seconds: float
    peak_megabytes: float
    skipped: bool


@dataclass(frozen=True)
class RunReport:
    """The outcome of a run.

    Attributes:
        submission: path of submission.csv.
        recipe: name of the recipe.
        predictions: how many photos have one.
        photos: how many photos the submission has.
        stages: what each stage took.
        scores: figures by part, where a solution is at hand.
        page: path of the report, where a solution is at hand.
    """

    submission: str
    recipe: str
    predictions: int
    photos: int
    stages: tuple[StageReport, ...]
    scores: dict[str, Score] | None
    page: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object, undefined figures being None."""
        scores = {part: figures.as_dict() for part, figures in self.scores.items()} if self.scores else None
        return asdict(self) | {"scores": scores}


def peak_megabytes() -> float:
    """Return the most memory this process has held so far."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
