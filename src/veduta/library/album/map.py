"""The map of an album: countries, the places photos show, and where the camera stood, as one inline SVG."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from veduta.library.album.format import escape_html, plural
from veduta.library.album.viewport import WIDTH, Viewport, middle, outlines, viewport_around, visible_countries
from veduta.types import Float64

NEAR = 16.0  # units within which places become one dot
LEAST_DOT, LARGEST_DOT = 6.0, 17.0
STANDS, STAND_STEP = 1500, 4  # most small dots for cameras; units within which one stands for all
NAMED, COUNTRIES_NAMED = 16, 24
LETTER, HIGH = 7.4, 17.0  # units of a letter of a place's name
SPACED = 8.6  # of a country's
Box = tuple[float, float, float, float]


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


@dataclass
class _Dot:
    """Places so near to one another that one dot stands for them."""

    at: Float64
    marks: list[Marker] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(mark.count for mark in self.marks)

    @property
    def radius(self) -> float:
        return min(LEAST_DOT + 1.1 * math.sqrt(self.count - 1), LARGEST_DOT)

    @property
    def name(self) -> str:
        more = len(self.marks) - 1
        return self.marks[0].name + (f" +{more}" if more else "")


def draw_map(marks: Sequence[Marker], stands: Sequence[tuple[float, float]], visited: Collection[str]) -> str:
    """Return the map as SVG with its legend; nothing where nothing has a position.

    Args:
        marks: the places, those with most photos first.
        stands: (degrees north, degrees east) of the cameras.
        visited: names of countries to be drawn as those one was in.
    """
    positions = [mark.position for mark in marks] + list(stands)
    if not positions:
        return ""
    window = viewport_around(np.array(positions, np.float64)[:, ::-1])
    dots, boxes = _dots(marks, window), list[Box]()
    boxes += [_box(dot.at, dot.radius, dot.radius) for dot in dots]
    names = "".join(_name(dot, boxes, window) for dot in dots[:NAMED])
    cameras = _cameras(stands, window) if stands else ""
    land = _land(window, visited, boxes)
    label = f"Map: {plural(len(marks), 'place')} and where the camera stood"
    return (
        f'<div class="map"><svg viewBox="0 0 {WIDTH:.0f} {window.height:.0f}" role="group" aria-label="{label}">'
        f"{land}{cameras}{''.join(map(_dot, dots))}{names}</svg></div>{_legend(marks, has_cameras=bool(stands))}"
    )


def _land(window: Viewport, visited: Collection[str], boxes: list[Box]) -> str:
    """Return the countries, and the names of the larger ones where these stand in nobody's way."""
    seen = visible_countries(window)
    paths = "".join(
        f'<path class="{"been" if land.country.name in visited else "land"}" d="{path}"/>'
        for land, path in zip(seen, outlines(seen), strict=True)
        if path
    )
    inner = sorted(((*middle(land, window), land.country.name) for land in seen), key=lambda each: -each[1])
    names = []
    for at, room, name in inner[:COUNTRIES_NAMED]:
        box = _box(at, len(name) * SPACED / 2, HIGH / 2)
        if len(name) * SPACED <= 3.4 * room and room > HIGH and _free(box, boxes, window):
            boxes.append(box)
            names.append(f'<text x="{at[0]:.0f}" y="{at[1] + 4:.0f}">{escape_html(name)}</text>')
    told = f'<g class="countries" aria-hidden="true">{"".join(names)}</g>'
    return f'<g class="lands" transform="scale(.1)">{paths}</g>{told}'


def _dots(marks: Sequence[Marker], window: Viewport) -> list[_Dot]:
    """Return the dots, the largest first; a place joins the first that is near."""
    dots: list[_Dot] = []
    for mark in marks:
        at = window.place(np.array([mark.position[::-1]]))[0]
        near = next((dot for dot in dots if np.hypot(*(dot.at - at)) < NEAR), None)
        if near is None:
            dots.append(near := _Dot(at))
        near.marks.append(mark)
    return sorted(dots, key=lambda dot: -dot.count)


