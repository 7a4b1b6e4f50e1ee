"""Which keypoints are kept and how many inliers are expected, by itself and through a gallery that is added to."""

import contextlib
import os
import shutil
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import components, world

from veduta.errors import GalleryError
from veduta.gallery import Gallery
from veduta.gallery.match_graph import (
    EXPECTED_FROM,
    MAX_KEYPOINTS,
    MIN_CONFIRMING,
    ReferencePair,
    count_confirmed,
    expected_inliers,
    keep_confirmed,
)
from veduta.gallery.schema import SCHEMA_VERSION
from veduta.gallery.store import GALLERY_FILE, Store

COUNTS = st.lists(st.integers(0, 4), max_size=60)


def features(n):
    """Local features of which each is where its number says."""
    return components.points(np.stack((np.arange(n), np.arange(n)), 1))


def numbers(kept):
    return kept.keypoints[:, 0].astype(int).tolist()


def uint8(counts):
    return np.array(counts, np.uint8)


# --- confirming


def test_confirming_counts_the_given_keypoints_up():
    assert count_confirmed(uint8([0, 1, 7, 0]), np.array([1, 3])).tolist() == [0, 2, 7, 1]


def test_a_count_goes_as_far_as_a_byte():
    counts = uint8([253, 254, 255])
    for expected in ([254, 255, 255], [255, 255, 255], [255, 255, 255]):
        counts = count_confirmed(counts, np.array([0, 1, 2]))
        assert counts.tolist() == expected
    assert counts.dtype == np.uint8


def test_confirming_leaves_what_it_was_given_alone():
    counts = uint8([1, 2])
    counts.setflags(write=False)
    assert count_confirmed(counts, np.array([0])).tolist() == [2, 2]
    assert counts.tolist() == [1, 2]


def test_confirming_nothing_changes_nothing():
    assert count_confirmed(uint8([1, 2]), np.array([], np.int64)).tolist() == [1, 2]


# --- keeping


@pytest.mark.parametrize("confirming", range(MIN_CONFIRMING))
def test_all_are_kept_while_few_relatives_confirm_any(confirming):
    kept, counts = keep_confirmed(features(20), uint8([1] * 20), confirming, limit=5)
    assert numbers(kept) == list(range(20))
    assert len(counts) == 20


def test_all_are_kept_when_there_are_few():
    kept, counts = keep_confirmed(features(5), uint8([0, 1, 0, 2, 0]), 6, limit=5)
    assert numbers(kept) == [0, 1, 2, 3, 4]
    assert counts.tolist() == [0, 1, 0, 2, 0]


def test_the_most_useful_are_kept_in_the_order_they_had():
    kept, counts = keep_confirmed(features(6), uint8([0, 2, 1, 0, 3, 1]), 2, limit=3)
    assert numbers(kept) == [1, 2, 4]
    assert counts.tolist() == [2, 1, 3]


def test_of_equally_useful_ones_the_detectors_best_are_kept():
    assert numbers(keep_confirmed(features(9), uint8([1] * 9), 2, limit=4)[0]) == [0, 1, 2, 3]
    assert numbers(keep_confirmed(features(6), uint8([0, 0, 0, 0, 0, 1]), 2, limit=3)[0]) == [0, 1, 5]


@given(COUNTS, st.integers(0, 4), st.integers(1, 40))
@settings(deadline=None)
def test_no_keypoint_is_dropped_that_is_more_useful_than_one_kept(counts, confirming, most):
    given_ones = features(len(counts))
    kept, left = keep_confirmed(given_ones, uint8(counts), confirming, most)
    stay = numbers(kept)
    assert stay == sorted(set(stay))
    assert len(stay) == (min(most, len(counts)) if confirming >= MIN_CONFIRMING else len(counts))
    assert left.tolist() == [counts[i] for i in stay]
    for gone in set(range(len(counts))) - set(stay):
        assert all(counts[gone] < counts[i] or (counts[gone] == counts[i] and gone > i) for i in stay)
    assert len(kept.descriptors) == len(kept.scores) == len(stay)
    assert kept.size == given_ones.size


# --- expecting


