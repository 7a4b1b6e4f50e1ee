"""Discovery of the photos beneath a folder, each with the files that belong to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from veduta.images import walk
from veduta.library.companions import KNOWN_SUFFIXES, pair_companions
from veduta.types import Failure

# Folders that hold copies other programs made, or what was thrown away. Hidden ones are never looked into.
CACHES = frozenset(
    {"#recycle", "$recycle.bin", "@eadir", "__macosx", "cache", "caches", "lost+found", "thumbnails", "system volume"}
    | {"system volume information", "temporary items"}
)
PACKAGES = (".lrdata", ".lrcat-data", ".aplibrary", ".migratedphotolibrary")
PHOTOS_LIBRARY, ORIGINALS = ".photoslibrary", frozenset({"originals", "masters"})
CACHE_TAG = "CACHEDIR.TAG"  # bford.info/cachedir: a folder with this file in it can be made again


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

    Hidden files and folders, caches and sidecars are no photos; links are followed, each folder is visited once. A RAW
    beside its JPEG belongs to it and is not a separate photo.

    Args:
        root: the folder.
        report: takes the folders that cannot be listed and the files without a status.
        without: a folder that is not looked into, such as the one with backups.
    """
    closed = os.path.realpath(without) if without is not None else None

    def enter(folder: str) -> bool:
        return _is_worth(folder) and os.path.realpath(folder) != closed

    by_folder: dict[str, list[str]] = {}
    for file in walk(root, report=report, suffixes=KNOWN_SUFFIXES, enter=enter):
        by_folder.setdefault(file.rpartition(os.sep)[0], []).append(file)
    for folder, files in by_folder.items():
        names = [file.rpartition(os.sep)[2] for file in files]
        for photo, companions in pair_companions(names).items():
            paths = tuple(f"{folder}{os.sep}{name}" for name in companions)
            yield from _with_status(f"{folder}{os.sep}{photo}", paths, report)


def _is_worth(folder: str) -> bool:
    """Return whether a folder may hold photos of a person's own."""
    path = Path(folder)
    name = path.name.casefold()
    if name in CACHES or name.endswith(PACKAGES) or os.path.lexists(path / CACHE_TAG):  # False where nobody may look
        return False
    return not path.parent.name.casefold().endswith(PHOTOS_LIBRARY) or name in ORIGINALS


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
