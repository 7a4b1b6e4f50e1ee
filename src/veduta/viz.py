"""Evidence as pictures: two photos side by side with a line for each inlier."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from veduta.types import Float32, Image, UInt8

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND = (22, 24, 29)
INK = (236, 238, 242)
GAP, MARGIN, BAR = 12, 12, 40
OVERSAMPLING = 2  # lines are drawn this many times larger and then reduced: Pillow draws them with jagged edges
MAX_TITLE_LENGTH = 300  # characters; no more fit, and measuring them again and again takes seconds
UNLIKELY, LIKELY = (235, 110, 80), (120, 230, 160)  # of keypoints that stay
MAX_LINES = 100  # more hide the photos; the count stays in the caption


def draw_pair(
    a: Image,
    b: Image,
    keypoints_a: Float32,
    keypoints_b: Float32,
    caption: str = "",
    titles: Sequence[str] = ("", ""),
    height: int = 420,
) -> PIL.Image.Image:
    """Return photo `a` beside photo `b`, joined by one line per pair of keypoints, with a caption below.

    Args:
        a: the query.
        b: the reference.
        keypoints_a: (K, 2) pixels of the upright original of `a`.
        keypoints_b: (K, 2) pixels of the upright original of `b`.
        caption: one line below, such as ``"91 inliers"``.
        titles: what to call the two photos, below each.
        height: of both photos in the picture, in pixels.
    """
    sizes = [_fit(image, height) for image in (a, b)]
    left = (MARGIN, MARGIN + sizes[0][0] + GAP)
    full = left[1] + sizes[1][0] + MARGIN, MARGIN + height + BAR
    canvas = PIL.Image.new("RGB", full, BACKGROUND)
    tops = [MARGIN + (height - h) // 2 for _, h in sizes]
    for image, size, x, y in zip((a, b), sizes, left, tops, strict=True):
        canvas.paste(PIL.Image.fromarray(image.pixels).resize(size, PIL.Image.Resampling.LANCZOS), (x, y))
    ends = [
        (points + 0.5) * np.array(size) / np.array(image.size) + np.array([x, y])
        for points, image, size, x, y in zip((keypoints_a, keypoints_b), (a, b), sizes, left, tops, strict=True)
    ]
    _draw_lines(canvas, ends[0], ends[1])
    _write(canvas, caption, titles, left, sizes)
    return canvas


def draw_keypoints(image: Image, keypoints: Float32, stays: Float32, height: int = 420) -> PIL.Image.Image:
    """Return the photo with its keypoints: bright and large where they are likely to stay, dark and small where not.

    Args:
        image: the photo.
        keypoints: (N, 2) pixels of the upright original.
        stays: (N,) how likely each is to be found again on another day; shown by its rank.
        height: of the picture, in pixels.
    """
    size = _fit(image, height)
    canvas = PIL.Image.fromarray(image.pixels).resize(size, PIL.Image.Resampling.LANCZOS).convert("RGB")
    canvas = PIL.Image.blend(canvas, PIL.Image.new("RGB", size, BACKGROUND), 0.45)
    layer = PIL.Image.new("RGBA", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    places = (keypoints + 0.5) * np.array(size) / np.array(image.size) * OVERSAMPLING
    order = np.argsort(stays, kind="stable")
    for rank, i in enumerate(order.tolist()):
        share = rank / max(1, len(order) - 1)
        color = tuple(round(low + (high - low) * share) for low, high in zip(UNLIKELY, LIKELY, strict=True))
        (x, y), radius = places[i], 2 + 4 * share
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(*color, round(140 + 115 * share)))
    canvas.paste(layer.resize(size, PIL.Image.Resampling.LANCZOS), (0, 0), _alpha(layer, size))
    return canvas


def _fit(image: Image, height: int) -> tuple[int, int]:
    """Return the size of a photo in the picture: `height` high, but at most twice as wide as that."""
    width = max(1, round(image.width * height / image.height))
    if width <= 2 * height:
        return width, height
    return 2 * height, max(1, round(2 * height * image.height / image.width))


def _draw_lines(canvas: PIL.Image.Image, a: Float32, b: Float32) -> None:
    """Draw lines from (K, 2) to (K, 2) canvas points, colored by where they start so that a bundle can be followed."""
    if len(a) > MAX_LINES:
        chosen = np.linspace(0, len(a) - 1, MAX_LINES).astype(int)
        a, b = a[chosen], b[chosen]
    layer = PIL.Image.new("RGBA", (canvas.width * OVERSAMPLING, canvas.height * OVERSAMPLING), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    thick = 4 if len(a) < 60 else 3
    for start, end, color in zip(a * OVERSAMPLING, b * OVERSAMPLING, _hues(a), strict=True):
        pen.line([*map(float, start), *map(float, end)], fill=(*color, 205), width=thick)
    for points in (a * OVERSAMPLING, b * OVERSAMPLING):
        for (x, y), color in zip(points, _hues(a), strict=True):
            pen.ellipse([x - 5, y - 5, x + 5, y + 5], fill=(*color, 255), outline=(255, 255, 255, 230), width=1)
    canvas.paste(layer.resize(canvas.size, PIL.Image.Resampling.LANCZOS), (0, 0), _alpha(layer, canvas.size))


def _alpha(layer: PIL.Image.Image, size: tuple[int, int]) -> PIL.Image.Image:
    return layer.getchannel("A").resize(size, PIL.Image.Resampling.LANCZOS)


def _hues(points: Float32) -> list[tuple[int, int, int]]:
    """Return a bright color per (K, 2) point, its hue turning from the top of the photo to the bottom."""
    if not len(points):
        return []
    y = points[:, 1]
    place = (y - y.min()) / max(float(np.ptp(y)), 1.0)
    rgb = [colorsys.hls_to_rgb(0.08 + 0.75 * float(p), 0.6, 0.95) for p in place]
    return [(round(r * 255), round(g * 255), round(b * 255)) for r, g, b in rgb]


def _write(
    canvas: PIL.Image.Image,
    caption: str,
    titles: Sequence[str],
    left: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
) -> None:
    pen = ImageDraw.Draw(canvas)
    middle = canvas.height - BAR // 2
    font = ImageFont.load_default(16)
    pen.text((canvas.width / 2, middle), caption, fill=INK, font=font, anchor="mm")
    small = ImageFont.load_default(13)
    room = (canvas.width - pen.textlength(caption, font)) / 2 - MARGIN - GAP
    pen.text((left[0], middle), _shorten(pen, titles[0], small, room), fill=(170, 175, 185), font=small, anchor="lm")
    end = left[1] + sizes[1][0]
    pen.text((end, middle), _shorten(pen, titles[1], small, room), fill=(170, 175, 185), font=small, anchor="rm")


def _shorten(pen: ImageDraw.ImageDraw, text: str, font: Font, room: float) -> str:
    """Return the text on one line, cut at its beginning if wider than `room` pixels: the end of a path says most."""
    text = "".join(c if c.isprintable() else "?" for c in text)  # a file's name may hold anything, line ends too
    if pen.textlength(text, font) <= room:
        return text
    text = text[-MAX_TITLE_LENGTH:]
    while text and pen.textlength("..." + text, font) > room:
        text = text[1:]
    return "..." + text if text else ""


def encode(picture: PIL.Image.Image | UInt8, format: str = "webp", quality: int = 80) -> bytes:
    """Return a picture, or (H, W, 3) uint8 pixels, encoded as ``webp``, ``jpeg`` or ``png``."""
    picture = PIL.Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    out = io.BytesIO()
    picture.save(out, format.upper(), quality=quality)
    return out.getvalue()


def thumbnail(image: Image, side: int = 160, quality: int = 45) -> bytes:
    """Return a WebP picture of the photo, its longer side at most `side` pixels: about four kilobytes."""
    picture = PIL.Image.fromarray(image.pixels)
    picture.thumbnail((side, side), PIL.Image.Resampling.BOX, reducing_gap=None)
    return encode(picture, "webp", quality)
