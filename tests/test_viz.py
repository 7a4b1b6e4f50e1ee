"""Evidence as pictures, looked at pixel by pixel."""

import io

import numpy as np
import PIL.Image
import pytest
from support import world

from veduta.images import from_array
from veduta.types import Image
from veduta.viz import BAR, GAP, MARGIN, MAX_LINES, draw_pair, encode, thumbnail

NONE = np.zeros((0, 2), np.float32)


def gray(width, height, value=128, *, times=1):
    """A plain photo, perhaps decoded this many times smaller than it is."""
    return Image(np.full((height, width, 3), value, np.uint8), width * times, height * times)


def colored(picture):
    """(K, 2) pixels that are neither of the photos nor of the frame: what was drawn."""
    pixels = np.asarray(picture).astype(int)
    return np.argwhere(np.ptp(pixels, axis=2) > 60)[:, ::-1]


def at(*xy):
    return np.array(xy, np.float32).reshape(-1, 2)


def test_two_photos_stand_side_by_side_above_a_caption():
    picture = draw_pair(gray(400, 300, 50), gray(300, 400, 200), NONE, NONE, height=300)
    assert picture.mode == "RGB"
    assert picture.size == (MARGIN + 400 + GAP + 225 + MARGIN, MARGIN + 300 + BAR)
    pixels = np.asarray(picture)
    assert (pixels[MARGIN : MARGIN + 300, MARGIN : MARGIN + 400] == 50).all()
    assert (pixels[MARGIN : MARGIN + 300, MARGIN + 400 + GAP : -MARGIN] == 200).all()
    assert (pixels[:MARGIN] == pixels[0, 0]).all()
    assert len(colored(picture)) == 0


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((480, 360), (560, 420)),
        ((360, 480), (315, 420)),
        ((1, 1), (420, 420)),
        ((2000, 5), (840, 2)),
        ((5, 2000), (1, 420)),
        ((20000, 1), (840, 1)),
        ((1, 20000), (1, 420)),
    ],
)
def test_photos_of_any_shape_fit(size, fitted):
    extreme, other = gray(*size), gray(480, 360)
    ends = at((0, 0), (size[0] - 1, size[1] - 1)), at((0, 0), (479, 359))
    for a, b, lines in [(extreme, other, ends), (other, extreme, ends[::-1])]:
        picture = draw_pair(a, b, *lines, "2 inliers")
        assert picture.size == (MARGIN + fitted[0] + GAP + 560 + MARGIN, MARGIN + 420 + BAR)
    assert draw_pair(extreme, extreme, NONE, NONE, "no inliers", ("a.jpg", "b.jpg")).height == MARGIN + 420 + BAR


@pytest.mark.parametrize("times", [1, 8])
@pytest.mark.parametrize("end", [(60, 45), (0, 0), (399, 299), (200.25, 150.75)])
def test_a_line_begins_and_ends_at_its_keypoints(end, times):
    a, b = gray(400, 300, times=times), gray(200, 150)
    there = np.array([150.0, 30.0])
    picture = draw_pair(a, b, (at(end) + 0.5) * times - 0.5, at(there), height=300)
    drawn = colored(picture)
    start = np.array(end) + MARGIN
    stop = (there + 0.5) * 2 - 0.5 + (MARGIN + 400 + GAP, MARGIN)
    for place in (start, stop):
        assert np.abs(drawn - place).max(1).min() <= 1
    assert drawn[:, 0].min() == pytest.approx(start[0], abs=4)
    assert drawn[:, 0].max() == pytest.approx(stop[0], abs=4)
    line = stop - start  # nothing is drawn away from it
    off = np.abs(line[0] * (drawn - start)[:, 1] - line[1] * (drawn - start)[:, 0]) / np.hypot(*line)
    assert off.max() < 5
    middle = (start + stop) / 2
    assert np.abs(drawn - middle).max(1).min() <= 2


def test_a_keypoint_is_the_middle_of_its_pixel():
    picture = draw_pair(gray(4, 3), gray(4, 3), at((0, 0)), at((3, 2)), height=300)
    drawn = colored(picture)
    assert drawn.min(0) == pytest.approx(np.array([MARGIN + 50, MARGIN + 50]), abs=4)
    assert drawn.max(0) == pytest.approx(np.array([MARGIN + 400 + GAP + 350, MARGIN + 250]), abs=4)


