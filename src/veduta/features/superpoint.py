"""SuperPoint: the seed system's local feature (DeTone, Malisiewicz and Rabinovich, CVPR Workshops 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from veduta.frame import Frame, grey, in_photo
from veduta.models import card
from veduta.models.networks import need, numbers, open_transformers
from veduta.types import Image, LocalFeatures

STEP, LEAST = 8, 32  # a cell of the detector; less than four of them find nothing


class SuperPoint:
    """SuperPoint as in ``transformers``, run by torch. Its weights are for non-commercial research only.

    Args:
        max_keypoints: how many of the best keypoints are kept.
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
        self._model, weights = open_transformers(
            self.name,
            "SuperPointForKeypointDetection",
            provider,
            max_keypoints=max_keypoints,
            keypoint_threshold=threshold,
        )
        self.sha256 = weights.sha256
        self._frame = Frame(max_side, STEP, LEAST)

    @property
    def name(self) -> str:
        """The name of its card."""
        return "superpoint"

    @property
    def settings(self) -> dict[str, int]:
        """What changes its features, beside its weights."""
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
        torch = need("torch", self.name)
        sizes: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            sizes.setdefault(self._frame.size(*image.size), []).append(i)
        found: dict[int, LocalFeatures] = {}
        for size, members in sizes.items():
            planes = [torch.from_numpy(grey(self._frame.resize(images[i].pixels))) for i in members]
            pixels = torch.stack(planes)[:, None].expand(-1, 3, -1, -1).to(self._model.device)  # (B, 3, H, W)
            with torch.inference_mode():
                said = self._model(pixel_values=pixels)
            there = said.mask.bool()
            keypoints = said.keypoints * torch.tensor(size, device=said.keypoints.device)  # from relative ones
            for row, i in enumerate(members):
                rows = (part[row][there[row]] for part in (keypoints, said.descriptors, said.scores))
                found[i] = in_photo(images[i], size, self.max_keypoints, *map(numbers, rows))
        return [found[i] for i in range(len(images))]
