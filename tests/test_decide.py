"""What may change an answer, and what never does."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veduta.decide import DEFAULT_FLOOR, EVIDENCE, candidate_score, confidence, decide, order, votes
from veduta.types import Candidate

SIMILARITIES = st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 0.75, 1.0]), st.floats(-1, 1))  # ties, and anything
INLIERS = st.one_of(st.none(), st.integers(0, 200))
LANDMARKS = st.sampled_from("xyz")
CANDIDATES = st.lists(st.tuples(LANDMARKS, SIMILARITIES, INLIERS), min_size=1, max_size=25).map(
    lambda rows: [Candidate(f"{i:02}", *row) for i, row in enumerate(rows)]
)


def candidate(reference="a", landmark="x", similarity=0.5, num_inliers=None):
    return Candidate(reference, landmark, similarity, num_inliers)


@given(CANDIDATES, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_changes_nothing(candidates, random):
    shuffled = random.sample(candidates, len(candidates))
    assert decide(shuffled) == decide(candidates)
    assert order(shuffled) == order(candidates)
    assert list(votes(shuffled).items()) == list(votes(candidates).items())


@given(CANDIDATES)
def test_the_evidence_is_what_was_given_the_best_guess_first(candidates):
    decision = decide(candidates, 0.0)
    first, *rest = decision.evidence
    assert first.landmark == decision.landmark
    assert candidate_score(first) == decision.score == max(map(candidate_score, candidates))
    assert len(decision.evidence) == min(len(candidates), EVIDENCE)
    assert set(decision.evidence) <= set(candidates)
    assert rest == [c for c in order(candidates) if c is not first][: EVIDENCE - 1]


@given(CANDIDATES, st.floats(0, 1))
def test_below_the_floor_the_answer_is_none_and_the_guess_is_still_told(candidates, floor):
    free, decision = decide(candidates, 0.0), decide(candidates, floor)
    assert free.landmark is not None
    assert decision.landmark == (free.landmark if free.confidence >= floor else None)
    assert (decision.confidence, decision.score, decision.evidence) == (free.confidence, free.score, free.evidence)


@given(CANDIDATES)
def test_the_confidence_is_a_probability_made_of_the_best_vote(candidates):
    decision = decide(candidates)
    assert 0 <= decision.confidence <= 1
    assert decision.score == max(votes(candidates).values())
    assert decision.confidence == confidence(decision.score)


def test_without_candidates_the_answer_is_none():
    decision = decide([])
    assert (decision.landmark, decision.confidence, decision.evidence) == (None, 0.0, ())


@given(st.floats(-1, 1), st.floats(-1, 1), INLIERS)
def test_more_similarity_never_means_less_confidence(a, b, inliers):
    low, high = (decide([candidate(similarity=s, num_inliers=inliers)]).confidence for s in sorted((a, b)))
    assert low <= high


@given(SIMILARITIES, st.integers(0, 300), st.integers(0, 300))
def test_more_inliers_never_mean_less_confidence(similarity, a, b):
    low, high = (decide([candidate(similarity=similarity, num_inliers=n)]).confidence for n in sorted((a, b)))
    assert low <= high


@given(CANDIDATES, st.data(), st.integers(1, 100))
def test_more_inliers_never_lower_a_landmarks_vote_nor_touch_anothers(candidates, data, more):
    i = data.draw(st.integers(0, len(candidates) - 1))
    lucky = candidates[i]
    better = list(candidates)
    better[i] = replace(lucky, num_inliers=(lucky.num_inliers or 0) + more)
    before, after = votes(candidates), votes(better)
    assert after[lucky.landmark] >= before[lucky.landmark]
    assert {k: v for k, v in after.items() if k != lucky.landmark} == {
        k: v for k, v in before.items() if k != lucky.landmark
    }


def test_inliers_count_from_what_chance_reaches_to_where_they_say_nothing_new():
    scores = [candidate_score(candidate(similarity=0.25, num_inliers=n)) for n in (None, 0, 5, 35, 65, 1000)]
    assert scores == [0.25, 0.25, 0.25, 0.5, 0.75, 0.75]


def test_many_inliers_outvote_some_similarity():
    seen, alike = candidate("a", "x", 0.55, 60), candidate("b", "y", 0.75, 4)
    assert decide([alike, seen]).landmark == "x"


def test_equal_votes_go_to_the_first_landmark_and_reference_by_name():
    equal = [candidate("3", "y"), candidate("2", "x"), candidate("1", "y"), candidate("4", "x")]
    decision = decide(equal, 0.0)
    assert decision.landmark == "x"
    assert [c.reference for c in decision.evidence] == ["2", "1", "3", "4"]


def test_the_votes_are_the_best_candidates_and_stand_best_first():
    assert list(votes([candidate("a", "x", 0.25), candidate("b", "y", 0.5), candidate("c", "x", 0.75)]).items()) == [
        ("x", 0.75),
        ("y", 0.5),
    ]


def test_the_middle_of_the_curve_is_even_odds_and_it_never_overflows():
    assert confidence(0.83) == pytest.approx(0.5)
    assert 0 <= confidence(-1.0) < 1e-9
    assert 0.99 < confidence(1.5) < 1
    assert math.isclose(confidence(0.83 + 0.1), 1 - confidence(0.83 - 0.1))


def test_the_default_floor_answers_what_is_rather_right_than_wrong():
    assert DEFAULT_FLOOR == 0.5
    assert decide([candidate(similarity=0.84)]).landmark == "x"
    assert decide([candidate(similarity=0.82)]).landmark is None


def test_the_floor_itself_is_enough():
    assert decide([candidate(similarity=0.7)], confidence(0.7)).landmark == "x"
    assert decide([candidate(similarity=0.7)], confidence(0.71)).landmark is None
