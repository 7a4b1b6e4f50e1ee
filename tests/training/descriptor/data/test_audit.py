"""A look at every photo: near-duplicates against brute force, what leaks, what cannot be read."""

import csv
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import world

from veduta.images import load
from veduta.images.hashing import perceptual_hash
from veduta.training.descriptor.data.audit import (
    WITHIN,
    audit_dataset,
    load_or_audit,
    near,
    shown_in_test,
    write_pairs,
)
from veduta.training.descriptor.data.dataset import NON_LANDMARK, Dataset


def bits(one, other):
    """In how many bits two hashes differ."""
    return sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(one, other, strict=True))


# --- hashes


@st.composite
def hashes(draw):
    """Random hashes, and some that differ from one of them in a few bits."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    rows = list(rng.integers(0, 256, (draw(st.integers(1, 12)), 8), np.uint8))
    for flips in draw(st.lists(st.integers(0, 10), max_size=12)):
        bit = np.unpackbits(rows[rng.integers(len(rows))])
        bit[rng.permutation(64)[:flips]] ^= 1
        rows.append(np.packbits(bit))
    return np.stack(rows)


@given(hashes(), st.integers(0, 7))
@settings(deadline=None)
def test_pairs_are_those_that_brute_force_finds(found, within):
    rows = range(len(found))
    every = [(a, b, bits(found[a], found[b])) for a in rows for b in rows if a < b]
    assert near(found, within) == sorted(pair for pair in every if pair[2] <= within)


def test_none_of_none_is_near():
    assert near(np.zeros((0, 8), np.uint8)) == []
    assert near(np.zeros((3, 8), np.uint8)) == [(0, 1, 0), (0, 2, 0), (1, 2, 0)]


@pytest.mark.parametrize("within", [-1, 8])
def test_a_distance_at_which_some_would_be_missed_is_refused(within):
    with pytest.raises(ValueError, match="within: expected 0 to 7 bits"):
        near(np.zeros((2, 8), np.uint8), within)


def test_the_hash_is_the_signs_of_the_lowest_frequencies():
    """By the definition of the cosine transform, of a picture that is small and gray already."""
    gray = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    n = np.arange(32)
    waves = np.cos(np.pi * (2 * n[None] + 1) * n[:, None] / 64) * np.where(n == 0, 1 / 32, 2 / 32)[:, None] ** 0.5
    low = (waves @ gray.astype(float) @ waves.T)[:8, :8].ravel()
    expected = np.packbits(low > np.median(low[1:]))
    assert bits(perceptual_hash(np.repeat(gray[..., None], 3, axis=2)), expected) == 0


SEEDS = range(24)


def test_a_copy_made_smaller_and_saved_badly_is_found_and_other_buildings_are_not():
    facades = [world.facade(seed, 240, 180) for seed in SEEDS] + [world.distractor(seed, 240, 180) for seed in SEEDS]
    found = [perceptual_hash(picture) for picture in facades]
    for picture in facades:
        small = cv2.resize(picture, (150, 112), interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 40])
        found.append(perceptual_hash(cv2.imdecode(data, cv2.IMREAD_COLOR)))
    pairs = {(a, b) for a, b, _ in near(np.stack(found))}
    assert pairs == {(i, i + len(facades)) for i in range(len(facades))}


# --- photos


@pytest.fixture
def photos(tmp_path):
    """A function that writes a facade as a photo, perhaps smaller and saved worse, and returns its path."""

    def write(name, seed, scale=1.0, quality=92):
        picture = world.facade(seed, 240, 180)
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return str(world.save(small, tmp_path / name, quality))

    return write


def test_every_pair_is_of_the_right_kind(photos):
    listed = {
        photos("a-0.jpg", 0): 0,
        photos("a-1.jpg", 1): 0,
        photos("a-0-again.jpg", 0, 0.7): 0,
        photos("b-0.jpg", 2): 1,
        photos("b-1.jpg", 1, 1.0, 50): 1,
        photos("none-0.jpg", 3): NON_LANDMARK,
        photos("none-0-again.jpg", 3, 0.8): NON_LANDMARK,
        photos("none-1.jpg", 2, 0.8): NON_LANDMARK,
    }
    others = [photos("test-0.jpg", 0, 0.6), photos("test-9.jpg", 9), photos("test-9-again.jpg", 9, 0.7)]
    dataset = Dataset(tuple(listed), np.array(list(listed.values())), ("a", "b"), tuple(others))
    found = audit_dataset(dataset)
    assert found.readable.all()
    assert found.failures == ()
    told = {(pair.kind, name(pair.photo), name(pair.other)) for pair in found.pairs}
    assert told == {
        ("same", "a-0", "a-0-again"),
        ("conflict", "a-1", "b-1"),
        ("conflict", "b-0", "none-1"),
        ("leak", "a-0", "test-0"),
        ("leak", "a-0-again", "test-0"),
    }
    assert all(0 <= pair.bits <= WITHIN for pair in found.pairs)
    assert [found.count(kind) for kind in ("same", "conflict", "leak")] == [1, 2, 2]
    gone = [name(photo) for photo, out in zip(dataset.photos, shown_in_test(dataset, found), strict=True) if out]
    assert gone == ["a-0", "a-0-again"]


def name(path):
    return path.rsplit("/", 1)[1].removesuffix(".jpg")


def test_what_cannot_be_read_is_told_and_the_numbers_of_the_others_stay(photos, corrupt, tmp_path):
    missing = str(tmp_path / "missing.jpg")
    listed = [str(corrupt), photos("a.jpg", 0), missing, photos("a-again.jpg", 0, 0.7)]
    calls = []
    found = audit_dataset(
        Dataset(tuple(listed), np.array([0, 0, 1, 1]), ("a", "b"), (str(corrupt), photos("t.jpg", 5))),
        lambda *call: calls.append(call),
    )
    assert found.readable.tolist() == [False, True, False, True]
    assert [failure.photo for failure in found.failures] == [str(corrupt), missing, str(corrupt)]
    assert all(failure.photo in failure.error for failure in found.failures)
    assert [(pair.kind, pair.photo, pair.other) for pair in found.pairs] == [("conflict", listed[1], listed[3])]
    assert calls == [(done, 6) for done in range(1, 7)]


def test_nothing_that_can_be_read_is_no_error(corrupt):
    found = audit_dataset(Dataset((str(corrupt),), np.array([0]), ("a",)))
    assert (found.readable.tolist(), found.pairs, len(found.failures)) == ([False], (), 1)


def test_pairs_are_written_as_a_table(photos, tmp_path):
    odd = photos('a "quoted", odd.jpg', 0)
    dataset = Dataset((odd, photos("b.jpg", 0, 0.7)), np.array([0, 1]), ("a", "b"))
    found = audit_dataset(dataset)
    write_pairs(tmp_path / "pairs.csv", found)
    with (tmp_path / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["photo"], row["other"]) for row in rows] == [("conflict", odd, dataset.photos[1])]
    assert rows[0]["bits"] == str(
        bits(*(perceptual_hash(load(photo, max_side=128).pixels) for photo in dataset.photos))
    )


# --- kept for a run that goes on


def test_a_survey_that_is_kept_is_not_made_again(photos, corrupt, tmp_path):
    listed = (photos("a.jpg", 0), photos("b.jpg", 0, 0.7), str(corrupt))
    dataset = Dataset(listed, np.array([0, 1, 1]), ("a", "b"))
    first = load_or_audit(tmp_path / "survey.json", dataset)
    assert [pair.kind for pair in first.pairs] == ["conflict"]
    for path in map(str, listed):
        (tmp_path / path).unlink()
    again = load_or_audit(tmp_path / "survey.json", dataset, lambda *_: pytest.fail("it looked again"))
    assert again.readable.tolist() == first.readable.tolist() == [True, True, False]
    assert (again.failures, again.pairs) == (first.failures, first.pairs)


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"photos": "DIGEST", "failures": [1], "pairs": []}'])
def test_a_survey_that_cannot_be_understood_is_made_again(photos, tmp_path, said):
    dataset = Dataset((photos("a.jpg", 0), photos("b.jpg", 0, 0.7)), np.array([0, 0]), ("a",))
    (tmp_path / "survey.json").write_text(said.replace("DIGEST", dataset.digest()))
    assert [pair.kind for pair in load_or_audit(tmp_path / "survey.json", dataset).pairs] == ["same"]
    assert json.loads((tmp_path / "survey.json").read_text())["photos"] == dataset.digest()


def test_a_survey_of_other_photos_is_made_again(photos, tmp_path):
    here, there = photos("a.jpg", 0), photos("b.jpg", 1)
    damaged = tmp_path / "c.jpg"
    damaged.write_bytes(b"no photo")
    load_or_audit(tmp_path / "survey.json", Dataset((here, there), np.array([0, 0]), ("a",)))
    found = load_or_audit(tmp_path / "survey.json", Dataset((here, str(damaged)), np.array([0, 0]), ("a",)))
    assert found.readable.tolist() == [True, False]
    moved = load_or_audit(tmp_path / "survey.json", Dataset((here,), np.array([0]), ("a",), (there,)))
    assert moved.readable.tolist() == [True]


def test_a_survey_of_more_photos_is_made_again(photos, tmp_path):
    one, two = photos("a.jpg", 0), photos("b.jpg", 1)
    load_or_audit(tmp_path / "survey.json", Dataset((one,), np.array([0]), ("a",)))
    found = load_or_audit(tmp_path / "survey.json", Dataset((one, two), np.array([0, 0]), ("a",)))
    assert found.readable.tolist() == [True, True]
