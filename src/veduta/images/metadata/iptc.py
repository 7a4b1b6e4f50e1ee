"""The dates in IPTC (IIM 4.2), alone or among Photoshop's resources, as agencies, archives and scanners write them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from veduta.images.metadata.values import Moment, parse_moment

_RESOURCES = (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa")
_IPTC_RESOURCE = 0x0404
_APPLICATION_RECORD = 2
_MOMENTS = ((55, 60), (62, 63))  # the tags of a date and a time: created, digitized
_MARK = 0x1C
_EXTENDED, _MAX_LENGTH_BYTES = 0x8000, 8
MAX_FIELDS = 100_000
_MAX_TEXT = 64  # of a date or time, more than any has
_DATE = re.compile(r"(\d{4})\D*(\d{2})\D*(\d{2})", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3])[: ]?([0-5]\d)[: ]?(\d{2})?\s*([+-]\d{2}:?\d{2}|Z)?\s*", re.ASCII)


class Iptc:
    """The IPTC of one photo; damaged fields read as absent ones.

    Of a field that stands twice in a block the last counts, as for exiftool, and of several blocks the first.

    Args:
        blocks: IIM, or Photoshop's resources with IIM among them; the standard place first.
    """

    def __init__(self, *blocks: bytes) -> None:
        self._fields: dict[int, bytes] = {}
        for block in blocks:
            for records in _iptc_resources(block) if block.startswith(_RESOURCES) else [block]:
                self._fields = dict(_fields(_in_order(records))) | self._fields

    @property
    def moments(self) -> list[Moment]:
        """When the picture was created and when it was digitized, as far as that is said; without a time, midnight."""
        return [moment for tags in _MOMENTS if (moment := self._moment(*tags))]

    def _moment(self, date: int, time: int) -> Moment | None:
        day, hours = (_text(self._fields.get(tag, b"")) for tag in (date, time))
        if not (match := _DATE.fullmatch(day)):
            return None
        clock = _TIME.fullmatch(hours)
        hour, minute, second, zone = clock.groups() if clock else ("00", "00", None, None)
        return parse_moment(f"{':'.join(match.groups())} {hour}:{minute}:{second or '00'}{zone or ''}")


def _in_order(records: bytes) -> bytes:
    """Return IIM whose bytes some programs have turned around by fours, as if they were numbers, in their order."""
    if records[:1] == b"\x1c" or records[3:4] != b"\x1c":
        return records
    padded = records + b"\0\0\0"
    return b"".join(padded[place : place + 4][::-1] for place in range(0, len(padded) - 3, 4))


def _iptc_resources(data: bytes) -> Iterator[bytes]:
    """Yield the bodies of the resources that hold IPTC."""
    place = 0
    for _ in range(MAX_FIELDS):
        if not data.startswith(_RESOURCES, place):
            return
        name_bytes = data[place + 6] + 1 if place + 6 < len(data) else 1
        head = place + 6 + name_bytes + name_bytes % 2
        size = int.from_bytes(data[head : head + 4])
        if head + 4 + size > len(data):
            return
        if int.from_bytes(data[place + 4 : place + 6]) == _IPTC_RESOURCE and data.startswith(b"8BIM", place):
            yield data[head + 4 : head + 4 + size]
        place = head + 4 + size + size % 2


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and value of the fields of the application record, up to the first that is damaged."""
    place = 0
    for _ in range(MAX_FIELDS):
        if len(data) < place + 5 or data[place] != _MARK:
            return
        record, tag, length = data[place + 1], data[place + 2], int.from_bytes(data[place + 3 : place + 5])
        place += 5
        if length & _EXTENDED:
            size = length ^ _EXTENDED
            if size > _MAX_LENGTH_BYTES:
                return
            length = int.from_bytes(data[place : place + size])
            place += size
        if place + length > len(data):
            return
        if record == _APPLICATION_RECORD:
            yield tag, data[place : place + length]
        place += length


def _text(value: bytes) -> str:
    return value[:_MAX_TEXT].rstrip(b"\0").decode("ascii", "replace")
