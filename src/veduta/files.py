"""Atomic file writes (draft, fsync, rename) and locks of folders against other processes."""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from veduta.errors import BusyError

if sys.platform != "win32":
    import fcntl

MEGABYTE = 2**20  # bytes


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
def draft(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Yield a file beside `path` that takes the name `path`, whole and on disk, when the body ends.

    When the body fails the draft is removed; the draft of a process that was killed is overwritten by the next.

    Args:
        path: the file to write; an older one of this name is replaced.
        mode: ``wb`` for bytes, ``w`` for UTF-8 text with line ends as they are.
    """
    file = path.with_name(f".{path.name}.draft")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with file.open(mode, **text) as opened:  # type: ignore[call-overload]
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        file.replace(path)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: bytes | str | Iterable[str]) -> None:
    """Write a file so that readers see the old one or the new one, never half; OSError on failure.

    Args:
        path: the file.
        content: bytes, or text (in one piece or several), written as UTF-8.
    """
    if isinstance(content, bytes):
        with draft(path) as file:
            file.write(content)
    else:
        with draft(path, "w") as file:
            file.writelines([content] if isinstance(content, str) else content)


def write_json(path: Path, value: Any, **options: Any) -> None:
    """Write a value as JSON, indented by one, as `write_atomic` does; `options` go to `json.dumps`."""
    write_atomic(path, json.dumps(value, **{"indent": 1, **options}) + "\n")


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
    with (folder / ".lock").open("w") as lock:
        if sys.platform != "win32":
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"{folder}: another process is writing here", "wait for it or end it") from None
        yield
