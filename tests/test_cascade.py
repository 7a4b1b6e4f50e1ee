"""How much work a photo is worth: which stages it goes through, when they end, and what the floor is."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from support import components, world
from support.cli import run, run_json

from veduta.cascade import FINE_PAIRS, CascadeSettings, fine_candidates, stage_of
from veduta.decision.answer import LandmarkScore
from veduta.decision.model import CASCADES, CONTINUE_BETWEEN, NUM_VERIFIED, shipped_decider
from veduta.errors import GalleryError
from veduta.images import from_array
from veduta.index import ExactIndex
from veduta.recognizer import Recognizer, ReferenceSet
from veduta.types import Candidate, Matches

FACADES = 6


@pytest.fixture(scope="module")
def shelf():
    """Two photos each of six facades."""
    photos = {}
    for i in range(FACADES):
        for j, pixels in enumerate((world.facade(i), world.view(world.facade(i), 100 + i, 0.6).pixels)):
            photos[f"{i}-{j}"] = f"palazzo {i}", from_array(pixels)
    return components.references(photos)


@pytest.fixture(scope="module")
def image():
    """A view of the first facade."""
    return from_array(world.view(world.facade(0), 500).pixels, "a view")


class Told:
    """A decision that finds the landmark it was told as likely as it was told at each stage, and notes what is asked.

    Args:
        likely: stage -> probability of its landmark; others have a tenth of it.
    """

    centers, about = np.zeros((0, 0), np.float32), {}

    def __init__(self, **likely):
        self.likely, self.asked, self.fine_inliers = likely, [], []

    def score_landmarks(self, stage, candidates, around):
        self.asked.append((stage, sum(c.num_inliers is not None for c in candidates)))
        self.fine_inliers.append(dict(around.fine_inliers))
        odds = {"palazzo 0": self.likely[stage], "palazzo 1": self.likely[stage] / 10}
        return [LandmarkScore(name, p, p, ()) for name, p in odds.items()]


class Counted:
    """A matcher that finds nothing and counts how often it was asked."""

    name = "counted"

    def __init__(self):
        self.calls = 0

    def match(self, query, reference):
        return self.match_many(query, [reference])[0]

    def match_many(self, query, references):
        self.calls += len(references)
        return [Matches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))] * len(references)


def asking(shelf, decider, effort, glue=None, **rest):
    stages = replace(components.stages(), fine_matcher=glue)
    return Recognizer(stages, shelf, decider, CascadeSettings(CASCADES[effort], **rest))


def untimed(recognition):
    return replace(recognition, seconds=0)


# --- the steps

SIMILARITY, FIRST, FULL = ("similarity", 0), ("first", 8), ("full", 30)
STEPS = {
    ("fast", None): [SIMILARITY, FIRST],
    ("default", None): [SIMILARITY, FIRST, FULL],
    ("thorough", None): [FULL, ("fine", 30)],
    ("thorough", 0): [SIMILARITY],
    ("thorough", 2): [("first", 2), ("fine", 2)],
    ("thorough", 8): [FIRST, ("fine", 8)],
    ("thorough", 20): [("full", 20), ("fine", 20)],
    ("thorough", 30): [FULL, ("fine", 30)],
    ("thorough", 50): [("full", 50), ("fine", 50)],
}
for name in ("fast", "default"):
    STEPS |= {
        (name, 0): [SIMILARITY],
        (name, 2): [SIMILARITY, ("first", 2)],
        (name, 8): [SIMILARITY, FIRST],
        (name, 20): [SIMILARITY, FIRST, ("full", 20)],
        (name, 30): [SIMILARITY, FIRST, FULL],
        (name, 50): [SIMILARITY, FIRST, ("full", 50)],
    }


@pytest.mark.parametrize(("effort", "depth"), STEPS, ids=str)
def test_the_steps_of_an_effort(effort, depth):
    assert CascadeSettings(CASCADES[effort], rerank_depth=depth).steps() == STEPS[effort, depth]


@pytest.mark.parametrize("effort", CASCADES)
def test_the_last_step_verifies_as_many_as_wanted_and_no_step_more(effort):
    for depth in range(60):
        steps = CascadeSettings(CASCADES[effort], rerank_depth=depth).steps()
        assert steps[-1][1] == depth
        assert [most for _, most in steps] == sorted(most for _, most in steps)
        assert len({name for name, _ in steps}) == len(steps)
        assert all(name in NUM_VERIFIED and name in CONTINUE_BETWEEN for name, _ in steps)


def test_the_stage_is_the_one_most_like_what_was_verified():
    for verified, expected in {0: "similarity", 1: "first", 8: "first", 9: "full", 30: "full", 70: "full"}.items():
        some = [Candidate(str(i), "a", 0.5, 0 if i < verified else None) for i in range(100)]
        assert stage_of(some) == expected
        assert stage_of(some[::-1]) == expected


# --- going on while the decision is open


@pytest.mark.parametrize(
    ("effort", "likely", "expected"),
    [
        ("default", {"similarity": 0.005}, [("similarity", 0)]),
        ("default", {"similarity": 1.0, "first": 0.99}, [("similarity", 0), ("first", 8)]),
        ("default", {"similarity": 0.5, "first": 0.01}, [("similarity", 0), ("first", 8)]),
        ("default", {"similarity": 0.5, "first": 0.5, "full": 0.5}, [("similarity", 0), ("first", 8), ("full", 12)]),
        ("fast", {"similarity": 0.5, "first": 0.5}, [("similarity", 0), ("first", 8)]),
        ("thorough", {"full": 0.99}, [("full", 12)]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_stage_is_the_last_when_the_decision_is_closed(shelf, image, effort, likely, expected):
    decider = Told(**likely)
    answer = asking(shelf, decider, effort, Counted()).recognize(image)
    assert decider.asked == expected
    assert answer.confidence == likely[expected[-1][0]]


@pytest.mark.parametrize(("likely", "calls"), [(0.99, 0), (0.97, 0), (0.5, 3), (0.05, 3), (0.04, 0), (0.01, 0)])
def test_the_costlier_matcher_is_asked_only_while_the_decision_is_open(shelf, image, likely, calls):
    glue, decider = Counted(), Told(full=likely, fine=0.6)
    answer = asking(shelf, decider, "thorough", glue).recognize(image)
    assert glue.calls == calls
    assert [stage for stage, _ in decider.asked] == ["full", "fine"][: 2 if calls else 1]
    assert answer.confidence == (0.6 if calls else likely)
    if calls:
        before, after = decider.fine_inliers
        assert (before, sorted(after.values())) == ({}, [0, 0, 0])
        assert sorted(reference[0] for reference in after) == ["0", "0", "1"]


@pytest.mark.parametrize("effort", ["fast", "default"])
def test_other_efforts_never_ask_the_costlier_matcher(shelf, image, effort):
    glue = Counted()
    asking(shelf, Told(similarity=0.5, first=0.5, full=0.5), effort, glue).recognize(image)
    assert glue.calls == 0


def test_without_a_costlier_matcher_a_thorough_answer_is_that_of_the_full_stage(shelf, image):
    decider = Told(full=0.5)
    assert asking(shelf, decider, "thorough").recognize(image).confidence == 0.5
    assert {stage for stage, _ in decider.asked} == {"full"}


def test_the_costlier_matcher_finds_inliers_where_there_are_any(shelf, image):
    recognizer = asking(shelf, Told(full=0.5, fine=0.5), "thorough", components.matcher("lighterglue"))
    recognizer.recognize(image)
    glued = recognizer.decider.fine_inliers[-1]
    (other,) = set(glued) - {"0-0", "0-1"}
    assert min(glued["0-0"], glued["0-1"]) > 40 > 3 * glued[other]


def test_what_has_just_been_removed_is_not_asked_about(shelf, image):
    gone = components.without(shelf, "0-1")
    glue = Counted()
    asking(gone, Told(full=0.5, fine=0.5), "thorough", glue).recognize(image)
    assert glue.calls == 2


def some_of(landmark, *inliers):
    return [Candidate(f"{landmark}{i}", landmark, 0.5, n) for i, n in enumerate(inliers)]


def test_the_best_two_of_the_likeliest_landmark_and_the_best_of_the_next_are_asked_about():
    judged = [LandmarkScore(name, 0.0, 0.5, ()) for name in "bac"]
    candidates = [*some_of("a", 40, 50), *some_of("b", 10, None, 30, 20), *some_of("c", 90)]

    def asked(*given):
        return [candidate.reference for candidate in fine_candidates(*given)]

    assert asked(candidates, judged) == asked(candidates[::-1], judged) == ["b2", "b3", "a1"]
    assert asked(candidates, judged[:1]) == ["b2", "b3"]
    assert asked(some_of("b", 7), judged) == ["b0"]
    assert asked(candidates, []) == []
    assert FINE_PAIRS == 2


# --- the budget


@pytest.mark.parametrize("effort", CASCADES)
def test_without_any_time_there_is_an_answer_and_nothing_is_verified(shelf, image, effort):
    glue = Counted()
    decider = shipped_decider("efficientnet-lite2-landmarks", "xfeat", "nearest")
    answer = asking(shelf, decider, effort, glue, budget_ms=0).recognize(image)
    assert answer.evidence
    assert all(candidate.num_inliers is None for candidate in answer.evidence)
    assert glue.calls == 0
    assert 0 < answer.confidence < 1


@pytest.mark.parametrize("effort", CASCADES)
def test_what_was_not_verified_for_want_of_time_is_judged_by_the_stage_it_is_like(shelf, image, effort):
    decider = Told(similarity=0.5, first=0.5, full=0.5, fine=0.5)
    asking(shelf, decider, effort, Counted(), budget_ms=0).recognize(image)
    assert decider.asked == [("similarity", 0)]


@pytest.mark.parametrize("effort", CASCADES)
def test_a_generous_budget_changes_nothing(shelf, image, effort):
    decider = shipped_decider("efficientnet-lite2-landmarks", "xfeat", "nearest")
    patient = asking(shelf, decider, effort).recognize(image)
    hasty = asking(shelf, decider, effort, budget_ms=1e9).recognize(image)
    assert untimed(patient) == untimed(hasty)


def test_what_was_spent_before_counts(shelf, image):
    recognizer = asking(shelf, Told(similarity=0.5, first=0.5, full=0.5), "default", budget_ms=1e6)
    recognizer.recognize(image, spent=0.0)
    assert [stage for stage, _ in recognizer.decider.asked] == ["similarity", "first", "full"]
    recognizer.decider.asked.clear()
    recognizer.recognize(image, spent=1001.0)
    assert [stage for stage, _ in recognizer.decider.asked] == ["similarity"]


def test_verifying_ends_with_the_time_and_goes_on_where_it_was(shelf, image):
    recognizer = components.recognizer(shelf)
    features, candidates = recognizer.extract(image), recognizer.retrieve(recognizer.embed(image))
    assert recognizer.verify(features, candidates, 5, until=0.0) == candidates
    some = recognizer.verify(features, candidates, 2)
    asked = Counted()
    other = asking(shelf, recognizer.decider, "default")
    other.components = replace(other.components, matcher=asked)
    assert other.verify(features, some, 5)[:2] == some[:2]
    assert asked.calls == 3


# --- landmarks withheld


def test_a_landmark_may_be_withheld(shelf, image):
    recognizer = components.recognizer(shelf, depth=4)
    descriptor = recognizer.embed(image)
    everything = components.recognizer(shelf).retrieve(descriptor)
    nearest = everything[0].landmark
    found = recognizer.retrieve(descriptor, without={nearest})
    assert found == [c for c in everything if c.landmark != nearest][:4]
    assert len(found) == 4


def test_withholding_most_of_a_gallery_leaves_as_many_as_there_are():
    landmarks = ["many"] * 40 + ["one", "two"]
    index = ExactIndex(3)
    index.add(np.arange(42), np.array([[1, 0, 0]] * 40 + [[0.6, 0.8, 0]] * 2, np.float32))
    labels = {i: (f"{i:02}", landmark) for i, landmark in enumerate(landmarks)}
    shelf = ReferenceSet(index, lambda numbers: labels, {}, components.among({}), Counter(landmarks))
    recognizer = components.recognizer(shelf, depth=2)
    descriptor = np.array([1, 0, 0], np.float32)
    assert [c.reference for c in recognizer.retrieve(descriptor)] == ["00", "01"]
    assert [c.reference for c in recognizer.retrieve(descriptor, without=["many"])] == ["40", "41"]
    assert recognizer.retrieve(descriptor, without=["many", "one", "two", "none such"]) == []


# --- a gallery's options


def test_an_effort_nobody_knows_is_refused(gallery):
    with pytest.raises(ValueError, match="effort: expected one of fast, default, thorough, got 'lazy'"):
        gallery.recognizer(effort="lazy")


def test_a_precision_and_a_floor_together_are_refused(gallery):
    with pytest.raises(ValueError, match="expected a precision or a floor, got both"):
        gallery.recognizer(precision=0.9, floor=0.5)


@pytest.mark.parametrize("effort", CASCADES)
def test_a_precision_chooses_the_floor_the_decision_measured(gallery, effort):
    recognizer = gallery.recognizer(effort=effort, precision=0.9)
    assert recognizer.floor == gallery.decider().floor_for(0.9, effort)
    assert recognizer.cascade.stages == CASCADES[effort]
    assert gallery.recognizer(effort=effort).floor == 0.5
    assert gallery.recognizer(effort=effort, floor=0.0).floor == 0.0


def test_a_precision_nobody_reached_is_refused(gallery):
    with pytest.raises(GalleryError, match=r"right 1.000 of the time"):
        gallery.recognizer(precision=1.0)
    with pytest.raises(GalleryError, match="was never measured for these models; run 'veduta calibrate' first"):
        gallery.recognizer(precision=0.9, matcher="lighterglue")


@pytest.mark.parametrize(
    ("options", "glue"),
    [({}, False), ({"effort": "thorough"}, True), ({"effort": "thorough", "matcher": "lighterglue"}, False)],
)
def test_only_a_thorough_recognizer_has_a_costlier_matcher(gallery, options, glue):
    assert (gallery.recognizer(**options).components.fine_matcher is not None) == glue


@pytest.mark.parametrize("effort", CASCADES)
def test_every_effort_recognizes_a_view(gallery, view, effort):
    (answer,) = gallery.recognize([view], effort=effort)
    assert answer.landmark.id == "palazzo-0"
    assert answer.confidence > 0.9


# --- the command line


def test_the_options_of_an_effort_reach_the_library(built, view, distractors):
    options = ("--effort", "fast", "--budget-ms", "60000", "--precision", "0.9", "--no-gps")
    known, none = run_json("recognize", built, view, distractors[0], *options)
    assert known["landmark"]["id"] == "palazzo-0"
    assert sum(c["num_inliers"] is not None for c in known["evidence"]) == 8
    assert none["landmark"] is None


def test_a_budget_of_nothing_verifies_nothing(built, view):
    (answer,) = run_json("recognize", built, view, "--budget-ms", "0")
    assert answer["evidence"]
    assert all(c["num_inliers"] is None for c in answer["evidence"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", ".9", "--floor", ".5"], "give either --precision or --floor"),
        (["--effort", "lazy"], "--effort"),
        (["--budget-ms", "-1"], "--budget-ms"),
        (["--precision", "1.5"], "--precision"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("command", [["recognize"], ["explain", "--out", "why"]], ids=lambda words: words[0])
def test_options_that_make_no_sense_end_with_2(command, options, words, built, view, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    result = run(*command, built, view, *options, code=2)
    assert words in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "why").exists()
