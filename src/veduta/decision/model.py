"""Evidence to landmark and confidence: log odds learned from photos, calibrated on others, cut off by a floor.

A stage is a logistic regression over the terms of `veduta.decision.terms`, each weight of the sign its term has, so
that more evidence never lowers a confidence; then a beta calibration (Kull et al., AISTATS 2017), which keeps the
order. There is one stage for each amount of work done, from similarities alone to the fine matcher, because
missing evidence is not evidence against.
"""

from __future__ import annotations

import functools
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from veduta.decision.answer import LandmarkScore, landmark_votes, sigmoid
from veduta.decision.candidates import CandidateContext
from veduta.decision.terms import TERM_NAMES, compute_terms
from veduta.errors import GalleryError, PrecisionError
from veduta.landmarks import TermValue
from veduta.models.cards import card
from veduta.models.session import read_file
from veduta.types import Candidate, Float32, Float64

DECISION_FORMAT = 2  # of the .npz file of a decision
DAMAGED = (  # what readers of a damaged .npz raise
    ValueError,
    KeyError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
MAX_DECISION_BYTES = 64 * 2**20  # unpacked; one has some two megabytes

# Effort -> the stages it may go through; the next one only while the decision is open.
CASCADES: dict[str, tuple[str, ...]] = {
    "fast": ("similarity", "first"),
    "default": ("similarity", "first", "full"),
    "thorough": ("full", "fine"),
}
DEFAULT_EFFORT = "default"
# Stage -> candidates verified, and confidences between which a later stage is worth its cost. From similarities alone
# only a "none" is certain enough: an answer has to show geometry.
NUM_VERIFIED = {"similarity": 0, "first": 8, "full": 30, "fine": 30}
CONTINUE_BETWEEN = {"similarity": (0.01, 1.1), "first": (0.02, 0.985), "full": (0.04, 0.97), "fine": (1.0, 0.0)}


class Decider(Protocol):
    """Weighs the landmarks among the candidates of one query."""

    @property
    def centers(self) -> Float32:
        """(C, D) descriptors that stand for photos without a landmark; C may be 0."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The origin of the decider, for reports."""
        ...

    def score_landmarks(
        self, stage: str, candidates: Sequence[Candidate], context: CandidateContext
    ) -> list[LandmarkScore]:
        """Return the likeliest landmarks, likeliest first, equal ones by id."""
        ...

    def floor_for(self, precision: float, effort: str) -> float:
        """Return the least confidence whose answers were right this often; PrecisionError without a measurement."""
        ...


@dataclass(frozen=True, eq=False)
class CalibratedLogistic:
    """One logistic regression with its calibration.

    Attributes:
        mean: (T,) of each term among the photos it was learned from.
        scale: (T,) standard deviation.
        weights: (T,) of the standardized terms, which are clipped to four deviations.
        bias: of the log odds.
        calibration: (a, b, c) of the beta calibration log odds = a ln p - b ln(1 - p) + c, a and b not negative.
    """

    mean: Float64
    scale: Float64
    weights: Float64
    bias: float
    calibration: tuple[float, float, float] = (1.0, 1.0, 0.0)

    def parts(self, evidence: Float64) -> Float64:
        """Return (..., T), what each term adds to the log odds, for evidence (..., T)."""
        return np.asarray(np.clip((evidence - self.mean) / self.scale, -4, 4) * self.weights)

    def score(self, evidence: Float64) -> Float64:
        """Return (...), the log odds before calibration."""
        return np.asarray(self.parts(evidence).sum(-1) + self.bias)

    def probability(self, score: Float64 | float) -> Float64:
        """Return the calibrated probabilities of these scores."""
        a, b, c = self.calibration
        z = np.asarray(score, np.float64)
        return np.asarray(sigmoid(c - a * np.logaddexp(0, -z) + b * np.logaddexp(0, z)))


@dataclass(frozen=True, eq=False)
class LearnedDecider:
    """A decision learned from photos: what ships, or what `veduta calibrate` has made for one gallery.

    Attributes:
        stages: name -> regression, for every stage of `CASCADES`.
        centers: (C, D) float32 of norm 1, cluster centers of photos without a landmark.
        curves: effort -> (K, 2), rising floors and the precision measured at each on photos not learned from.
        metadata: the origin of the decider.
    """

    stages: Mapping[str, CalibratedLogistic]
    centers: Float32
    curves: Mapping[str, Float64]
    metadata: Mapping[str, Any]

    def score_landmarks(
        self, stage: str, candidates: Sequence[Candidate], context: CandidateContext
    ) -> list[LandmarkScore]:
        """Return the likeliest landmarks, likeliest first, equal ones by id."""
        regression = self.stages[stage]
        scores = []
        for landmark, evidence in compute_terms(candidates, context).items():
            parts = regression.parts(evidence)
            score = float(parts.sum() + regression.bias)
            terms = tuple(map(TermValue, ("base", *TERM_NAMES), (regression.bias, *parts.tolist())))
            scores.append(LandmarkScore(landmark, score, float(regression.probability(score)), terms))
        return sorted(scores, key=lambda s: (-s.probability, -s.score, s.landmark))

    def floor_for(self, precision: float, effort: str = DEFAULT_EFFORT) -> float:
        """Return the least floor from which on answers were right this often.

        Raises:
            PrecisionError: no floor reached that precision.
        """
        curve = self.curves[effort]
        enough = curve[:, 1] >= precision
        if not enough[-1]:
            best = f"{curve[:, 1].max():.3f}"
            asked_for = f"{precision:.3f}"
            raise PrecisionError(f"no floor was measured to be right {asked_for} of the time; the best is right {best}")
        last_short = np.flatnonzero(~enough)
        return float(curve[last_short[-1] + 1 if len(last_short) else 0, 0])

    def to_bytes(self) -> bytes:
        """Return the decision as the bytes of an ``.npz`` file."""
        arrays: dict[str, Any] = {"centers": self.centers.astype(np.float16)}
        for name, stage in self.stages.items():
            arrays[f"stage/{name}"] = np.stack((stage.mean, stage.scale, stage.weights))
            arrays[f"calibration/{name}"] = np.array((stage.bias, *stage.calibration))
        arrays |= {f"curve/{name}": curve for name, curve in self.curves.items()}
        metadata = {"format": DECISION_FORMAT, "terms": TERM_NAMES, **self.metadata}
        file = io.BytesIO()
        np.savez_compressed(file, metadata=np.array(json.dumps(metadata)), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> LearnedDecider:
        """Return the decider that `to_bytes` wrote; GalleryError when damaged or of other terms."""
        try:
            return cls._from_bytes(data)
        except DAMAGED as error:
            remedy = "run 'veduta calibrate --reset', then calibrate again"
            raise GalleryError(f"the decision it was calibrated to is damaged ({error}); {remedy}") from error

    @classmethod
    def _from_bytes(cls, data: bytes) -> LearnedDecider:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            unpacked = sum(entry.file_size for entry in packed.infolist())
        if unpacked > MAX_DECISION_BYTES:
            raise ValueError(f"has {unpacked:,} bytes unpacked, more than {MAX_DECISION_BYTES:,}")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            metadata = json.loads(str(arrays["metadata"])) if "metadata" in arrays else {}
            if metadata.get("format") != DECISION_FORMAT or tuple(metadata["terms"]) != TERM_NAMES:
                remedy = "run 'veduta calibrate --reset', then calibrate again"
                raise GalleryError(f"the decision was calibrated by another Veduta; {remedy}")
            stages = {}
            for name in (key.removeprefix("stage/") for key in arrays if key.startswith("stage/")):
                bias, *calibration = _numbers(arrays[f"calibration/{name}"], 1).tolist()
                mean, scale, weights = _numbers(arrays[f"stage/{name}"], 2, len(TERM_NAMES))
                a, b, c = calibration
                stages[name] = CalibratedLogistic(mean, scale, weights, bias, (a, b, c))
            curves = {k.removeprefix("curve/"): _numbers(arrays[k], 2, 2) for k in arrays if k.startswith("curve/")}
            centers = _numbers(arrays["centers"], 2).astype(np.float32)
        if stages.keys() != NUM_VERIFIED.keys() or not all(map(len, curves.values())):
            raise ValueError(f"has stages {sorted(stages)}, and curves of {[*map(len, curves.values())]} floors")
        return cls(stages, centers, curves, {k: v for k, v in metadata.items() if k not in ("format", "terms")})


def _numbers(array: npt.NDArray[Any], dimensions: int, length: int | None = None) -> npt.NDArray[Any]:
    """Return an array after checking that it holds finite numbers, in so many dimensions, the last of this length."""
    if array.dtype.kind != "f" or array.ndim != dimensions or length not in (None, array.shape[-1]):
        raise ValueError(f"expected {dimensions} dimensions of numbers, got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("expected finite numbers")
    return array


class HeuristicDecider:
    """For models no decision was learned for: similarity and saturated inliers of the best candidate, one curve.

    Args:
        slope: of the logistic curve over `candidate_score`.
        middle: the score of even odds.
    """

    def __init__(self, slope: float = 14.0, middle: float = 0.83) -> None:
        self.slope, self.middle = slope, middle

    @property
    def centers(self) -> Float32:
        """No centers."""
        return np.zeros((0, 0), np.float32)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The origin of the decider."""
        return {"source": "simple formula", "remedy": "run 'veduta calibrate'"}

    def score_landmarks(
        self, stage: str, candidates: Sequence[Candidate], context: CandidateContext
    ) -> list[LandmarkScore]:
        """Return the landmarks, likeliest first, equal ones by id; the stage does not matter."""
        return [
            LandmarkScore(landmark, score, self.confidence(score), (TermValue("best candidate", score),))
            for landmark, score in landmark_votes(candidates).items()
        ]

    def confidence(self, score: float) -> float:
        """Return the probability, in [0, 1], that a landmark with this score is the right one."""
        return float(sigmoid(self.slope * (score - self.middle)))

    def floor_for(self, precision: float, effort: str = DEFAULT_EFFORT) -> float:
        """Raise PrecisionError: nothing was measured."""
        unknown = "how precise answers are was never measured for these models"
        raise PrecisionError(unknown, "run 'veduta calibrate' first")


# (embedder, extractor, matcher) -> the card of the decision learned for their evidence.
LEARNED = {("efficientnet-lite2-landmarks", "xfeat", "nearest"): "decision"}
# Embedder -> slope and middle of the heuristic: whitened cosines are smaller.
HEURISTIC = {"efficientnet-lite2-landmarks": (17.6, 0.331)}


def heuristic_decider(embedder: str) -> HeuristicDecider:
    """Return the heuristic with the curve that fits this embedder's cosines."""
    return HeuristicDecider(*HEURISTIC.get(embedder, ()))


@functools.cache
def shipped_decider(embedder: str, extractor: str, matcher: str) -> LearnedDecider | HeuristicDecider:
    """Return the decider that ships for these models, or the heuristic when none was learned for them."""
    name = LEARNED.get((embedder, extractor, matcher))
    return heuristic_decider(embedder) if name is None else LearnedDecider.from_bytes(read_file(card(name)))
