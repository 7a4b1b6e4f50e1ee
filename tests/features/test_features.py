"""What every extractor promises, asked of each in the table."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from support import components, world

from veduta.features import EXTRACTORS, make_extractor
from veduta.images import from_array, load
from veduta.models.cards import card
from veduta.types import Image


@pytest.fixture(params=["rootsift", "xfeat"])  # those run by torch: test_torch_features.py
def extractor(request):
    return components.extractor(request.param)


def photo(seed=0):
    return from_array(world.facade(seed))


def same(a, b):
    return all(np.array_equal(getattr(a, field), getattr(b, field)) for field in ("keypoints", "descriptors", "scores"))


def shared(a, b, within):
    """The share of keypoints of `a` that have one of `b` within so many pixels."""
    apart = np.hypot(*(a.keypoints[:, None] - b.keypoints[None]).transpose(2, 0, 1))
    return (apart.min(1) <= within).mean()


def test_descriptors_of_norm_one_stand_beside_their_keypoints(extractor):
    features = extractor.extract(photo())
    n = len(features)
    assert 200 < n <= 512
    assert features.keypoints.shape == (n, 2)
    assert features.descriptors.shape == (n, extractor.dim)
    assert extractor.dim == card(extractor.name).dim
    assert {features.keypoints.dtype, features.descriptors.dtype, features.scores.dtype} == {np.dtype(np.float32)}
    assert np.abs(np.linalg.norm(features.descriptors, axis=1) - 1).max() < 1e-5
    assert features.size == (world.WIDTH, world.HEIGHT)


def test_the_best_keypoints_come_first(extractor):
    scores = extractor.extract(photo()).scores
    assert (np.diff(scores) <= 0).all()
    assert scores[-1] > 0


def test_there_are_at_most_as_many_as_asked_for_and_they_are_the_best(extractor):
    many, few = (make_extractor(extractor.name, n).extract(photo()) for n in (200, 40))
    assert (len(many), len(few)) == (200, 40)
    assert shared(few, many, 0.01) == 1
    assert few.scores.min() >= many.scores[39] - 1e-6
    assert len(make_extractor(extractor.name, 1).extract(photo())) == 1


def test_it_says_who_it_is_and_what_it_was_set_to(extractor):
    assert extractor.name in EXTRACTORS
    assert extractor.settings == {"max_keypoints": 512, "max_side": 576}
    assert make_extractor(extractor.name, 64, 320).settings == {"max_keypoints": 64, "max_side": 320}


def test_the_same_photo_gives_the_same_features(extractor):
    assert same(extractor.extract(photo(3)), extractor.extract(photo(3)))


def test_threads_agree(extractor):
    alone = [extractor.extract(photo(i)) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: extractor.extract(photo(i)), range(4)))
    assert all(map(same, alone, together))


def test_keypoints_are_inside_the_photo(extractor):
    for seed in range(3):
        features = extractor.extract(photo(seed))
        assert features.keypoints.min() >= -0.5
        assert (features.keypoints <= np.array(features.size) - 0.5).all()


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 2), (9, 7), (5, 2000), (2000, 5), (1, 2000), (20000, 1), (64, 3000)]
)
def test_any_shape_of_photo_can_be_looked_at(extractor, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    features = extractor.extract(from_array(pixels))
    assert features.size == shape[::-1]
    assert features.descriptors.shape == (len(features), extractor.dim)
    if len(features):
        assert features.keypoints.min() >= -0.5
        assert (features.keypoints <= np.array(features.size) - 0.5).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_color_has_hardly_a_keypoint(extractor, value):
    features = extractor.extract(from_array(np.full((300, 400, 3), value, np.uint8)))
    assert len(features) <= 4
    assert features.descriptors.shape == (len(features), extractor.dim)


def test_a_gray_photo_is_a_photo(extractor):
    gray = cv2.cvtColor(world.facade(1), cv2.COLOR_RGB2GRAY)
    features = extractor.extract(from_array(gray))
    assert len(features) > 200
    assert same(features, extractor.extract(from_array(np.repeat(gray[:, :, None], 3, 2))))


# --- pixels of the upright original photo


def test_what_was_decoded_smaller_is_told_in_pixels_of_the_original(extractor):
    small = world.facade(4)
    as_it_is, as_if_larger = from_array(small), Image(small, 8 * world.WIDTH, 8 * world.HEIGHT)
    near, far = extractor.extract(as_it_is), extractor.extract(as_if_larger)
    assert far.size == (8 * world.WIDTH, 8 * world.HEIGHT)
    # The center of the top-left pixel is (0, 0) in both, hence the halves.
    assert np.abs((near.keypoints + 0.5) * 8 - 0.5 - far.keypoints).max() < 0.01
    assert np.array_equal(near.descriptors, far.descriptors)


def test_width_and_height_are_scaled_each_by_its_own_factor(extractor):
    pixels = world.facade(4)
    near, far = extractor.extract(from_array(pixels)), extractor.extract(Image(pixels, 961, 1080))
    factors = np.array([961 / world.WIDTH, 3.0])
    assert np.abs((near.keypoints + 0.5) * factors - 0.5 - far.keypoints).max() < 0.01


def apart(a, b):
    """How far, in pixels of the original, keypoints lie from those of another look at the same photo."""
    pairs = components.matcher("nearest").match(a, b).indices
    assert len(pairs) > 100
    return components.distance(a.keypoints[pairs[:, 0]], b.keypoints[pairs[:, 1]])


def test_a_large_file_loaded_smaller_keeps_its_keypoints(extractor, tmp_path):
    path = world.save(world.facade(5, 1536, 1152), tmp_path / "large.jpg", 95)
    whole, reduced = load(path, max_side=1536), load(path, max_side=800)
    assert max(reduced.pixels.shape) < 1000
    a, b = extractor.extract(whole), extractor.extract(reduced)
    assert a.size == b.size == (1536, 1152)
    off = apart(a, b)
    assert np.median(off) < 1
    assert (off < 6).mean() > 0.8


def test_a_photo_looked_at_smaller_keeps_its_keypoints(extractor):
    whole = extractor.extract(photo(5))
    smaller = make_extractor(extractor.name, 512, 320).extract(photo(5))
    assert whole.size == smaller.size
    assert np.ptp(smaller.keypoints, axis=0).min() > 0.6 * min(whole.size)  # all over the photo, not in a corner of it
    assert np.median(apart(whole, smaller)) < 3


def test_the_middle_of_the_top_left_pixel_is_the_origin():
    """Turned by 180 degrees, x becomes W - 1 - x, unless one counts from the corner of a pixel.

    Asked of RootSIFT alone: XFeat answers whole pixels, and not the same ones of a photo turned around.
    """
    last = np.array([world.WIDTH - 1, world.HEIGHT - 1])
    for seed in range(3):
        a, b = (
            components.extractor("rootsift").extract(from_array(p)) for p in (photo(seed).pixels, turned(photo(seed)))
        )
        gap = a.keypoints[:, None] - (last - b.keypoints)[None]  # (N0, N1, 2)
        nearest = np.hypot(gap[..., 0], gap[..., 1]).argmin(1)
        off = gap[np.arange(len(a)), nearest]
        close = np.abs(off).max(1) < 2
        assert close.sum() > 100
        assert np.abs(np.median(off[close], axis=0)).max() < 0.1


def turned(image):
    return image.pixels[::-1, ::-1]
