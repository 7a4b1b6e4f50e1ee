"""Dates in IPTC and in the texts of a PNG, each as exiftool reads it, and their rank below EXIF and XMP."""

import json
import re
import zlib
from datetime import datetime, timedelta

import pytest
from support import exif_writer as tiff
from support.image_files import drawn, encoded
from support.metadata import exiftool, needs_exiftool

from veduta.images import PhotoBytes, formats, load
from veduta.images.metadata import read_metadata
from veduta.images.metadata.iptc import Iptc
from veduta.images.metadata.values import Moment, parse_creation_time

JPEG, TIFF, PNG = (encoded(drawn(), kind) for kind in ("JPEG", "TIFF", "PNG"))
EARLY = 33  # bytes of a PNG before its second chunk
PHOTOSHOP = b"Photoshop 3.0\0"
DAY, TIME, SCANNED, SCAN_TIME = 55, 60, 62, 63


def record(tag, value, *, number=2, extended=False):
    """One field of IIM."""
    value = value if isinstance(value, bytes) else value.encode()
    length = b"\x80\x04" + len(value).to_bytes(4) if extended else len(value).to_bytes(2)
    return bytes([0x1C, number, tag]) + length + value


def iim(day=None, time=None, **rest):
    fields = [(DAY, day), (TIME, time), (SCANNED, rest.get("scanned")), (SCAN_TIME, rest.get("scan_time"))]
    return b"".join(record(tag, value) for tag, value in fields if value is not None)


def resource(body, number=0x0404, name=b"", kind=b"8BIM"):
    title = bytes([len(name)]) + name
    return b"".join(
        [kind, number.to_bytes(2), title, bytes(len(title) % 2), len(body).to_bytes(4), body, bytes(len(body) % 2)]
    )


def jpeg(*segments):
    return tiff.in_jpeg(JPEG, *(tiff.segment(0xED, body) for body in segments))


def in_photo(records):
    return jpeg(PHOTOSHOP + resource(records))


def chunk(kind, body):
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def png(text, kind=b"tEXt", keyword=b"Creation Time"):
    body = text.encode("latin-1")
    packed = {
        b"tEXt": lambda: b"\0" + body,
        b"zTXt": lambda: b"\0\0" + zlib.compress(body),
        b"iTXt": lambda: b"\0\0\0\0\0" + body,
    }[kind]()
    return PNG[:EARLY] + chunk(kind, keyword + packed) + PNG[EARLY:]


def taken(content):
    return read_metadata(content, formats.identify(PhotoBytes.of(content))).taken


