from dataclasses import FrozenInstanceError, fields, is_dataclass

import numpy as np
import pytest

from veduta import types
from veduta.landmarks import Landmark
from veduta.types import Candidate, Image, LocalFeatures, Matches, Verification


def f32(*shape):
    return np.zeros(shape, np.float32)


def made(kind, **changes):
    """A small valid one, but for the changes."""
    valid = {
        Image: {"pixels": np.zeros((3, 4, 3), np.uint8), "width": 4, "height": 3},
        LocalFeatures: {"keypoints": f32(5, 2), "descriptors": f32(5, 64), "scores": f32(5), "size": (4, 3)},
        Matches: {"indices": np.zeros((5, 2), np.int64), "scores": f32(5)},
        Verification: {"inliers": np.zeros(5, bool)},
        Landmark: {"id": "1"},
        Candidate: {"reference": "r", "landmark": "l", "similarity": 0.5},
    }
    return kind(**valid[kind] | changes)


@pytest.mark.parametrize(
    ("kind", "field", "wrong", "expected", "got"),
    [
        (Image, "pixels", np.zeros((3, 4), np.uint8), "(*, *, 3)", "(3, 4)"),
        (Image, "pixels", np.zeros((3, 4, 4), np.uint8), "(*, *, 3)", "(3, 4, 4)"),
        (Image, "pixels", f32(3, 4, 3), "'u'", "float32"),
        (Image, "pixels", np.zeros((3, 4, 3), np.uint16), "uint8", "uint16"),
        (Image, "pixels", np.zeros((0, 4, 3), np.uint8), "non-empty", "(0, 4, 3)"),
        (LocalFeatures, "keypoints", f32(5, 3), "(5, 2)", "(5, 3)"),
        (LocalFeatures, "keypoints", np.zeros((5, 2), int), "'f'", "int64"),
        (LocalFeatures, "descriptors", f32(4, 64), "(5, *)", "(4, 64)"),
        (LocalFeatures, "descriptors", f32(5), "(5, *)", "(5,)"),
        (LocalFeatures, "scores", f32(5, 1), "(5)", "(5, 1)"),
        (Matches, "indices", f32(5, 2), "'i'", "float32"),
        (Matches, "indices", np.zeros((5, 3), int), "(5, 2)", "(5, 3)"),
        (Matches, "scores", f32(4), "(5)", "(4,)"),
        (Verification, "inliers", np.zeros(5, int), "'b'", "int64"),
        (Verification, "homography", f32(2, 3), "(3, 3)", "(2, 3)"),
        (Verification, "homography", np.eye(3, dtype=int), "'f'", "int64"),
    ],
)
def test_a_wrong_shape_or_dtype_is_refused_with_what_was_expected_and_what_came(kind, field, wrong, expected, got):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}.{field}: expected ") as caught:
        made(kind, **{field: wrong})
    wanted, _, came = str(caught.value).partition(", got ")
    assert expected in wanted
    assert got in came


@pytest.mark.parametrize("size", [{"width": 3}, {"height": 2}])
def test_a_photo_cannot_be_smaller_than_its_pixels(size):
    with pytest.raises(ValueError, match="is smaller than its pixels"):
        made(Image, **size)


def test_a_photo_may_be_larger_than_its_pixels():
    assert made(Image, width=4000, height=3000).size == (4000, 3000)


@pytest.mark.parametrize("kind", [k for k in vars(types).values() if is_dataclass(k)], ids=lambda k: k.__name__)
def test_what_travels_between_the_stages_is_frozen(kind):
    assert kind.__dataclass_params__.frozen
    one = object.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(one, fields(kind)[0].name, None)


def test_those_with_arrays_compare_by_identity_and_can_be_in_sets():
    for kind in (Image, LocalFeatures, Matches, Verification):
        assert made(kind) != made(kind)
        assert len({made(kind), made(kind)}) == 2
    assert made(Candidate) == made(Candidate)


def test_not_verified_and_verified_in_vain_are_different_values():
    never, vain = made(Candidate), made(Candidate, num_inliers=0)
    assert never.num_inliers is None
    assert vain.num_inliers == 0
    assert never != vain


def test_lengths_and_inliers_are_counted():
    assert len(made(LocalFeatures)) == len(made(Matches)) == 5
    assert made(Verification, inliers=np.array([True, False, True])).num_inliers == 2
    assert made(Verification, inliers=np.zeros(0, bool)).num_inliers == 0


def test_nothing_at_all_has_the_right_shape_too():
    assert len(made(LocalFeatures, keypoints=f32(0, 2), descriptors=f32(0, 64), scores=f32(0))) == 0
    assert len(made(Matches, indices=np.zeros((0, 2), np.int64), scores=f32(0))) == 0


def test_a_landmark_is_called_by_its_id_when_nobody_said_its_name():
    assert made(Landmark).name == "1"
    assert made(Landmark, name="Arco della Pace").name == "Arco della Pace"
    with pytest.raises(ValueError, match=r"Landmark\.id"):
        made(Landmark, id="")
