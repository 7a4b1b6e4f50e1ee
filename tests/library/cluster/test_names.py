"""Groups named by a table, photos left out, names taken back."""

from dataclasses import replace

import pytest
from support.cli import refused, run, run_json
from support.photos import grouped_library, picture

from veduta.errors import LibraryError
from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.library.catalog import CATALOG_FILE, STATE_FOLDER
from veduta.library.cluster.earlier_names import EARLIER_KEY
from veduta.library.cluster.group import MADE_KEY
from veduta.library.cluster.names import GroupName, forget_name, name_groups, read_group_names, without_photos
from veduta.library.model import StoredAnswer
from veduta.sqlite import Database


@pytest.fixture
def folder(tmp_path):
    """A library of two groups: 0, 1 and 2 are the first, 3 and 4 the second."""
    return grouped_library(tmp_path / "library", (3, 2))


def labels(folder):
    with Library(folder) as library:
        return {a.file.name: a.label and a.label.landmark.name for a in library.assets()}


def table(tmp_path, text):
    (tmp_path / "names.csv").write_text(text)
    return tmp_path / "names.csv"


def test_a_table_names_several_groups(folder, tmp_path):
    named = table(tmp_path, "group,name,id,latitude,longitude\n1,Ca' d'Oro,ca-doro,45.44,12.33\n2,Rialto,,,\n")
    said = run("library", "name", folder, "--table", named).stderr
    assert "group 1 shows Ca' d'Oro (ca-doro): 3 photos named" in said
    assert "group 2 shows Rialto (rialto): 2 photos named" in said
    assert labels(folder) == dict.fromkeys(("0.jpg", "1.jpg", "2.jpg"), "Ca' d'Oro") | dict.fromkeys(
        ("3.jpg", "4.jpg"), "Rialto"
    )


def test_rows_without_a_name_are_passed_over(folder, tmp_path):
    run("library", "name", folder, "--table", table(tmp_path, "group,name\n1,\n\n2,Rialto\n"))
    assert labels(folder) == dict.fromkeys(("0.jpg", "1.jpg", "2.jpg")) | dict.fromkeys(("3.jpg", "4.jpg"), "Rialto")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected the columns group, name"),
        ("number,name\n1,X\n", "expected the columns group, name"),
        ("group,name\nfirst,X\n", "line 2: expected the number of a group, got 'first'"),
        ("group,name\n1,X\n1,Y\n", "names group 1 twice"),
        ("group,name\n9,X\n", "has no group 9"),
        ("group,name,latitude,longitude\n1,X,45,\n", "line 2: expected degrees north and east"),
        ("group,name,latitude,longitude\n1,X,95,12\n", "line 2: expected degrees north and east"),
        ("group,name,latitude,longitude\n1,X,nan,12\n", "line 2: expected degrees north and east"),
        ("group,name,latitude,longitude\n1,X,north,east\n", "line 2: expected degrees north and east"),
        ("group,name\n1,???\n", "line 2: '???': has no letter or digit"),
        ("group,name\n1,Rialto\n2,???\n", "line 3: '???': has no letter or digit"),
        ("group,name\n1,Rialto\n9,X\n", "has no group 9"),
    ],
)
def test_what_is_wrong_in_a_table_is_told_and_nothing_is_made(folder, tmp_path, text, problem):
    gallery = tmp_path / "gallery"
    said = refused("library", "name", folder, "--table", table(tmp_path, text), "--gallery", gallery)
    assert problem in said
    assert set(labels(folder).values()) == {None}
    assert not gallery.exists()


def test_the_outcome_of_naming_says_what_is_new(folder, tmp_path):
    names = [GroupName(1, "Rialto", None, None), GroupName(2, "Rialto", None, None)]
    with Library(folder) as library, Gallery.create(tmp_path / "gallery") as gallery:
        gallery.add_photo(folder / "0.jpg", Landmark("rialto", "Rialto"))
        outcomes = list(name_groups(library, names, [library.numbered(1), library.numbered(2)], gallery))
        assert [(one.group, one.photos, one.references, one.added) for one in outcomes] == [(1, 3, 3, 2), (2, 2, 2, 2)]
        (again,) = name_groups(library, names[:1], [library.numbered(1)])
    assert (again.landmark.id, again.photos, again.references, again.added) == ("rialto", 3, 0, 0)


def test_a_photo_may_be_left_out_by_its_content(folder):
    with Library(folder) as library:
        group = library.numbered(1)
        (rest,) = without_photos([group], [group.assets[1].sha256])
        assert rest.assets == (group.assets[0], group.assets[2])


