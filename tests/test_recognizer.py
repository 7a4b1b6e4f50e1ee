"""The whole way of a photo, through a small world held in memory."""

from collections import Counter
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import components, world

from veduta.cascade import CascadeSettings
from veduta.decision.answer import rank_candidates
from veduta.decision.model import CASCADES
from veduta.errors import ImageError, ModelError
from veduta.images import from_array
from veduta.pair import verify
from veduta.recognizer import ReferenceSet
from veduta.types import Candidate

FACADES = 6


@pytest.fixture(scope="module")
def shelf():
    """Two photos each of six facades."""
    photos = {}
    for i in range(FACADES):
        pixels = world.facade(i), world.view(world.facade(i), 100 + i, 0.6).pixels
        photos |= {f"{i}-{j}": (f"palazzo {i}", from_array(p)) for j, p in enumerate(pixels)}
    return components.references(photos)


@pytest.fixture(scope="module")
def recognizer(shelf):
    return components.recognizer(shelf)


def seen(i, way=0):
    return from_array(world.view(world.facade(i), 500 + 10 * i + way).pixels, f"view of {i}")


# --- the whole way


@pytest.mark.parametrize(("matching", "ways", "depth"), [("nearest", 2, 30), ("lighterglue", 1, 5)])
def test_views_of_known_facades_are_recognized(shelf, matching, ways, depth):
    recognizer = components.recognizer(shelf, matching, rerank_depth=depth)
    for i in range(FACADES):
        for way in range(ways):
            answer = recognizer.recognize(seen(i, way))
            assert answer.landmark == shelf.landmarks[f"palazzo {i}"]
            assert answer.landmark.name == f"Palazzo {i}"
            assert answer.confidence > 0.9
            assert answer.evidence[0].landmark == f"palazzo {i}"
            assert answer.evidence[0].num_inliers > 40
            assert answer.photo == f"view of {i}"
            assert answer.seconds > 0


@pytest.mark.parametrize(("matching", "depth"), [("nearest", 30), ("lighterglue", 3)])
def test_what_is_no_known_facade_is_none_i_know(shelf, matching, depth):
    recognizer = components.recognizer(shelf, matching, rerank_depth=depth, floor=0.9)
    for pixels in [world.distractor(1), world.distractor(2), np.full((90, 120, 3), 128, np.uint8)]:
        answer = recognizer.recognize(from_array(pixels))
        assert answer.landmark is None
        assert answer.confidence < 0.9
        assert (answer.evidence[0].num_inliers or 0) < 15


def test_a_reference_is_recognized_as_itself(shelf, recognizer):
    answer = recognizer.recognize(from_array(world.facade(3)))
    assert answer.evidence[0].reference == "3-0"
    assert answer.evidence[0].similarity == pytest.approx(1, abs=1e-5)
    assert answer.evidence[0].similarity <= 1


def test_recognize_is_its_stages_one_after_another(recognizer):
    image = seen(2)
    recognizer.cascade = CascadeSettings(
        CASCADES["fast"]
    )  # one stage after the similarities: `decide` picks that one too
    descriptor = recognizer.embed(image)
    answer = recognizer.recognize(image)
    verified = sum(c.num_inliers is not None for c in answer.evidence)
    candidates = recognizer.verify(recognizer.extract(image), recognizer.retrieve(descriptor), max(8, verified))
    decision, answer = recognizer.decide(candidates, descriptor), recognizer.recognize(image)
    assert (answer.landmark.id, answer.confidence, answer.evidence) == (
        decision.landmark,
        decision.confidence,
        decision.evidence,
    )


def test_the_same_photo_gets_the_same_answer(recognizer):
    first, second = (replace(recognizer.recognize(seen(4)), seconds=0) for _ in range(2))
    assert first == second


def test_an_empty_shelf_knows_nothing():
    nobody = components.recognizer(components.references({}))
    answer = nobody.recognize(seen(0))
    assert (answer.landmark, answer.confidence, answer.evidence) == (None, 0.0, ())


# --- retrieve


def test_retrieve_returns_the_most_similar_first_and_never_more_than_there_are(shelf, recognizer):
    descriptor = recognizer.embed(seen(1))
    assert descriptor.shape == (recognizer.components.embedder.dim,)
    candidates = recognizer.retrieve(descriptor)
    assert len(candidates) == 2 * FACADES
    assert [c.similarity for c in candidates] == sorted((c.similarity for c in candidates), reverse=True)
    assert all(c.num_inliers is None for c in candidates)
    assert all(c.landmark == f"palazzo {c.reference[0]}" for c in candidates)
    assert components.recognizer(shelf, depth=3).retrieve(descriptor) == candidates[:3]


@pytest.mark.parametrize("depth", [1, 3, 10])
def test_of_references_as_similar_as_one_another_the_first_by_id_are_retrieved(depth):
    """The order they were added in says nothing, also where the depth cuts through them."""
    photo = from_array(world.facade(0))
    ids = "hcjbgiafed"
    photos = {id: (f"landmark {id}", photo) for id in ids}
    recognizer = components.recognizer(components.references(photos), depth=depth)
    retrieved = [c.reference for c in recognizer.retrieve(recognizer.embed(photo))]
    assert retrieved == sorted(ids)[:depth]


# --- rerank


