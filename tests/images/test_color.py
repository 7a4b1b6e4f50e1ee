"""ICC profiles: converted to sRGB as littleCMS does for a whole picture; numbers without a fit one stay as they are."""

import io
import struct

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms
from support.image_files import drawn, encoded

from veduta.images import load

P3 = (0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)
ADOBE = (0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)
PROPHOTO = (0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)
WHITE = 0.9642, 1.0, 0.8249


def fixed(*numbers):
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def profile(space, tags, name=b"test"):
    """A small ICC profile: a color space, and its tags but for the name."""
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + bytes(79)
    parts = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*WHITE), b"desc": text + bytes(-len(text) % 4), **tags}
    place, table, body = 128 + 4 + 12 * len(parts), b"", b""
    for tag, part in parts.items():
        table += tag + struct.pack(">II", place + len(body), len(part))
        body += part
    head = struct.pack(">I", place + len(body)) + b"\0\0\0\0\2\x20\0\0mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    return (head.ljust(68, b"\0") + fixed(*WHITE)).ljust(128, b"\0") + struct.pack(">I", len(parts)) + table + body


def curve(gamma):
    return b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", round(gamma * 256)) + b"\0\0"


def rgb(primaries, gamma, name=b"test"):
    tags = {tag: b"XYZ \0\0\0\0" + fixed(*xyz) for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return profile(b"RGB ", tags | {tag: curve(gamma) for tag in (b"rTRC", b"gTRC", b"bTRC")}, name)


PROFILES = {
    "Display P3": rgb(P3, 2.2),
    "Adobe RGB": rgb(ADOBE, 2.2),
    "ProPhoto RGB": rgb(PROPHOTO, 1.8),
    "another gamma": rgb(P3, 1.0),
    "channels exchanged": rgb((P3[2], P3[1], P3[0]), 2.2),
}
GRAY = profile(b"GRAY", {b"kTRC": curve(1.0)})


def picture(mode="RGB"):
    return drawn().convert(mode)


def stored(kind, image=None, **more):
    out = io.BytesIO()
    (image or picture()).save(out, kind, **more)
    return out.getvalue()


def by_littlecms(content, icc):
    """The whole picture as littleCMS converts it."""
    with PIL.Image.open(io.BytesIO(content)) as photo:
        target = ImageCms.createProfile("sRGB")
        return np.asarray(ImageCms.profileToProfile(photo, io.BytesIO(icc), target, outputMode="RGB"), int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_counts_in_every_format(name, kind):
    icc = PROFILES[name]
    content = stored(kind, icc_profile=icc)
    shown = load(content).pixels.astype(int)
    assert np.abs(shown - by_littlecms(content, icc)).max() <= 2
    assert np.abs(shown - load(stored(kind)).pixels).mean() > 2


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparent_and_palette_pictures_have_profiles_too(mode):
    icc = PROFILES["ProPhoto RGB"]
    opaque = stored("PNG", icc_profile=icc)
    assert (
        np.abs(load(stored("PNG", picture(mode), icc_profile=icc)).pixels - load(opaque).pixels.astype(int)).mean() < 20
    )


def test_gray_pictures_have_profiles_too():
    dark = load(stored("PNG", picture("L"))).pixels.astype(int)
    linear = load(stored("PNG", picture("L"), icc_profile=GRAY)).pixels.astype(int)
    assert (linear >= dark - 1).all()
    assert (linear - dark).mean() > 10


def test_a_reduced_photo_is_converted_after_it_is_reduced():
    icc = PROFILES["Adobe RGB"]
    small = load(stored("PNG", icc_profile=icc), max_side=32).pixels.astype(int)
    whole = PIL.Image.fromarray(load(stored("PNG", icc_profile=icc)).pixels)
    expected = np.asarray(whole.resize(small.shape[1::-1], PIL.Image.Resampling.HAMMING), int)
    assert np.abs(small - expected).mean() < 3


def test_srgb_is_left_as_it_is_to_the_last_bit():
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(load(stored("PNG", icc_profile=icc)).pixels, load(stored("PNG")).pixels)
    named = rgb(P3, 2.2, b"sRGB IEC61966-2.1")
    assert np.array_equal(load(stored("PNG", icc_profile=named)).pixels, load(stored("PNG")).pixels)


@pytest.mark.parametrize(
    "icc",
    [
        b"",
        b"no profile",
        bytes(128),
        PROFILES["Display P3"][:150],
        GRAY,
        profile(b"CMYK", {}),
        bytes(5 * 2**20),
        PROFILES["Display P3"][:200] + bytes(300),
    ],
)
def test_a_profile_that_does_not_fit_is_none(icc):
    assert np.array_equal(load(stored("TIFF", icc_profile=icc)).pixels, load(stored("TIFF")).pixels)


def test_cmyk_without_a_profile_is_as_before():
    content = encoded(picture("CMYK"), "JPEG")
    with PIL.Image.open(io.BytesIO(content)) as photo:
        assert np.array_equal(load(content).pixels, np.asarray(photo.convert("RGB")))
