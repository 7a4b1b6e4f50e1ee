"""What is learned from photos: the whitening, the decision, and the cases it is learned from."""

import contextlib
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import components, world

from veduta.decision.candidates import CHANCE_INLIERS, INLIER_WEIGHT, SATURATED_INLIERS
from veduta.decision.model import CASCADES, CONTINUE_BETWEEN, NUM_VERIFIED, CalibratedLogistic, LearnedDecider
from veduta.decision.terms import TERM_NAMES, TERM_SIGNS, compute_terms
from veduta.gallery import Gallery
from veduta.gallery.match_graph import MAX_KEYPOINTS
from veduta.gallery.store import Store, pack_features, unpack_features
from veduta.geometry import HomographyVerifier
from veduta.images import from_array, load
from veduta.training.decision import fit
from veduta.training.decision.examples import (
    Photo,
    PhotoCollection,
    distractor_centers,
    make_example,
    two_fold_split,
    with_fine_matches,
)
from veduta.training.decision.fit import (
    ANSWERS,
    FLOORS,
    FOLDS,
    Example,
    answer_example,
    fold_of,
    held_out_answers,
    learn_decider,
    precision_curve,
    recalibrate,
)
from veduta.training.decision.regression import FINE_TERMS, GEOMETRY
from veduta.training.decision.ship import fit_heuristic
from veduta.training.descriptor.model import whitening
from veduta.types import Candidate

# --- whitening --------------------------------------------------------------------------------------------------


def correlated(n=2000, dim=12, seed=0):
    """Descriptors that vary a lot along some directions and hardly along others."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dim, dim)) * np.geomspace(1, 0.01, dim)
    return (rng.normal(size=(n, dim)) @ mixing.T + rng.normal(size=dim)).astype(np.float32)


@pytest.mark.parametrize("dim", [12, 5])
def test_whitened_descriptors_vary_equally_in_all_directions(dim):
    descriptors = correlated()
    mean, projection = whitening.learn_whitening(descriptors, dim, shrinkage=0)
    assert (mean.shape, projection.shape) == ((12,), (12, dim))
    projected = (descriptors - mean) @ projection
    assert np.abs(projected.mean(0)).max() < 1e-4
    np.testing.assert_allclose(np.cov(projected, rowvar=False), np.eye(dim), atol=2e-3)


def test_others_like_them_are_nearly_white_too():
    mean, projection = whitening.learn_whitening(correlated(20_000)[:10_000], 12, shrinkage=0)
    projected = (correlated(20_000)[10_000:] - mean) @ projection
    np.testing.assert_allclose(np.cov(projected, rowvar=False), np.eye(12), atol=0.1)


def test_shrinkage_keeps_what_hardly_varies_from_being_blown_up():
    descriptors = correlated()
    mean, projection = whitening.learn_whitening(descriptors, 12, shrinkage=2.0)
    spread = ((descriptors - mean) @ projection).std(0)
    assert (np.diff(spread) < 0).all(), "what varies most still does"
    assert spread[0] < 1 / np.sqrt(1 + 2 / 12) + 1e-3
    assert np.linalg.norm(projection, axis=0).max() <= 1 / np.sqrt(2 * descriptors.var(0).mean()) + 1e-6


def test_the_directions_have_the_same_sign_whatever_the_solver_says():
    descriptors = correlated()
    mean, projection = whitening.learn_whitening(descriptors, 12)
    opposite_mean, opposite = whitening.learn_whitening(-descriptors, 12)
    np.testing.assert_allclose(opposite_mean, -mean)
    np.testing.assert_allclose(opposite, projection, atol=1e-9)
    assert (np.abs(projection).max(0) == projection.max(0)).all()


@pytest.mark.parametrize(("n", "dim"), [(0, 4), (1, 4), (50, 13)])
def test_too_few_descriptors_or_directions_are_refused(n, dim):
    with pytest.raises(ValueError, match="expected at least 2 descriptors of length"):
        whitening.learn_whitening(correlated()[:n], dim)


def test_whitening_brings_to_norm_one():
    descriptors = correlated()
    found = whitening.whiten(descriptors, *whitening.learn_whitening(descriptors, 5))
    assert found.dtype == np.float32
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5
    mean = np.ones(12, np.float32)
    assert np.isfinite(whitening.whiten(mean[None], mean, np.eye(12))).all(), "also where nothing is left"


# --- synthetic cases --------------------------------------------------------------------------------------------

SIMILARITY, MARGIN = TERM_NAMES.index("similarity"), TERM_NAMES.index("inlier margin")
GROUPS = 100


def synthetic(n=2000, seed=0, fine_inliers=0.0):
    """Cases of 100 landmarks, three in five known, in which similarity and inlier margin say which guess is right."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(n):
        group, known = f"l{i % GROUPS}", rng.random() < 0.6
        names = [group if known else f"m{i % 7}", f"x{i % 11}"]
        rows = rng.normal(0, 1, (2, len(TERM_NAMES)))
        rows[:, SIMILARITY] = rng.normal(np.where([known, False], 0.6, 0.4), 0.1)
        rows[:, MARGIN] = rng.normal(np.where([known, False], 1.5, -0.5), 1)
        order = np.argsort(-rows[:, SIMILARITY])
        landmarks, evidence = tuple(names[k] for k in order), rows[order]
        stages = ["similarity", "first", "full"] + ["fine"] * bool(rng.random() < fine_inliers)
        cases.append(
            Example(
                query=str(i),
                group=group,
                truth=frozenset([group] if known else []),
                landmarks={"fine": ()} | dict.fromkeys(stages, landmarks),
                evidence={"fine": np.zeros((0, len(TERM_NAMES)))} | dict.fromkeys(stages, evidence),
            )
        )
    return cases


