"""The folders photos are placed in, as they are on the disk and as they will be: who has which name there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from veduta.errors import LibraryError
from veduta.library.journal.fsops import content_sha256, lstat_or_none, missing_above
from veduta.library.organize.path_template import name_key


@dataclass
class FolderContents:
    """The present and planned contents of one folder.

    Attributes:
        path: the folder.
        names: key of a name -> the name as it is written.
        relatives: key of what comes before a dot in a name -> how many names begin with it and the dot.
        nodes: (device, number) of a file -> its name.
        sizes: size in bytes -> the files that have it.
        hashes: size in bytes -> sha256 of the files that have it -> their names; only what was asked for.
        planned: sha256 of a photo that is going to be here -> its name.
    """

    path: Path
    names: dict[str, str] = field(default_factory=dict)
    relatives: Counter[str] = field(default_factory=Counter)
    nodes: dict[tuple[int, int], str] = field(default_factory=dict)
    sizes: dict[int, list[str]] = field(default_factory=dict)
    hashes: dict[int, dict[str, str]] = field(default_factory=dict)
    planned: dict[str, str] = field(default_factory=dict)

    def add(self, name: str) -> None:
        """Take in a name that is or will be here."""
        key = name_key(name)
        self.names[key] = name
        self.relatives.update(key[:at] for at, char in enumerate(key) if char == ".")

    def add_file(self, name: str, status: os.stat_result) -> None:
        """Record a file that is in the folder already."""
        self.nodes.setdefault((status.st_dev, status.st_ino), name)
        self.sizes.setdefault(status.st_size, []).append(name)

    def name_of(self, status: os.stat_result, sha256: str) -> str | None:
        """Return the name of a content in this folder, present or planned, or None; no file is read twice.

        Args:
            status: of a file with this content.
            sha256: of the content.
        """
        known = self.planned.get(sha256) or self.nodes.get((status.st_dev, status.st_ino))
        if known is not None:
            return known
        if status.st_size not in self.hashes:
            names = self.sizes.get(status.st_size, [])
            self.hashes[status.st_size] = {content_sha256(self.path / name): name for name in reversed(names)}
        return self.hashes[status.st_size].get(sha256)


class TargetTree:
    """The target root and its folders.

    Args:
        root: absolute.
        forbidden: folders into which nothing may go, absolute.

    Attributes:
        root: the same.
        existing: the root, or the nearest folder above it that is there.
        new: folders that have to be made.

    Raises:
        LibraryError: there cannot be such a folder, it is forbidden, or it cannot be written to.
    """

    def __init__(self, root: Path, forbidden: Sequence[Path] = ()) -> None:
        self.root = root
        missing = missing_above(root)
        self.existing = missing[0].parent if missing else root
        self.new: set[Path] = set()
        self._real = Path(os.path.realpath(root))
        self._contents: dict[Path, FolderContents] = {}
        self._inside: dict[Path, bool] = {}
        self._forbidden = {Path(os.path.realpath(folder)) for folder in forbidden}
        self._check_allowed(root)
        _check_folder(self.existing)

    def holds(self, path: Path) -> bool:
        """Return whether a file lies below the root."""
        if path.parent not in self._inside:
            self._inside[path.parent] = Path(os.path.realpath(path.parent)).is_relative_to(self._real)
        return self._inside[path.parent]

    def find(self, names: tuple[str, ...]) -> FolderContents:
        """Return the folder with these names below the root; where one is there in another spelling, that one.

        Raises:
            LibraryError: it leads out of the root, is forbidden, or cannot be a folder.
        """
        contents = self._enter(self.root)
        for name in names:
            spelled = contents.names.setdefault(name_key(name), name)
            contents = self._enter(contents.path / spelled)
        return contents

    def _enter(self, folder: Path) -> FolderContents:
        if folder not in self._contents:
            self._contents[folder] = self._look(folder)
        return self._contents[folder]

    def _check_allowed(self, folder: Path) -> None:
        real = Path(os.path.realpath(folder))
        if not self._forbidden.isdisjoint([real, *real.parents]):
            reason = f"{folder}: is where Veduta keeps what it knows of the library, and no place for photos"
            raise LibraryError(f"{reason}; choose another folder")

    def _look(self, folder: Path) -> FolderContents:
        self._check_allowed(folder)
        if lstat_or_none(folder) is None:
            self.new.update(missing_above(folder))
            return FolderContents(folder)
        _check_folder(folder)
        if not Path(os.path.realpath(folder)).is_relative_to(self._real):
            raise LibraryError(f"{folder}: is a link that leads out of {self.root}; remove it or choose another folder")
        contents = FolderContents(folder)
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
                contents.add(entry.name)
                if (status := _file(entry)) is not None:
                    contents.add_file(entry.name, status)
        return contents


def _check_folder(folder: Path) -> None:
    """Raise LibraryError unless a path is a folder that can be read and written."""
    try:
        status = folder.stat()
    except OSError as error:
        raise LibraryError(f"{folder}: cannot be looked into ({error.strerror}); choose another folder") from error
    if not S_ISDIR(status.st_mode):
        raise LibraryError(f"{folder}: is a file where a folder is needed; rename it or choose another folder")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise LibraryError(f"{folder}: cannot be written to; make it writable or choose another folder")


def _file(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of a file or of the one a link leads to; None for folders and links that lead nowhere."""
    try:
        status = entry.stat()
    except OSError:
        return None
    return status if S_ISREG(status.st_mode) else None
