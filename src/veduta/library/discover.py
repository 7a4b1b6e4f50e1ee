"""Discovery of the photos beneath a folder, each with the files that belong to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from veduta.images import walk
from veduta.library.companions import KNOWN_SUFFIXES, PHOTO_SUFFIXES, pair_companions, plain_stem, suffix_of
from veduta.library.left_out import is_left_out, is_photos_library
from veduta.library.organize.path_template import name_key
from veduta.types import Failure

# Suffix -> format of photos and pictures that are not read, so that nobody misses them without knowing.
NOT_READ = {
    **dict.fromkeys((".jxl",), "JPEG XL"),
    **dict.fromkeys((".j2c", ".j2k", ".jp2", ".jpf", ".jpm", ".jpx"), "JPEG 2000"),
    **dict.fromkeys((".hdp", ".jxr", ".wdp"), "JPEG XR"),
    **dict.fromkeys((".psb", ".psd"), "Photoshop"),
}


@dataclass(frozen=True)
class DiscoveredPhoto:
    """A photo's file, as listed in its folder.

    Attributes:
        path: its path.
        companions: files that belong to it, see `companions`.
        size: its length in bytes.
        mtime: when it was last changed, in nanoseconds.
        node: (device, number) of the file, which stays when it is moved on one disk.
    """

    path: str
    companions: tuple[str, ...]
    size: int
    mtime: int
    node: tuple[int, int]


def discover_photos(
    root: str | os.PathLike[str], report: Callable[[Failure], None], without: Path | None = None
) -> Iterator[DiscoveredPhoto]:
    """Yield the photos beneath a folder, sorted by folder; failures go to `report`.

    Hidden files and folders, those of `left_out` and sidecars are no photos; links are followed, each folder is
    visited once. A RAW beside its JPEG belongs to it and is not a separate photo.

    Args:
        root: the folder.
        report: takes the folders that cannot be listed, the files without a status, and photos of formats that are not
            read.
        without: a folder that is not looked into, such as the one with backups.
    """
    closed = os.path.realpath(without) if without is not None else None

    def enter(folder: str) -> bool:
        return not is_left_out(folder) and os.path.realpath(folder) != closed

    by_folder: dict[str, list[str]] = {}
    for file in walk(root, report=report, suffixes=KNOWN_SUFFIXES | NOT_READ.keys(), enter=enter):
        by_folder.setdefault(file.rpartition(os.sep)[0], []).append(file)
    for folder, files in by_folder.items():
        if is_photos_library(folder):
            continue
        names = [file.rpartition(os.sep)[2] for file in files]
        _name_unread(folder, names, report)
        for photo, companions in pair_companions(names).items():
            paths = tuple(f"{folder}{os.sep}{name}" for name in companions)
            yield from _with_status(f"{folder}{os.sep}{photo}", paths, report)


def _name_unread(folder: str, names: list[str], report: Callable[[Failure], None]) -> None:
    """Report the photos of formats that are not read, but for those that lie beside a photo of the same stem."""
    stems = {name_key(plain_stem(name)) for name in names if suffix_of(name) in PHOTO_SUFFIXES}
    for name in names:
        kind = NOT_READ.get(suffix_of(name))
        if kind is not None and name_key(plain_stem(name)) not in stems:
            path = f"{folder}{os.sep}{name}"
            report(
                Failure(path, f"{path}: is a {kind} file by its name, which is not read; save it as JPEG", "skipped")
            )


def _with_status(
    photo: str, companions: tuple[str, ...], report: Callable[[Failure], None]
) -> Iterator[DiscoveredPhoto]:
    try:
        status = Path(photo).stat()
    except OSError as error:  # a link that leads nowhere, or a file that has just gone
        report(Failure(photo, f"{photo}: cannot be looked at: {error.strerror}"))
        return
    node = status.st_dev, status.st_ino
    yield DiscoveredPhoto(photo, tuple(sorted(companions)), status.st_size, status.st_mtime_ns, node)