def _dot(dot: _Dot) -> str:
    """Return a dot that leads to the place of which most photos are there; its tooltip names all."""
    told = [f"{mark.name}: {plural(mark.count, 'photo')}" for mark in dot.marks[:12]]
    rest = len(dot.marks) - len(told)
    title = escape_html("\n".join([*told, *([f"and {plural(rest, 'more place')}"] if rest else [])]))
    label = escape_html(f"{dot.name}, {plural(dot.count, 'photo')}")
    x, y, radius = dot.at[0], dot.at[1], dot.radius
    kind = "guess" if all(mark.estimated for mark in dot.marks) else "seen"
    number = f'<text x="{x:.1f}" y="{y + 4:.1f}">{len(dot.marks)}</text>' if len(dot.marks) > 1 else ""
    return (
        f'<a class="dot {kind}" href="{escape_html(dot.marks[0].href)}" aria-label="{label}"><title>{title}</title>'
        f'<circle class="reach" cx="{x:.1f}" cy="{y:.1f}" r="{radius + 8:.1f}"/>'
        f'<circle class="spot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>{number}</a>'
    )


def _name(dot: _Dot, boxes: list[Box], window: Viewport) -> str:
    """Return a dot's name at whichever of its sides there is room; nothing where there is none."""
    x, y = dot.at
    wide, off = _width(dot.name), dot.radius + 6
    sides = (
        (x + off, y + 5, "start", x + off + wide / 2, y),
        (x - off, y + 5, "end", x - off - wide / 2, y),
        (x, y - off, "middle", x, y - off - 5),
        (x, y + off + 11, "middle", x, y + off + 6),
    )
    for left, base, anchor, middle_x, middle_y in sides:
        box = _box(np.array((middle_x, middle_y)), wide / 2, HIGH / 2)
        if _free(box, boxes, window):
            boxes.append(box)
            name = escape_html(dot.name)
            return f'<text class="name {anchor}" x="{left:.0f}" y="{base:.0f}" aria-hidden="true">{name}</text>'
    return ""


def _width(name: str) -> float:
    return sum(13.0 if unicodedata.east_asian_width(letter) in "WF" else LETTER for letter in name)


def _box(at: Float64, half_width: float, half_height: float) -> Box:
    x, y = float(at[0]), float(at[1])
    return x - half_width, y - half_height, x + half_width, y + half_height


def _free(box: Box, boxes: Sequence[Box], window: Viewport) -> bool:
    inside = box[0] > 4 and box[1] > 4 and box[2] < WIDTH - 4 and box[3] < window.height - 4
    return inside and all(
        box[2] < other[0] or box[0] > other[2] or box[3] < other[1] or box[1] > other[3] for other in boxes
    )


def _cameras(stands: Sequence[tuple[float, float]], window: Viewport) -> str:
    """Return a small dot for each spot from which photos were taken."""
    placed = window.place(np.array(stands, np.float64)[:, ::-1])
    spots = np.unique(np.round(placed / STAND_STEP).astype(np.int64), axis=0)[:STANDS] * STAND_STEP
    drawn = "".join(f"M{x} {y}h0" for x, y in spots.tolist())  # a line of no length with round ends is a dot
    return f'<path class="stands" d="{drawn}"/>'


def _legend(marks: Sequence[Marker], *, has_cameras: bool) -> str:
    keys = (
        (any(not mark.estimated for mark in marks), "seen", "a place, where the photos of it were taken"),
        (any(mark.estimated for mark in marks), "guess", "a place, estimated: where the landmark stands"),
        (has_cameras, "stood", "where the camera stood"),
    )
    told = "".join(f'<li><span class="key {kind}"></span>{words}</li>' for there, kind, words in keys if there)
    return f'<ul class="legend">{told}</ul>'
