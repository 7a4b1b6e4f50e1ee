"""One change of a person's files: looked at first, written down as an intention, then carried out."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, get_args

from veduta.errors import LibraryError
from veduta.library.journal.fsops import (
    NO_LINKS,
    Stamp,
    content_sha256,
    copy_attributes,
    copy_new,
    copy_verified,
    flush_folder,
    lstat_or_none,
    rename,
    write_new,
)

OperationKind = Literal["hardlink", "copy", "symlink", "move", "write"]
MAX_SUFFIX = 20  # of a kept file; what is longer is no suffix


@dataclass(frozen=True)
class Step:
    """One change of the file system.

    Attributes:
        kind: how the target is made.
        target: absolute; what is made or, by ``write``, made or replaced.
        source: absolute; what is linked, copied or moved. None for ``write``.
        make: gives the new content of the target when its turn comes; for ``write``.
        keep_times: whether a file written anew keeps its modification time.
        folders: where the folders of target and source led when the step was planned, without links.
    """

    kind: OperationKind
    target: Path
    source: Path | None = None
    make: Callable[[], bytes] | None = None
    keep_times: bool = False
    folders: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(OperationKind):
            raise ValueError(f"Step.kind: expected one of {', '.join(get_args(OperationKind))}, got {self.kind!r}")
        if not self.target.is_absolute() or not (self.source is None or self.source.is_absolute()):
            raise ValueError(f"Step: expected absolute paths, got {self.source} and {self.target}")
        if (self.kind == "write") != (self.source is None) or (self.kind == "write") != (self.make is not None):
            raise ValueError(f"Step: write needs make, the others a source, got {self}")
        object.__setattr__(self, "folders", self._folders())

    def _folders(self) -> tuple[str, ...]:
        return tuple(os.path.realpath(path.parent) for path in (self.target, self.source) if path is not None)

    def check_folders(self) -> None:
        """Raise LibraryError if a folder leads elsewhere now than when the step was planned."""
        for before, now in zip(self.folders, self._folders(), strict=True):
            if before != now:
                raise LibraryError(
                    f"{self.target}: {before} has become a link to {now} since it was planned; plan again"
                )


@dataclass(frozen=True)
class Intent:
    """A step as logged: everything needed to revert that step.

    Attributes:
        number: of the step in its action, from 1.
        kind: how the target is made.
        target: what is made.
        source: what it is made from; the target itself for ``write``.
        part: name of the unfinished file, in the folder of the target or, while undoing, of the source.
        was: stamp of the source; None for a ``write`` that replaces nothing.
        before: sha256 of what a ``write`` replaces, or empty.
        after: sha256 of what a ``write`` writes, or empty.
        backup: where a ``write`` keeps what it replaces, or None.
        keep_times: see `Step`.
        link: what a symbolic link to the source says, where the source had another name then; else None.
    """

    number: int
    kind: OperationKind
    target: Path
    source: Path
    part: str
    was: Stamp | None = None
    before: str = ""
    after: str = ""
    backup: Path | None = None
    keep_times: bool = False
    link: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the intent as a line of the log."""
        line: dict[str, Any] = {"step": self.number, "kind": self.kind, "target": str(self.target)}
        if self.kind == "write":
            line |= {"before": self.before, "after": self.after, "keep_times": self.keep_times}
        else:
            line |= {"source": str(self.source)}
        if self.backup is not None:
            line |= {"backup": str(self.backup)}
        return line | {"part": self.part, "was": vars(self.was) if self.was else None}

    @classmethod
    def of(cls, line: dict[str, Any]) -> Intent:
        """Return the intent in a line of `as_dict`; ValueError where a field is of another type."""
        texts = [line[name] for name in ("kind", "target", "part")]
        texts += [line[name] for name in ("source", "before", "after", "backup") if name in line]
        if not all(type(text) is str for text in texts) or type(line["step"]) is not int:
            raise ValueError("a step with a field of another type")
        target = Path(line["target"])
        return cls(
            line["step"],
            line["kind"],
            target,
            Path(line["source"]) if "source" in line else target,
            line["part"],
            Stamp.of_line(line["was"]) if line["was"] else None,
            line.get("before", ""),
            line.get("after", ""),
            Path(line["backup"]) if "backup" in line else None,
            line.get("keep_times", False) is True,
        )

    @property
    def parts(self) -> tuple[Path, Path]:
        """Where an unfinished file may lie: beside the target, and beside the source."""
        return self.target.with_name(self.part), self.source.with_name(self.part)


