"""EXIF and XMP wherever a format keeps them; exiftool reads one photo of each kind too."""

import io
import json
import struct
import zlib

import PIL.TiffImagePlugin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import exif_writer as tiff
from support.image_files import drawn, encoded
from support.metadata import exiftool, needs_exiftool

from veduta.images import PhotoBytes, formats, load
from veduta.images.metadata import read_metadata

PLACE, TAKEN = (48.8584, 2.2945), "2019-07-14T12:34:56"


def exif(order="<", taken="2019:07:14 12:34:56", place=PLACE):
    return tiff.block(order, [], [tiff.text(0x9003, taken)], tiff.position(place, order)).data


EXIF, OTHER = exif(), exif(">", "2001:01:01 01:01:01", (-10.5, 20.5))
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="48,51.504N">
<exif:GPSLongitude>2,17.67E</exif:GPSLongitude><exif:DateTimeOriginal>2019-07-14T12:34:56</exif:DateTimeOriginal>
</rdf:Description></rdf:RDF></x:xmpmeta>"""
EARLY = 33  # bytes of a PNG before its second chunk


def chunk(kind, body):
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def png(part, *, late=False):
    data = encoded(drawn(), "PNG")
    place = len(data) - 12 if late else EARLY
    return data[:place] + part + data[place:]


def profile(name, body):
    """A profile as ImageMagick writes it into a text of a PNG."""
    digits = body.hex().encode()
    return (
        b"\n%s\n%8d\n" % (name, len(body)) + b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72)) + b"\n"
    )


def jpeg(*bodies):
    return tiff.in_jpeg(encoded(drawn(), "JPEG"), *(tiff.segment(0xE1, body) for body in bodies))


def webp(kind, body):
    """A WebP with a chunk behind its picture, and none that announces it."""
    data = encoded(drawn(), "WEBP")
    data += kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def big_tiff(order="<"):
    """A BigTIFF with the tags of a photo, and pointers of eight bytes."""
    mark = {"<": b"II", ">": b"MM"}[order]

    def directory(start, rows):
        tail, out = b"", struct.pack(order + "Q", len(rows))
        end = start + 8 + 20 * len(rows) + 8
        for tag, kind, count, raw in sorted(rows):
            value = raw.ljust(8, b"\0") if len(raw) <= 8 else struct.pack(order + "Q", end + len(tail))
            tail += raw if len(raw) > 8 else b""
            out += struct.pack(order + "HHQ", tag, kind, count) + value
        return out + bytes(8) + tail

    def number(tag, value):
        return tag, 4, 1, struct.pack(order + "I", value)

    header = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16)
    shot = [(0x9003, 2, 20, b"2019:07:14 12:34:56\0")]
    place = [(f.tag, f.kind, f.count, f.value) for f in tiff.position(PLACE, order)]
    pixels = bytes(range(64))
    size = len(directory(16, [number(tag, 0) for tag in range(10)]))
    at_shot = 16 + size
    at_place = at_shot + len(directory(0, shot))
    at_pixels = at_place + len(directory(0, place))
    first = [number(256, 8), number(257, 8), number(258, 8), number(259, 1), number(262, 1), number(273, at_pixels)]
    first += [number(278, 8), number(279, 64), number(0x8769, at_shot), number(0x8825, at_place)]
    return header + directory(16, first) + directory(at_shot, shot) + directory(at_place, place) + pixels


def box(kind, body):
    return (len(body) + 8).to_bytes(4) + kind + body


def items(entries, *, primary=1, references=(), in_idat=False):
    """An AVIF's head and boxes of metadata: (item, type, content) each, for a picture that is item 1."""
    infos = b"".join(box(b"infe", b"\2\0\0\0" + struct.pack(">HH", item, 0) + kind) for item, kind, _ in entries)
    bodies = b"".join(body for _, _, body in entries)
    refs = b"".join(box(b"cdsc", struct.pack(">HHH", item, 1, to)) for item, to in references)

    def meta(start):
        rows, place = b"", start
        for item, _, body in entries:
            method = struct.pack(">H", 1) if in_idat else struct.pack(">H", 0)
            rows += struct.pack(">H", item) + method + struct.pack(">HHII", 0, 1, place, len(body))
            place += len(body)
        parts = box(b"pitm", bytes(4) + struct.pack(">H", primary))
        parts += box(b"iinf", bytes(4) + struct.pack(">H", len(entries)) + infos)
        parts += box(b"iref", bytes(4) + refs) if refs else b""
        parts += box(b"iloc", b"\1\0\0\0\x44\0" + struct.pack(">H", len(entries)) + rows)
        parts += box(b"idat", bodies) if in_idat else b""
        return box(b"meta", bytes(4) + parts)

    head = box(b"ftyp", b"avif\0\0\0\0avifmif1")
    if in_idat:
        return head + meta(0)
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", bodies)


