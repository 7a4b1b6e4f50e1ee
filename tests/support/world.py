"""A drawn world: facades nobody else has, seen under homographies that are known exactly.

Everything follows from integers, so a test can ask for "facade 7 seen the third way" and always get the same pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 480, 360


@dataclass(frozen=True)
class View:
    """A photo of a facade: pixels (H, W, 3) uint8, and the homography from the facade's pixels to the view's."""

    pixels: np.ndarray
    homography: np.ndarray


def facade(seed, width=WIDTH, height=HEIGHT):
    """A building seen straight on: sky, roof, rows of windows with their own mullions, a door, stone and ornament."""
    rng = np.random.default_rng(seed)
    picture = _sky(rng, width, height)
    wall = rng.integers(90, 220, 3)
    top, left, right = int(height * rng.uniform(0.15, 0.3)), int(width * 0.06), int(width * 0.94)
    cv2.rectangle(picture, (left, top), (right, height), wall.tolist(), -1)
    _roof(rng, picture, left, right, top)
    _windows(rng, picture, left, right, top, wall)
    _ornament(rng, picture, left, right, top)
    stone = rng.normal(0, 1, (height // 3 + 1, width // 3 + 1))
    grain = cv2.resize(stone, (width, height), interpolation=cv2.INTER_NEAREST)[..., None] * 7
    return np.clip(picture + grain + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def _sky(rng, width, height):
    shade = np.linspace(0.75, 1.0, height)[:, None, None]
    return np.ascontiguousarray(np.broadcast_to(rng.integers(120, 255, 3) * shade, (height, width, 3)))


def _roof(rng, picture, left, right, top):
    peak = (int(rng.integers(left + 40, right - 40)), int(top * rng.uniform(0.1, 0.6)))
    color = rng.integers(30, 130, 3).tolist()
    cv2.fillPoly(picture, [np.array([(left - 8, top), peak, (right + 8, top)], np.int32)], color)


def _windows(rng, picture, left, right, top, wall):
    rows, columns = rng.integers(2, 6), rng.integers(3, 9)
    high, wide = (picture.shape[0] - top) / rows, (right - left) / columns
    for r in range(rows):
        for c in range(columns):
            x, y = int(left + c * wide), int(top + r * high)
            a = (x + int(wide * rng.uniform(0.12, 0.3)), y + int(high * rng.uniform(0.12, 0.3)))
            b = (x + int(wide * rng.uniform(0.65, 0.9)), y + int(high * rng.uniform(0.65, 0.9)))
            cv2.rectangle(picture, a, b, rng.integers(0, 255, 3).tolist(), -1)
            cv2.rectangle(picture, a, b, (wall * rng.uniform(0.3, 1.1)).tolist(), int(rng.integers(1, 4)))
            for _ in range(rng.integers(1, 4)):
                p = (int(rng.integers(a[0], b[0] + 1)), int(rng.integers(a[1], b[1] + 1)))
                cv2.line(
                    picture,
                    p,
                    (b[0], p[1]) if rng.random() < 0.5 else (p[0], b[1]),
                    rng.integers(0, 255, 3).tolist(),
                    2,
                )


def _ornament(rng, picture, left, right, top):
    for _ in range(60):
        at = (int(rng.integers(left, right)), int(rng.integers(top, picture.shape[0])))
        color, size = rng.integers(0, 255, 3).tolist(), int(rng.integers(2, 9))
        if rng.random() < 0.5:
            cv2.circle(picture, at, size, color, -1)
        else:
            cv2.rectangle(picture, at, (at[0] + size, at[1] + 2 * size), color, -1)


def homography(seed, strength=1.0, width=WIDTH, height=HEIGHT):
    """A camera's change of place: the corners move by up to 15 % of the sides, times `strength`."""
    rng = np.random.default_rng(1000 + seed)
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    moved = corners + rng.uniform(-0.15, 0.15, (4, 2)).astype(np.float32) * strength * (width, height)
    return cv2.getPerspectiveTransform(corners, moved.astype(np.float32))


def view(picture, seed, strength=1.0, *, occlude=True):
    """The facade seen another way: moved, lit differently, partly hidden and with sensor noise."""
    rng = np.random.default_rng(2000 + seed)
    height, width = picture.shape[:2]
    H = homography(seed, strength, width, height)
    seen = cv2.warpPerspective(picture, H, (width, height), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
    seen = seen * rng.uniform(0.6, 1.15) + rng.uniform(-15, 15)
    if occlude:
        x, y = rng.integers(0, width * 2 // 3), rng.integers(0, height * 2 // 3)
        cv2.ellipse(seen, (int(x), int(y)), (width // 8, height // 5), 0, 0, 360, rng.integers(0, 255, 3).tolist(), -1)
    seen += rng.normal(0, 4, seen.shape)
    return View(np.clip(seen, 0, 255).astype(np.uint8), H)


def distractor(seed, width=WIDTH, height=HEIGHT):
    """A photo of nothing in particular: soft blobs and strokes."""
    rng = np.random.default_rng(3000 + seed)
    picture = _sky(rng, width, height)
    for _ in range(40):
        at = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.circle(picture, at, int(rng.integers(8, 70)), rng.integers(0, 255, 3).tolist(), -1)
    for _ in range(25):
        ends = rng.integers(0, [width, height], (2, 2)).tolist()
        cv2.line(picture, ends[0], ends[1], rng.integers(0, 255, 3).tolist(), int(rng.integers(1, 6)))
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 2) + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def save(pixels, path, quality=92):
    """Write RGB pixels as a photo and return its path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality] if str(path).endswith((".jpg", ".jpeg")) else []
    assert cv2.imwrite(str(path), pixels[:, :, ::-1], parameters)
    return Path(path)


def build(folder, landmarks=6, photos=2, width=WIDTH, height=HEIGHT):
    """Write LANDMARK/PHOTO.jpg for a few facades, the first photo straight on, and return the folder."""
    for i in range(landmarks):
        for j in range(photos):
            straight = facade(i, width, height)
            pixels = straight if j == 0 else view(straight, 100 * i + j, 0.6).pixels
            save(pixels, Path(folder) / f"palazzo-{i}" / f"photo-{j}.jpg")
    return Path(folder)
