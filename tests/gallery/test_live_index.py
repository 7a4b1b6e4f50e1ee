"""Which index a gallery searches, how that keeps up with its store, and what is left when a build is killed."""

import contextlib
import json
import os
import random
import shutil
import time

import numpy as np
import pytest
from support.processes import read_only, started, veduta, wait_until
from support.stores import entry, put
from support.vectors import clustered, exact, search_all, unit

from veduta.errors import BusyError, GalleryError, NotFoundError
from veduta.files import locked
from veduta.gallery import Gallery, live_index
from veduta.gallery.index_build import build_index
from veduta.gallery.live_index import INDEX_FOLDER, IndexChoice, LiveIndex, describe_index, latest_build, needs_rebuild
from veduta.gallery.store import Store
from veduta.geo import Circle
from veduta.index import ApproximateIndex, ExactIndex, Manifest
from veduta.index.ivf import build
from veduta.serialization import to_dict
from veduta.trust import accept

DIM, SETTINGS = 32, {"embedder": {"name": "some"}, "extractor": {"name": "other"}, "veduta": "0"}
QUERIES = clustered(6, stream=1)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Builds are measured with few queries: it is not what is found that matters."""
    monkeypatch.setattr(build, "MEASURED_QUERIES", 40)


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(Store.create(tmp_path / "gallery", SETTINGS)) as made:
        yield made


def fill(store, first, count, landmarks=7):
    """Add references first, first + 1, ... of a few landmarks."""
    descriptors = clustered(first + count)[first:]
    put(store, *(entry(first + i, f"l{(first + i) % landmarks}", descriptor=d) for i, d in enumerate(descriptors)))


def choose(store, kind, recall=1.0):
    choice = IndexChoice(kind, recall)
    store.put_attachment(live_index.INDEX_SETTING, choice.to_bytes())
    accept(store.path, choice.request())


def upkeep(store):
    return contextlib.closing(LiveIndex(store, DIM))


def truth(store):
    """An exact index of what is in the store."""
    return exact(*store.rows.after())


# --- the choice -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "count", "approximate"),
    [("auto", 199_999, False), ("auto", 200_000, True), ("exact", 10**7, False), ("approximate", 1, True)],
)
def test_it_is_chosen_by_size_unless_somebody_has_chosen(kind, count, approximate):
    assert IndexChoice(kind).approximate(count) is approximate


def test_a_choice_that_is_none_is_refused():
    with pytest.raises(ValueError, match="kind: expected one of auto, exact, approximate, qdrant, got 'fast'"):
        IndexChoice("fast")
    with pytest.raises(ValueError, match="recall: expected a share"):
        IndexChoice(recall=0)


def test_a_choice_is_kept_and_what_is_not_said_stays(gallery_path):
    with Gallery.open(gallery_path) as gallery:
        assert gallery.choose_index() == IndexChoice("auto", 0.99)
        gallery.choose_index(recall=0.95)
        gallery.choose_index("approximate")
    with Gallery.open(gallery_path) as gallery:
        assert gallery.choose_index() == IndexChoice("approximate", 0.95)
        assert gallery.info().index["wanted"] == "approximate"


def test_a_gallery_searched_exactly_has_nothing_to_build(gallery_path):
    with Gallery.open(gallery_path) as gallery:
        assert gallery.build_index() is None
        assert gallery.info().index == {"kind": "exact", "wanted": "auto", "recall": 1.0}
    assert not (gallery_path / INDEX_FOLDER).exists()


# --- keeping up -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_whatever_comes_and_goes_is_seen_at_the_next_look(store, kind):
    choose(store, kind)
    fill(store, 0, 300)
    if kind == "approximate":
        build_index(store, DIM)
    with upkeep(store) as kept:
        assert isinstance(kept.refresh(), ApproximateIndex if kind == "approximate" else ExactIndex)
        for turn in range(4):
            fill(store, 300 + 50 * turn, 50)
            store.remove_reference(f"{turn * 40}.jpg")
            store.remove_reference(f"{310 + 50 * turn}.jpg")
            if turn == 2:
                store.remove_landmark("l3")
            index = kept.refresh()
            assert len(index) == store.counts()[1]
            assert search_all(index, QUERIES) == search_all(truth(store), QUERIES)


def test_what_came_and_went_while_it_was_built_is_not_forgotten(store, monkeypatch):
    choose(store, "approximate")
    fill(store, 0, 300)

    def meanwhile(what, share):
        if what == "learning centers":
            fill(store, 300, 20)
            store.remove_landmark("l1")

    made = build_index(store, DIM, meanwhile)
    assert made.count == 300
    with upkeep(store) as kept:
        index = kept.refresh()
        assert (len(index.delta), index.num_deleted) == (17, 43)
        assert search_all(index, QUERIES) == search_all(truth(store), QUERIES)


def test_an_open_gallery_goes_over_to_a_new_index_at_its_next_look(store):
    choose(store, "approximate")
    fill(store, 0, 200)
    build_index(store, DIM)
    with upkeep(store) as kept:
        before = kept.refresh()
        fill(store, 200, 100)
        assert not kept.has_newer()
        build_index(store, DIM)
        assert kept.has_newer()
        assert search_all(before, QUERIES)  # what is mapped stays, though its folder is gone
        index = kept.refresh()
        assert index is not before
        assert (index.manifest.count, len(index.delta)) == (300, 0)
        assert search_all(index, QUERIES) == search_all(truth(store), QUERIES)
    assert len([p for p in (store.path / INDEX_FOLDER).iterdir() if p.name.isdigit()]) == 1


def test_centers_are_learned_again_only_when_it_has_grown_much_or_shrunk(store):
    choose(store, "approximate")
    fill(store, 0, 100)
    assert build_index(store, DIM).trained == 100
    fill(store, 100, 80)
    extended = build_index(store, DIM)
    assert (extended.count, extended.trained) == (180, 100)
    fill(store, 180, 100)
    assert build_index(store, DIM).trained == 280
    store.remove_landmark("l2")
    assert build_index(store, DIM).count == store.counts()[1]
    assert build_index(store, DIM, rebuild=True).trained == store.counts()[1]


def test_it_is_stale_when_much_has_come_or_gone(store, monkeypatch):
    choose(store, "approximate")
    fill(store, 0, 100)
    build_index(store, DIM)
    monkeypatch.setattr(live_index, "MIN_STALE", 10)
    monkeypatch.setattr(LiveIndex, "_start_rebuild", lambda self: None)
    with upkeep(store) as kept:
        assert not needs_rebuild(kept.refresh())
        fill(store, 100, 10)
        assert not needs_rebuild(kept.refresh())
        fill(store, 110, 1)
        assert needs_rebuild(kept.refresh())
    assert needs_rebuild(ExactIndex(DIM))


def test_so_many_that_memory_might_not_hold_them_are_not_searched_without_an_index(store, monkeypatch):
    choose(store, "approximate")
    fill(store, 0, 20)
    monkeypatch.setattr(live_index, "EXACT_BYTES", 20 * DIM * 4 - 1)
    with upkeep(store) as kept, pytest.raises(GalleryError, match=r"20 references and no index .* 'veduta index "):
        kept.refresh()


def test_one_process_builds_at_a_time(store):
    choose(store, "approximate")
    fill(store, 0, 20)
    (store.path / INDEX_FOLDER).mkdir()
    with locked(store.path / INDEX_FOLDER), pytest.raises(BusyError, match="another process is writing here"):
        build_index(store, DIM)


def test_a_pointer_to_nothing_is_as_none_and_the_next_build_repairs_it(store):
    choose(store, "approximate")
    fill(store, 0, 50)
    build_index(store, DIM)
    shutil.rmtree(latest_build(store.path))
    assert latest_build(store.path) is None
    assert describe_index(store)["kind"] == "exact"
    build_index(store, DIM)
    assert describe_index(store)["kind"] == "approximate"


class KilledError(Exception):
    """The build was stopped here."""


@pytest.mark.parametrize("step", ["reading", "encoding", "done"])
def test_a_build_stopped_anywhere_leaves_the_old_index_and_goes_on(store, step):
    choose(store, "approximate", 0.9)
    fill(store, 0, 100)
    build_index(store, DIM)
    before = latest_build(store.path)
    fill(store, 100, 150)

    def dying(what, share):
        if what == step:
            raise KilledError

    with pytest.raises(KilledError):
        build_index(store, DIM, dying)
    assert latest_build(store.path) == before
    fill(store, 250, 5)  # what comes between is left to what is in memory, or taken in
    build_index(store, DIM)
    assert latest_build(store.path) != before
    with upkeep(store) as kept:
        assert search_all(kept.refresh(), QUERIES) == search_all(truth(store), QUERIES)


# --- a real gallery, real processes -----------------------------------------------------------------------------


def told(gallery, queries, **options):
    return [to_dict(result) | {"seconds": None} for result in gallery.recognize(queries, **options)]


def test_answers_are_the_same_whichever_index_a_gallery_has(gallery_path, views, distractors):
    queries = [*views, *distractors]
    with Gallery.open(gallery_path) as gallery:
        before = told(gallery, queries)
        gallery.choose_index("approximate", 1)
        made = gallery.build_index()
        assert made.count == gallery.counts()[1]
        assert told(gallery, queries) == before
        assert gallery.info().index["kind"] == "approximate"


def test_the_command_builds_says_what_was_measured_and_keeps_the_choice(gallery_path):
    done = veduta("index", gallery_path, "--kind", "approximate", "--recall", "0.9", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["kind"], told["wanted"], told["recall"], told["count"]) == ("approximate", "approximate", 0.9, 12)
    assert "measured" in veduta("index", gallery_path).stdout
    assert veduta("index", gallery_path, "--quiet").stdout == ""
    assert json.loads(veduta("info", gallery_path, "--format", "json").stdout)["index"]["kind"] == "approximate"
    done = veduta("index", gallery_path, "--kind", "exact", "--format", "json")
    assert json.loads(done.stdout)["kind"] == "exact"


@pytest.mark.parametrize("wrong", [["--kind", "fast"], ["--recall", "1.5"], ["--recall", "0"]])
def test_a_wrong_option_is_named(gallery_path, wrong):
    done = veduta("index", gallery_path, *wrong)
    assert done.returncode == 2
    assert wrong[0] in done.stderr


def test_an_open_gallery_renews_its_index_in_the_background_and_answers_meanwhile(gallery_path, views):
    with Gallery.open(gallery_path) as gallery:
        gallery.choose_index("approximate", 1)
        before = told(gallery, views)  # there is no index yet, so a process is started to make one
        end = time.monotonic() + 120
        while latest_build(gallery_path) is None:
            assert told(gallery, views) == before
            assert time.monotonic() < end, "it was never made"
        assert told(gallery, views) == before
        assert gallery.info().index["kind"] == "approximate"


def test_a_closed_gallery_leaves_no_process_behind(gallery_path, view):
    with Gallery.open(gallery_path) as gallery:
        gallery.choose_index("approximate")
        told(gallery, [view])
        builder = gallery._live._live_index._builder
        assert builder.poll() is None
    assert builder.poll() is not None


def test_a_gallery_that_may_only_be_read_is_searched_with_the_index_it_has(gallery_path, views):
    with Gallery.open(gallery_path) as gallery:
        gallery.choose_index("approximate", 1)
        gallery.build_index()
        before = told(gallery, views)
    with read_only(gallery_path), Gallery.open(gallery_path) as gallery:
        assert told(gallery, views) == before
        assert gallery._live._live_index._builder is None


def test_the_command_killed_at_any_time_is_gone_on_with(tmp_path):
    """A real process, killed without warning, with enough to do to be killed in the midst of it."""
    path = tmp_path / "gallery"
    with Gallery.create(path):
        pass
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(2_000, 1280)).astype(np.float32))
    with contextlib.closing(Store.open(path)) as store:
        put(store, *(entry(i, descriptor=row) for i, row in enumerate(rows)))
        choose(store, "approximate", 0.9)
    for _ in range(4):
        with started("index", path, "--quiet") as process:
            wait_until(process, (path / INDEX_FOLDER).exists)
            time.sleep(random.Random(os.getpid()).uniform(0, 0.6))
    with contextlib.closing(Store.open(path)) as store, contextlib.closing(LiveIndex(store, 1280)) as kept:
        assert search_all(kept.refresh(), rows[:3]) == search_all(truth(store), rows[:3])
    assert veduta("index", path, "--quiet").returncode == 0
    assert Manifest.read(latest_build(path)).count == 2_000
    assert sorted(p.name for p in (path / INDEX_FOLDER).iterdir()) == sorted(
        {".lock", "current", latest_build(path).name}
    )


# --- looking among some -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_among_some_landmarks_no_other_is_named(placed, views, kind):
    placed.choose_index(kind, 1)
    placed.build_index()
    some = ["palazzo-0", "palazzo-4"]
    for photo, landmark in views.items():
        (answer,) = placed.recognize([photo], landmarks=some)
        assert {candidate.landmark for candidate in answer.evidence} <= set(some)
        assert (answer.landmark.id if answer.landmark else None) == (landmark if landmark in some else None)


def test_near_a_place_only_landmarks_known_to_stand_there_are_looked_among(placed, views):
    for photo, landmark in views.items():
        (answer,) = placed.recognize([photo], near=Circle(41.8, 12.4, 50))
        assert {candidate.landmark for candidate in answer.evidence} <= {"palazzo-0"}
        assert (answer.landmark is not None) == (landmark == "palazzo-0")
    (answer,) = placed.recognize([next(iter(views))], near=Circle(0, 0, 1))
    assert (answer.landmark, answer.evidence) == (None, ())


def test_an_unknown_landmark_to_look_among_is_named(placed, view):
    with pytest.raises(NotFoundError, match="has no landmark 'nowhere'"):
        list(placed.recognize([view], landmarks=["palazzo-0", "nowhere"]))


def test_the_command_looks_among_some(placed, views):
    photo, landmark = next(iter(views.items()))
    for options, known in ((["--landmark", landmark], True), (["--landmark", "palazzo-3"], False)):
        done = veduta("recognize", placed.path, photo, *options, "--format", "json")
        assert (json.loads(done.stdout)[0]["landmark"] is not None) is known
    done = veduta("recognize", placed.path, photo, "--near", "43.7,11.2,30", "--format", "json")
    assert {c["landmark"] for c in json.loads(done.stdout)[0]["evidence"]} == {"palazzo-1"}


@pytest.mark.parametrize("wrong", ["48.8", "48.8,2.3", "91,0,1", "0,0,-1", "a,b,c", "nan,0,1"])
def test_a_place_that_is_none_is_refused(gallery_path, view, wrong):
    done = veduta("recognize", gallery_path, view, f"--near={wrong}")
    assert done.returncode == 2
    assert "expected --near LAT,LON,KM" in done.stderr


def test_the_command_uploads_to_a_qdrant_and_names_what_is_wrong(gallery_path, tmp_path, view):
    pytest.importorskip("qdrant_client")
    done = veduta("index", gallery_path, "--kind", "qdrant")
    assert done.returncode == 2
    assert "address" in done.stderr
    options = ["--kind", "qdrant", "--address", tmp_path / "qdrant", "--name", "sights", "--format", "json"]
    done = veduta("index", gallery_path, *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["kind"], told["count"]) == ("qdrant", 12)
    answer = json.loads(veduta("recognize", gallery_path, view, "--format", "json").stdout)[0]
    assert answer["landmark"]["id"] == "palazzo-0"
    done = veduta("index", gallery_path, "--kind", "qdrant", "--address", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "127.0.0.1:9" in done.stderr
