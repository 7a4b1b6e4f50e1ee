"""RAW photos through their previews: a DNG written here by hand, so that every byte of it is known."""

import builtins
import io
import struct
from datetime import datetime

import numpy as np
import PIL.Image
import pytest

from veduta.errors import ImageError
from veduta.images import jpeg, load, tiff
from veduta.images.raw import RAW_SUFFIXES, preview

pytest.importorskip("rawpy", reason="the extra [raw] is not installed")

PLACE, TAKEN = (-33.5, 151.25), datetime(2024, 5, 1, 12, 34, 56)  # noqa: DTZ001 - a camera's clock
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 160, 60), (30, 60, 200), (230, 230, 230)
# EXIF's orientation -> the corners seen upright: top left, top right, bottom left, bottom right.
UPRIGHT = {
    1: (RED, GREEN, BLUE, WHITE),
    3: (WHITE, BLUE, GREEN, RED),
    6: (BLUE, RED, WHITE, GREEN),
    8: (GREEN, WHITE, RED, BLUE),
}


def quarters(width, height):
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    return pixels


def small(width=640, height=480, **options):
    out = io.BytesIO()
    PIL.Image.fromarray(quarters(width, height)).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def mosaic(width, height):
    """What a sensor under red, green, green and blue sees of the quarters, as 16-bit numbers."""
    light = (quarters(width, height) / 255.0) ** 2.2 * 60000
    seen = light[:, :, 1]
    seen[0::2, 0::2], seen[1::2, 1::2] = light[0::2, 0::2, 0], light[1::2, 1::2, 2]
    return seen.astype("<u2").tobytes()


def dng(preview=None, *, orientation=1, width=640, height=480, bitmap=False, told=True):
    """A DNG: the mosaic and the preview each in a directory of its own, the facts in the first."""

    def short(tag, *values):
        return tiff.numbers(tag, tiff.SHORT, values, "<")

    def long(tag, *values):
        return tiff.numbers(tag, tiff.LONG, values, "<")

    def byte(tag, *values):
        return tiff.numbers(tag, tiff.BYTE, values, "<")

    def rational(tag, *values):
        return tiff.numbers(tag, tiff.RATIONAL, values, "<")

    raw = mosaic(width, height)
    block = tiff.Tiff(b"II*\0\0\0\0\0" + raw)
    size = [long(0x100, width), long(0x101, height), long(0x116, height), long(0x117, len(raw)), long(0x111, 8)]
    kind = [long(0xFE, 0), short(0x102, 16), short(0x103, 1), short(0x106, 32803), short(0x115, 1)]
    filters = [short(0x828D, 2, 2), byte(0x828E, 0, 1, 1, 2), long(0xC61D, 65535)]
    block, sensor = block.with_directory([*size, *kind, *filters])
    parts = [sensor]
    if preview is not None:
        start, shape = len(block.data), (bitmap or PIL.Image.open(io.BytesIO(preview)).size)
        block = tiff.Tiff(block.data + preview + bytes(len(preview) % 2))
        size = [long(0x100, shape[0]), long(0x101, shape[1]), long(0x116, shape[1]), long(0x117, len(preview))]
        kind = [
            long(0xFE, 1),
            short(0x102, 8, 8, 8),
            short(0x103, 1 if bitmap else 7),
            short(0x106, 2 if bitmap else 6),
        ]
        block, part = block.with_directory([*size, *kind, short(0x115, 3), long(0x111, start)])
        parts.append(part)
    pointers = [long(0x14A, *parts)]
    if told:
        block, shot = block.with_directory([tiff.text(0x9003, f"{TAKEN:%Y:%m:%d %H:%M:%S}")])
        sides = [byte(0, 2, 3, 0, 0), tiff.text(1, "S"), tiff.text(3, "E")]
        block, place = block.with_directory([*sides, rational(2, 33, 1, 30, 1, 0, 1), rational(4, 151, 1, 15, 1, 0, 1)])
        pointers += [long(0x8769, shot), long(0x8825, place)]
    matrix = tiff.Field(0xC621, 10, 9, struct.pack("<18i", *(v for i in range(9) for v in (int(i % 4 == 0), 1))))
    camera = [
        tiff.text(0x10F, "Veduta"),
        tiff.text(0x110, "Box"),
        tiff.text(0xC614, "Veduta Box"),
        short(0x112, orientation),
    ]
    version = [
        long(0xFE, 1),
        byte(0xC612, 1, 4, 0, 0),
        byte(0xC613, 1, 1, 0, 0),
        matrix,
        rational(0xC628, 1, 1, 1, 1, 1, 1),
    ]
    block, first = block.with_directory([*pointers, *camera, *version, short(0xC65A, 21)])
    return block.at(4, struct.pack("<I", first)).data


