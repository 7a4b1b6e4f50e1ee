"""The metadata in ISO media files: the items of a HEIC or AVIF, and the boxes of Canon's CR3."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from veduta.images.metadata.exif import Exif

MAX_BOXES = 10_000  # of one box
MAX_ITEMS = 10_000
MAX_ITEM_BYTES = 2**24
_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_CANON_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_XMP_TYPE = b"application/rdf+xml"


@dataclass
class _Items:
    """The tables of a meta box.

    Attributes:
        primary: the item that is the picture.
        kinds: item -> its type, and for ``mime`` its content type behind that.
        extents: item -> (byte, length) of its parts; the byte counts in the file, or in the idat box.
        inside: items whose parts lie in the idat box.
        described: item -> items that it describes.
        data: the idat box.
    """

    primary: int | None = None
    kinds: dict[int, bytes] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)
    described: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    data: bytes = b""


def read_items(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the EXIF blocks and XMP packets of a HEIC or AVIF: those of its primary picture, not of a preview."""
    meta = next((body for kind, body in boxes(data) if kind == b"meta"), b"")
    items = _tables(meta[4:])
    exif = [_exif_block(body) for body in _bodies(items, data, b"Exif")]
    return [block for block in exif if block], list(_bodies(items, data, b"mime" + _XMP_TYPE))


def read_cr3(data: bytes) -> tuple[Exif, list[bytes]]:
    """Return the EXIF and the XMP packets of a CR3."""
    parts: dict[bytes, bytes] = {}
    packets = []
    for kind, body in boxes(data):
        if kind == b"moov":
            canon = next((b[16:] for k, b in boxes(body) if k == b"uuid" and b.startswith(_CANON)), b"")
            parts = dict(boxes(canon))
        elif kind == b"uuid" and body.startswith(_CANON_XMP):
            packets.append(body[16:])
    return Exif.of_directories(*(parts.get(kind, b"") for kind in (b"CMT1", b"CMT2", b"CMT4"))), packets


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and body of the boxes in a box or a file, as far as they are whole."""
    place = 0
    for _ in range(MAX_BOXES):
        size, head = int.from_bytes(data[place : place + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16]), 16
        elif size == 0:
            size = len(data) - place
        if size < head or place + head > len(data):
            return
        yield data[place + 4 : place + 8], data[place + head : place + size]
        place += size


class _Cursor:
    """Numbers read one after another; beyond the end all are zero."""

    def __init__(self, data: bytes, place: int = 0) -> None:
        self.data, self.place = data, place

    def number(self, size: int) -> int:
        self.place += size
        return int.from_bytes(self.data[self.place - size : self.place])

    @property
    def is_done(self) -> bool:
        return self.place >= len(self.data)


def _tables(meta: bytes) -> _Items:
    items = _Items()
    for kind, body in boxes(meta):
        if kind == b"pitm":
            items.primary = _Cursor(body, 4).number(4 if body[:1] > b"\0" else 2)
        elif kind == b"iinf":
            _read_kinds(items, body)
        elif kind == b"iloc":
            _read_places(items, body)
        elif kind == b"iref":
            _read_references(items, body)
        elif kind == b"idat":
            items.data = body
    return items


def _read_kinds(items: _Items, body: bytes) -> None:
    for kind, entry in boxes(body[8 if body[:1] > b"\0" else 6 :]):
        if kind == b"infe" and entry[:1] >= b"\2":
            cursor = _Cursor(entry, 4)
            item = cursor.number(2 if entry[:1] == b"\2" else 4)
            start = cursor.place + 2  # past the protection
            content = entry[start + 4 :].split(b"\0", 2)[1:2] if entry[start : start + 4] == b"mime" else []
            items.kinds[item] = entry[start : start + 4] + b"".join(content)


def _read_places(items: _Items, body: bytes) -> None:
    version = body[0] if body else 0
    cursor = _Cursor(body, 4)
    sizes = cursor.number(2)
    offset_size, length_size, base_size, index_size = ((sizes >> shift) & 15 for shift in (12, 8, 4, 0))
    for _ in range(min(cursor.number(2 if version < 2 else 4), MAX_ITEMS)):
        item = cursor.number(2 if version < 2 else 4)
        method = cursor.number(2) & 15 if version in (1, 2) else 0
        cursor.number(2)  # the file that has the data: others are none of ours
        base = cursor.number(base_size)
        parts = []
        for _ in range(min(cursor.number(2), MAX_ITEMS)):
            if version in (1, 2):
                cursor.number(index_size)
            parts.append((base + cursor.number(offset_size), cursor.number(length_size)))
            if cursor.is_done:
                break
        items.extents[item] = parts
        if method == 1:
            items.inside.add(item)
        if cursor.is_done:
            return


def _read_references(items: _Items, body: bytes) -> None:
    size = 2 if body[:1] == b"\0" else 4
    for kind, reference in boxes(body[4:]):
        if kind == b"cdsc":
            cursor = _Cursor(reference)
            item = cursor.number(size)
            for _ in range(min(cursor.number(2), MAX_ITEMS)):
                items.described[item].add(cursor.number(size))


def _bodies(items: _Items, data: bytes, kind: bytes) -> Iterator[bytes]:
    """Yield the content of the items of a type: those that describe the primary picture, or all if none does."""
    typed = [item for item, its_kind in items.kinds.items() if its_kind == kind]
    of_primary = [item for item in typed if items.primary in items.described.get(item, ())]
    for item in of_primary or typed:
        source = items.data if item in items.inside else data
        parts = [source[start : start + length if length else None] for start, length in items.extents.get(item, ())]
        if 0 < sum(map(len, parts)) <= MAX_ITEM_BYTES:
            yield b"".join(parts)


def _exif_block(body: bytes) -> bytes:
    """Return an Exif item from its TIFF header on, whose place is in its first four bytes."""
    start = 4 + int.from_bytes(body[:4])
    if body[start : start + 2] in (b"II", b"MM"):
        return body[start:]
    return body[4:]
