"""Photos changed at every look: always the same way for the same seed, and the subject stays in the picture."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import world

from veduta.training.descriptor.data.augment import Augmentation, whole

STILL = {"stretch": 1.0, "flip": 0.0, "color": 0.0, "gray": 0.0, "blur": 0.0, "jpeg": 0.0, "cutout": 0.0}


@pytest.fixture(scope="module")
def photo():
    return world.facade(1, 96, 72)


def places(width, height):
    """A photo whose red says how far right a pixel is and whose green how far down, 0 to 255."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.round(np.linspace(0, 255, width))
    picture[..., 1] = np.round(np.linspace(0, 255, height))[:, None]
    return picture


def test_the_same_look_is_the_same_to_the_last_bit(photo):
    change = Augmentation(side=48)
    looks = [(seed, epoch, number) for seed in range(2) for epoch in range(3) for number in range(10)]
    before = [change(photo, *look).tobytes() for look in looks]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda look: Augmentation(side=48)(photo.copy(), *look).tobytes(), looks))
    assert before == again
    assert len(set(before)) == len(looks), "every seed, epoch and photo has a look of its own"


def test_the_photo_itself_is_left_alone(photo):
    before = photo.copy()
    for number in range(20):
        Augmentation(side=48, cutout=1.0, flip=1.0)(photo, 0, 0, number)
    assert np.array_equal(photo, before)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 999), st.integers(32, 64))
@settings(deadline=None, max_examples=60)
def test_any_photo_becomes_a_square(width, height, number, side):
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    found = Augmentation(side=side, blur=0.5, jpeg=0.5, cutout=0.5)(pixels, 0, 0, number)
    assert (found.shape, found.dtype) == ((side, side, 3), np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3000), (3000, 2), (500, 400)])
def test_odd_shapes_become_squares_too(shape):
    pixels = np.full((*shape, 3), 90, np.uint8)
    for number in range(10):
        assert Augmentation(side=32, **STILL)(pixels, 0, 0, number).tolist() == [[[90] * 3] * 32] * 32
        assert Augmentation(side=32)(pixels, 0, 0, number).shape == (32, 32, 3)


@pytest.mark.parametrize("size", [(40, 30), (200, 150), (48, 48)])
def test_with_all_changes_off_the_whole_photo_comes_out(size):
    pixels = world.facade(2, 200, 150)[: size[1], : size[0]]
    found = Augmentation(side=48, least_area=1.0, **STILL)(pixels, 5, 6, 7)
    assert np.array_equal(found, whole(pixels, 48))


def test_with_all_changes_off_but_the_crop_a_crop_comes_out():
    """As large as the share of the area that was drawn, of the photo's own shape."""
    pixels = places(256, 192)
    areas = []
    for number in range(60):
        found = Augmentation(side=64, least_area=0.25, **STILL)(pixels, 0, 0, number).astype(float)
        across, down = (np.diff(found[..., i], axis=1 - i).mean() * 64 / 255 for i in (0, 1))
        assert across == pytest.approx(down, abs=0.05)
        assert np.ptp(found[..., 0], axis=0).max() <= 1, "columns stay columns"
        areas.append(across * down)
    assert 0.2 < min(areas) < 0.4
    assert 0.85 < max(areas) < 1.1


@given(st.integers(8, 200), st.integers(8, 200), st.floats(0.3, 1.0), st.floats(1.0, 1.6))
@settings(deadline=None, max_examples=25)
def test_the_middle_of_the_photo_stays_in_the_crop(width, height, least_area, stretch):
    change = Augmentation(side=32, least_area=least_area, **STILL | {"stretch": stretch})
    photo = places(width, height)
    for number in range(40):
        found = change(photo, 0, 0, number)
        for axis, side in ((0, width), (1, height)):
            pixel = 255 / (side - 1)  # rounding to whole pixels may take one
            assert found[..., axis].min() <= 127.5 + pixel
            assert found[..., axis].max() >= 127.5 - pixel


def test_the_middle_stays_in_the_smallest_crops_too():
    change = Augmentation(side=32, least_area=0.3, **STILL | {"stretch": 1.6})
    photo = places(200, 150)
    crops = [change(photo, 0, 0, number)[..., :2] for number in range(2000)]
    low, high = (np.array([pick(crop, axis=(0, 1)) for crop in crops]) for pick in (np.min, np.max))
    assert (high - low).min() < 0.5 * 255, "some keep less than half a side"
    assert low.max() <= 127.5 + 2
    assert high.min() >= 127.5 - 2


def test_a_flip_is_a_mirror(photo):
    plain = Augmentation(side=48, **STILL)
    flipped = Augmentation(side=48, **STILL | {"flip": 1.0})
    for number in range(5):
        assert np.array_equal(flipped(photo, 0, 0, number), plain(photo, 0, 0, number)[:, ::-1])


def test_half_of_the_photos_are_mirrored_by_default():
    change = Augmentation(side=32, **STILL | {"flip": Augmentation.flip})
    mirrored = [found[0, 0, 0] > found[0, -1, 0] for found in (change(places(64, 64), 0, 0, n) for n in range(400))]
    assert abs(np.mean(mirrored) - 0.5) < 0.1


def test_gray_is_gray_and_color_is_changed_within_its_strength(photo):
    plain = Augmentation(side=48, **STILL)(photo, 0, 0, 3)
    gray = Augmentation(side=48, **STILL | {"gray": 1.0})(photo, 0, 0, 3)
    assert np.ptp(gray, axis=2).max() == 0
    colored = Augmentation(side=48, **STILL | {"color": 0.3})(photo, 0, 0, 3)
    assert not np.array_equal(colored, plain)
    for found in (gray, colored):
        assert np.corrcoef(found.mean(2).ravel(), plain.mean(2).ravel())[0, 1] > 0.85


@pytest.mark.parametrize("change", ["blur", "jpeg"])
def test_blur_and_jpeg_cost_detail_and_leave_the_picture(change):
    pixels = world.facade(3, 256, 256)
    for number in range(5):
        plain = Augmentation(side=256, **STILL)(pixels, 0, 0, number).astype(float)
        found = Augmentation(side=256, **STILL | {change: 1.0})(pixels, 0, 0, number).astype(float)
        assert 0.5 < np.abs(found - plain).mean() < 20
        assert np.corrcoef(found.ravel(), plain.ravel())[0, 1] > 0.9


def test_a_cutout_is_one_rectangle_of_one_color_up_to_a_fifth(photo):
    for number in range(20):
        plain = Augmentation(side=64, **STILL)(photo, 0, 0, number)
        found = Augmentation(side=64, **STILL | {"cutout": 1.0})(photo, 0, 0, number)
        rows, columns = np.nonzero((found != plain).any(2))
        inside = found[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (inside == inside[0, 0]).all()
        assert 0.01 * 64**2 < inside.shape[0] * inside.shape[1] < 0.21 * 64**2


@pytest.mark.parametrize("settings", [{"side": 31}, {"least_area": 0.0}, {"least_area": 1.1}, {"stretch": 0.9}])
def test_changes_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match="expected side >= 32, 0 < least_area <= 1 and stretch >= 1"):
        Augmentation(**settings)
