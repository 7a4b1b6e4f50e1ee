"""Limits and report of a scan."""

from __future__ import annotations

from dataclasses import dataclass

from veduta.files import MEGABYTE
from veduta.types import Failure

RESTING = (
    700 * MEGABYTE
)  # what the process takes before a photo is decoded: networks, their buffers, a large gallery's index


A_PIXEL = (
    12  # bytes a pixel of a photo that cannot be reduced while decoding takes at its worst, as RGBA and RGB at once
)


MOST_PIXELS, MOST_BYTES = 200_000_000, 256 * MEGABYTE


@dataclass(frozen=True)
class ScanLimits:
    """How much a scan may do and take.

    Attributes:
        photos: most photos looked at; None for all.
        threads: photos decoded ahead of the one that is recognised.
        memory: bytes the process should stay below; photos too large for their share are reported and left out.
    """

    photos: int | None = None
    threads: int = 2
    memory: int = 2048 * MEGABYTE

    def __post_init__(self) -> None:
        if self.threads < 1 or (self.photos or 0) < 0:
            raise ValueError(f"expected threads >= 1 and photos >= 0, got {self.threads} and {self.photos}")
        if self.memory <= RESTING:
            raise ValueError(f"expected more than {RESTING // MEGABYTE} MB of memory, got {self.memory // MEGABYTE}")

    @property
    def pixels(self) -> int:
        """Most pixels of a photo that is decoded."""
        return min(MOST_PIXELS, (self.memory - RESTING) // (A_PIXEL * self.threads))

    @property
    def bytes(self) -> int:
        """Most bytes of a photo that is read."""
        return min(MOST_BYTES, (self.memory - RESTING) // (2 * self.threads))


@dataclass(frozen=True)
class ScanReport:
    """The outcome of a scan.

    Attributes:
        files: photos there are, files.
        looked_at: files read in this scan.
        unchanged: files that needed no look.
        moved: files found in another place, or with another name, with what was known of them.
        gone: files that are not there any more; what is known of their content is kept.
        recognized: photos asked about in this scan.
        waiting: photos left for the next scan by the limit.
        older: answers given before the gallery last changed.
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