def exif_item(block, mark=b"Exif\0\0"):
    return len(mark).to_bytes(4) + mark + block


def mime_item(packet):
    return b"mime\0application/rdf+xml\0", packet


def gif(packet):
    data = encoded(drawn(), "GIF")
    magic = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    return data[:-1] + b"\x21\xff\x0bXMP DataXMP" + packet + magic + b";"


def tiff_with_xmp():
    out = io.BytesIO()
    ifd = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    ifd[700] = XMP
    drawn().save(out, "TIFF", tiffinfo=ifd)
    return out.getvalue()


def with_info(kind, **more):
    out = io.BytesIO()
    drawn().save(out, kind, **more)
    return out.getvalue()


SIGNED = b"http://ns.adobe.com/xap/1.0/\0"
PHOTOS = {
    "jpeg": jpeg(b"Exif\0\0" + EXIF),
    "jpeg, big-endian": jpeg(b"Exif\0\0" + exif(">")),
    "jpeg, bytes before": jpeg(b"\0\0Exif\0\0" + EXIF),
    "jpeg, small letters": jpeg(b"exif\0\0" + EXIF),
    "jpeg, another end of the mark": jpeg(b"Exif\0\xff" + EXIF),
    "jpeg, in two segments": jpeg(b"Exif\0\0" + EXIF[:100], b"Exif\0\0" + EXIF[100:]),
    "jpeg, the last of two": jpeg(b"Exif\0\0" + OTHER, b"Exif\0\0" + EXIF),
    "jpeg, behind XMP": jpeg(SIGNED + XMP, b"Exif\0\0" + EXIF),
    "jpeg, XMP": jpeg(SIGNED + XMP),
    "jpeg, XMP that ends in zeros": jpeg(SIGNED + XMP + bytes(20)),
    "jpeg, XMP in UTF-16": jpeg(SIGNED + XMP.decode().encode("utf-16")),
    "jpeg, EXIF before XMP": jpeg(b"Exif\0\0" + EXIF, SIGNED + XMP.replace(b"48,51.504N", b"10,0.0S")),
    "png": png(chunk(b"eXIf", EXIF)),
    "png, behind the pixels": png(chunk(b"eXIf", EXIF), late=True),
    "png, with the mark": png(chunk(b"eXIf", b"Exif\0\0" + EXIF)),
    "png, profile": png(chunk(b"tEXt", b"Raw profile type exif\0" + profile(b"exif", b"Exif\0\0" + EXIF))),
    "png, profile APP1": png(chunk(b"tEXt", b"Raw profile type APP1\0" + profile(b"app1", b"Exif\0\0" + EXIF))),
    "png, packed": png(
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile(b"exif", b"Exif\0\0" + EXIF))), late=True
    ),
    "png, international": png(
        chunk(b"iTXt", b"Raw profile type exif\0\1\0\0\0" + zlib.compress(profile(b"exif", b"Exif\0\0" + EXIF)))
    ),
    "png, XMP": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "png, XMP packed": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)), late=True),
    "png, XMP as profile": png(chunk(b"tEXt", b"Raw profile type xmp\0" + profile(b"xmp", XMP))),
    "webp": webp(b"EXIF", EXIF),
    "webp, with the mark": webp(b"EXIF", b"Exif\0\0" + EXIF),
    "webp, XMP": webp(b"XMP ", XMP),
    "webp, by Pillow": with_info("WEBP", exif=EXIF, xmp=XMP),
    "tiff, XMP": tiff_with_xmp(),
    "bigtiff": big_tiff("<"),
    "bigtiff, big-endian": big_tiff(">"),
    "gif, XMP": gif(XMP),
    "avif": with_info("AVIF", exif=EXIF),
    "avif, XMP": with_info("AVIF", xmp=XMP),
    "avif, big-endian": with_info("AVIF", exif=exif(">")),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_date_and_position_wherever_they_are_kept(name):
    content = PHOTOS[name]
    said = read_metadata(content, formats.identify(PhotoBytes.of(content)))
    assert said.position == pytest.approx(PLACE, abs=1e-6)
    assert said.taken.local.isoformat() == TAKEN


