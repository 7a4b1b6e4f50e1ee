"""The nouns of a library: what is known of one of its photos, and what may be written about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from veduta.types import Landmark


@dataclass(frozen=True)
class Label:
    """What a photo shows, and who says so.

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
    """One photo of a library, with every file that belongs to it.

    Attributes:
        sha256: hex digest of its content; two files with the same bytes are one shot.
        files: where it lies, absolute, sorted; the first stands for it.
        companions: files that go where it goes, absolute: the RAW it was developed from, sidecars (``.xmp``,
            ``.aae``), the film of a live photo.
        size: (width, height) in pixels, upright; (0, 0) for what could not be read.
        taken: when, by the camera's clock and without a zone, or None.
        position: (degrees north, degrees east) as the camera wrote it, or None.
        label: what it shows, or None.
        burst: number of the burst or of the set of near-duplicates it is one of, or None when it stands alone.
        best: whether it stands for its burst; True when it stands alone.
        group: number of the place it shows by grouping, or None.
        rejected: whether a person said that it shows nothing known.
    """

    sha256: str
    files: tuple[Path, ...]
    companions: tuple[Path, ...] = ()
    size: tuple[int, int] = (0, 0)
    taken: datetime | None = None
    position: tuple[float, float] | None = None
    label: Label | None = None
    burst: int | None = None
    best: bool = True
    group: int | None = None
    rejected: bool = False

    @property
    def file(self) -> Path:
        """The file that stands for it."""
        return self.files[0]
