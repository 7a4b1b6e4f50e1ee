"""Whose record a file has: never another photo's, whatever the disk numbers its files, and rarely by reading."""

import hashlib
import itertools
import os

import pytest
from support.photos import picture

from veduta.library import Library
from veduta.library import known_files as module
from veduta.library.catalog import FileRecord
from veduta.library.discover import DiscoveredPhoto
from veduta.library.known_files import KnownFiles

NAMES = "abc"


def write(folder, content=None, mtime=1_600_000_000):
    """Files of one size and time, of different content."""
    for name in NAMES:
        path = folder / name
        path.write_bytes((content or {}).get(name, name.encode()) * 100)
        os.utime(path, (mtime, mtime))


def scanned(folder, numbers):
    """The files of a folder, with these numbers."""
    return [
        DiscoveredPhoto(str(path), (), path.stat().st_size, path.stat().st_mtime_ns, (1, numbers[path.name]))
        for path in sorted(folder.iterdir())
    ]


def recorded(photos):
    return {p.path: FileRecord(p.size, p.mtime, p.node, content(p.path), None) for p in photos}


def content(path):
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def numbered(order):
    return {name: number for number, name in enumerate(order)}


@pytest.mark.parametrize("again", list(itertools.permutations(NAMES)), ids="".join)
@pytest.mark.parametrize("turned", list(itertools.permutations(NAMES)), ids="".join)
def test_no_file_has_the_record_of_another_content(tmp_path, again, turned):
    write(tmp_path)
    records = recorded(scanned(tmp_path, numbered(NAMES)))
    for name in NAMES:  # files may change names as well
        (tmp_path / name).rename(tmp_path / f"{name}.old")
    for name, other in zip(NAMES, turned, strict=True):
        (tmp_path / f"{name}.old").rename(tmp_path / other)
    # The numbers go with the files on a good disk, and are dealt anew on others.
    moved = {other: number for number, other in enumerate(turned)}
    for numbers in (moved, {name: 10 + number for name, number in numbered(again).items()}):
        photos = scanned(tmp_path, numbers)
        known = KnownFiles(records, photos)
        for photo in photos:
            assert records[known.find(photo)].sha256 == content(photo.path)


@pytest.mark.parametrize("again", list(itertools.permutations(NAMES)), ids="".join)
def test_numbers_dealt_anew_in_another_order_swap_nothing(tmp_path, again):
    write(tmp_path)
    records = recorded(scanned(tmp_path, numbered(NAMES)))
    photos = scanned(tmp_path, numbered(again))
    known = KnownFiles(records, photos)
    assert [known.find(photo) for photo in photos] == [photo.path for photo in photos]


def test_another_photo_under_a_number_that_is_free_again_is_read(tmp_path):
    write(tmp_path)
    records = recorded(scanned(tmp_path, numbered(NAMES)))
    (tmp_path / "a").write_bytes(b"z" * 100)
    (tmp_path / "a").rename(tmp_path / "z")
    os.utime(tmp_path / "z", (1_600_000_000, 1_600_000_000))
    photos = scanned(tmp_path, {"z": 0, "b": 1, "c": 2})
    known = KnownFiles(records, photos)
    assert [known.find(photo) for photo in photos] == [str(tmp_path / "b"), str(tmp_path / "c"), None]


def test_files_of_their_own_size_or_time_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "content_sha256", lambda path: pytest.fail(f"{path} was read"))
    write(tmp_path, {"a": b"1", "b": b"22", "c": b"333"})
    records = recorded(scanned(tmp_path, numbered(NAMES)))
    photos = scanned(tmp_path, numbered("cab"))
    assert [KnownFiles(records, photos).find(photo) for photo in photos] == [photo.path for photo in photos]
    (tmp_path / "a").rename(tmp_path / "moved")
    photos = scanned(tmp_path, {"moved": 0, "b": 1, "c": 2})
    assert [KnownFiles(records, photos).find(photo) for photo in photos] == [*map(str, (tmp_path / n for n in "bca"))]
    write(tmp_path)  # of one size and time, where nothing has changed
    (tmp_path / "moved").unlink()
    photos = scanned(tmp_path, numbered(NAMES))
    assert [KnownFiles(recorded(photos), photos).find(photo) for photo in photos] == [photo.path for photo in photos]


def test_a_file_that_cannot_be_read_is_looked_at(tmp_path, monkeypatch):
    write(tmp_path)
    records = recorded(scanned(tmp_path, numbered(NAMES)))
    photos = scanned(tmp_path, numbered("bca"))

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(module, "content_sha256", refuse)
    assert [KnownFiles(records, photos).find(photo) for photo in photos] == [None] * 3


def test_photos_of_one_size_and_time_keep_their_answers_when_they_are_sorted(tmp_path):
    for number in range(4):
        picture(tmp_path / f"{number}.bmp", number)
        os.utime(tmp_path / f"{number}.bmp", (1_600_000_000, 1_600_000_000))
    with Library(tmp_path) as library:
        library.scan()
        before = {asset.file.name: asset.sha256 for asset in library.assets()}
        (tmp_path / "sub").mkdir()
        for number in range(4):
            (tmp_path / f"{number}.bmp").rename(tmp_path / "sub" / f"{number}.bmp")
        report = library.scan(limit=0)
        assert (report.moved, report.looked_at, report.waiting) == (4, 0, 0)
        assert {asset.file.name: asset.sha256 for asset in library.assets()} == before