NOTHING = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def cases():
    return synthetic()


@pytest.fixture(scope="module")
def learned(cases):
    """A decision learned from the cases, and those of the folds."""
    return learn_decider(cases, NOTHING, {"source": "drawn"})


def calibration_error(answers):
    """Mean distance between how sure answers are and how often they are right, over ten bins of confidence."""
    confidence, right = (np.array([getattr(a, k) for a in answers], float) for k in ("confidence", "right"))
    number = np.minimum((confidence * 10).astype(int), 9)
    bins = [number == k for k in range(10) if (number == k).any()]
    return sum(abs(confidence[b].mean() - right[b].mean()) * b.mean() for b in bins)


def accuracy(answers):
    return np.mean([(a.confidence >= 0.5) == a.right for a in answers])


# --- learning a decision


def test_every_weight_has_its_terms_sign(learned):
    decision, parts = learned
    for each in (decision, *parts):
        assert set(each.stages) == {"similarity", "first", "full", "fine"}
        for stage in each.stages.values():
            assert (stage.weights * TERM_SIGNS >= 0).all()
            assert np.isfinite(stage.weights).all()
            assert stage.calibration[0] > 0 < stage.calibration[1]


def test_what_matters_has_the_largest_weights(learned):
    weights = learned[0].stages["full"].weights
    largest = np.argsort(-np.abs(weights))[:2]
    assert {TERM_NAMES[i] for i in largest} == {"similarity", "inlier margin"}


def test_from_similarities_alone_no_geometry_is_weighed_and_without_glue_no_glue(learned):
    for each in (learned[0], *learned[1]):
        assert not each.stages["similarity"].weights[GEOMETRY:].any()
        for name in ("similarity", "first", "full"):
            assert not any(each.stages[name].weights[TERM_NAMES.index(term)] for term in FINE_TERMS)
        assert each.stages["fine"] is each.stages["full"], "nobody asked the costlier matcher"


def test_confidences_are_as_often_right_as_they_say(cases, learned):
    for effort in CASCADES:
        answers = held_out_answers(cases, learned[1], effort)
        assert calibration_error(answers) < 0.05
        assert accuracy(answers) > 0.85
        fresh = [answer_example(case, learned[0], effort) for case in synthetic(1000, seed=1)]
        assert calibration_error(fresh) < 0.06


