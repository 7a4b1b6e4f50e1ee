"""Atomic file writes (draft, fsync, rename), locks of folders against other processes, names fit to be stored."""

from __future__ import annotations

import json
import os
import secrets
import stat
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from veduta.errors import BusyError

if sys.platform != "win32":
    import fcntl

MEGABYTE = 2**20  # bytes
STALE_SECONDS = 3600.0  # after which nobody is still writing a draft


class Closable(ABC):
    """A base for objects with a `close` method: as a context manager they close at the end of the body."""

    @abstractmethod
    def close(self) -> None:
        """Close the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def draft(path: Path, mode: str = "wb", permissions: int = 0o666) -> Iterator[IO[Any]]:
    """Yield a file beside `path` that takes the name `path`, whole and on disk, when the body ends.

    When the body fails the draft is removed; the draft of a process that was killed goes with the next one written an
    hour later. The draft is a new file: one that lies there, or a link, is never written through.

    Args:
        path: the file to write; an older one of this name is replaced.
        mode: ``wb`` for bytes, ``w`` for UTF-8 text with line ends as they are.
        permissions: of the file, from which the process's umask is taken away.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    file = _free_name(path)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), permissions)
        with os.fdopen(descriptor, mode, **text) as opened:  # type: ignore[call-overload]
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        file.replace(path)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _free_name(path: Path) -> Path:
    """Return the name of the draft of a file, another one while somebody may be writing that."""
    file = path.with_name(f".{path.name}.draft")
    with suppress(FileNotFoundError):
        if time.time() - file.lstat().st_mtime < STALE_SECONDS:
            return path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
        file.unlink()
    return file


def write_atomic(path: Path, content: bytes | str | Iterable[str], permissions: int = 0o666) -> None:
    """Write a file so that readers see the old one or the new one, never half; OSError on failure.

    Args:
        path: the file.
        content: bytes, or text (in one piece or several), written as UTF-8.
        permissions: of the file, from which the process's umask is taken away.
    """
    if isinstance(content, bytes):
        with draft(path, permissions=permissions) as file:
            file.write(content)
    else:
        with draft(path, "w", permissions) as file:
            file.writelines([content] if isinstance(content, str) else content)


def write_json(path: Path, value: Any, permissions: int = 0o666, **options: Any) -> None:
    """Write a value as JSON, indented by one, as `write_atomic` does; `options` go to `json.dumps`."""
    write_atomic(path, json.dumps(value, **{"indent": 1, **options}) + "\n", permissions)


def first_irregular(path: Path) -> Path | None:
    """Return something at or below a path that is neither a file nor a folder, such as a link; None for nothing.

    Links are not followed: in a folder that somebody else made they lead to files that nobody named.
    """
    waiting = [path]
    while waiting:
        here = waiting.pop()
        with suppress(FileNotFoundError):
            mode = here.lstat().st_mode
            if stat.S_ISDIR(mode):
                waiting.extend(here.iterdir())
            elif not stat.S_ISREG(mode):
                return here
    return None


def is_plain(path: Path) -> bool:
    """Return whether a file lies at a path, and no link to one, pipe or device."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system lets folders be opened for that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some file systems keep no names to flush
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder; a process that dies lets go. On Windows nothing is locked.

    Raises:
        BusyError: another process is writing to it.
        OSError: the folder, or its file system, takes no lock.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(folder / ".lock", flags, 0o600), "r+") as lock:
        if sys.platform != "win32":
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"{folder}: another process is writing here", "wait for it or end it") from None
        yield


def utf8(name: str) -> str:
    """Return a file's name with undecodable bytes escaped, so that SQLite and JSON can hold the name."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def file_bytes(file: Path) -> int:
    """Return the size of a file; 0 for one that has gone, as a log of changes does when its database is closed."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
