"""The figures of veduta.metrics against numbers worked by hand and a second reading of their definitions."""

import math
from functools import cmp_to_key

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veduta.metrics import (
    Prediction,
    accuracy,
    bootstrap_gap,
    gap,
    mean_average_precision,
    open_set,
    recall_at_k,
)

PHOTOS = "abcdefgh"
NAMES = "xyz"
QUARTERS = [0.0, 0.25, 0.5, 0.75, 1.0]  # few, so that ties are common; and exact


# ---- the definitions, read a second time


def gap_by_definition(truth, predictions, ignored=()):
    def before(p, q):
        """Negative when p comes before q: by confidence downwards, then id, then landmark."""
        if p.confidence != q.confidence:
            return -1 if p.confidence > q.confidence else 1
        if p.id != q.id:
            return -1 if p.id < q.id else 1
        return (p.landmark > q.landmark) - (p.landmark < q.landmark)

    listed = sorted((p for p in predictions if p.id not in ignored), key=cmp_to_key(before))
    total, m = 0.0, sum(1 for landmarks in truth.values() if landmarks)
    for i in range(1, len(listed) + 1):
        rel = listed[i - 1].landmark in truth[listed[i - 1].id]
        right = sum(1 for p in listed[:i] if p.landmark in truth[p.id])
        total += (right / i) * rel
    return total / m


def mean_ap_by_definition(truth, ranked, depth):
    total = 0.0
    for query, relevant in truth.items():
        hits, seen, ap = 0, [], 0.0
        for rank, row in enumerate(ranked.get(query, []), start=1):
            if rank <= depth and row in relevant and row not in seen:
                hits += 1
                ap += hits / rank
            seen.append(row)
        total += ap / min(len(set(relevant)), depth) if hits else 0.0
    return total / len(truth)


def recall_by_definition(truth, ranked, k):
    asked = [q for q in truth if truth[q]]
    return sum(any(row in truth[q] for row in ranked.get(q, [])[:k]) for q in asked) / len(asked)


def split(truth, predictions):
    """The confidences of landmark photos and of distractors, -inf for no prediction."""
    known = {p.id: p.confidence for p in predictions}
    positive = [known.get(photo, -math.inf) for photo in truth if truth[photo]]
    return positive, [known.get(photo, -math.inf) for photo in truth if not truth[photo]]


def auroc_by_pairs(positive, negative):
    won = sum((p > n) + (p == n) / 2 for p in positive for n in negative)
    return won / (len(positive) * len(negative))


def fpr95_by_every_threshold(positive, negative):
    keeping = [t for t in positive if 100 * sum(p >= t for p in positive) >= 95 * len(positive)]
    return sum(n >= max(keeping) for n in negative) / len(negative)


def ece_by_definition(truth, predictions):
    total = 0.0
    for b in range(1, 16):
        rows = [p for p in predictions if (b - 1) / 15 < p.confidence <= b / 15 or (b == 1 and p.confidence == 0)]
        if rows:
            right = sum(p.landmark in truth[p.id] for p in rows) / len(rows)
            mean = sum(p.confidence for p in rows) / len(rows)
            total += len(rows) / len(predictions) * abs(right - mean)
    return total


def bootstrap_by_copying(truth, predictions, resamples, seed, level):
    """Write each resample out as photos with ids of their own, and ask the definition for its GAP."""
    order = [p.id for p in sorted(predictions, key=lambda p: (-p.confidence, p.id))]
    order += sorted(set(truth) - set(order))
    known = {p.id: p for p in predictions}
    rng, gaps = np.random.default_rng(seed), []
    while len(gaps) < resamples:
        drawn = [order[i] for i in rng.integers(len(order), size=len(order))]
        copies = {f"{photo}#{i}": photo for i, photo in enumerate(drawn)}
        if not any(truth[photo] for photo in drawn):
            continue
        guesses = [
            Prediction(copy, known[photo].landmark, known[photo].confidence)
            for copy, photo in copies.items()
            if photo in known
        ]
        gaps.append(gap_by_definition({copy: truth[photo] for copy, photo in copies.items()}, guesses))
    return tuple(np.quantile(gaps, [(1 - level) / 2, (1 + level) / 2]))


# ---- small random cases: ties, several landmarks, distractors, missing predictions, ignored photos


