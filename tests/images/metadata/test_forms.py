"""Positions, dates and orientations in every form that cameras write, each with the value that it has.

One folder with a JPEG of each form is read by exiftool, too, which knows the standards better than we do.
"""

import json
import struct
from datetime import datetime, timedelta

import pytest
from support import exif_writer as tiff
from support.exif_writer import BYTE, LONG, RATIONAL, SHORT, UNDEFINED, Field
from support.image_files import drawn, encoded
from support.metadata import exiftool, needs_exiftool

from veduta.images import load
from veduta.images.metadata import read_metadata
from veduta.images.metadata.values import degrees, parse_coordinate, parse_moment, parse_offset

SIGNED_LONG, SIGNED_RATIONAL, FLOAT, DOUBLE = 9, 10, 11, 12
LETTERS = {
    BYTE: "B",
    SHORT: "H",
    LONG: "I",
    RATIONAL: "I",
    SIGNED_LONG: "i",
    SIGNED_RATIONAL: "i",
    FLOAT: "f",
    DOUBLE: "d",
}
PHOTO = encoded(drawn(), "JPEG")
ORIGINAL, DIGITIZED, CHANGED, OFFSET = 0x9003, 0x9004, 0x0132, 0x9011
MADRID = (40.5, -3.75)


def values(tag, kind, numbers, order):
    """A field of any kind of numbers."""
    raw = struct.pack(f"{order}{len(numbers)}{LETTERS[kind]}", *numbers)
    return Field(tag, kind, len(numbers) // (2 if kind in (RATIONAL, SIGNED_RATIONAL) else 1), raw)


def position(order, north, east, sides=("N", "W")):
    """The fields of a position: its two coordinates as (kind, numbers), or as text, and its sides or None."""
    fields = []
    for tag, coordinate, side in ((2, north, sides[0]), (4, east, sides[1])):
        fields += [] if side is None else [tiff.text(tag - 1, side)]
        is_text = isinstance(coordinate, str)
        fields.append(tiff.text(tag, coordinate) if is_text else values(tag, *coordinate, order))
    return fields


def photo(order, *, first=(), shot=(), place=()):
    return tiff.with_exif(PHOTO, tiff.block(order, first, shot, place).data)


def same(kind, *numbers):
    return kind, numbers


POSITIONS = {
    "three fractions": (same(RATIONAL, 40, 1, 30, 1, 0, 1), same(RATIONAL, 3, 1, 45, 1, 0, 1)),
    "seconds with decimals": (same(RATIONAL, 40, 1, 29, 1, 6000, 100), same(RATIONAL, 3, 1, 44, 1, 6000, 100)),
    "two fractions": (same(RATIONAL, 40, 1, 300, 10), same(RATIONAL, 3, 1, 450, 10)),
    "one fraction": (same(RATIONAL, 405, 10), same(RATIONAL, 375, 100)),
    "degrees as fraction, then zeros": (same(RATIONAL, 405, 10, 0, 1, 0, 1), same(RATIONAL, 375, 100, 0, 1, 0, 1)),
    "signed fractions": (same(SIGNED_RATIONAL, 40, 1, 30, 1, 0, 1), same(SIGNED_RATIONAL, 3, 1, 45, 1, 0, 1)),
    "one signed fraction": (same(SIGNED_RATIONAL, 405, 10), same(SIGNED_RATIONAL, 375, 100)),
    "one double": (same(DOUBLE, 40.5), same(DOUBLE, 3.75)),
    "three doubles": (same(DOUBLE, 40, 30, 0), same(DOUBLE, 3, 45, 0)),
    "one float": (same(FLOAT, 40.5), same(FLOAT, 3.75)),
    "whole numbers": (same(SHORT, 40, 30, 0), same(LONG, 3, 45, 0)),
    "signed whole numbers": (same(SIGNED_LONG, 40, 30, 0), same(SIGNED_LONG, 3, 45, 0)),
    "numbers of both kinds": (same(RATIONAL, 405, 10), same(DOUBLE, 3, 45)),
    "a text": ("40 30 0", "3 45 0"),
    "a decimal as text": ("40.5", "3.75"),
    "a text with units": ("40 deg 30' 0.00\"", "3 deg 45' 0.00\""),
}
SIDES = {
    "letters": ("N", "W"),
    "words": ("North", "West"),
    "small letters": ("n", "w"),
    "capitals": ("NORTH", "WEST"),
    "blanks behind": ("N ", "W "),
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("form", POSITIONS)
def test_a_position_in_any_form(form, order):
    assert load(photo(order, place=position(order, *POSITIONS[form]))).position == pytest.approx(MADRID, abs=1e-6)


@pytest.mark.parametrize("form", SIDES)
def test_sides_as_letters_and_words(form):
    content = photo("<", place=position("<", *POSITIONS["three fractions"], SIDES[form]))
    assert load(content).position == pytest.approx(MADRID)


@pytest.mark.parametrize(
    ("numbers", "side", "expected"),
    [
        ([33, 30], "S", -33.5),
        ([33, 30], "South", -33.5),
        ([33, 30], " s", -33.5),
        ([33.5], "", 33.5),
        ([-33.5], None, -33.5),
        ([-33, 30], None, -33.5),
        ([-33.5], "S", -33.5),
        ([33.5], None, None),  # nobody knows on which side of the equator
        ([], "N", None),
        ([33, float("nan")], "N", None),
        ([float("inf")], "N", None),
        ([33, 30, 36], "E", 33.51),
    ],
)
def test_degrees_minutes_seconds_and_side(numbers, side, expected):
    assert degrees(numbers, side) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "coordinates",
    [
        ((RATIONAL, (0, 1, 0, 1, 0, 1)), (RATIONAL, (0, 1, 0, 1, 0, 1))),  # as cameras without a fix write
        ((RATIONAL, (40, 0)), (RATIONAL, (3, 1))),
        ((RATIONAL, (40, 1, 0, 0, 0, 0)), (RATIONAL, (3, 1, 0, 0, 0, 0))),
        ((RATIONAL, (91, 1)), (RATIONAL, (3, 1))),
        ((RATIONAL, (40, 1)), (RATIONAL, (181, 1))),
        ((DOUBLE, (float("nan"),)), (DOUBLE, (3.0,))),
        ((DOUBLE, (float("inf"),)), (DOUBLE, (3.0,))),
        ("", ""),
        ("unknown", "unknown"),
    ],
)
def test_what_is_no_position(coordinates):
    assert load(photo("<", place=position("<", *coordinates))).position is None


DATES = {
    "2019:07:14 12:34:56": "2019-07-14T12:34:56",
    "2019-07-14 12:34:56": "2019-07-14T12:34:56",
    "2019/07/14 12:34:56": "2019-07-14T12:34:56",
    "2019.07.14 12.34.56": "2019-07-14T12:34:56",
    "2019:07:14 12:34:56 ": "2019-07-14T12:34:56",
    "2019:07:14:12:34:56": "2019-07-14T12:34:56",
    "2019-07-14T12:34:56": "2019-07-14T12:34:56",
    "2019:07:14 12:34:56.789": "2019-07-14T12:34:56",
    "2019:07:14 12:34:56+02:00": "2019-07-14T12:34:56",
    "2019:07:14 12:34: 6": "2019-07-14T12:34:06",
    "2019:7:4 2:4:6": "2019-07-04T02:04:06",
    "2019:07:14 12:34": "2019-07-14T12:34:00",
    "2019:07:14": "2019-07-14T00:00:00",
    "2019:07:14 12:34:70": "2019-07-14T12:35:10",
    "0000:00:00 00:00:00": None,
    "    :  :     :  :  ": None,
    "2019:13:14 12:34:56": None,
    "2019:02:30 12:34:56": None,
    "": None,
    "yesterday": None,
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("text", DATES)
def test_a_date_in_any_form(text, order):
    expected = DATES[text] and datetime.fromisoformat(DATES[text])
    assert load(photo(order, shot=[tiff.text(ORIGINAL, text)])).taken == expected


@pytest.mark.parametrize(
    ("text", "zone", "hours"),
    [
        ("2019:07:14 12:34:56", "+09:00", 9),
        ("2019:07:14 12:34:56", "-03:30", -3.5),
        ("2019:07:14 12:34:56", "+0530", 5.5),
        ("2019:07:14 12:34:56", "Z", 0),
        ("2019:07:14 12:34:56", "+14:00", 14),
        ("2019:07:14 12:34:56+02:00", "", 2),
        ("2019-07-14T12:34:56.5-07:00", "", -7),
        ("2019-07-14T12:34+02:00", "", 2),
        ("2019-07-14T12:34:56Z", "+09:00", 0),
        ("2019:07:14 12:34:56", "   :  ", None),
        ("2019:07:14 12:34:56", "", None),
        ("2019:07:14 12:34:56", "+99:99", None),
        ("2019:07:14 12:34:56", "Europe/Paris", None),
    ],
)
def test_the_zone_of_a_date(text, zone, hours):
    expected = None if hours is None else timedelta(hours=hours)
    image = load(photo("<", shot=[tiff.text(ORIGINAL, text), tiff.text(OFFSET, zone)]))
    assert image.utc_offset == expected
    assert (image.taken.hour, image.taken.minute) == (12, 34)


def test_each_date_has_its_own_zone():
    fields = [tiff.text(DIGITIZED, "2019:07:14 12:34:56"), tiff.text(OFFSET, "+09:00"), tiff.text(0x9012, "+01:00")]
    assert load(photo("<", shot=fields)).utc_offset == timedelta(hours=1)


def test_the_first_date_that_is_one_counts():
    shot = [tiff.text(ORIGINAL, "    :  :     :  :  "), tiff.text(DIGITIZED, "2011:01:01 01:01:01")]
    changed = [tiff.text(CHANGED, "2020:05:15 10:25:45")]
    assert load(photo("<", first=changed, shot=shot)).taken.isoformat() == "2011-01-01T01:01:01"
    assert load(photo("<", first=changed, shot=shot[:1])).taken.isoformat() == "2020-05-15T10:25:45"
    in_first = [*changed, tiff.text(ORIGINAL, "2011:01:01 01:01:01")]
    assert load(photo("<", first=in_first)).taken.isoformat() == "2011-01-01T01:01:01"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [BYTE, SHORT, LONG, SIGNED_LONG])
def test_an_orientation_of_any_whole_number(kind, order):
    content = photo(order, first=[values(tiff.ORIENTATION, kind, (6,), order)])
    assert read_metadata(content, "JPEG").orientation == 6
    assert load(content).size == drawn().size[::-1]


def test_text_of_a_kind_that_is_none():
    raw = b"2019:07:14 12:34:56\0"
    assert load(photo("<", shot=[Field(ORIGINAL, UNDEFINED, len(raw), raw)])).taken.isoformat() == "2019-07-14T12:34:56"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10,30.0N", 10.5),
        ("10,30,0S", -10.5),
        ("10,30,36.0E", 10.51),
        ("10.5", 10.5),
        ("-10.5", -10.5),
        ("10.5W", -10.5),
        ("S 10 30", -10.5),
        ("10 deg 30' 0.00\" S", -10.5),
        ("10°30′0″ N", 10.5),
        ("10,30.0w", -10.5),
        ("", None),
        ("north", None),
        ("1,2,3,4N", None),
    ],
)
def test_a_coordinate_as_text(text, expected):
    assert parse_coordinate(text) == (expected if expected is None else pytest.approx(expected))


