"""A gallery that names a Qdrant: the same answers, and uploads that go on wherever they were cut off."""

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from support.galleries import recognized
from support.processes import PATIENCE, read_only
from support.qdrant_server import Server
from support.stores import entry, put
from support.vectors import clustered, exact, search_all

from veduta.errors import GalleryError
from veduta.gallery import Gallery, live_index, qdrant_sync
from veduta.gallery.index_build import build_index
from veduta.gallery.live_index import INDEX_FOLDER, IndexChoice, LiveIndex, describe_index, needs_rebuild
from veduta.gallery.qdrant_sync import SyncState
from veduta.gallery.store import Store
from veduta.geo import Circle
from veduta.index import ExactIndex
from veduta.index.qdrant.client import QdrantConnection, RetryPolicy
from veduta.index.qdrant.collections import resolve, versions
from veduta.index.qdrant.index import UPLOAD_BATCH, QdrantIndex
from veduta.trust import accept

DIM, MODEL = 32, "c" * 64
SETTINGS = {"embedder": {"name": "some", "sha256": MODEL}, "extractor": {"name": "other"}, "veduta": "0"}
QUERIES = clustered(5, stream=1)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """What breaks off is given up soon; what is slow, as everything is on a busy machine, is waited for."""
    short = {"seconds": PATIENCE, "tries": 2, "pause": 0, "longest": 0}
    monkeypatch.setattr(RetryPolicy, "__init__", lambda self: vars(self).update(short))


@pytest.fixture
def server():
    with Server() as node:
        yield node


@pytest.fixture
def store(tmp_path, server):
    with contextlib.closing(Store.create(tmp_path / "gallery", SETTINGS)) as made:
        choice = IndexChoice("qdrant", address=server.address, name="sights")
        made.put_attachment(live_index.INDEX_SETTING, choice.to_bytes())
        accept(made.path, choice.request())
        yield made


def fill(store, first, count):
    descriptors = clustered(first + count)[first:]
    put(store, *(entry(first + i, f"l{(first + i) % 7}", descriptor=d) for i, d in enumerate(descriptors)))


def agree(store, index):
    return search_all(index, QUERIES) == search_all(exact(*store.rows.after()), QUERIES)


def batches(server):
    """How many references each upload had."""
    return [len(body["batch"]["ids"]) for body in server.sent("/points") if "batch" in (body or {})]


# --- the choice -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "qdrant"}, "address: expected that of a Qdrant, got none"),
        ({"kind": "qdrant", "address": "http://a:b@c"}, "expected none with a password in it"),
        ({"kind": "qdrant", "address": "x", "name": "a/b"}, "name: expected letters"),
        ({"kind": "qdrant", "address": "x", "replicas": 0}, "Shape: expected numbers of at least 1"),
    ],
)
def test_a_choice_that_is_none_is_refused(gallery, options, said):
    with pytest.raises(ValueError, match=said):
        gallery.choose_index(**options)


def test_the_choice_is_kept_and_the_key_is_not(gallery, monkeypatch):
    monkeypatch.setenv("VEDUTA_QDRANT_API_KEY", "secret")
    gallery.choose_index("qdrant", address="http://127.0.0.1:1", shards=6, replicas=2)
    assert gallery.choose_index(name="sights").target.shape.shards == 6
    assert b"secret" not in b"".join(path.read_bytes() for path in gallery.path.iterdir() if path.is_file())
    assert gallery.choose_index("exact").target is None
    assert gallery.build_index() is None


# --- uploading --------------------------------------------------------------------------------------------------------


def test_what_is_uploaded_is_searched_there_and_what_came_and_went_since_here(store, server):
    fill(store, 0, 300)
    store.remove_reference("17.jpg")
    made = build_index(store, DIM)
    assert (made.count, made.name, made.measured) == (299, "sights", 1.0)
    assert describe_index(store)["kind"] == "qdrant"
    with contextlib.closing(LiveIndex(store, DIM)) as kept:
        assert agree(store, kept.refresh())
        fill(store, 300, 20)
        store.remove_landmark("l3")
        asked = len(server.sent("/query/batch"))
        index = kept.refresh()
        assert agree(store, index)
        assert len(index) == store.counts()[1]
        assert len(index.delta) == 20 - 3
        assert len(server.sent("/query/batch")) > asked
        some = store.rows.of_landmarks(["l1", "l5"])
        assert search_all(index, QUERIES, 5, some) == search_all(exact(*store.rows.after()), QUERIES, 5, some)


