"""The cascade: how many candidates are verified, and by which matcher, before a decision is left alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from veduta.decision.answer import LandmarkScore, rank_candidates
from veduta.decision.model import CASCADES, DEFAULT_EFFORT, NUM_VERIFIED
from veduta.types import Candidate

FINE_PAIRS = 2  # candidates of the likeliest landmark, and half as many of the next, for the fine matcher


@dataclass(frozen=True)
class CascadeSettings:
    """How much work a recognizer may put into one photo.

    Attributes:
        stages: names of `veduta.decision.model.CASCADES`' stages, the next one only while the decision is open.
        depth: candidates retrieved.
        rerank_depth: most candidates verified, whatever the stages say; None for their own numbers.
        budget_ms: no further work is begun once this much time is spent; None for no limit.
    """

    stages: tuple[str, ...] = CASCADES[DEFAULT_EFFORT]
    depth: int = 100
    rerank_depth: int | None = None
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        if self.depth < 1 or (self.rerank_depth or 0) < 0 or (self.budget_ms or 0) < 0:
            got = f"{self.depth}, {self.rerank_depth}, {self.budget_ms}"
            raise ValueError(f"expected depth >= 1, rerank_depth >= 0 and budget_ms >= 0, got {got}")

    def steps(self) -> list[tuple[str, int]]:
        """Return the stages to go through, with the number of candidates that each verifies."""
        limit = self.rerank_depth
        if limit is None:
            return [(name, NUM_VERIFIED[name]) for name in self.stages]
        # The last step is scored by the stage whose evidence is most like what so many candidates give.
        last = next((name for name in ("similarity", "first", "full") if NUM_VERIFIED[name] >= limit), "full")
        before = [
            (name, NUM_VERIFIED[name])
            for name in self.stages
            if NUM_VERIFIED[name] < limit and name not in (last, "fine")
        ]
        return [*before, (last, limit), *([("fine", limit)] if limit and "fine" in self.stages else [])]


def is_over(until: float | None) -> bool:
    """Return whether a moment, a `time.perf_counter`, has come; None never comes."""
    return until is not None and time.perf_counter() >= until


def fine_candidates(candidates: Sequence[Candidate], scores: Sequence[LandmarkScore]) -> list[Candidate]:
    """Return the candidates for the fine matcher: the best of the likeliest two landmarks."""
    ranked = rank_candidates(candidates)
    chosen: list[Candidate] = []
    for score, count in zip(scores, (FINE_PAIRS, FINE_PAIRS // 2), strict=False):
        chosen += [c for c in ranked if c.landmark == score.landmark][:count]
    return chosen


def stage_of(candidates: Sequence[Candidate]) -> str:
    """Return the stage whose evidence is like that of these candidates, by how many were verified."""
    verified = sum(candidate.num_inliers is not None for candidate in candidates)
    return next((name for name in ("similarity", "first", "full") if NUM_VERIFIED[name] >= verified), "full")
