"""Which pairs join photos to places: how many links of geometry it takes, and of how many photos."""

import itertools

import numpy as np
import pytest

from veduta.library.cluster import linkage
from veduta.library.cluster.pairs import PhotoPairs

INLIERS = 40  # many more than a link takes


def grouped(count, chances, links):
    """The groups among so many photos: pair -> chance, and the pairs that geometry links."""
    pairs = sorted(chances)
    a, b = (np.array(ends, np.int64) for ends in zip(*pairs, strict=True))
    inliers = np.array([INLIERS * (pair in links) for pair in pairs], np.int64)
    linked = PhotoPairs(a, b, np.zeros(len(a), np.float32), inliers, np.ones(len(a), bool))
    return linkage.average_linkage(count, linked, np.array([chances[pair] for pair in pairs]))


def within(members):
    return list(itertools.combinations(members, 2))


@pytest.mark.parametrize(("between", "joined"), [(0, False), (1, False), (2, False), (3, True), (4, True)])
def test_two_false_links_do_not_join_two_places_and_three_links_do(between, joined):
    """Of the links between two facades by one architect one may be false, or two; a third is no accident."""
    first, second = range(4), range(4, 8)
    across = list(itertools.product(first, second))
    chances = dict.fromkeys(within(first) + within(second), 0.99) | dict.fromkeys(across, 0.45)
    links = {*within(first), *within(second), *[(i, 4 + i) for i in range(between)]}
    assert grouped(8, chances, links) == ([[*first, *second]] if joined else [[*first], [*second]])


@pytest.mark.parametrize("size", [1, 2])
def test_fewer_photos_than_that_need_a_link_each(size):
    first, second = range(4), range(4, 4 + size)
    across = list(itertools.product(first, second))
    chances = dict.fromkeys(within(first) + within(second), 0.99) | dict.fromkeys(across, 0.45)
    inside = {*within(first), *within(second)}
    links = [(i, 4 + i) for i in range(size)]
    assert grouped(4 + size, chances, inside | set(links)) == [[*first, *second]]
    assert grouped(4 + size, chances, inside | set(links[1:]))[0] == [*first]


@pytest.mark.parametrize(("linked", "place"), [(0, False), (2, False), (4, False), (5, True), (10, True)])
def test_geometry_has_to_have_linked_half_of_the_photos_of_a_place(linked, place):
    """Ten photos that only look alike are ten photos of the sea, though two of them are of one pier."""
    chances = dict.fromkeys(within(range(10)), 0.95)
    links = {(i, i + 1) for i in range(linked - 1)}
    assert grouped(10, chances, links) == ([list(range(10))] if place else [])