def test_the_precision_is_that_of_the_held_out_answers(cases, learned):
    decision, parts = learned
    assert set(decision.curves) == set(CASCADES)
    for effort, curve in decision.curves.items():
        answers = held_out_answers(cases, parts, effort)
        columns = (np.array([getattr(a, k) for a in answers]) for k in ("confidence", "right"))
        assert np.array_equal(curve, precision_curve(*columns, np.ones(len(cases))))
    floor = decision.floor_for(0.95)
    answered = [a for a in held_out_answers(cases, parts, "default") if a.confidence >= floor]
    assert np.mean([a.right for a in answered]) >= 0.95
    assert decision.metadata == {"source": "drawn"}


def test_glue_is_weighed_where_it_was_asked():
    asked = synthetic(600, fine_inliers=0.5)
    decision, _ = learn_decider(asked, NOTHING)
    assert decision.stages["fine"] is not decision.stages["full"]
    assert all(decision.stages["fine"].weights[TERM_NAMES.index(term)] >= 0 for term in FINE_TERMS)
    assert decision.stages["fine"].weights[MARGIN] > 0


def test_a_term_left_out_has_no_weight():
    decision, parts = learn_decider(synthetic(500), NOTHING, without=["similarity", "perspective"])
    for each in (decision, *parts):
        for stage in each.stages.values():
            assert stage.weights[SIMILARITY] == stage.weights[TERM_NAMES.index("perspective")] == 0
    assert decision.stages["full"].weights[MARGIN] > 0


@pytest.mark.parametrize("known", [True, False])
def test_cases_of_one_kind_teach_nothing(cases, learned, known):
    one_kind = [case for case in cases if bool(case.truth & set(case.landmarks["full"][:1])) == known]
    for teach in (lambda: learn_decider(one_kind, NOTHING), lambda: recalibrate(learned[0], one_kind)):
        with pytest.raises(ValueError, match="expected photos that show a landmark of the gallery and photos that"):
            teach()


def test_no_cases_teach_nothing():
    with pytest.raises(ValueError, match="expected photos that show a landmark"):
        learn_decider([], NOTHING)


def adversarial(cases, group):
    """The cases with those of one group turned into their opposite, and lying evidence."""
    return [
        case
        if case.group != group
        else replace(
            case,
            truth=frozenset() if case.truth else frozenset(case.landmarks["full"][:1]),
            evidence={stage: -50 * evidence for stage, evidence in case.evidence.items()},
        )
        for case in cases
    ]


def test_a_fold_does_not_learn_from_its_own_groups(cases):
    some, group = cases[:700], "l3"
    own = fold_of(group)
    _, before = learn_decider(some, NOTHING)
    _, after = learn_decider(adversarial(some, group), NOTHING)
    for k in range(FOLDS):
        for name in ("similarity", "first", "full"):
            a, b = before[k].stages[name], after[k].stages[name]
            same = np.array_equal(a.weights, b.weights) and a.bias == b.bias and np.array_equal(a.scale, b.scale)
            assert same == (k == own)


def spied(case):
    """The case with a landmark of its own as its likeliest, and wrong, guess."""
    return replace(
        case, landmarks={stage: ("spy", *names[1:]) if names else () for stage, names in case.landmarks.items()}
    )


def test_a_landmark_is_not_learned_from_as_a_wrong_guess_either(cases):
    some = [spied(c) if i % 50 == 0 else c for i, c in enumerate(cases[:700])]
    lying = [
        replace(c, evidence={k: -50 * e for k, e in c.evidence.items()}) if "spy" in c.landmarks["full"] else c
        for c in some
    ]
    own = fold_of("spy")
    before, after = (learn_decider(each, NOTHING)[1] for each in (some, lying))
    for name in ("similarity", "first", "full"):
        assert np.array_equal(before[own].stages[name].weights, after[own].stages[name].weights)
        other = (own + 1) % FOLDS
        assert not np.array_equal(before[other].stages[name].weights, after[other].stages[name].weights)