@pytest.fixture
def seen(tmp_path):
    """What `preview` makes of a RAW, decoded as any photo is."""

    def look(content, name="a.dng"):
        path = tmp_path / name
        path.write_bytes(content)
        return load(preview(path))

    return look


def corners(image):
    height, width = image.pixels.shape[:2]
    places = [(y, x) for y in (height // 8, -height // 8) for x in (width // 8, -width // 8)]
    return [image.pixels[place].astype(int) for place in places]


def nearest(colour):
    """The colour meant, however a sensor without a profile renders it."""
    return min((RED, GREEN, BLUE, WHITE), key=lambda c: np.abs(colour - c).sum())


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_preview_is_turned_as_its_raw_says(seen, orientation):
    image = seen(dng(small(), orientation=orientation))
    assert image.size == ((640, 480) if orientation in (1, 3) else (480, 640))
    for found, meant in zip(corners(image), UPRIGHT[orientation], strict=True):
        assert np.abs(found - meant).max() < 8
    assert (image.position, image.taken) == (PLACE, TAKEN)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("too_small", [None, small(160, 120)], ids=["none", "small"])
def test_without_a_preview_worth_it_a_raw_is_developed(seen, orientation, too_small):
    image = seen(dng(too_small, orientation=orientation, width=1200, height=900))
    assert image.size == ((600, 450) if orientation in (1, 3) else (450, 600))
    assert [nearest(corner) for corner in corners(image)] == list(UPRIGHT[orientation])
    assert (image.position, image.taken) == (PLACE, TAKEN)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_preview_that_is_no_jpeg_is_made_one(seen, orientation):
    image = seen(dng(quarters(600, 450).tobytes(), bitmap=(600, 450), orientation=orientation))
    assert image.size == ((600, 450) if orientation == 1 else (450, 600))
    assert [nearest(corner) for corner in corners(image)] == list(UPRIGHT[orientation])
    assert (image.position, image.taken) == (PLACE, TAKEN)


def exif(orientation, *, time="2001:02:03 04:05:06"):
    shot = [tiff.text(0x9003, time)] if time else []
    return tiff.block(">", [tiff.numbers(0x112, tiff.SHORT, (orientation,), ">")], shot, []).data


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_what_a_preview_says_of_its_own_turn_goes_before(seen, orientation):
    own = jpeg.split(small()).with_body(jpeg.EXIF, exif(orientation)).joined()
    image = seen(dng(own, orientation=3))
    assert [nearest(corner) for corner in corners(image)] == list(UPRIGHT[orientation])
    assert (image.position, image.taken) == (PLACE, TAKEN)  # of the RAW, which has the last word


def test_time_is_the_previews_where_the_raw_has_none(seen):
    own = jpeg.split(small()).with_body(jpeg.EXIF, exif(1)).joined()
    image = seen(dng(own, told=False))
    assert (image.position, image.taken) == (None, datetime(2001, 2, 3, 4, 5, 6))  # noqa: DTZ001
    assert seen(dng(small(), told=False)).taken is None


def test_a_preview_that_stands_upright_already_is_not_turned_again(seen):
    image = seen(dng(small(480, 640), orientation=6))
    assert image.size == (480, 640)
    assert [nearest(corner) for corner in corners(image)] == list(UPRIGHT[1])


@pytest.mark.parametrize("content", [b"", b"hello", dng(small())[:200], dng(small())[:100_000], small()])
def test_what_is_no_raw_or_damaged_is_an_error_that_names_it(seen, content):
    with pytest.raises(ImageError, match=r"a\.dng: is (empty|a RAW that is damaged)"):
        seen(content)


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ImageError, match=r"b\.nef: cannot be read"):
        preview(tmp_path / "b.nef")


@pytest.mark.parametrize("noise", range(12))
def test_a_damaged_raw_is_an_error_or_a_photo(seen, noise):
    rng = np.random.default_rng(noise)
    content = bytearray(dng(small(), width=64, height=48))
    for place in rng.integers(64 * 48 * 2, len(content), 20):
        content[place] = rng.integers(256)
    try:
        image = seen(bytes(content))
    except ImageError:
        return
    assert image.pixels.ndim == 3


def test_without_rawpy_the_error_says_how_to_install_it(seen, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "rawpy":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImageError, match=r"a\.dng: is a RAW, .*pip install 'veduta\[raw\]'"):
        seen(dng(small()))


def test_suffixes_are_lower_case_and_no_photo_has_them():
    from veduta.images import SUFFIXES

    assert {".dng", ".cr3", ".nef", ".arw", ".raf"} <= RAW_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in RAW_SUFFIXES)
    assert not RAW_SUFFIXES & SUFFIXES
