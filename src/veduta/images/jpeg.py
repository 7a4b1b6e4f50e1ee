"""The metadata in a JPEG: its APP1 segments, found by their signatures."""

from __future__ import annotations

from collections.abc import Iterator

SIGNATURE = b"\xff\xd8\xff"
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_APP1 = 0xE1
_BODILESS = {0x01, *range(0xD0, 0xD9)}
_END_OF_HEADER = {0xD9, 0xDA}  # the end of the picture, the start of its pixels


def metadata(data: bytes, kind: bytes) -> list[bytes]:
    """Return the bodies of this kind, `EXIF` or `XMP`, without their signatures, in the order of the file.

    Raises:
        ValueError: if the data is no JPEG, or damaged before its pixels.
    """
    return [body[len(kind) :] for marker, body in _segments(data) if marker == _APP1 and body.startswith(kind)]


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of the segments before the pixels."""
    if not data.startswith(SIGNATURE):
        raise ValueError("no JPEG")
    place = 2
    while True:
        while data[place : place + 2] == b"\xff\xff":  # any marker may be preceded by these
            place += 1
        if data[place : place + 1] != b"\xff" or len(data) < place + 4:
            raise ValueError(f"no segment at byte {place}")
        marker = data[place + 1]
        if marker in _END_OF_HEADER:
            return
        length = 0 if marker in _BODILESS else int.from_bytes(data[place + 2 : place + 4])
        end = place + 2 + length
        if end > len(data) or (length < 2 and marker not in _BODILESS):
            raise ValueError(f"a segment at byte {place} that is cut short")
        yield marker, data[place + 4 : end]
        place = end
