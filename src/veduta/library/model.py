"""The nouns of a library: an asset and its label."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from veduta.types import Landmark


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
        """The first of the files."""
        return self.files[0]
