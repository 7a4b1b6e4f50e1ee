"""SQLite's errors by their codes: which of Veduta's they are, and what to do about each."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from veduta.errors import GalleryError, NoRoomError, ReplacedError, UnwritableError

MAX_MESSAGE = 200  # characters of an error quoted in another
UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
FULL_IO = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_FSYNC}
REMEDIES = {
    sqlite3.SQLITE_FULL: "make room on its disk, then do that again",
    sqlite3.SQLITE_READONLY: "give this user the right to write there, or copy it to where that may be done",
    sqlite3.SQLITE_PERM: "give this user the right to write there, or copy it to where that may be done",
    sqlite3.SQLITE_BUSY: "is another process using it?",
    sqlite3.SQLITE_LOCKED: "is another process using it?",
    sqlite3.SQLITE_CANTOPEN: "give this user the right to read and write there",
}
CODE_OF = {
    errno.EACCES: sqlite3.SQLITE_READONLY,
    errno.EPERM: sqlite3.SQLITE_READONLY,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
}
READING = {"cannot be opened", "cannot be read", "is damaged"}


def shortened(error: Exception) -> sqlite3.DatabaseError:
    """Return an error of SQLite whose message is short, whatever the file has made the first one quote."""
    message = " ".join(str(error).split())
    short = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "..."
    return with_code(sqlite3.DatabaseError(short), getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK))


def with_code(error: sqlite3.DatabaseError, code: int) -> sqlite3.DatabaseError:
    """Return an error with one of SQLite's codes."""
    error.sqlite_errorcode = code
    return error


def refused(error: OSError) -> sqlite3.DatabaseError:
    """Return the error that SQLite would raise where a file cannot be made for the system's reason."""
    code = CODE_OF.get(error.errno or 0, sqlite3.SQLITE_CANTOPEN)
    return with_code(sqlite3.OperationalError(f"unable to open database file: {error.strerror}"), code)


def gallery_fault(action: str, error: sqlite3.Error, file: Path) -> GalleryError:
    """Return the error to raise of a file that belongs to a gallery.

    Args:
        action: which part failed, such as ``cannot be read``.
        error: SQLite's.
        file: the file.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return ReplacedError(f"{file}: {action} ({error})", "open it again")
    primary = sqlite3.SQLITE_FULL if code in FULL_IO else code & 0xFF
    kind = UnwritableError if primary in UNWRITABLE else NoRoomError if primary == sqlite3.SQLITE_FULL else GalleryError
    remedy = "restore it from a copy" if action in READING else "see whether its disk has room and works"
    return kind(f"{file}: {action} ({error})", REMEDIES.get(primary, remedy))


def folder_fault(folder: Path, error: OSError) -> GalleryError:
    """Return the error to raise of a gallery's folder in which a file cannot be written."""
    return gallery_fault(
        "cannot be written", with_code(sqlite3.DatabaseError(error.strerror), refused(error).sqlite_errorcode), folder
    )