@st.composite
def cases(draw, confidences=QUARTERS):
    """(truth, predictions, ignored), at least one photo showing a landmark."""
    photos = draw(st.permutations(PHOTOS))
    landmarks = st.lists(st.sampled_from(NAMES), max_size=2)
    truth = {photo: draw(landmarks) for photo in photos[: draw(st.integers(1, 6))]}
    truth[photos[0]] = truth[photos[0]] or ["x"]
    ignored = photos[6:]
    answered = draw(st.lists(st.sampled_from([*truth, *ignored]), unique=True))
    guesses = [
        Prediction(photo, draw(st.sampled_from(NAMES)), draw(st.sampled_from(confidences))) for photo in answered
    ]
    return truth, guesses, ignored


@st.composite
def rankings(draw):
    """(truth, ranked), at least one query with something relevant, repeated references included."""
    rows = st.lists(st.sampled_from("rstuv"), max_size=7)
    truth = draw(st.dictionaries(st.sampled_from("pqmn"), rows, min_size=1))
    truth["o"] = ["r"]
    ranked = {query: draw(rows) for query in truth if draw(st.booleans())}
    return truth, ranked


def counted(predictions, ignored):
    return [p for p in predictions if p.id not in ignored]


# ---- GAP


TRUTH = {"a": ["x"], "b": ["y", "z"], "c": [], "d": ["x"], "e": ["z"]}
GUESSES = [
    Prediction("e", "z", 0.2),
    Prediction("c", "x", 0.8),
    Prediction("b", "z", 0.8),
    Prediction("a", "x", 0.9),
    Prediction("d", "y", 0.7),
]


def test_gap_by_hand():
    # a right 1/1; b before c by id, right by its second name 2/2; c distractor; d wrong; e right 3/5. M = 4.
    assert gap(TRUTH, GUESSES) == pytest.approx((1 + 1 + 3 / 5) / 4)


def test_gap_breaks_ties_by_photo_id_as_text():
    # "10" comes before "9", so the distractor "10" takes rank 1 and "9" is right at rank 2.
    assert gap({"9": ["x"], "10": []}, [Prediction("9", "x", 0.5), Prediction("10", "x", 0.5)]) == 0.5


def test_gap_without_predictions_is_zero():
    assert gap(TRUTH, []) == 0.0


def test_gap_skips_ignored_photos_and_their_ranks():
    # Without "i" the list is a right, c wrong: GAP 1/1. Counted, "i" would push a to rank 2.
    guesses = [Prediction("i", "x", 1.0), Prediction("a", "x", 0.9), Prediction("c", "x", 0.8)]
    assert gap({"a": ["x"], "c": []}, guesses, ignored={"i", "j"}) == 1.0


def test_none_against_none_is_not_a_hit():
    # The popular copy of the metric calls "none" on a distractor right: (1/1 + 2/2 + 3/3) / 1 = 3 for these,
    # which is no average. Here any prediction on a distractor is wrong: a is right at rank 3: 1/3.
    truth = {"a": ["x"], "b": [], "c": []}
    guesses = [Prediction("b", "none", 0.9), Prediction("c", "none", 0.8), Prediction("a", "x", 0.7)]
    assert gap(truth, guesses) == pytest.approx(1 / 3)


@given(cases())
def test_gap_is_its_definition(case):
    truth, predictions, ignored = case
    assert gap(*case) == pytest.approx(gap_by_definition(truth, predictions, ignored), abs=1e-12)
    assert 0 <= gap(*case) <= 1


@given(cases(), st.randoms(use_true_random=False))
def test_order_of_the_input_does_not_matter(case, random):
    truth, predictions, ignored = case
    photos, shuffled = list(truth), list(predictions)
    random.shuffle(photos)
    random.shuffle(shuffled)
    other = {photo: truth[photo] for photo in photos}
    assert gap(other, shuffled, ignored) == gap(*case)
    assert bootstrap_gap(other, iter(shuffled), ignored, resamples=5) == bootstrap_gap(*case, resamples=5)
    assert repr(open_set(other, shuffled, 0.5, ignored)) == repr(open_set(truth, predictions, 0.5, ignored))


@given(cases())
def test_a_rising_function_of_confidence_leaves_gap_unchanged(case):
    truth, predictions, ignored = case
    moved = [Prediction(p.id, p.landmark, 3 * p.confidence**3 - 7) for p in predictions]
    assert gap(truth, moved, ignored) == gap(*case)


@given(cases())
def test_removing_a_wrong_prediction_never_lowers_gap(case):
    truth, predictions, ignored = case
    listed = sorted(counted(predictions, ignored), key=lambda p: (-p.confidence, p.id))
    for i, p in enumerate(listed):
        if p.landmark not in truth[p.id]:
            rest = listed[:i] + listed[i + 1 :]
            assert gap(truth, rest) >= gap(truth, listed)
            assert i + 1 < len(listed) or gap(truth, rest) == gap(truth, listed)  # the last one: no change


