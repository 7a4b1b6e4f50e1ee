"""Photos made different at every look, with OpenCV and NumPy only; the same seed makes the same picture.

What is done to a photo depends only on (seed, epoch, number of the photo), so that it does not matter which
process or thread does it, or where a run was resumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from veduta.types import UInt8


@dataclass(frozen=True)
class Augmentation:
    """How photos are changed; each change is off at 0.

    Attributes:
        side: of the square that comes out, in pixels.
        least_area: least share of the photo kept by the crop; a crop is drawn around a point of the photo's middle, so
            that the subject stays in it.
        stretch: largest change of the crop's shape, as a ratio.
        flip: probability of a horizontal flip; a mirrored building is another one to geometry, hardly to a descriptor.
        color: strength of changes of brightness, contrast, saturation and hue.
        gray: probability of losing all color.
        blur: probability of a Gaussian blur.
        jpeg: probability of being saved at low quality.
        cutout: probability of a rectangle being painted over: somebody stood in the way.
    """

    side: int = 256
    least_area: float = 0.4
    stretch: float = 1.33
    flip: float = 0.5
    color: float = 0.3
    gray: float = 0.05
    blur: float = 0.1
    jpeg: float = 0.2
    cutout: float = 0.3

    def __post_init__(self) -> None:
        if self.side < 32 or not 0 < self.least_area <= 1 or self.stretch < 1:
            raise ValueError(f"expected side >= 32, 0 < least_area <= 1 and stretch >= 1, got {self}")

    def __call__(self, pixels: UInt8, seed: int, epoch: int, number: int) -> UInt8:
        """Return (side, side, 3) uint8 RGB of a photo (H, W, 3) uint8 RGB."""
        rng = np.random.default_rng((seed, epoch, number))
        picture = self._crop(pixels, rng)
        if rng.random() < self.flip:
            picture = picture[:, ::-1]
        picture = self._recolor(np.ascontiguousarray(picture), rng)
        if rng.random() < self.blur:
            softened = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 2.0) * self.side / 256)
            picture = np.asarray(softened, np.uint8)
        if rng.random() < self.jpeg:
            picture = _saved(picture, int(rng.integers(25, 75)))
        if rng.random() < self.cutout:
            picture = _hidden(picture, rng)
        return np.asarray(picture, np.uint8)

    def _crop(self, pixels: UInt8, rng: np.random.Generator) -> UInt8:
        height, width = pixels.shape[:2]
        area = rng.uniform(self.least_area, 1.0) * height * width
        ratio = width / height * np.exp(rng.uniform(-1, 1) * np.log(self.stretch))
        w = int(min(width, max(1, round((area * ratio) ** 0.5))))
        h = int(min(height, max(1, round((area / ratio) ** 0.5))))
        # The middle of what is kept is drawn from the middle of the photo: people point cameras at what they mean.
        x, y = (
            int(np.clip(round(full * rng.uniform(0.3, 0.7) - part / 2), 0, full - part))
            for full, part in ((width, w), (height, h))
        )
        cropped = pixels[y : y + h, x : x + w]
        method = cv2.INTER_AREA if min(h, w) > self.side else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(cropped, (self.side, self.side), interpolation=method), np.uint8)

    def _recolor(self, picture: UInt8, rng: np.random.Generator) -> UInt8:
        if self.color:
            c = self.color
            brightness, contrast, saturation = 1 + rng.uniform(-c, c, 3)
            gray = picture @ np.array((0.299, 0.587, 0.114), np.float32)
            mixed = gray[..., None] + saturation * (picture - gray[..., None])
            tint = 1 + rng.uniform(-c, c, 3) / 3
            changed = ((mixed - gray.mean()) * contrast + gray.mean()) * brightness * tint
            picture = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        if rng.random() < self.gray:
            picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        return picture


def whole(pixels: UInt8, side: int) -> UInt8:
    """Return (side, side, 3) uint8 RGB of a whole photo: what is looked at when nothing is to be left to chance."""
    method = cv2.INTER_AREA if min(pixels.shape[:2]) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=method), np.uint8)


def _saved(picture: UInt8, quality: int) -> UInt8:
    """Return the picture after JPEG compression."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]


def _hidden(picture: UInt8, rng: np.random.Generator) -> UInt8:
    """Return the picture with a rectangle of up to a fifth of the area painted over."""
    side = picture.shape[0]
    share = rng.uniform(0.02, 0.2)
    ratio = np.exp(rng.uniform(-0.9, 0.9))
    h, w = (int(np.clip(side * (share * r) ** 0.5, 1, side)) for r in (ratio, 1 / ratio))
    y, x = int(rng.integers(0, side - h + 1)), int(rng.integers(0, side - w + 1))
    covered = picture.copy()
    covered[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return covered
