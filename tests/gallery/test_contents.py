"""Landmarks looked up, edited and listed, also where the models that made a gallery are not here."""

import contextlib
import json
import sqlite3

import pytest
from support.cli import errors, run, run_json

from veduta.errors import GalleryError, NotFoundError
from veduta.gallery import Gallery
from veduta.gallery.contents import GalleryContents
from veduta.gallery.store import GALLERY_FILE
from veduta.landmarks import Landmark, Position

EIFFEL = Landmark("eiffel", "Eiffel Tower", 48.858, 2.294, "https://example.org/eiffel")


@pytest.fixture
def eiffel(gallery):
    gallery.put_landmark(EIFFEL)
    return gallery


def facts(changes):
    return [f"--{name}={value}" for name, value in changes.items()]


CHANGES = {
    "name": ({"name": "La Tour Eiffel"}, Landmark("eiffel", "La Tour Eiffel", 48.858, 2.294, EIFFEL.url)),
    "name in other letters": ({"name": "エッフェル塔"}, Landmark("eiffel", "エッフェル塔", 48.858, 2.294, EIFFEL.url)),
    "name with a comma": ({"name": "Tower, Eiffel"}, Landmark("eiffel", "Tower, Eiffel", 48.858, 2.294, EIFFEL.url)),
    "name taken apart": ({"name": "Cafe\u0301"}, Landmark("eiffel", "Caf\u00e9", 48.858, 2.294, EIFFEL.url)),
    "name of the id": ({"name": "eiffel"}, Landmark("eiffel", "eiffel", 48.858, 2.294, EIFFEL.url)),
    "place": ({"position": (48.5, 2.5)}, Landmark("eiffel", "Eiffel Tower", 48.5, 2.5, EIFFEL.url)),
    "place of zeros": ({"position": (0, 0)}, Landmark("eiffel", "Eiffel Tower", 0.0, 0.0, EIFFEL.url)),
    "place at the edge": ({"position": (-90, 180)}, Landmark("eiffel", "Eiffel Tower", -90.0, 180.0, EIFFEL.url)),
    "place by name": ({"position": Position(1.5, -2.5)}, Landmark("eiffel", "Eiffel Tower", 1.5, -2.5, EIFFEL.url)),
    "page": (
        {"url": "https://example.org/2"},
        Landmark("eiffel", "Eiffel Tower", 48.858, 2.294, "https://example.org/2"),
    ),
    "name and page": ({"name": "X", "url": "u"}, Landmark("eiffel", "X", 48.858, 2.294, "u")),
    "all": ({"name": "X", "position": (1, 2), "url": "u"}, Landmark("eiffel", "X", 1.0, 2.0, "u")),
    "nothing": ({}, EIFFEL),
}


@pytest.mark.parametrize(("changes", "expected"), CHANGES.values(), ids=CHANGES)
def test_an_edit_changes_the_facts_that_are_given_and_no_others(eiffel, changes, expected):
    others = [row for row in eiffel.landmarks() if row.landmark.id != "eiffel"]
    assert eiffel.edit("eiffel", **changes) == expected
    assert eiffel.landmark("eiffel") == expected
    assert [row for row in eiffel.landmarks() if row.landmark.id != "eiffel"] == others


@pytest.mark.parametrize("kind", [kind for kind in CHANGES if kind != "nothing"])
def test_the_command_edits_as_the_call_does(eiffel, kind):
    changes, expected = CHANGES[kind]
    given = {k: ",".join(map(str, v)) if k == "position" else v for k, v in changes.items()}
    run("edit", eiffel.path, "eiffel", *facts(given))
    assert eiffel.landmark("eiffel") == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "  "},
        {"position": (91, 0)},
        {"position": (-90.1, 0)},
        {"position": (0, 180.5)},
        {"position": (0, -181)},
        {"position": (float("nan"), 0)},
        {"position": (0, float("inf"))},
        {"position": (1, 2, 3)},
        {"position": (1,)},
    ],
)
def test_a_fact_that_cannot_be_is_refused_and_nothing_changes(eiffel, wrong):
    with pytest.raises(ValueError, match=r"name|position|unpack"):
        eiffel.edit("eiffel", **wrong)
    given = {k: ",".join(map(str, v)) if k == "position" else v for k, v in wrong.items()}
    run("edit", eiffel.path, "eiffel", *facts(given), code=2)
    assert eiffel.landmark("eiffel") == EIFFEL


