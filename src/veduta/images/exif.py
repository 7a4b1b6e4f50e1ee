"""EXIF, read alike from every format: orientation, time and position of a photo.

EXIF is TIFF (CIPA DC-008): directories of tags that point at one another. Only read here; exiftool writes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime

ASCII, RATIONAL = 2, 5  # of TIFF's types
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
MAX_VALUE_BYTES = 2**20  # of one tag
ORIENTATION, SOFTWARE, CHANGED, EXIF_POINTER, GPS_POINTER = 0x0112, 0x0131, 0x0132, 0x8769, 0x8825
ORIGINAL, DIGITIZED = 0x9003, 0x9004
DNG_VERSION = 0xC612
LATITUDE, LONGITUDE, AREA_INFORMATION = 2, 4, 0x1C  # the first two each after the tag with the side of zero
_TIME = "%Y:%m:%d %H:%M:%S"
_TIME_LENGTH = len("YYYY:MM:DD HH:MM:SS")


@dataclass(frozen=True)
class Entry:
    """One tag of a directory.

    Attributes:
        kind: of TIFF's types, by number.
        count: how many values of this kind.
        place: byte where the four bytes lie that are its value, or point at it.
    """

    kind: int
    count: int
    place: int


class Exif:
    """The EXIF of one photo; damaged tags read as absent ones.

    Args:
        data: EXIF from its TIFF header on, ``Exif`` before that or not, such as a whole TIFF; anything but bytes is
            no EXIF.
    """

    def __init__(self, data: object) -> None:
        self._data = data.removeprefix(b"Exif\0\0") if isinstance(data, bytes) else b""
        order = {b"II": "<", b"MM": ">"}.get(self._data[:2])
        self._order = order or "<"
        self._first = self._directory(4) if order else {}
        self._gps = self._pointed(GPS_POINTER)

    def __contains__(self, tag: int) -> bool:
        """Whether the first directory has a tag."""
        return tag in self._first

    @property
    def is_empty(self) -> bool:
        """Whether there is no EXIF, or none that can be read."""
        return not self._first

    @property
    def orientation(self) -> int | None:
        """The orientation, 1 to 8 where the camera kept to the standard, or None."""
        entry = self._first.get(ORIENTATION)
        return None if entry is None else int(self._unpack("H", entry.place)[0])

    @property
    def position(self) -> tuple[float, float] | None:
        """(degrees north, degrees east), or None where nothing, or nothing possible, is said."""
        try:
            north, east = self._degrees(LATITUDE), self._degrees(LONGITUDE)
        except (KeyError, ZeroDivisionError, struct.error):
            return None
        # Cameras without a fix write zeros.
        return (north, east) if abs(north) <= 90 and abs(east) <= 180 and (north, east) != (0, 0) else None

    @property
    def taken(self) -> datetime | None:
        """When the shutter was pressed by the camera's clock, or else when the file was written, or None."""
        shot = self._first | self._pointed(EXIF_POINTER)  # some RAWs have everything in one directory
        entries = (shot.get(ORIGINAL), shot.get(DIGITIZED), self._first.get(CHANGED))
        moments = (self._moment(entry) for entry in entries if entry is not None and entry.kind == ASCII)
        return next((moment for moment in moments if moment is not None), None)

    @property
    def software(self) -> bytes:
        """The program that wrote the file, as bytes; empty where none is named."""
        return self._value(self._first.get(SOFTWARE))

    @property
    def area_information(self) -> bytes:
        """The free text about the position, after its encoding; empty without any."""
        return self._value(self._gps.get(AREA_INFORMATION))

    def _unpack(self, format: str, place: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + format, self._data, place)

    def _directory(self, pointer: int) -> dict[int, Entry]:
        """Return tag -> entry of the directory that the number at a byte points at, as far as that lies in the data."""
        try:
            (start,) = self._unpack("I", pointer)
            (count,) = self._unpack("H", start)
            places = range(start + 2, start + 2 + 12 * count, 12)
            rows = [(place, self._unpack("HHI4x", place)) for place in places]
        except struct.error:
            return {}
        return {tag: Entry(kind, number, place + 8) for place, (tag, kind, number) in rows}

    def _pointed(self, tag: int) -> dict[int, Entry]:
        """Return the directory that a tag of the first one points at."""
        return self._directory(self._first[tag].place) if tag in self._first else {}

    def _value(self, entry: Entry | None) -> bytes:
        """Return the bytes of a value; none for one that is too long or lies outside."""
        if entry is None:
            return b""
        length = _SIZES.get(entry.kind, 1) * entry.count
        start = entry.place if length <= 4 else self._unpack("I", entry.place)[0]
        return self._data[start : start + length] if length <= MAX_VALUE_BYTES else b""

    def _degrees(self, tag: int) -> float:
        """Return a coordinate from degrees, minutes and seconds as fractions, and the side in the tag before."""
        entry, side = self._gps[tag], self._gps[tag - 1]
        if (entry.kind, entry.count) != (RATIONAL, 3):
            raise KeyError(tag)
        parts = self._unpack("6I", self._unpack("I", entry.place)[0])
        degrees = float(sum(parts[2 * i] / parts[2 * i + 1] / 60.0**i for i in range(3)))
        return -degrees if self._data[side.place] in b"SWsw" else degrees

    def _moment(self, entry: Entry) -> datetime | None:
        try:
            (start,) = self._unpack("I", entry.place)
            text = self._data[start : start + _TIME_LENGTH]
            if len(text) < _TIME_LENGTH:
                return None  # strptime would take what is left of a second
            return datetime.strptime(text.decode("ascii"), _TIME)  # noqa: DTZ007 - EXIF has no zone
        except ValueError:  # blanks and zeros, where the camera's clock was not set
            return None
