"""Whether a journal may be acted on: what somebody else's may ask for, and what nobody's may.

A library may come from anybody, and its journal with it. Acted on are only names that Veduta itself would have chosen
for unfinished files and backups; and unless every line carries this user's signature, only files inside the library,
reached without a link.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

from veduta.errors import LibraryError
from veduta.library.journal.log import LogReplay, OperationLog
from veduta.library.journal.operation import Intent, OperationKind

PART_NAME = re.compile(r"\.veduta-[0-9a-f]{16}\.part")
SHA256 = re.compile(r"([0-9a-f]{64})?")


def check_trusted(story: LogReplay, book: OperationLog, root: Path | None) -> None:
    """Raise LibraryError unless everything in a journal may be acted on.

    Args:
        story: the journal, with the paths of today.
        book: the journal, where it lies.
        root: the library's folder as the person names it, or None.
    """
    for intent in story.intents.values():
        if not _is_well_formed(intent, book):
            raise LibraryError(f"{book.path}: step {intent.number} is damaged; nothing was changed")
    if story.is_signed:
        return
    inside = book.state.parent if root is None else root
    for path in _paths(story):
        if not is_inside(path, inside):
            raise LibraryError(
                f"{book.path}: names {path}, which is not in {inside}, and was not written by your Veduta; nothing "
                "was changed. Put the file back by hand, or delete this journal"
            )


def check_links(files: Iterable[Path], library: Path) -> None:
    """Raise LibraryError for a file reached through a link, in a library that somebody else made."""
    for file in files:
        if not is_inside(file, library):
            wrong = f"{file}: lies behind a link, and this library was made by somebody else"
            raise LibraryError(f"{wrong}; look where the link leads, then: veduta trust {library}")


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is in a folder, and no folder on the way to it from there is a link."""
    if ".." in path.parts or not path.is_relative_to(folder) or path == folder:
        return False
    between = list(path.relative_to(folder).parents)[:-1]
    return not any((folder / part).is_symlink() for part in between)


def _paths(story: LogReplay) -> Iterator[Path]:
    for intent in story.intents.values():
        yield intent.target
        yield intent.source
    yield from story.created_folders
    for folder in story.folders:
        yield folder / "entry"  # the library itself may get its time back


def _is_well_formed(intent: Intent, book: OperationLog) -> bool:
    """Return whether a step is one that Veduta could have written."""
    names = PART_NAME.fullmatch(intent.part) and all(map(_is_absolute, (intent.target, intent.source)))
    backup = intent.backup is None or (
        intent.backup.parent == book.backups and is_inside(intent.backup, book.state) and not book.state.is_symlink()
    )
    digests = SHA256.fullmatch(intent.before) and SHA256.fullmatch(intent.after)
    needed = intent.was is not None or intent.kind == "write"
    known = intent.kind in get_args(OperationKind) and (intent.kind == "write" or intent.backup is None)
    return bool(names and backup and digests and needed and known)


def _is_absolute(path: Path) -> bool:
    return path.is_absolute() and "\0" not in os.fspath(path) and path == Path(os.path.normpath(path))