def test_only_what_is_new_is_sent_again_and_open_galleries_go_over_to_it(store, server):
    fill(store, 0, 300)
    first = build_index(store, DIM)
    with contextlib.closing(LiveIndex(store, DIM)) as kept:
        kept.refresh()
        assert batches(server) == [UPLOAD_BATCH, 300 - UPLOAD_BATCH]
        fill(store, 300, 10)
        store.remove_reference("5.jpg")
        second = build_index(store, DIM)
        assert batches(server)[2:] == [10]
        assert (second.collection, second.count) == (first.collection, 309)
        assert agree(store, kept._index) is False  # opened before, it goes by what it knew
        assert kept.has_newer()
        index = kept.refresh()
        assert len(index.delta) == 0
        assert agree(store, index)
        assert not kept.has_newer()
    assert build_index(store, DIM).count == 309
    assert len(batches(server)) == 3


def test_made_anew_it_is_another_collection_and_searches_never_stop(store, server):
    fill(store, 0, 60)
    first = build_index(store, DIM)
    with contextlib.closing(LiveIndex(store, DIM)) as kept:
        index = kept.refresh()
        second = build_index(store, DIM, rebuild=True)
        assert second.collection != first.collection
        assert agree(store, index)  # the old one is there as long as somebody has it open
        assert resolve(QdrantConnection(server.address), "sights", MODEL) == second.collection
        assert kept.refresh().base.collection == second.collection


@pytest.mark.parametrize("step", range(10))
def test_an_upload_cut_off_anywhere_is_gone_on_with(store, server, step):
    fill(store, 0, 2 * UPLOAD_BATCH + 30)
    server.faults = [None] * (step + 1) + ["close"] * 2
    with pytest.raises(GalleryError, match="broke off"):
        build_index(store, DIM)
    with contextlib.closing(LiveIndex(store, DIM)) as kept:  # meanwhile it is searched here
        assert isinstance(kept.refresh(), ExactIndex)
        assert agree(store, kept.refresh())
        assert describe_index(store) == {"kind": "exact", "wanted": "qdrant", "recall": 1.0}
        server.faults = []
        store.remove_reference("3.jpg")
        store.remove_reference("300.jpg")
        made = build_index(store, DIM)
        assert made.count == 2 * UPLOAD_BATCH + 28
        assert agree(store, kept.refresh())
    assert len(versions(QdrantConnection(server.address), "sights")) == 1
    assert sum(batches(server)) <= 2 * UPLOAD_BATCH + 30 + 2 * UPLOAD_BATCH  # what was confirmed was not sent again
    assert not (store.path / INDEX_FOLDER / qdrant_sync.SYNC_DRAFT).exists()


def test_a_process_killed_in_the_midst_of_an_upload_is_gone_on_with(store, server):
    fill(store, 0, 3 * UPLOAD_BATCH)
    server.faults = [None] * 7 + ["hang"] * 9
    code = "from veduta.gallery.store import Store; from veduta.gallery.index_build import build_index; "
    code += f"build_index(Store.open({str(store.path)!r}), {DIM})"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        end = time.monotonic() + PATIENCE
        while len(batches(server)) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        process.kill()
    sent = json.loads((store.path / INDEX_FOLDER / qdrant_sync.SYNC_DRAFT).read_text())
    assert 0 < sent["row"] < 3 * UPLOAD_BATCH
    server.faults, before = [], len(batches(server))
    assert build_index(store, DIM).count == 3 * UPLOAD_BATCH
    assert sum(batches(server)[before:]) == 3 * UPLOAD_BATCH - sent["row"]
    with contextlib.closing(LiveIndex(store, DIM)) as kept:
        assert agree(store, kept.refresh())


def test_so_many_that_memory_might_not_hold_them_need_a_complete_upload(store, server, monkeypatch):
    fill(store, 0, 20)
    monkeypatch.setattr(live_index, "EXACT_BYTES", 100)
    with (
        contextlib.closing(LiveIndex(store, DIM)) as kept,
        pytest.raises(GalleryError, match="has 20 references and no index of them; make one with 'veduta"),
    ):
        kept.refresh()


def test_the_ef_of_hnsw_is_the_least_that_finds_enough(store, server, monkeypatch):
    fill(store, 0, 80)
    real, asked = QdrantIndex.search, []

    def search(self, descriptors, k, among=None):
        similarity, ids = real(self, descriptors, k, among)
        asked.append(self.options.hnsw_ef)
        wrong = {None: 0, 64: 9, 128: 3}.get(self.options.hnsw_ef, 0)
        return similarity, np.where(np.arange(ids.shape[1]) < wrong, -1 - np.arange(ids.shape[1]), ids)

    monkeypatch.setattr(QdrantIndex, "search", search)
    made = build_index(store, DIM)
    assert (made.hnsw_ef, made.measured, made.recall) == (256, 1.0, 0.99)
    store.put_attachment(live_index.INDEX_SETTING, replace(IndexChoice.of(store), recall=0.9).to_bytes())
    made = build_index(store, DIM)
    assert (made.hnsw_ef, made.measured) == (128, pytest.approx(0.9))
    assert asked == [None, 64, 128, 256, None, 64, 128]


