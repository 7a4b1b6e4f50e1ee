"""Groups of photos of one place, as a person sees them: pictures, dates, a place, a name, and references."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from veduta.errors import ImageError, LibraryError
from veduta.gallery import Gallery
from veduta.library.catalog import StoredAnswer, Verdict
from veduta.library.model import Asset
from veduta.text import utf8
from veduta.types import Failure, Landmark


@dataclass(frozen=True)
class Group:
    """Photos that show one place, found without knowing which.

    Attributes:
        number: by which it is named; it stays when the library is grouped again.
        assets: its photos, the best picture first; of a burst only the one that stands for it.
        landmark: what a person named it, or None.
        guess: what a gallery says most of its photos show, with how many say so, or None.
        position: (degrees north, degrees east), the median of where its photos were taken, or None.
        first: when its first dated photo was taken, or None.
        last: and its last.
    """

    number: int
    assets: tuple[Asset, ...]
    landmark: Landmark | None
    guess: tuple[Landmark, int] | None
    position: tuple[float, float] | None
    first: datetime | None
    last: datetime | None


def landmark_id(name: str) -> str:
    """Return an id made of a name: its letters and digits, in lower case, joined by hyphens.

    >>> landmark_id("Sacré-Cœur, Paris")
    'sacré-cœur-paris'
    """
    words = "".join(letter if letter.isalnum() else " " for letter in name.casefold()).split()
    if not words:
        raise LibraryError(f"{name!r}: has no letter or digit to make an id of; give one with --id")
    return "-".join(words)


def add_references(
    gallery: Gallery, shots: Iterable[Asset], landmark: Landmark, replacing: Collection[str] = ()
) -> list[Failure]:
    """Make photos references of a landmark, and return those that could not be.

    Args:
        gallery: where.
        shots: the photos.
        landmark: what they show.
        replacing: ids of landmarks that the same photos were said to show before, and do not.
    """
    failures: list[Failure] = []
    named = {reference.sha256: reference for reference in gallery.references()}
    for shot in shots:
        before = named.get(shot.sha256)
        if before is not None and before.landmark in replacing:
            gallery.remove(reference=before.id)
        try:
            failures += gallery.add_photo(shot.file, landmark).failures
        except ImageError as error:
            failures.append(Failure.of(utf8(str(shot.file)), error))
    gallery.put_landmark(landmark)
    return failures


def describe_group(
    number: int, shots: Sequence[Asset], verdicts: Mapping[str, Verdict], answers: Mapping[str, StoredAnswer]
) -> Group:
    """Return a group with its name, position and dates, the most typical photo first."""
    named = [v.landmark for s in shots if (v := verdicts.get(s.sha256)) and v.verdict == "named" and v.landmark]
    by_verdict: dict[str, list[Landmark]] = {}
    for shot in shots:
        answer = answers.get(shot.sha256)
        if answer is not None and answer.landmark is not None:
            by_verdict.setdefault(answer.landmark.id, []).append(answer.landmark)
    most = max(by_verdict.values(), key=len, default=None)
    places = [shot.position for shot in shots if shot.position is not None]
    position = (statistics.median(p[0] for p in places), statistics.median(p[1] for p in places)) if places else None
    dates = sorted(shot.taken for shot in shots if shot.taken is not None)
    return Group(
        number=number,
        assets=tuple(shots),
        landmark=named[0] if named else None,
        guess=None if most is None else (most[0], len(most)),
        position=position,
        first=dates[0] if dates else None,
        last=dates[-1] if dates else None,
    )
