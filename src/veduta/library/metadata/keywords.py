"""The words of a label: keywords, nested tags, coordinates, and text that XML can hold."""

from __future__ import annotations

import re
from urllib.parse import quote

from veduta.files import utf8
from veduta.landmarks import Landmark
from veduta.library.model import Label

MANUAL = "MANUAL"
"""How a position of ours was found: of the four ways the EXIF standard knows, the only one that is no measurement."""

PLACES, URN = "Places", "urn:veduta:landmark:"
MICRO = 1_000_000
# What XML 1.0 cannot hold, with the C1 controls that it can but should not.
_ILLEGAL = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """Return text without the characters that XML cannot hold."""
    return _ILLEGAL.sub("", text)


def xml_line(text: str) -> str:
    """Return text on one line, without the characters that XML cannot hold.

    >>> xml_line(" Dom" + chr(7) + "  zu Köln")
    'Dom zu Köln'
    """
    return " ".join(xml_text(text).split())


def display_name(landmark: Landmark) -> str:
    """Return a landmark's name, or its id where nothing of the name can be written."""
    return xml_line(landmark.name) or xml_line(landmark.id) or "unnamed"


def keywords(label: Label) -> list[str]:
    """Return the keywords: the landmark, then its country where that is known."""
    country = xml_line(label.country or "")
    return [display_name(label.landmark), *([country] if country else [])]


def hierarchical_keyword(label: Label, separator: str) -> list[str]:
    """Return the one nested tag: Places, the country where known, the landmark.

    >>> hierarchical_keyword(Label(Landmark("1", "AC/DC Lane"), 0.9, "veduta", "Australia"), "/")
    ['Places/Australia/AC-DC Lane']
    """
    # A separator inside a name would make another level.
    parts = [part.replace(separator, "-") for part in reversed(keywords(label))]
    return [separator.join([PLACES, *parts])]


def uris(landmark: Landmark) -> list[str]:
    """Return the URIs that stand for a landmark: one of ours, for nobody else knows its id, then its page if any."""
    page = xml_line(landmark.url or "")
    return [URN + quote(utf8(landmark.id), safe=""), *([page] if page else [])]


def place(landmark: Landmark) -> tuple[float, float] | None:
    """Return (degrees north, degrees east) of a landmark, or None where none, or none possible, is known."""
    north, east = landmark.latitude, landmark.longitude
    if north is None or east is None or not (-90 <= north <= 90 and -180 <= east <= 180):
        return None
    return north, east


def xmp_coordinate(degrees: float, sides: str) -> str:
    """Return a coordinate as XMP writes it, degrees and minutes and a letter, to 2 mm.

    >>> xmp_coordinate(-33.8568, "NS"), xmp_coordinate(179.9999999999, "EW")
    ('33,51.408000S', '180,00.000000E')
    """
    # Rounded as one whole number, so that 59.9999999 minutes become a degree and not 60 minutes.
    whole, minutes = divmod(round(abs(degrees) * 60 * MICRO), 60 * MICRO)
    return f"{whole},{minutes / MICRO:09.6f}{sides[degrees < 0]}"