def test_a_photo_that_is_not_as_high_as_the_other_is_centered_with_its_points():
    wide, other = gray(1000, 100), gray(400, 300)
    picture = draw_pair(wide, other, at((0, 50)), at((0, 0)), height=300)
    assert colored(picture)[:, 0].min() == pytest.approx(MARGIN, abs=4)
    leftmost = colored(picture)[colored(picture)[:, 0] < MARGIN + 3]
    assert leftmost[:, 1].mean() == pytest.approx(MARGIN + 150, abs=3)


def test_no_matches_leave_the_photos_alone_and_a_thousand_are_thinned_out():
    a, b = gray(400, 300), gray(400, 300)
    points = np.random.default_rng(0).uniform(0, 300, (1000, 2)).astype(np.float32)
    assert len(colored(draw_pair(a, b, NONE, NONE))) == 0
    many = draw_pair(a, b, points, points, "1000 inliers")
    few = draw_pair(a, b, points[:1], points[:1], "1000 inliers")
    assert many.size == few.size
    thinned = np.linspace(0, 999, MAX_LINES).astype(int)
    same = draw_pair(a, b, points[thinned], points[thinned], "1000 inliers")
    assert np.array_equal(np.asarray(many), np.asarray(same))


def test_lines_that_start_at_different_heights_have_different_colors():
    picture = draw_pair(gray(400, 300), gray(400, 300), at((10, 10), (10, 290)), at((390, 10), (390, 290)), height=300)
    pixels = np.asarray(picture).astype(int)
    upper, lower = pixels[MARGIN + 10, MARGIN + 200], pixels[MARGIN + 290, MARGIN + 200]
    assert np.abs(upper - lower).max() > 60


def below(picture, part):
    """The pixels of a third of the bar below the photos."""
    width = picture.width // 3
    return np.asarray(picture)[-BAR + 4 :, part * width : (part + 1) * width].astype(int)


def test_caption_and_titles_stand_below():
    a, b = gray(400, 300), gray(400, 300)
    plain = draw_pair(a, b, NONE, NONE)
    written = draw_pair(a, b, NONE, NONE, "91 inliers", ("query.jpg", "reference.jpg"))
    assert all(np.ptp(below(plain, part)) < 10 for part in range(3))
    assert all(np.ptp(below(written, part)) > 100 for part in range(3))


@pytest.mark.parametrize("title", ["x" * 5000, "two\nlines.jpg", "\udcff\udcfe.jpg", "\0", "建物.jpg", "\N{CAMERA}"])
def test_a_title_may_be_whatever_a_file_is_called(title):
    a, b = gray(400, 300), gray(400, 300)
    picture = draw_pair(a, b, NONE, NONE, "91 inliers", (title, title))
    assert picture.size == draw_pair(a, b, NONE, NONE).size
    middle = np.asarray(picture)[-BAR:, picture.width // 2 - 10 : picture.width // 2 + 10]
    alone = np.asarray(draw_pair(a, b, NONE, NONE, "91 inliers"))[-BAR:]
    assert np.array_equal(middle, alone[:, picture.width // 2 - 10 : picture.width // 2 + 10])


@pytest.mark.parametrize("format", ["webp", "jpeg", "png"])
def test_a_picture_is_encoded_as_asked(format):
    pixels = world.facade(0)
    for given in (pixels, PIL.Image.fromarray(pixels)):
        with PIL.Image.open(io.BytesIO(encode(given, format, 90))) as picture:
            assert picture.format == format.upper()
            assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - pixels).mean() < 12


@pytest.mark.parametrize(
    ("size", "small"), [((480, 360), (160, 120)), ((360, 480), (120, 160)), ((50, 40), (50, 40)), ((2000, 5), (160, 1))]
)
def test_a_thumbnail_is_a_small_webp(size, small):
    data = thumbnail(from_array(world.facade(1, *size) if min(size) > 100 else gray(*size).pixels))
    with PIL.Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("WEBP", small)
    assert len(data) < 12_000
