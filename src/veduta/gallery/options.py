"""The options of a recognition: one frozen object for the library, the command line, jobs and the web."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypedDict

from veduta.cascade import CascadeSettings
from veduta.decision.model import CASCADES, DEFAULT_EFFORT
from veduta.geo import Circle

DEFAULT_MATCHER = "nearest"


@dataclass(frozen=True)
class RecognizeOptions:
    """How photos are recognized.

    Attributes:
        effort: ``fast``, ``default`` or ``thorough``; docs/decision.md has the cost and gain of each.
        budget_ms: no further work is begun on a photo once this much time is spent on it.
        precision: share of right answers to reach; chooses the floor by the precision measured for the decision.
        floor: least confidence of an answer instead; 0.5 when neither is given.
        gps: whether a photo's position counts, for landmarks whose place is known.
        matcher: ``nearest``, or ``lighterglue`` for fifty times the cost a pair.
        depth: candidates retrieved.
        rerank_depth: most candidates verified; None for the effort's own numbers.
        landmarks: ids of the only landmarks to be named; None for all. The others still count against them, so the
            answer to a photo of another landmark is none.
        near: name only landmarks whose place is known to lie in this circle; with `landmarks`, those in both.

    Raises:
        ValueError: an option is out of its range, or both precision and floor are given.
    """

    effort: str = DEFAULT_EFFORT
    budget_ms: float | None = None
    precision: float | None = None
    floor: float | None = None
    gps: bool = True
    matcher: str = DEFAULT_MATCHER
    depth: int = 100
    rerank_depth: int | None = None
    landmarks: Collection[str] | None = None
    near: Circle | None = None

    def __post_init__(self) -> None:
        if self.effort not in CASCADES:
            raise ValueError(f"effort: expected one of {', '.join(CASCADES)}, got {self.effort!r}")
        if self.precision is not None and self.floor is not None:
            raise ValueError("expected a precision or a floor, got both")
        if isinstance(self.landmarks, str):
            raise TypeError(f"landmarks: expected a collection of ids, got the text {self.landmarks!r}")
        _ = self.cascade  # checks depth, rerank_depth and budget_ms

    @property
    def cascade(self) -> CascadeSettings:
        """The cascade's settings."""
        return CascadeSettings(CASCADES[self.effort], self.depth, self.rerank_depth, self.budget_ms)


class RecognizeChanges(TypedDict, total=False):
    """The fields of `RecognizeOptions`, as keyword arguments that replace those of an options object."""

    effort: str
    budget_ms: float | None
    precision: float | None
    floor: float | None
    gps: bool
    matcher: str
    depth: int
    rerank_depth: int | None
    landmarks: Collection[str] | None
    near: Circle | None
