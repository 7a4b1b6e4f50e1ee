"""Hard links of files that are written anew: those in one plan stay one file, others are counted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from veduta.library.journal.fsops import Stamp, lstat_or_none
from veduta.library.journal.operation import Intent, Step

LinkKey = tuple[int, int, str]


class WrittenLinks:
    """The files written so far that had several names, so that the next name becomes a link again."""

    def __init__(self) -> None:
        self._written: dict[LinkKey, tuple[Path, Stamp]] = {}

    def key(self, intent: Intent) -> LinkKey | None:
        """Return device, inode and new content of a file with several names; None for any other step."""
        status = lstat_or_none(intent.target) if intent.kind == "write" else None
        return None if status is None or status.st_nlink < 2 else (status.st_dev, status.st_ino, intent.after)

    def twin(self, key: LinkKey | None) -> Path | None:
        """Return a name of the same file, already written with the same content and untouched since, or None."""
        if key is None or key not in self._written:
            return None
        path, stamp = self._written[key]
        status = lstat_or_none(path)
        return path if status is not None and stamp.fits(status) else None

    def note(self, key: LinkKey | None, path: Path, stamp: Stamp) -> None:
        """Record a file that has been written."""
        if key is not None:
            self._written[key] = (path, stamp)


def links_outside(steps: Iterable[Step]) -> dict[Path, int]:
    """Return file -> how many other names have its content that these steps do not write, and keep the old one."""
    names: dict[tuple[int, int], list[Path]] = {}
    links: dict[tuple[int, int], int] = {}
    for step in steps:
        status = lstat_or_none(step.target) if step.kind == "write" else None
        if status is not None and status.st_nlink > 1:
            names.setdefault((status.st_dev, status.st_ino), []).append(step.target)
            links[status.st_dev, status.st_ino] = status.st_nlink
    return {paths[0]: links[node] - len(paths) for node, paths in names.items() if links[node] > len(paths)}
