"""What an album tells: which photos show which place, which places have no name yet, and what is left over."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from veduta.geo.countries import country_of
from veduta.library import Group, Library, UncertainAsset
from veduta.library.metadata import keywords
from veduta.library.model import Asset, Label, StoredAnswer
from veduta.types import Landmark

Burst = tuple[Asset, ...]
"""Photos that count as one and are said to show the same; the first stands for them."""
Position = tuple[float, float]
ALMOST_CERTAIN = 0.95


@dataclass(frozen=True)
class AlbumPlace:
    """A landmark with its photos.

    Attributes:
        landmark: what it is.
        country: in which it stands, or None where that is not known.
        bursts: its photos, in the order in which they were taken.
        cover: its best picture, one of those that stand for their kin.
        position: (degrees north, degrees east), or None.
        by_camera: how many of its photos have a position of the camera, of which `position` is the median; with none
            of them it is the landmark's.
    """

    landmark: Landmark
    country: str | None
    bursts: tuple[Burst, ...]
    cover: Asset
    position: Position | None
    by_camera: int

    @property
    def name(self) -> str:
        """What to call it."""
        return keywords.display_name(self.landmark)


@dataclass(frozen=True)
class AlbumContent:
    """What is known of a library, in the order in which it is told.

    Attributes:
        bursts: all photos.
        places: those of landmarks, the landmarks with most photos first.
        unnamed: groups of photos that show one place which nobody has named, the largest first.
        uncertain: photos that a person should look at, those first whose verdict tells most.
        rest: photos that show no landmark and are in no group without a name and in no doubt.
        failures: path -> reason of the files that could not be read.
        answers: sha256 -> what the gallery says of a photo.
    """

    bursts: tuple[Burst, ...]
    places: tuple[AlbumPlace, ...]
    unnamed: tuple[Group, ...]
    uncertain: tuple[UncertainAsset, ...]
    rest: tuple[Burst, ...]
    failures: Mapping[str, str]
    answers: Mapping[str, StoredAnswer]


def collect_content(library: Library, floor: float) -> AlbumContent:
    """Return what is known of a library.

    Args:
        library: the library.
        floor: least confidence of a gallery's answer that counts.
    """
    shots, answers = library.assets(floor), library.answers()
    kins = _kins(shots)
    labels = {shot.sha256: shot.label for shot in shots}
    unnamed = tuple(group for group in library.groups() if _has_no_name(group, labels))
    doubts = tuple(library.uncertain())
    told = {shot.sha256 for group in unnamed for shot in group.assets} | {doubt.asset.sha256 for doubt in doubts}
    rest = tuple(kin for kin in kins if kin[0].label is None and not told & {shot.sha256 for shot in kin})
    return AlbumContent(kins, _places(kins, answers), unnamed, doubts, rest, library.unreadable(), answers)


def dates(kins: Iterable[Burst]) -> tuple[datetime | None, datetime | None]:
    """Return when the first and the last dated photo were taken."""
    taken = [shot.taken for kin in kins for shot in kin if shot.taken is not None]
    return min(taken, default=None), max(taken, default=None)


def _kins(shots: Sequence[Asset]) -> tuple[Burst, ...]:
    """Return all photos in the order in which they were taken, undated ones last; bursts as one, the best first.

    Photos of a burst that a person said to show different things are apart.
    """
    found: dict[tuple[object, str | None], list[Asset]] = {}
    for shot in shots:
        shows = shot.label.landmark.id if shot.label else None
        found.setdefault((shot.burst or shot.sha256, shows), []).append(shot)
    kins = (tuple(sorted(some, key=lambda shot: not shot.best)) for some in found.values())
    return tuple(sorted(kins, key=_when))


def _when(kin: Burst) -> tuple[bool, str, str]:
    taken = kin[0].taken
    return taken is None, taken.isoformat() if taken else "", str(kin[0].file)


def _has_no_name(group: Group, labels: Mapping[str, Label | None]) -> bool:
    return group.landmark is None and not any(labels.get(shot.sha256) for shot in group.assets)


def _places(kins: Iterable[Burst], answers: Mapping[str, StoredAnswer]) -> tuple[AlbumPlace, ...]:
    found: dict[str, list[Burst]] = {}
    for kin in kins:
        if kin[0].label is not None:
            found.setdefault(kin[0].label.landmark.id, []).append(kin)
    places = (_place(tuple(some), answers) for some in found.values())
    return tuple(sorted(places, key=lambda place: (-len(place.bursts), place.name.casefold(), place.landmark.id)))


def _place(kins: tuple[Burst, ...], answers: Mapping[str, StoredAnswer]) -> AlbumPlace:
    labels = [kin[0].label for kin in kins if kin[0].label is not None]
    # One person may have named the same landmark with its position, another without.
    label = max(labels, key=lambda label: (keywords.place(label.landmark) is not None, label.by == "person"))
    found = (next((shot.position for shot in kin if shot.position is not None), None) for kin in kins)
    stood = [position for position in found if position is not None]
    position = _median(stood) or keywords.place(label.landmark)
    country = label.country or (country_of(*position) if position else None)
    cover = max((kin[0] for kin in kins), key=lambda shot: _shown_well(shot, answers))
    return AlbumPlace(label.landmark, country, kins, cover, position, len(stood))


def _median(places: Sequence[Position]) -> Position | None:
    if not places:
        return None
    return statistics.median(place[0] for place in places), statistics.median(place[1] for place in places)


def _shown_well(shot: Asset, answers: Mapping[str, StoredAnswer]) -> tuple[bool, int, int, str]:
    """Return what makes a picture a good one of its landmark: sure, much of it that references confirm, large."""
    if shot.label is None:
        return False, 0, 0, shot.sha256
    spoke = proof(shot.label, answers.get(shot.sha256))
    certain = shot.label.by == "person" or shot.label.confidence >= ALMOST_CERTAIN
    return certain, (spoke[2] or 0) if spoke else 0, shot.size[0] * shot.size[1], shot.sha256


def proof(label: Label, answer: StoredAnswer | None) -> tuple[str, float, int | None] | None:
    """Return the reference that spoke most for a label: its id, similarity and inliers; None where none did."""
    found = [] if answer is None else [each for each in answer.evidence if each[1] == label.landmark.id]
    best = max(found, key=lambda each: (each[3] or 0, each[2]), default=None)
    return None if best is None else (best[0], best[2], best[3])
