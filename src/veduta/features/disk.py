"""DISK: local features learned by reinforcement (Tyszkiewicz, Fua and Trulls, NeurIPS 2020)."""

from __future__ import annotations

from veduta.frame import Frame, in_photo
from veduta.models import card
from veduta.models.networks import fill, need, numbers, open_state
from veduta.types import Image, LocalFeatures

STEP, LEAST = 16, 64  # the U-Net halves its input four times


class Disk:
    """DISK as in kornia, run by torch.

    Args:
        max_keypoints: how many of the best keypoints are kept.
        max_side: photos are reduced so that their longer side has at most this many pixels.
        provider: ``cpu`` or ``cuda``.

    Raises:
        ModelError: torch or the weights are not here.
    """

    def __init__(self, max_keypoints: int = 512, max_side: int = 576, provider: str = "cpu") -> None:
        self.max_keypoints, self.max_side = max_keypoints, max_side
        state, weights = open_state(self.name, self.name)
        self._network = fill(need("kornia.feature", self.name).DISK(), state["extractor"], weights, provider)
        self.sha256 = weights.sha256
        self._frame = Frame(max_side, STEP, LEAST)

    @property
    def name(self) -> str:
        """The name of its card."""
        return "disk"

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
        torch = need("torch", self.name)
        pixels = self._frame.resize(image.pixels)
        place = next(self._network.parameters()).device
        photo = torch.from_numpy(pixels).to(place).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
        with torch.inference_mode():
            said = self._network(photo, n=self.max_keypoints)[0]
        rows = map(numbers, (said.keypoints, said.descriptors, said.detection_scores))
        return in_photo(image, (pixels.shape[1], pixels.shape[0]), self.max_keypoints, *rows)
