"""DISK and ALIKED, on kornia's networks.

DISK: local features learned by reinforcement (Tyszkiewicz, Fua and Trulls, NeurIPS 2020). ALIKED: descriptors from
deformable samples around each keypoint (Zhao et al., IEEE TIM 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from veduta.images.resize import Frame, to_photo_features
from veduta.models.cards import card
from veduta.models.torch_models import load_weights, open_state, require_module, to_numpy
from veduta.types import Image, LocalFeatures


class KorniaFeatures:
    """A detector and descriptor of kornia, run by torch.

    Args:
        name: of its card.
        ask: network, photo (1, 3, H, W) in [0, 1] -> keypoints (N, 2), descriptors (N, D), scores (N,).
        network: with its weights, ready to be asked.
        sha256: of the weights.
        step: photos are brought to sides that are multiples of this.
        max_keypoints: how many of the best keypoints are kept.
        max_side: photos are reduced so that their longer side has at most this many pixels.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[Any, Any], tuple[Any, Any, Any]],
        network: Any,
        sha256: str,
        step: int,
        max_keypoints: int,
        max_side: int,
    ) -> None:
        self.name, self.sha256, self.max_keypoints, self.max_side = name, sha256, max_keypoints, max_side
        self._ask, self._network, self._frame = ask, network, Frame(max_side, step, MIN_SIDE)

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
        torch = require_module("torch", self.name)
        pixels = self._frame.resize(image.pixels)
        place = next(self._network.parameters()).device
        photo = torch.from_numpy(pixels).to(place).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
        with torch.inference_mode():
            output = self._ask(self._network, photo)
        return to_photo_features(image, (pixels.shape[1], pixels.shape[0]), self.max_keypoints, *map(to_numpy, output))


MIN_SIDE = 64  # pixels of a side


def disk(max_keypoints: int = 512, max_side: int = 576, provider: str = "cpu") -> KorniaFeatures:
    """Return DISK; ModelError when torch or the weights are not here."""
    make = require_module("kornia.feature", "disk").DISK
    state, weights = open_state("disk", "disk")

    def ask(network: Any, photo: Any) -> tuple[Any, Any, Any]:
        output = network(photo, n=max_keypoints)[0]
        return output.keypoints, output.descriptors, output.detection_scores

    network = load_weights(make(), state.get("extractor", {}), weights, provider)
    return KorniaFeatures("disk", ask, network, weights.sha256, 16, max_keypoints, max_side)


def aliked(max_keypoints: int = 512, max_side: int = 576, provider: str = "cpu") -> KorniaFeatures:
    """Return ALIKED-n16; ModelError when torch or the weights are not here."""
    make = require_module("kornia.feature", "aliked").ALIKED
    state, weights = open_state("aliked", "aliked")

    def ask(network: Any, photo: Any) -> tuple[Any, Any, Any]:
        output = network(photo)[0]
        return output.keypoints, output.descriptors, output.keypoint_scores

    empty = make("aliked-n16", max_num_keypoints=max_keypoints, detection_threshold=-1.0)
    network = load_weights(empty, state, weights, provider)
    return KorniaFeatures("aliked", ask, network, weights.sha256, 1, max_keypoints, max_side)
