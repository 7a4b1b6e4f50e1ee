"""What speaks for a landmark, worked out by hand on a few candidates, and what holds for any."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT

from veduta.decision.candidates import UNKNOWN_EXPECTED_INLIERS, CandidateContext, distractor_similarity
from veduta.decision.terms import LANDMARKS, TERM_NAMES, TERM_SIGNS, TERMS, compute_terms
from veduta.types import Candidate, PairGeometry

DECISION = ROOT / "docs" / "decision.md"
LOG = math.log1p
GLUED = {"a1": 40, "b1": 12}


def candidate(reference, similarity=0.5, num_inliers=None, geometry=None):
    """One of the landmark its id begins with."""
    return Candidate(reference, reference[0], similarity, num_inliers, geometry)


def around(candidates, **known):
    """Surroundings that say nothing but what is given; references are those among the candidates."""
    n, landmarks = len(candidates), [c.landmark for c in candidates]
    nothing = {
        "reference_similarity": np.eye(n, dtype=np.float32),
        "query_distractor_similarity": 0.0,
        "distractor_similarity": np.zeros(n, np.float32),
        "expected_inliers": np.full(n, np.nan, np.float32),
        "references": {landmark: landmarks.count(landmark) for landmark in landmarks},
    }
    return CandidateContext(**nothing | known)


def terms(candidates, landmark="a", **known):
    """Name -> value for one landmark."""
    return dict(zip(TERM_NAMES, compute_terms(candidates, around(candidates, **known))[landmark].tolist(), strict=True))


def likeness(candidates, pairs):
    """A symmetric matrix with these cosines between pairs of references, and nothing in common between others."""
    place = {c.reference: i for i, c in enumerate(candidates)}
    matrix = np.eye(len(candidates), dtype=np.float32)
    for (a, b), value in pairs.items():
        matrix[place[a], place[b]] = matrix[place[b], place[a]] = value
    return matrix


# --- the names


def test_every_term_has_a_name_of_its_own_and_a_reason():
    assert len(set(TERM_NAMES)) == len(TERM_NAMES) == len(TERMS) == len(TERM_SIGNS)
    assert all(term.why and term.sign in (-1, 0, 1) for term in TERMS)


def test_the_documentation_lists_every_term_with_its_sign():
    rows = [line.split("|")[1:-1] for line in DECISION.read_text("utf-8").splitlines() if line.startswith("| ")]
    documented = {name.strip(): sign.strip() for name, sign, *_ in rows if sign.strip() in "+−±"}
    assert documented == {term.name: {1: "+", -1: "−", 0: "±"}[term.sign] for term in TERMS}
    assert list(documented) == list(TERM_NAMES), "in the same order"


# --- similarity


def test_the_most_similar_reference_counts_and_the_mean_of_the_best_three():
    found = terms([candidate("a1", 0.5), candidate("a2", 0.9), candidate("a3", 0.7), candidate("a4", -0.9)])
    assert found["similarity"] == 0.9
    assert found["mean similarity"] == pytest.approx(0.7)
    assert terms([candidate("a1", 0.6)])["mean similarity"] == 0.6


def test_the_margin_is_to_the_next_landmark_whichever_it_is():
    some = [candidate("a1", 0.9), candidate("a2", 0.8), candidate("b1", 0.6), candidate("c1", 0.7)]
    assert terms(some)["margin"] == pytest.approx(0.2)
    assert terms(some, "c")["margin"] == pytest.approx(-0.2)
    assert terms(some[:2])["margin"] == 0.9, "with nobody behind, everything is ahead of nothing"


def test_the_crowd_is_the_nearest_twenty_of_other_landmarks():
    crowd = [candidate(f"b{i:02}", 0.5) for i in range(20)] + [candidate(f"c{i:02}", -1.0) for i in range(5)]
    assert terms([candidate("a1", 0.8), *crowd])["above the crowd"] == pytest.approx(0.3)
    assert terms([candidate("a1", 0.8)])["above the crowd"] == 0.8


def test_agreement_is_the_share_of_the_nearest_ten():
    mine = [candidate(f"a{i:02}", 0.9 - i / 100) for i in range(7)]
    others = [candidate(f"b{i:02}", 0.85 - i / 1000) for i in range(20)]  # behind the best six of `a`
    assert terms([*mine, *others], references={"a": 50})["agreement"] == pytest.approx(0.6)
    assert terms([*mine, *others], "b", references={"b": 50})["agreement"] == pytest.approx(0.4)


@pytest.mark.parametrize(("references", "agreement"), [(1, 1.0), (2, 1.0), (3, 2 / 3), (4, 3 / 4), (5, 3 / 5)])
def test_a_landmark_of_few_photos_can_agree_in_no_more_than_those(references, agreement):
    some = [candidate("a1", 0.9), candidate("a2", 0.8), candidate("b1", 0.7), candidate("a3", 0.6)]
    assert terms(some, references={"a": references, "b": 1})["agreement"] == pytest.approx(agreement)


def test_kinship_compares_with_the_three_most_alike_relatives():
    some = [candidate("a1", 0.8), *(candidate(f"a{i}", 0.1) for i in range(2, 6)), candidate("b1", 0.7)]
    alike = likeness(some, {("a1", "a2"): 0.9, ("a1", "a3"): 0.6, ("a1", "a4"): 0.3, ("a1", "a5"): -0.9})
    found = terms(some, reference_similarity=alike)
    assert found["kinship"] == pytest.approx(0.8 - 0.6)
    assert terms([candidate("a1", 0.8), candidate("b1", 0.7)])["kinship"] == 0, "an only photo has none to be compared"


def test_strangers_are_the_three_candidates_of_other_landmarks_most_like_the_reference():
    some = [candidate("a1", 0.8), *(candidate(f"b{i}", 0.1) for i in range(2, 6))]
    alike = likeness(some, {("a1", "b2"): 0.5, ("a1", "b3"): 0.3, ("a1", "b4"): 0.1, ("a1", "b5"): -0.9})
    assert terms(some, reference_similarity=alike)["beyond strangers"] == pytest.approx(0.8 - 0.3)
    assert terms(some[:1])["beyond strangers"] == 0.8


def test_likeness_to_nothing_is_that_of_the_query_and_of_the_most_similar_reference():
    some = [candidate("a1", 0.5), candidate("a2", 0.9), candidate("b1", 0.7)]
    found = terms(some, query_distractor_similarity=0.25, distractor_similarity=np.array([0.1, 0.2, 0.3], np.float32))
    assert found["query like nothing"] == 0.25
    assert found["reference like nothing"] == pytest.approx(0.2)


@pytest.mark.parametrize(("references", "expected"), [({"a": 7}, math.log(7)), ({"a": 1}, 0), ({}, math.log(2))])
def test_how_many_references_there_are_counts_as_a_logarithm(references, expected):
    some = [candidate("a1"), candidate("a2")]
    assert terms(some, references=references)["references"] == pytest.approx(expected)


# --- inliers


def test_inliers_are_those_of_the_best_candidate_and_of_the_second():
    found = terms([candidate("a1", 0.5, 10), candidate("a2", 0.4, 30), candidate("b1", 0.3, 20), candidate("a3", 0.2)])
    assert found["inliers"] == pytest.approx(LOG(30))
    assert found["second inliers"] == pytest.approx(LOG(10))
    assert found["inliers in all"] == pytest.approx(LOG(5 + 25)), "those that chance reaches are left out of each"
    assert found["inlier margin"] == pytest.approx(LOG(30) - LOG(20))


def test_one_candidate_has_no_second_and_without_a_rival_the_margin_is_all_there_is():
    found = terms([candidate("a1", 0.5, 5)])
    assert (found["second inliers"], found["inliers in all"]) == (0, 0)
    assert found["inlier margin"] == pytest.approx(LOG(5))


def test_a_rival_with_more_inliers_makes_the_margin_negative():
    some = [candidate("a1", 0.5, 3), candidate("b1", 0.5, 50)]
    assert terms(some)["inlier margin"] == pytest.approx(LOG(3) - LOG(50))


def test_the_best_candidate_is_the_one_with_the_best_score_not_the_one_with_most_inliers():
    found = terms([candidate("a1", 0.9, 20), candidate("a2", 0.1, 25)])
    assert found["inliers"] == pytest.approx(LOG(20))
    assert found["inlier margin"] == pytest.approx(LOG(25))


def test_expected_are_the_inliers_of_the_three_most_similar_references():
    some = [candidate("a1", 0.9, 8), candidate("a2", 0.8), candidate("a3", 0.7), candidate("a4", 0.6)]
    found = terms(some, expected_inliers=np.array([30, 20, 10, 500], np.float32))
    assert found["expected inliers"] == pytest.approx(LOG(20))
    assert found["inlier deficit"] == pytest.approx(LOG(8) - LOG(20))


def test_where_no_relatives_are_known_a_few_inliers_are_expected():
    some = [candidate("a1", 0.9, 0), candidate("a2", 0.8)]
    assert terms(some)["expected inliers"] == pytest.approx(LOG(UNKNOWN_EXPECTED_INLIERS))
    assert terms(some)["inlier deficit"] == pytest.approx(-LOG(UNKNOWN_EXPECTED_INLIERS))
    half = terms(some, expected_inliers=np.array([UNKNOWN_EXPECTED_INLIERS + 10, np.nan], np.float32))
    assert half["expected inliers"] == pytest.approx(LOG(UNKNOWN_EXPECTED_INLIERS + 5))


def test_the_verified_share_counts_candidates_with_any_inliers():
    some = [candidate("a1", 0.9, 8), candidate("a2", 0.8, 0), candidate("a3", 0.7, 12), candidate("a4", 0.6)]
    assert terms([*some, candidate("b1", 0.9, 50)])["verified share"] == pytest.approx(0.5)


def test_the_verified_share_is_of_ten_candidates_at_most():
    some = [candidate(f"a{i:02}", 0.9 - i / 100, 9 if i < 4 else 0) for i in range(40)]
    assert terms(some)["verified share"] == pytest.approx(0.4)


# --- the costlier matcher


def test_glue_counts_the_most_inliers_of_the_landmark_and_those_of_the_next():
    some = [candidate("a1", 0.5), candidate("a2", 0.9), candidate("b1", 0.7), candidate("c1", 0.6)]
    found = {landmark: terms(some, landmark, fine_inliers=GLUED) for landmark in "abc"}
    assert [found[landmark]["glue inliers"] for landmark in "abc"] == pytest.approx([LOG(40), LOG(12), 0])
    margins = [LOG(40) - LOG(12), LOG(12) - LOG(40), -LOG(40)]
    assert [found[landmark]["glue margin"] for landmark in "abc"] == pytest.approx(margins)


def test_where_the_costlier_matcher_was_not_asked_it_says_nothing():
    found = terms([candidate("a1", 0.5, 40), candidate("b1", 0.7, 3)])
    assert (found["glue inliers"], found["glue margin"]) == (0, 0)


# --- geometry


def test_the_geometry_is_that_of_the_best_candidate():
    best = PairGeometry(80, 0.9, (0.5, 0.25), scale=0.1, stretch=0.2, rotation=0.3, perspective=0.4)
    worse = PairGeometry(11, 0.1, (1.0, 1.0), scale=2.0, stretch=1.0, rotation=3.0, perspective=2.0)
    found = terms([candidate("a1", 0.5, 40, best), candidate("a2", 0.6, 10, worse), candidate("b1", 0.9, 7, worse)])
    names = ("inlier share", "inlier similarity", "query coverage", "reference coverage")
    assert [found[name] for name in names] == pytest.approx([40 / 80, 0.9, 0.5, 0.25])
    assert [found[name] for name in ("scale", "stretch", "rotation", "perspective")] == [0.1, 0.2, 0.3, 0.4]


def test_a_keypoint_confirmed_twice_is_one_and_useful_are_the_most_of_any_candidate():
    some = [
        candidate("a1", 0.9, 3, PairGeometry(9, keypoints=(1, 2, 3), num_confirmed=1)),
        candidate("a2", 0.8, 3, PairGeometry(9, keypoints=(3, 4), num_confirmed=5)),
        candidate("b1", 0.7, 3, PairGeometry(9, keypoints=(5, 6, 7, 8), num_confirmed=9)),
        candidate("a3", 0.6),
    ]
    found = terms(some)
    assert found["confirmed keypoints"] == pytest.approx(LOG(4))
    assert found["useful inliers"] == pytest.approx(LOG(5))


def test_without_geometry_there_is_nothing_of_it():
    found = terms([candidate("a1", 0.5), candidate("b1", 0.4)])
    geometry = TERM_NAMES[TERM_NAMES.index("inlier share") : TERM_NAMES.index("expected inliers")]
    assert {name: found[name] for name in geometry} == dict.fromkeys(geometry, 0.0)


# --- like nothing


def test_likeness_to_nothing_is_the_mean_of_the_three_nearest_centers():
    centers = np.eye(5, dtype=np.float32)
    photos = np.array([[0.9, 0.6, 0.3, -0.5, 0], [-1, -1, -1, -1, -1]], np.float32)
    assert distractor_similarity(photos, centers) == pytest.approx([0.6, -1])
    assert distractor_similarity(photos, centers[:1]) == pytest.approx([0.9, -1]), (
        "fewer centers than three are all there are"
    )


def test_without_centers_nothing_is_like_nothing():
    found = distractor_similarity(np.ones((4, 7), np.float32), np.zeros((0, 0), np.float32))
    assert found.tolist() == [0, 0, 0, 0]
    assert found.dtype == np.float32


# --- whatever the candidates

GEOMETRY = st.builds(
    PairGeometry,
    st.integers(0, 300),
    st.floats(0, 1),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.floats(0, 3),
    st.floats(0, 2),
    st.floats(0, 3.2),
    st.floats(0, 2.4),
    st.lists(st.integers(0, 511), max_size=5).map(tuple),
    st.integers(0, 300),
)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.integers(0, 99).map(str),
        st.sampled_from("abcdefgh"),
        st.one_of(st.sampled_from((0.25, 0.5)), st.floats(-1, 1)),
        st.one_of(st.none(), st.integers(0, 300)),
        st.one_of(st.none(), GEOMETRY),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda c: c.reference,
)


def random_surroundings(candidates, seed):
    """Surroundings of unit descriptors, of which some are known to have relatives, or counts, or glue."""
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(len(candidates), 8))
    descriptors = (descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)).astype(np.float32)
    expected = rng.integers(0, 200, len(candidates)).astype(np.float32)
    expected[rng.random(len(candidates)) < 0.3] = np.nan
    return CandidateContext(
        reference_similarity=descriptors @ descriptors.T,
        query_distractor_similarity=float(rng.uniform(-1, 1)),
        distractor_similarity=rng.uniform(-1, 1, len(candidates)).astype(np.float32),
        expected_inliers=expected,
        references={c.landmark: int(rng.integers(0, 30)) for c in candidates if rng.random() < 0.8},
        fine_inliers={c.reference: int(rng.integers(0, 300)) for c in candidates if rng.random() < 0.2},
    )


@given(CANDIDATES, st.integers(0, 2**32), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_evidence_does_not_depend_on_the_order_the_candidates_come_in(candidates, seed, random):
    given_ones = random_surroundings(candidates, seed)
    order = list(range(len(candidates)))
    random.shuffle(order)
    shuffled = replace(
        given_ones,
        reference_similarity=given_ones.reference_similarity[np.ix_(order, order)],
        distractor_similarity=given_ones.distractor_similarity[order],
        expected_inliers=given_ones.expected_inliers[order],
    )
    expected, found = compute_terms(candidates, given_ones), compute_terms([candidates[i] for i in order], shuffled)
    assert list(found) == list(expected)
    assert all(np.array_equal(found[landmark], expected[landmark]) for landmark in expected)


@given(CANDIDATES, st.integers(0, 2**32))
@settings(deadline=None)
def test_the_evidence_is_finite_and_of_a_few_landmarks(candidates, seed):
    found = compute_terms(candidates, random_surroundings(candidates, seed))
    assert len(found) == min(LANDMARKS, len({c.landmark for c in candidates}))
    assert set(found) <= {c.landmark for c in candidates}
    for evidence in found.values():
        assert evidence.shape == (len(TERMS),)
        assert np.isfinite(evidence).all()


@given(CANDIDATES, st.integers(0, 2**32))
@settings(deadline=None)
def test_a_landmark_nobody_rivals_has_evidence_too(candidates, seed):
    alone = [replace(c, landmark="a") for c in candidates]
    (evidence,) = compute_terms(alone, random_surroundings(alone, seed)).values()
    assert np.isfinite(evidence).all()


def test_nothing_retrieved_is_no_evidence():
    assert compute_terms([], around([])) == {}


def test_the_likeliest_landmarks_are_weighed_equal_ones_by_id():
    some = [candidate(f"{name}1", 0.5) for name in "gfedcba"] + [candidate("h1", 0.2, 60)]
    assert list(compute_terms(some, around(some))) == ["h", "a", "b", "c", "d"]
