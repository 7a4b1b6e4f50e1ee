"""From evidence to an answer: the order, the floor, the position, and the decision that ships."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veduta.decision.answer import (
    DEFAULT_FLOOR,
    MAX_EVIDENCE,
    LandmarkScore,
    decide,
    landmark_votes,
    place_prior,
    rank_candidates,
)
from veduta.decision.candidates import candidate_score
from veduta.decision.model import (
    CASCADES,
    CONTINUE_BETWEEN,
    DEFAULT_EFFORT,
    NUM_VERIFIED,
    CalibratedLogistic,
    HeuristicDecider,
    LearnedDecider,
    shipped_decider,
)
from veduta.decision.terms import TERM_NAMES, TERM_SIGNS
from veduta.errors import GalleryError
from veduta.types import Candidate

SHIPPED = shipped_decider("efficientnet-lite2-landmarks", "xfeat", "nearest")
SIMILARITIES = st.floats(-1, 1)
INLIERS = st.one_of(st.none(), st.integers(0, 300))
CANDIDATES = st.lists(
    st.builds(Candidate, st.text("abc", min_size=1), st.sampled_from("xyz"), SIMILARITIES, INLIERS),
    max_size=30,
    unique_by=lambda c: c.reference,
)
JUDGED = st.lists(
    st.builds(lambda name, p: judgment(name, p), st.sampled_from("xyz"), st.floats(0, 1)),
    min_size=1,
    max_size=3,
    unique_by=lambda j: j.landmark,
)
EVIDENCE_ROWS = st.lists(st.floats(-3, 8), min_size=len(TERM_NAMES), max_size=len(TERM_NAMES)).map(np.array)


def candidate(reference="a", landmark="x", similarity=0.5, num_inliers=None):
    return Candidate(reference, landmark, similarity, num_inliers)


def judgment(landmark, probability):
    return LandmarkScore(landmark, probability, probability, (("base", probability),))


def some_of(judged):
    return [candidate(j.landmark, j.landmark) for j in judged]


# --- the order of candidates


@given(CANDIDATES, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_order_they_came_in(candidates, random):
    shuffled = candidates[:]
    random.shuffle(shuffled)
    assert rank_candidates(shuffled) == rank_candidates(candidates)
    assert list(landmark_votes(shuffled).items()) == list(landmark_votes(candidates).items())


def test_inliers_count_from_what_chance_reaches_to_where_they_say_nothing_new():
    scores = [candidate_score(candidate(similarity=0.25, num_inliers=n)) for n in (None, 0, 5, 35, 65, 1000)]
    assert scores == [0.25, 0.25, 0.25, 0.5, 0.75, 0.75]


def test_the_votes_are_the_best_candidates_and_stand_best_first():
    assert list(
        landmark_votes([candidate("a", "x", 0.25), candidate("b", "y", 0.5), candidate("c", "x", 0.75)]).items()
    ) == [
        ("x", 0.75),
        ("y", 0.5),
    ]


# --- the answer


@given(JUDGED, st.floats(0, 1))
def test_the_answer_is_the_likeliest_landmark_or_none_below_the_floor(judged, floor):
    decision = decide(judged, some_of(judged), floor)
    best = max(j.probability for j in judged)
    assert decision.confidence == best
    assert (decision.landmark is not None) == (best >= floor)
    assert decision.evidence[0].landmark in {j.landmark for j in judged if j.probability == best}


def test_the_default_floor_answers_what_is_rather_right_than_wrong():
    assert DEFAULT_FLOOR == 0.5
    assert decide([judgment("x", 0.5)], [candidate()]).landmark == "x"
    assert decide([judgment("x", 0.49)], [candidate()]).landmark is None


def test_nothing_judged_is_none():
    decision = decide([], [])
    assert (decision.landmark, decision.confidence, decision.evidence, decision.terms) == (None, 0.0, (), ())


def test_equal_landmarks_are_ordered_by_id_and_evidence_begins_with_the_guess():
    many = [candidate(str(i), "x" if i % 2 else "y", 0.5) for i in range(2 * MAX_EVIDENCE)]
    decision = decide([judgment("y", 0.7), judgment("x", 0.7)], many)
    assert decision.landmark == "x"
    assert decision.evidence[0].reference == "1"
    assert len(decision.evidence) == MAX_EVIDENCE


def test_terms_are_told_largest_first_and_without_the_empty_ones():
    judged = replace(judgment("x", 0.9), terms=(("base", 0.5), ("margin", -2.0), ("scale", 0.0)))
    assert decide([judged], [candidate()]).terms == (("margin", -2.0), ("base", 0.5))


# --- the position


@given(JUDGED, st.floats(0, 1), st.dictionaries(st.sampled_from("xyz"), st.floats(-4, 2)))
def test_a_position_never_turns_a_none_into_an_answer(judged, floor, prior):
    without, given_it = (decide(judged, some_of(judged), floor, p) for p in (None, prior))
    if without.landmark is None:
        assert given_it.landmark is None
    visual = {j.landmark: j.probability for j in judged}
    if given_it.landmark is not None:
        assert visual[given_it.landmark] >= floor, "what is answered would have been one without the position"
        assert given_it.confidence >= floor


@pytest.mark.parametrize("probability", [0.2, 0.4, 0.49])
def test_the_nearest_place_does_not_make_an_answer_of_a_guess(probability):
    judged = [judgment("x", probability), judgment("y", 0.1)]
    decision = decide(judged, some_of(judged), 0.5, {"x": place_prior(0.0)})
    assert decision.landmark is None
    assert decision.confidence == pytest.approx(probability)


def test_a_position_chooses_among_landmarks_raises_and_denies():
    judged = [judgment("far", 0.7), judgment("near", 0.6)]
    prior = {"far": place_prior(900), "near": place_prior(0.2)}
    decision = decide(judged, some_of(judged), 0.5, prior)
    assert decision.landmark == "near"
    assert decision.confidence > 0.6
    assert ("position", 2.0) in decision.terms
    assert decide(judged[:1], some_of(judged), 0.5, prior).landmark is None


def test_a_landmark_that_would_be_none_does_not_take_an_answer_away_by_its_place():
    judged = [judgment("x", 0.8), judgment("y", 0.45)]
    decision = decide(judged, some_of(judged), 0.5, {"y": 2.0})
    assert (decision.landmark, decision.confidence) == ("x", 0.8)


@given(st.floats(0, 30000), st.floats(0, 30000))
def test_the_further_the_less_likely(a, b):
    near, far = sorted((a, b))
    assert -4 <= place_prior(far) <= place_prior(near) <= 2


def test_the_place_prior_is_as_documented():
    assert [round(place_prior(km), 3) for km in (0, 0.5, 5, 30, 1000, 20000)] == [2, 2, 1, 0, -4, -4]


# --- stages


@given(EVIDENCE_ROWS, st.integers(0, len(TERM_NAMES) - 1), st.floats(0, 5), st.sampled_from(sorted(SHIPPED.stages)))
@settings(max_examples=300)
def test_more_of_what_speaks_for_a_landmark_never_lowers_its_probability(evidence, term, more, name):
    stage = SHIPPED.stages[name]
    better = evidence.copy()
    better[term] += more * (TERM_SIGNS[term] or 1)
    before, after = (float(stage.probability(stage.score(row))) for row in (evidence, better))
    assert 0 <= before <= 1
    if TERM_SIGNS[term]:
        assert after >= before - 1e-12


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_the_calibration_keeps_the_order(a, b):
    for stage in SHIPPED.stages.values():
        low, high = (float(stage.probability(score)) for score in sorted((a, b)))
        assert 0 <= low <= high <= 1


def test_the_parts_of_a_score_add_up_to_it():
    rng = np.random.default_rng(0)
    for stage in SHIPPED.stages.values():
        evidence = rng.normal(0, 2, (5, len(TERM_NAMES)))
        assert np.allclose(stage.parts(evidence).sum(1) + stage.bias, stage.score(evidence))


@pytest.mark.parametrize("name", sorted(SHIPPED.stages))
def test_what_is_further_from_the_mean_than_anything_learned_from_says_no_more_than_four_deviations(name):
    """One term in a million is beyond five: a photo that is so odd in one way is not to be decided by that alone."""
    stage = SHIPPED.stages[name]
    for sign in (-1, 1):
        scores = [float(stage.score(stage.mean + sign * n * stage.scale)) for n in (3.9, 4, 5, 8.9, 9, 100)]
        assert scores[0] != pytest.approx(scores[1])
        assert scores[2:] == pytest.approx([scores[1]] * 4)


def test_a_beta_calibration_of_one_one_zero_is_the_logistic_curve():
    zeros, ones = np.zeros(len(TERM_NAMES)), np.ones(len(TERM_NAMES))
    stage = CalibratedLogistic(zeros, ones, zeros, 0.0)
    for score in (-50.0, -2.0, 0.0, 3.0, 50.0):
        assert float(stage.probability(score)) == pytest.approx(1 / (1 + math.exp(-score)))


# --- the decision that ships


def test_every_effort_goes_through_stages_there_are():
    assert DEFAULT_EFFORT in CASCADES
    for stages in CASCADES.values():
        assert set(stages) <= set(SHIPPED.stages)
        assert set(stages) <= set(NUM_VERIFIED) & set(CONTINUE_BETWEEN)
    assert set(SHIPPED.curves) == set(CASCADES)


def test_it_has_a_few_hundred_numbers():
    assert sum(np.count_nonzero(stage.weights) + 4 for stage in SHIPPED.stages.values()) < 200
    assert all(stage.weights.shape == (len(TERM_NAMES),) for stage in SHIPPED.stages.values())
    for stage in SHIPPED.stages.values():
        assert (stage.weights * TERM_SIGNS >= 0).all(), "a weight against its term's sign"


def test_it_survives_being_written_and_read():
    again = LearnedDecider.from_bytes(SHIPPED.to_bytes())
    for name, stage in SHIPPED.stages.items():
        assert np.array_equal(again.stages[name].weights, stage.weights)
        assert again.stages[name].calibration == stage.calibration
    assert np.array_equal(again.centers, SHIPPED.centers)
    assert again.metadata == SHIPPED.metadata
    assert again.to_bytes() == SHIPPED.to_bytes()


def test_one_with_other_terms_is_refused():
    with np.load(io.BytesIO(SHIPPED.to_bytes())) as arrays:
        file = io.BytesIO()
        about = str(arrays["metadata"]).replace("margin", "magic")
        np.savez(file, **{**arrays, "metadata": np.array(about)})
    with pytest.raises(GalleryError, match="was calibrated by another Veduta; run 'veduta calibrate --reset'"):
        LearnedDecider.from_bytes(file.getvalue())


@pytest.mark.parametrize("effort", sorted(CASCADES))
def test_more_precision_asks_for_a_higher_floor(effort):
    floors = [SHIPPED.floor_for(precision, effort) for precision in (0.5, 0.8, 0.9, 0.95)]
    assert floors == sorted(floors)
    assert 0 <= floors[0] < floors[-1] < 1
    with pytest.raises(GalleryError, match=r"right 1.000 of the time; the best is right 0.9"):
        SHIPPED.floor_for(1.0, effort)


def test_a_floor_is_the_least_from_which_on_every_one_was_precise_enough():
    """One lucky low floor does not count: above it answers were wrong more often again."""
    curve = np.array([(0.1, 0.5), (0.3, 0.92), (0.5, 0.8), (0.6, 0.9), (0.8, 0.97)])
    decision = replace(SHIPPED, curves={"default": curve})
    assert decision.floor_for(0.9) == 0.6
    assert decision.floor_for(0.8) == 0.3
    assert decision.floor_for(0.4) == 0.1
    assert decision.floor_for(0.95) == 0.8


# --- models no decision was learned for


def test_other_models_have_the_simple_decision_and_say_so():
    simple = shipped_decider("efficientnet-lite2-gem", "rootsift", "nearest")
    assert isinstance(simple, HeuristicDecider)
    assert "veduta calibrate" in simple.metadata["remedy"]
    with pytest.raises(GalleryError, match="veduta calibrate"):
        simple.floor_for(0.95)


def test_the_middle_of_the_simple_curve_is_even_odds_and_it_never_overflows():
    simple = HeuristicDecider()
    assert simple.confidence(0.83) == pytest.approx(0.5)
    assert 0 <= simple.confidence(-1000.0) < 1e-9
    assert 0.99 < simple.confidence(1.5) < 1
    assert math.isclose(simple.confidence(0.83 + 0.1), 1 - simple.confidence(0.83 - 0.1))


def test_many_inliers_outvote_some_similarity():
    seen, alike = candidate("a", "x", 0.55, 60), candidate("b", "y", 0.75, 4)
    assert [j.landmark for j in HeuristicDecider().score_landmarks("full", [alike, seen], None)] == ["x", "y"]
