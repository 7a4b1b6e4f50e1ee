"""LighterGlue: attention over both photos' keypoints, the costlier matcher for XFeat."""

from __future__ import annotations

import numpy as np

from veduta.models import open_session
from veduta.types import Float32, LocalFeatures, Matches


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
            return Matches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
        partner, probability, back = self._session.run(
            None,
            {
                "keypoints0": _normalise(query),
                "descriptors0": query.descriptors,
                "keypoints1": _normalise(reference),
                "descriptors1": reference.descriptors,
            },
        )
        mine = np.arange(len(query))
        keep = (back[partner] == mine) & (probability >= self.min_probability)
        return Matches(np.stack((mine[keep], partner[keep]), 1), probability[keep])


def _normalise(features: LocalFeatures) -> Float32:
    """Return (N, 2) keypoints relative to the photo's centre, in halves of its longer side."""
    size = np.array(features.size, np.float32)
    return np.asarray((features.keypoints - size / 2) / (size.max() / 2), np.float32)
