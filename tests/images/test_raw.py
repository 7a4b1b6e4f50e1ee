"""RAW photos through their previews: a DNG written here by hand, so that every byte of it is known."""

import builtins
from datetime import datetime

import numpy as np
import pytest
from support import exif_writer as tiff
from support.raw import BLUE, GREEN, PLACE, RED, TAKEN, WHITE, dng, needs_rawpy, quarters, small

from veduta.errors import ImageError
from veduta.gallery import Gallery
from veduta.images import RAW_SUFFIXES, PhotoBytes, load
from veduta.landmarks import Landmark
from veduta.library import review
from veduta.library.cluster.group import add_references
from veduta.library.model import Asset

# EXIF's orientation -> the corners seen upright: top left, top right, bottom left, bottom right.
UPRIGHT = {
    1: (RED, GREEN, BLUE, WHITE),
    3: (WHITE, BLUE, GREEN, RED),
    6: (BLUE, RED, WHITE, GREEN),
    8: (GREEN, WHITE, RED, BLUE),
}


@pytest.fixture
def seen(tmp_path):
    """A RAW in a file, decoded as any photo is."""

    def look(content, name="a.dng"):
        path = tmp_path / name
        path.write_bytes(content)
        return load(path)

    return look


def corners(image):
    height, width = image.pixels.shape[:2]
    places = [(y, x) for y in (height // 8, -height // 8) for x in (width // 8, -width // 8)]
    return [image.pixels[place].astype(int) for place in places]


def nearest(color):
    """The color meant, however a sensor without a profile renders it."""
    return min((RED, GREEN, BLUE, WHITE), key=lambda c: np.abs(color - c).sum())


@needs_rawpy
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_preview_is_turned_as_its_raw_says(seen, orientation):
    image = seen(dng(small(), orientation=orientation))
    assert image.size == ((640, 480) if orientation in (1, 3) else (480, 640))
    for found, meant in zip(corners(image), UPRIGHT[orientation], strict=True):
        assert np.abs(found - meant).max() < 8
    assert (image.position, image.taken) == (PLACE, TAKEN)


@needs_rawpy
@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("too_small", [None, small(160, 120)], ids=["none", "small"])
def test_without_a_preview_worth_it_a_raw_is_developed(seen, orientation, too_small):
    image = seen(dng(too_small, orientation=orientation, width=1200, height=900))
    assert image.size == ((600, 450) if orientation in (1, 3) else (450, 600))
    assert [nearest(corner) for corner in corners(image)] == list(UPRIGHT[orientation])
    assert (image.position, image.taken) == (PLACE, TAKEN)


@needs_rawpy
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_preview_that_is_no_jpeg_is_made_one(seen, orientation):
    image = seen(dng(quarters(600, 450).tobytes(), bitmap=(600, 450), orientation=orientation))
    assert image.size == ((600, 450) if orientation == 1 else (450, 600))
    assert [nearest(corner) for corner in corners(image)] == list(UPRIGHT[orientation])
    assert (image.position, image.taken) == (PLACE, TAKEN)


def exif(orientation, *, time="2001:02:03 04:05:06"):
    shot = [tiff.text(0x9003, time)] if time else []
    return tiff.block(">", [tiff.numbers(0x112, tiff.SHORT, (orientation,), ">")], shot, []).data


@needs_rawpy
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_what_a_preview_says_of_its_own_turn_goes_before(seen, orientation):
    own = tiff.with_exif(small(), exif(orientation))
    image = seen(dng(own, orientation=3))
    assert [nearest(corner) for corner in corners(image)] == list(UPRIGHT[orientation])
    assert (image.position, image.taken) == (PLACE, TAKEN)  # of the RAW, which has the last word


@needs_rawpy
def test_time_is_the_previews_where_the_raw_has_none(seen):
    own = tiff.with_exif(small(), exif(1))
    image = seen(dng(own, facts=False))
    assert (image.position, image.taken) == (None, datetime(2001, 2, 3, 4, 5, 6))  # noqa: DTZ001
    assert seen(dng(small(), facts=False)).taken is None


@needs_rawpy
def test_a_preview_that_stands_upright_already_is_not_turned_again(seen):
    image = seen(dng(small(480, 640), orientation=6))
    assert image.size == (480, 640)
    assert [nearest(corner) for corner in corners(image)] == list(UPRIGHT[1])


@needs_rawpy
@pytest.mark.parametrize("content", [b"", b"hello", dng(small())[:200], dng(small())[:100_000]])
def test_what_is_no_raw_or_damaged_is_an_error_that_names_it(seen, content):
    with pytest.raises(ImageError, match=r"a\.dng: is (empty|a RAW that is damaged)"):
        seen(content)


@needs_rawpy
def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ImageError, match=r"b\.nef: cannot be read"):
        load(tmp_path / "b.nef")


@needs_rawpy
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
    with pytest.raises(ImageError, match=r"a\.dng: is a RAW, .*pip install -e '\.\[raw\]'"):
        seen(dng(small()))


def test_suffixes_are_lower_case_and_no_photo_has_them():
    from veduta.images import SUFFIXES

    assert {".dng", ".cr3", ".nef", ".arw", ".raf"} <= RAW_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in RAW_SUFFIXES)
    assert not RAW_SUFFIXES & SUFFIXES


@needs_rawpy
def test_a_raw_is_known_by_its_content_where_its_name_does_not_say(tmp_path):
    content = dng(small())
    assert load(content).taken == load(content, name="a.dng").taken == load(content, name="a.tif").taken == TAKEN
    assert load(content, max_side=100).sha256 == PhotoBytes.of(content).sha256


def test_what_is_another_format_by_its_content_is_read_as_that_whatever_its_name_says():
    assert load(small(), name="a.dng").size == (640, 480)


@needs_rawpy
def test_a_raw_is_a_reference_of_a_gallery_by_its_own_path_and_digest(tmp_path):
    path = tmp_path / "a.dng"
    path.write_bytes(dng(small()))
    with Gallery.create(tmp_path / "gallery") as gallery:
        asset = Asset(PhotoBytes.of(path.read_bytes()).sha256, (path,))
        assert add_references(gallery, [asset], Landmark("quarters", "Quarters")) == []
        (reference,) = gallery.references()
    assert (reference.photo, reference.sha256) == (str(path), asset.sha256)


@needs_rawpy
def test_a_raw_in_doubt_is_shown_as_a_jpeg(tmp_path):
    path = tmp_path / "a.dng"
    path.write_bytes(dng(small(), orientation=6))
    content = review._content(path)
    assert content.startswith(b"\xff\xd8\xff")
    assert load(content).size == (480, 640)
