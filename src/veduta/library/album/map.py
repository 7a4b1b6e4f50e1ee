"""The map of an album: data that a script draws with Leaflet, and a list of places for readers without scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from veduta.geo.countries import ATLAS
from veduta.library.album.atlas import simplified_atlas
from veduta.library.album.format import in_page, plural

LEAFLET = ATLAS.parents[1] / "leaflet"
MAX_CAMERAS, CAMERA_DIGITS = 1500, 3  # most small dots; decimals of a degree within which one stands for all
_IMAGE_RULE = re.compile(r"[^{}]*\{[^{}]*\burl\([^{}]*\}")  # of controls that the map does not have
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Marker:
    """A place to be marked.

    Attributes:
        name: what to call it.
        href: its section on the page.
        count: how many photos show it.
        position: (degrees north, degrees east).
        estimated: whether that is the landmark's, as no photo has one of the camera.
    """

    name: str
    href: str
    count: int
    position: tuple[float, float]
    estimated: bool


def describe_map(
    markers: Sequence[Marker], cameras: Sequence[tuple[float, float]], visited: Collection[str]
) -> dict[str, Any] | None:
    """Return the map as its template takes it; None where nothing has a position.

    Args:
        markers: the places, those with most photos first.
        cameras: (degrees north, degrees east) of where photos were taken.
        visited: names of countries to be shaded.
    """
    positions = [marker.position for marker in markers] + list(cameras)
    if not positions:
        return None
    west = _westmost([east for _, east in positions])
    data = {
        **simplified_atlas(positions, visited),
        "places": [
            asdict(marker) | {"name": in_page(marker.name), "position": _unwrapped(marker.position, west)}
            for marker in markers
        ],
        "cameras": _spots([_unwrapped(position, west) for position in cameras]),
    }
    return {
        "label": f"Map: {plural(len(markers), 'place')} and where the camera stood",
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),  # no text ends the element it is in
        "places": markers,
        "legend": _legend(markers, has_cameras=bool(cameras)),
    }


@cache
def leaflet() -> tuple[str, str]:
    """Return Leaflet's style sheet, without the pictures of controls that the map does not have, and its script."""
    style = _COMMENT.sub("", (LEAFLET / "leaflet.css").read_text("utf-8"))
    script = (LEAFLET / "leaflet.js").read_text("utf-8").partition("//# sourceMappingURL")[0]
    return _IMAGE_RULE.sub("", style), script


def _westmost(longitudes: Sequence[float]) -> float:
    """Return the longitude from which the way eastwards past all others is shortest."""
    ordered = np.unique(longitudes)
    gaps = np.diff(ordered, append=ordered[0] + 360)
    return float(ordered[(int(gaps.argmax()) + 1) % len(ordered)])


def _unwrapped(position: tuple[float, float], west: float) -> tuple[float, float]:
    """Return a position whose degrees east count on past 180, so that neighbors have neighboring numbers."""
    north, east = position
    return north, (east - west) % 360 + west


def _spots(cameras: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return one position for all that are near one another."""
    rounded = {(round(north, CAMERA_DIGITS), round(east, CAMERA_DIGITS)) for north, east in cameras}
    return sorted(rounded)[:MAX_CAMERAS]


def _legend(markers: Sequence[Marker], *, has_cameras: bool) -> list[tuple[str, str]]:
    """Return (class, words) of the kinds of dots."""
    keys = (
        (any(not marker.estimated for marker in markers), "seen", "a place, where the photos of it were taken"),
        (any(marker.estimated for marker in markers), "guess", "a place, estimated: where the landmark stands"),
        (has_cameras, "stood", "where the camera stood"),
    )
    return [(kind, words) for is_shown, kind, words in keys if is_shown]