def test_folds_are_of_groups_and_stay_what_they_are():
    assert [fold_of(name) for name in ("colosseum", "duomo", "東京")] == [4, 0, 4]
    assert {fold_of(f"l{i}") for i in range(GROUPS)} == set(range(FOLDS))


def test_a_case_that_weighs_nothing_teaches_nothing(cases):
    some = cases[:400]
    silent = [replace(case, weight=0.0) for case in adversarial(some, "l3") if case.group == "l3"]
    with_them, without = (
        learn_decider(each, NOTHING)[0].stages["full"]
        for each in ([c for c in some if c.group != "l3"] + silent, [c for c in some if c.group != "l3"])
    )
    np.testing.assert_allclose(with_them.weights, without.weights, atol=1e-3)


# --- calibrating again


def test_a_distorted_calibration_is_put_right(cases, learned):
    distorted = replace(
        learned[0], stages={k: replace(s, calibration=(0.2, 0.3, 1.5)) for k, s in learned[0].stages.items()}
    )
    fixed, parts = recalibrate(distorted, cases)
    wrong = [answer_example(case, distorted, "default") for case in cases]
    held_out = held_out_answers(cases, parts, "default")
    assert calibration_error(wrong) > 0.12
    assert calibration_error(held_out) < 0.05
    fresh = synthetic(1000, seed=2)
    assert calibration_error([answer_example(case, fixed, "default") for case in fresh]) < 0.06
    for name, stage in fixed.stages.items():
        assert np.array_equal(stage.weights, learned[0].stages[name].weights)
        assert stage.calibration[0] >= 0.05 <= stage.calibration[1]


def test_a_good_calibration_stays_about_as_it_is(cases, learned):
    again, _ = recalibrate(learned[0], cases)
    for effort in CASCADES:
        pairs = [
            (answer_example(case, learned[0], effort), answer_example(case, again, effort)) for case in cases[:200]
        ]
        assert np.mean([abs(a.confidence - b.confidence) for a, b in pairs]) < 0.03


def test_the_calibration_of_a_fold_does_not_see_its_own_groups(cases, learned):
    some, group = cases[:700], "l3"
    flipped = [replace(c, truth=frozenset() if c.truth else frozenset(["l3"])) if c.group == group else c for c in some]
    before, after = recalibrate(learned[0], some)[1], recalibrate(learned[0], flipped)[1]
    for k in range(FOLDS):
        same = [before[k].stages[name].calibration == after[k].stages[name].calibration for name in ("first", "full")]
        assert same == [k == fold_of(group)] * 2


# --- the precision at each floor

ANSWERED = st.lists(
    st.tuples(st.one_of(st.floats(0, 1), st.sampled_from((0.5, 0.9))), st.booleans(), st.sampled_from((0.5, 1.0, 3.0))),
    max_size=120,
)


def recount(answers):
    """Floor -> share right, by looking at every answer again for every floor."""
    curve, last = [], 0.0
    for floor in FLOORS:
        above = [(right, weight) for confidence, right, weight in answers if confidence >= floor]
        if len(above) >= ANSWERS:
            last = sum(weight for right, weight in above if right) / sum(weight for _, weight in above)
        curve.append(max([last, *curve]))
    return curve


@given(ANSWERED)
@settings(deadline=None)
def test_the_precision_never_falls_and_is_what_a_recount_gives(answers):
    columns = [np.array([a[i] for a in answers], kind) for i, kind in enumerate((float, bool, float))]
    found = precision_curve(*columns)
    assert np.array_equal(found[:, 0], FLOORS)
    assert (np.diff(found[:, 1]) >= 0).all()
    np.testing.assert_allclose(found[:, 1], recount(answers))


def test_a_few_sure_answers_say_nothing_of_a_high_floor():
    confidence = np.r_[np.full(100, 0.3), np.full(ANSWERS - 1, 0.95)]
    right = np.r_[np.arange(100) % 2 == 0, np.ones(ANSWERS - 1, bool)]
    curve = precision_curve(confidence, right, np.ones(len(confidence)))[:, 1]
    assert curve.max() == pytest.approx((50 + ANSWERS - 1) / (100 + ANSWERS - 1))


