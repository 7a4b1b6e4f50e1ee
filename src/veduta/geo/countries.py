"""Countries by position, from the borders that ship with the page, at 1:50 million (Natural Earth)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import veduta
from veduta.types import Bool, Float64

ATLAS = Path(veduta.__file__).parent / "web" / "static" / "vendor" / "world-atlas" / "countries-50m.json"
COAST_KM, KM_A_DEGREE = 40.0, 111.2  # a coast drawn coarsely leaves harbours in the sea


@dataclass(frozen=True, eq=False)
class Country:
    """A country's name and borders.

    Attributes:
        name: in English.
        polygons: of each polygon its rings, the outer one first, each (K, 2) degrees east and north.
    """

    name: str
    polygons: tuple[tuple[Float64, ...], ...]


@lru_cache(4096)
def country_of(latitude: float, longitude: float) -> str | None:
    """Return the English name of the country a place lies in, or the nearest one's by the sea, or None out there."""
    place = np.array((longitude, latitude))
    for country in countries():
        if any(_holds(polygon, place) for polygon in country.polygons):
            return country.name
    far, name = min((_approximate_km(country, place), country.name) for country in countries())
    return name if far <= COAST_KM else None


@cache
def countries() -> tuple[Country, ...]:
    """Return all countries."""
    atlas = json.loads(ATLAS.read_bytes())
    arcs = _arcs(atlas)
    geometries = atlas["objects"]["countries"]["geometries"]
    return tuple(
        Country(geometry["properties"]["name"], tuple(_polygons(geometry, arcs)))
        for geometry in geometries
        if "arcs" in geometry
    )


def _arcs(atlas: dict[str, Any]) -> list[Float64]:
    """Return the lines that borders are made of, (K, 2) degrees east and north each."""
    scale, move = (np.array(atlas["transform"][key]) for key in ("scale", "translate"))
    return [np.cumsum(np.array(arc, np.float64), axis=0) * scale + move for arc in atlas["arcs"]]


def _polygons(geometry: dict[str, Any], arcs: list[Float64]) -> Iterator[tuple[Float64, ...]]:
    polygons = [geometry["arcs"]] if geometry["type"] == "Polygon" else geometry["arcs"]
    for polygon in polygons:
        yield tuple(_ring(ring, arcs) for ring in polygon)


def _ring(numbers: list[int], arcs: list[Float64]) -> Float64:
    """Return one ring, put together from its arcs; those with a negative number run backwards."""
    lines = [arcs[number] if number >= 0 else arcs[~number][::-1] for number in numbers]
    return np.concatenate([line if i == 0 else line[1:] for i, line in enumerate(lines)])


def _holds(polygon: tuple[Float64, ...], place: Float64) -> bool:
    """Return whether a place lies in a polygon, that is in its outer ring and in none of its holes."""
    low, high = polygon[0].min(0), polygon[0].max(0)
    return (
        bool((low <= place).all() and (place <= high).all()) and sum(_inside(ring, place) for ring in polygon) % 2 == 1
    )


def _inside(ring: Float64, place: Float64) -> bool:
    """Return whether a ray to the east crosses the ring an odd number of times."""
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    crosses: Bool = (y0 > place[1]) != (y1 > place[1])
    rise = np.where(crosses, y1 - y0, 1.0)
    return bool(np.count_nonzero(crosses & (x0 + (place[1] - y0) * (x1 - x0) / rise > place[0])) % 2)


def _approximate_km(country: Country, place: Float64) -> float:
    """Return about how far a place is from the nearest point at which a country's border bends."""
    points = np.concatenate([polygon[0] for polygon in country.polygons])
    apart = points - place
    apart[:, 0] = (apart[:, 0] + 180) % 360 - 180
    return float(np.hypot(apart[:, 0] * np.cos(np.radians(place[1])), apart[:, 1]).min() * KM_A_DEGREE)