@pytest.mark.parametrize(
    "known",
    [
        Landmark("rialto", "Rialto", 45.438, 12.336),
        Landmark("rialto", "Rialto", 0.0, 0.0),
        Landmark("rialto", "Rialto", -45.0, -180.0),
        Landmark("rialto", "Rialto", 90.0, 180.0, "https://example.org/a"),
        Landmark("rialto", "Rialto", 1.0, 2.0, "http://example.org/"),
    ],
)
def test_a_landmark_that_is_known_keeps_its_place_and_page(folder, tmp_path, known):
    with Library(folder) as library, Gallery.create(tmp_path / "gallery") as gallery:
        gallery.put_landmark(known)
        library.name(1, "Rialto", gallery=gallery)
        assert gallery.landmarks("rialto")[0][0] == known
        library.name(1, "Rialto", gallery=gallery, position=(3.0, 4.0))
        moved = gallery.landmarks("rialto")[0][0]
        assert (moved.latitude, moved.longitude, moved.url) == (3.0, 4.0, known.url)
        gallery.put_landmark(Landmark("rialto", "Rialto", url="https://example.org/b"))
        library.name(1, "Rialto", gallery=gallery)
        placed = gallery.landmarks("rialto")[0][0]
        assert (placed.latitude, placed.url) == (45.41, "https://example.org/b")


def test_a_table_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(LibraryError, match="cannot be read"):
        read_group_names(tmp_path / "nothing.csv")
    (tmp_path / "x.csv").write_bytes(b"group,name\n1,\xff\xfe\n")
    with pytest.raises(LibraryError, match="cannot be read"):
        read_group_names(tmp_path / "x.csv")


def test_a_photo_that_does_not_show_the_place_is_left_out(folder, tmp_path):
    gallery = tmp_path / "gallery"
    said = run("library", "name", folder, "1", "Ca' d'Oro", "--without", folder / "1.jpg", "--gallery", gallery).stderr
    assert "2 photos named; 2 of them are references" in said
    assert labels(folder)["1.jpg"] is None
    assert labels(folder)["0.jpg"] == "Ca' d'Oro"
    assert len(run_json("list", gallery, "--references")) == 2
    with Library(folder) as library, pytest.raises(LibraryError, match=r"3\.jpg: is not in group 1"):
        without_photos([library.numbered(1)], [folder / "3.jpg"])


def test_a_name_is_taken_back_with_its_references(folder, tmp_path):
    gallery = tmp_path / "gallery"
    before = labels(folder)
    run("library", "name", folder, "1", "Wrong", "--gallery", gallery)
    run("library", "name", folder, "2", "Rialto", "--gallery", gallery)
    said = run("library", "name", folder, "1", "--forget", "--gallery", gallery).stderr
    assert "3 photos, 3 references removed" in said
    assert labels(folder) == before | dict.fromkeys(("3.jpg", "4.jpg"), "Rialto")
    with Gallery.open(gallery) as opened:
        assert [(landmark.id, count) for landmark, count in opened.landmarks()] == [("rialto", 2)]
    assert "has no name to take back" in refused("library", "name", folder, "1", "--forget")


def test_taking_a_name_back_keeps_other_verdicts(folder):
    with Library(folder) as library:
        library.set_verdict(folder / "0.jpg", "rejected")
        library.name(1, "Wrong")
        assert forget_name(library, 1) == (2, 0)
        assert [verdict.verdict for verdict in library.verdicts().values()] == ["rejected"]


@pytest.mark.parametrize(
    "words", [(), ("1",), ("1", "X", "--forget"), ("1", "X", "--table", "t.csv"), ("--forget",)], ids=str
)
def test_a_command_that_names_nothing_is_refused(folder, words):
    assert "expected GROUP NAME" in run("library", "name", folder, *words, code=2).stderr


def test_photos_are_left_out_of_whichever_group_of_a_table_has_them(folder, tmp_path):
    named = table(tmp_path, "group,name\n1,A\n2,B\n")
    run("library", "name", folder, "--table", named, "--without", folder / "1.jpg", "--without", folder / "4.jpg")
    assert labels(folder) == {"0.jpg": "A", "1.jpg": None, "2.jpg": "A", "3.jpg": "B", "4.jpg": None}


def test_counts_are_of_photos_that_have_the_name(folder, tmp_path):
    run("library", "review", folder, "--reject", folder / "1.jpg")
    gallery = tmp_path / "gallery"
    assert (
        "2 photos named; 2 of them are references"
        in run("library", "name", folder, "1", "A", "--gallery", gallery).stderr
    )
    assert len(run_json("list", gallery, "--references")) == 2


