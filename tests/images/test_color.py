"""ICC profiles: converted to sRGB as littleCMS does for a whole picture; numbers without a fit one stay as they are."""

import io

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms
from support import icc
from support.image_files import drawn, encoded

from veduta.images import load

PROFILES = {
    "Display P3": icc.rgb(icc.P3, 2.2),
    "Adobe RGB": icc.rgb(icc.ADOBE, 2.2),
    "ProPhoto RGB": icc.rgb(icc.PROPHOTO, 1.8),
    "another gamma": icc.rgb(icc.P3, 1.0),
    "channels exchanged": icc.rgb((icc.P3[2], icc.P3[1], icc.P3[0]), 2.2),
}
GRAY = icc.profile(b"GRAY", {b"kTRC": icc.curve(1.0)})


def picture(mode="RGB"):
    return drawn().convert(mode)


def stored(kind, image=None, **more):
    out = io.BytesIO()
    (image or picture()).save(out, kind, **more)
    return out.getvalue()


def by_littlecms(content, wide):
    """The whole picture as littleCMS converts it."""
    with PIL.Image.open(io.BytesIO(content)) as photo:
        target = ImageCms.createProfile("sRGB")
        return np.asarray(ImageCms.profileToProfile(photo, io.BytesIO(wide), target, outputMode="RGB"), int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_counts_in_every_format(name, kind):
    wide = PROFILES[name]
    content = stored(kind, icc_profile=wide)
    shown = load(content).pixels.astype(int)
    assert np.abs(shown - by_littlecms(content, wide)).max() <= 2
    assert np.abs(shown - load(stored(kind)).pixels).mean() > 2


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparent_and_palette_pictures_have_profiles_too(mode):
    wide = PROFILES["ProPhoto RGB"]
    opaque = stored("PNG", icc_profile=wide)
    assert (
        np.abs(load(stored("PNG", picture(mode), icc_profile=wide)).pixels - load(opaque).pixels.astype(int)).mean()
        < 20
    )


def test_gray_pictures_have_profiles_too():
    dark = load(stored("PNG", picture("L"))).pixels.astype(int)
    linear = load(stored("PNG", picture("L"), icc_profile=GRAY)).pixels.astype(int)
    assert (linear >= dark - 1).all()
    assert (linear - dark).mean() > 10


def test_a_reduced_photo_is_converted_after_it_is_reduced():
    wide = PROFILES["Adobe RGB"]
    small = load(stored("PNG", icc_profile=wide), max_side=32).pixels.astype(int)
    whole = PIL.Image.fromarray(load(stored("PNG", icc_profile=wide)).pixels)
    expected = np.asarray(whole.resize(small.shape[1::-1], PIL.Image.Resampling.HAMMING), int)
    assert np.abs(small - expected).mean() < 3


def test_srgb_is_left_as_it_is_to_the_last_bit():
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(load(stored("PNG", icc_profile=plain)).pixels, load(stored("PNG")).pixels)
    named = icc.rgb(icc.P3, 2.2, b"sRGB IEC61966-2.1")
    assert np.array_equal(load(stored("PNG", icc_profile=named)).pixels, load(stored("PNG")).pixels)


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"no profile",
        bytes(128),
        PROFILES["Display P3"][:150],
        GRAY,
        icc.profile(b"CMYK", {}),
        bytes(5 * 2**20),
        PROFILES["Display P3"][:200] + bytes(300),
    ],
)
def test_a_profile_that_does_not_fit_is_none(other):
    assert np.array_equal(load(stored("TIFF", icc_profile=other)).pixels, load(stored("TIFF")).pixels)


def test_cmyk_without_a_profile_is_as_before():
    content = encoded(picture("CMYK"), "JPEG")
    with PIL.Image.open(io.BytesIO(content)) as photo:
        assert np.array_equal(load(content).pixels, np.asarray(photo.convert("RGB")))
