"""The position in EXIF: read, told whose it is, written as an estimate, taken out again."""

from __future__ import annotations

import struct

from veduta.images.tiff import (
    ASCII,
    BYTE,
    GPS_POINTER,
    LONG,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Field,
    Tiff,
    block,
    directory,
    numbers,
    text,
)
from veduta.library.metadata.keywords import ESTIMATE, MANUAL

GPS_MARK = b"ASCII\0\0\0" + ESTIMATE.encode()  # EXIF's free texts begin with their encoding
_VERSION, _NORTH, _EAST, _DATUM, _METHOD, _AREA = 0, 2, 4, 0x12, 0x1B, 0x1C
_PARTS = 10_000  # of a second of arc: 3 mm


def position(tiff: Tiff) -> tuple[float, float] | None:
    """Return (degrees north, degrees east), or None where there is none; zeros, which some cameras write, are none."""
    fields = _gps(tiff)
    if _NORTH not in fields or _EAST not in fields:
        return None
    north, east = _degrees(tiff, fields, _NORTH), _degrees(tiff, fields, _EAST)
    return None if north is None or east is None or (north, east) == (0, 0) else (north, east)


def is_marked(tiff: Tiff) -> bool:
    """Return whether the position says of itself that it is an estimate of ours."""
    area = _gps(tiff).get(_AREA)
    return area is not None and tiff.value(area).rstrip(b"\0") == GPS_MARK


def with_estimate(tiff: Tiff, place: tuple[float, float]) -> Tiff:
    """Return the block with a position that says it is an estimate; what else is known of the position stays."""
    fields = _gps(tiff)
    new = {field.tag: field for field in estimate(place, tiff.order)}
    alike = (tag in fields and (fields[tag].kind, fields[tag].count) == (f.kind, f.count) for tag, f in new.items())
    if is_marked(tiff) and all(alike):
        # Written over in place, so that a block changed a hundred times does not grow.
        for tag, field in new.items():
            tiff = tiff.at(tiff.spot(fields[tag])[0], field.value)
        return tiff
    tiff, start = tiff.with_directory(list((fields | new).values()))
    return _pointing(tiff, start)


def without_estimate(tiff: Tiff) -> Tiff:
    """Return the block without an estimate that it has; what else is known of the position stays, and nothing moves."""
    ours = {field.tag for field in estimate((0.0, 0.0), tiff.order)}
    if _gps(tiff).keys() <= ours:
        return _shortened(_blanked(tiff), tiff.first, {GPS_POINTER})
    return _without(tiff, ours)


def without_mark(tiff: Tiff) -> Tiff:
    """Return the block with a position that does not say any more that it is an estimate: somebody has corrected it."""
    return _without(tiff, {_AREA})


def _without(tiff: Tiff, tags: set[int]) -> Tiff:
    """Return the block without these tags of the position, our mark among them; nothing moves."""
    return _shortened(_blanked(tiff), tiff.number(tiff.fields(tiff.first)[GPS_POINTER].place or 0), tags)


def _blanked(tiff: Tiff) -> Tiff:
    """Return the block with zeros for our mark, or whoever looks for its bytes would find it."""
    area = _gps(tiff).get(_AREA)
    if area is None:
        return tiff
    start, length = tiff.spot(area)
    return tiff.at(start, bytes(length))


def _shortened(tiff: Tiff, start: int, tags: set[int]) -> Tiff:
    """Return the block with the directory at a byte shortened by these tags, in place."""
    fields = tiff.fields(start)
    end = start + 2 + 12 * len(fields)
    kept = [field for tag, field in fields.items() if tag not in tags]
    return tiff.at(start, directory(kept, start, tiff.order, tiff.number(end)).ljust(end + 4 - start, b"\0"))


def estimate(place: tuple[float, float], order: str) -> list[Field]:
    """Return the fields of a position (degrees north, degrees east) that say it is an estimate."""
    method = b"ASCII\0\0\0" + MANUAL.encode()
    return [
        numbers(_VERSION, BYTE, (2, 3, 0, 0), order),
        text(_NORTH - 1, "S" if place[0] < 0 else "N"),
        numbers(_NORTH, RATIONAL, _sexagesimal(place[0]), order),
        text(_EAST - 1, "W" if place[1] < 0 else "E"),
        numbers(_EAST, RATIONAL, _sexagesimal(place[1]), order),
        text(_DATUM, "WGS-84"),
        Field(_METHOD, UNDEFINED, len(method), method),
        Field(_AREA, UNDEFINED, len(GPS_MARK), GPS_MARK),
    ]


def new_block(place: tuple[float, float]) -> Tiff:
    """Return EXIF for a photo that has none, with what the standard demands of every JPEG and an estimate."""
    order = ">"
    resolution = [numbers(tag, RATIONAL, (72, 1), order) for tag in (0x11A, 0x11B)]
    fields = [*resolution, numbers(0x128, SHORT, (2,), order), numbers(0x213, SHORT, (1,), order)]
    return block(order, fields, [], estimate(place, order))


def _pointing(tiff: Tiff, start: int) -> Tiff:
    """Return the block with its first directory pointing at the positions that begin at a byte."""
    fields = tiff.fields(tiff.first)
    if GPS_POINTER in fields:
        return tiff.at(fields[GPS_POINTER].place or 0, struct.pack(tiff.order + "I", start))
    # There is no room for one field more: the directory moves to the end, its values stay.
    link = tiff.number(tiff.first + 2 + 12 * len(fields))
    pointer = numbers(GPS_POINTER, LONG, (start,), tiff.order)
    tiff, first = tiff.with_directory([*fields.values(), pointer], link)
    return tiff.at(4, struct.pack(tiff.order + "I", first))


def _gps(tiff: Tiff) -> dict[int, Field]:
    return tiff.pointed(tiff.fields(tiff.first), GPS_POINTER)


def _degrees(tiff: Tiff, fields: dict[int, Field], tag: int) -> float | None:
    """Return a coordinate: degrees, minutes and seconds as fractions, and in the tag before it the side."""
    field, side = fields[tag], fields.get(tag - 1)
    if (field.kind, field.count) != (RATIONAL, 3) or side is None or side.kind != ASCII:
        return None
    parts = struct.unpack(tiff.order + "6I", tiff.value(field))
    if 0 in parts[1::2]:
        return None
    degrees = float(sum(parts[2 * i] / parts[2 * i + 1] / 60.0**i for i in range(3)))
    return -degrees if side.value[:1] in b"SWsw" else degrees


def _sexagesimal(degrees: float) -> tuple[int, ...]:
    """Return degrees, minutes and seconds, each as numerator and denominator."""
    # Rounded as one whole number, so that no part becomes 60.
    minutes, seconds = divmod(round(abs(degrees) * 3600 * _PARTS), 60 * _PARTS)
    return minutes // 60, 1, minutes % 60, 1, seconds, _PARTS
