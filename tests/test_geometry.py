"""Which matches one camera can have made, asked with homographies that are known."""

import re
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import components

from veduta.geometry import HomographyVerifier
from veduta.types import LocalFeatures, Matches

SIZE = (640, 480)
MIDDLE = np.array(SIZE) / 2


def scattered(seed, n, margin=20.0):
    """Points all over a photo."""
    return np.random.default_rng(seed).uniform(margin, np.array(SIZE) - margin, (n, 2))


def verified(a, b, size=SIZE):
    return HomographyVerifier().verify(
        components.points(a, size), components.points(b, size), components.paired(len(a))
    )


def camera(seed, extractor="xfeat", strength=0.6):
    """Query, reference and matches of a facade seen another way."""
    query, reference = components.extracted(extractor, seed, strength)
    return query, reference, components.matcher("nearest").match(query, reference)


# --- the homography is the true one


@pytest.mark.parametrize("seed", range(13, 18))
@pytest.mark.parametrize(("extractor", "within"), [("xfeat", 3.0), ("rootsift", 1.5)])
def test_the_homography_moves_the_corners_where_they_belong(extractor, within, seed):
    found = HomographyVerifier().verify(*camera(seed, extractor))
    query, _, truth = components.seen(seed, 0.6)
    corners = components.corners(query.size)
    assert found.problem is None
    assert found.num_inliers > 60
    assert (
        components.distance(components.carry(found.homography, corners), components.carry(truth, corners)).max()
        < within
    )


def test_the_homography_maps_query_to_reference_in_pixels_of_photos_of_any_two_sizes():
    a = scattered(0, 60)
    H = np.array([[0.2, -0.02, 30], [0.03, 0.25, 10], [1e-5, 0, 1]])
    b = components.carry(H, a)
    found = HomographyVerifier().verify(
        components.points(a, SIZE), components.points(b, (200, 150)), components.paired(60)
    )
    assert found.num_inliers == 60
    assert components.distance(components.carry(found.homography, a), b).max() < 0.05


def test_inliers_say_of_each_match_whether_it_agrees():
    rng = np.random.default_rng(1)
    a = scattered(1, 90)
    b = a + np.array([12, -7])
    wrong = rng.permutation(90)[:30]
    b[wrong] += rng.choice([-1, 1], (30, 2)) * rng.uniform(25, 90, (30, 2))
    found = verified(a, b)
    assert found.inliers.shape == (90,)
    assert found.inliers.dtype == bool
    assert not found.inliers[wrong].any()
    assert found.inliers.sum() == 60


def test_matches_are_looked_up_in_both_photos():
    query, reference, matches = camera(14)
    found = HomographyVerifier().verify(query, reference, matches)
    order = np.random.default_rng(0).permutation(len(query))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    shuffled = LocalFeatures(query.keypoints[order], query.descriptors[order], query.scores[order], query.size)
    renamed = Matches(np.stack([place[matches.indices[:, 0]], matches.indices[:, 1]], 1), matches.scores)
    again = HomographyVerifier().verify(shuffled, reference, renamed)
    assert np.array_equal(again.inliers, found.inliers)
    assert np.array_equal(again.homography, found.homography)


# --- megapixels do not matter


@pytest.mark.parametrize("seed", range(13, 16))
def test_photos_of_twelve_megapixels_have_the_inliers_of_small_ones(seed):
    query, reference, matches = camera(seed)
    large = [
        LocalFeatures((f.keypoints + 0.5) * 8.37 - 0.5, f.descriptors, f.scores, (4018, 3013))
        for f in (query, reference)
    ]
    near, far = (HomographyVerifier().verify(a, b, matches) for a, b in ((query, reference), large))
    assert (near.inliers != far.inliers).sum() <= 0.03 * near.num_inliers
    corners = components.corners(query.size)
    moved = components.carry(far.homography, (corners + 0.5) * 8.37 - 0.5)
    assert components.distance((moved + 0.5) / 8.37 - 0.5, components.carry(near.homography, corners)).max() < 1.5


def test_a_small_reference_of_a_large_query_has_the_same_inliers():
    query, reference, matches = camera(13)
    large = LocalFeatures(query.keypoints * 8, query.descriptors, query.scores, (3840, 2880))
    near = HomographyVerifier().verify(query, reference, matches)
    far = HomographyVerifier().verify(large, reference, matches)
    assert np.array_equal(near.inliers, far.inliers)


# --- the same input, the same inliers


