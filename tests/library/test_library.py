"""A library as a whole: grouped without a gallery, named, doubted, reviewed, tagged, put in order, put back."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from support import world
from support.photos import at, picture
from support.trees import tree

from veduta.embedders import make_embedder
from veduta.errors import LibraryError
from veduta.features import make_extractor
from veduta.gallery import Gallery
from veduta.geo.countries import countries, country_of
from veduta.images import load
from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.library.cluster import linkage, pairs
from veduta.library.cluster.cache import CACHE_FILE, FeatureCache
from veduta.library.cluster.features import EMBEDDER, EXTRACTOR, GroupingModels, number_groups
from veduta.library.cluster.group import landmark_id
from veduta.library.journal import Step
from veduta.library.journal.fsops import content_sha256
from veduta.library.metadata.tag import TagPlan
from veduta.library.review import collect_verdicts, fill_queue
from veduta.review_queue import ReviewQueue

GPS = (45.4379, 12.3359)


@pytest.fixture(scope="module")
def eyes():
    return GroupingModels(make_embedder(EMBEDDER), make_extractor(EXTRACTOR))


@pytest.fixture(scope="module")
def holiday(tmp_path_factory):
    """Folder of four places in five views each, and six photos of nothing. Read only."""
    folder = tmp_path_factory.mktemp("holiday")
    for i in range(4):
        for j in range(5):
            pixels = world.view(world.facade(50 + i), 300 + 10 * i + j, 0.6).pixels
            world.save(pixels, folder / f"day-{i}" / f"{j}.jpg")
    for i in range(6):
        world.save(world.distractor(60 + i), folder / "else" / f"{i}.jpg")
    return folder


def see(library, eyes):
    """Make the features of photos that have none, with descriptors spread as those of real photos are.

    To the embedder, which knows photos, drawings are all alike. Local features are its own.
    """
    cache = FeatureCache(library.folder, eyes.model)
    known = cache.appearances()
    for shot in library.assets():
        if shot.sha256 not in known:
            place = shot.file.parent.name if shot.file.parent.name != "else" else shot.sha256
            image = load(shot.file)
            cache.put_appearance(shot.sha256, descriptor(place, shot.sha256), eyes.extractor.extract(image))
    cache.close()


def descriptor(place, photo):
    """A descriptor whose cosine with others of its place is about 0.4, and with those of other places about 0."""
    mine, own = (np.random.default_rng(list(text.encode())).normal(size=1280) for text in (place, photo))
    mixed = 0.65 * mine / np.linalg.norm(mine) + 0.76 * own / np.linalg.norm(own)
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


@pytest.fixture(scope="module")
def grouped(holiday, eyes, tmp_path_factory):
    """State of `holiday`, grouped. Read only."""
    state = tmp_path_factory.mktemp("state")
    with Library(holiday, state) as library:
        library.scan()
        see(library, eyes)
        library.group()
    return state


@pytest.fixture
def library(holiday, grouped, tmp_path):
    """A copy of `holiday`, grouped, this test's own."""
    folder = shutil.copytree(holiday, tmp_path / "library")
    shutil.copytree(grouped, folder / ".veduta")
    with Library(folder) as opened:
        opened.scan()
        yield opened


# --- groups ------------------------------------------------------------------------------------------------------


def test_photos_of_one_place_are_found_without_a_gallery(library):
    groups = library.groups()
    places = [{shot.file.parent.name for shot in group.assets} for group in groups]
    assert sorted(place for some in places for place in some) == ["day-0", "day-1", "day-2", "day-3"]
    assert all(len(some) == 1 for some in places)  # no group mixes two
    assert sum(len(group.assets) for group in groups) >= 17  # of 20


def test_grouping_again_does_nothing_twice_and_keeps_the_numbers(library):
    before = {group.number: [shot.sha256 for shot in group.assets] for group in library.groups()}
    verbs = []
    again = library.group(progress=lambda done, total, verb: verbs.append(verb))
    assert {group.number: [shot.sha256 for shot in group.assets] for group in again} == before
    assert verbs == []


def test_a_new_photo_joins_the_group_of_its_place(library, eyes):
    number = next(g.number for g in library.groups() if g.assets[0].file.parent.name == "day-2")
    world.save(world.view(world.facade(52), 999, 0.5).pixels, library.path / "day-2" / "new.jpg")
    library.scan()
    see(library, eyes)
    found = {shot.file.name: group.number for group in library.group() for shot in group.assets}
    assert found["new.jpg"] == number


