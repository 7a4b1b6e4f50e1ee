"""Reverting one step, in whatever state: finished, failed half-way, or killed at any moment; then the folders.

What is there is looked at instead of trusting that the step was finished, so taking back a step twice does no harm. A
file is removed only where its content is seen to lie somewhere else, or is just what a ``write`` wrote.
"""

from __future__ import annotations

import errno
import os
from os.path import samestat
from pathlib import Path
from stat import S_ISLNK, S_ISREG

from veduta.library.journal.fsops import (
    COARSE_NS,
    Stamp,
    content_sha256,
    copy_verified,
    discard,
    flush_folder,
    is_redundant,
    lstat_or_none,
    names_in,
    remove_folder,
    rename,
)
from veduta.library.journal.log import LogReplay
from veduta.library.journal.operation import Intent
from veduta.types import Failure

MISSING_REASON = "is gone: it was renamed, moved or removed since"


def revert(intent: Intent, done: Stamp | None = None, resumed: bool = False) -> str | None:  # noqa: FBT001, FBT002
    """Revert a step, in whatever state; return None on success, or the reason why its target is left alone.

    Args:
        intent: the step.
        done: stamp of the target when it was finished; None when it may not have been.
        resumed: whether an earlier attempt at taking it back may have been killed.

    Raises:
        OSError: the file system refuses.
    """
    for part in intent.parts:
        discard(part)
    target = lstat_or_none(intent.target)
    if target is not None and done is None and _is_reserved(intent, target):
        intent.target.unlink()
        target = None
    if intent.kind == "move":
        return _revert_move(intent, target, done, resumed)
    if target is None and intent.backup is None:
        # A finished step's target is missing by our hand only if the undo that was killed had come as far.
        return None if done is None or resumed else MISSING_REASON
    if intent.kind == "write":
        return _revert_write(intent)
    assert target is not None  # noqa: S101
    return _remove_created(intent, target)


def _is_reserved(intent: Intent, target: os.stat_result) -> bool:
    """Return whether this is the empty file by which `rename` reserves a name."""
    fresh = intent.was is None or (intent.kind != "write" and lstat_or_none(intent.source) is not None)
    return fresh and S_ISREG(target.st_mode) and target.st_size == 0


def _remove_created(intent: Intent, target: os.stat_result) -> str | None:
    """Remove a link or a copy, if the original is still there."""
    source = lstat_or_none(intent.source)
    if intent.kind == "symlink":
        if not S_ISLNK(target.st_mode) or os.readlink(intent.target) not in _links(intent):  # noqa: PTH115
            return "was changed since"
    elif source is None:
        return f"is kept, as it may be the only one: {intent.source} is gone"
    elif not is_redundant(intent.target, intent.source) or (intent.kind == "hardlink" and not samestat(source, target)):
        return f"is kept: it or {intent.source} was changed since"
    intent.target.unlink()
    return None


def _links(intent: Intent) -> set[str]:
    """Return the targets a symbolic link made by this step may have."""
    return {str(intent.source), intent.link or str(intent.source)}


def _revert_move(intent: Intent, target: os.stat_result | None, done: Stamp | None, resumed: bool) -> str | None:  # noqa: FBT001
    assert intent.was is not None  # noqa: S101
    source = lstat_or_none(intent.source)
    if source is not None and target is not None and resumed and source.st_size == 0 and not intent.was.fits(source):
        intent.source.unlink()  # reserved by the undo that was killed
        source = None
    if target is None:
        if source is None:
            return f"is gone, and so is {intent.source}"
        # The person may have put it back.
        ours = done is None or resumed or intent.was.fits(source, COARSE_NS)
        return None if ours else f"is gone, and another file lies at its old place {intent.source}"
    if source is None:
        return _move_back(intent, intent.was, target, done)
    if not is_redundant(intent.target, intent.source):
        return f"is kept: another file lies at its old place {intent.source}"
    flush_folder(intent.source.parent)
    intent.target.unlink()
    return None


def _move_back(intent: Intent, was: Stamp, target: os.stat_result, done: Stamp | None) -> str | None:
    fits = done.fits(target) if done else was.fits(target, COARSE_NS)
    if not S_ISREG(target.st_mode) or not fits:
        return "was changed since"
    intent.source.parent.mkdir(parents=True, exist_ok=True)
    try:
        rename(intent.target, intent.source)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = intent.parts[1]
        copy_verified(intent.target, part, was)
        rename(part, intent.source)
        flush_folder(intent.source.parent)
        intent.target.unlink()
    return None


def _revert_write(intent: Intent) -> str | None:
    target, backup = lstat_or_none(intent.target), intent.backup
    now = content_sha256(intent.target) if target is not None and S_ISREG(target.st_mode) else ""
    if backup is None:
        if now != intent.after:
            return "was changed since"
        discard(intent.target)
    elif now == intent.before:
        discard(backup)
    elif now != intent.after:
        return f"was {'changed' if target else 'removed'} since; what it was before is kept as {backup}"
    elif not _is_what_was(backup, intent.before):
        return f"is left: what it was before is missing from {backup}, or was changed there"
    else:
        _restore(intent, backup)
    return None


def _is_what_was(backup: Path, sha256: str) -> bool:
    """Return whether a backup is a plain file with the content it was made of."""
    status = lstat_or_none(backup)
    return status is not None and S_ISREG(status.st_mode) and content_sha256(backup) == sha256


def _restore(intent: Intent, backup: Path) -> None:
    assert intent.was is not None  # noqa: S101
    try:
        backup.replace(intent.target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = intent.parts[0]
        copy_verified(backup, part, intent.was)
        part.replace(intent.target)
        flush_folder(intent.target.parent)
        backup.unlink()


def put_back_folders(story: LogReplay, backups: Path) -> list[Failure]:
    """Remove the folders an action made, if they are empty, and give the others their times; return the failures.

    Args:
        story: of the action.
        backups: the folder for what it replaced.
    """
    failures = []
    for folder in [*reversed(story.created_folders), backups, backups.parent]:
        try:
            remove_folder(folder)
        except OSError as error:
            failures.append(Failure(str(folder), f"{folder}: cannot be removed ({error.strerror})", "unwritable"))
    for folder, (mtime_ns, names) in story.folders.items():
        try:
            _set_time(folder, mtime_ns, names)
        except OSError as error:
            failures.append(
                Failure(str(folder), f"{folder}: does not get its time back ({error.strerror})", "unwritable")
            )
    return failures


def _set_time(folder: Path, mtime_ns: int, names: str) -> None:
    """Give a folder its time back, unless a file came or went: programs look at the time to notice that."""
    status = lstat_or_none(folder)
    if status is not None and status.st_mtime_ns != mtime_ns and names_in(folder) == names:
        os.utime(folder, ns=(status.st_atime_ns, mtime_ns))
