"""Which keypoints of a photo lie on things that move or grow: people, cars, sky, trees, water.

The notebook dropped the keypoints on four classes of a segmenter. `SegFormerMask` does that with classes of ADE20K;
`LearnedMask` needs no segmenter: it has learned from which keypoints of references other photos of the same landmark
confirm. Both say how likely each keypoint is to stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from veduta.errors import ModelError
from veduta.models.session import open_arrays
from veduta.models.torch_models import open_transformers, require_module, to_numpy
from veduta.protocols import Extractor, Mask
from veduta.types import Float32, Image, LocalFeatures, UInt8

# Names of ADE20K's classes of things that move or grow. The notebook dropped the first four.
MOVING = ("sky", "person", "tree", "flower", "plant", "grass", "car", "water")
NOTEBOOK_MOVING = MOVING[:4]
SEGMENTED = 512  # longer side of the photo a segmenter is shown
MEAN, DEVIATION = (np.array(values, np.float32) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


class SegFormerMask:
    """SegFormer trained on ADE20K as in ``transformers``, run by torch (Xie et al., NeurIPS 2021).

    Args:
        provider: ``cpu`` or ``cuda``.
        moving: names of the classes whose keypoints go.

    Raises:
        ModelError: torch or the weights are not here, or these do not know a class.
    """

    def __init__(self, provider: str = "cpu", moving: tuple[str, ...] = MOVING) -> None:
        self._model, weights = open_transformers(self.name, "SegformerForSemanticSegmentation", provider)
        self.sha256 = weights.sha256
        labels = {int(number): names for number, names in self._model.config.id2label.items()}
        numbered = {name.strip(): number for number, names in labels.items() for name in names.split(",")}
        unknown = [name for name in moving if name not in numbered]
        if unknown:
            raise ModelError(f"{weights.folder}: knows no {', '.join(unknown)}; expected a model trained on ADE20K")
        self._moving = np.array([numbered[name] for name in moving])

    @property
    def name(self) -> str:
        """The name of its card."""
        return "segformer"

    def map(self, image: Image) -> UInt8:
        """Return (H, W) uint8, 1 where the photo shows something that moves or grows, at the size of its pixels."""
        torch = require_module("torch", self.name)
        height, width = image.pixels.shape[:2]
        factor = min(1.0, SEGMENTED / max(height, width))
        size = tuple(max(32, round(side * factor / 32) * 32) for side in (width, height))
        small = cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        photo = torch.from_numpy(np.ascontiguousarray(((small - MEAN) / DEVIATION).transpose(2, 0, 1)))[None]
        with torch.inference_mode():
            logits = self._model(pixel_values=photo.to(self._model.device)).logits  # (1, 150, H / 4, W / 4)
        classes = to_numpy(logits[0].argmax(0)).astype(np.uint8)
        moving = np.isin(classes, self._moving).astype(np.uint8)
        return np.asarray(cv2.resize(moving, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)

    def repeatability(self, image: Image, features: LocalFeatures) -> Float32:
        """Return (N,) 1 for each keypoint on something that stays, 0 for the others."""
        return 1 - _at(self.map(image), image, features.keypoints).astype(np.float32)


class LearnedMask:
    """A logistic regression over the descriptor and place of XFeat's keypoints.

    Learned from references of landmarks: does any other photo of the same landmark confirm the keypoint?

    Raises:
        ModelError: the file is not the card's.
    """

    def __init__(self) -> None:
        learned = open_arrays(self.name)
        self._mean, self._scale, self._weights = (learned[key] for key in ("mean", "scale", "weights"))
        self._bias = float(learned["bias"][0])

    @property
    def name(self) -> str:
        """The name of its card."""
        return "usefulness"

    def repeatability(self, image: Image, features: LocalFeatures) -> Float32:
        """Return (N,) probability that another photo of the same place would confirm each keypoint, in [0, 1]."""
        inputs = mask_features(image, features)
        z = (inputs - self._mean) / self._scale @ self._weights + self._bias
        return np.asarray(1 / (1 + np.exp(-z)), np.float32)


class ColorRule:
    """A rule of thumb for any keypoints: bright blue or white above is sky, green is leaves.

    It is here as what the learned one has to beat.
    """

    @property
    def name(self) -> str:
        """The name of the rule."""
        return "colors"

    def repeatability(self, image: Image, features: LocalFeatures) -> Float32:
        """Return (N,) 0 for each keypoint on what looks like sky or leaves, 1 for the others."""
        look = keypoint_colors(image, features)
        red, green, blue, rough = look[:, 0], look[:, 1], look[:, 2], look[:, 3]
        y = features.keypoints[:, 1] / features.size[1]
        leaves = (green > 1.08 * red) & (green > 1.08 * blue)
        sky = (y < 0.5) & (blue >= red) & (blue > 0.45) & (rough < 0.06)
        return np.asarray(~(leaves | sky), np.float32)


def keypoint_colors(image: Image, features: LocalFeatures) -> Float32:
    """Return (N, 4) mean red, green and blue in [0, 1] around each keypoint, and how much the brightness varies there.

    Around: within one hundredth of the photo's longer side.
    """
    radius = max(2, round(max(image.pixels.shape[:2]) / 100))
    side = 2 * radius + 1
    mean = cv2.blur(image.pixels, (side, side)).astype(np.float32) / 255
    gray = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    variance = cv2.blur(gray * gray, (side, side)) - cv2.blur(gray, (side, side)) ** 2
    rough = np.sqrt(np.maximum(variance, 0))
    look = _at(np.dstack((mean, rough)), image, features.keypoints)
    return np.asarray(look, np.float32)


def mask_features(image: Image, features: LocalFeatures) -> Float32:
    """Return (N, D + 12) inputs of `LearnedMask` for each keypoint: descriptor, place, score, colors."""
    look = keypoint_colors(image, features)
    place = (features.keypoints + 0.5) / np.array(features.size, np.float32) - 0.5
    light = look[:, :3].mean(1, keepdims=True)
    tint = look[:, :3] - light
    columns = [features.descriptors, place, np.abs(place), place**2, light, tint[:, 1:], look[:, 3:]]
    columns += [np.log(np.maximum(features.scores, 1e-6))[:, None], (light - 0.5) ** 2]
    return np.concatenate(columns, 1).astype(np.float32)


def _at(values: npt.NDArray[Any], image: Image, keypoints: Float32) -> npt.NDArray[Any]:
    """Return a picture's values (N, ...) at (N, 2) keypoints in pixels of the upright original photo."""
    height, width = values.shape[:2]
    scale = np.array((width, height), np.float32) / np.array(image.size, np.float32)
    x, y = np.clip((keypoints + 0.5) * scale, 0, np.array((width, height)) - 1).astype(np.int64).T
    return np.asarray(values[y, x])


