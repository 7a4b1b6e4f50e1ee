"""The metadata in a JPEG: its APP1 and APP13 segments, found by their signatures."""

from __future__ import annotations

import re
from collections.abc import Iterator

SIGNATURE = b"\xff\xd8\xff"
EXIF, XMP, IPTC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_EXTENSION_HEAD = len(_EXTENSION) + 32 + 4  # signature, the digest of the whole, its length; then the part's place
_EXIF_START = re.compile(rb".{0,4}?exif\0", re.DOTALL | re.IGNORECASE)  # some cameras put bytes before
_TIFF_STARTS = (b"II", b"MM")
_APP1, _APP13 = 0xE1, 0xED
_BODILESS = {0x01, *range(0xD0, 0xD9)}
_END_OF_HEADER = {0xD9, 0xDA}  # the end of the picture, the start of its pixels


def metadata(data: bytes, kind: bytes) -> list[bytes]:
    """Return the bodies of this kind, `EXIF`, `XMP` or `IPTC`, without their signatures, in the order of the file.

    What lies behind damage is left out. EXIF and IPTC that go on in the next segment are one body.
    """
    return _KINDS[kind](data)


def _exif(data: bytes) -> list[bytes]:
    blocks: list[bytes] = []
    for body in _app1(data):
        if match := _EXIF_START.match(body):
            block = body[match.end() + 1 :]
            if blocks and not block.startswith(_TIFF_STARTS):
                blocks[-1] += block
            else:
                blocks.append(block)
    return blocks


def _xmp(data: bytes) -> list[bytes]:
    """Return the XMP packets, that of the extension segments last."""
    bodies = list(_app1(data))
    packets = [body[len(XMP) :] for body in bodies if body.startswith(XMP)]
    parts = {
        int.from_bytes(body[_EXTENSION_HEAD : _EXTENSION_HEAD + 4]): body[_EXTENSION_HEAD + 4 :]
        for body in bodies
        if body.startswith(_EXTENSION)
    }
    return packets + ([b"".join(parts[place] for place in sorted(parts))] if parts else [])


def _iptc(data: bytes) -> list[bytes]:
    """Return Photoshop's resources, among which IPTC is, from all their segments."""
    bodies = [body[len(IPTC) :] for body in _marked(data, _APP13) if body.startswith(IPTC)]
    return [b"".join(bodies)] if bodies else []


_KINDS = {EXIF: _exif, XMP: _xmp, IPTC: _iptc}


def _app1(data: bytes) -> Iterator[bytes]:
    return _marked(data, _APP1)


def _marked(data: bytes, app: int) -> Iterator[bytes]:
    return (body for marker, body in _segments(data) if marker == app)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of the segments before the pixels, up to the first that is damaged."""
    place = 2 if data.startswith(SIGNATURE) else len(data)
    while True:
        while data[place : place + 2] == b"\xff\xff":  # any marker may be preceded by these
            place += 1
        if data[place : place + 1] != b"\xff" or len(data) < place + 4:
            return
        marker = data[place + 1]
        if marker in _END_OF_HEADER:
            return
        length = 0 if marker in _BODILESS else int.from_bytes(data[place + 2 : place + 4])
        end = place + 2 + length
        if end > len(data) or (length < 2 and marker not in _BODILESS):
            return
        yield marker, data[place + 4 : end]
        place = end