def references(gallery):
    with Gallery.open(gallery) as opened:
        return {(reference.landmark, reference.sha256) for reference in opened.references()}


@pytest.mark.parametrize("times", [1, 2])
def test_references_from_before_stay_when_a_name_is_taken_back(folder, tmp_path, times):
    gallery = tmp_path / "gallery"
    with Gallery.create(gallery) as opened:
        opened.add_photo(folder / "0.jpg", Landmark("a", "A"))
        opened.put_landmark(Landmark("b", "Known without a reference", 45.4, 12.3))
    before = references(gallery)
    for name, code in (("A", 0), ("B", 1)):  # one photo is a reference of A already, and so cannot be one of B
        for _ in range(times):
            run("library", "name", folder, "1", name, "--gallery", gallery, code=code)
        run("library", "name", folder, "1", "--forget", "--gallery", gallery)
        assert references(gallery) == before
    with Gallery.open(gallery) as opened:
        assert [count.landmark.id for count in opened.landmarks()] == ["a", "b"]  # naming made neither


def test_references_that_a_person_adds_later_stay(folder, tmp_path):
    gallery = tmp_path / "gallery"
    run("library", "name", folder, "1", "A", "--gallery", gallery)
    with Gallery.open(gallery) as opened:
        opened.add_photo(folder / "3.jpg", Landmark("a", "A"))
        (kept,) = (r.sha256 for r in opened.references() if r.id.endswith("3.jpg"))
    run("library", "name", folder, "1", "--forget", "--gallery", gallery)
    assert references(gallery) == {("a", kept)}


