"""A JPEG as its segments: those with metadata are exchanged, and the picture's bytes are never touched."""

from __future__ import annotations

from dataclasses import dataclass

EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
MAX_SEGMENT = 65533  # bytes of a segment's body: its length, with two bytes of its own, has two bytes
_APP0, _APP1, _APP2 = 0xE0, 0xE1, 0xE2
_MPF = b"MPF\0"  # CIPA's multi-picture format: a list of the pictures that follow the first one in the file
_BODILESS = {0x01, *range(0xD0, 0xD9)}
_END_OF_HEADER = {0xD9, 0xDA}  # the end of the picture, the start of its pixels


@dataclass(frozen=True)
class Segment:
    """One segment before the pixels.

    Attributes:
        marker: its kind: 0xE1 for EXIF and XMP.
        body: what is in it.
        raw: it all, as it stands in the file.
    """

    marker: int
    body: bytes
    raw: bytes


@dataclass(frozen=True)
class Jpeg:
    """A JPEG taken apart.

    Attributes:
        segments: those before the pixels.
        rest: the pixels, and whatever follows them.
    """

    segments: tuple[Segment, ...]
    rest: bytes

    def body(self, kind: bytes) -> bytes | None:
        """Return what follows the first signature of this kind, `EXIF` or `XMP`, or None where there is none."""
        return next(iter(self.bodies(kind)), None)

    def bodies(self, kind: bytes) -> list[bytes]:
        """Return what follows each signature of this kind."""
        return [segment.body[len(kind) :] for segment in self.segments if _is(segment, kind)]

    def with_body(self, kind: bytes, body: bytes) -> Jpeg:
        """Return the JPEG with this EXIF or XMP instead of its own; ValueError if it is too long for a segment."""
        if len(kind) + len(body) > MAX_SEGMENT:
            raise ValueError(f"{len(body):,} bytes of metadata, where a JPEG has room for {MAX_SEGMENT - len(kind):,}")
        raw = bytes([0xFF, _APP1]) + (len(kind) + len(body) + 2).to_bytes(2) + kind + body
        new = Segment(_APP1, kind + body, raw)
        found = self._find(kind)
        place = self._place(kind) if found is None else found
        segments = (*self.segments[:place], new, *self.segments[place + (found is not None) :])
        return Jpeg(segments, self.rest)

    def _place(self, kind: bytes) -> int:
        """Return where to put EXIF or XMP that is new: EXIF first, XMP behind it.

        Both go before whatever counts bytes from its own place, such as a list of the further pictures in a file.
        """
        exif = self._find(EXIF)
        if kind == XMP and exif is not None:
            return exif + 1
        others = (i for i, segment in enumerate(self.segments) if segment.marker != _APP0)
        return next(others, len(self.segments))

    def without(self, kind: bytes) -> Jpeg:
        """Return the JPEG without its EXIF or XMP."""
        return Jpeg(tuple(s for s in self.segments if not _is(s, kind)), self.rest)

    def joined(self) -> bytes:
        """Return the file."""
        return b"".join([b"\xff\xd8", *(segment.raw for segment in self.segments), self.rest])

    def foreign(self) -> list[bytes]:
        """Return everything but EXIF and XMP, in order."""
        return [*(s.raw for s in self.segments if not _is(s, EXIF) and not _is(s, XMP)), self.rest]

    def counted_on(self) -> list[int]:
        """Return how many bytes lie behind the start of each list of further pictures, from which it counts to them."""
        return [
            sum(len(behind.raw) for behind in self.segments[i:]) + len(self.rest)
            for i, segment in enumerate(self.segments)
            if segment.marker == _APP2 and segment.body.startswith(_MPF)
        ]

    def _find(self, kind: bytes) -> int | None:
        return next((i for i, segment in enumerate(self.segments) if _is(segment, kind)), None)


def _is(segment: Segment, kind: bytes) -> bool:
    return segment.marker == _APP1 and segment.body.startswith(kind)


def split(data: bytes) -> Jpeg:
    """Return a JPEG taken apart; ValueError if it is none, or damaged before its pixels."""
    if not data.startswith(b"\xff\xd8\xff"):
        raise ValueError("no JPEG")
    segments: list[Segment] = []
    place = 2
    while True:
        start = place
        while data[place : place + 2] == b"\xff\xff":  # any marker may be preceded by these
            place += 1
        if data[place : place + 1] != b"\xff" or len(data) < place + 4:
            raise ValueError(f"no segment at byte {place}")
        marker = data[place + 1]
        if marker in _END_OF_HEADER:
            return Jpeg(tuple(segments), data[start:])
        length = 0 if marker in _BODILESS else int.from_bytes(data[place + 2 : place + 4])
        end = place + 2 + length
        if end > len(data) or (length < 2 and marker not in _BODILESS):
            raise ValueError(f"a segment at byte {place} that is cut short")
        segments.append(Segment(marker, data[place + 4 : end], data[start:end]))
        place = end