DATE = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?(?:[.]\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?")


def witness(path, *tags):
    """The first of these dates that exiftool reads, as a moment; None where it finds none, or none that is a date."""
    (said,) = json.loads(exiftool("-json", "-api", "QuickTimeUTC=0", *(f"-{tag}" for tag in tags), path))
    for tag in tags:
        text = said.get(tag.rpartition(":")[2])
        match = re.fullmatch(
            r"(\d{4})\D(\d\d)\D(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?(?:[.]\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?",
            str(text).strip(),
        )
        if match:
            numbers = [int(part or 0) for part in match.groups()[:6]]
            try:
                local = datetime(*numbers)  # noqa: DTZ001 - by a clock
            except ValueError:
                continue
            return Moment(local, offset(match[7]))
    return None


def offset(zone):
    if zone is None:
        return None
    hours = 0 if zone == "Z" else int(zone[1:3]) + int(zone[-2:]) / 60
    return timedelta(hours=-hours if zone[0] == "-" else hours)


def moment(text, hours=None):
    return Moment(datetime.fromisoformat(text), None if hours is None else timedelta(hours=hours))


NOON = "2019-07-14T12:34:56"
IPTC = {
    "date and time": (iim("20190714", "123456+0200"), moment(NOON, 2)),
    "west of Greenwich": (iim("20190714", "123456-0330"), moment(NOON, -3.5)),
    "in UTC": (iim("20190714", "123456+0000"), moment(NOON, 0)),
    "without a zone": (iim("20190714", "123456"), moment(NOON)),
    "with colons": (iim("2019:07:14", "12:34:56+02:00"), moment(NOON, 2)),
    "with hyphens": (iim("2019-07-14", "12:34:56"), moment(NOON)),
    "a date alone": (iim("20190714"), moment("2019-07-14T00:00:00")),
    "midnight": (iim("20190714", "000000+0200"), moment("2019-07-14T00:00:00", 2)),
    "zeros behind": (iim("20190714\0", "123456+0200\0"), moment(NOON, 2)),
    "the last of two": (iim("20010101", "010101") + iim("20190714", "123456"), moment(NOON)),
    "after other fields": (record(5, "Title") + record(25, "x" * 300) + iim("20190714", "123456"), moment(NOON)),
    "of the envelope first": (record(70, "20010101", number=1) + iim("20190714", "123456"), moment(NOON)),
    "an extended length": (
        record(5, "x" * 40, extended=True) + record(DAY, "20190714", extended=True) + record(TIME, "123456"),
        moment(NOON),
    ),
    "digitized only": (iim(scanned="20190714", scan_time="123456+0200"), moment(NOON, 2)),
    "digitized, no time": (iim(scanned="20190714"), moment("2019-07-14T00:00:00")),
    "created goes first": (iim("20190714", "123456", scanned="20220101", scan_time="010101"), moment(NOON)),
    "a time without a date": (iim(None, "123456+0200"), None),
    "a year alone": (iim("2019"), None),
    "no month": (iim("20190000", "123456"), None),
    "no such day": (iim("20190231", "123456"), None),
    "zeros": (iim("00000000", "000000"), None),
    "blanks": (iim("        ", "      "), None),
    "another record": (record(DAY, "20190714", number=3), None),
    "cut short": (iim("20190714")[:-3], None),
    "nothing": (b"", None),
}
DATES = ("IPTC:DateTimeCreated", "Composite:DateTimeCreated", "IPTC:DateCreated")
DIGITIZED = ("Composite:DigitalCreationDateTime", "IPTC:DigitalCreationDate")


@pytest.mark.parametrize("kind", IPTC)
def test_a_date_in_iptc(kind):
    records, expected = IPTC[kind]
    assert taken(in_photo(records)) == expected
    assert next(iter(Iptc(records).moments), None) == expected


@needs_exiftool
@pytest.mark.parametrize("kind", IPTC)
def test_exiftool_reads_the_same_date_in_iptc(kind, tmp_path):
    (tmp_path / "a.jpg").write_bytes(in_photo(IPTC[kind][0]))
    assert witness(tmp_path / "a.jpg", *DATES, *DIGITIZED) == IPTC[kind][1]


RECORDS = iim("20190714", "123456+0200")
OLDER = iim("20010101", "010101")
PLACES = {
    "resources": jpeg(PHOTOSHOP + resource(RECORDS)),
    "after other resources": jpeg(PHOTOSHOP + resource(b"abc", 0x03ED) + resource(RECORDS)),
    "a resource with a name": jpeg(PHOTOSHOP + resource(RECORDS, name=b"IPTC")),
    "a name of even length": jpeg(PHOTOSHOP + resource(b"x", 0x03ED, b"abc") + resource(RECORDS, name=b"name")),
    "records of odd length": jpeg(PHOTOSHOP + resource(record(5, "abc") + RECORDS) + resource(b"x", 0x03ED)),
    "over two segments": jpeg(*(PHOTOSHOP + part for part in (resource(RECORDS)[:20], resource(RECORDS)[20:]))),
    "after another program's segment": jpeg(b"Adobe_CM\0rest", PHOTOSHOP + resource(RECORDS)),
    "two resources of IPTC": jpeg(PHOTOSHOP + resource(RECORDS) + resource(OLDER)),
    "another program's resource": jpeg(PHOTOSHOP + resource(OLDER, kind=b"PHUT") + resource(RECORDS)),
    "turned bytes": jpeg(
        PHOTOSHOP
        + resource(b"".join((RECORDS + b"\0" * 3)[i : i + 4][::-1] for i in range(0, len(RECORDS) // 4 * 4 + 4, 4)))
    ),
}


@needs_exiftool
@pytest.mark.parametrize("kind", PLACES)
def test_wherever_iptc_lies_in_a_jpeg(kind, tmp_path):
    (tmp_path / "a.jpg").write_bytes(PLACES[kind])
    expected = moment(NOON, 2)
    assert (taken(PLACES[kind]), witness(tmp_path / "a.jpg", *DATES)) == (expected, expected)


@needs_exiftool
@pytest.mark.parametrize(
    "arguments",
    [
        ("-IPTC:DateCreated=2019:07:14", "-IPTC:TimeCreated=12:34:56+02:00"),
        ("-IPTC:DateCreated=2019:07:14", "-IPTC:TimeCreated=12:34:56-07:00"),
        ("-IPTC:DateCreated=1950:01:02",),
        ("-IPTC:DigitalCreationDate=2019:07:14", "-IPTC:DigitalCreationTime=12:34:56+00:00"),
        ("-IPTC:DateCreated=2019:07:14", "-IPTC:City=Venezia", "-IPTC:Keywords=a", "-IPTC:Keywords=b"),
    ],
)
@pytest.mark.parametrize("kind", ["jpg", "tif", "png"])
def test_what_exiftool_writes_into_iptc_is_read(kind, arguments, tmp_path):
    path = tmp_path / f"a.{kind}"
    path.write_bytes({"jpg": JPEG, "tif": TIFF, "png": PNG}[kind])
    exiftool("-q", *arguments, path)
    expected = witness(path, *DATES, *DIGITIZED)
    assert expected is not None
    assert (taken(path.read_bytes()), load(path).taken) == (expected, expected.local)


@needs_exiftool
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("tag", "block"), [(0x83BB, RECORDS), (0x8649, resource(RECORDS))])
@pytest.mark.parametrize("kind", [tiff.BYTE, tiff.UNDEFINED, tiff.LONG])
def test_iptc_in_the_directory_of_a_tiff(order, tag, block, kind, tmp_path):
    block += bytes(-len(block) % 4)
    count = len(block) // (4 if kind == tiff.LONG else 1)
    content = tiff.block(order, [tiff.Field(tag, kind, count, block)], [], []).data
    (tmp_path / "a.tif").write_bytes(content)
    expected = moment(NOON, 2)
    assert (read_metadata(content, "TIFF").taken, witness(tmp_path / "a.tif", *DATES)) == (expected, expected)


CREATED = {
    "Sun, 14 Jul 2019 12:34:56 GMT": moment(NOON, 0),
    "Sun, 14 Jul 2019 12:34:56 +0200": moment(NOON, 2),
    "Sun, 14 Jul 2019 12:34:56 -03:30": moment(NOON, -3.5),
    "Sun, 14 Jul 2019 12:34:56 EST": moment(NOON, -5),
    "Sun, 14 Jul 2019 12:34:56 pdt": moment(NOON, -7),
    "Sun, 14 Jul 2019 12:34:56 Z": moment(NOON, 0),
    "Sun, 14 Jul 2019 12:34:56 Y": moment(NOON, 12),
    "Sun, 14 Jul 2019 12:34:56 M": moment(NOON, -12),
    "Sun, 14 Jul 2019 12:34:56": moment(NOON),
    "14 Jul 2019 12:34:56": moment(NOON),
    "14 JUL 2019 12:34:56 UT": moment(NOON, 0),
    "14 Jul 19 12:34:56": moment(NOON),
    "1 Jan 99 01:02:03": moment("1999-01-01T01:02:03"),
    "1 Jan 70 01:02": moment("2070-01-01T01:02:00"),
    "1 Jan 71 01:02": moment("1971-01-01T01:02:00"),
    "Sun, 14 Jul 2019 12:34 GMT": moment("2019-07-14T12:34:00", 0),
    "Sunday, 14July2019 12:34:56": None,
    "Sun, 14 Jul 2019 12:34:56 CEST": None,
    "Sun, 14 Juli 2019 12:34:56": None,
    "Sun, 32 Jul 2019 12:34:56": None,
    "2019-07-14T12:34:56": moment(NOON),
    "2019-07-14T12:34:56+02:00": moment(NOON, 2),
    "2019-07-14T12:34:56Z": moment(NOON, 0),
    "2019-07-14 12:34:56": moment(NOON),
    "2019:07:14 12:34:56": moment(NOON),
    "2019:07:14 12:34:56-07:00": moment(NOON, -7),
    "2019-07-14T12:34:56.789": moment(NOON),
    "2019-07-14": moment("2019-07-14T00:00:00"),
    "2019:07:14": moment("2019-07-14T00:00:00"),
    "2019-07-14T12:34": moment("2019-07-14T12:34:00"),
    "yesterday": None,
    "0000:00:00 00:00:00": None,
    "": None,
}


@pytest.mark.parametrize("text", CREATED)
def test_the_creation_time_of_a_png(text):
    assert taken(png(text)) == parse_creation_time(text) == CREATED[text]


@needs_exiftool
def test_exiftool_reads_the_same_creation_times(tmp_path):
    for number, text in enumerate(CREATED):
        (tmp_path / f"{number}.png").write_bytes(png(text))
    for number, text in enumerate(CREATED):
        assert (text, witness(tmp_path / f"{number}.png", "PNG:CreationTime")) == (text, CREATED[text])


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_whatever_kind_of_text_has_it(kind):
    assert taken(png("Sun, 14 Jul 2019 12:34:56 GMT", kind)) == moment(NOON, 0)


@pytest.mark.parametrize("keyword", [b"creation time", b"CreationTime", b"Comment", b"Creation Time "])
def test_other_keywords_are_no_creation_time(keyword):
    assert taken(png(NOON, keyword=keyword)) is None


@pytest.mark.parametrize(
    "text", ["1" * 100_000, "1 Jan " + "9" * 100_000 + " 1:00", "0 " * 50_000, "\0" * 50, "14 Jul"]
)
def test_texts_that_are_no_dates_cost_nothing(text):
    assert parse_creation_time(text) is None
    assert taken(in_photo(record(DAY, text[:30_000]) + record(TIME, text[:30_000]))) is None


BLANKS = [" " * 2_000_000, "\n" * 2_000_000, "1" * 2_000_000, "a\n" + "1" * 2_000_000, "a\n " * 9]


@pytest.mark.parametrize("text", BLANKS, ids=range(len(BLANKS)))
@pytest.mark.parametrize("keyword", [b"Raw profile type iptc", b"Raw profile type exif", b"Creation Time"])
def test_texts_of_megabytes_cost_nothing(keyword, text):
    assert taken(png(text, b"zTXt", keyword)) is None


# --- the rank: EXIF, XMP, IPTC, the text of a PNG, when the file was changed

STEPS = {
    "EXIF": ["-EXIF:DateTimeOriginal=2001:01:01 01:01:01"],
    "EXIF digitized": ["-EXIF:CreateDate=2002:02:02 02:02:02"],
    "XMP": ["-XMP-photoshop:DateCreated=2003:03:03 03:03:03"],
    "IPTC": ["-IPTC:DateCreated=2004:04:04", "-IPTC:TimeCreated=04:04:04"],
    "IPTC digitized": ["-IPTC:DigitalCreationDate=2005:05:05", "-IPTC:DigitalCreationTime=05:05:05"],
    "PNG": ["-PNG:CreationTime=2006:06:06 06:06:06"],
    "changed": ["-EXIF:ModifyDate=2007:07:07 07:07:07"],
}


@needs_exiftool
@pytest.mark.parametrize("first", range(len(STEPS)))
def test_the_rank_of_dates(first, tmp_path):
    names = list(STEPS)[first:]
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    exiftool("-q", *(argument for name in names for argument in STEPS[name]), path)
    assert taken(path.read_bytes()).local.year == 2001 + first


@needs_exiftool
@pytest.mark.parametrize(
    ("names", "year"), [(["EXIF", "XMP", "IPTC"], 2001), (["XMP", "IPTC"], 2003), (["IPTC"], 2004)]
)
def test_the_working_group_ranks_them_alike(names, year, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    exiftool("-q", *(argument for name in names for argument in STEPS[name]), path)
    said = exiftool("-use", "MWG", "-s3", "-MWG:DateTimeOriginal", path)
    assert (int(said[:4]), taken(path.read_bytes()).local.year) == (year, year)


@pytest.mark.parametrize("place", range(0, 54, 3))
def test_iptc_that_is_cut_is_no_error(place):
    block = PHOTOSHOP + resource(RECORDS)
    # A block that is not whole is none; the last byte pads the records, whose length is odd.
    assert taken(jpeg(block[: len(block) - place])) == (None if place > 1 else moment(NOON, 2))
