"""LighterGlue: attention over both photos' keypoints, the costlier matcher for XFeat."""

from __future__ import annotations

from collections.abc import Sequence

from veduta.matching.mutual import NO_MATCHES, match_with_session
from veduta.models.session import open_session
from veduta.types import LocalFeatures, Matches


class LighterGlue:
    """LightGlue's small version for XFeat (Lindenberger et al., ICCV 2023), run by ONNX Runtime.

    Args:
        min_probability: least probability of a pair, in [0, 1].
        provider: execution provider of ONNX Runtime.
        threads: threads inside one operator; None means all cores.
    """

    def __init__(self, min_probability: float = 0.1, provider: str = "cpu", threads: int | None = None) -> None:
        self.min_probability = min_probability
        self._session = open_session(self.name, provider, threads)

    @property
    def name(self) -> str:
        """The name of its model card."""
        return "lighterglue"

    def match(self, query: LocalFeatures, reference: LocalFeatures) -> Matches:
        """Return mutual pairs, each scored by its probability; empty when either photo has no keypoints."""
        if not len(query) or not len(reference):
            return NO_MATCHES
        return match_with_session(self._session, query, reference, self.min_probability)

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Return the matches with each of the references, one after the other."""
        return [self.match(query, reference) for reference in references]
