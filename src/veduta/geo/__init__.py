"""Positions on the globe: distances, areas and circles, in degrees north and east.

A sphere stands for the Earth: its mean radius errs by less than 0.6 % anywhere, less than photos' positions do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from veduta.landmarks import Landmark, Position

EARTH_KM = 6371.0


def great_circle_km(a: Position, b: Position) -> float:
    """Return the distance in kilometers between two positions (haversine)."""
    (north_a, east_a), (north_b, east_b) = (tuple(map(math.radians, position)) for position in (a, b))
    across = math.sin((north_b - north_a) / 2) ** 2
    along = math.cos(north_a) * math.cos(north_b) * math.sin((east_b - east_a) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(across + along)))


def median_position(positions: Iterable[tuple[float, float]]) -> Position | None:
    """Return the median of positions (degrees north, degrees east), each coordinate by itself; None without any.

    Positions on both sides of the 180th meridian count as the neighbors they are.
    """
    places = list(positions)
    if not places:
        return None
    north, easts = median(north for north, _ in places), [east for _, east in places]
    if max(easts) - min(easts) <= 180:
        return Position(north, median(easts))
    return Position(north, (median(east % 360 for east in easts) + 180) % 360 - 180)


@dataclass(frozen=True)
class Circle:
    """A circle on the globe.

    Attributes:
        latitude: of the center, degrees north.
        longitude: of the center, degrees east.
        radius_km: the radius in kilometers.
    """

    latitude: float
    longitude: float
    radius_km: float

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude <= 90 and -180 <= self.longitude <= 180 and self.radius_km >= 0):
            raise ValueError(f"expected degrees within 90 and 180 and a distance of at least 0, got {self}")

    def contains(self, landmark: Landmark) -> bool:
        """Return whether a landmark is known to stand within the circle."""
        center = Position(self.latitude, self.longitude)
        return landmark.position is not None and great_circle_km(center, landmark.position) <= self.radius_km


@dataclass(frozen=True)
class Area:
    """A rectangle of latitudes and longitudes; west may be larger than east, across the 180th meridian.

    Attributes:
        south: degrees north of its southern side.
        west: degrees east of its western side.
        north: degrees north of its northern side.
        east: degrees east of its eastern side.
    """

    south: float
    west: float
    north: float
    east: float

    def __post_init__(self) -> None:
        if not -90 <= self.south <= self.north <= 90 or not all(-180 <= x <= 180 for x in (self.west, self.east)):
            raise ValueError(f"Area: expected -90 <= south <= north <= 90 and longitudes within 180, got {self}")

    def nearest(self, position: Position) -> Position:
        """Return the point of the area nearest to a position; the position itself when inside."""
        width, offset = (self.east - self.west) % 360, (position[1] - self.west) % 360
        if offset <= width or self.east - self.west == 360:
            east = position[1]
        else:
            east = self.east if offset - width < 360 - offset else self.west
        return Position(min(max(position[0], self.south), self.north), east)


def distance_km(origin: Position | Area, position: Position) -> float:
    """Return the kilometers from a position, or from the nearest point of an area, to another position."""
    return great_circle_km(origin.nearest(position) if isinstance(origin, Area) else origin, position)