# ---- what is refused


SCORES = [gap, accuracy, bootstrap_gap, lambda *given: open_set(given[0], given[1], 0.5, *given[2:])]
BAD = {
    "unknown": [Prediction("a", "x", 0.5), Prediction("photo-7", "x", 0.5)],
    "repeated": [Prediction("photo-7", "x", 0.5), Prediction("photo-7", "y", 0.4)],
    "nan": [Prediction("photo-7", "x", math.nan)],
    "infinite": [Prediction("photo-7", "x", -math.inf)],
    "empty": [Prediction("photo-7", "", 0.5)],
}


@pytest.mark.parametrize("score", SCORES, ids=["gap", "accuracy", "bootstrap_gap", "open_set"])
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_prediction_is_named(score, fault):
    truth = {"a": ["x"]} if fault == "unknown" else {"a": ["x"], "photo-7": ["x"]}
    with pytest.raises(ValueError, match="photo-7"):
        score(truth, BAD[fault])


@pytest.mark.parametrize("score", SCORES, ids=["gap", "accuracy", "bootstrap_gap", "open_set"])
def test_a_photo_both_ignored_and_counted_and_a_text_for_a_list_are_refused(score):
    with pytest.raises(ValueError, match="photo-7"):
        score({"photo-7": ["x"]}, [], ["photo-7"])
    with pytest.raises(TypeError, match="photo-7"):  # else landmark "1" would be right for "12"
        score({"photo-7": "12"}, [Prediction("photo-7", "1", 0.5)])


@pytest.mark.parametrize("score", SCORES[:3], ids=["gap", "accuracy", "bootstrap_gap"])
def test_without_a_landmark_there_is_no_score(score):
    with pytest.raises(ValueError, match="at least one"):
        score({"a": []}, [Prediction("a", "x", 0.5)])


def test_a_repeated_ignored_photo_is_still_a_fault():
    with pytest.raises(ValueError, match="'i'"):
        gap({"a": ["x"]}, [Prediction("i", "x", 0.5)] * 2, ignored=["i"])


@pytest.mark.parametrize("score", [mean_average_precision, recall_at_k])
def test_retrieval_faults_are_refused(score):
    with pytest.raises(ValueError, match="query-7"):
        score({"q": ["r"]}, {"query-7": ["r"]}, 5)
    with pytest.raises(TypeError, match="query-7"):
        score({"query-7": ["r"]}, {"query-7": "rst"}, 5)
    with pytest.raises(ValueError, match="at least one"):
        score({}, {}, 5)
    with pytest.raises(ValueError, match="at least one"):
        score({"q": ["r"]}, {}, 0)


def test_recall_without_anything_relevant_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        recall_at_k({"q": []}, {}, 1)


@pytest.mark.parametrize("options", [{"resamples": 0}, {"level": 0.0}, {"level": 1.0}, {"level": math.nan}])
def test_bootstrap_options_are_checked(options):
    with pytest.raises(ValueError, match="expected"):
        bootstrap_gap(TRUTH, GUESSES, **options)


@pytest.mark.parametrize("floor", [math.nan, math.inf, -math.inf])
def test_a_floor_is_finite(floor):
    with pytest.raises(ValueError, match="floor"):
        open_set(TRUTH, GUESSES, floor)


# ---- accuracy, mAP, recall


def test_accuracy_by_hand():
    # Of a, b, d, e only d is wrong; c is a distractor. Without its prediction e is wrong too.
    assert accuracy(TRUTH, GUESSES) == 3 / 4
    assert accuracy(TRUTH, GUESSES[1:]) == 2 / 4


@given(cases())
def test_accuracy_is_its_definition(case):
    truth, predictions, _ = case
    known = {p.id: p.landmark for p in predictions}
    asked = [photo for photo in truth if truth[photo]]
    assert accuracy(*case) == sum(known.get(photo) in truth[photo] for photo in asked) / len(asked)


def test_mean_average_precision_by_hand():
    # q: ranks 2 and 4 of three relevant, (1/2 + 2/4) / 3 = 1/3. p: first rank right, 1. m: unranked, 0.
    truth = {"q": ["r", "s", "t"], "p": ["r"], "m": ["r"]}
    ranked = {"q": ["v", "r", "r", "s"], "p": ["r"]}
    assert mean_average_precision(truth, ranked) == pytest.approx((1 / 3 + 1 + 0) / 3)
    # At depth 2 only the hit at rank 2 is left, of min(3, 2) that could be: (1/2) / 2.
    assert mean_average_precision(truth, ranked, depth=2) == pytest.approx((1 / 4 + 1 + 0) / 3)


