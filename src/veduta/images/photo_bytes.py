"""A photo's bytes, read once and hashed once, for whoever decodes, keeps or compares them."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from veduta.errors import ImageError, TooLargeError

RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef"}
    | {".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
"""Lower-case suffixes by which a RAW is known: the content of many is that of a TIFF."""
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PhotoBytes:
    """The bytes of a photo file, undecoded; make one with `of` or `read_bytes`.

    Attributes:
        data: the bytes.
        sha256: their digest in hex, by which equal photos are known.
        name: where they came from: a path for most, used in messages and to tell a RAW by its suffix.
    """

    data: bytes = field(repr=False)
    sha256: str
    name: str

    @classmethod
    def of(cls, data: bytes, name: str = "<bytes>") -> PhotoBytes:
        """Return these bytes with their digest."""
        return cls(data, hashlib.sha256(data).hexdigest(), name)

    @property
    def has_raw_suffix(self) -> bool:
        """Whether the name is that of a RAW."""
        return os.path.splitext(self.name)[1].lower() in RAW_SUFFIXES  # noqa: PTH122 - a name is no path


def read_bytes(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, shown: str | None = None) -> PhotoBytes:
    """Return a photo file's bytes, undecoded.

    Args:
        path: the file, whose name the bytes keep.
        max_bytes: most bytes that are read.
        shown: what to call the photo in messages; its path where it is None.

    Raises:
        ImageError: if the file cannot be read, is empty or none.
        TooLargeError: if it has more than `max_bytes`.
    """
    name = os.fsdecode(path)
    return PhotoBytes.of(_read(name, name if shown is None else shown, max_bytes), name)


def _read(path: str, shown: str, max_bytes: int) -> bytes:
    try:
        status = Path(path).stat()
        _check_kind(status.st_mode, shown)  # before opening: opening a pipe would wait for its other end
        check_length(status.st_size, shown, max_bytes)
        with Path(path).open("rb") as file:
            data = file.read(status.st_size)
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(shown, f"cannot be read: {reason}") from error
    check_length(len(data), shown, max_bytes)
    return data


def _check_kind(mode: int, shown: str) -> None:
    if stat.S_ISDIR(mode):
        raise ImageError(shown, "is a folder, not a photo", "name the photos in it")
    if not stat.S_ISREG(mode):
        raise ImageError(shown, "is a device or a pipe, not a file", "save the photo in a file first")


def check_length(length: int, shown: str, max_bytes: int) -> None:
    """Raise ImageError about the photo of this name if its length is zero or above `max_bytes`."""
    if length == 0:
        raise ImageError(shown, "is empty", "get a fresh copy")
    if length > max_bytes:
        size, limit = (f"{n:,} bytes" for n in (length, max_bytes))
        raise TooLargeError(shown, f"has {size}, more than {limit}", "make it smaller or raise max_bytes")
