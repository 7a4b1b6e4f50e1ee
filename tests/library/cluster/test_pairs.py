"""How likely two photos show one place: by the pair alone, and by the partners they have in common."""

import numpy as np
import pytest

from veduta.library.cluster import pairs as pair_model


def probability(similarity, inliers=0, distractor=0.0):
    """How likely two photos that are alone in the world show one place."""
    descriptors = np.array([[1, 0], [similarity, (1 - similarity**2) ** 0.5]], np.float32)
    one, counts = np.array([0], np.int64), np.array([inliers], np.int64)
    similarities = np.array([similarity], np.float32)
    pairs = pair_model.PhotoPairs(one, one + 1, similarities, counts, np.array([inliers > 0]))
    nothing = np.full(2, distractor, np.float32)
    _, chances = pair_model.score_pairs(
        pairs, descriptors, nothing, pair_model.nearest_photos(descriptors, pair_model.NEIGHBORS)
    )
    (chance,) = chances
    return chance


def test_two_photos_that_look_the_same_are_of_one_place_and_two_that_only_look_alike_may_not_be():
    """Without geometry and with nobody around: a copy is likely, a photo of the same kind of thing is not."""
    assert probability(1.0) > 0.7
    assert probability(0.4) < 0.3


def test_what_speaks_for_a_pair_makes_it_likelier_and_what_speaks_against_it_less():
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.9)):
        assert probability(low) < probability(high)
    assert probability(0.6, inliers=20) < probability(0.6, inliers=60)
    assert probability(0.8, distractor=0.5) < probability(0.8)


@pytest.mark.parametrize(
    ("weight", "judged"),
    [(0.9, True), (0.5, True), (0.3, True), (0.2, False), (0.1, False)],
)
def test_partners_of_partners_are_judged_when_one_in_twenty_is_to_be_a_pair(weight, judged):
    """Two photos are joined by a third as likely as both links to it are true: the product of their chances."""
    graph = pair_model.WeightedGraph.of(3, np.array([0, 1]), np.array([1, 2]), np.array([weight, weight]))
    assert (weight * weight >= 1 / 20) == judged
    a, b = pair_model.second_order_pairs(graph, {0 * 3 + 1, 1 * 3 + 2})
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == ([(0, 2)] if judged else [])
