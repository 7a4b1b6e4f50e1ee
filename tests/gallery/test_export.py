"""A gallery written out and read back: names, places, photos or their thumbnails, verdicts."""

import csv
import shutil

import pytest
from support import world
from support.cli import run

from veduta.errors import GalleryError
from veduta.gallery import Gallery
from veduta.gallery.contents import GalleryContents
from veduta.gallery.contents.export import ExportReport, export_gallery
from veduta.landmarks import Landmark, Reference
from veduta.review_queue import ReviewQueue

LANDMARKS = {
    "plain": Landmark("palazzo-0"),
    "named": Landmark("palazzo-0", "Ca' d'Oro"),
    "placed": Landmark("palazzo-0", "P", 45.440556, 12.333889),
    "at zero": Landmark("palazzo-0", "P", 0.0, -0.0),
    "exact": Landmark("palazzo-0", "P", 1 / 3, -179.99999999999997),
    "with a page": Landmark("palazzo-0", "P", None, None, "https://example.org/?a=1,2"),
    "with a comma": Landmark("palazzo-0", "Oro, Ca' d'"),
    "with quotes": Landmark("palazzo-0", 'The "Golden" House'),
    "of two lines": Landmark("palazzo-0", "Golden\nHouse"),
    "in other letters": Landmark("palazzo-0", "金の家"),
    "like a formula": Landmark("palazzo-0", "=1+1"),
    "like a path": Landmark("palazzo-0", "../../house"),
    "id": Landmark("../../escape", "E"),
    "absolute id": Landmark("/tmp/escape", "E", 1.0, 2.0),
    "id with a comma": Landmark("a,b", "E", 1.0, 2.0),
    "id with a quote": Landmark('a"b', "E"),
}


def rows(table):
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("landmark", LANDMARKS.values(), ids=LANDMARKS)
def test_what_is_exported_can_be_added_again(tmp_path, photos, landmark):
    photo = photos / "palazzo-0" / "photo-0.jpg"
    with Gallery.create(tmp_path / "first") as first, Gallery.create(tmp_path / "second") as second:
        first.add_photo(photo, landmark)
        assert export_gallery(first, tmp_path / "out") == ExportReport(1, 1, 0, 0)
        report = second.add(csv=tmp_path / "out" / "references.csv")
        assert (len(report.added), report.failures) == (1, ())
        assert second.landmarks() == first.landmarks()
        assert [r.sha256 for r in second.references()] == [r.sha256 for r in first.references()]
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert written == {"references.csv", "landmarks.csv", "photos/000001.jpeg"}


def test_a_whole_gallery_comes_back_from_the_command(gallery_path, tmp_path, view):
    said = run("export", gallery_path, tmp_path / "out").stderr
    assert "wrote 6 landmarks, 12 photos, 0 thumbnails of photos that are not here, 0 verdicts" in said
    run("create", tmp_path / "again")
    run("add", tmp_path / "again", "--csv", tmp_path / "out" / "references.csv")
    with Gallery.open(tmp_path / "again") as again, Gallery.open(gallery_path) as before:
        assert again.landmarks() == before.landmarks()
        (answer,) = again.recognize(view)
        assert answer.landmark.id == "palazzo-0"


def test_nothing_written_names_a_path_of_this_machine(gallery, tmp_path):
    export_gallery(gallery, tmp_path / "out")
    for table in ("references.csv", "landmarks.csv"):
        assert str(tmp_path.parent) not in (tmp_path / "out" / table).read_text("utf-8")