def test_mean_average_precision_divides_by_at_most_a_hundred():
    relevant = [str(i) for i in range(150)]
    assert mean_average_precision({"q": relevant}, {"q": relevant}) == pytest.approx(1.0)
    assert mean_average_precision({"q": relevant}, {"q": ["none"] * 100 + relevant}) == 0.0


def test_a_query_with_nothing_relevant_adds_zero_to_the_mean():
    assert mean_average_precision({"q": ["r"], "n": []}, {"q": ["r"], "n": ["r"]}) == 0.5


@given(rankings(), st.integers(1, 8))
def test_retrieval_figures_are_their_definitions(case, depth):
    assert mean_average_precision(*case, depth) == pytest.approx(mean_ap_by_definition(*case, depth), abs=1e-12)
    assert recall_at_k(*case, depth) == recall_by_definition(*case, depth)
    assert recall_at_k(*case, depth) <= recall_at_k(*case, depth + 1)


# ---- open set


def test_open_set_by_hand():
    truth = {"a": ["x"], "b": ["x"], "c": ["x"], "d": [], "e": [], "f": []}
    guesses = [
        Prediction("a", "x", 1.0),  # right, bin 15
        Prediction("b", "y", 0.5),  # wrong, bin 8: (7/15, 8/15]
        Prediction("c", "x", 0.5),  # right, bin 8
        Prediction("d", "x", 0.75),  # wrong, bin 12: (11/15, 12/15]
        Prediction("e", "x", 0.5),  # wrong, bin 8
    ]
    report = open_set(truth, guesses, floor=0.5)
    assert report.distractors_answered == pytest.approx(2 / 3)  # d, and e on the floor; f has no guess
    assert report.landmarks_answered == 1.0
    assert report.fpr95 == pytest.approx(2 / 3)  # all three landmark photos must stay: t = 0.5
    # a beats d, e, f; b and c each lose to d, tie with e, beat f: 3 + 2 * 1.5 of 9 pairs.
    assert report.auroc == pytest.approx(6 / 9)
    # bin 8: 1 right against 1.5 expected; bin 12: 0 against 0.75; bin 15: 1 against 1. n = 5.
    assert report.ece == pytest.approx((0.5 + 0.75 + 0) / 5)


def test_fpr95_keeps_ninety_five_of_a_hundred_landmark_photos():
    truth = {f"p{i}": ["x"] for i in range(1, 101)} | {"low": [], "high": []}
    confidence = {f"p{i}": float(i) for i in range(1, 101)} | {"low": 5.5, "high": 6.0}
    report = open_set(truth, [Prediction(photo, "x", c) for photo, c in confidence.items()], floor=0.5)
    assert report.fpr95 == 0.5  # t = 6, which 6 to 100 pass; "low" does not


def test_fpr95_passes_everything_when_too_many_landmark_photos_have_no_guess():
    assert open_set({"a": ["x"], "b": ["x"], "c": []}, [Prediction("a", "x", 1.0)], 0.5).fpr95 == 1.0


def test_what_is_missing_is_nan():
    no_distractors = open_set({"a": ["x"]}, [Prediction("a", "x", 0.5)], 0.5)
    assert (no_distractors.landmarks_answered, no_distractors.ece) == (1.0, 0.5)
    assert all(map(math.isnan, (no_distractors.distractors_answered, no_distractors.fpr95, no_distractors.auroc)))
    no_landmarks = open_set({"a": []}, [Prediction("a", "x", 0.5)], 0.5)
    assert no_landmarks.distractors_answered == 1.0
    assert all(map(math.isnan, (no_landmarks.landmarks_answered, no_landmarks.fpr95, no_landmarks.auroc)))
    assert math.isnan(open_set({"a": ["x"], "b": []}, [], 0.5).ece)
    assert math.isnan(open_set({"a": ["x"], "b": []}, [Prediction("a", "x", 1.5)], 0.5).ece)  # no probability