def test_an_edit_needs_a_fact(eiffel):
    assert "give --name, --position or --url" in run("edit", eiffel.path, "eiffel", code=2).stderr


def test_a_renamed_landmark_keeps_its_references_and_is_recognized_by_its_new_name(gallery, view):
    before = gallery.references("palazzo-0")
    assert gallery.rename("palazzo-0", "Ca' d'Oro").name == "Ca' d'Oro"
    assert gallery.references("palazzo-0") == before
    (answer,) = gallery.recognize(view)
    assert answer.landmark == gallery.landmark("palazzo-0")


@pytest.mark.parametrize("id", ["", "nowhere", "Palazzo-0", "palazzo-0 ", "palazzo", "\udcff", "palazzo-0/photo-0.jpg"])
def test_a_landmark_that_is_not_there_is_not_found(gallery, id):
    for ask in (gallery.landmark, lambda id: gallery.edit(id, "X"), lambda id: gallery.rename(id, "X")):
        with pytest.raises(NotFoundError) as error:
            ask(id)
        assert (error.value.kind, error.value.id) == ("landmark", id)


def test_a_gallery_shows_its_folder(gallery):
    assert repr(gallery) == f"Gallery({str(gallery.path)!r})"


# --- made by other models ---------------------------------------------------------------------------------------


@pytest.fixture(params=["name", "sha256"])
def foreign(request, gallery_path):
    """The folder of a gallery whose embedder is another than any here."""
    changed = {"name": "unheard-of", "sha256": "0" * 64}[request.param]
    with contextlib.closing(sqlite3.connect(gallery_path / GALLERY_FILE)) as db, db:
        settings = json.loads(db.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()[0])
        settings["embedder"][request.param] = changed
        db.execute("UPDATE meta SET value = ? WHERE key = 'settings'", (json.dumps(settings),))
    return gallery_path


def test_a_gallery_of_other_models_is_listed_and_edited(foreign, built):
    with pytest.raises(GalleryError):
        Gallery.open(foreign)
    with GalleryContents.read(foreign) as contents, Gallery.open(built) as known:
        assert contents.landmarks() == known.landmarks()
        assert contents.references() == known.references()
        assert contents.reference("palazzo-0/photo-0.jpg").thumbnail
        contents.rename("palazzo-0", "Ca' d'Oro")
        assert repr(contents) == f"GalleryContents({str(foreign)!r})"
    rows = run_json("list", foreign)
    assert {row["id"]: row["name"] for row in rows}["palazzo-0"] == "Ca' d'Oro"
    assert len(run_json("list", foreign, "--references")) == 12
    run("edit", foreign, "palazzo-1", "--position", "45.4,12.3")
    assert run_json("list", foreign, "--id", "palazzo-1")[0]["latitude"] == 45.4


def test_a_gallery_of_other_models_is_exported(foreign, tmp_path):
    run("export", foreign, tmp_path / "out")
    run("create", tmp_path / "here")
    run("add", tmp_path / "here", "--csv", tmp_path / "out" / "references.csv")
    assert run_json("list", tmp_path / "here") == run_json("list", foreign)


def test_what_is_no_gallery_has_no_contents(tmp_path):
    with pytest.raises(GalleryError, match="is not a gallery"):
        GalleryContents.read(tmp_path)
    assert "is not a gallery" in errors(run("list", tmp_path, code=2))[0]
