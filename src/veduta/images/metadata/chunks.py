"""The metadata in PNG, WebP and GIF, which are rows of chunks, each with its kind and length."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

MAX_CHUNKS = 100_000  # of one file; pixels of 256 MB lie in a third of that
MAX_TEXT = 2**24  # bytes of a compressed text
_PNG_START, _WEBP_START = 8, 12
_GIF_XMP, _GIF_XMP_END = b"\x21\xff\x0bXMP DataXMP", b"\x01\xff\xfe\xfd"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_PROFILE = re.compile(rb"Raw profile type (exif|APP1|xmp|iptc)")
_PROFILE_HEAD = re.compile(rb"\s{0,8}[^\n]{0,80}\n\s*\d+\s")  # bounded: a text may be megabytes of blanks
_XMP_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\0"
_CREATED_KEYWORD = b"Creation Time"
_Found = tuple[list[bytes], list[bytes]]  # EXIF blocks, XMP packets


@dataclass(frozen=True)
class PngParts:
    """The metadata of a PNG, each kind in the order of the file.

    Attributes:
        exif: blocks of EXIF.
        xmp: packets.
        iptc: blocks of IPTC or of Photoshop's resources.
        created: texts that say when the picture was made.
    """

    exif: list[bytes] = field(default_factory=list)
    xmp: list[bytes] = field(default_factory=list)
    iptc: list[bytes] = field(default_factory=list)
    created: list[bytes] = field(default_factory=list)


def read_png(data: bytes) -> PngParts:
    """Return the metadata of a PNG, before its pixels or after: as chunks, or as texts, some of them in hex."""
    parts = PngParts()
    for kind, body in _chunks(data, _PNG_START, "big", 12):
        if kind == b"eXIf":
            parts.exif.append(body)
        elif kind in _TEXTS:
            _sort_text(parts, *_TEXTS[kind](body))
        elif kind == b"IEND":
            break
    return parts


def _sort_text(parts: PngParts, keyword: bytes, text: bytes) -> None:
    """Put a text with its keyword where it belongs among the metadata."""
    if keyword == _XMP_KEYWORD:
        parts.xmp.append(text)
    elif keyword == _CREATED_KEYWORD:
        parts.created.append(text)
    elif _PROFILE.fullmatch(keyword):
        profile = _profile(text)
        if keyword.endswith(b"iptc"):
            parts.iptc.append(profile)
        elif b"xmp" in keyword or profile.startswith(_XMP_SIGNATURE):
            parts.xmp.append(profile.removeprefix(_XMP_SIGNATURE))
        else:
            parts.exif.append(profile)


def read_webp(data: bytes) -> _Found:
    """Return the EXIF blocks and XMP packets of a WebP."""
    chunks = list(_chunks(data, _WEBP_START, "little", 8))
    return [body for kind, body in chunks if kind == b"EXIF"], [body for kind, body in chunks if kind == b"XMP "]


def read_gif(data: bytes) -> _Found:
    """Return the XMP packet of a GIF, which has no EXIF."""
    start = data.find(_GIF_XMP)
    end = data.find(_GIF_XMP_END, start)
    return [], [data[start + len(_GIF_XMP) : end]] if 0 <= start < end else []


def _chunks(data: bytes, place: int, order: str, around: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and body of the chunks from a byte on.

    Args:
        data: the file.
        place: byte of the first chunk.
        order: ``big``, the length before the kind (PNG), or ``little``, after it and padded to even (WebP).
        around: bytes of a chunk beside its body.
    """
    is_png = order == "big"
    for _ in range(MAX_CHUNKS):
        head = data[place : place + 8]
        if len(head) < 8:
            return
        kind, size = (head[4:], head[:4]) if is_png else (head[:4], head[4:])
        length = int.from_bytes(size, "big" if is_png else "little")
        yield kind, data[place + 8 : place + 8 + length]
        place += around + length + (0 if is_png else length % 2)


def _plain_text(body: bytes) -> tuple[bytes, bytes]:
    keyword, _, text = body.partition(b"\0")
    return keyword, text


def _packed_text(body: bytes) -> tuple[bytes, bytes]:
    keyword, _, rest = body.partition(b"\0")
    return keyword, _unpacked(rest[1:])


def _international_text(body: bytes) -> tuple[bytes, bytes]:
    keyword, _, rest = body.partition(b"\0")
    text = rest[2:].split(b"\0", 2)[-1]  # after the flags, the language and the translated keyword
    return keyword, _unpacked(text) if rest[:1] == b"\1" else text


_TEXTS: dict[bytes, Callable[[bytes], tuple[bytes, bytes]]] = {
    b"tEXt": _plain_text,
    b"zTXt": _packed_text,
    b"iTXt": _international_text,
}


def _unpacked(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MAX_TEXT)
    except zlib.error:
        return b""


def _profile(text: bytes) -> bytes:
    """Return the bytes of a profile as ImageMagick writes one: a line with a name, one with a length, hex in lines."""
    parts = _PROFILE_HEAD.match(text)
    digits = b"".join(text[parts.end() :].split()) if parts else b""
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    except ValueError:
        return b""
