"""The content of an album: photos by place, places without a name yet, and the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from veduta.geo import median_position
from veduta.geo.countries import country_of
from veduta.landmarks import Landmark
from veduta.library import Group, Library, UncertainAsset
from veduta.library.metadata import keywords
from veduta.library.model import Asset, Label, StoredAnswer

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
        cover: its best picture, one of those that stand for their burst.
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
        """The landmark's name on the page."""
        return keywords.display_name(self.landmark)


@dataclass(frozen=True)
class AlbumContent:
    """Everything an album shows of a library, in the order of the page.

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
    """Return the content of a library's album.

    Args:
        library: the library.
        floor: least confidence of a gallery's answer that counts.
    """
    assets, answers = library.assets(floor), library.answers()
    bursts = _bursts(assets)
    labels = {asset.sha256: asset.label for asset in assets}
    unnamed = tuple(group for group in library.groups() if _has_no_name(group, labels))
    doubts = tuple(library.uncertain())
    mentioned = {asset.sha256 for group in unnamed for asset in group.assets} | {doubt.asset.sha256 for doubt in doubts}
    rest = tuple(
        burst for burst in bursts if burst[0].label is None and not mentioned & {asset.sha256 for asset in burst}
    )
    return AlbumContent(bursts, _places(bursts, answers), unnamed, doubts, rest, library.unreadable(), answers)


def dates(bursts: Iterable[Burst]) -> tuple[datetime | None, datetime | None]:
    """Return when the first and the last dated photo were taken."""
    taken = [asset.taken for burst in bursts for asset in burst if asset.taken is not None]
    return min(taken, default=None), max(taken, default=None)


def _bursts(assets: Sequence[Asset]) -> tuple[Burst, ...]:
    """Return all photos in the order in which they were taken, undated ones last; bursts as one, the best first.

    Photos of a burst that a person said to show different things are apart.
    """
    members_of: dict[tuple[object, str | None], list[Asset]] = {}
    for asset in assets:
        shows = asset.label.landmark.id if asset.label else None
        members_of.setdefault((asset.burst or asset.sha256, shows), []).append(asset)
    bursts = (tuple(sorted(members, key=lambda asset: not asset.best)) for members in members_of.values())
    return tuple(sorted(bursts, key=_when))


def _when(burst: Burst) -> tuple[bool, str, str]:
    taken = burst[0].taken
    return taken is None, taken.isoformat() if taken else "", str(burst[0].file)


def _has_no_name(group: Group, labels: Mapping[str, Label | None]) -> bool:
    return group.landmark is None and not any(labels.get(asset.sha256) for asset in group.assets)


def _places(bursts: Iterable[Burst], answers: Mapping[str, StoredAnswer]) -> tuple[AlbumPlace, ...]:
    by_landmark: dict[str, list[Burst]] = {}
    for burst in bursts:
        if burst[0].label is not None:
            by_landmark.setdefault(burst[0].label.landmark.id, []).append(burst)
    places = (_place(tuple(members), answers) for members in by_landmark.values())
    return tuple(sorted(places, key=lambda place: (-len(place.bursts), place.name.casefold(), place.landmark.id)))


def _place(bursts: tuple[Burst, ...], answers: Mapping[str, StoredAnswer]) -> AlbumPlace:
    labels = [burst[0].label for burst in bursts if burst[0].label is not None]
    # One person may have named the same landmark with its position, another without.
    label = max(labels, key=lambda label: (keywords.place(label.landmark) is not None, label.by == "person"))
    positions = (next((asset.position for asset in burst if asset.position is not None), None) for burst in bursts)
    known = [position for position in positions if position is not None]
    position = median_position(known) or keywords.place(label.landmark)
    country = label.country if keywords.place(label.landmark) else country_of(*position) if position else None
    cover = max((burst[0] for burst in bursts), key=lambda asset: _shown_well(asset, answers))
    return AlbumPlace(label.landmark, country, bursts, cover, position, len(known))


def _shown_well(asset: Asset, answers: Mapping[str, StoredAnswer]) -> tuple[bool, int, int, str]:
    """Return the sort key of a good picture of its landmark: sure, many inliers with references, large."""
    if asset.label is None:
        return False, 0, 0, asset.sha256
    spoke = proof(asset.label, answers.get(asset.sha256))
    certain = asset.label.by == "person" or asset.label.confidence >= ALMOST_CERTAIN
    return certain, (spoke[2] or 0) if spoke else 0, asset.size[0] * asset.size[1], asset.sha256


def proof(label: Label, answer: StoredAnswer | None) -> tuple[str, float, int | None] | None:
    """Return the reference that spoke most for a label: its id, similarity and inliers; None where none did."""
    evidence = [] if answer is None else [entry for entry in answer.evidence if entry[1] == label.landmark.id]
    best = max(evidence, key=lambda entry: (entry[3] or 0, entry[2]), default=None)
    return None if best is None else (best[0], best[2], best[3])
