"""EXIF, read alike from every format: orientation, time and position of a photo.

EXIF is TIFF (CIPA DC-008): directories of tags that point at one another. Only read here; exiftool writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from veduta.images.metadata.tiff import Tiff, TiffField
from veduta.images.metadata.values import Moment, degrees, parse_moment, possible

XMP_PACKET, IPTC_RECORDS, PHOTOSHOP_RESOURCES = 0x02BC, 0x83BB, 0x8649
ORIENTATION, SOFTWARE, CHANGED, EXIF_POINTER, GPS_POINTER = 0x0112, 0x0131, 0x0132, 0x8769, 0x8825
ORIGINAL, DIGITIZED = 0x9003, 0x9004
DNG_VERSION = 0xC612
LATITUDE, LONGITUDE, AREA_INFORMATION = 2, 4, 0x1C  # the first two each after the tag with the side of zero
_OFFSETS = {CHANGED: 0x9010, ORIGINAL: 0x9011, DIGITIZED: 0x9012}  # date -> its zone
_SIGNATURE = re.compile(rb".{0,4}?exif\0.(?=II|MM)", re.DOTALL | re.IGNORECASE)  # before the TIFF header


class Exif:
    """The EXIF of one photo; damaged tags read as absent ones.

    Of a tag that stands twice the last counts, as for exiftool.

    Args:
        blocks: EXIF from its TIFF header on, ``Exif`` before that or not, such as a whole TIFF; a photo may have
            several. Anything but bytes is no EXIF.
    """

    def __init__(self, *blocks: object) -> None:
        tiffs = [Tiff(trimmed(block)) for block in blocks if isinstance(block, bytes)]
        first = [row for tiff in tiffs for row in tiff.first()]
        self._first = dict(first)
        # Some RAWs have everything in one directory.
        self._shot = self._first | dict(_pointed(first, EXIF_POINTER))
        self._gps = dict(_pointed(first, GPS_POINTER))

    @classmethod
    def of_directories(cls, first: bytes, shot: bytes, gps: bytes) -> Exif:
        """Return EXIF whose three directories are blocks of their own, as Canon's CR3 has them."""
        exif = cls(first)
        exif._shot = exif._first | dict(Tiff(shot).first())
        exif._gps = dict(Tiff(gps).first())
        return exif

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
        field = self._first.get(ORIENTATION)
        return None if field is None else field.number

    @property
    def position(self) -> tuple[float, float] | None:
        """(degrees north, degrees east), or None where nothing, or nothing possible, is said."""
        return possible(self._degrees(LATITUDE), self._degrees(LONGITUDE))

    @property
    def moments(self) -> list[Moment]:
        """When the shutter was pressed and when the picture was digitized, as far as that is said."""
        return [moment for tag in (ORIGINAL, DIGITIZED) if (moment := self._moment(tag))]

    @property
    def changed(self) -> Moment | None:
        """When the file was written, or None."""
        return self._moment(CHANGED)

    @property
    def taken(self) -> Moment | None:
        """When the shutter was pressed by the camera's clock, or else when the file was written, or None."""
        return next(iter(self.moments), self.changed)

    @property
    def software(self) -> bytes:
        """The program that wrote the file, as bytes; empty where none is named."""
        return _data(self._first.get(SOFTWARE))

    @property
    def area_information(self) -> bytes:
        """The free text about the position, after its encoding; empty without any."""
        return _data(self._gps.get(AREA_INFORMATION))

    @property
    def xmp_packet(self) -> bytes:
        """The XMP that a TIFF keeps in its first directory; empty without any."""
        return _data(self._first.get(XMP_PACKET))

    @property
    def iptc_blocks(self) -> list[bytes]:
        """The IPTC that a TIFF keeps in its first directory, alone or among Photoshop's resources."""
        blocks = [_data(self._first.get(tag)) for tag in (IPTC_RECORDS, PHOTOSHOP_RESOURCES)]
        return [block for block in blocks if block]

    def _degrees(self, tag: int) -> float | None:
        """Return a coordinate from its numbers, and the side in the tag before."""
        field, side = self._gps.get(tag), self._gps.get(tag - 1)
        if field is None:
            return None
        return degrees(field.numbers, None if side is None else side.text.decode("ascii", "replace"))

    def _moment(self, tag: int) -> Moment | None:
        field, zone = self._shot.get(tag), self._shot.get(_OFFSETS[tag])
        return None if field is None else parse_moment(field.text, b"" if zone is None else zone.text)


def trimmed(block: bytes) -> bytes:
    """Return a block of EXIF from its TIFF header on."""
    match = _SIGNATURE.match(block)
    return block[match.end() :] if match else block


def _pointed(first: Iterable[tuple[int, TiffField]], pointer: int) -> Iterator[tuple[int, TiffField]]:
    """Yield the tags of every directory that a tag of the first one points at."""
    for tag, field in first:
        if tag == pointer:
            yield from field.directory()


def _data(field: TiffField | None) -> bytes:
    return b"" if field is None else field.data
