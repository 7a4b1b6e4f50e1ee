"""The errors Veduta raises for faults of the world: a bad file, a wrong gallery, a missing model.

::

    VedutaError
    ├── ImageError          a photo cannot be read: missing, truncated, not a photo
    │   ├── TooLargeError       it has more bytes or pixels than it may have here
    │   └── NotInstalledError   its format takes a package that is not installed
    ├── ModelError          a model is unknown, damaged or cannot run here
    ├── DatasetError        a folder, CSV or data set is malformed (file, line, reason)
    ├── GalleryError        a gallery is missing, foreign, damaged or made by other models
    │   ├── NotFoundError       it has no landmark, reference or photo of this id
    │   ├── UnwritableError     this user may not write it, or its media cannot be written
    │   ├── NoRoomError         its disk is full
    │   ├── ReplacedError       its file was replaced, moved or deleted while open
    │   ├── ConflictError       a photo is a reference of another landmark already
    │   └── PrecisionError      no floor is known to reach the precision asked for
    ├── JobError            a job of many shards cannot begin, go on or be merged as asked
    ├── LibraryError        a library of photos or what is known of it cannot be read, changed or put back
    ├── TrainingError       a training run cannot go on: out of memory, a loss that is no number, other settings
    └── BusyError           another process is writing to the same folder

Each message says what is wrong, which thing it concerns and what to do about it. Programs decide by the type and the
fields, never by the message. Faults of the programmer (a wrong shape, an unknown option value) are ``ValueError`` and
``TypeError`` instead.
"""

from __future__ import annotations

from typing import ClassVar, Literal

FailureCode = Literal[
    "unreadable",  # no photo, damaged, or not to be read
    "too_large",  # more bytes or pixels than are read here
    "conflict",  # a reference of another landmark already
    "unstorable",  # a name that is not Unicode
    "unsorted",  # in no landmark's folder
    "unwritable",  # nothing can be written, moved or removed there
    "skipped",  # left as it is, on purpose
]
Kind = Literal["landmark", "reference", "photo"]


class VedutaError(Exception):
    """The parent of every error Veduta raises on purpose; catch this class to catch them all.

    Args:
        problem: one line: what is wrong, and with which thing.
        remedy: what to do about it; empty where the problem says that too.

    Attributes:
        code: the `Failure.code` of a photo that cannot be handled for this reason.
    """

    code: ClassVar[FailureCode] = "unreadable"

    # Exception.__new__ keeps the arguments, by which errors travel between processes: all are positional.
    def __init__(self, problem: str, remedy: str = "", /) -> None:
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem


def install_extra(extra: str) -> str:
    """Return what to do to get an optional part of Veduta; not by a name that others could take on a package index."""
    return f"in Veduta's folder, run: pip install -e '.[{extra}]'"


class ImageError(VedutaError):
    """A photo cannot be read; the message names the file and the reason.

    Args:
        name: what the photo is called, a path for most.
        problem: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, name: str, problem: str, remedy: str = "", /) -> None:
        super().__init__(problem, remedy)
        self.name = name

    @property
    def reason(self) -> str:
        """The message without the photo's name."""
        return super().__str__()

    def __str__(self) -> str:
        """Return the message on one line, whatever a file system allowed as a name."""
        return f"{self.name if self.name and self.name.isprintable() else ascii(self.name)}: {self.reason}"


class TooLargeError(ImageError):
    """A photo has more bytes or pixels than allowed here; with other limits the photo might be read."""

    code = "too_large"


class NotInstalledError(ImageError):
    """A photo's format takes a package that is not installed."""


class ModelError(VedutaError):
    """A model is unknown, its file is damaged, or its execution provider is not installed."""


class DatasetError(VedutaError):
    """A folder or table of photos is malformed; the message names the file, the line and the reason."""


class GalleryError(VedutaError):
    """A gallery is missing, is not a gallery, is damaged, or was made by other models or settings."""


class NotFoundError(GalleryError):
    """A gallery or its review queue has nothing of this kind and id.

    Args:
        kind: ``landmark``, ``reference`` or ``photo``.
        id: which one; a number for a photo of the review queue.
        where: the gallery's folder or file.
        remedy: where to look what there is.
    """

    def __init__(self, kind: Kind, id: str | int, where: str, remedy: str, /) -> None:
        self.kind, self.id = kind, id
        super().__init__(f"{where}: has no {self.subject}", remedy)

    @property
    def subject(self) -> str:
        """The missing thing in words, without the place where that was looked up."""
        return f"{self.kind} {self.id!r}" if isinstance(self.id, str) else f"{self.kind} number {self.id}"


class ConflictError(GalleryError):
    """A photo is a reference of another landmark already.

    Args:
        photo: what the photo is called.
        reference: id of the reference with the same content.
        landmark: id of that reference's landmark.
        instead: id of the landmark the photo was to be added to.
    """

    code = "conflict"

    def __init__(self, photo: str, reference: str, landmark: str, instead: str, /) -> None:
        self.reference, self.landmark = reference, landmark
        problem = f"{photo}: is already a reference of landmark {landmark!r}, not of {instead!r}"
        super().__init__(problem, "remove that reference first if it is wrong")


class UnwritableError(GalleryError):
    """A gallery, or what is kept beside it, may not be written by this user, or lies on read-only media."""

    code = "unwritable"


class NoRoomError(GalleryError):
    """There is no room left on the disk of a gallery; what was to be written is not there."""

    code = "unwritable"


class ReplacedError(GalleryError):
    """A gallery's file has been replaced, moved or deleted since the gallery was opened; open that again."""


class PrecisionError(GalleryError):
    """No floor is known from which on answers are right as often as asked for."""


class JobError(VedutaError):
    """A job of many shards cannot begin, go on or be merged; the message names the folder or shard and the reason."""


class LibraryError(VedutaError):
    """A library of photos, or its catalog, cannot be read, changed or put back as asked."""

    code = "unwritable"


class TrainingError(VedutaError):
    """A training run cannot start or go on; the message says why, what is kept and what to change."""


class BusyError(VedutaError):
    """Another process is writing to the same folder; waiting may help."""
