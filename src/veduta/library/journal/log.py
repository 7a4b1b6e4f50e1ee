r"""The log of one applied action: lines of JSON, appended before each change and after.

::

    {"veduta": 1, "what": "organize", "when": "2026-11-24T10:00:00+00:00", "state": "/photos/.veduta", "roots": [...]}
    {"folder": "/photos/2019", "mtime_ns": 1546300800000000000, "names": "9f8a..."}     before the first change in it
    {"made": "/photos/Sorted/Italy"}                                                    before it is made
    {"step": 1, "kind": "move", "source": "/photos/2019/a.jpg", "target": ...}          before it is carried out
    {"done": 1, "size": 123, "mtime_ns": ..., "mode": 420}                              or {"failed": 1, "why": ...}
    {"end": "applied"}
    {"undo": "2026-11-25T09:00:00+00:00"}
    {"undone": 1}                                                                       or {"left": 1, "why": ...}
    {"end": "undone"}

Each line ends with a ``mac``: a signature, by the key of this user (`veduta.trust`), of the line and of all before it.
A journal whose signatures do not fit was written by somebody else, or before there were any: see `provenance`.

Names that are no UTF-8 are written as Python reads them, with each odd byte as a lone surrogate (``\udcff``). A last
line without its line feed was being written when the process was killed: what it announces was never begun.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from veduta.errors import LibraryError
from veduta.library.journal.fsops import Stamp, flush_folder, normalized, write_all
from veduta.library.journal.operation import Intent
from veduta.trust import signature, user_key

JOURNAL_FORMAT = 1
JournalState = Literal["applied", "interrupted", "undone", "partly undone"]
JOURNAL_FOLDER, BACKUP = "journal", "backup"
ENDING = ".jsonl"
MAX_NUMBER = 2**63
MAC_LENGTH = 32  # hex digits: 128 bits
JOURNAL_NAME = re.compile(r"[0-9]{4,}-[^. ]+\.jsonl")  # not the copies that programs which synchronise folders leave


@dataclass
class LogReplay:
    """The state of an action as replayed from its log.

    Attributes:
        what: name of the action.
        when: when it began.
        home: the state folder as it was called then; None in journals that do not say.
        roots: names the library had then, as the person wrote it and with links followed; none where nobody said.
        folders: folder -> its modification time in nanoseconds and `disk.names_in` before the first change in it.
        created_folders: folders made, in order.
        intents: step's number -> the step.
        done: step's number -> stamp of its target when it was finished.
        closed: numbers of the steps of which nothing is left: failed or taken back.
        left: step's number -> why it was not taken back.
        phase: the last thing that began or ended.
        is_noop: whether the action ended with nothing done.
        is_signed: whether every line is this user's.
    """

    what: str
    when: datetime
    home: Path | None = None
    roots: tuple[Path, ...] = ()
    folders: dict[Path, tuple[int, str]] = field(default_factory=dict)
    created_folders: list[Path] = field(default_factory=list)
    intents: dict[int, Intent] = field(default_factory=dict)
    done: dict[int, Stamp] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    left: dict[int, str] = field(default_factory=dict)
    phase: Literal["applying", "applied", "undoing", "undone"] = "applying"
    is_noop: bool = False
    is_signed: bool = False

    @property
    def state(self) -> JournalState:
        """The state of the action."""
        match self.phase:
            case "applying":
                return "interrupted"
            case "applied":
                return "applied"
            case _:
                return "undone" if self.phase == "undone" and not self.left else "partly undone"

    @property
    def open(self) -> list[Intent]:
        """The steps of which something may be left, newest first."""
        return [self.intents[number] for number in sorted(self.intents, reverse=True) if number not in self.closed]

    @property
    def nothing(self) -> bool:
        """Whether no step was done and nothing is left of any."""
        return not self.done and not self.open

    @property
    def unfinished(self) -> Intent | None:
        """The step during which the action was killed, or None."""
        newest = self.open[0] if self.phase == "applying" and self.open else None
        return None if newest is None or newest.number in self.done else newest

    def replay_line(self, line: dict[str, Any]) -> None:
        """Take in one line."""
        match line:
            case {"folder": folder, "mtime_ns": int(mtime_ns), "names": str(names)} if abs(mtime_ns) < MAX_NUMBER:
                self.folders.setdefault(Path(folder), (mtime_ns, names))
            case {"made": folder}:
                self.created_folders.append(Path(folder))
            case {"step": int(number)}:
                self.intents[number] = Intent.of(line)
            case {"done": int(number), **stamp}:
                self.done[number] = Stamp.of_line(stamp)
            case {"failed": int(number)} | {"undone": int(number)}:
                self.closed.add(number)
                self.left.pop(number, None)
            case {"left": int(number), "why": str(why)} if number in self.intents:
                self.left[number] = why
            case _:
                self._turn(line)

    def _turn(self, line: dict[str, Any]) -> None:
        match line:
            case {"undo": _}:
                if self.phase == "undone":  # once more, what was left the last time
                    self.left = {}
                self.phase = "undoing"
            case {"end": "applied"}:
                self.phase, self.is_noop = "applied", self.nothing
            case {"end": "undone"}:
                self.phase = "undone"
            case _:
                raise ValueError(f"unknown: {line}")


class OperationLog:
    """One journal on disk.

    Args:
        path: its file.
        root: the library, for a journal that is to begin; None where it has no single folder.
    """

    def __init__(self, path: Path, root: Path | None = None) -> None:
        self.path = path
        self._root = root
        self.number = int(path.stem.partition("-")[0])
        self._descriptor: int | None = None
        self._mac = ""  # of the last line
        self._key = user_key()

    @classmethod
    def new(cls, folder: Path, what: str, root: Path | None = None) -> OperationLog:
        """Return the next journal of a state folder; its file is made with the first line.

        Args:
            folder: the state folder.
            what: name of the action: letters, digits and dashes.
            root: the library, or None.
        """
        if not what.replace("-", "").isalnum():
            raise ValueError(f"what: expected letters, digits and dashes, got {what!r}")
        number = max((book.number for book in cls.all(folder)), default=0) + 1
        return cls(folder / JOURNAL_FOLDER / f"{number:04d}-{what}{ENDING}", root)

    @classmethod
    def all(cls, folder: Path) -> list[OperationLog]:
        """Return the journals of a state folder, oldest first."""
        files = (folder / JOURNAL_FOLDER).glob(f"*{ENDING}")
        books = (cls(file) for file in files if JOURNAL_NAME.fullmatch(file.name))
        return sorted(books, key=lambda book: book.number)

    @property
    def state(self) -> Path:
        """The state folder with this log."""
        return self.path.parent.parent

    @property
    def backups(self) -> Path:
        """The folder for the files that this action replaces."""
        return self.state / BACKUP / f"{self.number:04d}"

    @property
    def begun(self) -> bool:
        """Whether anything was written."""
        return self._descriptor is not None and os.fstat(self._descriptor).st_size > 0

    def read(self) -> LogReplay | None:
        """Return the replayed log; None when the action was killed before its first line was written.

        Raises:
            LibraryError: a line is damaged, or of another version.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            raise LibraryError(f"{self.path}: cannot be read ({error.strerror})") from error
        story, key, mac, signed = None, self._key, "", True
        for number, content in enumerate(lines, 1):
            try:
                line = json.loads(content)
                given = line.pop("mac", "")
                given = given if type(given) is str and given.isascii() else ""
                signed = signed and key is not None and hmac.compare_digest(given, _mac(key, mac, line))
                mac, story = given, _heard(story, line)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                raise LibraryError(f"{self.path}: line {number} is damaged ({error}); nothing was changed") from error
        if story is not None:
            story.is_signed = signed
        self._mac = mac
        return story

    def note(self, *lines: dict[str, Any], sure: bool = True) -> None:
        """Append lines; all of them, or none that is read again.

        Args:
            lines: what happened or is about to.
            sure: whether they must be on the disk before the caller goes on.
        """
        if self._descriptor is None:
            self._descriptor = self._open()
        end = os.fstat(self._descriptor).st_size
        if end == 0:
            lines = (self._header(), *lines)
        try:
            signed, mac = self._signed(lines)
            write_all(self._descriptor, signed)
            if sure:
                os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, end)
            raise
        self._mac = mac

    def _signed(self, lines: Iterable[dict[str, Any]]) -> tuple[bytes, str]:
        """Return lines with their signatures, and the last of these."""
        key, mac, content = self._key, self._mac, b""
        for line in lines:
            mac = "" if key is None else _mac(key, mac, line)
            content += json.dumps(line | {"mac": mac}).encode("ascii") + b"\n"
        return content, mac

    def __enter__(self) -> OperationLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _header(self) -> dict[str, Any]:
        names = [] if self._root is None else [str(normalized(self._root)), os.path.realpath(self._root)]
        what, state = self.path.stem.partition("-")[2], str(normalized(self.state))
        return {
            "veduta": JOURNAL_FORMAT,
            "what": what,
            "when": now(),
            "state": state,
            "roots": list(dict.fromkeys(names)),
        }

    def _open(self) -> int:
        """Open the file to append, cut off after its last whole line."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        content = self.path.read_bytes()
        with suppress(LibraryError):
            self.read()  # for the signature of its last line
        if not content.endswith(b"\n"):
            os.ftruncate(descriptor, content.rfind(b"\n") + 1)
        flush_folder(self.path.parent)
        return descriptor


def now() -> str:
    """Return the time in the journal's format."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _mac(key: bytes, before: str, line: dict[str, Any]) -> str:
    """Return the signature of a line that comes after the one with the signature `before`."""
    return signature(key, before.encode(), json.dumps(line, sort_keys=True).encode("ascii"))[:MAC_LENGTH]


def _heard(story: LogReplay | None, line: dict[str, Any]) -> LogReplay:
    if story is None:
        if line["veduta"] != JOURNAL_FORMAT:
            raise ValueError(f"written by another version of Veduta: {line['veduta']}")
        home = Path(line["state"]) if "state" in line else None
        roots = tuple(map(Path, line.get("roots", [])))
        return LogReplay(line["what"], datetime.fromisoformat(line["when"]), home, roots)
    story.replay_line(line)
    return story
