"""Which keypoints stay: what the learned mask and the rule of thumb say of pictures whose contents are known."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import components, world

from veduta import viz
from veduta.images import from_array
from veduta.masks import ColorRule, LearnedMask, keypoint_colors, make_mask, mask_features, select_keypoints
from veduta.training import keypoint_mask
from veduta.types import Image, LocalFeatures


def features_at(points, image):
    """Features without anything to say but where they are."""
    n = len(points)
    descriptors = np.full((n, 64), 0.125, np.float32)
    return LocalFeatures(np.array(points, np.float32).reshape(n, 2), descriptors, np.ones(n, np.float32), image.size)


def painted():
    """Sky above, leaves below, a wall in the middle: 300 x 300."""
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[:100], pixels[100:200], pixels[200:] = (120, 160, 230), (150, 120, 100), (60, 120, 50)
    return from_array(pixels)


def test_the_rule_of_thumb_knows_sky_and_leaves_from_a_wall():
    image = painted()
    assert ColorRule().repeatability(image, features_at([(150, 40), (150, 150), (150, 260)], image)).tolist() == [
        0,
        1,
        0,
    ]


def test_what_is_blue_is_sky_only_in_the_upper_half():
    """A door, a fountain and the sea are below; a painted door may well be what another photo confirms."""
    image = from_array(np.full((300, 300, 3), (120, 160, 230), np.uint8))
    assert ColorRule().repeatability(
        image, features_at([(150, 40), (150, 140), (150, 160), (150, 290)], image)
    ).tolist() == [
        *(0, 0),
        *(1, 1),
    ]


def test_colors_are_those_around_the_keypoint_whatever_size_the_photo_was_decoded_at():
    image = painted()
    look = keypoint_colors(image, features_at([(150, 40), (20, 150)], image))
    assert np.allclose(look[:, :3] * 255, [(120, 160, 230), (150, 120, 100)], atol=1)
    assert np.allclose(look[:, 3], 0, atol=1e-3)
    larger = Image(image.pixels, 900, 900)
    assert np.allclose(keypoint_colors(larger, features_at([(451, 121), (61, 451)], larger)), look, atol=1e-6)


def test_usefulness_is_a_probability_for_each_keypoint():
    image = from_array(world.facade(0))
    found = components.extractor("xfeat").extract(image)
    stays = LearnedMask().repeatability(image, found)
    assert stays.shape == (len(found),)
    assert stays.dtype == np.float32
    assert 0 <= stays.min() < stays.max() <= 1
    assert np.array_equal(stays, make_mask("usefulness").repeatability(image, found))
    assert LearnedMask().repeatability(image, select_keypoints(found, np.zeros(len(found), bool))).shape == (0,)


def test_usefulness_does_not_depend_on_the_other_keypoints():
    image = from_array(world.facade(1))
    found = components.extractor("xfeat").extract(image)
    some = np.arange(len(found)) % 3 == 0
    assert np.allclose(
        LearnedMask().repeatability(image, found)[some],
        LearnedMask().repeatability(image, select_keypoints(found, some)),
        atol=1e-6,
    )


def test_a_facade_as_green_as_leaves_is_less_useful():
    image = from_array(world.facade(2))
    found = components.extractor("xfeat").extract(image)
    gray = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY)[..., None].astype(float)
    green = from_array(np.clip(gray * (0.6, 1.2, 0.4), 0, 255).astype(np.uint8))
    stone = from_array(np.clip(gray * (1.1, 1.0, 0.9), 0, 255).astype(np.uint8))
    mask = LearnedMask()
    assert mask.repeatability(green, found).mean() < mask.repeatability(stone, found).mean()


@given(st.lists(st.booleans(), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_kept_features_are_the_wanted_ones_in_their_order(wanted):
    image = painted()
    features = features_at([(i, 2 * i) for i in range(len(wanted))], image)
    kept = select_keypoints(features, np.array(wanted))
    assert kept.keypoints[:, 0].tolist() == [i for i, w in enumerate(wanted) if w]


# --- learning it


def test_a_regression_finds_what_made_the_labels_and_ignores_the_rest():
    rng = np.random.default_rng(1)
    told = rng.normal(0, [1, 5, 0.1], (4000, 3)).astype(np.float32) + np.float32(3)
    odds = 2 * (told[:, 0] - 3) - 20 * (told[:, 2] - 3)
    confirmed = rng.random(4000) < 1 / (1 + np.exp(-odds))
    learned = keypoint_mask.fit_mask(told, confirmed)
    slope = learned["weights"] / learned["scale"]
    assert slope[0] == pytest.approx(2, rel=0.15)
    assert slope[2] == pytest.approx(-20, rel=0.15)
    assert abs(slope[1]) < 0.03
    assert keypoint_mask.auroc(keypoint_mask.mask_log_odds(learned, told), confirmed) > 0.85


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_auroc_is_the_share_of_pairs_in_order(rows):
    score, right = np.array([float(s) for s, _ in rows]), np.array([r for _, r in rows])
    if right.all() or not right.any():
        return
    pairs = [(a > b) + (a == b) / 2 for a in score[right] for b in score[~right]]
    assert keypoint_mask.auroc(score, right) == pytest.approx(np.mean(pairs))


def test_what_is_told_of_a_keypoint_is_finite_for_any_photo():
    for value in (0, 255):
        image = from_array(np.full((70, 90, 3), value, np.uint8))
        assert np.isfinite(mask_features(image, features_at([(0, 0), (89, 69)], image))).all()


# --- drawn


def test_keypoints_that_stay_are_drawn_brighter():
    image = from_array(np.full((200, 200, 3), 90, np.uint8))
    picture = np.asarray(viz.draw_keypoints(image, np.array([[50, 100], [150, 100]], np.float32), np.array([0.9, 0.1])))
    assert picture.shape == (420, 420, 3)
    likely, unlikely = picture[210, 106].astype(int), picture[210, 316].astype(int)
    assert likely[1] > likely[0]
    assert unlikely[0] > unlikely[1]
    assert likely[1] > unlikely[1]


def test_a_page_shows_the_keypoints_of_the_photo(gallery, view, tmp_path):
    page = gallery.explain(view, tmp_path / "why").read_text("utf-8")
    assert "Which keypoints are likely to stay" in page
    assert page.count("data:image/webp") >= 2