def test_a_record_with_the_earlier_name_of_a_field_is_read(store, server, tmp_path):
    fill(store, 0, 20)
    made = replace(build_index(store, DIM), hnsw_ef=256)
    target, file = IndexChoice.of(store).target, tmp_path / "state.json"
    made.write(file)
    file.write_text(file.read_text().replace('"hnsw_ef"', '"breadth"'))
    assert SyncState.read(file, target) == made


def test_nothing_is_sent_for_the_first_time_that_nobody_asked_for(store, server, monkeypatch):
    fill(store, 0, 30)
    begun = []
    monkeypatch.setattr(LiveIndex, "_start_rebuild", lambda self: begun.append(self))
    with contextlib.closing(LiveIndex(store, DIM)) as kept:
        kept.refresh()
        assert server.seen == []
        build_index(store, DIM)
        assert not needs_rebuild(kept.refresh())
        monkeypatch.setattr(live_index, "MIN_STALE", 5)
        fill(store, 30, 9)
        assert needs_rebuild(kept.refresh())
        assert begun == [kept]


# --- what is said when something is wrong -----------------------------------------------------------------------------


def said(store, call=None):
    with contextlib.closing(LiveIndex(store, DIM)) as kept, pytest.raises(GalleryError) as caught:
        (call or kept.refresh)()
    return str(caught.value)


def test_references_that_a_cluster_has_lost_are_missed(store, server):
    fill(store, 0, 40)
    made = build_index(store, DIM)
    server.store.delete(made.collection, [3, 4])
    expected = f"{made.collection} has 38 references, expected 40; see whether a node is gone, or upload it anew"
    assert expected in said(store)
    assert expected in said(store, lambda: build_index(store, DIM))
    assert build_index(store, DIM, rebuild=True).count == 40


def test_another_model_another_length_and_nobody_there_are_said(store, server):
    fill(store, 0, 10)
    made = build_index(store, DIM)
    path = store.path / INDEX_FOLDER / qdrant_sync.SYNC_FILE
    replace(made, collection="sights--0123456789ab-1").write(path)
    assert "sights--0123456789ab-1 was not made by this gallery's model, cccccccccccc; upload it anew" in said(store)
    made.write(path)
    assert "has descriptors of length 32, expected 33" in said(store, LiveIndex(store, DIM + 1).refresh)
    server.store.delete_collection(made.collection)
    assert "upload with 'veduta index GALLERY'" in said(store)
    server.dead = True
    assert "broke off" in said(store)
    server.dead = False
    assert build_index(store, DIM).count == 10


def test_a_record_that_is_of_elsewhere_or_damaged_is_as_none(store, server):
    fill(store, 0, 10)
    build_index(store, DIM)
    path = store.path / INDEX_FOLDER / qdrant_sync.SYNC_FILE
    store.put_attachment(live_index.INDEX_SETTING, replace(IndexChoice.of(store), name="others").to_bytes())
    assert describe_index(store)["kind"] == "exact"
    store.put_attachment(live_index.INDEX_SETTING, replace(IndexChoice.of(store), name="sights").to_bytes())
    assert describe_index(store)["kind"] == "qdrant"
    path.write_text("{")
    assert describe_index(store)["kind"] == "exact"
    assert build_index(store, DIM).collection.endswith("-2")


# --- galleries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [False, True])
def test_answers_are_the_same_whether_it_is_searched_here_or_there(placed, server, tmp_path, views, distractors, wire):
    queries = [*views, *distractors]
    wanted = [{}, {"landmarks": ["palazzo-1", "palazzo-4"]}, {"near": Circle(41.9, 12.5, 50)}]
    before = [recognized(placed, queries, **options) for options in wanted]
    placed.choose_index("qdrant", address=server.address if wire else str(tmp_path / "qdrant"), name="sights")
    assert [recognized(placed, queries[:3])] == [before[0][:3]]
    made = placed.build_index()
    assert (made.count, placed.info().index["kind"]) == (12, "qdrant")
    assert [recognized(placed, queries, **options) for options in wanted] == before
    placed.remove(landmark="palazzo-5")
    assert placed.build_index().count == 10
    after = recognized(placed, queries)
    placed.choose_index("exact")
    assert recognized(placed, queries) == after


def test_a_gallery_that_may_only_be_read_is_searched_there(gallery_path, server, views):
    with Gallery.open(gallery_path) as gallery:
        gallery.choose_index("qdrant", address=server.address)
        gallery.build_index()
        before = recognized(gallery, views)
    with read_only(gallery_path), Gallery.open(gallery_path) as gallery:
        assert recognized(gallery, views) == before
        assert gallery.info().index["kind"] == "qdrant"