# --- what a decision says of a case


def surely(**probabilities):
    """A decision that is as sure as it is told at each stage, whatever the evidence of the first landmark."""
    zeros, ones = np.zeros(len(TERM_NAMES)), np.ones(len(TERM_NAMES))
    weights = zeros.copy()
    weights[0] = 1.0  # so that the first landmark, whose evidence is 0, is ahead of others, of -1
    stages = {
        name: CalibratedLogistic(zeros, ones, weights, float(np.log(p / (1 - p)))) for name, p in probabilities.items()
    }
    return LearnedDecider(stages, NOTHING, {}, {})


def plain(truth=(), **landmarks):
    """A case in which the first of a stage's landmarks is the likeliest."""
    found = dict.fromkeys(("similarity", "first", "full"), ("a", "b")) | {"fine": ()} | landmarks
    evidence = {stage: np.zeros((len(names), len(TERM_NAMES))) for stage, names in found.items()}
    for rows in evidence.values():
        rows[1:, 0] = -1
    return Example("q", "a", frozenset(truth), found, evidence)


@pytest.mark.parametrize(
    ("effort", "probabilities", "stage"),
    [
        ("default", {"similarity": 0.005}, "similarity"),
        ("default", {"similarity": 0.999, "first": 0.99}, "first"),
        ("default", {"similarity": 0.5, "first": 0.015}, "first"),
        ("default", {"similarity": 0.5, "first": 0.5, "full": 0.5}, "full"),
        ("fast", {"similarity": 0.5, "first": 0.5}, "first"),
        ("thorough", {"full": 0.98}, "full"),
        ("thorough", {"full": 0.5}, "full"),
    ],
    ids=str,
)
def test_an_answer_goes_on_while_the_decision_is_open(effort, probabilities, stage):
    found = answer_example(plain("a"), surely(**probabilities), effort)
    assert (found.stage, found.landmark, found.right) == (stage, "a", True)
    assert found.confidence == pytest.approx(probabilities[stage])
    low, high = CONTINUE_BETWEEN[stage]
    assert stage == CASCADES[effort][-1] or effort == "thorough" or not low < found.confidence < high


def test_an_answer_asks_the_costlier_matcher_where_the_case_has_it():
    decision = surely(full=0.5, fine=0.8)
    found = answer_example(plain("b", fine=("b", "a")), decision, "thorough")
    assert (found.stage, found.landmark, found.right) == ("fine", "b", True)
    assert answer_example(plain("b", fine=("b", "a")), surely(full=0.98, fine=0.8), "thorough").stage == "full"


def test_an_answer_may_be_wrong_and_is_for_what_shows_none():
    decision = surely(similarity=0.5, first=0.5, full=0.5)
    assert not answer_example(plain("b"), decision, "default").right
    assert not answer_example(plain(), decision, "default").right


def test_without_candidates_there_is_no_guess():
    nothing = plain("a", similarity=(), first=(), full=())
    found = answer_example(nothing, surely(similarity=0.5), "default")
    assert (found.landmark, found.confidence, found.right, found.stage) == (None, 0.0, False, "")


def test_equally_likely_landmarks_are_answered_by_id():
    case = plain("a")
    same = replace(
        case, landmarks=dict.fromkeys(case.landmarks, ("b", "a")), evidence={k: 0 * e for k, e in case.evidence.items()}
    )
    assert answer_example(same, surely(similarity=0.5, first=0.99), "default").landmark == "a"


