"""A position that Veduta wrote is the landmark's, a guess: no scan takes it for the camera's word."""

import shutil

import PIL.Image
import pytest
from support.metadata import EIFFEL, needs_exiftool, stored_position
from support.photos import picture

from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.library import Library

CAMERA = (41.5, 12.25)
PLACE = (EIFFEL.landmark.latitude, EIFFEL.landmark.longitude)


@pytest.fixture
def library(tmp_path):
    """A photo without a position and one with its camera's, both of a landmark whose place is known."""
    folder = tmp_path / "library"
    picture(folder / "plain.jpg", 1)
    picture(folder / "placed.jpg", 2, position=CAMERA)
    with Library(folder) as opened:
        opened.scan()
        for shot in opened.assets():
            opened.set_verdict(shot.file, "corrected", EIFFEL.landmark)
        yield opened


def positions(library):
    return {shot.file.name: shot.position for shot in library.assets()}


def scanned_anew(folder, state):
    """The positions in a folder, as a library that knows nothing of what was written there finds them."""
    with Library(folder, state) as library:
        assert library.scan().failures == ()
        return positions(library)


@needs_exiftool
def test_a_position_written_into_a_photo_is_no_evidence_when_it_is_scanned_again(library, tmp_path):
    library.apply(library.tag(embed=True))
    assert stored_position(library.path / "plain.jpg") == pytest.approx(PLACE, abs=1e-6)  # it is in there
    library.scan()
    expected = {"plain.jpg": None, "placed.jpg": pytest.approx(CAMERA)}
    assert positions(library) == expected
    assert scanned_anew(library.path, tmp_path / "state") == expected


def test_a_position_written_into_a_sidecar_is_no_evidence_when_it_is_scanned_again(library, tmp_path):
    library.apply(library.tag())
    assert b"GPSLatitude" in (library.path / "plain.jpg.xmp").read_bytes()
    library.scan()
    expected = {"plain.jpg": None, "placed.jpg": pytest.approx(CAMERA)}
    assert positions(library) == expected
    assert scanned_anew(library.path, tmp_path / "state") == expected


@needs_exiftool
@pytest.mark.parametrize("kind", ["WEBP", "PNG", "TIFF"])
def test_a_position_that_came_along_into_another_format_is_no_evidence_either(library, tmp_path, kind):
    library.apply(library.tag(embed=True))
    with PIL.Image.open(library.path / "plain.jpg") as photo:
        exif = photo.info["exif"]
        (tmp_path / "converted").mkdir()
        photo.save(tmp_path / "converted" / f"plain.{kind.lower()}", exif=exif)
    (path,) = (tmp_path / "converted").iterdir()
    assert stored_position(path) == pytest.approx(PLACE, abs=1e-6)
    assert scanned_anew(path.parent, tmp_path / "state") == {path.name: None}


@needs_exiftool
def test_a_gallery_is_not_told_a_position_that_was_written_by_its_own_answer(tmp_path, gallery_path, view):
    """Else a doubtful answer would make itself sure: written as a position, and then found to be near by."""
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    with Gallery.open(gallery_path) as gallery, Library(folder) as library:
        gallery.put_landmark(Landmark("palazzo-0", "Palazzo", *PLACE))
        library.scan(gallery)
        (before,) = library.answers().values()
        assert before.landmark is not None
        library.apply(library.tag(embed=True, floor=0.0))
        assert stored_position(folder / "a.jpg") == pytest.approx(PLACE, abs=1e-6)
        with Library(folder, tmp_path / "state") as other:
            other.scan(gallery)
            (after,) = other.answers().values()
    assert (after.landmark, after.confidence) == (before.landmark, before.confidence)