def make_intent(step: Step, number: int, backups: Path) -> tuple[Intent, bytes] | None:
    """Return the intent of a step and the content of a ``write``; nothing is changed.

    Returns None where the file to be written has this content already.

    Args:
        step: what is to be done.
        number: of the step in its action.
        backups: folder for what is replaced.

    Raises:
        LibraryError: the step cannot be done; the message says why.
        OSError: nor can this be seen.
    """
    step.check_folders()
    part = f".veduta-{secrets.token_hex(8)}.part"
    if step.make is not None:
        return _prepare_write(step, step.make, Intent(number, step.kind, step.target, step.target, part), backups)
    assert step.source is not None  # noqa: S101 (Step has seen to it)
    status = lstat_or_none(step.source)
    if status is None:
        raise LibraryError(f"{step.source}: is not there any more; look through the library again")
    if not S_ISREG(status.st_mode):
        raise LibraryError(f"{step.source}: is not a plain file and is left alone")
    if lstat_or_none(step.target) is not None:
        raise LibraryError(f"{step.target}: is there already and was left as it is; plan again")
    return Intent(number, step.kind, step.target, step.source, part, Stamp.of(status)), b""


def _prepare_write(step: Step, make: Callable[[], bytes], bare: Intent, backups: Path) -> tuple[Intent, bytes] | None:
    status = lstat_or_none(step.target)
    if status is not None and not S_ISREG(status.st_mode):
        raise LibraryError(f"{step.target}: is not a plain file and is left alone")
    before = content_sha256(step.target) if status else ""
    content = make()
    after = hashlib.sha256(content).hexdigest()
    if after == before:
        return None
    suffix = step.target.suffix if len(os.fsencode(step.target.suffix)) <= MAX_SUFFIX else ""
    intent = Intent(
        bare.number,
        bare.kind,
        bare.target,
        bare.source,
        bare.part,
        Stamp.of(status) if status else None,
        before,
        after,
        backups / f"{bare.number:06d}{suffix}" if status else None,
        step.keep_times,
    )
    _check_unchanged(intent)
    return intent, content


def perform(intent: Intent, content: bytes, twin: Path | None = None) -> None:
    """Make the change; on failure, `rollback.revert` undoes the part that was made.

    Args:
        intent: the step.
        content: of a ``write``.
        twin: a file with this content already, of which the target of a ``write`` becomes a hard link; or None.

    Raises:
        LibraryError: the file was changed meanwhile.
        OSError: the file system refuses; FileExistsError only where the target is not the step's.
    """
    if intent.kind == "hardlink":
        intent.target.hardlink_to(intent.source)
    elif intent.kind == "symlink":
        intent.target.symlink_to(intent.source)
    elif intent.kind == "copy":
        _copy(intent, copy_new)
    elif intent.kind == "move":
        _move(intent)
    else:
        _write(intent, content, twin)


def _check_unchanged(intent: Intent) -> None:
    status = lstat_or_none(intent.source)
    if (status is None) != (intent.was is None) or (status and intent.was and not intent.was.fits(status)):
        raise LibraryError(f"{intent.source}: was changed meanwhile and is left alone; try again")


def _copy(intent: Intent, copy: Callable[[Path, Path, Stamp], object]) -> None:
    assert intent.was is not None  # noqa: S101
    part = intent.parts[0]
    copy(intent.source, part, intent.was)
    _check_unchanged(intent)
    rename(part, intent.target)


def _move(intent: Intent) -> None:
    try:
        rename(intent.source, intent.target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(intent, copy_verified)
        flush_folder(intent.target.parent)
        _check_unchanged(intent)
        intent.source.unlink()


def _write(intent: Intent, content: bytes, twin: Path | None) -> None:
    part, target = intent.parts[0], intent.target
    if twin is None or not _is_linked(part, twin):
        write_new(part, [content], lambda: _dress_written(intent))
    if intent.was is None or intent.backup is None:
        rename(part, target)
        return
    _keep(target, intent.backup, intent.was)
    _check_unchanged(intent)
    part.replace(target)


def _is_linked(part: Path, twin: Path) -> bool:
    """Make a hard link to a file; return False where this disk cannot."""
    try:
        part.hardlink_to(twin)
    except OSError as error:
        if error.errno not in NO_LINKS | {errno.EXDEV, errno.ENOENT}:
            raise
        return False
    return True


def _dress_written(intent: Intent) -> None:
    if intent.was is not None:
        part = intent.parts[0]
        now = part.lstat().st_mtime_ns
        mtime_ns = intent.was.mtime_ns if intent.keep_times else now
        copy_attributes(part, intent.target, Stamp(intent.was.size, mtime_ns, intent.was.mode))


def _keep(target: Path, backup: Path, was: Stamp) -> None:
    """Keep a file under a second name, or a copy where the second name lies on another disk."""
    backup.parent.mkdir(parents=True, exist_ok=True)
    try:
        backup.hardlink_to(target)
    except OSError as error:
        if error.errno not in NO_LINKS | {errno.EXDEV}:
            raise
        copy_new(target, backup, was)
    flush_folder(backup.parent)