def test_the_simple_curve_is_found_again():
    rng = np.random.default_rng(0)
    made = []
    for i in range(4000):
        rows = np.zeros((1, len(TERM_NAMES)))
        similarity, inliers = rng.uniform(0, 1), int(rng.integers(0, 80))
        rows[0, SIMILARITY], rows[0, TERM_NAMES.index("inliers")] = similarity, np.log1p(inliers)
        score = similarity + INLIER_WEIGHT * np.clip(inliers - CHANCE_INLIERS, 0, SATURATED_INLIERS) / SATURATED_INLIERS
        right = rng.random() < 1 / (1 + np.exp(-12 * (score - 0.7)))
        made.append(Example(str(i), "a", frozenset("a" if right else ""), {"full": ("a",)}, {"full": rows}))
    assert fit_heuristic(made) == pytest.approx((12, 0.7), rel=0.08)


# --- cases ------------------------------------------------------------------------------------------------------

LANDMARKS = 3


def kept(features):
    """Local features as a gallery keeps them."""
    return unpack_features(pack_features(features))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three photos each of three facades. Read only."""
    return world.build(tmp_path_factory.mktemp("cases"), LANDMARKS, 3)


def gallery_of(folder, path, without=()):
    """A gallery of a folder's photos, open; of so few keypoints a photo that none is dropped."""
    gallery = Gallery.create(path, max_keypoints=256)
    for photo in sorted(folder.rglob("*.jpg")):
        id = photo.relative_to(folder).as_posix()
        if id not in without:
            gallery.add_photo(photo, photo.parent.name, id)
    return gallery


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """A gallery of all the photos. Read only."""
    with gallery_of(folder, tmp_path_factory.mktemp("whole") / "gallery") as gallery:
        yield gallery


@pytest.fixture(scope="module")
def asked():
    """(photo, landmark or nothing, image) of queries the gallery has not."""
    known = [(f"q{i}", f"palazzo-{i}", world.view(world.facade(i), 900 + i).pixels) for i in range(LANDMARKS)]
    unknown = [("stranger", "", world.view(world.facade(50), 9).pixels), ("blobs", "", world.distractor(3))]
    return [(name, landmark, from_array(pixels)) for name, landmark, pixels in known + unknown]


def collect(gallery, asked=()):
    """A gallery's photos as a collection, references first, by id, then queries; all descriptors; the references."""
    recognizer = gallery.recognizer()
    with contextlib.closing(Store.open(gallery.info().path)) as store:
        rows, vectors = store.rows.after()
        labels = [store.rows.labels([row])[row] for row in rows.tolist()]
    photos = [Photo(r.id, r.landmark, kept(recognizer.extract(load(r.photo)))) for r in gallery.references()]
    photos += [Photo(name, landmark, recognizer.extract(image)) for name, landmark, image in asked]
    embedded = [vectors[np.argsort([id for id, _ in labels])], *(recognizer.embed(image)[None] for *_, image in asked)]
    descriptors, references = np.concatenate(embedded), np.arange(len(labels))
    matcher, verifier = components.matcher("nearest"), HomographyVerifier()
    return PhotoCollection(photos, matcher, verifier, descriptors, references), descriptors, references


@pytest.fixture(scope="module")
def collected(whole, asked):
    return collect(whole, asked)


def numbers_of(collection, *ids):
    return np.array([i for i, photo in enumerate(collection.photos) if photo.id in ids])


def check_agreement(case, recognizer, features, descriptor):
    """Compare a case with what a recognizer sees and weighs at every stage."""
    found = recognizer.retrieve(descriptor)
    around = recognizer.context(descriptor, found)
    for stage in ("similarity", "first", "full"):
        weighed = compute_terms(recognizer.verify(features, found, NUM_VERIFIED[stage]), around)
        assert case.landmarks[stage] == tuple(weighed)
        np.testing.assert_allclose(case.evidence[stage], list(weighed.values()), atol=1e-3, err_msg=stage)


def test_a_case_is_what_a_gallery_would_decide_from(whole, collected, asked):
    collection, descriptors, references = collected
    recognizer = whole.recognizer()
    queries = np.arange(len(references), len(collection.photos))
    cases = collection.cases(descriptors, references, queries, recognizer.decider.centers)
    assert [case.query for case in cases] == [name for name, _, _ in asked]
    for case, number, (name, landmark, _) in zip(cases, queries, asked, strict=True):
        assert case.truth == frozenset([landmark] if landmark else [])
        assert case.group == (landmark or name)
        check_agreement(case, recognizer, collection.photos[number].features, descriptors[number])


