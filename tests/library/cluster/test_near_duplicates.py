"""Bursts and near-duplicates: which photos count as one, and which do not though they look or were taken alike."""

from datetime import timedelta

import numpy as np
import pytest
from support.photos import at

from veduta.images.hashing import difference_hash
from veduta.library.cluster.near_duplicates import find_bursts

ROWS, COLUMNS = 8, 9  # cells of a fingerprint; its bits say of each whether its right neighbor is brighter
SAME_PLACE = 0.4  # cosine of two photos of one place, on average


def cells(*dark):
    """Gray pixels of which brightness falls and rises in turn along each row, but for cells made as dark as night.

    Each such cell, unless it lies on the edge, was brighter than both its neighbors: it changes two bits.
    """
    brightness = np.tile(np.where(np.arange(COLUMNS) % 2, 200, 100), (ROWS, 1))
    for row, column in dark:
        assert column % 2
        brightness[row, column] = 0
    return brightness.repeat(10, 0).repeat(10, 1).astype(np.uint8)


def alike(cosine):
    """Two descriptors of this cosine."""
    return np.array([[1, 0], [cosine, (1 - cosine**2) ** 0.5]], np.float32)


def are_one(descriptors, pictures=None, taken=(None, None)):
    """Whether two photos, the same pixel for pixel unless pictures are given, count as one."""
    marks = [difference_hash(picture) for picture in pictures or [cells()] * 2]
    return find_bursts(["a", "b"], descriptors, marks, [2.0, 1.0], taken) == [["a", "b"]]


def differing(first, second):
    """In how many bits two pictures differ."""
    pair = (np.frombuffer(difference_hash(picture), np.uint8) for picture in (first, second))
    return int(np.unpackbits(np.bitwise_xor(*pair)).sum())


@pytest.mark.parametrize(("changed", "one"), [(0, True), (1, True), (3, True), (4, False), (8, False)])
def test_three_cells_of_a_near_duplicate_may_have_changed_and_no_more(changed, one):
    """A cell has two neighbors in its row. A row in which every other cell differs is another picture: eight bits."""
    spots = [(2 * (i % 4), 1 + 2 * (i // 4)) for i in range(changed)]
    other = cells(*spots)
    assert differing(cells(), other) == 2 * changed
    assert are_one(alike(0.9), (cells(), other)) == one


def test_a_fingerprint_in_common_is_no_duplicate_unless_the_descriptors_are_alike_too():
    """Two photos of one place, and all the more of two places, are not one photo because their brightness agrees."""
    assert not are_one(alike(0.2))
    assert not are_one(alike(SAME_PLACE))
    assert are_one(alike(0.55))  # what a photo keeps with itself when it is cropped


def test_seconds_apart_is_no_burst_unless_the_photos_are_more_alike_than_by_their_place():
    """Who turns around at a place takes another photo; time says less than the picture, so more is asked for."""
    soon, unlike = [at(1, 10), at(1, 12)], (cells(), 255 - cells())
    assert differing(*unlike) == ROWS * (COLUMNS - 1)
    assert not are_one(alike(SAME_PLACE), unlike, soon)
    assert not are_one(alike(0.55), unlike, soon)
    assert are_one(alike(0.7), unlike, soon)
    assert not are_one(alike(0.7), unlike, [at(1, 10), at(1, 10) + timedelta(minutes=1)])