def test_a_moment_without_a_zone_has_none():
    assert parse_moment("2019:07:14 12:34:56").utc_offset is None
    assert parse_offset("+09:00:00") is None


@needs_exiftool
def test_exiftool_reads_the_same(tmp_path):
    """Every form above in a photo of its own, all read by exiftool at once."""
    written = {}
    for order, name in (("<", "little"), (">", "big")):
        for number, form in enumerate(POSITIONS.values()):
            written[f"{name}_position_{number}"] = photo(order, place=position(order, *form))
        for number, text in enumerate(DATES):
            written[f"{name}_date_{number}"] = photo(order, shot=[tiff.text(ORIGINAL, text)])
    for number, sides in enumerate(SIDES.values()):
        written[f"side_{number}"] = photo("<", place=position("<", *POSITIONS["one double"], sides))
    for name, content in written.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    asked = ["-Composite:GPSLatitude#", "-Composite:GPSLongitude#", "-EXIF:DateTimeOriginal"]
    for said in json.loads(exiftool("-json", "-d", "%Y-%m-%dT%H:%M:%S", *asked, tmp_path)):
        path = said["SourceFile"]
        image = load(path)
        place = said.get("GPSLatitude"), said.get("GPSLongitude")
        assert image.position == (None if place == (None, None) else pytest.approx(place, abs=1e-6)), path
        moment = said.get("DateTimeOriginal", "")
        if image.taken is not None or "T" in moment:
            known = DATES[list(DATES)[int(path.rpartition("_")[2].removesuffix(".jpg"))]]
            assert image.taken is None if known is None else image.taken.isoformat() == moment == known, path
