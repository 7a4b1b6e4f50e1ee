"""XFeat: small, fast, free learned features (Potje et al., CVPR 2024)."""

from __future__ import annotations

import numpy as np

from veduta.images.resize import Frame, rescale
from veduta.models.cards import card
from veduta.models.session import open_session
from veduta.types import Image, LocalFeatures

STEP, LEAST = 32, 64  # sides the network takes: multiples of 32, and enough pixels for its most keypoints
XFEAT_MAX_KEYPOINTS = 4096  # keypoints that the network looks for


class XFeat:
    """XFeat run by ONNX Runtime, non-maximum suppression and top-k included.

    Args:
        max_keypoints: how many of the best keypoints are kept, at most 4,096.
        max_side: photos are reduced so that their longer side has at most this many pixels.
        provider: execution provider of ONNX Runtime.
        threads: threads inside one operator; None means all cores.
    """

    def __init__(
        self, max_keypoints: int = 512, max_side: int = 576, provider: str = "cpu", threads: int | None = None
    ) -> None:
        self.max_keypoints, self.max_side = max_keypoints, max_side
        self._session = open_session(self.name, provider, threads)
        self._frame = Frame(max_side, STEP, LEAST)

    @property
    def name(self) -> str:
        """The name of its model card."""
        return "xfeat"

    @property
    def sha256(self) -> str:
        """Hex digest of its weights."""
        return card(self.name).sha256

    @property
    def settings(self) -> dict[str, int]:
        """The settings that change features, beside the weights."""
        return {"max_keypoints": self.max_keypoints, "max_side": self.max_side}

    @property
    def dim(self) -> int:
        """Length of a keypoint's descriptor."""
        return card(self.name).dim

    def extract(self, image: Image) -> LocalFeatures:
        """Return at most `max_keypoints` keypoints, best first, in pixels of the upright original photo."""
        pixels = self._frame.resize(image.pixels)
        inputs = {"image": pixels[None], "count": np.array(min(self.max_keypoints, XFEAT_MAX_KEYPOINTS))}
        keypoints, scores, descriptors = self._session.run(None, inputs)
        n = int(np.count_nonzero(scores > 0))
        height, width = pixels.shape[:2]
        return LocalFeatures(
            keypoints=rescale(keypoints[:n], (width, height), image.size),
            descriptors=np.ascontiguousarray(descriptors[:n]),
            scores=np.ascontiguousarray(scores[:n]),
            size=image.size,
        )