@pytest.mark.parametrize("depth", [0, 1, 4, 12, 99])
def test_only_the_first_candidates_are_verified(shelf, depth):
    recognizer = components.recognizer(shelf, rerank_depth=depth)
    image = seen(0)
    before = recognizer.retrieve(recognizer.embed(image))
    after = recognizer.rerank(recognizer.extract(image), before)
    assert Counter(c.reference for c in after) == Counter(c.reference for c in before)
    assert {c.reference for c in after if c.num_inliers is not None} == {c.reference for c in before[:depth]}
    assert {(c.reference, c.landmark, c.similarity) for c in after} == {
        (c.reference, c.landmark, c.similarity) for c in before
    }
    assert after == rank_candidates(after)


@given(
    st.lists(st.tuples(st.integers(0, 11), st.floats(-1, 1)), max_size=8, unique_by=lambda t: t[0]), st.integers(0, 9)
)
@settings(max_examples=25, deadline=None)
def test_rerank_only_permutes_and_verifies(rows, depth):
    features = components.extracted("xfeat", 0)
    kept = components.among({0: (features[1], None), 1: (features[0], None)})
    shelf = ReferenceSet(components.references({}).index, lambda numbers: {}, {}, kept)
    recognizer = components.recognizer(shelf, rerank_depth=depth)
    given_ones = [Candidate(str(i), str(i % 3), s, row_id=i) for i, s in rows]
    after = recognizer.rerank(features[0], given_ones)
    assert Counter(replace(c, num_inliers=None) for c in after) == Counter(given_ones)
    known = {c.reference for c in given_ones[:depth]} & {"0", "1"}  # of the others nobody has the features
    assert {c.reference for c in after if c.num_inliers is not None} == known


def test_verified_in_vain_is_not_the_same_as_not_verified(shelf):
    recognizer = components.recognizer(shelf, rerank_depth=1)
    stranger = from_array(world.distractor(5))
    after = recognizer.rerank(recognizer.extract(stranger), recognizer.retrieve(recognizer.embed(stranger)))
    assert sorted(str(c.num_inliers) for c in after) == ["0", *["None"] * 11]


def test_a_reference_that_has_just_been_removed_stays_unverified(shelf):
    gone = components.without(shelf, "0-0")
    evidence = components.recognizer(gone).recognize(from_array(world.facade(0))).evidence
    assert "0-0" in [c.reference for c in evidence if c.num_inliers is None]
    assert next(c for c in evidence if c.reference == "0-1").num_inliers is not None


@pytest.mark.parametrize(
    "wrong", [{"depth": 0}, {"rerank_depth": -1}, {"budget_ms": -1}, {"floor": -0.1}, {"floor": 1.1}]
)
def test_settings_out_of_range_are_refused(shelf, wrong):
    with pytest.raises(ValueError, match="expected "):
        components.recognizer(shelf, **wrong)


# --- two photos


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A facade seen another way, and the facade: two files."""
    folder = tmp_path_factory.mktemp("pair")
    query, reference, _ = components.seen(14, 0.6)
    return world.save(query.pixels, folder / "seen.png"), world.save(reference.pixels, folder / "straight.png")


@pytest.mark.parametrize(
    ("extractor", "matcher"), [("xfeat", "nearest"), ("xfeat", "lighterglue"), ("rootsift", "nearest")]
)
def test_verify_says_that_two_photos_show_the_same_place(pair, extractor, matcher):
    found = verify(*pair, extractor=extractor, matcher=matcher)
    assert (found.a, found.b) == tuple(map(str, pair))
    assert found.problem is None
    assert found.num_keypoints == (512, 512)
    assert 512 >= found.num_matches >= found.num_inliers > 80
    corners = components.corners((world.WIDTH, world.HEIGHT))
    truth = components.carry(components.seen(14, 0.6)[2], corners)
    assert components.distance(components.carry(found.homography, corners), truth).max() < 4
    assert found.seconds > 0


def test_verify_says_why_two_photos_do_not(pair, tmp_path):
    flat = world.save(np.full((120, 160, 3), 99, np.uint8), tmp_path / "flat.png")
    found = verify(pair[0], flat)
    assert (found.num_inliers, found.homography, found.problem) == (0, None, "too few matches")
    assert verify(flat, flat).num_keypoints == (0, 0)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_verify_draws_what_it_found(pair, tmp_path, suffix):
    out = tmp_path / f"match.{suffix}"
    verify(*pair, draw=out, max_keypoints=128)
    with PIL.Image.open(out) as picture:
        assert picture.size[0] > 2 * picture.size[1]
        assert np.ptp(np.asarray(picture)) > 200


@pytest.mark.parametrize("name", ["match.doc", "match", "nowhere/match.png"])
def test_a_file_that_cannot_be_drawn_to_is_told(pair, tmp_path, name):
    with pytest.raises(ImageError, match=r"(is no picture|cannot be written)"):
        verify(*pair, draw=tmp_path / name, max_keypoints=32)


def test_verify_refuses_what_it_cannot_read_or_run(pair, tmp_path):
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        verify(pair[0], tmp_path / "gone.jpg")
    with pytest.raises(ModelError, match="use 'nearest'"):
        verify(*pair, extractor="rootsift", matcher="lighterglue")


def test_the_picture_of_a_pair_says_below_it_how_many_agree(pair, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("veduta.pair.draw_pair", lambda *a: said.append(a[4:]) or PIL.Image.new("RGB", (9, 9)))
    flat = world.save(np.full((120, 160, 3), 99, np.uint8), tmp_path / "flat.png")
    found = verify(*pair, draw=tmp_path / "a.png", max_keypoints=128)
    verify(pair[0], flat, draw=tmp_path / "b.png", max_keypoints=128)
    assert said == [
        (f"{found.num_inliers} inliers", ("seen.png", "straight.png")),
        ("no inliers: too few matches", ("seen.png", "flat.png")),
    ]
