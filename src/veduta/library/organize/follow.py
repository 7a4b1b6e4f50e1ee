"""The files that follow a photo to its new place, and those named after it that stay behind."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from veduta.library.companions import EXPORT, is_companion, original_stem, plain_stem, suffix_of
from veduta.library.model import Asset
from veduta.library.organize.path_template import name_key

CUT_NAME = 40  # characters from which on a name may be one that an export has cut short
FOLDER_RECORDS = frozenset({".picasa.ini", "descript.ion", "picasa.ini"})  # what some programs know of a whole folder
# Folders beside photos in which programs keep what belongs to each, by the photo's name.
SETTINGS_FOLDERS = {
    ".picasaoriginals": "Picasa, the photos before they were edited",
    "captureone/settings": "Capture One",
    "nksc_param": "Nikon NX Studio",
    "originals": "Picasa and iPhoto, the photos before they were edited",
    "silkypix_ds": "Silkypix",
}


def join_edits(assets: Sequence[Asset]) -> list[Asset]:
    """Return the assets, each edited photo among the companions of the one it was edited from, where that lies beside.

    Both are one for sorting, with the label of the original or, where that has none, of the edit. An edit that a person
    judged otherwise than its original stays by itself.
    """
    places = {(file.parent, name_key(file.stem)): asset.sha256 for asset in reversed(assets) for file in asset.files}
    joined = {asset.sha256: asset for asset in assets}
    for edit in assets:
        original = next(
            (joined.get(places.get(place, "")) for place in _original_places(edit) if place in places), None
        )
        if original is not None and original.sha256 != edit.sha256 and _goes_along(edit, original):
            del joined[edit.sha256]
            files = [*original.companions, *edit.files, *edit.companions]
            joined[original.sha256] = replace(
                original, companions=tuple(dict.fromkeys(files)), label=original.label or edit.label
            )
    return list(joined.values())


def _original_places(asset: Asset) -> Iterator[tuple[Path, str]]:
    """Yield folder and stem of what the files of an asset were edited from."""
    for file in asset.files:
        stem = original_stem(file.stem)
        if stem is not None:
            yield file.parent, name_key(stem)


def _goes_along(edit: Asset, original: Asset) -> bool:
    if edit.rejected or original.rejected:
        return edit.rejected and original.rejected
    if edit.label is None or original.label is None or edit.label.by != "person":
        return True
    return edit.label.landmark.id == original.label.landmark.id


def goes_with(companion: Path, photo: Path, copies: Collection[Path]) -> bool:
    """Return whether a companion goes with this file of a photo.

    Args:
        companion: a companion of the photo.
        photo: the file that is placed.
        copies: other files with the content of the photo, which may have the companion instead.
    """
    beside = [copy for copy in copies if copy.parent == companion.parent]
    if companion.parent != photo.parent:
        return not beside
    return is_companion(companion.name, photo.name) or not any(is_companion(companion.name, c.name) for c in beside)


def files_left_beside(moved: Iterable[Path], assets: Sequence[Asset]) -> list[Path]:
    """Return the files named after photos that move, which stay where they are; sorted.

    Args:
        moved: files that move, photos and companions.
        assets: what is known of the library: other photos, and the companions of others, are not counted.
    """
    leaving = set(moved)
    known = {file for asset in assets for file in asset.files if original_stem(file.stem) is None}
    known |= {file for asset in assets for file in asset.companions if not leaving.intersection(asset.files)}
    stems: dict[Path, set[str]] = {}
    for file in leaving:
        stems.setdefault(file.parent, set()).add(name_key(plain_stem(file.name)))
    return sorted(
        path
        for folder, names in stems.items()
        for path in _entries(folder)
        if path not in leaving and path not in known and _is_named_after(path.name, names)
    )


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder of photos, and in the folders beside them in which programs keep settings."""
    for entry in _listing(folder):
        if entry.is_file():
            yield Path(entry.path)
        elif entry.name.casefold() == "captureone":
            for inner in _listing(Path(entry.path)):
                if inner.name.casefold().startswith("settings"):
                    yield from (Path(file.path) for file in _listing(Path(inner.path)) if file.is_file())
        elif entry.name.casefold() in SETTINGS_FOLDERS:
            yield from (Path(file.path) for file in _listing(Path(entry.path)) if file.is_file())


def _listing(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # no folder, or not to be looked into
        return []


def _is_named_after(name: str, stems: Collection[str]) -> bool:
    """Return whether a name begins with one of these stems, or tells of the whole folder."""
    key = name_key(name.removeprefix("._").removeprefix("."))
    if name.casefold() in FOLDER_RECORDS:
        return True
    original = original_stem(plain_stem(name))
    if original is not None and name_key(original) in stems:
        return True
    if suffix_of(name) == EXPORT and len(key) > CUT_NAME and any(s[:CUT_NAME] == key[:CUT_NAME] for s in stems):
        return True
    return any(key[:at] in stems for at in range(1, len(key)) if not key[at].isalnum())
