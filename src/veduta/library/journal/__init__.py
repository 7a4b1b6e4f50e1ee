"""Changes of a person's files that can be taken back, whatever happens while they are made.

Every step is written down before it is carried out (`log`), so that a process killed at any moment leaves something
`undo` understands; the undo itself may be killed and run again. No file is ever overwritten except by ``write``, which
keeps what it replaces, and no person's file is removed unless its content is seen to lie somewhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from veduta.errors import BusyError, LibraryError
from veduta.files import locked
from veduta.library.journal.apply import ActionRun, WriteCallback
from veduta.library.journal.fsops import FULL
from veduta.library.journal.log import JOURNAL_FOLDER, JournalState, LogReplay, OperationLog, now
from veduta.library.journal.operation import Intent, Step
from veduta.library.journal.provenance import check_trusted
from veduta.library.journal.relocate import relocated
from veduta.library.journal.rollback import put_back_folders, revert
from veduta.progress import CountProgress
from veduta.types import Failure

__all__ = ["Action", "Applied", "Step", "Undone", "apply", "history", "recover", "undo"]


@dataclass(frozen=True)
class Applied:
    """The outcome of applying steps.

    Attributes:
        done: how many were carried out.
        failures: those that were not, and why; unless the reason says otherwise nothing is left of them.
        journal: the file that remembers them, or None where nothing was changed.
        stopped: why the rest was not tried, such as a full disk, or None.
        written: file -> sha256 of its content, of the files written by ``write``.
    """

    done: int
    failures: tuple[Failure, ...]
    journal: Path | None
    stopped: str | None = None
    written: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Action:
    """One entry of the history.

    Attributes:
        number: counted from 1.
        what: its name, such as ``organize``.
        when: when it began, in UTC.
        steps: how many steps were carried out and are not taken back.
        state: what became of it.
        journal: its file.
    """

    number: int
    what: str
    when: datetime
    steps: int
    state: JournalState
    journal: Path


@dataclass(frozen=True)
class Undone:
    """The outcome of an undo.

    Attributes:
        action: the action, as it stands now.
        done: how many steps were taken back this time.
        left: what stays as it is, and why.
    """

    action: Action
    done: int
    left: tuple[Failure, ...]


def apply(
    steps: Iterable[Step],
    folder: Path,
    what: str,
    progress: CountProgress | None = None,
    root: Path | None = None,
    before_write: WriteCallback = lambda path, sha256: None,
) -> Applied:
    """Carry out the steps in order; return the outcome.

    A step that fails leaves nothing behind and the next is tried; a full disk ends the run. All of it can be taken back
    with `undo`, also after this process was killed.

    Args:
        steps: what to do; asked for one by one.
        folder: the library's state folder.
        what: name of the action: letters, digits and dashes.
        progress: called with how many steps were dealt with.
        root: the library's folder; with it, what is done there can be undone after the library was moved.
        before_write: called with a file and the sha256 of its new content before a ``write`` is logged or made; a
            VedutaError of it fails that step.

    Raises:
        LibraryError: another process is changing the library, an undo has to be finished first, or the state folder
            cannot be written.
    """
    with _locked(folder):
        _settle(folder, root)
        with OperationLog.new(folder, what, root) as book:
            run = ActionRun(book, before_write)
            for count, step in enumerate(steps, 1):
                run.take(step)
                if progress is not None:
                    progress(count)
                if run.stopped is not None:
                    break
            run.end()
            journal = book.path if book.begun and not run.is_noop else None
    return Applied(run.done, tuple(run.failures), journal, run.stopped, run.written)


def undo(
    folder: Path, progress: CountProgress | None = None, number: int | None = None, root: Path | None = None
) -> Undone:
    """Take back an action, newest step first; return the outcome.

    Files and folders are afterwards as they were, with their contents, modes and modification times. What a person has
    changed or added since stays as it is. A library that was moved since is undone where it lies now.

    Args:
        folder: the library's state folder.
        progress: called with how many steps were dealt with.
        number: of the action, also of one that was taken back only in part, to try the rest again; None for the last
            that was not taken back.
        root: the library's folder as it is called now; needed after it was moved without its state folder.

    Raises:
        LibraryError: there is nothing to take back, a later action has to be taken back first, another process is
            changing the library, a journal is damaged, or the disk is full (run it again).
    """
    if not (folder / JOURNAL_FOLDER).is_dir():
        raise LibraryError(f"{folder}: there is nothing to undo")
    with _locked(folder):
        book, story = _chosen(folder, number, root)
        check_trusted(story, book, root)
        try:
            with book:
                return _take_back(book, story, progress)
        except OSError as error:
            reason = f"{error.filename or book.path}: cannot be written ({error.strerror})"
            raise LibraryError(f"{reason}; put this right and undo again, nothing is lost") from error


def recover(folder: Path, root: Path | None = None) -> None:
    """Revert the one step during which the last action was killed, if any; finished steps stay.

    `apply` begins with it. Whoever looks at the files to plan what to apply calls it before.

    Args:
        folder: the library's state folder.
        root: see `undo`.

    Raises:
        LibraryError: another process is changing the library, an undo has to be finished first, a journal is damaged.
    """
    if (folder / JOURNAL_FOLDER).is_dir():
        with _locked(folder):
            _settle(folder, root)


def history(folder: Path) -> list[Action]:
    """Return the actions applied to a library, oldest first, without those of which every step failed.

    Args:
        folder: the library's state folder.

    Raises:
        LibraryError: a journal is damaged.
    """
    return [_action(book, story) for book, story in _stories(folder) if not story.is_noop]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the library."""
    journal = folder / JOURNAL_FOLDER
    with ExitStack() as held:
        try:
            journal.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(journal))
        except BusyError:
            raise BusyError(f"{folder}: another Veduta is changing this library", "wait until it is done") from None
        except OSError as error:
            reason = f"{journal}: cannot hold a journal ({error.strerror})"
            raise LibraryError(f"{reason}; nothing was changed, choose another folder with --state") from error
        yield