@given(cases([0.0, 1 / 15, 0.25, 0.5, 14 / 15, 1.0]), st.sampled_from(QUARTERS))
def test_open_set_figures_are_their_definitions(case, floor):
    truth, predictions, ignored = case
    report = open_set(truth, predictions, floor, ignored)
    rows = counted(predictions, ignored)
    positive, negative = split(truth, rows)
    assert report.landmarks_answered == sum(c >= floor for c in positive) / len(positive)
    if negative:
        assert report.distractors_answered == sum(c >= floor for c in negative) / len(negative)
        assert report.auroc == auroc_by_pairs(positive, negative)
        assert report.fpr95 == fpr95_by_every_threshold(positive, negative)
    if rows:
        assert report.ece == pytest.approx(ece_by_definition(truth, rows), abs=1e-12)


@pytest.mark.parametrize(
    ("sure", "unsure", "ece"),
    [
        (0.42, 0.48, (0.58 + 0.48) / 2),  # 6/15 < 0.42 <= 7/15 < 0.48 <= 8/15: a bin each, though of one tenth
        (0.28, 0.32, abs(1 - 0.28 - 0.32) / 2),  # 4/15 < both <= 5/15: one bin, though of two tenths
        (0.21, 0.26, abs(1 - 0.21 - 0.26) / 2),  # 3/15 < both <= 4/15: one bin, though of two twentieths
    ],
)
def test_the_bins_of_the_calibration_error_are_fifteenths(sure, unsure, ece):
    predictions = [Prediction("a", "x", sure), Prediction("b", "x", unsure)]
    assert open_set({"a": ["x"], "b": ["y"]}, predictions, 0.5).ece == pytest.approx(ece)


@given(
    st.lists(st.sampled_from(range(60)), min_size=1, max_size=60),
    st.lists(st.sampled_from(range(60)), min_size=1),
)
def test_auroc_and_fpr95_of_longer_lists(positive, negative):
    scores = {f"l{i}": c for i, c in enumerate(positive)} | {f"d{i}": c for i, c in enumerate(negative)}
    truth = {photo: ["x"] if photo.startswith("l") else [] for photo in scores}
    report = open_set(truth, [Prediction(photo, "x", c) for photo, c in scores.items()], 0.5)
    assert report.auroc == auroc_by_pairs(positive, negative)
    assert report.fpr95 == fpr95_by_every_threshold(positive, negative)


# ---- the bootstrap


def simulated(n=400, seed=7):
    """A third landmark photos, two thirds of them right, their confidence higher on the whole."""
    rng = np.random.default_rng(seed)
    truth = {f"{i:04}": ["x"] if i % 3 == 0 else [] for i in range(n)}
    right = rng.random(n) < 2 / 3
    sure = rng.normal(size=n) + 1.5 * np.array([bool(names) for names in truth.values()])
    names = ("x" if ok else "y" for ok in right)
    return truth, [Prediction(p, name, float(c)) for p, name, c in zip(truth, names, sure, strict=True)]


@given(cases(), st.integers(0, 99))
def test_bootstrap_is_the_gap_of_written_out_resamples(case, seed):
    truth, predictions, ignored = case
    slow = bootstrap_by_copying(truth, counted(predictions, ignored), resamples=9, seed=seed, level=0.8)
    fast = bootstrap_gap(truth, predictions, ignored, resamples=9, seed=seed, level=0.8)
    assert fast == pytest.approx(slow, abs=1e-12)


def test_bootstrap_of_a_longer_list_is_the_gap_of_written_out_resamples():
    truth, predictions = simulated(100)
    slow = bootstrap_by_copying(truth, predictions[:90], resamples=10, seed=3, level=0.9)
    assert bootstrap_gap(truth, predictions[:90], resamples=10, seed=3, level=0.9) == pytest.approx(slow, abs=1e-12)


def test_bootstrap_holds_the_estimate_and_widens_with_the_level():
    truth, predictions = simulated()
    wide, narrow = (bootstrap_gap(truth, predictions, level=level) for level in (0.95, 0.5))
    assert wide[0] < narrow[0] < gap(truth, predictions) < narrow[1] < wide[1]


def test_bootstrap_is_decided_by_its_seed():
    case = simulated()
    assert bootstrap_gap(*case, resamples=50, seed=1) == bootstrap_gap(*case, resamples=50, seed=1)
    assert bootstrap_gap(*case, resamples=50, seed=1) != bootstrap_gap(*case, resamples=50, seed=2)


def test_bootstrap_of_a_perfect_answer_has_no_width():
    # One landmark among twenty photos: over a third of the resamples miss it and are drawn again.
    truth = {"a": ["x"]} | {f"d{i}": [] for i in range(19)}
    assert bootstrap_gap(truth, [Prediction("a", "x", 1.0)], resamples=50) == (1.0, 1.0)
