"""An action being applied: each step logged, performed, and reverted at once on failure."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from veduta.errors import VedutaError
from veduta.library.journal.fsops import FULL, NO_LINKS, Stamp, discard, missing_above, names_in, remove_folder
from veduta.library.journal.hard_links import WrittenLinks
from veduta.library.journal.log import OperationLog
from veduta.library.journal.operation import Intent, Step, make_intent, perform
from veduta.library.journal.rollback import put_back_folders, revert
from veduta.types import Failure

FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
UNSUITED = {errno.EINVAL, errno.EILSEQ}  # how disks with rules of their own refuse a name
LINK_KINDS = {"hardlink": "hard", "symlink": "symbolic"}
WriteCallback = Callable[[Path, str], None]


class ActionRun:
    """An action being applied.

    Args:
        book: its journal, not yet begun.
        before_write: called with a file and the sha256 of its new content before either is logged or written.

    Attributes:
        done: how many steps were carried out.
        written: file -> sha256 of its content, of the files written.
        failures: the steps that were not, and why.
        stopped: why no further step should be tried, or None.
        is_noop: whether it ended with nothing done and nothing left of what failed.
    """

    def __init__(self, book: OperationLog, before_write: WriteCallback) -> None:
        self.done = 0
        self.written: dict[Path, str] = {}
        self.failures: list[Failure] = []
        self.stopped: str | None = None
        self.is_noop = False
        self._book, self._before_write = book, before_write
        self._number = 0
        self._links = WrittenLinks()
        self._known: set[Path] = set()  # folders that the journal speaks of

    def take(self, step: Step) -> None:
        """Perform one step, or record why that failed."""
        self._number += 1
        try:
            prepared = make_intent(step, self._number, self._book.backups)
            if prepared is None:
                return
            intent, content = prepared
            missing = missing_above(intent.target.parent)
            folders = self._unknown_folders(intent, missing)
            if intent.kind == "write":
                self._before_write(intent.target, intent.after)
        except (OSError, VedutaError) as error:
            self.failures.append(_failure(step, error))
            return
        try:
            lines = [{"made": str(path)} for path in missing]
            self._book.note(*folders, *lines, intent.as_dict())
            self._known.update(Path(str(line["folder"])) for line in folders)
            self._known.update(missing)
            self._change(step, intent, content, missing)
        except OSError as error:
            self.stopped = f"{self._book.path}: cannot be written ({error.strerror}); what was done can be undone"

    def end(self) -> None:
        """Note that this was all, if anything was begun and the journal can be written.

        Where nothing was done, folders get their times back first: nobody will undo it.
        """
        if self._book.begun:
            try:
                story = None if self.done else self._book.read()
                if story is not None and story.nothing:
                    self.failures += put_back_folders(story, self._book.backups)
                    self.is_noop = True
                self._book.note({"end": "applied"})
            except OSError as error:
                self.stopped = self.stopped or f"{self._book.path}: cannot be written ({error.strerror})"

    def _unknown_folders(self, intent: Intent, missing: list[Path]) -> list[dict[str, str | int]]:
        """Return the lines on folders in which this step is the first to change something."""
        changed = {missing[0].parent if missing else intent.target.parent}
        if intent.kind == "move":
            changed.add(intent.source.parent)
        return [
            {"folder": str(folder), "mtime_ns": folder.stat().st_mtime_ns, "names": names_in(folder)}
            for folder in sorted(changed - self._known)
        ]

    def _change(self, step: Step, intent: Intent, content: bytes, missing: list[Path]) -> None:
        """Make the change; OSError only when the journal cannot be written."""
        try:
            for folder in missing:
                folder.mkdir()
            key = self._links.key(intent)
            perform(intent, content, self._links.twin(key))
            stamp = Stamp.of(intent.target.lstat())
            self._links.note(key, intent.target, stamp)
        except (OSError, VedutaError) as error:
            self._fail(step, intent, error, missing)
            return
        self.done += 1
        if intent.kind == "write":
            self.written[intent.target] = intent.after
        self._book.note({"done": intent.number, **vars(stamp)}, sure=False)

    def _fail(self, step: Step, intent: Intent, error: OSError | VedutaError, missing: list[Path]) -> None:
        failure = _failure(step, error)
        if isinstance(error, OSError) and error.errno in FULL:
            self.stopped = failure.error
        remains = _cleared(intent, error, missing)
        if remains is None:
            self._book.note({"failed": intent.number, "why": failure.error})
        else:
            failure = replace(failure, error=f"{failure.error}; {intent.target} {remains}")
        self.failures.append(failure)


def _cleared(intent: Intent, error: OSError | VedutaError, missing: list[Path]) -> str | None:
    """Revert the remains of a failed step; return None when nothing is left, else the reason."""
    try:
        if isinstance(error, FileExistsError):  # what is there is not ours
            discard(intent.parts[0])
        elif (remains := revert(intent)) is not None:
            return remains
        for folder in reversed(missing):
            remove_folder(folder)
    except OSError as second:
        return f"could not be cleared away ({second.strerror}); undo will try again"
    return None


def _failure(step: Step, error: OSError | VedutaError) -> Failure:
    path = step.source or step.target
    if isinstance(error, OSError):
        return Failure(str(path), _explain(step, error), "unwritable")
    return Failure.of(str(path), error)


def _explain(step: Step, error: OSError) -> str:
    number = error.errno
    if number == errno.EXDEV:
        return f"{step.target}: lies on another disk than {step.source}; use --mode copy, move or symlink"
    if step.kind in LINK_KINDS and number in NO_LINKS:
        return (
            f"{step.target}: this disk takes no {LINK_KINDS[step.kind]} link here ({error.strerror}); use --mode copy"
        )
    if number == errno.EEXIST:
        return f"{error.filename2 or error.filename}: is there already and was left as it is; plan again"
    advice = "look after this disk"
    if number in FORBIDDEN:
        advice = "make it writable or choose another folder"
    elif number in FULL:
        advice = "the disk is full: free some space; what was done stays and can be undone"
    elif number == errno.ENAMETOOLONG or number in UNSUITED:
        advice = "this disk does not take the name; choose a shorter or plainer one"
    return f"{step.target}: cannot be made ({error.strerror}); {advice}"
