"""Landmarks and references as values: their names, places and counts, and how sure an answer is of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Position(NamedTuple):
    """A position on the globe.

    Attributes:
        latitude: degrees north.
        longitude: degrees east.
    """

    latitude: float
    longitude: float


@dataclass(frozen=True)
class Landmark:
    """The thing recognized: an id, and its name, place and page as far as known.

    Attributes:
        id: unique in its gallery; always text.
        name: what people call it; the id when nobody said.
        latitude: degrees north, or None.
        longitude: degrees east, or None.
        url: a page about it, or None.
    """

    id: str
    name: str = ""
    latitude: float | None = None
    longitude: float | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("Landmark.id: expected text, got an empty string")
        if not self.name:
            object.__setattr__(self, "name", self.id)

    @property
    def position(self) -> Position | None:
        """Where the landmark stands, or None where that is not known."""
        if self.latitude is None or self.longitude is None:
            return None
        return Position(self.latitude, self.longitude)


class LandmarkCount(NamedTuple):
    """A landmark of a gallery and its number of references."""

    landmark: Landmark
    references: int


class GalleryCounts(NamedTuple):
    """How many landmarks and how many references a gallery has."""

    landmarks: int
    references: int


class Guess(NamedTuple):
    """A landmark and the probability, in [0, 1], that a photo shows it."""

    landmark: Landmark
    confidence: float


class LandmarkConfidence(NamedTuple):
    """The id of a landmark and the probability, in [0, 1], that a photo shows that landmark."""

    landmark: str
    confidence: float


class TermValue(NamedTuple):
    """The contribution of one kind of evidence to the log odds of a guess."""

    name: str
    value: float


@dataclass(frozen=True)
class Reference:
    """A labeled photo in a gallery.

    Attributes:
        id: unique in its gallery; always text.
        landmark: id of the landmark it shows.
        photo: the path it was added from, as given; never read again.
        sha256: hex digest of the photo's bytes.
        license: under which the photo may be used, where that is known.
    """

    id: str
    landmark: str
    photo: str
    sha256: str
    license: str | None = None