@pytest.mark.parametrize("fate", ["gone", "changed", "a folder", "empty"])
def test_a_thumbnail_stands_for_a_photo_that_is_not_there(tmp_path, fate):
    photo = world.save(world.facade(70), tmp_path / "a.jpg")
    with Gallery.create(tmp_path / "gallery") as gallery:
        gallery.add_photo(photo, "a")
        photo.unlink()
        {
            "gone": lambda: None,
            "changed": lambda: world.save(world.facade(71), photo),
            "a folder": photo.mkdir,
            "empty": photo.touch,
        }[fate]()
        assert export_gallery(gallery, tmp_path / "out") == ExportReport(1, 0, 1, 0)
        thumbnail = gallery.reference(gallery.references()[0].id).thumbnail
    assert (tmp_path / "out" / "photos" / "000001.webp").read_bytes() == thumbnail


def test_photos_are_not_read_where_they_lie_for_a_gallery_from_elsewhere(built, tmp_path):
    with GalleryContents.read(shutil.copytree(built, tmp_path / "sent")) as contents:
        assert export_gallery(contents, tmp_path / "out") == ExportReport(6, 0, 12, 0)


def test_photos_that_the_gallery_keeps_itself_are_written_as_they_are(gallery, view, tmp_path):
    content = world.save(world.facade(72), tmp_path / "sent.png").read_bytes()
    (added,) = gallery.add_contents([("sent.png", content)], Landmark("a-sent")).added
    export_gallery(gallery, tmp_path / "out")
    (row,) = [row for row in rows(tmp_path / "out" / "references.csv") if row["landmark"] == "a-sent"]
    assert (tmp_path / "out" / row["photo"]).read_bytes() == content
    assert row["photo"].endswith(".png")
    assert isinstance(added, Reference)


def test_landmarks_without_references_and_licences_are_kept(gallery, tmp_path):
    gallery.put_landmark(Landmark("bare", "Bare", 1.0, 2.0))
    table = tmp_path / "table.csv"
    world.save(world.facade(73), tmp_path / "free.jpg")
    table.write_text("photo,landmark,licence\nfree.jpg,free,CC0\n")
    gallery.add(csv=table)
    assert export_gallery(gallery, tmp_path / "out").landmarks == 8
    bare = {"landmark": "bare", "name": "Bare", "latitude": "1.0", "longitude": "2.0", "url": ""}
    assert bare in rows(tmp_path / "out" / "landmarks.csv")
    licences = {row["landmark"]: row["licence"] for row in rows(tmp_path / "out" / "references.csv")}
    assert licences == {f"palazzo-{i}": "" for i in range(6)} | {"free": "CC0"}


def test_verdicts_are_written_as_calibrate_reads_them(gallery, tmp_path):
    queue = ReviewQueue(gallery.path)
    for number, content in enumerate([b"one", b"two", b"three"], 1):
        queue.keep(f"{number}.jpg", content, {})
    queue.set_verdict(1, "accepted", "palazzo-0")
    queue.set_verdict(2, "rejected", None)
    queue.close()
    assert export_gallery(gallery, tmp_path / "out").verdicts == 2
    judged = {row["landmark"]: row["photo"] for row in rows(tmp_path / "out" / "verdicts" / "photos.csv")}
    assert {kind: (tmp_path / "out" / "verdicts" / name).read_bytes() for kind, name in judged.items()} == {
        "palazzo-0": b"one",
        "none": b"two",
    }


@pytest.mark.parametrize("kind", ["a file in it", "an earlier export", "a file", "a file above"])
def test_a_folder_that_is_not_new_is_refused_and_left_alone(gallery, tmp_path, kind):
    out = tmp_path / "out"
    if kind == "a file in it":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    elif kind == "an earlier export":
        export_gallery(gallery, out)
    else:
        out.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(GalleryError, match="cannot take an export"):
        export_gallery(gallery, out / "deeper" if kind == "a file above" else out)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_and_an_empty_gallery_will_do(tmp_path):
    (tmp_path / "out").mkdir()
    with Gallery.create(tmp_path / "gallery") as gallery:
        assert export_gallery(gallery, tmp_path / "out") == ExportReport(0, 0, 0, 0)
    assert rows(tmp_path / "out" / "references.csv") == []