def test_a_killed_grouping_goes_on_where_it_was(holiday, grouped, tmp_path):
    class Killed(BaseException):
        pass

    def stop(done, total, verb):
        if (verb, done) == ("looking", 7):
            raise Killed

    with Library(holiday, tmp_path) as library:
        with pytest.raises(Killed):
            library.group(progress=stop)
        totals = {}
        library.group(progress=lambda done, total, verb: totals.setdefault(verb, total))
        assert totals["looking"] == 26 - 7
        assert "scanning" not in totals
        with contextlib.closing(sqlite3.connect(tmp_path / CACHE_FILE, isolation_level=None)) as db:
            # As if killed before the last pairs were kept.
            db.execute("DELETE FROM pair WHERE a < '4'")
        totals.clear()
        library.group(progress=lambda done, total, verb: totals.setdefault(verb, total))
        assert set(totals) == {"matching"}


def test_a_named_group_labels_its_photos_and_becomes_references(library, tmp_path):
    group = library.groups()[0]
    folder = group.assets[0].file.parent
    with Gallery.create(tmp_path / "gallery") as gallery:
        landmark, failures = library.name(group.number, "Ca' d'Oro", gallery=gallery, position=GPS)
        assert (landmark.id, failures) == ("ca-d-oro", [])
        assert gallery.counts() == (1, len(group.assets))
        ((known, _),) = gallery.landmarks()
        assert (known.name, known.latitude) == ("Ca' d'Oro", GPS[0])
        answer = next(iter(gallery.recognize([group.assets[0].file])))
        assert answer.landmark.id == "ca-d-oro"
    labels = {shot.file: shot.label for shot in library.assets()}
    for shot in group.assets:
        assert (labels[shot.file].landmark.name, labels[shot.file].by, labels[shot.file].country) == (
            "Ca' d'Oro",
            "person",
            "Italy",
        )
    assert folder.name.startswith("day-")
    assert library.groups()[0].landmark == landmark
    with pytest.raises(LibraryError, match="has no group 99"):
        library.name(99, "Nowhere")


def test_naming_a_group_leaves_what_was_said_of_a_photo_alone(library):
    group = library.groups()[0]
    odd = group.assets[-1]
    library.set_verdict(odd.file, "rejected")
    library.name(group.number, "Ca' d'Oro")
    labels = {shot.sha256: shot.label for shot in library.assets()}
    assert labels.pop(odd.sha256) is None
    assert sum(label is not None for label in labels.values()) == len(group.assets) - 1


@pytest.mark.parametrize(
    ("name", "id"), [("Sacré-Cœur, Paris", "sacré-cœur-paris"), ("  A/B  ", "a-b"), ("東京タワー", "東京タワー")]
)
def test_an_id_is_made_of_a_name(name, id):
    assert landmark_id(name) == id


def test_a_name_without_letters_needs_an_id():
    with pytest.raises(LibraryError, match="--id"):
        landmark_id("!?")


def test_numbers_follow_the_photos():
    before = {4: ["a", "b", "c"], 7: ["d", "e"]}
    found = number_groups([["d", "e", "f"], ["a", "x"], ["b", "c"], ["y", "z"]], before)
    assert found == {7: ["d", "e", "f"], 4: ["a", "x"], 8: ["b", "c"], 9: ["y", "z"]}


# --- joining pairs -----------------------------------------------------------------------------------------------


def pairs_of(rows):
    """Pairs from (a, b, inliers), and their chances."""
    a, b, inliers = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return pairs.PhotoPairs(a, b, np.zeros(len(a), np.float32), inliers, np.ones(len(a), bool))


def clique(members, inliers=40):
    return [(a, b, inliers) for a in members for b in members if a < b]


def test_one_false_link_does_not_join_two_places():
    rows = [*clique(range(4)), *clique(range(4, 8)), (3, 4, 200)]
    found = linkage.average_linkage(8, pairs_of(rows), np.full(len(rows), 0.99))
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_places_that_many_links_join_are_one():
    rows = [*clique(range(4)), *clique(range(4, 8)), *((a, b, 20) for a in range(4) for b in range(4, 8))]
    assert linkage.average_linkage(8, pairs_of(rows), np.full(len(rows), 0.8)) == [list(range(8))]


