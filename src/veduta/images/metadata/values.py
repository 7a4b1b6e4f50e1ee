"""Dates and coordinates as cameras and programs write them, in every form that exiftool takes too."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_DATE = re.compile(
    r"\D*(?P<year>\d{4})\D+(?P<month>\d{1,2})\D+(?P<day>\d{1,2})"
    r"(?:\D+(?P<hour>\d{1,2})\D+(?P<minute>\d{1,2})(?:(?![+-]\d\d:?\d\d\s*$)\D+(?P<second>\d{1,2})(?:[.,]\d+)?)?)?\s*(?P<rest>.*)",
    re.ASCII | re.DOTALL,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MAIL_DATE = re.compile(  # RFC 1123, with or without the day of the week
    rf"(?P<day>\d+)\s*(?P<month>{'|'.join(_MONTHS)})\s*(?P<year>\d+)\s+(?P<hour>\d+):(?P<minute>\d{{2}})"
    r"(?::(?P<second>\d{2}))?\s*(?P<zone>\S*)",
    re.ASCII | re.IGNORECASE,
)
_PLACES = {"UT": 0, "GMT": 0, "UTC": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6}
_ZONES = _PLACES | {"PST": -8, "PDT": -7, "Z": 0}  # hours ahead of UTC
_ZONES |= {letter: -hours for hours, letter in enumerate("ABCDEFGHIKLM", 1)}  # as exiftool reads the military ones
_ZONES |= {letter: hours for hours, letter in enumerate("NOPQRSTUVWXY", 1)}
_MAX_TEXT = 128  # of a date, more than any has
_CENTURY_TURN = 70  # a year of two digits above is of the last century
_PARTS = ("year", "month", "day", "hour", "minute", "second")
_ZONE = re.compile(r"([+-])(\d{2}):?(\d{2})", re.ASCII)
_MIN_YEAR, _MAX_YEAR = 1001, 2999
_MAX_OFFSET = timedelta(hours=15)
_DECIMAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)", re.ASCII)


@dataclass(frozen=True)
class Moment:
    """A point of time by the clock of a camera.

    Attributes:
        local: the date and time that the clock showed, without a zone.
        utc_offset: how much the clock was ahead of UTC, or None where that is not known.
    """

    local: datetime
    utc_offset: timedelta | None = None


def parse_moment(text: bytes | str, zone: bytes | str = b"") -> Moment | None:
    """Return the moment in a text, or None for one without a possible date, such as blanks and zeros.

    Args:
        text: year, month and day, perhaps hour, minute and second, with anything but digits between; a zone after them
            counts. A date alone is midnight.
        zone: the zone where the text has none, as `parse_offset` takes it.

    >>> parse_moment("2012-12-22 10:37:28 ").local.isoformat()
    '2012-12-22T10:37:28'
    >>> parse_moment("2019:07:14 12:34:56", "+09:00").utc_offset.total_seconds()
    32400.0
    >>> parse_moment("0000:00:00 00:00:00") is None
    True
    """
    match = _DATE.match(_text(text))
    if match is None or not _MIN_YEAR <= int(match["year"]) <= _MAX_YEAR:
        return None
    year, month, day, hours, minutes, seconds = (int(match[part] or 0) for part in _PARTS)
    try:  # exiftool, too, takes the 70th second of a minute for the 10th of the next
        local = datetime(year, month, day) + timedelta(hours=hours, minutes=minutes, seconds=seconds)  # noqa: DTZ001
    except ValueError:
        return None
    offset = parse_offset(match["rest"])
    return Moment(local, parse_offset(zone) if offset is None else offset)


def parse_creation_time(text: bytes | str) -> Moment | None:
    """Return the moment in a PNG's text about its creation, as RFC 1123 or ISO 8601 write one, or None.

    >>> parse_creation_time("Sun, 14 Jul 2019 12:34:56 EST").local.isoformat()
    '2019-07-14T12:34:56'
    """
    match = _MAIL_DATE.search(_text(text[:_MAX_TEXT]))
    if match is None:
        return parse_moment(text[:_MAX_TEXT])
    zone = match["zone"].upper()
    offset = timedelta(hours=_ZONES[zone]) if zone in _ZONES else parse_offset(zone[:6])
    if zone and zone not in _ZONES and not re.match(r"[+-]\d+:?\d{2}", zone):
        return None  # exiftool takes no date with a zone that nobody knows
    year, month = int(match["year"]), _MONTHS.index(match["month"].lower()) + 1
    if year < 100:
        year += 1900 if year > _CENTURY_TURN else 2000
    clock = f"{match['hour']}:{match['minute']}:{match['second'] or '00'}"
    found = parse_moment(f"{year:04d}:{month:02d}:{int(match['day']):02d} {clock}")
    return None if found is None else Moment(found.local, offset)


def parse_offset(text: bytes | str) -> timedelta | None:
    """Return how much a zone is ahead of UTC, or None for anything but ``Z`` and ``+hh:mm``.

    >>> str(parse_offset(b"+05:30")), parse_offset("  :  ")
    ('5:30:00', None)
    """
    zone = _text(text)
    if zone.upper() == "Z":
        return timedelta(0)
    match = _ZONE.fullmatch(zone)
    if match is None or int(match[3]) >= 60:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return (-offset if match[1] == "-" else offset) if offset <= _MAX_OFFSET else None


def degrees(numbers: Sequence[float], side: str | None) -> float | None:
    """Return a coordinate in degrees, negative in the south and west, or None where nothing is said.

    Args:
        numbers: degrees, then minutes and seconds, as far as they are there.
        side: its text for north, south, east or west, of which the first letter counts, and which decides over a sign
            of the degrees; without one, None, only a negative number says its side.
    """
    if not numbers or not all(map(math.isfinite, numbers[:3])) or (side is None and numbers[0] >= 0):
        return None
    total = sum(abs(number) / 60.0**i for i, number in enumerate(numbers[:3]))
    is_negative = side is None or side.strip().upper().startswith(("S", "W"))
    return -total if is_negative else total


def parse_coordinate(text: str) -> float | None:
    """Return the degrees of a coordinate written as text, or None for anything else.

    Args:
        text: degrees, minutes and seconds as far as they are there, then or first the letter of a side, or a sign.

    >>> [parse_coordinate(text) for text in ("33,51.408S", "33,51,24.48S", "-33.8568", "somewhere")]
    [-33.8568, -33.8568, -33.8568, None]
    """
    numbers = [float(number) for number in _DECIMAL.findall(text.replace("-", " -"))]
    if not numbers or len(numbers) > 3 or any(c.isdigit() and not c.isascii() for c in text):
        return None
    plain = text.strip().upper()
    is_negative = plain[:1] in ("S", "W", "-") or plain[-1:] in ("S", "W")
    return degrees([abs(number) for number in numbers], "S" if is_negative else "N")


def possible(north: float | None, east: float | None) -> tuple[float, float] | None:
    """Return (degrees north, degrees east), or None for a position that is none.

    Cameras without a fix write zeros.
    """
    if north is None or east is None or (north, east) == (0, 0):
        return None
    return (north, east) if abs(north) <= 90 and abs(east) <= 180 else None


def _text(text: bytes | str) -> str:
    plain = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return plain.partition("\0")[0].strip()
