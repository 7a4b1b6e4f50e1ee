"""The photos beneath a folder, found by their suffixes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from veduta.errors import ImageError
from veduta.types import Failure

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".insp", ".jfif"}
    | {".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
"""Lower-case suffixes by which `walk` knows a photo; `load` looks at the content instead."""


def walk(
    path: str | os.PathLike[str],
    *,
    report: Callable[[Failure], None] | None = None,
    suffixes: Collection[str] = SUFFIXES,
    enter: Callable[[str], bool] = lambda folder: True,
) -> Iterator[str]:
    """Yield the photos beneath a folder, sorted, each path beginning with `path` as given.

    Anything but a folder is yielded as it is, for `load` to judge. Hidden entries are skipped, links are
    followed, each folder is visited once. One that cannot be listed goes to `report`, or raises ImageError.

    Args:
        path: the folder.
        report: takes a folder that cannot be listed.
        suffixes: lower-case suffixes of the files wanted.
        enter: whether to look into a folder, by its path with a separator at its end.
    """
    seen: set[tuple[int, int]] = set()
    top = os.fsdecode(path)
    waiting = [top] if not _is_folder(Path(top)) else _listing(top, seen, report, suffixes)[::-1]
    while waiting:
        entry = waiting.pop()
        if not entry.endswith(os.sep) or entry == top:
            yield entry
        elif enter(entry):
            waiting.extend(_listing(entry, seen, report, suffixes)[::-1])


def _listing(
    folder: str, seen: set[tuple[int, int]], report: Callable[[Failure], None] | None, suffixes: Collection[str]
) -> list[str]:
    """Return the photos and folders in a folder; a separator ends, and sorts, a folder."""
    try:
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            return []
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            paths = [e.path + os.sep * _is_folder(e) for e in entries if not e.name.startswith(".")]
    except OSError as error:
        unlisted = ImageError(folder, f"cannot be listed: {error.strerror}")
        if report is None:
            raise unlisted from error
        report(Failure.of(folder, unlisted))
        return []
    return sorted(p for p in paths if p.endswith(os.sep) or os.path.splitext(p)[1].lower() in suffixes)  # noqa: PTH122


def _is_folder(entry: os.DirEntry[str] | Path) -> bool:
    try:
        return entry.is_dir()
    except (OSError, ValueError):  # a link to itself, a parent out of bounds, a NUL
        return False