def test_photos_that_only_look_alike_are_no_place():
    rows = clique(range(5), 0)
    assert linkage.average_linkage(5, pairs_of(rows), np.full(len(rows), 0.95)) == []


def test_nothing_to_group_gives_no_group():
    empty = np.zeros(0, np.int64)
    none = pairs.PhotoPairs(empty, empty, np.zeros(0, np.float32), empty, np.zeros(0, bool))
    assert linkage.average_linkage(3, none, np.zeros(0)) == []


def test_nearest_are_those_of_a_sort():
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -2)
    assert (pairs.nearest_photos(vectors, 5) == np.argsort(-similarity, axis=1)[:, :5]).all()
    assert pairs.nearest_photos(vectors[:3], 5).shape == (3, 2)
    assert pairs.nearest_photos(vectors[:1], 5).shape == (1, 0)


def test_partners_in_common_are_those_of_a_matrix_product():
    rng = np.random.default_rng(1)
    full = np.triu(rng.random((30, 30)) * (rng.random((30, 30)) < 0.2), 1)
    a, b = np.nonzero(full)
    graph = pairs.WeightedGraph.of(30, a, b, full[a, b])
    both = full + full.T
    x, y = np.triu_indices(30, 1)
    assert pairs.common_weight(graph, x, y) == pytest.approx((both @ both)[x, y])
    assert graph.sums(graph.weight) == pytest.approx(both.sum(1))


def test_further_pairs_are_new_and_have_partners_in_common():
    rng = np.random.default_rng(2)
    full = np.triu(rng.random((40, 40)) < 0.08, 1).astype(float)
    a, b = np.nonzero(full)
    known = set((a * 40 + b).tolist())
    x, y = pairs.second_order_pairs(pairs.WeightedGraph.of(40, a, b, full[a, b]), known)
    both = full + full.T
    expected = {(i, j) for i in range(40) for j in range(i + 1, 40) if (both @ both)[i, j] > 0 and not both[i, j]}
    assert set(zip(x.tolist(), y.tolist(), strict=True)) == expected


# --- countries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "country"),
    [
        ((45.4379, 12.3359), "Italy"),  # in a lagoon, which the atlas draws as sea
        ((48.8867, 2.3431), "France"),
        ((-22.9519, -43.2105), "Brazil"),
        ((27.1751, 78.0421), "India"),
        ((-17.7134, 178.065), "Fiji"),
        ((0.0, -30.0), None),
    ],
)
def test_the_country_of_a_place(place, country):
    assert country_of(*place) == country


def test_every_country_holds_a_point_of_its_own():
    assert len(countries()) > 200


# --- doubts and verdicts -----------------------------------------------------------------------------------------


def test_the_page_reviews_what_is_in_doubt_and_its_verdicts_come_home(tmp_path, gallery, views, strangers):
    folder = tmp_path / "library"
    folder.mkdir()
    for i, photo in enumerate([*list(views)[:2], *strangers]):
        shutil.copy2(photo, folder / f"{i}.jpg")
    with Library(folder) as library:
        library.scan(gallery)
        doubts = library.uncertain()
        assert doubts
        assert library.uncertain(1) == doubts[:1]
        waiting, failures = fill_queue(library, "gallery", 100)
        assert (waiting, failures) == (len(doubts), [])
        queue = ReviewQueue(library.folder)
        items = queue.items()
        first = items[0]
        assert queue.content(first.number) == doubts[0].asset.file.read_bytes()
        queue.set_verdict(first.number, "corrected", "palazzo-3")
        if len(items) > 1:
            queue.set_verdict(items[1].number, "rejected", None)
        queue.close()
        assert collect_verdicts(library) == min(2, len(items))
        assert collect_verdicts(library) == 0
        label = library.set_verdict(doubts[0].asset.file, "corrected", Landmark("palazzo-3")).label
        assert label.landmark.id == "palazzo-3"
        assert {d.asset.sha256 for d in library.uncertain()} == {d.asset.sha256 for d in doubts[2:]}


