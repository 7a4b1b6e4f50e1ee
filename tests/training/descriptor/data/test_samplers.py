"""Which photos an epoch looks at: shares worked by hand, and counts that no chance can spoil."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veduta.training.descriptor.data.samplers import SAMPLERS, epoch_order, weights

TAIL = [0] * 16 + [1] * 4 + [2]  # a landmark with sixteen photos, one with four, one with one

classes_ = st.lists(st.integers(0, 7), min_size=1, max_size=60)
powers = st.sampled_from([0.0, 0.25, 0.5, 1.0])
seeds = st.integers(0, 1000)


def shares(found, classes):
    """What each class has of a sum over photos."""
    return np.bincount(classes, weights=found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("uniform", [16 / 21, 4 / 21, 1 / 21]), ("tempered", [4 / 7, 2 / 7, 1 / 7]), ("balanced", [1 / 3, 1 / 3, 1 / 3])],
)
def test_the_tail_is_lifted_as_far_as_asked(name, expected):
    np.testing.assert_allclose(shares(weights(TAIL, SAMPLERS[name]), TAIL), expected)


@given(classes_, powers)
@settings(deadline=None)
def test_probabilities_fall_with_the_photos_of_a_class_and_sum_to_one(classes, power):
    found = weights(classes, power)
    assert found.sum() == pytest.approx(1)
    raw = [classes.count(c) ** -power for c in classes]
    assert found.tolist() == pytest.approx([x / sum(raw) for x in raw])


@given(classes_)
@settings(deadline=None)
def test_balanced_expects_as_many_photos_of_every_landmark(classes):
    found = shares(weights(classes, 1.0), classes)
    present = found[found > 0]
    assert present.tolist() == pytest.approx([1 / len(set(classes))] * len(present))


@pytest.mark.parametrize("power", [-0.1, 1.1, math.nan])
def test_a_power_out_of_its_range_is_refused(power):
    with pytest.raises(ValueError, match="power: expected 0 to 1"):
        weights(TAIL, power)


@given(classes_, powers, seeds, st.integers(0, 5), st.integers(1, 100))
@settings(deadline=None)
def test_every_photo_comes_as_often_as_its_share_says(classes, power, seed, epoch, size):
    order = epoch_order(classes, power, seed, epoch, size)
    assert len(order) == size
    expected = size * weights(classes, power)
    counts = np.bincount(order, minlength=len(classes))
    assert (counts >= np.floor(expected - 1e-9)).all()
    assert (counts <= np.ceil(expected + 1e-9)).all()


def test_over_many_epochs_every_landmark_is_seen_by_its_share():
    for power in SAMPLERS.values():
        seen = np.zeros(3)
        for epoch in range(300):
            seen += np.bincount(np.array(TAIL)[epoch_order(TAIL, power, 0, epoch)], minlength=3)
        np.testing.assert_allclose(seen / seen.sum(), shares(weights(TAIL, power), TAIL), atol=0.01)


@given(classes_, powers, seeds, st.integers(0, 5))
@settings(deadline=None)
def test_the_same_epoch_of_the_same_seed_has_the_same_order(classes, power, seed, epoch):
    assert np.array_equal(epoch_order(classes, power, seed, epoch), epoch_order(classes, power, seed, epoch))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_other_epochs_and_other_seeds_have_another_order(power):
    classes = np.arange(400) // 4
    orders = [epoch_order(classes, power, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert all(orders[i] != orders[j] for i in range(9) for j in range(i))


@given(classes_, seeds, st.integers(0, 5))
@settings(deadline=None)
def test_uniform_looks_at_every_photo_once(classes, seed, epoch):
    assert sorted(epoch_order(classes, 0.0, seed, epoch)) == list(range(len(classes)))


@given(classes_, seeds, st.integers(1, 60))
@settings(deadline=None)
def test_a_shorter_uniform_epoch_looks_at_no_photo_twice(classes, seed, size):
    order = epoch_order(classes, 0.0, seed, 0, min(size, len(classes)))
    assert len(set(order.tolist())) == len(order) == min(size, len(classes))


def test_uniform_epochs_longer_than_the_photos_repeat_them_evenly():
    counts = np.bincount(epoch_order(TAIL, 0.0, 0, 0, 50), minlength=len(TAIL))
    assert set(counts.tolist()) == {2, 3}


def test_the_photos_of_a_landmark_are_not_looked_at_in_a_row():
    classes = np.arange(1000) // 100
    order = epoch_order(classes, 0.5, 0, 0)
    same = (np.diff(classes[order]) == 0).mean()
    assert same < 0.2, "by chance one in ten"