def _stories(folder: Path, root: Path | None = None) -> list[tuple[OperationLog, LogReplay]]:
    read = ((book, book.read()) for book in OperationLog.all(folder))
    return [(book, relocated(story, book, root)) for book, story in read if story is not None]


def _action(book: OperationLog, story: LogReplay) -> Action:
    steps = len(story.done.keys() - story.closed)
    return Action(book.number, story.what, story.when, steps, story.state, book.path)


def _settle(folder: Path, root: Path | None) -> None:
    stories = _stories(folder, root)
    for book, story in stories:
        if story.phase == "undoing":
            raise LibraryError(f"{book.path}: undoing this was interrupted; finish it with veduta library undo")
    if not stories:
        return
    book, story = stories[-1]
    unfinished = story.unfinished
    check_trusted(story, book, root)
    with book:
        # What cannot be settled stays in the journal for an undo, which will say why.
        if unfinished is not None and _attempt(unfinished, story, resumed=False) is None:
            _tell(book, story, {"undone": unfinished.number})
        if story.phase == "applying" and story.nothing and not put_back_folders(story, book.backups):
            _tell(book, story, {"end": "applied"})


def _tell(book: OperationLog, story: LogReplay, line: dict[str, str | int]) -> None:
    book.note(line)
    story.replay_line(line)


def _chosen(folder: Path, number: int | None, root: Path | None) -> tuple[OperationLog, LogReplay]:
    stories = [(book, story) for book, story in _stories(folder, root) if not story.is_noop]
    standing = [(book, story) for book, story in stories if story.phase != "undone"]
    if number is None:
        if not standing:
            raise LibraryError(f"{folder}: there is nothing to undo")
        return standing[-1]
    for book, story in stories:
        if book.number == number and story.state != "undone":
            if standing and standing[-1][0].number > number:
                raise LibraryError(f"{book.path}: number {standing[-1][0].number} came later; undo that first")
            return book, story
    raise LibraryError(f"{folder}: there is no action number {number} to undo")


def _take_back(book: OperationLog, story: LogReplay, progress: CountProgress | None) -> Undone:
    resumed = story.phase == "undoing"

    _tell(book, story, {"undo": now()})
    done = 0
    for count, intent in enumerate([intent for intent in story.open if intent.number not in story.left], 1):
        why = _attempt(intent, story, resumed=resumed and count == 1)
        done += why is None
        # On the disk before the next step is taken back: only the newest may have to be taken back twice.
        _tell(book, story, {"undone": intent.number} if why is None else {"left": intent.number, "why": why})
        if progress is not None:
            progress(count)
    left = [Failure(str(story.intents[n].target), why, "skipped") for n, why in sorted(story.left.items())]
    left += put_back_folders(story, book.backups)
    _tell(book, story, {"end": "undone"})
    return Undone(_action(book, story), done, tuple(left))


def _attempt(intent: Intent, story: LogReplay, *, resumed: bool) -> str | None:
    """Revert a step; return None on success, or one line on why not. A full disk is an OSError: that ends the undo."""
    try:
        why = revert(intent, story.done.get(intent.number), resumed=resumed)
    except OSError as error:
        if error.errno in FULL:
            raise
        why = f"cannot be taken back ({error.strerror}: {error.filename})"
    return None if why is None else f"{intent.target}: {why}"