DEFAULT_MASK = "usefulness"
# Name of the card -> how to make it for an execution provider.
MASKS: dict[str, Callable[[str], Mask]] = {
    "usefulness": lambda _provider: LearnedMask(),
    "segformer": SegFormerMask,
}


def make_mask(name: str, provider: str = "cpu") -> Mask:
    """Return the mask called `name`; ModelError when there is none or its weights are not here."""
    if name not in MASKS:
        raise ModelError(f"no mask is called {name!r}; there are {', '.join(MASKS)}")
    return MASKS[name](provider)


def select_keypoints(features: LocalFeatures, selected: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> LocalFeatures:
    """Return those of N features that are wanted (N,), in their order."""
    return LocalFeatures(
        features.keypoints[selected], features.descriptors[selected], features.scores[selected], features.size
    )


class Masked:
    """An extractor without the keypoints on things that move or grow.

    Args:
        extractor: finds the keypoints.
        mask: says which stay.
        floor: least probability of one that is kept.
    """

    def __init__(self, extractor: Extractor, mask: Mask, floor: float = 0.5) -> None:
        self.extractor, self.mask, self.floor = extractor, mask, floor

    @property
    def name(self) -> str:
        """The name of the extractor's card."""
        return self.extractor.name

    @property
    def sha256(self) -> str:
        """Hex digest of the extractor's weights."""
        return self.extractor.sha256

    @property
    def dim(self) -> int:
        """Length of a keypoint's descriptor."""
        return self.extractor.dim

    @property
    def settings(self) -> dict[str, int]:
        """The extractor's settings."""
        return self.extractor.settings

    def extract(self, image: Image) -> LocalFeatures:
        """Return the keypoints that stay, best first, in pixels of the upright original photo."""
        features = self.extractor.extract(image)
        return select_keypoints(features, self.mask.repeatability(image, features) >= self.floor)