@pytest.mark.parametrize("name", sorted(PHOTOS.keys() - {"bigtiff, big-endian"}))  # which Pillow cannot decode
def test_a_photo_that_is_decoded_has_them_too(name):
    image = load(PHOTOS[name])
    assert image.position == pytest.approx(PLACE, abs=1e-6)
    assert image.taken.isoformat() == TAKEN


ITEMS = {
    "one": items([(1, b"av01", b"pixels"), (2, b"Exif", exif_item(EXIF))]),
    "without the mark": items([(1, b"av01", b"pixels"), (2, b"Exif", exif_item(EXIF, b""))]),
    "of the primary picture": items(
        [(1, b"av01", b"x"), (2, b"Exif", exif_item(OTHER)), (3, b"Exif", exif_item(EXIF)), (4, b"av01", b"y")],
        references=[(2, 4), (3, 1)],
    ),
    "first of the primary picture": items(
        [(1, b"av01", b"x"), (2, b"Exif", exif_item(EXIF)), (3, b"Exif", exif_item(OTHER)), (4, b"av01", b"y")],
        references=[(2, 1), (3, 4)],
    ),
    "a later picture is the primary one": items(
        [(1, b"av01", b"x"), (2, b"Exif", exif_item(OTHER)), (3, b"Exif", exif_item(EXIF)), (4, b"av01", b"y")],
        primary=4,
        references=[(2, 1), (3, 4)],
    ),
    "inside the box": items([(1, b"av01", b"pixels"), (2, b"Exif", exif_item(EXIF))], in_idat=True),
    "a preview in the maker note": items(
        [(1, b"av01", b"x"), (2, b"Exif", exif_item(EXIF + jpeg(b"Exif\0\0" + OTHER)))]
    ),
    "pixels that look like EXIF": items([(1, b"av01", b"\0\0\0\0" + OTHER), (2, b"Exif", exif_item(EXIF))]),
    "XMP": items([(1, b"av01", b"pixels"), (2, *mime_item(XMP))]),
    "XMP that ends in zeros": items([(1, b"av01", b"pixels"), (2, *mime_item(XMP + b"\0"))]),
    "EXIF and XMP": items([(1, b"av01", b"x"), (2, b"Exif", exif_item(EXIF)), (3, *mime_item(XMP))]),
}


@pytest.mark.parametrize("name", ITEMS)
def test_items_of_a_heic_or_avif(name):
    said = read_metadata(ITEMS[name], "AVIF")
    assert said.position == pytest.approx(PLACE, abs=1e-6)
    assert said.taken.local.isoformat() == TAKEN


def canon(place=PLACE):
    """A CR3's boxes, with the three directories in blocks of their own."""
    head = box(b"ftyp", b"crx \0\0\0\1crx isom")
    first = tiff.block("<", [tiff.numbers(tiff.ORIENTATION, tiff.SHORT, (6,), "<")], [], []).data
    shot = tiff.block("<", [tiff.text(0x9003, "2019:07:14 12:34:56"), tiff.text(0x9011, "+02:00")], [], []).data
    position = tiff.block("<", tiff.position(place, "<"), [], []).data
    own = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    parts = box(b"CMT1", first) + box(b"CMT2", shot) + box(b"CMT4", position)
    return head + box(b"moov", box(b"free", b"") + box(b"uuid", own + parts))