def test_the_candidates_and_their_inliers_are_those_of_a_gallery(whole, collected):
    collection, descriptors, references = collected
    recognizer = whole.recognizer()
    for number in range(len(references), len(collection.photos)):
        found = recognizer.retrieve(descriptors[number])
        assert {c.reference for c in found} == {collection.photos[i].id for i in references}
        for candidate in recognizer.verify(collection.photos[number].features, found):
            (place,) = numbers_of(collection, candidate.reference).tolist()
            inliers, geometry = collection.pair(number, place)
            assert inliers == candidate.num_inliers
            assert geometry.keypoints == candidate.geometry.keypoints
            assert geometry.num_confirmed == candidate.geometry.num_confirmed


def test_where_keypoints_are_dropped_those_kept_are_about_those_a_gallery_keeps(folder, asked, tmp_path):
    with Gallery.create(tmp_path / "gallery") as gallery:
        for photo in sorted((folder / "palazzo-0").iterdir()):
            gallery.add_photo(photo, "palazzo-0", photo.name)
        collection, descriptors, references = collect(gallery, asked[:1])
        recognizer, query = gallery.recognizer(), len(references)
        found = recognizer.verify(collection.photos[query].features, recognizer.retrieve(descriptors[query]))
        for candidate in found:
            assert len(recognizer.references.features([candidate.row_id])[candidate.row_id][0]) == MAX_KEYPOINTS
            (place,) = numbers_of(collection, candidate.reference).tolist()
            inliers, geometry = collection.pair(query, place)
            assert inliers == pytest.approx(candidate.num_inliers, abs=3)
            assert geometry.num_matches == pytest.approx(candidate.geometry.num_matches, abs=5)
            assert geometry.num_confirmed == pytest.approx(candidate.geometry.num_confirmed, abs=3) != 0


def test_a_photo_of_the_gallery_is_asked_as_if_the_gallery_had_never_had_it(folder, collected, tmp_path):
    collection, descriptors, references = collected
    id = "palazzo-1/photo-2.jpg"
    (query,) = numbers_of(collection, id)
    with gallery_of(folder, tmp_path / "others", without=[id]) as others:
        recognizer = others.recognizer()
        (case,) = collection.cases(descriptors, references, np.array([query]), recognizer.decider.centers)
        assert case.truth == {"palazzo-1"}
        check_agreement(case, recognizer, collection.photos[query].features, descriptors[query])


def test_a_photo_of_the_gallery_is_no_candidate_and_confirms_no_keypoint(collected):
    collection, descriptors, _ = collected
    pair = numbers_of(collection, "palazzo-0/photo-0.jpg", "palazzo-0/photo-1.jpg")
    others = numbers_of(collection, "palazzo-1/photo-0.jpg", "palazzo-2/photo-0.jpg")
    gallery = np.concatenate((pair, others))
    two = PhotoCollection(collection.photos, components.matcher("nearest"), HomographyVerifier(), descriptors, gallery)
    seen = []

    def glue(query, case, candidates):
        seen.append((query, [c.reference for c in candidates], case))
        return {}

    two.cases(descriptors, gallery, gallery, NOTHING, fine_matcher=glue)
    for query, candidates, case in seen:
        assert collection.photos[query].id not in candidates
        assert len(candidates) == 3
        assert case.truth == ({"palazzo-0"} if query in pair else frozenset()), "alone, a landmark is not known"
    a, b = pair.tolist()
    assert two.pair(a, b)[0] > 20
    assert two.pair(a, b)[1].num_confirmed == 0, "only the photo asked about has confirmed any"
    assert np.isnan(two.expected_inliers(b, without=a))
    (stranger,) = numbers_of(collection, "q0")
    assert two.pair(int(stranger), b)[1].num_confirmed > 0
    assert two.expected_inliers(b, without=int(stranger)) > 20


