"""The last addition can be taken back, and nothing else goes with it."""

from pathlib import Path

import pytest
from support import world
from support.galleries import tables
from support.processes import veduta

from veduta.errors import GalleryError
from veduta.gallery import Gallery
from veduta.gallery.contents import GalleryContents
from veduta.landmarks import Landmark


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    """A folder with a view of a landmark that is known and one of a new landmark. Read only."""
    folder = tmp_path_factory.mktemp("more")
    for name, seed in (("palazzo-0/new.jpg", 70), ("villa/new.jpg", 71)):
        (folder / name).parent.mkdir()
        world.save(world.facade(seed), folder / name)
    return folder


@pytest.fixture
def gallery(gallery_path):
    with Gallery.open(gallery_path) as gallery:
        yield gallery


def contents(gallery):
    return gallery.landmarks(), gallery.references()


def test_an_addition_is_taken_back_with_the_landmarks_it_made(gallery, more):
    before = contents(gallery)
    gallery.add(more)
    addition = gallery.last_addition()
    assert (addition.source, addition.references) == (str(more), 2)
    removed = gallery.remove_last_addition()
    assert {reference.id for reference in removed.references} == {"palazzo-0/new.jpg", "villa/new.jpg"}
    assert (removed.landmarks, removed.addition) == (1, addition)
    assert contents(gallery) == before


def test_additions_go_one_after_another(gallery, more, distractors):
    before = contents(gallery)
    gallery.add(more)
    gallery.add_photo(distractors[0], Landmark("villa"))
    assert gallery.remove(last_added=True) == 1
    assert [reference.id for reference in gallery.references("villa")] == ["villa/new.jpg"]
    assert gallery.remove(last_added=True) == 2
    assert contents(gallery) == before
    assert gallery.remove(last_added=True) == 12  # what the gallery was made with
    assert gallery.counts() == (0, 0)
    with pytest.raises(GalleryError, match="has no addition to take back"):
        gallery.remove_last_addition()


def test_a_landmark_with_references_of_a_later_addition_stays(gallery, more, distractors):
    gallery.add(more)
    gallery.add_photo(distractors[0], Landmark("villa"))
    gallery.remove(reference=distractors[0])
    gallery.add_photo(distractors[0], Landmark("villa"))
    gallery.remove(reference="villa/new.jpg")
    gallery.remove(landmark="palazzo-0")
    assert gallery.remove_last_addition().landmarks == 0  # an earlier one made it
    assert gallery.landmark("villa").id == "villa"


def test_adding_the_same_again_is_no_addition(gallery, more):
    gallery.add(more)
    first = gallery.last_addition()
    report = gallery.add(more)
    assert (report.skipped, gallery.last_addition()) == (2, first)


def test_photos_sent_to_a_server_go_from_its_folder_too(gallery, distractors):
    gallery.add_contents([("holiday.jpg", Path(distractors[0]).read_bytes())], Landmark("villa"))
    assert gallery.last_addition().source == "holiday.jpg"
    kept = list((gallery.path / "photos").iterdir())
    assert len(kept) == 1
    gallery.remove_last_addition()
    assert not kept[0].exists()


def test_removed_and_added_again_everything_is_as_it_was(gallery, more):
    gallery.add(more)
    before = tables(gallery.path)
    gallery.remove_last_addition()
    gallery.add(more)
    after = tables(gallery.path)
    for name in ("landmark", "attachment"):
        assert before[name] == after[name]
    assert [row[1:] for row in before["reference"]] == [row[1:] for row in after["reference"]]


def test_the_command_says_what_went(gallery_path, more):
    assert veduta("add", gallery_path, more).returncode == 0
    done = veduta("remove", gallery_path, "--last-added")
    assert done.returncode == 0
    assert "removed 2 references and 1 landmark, added 20" in done.stderr
    assert done.stderr.rstrip().endswith(f"UTC from {more}")
    with GalleryContents.read(gallery_path) as contents:
        assert contents.counts() == (6, 12)
