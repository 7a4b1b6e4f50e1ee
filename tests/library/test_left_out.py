"""Folders that are not looked into, by everybody's names for trash, snapshots and packages; and photos not read."""

from pathlib import Path

import pytest
from support.photos import picture

from veduta.library import Library
from veduta.library.companions import PHOTO_SUFFIXES
from veduta.library.discover import NOT_READ, discover_photos
from veduta.library.left_out import FOLDER_RULES

TRASH = ["@Recycle", "#recycle", "$RECYCLE.BIN", "RECYCLER", "Network Trash Folder", "Recycle Bin", ".Trash-1000"]
SNAPSHOTS = ["@Recently-Snapshot/GMT+02_2023-01-01_0000", "#snapshot/GMT-2023", "~snapshot/hourly.0", ".zfs/snapshot/a"]
OURS = ["@eaDir/IMG.jpg", ".@__thumb", "__MACOSX", "FOUND.000", "lost+found", "files_trashbin/files", "appdata_oc1x2y"]
PACKAGES = [
    "Main Previews.lrdata/0/1",
    "Main.lrcat-data",
    "Old.aplibrary/Masters",
    "Old.migratedphotolibrary/Masters",
    "Photo Booth Library.photoboothlibrary/Pictures",
    "Work.cocatalog/Cache",
    "P.photoslibrary",
    "P.photoslibrary/resources/derivatives",
    "P.photoslibrary/scopes/cloudsharing",
    ".dtrash/files",
    ".picasaoriginals",
    "NKSC_PARAM",
]
OWN = ["Trash", "Snapshots of 2020", "recycle", "@home", "#1 album", "originals", "Thumbsucker", "found", "App data"]


def found(folder):
    failures = []
    paths = [str(Path(photo.path).relative_to(folder)) for photo in discover_photos(folder, failures.append)]
    return sorted(paths), sorted(Path(failure.photo).name for failure in failures)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize("folder", [*TRASH, *SNAPSHOTS, *OURS, *PACKAGES])
@pytest.mark.parametrize("above", ["", "2020/deep"])
@pytest.mark.parametrize("letters", [str, str.lower, str.upper])
def test_folders_of_machines_and_programs_are_left_out(tmp_path, folder, above, letters):
    touch(tmp_path, "own/p.jpg", f"{Path(above, letters(folder))}/p.jpg")
    assert found(tmp_path) == (["own/p.jpg"], [])


@pytest.mark.parametrize("folder", OWN)
def test_folders_that_people_name_so_are_looked_into(tmp_path, folder):
    touch(tmp_path, f"{folder}/p.jpg")
    assert found(tmp_path) == ([f"{folder}/p.jpg"], [])


def test_every_rule_says_whose_folder_and_where_that_is_told():
    names = [pattern for rule in FOLDER_RULES for pattern in rule.patterns]
    assert len(names) == len(set(names))
    assert all(pattern == pattern.casefold() for pattern in names)
    assert all(rule.holds and rule.source for rule in FOLDER_RULES)


def test_a_library_that_lies_in_such_a_folder_is_scanned_when_it_is_named(tmp_path):
    touch(tmp_path / "#recycle" / "mine", "p.jpg")
    assert found(tmp_path / "#recycle" / "mine") == (["p.jpg"], [])


@pytest.mark.parametrize("name", ["stereo.mpo", "STEREO.MPO", "all-round.insp", "All-Round.INSP"])
def test_jpegs_of_other_names_are_photos(tmp_path, name):
    picture(tmp_path / "a.jpg", 3).rename(tmp_path / name)
    with Library(tmp_path) as library:
        report = library.scan()
        assert (report.looked_at, report.failures) == (1, ())
        assert library.assets()[0].size == (240, 180)


@pytest.mark.parametrize("suffix", [*sorted(NOT_READ), ".JXL", ".Jp2", ".PSD"])
def test_photos_that_are_not_read_are_named(tmp_path, suffix):
    touch(tmp_path, "a.jpg", f"sub/b{suffix}", f"a{suffix}", f"#recycle/c{suffix}")
    assert found(tmp_path) == (["a.jpg"], [f"b{suffix}"])
    assert not NOT_READ.keys() & PHOTO_SUFFIXES


def test_photos_that_are_not_read_are_named_at_every_scan(tmp_path):
    touch(tmp_path, "b.jxl")
    with Library(tmp_path) as library:
        for _ in range(2):
            (failure,) = library.scan().failures
            assert failure.code == "skipped"
            assert "is a JPEG XL file" in failure.error
