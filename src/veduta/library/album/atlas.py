"""The borders of all countries, small enough for a page: in full where photos were taken, coarse far from there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from veduta.geo.countries import ATLAS
from veduta.types import Float64, Int64

MAX_BYTES = 160_000  # of the borders as JSON
# (degrees from the nearest photo, degrees by which a border may be off), and how much more, tried in turn.
TOLERANCES = ((2.0, 0.002), (12.0, 0.03), (np.inf, 0.08))
FACTORS = (1.0, 1.5, 2.2, 3.3, 5.0, 8.0, 12.0)
CELL = 1.0  # degrees: photos nearer to one another count as one
MIN_RING_POINTS = 3


def simplified_atlas(positions: Sequence[tuple[float, float]], visited: Collection[str]) -> dict[str, Any]:
    """Return the countries as lines shared by neighbors, no larger than `MAX_BYTES` as JSON.

    ``arcs`` are flat lists of steps, right and up, the first from (0, 0); their sums times ``scale``, plus ``offset``,
    are degrees east and north. Each of ``countries`` has a ``name``, whether it was ``visited``, and ``polygons`` of
    rings of arcs; a negative number n is arc ~n, backwards. The lines are simplified one by one (Douglas and Peucker
    1973), so borders still meet.

    Args:
        positions: (degrees north, degrees east) of what the page shows.
        visited: names of countries whose borders are wanted in full as well.
    """
    atlas = json.loads(ATLAS.read_bytes())
    scale, offset = (np.array(atlas["transform"][key]) for key in ("scale", "translate"))
    countries = [country for country in atlas["objects"]["countries"]["geometries"] if "arcs" in country]
    arcs = [np.cumsum(np.array(arc, np.int64), axis=0) for arc in atlas["arcs"]]
    full = {n for country in countries if country["properties"]["name"] in visited for n in _arc_numbers(country)}
    cells = _cells(positions)
    distances = [0.0 if n in full else _distance(arc * scale + offset, cells) for n, arc in enumerate(arcs)]
    borders: dict[str, Any] = {}
    for factor in FACTORS:
        lines = [_simplified(arc, scale, factor * _tolerance(d)) for arc, d in zip(arcs, distances, strict=True)]
        borders = _borders(countries, lines, visited)
        if len(json.dumps(borders, separators=(",", ":"))) <= MAX_BYTES:
            break
    return {"scale": scale.tolist(), "offset": offset.tolist(), **borders}


def _cells(positions: Sequence[tuple[float, float]]) -> Float64:
    """Return (N, 2) degrees east and north, one for all positions in a cell."""
    points = np.array(positions, np.float64).reshape(-1, 2)[:, ::-1]
    return np.unique(np.round(points / CELL), axis=0) * CELL


def _distance(points: Float64, cells: Float64) -> float:
    """Return how far, in degrees, a line is from the nearest of the cells."""
    if not len(cells):
        return float("inf")
    apart = np.abs(points[:, None] - cells[None])
    apart[..., 0] = np.minimum(apart[..., 0], 360 - apart[..., 0])
    return float(apart.max(-1).min())


def _tolerance(distance: float) -> float:
    return next(tolerance for limit, tolerance in TOLERANCES if distance <= limit)


def _simplified(arc: Int64, scale: Float64, tolerance: float) -> Int64:
    """Return a line with fewer points, both its ends among them."""
    unit = float(scale.max())
    drawn = (arc * scale / unit).astype(np.float32)
    simplified = cv2.approxPolyDP(drawn[:, None], tolerance / unit, closed=False)[:, 0]
    points = np.round(simplified.astype(np.float64) * unit / scale).astype(np.int64)
    if (arc[0] == arc[-1]).all():  # an island, which begins anywhere and ends there
        return np.concatenate([points, points[:1]]) if (points[0] != points[-1]).any() else points
    return np.concatenate([arc[:1], points[1:-1], arc[-1:]])


def _borders(countries: Iterable[Any], lines: Sequence[Int64], visited: Collection[str]) -> dict[str, Any]:
    """Return the countries with the lines that they still need; rings too small to be seen are left out."""
    numbers: dict[int, int] = {}

    def renumbered(number: int) -> int:
        line = number if number >= 0 else ~number
        new = numbers.setdefault(line, len(numbers))
        return new if number >= 0 else ~new

    shown = []
    for country in countries:
        rings = ([ring for ring in polygon if _is_visible(ring, lines)] for polygon in _polygons(country))
        polygons = [[[renumbered(number) for number in ring] for ring in polygon] for polygon in rings if polygon]
        name = country["properties"]["name"]
        if polygons:
            shown.append({"name": name, "visited": name in visited, "polygons": polygons})
    return {"arcs": [_steps(lines[line]) for line in numbers], "countries": shown}


def _polygons(country: Any) -> list[list[list[int]]]:
    polygons: list[list[list[int]]] = [country["arcs"]] if country["type"] == "Polygon" else country["arcs"]
    return polygons


def _arc_numbers(country: Any) -> Iterator[int]:
    for polygon in _polygons(country):
        for ring in polygon:
            yield from (number if number >= 0 else ~number for number in ring)


def _is_visible(ring: Sequence[int], lines: Sequence[Int64]) -> bool:
    return sum(len(lines[n if n >= 0 else ~n]) - 1 for n in ring) >= MIN_RING_POINTS


def _steps(line: Int64) -> list[int]:
    steps: list[int] = np.diff(line, axis=0, prepend=0).ravel().tolist()
    return steps