def test_an_accepted_answer_is_the_best_guess_where_the_gallery_said_none(tmp_path, gallery, strangers):
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(strangers[0], folder / "a.jpg")
    with Library(folder) as library:
        library.scan(gallery)
        (answer,) = library.answers().values()
        assert library.set_verdict(folder / "a.jpg", "accepted").label.landmark == answer.guesses[0][0]
        library.clear_verdict(folder / "a.jpg")
    with Library(tmp_path / "library", tmp_path / "state") as fresh:
        fresh.scan()
        with pytest.raises(LibraryError, match="no answer to accept"):
            fresh.set_verdict(folder / "a.jpg", "accepted")


# --- written back, put in order, put back -------------------------------------------------------------------------


def test_put_in_order_and_put_back(library):
    library.name(library.groups()[0].number, "Ca' d'Oro", position=GPS)
    before = tree(library.path)
    into = f"{library.path}/Sorted/{{country}}/{{landmark}}/{{date:%Y}}"
    for mode in ("move", "copy", "symlink", "hardlink"):
        plan = library.organize(into, mode)
        assert plan.photos >= 4
        assert tree(library.path) == before  # a plan is only a plan
        done = library.apply(plan)
        assert not done.failures
        assert (library.path / "Sorted" / "Italy" / "Ca' d'Oro" / "Undated").is_dir()
        report = library.scan()
        assert report.looked_at == 0 or mode == "copy"
        again = library.organize(into, mode)
        assert again.photos == 0  # everything is in its place
        assert not library.undo().left
        assert tree(library.path) == before
    assert [action.state for action in library.history()] == ["undone"] * 4
    with pytest.raises(LibraryError):
        library.undo()


def test_what_is_known_follows_a_photo_that_is_written_into(tmp_path, gallery, view):
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    before = tree(folder)
    with Library(folder) as library:
        library.scan(gallery)
        library.set_verdict(folder / "a.jpg", "corrected", Landmark("ca-d-oro", "Ca' d'Oro", *GPS))
        old = library.assets()[0].sha256
        plan = library.tag(embed=True)
        assert plan.embedded == 1
        assert not library.apply(plan).failures
        assert tree(folder)["a.jpg"][0] != before["a.jpg"][0]
        report = library.scan(gallery)
        assert (report.looked_at, report.recognized) == (0, 0)
        (shot,) = library.assets()
        assert shot.sha256 != old
        assert shot.label.landmark.name == "Ca' d'Oro"
        assert library.tag(embed=True).steps == ()  # it says so already
        library.undo()
        assert tree(folder)["a.jpg"] == before["a.jpg"]
        assert library.scan(gallery).recognized == 0
        assert library.assets()[0].label.landmark.name == "Ca' d'Oro"