def test_asking_again_gives_the_same_inliers_whatever_happened_in_between():
    query, reference, matches = camera(15)
    verifier = HomographyVerifier()
    first = verifier.verify(query, reference, matches)
    for i in range(20):
        cv2.setRNGSeed(i)
        np.random.default_rng(i)
        verifier.verify(*camera(13 + i % 3))
        again = (verifier if i % 2 else HomographyVerifier()).verify(query, reference, matches)
        assert np.array_equal(again.inliers, first.inliers)
        assert np.array_equal(again.homography, first.homography)


def test_threads_agree():
    cases = [camera(13 + i % 3) for i in range(12)]
    verifier = HomographyVerifier()
    alone = [verifier.verify(*case).inliers for case in cases]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda case: verifier.verify(*case).inliers, cases))
    assert all(map(np.array_equal, alone, together))


# --- chance


def test_unrelated_points_hardly_ever_agree():
    for seed in range(50):
        a, b = scattered(seed, 300, 0), scattered(1000 + seed, 300, 0)
        assert verified(a, b).num_inliers < 10


def test_unrelated_facades_have_fewer_inliers_than_any_view_of_the_same():
    def inliers(i, j):
        query, reference = components.extracted("xfeat", i, 0.6)[0], components.extracted("xfeat", j, 0.6)[1]
        matches = components.matcher("nearest").match(query, reference)
        return HomographyVerifier().verify(query, reference, matches).num_inliers

    same, other = [inliers(i, i) for i in range(10, 16)], [inliers(i, i + 1) for i in range(10, 15)]
    assert max(other) < 20 < 60 < min(same)


# --- eight different pairs at least


def test_seven_pairs_prove_nothing_and_eight_do():
    a = scattered(3, 8)
    assert verified(a[:7], a[:7] + 5).problem == "too few matches"
    assert verified(a, a + 5).num_inliers == 8


def test_no_matches_at_all_are_too_few():
    found = verified(np.zeros((0, 2)), np.zeros((0, 2)))
    assert (found.problem, found.num_inliers, found.homography) == ("too few matches", 0, None)


@pytest.mark.parametrize("side", ["both", "query", "reference"])
def test_the_same_point_again_does_not_count(side):
    few, many = np.repeat(scattered(4, 7), 20, axis=0), scattered(4, 140)
    a, b = {"both": (few, few), "query": (few, many), "reference": (many, few)}[side]
    found = verified(a, b)
    assert found.problem == "too few matches"
    assert found.inliers.shape == (140,)
    assert not found.inliers.any()


def test_seven_points_that_agree_many_times_over_do_not_outvote_the_rest():
    rng = np.random.default_rng(5)
    agreeing = np.repeat(scattered(5, 7), 10, axis=0)
    a = np.concatenate([agreeing, scattered(6, 30)])
    b = np.concatenate([agreeing + 9, rng.uniform(0, SIZE, (30, 2))])
    found = verified(a, b)
    assert found.problem == "no agreement"
    assert not found.inliers.any()


# --- what no camera sees


def along_a_line(n=80):
    t = np.random.default_rng(7).uniform(0, 1, (n, 1))
    return np.array([20.0, 40.0]) + t * [600, 300]


def about_the_middle(matrix):
    """Points, and the same points after a linear change about the middle of the photo."""
    a = scattered(8, 80)
    return a, (a - MIDDLE) @ np.array(matrix, float).T + MIDDLE


def across_the_horizon(least, most):
    """Points on both sides of a line that the homography sends to infinity, this near and far from it."""
    H = np.array([[1, 0, 320], [0, 1, 240], [0.006, 0, 1]]) @ np.array([[1, 0, -320], [0, 1, -240], [0, 0, 1.0]])
    a = scattered(9, 400)
    depth = np.abs(np.c_[a, np.ones(len(a))] @ H[2])
    kept = a[(depth > least) & (depth < most)]
    return kept, components.carry(H, kept)


IMPOSSIBLE = {
    "no agreement": [(scattered(10, 100), scattered(11, 100))],
    "collinear": [
        (along_a_line(), along_a_line() + np.array([5, 9])),
        (along_a_line() + np.random.default_rng(0).normal(0, 0.4, (80, 2)), along_a_line() + 5),
    ],
    "folded": [across_the_horizon(0.05, 9), across_the_horizon(0.35, 1.5)],
    "collapsed": [
        about_the_middle([[0.03, 0], [0, 0.03]]),
        about_the_middle([[0.06, 0], [0, 0.06]]),
        about_the_middle([[20, 0], [0, 20]]),
        about_the_middle([[1, 0], [0, 0.12]]),
        about_the_middle([[1, 3], [0, 1]]),
    ],
}


