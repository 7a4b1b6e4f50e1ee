"""What a descriptor is worth and which labels are wrong, against plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import world

from veduta.embedders.gem import resized
from veduta.images import load
from veduta.training.descriptor.data.dataset import NON_LANDMARK, Protocol
from veduta.training.descriptor.data.label_noise import main_centers, worst
from veduta.training.descriptor.model.losses import MarginHead
from veduta.training.descriptor.protocols import embed_photos, evaluate_protocol

# --- the figures


def judged_by_hand(protocol, rows, withheld):
    """GAP and recall@1 of the best neighbor, photo by photo; rows[i] is the descriptor of photo i."""
    classes = protocol.classes.tolist()
    gallery = [g for g in protocol.gallery.tolist() if classes[g] not in withheld]
    queries = protocol.queries.tolist() + [g for g in protocol.gallery.tolist() if classes[g] in withheld]
    answers, relevant, right = [], 0, 0
    for query in queries:
        best = max(gallery, key=lambda g: float(rows[g] @ rows[query]))
        known = classes[query] != NON_LANDMARK and classes[query] not in withheld
        relevant += known
        hit = known and classes[best] == classes[query]
        right += hit
        answers.append((-float(rows[best] @ rows[query]), str(query), hit))
    score, hits = 0.0, 0
    for rank, (_, _, hit) in enumerate(sorted(answers), 1):
        hits += hit
        score += hit * hits / rank
    return score / relevant, right / relevant


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_the_figures_are_those_of_the_best_neighbor(seed):
    rng = np.random.default_rng(seed)
    landmarks = int(rng.integers(2, 7))
    classes = np.concatenate(
        (np.repeat(np.arange(landmarks), 4), np.full(3, NON_LANDMARK), [0, 1])
    )  # the last two: no one's
    order = rng.permutation(len(classes) - 2)
    classes[: len(order)] = classes[order]
    numbers = {c: np.flatnonzero(classes[:-2] == c) for c in range(landmarks)}
    gallery = np.sort(np.concatenate([mine[:2] for mine in numbers.values()]))
    queries = np.concatenate((*(mine[2:] for mine in numbers.values()), np.flatnonzero(classes == NON_LANDMARK)))
    withheld = frozenset(range(1, landmarks, 3))
    protocol = Protocol("unseen", gallery, queries, classes, withheld)
    rows = rng.normal(size=(len(classes), 6)).astype(np.float32)
    rows += 1.5 * np.eye(8, 6, dtype=np.float32)[classes]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    needed = np.unique(np.concatenate((gallery, queries)))
    found = evaluate_protocol(protocol, rows[needed], needed)
    closed, opened = (judged_by_hand(protocol, rows, set(out)) for out in ((), withheld))
    assert found.protocol == "unseen"
    assert (found.gap_closed, found.recall_at_1) == (pytest.approx(closed[0]), pytest.approx(closed[1]))
    assert found.gap_open == pytest.approx(opened[0])


def test_descriptors_that_tell_everything_apart_have_full_marks():
    classes = np.array([0, 0, 1, 1, 2, 2, NON_LANDMARK])
    protocol = Protocol("seen", np.array([0, 2, 4]), np.array([1, 3, 5, 6]), classes, frozenset({1}))
    rows = np.eye(4, dtype=np.float32)[classes]
    rows[1::2] += 0.1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = evaluate_protocol(protocol, rows, np.arange(7))
    assert (found.gap_closed, found.gap_open, found.recall_at_1) == (1, 1, 1)


# --- descriptors


def colors(pixels):
    """A network that knows the mean color and the shape of what it is given."""
    assert pixels.dtype == np.uint8
    shape = np.full((len(pixels), 2), pixels.shape[1:3], np.float32)
    return np.concatenate((pixels.mean((1, 2)), shape), axis=1).astype(np.float32)


@pytest.mark.parametrize("square", [False, True])
def test_photos_are_described_in_their_order_whatever_their_shapes(tmp_path, square):
    sizes = [(200, 90), (100, 220), (110, 110)] * 12
    photos = [str(world.save(world.facade(i, *size), tmp_path / f"{i}.jpg")) for i, size in enumerate(sizes)]
    calls = []
    found = embed_photos(photos, colors, 64, square=square, workers=3, progress=lambda *call: calls.append(call))
    for photo, row in zip(photos, found, strict=True):
        expected = colors(resized(load(photo, max_side=256).pixels, 64, square=square)[None])
        np.testing.assert_array_equal(row, expected[0])
    assert len({tuple(row[3:]) for row in found}) == (1 if square else 3)
    assert calls[-1][1] == len(photos)
    assert all(done <= total for done, total in calls)


def test_a_photo_that_has_gone_is_like_nothing(tmp_path, corrupt):
    photo = str(world.save(world.facade(0, 96, 72), tmp_path / "a.jpg"))
    found = embed_photos([str(tmp_path / "gone.jpg"), photo, str(corrupt)], colors, 64)
    assert found.any(1).tolist() == [False, True, False]
    assert not embed_photos([str(corrupt)], colors, 64).any()
    assert embed_photos([photo], colors, 64, step=16)[0, 3:].tolist() == [48, 80]


# --- wrong labels


def angle(a, b):
    return math.degrees(math.acos(max(-1.0, min(1.0, float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))))


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_angles_are_those_from_the_center_most_photos_are_nearest_to(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, 4)
    classes = rng.permutation(np.repeat(np.arange(4), counts))
    head = MarginHead(5, torch.from_numpy(counts), subcenters=3)
    descriptors = rng.normal(size=(len(classes), 5)).astype(np.float32)
    centers = head.centers.weight.detach().view(4, 3, 5).numpy()
    found = main_centers(head, descriptors, classes)
    for c in range(4):
        mine = np.flatnonzero(classes == c)
        votes = [0, 0, 0]
        for photo in mine:
            votes[int(np.argmin([angle(descriptors[photo], one) for one in centers[c]]))] += 1
        main = centers[c][votes.index(max(votes))]
        for photo in mine:
            assert found[photo] == pytest.approx(angle(descriptors[photo], main), abs=0.05)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 180)), min_size=1, max_size=40), st.floats(0, 180))
@settings(deadline=None)
def test_photos_beyond_the_limit_go_but_the_nearest_of_each_landmark_stays(photos, limit):
    classes = np.array([c for c, _ in photos])
    degrees = np.array([d for _, d in photos])
    gone = worst(degrees, classes, limit)
    assert gone.tolist() == sorted(set(gone.tolist()))
    left = np.setdiff1d(np.arange(len(photos)), gone)
    for c in set(classes.tolist()):
        mine = np.flatnonzero(classes == c)
        nearest = degrees[mine].min()
        stays = [photo for photo in mine.tolist() if photo in set(left.tolist())]
        assert degrees[stays].min() == nearest
        beyond = [photo for photo in stays if degrees[photo] > limit]
        assert len(beyond) <= 1
        assert all(degrees[photo] == nearest for photo in beyond)
    assert (degrees[gone] > limit).all()