def test_what_is_expected_is_the_mean_of_the_largest_few():
    assert expected_inliers([1, 60, 2, 30, 90]) == 60
    assert expected_inliers([10, 20]) == 15
    assert expected_inliers(iter([7])) == 7
    assert np.isnan(expected_inliers([]))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=12))
@settings(deadline=None)
def test_one_more_relative_never_lowers_what_is_expected_of_many(inliers):
    found = expected_inliers(inliers)
    assert min(inliers) <= found <= max(inliers)
    if len(inliers) >= EXPECTED_FROM:
        assert expected_inliers([*inliers, 0]) == found
        assert expected_inliers([*inliers, max(inliers)]) >= found


# --- in a gallery


def asked(path, query, *values):
    """What a query finds in the gallery's file, past the library."""
    with contextlib.closing(sqlite3.connect(path / GALLERY_FILE)) as db:
        return db.execute(query, values).fetchall()


def kin(path):
    """(reference id, other's id) -> inliers."""
    query = """SELECT a.id, b.id, k.num_inliers FROM reference_pair AS k JOIN reference AS a ON a.row = k.a
               JOIN reference AS b """
    return {(a, b): n for a, b, n in asked(path, query + "ON b.row = k.b")}


@contextlib.contextmanager
def opened(path):
    with contextlib.closing(Store.open(path)) as store:
        yield store


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A gallery of one landmark with four photos."""
    folder = world.build(tmp_path_factory.mktemp("family"), landmarks=1, photos=4)
    path = tmp_path_factory.mktemp("family") / "gallery"
    with Gallery.create(path) as gallery:
        gallery.add(folder)
    return path


def test_every_reference_is_held_against_its_relatives(built):
    with opened(built) as store:
        assert store.graph.uncompared() == []
        ids = [reference.id for reference in store.references()]
        expected = store.graph.expected_inliers(ids)
        assert set(expected) == set(ids)
        assert min(expected.values()) > 20
        for id in ids:
            found, counts = store.features(id)
            assert len(found) == len(counts) == 512, "one relative alone may show only a corner"
            assert counts.sum() == expected[id]
            assert set(counts.tolist()) == {0, 1}


def test_both_photos_of_a_pair_know_of_it(built):
    pairs = kin(built)
    assert len(pairs) == 12
    assert all(pairs[b, a] == n for (a, b), n in pairs.items())
    assert {a.split("/")[0] == b.split("/")[0] for a, b in pairs} == {True}


def test_removing_a_reference_takes_its_kin_along(gallery, gallery_path):
    gallery.remove(reference="palazzo-3/photo-1.jpg")
    assert not any("palazzo-3/photo-1.jpg" in pair for pair in kin(gallery_path))
    assert len(kin(gallery_path)) == asked(gallery_path, "SELECT count(*) FROM reference_pair")[0][0] == 10
    assert asked(gallery_path, "SELECT count(*) FROM keypoint_support")[0][0] == 11
    with opened(gallery_path) as store:
        assert store.graph.expected_inliers(["palazzo-3/photo-0.jpg"]) == {}
        assert store.graph.uncompared() == []


def test_removing_a_landmark_takes_its_kin_along(gallery, gallery_path):
    gallery.remove(landmark="palazzo-3")
    assert len(kin(gallery_path)) == asked(gallery_path, "SELECT count(*) FROM reference_pair")[0][0] == 10
    assert asked(gallery_path, "SELECT count(*) FROM keypoint_support")[0][0] == 10


def test_of_a_landmark_with_many_photos_the_useful_keypoints_are_kept(family):
    with opened(family) as store:
        for reference in store.references():
            found, counts = store.features(reference.id)
            assert len(found) == len(counts) == MAX_KEYPOINTS
            assert counts.max() >= MIN_CONFIRMING
            assert np.count_nonzero(counts) > 60


def test_what_says_nothing_of_a_landmark_alone_is_kept_whole(gallery, gallery_path, tmp_path):
    new = world.save(world.facade(77), tmp_path / "new.jpg")
    gallery.add_photo(new, "torre", id="new")
    with opened(gallery_path) as store:
        found, counts = store.features("new")
        assert (len(found), counts.sum()) == (512, 0)
        assert store.graph.expected_inliers(["new"]) == {}
        assert store.graph.uncompared() == []


def test_added_one_by_one_or_all_at_once_pairs_have_the_same_inliers(built, photos, tmp_path):
    names = [f"palazzo-{i}/photo-{j}.jpg" for i, j in ((1, 1), (0, 0), (1, 0), (0, 1))]
    path = tmp_path / "gallery"
    with Gallery.create(path) as gallery:
        for name in names:
            gallery.add_photo(photos / name, name.split("/")[0], id=name)
    assert kin(path) == {pair: n for pair, n in kin(built).items() if pair[0] in names}
    with opened(path) as one_by_one, opened(built) as at_once:
        for name in names:
            assert np.array_equal(one_by_one.features(name)[1], at_once.features(name)[1])


def test_in_which_order_many_photos_of_a_landmark_were_added_does_not_matter(tmp_path):
    folder = world.build(tmp_path / "photos", landmarks=1, photos=5)
    found = []
    for order in (range(5), (3, 0, 4, 1, 2)):
        path = tmp_path / f"gallery-{order[0]}"
        table = tmp_path / "table.csv"
        names = [f"palazzo-0/photo-{j}.jpg" for j in order]
        table.write_text("photo,landmark\n" + "".join(f"{folder / name},palazzo-0\n" for name in names))
        with Gallery.create(path) as gallery:
            gallery.add(csv=table)
        with opened(path) as store:
            ids = [str(folder / f"palazzo-0/photo-{j}.jpg") for j in range(5)]
            found.append((kin(path), [store.features(id)[1].tolist() for id in ids]))
            assert all(len(store.features(id)[0]) == 320 for id in ids)
    assert found[0] == found[1]


def test_space_that_dropped_keypoints_leave_is_given_back(tmp_path):
    folder = world.build(tmp_path / "photos", landmarks=4, photos=4)
    with Gallery.create(tmp_path / "gallery") as gallery:
        empty = (tmp_path / "gallery" / GALLERY_FILE).stat().st_size
        gallery.add(folder)
    pages, free = (asked(tmp_path / "gallery", f"PRAGMA {what}")[0][0] for what in ("page_count", "freelist_count"))
    assert free < 0.02 * pages
    assert (tmp_path / "gallery" / GALLERY_FILE).stat().st_size - empty < 16 * 40_000


def test_the_progress_of_comparing_is_told(tmp_path):
    folder, seen = world.build(tmp_path / "photos", landmarks=2), []
    with Gallery.create(tmp_path / "gallery") as gallery:
        gallery.add_photo(folder / "palazzo-0" / "photo-0.jpg", "palazzo-0")
        gallery.add(folder, comparing=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


# --- what another process has done meanwhile


def rows_of(path):
    return dict(asked(path, "SELECT id, row FROM reference"))


def some_kin(row, length):
    return ReferencePair(row, np.arange(9), np.arange(9), (length, length))


@pytest.mark.parametrize("ids", [("photo-0", "photo-1"), ("photo-1", "photo-0")])
def test_a_pair_two_have_compared_at_once_counts_once(gallery_path, ids):
    before, rows = kin(gallery_path), rows_of(gallery_path)
    mine, other = (f"palazzo-2/{id}.jpg" for id in ids)
    with opened(gallery_path) as store:
        counts = [store.features(id)[1] for id in (mine, other)]
        store.graph.add_pairs(rows[mine], [some_kin(rows[other], 512)])
        assert all(np.array_equal(store.features(id)[1], n) for id, n in zip((mine, other), counts, strict=True))
    assert kin(gallery_path) == before


def test_a_relative_removed_meanwhile_is_no_kin(gallery, gallery_path):
    rows = rows_of(gallery_path)
    gallery.remove(landmark="palazzo-2")
    before = kin(gallery_path)
    with opened(gallery_path) as store:
        store.graph.add_pairs(rows["palazzo-2/photo-0.jpg"], [some_kin(rows["palazzo-2/photo-1.jpg"], 512)])
        store.graph.add_pairs(rows["palazzo-1/photo-0.jpg"], [some_kin(rows["palazzo-2/photo-1.jpg"], 512)])
    assert kin(gallery_path) == before


def test_keypoints_found_before_others_were_dropped_are_not_counted(family, tmp_path):
    path = shutil.copytree(family, tmp_path / "gallery")
    new = world.save(world.distractor(1), tmp_path / "new.jpg")
    with Gallery.open(path) as gallery:
        gallery.add_photo(new, "elsewhere", id="new")
    rows, id = rows_of(path), "palazzo-0/photo-0.jpg"
    with opened(path) as store:
        before = store.features(id)[1]
        store.graph.add_pairs(rows["new"], [ReferencePair(rows[id], np.arange(9), np.arange(9), (512, 512))])
        assert np.array_equal(store.features(id)[1], before), "it has 320 by now, and other numbers"
        assert store.features("new")[1].sum() == 9
        assert store.graph.expected_inliers(["new"]) == {"new": 9}


# --- a gallery of an older Veduta


@pytest.fixture
def old(gallery_path):
    """The gallery as schema 1 had it: nothing is known of relatives."""
    with contextlib.closing(sqlite3.connect(gallery_path / GALLERY_FILE, isolation_level=None)) as db:
        for column in ("features", "thumbnail"):  # with a default only because there are rows already
            db.execute(f"ALTER TABLE reference ADD COLUMN {column} BLOB NOT NULL DEFAULT x''")
            db.execute(
                f"UPDATE reference SET {column} = (SELECT t.{column} FROM {column} AS t WHERE t.row = reference.row)"
            )
        db.execute("ALTER TABLE reference DROP COLUMN license")
        made = ("addition", "landmark_origin", "reference_origin", "keypoint_support", "reference_pair", "attachment")
        for table in (*made, "removed", "features", "thumbnail"):
            db.execute(f"DROP TABLE {table}")
        db.execute("DROP TRIGGER reference_removed")
        db.execute("PRAGMA user_version = 1")
        db.execute("PRAGMA journal_mode = DELETE")
    return gallery_path


def test_an_older_gallery_is_brought_up_to_date_and_answers(old, view):
    with Gallery.open(old) as gallery:
        (answer,) = gallery.recognize([view])
        assert answer.landmark.id == "palazzo-0"
        assert gallery.recognizer().references.expected_inliers(["palazzo-0/photo-0.jpg"]) == {}
    assert asked(old, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    tables = {name for (name,) in asked(old, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"keypoint_support", "reference_pair", "attachment"} <= tables
    with opened(old) as store:
        assert len(store.graph.uncompared()) == 12


def test_the_next_addition_compares_the_references_of_an_older_gallery(old, built, tmp_path):
    with Gallery.open(old) as gallery:
        gallery.add_photo(world.save(world.facade(77, 240, 180), tmp_path / "new.jpg"), "torre")
    with opened(old) as store, opened(built) as new:
        assert store.graph.uncompared() == []
        for reference in new.references():
            assert np.array_equal(store.features(reference.id)[1], new.features(reference.id)[1])
    assert kin(old) == kin(built)


def test_adding_nothing_new_compares_them_too(old, built, photos):
    with Gallery.open(old) as gallery:
        assert gallery.add(photos).skipped == 12
    assert kin(old) == kin(built)


def test_two_may_bring_an_older_gallery_up_to_date_one_after_another(old):
    with opened(old) as first, opened(old) as second:
        assert len(first.graph.uncompared()) == len(second.graph.uncompared()) == 12


def test_an_older_gallery_that_may_only_be_read_is_refused(old, monkeypatch):
    monkeypatch.setattr("veduta.gallery.store.os.access", lambda *_: False)
    with pytest.raises(GalleryError, match="was made by an older Veduta; open it once where it may be written") as told:
        Gallery.open(old)
    assert str(told.value).startswith(f"{old}: ")
    assert asked(old, "PRAGMA user_version") == [(1,)]


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write every file")
def test_an_older_gallery_in_a_folder_that_may_only_be_read_is_refused(old):
    (old / GALLERY_FILE).chmod(0o444)
    old.chmod(0o555)
    try:
        with pytest.raises(GalleryError, match="was made by an older Veduta; open it once where it may be written"):
            Gallery.open(old)
    finally:
        old.chmod(0o755)
