"""A photo corrected to a landmark that the gallery does not have becomes the reference of that, as on the page."""

import pytest
from support.cli import refused, run
from support.photos import picture

from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.library import Library

HERE = (45.43, 12.33)


@pytest.fixture
def places(tmp_path):
    """A library of three photos, and the gallery that was asked about them."""
    folder, gallery = tmp_path / "library", tmp_path / "gallery"
    for number in range(3):
        picture(folder / "2019" / f"{number}.jpg", seed=number, position=HERE if number else None)
    with Gallery.create(gallery) as opened, Library(folder) as library:
        opened.put_landmark(Landmark("Q1", "Ca' d'Oro"))
        library.scan(opened)
    return folder, gallery


def correct(folder, *corrections, code=0, new=True):
    options = [word for number, text in corrections for word in ("--correct", f"{folder}/2019/{number}.jpg={text}")]
    return run("library", "review", folder, *options, *(["--new"] if new else []), code=code).stderr


def contents(gallery):
    with Gallery.open(gallery) as opened:
        return {r.id: r.landmark for r in opened.references()}, {c.landmark.id: c.landmark for c in opened.landmarks()}


NAMES = {
    "Rialto": "rialto",
    "Ponte di Rialto": "ponte-di-rialto",
    "Sacré-Cœur, Paris": "sacré-cœur-paris",
    "Sacre\u0301-Cœur": "sacré-cœur",
    "ST. MARK'S": "st-mark-s",
    "東京タワー": "東京タワー",
    "  Trevi  ": "trevi",
    "Gate 42 B": "gate-42-b",
    "Храм Василия": "храм-василия",
    "Straße": "strasse",
    "Ca' Foscari (Venezia)": "ca-foscari-venezia",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_new_landmark_has_an_id_of_its_words_and_the_photo_as_reference(places, name):
    folder, gallery = places
    said = correct(folder, (1, name))
    assert f"({NAMES[name]}), new in {gallery}, with this photo as its reference" in said
    references, landmarks = contents(gallery)
    assert references == {"2019/1.jpg": NAMES[name]}
    assert landmarks[NAMES[name]].position == pytest.approx(HERE, abs=1e-4)
    with Library(folder) as library:
        assert [a.label and a.label.landmark.id for a in library.assets()] == [None, NAMES[name], None]


def test_a_photo_without_a_position_makes_a_landmark_without_a_place(places):
    folder, gallery = places
    correct(folder, (0, "Rialto"))
    assert contents(gallery)[1]["rialto"].position is None


def test_a_known_landmark_gets_no_reference(places):
    folder, gallery = places
    for text in ("Q1", "Ca' d'Oro", "ca' d'oro"):
        assert correct(folder, (1, text)) == f"{folder}/2019/1.jpg: Ca' d'Oro\n"
    assert contents(gallery)[0] == {}
    correct(folder, (1, "Rialto"), (2, "Rialto"))  # known by the time of the second
    assert contents(gallery)[0] == {"2019/1.jpg": "rialto"}


def test_a_landmark_that_only_a_verdict_knows_is_new_to_the_gallery(places):
    folder, gallery = places
    with Library(folder) as library:
        library.set_verdict(folder / "2019" / "0.jpg", "corrected", Landmark("rialto", "Rialto"))
    assert "new in" not in correct(folder, (1, "Rialto"), new=False)
    assert contents(gallery)[0] == {}
    assert "new in" in correct(folder, (2, "Rialto"))
    assert contents(gallery)[0] == {"2019/2.jpg": "rialto"}


def test_who_corrects_a_correction_moves_the_reference(places):
    folder, gallery = places
    correct(folder, (1, "Rialto"))
    correct(folder, (1, "Accademia"))
    assert contents(gallery)[0] == {"2019/1.jpg": "accademia"}


def test_a_reference_that_somebody_else_made_stays(places):
    folder, gallery = places
    with Gallery.open(gallery) as opened:
        opened.add_photo(folder / "2019" / "1.jpg", "Q1")
    said = correct(folder, (1, "Rialto"), code=1)
    assert "Q1" in said
    references, landmarks = contents(gallery)
    assert list(references.values()) == ["Q1"]
    assert list(landmarks) == ["Q1"]
    with Library(folder) as library:  # what the person said is kept all the same
        assert library.assets()[1].label.landmark.id == "rialto"


def test_without_a_gallery_only_the_verdict_is_kept(tmp_path):
    picture(tmp_path / "library" / "2019" / "1.jpg")
    run("library", "scan", tmp_path / "library")
    assert correct(tmp_path / "library", (1, "Rialto")).endswith("1.jpg: Rialto\n")


def test_a_gallery_that_is_gone_is_an_error_and_the_verdict_is_kept(places):
    folder, gallery = places
    gallery.rename(gallery.with_name("elsewhere"))
    said = refused("library", "review", folder, "--new", "--correct", f"{folder}/2019/1.jpg=Rialto")
    assert str(gallery) in said
    with Library(folder) as library:
        assert library.assets()[1].label.landmark.id == "rialto"


def test_a_name_that_is_no_text_is_refused(places):
    folder, gallery = places
    assert "use Unicode only" in refused(
        "library", "review", folder, "--new", "--correct", f"{folder}/2019/1.jpg=\udcff"
    )
    assert contents(gallery)[0] == {}
