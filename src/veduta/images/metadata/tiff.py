"""TIFF and BigTIFF as EXIF uses them: directories of tags, whose values are numbers or text. Only read here."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

ASCII, RATIONAL, SIGNED_RATIONAL = 2, 5, 10  # of TIFF's types
UNDEFINED = 7
MAX_VALUE_BYTES = 2**24  # of one tag
MAX_FIELDS = 2**16 - 1  # of one directory: more than a classic TIFF can count
MAX_NUMBERS = 16  # read of one tag
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_FRACTIONS = {RATIONAL: "I", SIGNED_RATIONAL: "i"}
_SIZES = {ASCII: 1, UNDEFINED: 1, **dict.fromkeys(_FRACTIONS, 8)}
_SIZES |= {kind: struct.calcsize(format) for kind, format in _NUMBERS.items()}
_DECIMAL = re.compile(rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)")
_BIG = 43  # BigTIFF's version; RAWs have numbers of their own in that place, and are classic otherwise


@dataclass(frozen=True)
class _Layout:
    """The sizes in which classic TIFF and BigTIFF differ: `struct` formats of a count and of a place."""

    count: str
    place: str
    first: int

    @property
    def inline(self) -> int:
        """Bytes of a value that lie in the directory itself."""
        return struct.calcsize(self.place)


_CLASSIC, _LARGE = _Layout("H", "I", 4), _Layout("Q", "Q", 8)


class Tiff:
    """A block of TIFF.

    Args:
        data: from its header on; anything else has no directories.
    """

    def __init__(self, data: bytes) -> None:
        order = {b"II": "<", b"MM": ">"}.get(data[:2])
        self.data, self.order = data if order else b"", order or "<"
        self.layout = _LARGE if self.number("H", 2) == _BIG else _CLASSIC

    def first(self) -> list[tuple[int, TiffField]]:
        """Return the tags of the first directory, as `directory` does."""
        return self.directory(self.number(self.layout.place, self.layout.first))

    def directory(self, start: int | None) -> list[tuple[int, TiffField]]:
        """Return (tag, field) of the directory at a byte, in its order, as many as lie in the data."""
        count = None if not start else self.number(self.layout.count, start)
        if start is None or count is None:
            return []
        size = 4 + struct.calcsize(self.layout.place) + self.layout.inline
        begin = start + struct.calcsize(self.layout.count)
        places = range(begin, min(begin + size * min(count, MAX_FIELDS), len(self.data) - size + 1), size)
        return list(self._fields(places))

    def _fields(self, places: range) -> Iterator[tuple[int, TiffField]]:
        format = f"{self.order}HH{self.layout.place}"
        for place in places:
            tag, kind, count = struct.unpack_from(format, self.data, place)
            yield tag, TiffField(self, kind, count, place + struct.calcsize(format))

    def number(self, format: str, place: int) -> int | None:
        """Return the number at a byte, or None outside the data."""
        if place + struct.calcsize(format) > len(self.data):
            return None
        return int(struct.unpack_from(self.order + format, self.data, place)[0])


@dataclass(frozen=True)
class TiffField:
    """The value of one tag, read when asked for.

    Attributes:
        tiff: the block.
        kind: of TIFF's types, by number.
        count: how many values of this kind.
        place: byte where the value lies or, for a longer one, where its own place stands.
    """

    tiff: Tiff = field(repr=False)
    kind: int
    count: int
    place: int

    @property
    def data(self) -> bytes:
        """The bytes of the value; none for one that is too long or lies outside the block."""
        length = _SIZES.get(self.kind, 1) * self.count
        start: int | None = self.place
        if length > self.tiff.layout.inline:
            start = self.tiff.number(self.tiff.layout.place, self.place)
        if start is None or length > MAX_VALUE_BYTES or start + length > len(self.tiff.data):
            return b""
        return self.tiff.data[start : start + length]

    @property
    def text(self) -> bytes:
        """The bytes of the value up to the first zero, without white space around."""
        return self.data.partition(b"\0")[0].strip()

    @property
    def numbers(self) -> list[float]:
        """The first numbers of the value, or those in a text; NaN for a fraction with the denominator 0."""
        data = self.data
        if self.kind in _FRACTIONS:
            parts = struct.iter_unpack(f"{self.tiff.order}2{_FRACTIONS[self.kind]}", data[: 8 * MAX_NUMBERS])
            return [above / below if below else math.nan for above, below in parts]
        if self.kind in _NUMBERS:
            data = data[: _SIZES[self.kind] * MAX_NUMBERS]
            return [float(n) for (n,) in struct.iter_unpack(self.tiff.order + _NUMBERS[self.kind], data)]
        return [float(text) for text in _DECIMAL.findall(data[:256])][:MAX_NUMBERS]

    @property
    def number(self) -> int | None:
        """The first number of the value, rounded down, or None."""
        first = next(iter(self.numbers), math.nan)
        return int(first) if math.isfinite(first) else None

    def directory(self) -> list[tuple[int, TiffField]]:
        """Return (tag, field) of the directory at which this field points."""
        return self.tiff.directory(self.number)
