"""What every matcher promises, asked of each in the table; and a naive oracle for the one that has one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import components

from veduta.matching import LighterGlue, NearestMatcher
from veduta.types import LocalFeatures


@pytest.fixture(params=["lighterglue", "nearest"])  # those run by torch: test_torch_features.py
def matcher(request):
    return components.matcher(request.param)


def some(features, n):
    """The best n of these features."""
    return LocalFeatures(features.keypoints[:n], features.descriptors[:n], features.scores[:n], features.size)


def pairs(matches):
    return set(map(tuple, matches.indices.tolist()))


def test_no_keypoint_has_two_partners(matcher):
    for seed in range(3):
        matches = matcher.match(*components.extracted("xfeat", seed))
        assert len(matches) > 50
        assert all(len(set(column)) == len(matches) for column in matches.indices.T.tolist())


def test_each_pair_is_an_index_into_both_and_has_a_score(matcher):
    query, reference = some(components.extracted("xfeat", 0)[0], 100), components.extracted("xfeat", 0)[1]
    matches = matcher.match(query, reference)
    assert matches.indices.dtype == np.int64
    assert matches.scores.dtype == np.float32
    assert matches.indices.min() >= 0
    assert (matches.indices.max(0) < (len(query), len(reference))).all()
    assert (matches.scores <= 1 + 1e-5).all()
    assert (matches.scores >= 0).all()


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 50), (50, 0)])
def test_a_photo_without_keypoints_has_no_matches(matcher, n, m):
    query, reference = components.extracted("xfeat", 0)
    matches = matcher.match(some(query, n), some(reference, m))
    assert matches.indices.shape == (0, 2)
    assert matches.scores.shape == (0,)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 200), (200, 1), (2, 2)])
def test_very_few_keypoints_are_matched_as_well(matcher, n, m):
    query, reference = components.extracted("xfeat", 0)
    assert len(matcher.match(some(query, n), some(reference, m))) <= min(n, m)


def test_a_photo_matches_itself_point_by_point(matcher):
    photo = components.extracted("xfeat", 1)[0]
    matches = matcher.match(photo, photo)
    assert (matches.indices[:, 0] == matches.indices[:, 1]).mean() > 0.97
    assert len(matches) > 0.9 * len(photo)


def test_the_same_pair_gives_the_same_matches(matcher):
    first, second = (matcher.match(*components.extracted("xfeat", 2)) for _ in range(2))
    assert np.array_equal(first.indices, second.indices)
    assert np.array_equal(first.scores, second.scores)


def test_query_and_reference_may_change_places(matcher):
    query, reference = components.extracted("xfeat", 3)
    there, back = pairs(matcher.match(query, reference)), pairs(matcher.match(reference, query))
    turned = {(j, i) for i, j in back}
    assert len(there & turned) > 0.98 * len(there | turned)


def test_threads_agree(matcher):
    alone = [matcher.match(*components.extracted("xfeat", i)).indices for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: matcher.match(*components.extracted("xfeat", i)).indices, range(4)))
    assert all(map(np.array_equal, alone, together))


@pytest.mark.parametrize("seed", range(10, 14))
@pytest.mark.parametrize(
    ("extractor", "matching", "least"),
    [("xfeat", "lighterglue", 0.8), ("xfeat", "nearest", 0.5), ("rootsift", "nearest", 0.75)],
)
def test_most_matches_show_the_same_point(extractor, matching, least, seed):
    query, reference = components.extracted(extractor, seed, 0.6)
    matches = components.matcher(matching).match(query, reference)
    truth = components.carry(components.seen(seed, 0.6)[2], query.keypoints[matches.indices[:, 0]])
    assert len(matches) > 80
    assert (components.distance(truth, reference.keypoints[matches.indices[:, 1]]) < 3).mean() > least


def test_lighterglue_drops_what_is_less_probable_than_asked():
    query, reference = components.extracted("xfeat", 4)
    all_of_them = components.matcher("lighterglue").match(query, reference)
    sure = LighterGlue(min_probability=0.6).match(query, reference)
    assert sure.scores.min() >= 0.6
    assert pairs(sure) == {tuple(p) for p in all_of_them.indices[all_of_them.scores >= 0.6].tolist()}


def test_lighterglue_does_not_care_how_large_the_photo_is():
    query, reference = components.extracted("xfeat", 5)
    larger = LocalFeatures(query.keypoints * 8, query.descriptors, query.scores, tuple(8 * n for n in query.size))
    match = components.matcher("lighterglue").match
    a, b = pairs(match(query, reference)), pairs(match(larger, reference))
    assert len(a & b) > 0.98 * len(a | b)


# --- mutual nearest neighbors


def described(descriptors):
    n = len(descriptors)
    return LocalFeatures(np.zeros((n, 2), np.float32), descriptors, np.ones(n, np.float32), (640, 480))


def naive(a, b, least):
    """Each one's best, asked one by one, in both directions."""
    best_of_a = [max(range(len(b)), key=lambda j: float(x @ b[j])) for x in a]
    best_of_b = [max(range(len(a)), key=lambda i: float(a[i] @ y)) for y in b]
    return {(i, j) for i, j in enumerate(best_of_a) if best_of_b[j] == i and a[i] @ b[j] >= least}


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.sampled_from([-1.0, 0.0, 0.3, 0.82, 0.95]))
@settings(max_examples=60, deadline=None)
def test_nearest_pairs_are_those_a_naive_search_finds(seed, n, m, least):
    rng = np.random.default_rng(seed)
    a, b = (unit_rows(rng, k) for k in (n, m))
    shared = min(n, m) // 2
    b[:shared] = a[:shared] + 0.05 * b[:shared]
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    matches = NearestMatcher(least).match(described(a), described(b))
    assert pairs(matches) == naive(a, b, least)
    assert np.abs(matches.scores - (a @ b.T)[tuple(matches.indices.T)]).max(initial=0) < 1e-6


def unit_rows(rng, n):
    rows = rng.normal(0, 1, (n, 64)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_many_equal_descriptors_still_make_pairs_one_to_one():
    rows = unit_rows(np.random.default_rng(0), 4)
    a, b = described(rows[[0, 0, 0, 1, 2, 2]]), described(rows[[2, 0, 0, 3, 1, 0, 2]])
    matches = NearestMatcher().match(a, b)
    assert len(matches) == len({i for i, _ in pairs(matches)}) == len({j for _, j in pairs(matches)}) == 3
    assert {a.descriptors[i].tobytes() for i, _ in pairs(matches)} == {r.tobytes() for r in rows[:3]}
