"""An approximate index: what it finds beside exact search, what it says of itself, and what a killed build leaves."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.vectors import DIM, K, clustered, exact, recall, search_all, source, unit

from veduta.errors import GalleryError
from veduta.index import ApproximateIndex, Manifest
from veduta.index.ivf import build as build_module
from veduta.index.ivf.build import build, lists_for
from veduta.index.ivf.index import FEW, LISTS
from veduta.index.ivf.manifest import MANIFEST
from veduta.index.ivf.vectors import CODES, IDS, NORMS, ROWS, RowFiles, append_rows


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}


def said(folder):
    """What a manifest says, but for how long it took."""
    return json.loads((folder / MANIFEST).read_text()) | {"seconds": 0}


COUNT = 9_000
IDS_ = np.arange(COUNT, dtype=np.int64) * 3 + 5
STORED = clustered(COUNT)
QUERIES = clustered(100, stream=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of an index of STORED that is to find 97 in a hundred."""
    folder = tmp_path_factory.mktemp("index") / "made"
    build(folder, DIM, source(IDS_, STORED), 0.97)
    return folder


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The folder of an index of STORED that is to miss nothing."""
    folder = tmp_path_factory.mktemp("index") / "complete"
    build(folder, DIM, source(IDS_, STORED), 1)
    return folder


# --- what it finds ----------------------------------------------------------------------------------------------


def test_photos_it_was_not_measured_with_find_what_was_asked_for(made):
    manifest = Manifest.read(made)
    assert manifest.recall == 0.97
    assert manifest.measured >= 0.96
    assert recall(ApproximateIndex(DIM, made), exact(IDS_, STORED), QUERIES) >= 0.955


def test_it_looks_at_no_more_than_it_must(made, complete):
    assert Manifest.read(made).probe_margin is not None
    assert Manifest.read(made).candidate_factor < Manifest.read(complete).candidate_factor
    assert Manifest.read(complete).probe_margin is None


def test_a_manifest_with_the_former_names_of_its_fields_is_read(made, tmp_path):
    values = json.loads((made / MANIFEST).read_text())
    former = {"probe_margin": "reach", "candidate_factor": "candidates", "rescore_factor": "rescored"}
    assert former.keys() <= values.keys()
    (tmp_path / MANIFEST).write_text(json.dumps({former.get(name, name): value for name, value in values.items()}))
    assert Manifest.read(tmp_path) == Manifest.read(made)


@pytest.mark.parametrize("content", ["[]", '{"dim": 3}', "1", '{"dim": 3, "reach": 1, "probe_margin": 1}', "no JSON"])
def test_a_manifest_that_is_none_is_refused_by_its_folder(tmp_path, content):
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(GalleryError, match=f"{re.escape(str(tmp_path))}.*build it again"):
        Manifest.read(tmp_path)


def test_it_says_what_share_of_all_a_query_was_compared_with(made, complete):
    assert (ApproximateIndex(DIM, complete).searched_share(QUERIES[:5], K) == 1).all()
    assert (ApproximateIndex(DIM).searched_share(QUERIES[:5], K) == 1).all()
    index = ApproximateIndex(DIM, made)
    shares = index.searched_share(QUERIES, K)
    assert (shares > 0).all()
    assert shares.mean() < 0.9
    assert (index.searched_share(QUERIES[:5], COUNT) == 1).all()  # the best lists do not hold as many as are wanted
    few = ApproximateIndex(DIM, made)
    few.remove(IDS_[FEW:])
    assert (few.searched_share(QUERIES[:5], K) == 1).all()
    # More is only looked at when the neighbors are further away, and what came later is looked at as a whole.
    alike = index.search(QUERIES, K)[0][:, -1]
    assert np.corrcoef(alike, shares)[0, 1] < 0
    index.add(np.array([1]), QUERIES[:1])
    np.testing.assert_allclose(index.searched_share(QUERIES, K), (shares * COUNT + 1) / (COUNT + 1), rtol=1e-5)


def test_cosines_are_those_of_an_exact_index_bit_for_bit(made):
    truth, index = exact(IDS_, STORED), ApproximateIndex(DIM, made)
    for query in QUERIES[:20]:
        similarity, ids = index.search(query[None], K)
        true = dict(zip(*(a[0].tolist() for a in truth.search(query[None], COUNT)[::-1]), strict=True))
        assert similarity[0].tolist() == [true[i] for i in ids[0].tolist()]


def test_an_index_that_is_to_miss_nothing_answers_as_an_exact_one(complete):
    assert search_all(ApproximateIndex(DIM, complete), QUERIES) == search_all(exact(IDS_, STORED), QUERIES)


@pytest.mark.parametrize("count", [1, 10, FEW // 2, FEW + 1, COUNT // 2, COUNT])
def test_among_few_or_many_it_answers_as_an_exact_index_of_those(complete, count):
    among = np.random.default_rng(3).permutation(IDS_)[:count]
    index, truth = ApproximateIndex(DIM, complete), exact(IDS_, STORED)
    assert search_all(index, QUERIES[:20], K, among) == search_all(truth, QUERIES[:20], K, among)


@pytest.mark.parametrize("share", [0.004, 0.02, 0.4])
def test_a_small_share_of_a_large_index_is_compared_by_codes_and_still_found(monkeypatch, complete, share):
    monkeypatch.setattr("veduta.index.ivf.index.FEW", 8)
    among = IDS_[np.random.default_rng(4).random(COUNT) < share]
    index, truth = ApproximateIndex(DIM, complete), exact(IDS_, STORED)
    assert search_all(index, QUERIES[:20], 10, among) == search_all(truth, QUERIES[:20], 10, among)


def test_enough_is_found_however_few_of_the_nearest_count(made):
    """Where the lists that are looked at hold none of those asked for, it goes on to all of them."""
    among = np.sort(IDS_[np.argsort(STORED @ QUERIES[0])[: FEW + 500]])  # those least like the query
    similarity, ids = ApproximateIndex(DIM, made).search(QUERIES[:1], K, among)
    assert len(set(ids[0].tolist()) & set(among.tolist())) == K
    assert np.array_equal(-np.sort(-similarity[0]), similarity[0])


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_whatever_comes_and_goes_the_answers_are_those_of_an_exact_index(complete, data):
    index, truth = ApproximateIndex(DIM, complete), exact(IDS_, STORED)
    new, rng = clustered(60, stream=2), np.random.default_rng(data.draw(st.integers(0, 99)))
    for turn in range(data.draw(st.integers(1, 4))):
        ids = np.arange(20, dtype=np.int64) + 10**6 * (turn + 1)
        gone = rng.choice(np.concatenate([IDS_, ids]), int(rng.integers(0, 3_000)), replace=False)
        for each in (index, truth):
            each.add(ids, new[20 * (turn % 3) : 20 * (turn % 3) + 20])
            each.remove(gone)
        assert len(index) == len(truth)
    assert search_all(index, QUERIES[:5]) == search_all(truth, QUERIES[:5])
    some = np.concatenate([IDS_[::7], np.arange(10**6, 10**6 + 20)])
    assert search_all(index, QUERIES[:5], K, some) == search_all(truth, QUERIES[:5], K, some)


def test_what_was_removed_from_the_disk_can_be_added_again(complete):
    index = ApproximateIndex(DIM, complete)
    assert index.remove(IDS_[:2]) == 2
    assert index.num_deleted == 2
    index.add(IDS_[:1], QUERIES[:1])
    assert np.array_equal(index.vectors(IDS_[[0, 5]]), np.stack([QUERIES[0], STORED[5]]))
    assert index.search(QUERIES[:1], 1)[1].tolist() == [[int(IDS_[0])]]
    with pytest.raises(KeyError, match=str(IDS_[1])):
        index.vectors(IDS_[1:2])
    with pytest.raises(ValueError, match="expected new and different ones"):
        index.add(IDS_[3:4], QUERIES[:1])


@pytest.mark.parametrize("dim", [33, 300])
def test_any_length_of_descriptor_will_do(tmp_path, hasty, dim):
    """Odd ones have no pairs of components; long ones are turned, and their weakest axes left out."""
    rows, ids = clustered(6_000, dim), np.arange(6_000)
    build(tmp_path / "index", dim, source(ids, rows), 0.95)
    index = ApproximateIndex(dim, tmp_path / "index")
    assert recall(index, exact(ids, rows), clustered(50, dim, stream=1)) >= 0.9
    assert index.manifest.code == min(dim, 256)


def test_descriptors_without_clusters_are_measured_as_honestly(tmp_path):
    rows = unit(np.random.default_rng(5).normal(size=(8_000, DIM)).astype(np.float32))
    build(tmp_path / "index", DIM, source(np.arange(8_000), rows), 0.9)
    index = ApproximateIndex(DIM, tmp_path / "index")
    queries = unit(np.random.default_rng(6).normal(size=(100, DIM)).astype(np.float32))
    assert recall(index, exact(np.arange(8_000), rows), queries) == pytest.approx(index.manifest.measured, abs=0.04)


# --- building ---------------------------------------------------------------------------------------------------


class KilledError(Exception):
    """The build was stopped here."""


@pytest.fixture
def hasty(monkeypatch):
    """Builds in many parts, and measured with few queries: it is not what is found that matters."""
    for name, value in (("PART", 2_000), ("SAVED", 4_000), ("MEASURED_QUERIES", 40)):
        monkeypatch.setattr(build_module, name, value)


@pytest.mark.parametrize("step", range(8))
def test_a_build_that_was_killed_goes_on_and_ends_the_same(tmp_path, hasty, step):
    calls = 0

    def dying(what, share):
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise KilledError

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with pytest.raises(KilledError):
        build(killed, DIM, source(IDS_, STORED), 0.97, progress=dying)
    with pytest.raises(GalleryError, match="is not an approximate index"):
        Manifest.read(killed)
    build(killed, DIM, source(IDS_, STORED), 0.97)
    build(whole, DIM, source(IDS_, STORED), 0.97)
    assert files(killed) == files(whole)
    assert said(killed) == said(whole)


@given(st.integers(0, 9_000), st.integers(0, 5_000), st.integers(0, 5_000))
@settings(max_examples=20, deadline=None)
def test_rows_cut_anywhere_are_written_to_their_end(tmp_path_factory, rows, norms, ids):
    folder = tmp_path_factory.mktemp("rows")
    few, stored = IDS_[:100], STORED[:100]
    append_rows(folder, 0, source(few, stored, 7), DIM)
    whole = files(folder)
    for name, cut in ((ROWS, rows), (NORMS, norms), (IDS, ids)):
        path = folder / f"{name}-0"
        path.write_bytes(path.read_bytes()[:cut])
    assert append_rows(folder, 0, source(few, stored, 7), DIM) == 100
    assert files(folder) == whole
    assert np.array_equal(RowFiles(folder, DIM).take(np.arange(100)), stored)
    shutil.rmtree(folder)


def test_an_index_is_added_to_without_learning_anything_again(tmp_path, hasty):
    first, second = tmp_path / "first", tmp_path / "second"
    half = COUNT // 2
    build(first, DIM, source(IDS_[:half], STORED[:half]), 1)
    before = files(first)
    made = build(second, DIM, source(IDS_[half:], STORED[half:]), 1, earlier=first)
    assert (made.count, made.trained) == (COUNT, half)
    assert files(first) == before
    assert (first / f"{CODES}-0").stat().st_ino == (second / f"{CODES}-0").stat().st_ino  # shared, not copied
    truth = exact(IDS_, STORED)
    assert search_all(ApproximateIndex(DIM, second), QUERIES) == search_all(truth, QUERIES)
    shutil.rmtree(first)
    assert search_all(ApproximateIndex(DIM, second), QUERIES) == search_all(truth, QUERIES)


@pytest.mark.parametrize("step", range(4))
def test_an_addition_that_was_killed_goes_on_and_ends_the_same(tmp_path, hasty, step):
    half, calls = COUNT // 2, 0

    def dying(what, share):
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise KilledError

    build(tmp_path / "first", DIM, source(IDS_[:half], STORED[:half]), 0.97)
    rest = source(IDS_[half:], STORED[half:])
    with pytest.raises(KilledError):
        build(tmp_path / "killed", DIM, rest, 0.97, earlier=tmp_path / "first", progress=dying)
    for name in ("killed", "whole"):
        build(tmp_path / name, DIM, rest, 0.97, earlier=tmp_path / "first")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert said(tmp_path / "killed") == said(tmp_path / "whole")


@pytest.mark.parametrize("count", [0, 1, 2, 15, 61])
def test_an_index_of_next_to_nothing_finds_all_of_it(tmp_path, count):
    build(tmp_path / "index", DIM, source(IDS_[:count], STORED[:count]), 0.97)
    index = ApproximateIndex(DIM, tmp_path / "index")
    assert len(index) == count
    assert search_all(index, QUERIES[:3], 100) == search_all(exact(IDS_[:count], STORED[:count]), QUERIES[:3], 100)


def test_lists_grow_with_the_root_of_what_is_in_them():
    assert [lists_for(n) for n in (10, 10_000, 100_000, 1_000_000, 5_000_000)] == [1, 250, 1024, 4096, 8192]


@pytest.mark.parametrize("recall_", [0, -1, 1.5])
def test_a_recall_is_a_share(tmp_path, recall_):
    with pytest.raises(ValueError, match="recall: expected a share"):
        build(tmp_path / "index", DIM, source(IDS_, STORED), recall_)


def test_ids_have_to_rise(tmp_path):
    with pytest.raises(ValueError, match="ids: expected rising ones"):
        build(tmp_path / "index", DIM, lambda after: [(IDS_[:4][::-1], STORED[:4])])


# --- damage -----------------------------------------------------------------------------------------------------


def broken(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "broken"))


def test_a_folder_that_is_no_index_says_so(tmp_path):
    with pytest.raises(GalleryError, match=r"is not an approximate index .*; build it again"):
        ApproximateIndex(DIM, tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"dim": 32}'])
def test_a_manifest_that_cannot_be_understood_is_named(made, tmp_path, text):
    folder = broken(made, tmp_path)
    (folder / MANIFEST).write_text(text)
    with pytest.raises(GalleryError, match=r"is not an approximate index"):
        ApproximateIndex(DIM, folder)


@pytest.mark.parametrize("size", [0, 10, 5_000])
def test_lists_cut_short_are_named(made, tmp_path, size):
    folder = broken(made, tmp_path)
    (folder / LISTS).write_bytes((folder / LISTS).read_bytes()[:size])
    with pytest.raises(GalleryError, match=r"lists\.faiss: cannot be read .*; build the index again"):
        ApproximateIndex(DIM, folder)


@pytest.mark.parametrize("name", [f"{ROWS}-0", f"{NORMS}-0", f"{IDS}-0", f"{CODES}-0"])
def test_files_that_do_not_belong_together_are_refused(made, tmp_path, name):
    folder = broken(made, tmp_path)
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(GalleryError, match="build it again"):
        ApproximateIndex(DIM, folder)


def test_descriptors_of_another_length_are_refused(made):
    with pytest.raises(GalleryError, match=r"expected 9000 descriptors of 16 components"):
        ApproximateIndex(16, made)
