"""Single changes of the file system that never overwrite a file, and the stamps that tell two files apart afterwards.

Every change is one call of the operating system, or is made under another name first, so that a process killed at any
moment leaves either the old state or one that `rollback.revert` recognizes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE, S_ISREG
from typing import Any

COPY_BYTES = 1 << 20  # bytes read at once
FULL = {errno.ENOSPC, errno.EDQUOT}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
KEPT = {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}  # a folder that is gone, or in use by now
NOT_KEPT = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # by disks without owners and modes
NOT_FLUSHED = {errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP}  # by disks that flush no folders
NO_SUCH = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.EILSEQ,
    errno.EINVAL,
}  # nor can there be
COARSE_NS = 2_000_000_000  # the coarsest clock of a file system: FAT counts in two seconds


@dataclass(frozen=True)
class Stamp:
    """The size, time and mode that tell an edited file from an untouched one.

    Attributes:
        size: in bytes.
        mtime_ns: modification time in nanoseconds.
        mode: permission bits.
    """

    size: int
    mtime_ns: int
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of a file's status."""
        return cls(status.st_size, status.st_mtime_ns, S_IMODE(status.st_mode))

    @classmethod
    def of_line(cls, values: dict[str, Any]) -> Stamp:
        """Return the stamp with these fields; ValueError unless they are whole numbers of 64 bits."""
        if not all(type(value) is int and abs(value) < 2**63 for value in values.values()):
            raise ValueError(f"a stamp of {values}")
        return cls(**values)

    def fits(self, status: os.stat_result, slack_ns: int = 0) -> bool:
        """Return whether a file has this size, and this modification time give or take the slack."""
        return status.st_size == self.size and abs(status.st_mtime_ns - self.mtime_ns) <= slack_ns


def lstat_or_none(path: Path) -> os.stat_result | None:
    """Return the status of what is there, of a symbolic link its own; None when nothing is."""
    try:
        return path.lstat()
    except OSError as error:
        if error.errno not in NO_SUCH:
            raise
        return None


def missing_above(folder: Path) -> list[Path]:
    """Return the folders that have to be made for this one to be there, the outermost first."""
    missing: list[Path] = []
    while lstat_or_none(folder) is None:
        missing.append(folder)
        folder = folder.parent
    return missing[::-1]


def discard(path: Path) -> None:
    """Remove a file that may not be there."""
    if lstat_or_none(path) is not None:
        path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder if one is there and empty."""
    try:
        if lstat_or_none(folder) is not None:  # a read-only disk refuses even where there is nothing to remove
            folder.rmdir()
    except OSError as error:
        if error.errno not in KEPT:
            raise


def content_sha256(path: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_redundant(path: Path, original: Path) -> bool:
    """Return whether a file can go because another file, or another name of the same one, keeps its content."""
    own, other = lstat_or_none(path), lstat_or_none(original)
    if own is None or other is None or not (S_ISREG(own.st_mode) and S_ISREG(other.st_mode)):
        return False
    if os.path.samestat(own, other):
        return own.st_nlink > 1  # else both lead to the only one, through a folder that became a link
    return own.st_size == other.st_size and content_sha256(path) == content_sha256(original)


def names_in(folder: Path) -> str:
    """Return the sha256 of the names of a folder's entries, in hex: whether anything came or went."""
    return hashlib.sha256(b"\0".join(sorted(map(os.fsencode, os.listdir(folder))))).hexdigest()  # noqa: PTH208


def write_new(path: Path, chunks: Iterable[bytes], finish: Callable[[], None] = lambda: None) -> str:
    """Write a new file, flush that to the disk, and return the sha256 of the content, in hex.

    Args:
        path: where; FileExistsError if something is there.
        chunks: the content.
        finish: sets times and modes when the content is on the disk, as some network disks stamp a file by flushing it.
    """
    hasher = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        for chunk in chunks:
            hasher.update(chunk)
            write_all(descriptor, chunk)
        os.fsync(descriptor)
        finish()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return hasher.hexdigest()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all the data, however little the operating system takes at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def copy_new(source: Path, path: Path, stamp: Stamp) -> str:
    """Copy a file to a new one with the stamp's time and mode; return the sha256 of the bytes read, in hex."""
    return write_new(path, _chunks(source), lambda: copy_attributes(path, source, stamp))


def copy_verified(source: Path, path: Path, stamp: Stamp) -> None:
    """Copy a file to a new one and read the copy again; OSError, and no copy, unless both are equal."""
    if copy_new(source, path, stamp) != content_sha256(path):
        path.unlink()
        raise OSError(errno.EIO, "it does not read as it was written", str(path))


def copy_attributes(path: Path, like: Path, stamp: Stamp) -> None:
    """Give a file another's attributes as far as the disk keeps any, and the time and mode of a stamp."""
    if os.geteuid() == 0:
        status = like.lstat()
        with _if_supported():
            os.chown(path, status.st_uid, status.st_gid)
    with _if_supported():
        shutil.copystat(like, path)
    with _if_supported():
        path.chmod(stamp.mode)
    os.utime(path, ns=(path.lstat().st_atime_ns, stamp.mtime_ns))


def rename(source: Path, target: Path) -> None:
    """Give a file another name on the same file system; FileExistsError if something has that name.

    Killed in between it leaves both names for one file or, where the disk knows no hard links, an empty file at the
    target, which is then replaced by the source in one go.
    """
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _replace_reserved(source, target)
    else:
        source.unlink()


def flush_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk, where the file system can be asked to."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_FLUSHED:
            raise
    finally:
        os.close(descriptor)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(COPY_BYTES):
            yield chunk


def _replace_reserved(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    try:
        source.replace(target)
    except OSError:
        target.unlink()
        raise


@contextmanager
def _if_supported() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NOT_KEPT:
            raise


def normalized(path: Path) -> Path:
    """Return an absolute path without dots."""
    return Path(os.path.normpath(path.absolute()))