def test_a_verdict_survives_a_death_between_writing_a_photo_and_recording_that(tmp_path):
    picture(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    step = Step("write", tmp_path / "a.jpg", make=lambda: content[:2] + b"\xff\xfe\0\x06seen" + content[2:])

    def die(done):
        raise KeyboardInterrupt

    with Library(tmp_path) as library:
        library.scan()
        library.set_verdict(tmp_path / "a.jpg", "corrected", Landmark("ca-d-oro"))
        with pytest.raises(KeyboardInterrupt):
            library.apply(TagPlan((step,), 0, 0, 0, 1, 0, 0, 0, ()), die)
    assert (tmp_path / "a.jpg").read_bytes() != content
    with Library(tmp_path) as library:
        library.scan()
        (asset,) = library.assets()
        assert asset.sha256 == content_sha256(tmp_path / "a.jpg")
        assert asset.label.landmark.id == "ca-d-oro"


def test_a_step_that_fails_leaves_the_record_of_its_photo(tmp_path):
    picture(tmp_path / "a.jpg")

    def fail():
        raise LibraryError("no bytes today")

    with Library(tmp_path) as library:
        library.scan()
        before = library.assets()
        done = library.apply(TagPlan((Step("write", tmp_path / "a.jpg", make=fail),), 0, 0, 0, 1, 0, 0, 0, ()))
        assert [failure.error for failure in done.failures] == ["no bytes today"]
        assert (done.done, done.written) == (0, {})
        assert library.assets() == before


def test_sidecars_are_written_for_sure_answers_only_and_taken_back(tmp_path, gallery, views):
    folder = tmp_path / "library"
    folder.mkdir()
    for i, photo in enumerate(list(views)[:3]):
        shutil.copy2(photo, folder / f"{i}.jpg")
    before = tree(folder)
    with Library(folder) as library:
        library.scan(gallery)
        assert library.tag(floor=1.0).steps == ()
        plan = library.tag(floor=0.5)
        assert tree(folder) == before
        library.apply(plan)
        assert sorted(path.name for path in folder.glob("*.xmp")) == ["0.jpg.xmp", "1.jpg.xmp", "2.jpg.xmp"]
        assert len(library.assets()) == 3
        library.undo()
    assert tree(folder) == before


def test_dates_and_places_of_a_group_are_those_of_its_photos(tmp_path, eyes):
    for j in range(4):
        pixels = world.view(world.facade(70), 400 + j, 0.5).pixels
        picture(tmp_path / f"{j}.jpg", 0, at(1 + j, 0), (48.0 + j / 1000, 2.0), pixels)
    for i in range(5):
        world.save(world.distractor(80 + i), tmp_path / "else" / f"{i}.jpg")
    with Library(tmp_path) as library:
        library.scan()
        see(library, eyes)
        (group,) = library.group()
    assert (group.first, group.last) == (at(1, 0), at(4, 0)) if len(group.assets) == 4 else group.first >= at(1, 0)
    assert group.position == pytest.approx((48.0015, 2.0), abs=0.0016)
    assert os.fspath(Path(group.assets[0].file).parent) == str(tmp_path)


# --- what was found to be wrong once -------------------------------------------------------------------------------


def test_a_library_without_photos_has_no_groups(tmp_path):
    with Library(tmp_path) as library:
        assert library.group() == []


def test_a_verdict_given_on_the_page_comes_home_though_its_photo_is_gone(tmp_path, gallery, strangers):
    folder = tmp_path / "library"
    folder.mkdir()
    for i, photo in enumerate(strangers):
        shutil.copy2(photo, folder / f"{i}.jpg")
    with Library(folder) as library:
        library.scan(gallery)
        first = library.uncertain()[0].asset
        fill_queue(library, "gallery", 1)
        queue = ReviewQueue(library.folder)
        kept = queue.keep("other.jpg", b"not from the library", {"landmark": None})
        queue.set_verdict(queue.items()[0].number, "rejected", None)
        queue.set_verdict(kept.number, "corrected", "palazzo-1")
        queue.close()
        away = tmp_path / "away.jpg"
        first.file.rename(away)
        library.scan(gallery)
        assert collect_verdicts(library) == 2
        assert first.sha256 not in {shot.sha256 for shot in library.assets()}
        away.rename(first.file)
        library.scan(gallery)
        assert first.sha256 not in {doubt.asset.sha256 for doubt in library.uncertain()}
        assert [shot.rejected for shot in library.assets() if shot.sha256 == first.sha256] == [True]


def test_a_verdict_given_after_a_photo_was_written_into_outlives_undo(tmp_path, gallery, view):
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    with Library(folder) as library:
        library.scan(gallery)
        library.apply(library.tag(embed=True, floor=0.5))
        library.set_verdict(folder / "a.jpg", "corrected", Landmark("ca-d-oro"))
        library.undo()
        library.scan(gallery)
        assert library.assets()[0].label.landmark.id == "ca-d-oro"
        library.clear_verdict(folder / "a.jpg")
        assert library.assets()[0].label.by == "veduta"


def test_the_last_verdict_on_a_burst_is_for_all_of_it_and_is_forgotten_for_all(tmp_path, gallery, view):
    import PIL.Image

    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    for name, quality in (("b.jpg", 60), ("c.jpg", 70)):
        with PIL.Image.open(view) as opened:
            opened.save(folder / name, quality=quality)
    with Library(folder) as library:
        library.scan(gallery)
        assert len({shot.burst for shot in library.assets()}) == 1
        library.set_verdict(folder / "a.jpg", "accepted")
        library.set_verdict(folder / "b.jpg", "rejected")
        assert [shot.rejected for shot in library.assets()] == [True] * 3
        library.clear_verdict(folder / "c.jpg")
        assert [shot.label.by for shot in library.assets()] == ["veduta"] * 3


def test_writing_into_photos_changes_no_group(library):
    before = {group.number: sorted(shot.file for shot in group.assets) for group in library.groups()}
    library.name(library.groups()[0].number, "Ca' d'Oro", position=GPS)
    assert library.apply(library.tag(embed=True)).done >= 4
    seen = []
    library.group(progress=lambda done, total, verb: seen.append(verb))
    assert seen == []
    assert {group.number: sorted(shot.file for shot in group.assets) for group in library.groups()} == before


def test_a_library_that_was_moved_is_put_back_where_it_is_now(tmp_path, gallery, views):
    folder, later = tmp_path / "before", tmp_path / "after"
    folder.mkdir()
    for i, photo in enumerate(list(views)[:4]):
        shutil.copy2(photo, folder / f"{i}.jpg")
    before = tree(folder)
    with Library(folder) as library:
        library.scan(gallery)
        library.apply(library.organize(f"{folder}/Sorted/{{landmark}}", "move", floor=0.5))
        library.apply(library.tag(floor=0.5))
        with pytest.raises(LibraryError):
            library.organize(f"{library.folder}/{{landmark}}", "move", floor=0.5)
    folder.rename(later)
    with Library(later) as library:
        assert library.scan().looked_at == 0
        assert not library.undo().left
        assert not library.undo().left
        assert tree(later) == before


def test_a_group_named_anew_takes_its_references_along(library, tmp_path):
    group = library.groups()[0]
    with Gallery.create(tmp_path / "gallery") as gallery:
        library.name(group.number, "Palazzo", gallery=gallery)
        _, failures = library.name(group.number, "Ca' d'Oro", gallery=gallery)
        assert failures == []
        assert {r.landmark for r in gallery.references()} == {"ca-d-oro"}
        with pytest.raises(LibraryError, match="Unicode"):
            library.name(group.number, "caf\udce9")
    assert library.groups()[0].landmark.id == "ca-d-oro"


# --- names as the gallery has them now -------------------------------------------------------------------------------


def test_names_and_places_are_those_of_the_gallery_now(tmp_path, gallery_path, view):
    made = tmp_path / "library"
    made.mkdir()
    shutil.copy2(view, made / "a.jpg")
    with Gallery.open(gallery_path) as gallery, Library(made) as library:
        library.scan(gallery)
        (asset,) = library.assets(0.0)
        assert (asset.label.landmark.name, asset.label.country) == ("palazzo-0", None)
        gallery.put_landmark(Landmark("palazzo-0", "Palazzo Uno", 45.44, 12.33))
        (asset,) = library.assets(0.0)
        assert (asset.label.landmark.name, asset.label.country) == ("Palazzo Uno", "Italy")
        assert library.scan(gallery).older == 1
        (made / "a.jpg").unlink()
        assert library.scan(gallery).older == 0  # nobody has that photo any more


def test_what_a_person_said_stays_where_the_gallery_says_nothing(tmp_path, gallery_path, view):
    made = tmp_path / "library"
    made.mkdir()
    shutil.copy2(view, made / "a.jpg")
    with Gallery.open(gallery_path) as gallery, Library(made) as library:
        library.scan(gallery)
        library.set_verdict(
            made / "a.jpg", "corrected", Landmark("palazzo-0", "My palace", 45.44, 12.33, "https://x.example/")
        )
        label = library.assets()[0].label
        assert (label.landmark.name, label.country, label.landmark.url) == ("My palace", "Italy", "https://x.example/")
        gallery_path.rename(tmp_path / "gone")
        assert library.assets()[0].label.landmark.name == "My palace"


# --- a library inside a library --------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["2019", "2019/Italy", "2019/Italy/Rome"])
def test_a_folder_inside_a_library_does_not_become_a_second_one(tmp_path, depth):
    (tmp_path / "Pictures" / depth).mkdir(parents=True)
    with Library(tmp_path / "Pictures"):
        pass
    with pytest.raises(LibraryError, match=r"lies inside the library .*Pictures; use that one, or .* --state"):
        Library(tmp_path / "Pictures" / depth)
    assert not (tmp_path / "Pictures" / depth / ".veduta").exists()
    with Library(tmp_path / "Pictures" / depth, tmp_path / "state") as apart:
        assert apart.assets() == []


def test_a_library_made_before_the_one_around_it_is_still_one(tmp_path):
    (tmp_path / "Pictures" / "2019").mkdir(parents=True)
    for folder in (tmp_path / "Pictures" / "2019", tmp_path / "Pictures", tmp_path / "Pictures" / "2019"):
        with Library(folder):
            pass
