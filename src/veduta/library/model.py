"""The nouns of a library: an asset, its label, a gallery's answer, a person's verdict, a scan's report."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from veduta.errors import ImageError
from veduta.files import utf8
from veduta.landmarks import Guess, Landmark, Position
from veduta.types import Failure, Size


@dataclass(frozen=True)
class Label:
    """The landmark a photo shows, and the source of that label.

    Attributes:
        landmark: what it shows.
        confidence: probability that this is right, in [0, 1]; 1 when a person said it.
        by: ``person`` (a verdict or a name given to its group) or ``veduta``.
        country: English name of the country the landmark stands in, or None where that is not known.
    """

    landmark: Landmark
    confidence: float
    by: str
    country: str | None = None


@dataclass(frozen=True)
class Asset:
    """One photo of a library, with every file of the same content and their companions.

    Attributes:
        sha256: hex digest of its content; two files with the same bytes are one asset.
        files: where it lies, absolute, sorted; the first stands for it.
        companions: files that go where it goes, absolute: the RAW it was developed from, sidecars, the film of a live
            photo and others, see `veduta.library.companions`.
        size: (width, height) in pixels, upright; (0, 0) for what could not be read.
        taken: when, by the camera's clock and without a zone, else as a sidecar has it, or None.
        utc_offset: how much that clock was ahead of UTC, or None where neither says.
        position: (degrees north, degrees east) as the camera wrote it, else as a sidecar has it, or None.
        label: what it shows, or None.
        burst: number of the burst or of the set of near-duplicates it is one of, or None when it stands alone.
        best: whether it stands for its burst; True when it stands alone.
        group: number of the place it shows by grouping, or None.
        rejected: whether a person said that it shows nothing known.
    """

    sha256: str
    files: tuple[Path, ...]
    companions: tuple[Path, ...] = ()
    size: Size = field(default=Size(0, 0))
    taken: datetime | None = None
    utc_offset: timedelta | None = None
    position: Position | None = None
    label: Label | None = None
    burst: int | None = None
    best: bool = True
    group: int | None = None
    rejected: bool = False

    @property
    def file(self) -> Path:
        """The first of the files."""
        return self.files[0]


class FileMove(NamedTuple):
    """A file and the place where a plan puts that, or a link or copy of that."""

    source: Path
    target: Path


class StoredCandidate(NamedTuple):
    """A reference of a stored answer: its id, its landmark's, the cosine, and the inliers, None if not verified."""

    reference: str
    landmark: str
    similarity: float
    num_inliers: int | None


@dataclass(frozen=True)
class StoredAnswer:
    """A gallery's answer for a photo.

    Attributes:
        gallery: its folder.
        revision: the gallery's, when it was asked.
        landmark: what it answered, or None.
        confidence: probability that the best guess is right.
        guesses: the likeliest landmarks, best first.
        evidence: the references that spoke for them, best first.
    """

    gallery: str
    revision: int
    landmark: Landmark | None
    confidence: float
    guesses: tuple[Guess, ...] = ()
    evidence: tuple[StoredCandidate, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A person's verdict on a photo.

    Attributes:
        verdict: ``accepted``, ``rejected`` (none of the landmarks known), ``corrected``, or ``named`` with its group.
        landmark: what it shows, or None when rejected.
        at: when, in UTC, as ISO 8601.
    """

    verdict: str
    landmark: Landmark | None
    at: str


@dataclass(frozen=True)
class UncertainAsset:
    """A photo whose answer a person should look at.

    Attributes:
        asset: the photo, standing for its burst.
        answer: the gallery's answer for it.
        others: how many photos the verdict will be for, itself left out.
    """

    asset: Asset
    answer: StoredAnswer
    others: int


@dataclass(frozen=True)
class ScanReport:
    """The outcome of a scan.

    Attributes:
        files: photo files in the library.
        looked_at: files read in this scan.
        unchanged: files that needed no look.
        moved: files in another place, or with another name, whose content was known.
        gone: files that are not there any more; the records of their content are kept.
        recognized: photos the gallery was asked about in this scan.
        waiting: photos left for the next scan by the limit.
        older: answers from before the gallery last changed.
        failures: files that could not be read, those of earlier scans too, and folders that could not be listed.
    """

    files: int = 0
    looked_at: int = 0
    unchanged: int = 0
    moved: int = 0
    gone: int = 0
    recognized: int = 0
    waiting: int = 0
    older: int = 0
    failures: tuple[Failure, ...] = ()


def unreadable(path: str, reason: str) -> Failure:
    """Return the failure of a file that could not be read, by its path and the stored reason."""
    return Failure.of(utf8(path), ImageError(utf8(path), utf8(reason)))