@pytest.mark.parametrize(("problem", "case"), [(p, case) for p, cases in IMPOSSIBLE.items() for case in cases])
def test_what_no_camera_sees_has_no_inliers_and_is_called_by_its_name(problem, case):
    found = verified(*case)
    assert found.problem == problem
    assert found.homography is None
    assert found.inliers.shape == (len(case[0]),)
    assert not found.inliers.any()


@pytest.mark.parametrize(("ratio", "problem"), [(2, None), (9, None), (11, "folded"), (25, "folded")])
def test_of_a_wall_seen_along_itself_the_far_end_is_at_most_ten_times_as_far_as_the_near_one(ratio, problem):
    """Of a wall that goes on to the horizon a camera has next to no pixels, so a match there is no evidence."""
    a = np.concatenate([scattered(12, 200), [(0, 200), (0, 280), (640, 200), (640, 280)]])
    depth = 1 + (ratio - 1) * a[:, :1] / 640  # 1 at the left edge
    b = ratio * (a - [0, 240]) / depth + [0, 240]
    verifier = HomographyVerifier(max_stretch=100)
    found = verifier.verify(components.points(a), components.points(b), components.paired(len(a)))
    assert found.problem == problem
    assert found.num_inliers == (len(a) if problem is None else 0)


def test_every_problem_is_named_where_verify_is_described():
    names = {*IMPOSSIBLE, "too few matches", "flipped"}
    assert {*re.findall("``([a-z ]+)``", HomographyVerifier.verify.__doc__)} == names


@pytest.mark.parametrize("mirror", [[[-1, 0], [0, 1]], [[1, 0], [0, -1]], [[0, 1], [1, 0]]])
def test_a_mirror_image_is_refused(mirror):
    found = verified(*about_the_middle(mirror))
    assert found.problem in ("no agreement", "flipped")  # USAC's own sampling leaves little for us to refuse
    assert not found.inliers.any()


def test_a_mirror_image_is_refused_even_if_it_was_estimated(monkeypatch):
    flip = np.array([[-1.0, 0, 640], [0, 1, 0], [0, 0, 1]])
    monkeypatch.setattr(HomographyVerifier, "_estimate", lambda _self, a, _b: (flip, np.ones(len(a), bool)))
    found = verified(*about_the_middle([[-1, 0], [0, 1]]))
    assert (found.problem, found.num_inliers) == ("flipped", 0)


@pytest.mark.parametrize("scale", [0.1, 0.25, 4, 10])
def test_a_photo_from_far_or_near_is_no_collapse(scale):
    assert verified(*about_the_middle([[scale, 0], [0, scale]])).num_inliers == 80


@pytest.mark.parametrize("angle", [20, 90, 135, 180])
def test_a_turned_photo_is_as_good_as_any(angle):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    assert verified(*about_the_middle([[c, -s], [s, c]])).num_inliers == 80


@given(
    seed=st.integers(0, 2**32 - 1),
    true=st.integers(25, 150),
    wrong=st.floats(0, 0.5),
    angle=st.floats(-60, 60),
    scale=st.floats(0.4, 2.5),
    lean=st.floats(0, 0.14),
)
@settings(max_examples=60, deadline=None)
def test_a_camera_that_could_be_is_believed(seed, true, wrong, angle, scale, lean):
    rng = np.random.default_rng(seed)
    corners = np.array([(0, 0), (640, 0), (640, 480), (0, 480)], np.float32)
    moved = corners + rng.uniform(-lean, lean, (4, 2)) * SIZE
    turn = cv2.getRotationMatrix2D((320.0, 240.0), angle, scale)
    H = np.vstack([turn, [0, 0, 1]]) @ cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    a = rng.uniform(0, SIZE, (true, 2))
    outliers = round(wrong * true)
    found = verified(
        np.concatenate([a, rng.uniform(0, SIZE, (outliers, 2))]),
        np.concatenate([components.carry(H, a), rng.uniform(0, SIZE, (outliers, 2))]),
    )
    assert found.problem is None
    assert found.inliers[:true].mean() > 0.95
    assert components.distance(components.carry(found.homography, a), components.carry(H, a)).max() < 3


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 4), max_size=60), st.sampled_from([1, 60]))
@settings(max_examples=150, deadline=None)
def test_whatever_the_matches_there_are_inliers_with_a_homography_or_neither(pairs, spread):
    ends = np.array(pairs, float).reshape(-1, 4) * spread
    found = verified(ends[:, :2], ends[:, 2:])
    assert found.inliers.shape == (len(pairs),)
    assert (found.homography is None) == (found.num_inliers == 0) == (found.problem is not None)
    if found.homography is not None:
        assert found.num_inliers >= 8
        assert np.isfinite(found.homography).all()
