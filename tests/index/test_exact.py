"""What every index promises, against the simplest search there is."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veduta.index import ApproximateIndex, ExactIndex, OverlayIndex
from veduta.index.ivf.build import build
from veduta.index.qdrant.client import MEMORY, QdrantConnection
from veduta.index.qdrant.collections import CollectionVersion, create_collection
from veduta.index.qdrant.index import QdrantIndex

DIM = 4


class Built(ApproximateIndex):
    """An approximate index that is to miss nothing, and has what is added to it first on disk."""

    def add(self, ids, descriptors):
        checked = ExactIndex(self.dim)
        checked.add(ids, descriptors)
        if self.manifest is not None or not len(ids):
            super().add(ids, descriptors)
            return
        order = np.argsort(ids)
        with tempfile.TemporaryDirectory() as folder:  # what is memory-mapped stays until it is let go
            build(Path(folder), self.dim, lambda after: [(np.asarray(ids)[order], descriptors[order])], recall=1)
            super().__init__(self.dim, Path(folder))


class Changed(OverlayIndex):
    """An index whose first half lies elsewhere."""

    def __init__(self, dim):
        super().__init__(ExactIndex(dim), dim, -1)

    def add(self, ids, descriptors):
        half = len(ids) // 2
        if len(self) or not half or len(set(ids.tolist())) < len(ids):
            super().add(ids, descriptors)
            return
        base = ExactIndex(self.delta.dim)
        base.add(ids[:half], descriptors[:half])
        super().__init__(base, self.delta.dim, int(ids[:half].max()))
        self.add(ids[half:], descriptors[half:])


def in_qdrant(place, dim):
    """An index in a Qdrant inside this process."""
    link, version = QdrantConnection(place), CollectionVersion(1, "drawn", "0" * 12)
    create_collection(link, version, dim)
    return QdrantIndex(link, version.collection, dim)


def in_memory(dim):
    return in_qdrant(MEMORY, dim)


def in_a_folder(dim):
    return in_qdrant(tempfile.mkdtemp(dir=SCRATCH), dim)


# In memory where there is room: it waits for the disk after each point.
SCRATCH = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
INDEXES = {
    "exact": ExactIndex,
    "in memory": ApproximateIndex,
    "on disk": Built,
    "changed": Changed,
    "qdrant in memory": in_memory,
    "qdrant in a folder": in_a_folder,
}


@pytest.fixture(params=sorted(INDEXES))
def make(request):
    return INDEXES[request.param]


def rows(*values):
    return np.array(values, np.float32).reshape(-1, DIM)


def brute_force(stored, query, k):
    """[(similarity, id)] of the k nearest of {id: descriptor}: similarity falling, then id rising."""
    return sorted(((-float(query @ d), i) for i, d in stored.items()))[:k]


# Small whole numbers: many equal similarities, and none of them rounded.
descriptor = st.lists(st.integers(-2, 2), min_size=DIM, max_size=DIM)
galleries = st.dictionaries(st.integers(0, 2**40), descriptor, max_size=60)


@given(galleries, st.lists(descriptor, min_size=1, max_size=24), st.integers(1, 80), st.data())
@settings(max_examples=150, deadline=None)
def test_it_finds_what_brute_force_finds(stored, queries, k, data):
    make = data.draw(st.sampled_from(list(INDEXES.values())))
    order = data.draw(st.permutations(list(stored)))
    gone = data.draw(st.sets(st.sampled_from(order))) if order else set()
    index = make(DIM)
    index.add(np.array(order, np.int64), rows(*(stored[i] for i in order)))
    assert index.remove(np.array(sorted(gone), np.int64)) == len(gone)
    left = {i: np.array(d, np.float32) for i, d in stored.items() if i not in gone}
    similarity, ids = index.search(rows(*queries), k)
    assert len(index) == len(left)
    assert similarity.shape == ids.shape == (len(queries), min(k, len(left)))
    for query, s, i in zip(rows(*queries), similarity.tolist(), ids.tolist(), strict=True):
        assert [(-cosine, number) for cosine, number in zip(s, i, strict=True)] == brute_force(left, query, k)


@pytest.mark.parametrize("count", [3, 40, 700])
@pytest.mark.parametrize("queries", [1, 40])
def test_equal_photos_come_by_id_whatever_order_they_were_added_in(make, count, queries):
    rng = np.random.default_rng(0)
    one, other = unit(rng, 1, 1280), unit(rng, 200, 1280)
    ids = np.arange(count + 200)
    stored = np.concatenate([np.repeat(one, count, 0), other])
    asked = np.concatenate([one, unit(rng, queries - 1, 1280)])
    answers = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(ids))
        index = make(1280)
        for part in np.array_split(order, 4):
            index.add(ids[part], stored[part])
        answers.append(index.search(asked, 30)[1])
    assert answers[0][0][: min(30, count)].tolist() == list(range(min(30, count)))
    assert all(np.array_equal(answer, answers[0]) for answer in answers)


def unit(rng, n, dim):
    """Descriptors as a gallery has them: of norm 1, from half precision."""
    made = rng.normal(0, 1, (n, dim)).astype(np.float32)
    made = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_similarities_are_cosines_of_unit_descriptors(make):
    rng = np.random.default_rng(1)
    stored, queries = unit(rng, 300, 64), unit(rng, 30, 64)
    index = make(64)
    index.add(np.arange(300), stored)
    similarity, ids = index.search(queries, 10)
    truth = queries.astype(float) @ stored.T.astype(float)
    assert (similarity.dtype, ids.dtype) == (np.float32, np.int64)
    assert np.abs(similarity - np.take_along_axis(truth, ids, 1)).max() < 1e-6
    assert np.array_equal(ids, np.argsort(-truth, axis=1)[:, :10])


def test_many_queries_find_what_each_finds_alone(make):
    rng = np.random.default_rng(2)
    index = make(64)
    index.add(np.arange(500), unit(rng, 500, 64))
    queries = unit(rng, 40, 64)
    together = index.search(queries, 20)[1]
    assert np.array_equal(together, np.concatenate([index.search(q[None], 20)[1] for q in queries]))


@given(galleries, st.lists(descriptor, min_size=1, max_size=24), st.integers(1, 80), st.data())
@settings(max_examples=100, deadline=None)
def test_among_some_it_finds_what_an_index_of_those_alone_finds(stored, queries, k, data):
    make = data.draw(st.sampled_from(list(INDEXES.values())))
    ids = st.one_of(st.sampled_from(sorted(stored)), st.integers(0, 2**40)) if stored else st.integers(0, 9)
    among = data.draw(st.lists(ids, max_size=40))
    index = make(DIM)
    index.add(np.array(list(stored), np.int64), rows(*stored.values()))
    similarity, found = index.search(rows(*queries), k, among=np.array(among, np.int64))
    left = {i: np.array(stored[i], np.float32) for i in set(among) & stored.keys()}
    assert similarity.shape == found.shape == (len(queries), min(k, len(left)))
    for query, s, i in zip(rows(*queries), similarity.tolist(), found.tolist(), strict=True):
        assert [(-cosine, number) for cosine, number in zip(s, i, strict=True)] == brute_force(left, query, k)


def test_an_empty_index_finds_nothing(make):
    similarity, ids = make(DIM).search(rows([1, 0, 0, 0], [0, 1, 0, 0]), 5)
    assert similarity.shape == ids.shape == (2, 0)


def test_no_queries_get_no_answers(make):
    index = make(DIM)
    index.add(np.array([1]), rows([1, 0, 0, 0]))
    assert index.search(rows(), 5)[1].shape == (0, 1)


def test_adding_nothing_and_removing_the_unknown_change_nothing(make):
    index = make(DIM)
    index.add(np.array([], np.int64), rows())
    index.add(np.array([7]), rows([1, 0, 0, 0]))
    assert index.remove(np.array([1, 2, 3])) == 0
    assert index.remove(np.array([], np.int64)) == 0
    assert index.remove(np.array([7, 7, 8])) == 1
    assert len(index) == 0


def test_what_was_removed_can_be_added_again(make):
    index = make(DIM)
    index.add(np.array([7, 8]), rows([1, 0, 0, 0], [0, 1, 0, 0]))
    index.remove(np.array([7]))
    index.add(np.array([7]), rows([0, 0, 1, 0]))
    assert index.search(rows([0, 0, 1, 0]), 1)[1].tolist() == [[7]]


@pytest.mark.parametrize(("ids", "said"), [([1, 2], r"got \[1\]"), ([5, 5], "got repeated ones"), ([5], "expected 2")])
def test_an_id_twice_is_refused_and_changes_nothing(make, ids, said):
    index = make(DIM)
    index.add(np.array([1]), rows([1, 0, 0, 0]))
    with pytest.raises(ValueError, match=said):
        index.add(np.array(ids), rows([0, 1, 0, 0], [0, 0, 1, 0]))
    assert len(index) == 1
    assert index.search(rows([0, 1, 0, 0]), 5)[1].tolist() == [[1]]


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, DIM + 1), np.float32), np.zeros(DIM, np.float32), np.zeros((1, DIM), float)]
)
def test_descriptors_of_another_kind_are_refused(make, wrong):
    index = make(DIM)
    with pytest.raises(ValueError, match=rf"descriptors: expected \(N, {DIM}\) float32, got"):
        index.add(np.array([1]), wrong)
    with pytest.raises(ValueError, match=rf"descriptors: expected \(N, {DIM}\) float32, got"):
        index.search(wrong, 1)


@pytest.mark.parametrize("k", [0, -1])
def test_at_least_one_neighbor_is_asked_for(make, k):
    with pytest.raises(ValueError, match="k: expected at least 1"):
        make(DIM).search(rows([1, 0, 0, 0]), k)
