"""The piece of the world that an album's map shows, and the borders of countries drawn into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from veduta.geo.countries import Country, countries
from veduta.types import Float64

WIDTH = 1000.0  # of the drawing, in its own units
SQUAREST, FLATTEST = 1.75, 2.3  # width by height
MARGIN, LEAST_HEIGHT = 0.14, 5.0  # part of what is spanned; degrees, below which borders at 1:50 million look crude
NORTHMOST, SOUTHMOST = 84.0, -58.0  # of a map on which nobody took a photo further out
BEYOND = 8.0  # units by which borders go on outside of what is seen
ROUGH = (0.25, 0.4, 0.6, 0.9, 1.4, 2.0)  # units by which borders may be off, tried in turn
MAX_PATH_LENGTH = 110_000  # characters of borders
POLAR = -89.0  # a ring as far south goes along the edge of the map, and has no other side


@dataclass(frozen=True)
class Viewport:
    """A piece of the world, in degrees; east may lie beyond 180.

    A degree of longitude is as wide as it is in the middle of the piece (equirectangular projection).
    """

    west: float
    south: float
    east: float
    north: float

    @cached_property
    def scale(self) -> Float64:
        """Units per degree east and north, the latter negative."""
        wide = WIDTH / (self.east - self.west)
        return np.array((wide, -wide / _shrunk(self.south, self.north)))

    @property
    def height(self) -> float:
        """Of the drawing, in its own units."""
        return float((self.south - self.north) * self.scale[1])

    def place(self, points: Float64) -> Float64:
        """Return (N, 2) units of the drawing, right and down, for (N, 2) degrees east and north."""
        turned = points.copy()
        turned[:, 0] = (points[:, 0] - self.west) % 360 + self.west
        return self.draw(turned)

    def draw(self, points: Float64) -> Float64:
        """Return the same for points that are not brought into the window, such as those of a border."""
        placed: Float64 = (points - np.array((self.west, self.north))) * self.scale
        return placed


def viewport_around(points: Float64) -> Viewport:
    """Return the window that shows points, (N, 2) degrees east and north, with a margin and in a pleasant shape."""
    west, east = _span(points[:, 0])
    south, north = float(points[:, 1].min()), float(points[:, 1].max())
    low, high = min(SOUTHMOST, south - 1), max(NORTHMOST, north + 1)
    tall = max((north - south) * (1 + 2 * MARGIN), LEAST_HEIGHT)
    south, north = _widened(south, north, tall, low, high)
    shrunk = _shrunk(south, north)
    wide = min(max((east - west) * (1 + 2 * MARGIN), tall * SQUAREST / shrunk), 360.0)
    west, east = (west + east - wide) / 2, (west + east + wide) / 2
    south, north = _widened(south, north, max(tall, wide * shrunk / FLATTEST), low, high)
    return Viewport(west, south, east, north)


def _shrunk(south: float, north: float) -> float:
    """Return how wide a degree of longitude is in the middle, in degrees of latitude."""
    return float(max(np.cos(np.radians((south + north) / 2)), 0.1))


def _span(longitudes: Float64) -> tuple[float, float]:
    """Return the shortest way from one longitude eastwards past all others; its end may lie beyond 180."""
    ordered = np.unique(longitudes)
    gaps = np.diff(ordered, append=ordered[0] + 360)
    start = (int(gaps.argmax()) + 1) % len(ordered)
    return float(ordered[start]), float(ordered[start] + 360 - gaps.max())


def _widened(south: float, north: float, tall: float, low: float, high: float) -> tuple[float, float]:
    """Return a span of latitudes as tall as asked, moved rather than cut where it meets an end of the world."""
    tall = min(tall, high - low)
    south = min(max((south + north - tall) / 2, low), high - tall)
    return south, south + tall


# --- borders --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class VisibleCountry:
    """A country as it is seen in a window.

    Attributes:
        country: which.
        rings: (K, 2) units of the drawing each, cut off a little outside of what is seen.
    """

    country: Country
    rings: tuple[Float64, ...]


def visible_countries(window: Viewport) -> list[VisibleCountry]:
    """Return the countries that a window shows."""
    seen = (VisibleCountry(country, tuple(_seen(country, window))) for country in countries())
    return [land for land in seen if land.rings]


def _seen(country: Country, window: Viewport) -> Iterator[Float64]:
    for polygon in country.polygons:
        for ring in polygon:
            whole = _unrolled(ring)
            for turn in (-360.0, 0.0, 360.0):
                drawn = window.draw(whole + np.array((turn, 0.0)))
                low, high = drawn.min(0), drawn.max(0)
                if (high < -BEYOND).any() or low[0] > WIDTH + BEYOND or low[1] > window.height + BEYOND:
                    continue
                cut = _cut(drawn, window)
                if len(cut) >= 3:
                    yield cut


def _unrolled(ring: Float64) -> Float64:
    """Return a ring without the jump from 180 degrees east to west."""
    if ring[:, 1].min() < POLAR:
        return ring
    return np.column_stack([np.unwrap(ring[:, 0], period=360), ring[:, 1]])


def _cut(ring: Float64, window: Viewport) -> Float64:
    """Return the part of a ring within the window (Sutherland and Hodgman 1974)."""
    for axis, end in ((0, WIDTH), (1, window.height)):
        for sign, limit in ((1.0, -BEYOND), (-1.0, -end - BEYOND)):
            if len(ring) < 3:
                return ring
            ring = _half(ring, axis, sign, limit)
    return ring


def _half(ring: Float64, axis: int, sign: float, limit: float) -> Float64:
    """Return the part of a ring on one side of a line, where sign times a coordinate is at least the limit."""
    depth = sign * ring[:, axis] - limit
    if (depth >= 0).all():
        return ring
    kept: list[Float64] = []
    for i in range(len(ring)):
        a, b = depth[i - 1], depth[i]
        if (a >= 0) != (b >= 0):
            kept.append(ring[i - 1] + (ring[i] - ring[i - 1]) * (a / (a - b)))
        if b >= 0:
            kept.append(ring[i])
    return np.array(kept).reshape(-1, 2)


def outlines(seen: Sequence[VisibleCountry]) -> list[str]:
    """Return each country as the path of an SVG, in tenths of a unit, all together no longer than `MAX_PHOTO_BYTES`."""
    paths: list[str] = []
    for rough in ROUGH:
        paths = ["".join(_path(ring, rough) for ring in land.rings) for land in seen]
        if sum(map(len, paths)) <= MAX_PATH_LENGTH:
            break
    return paths


def _path(ring: Float64, rough: float) -> str:
    """Return a ring in steps from point to point; nothing for an island too small to be seen."""
    kept = cv2.approxPolyDP(ring.astype(np.float32)[:, None], rough, closed=True)[:, 0]
    points = np.round(kept * 10).astype(np.int64)
    if len(points) < 3 or float(np.ptp(ring, axis=0).max()) < rough:
        return ""
    steps = np.diff(points, axis=0)
    along = "".join(f"{x}{y:+d}" if i == 0 else f"{x:+d}{y:+d}" for i, (x, y) in enumerate(steps.tolist()))
    return f"M{points[0][0]} {points[0][1]}l{along}z"


def middle(land: VisibleCountry, window: Viewport) -> tuple[Float64, float]:
    """Return the point of a country furthest from its borders within the window, and how far, in units."""
    coarse = 4.0
    mask = np.zeros((int(window.height / coarse) + 1, int(WIDTH / coarse) + 1), np.uint8)
    cv2.fillPoly(mask, [np.round(ring / coarse).astype(np.int32) for ring in land.rings], (1,))
    mask = np.pad(mask[1:-1, 1:-1], 1)  # the edge of the map is a border too
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array((x, y), np.float64) * coarse, float(depth.max()) * coarse