def test_a_case_says_how_much_it_counts_and_what_glue_found(collected):
    collection, descriptors, references = collected
    query = numbers_of(collection, "q1")
    asked = {}

    def glue(number, case, candidates):
        asked[case.query] = number
        return {candidates[0].reference: 77}

    (case,) = collection.cases(
        descriptors, references, query, NOTHING, weight=lambda number: number / 10, fine_matcher=glue
    )
    assert case.weight == query[0] / 10
    assert asked == {"q1": query[0]}
    assert case.evidence["fine"][:, TERM_NAMES.index("glue inliers")].max() == pytest.approx(np.log1p(77))
    assert not case.evidence["full"][:, TERM_NAMES.index("glue inliers")].any()
    (plain_one,) = collection.cases(descriptors, references, query, NOTHING)
    assert (plain_one.weight, plain_one.landmarks["fine"], len(plain_one.evidence["fine"])) == (1.0, (), 0)


def test_each_stage_is_shown_as_much_as_it_would_have_seen():
    candidates = [Candidate(f"{i:02}", "a", 1 - i / 100, 10 + i) for i in range(40)]
    around = SimpleNamespace(
        reference_similarity=np.eye(40, dtype=np.float32),
        query_distractor_similarity=0.0,
        distractor_similarity=np.zeros(40, np.float32),
        expected_inliers=np.full(40, np.nan, np.float32),
        references={"a": 40},
        fine_inliers={},
    )
    case = make_example("q", "a", frozenset("a"), candidates, around)
    most = {stage: rows[:, TERM_NAMES.index("inlier margin")].tolist() for stage, rows in case.evidence.items()}
    assert most == {
        "fine": [],
        "similarity": [0.0],
        "first": pytest.approx([np.log1p(17)]),
        "full": pytest.approx([np.log1p(39)]),
    }
    assert with_fine_matches(case, candidates, around, {}) is case


def test_centers_are_of_norm_one_and_near_what_they_stand_for():
    rng = np.random.default_rng(0)
    places = np.eye(8)[:5]
    photos = np.repeat(places, 30, axis=0) + rng.normal(0, 0.05, (150, 8))
    photos = (photos / np.linalg.norm(photos, axis=1, keepdims=True)).astype(np.float32)
    centers = distractor_centers(photos, 5)
    assert centers.dtype == np.float32
    assert np.abs(np.linalg.norm(centers, axis=1) - 1).max() < 1e-5
    assert sorted((centers @ places.T).argmax(1).tolist()) == [0, 1, 2, 3, 4]
    assert (photos @ centers.T).max(1).min() > 0.9
    assert np.array_equal(distractor_centers(photos, 5), centers)
    assert np.array_equal(distractor_centers(photos[:4], 5), photos[:4]), "so few stand for themselves"


@given(st.sets(st.integers(0, 99).map(str), max_size=30), st.integers(0, 5))
@settings(deadline=None)
def test_halves_are_halves_whatever_the_order(names, seed):
    first, second = two_fold_split(sorted(names, reverse=True), seed)
    assert Counter([*first, *second]) == Counter(names)
    assert 0 <= len(second) - len(first) <= 1
    assert (first, second) == two_fold_split(names, seed)


def test_few_landmarks_are_dealt_over_all_folds():
    nothing = dict.fromkeys(fit.STAGE_NAMES, ())
    known = [fit.Example(f"q{i}", f"palazzo-{i % 6}", frozenset([f"palazzo-{i % 6}"]), nothing, {}) for i in range(30)]
    others = [fit.Example(f"n{i}", f"n{i}", frozenset(), nothing, {}) for i in range(30)]
    fold = fit.assign_folds([*known, *others])
    for some, most in ((known, 10), (others, 6)):
        counts = np.bincount([fold(case.group) for case in some], minlength=fit.FOLDS)
        assert len(counts) == fit.FOLDS
        assert 0 < counts.min() <= counts.max() <= most
    assert fold("never heard of") == -1
