"""Every photo here is drawn on the spot, but for two HEICs: nothing at hand can write that format.

Those are `drawn()` saved by pillow-heif 1.8.1 with EXIF orientations 6 and 5, which it turns into an `irot`
box and, for the second, an `imir` box; patching the boxes gives all eight.
"""

import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageDraw
from support.image_files import FORMATS, STORED, TURNED_HEIC, WITH_EXIF, T, drawn, encoded, heic, with_exif

from veduta import images
from veduta.errors import ImageError, TooLargeError


def off(pixels, picture):
    """How far the pixels are off a picture, on average over its channels."""
    expected = np.asarray(picture.convert("RGB"), int)
    assert pixels.shape == expected.shape
    return np.abs(pixels.astype(int) - expected).mean()


def loaded(data):
    return PIL.Image.fromarray(images.load(data).pixels)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, color, rows=b""):
    """A PNG written by hand, for what Pillow cannot save."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


SAMPLES = {kind: encoded(drawn(), kind, **options) for kind, (options, _) in FORMATS.items()}
SAMPLES |= {
    "HEIC": heic(),
    "CMYK": encoded(drawn().convert("CMYK"), "JPEG"),
    "progressive": encoded(drawn(), "JPEG", progressive=True),
    "packed TIFF": encoded(drawn(), "TIFF", compression="tiff_lzw"),
    "turned AVIF": with_exif(drawn(), "AVIF", 6),
    "turned TIFF": with_exif(drawn(), "TIFF", 6),
    "turned JPEG": with_exif(drawn(), "JPEG", 6),
    "lossy WebP": encoded(drawn(), "WEBP"),
    "palette": encoded(drawn().quantize(8), "PNG", transparency=0),
}


# --- formats and modes


@pytest.mark.parametrize("kind", FORMATS)
def test_round_trip(kind):
    image = images.load(SAMPLES[kind])
    assert off(image.pixels, drawn()) <= FORMATS[kind][1]
    assert image.pixels.flags.writeable
    assert image.pixels.flags.c_contiguous
    assert (image.size, image.name) == ((64, 48), "<bytes>")
    assert image.sha256 == hashlib.sha256(SAMPLES[kind]).hexdigest()


@pytest.mark.parametrize("kind", SAMPLES)
def test_content_decides_not_the_suffix(kind, tmp_path):
    path = tmp_path / "photo.txt"
    path.write_bytes(SAMPLES[kind])
    image = images.load(path)
    assert image.name == str(path)
    assert np.array_equal(image.pixels, images.load(SAMPLES[kind]).pixels)
    assert images.load(str(path), name="mine").name == "mine"


@pytest.mark.parametrize("brands", [b"mif1\0\0\0\0avifmif1", b"mif1\0\0\0\0mif1avif"])
def test_mif1_may_be_avif(brands):
    data = SAMPLES["AVIF"]
    size = struct.unpack(">I", data[:4])[0]
    assert size >= 8 + len(brands)
    changed = data[:8] + brands.ljust(size - 8, b"\0") + data[size:]
    assert off(images.load(changed).pixels, drawn()) <= 2


def test_mif1_may_be_heic():
    data = SAMPLES["HEIC"]
    assert off(images.load(data[:8] + b"mif1" + data[12:]).pixels, loaded(data)) == 0


def test_animations_give_their_first_frame():
    second = PIL.Image.new("RGB", (64, 48), "black")
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"):
        data = encoded(drawn(), kind, save_all=True, append_images=[second])
        assert off(images.load(data).pixels, drawn()) < 8, kind


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF", "GIF"])
def test_gray(kind):
    picture = drawn().convert("L")
    pixels = images.load(encoded(picture, kind)).pixels
    assert off(pixels, picture) < 2
    assert np.ptp(pixels, axis=2).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit(kind):
    picture = drawn().convert("1")
    assert off(images.load(encoded(picture, kind)).pixels, picture) == 0


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind):
    pixels = images.load(encoded(drawn().convert("CMYK"), kind)).pixels
    assert off(pixels, drawn()) < 4


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_color_spaces(mode):
    picture = PIL.Image.new(mode, (8, 8), (128, 128, 128))  # a mid gray in both
    packing = {"compression": "tiff_lzw"} if mode == "YCbCr" else {}  # unpacked, Pillow 11 cannot read it back
    pixels = images.load(encoded(picture, "TIFF", **packing)).pixels
    assert np.abs(pixels.astype(int) - 124).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "TIFF", "GIF"])
def test_transparency_becomes_white(kind):
    picture = drawn().convert("RGBA")
    picture.putalpha(PIL.Image.new("L", (64, 48), 255))
    picture.paste((0, 0, 0, 0), (0, 0, 32, 48))
    pixels = images.load(encoded(picture, kind)).pixels.astype(int)
    assert pixels[4:44, 2:30].min() >= 253
    assert np.abs(pixels[4:20, 36:60] - (30, 160, 60)).max() < 12


def test_half_transparency_is_halfway_to_white():
    for mode, color in (("RGBA", (0, 0, 100, 128)), ("LA", (0, 128))):
        pixels = images.load(encoded(PIL.Image.new(mode, (4, 4), color), "PNG")).pixels
        assert np.abs(pixels[..., 0].astype(int) - 127).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_color_becomes_white(mode):
    picture = PIL.Image.new("RGB", (8, 8), "black").convert(mode)
    picture.paste(255 if mode != "RGB" else (255, 0, 0), (0, 0, 4, 8))
    key = (0, 0, 0) if mode == "RGB" else 0
    pixels = images.load(encoded(picture, "PNG", transparency=key)).pixels
    assert (pixels[:, 4:] == 255).all()


def test_palette_without_transparency():
    picture = drawn().quantize(8)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert off(images.load(encoded(picture, kind)).pixels, picture) == 0


# --- deep pixels


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_become_eight(kind):
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    pixels = images.load(encoded(PIL.Image.fromarray(ramp), kind)).pixels
    assert np.array_equal(pixels[..., 1].ravel(), np.arange(256))


def test_sixteen_bits_per_channel():
    values = np.arange(48, dtype=np.uint16).reshape(4, 4, 3) * 1285
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    pixels = images.load(png(4, 4, 16, 2, rows)).pixels
    assert np.abs(pixels - values / 257).max() <= 1


@pytest.mark.parametrize(("white", "dtype"), [(65535, "i4"), (2**31 - 1, "i4"), (1, "f4"), (255, "f4"), (65535, "f4")])
def test_deep_tiff(white, dtype):
    ramp = (np.linspace(0, 1, 256).reshape(16, 16) * white).astype(dtype)
    pixels = images.load(encoded(PIL.Image.fromarray(ramp), "TIFF")).pixels
    assert np.abs(pixels[..., 0].ravel().astype(int) - np.arange(256)).max() <= 1


def test_floats_that_are_not_numbers():
    values = np.full((8, 8), 0.5, np.float32)
    values[0] = (np.nan, np.inf, -np.inf, -3, 7, 0, 1, 0.5)
    row = images.load(encoded(PIL.Image.fromarray(values), "TIFF")).pixels[0, :, 0]
    assert row.tolist() == [0, 0, 0, 0, 255, 0, 255, 128]


def test_black_stays_black():
    for dtype in (np.uint16, np.int32, np.float32):
        picture = PIL.Image.fromarray(np.zeros((8, 8), dtype))
        assert not images.load(encoded(picture, "TIFF")).pixels.any()


# --- orientation


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", WITH_EXIF)
def test_orientation(kind, orientation):
    image = images.load(with_exif(drawn(), kind, orientation))
    assert image.size == (64, 48)
    assert off(image.pixels, drawn()) <= FORMATS[kind][1]


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", WITH_EXIF)
def test_orientation_while_reducing(kind, orientation):
    image = images.load(with_exif(drawn(640, 360), kind, orientation), max_side=100)
    assert image.size == (640, 360)
    assert image.pixels.shape == (56, 100, 3)
    corners = image.pixels[[3, 3, -4, -4], [3, -4, 3, -4]].astype(int)
    expected = [(220, 30, 30), (30, 160, 60), (30, 60, 200), (230, 230, 230)]
    assert np.abs(corners - expected).max() < 12


@pytest.mark.parametrize("orientation", STORED)
def test_orientation_of_a_packed_tiff(orientation):
    image = images.load(with_exif(drawn(), "TIFF", orientation, compression="tiff_lzw"))
    assert image.size == (64, 48)
    assert off(image.pixels, drawn()) == 0


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_orientation_of_heic(turns, mirrored):
    expected = drawn().rotate(90 * turns, expand=True)
    if mirrored:
        expected = expected.transpose(T.FLIP_LEFT_RIGHT)
    image = images.load(heic(turns, mirrored=mirrored))
    assert image.size == expected.size
    assert off(image.pixels, expected) < 3


@pytest.mark.parametrize("turns", [0, 3])
def test_heic_is_not_turned_by_its_exif_too(turns):
    data = heic(turns)
    place = data.index(b"\x01\x12\x00\x03\x00\x00\x00\x01") + 8
    exif_says_3 = data[:place] + b"\0\3" + data[place + 2 :]
    assert off(images.load(exif_says_3).pixels, loaded(data)) == 0


def test_avif_is_turned_by_its_boxes_alone():
    data = with_exif(drawn(), "AVIF", 6)
    maker, says_3 = (struct.pack(">HHIHH", *entry) for entry in ((0x010F, 2, 7, 0, 26), (0x0112, 3, 1, 3, 0)))
    assert maker in data
    assert off(images.load(data.replace(maker, says_3)).pixels, drawn()) <= 2


@pytest.mark.parametrize("order", "<>")
def test_orientation_in_either_byte_order(order):
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    exif = head + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, 3, 0, 0)
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(drawn().transpose(T.ROTATE_180), kind, exif=b"Exif\0\0" + exif, **FORMATS[kind][0])
        assert off(images.load(data).pixels, drawn()) <= FORMATS[kind][1]


BROKEN_EXIF = [
    b"",
    b"II",
    b"garbage, not a TIFF",
    b"II*\0\xff\xff\xff\xff",
    b"II*\0\x08\0\0\0\xff\xff\x12\x01",
    b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",  # orientation 99
    b"II*\0\x08\0\0\0\x02\0\x69\x87\x04\0\x01\0\0\0\xff\xff\xff\x7f\x0f\x01\x02\0\xff\xff\xff\x7f\x09\0\0\0\0\0\0\0",
]


@pytest.mark.parametrize("exif", BROKEN_EXIF)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_is_ignored(kind, exif):
    data = encoded(drawn(), kind, exif=b"Exif\0\0" + exif, **FORMATS[kind][0])
    assert off(images.load(data).pixels, drawn()) <= FORMATS[kind][1]


@pytest.mark.parametrize("exif", BROKEN_EXIF[1:])
@pytest.mark.parametrize("data", [with_exif(drawn(), "AVIF", 1), TURNED_HEIC], ids=["AVIF", "HEIC"])
def test_broken_exif_in_a_box_is_ignored(data, exif):
    place = data.index(b"MM\0*")
    exif = exif[:26]  # there is no more room for it
    broken = data[:place] + exif + data[place + len(exif) :]
    assert off(images.load(broken).pixels, loaded(data)) == 0


def test_an_item_of_a_type_that_is_no_text():
    strange = TURNED_HEIC.replace(b"Exif\0", b"\xffxif\0", 1)  # pi_heif 1.4 would crash, and Python with it
    assert strange != TURNED_HEIC
    assert off(images.load(strange).pixels, loaded(TURNED_HEIC)) == 0


def test_broken_exif_in_a_tiff_is_ignored():
    data = encoded(drawn(), "TIFF", tiffinfo={0x8769: 0x7FFFFFF0})  # the EXIF is far beyond the file's end
    assert struct.pack("<I", 0x7FFFFFF0) in data
    assert off(images.load(data).pixels, drawn()) == 0


def test_exif_where_text_should_be():
    text = chunk(b"iTXt", b"exif\0\0\0\0\0not bytes")
    data = SAMPLES["PNG"][:33] + text + SAMPLES["PNG"][33:]
    assert off(images.load(data).pixels, drawn()) == 0


# --- reduction


@pytest.mark.parametrize(
    ("size", "max_side", "reduced"),
    [
        ((1000, 500), 100, (100, 50)),
        ((500, 1000), 100, (50, 100)),
        ((3000, 2), 64, (64, 1)),
        ((30, 20), 64, (30, 20)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_longer_side_is_reduced(kind, size, max_side, reduced):
    image = images.load(encoded(PIL.Image.new("RGB", size, "teal"), kind), max_side=max_side)
    assert image.size == size
    assert image.pixels.shape == (*reduced[::-1], 3)
    assert np.abs(image.pixels.astype(int) - (0, 128, 128)).max() <= 3


def test_jpeg_reduced_while_decoding_looks_like_one_reduced_after():
    picture = drawn(1600, 1200).resize((2000, 1500))
    draw = ImageDraw.Draw(picture)
    for i in range(0, 2000, 50):
        draw.line((i, 0, 2000 - i, 1500), fill=(i // 8, 255 - i // 8, 128), width=9)
    drafted = images.load(encoded(picture, "JPEG", quality=95), max_side=300).pixels
    exact = picture.resize((300, 225), PIL.Image.Resampling.BOX)
    assert off(drafted, exact) < 3


def test_large_jpeg_is_quick():
    data = encoded(drawn(4000, 3000), "JPEG")
    images.load(data)
    start = time.process_time()
    images.load(data)
    assert time.process_time() - start < 0.5  # of a core: some 40 ms; decoding it in full takes more than 100


# --- limits


def test_bytes_are_counted_before_reading(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: it takes no room
    with pytest.raises(ImageError, match=r"huge.jpg: has 1,099,511,627,776 bytes, more than 268,435,456 bytes;"):
        images.load(path)


def test_limits_are_exact(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(SAMPLES["PNG"])
    exact = {"max_bytes": len(SAMPLES["PNG"]), "max_pixels": 64 * 48}
    for source in (path, SAMPLES["PNG"]):
        assert images.load(source, **exact).size == (64, 48)
        for limit in exact:
            with pytest.raises(ImageError, match=f"raise {limit}"):
                images.load(source, **exact | {limit: exact[limit] - 1})


@pytest.mark.parametrize("limit", ["max_side", "max_bytes", "max_pixels"])
def test_a_limit_of_nothing_is_the_programmers_fault(limit):
    with pytest.raises(ValueError, match=f"{limit}=0"):
        images.load(SAMPLES["PNG"], **{limit: 0})


@pytest.mark.parametrize("source", [None, 3, 1.5, bytearray(b"x"), ["a.jpg"]])
def test_a_source_of_the_wrong_type_is_the_programmers_fault(source):
    with pytest.raises(TypeError):
        images.load(source)


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (1_000_000_001, 1)])
def test_pixels_are_counted_before_decoding(size):
    start = time.process_time()
    with pytest.raises(ImageError, match=r"more than 1,000,000,000 pixels; make it smaller") as caught:
        images.load(png(*size, 8, 2))
    assert caught.value.__cause__ is None
    assert time.process_time() - start < 1


@pytest.mark.parametrize("kind", sorted(SAMPLES.keys() - {"WEBP", "lossy WebP"}))
def test_pillows_own_limit_is_no_matter(kind, monkeypatch):
    expected = images.load(SAMPLES[kind]).pixels
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    assert np.array_equal(images.load(SAMPLES[kind]).pixels, expected)


def test_pillows_own_limit_holds_for_webp_in_newer_pillows(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    message = load_or_refuse(SAMPLES["WEBP"])
    assert message == "<bytes>" or "has more pixels than the WebP decoder allows" in message


def test_the_state_of_the_process_is_left_alone():
    before = list(warnings.filters), PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES
    for data in SAMPLES.values():
        images.load(data)
    assert before == (list(warnings.filters), PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES)
    assert "HEIF" not in PIL.Image.OPEN


# --- hostile input

HOSTILE = {
    "empty": (b"", "is empty"),
    "text": (b"Dear reader,\n", "something unknown"),
    "html": (b"\n <!DOCTYPE html><html></html>", "markup"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "markup"),
    "marked svg": (b"\xef\xbb\xbf<?xml version='1.0'?><svg/>", "markup"),
    "pdf": (b"%PDF-1.7\n", "a PDF"),
    "zip": (b"PK\x03\x04" + bytes(40), "a ZIP"),
    "video": (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(99), "a video"),
    "postscript": (encoded(drawn(), "EPS"), "something unknown"),
    "an exotic format": (encoded(drawn(), "PPM"), "something unknown"),
    "jpeg 2000": (encoded(drawn(), "JPEG2000"), "a JPEG 2000"),
    "one byte": (b"\xff", "something unknown"),
    "zeros": (bytes(5000), "something unknown"),
    "random": (random.Random(0).randbytes(5000), "something unknown"),
    "no width": (png(0, 10, 8, 2), "damaged"),
    "no height": (png(10, 0, 8, 2), "damaged"),
    "no pixels": (png(10, 10, 8, 2), "damaged"),
    "no chunks": (b"\x89PNG\r\n\x1a\n", "damaged"),
    "half of a jpeg": (SAMPLES["JPEG"][: len(SAMPLES["JPEG"]) // 2], "damaged"),
    "start of a tiff": (b"II*\0\x08\0\0\0", "damaged"),
    "endless tiff": (b"II*\0\x08\0\0\0" + b"\xff" * 30, "damaged"),
    "start of a heic": (SAMPLES["HEIC"][:60], "damaged"),
    "start of an avif": (SAMPLES["AVIF"][:60], "damaged"),
    "gif without frames": (b"GIF89a\x01\0\x01\0\0\0\0;", "damaged"),
    "wide gif": (b"GIF89a\xff\xff\xff\xff\0\0\0;", ""),
    "bitmap of text": (b"BM, the brand", "damaged"),
    "webp of nothing": (b"RIFF\x04\0\0\0WEBP", "damaged"),
    "text bomb": (
        SAMPLES["PNG"][:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24))) + SAMPLES["PNG"][33:],
        "damaged",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content(name, tmp_path):
    data, reason = HOSTILE[name]
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    for source, shown in ((path, str(path)), (data, "<bytes>")):
        with pytest.raises(ImageError) as caught:
            images.load(source)
        assert str(caught.value).startswith(f"{shown}: ")
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
        assert reason != "damaged" or caught.value.__cause__ is not None


def test_the_faults_of_paths(tmp_path):
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, reason in {
        "missing.jpg": "cannot be read: No such file",
        ".": "is a folder",
        "loop.jpg": "cannot be read: Too many levels",
        "pipe.jpg": "is a device or a pipe",
        "/dev/zero": "is a device or a pipe",
        "a\0b": "cannot be read: .*embedded null",
        "x" * 300: "cannot be read: File name too long",
        "missing.jpg/b": "cannot be read: No such file",
    }.items():
        with pytest.raises(ImageError, match=reason):
            images.load(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(SAMPLES["PNG"])
    path.chmod(0)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        images.load(path)


@pytest.mark.parametrize("name", ["two\nlines.jpg", "\x1b[31mred.jpg", "caf\udce9.jpg", ""])
def test_a_strange_name_still_makes_one_printable_line(name):
    with pytest.raises(ImageError) as caught:
        images.load(b"x", name=name)
    assert str(caught.value).isprintable()
    assert images.load(SAMPLES["PNG"], name=name).name == name


def test_a_name_need_not_be_ascii(tmp_path):
    path = tmp_path / "Città di Venezia 東京.png"
    path.write_bytes(SAMPLES["PNG"])
    assert images.load(path).name == str(path)
    with pytest.raises(ImageError, match=r"Città di Venezia 東京\.jpg: "):
        images.load(path.with_suffix(".jpg"))


def load_or_refuse(data):
    try:
        message = images.load(data, max_pixels=100_000).name
    except ImageError as error:
        message = str(error)
    assert message.startswith("<bytes>")
    assert message.isprintable()
    return message


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.floats(0, 1))
def test_a_truncated_photo_is_loaded_or_refused(kind, share):
    load_or_refuse(SAMPLES[kind][: int(share * len(SAMPLES[kind]))])


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_a_damaged_photo_is_loaded_or_refused(kind, changes):
    data = bytearray(SAMPLES[kind])
    for place, value in changes:
        data[int(place**2 * len(data))] = value  # squared: headers are where it hurts
    load_or_refuse(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]), st.data())
def test_a_png_comes_back_exactly(height, width, channels, data):
    size = height * width * channels
    values = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    pixels = values.reshape((height, width, 3) if channels == 3 else (height, width))
    image = images.load(encoded(PIL.Image.fromarray(pixels), "PNG"))
    assert np.array_equal(image.pixels, images.from_array(pixels).pixels)


# --- threads and imports


def test_threads_agree():
    names = sorted(SAMPLES) * 8
    random.Random(0).shuffle(names)
    expected = {name: images.load(SAMPLES[name]).pixels for name in SAMPLES}
    with ThreadPoolExecutor(8) as pool:
        for name, image in zip(names, pool.map(lambda n: images.load(SAMPLES[n]), names), strict=True):
            assert np.array_equal(image.pixels, expected[name])


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_is_light():
    assert run("import sys, veduta.images; print({'cv2', 'pi_heif', '_pi_heif'} & set(sys.modules))") == "set()"


# --- from_array


def test_from_array():
    pixels = np.asarray(drawn())
    image = images.from_array(pixels, name="drawn")
    assert (image.size, image.name, image.sha256) == ((64, 48), "drawn", "")
    assert image.pixels is pixels
    assert images.from_array(pixels[:, ::-1]).pixels.flags.c_contiguous
    gray = images.from_array(pixels[..., 0])
    assert gray.pixels.shape == (48, 64, 3)
    assert (gray.pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("shape", [(), (3,), (4, 4, 4), (4, 4, 1), (0, 4, 3), (4, 0), (2, 4, 4, 3)])
def test_from_array_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"Image\.pixels: expected"):
        images.from_array(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int8, bool])
def test_from_array_of_another_dtype(dtype):
    with pytest.raises(ValueError, match=r"Image\.pixels: expected"):
        images.from_array(np.zeros((4, 4, 3), dtype))


# --- walk


@pytest.fixture
def folder(tmp_path, monkeypatch):
    names = [
        "b.jpg",
        "a.PNG",
        "a/z.heic",
        "a/.hidden.jpg",
        "a/notes.txt",
        ".cache/x.jpg",
        "a-b.jpg",
        "c/d/e.webp",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


PHOTOS = ["a-b.jpg", "a.PNG", "a/z.heic", "b.jpg", "c/d/e.webp"]


def test_walk_lists_photos_sorted_and_keeps_the_prefix(folder):
    for prefix in ("./", f"{folder}/", f"../{folder.name}/", "a/../"):
        joined = [prefix + name for name in PHOTOS]
        assert list(images.walk(prefix)) == list(images.walk(prefix[:-1])) == joined == sorted(joined)
    assert list(images.walk(folder)) == [str(folder / name) for name in PHOTOS]


def test_walk_yields_anything_but_a_folder(folder):
    for name in ("a/notes.txt", "a/.hidden.jpg", "missing.jpg", "missing/", "a\0b"):
        assert list(images.walk(name)) == [name]
    assert list(images.walk(Path("b.jpg"))) == ["b.jpg"]
    assert list(images.walk(".cache")) == [".cache/x.jpg"]


def test_walk_follows_links_and_survives_loops(folder):
    (folder / "c/up").symlink_to("..")
    (folder / "c/self.jpg").symlink_to("self.jpg")
    (folder / "c/broken.jpg").symlink_to("nowhere")
    (folder / "l").symlink_to("a")
    assert list(images.walk("c")) == [
        "c/broken.jpg",
        "c/d/e.webp",
        "c/self.jpg",
        "c/up/a-b.jpg",
        "c/up/a.PNG",
        "c/up/a/z.heic",
        "c/up/b.jpg",
    ]


def test_walk_reports_a_folder_it_cannot_list(folder):
    failures = []
    walking = images.walk(".", report=failures.append)
    assert next(walking) == "./a-b.jpg"
    shutil.rmtree("a")
    assert list(walking) == ["./a.PNG", "./b.jpg", "./c/d/e.webp"]
    assert [f.photo for f in failures] == ["./a/"]
    assert failures[0].error == "./a/: cannot be listed: No such file or directory"


def test_walk_without_a_report_raises(folder):
    walking = images.walk(".")
    assert next(walking) == "./a-b.jpg"
    shutil.rmtree("a")
    with pytest.raises(ImageError, match=r"\./a/: cannot be listed: No such file"):
        list(walking)


def test_suffixes_are_lower_case():
    assert all(s == s.lower() and s.startswith(".") for s in images.SUFFIXES)


# --- bytes that are hashed once


def test_bytes_are_read_and_hashed_once(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(SAMPLES["PNG"])
    photo = images.read_bytes(path)
    digest = hashlib.sha256(SAMPLES["PNG"]).hexdigest()
    assert photo == images.PhotoBytes.of(SAMPLES["PNG"], str(path)) == images.PhotoBytes(photo.data, digest, str(path))
    assert images.load(path).sha256 == digest
    path.unlink()
    monkeypatch.setattr(hashlib, "sha256", None)
    image = images.load(photo)
    assert (image.sha256, image.name) == (digest, str(path))
    assert images.load(photo, name="another").name == "another"


def test_limits_hold_for_bytes_that_were_read_before():
    photo = images.PhotoBytes.of(SAMPLES["PNG"], "a.png")
    with pytest.raises(TooLargeError, match=r"^a\.png: has .* raise max_bytes"):
        images.load(photo, max_bytes=len(photo.data) - 1)
    with pytest.raises(ImageError, match=r"^b\.png: is empty"):
        images.load(images.PhotoBytes.of(b"", "a.png"), name="b.png")


def test_bytes_are_not_shown_whole():
    assert repr(images.PhotoBytes.of(b"x" * 1000, "a.png")).count("x") < 10