def test_another_gallery_loses_nothing(folder, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    run("library", "name", folder, "1", "A", "--gallery", first)
    with Gallery.create(second) as opened:
        for name in ("0.jpg", "1.jpg", "2.jpg"):
            opened.add_photo(folder / name, Landmark("a", "A"))
    before = references(second)
    run("library", "name", folder, "1", "--forget", "--gallery", second)
    assert references(second) == before


@pytest.mark.parametrize("stored", ["x", ["x"], {"PATH": 3}, {"PATH": {"photos": 3}}, {"PATH": {"others": []}}])
def test_a_damaged_record_of_what_naming_made_is_one_error(folder, tmp_path, stored):
    gallery = tmp_path / "gallery"
    run("library", "name", folder, "1", "A", "--gallery", gallery)
    if isinstance(stored, dict):
        stored = {str(gallery): stored["PATH"]}
    with Library(folder) as library:
        library.catalog.set_meta(MADE_KEY, stored)
    assert "is damaged" in refused("library", "name", folder, "1", "--forget", "--gallery", gallery)
    assert len(references(gallery)) == 3


def test_groups_and_doubts_have_the_names_of_the_gallery_now(folder, tmp_path):
    gallery = tmp_path / "gallery"
    run("library", "name", folder, "1", "Old name", "--id", "x", "--gallery", gallery)
    with Gallery.open(gallery) as opened, Library(folder) as library:
        sha256 = {asset.file.name: asset.sha256 for asset in library.assets()}["3.jpg"]
        guess = Landmark("x", "Old name")
        library.catalog.answers.put(sha256, StoredAnswer(str(gallery), 1, None, 0.4, ((guess, 0.4),), ()))
        library.catalog.set_meta("gallery", str(gallery))
        opened.put_landmark(Landmark("x", "New name"))
        assert library.numbered(1).landmark.name == "New name"
        assert [one.answer.guesses[0][0].name for one in library.uncertain()] == ["New name"]
        assert library.answers()[sha256].guesses[0][0].name == "New name"
    assert "New name" in run("library", "review", folder, "--list").stdout


NESTED = [
    "a.jpg",
    "2019/a.jpg",
    "2019/Italy/Venezia/a.jpg",
    "Camera Uploads/a b.jpg",
    "Sacré-Cœur/é.jpg",
    "日本/京都.jpg",
    "100%/a#1.jpg",
    "it's/a.jpg",
    "x.y/a.b.jpg",
    "-dash/a.jpg",
    "2019\\Italy/a.jpg",
]


def place(folder, names, start=0):
    """A library of one group of photos with these names."""
    for seed, name in enumerate(names, start):
        picture(folder / name, seed=seed, position=(45.4, 12.3))
    with Library(folder) as library:
        library.scan()
        contents = [asset.sha256 for asset in library.assets()]
    db = Database(folder / STATE_FOLDER / CATALOG_FILE, lambda action, error, file: LibraryError(str(error)))
    for rank, sha256 in enumerate(contents):
        db.write("INSERT INTO member VALUES (?, 1, ?)", (sha256, rank))
    db.close()
    return contents


def test_a_reference_is_called_by_the_photos_path_in_the_library(tmp_path):
    folder, gallery = tmp_path / "home" / "me" / "Pictures", tmp_path / "gallery"
    place(folder, NESTED)
    run("library", "name", folder, "1", "A", "--gallery", gallery)
    ids = {row["id"] for row in run_json("list", gallery, "--references")}
    assert ids == set(NESTED)
    run("library", "name", folder, "1", "--forget", "--gallery", gallery)
    assert not references(gallery)


def test_two_libraries_with_photos_of_one_name(tmp_path):
    gallery = tmp_path / "gallery"
    for number, names in enumerate([["a.jpg"], ["b.jpg", "a.jpg"]]):
        place(tmp_path / str(number), names, start=10 * number)
        run("library", "name", tmp_path / str(number), "1", "A", "--gallery", gallery)
    ids = {row["id"].partition("~")[0] for row in run_json("list", gallery, "--references")}
    assert (ids, len(references(gallery))) == ({"a.jpg", "b.jpg"}, 3)
    run("library", "name", tmp_path / "1", "1", "--forget", "--gallery", gallery)
    assert [row["id"] for row in run_json("list", gallery, "--references")] == ["a.jpg"]


@pytest.mark.parametrize("times", [1, 2])
def test_references_with_absolute_ids_from_before_are_found(folder, tmp_path, times):
    gallery = tmp_path / "gallery"
    run("library", "name", folder, "1", "A", "--gallery", gallery)
    with Gallery.open(gallery) as opened:  # as naming once made them
        for reference in opened.references():
            opened.remove(reference=reference.id)
            opened.add_photo(reference.photo, Landmark("a", "A"), str(folder / reference.id))
        before = opened.references()
    for _ in range(times):
        run("library", "name", folder, "1", "A", "--gallery", gallery)
    with Gallery.open(gallery) as opened:
        assert opened.references() == before
    run("library", "name", folder, "1", "--forget", "--gallery", gallery)
    assert not references(gallery)


KNOWN = [
    # the landmark of the gallery; group, name and options given; the place after that
    (Landmark("ca-doro", "Ca' d'Oro", 45.44, 12.33), ("Ca' d'Oro", "--id", "ca-doro"), (45.44, 12.33)),
    (Landmark("rialto", "Rialto", 45.44, 12.33), ("Rialto",), (45.44, 12.33)),
    (Landmark("rialto", "Rialto", 45.44, 12.33), ("rialto",), (45.44, 12.33)),
    (Landmark("rialto", "Ponte", 45.44, 12.33), ("Rialto",), (45.44, 12.33)),
    (Landmark("Q19", "Rialto", 45.44, 12.33), ("RIALTO",), (45.44, 12.33)),
    (Landmark("Q19", "Sacré-Cœur", -1.5, 0.0), ("Sacre\u0301-Cœur",), (-1.5, 0.0)),
    (Landmark("rialto", "Rialto", 0.0, 0.0), ("Rialto",), (0.0, 0.0)),
    (Landmark("rialto", "Rialto"), ("Rialto",), (45.41, 12.3)),
    (Landmark("Q19", "Rialto"), ("Rialto",), (45.41, 12.3)),
    (Landmark("rialto", "Rialto", 45.44, 12.33), ("Rialto", "--position", "1,2"), (1.0, 2.0)),
    (Landmark("rialto", "Rialto"), ("Rialto", "--position", "1,2"), (1.0, 2.0)),
    (Landmark("other", "Other", 1.0, 2.0), ("Rialto",), (45.41, 12.3)),
]


@pytest.mark.parametrize(("known", "words", "expected"), KNOWN)
def test_a_known_landmark_keeps_its_place(folder, tmp_path, known, words, expected):
    gallery = tmp_path / "gallery"
    with Gallery.create(gallery) as opened:
        opened.put_landmark(replace(known, url="https://example.org"))
    run("library", "name", folder, "1", *words, "--gallery", gallery)
    with Gallery.open(gallery) as opened, Library(folder) as library:
        (named,) = (count.landmark for count in opened.landmarks() if count.references == 3)
        assert named.position == pytest.approx(expected)
        assert named.url == (None if known.id == "other" else "https://example.org")
        assert library.numbered(1).landmark == named
        assert (named.id == known.id) == (known.id != "other")


def test_two_landmarks_of_one_name_are_not_guessed(folder, tmp_path):
    gallery = tmp_path / "gallery"
    with Gallery.create(gallery) as opened:
        for id in ("Q1", "Q2"):
            opened.put_landmark(Landmark(id, "Rialto", 1.0, 2.0))
    assert "shows Rialto (rialto)" in run("library", "name", folder, "1", "Rialto", "--gallery", gallery).stderr


A, B, C, D = (("A",), ("B",), ("C",), ("D",))
STEPS = {
    "renamed": [A, B],
    "renamed twice": [A, B, C],
    "named the same again": [A, A, B],
    "there and back": [A, B, A],
    "another spelling": [("Rialto",), ("RIALTO!",)],
    "another name of one id": [("A", "x"), ("B", "x")],
    "another place": [A, ("A", None, (1.0, 2.0))],
    "a place, then a name": [A, ("A", None, (1.0, 2.0)), B],
    "two names of one id, then another": [("A", "x"), ("B", "x"), C],
    "four names": [A, B, C, D],
}


@pytest.mark.parametrize("kind", STEPS)
def test_taking_a_name_back_leaves_the_one_before(folder, tmp_path, kind):
    """Step by step, with and without references: each undoes the last naming that changed the name."""
    with Gallery.create(tmp_path / "gallery") as gallery, Library(folder) as library:

        def state(opened):
            landmark = library.numbered(1).landmark
            contents = {(r.landmark, r.sha256) for r in opened.references()} if opened else set()
            return landmark and (landmark.id, landmark.name), contents

        for opened in (None, gallery):
            states = [(None, set())]
            for name, id, position in ((*step, None, None)[:3] for step in STEPS[kind]):
                _, failures = library.name(1, name, id, opened, position)
                assert not failures
                if state(opened)[0] != states[-1][0]:
                    states.append(state(opened))
            while len(states) > 1:
                states.pop()
                assert forget_name(library, 1, opened).photos == 3
                assert state(opened) == states[-1]
            with pytest.raises(LibraryError, match="has no name to take back"):
                forget_name(library, 1, opened)


def test_the_command_says_which_name_a_group_has_again(folder):
    for name in ("A", "B"):
        run("library", "name", folder, "1", name)
    assert "group 1 shows A (a) again: 3 photos" in run("library", "name", folder, "1", "--forget").stderr
    assert "group 1 has no name now: 3 photos" in run("library", "name", folder, "1", "--forget").stderr


def test_a_reference_made_by_hand_is_of_its_landmark_again(folder, tmp_path):
    gallery = tmp_path / "gallery"
    with Gallery.create(gallery) as opened:
        opened.add_photo(folder / "0.jpg", Landmark("a", "A"))
    before = references(gallery)
    run("library", "name", folder, "1", "A", "--gallery", gallery)
    run("library", "name", folder, "1", "B", "--gallery", gallery)
    assert {landmark for landmark, _ in references(gallery)} == {"b"}
    run("library", "name", folder, "1", "--forget", "--gallery", gallery)
    assert {landmark for landmark, _ in references(gallery)} == {"a"}
    run("library", "name", folder, "1", "--forget", "--gallery", gallery)
    assert references(gallery) == before


def test_a_verdict_of_a_photo_ends_what_was_before(folder):
    """Named, renamed, judged by itself and forgotten: a later name has none before it."""
    for name in ("A", "B"):
        run("library", "name", folder, "1", name)
    for photo in range(3):
        run("library", "review", folder, "--forget", folder / f"{photo}.jpg")
    run("library", "name", folder, "1", "C")
    assert "has no name now" in run("library", "name", folder, "1", "--forget").stderr


@pytest.mark.parametrize("stored", ["x", ["x"], {"k": 3}, {"k": [3]}, {"k": [{"landmark": {}, "gallery": None}]}])
def test_a_damaged_record_of_earlier_names_is_one_error(folder, stored):
    with Library(folder) as library:
        library.name(1, "A")
        library.catalog.set_meta(EARLIER_KEY, stored)
    assert "is damaged" in refused("library", "name", folder, "1", "--forget")
    assert set(labels(folder).values()) == {"A", None}


def test_the_list_of_what_was_done_says_how_names_are_taken_back(folder):
    said = run("library", "undo", folder, "--list").stderr
    assert "--forget" not in said
    run("library", "name", folder, "1", "Ca' d'Oro")
    run("library", "name", folder, "2", "Line\nfeed")
    said = run("library", "undo", folder, "--list").stderr
    assert f"veduta library name {folder} GROUP --forget" in said
    assert "1 Ca' d'Oro" in said
    assert r"2 'Line\nfeed'" in said
    assert run_json("library", "undo", folder, "--list") == []
    run("library", "name", folder, "1", "--forget")
    said = run("library", "undo", folder, "--list").stderr
    assert "1 Ca' d'Oro" not in said
    assert "2 'Line" in said
