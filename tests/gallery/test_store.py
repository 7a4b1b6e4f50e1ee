"""A real SQLite file each time; entries are made of random numbers, since the store looks at none of them."""

import contextlib
import shutil
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import world
from support.stores import entry, features, put, unit

from veduta.errors import GalleryError
from veduta.features_codec import pack_features, unpack_features
from veduta.gallery.parallel_reader import READERS, ParallelReader
from veduta.gallery.schema import PAGE, SCHEMA_VERSION
from veduta.gallery.store import GALLERY_FILE, Store
from veduta.images import from_array
from veduta.landmarks import Landmark
from veduta.sqlite import connections as sqlite_connections
from veduta.types import LocalFeatures
from veduta.viz import thumbnail

SETTINGS = {"embedder": {"name": "some"}, "extractor": {"name": "other"}, "veduta": "0"}


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(Store.create(tmp_path / "gallery", SETTINGS)) as opened:
        yield opened


def everything(store):
    return store.references(), store.landmarks(), store.rows.ids(), store.revision()


def edit(path, *statements):
    with contextlib.closing(sqlite3.connect(Path(path) / GALLERY_FILE, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


# --- local features as bytes ------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 60),
    dim=st.sampled_from([64, 128]),
    size=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    spikes=st.booleans(),
)
def test_local_features_survive_packing(seed, n, dim, size, spikes):
    before = features(np.random.default_rng(seed), n, dim, size)
    if spikes and n:  # one descriptor with all its weight in one place makes the steps of all others coarse
        before.descriptors[0] = np.eye(dim, dtype=np.float32)[0]

    after = unpack_features(pack_features(before))

    assert after.size == size
    assert after.descriptors.shape == (n, dim)
    assert (np.abs(after.keypoints - before.keypoints) <= np.array(size) / 65535).all()
    assert ((after.descriptors * before.descriptors).sum(1) > 0.999).all()
    np.testing.assert_allclose(np.linalg.norm(after.descriptors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(after.scores, before.scores, rtol=1e-3, atol=1e-7)


def test_packing_keeps_the_order_of_keypoints():
    places = np.array([[300, 7], [2, 200], [150, 150]], np.float32)
    before = LocalFeatures(places, np.eye(64, dtype=np.float32)[:3], np.array([0.9, 0.5, 0.1], np.float32), (480, 360))
    after = unpack_features(pack_features(before))
    assert np.round(after.keypoints).tolist() == places.tolist()
    assert after.descriptors.argmax(1).tolist() == [0, 1, 2]


def test_packing_keeps_the_corners_of_the_photo():
    corners = np.array([[-0.5, -0.5], [479.5, 359.5], [0, 0], [479, 359]], np.float32)
    before = LocalFeatures(corners, np.eye(64, dtype=np.float32)[:4], np.ones(4, np.float32), (480, 360))
    np.testing.assert_allclose(unpack_features(pack_features(before)).keypoints, corners, atol=480 / 65535)


def test_packing_twice_changes_no_more_than_once():
    once = unpack_features(pack_features(features(np.random.default_rng(1), 100)))
    twice = unpack_features(pack_features(once))
    np.testing.assert_allclose(twice.keypoints, once.keypoints, atol=1e-3)
    np.testing.assert_allclose(twice.descriptors, once.descriptors, atol=1e-2)


def test_a_reference_takes_at_most_45_kilobytes(store):
    rng = np.random.default_rng(0)
    sizes = []
    for start in (0, 20):  # the tables' first pages are not a reference's
        pictures = [thumbnail(from_array(world.facade(i))) for i in range(start, start + 20)]
        big = [{"descriptor": unit(rng, 1280), "features": features(rng, 512, 64), "thumbnail": p} for p in pictures]
        put(store, *(entry(start + i, **parts) for i, parts in enumerate(big)))
        store.graph.shrink()
        sizes.append((store.path / GALLERY_FILE).stat().st_size)
    assert (sizes[1] - sizes[0]) / 20 <= 45_000


# --- creating and opening ---------------------------------------------------------------------------------------


def test_a_new_store_is_empty_and_knows_its_settings(store):
    assert store.settings() == SETTINGS
    assert store.counts() == (0, 0)
    assert store.references() == []
    assert store.landmarks() == {}
    assert store.rows.after()[1].shape[0] == 0


def test_create_makes_the_folders_above_it(tmp_path):
    with contextlib.closing(Store.create(tmp_path / "a" / "b" / "c", {})) as store:
        assert {p.name for p in store.path.iterdir()} <= {GALLERY_FILE, f"{GALLERY_FILE}-wal", f"{GALLERY_FILE}-shm"}


def test_create_leaves_a_folder_with_something_in_it_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(GalleryError, match="is not empty; choose a new folder") as raised:
        Store.create(tmp_path, SETTINGS)
    assert str(tmp_path) in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_create_leaves_a_gallery_alone(store):
    put(store, entry(1))
    with pytest.raises(GalleryError, match="is not empty"):
        Store.create(store.path, SETTINGS)
    assert store.counts() == (1, 1)


def test_create_refuses_a_file_in_the_way(tmp_path):
    (tmp_path / "gallery").write_text("a shopping list")
    for path in (tmp_path / "gallery", tmp_path / "gallery" / "below"):
        with pytest.raises(GalleryError, match="choose another folder") as raised:
            Store.create(path, SETTINGS)
        assert str(path) in str(raised.value)
    assert (tmp_path / "gallery").read_text() == "a shopping list"


def test_create_refuses_a_folder_where_sqlite_can_write_no_file(tmp_path):
    deep = tmp_path / ("d" * 200) / ("e" * 200) / ("f" * 200)  # longer than the paths SQLite opens
    with pytest.raises(GalleryError, match=r"cannot hold a gallery .*; choose another folder"):
        Store.create(deep, SETTINGS)


@pytest.mark.parametrize("made", ["nothing", "an empty folder", "a folder of photos", "a file"])
def test_open_refuses_what_is_no_gallery(tmp_path, made):
    path = tmp_path / "gallery"
    if made == "a file":
        path.write_bytes(b"x")
    elif made != "nothing":
        path.mkdir()
    if made == "a folder of photos":
        (path / "a.jpg").write_bytes(b"x")
    with pytest.raises(GalleryError, match=r"is not a gallery .*; make one with 'veduta create") as raised:
        Store.open(path)
    assert str(path) in str(raised.value)


def test_open_refuses_a_file_that_is_not_sqlite(tmp_path):
    (tmp_path / GALLERY_FILE).write_bytes(b"once upon a time " * 500)
    with pytest.raises(GalleryError, match=r"cannot be opened .*not a database.*; restore it from a copy") as raised:
        Store.open(tmp_path)
    assert str(tmp_path / GALLERY_FILE) in str(raised.value)


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
def test_open_refuses_another_schema(store, version):
    store.close()
    edit(store.path, f"PRAGMA user_version = {version}")
    expected = f"has schema {version}, this Veduta reads {SCHEMA_VERSION}; use the Veduta that made it"
    with pytest.raises(GalleryError, match=expected) as raised:
        Store.open(store.path)
    assert str(store.path) in str(raised.value)


def test_open_refuses_a_file_cut_short(store):
    put(store, *(entry(i) for i in range(20)))
    store.close()
    file = store.path / GALLERY_FILE
    file.write_bytes(file.read_bytes()[:8192])
    with pytest.raises(GalleryError, match=r"cannot be opened .*malformed.*; restore it from a copy"):
        Store.open(store.path)


def test_a_damaged_file_is_a_gallery_error_when_it_is_read(store):
    put(store, *(entry(i) for i in range(20)))
    store.close()
    file = store.path / GALLERY_FILE
    data = file.read_bytes()
    file.write_bytes(data[:PAGE] + bytes(len(data) - PAGE))
    with contextlib.closing(Store.open(store.path)) as damaged:
        for ask in (damaged.references, damaged.landmarks, damaged.rows.after, damaged.settings):
            with pytest.raises(GalleryError, match=r"cannot be read .*malformed.*; restore it from a copy"):
                ask()
        with pytest.raises(GalleryError, match=r"cannot be written .*malformed"):
            put(damaged, entry(50))


def test_a_table_that_is_missing_is_a_gallery_error(store):
    edit(store.path, "DROP TABLE meta")
    with pytest.raises(GalleryError, match=r"cannot be read .*no such table"):
        store.settings()
    with pytest.raises(GalleryError, match=r"cannot be written .*no such table"):
        put(store, entry(1))
    assert store.references() == []


def test_a_store_that_was_closed_is_the_programmers_fault(store):
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.revision()


# --- adding and removing ----------------------------------------------------------------------------------------


def test_what_was_added_comes_back(store):
    one = entry(1)
    assert put(store, one) == [one.reference]

    with contextlib.closing(Store.open(store.path)) as other:
        assert other.references() == [one.reference]
        assert other.references("duomo") == [one.reference]
        assert other.references("torre") == []
        assert other.find_content(one.reference.sha256) == one.reference
        assert other.find_content("0" * 64) is None
        reference, kept, picture = other.evidence(one.reference.id)
        assert (reference, picture) == (one.reference, one.thumbnail)
        assert pack_features(kept) == pack_features(unpack_features(pack_features(one.features)))
        rows, descriptors = other.rows.after()
        assert other.rows.labels(rows.tolist()) == {rows[0]: (one.reference.id, "duomo")}
        assert set(rows.tolist()) == other.rows.ids()
        np.testing.assert_allclose(descriptors, one.descriptor[None], atol=1e-3)


def test_the_same_content_twice_is_added_once(store):
    put(store, entry(1))
    before = store.references(), store.rows.ids()
    assert put(store, entry(1)) == []
    assert put(store, entry(1, id="another name.jpg")) == []
    assert (store.references(), store.rows.ids()) == before
    assert put(store, entry(2), entry(2, id="again.jpg")) == [entry(2).reference]


def test_another_photo_under_the_same_id_gets_a_longer_id(store):
    put(store, entry(1, id="front.jpg"))
    (second,) = put(store, entry(2, id="front.jpg"))
    assert second.id == f"front.jpg~{second.sha256[:12]}"
    assert [r.id for r in store.references()] == ["front.jpg", second.id]
    assert store.evidence(second.id)[2] == b"picture 2"


def test_what_a_landmark_says_of_itself_replaces_only_what_it_says(store):
    store.add([Landmark("duomo", "Duomo", 43.77, 11.25, "https://duomo.example")], [])
    store.add([Landmark("duomo")], [])
    assert store.landmarks()["duomo"][0] == Landmark("duomo", "Duomo", 43.77, 11.25, "https://duomo.example")
    store.add([Landmark("duomo", "Cattedrale", latitude=43.7731)], [])
    assert store.landmarks()["duomo"][0] == Landmark("duomo", "Cattedrale", 43.7731, 11.25, "https://duomo.example")


def test_landmarks_come_with_their_number_of_references_in_the_order_of_ids(store):
    put(store, entry(1, "torre"), entry(2, "duomo"), entry(3, "torre"))
    assert list(store.landmarks().values()) == [(Landmark("duomo"), 1), (Landmark("torre"), 2)]
    assert store.counts() == (2, 3)


def test_removing_a_reference_keeps_its_landmark(store):
    put(store, entry(1), entry(2))
    assert store.remove_reference("1.jpg")
    assert not store.remove_reference("1.jpg")
    assert store.evidence("1.jpg") is None
    assert store.features("1.jpg") is None
    assert store.landmarks() == {"duomo": (Landmark("duomo"), 1)}


def test_removing_a_landmark_takes_its_references_along(store):
    put(store, entry(1), entry(2), entry(3, "torre"))
    assert store.remove_landmark("duomo") == 2
    assert [r.id for r in store.references()] == ["3.jpg"]
    assert store.remove_landmark("duomo") is None


def test_a_landmark_without_references_can_be_removed(store):
    store.add([Landmark("duomo")], [])
    assert store.remove_landmark("duomo") == 0
    assert store.landmarks() == {}


def test_a_row_number_is_never_given_twice(store):
    put(store, entry(1), entry(2))
    last = max(store.rows.ids())
    store.remove_reference("2.jpg")
    put(store, entry(2))
    assert max(store.rows.ids()) > last
    (row,) = store.rows.after(last)[0].tolist()
    assert store.rows.labels([last, row]) == {row: ("2.jpg", "duomo")}
    assert store.rows.last() == row


def test_the_log_of_what_went_says_which_rows_those_were_in_order(store):
    put(store, *(entry(i, landmark="torre" if i > 3 else "duomo") for i in range(6)))
    rows = {id: row for row, (id, _) in store.rows.labels(sorted(store.rows.ids())).items()}
    assert store.rows.removed_since() == (0, pytest.approx(np.array([])))
    store.remove_reference("2.jpg")
    seen, gone = store.rows.removed_since()
    assert (seen, gone.tolist()) == (1, [rows["2.jpg"]])
    store.remove_landmark("torre")
    assert sorted(store.rows.removed_since(seen)[1].tolist()) == sorted([rows["4.jpg"], rows["5.jpg"]])
    assert store.rows.removed_since(store.rows.removals())[1].tolist() == []


def test_descriptors_come_in_pieces_that_together_are_all(store):
    put(store, *(entry(i) for i in range(7)))
    rows, descriptors = store.rows.after()
    first, second = store.rows.after(limit=4), store.rows.after(int(rows[3]), limit=4)
    assert [len(first[0]), len(second[0])] == [4, 3]
    assert np.array_equal(np.concatenate([first[0], second[0]]), rows)
    assert np.array_equal(np.concatenate([first[1], second[1]]), descriptors)


def test_the_rows_of_landmarks_are_those_of_their_references(store):
    put(store, *(entry(i, landmark=f"l{i % 3}") for i in range(7)))
    labels = store.rows.labels(sorted(store.rows.ids()))
    wanted = [row for row, (_, landmark) in labels.items() if landmark in ("l0", "l2")]
    assert store.rows.of_landmarks(["l2", "none such", "l0", "l2"]).tolist() == sorted(wanted)
    assert store.rows.of_landmarks([]).tolist() == []


@pytest.mark.parametrize("slow", [0, 10])
@pytest.mark.parametrize("count", [0, 1, 3, 30])
def test_many_local_features_are_what_each_is_alone_however_they_are_read(store, slow, count):
    """By one connection where the disk is fast, by several where it is not."""
    rng = np.random.default_rng(3)
    put(store, *(entry(i, features=features(rng, int(rng.integers(0, 60)), 64)) for i in range(40)))
    store._reader = ParallelReader(store.path / GALLERY_FILE, store._db, slow)
    rows = rng.permutation(sorted(store.rows.ids()))[:count].tolist()
    found = store.features_of([*rows, *rows[:2], 10**6])
    assert sorted(found) == sorted(rows)
    assert bool(store._reader._others) == (slow == 0 and count == 30)
    for row, (kept, counts) in found.items():
        alone, confirmed = store.graph.features(row)
        for name in ("keypoints", "descriptors", "scores"):
            assert np.array_equal(getattr(kept, name), getattr(alone, name))
        assert (kept.size, counts.tolist()) == (alone.size, confirmed.tolist())


def test_what_was_just_removed_has_no_local_features_however_they_are_read(store):
    put(store, *(entry(i) for i in range(30)))
    store._reader = ParallelReader(store.path / GALLERY_FILE, store._db, 0)
    rows = sorted(store.rows.ids())
    assert sorted(store.features_of(rows)) == rows
    assert len(store._reader._others) == READERS  # all connections are open now
    gone = next(row for row, (id, _) in store.rows.labels(rows).items() if id == "17.jpg")
    store.remove_reference("17.jpg")
    assert sorted(store.features_of(rows)) == [row for row in rows if row != gone]


@pytest.mark.parametrize("works", range(READERS))
def test_connections_are_closed_where_one_of_them_cannot_be_opened(store, monkeypatch, works):
    put(store, *(entry(i) for i in range(30)))
    store._reader = ParallelReader(store.path / GALLERY_FILE, store._db, 0)
    opened, rows = [], sorted(store.rows.ids())

    def open_one(file):
        if len(opened) == works:
            raise sqlite3.DatabaseError("file is not a database")
        opened.append(sqlite3.connect(file, check_same_thread=False))
        return opened[-1]

    monkeypatch.setattr("veduta.gallery.parallel_reader.connect", open_one)
    with pytest.raises(GalleryError, match="not a database"):
        store.features_of(rows)
    store.close()
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def test_a_licence_is_kept(store):
    one = entry(1)
    put(store, replace(one, reference=replace(one.reference, license="CC BY 4.0")), entry(2))
    assert [r.license for r in store.references()] == ["CC BY 4.0", None]
    assert store.evidence("1.jpg")[0].license == "CC BY 4.0"


def test_the_revision_grows_with_every_change_also_by_others(store):
    seen = [store.revision()]
    put(store, entry(1), entry(2))
    seen.append(store.revision())
    with contextlib.closing(Store.open(store.path)) as other:
        other.remove_reference("1.jpg")
        seen.append(store.revision())
        other.remove_landmark("duomo")
        seen.append(store.revision())
    assert seen == sorted(set(seen))


def test_reading_changes_no_revision(store):
    put(store, entry(1))
    before = store.revision()
    everything(store), store.rows.after(), store.evidence("1.jpg"), store.settings(), store.bytes_on_disk()
    assert store.revision() == before


# --- transactions -----------------------------------------------------------------------------------------------


def interrupted(*entries):
    yield from entries
    raise KeyboardInterrupt


def test_nothing_of_a_batch_stays_when_its_last_entry_is_bad(store):
    put(store, entry(1))
    before = everything(store)
    with pytest.raises(sqlite3.IntegrityError):
        put(store, entry(2, "torre"), entry(3), entry(4, thumbnail="text where bytes belong"))
    assert everything(store) == before
    assert len(put(store, entry(2, "torre"), entry(3))) == 2


def test_nothing_of_a_batch_stays_when_it_is_interrupted(store):
    put(store, entry(1))
    before = everything(store)
    with pytest.raises(KeyboardInterrupt):
        store.add([Landmark("torre")], interrupted(entry(2, "torre"), entry(3, "torre")))
    assert everything(store) == before
    assert len(put(store, entry(2))) == 1


def test_a_reference_without_its_landmark_is_refused(store):
    with pytest.raises(sqlite3.IntegrityError):
        store.add([], [entry(1)])
    assert store.references() == []


def test_others_see_nothing_of_a_batch_before_it_is_complete(store):
    with contextlib.closing(Store.open(store.path)) as other:

        def watched():
            yield entry(1)
            assert other.counts() == (0, 0)
            yield entry(2)

        store.add([Landmark("duomo")], watched())
        assert other.counts() == (1, 2)


def test_what_is_read_together_is_of_one_moment(store):
    put(store, entry(1))
    with contextlib.closing(Store.open(store.path)) as other:
        with store.reading():
            before = everything(store)
            other.remove_landmark("duomo")
            assert everything(store) == before
        assert store.landmarks() == {}


def test_a_gallery_that_stays_busy_says_so(store, monkeypatch):
    monkeypatch.setattr(sqlite_connections, "BUSY_SECONDS", 0.01)
    with (
        contextlib.closing(sqlite3.connect(store.path / GALLERY_FILE, isolation_level=None)) as busy,
        contextlib.closing(Store.open(store.path)) as hasty,
    ):
        busy.execute("BEGIN IMMEDIATE")
        with pytest.raises(GalleryError, match=r"cannot be written .*locked.*; is another process using it") as raised:
            put(hasty, entry(1))
        assert str(store.path) in str(raised.value)
        assert hasty.references() == []  # reading waits for nobody
        busy.execute("ROLLBACK")
        assert len(put(hasty, entry(1))) == 1


# --- any sequence of changes ------------------------------------------------------------------------------------

photo = st.tuples(st.integers(0, 7), st.sampled_from(["a.jpg", "b.jpg", "c.jpg"]), st.sampled_from(["duomo", "torre"]))
change = st.one_of(
    st.tuples(st.just("add"), st.lists(photo, max_size=4)),
    st.tuples(st.just("remove reference"), st.integers(0, 9)),
    st.tuples(st.just("remove landmark"), st.sampled_from(["duomo", "torre"])),
    st.tuples(st.just("reopen"), st.none()),
)


def follow(model, known, kind, what):
    """Do to a dict, id -> (landmark, content), and a set of landmarks what the store is to do to its file."""
    if kind == "add":
        for content, id, landmark in what:
            known.add(landmark)
            if content in (c for _, c in model.values()):
                continue
            sha256 = entry(content).reference.sha256
            model[f"{id}~{sha256[:12]}" if id in model else id] = (landmark, content)
    elif kind == "remove reference":
        model.pop(nth(model, what), None)
    elif kind == "remove landmark":
        known.discard(what)
        for id in [id for id, (landmark, _) in model.items() if landmark == what]:
            del model[id]


def nth(model, n):
    """The id of one reference, or one that is not there."""
    return sorted(model)[n] if n < len(model) else "nowhere.jpg"


def change_store(store, model, kind, what):
    if kind == "add":
        put(store, *(entry(content, landmark, id) for content, id, landmark in what))
    elif kind == "remove reference":
        assert store.remove_reference(nth(model, what)) == (what < len(model))
    elif kind == "remove landmark":
        store.remove_landmark(what)
    else:
        store.close()
        store = Store.open(store.path)
    return store


@settings(max_examples=40, deadline=None)
@given(st.lists(change, max_size=12))
def test_any_sequence_of_changes_leaves_what_a_dict_would_hold(changes):
    folder = Path(tempfile.mkdtemp())
    store, model, known = Store.create(folder / "gallery", SETTINGS), {}, set()
    try:
        for kind, what in changes:
            store = change_store(store, model, kind, what)
            follow(model, known, kind, what)

            expected = {id: (landmark, entry(content).reference.sha256) for id, (landmark, content) in model.items()}
            assert {r.id: (r.landmark, r.sha256) for r in store.references()} == expected
            counts = {name: sum(landmark == name for landmark, _ in model.values()) for name in known}
            assert {id: count for id, (_, count) in store.landmarks().items()} == counts
            rows, descriptors = store.rows.after()
            labels = [store.rows.labels([row])[row] for row in rows.tolist()]
            assert len(labels) == len(model)
            for (id, landmark), descriptor in zip(labels, descriptors, strict=True):
                assert landmark == model[id][0]
                np.testing.assert_allclose(descriptor, entry(model[id][1]).descriptor, atol=1e-3)
    finally:
        store.close()
        shutil.rmtree(folder)


def test_a_gallery_that_may_only_be_read_is_read(tmp_path, monkeypatch):
    with_one = Store.create(tmp_path / "g", {})
    with_one.add([Landmark("torre")], [entry(1, "torre")])
    with_one.close()
    before = sorted(path.name for path in (tmp_path / "g").iterdir())
    monkeypatch.setattr("veduta.gallery.store.os.access", lambda *_: False)
    store = Store.open(tmp_path / "g")
    assert store.counts() == (1, 1)
    with pytest.raises(GalleryError, match="readonly"):
        store.remove_landmark("torre")
    store.close()
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == before


def test_a_killed_creation_is_no_obstacle(tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / ".gallery.sqlite.123").write_bytes(b"half")
    Store.create(tmp_path / "g", {}).close()
