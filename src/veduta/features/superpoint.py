"""SuperPoint: the seed system's local feature (DeTone, Malisiewicz and Rabinovich, CVPR Workshops 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from veduta.images.resize import Frame, to_gray, to_photo_features
from veduta.models.cards import card
from veduta.models.session import open_session
from veduta.models.torch_models import open_transformers, require_module, to_numpy, warn_license
from veduta.models.weights import exported, find_weights
from veduta.types import Image, LocalFeatures

if TYPE_CHECKING:
    import onnxruntime

STEP, LEAST = 8, 32  # a cell of the detector; less than four of them find nothing
LEAST_EXPORTED = 64  # so that there are enough pixels for the 2,048 keypoints of the graph


class SuperPoint:
    """SuperPoint as in ``transformers``, run by torch, or by ONNX Runtime after an export.

    Its weights are for non-commercial research only.

    Args:
        max_keypoints: how many of the best keypoints are kept; at most 2,048 of an exported one.
        max_side: photos are reduced so that their longer side has at most this many pixels.
        provider: ``cpu`` or ``cuda``.
        threshold: least score of a keypoint; the weights' own is 0.005, the notebook's 0.001.

    Raises:
        ModelError: torch or the weights are not here.
    """

    def __init__(
        self, max_keypoints: int = 512, max_side: int = 576, provider: str = "cpu", threshold: float = 0.005
    ) -> None:
        self.max_keypoints, self.max_side, self.threshold = max_keypoints, max_side, threshold
        weights = find_weights(self.name)
        self.sha256, exported_card = weights.sha256, exported(weights)
        self._frame = Frame(max_side, STEP, LEAST)
        self._session = None if exported_card is None else open_session(exported_card, provider)
        if exported_card is not None:
            self._frame = Frame(max_side, STEP, LEAST_EXPORTED)
            warn_license(self.name)
            return
        changes = {"max_keypoints": max_keypoints, "keypoint_threshold": threshold}
        self._model, _ = open_transformers(self.name, "SuperPointForKeypointDetection", provider, **changes)

    @property
    def name(self) -> str:
        """The name of its card."""
        return "superpoint"

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
        return self.extract_many([image])[0]

    def extract_many(self, images: Sequence[Image]) -> list[LocalFeatures]:
        """Return the local features of each photo; photos of one size are looked at together."""
        if self._session is not None:
            return [self._by_session(self._session, image) for image in images]
        torch = require_module("torch", self.name)
        sizes: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            height, width = image.pixels.shape[:2]
            sizes.setdefault(self._frame.size(width, height), []).append(i)
        by_place: dict[int, LocalFeatures] = {}
        for size, members in sizes.items():
            planes = [torch.from_numpy(to_gray(self._frame.resize(images[i].pixels))) for i in members]
            pixels = torch.stack(planes)[:, None].expand(-1, 3, -1, -1).to(self._model.device)  # (B, 3, H, W)
            with torch.inference_mode():
                output = self._model(pixel_values=pixels)
            present = output.mask.bool()
            keypoints = output.keypoints * torch.tensor(size, device=output.keypoints.device)  # from relative ones
            for row, i in enumerate(members):
                rows = (part[row][present[row]] for part in (keypoints, output.descriptors, output.scores))
                by_place[i] = to_photo_features(images[i], size, self.max_keypoints, *map(to_numpy, rows))
        return [by_place[i] for i in range(len(images))]

    def _by_session(self, session: onnxruntime.InferenceSession, image: Image) -> LocalFeatures:
        pixels = self._frame.resize(image.pixels)
        keypoints, scores, descriptors = session.run(None, {"image": pixels[None]})
        n = int(np.count_nonzero(scores > self.threshold))
        size = pixels.shape[1], pixels.shape[0]
        return to_photo_features(image, size, self.max_keypoints, keypoints[:n], descriptors[:n], scores[:n])