def test_a_cr3_has_its_directories_in_boxes():
    said = read_metadata(canon(), "RAW")
    assert (said.position, said.orientation) == (pytest.approx(PLACE, abs=1e-6), 6)
    assert said.taken.local.isoformat() == TAKEN
    assert said.taken.utc_offset.total_seconds() == 7200


def test_a_tag_that_stands_twice_counts_as_it_stood_last():
    twice = tiff.directory([tiff.text(0x9003, "2001:01:01 01:01:01"), tiff.text(0x9003, "2019:07:14 12:34:56")], 8, "<")
    assert read_metadata(jpeg(b"Exif\0\0II*\0\x08\0\0\0" + twice), "JPEG").taken.local.isoformat() == TAKEN


def test_what_stands_before_a_cut_in_a_directory_counts():
    fields = [tiff.text(0x9003, "2019:07:14 12:34:56")]
    whole = b"II*\0\x08\0\0\0" + tiff.directory(fields, 8, "<")
    more_than_there_are = whole[:8] + struct.pack("<H", 900) + whole[10:]
    assert read_metadata(jpeg(b"Exif\0\0" + more_than_there_are), "JPEG").taken.local.isoformat() == TAKEN


def test_xmp_inside_of_other_structures_is_not_the_photos():
    shown = XMP.replace(b'exif:GPSLatitude="48,51.504N"', b"").replace(
        b"<exif:GPSLongitude>2,17.67E</exif:GPSLongitude>",
        b"<exif:shown><rdf:Description exif:GPSLatitude='1,0N' exif:GPSLongitude='2,0E'/></exif:shown>",
    )
    assert read_metadata(jpeg(SIGNED + shown), "JPEG").position is None


@pytest.mark.parametrize(
    "packet",
    [b"", b"no XML", XMP[:200], b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + XMP, b"\xff\xfe\0", b"\0" * 50, b"<a>" * 100_000],
)
def test_a_packet_that_cannot_be_read_says_nothing(packet):
    said = read_metadata(jpeg(*(SIGNED + packet[start : start + 60_000] for start in (0,))), "JPEG")
    assert (said.position, said.taken) == (None, None)


SOURCES = [*PHOTOS.values(), *ITEMS.values(), canon()]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_never_raises(data):
    content = bytearray(data.draw(st.sampled_from(SOURCES)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(1, len(content)))])
    for kind in ("AVIF", "GIF", "HEIF", "JPEG", "PNG", "RAW", "TIFF", "WebP", "BMP"):
        said = read_metadata(cut, kind)
        assert said.position is None or (abs(said.position[0]) <= 90 and abs(said.position[1]) <= 180)


@needs_exiftool
def test_exiftool_finds_the_same(tmp_path):
    unknown_to_exiftool = {"bigtiff", "bigtiff, big-endian", "jpeg, XMP in UTF-16"}
    for number, content in enumerate(PHOTOS[name] for name in sorted(PHOTOS.keys() - unknown_to_exiftool)):
        (tmp_path / f"{number}").write_bytes(content)
    asked = ["-Composite:GPSLatitude#", "-Composite:GPSLongitude#", "-XMP:GPSLatitude#", "-XMP:GPSLongitude#"]
    for said in json.loads(exiftool("-json", "-G0", "-ext", "*", *asked, tmp_path)):
        path = said["SourceFile"]
        content = (tmp_path / path).read_bytes()
        ours = read_metadata(content, formats.identify(PhotoBytes.of(content))).position
        names = ("Composite", "XMP") if "Composite:GPSLatitude" in said else ("XMP", "XMP")
        theirs = said[f"{names[0]}:GPSLatitude"], said[f"{names[0]}:GPSLongitude"]
        assert ours == pytest.approx(theirs, abs=1e-6), path
