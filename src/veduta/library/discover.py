"""Discovery of the photos beneath a folder, each with its companions: RAWs beside their JPEG, sidecars, live films."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from veduta.images import RAW_SUFFIXES, SUFFIXES, walk
from veduta.types import Failure

SIDECARS = frozenset({".aae", ".pp3", ".thm", ".xmp"})
FILMS = frozenset({".mov", ".mp4"})  # the moving half of a live photo; alone it is a film and no photo
KNOWN_SUFFIXES = SUFFIXES | RAW_SUFFIXES | SIDECARS | FILMS
DEVELOPED = frozenset({".avif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg"})  # what a RAW lies beside
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
        companions: files that belong to it: a RAW, sidecars, the film of a live photo.
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
    for files in by_folder.values():
        yield from _paired(files, report)


def _is_worth(folder: str) -> bool:
    """Return whether a folder may hold photos of a person's own."""
    path = Path(folder)
    name = path.name.casefold()
    if name in CACHES or name.endswith(PACKAGES) or os.path.lexists(path / CACHE_TAG):  # False where nobody may look
        return False
    return not path.parent.name.casefold().endswith(PHOTOS_LIBRARY) or name in ORIGINALS


def _paired(files: list[str], report: Callable[[Failure], None]) -> Iterator[DiscoveredPhoto]:
    """Yield the photos among files of one folder, each with its companions."""
    by_stem: dict[str, list[str]] = {}
    for file in files:
        by_stem.setdefault(_stem(file), []).append(file)
    for same in by_stem.values():
        photos = [file for file in same if _suffix(file) in SUFFIXES]
        raws = [file for file in same if _suffix(file) in RAW_SUFFIXES]
        developed = next((file for file in photos if _suffix(file) in DEVELOPED), None)
        if developed is None:
            photos, raws = photos + raws, []
        standing = developed or next(iter(photos), None)
        for photo in photos:
            belonging = [file for file in same if _belongs(file, photo, standing)]
            yield from _with_status(photo, tuple(belonging + (raws if photo == standing else [])), report)


def _belongs(file: str, photo: str, standing: str | None) -> bool:
    """Return whether a file is this photo's sidecar, by its whole name, or by its stem if the photo stands for that."""
    suffix = _suffix(file)
    if suffix not in SIDECARS | FILMS:
        return False
    named = Path(file).stem
    if _suffix(named) in SUFFIXES | RAW_SUFFIXES:  # IMG.jpg.xmp
        whole = Path(photo).name.casefold() == named.casefold()
        return whole or (photo == standing and _suffix(named) in RAW_SUFFIXES)
    return photo == standing and (suffix not in FILMS or _suffix(photo) in DEVELOPED)


def _stem(file: str) -> str:
    """Return a file's name without suffix, for comparing; IMG.jpg.xmp has that of IMG.jpg."""
    stem = Path(file).stem
    return (Path(stem).stem if _suffix(stem) in SUFFIXES | RAW_SUFFIXES else stem).casefold()


def _suffix(file: str) -> str:
    return Path(file).suffix.lower()


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
