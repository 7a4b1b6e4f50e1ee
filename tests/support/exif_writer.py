"""EXIF written by hand, and put into a JPEG: what cameras write, and what damaged files have."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_MOST_BYTES = 2**20  # of one tag that is read
EXIF_POINTER, GPS_POINTER = 0x8769, 0x8825
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Field:
    """One tag of a directory.

    Attributes:
        tag: its number.
        kind: of TIFF's types, by number.
        count: how many values of this kind.
        value: their bytes, or, for a field read from a file, the four bytes in the directory.
        place: byte where those four lie; None for a new field.
    """

    tag: int
    kind: int
    count: int
    value: bytes
    place: int | None = None


class Tiff:
    """A block of TIFF.

    Args:
        data: from its header on.

    Raises:
        ValueError: from any method, if what it asks for is damaged.
    """

    def __init__(self, data: bytes) -> None:
        order = {b"II": "<", b"MM": ">"}.get(data[:2])
        if order is None or len(data) < 8:
            raise ValueError("no TIFF")
        self.data, self.order = data, order

    @property
    def first(self) -> int:
        """Byte where the first directory begins."""
        return self.number(4)

    def number(self, place: int, kind: str = "I") -> int:
        """Return the number at a byte, of `struct`'s kind."""
        if place < 0 or place + struct.calcsize(kind) > len(self.data):
            raise ValueError(f"a place outside, {place}")
        return int(struct.unpack_from(self.order + kind, self.data, place)[0])

    def fields(self, start: int) -> dict[int, Field]:
        """Return tag -> field of the directory at a byte."""
        count = self.number(start, "H")
        if start + 2 + 12 * count + 4 > len(self.data):
            raise ValueError(f"a directory cut short, at byte {start}")
        places = range(start + 2, start + 2 + 12 * count, 12)
        found = ((place, struct.unpack_from(self.order + "HHI", self.data, place)) for place in places)
        return {
            tag: Field(tag, kind, number, self.data[place + 8 : place + 12], place + 8)
            for place, (tag, kind, number) in found
        }

    def pointed(self, fields: dict[int, Field], tag: int) -> dict[int, Field]:
        """Return the fields of the directory that a tag points at, none where there is no such tag."""
        return self.fields(self.number(fields[tag].place or 0)) if tag in fields else {}

    def value(self, field: Field) -> bytes:
        """Return all bytes of a field that was read."""
        start, length = self.spot(field)
        return self.data[start : start + length]

    def spot(self, field: Field) -> tuple[int, int]:
        """Return the byte where the value of a field begins, and its length."""
        length = _SIZES.get(field.kind, 1) * field.count
        start = field.place or 0
        if length > 4:
            start = self.number(start)
        if length > _MOST_BYTES or start + length > len(self.data):
            raise ValueError(f"tag {field.tag:#x} outside")
        return start, length

    def whole(self, field: Field) -> Field:
        """Return a field that was read as one that can be written elsewhere."""
        return replace(field, value=self.value(field), place=None)

    def at(self, place: int, new: bytes) -> Tiff:
        """Return the block with these bytes at a place instead of what is there."""
        return Tiff(self.data[:place] + new + self.data[place + len(new) :])

    def with_directory(self, fields: Sequence[Field], link: int = 0) -> tuple[Tiff, int]:
        """Return the block with a directory behind it, and the byte where that begins; `link` leads to the next."""
        padded = self.data + bytes(len(self.data) % 2)
        return Tiff(padded + directory(fields, len(padded), self.order, link)), len(padded)


def directory(fields: Sequence[Field], start: int, order: str, link: int = 0) -> bytes:
    """Return the bytes of a directory that begins at a byte of its block, its fields sorted, their values behind it."""
    parts, values = [struct.pack(order + "H", len(fields))], b""
    end = start + 2 + 12 * len(fields) + 4
    for field in sorted(fields, key=lambda f: f.tag):
        value = field.value
        if len(value) > 4:
            value, values = struct.pack(order + "I", end + len(values)), values + value + bytes(len(value) % 2)
        parts.append(struct.pack(order + "HHI", field.tag, field.kind, field.count) + value.ljust(4, b"\0"))
    return b"".join([*parts, struct.pack(order + "I", link), values])


def block(order: str, first: Sequence[Field], shot: Sequence[Field], place: Sequence[Field]) -> Tiff:
    """Return EXIF made of the fields of its first directory, of the one about the shot, and of that about its place."""
    parts = [(tag, fields) for tag, fields in ((EXIF_POINTER, shot), (GPS_POINTER, place)) if fields]
    pointers = [numbers(tag, LONG, (0,), order) for tag, _ in parts]
    header = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}[order]
    tiff = Tiff(header + directory([*first, *pointers], len(header), order))
    for tag, fields in parts:
        tiff, start = tiff.with_directory(fields)
        tiff = tiff.at(tiff.fields(len(header))[tag].place or 0, struct.pack(order + "I", start))
    return tiff


def text(tag: int, value: str) -> Field:
    """Return a field with text."""
    raw = value.encode() + b"\0"
    return Field(tag, ASCII, len(raw), raw)


def numbers(tag: int, kind: int, values: Sequence[int], order: str) -> Field:
    """Return a field with numbers; a rational takes two."""
    letter = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "I"}[kind]
    raw = struct.pack(f"{order}{len(values)}{letter}", *values)
    return Field(tag, kind, len(raw) // _SIZES[kind], raw)


def position(place, order):
    """The fields of a position (degrees north, degrees east), as a camera writes them."""
    north, east = place
    return [
        numbers(0, BYTE, (2, 3, 0, 0), order),
        text(1, "S" if north < 0 else "N"),
        numbers(2, RATIONAL, sexagesimal(north), order),
        text(3, "W" if east < 0 else "E"),
        numbers(4, RATIONAL, sexagesimal(east), order),
    ]


def sexagesimal(degrees):
    """Degrees, minutes and seconds, each as numerator and denominator."""
    minutes, seconds = divmod(round(abs(degrees) * 3600 * 10_000), 60 * 10_000)
    return minutes // 60, 1, minutes % 60, 1, seconds, 10_000


def segment(marker, body):
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


def in_jpeg(photo, *segments):
    """A JPEG with these segments behind its first one, where that is JFIF's, or before all others."""
    place = 4 + int.from_bytes(photo[4:6]) if photo[2:4] == b"\xff\xe0" else 2
    return photo[:place] + b"".join(segments) + photo[place:]


def with_exif(photo, exif):
    """A JPEG that had no EXIF, with some."""
    return in_jpeg(photo, segment(0xE1, b"Exif\0\0" + exif))


def with_xmp(photo, packet):
    """A JPEG that had no XMP, with some."""
    return in_jpeg(photo, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
