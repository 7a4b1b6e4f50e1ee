"""Groups of photos of one place: found, described by pictures, dates, place and name, and named by a person."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from veduta.datasets.listing import composed
from veduta.embedders import make_embedder
from veduta.errors import ImageError, LibraryError
from veduta.features import make_extractor
from veduta.files import utf8
from veduta.gallery import Gallery
from veduta.gallery.rows import merged_landmark
from veduta.geo import median_position
from veduta.landmarks import Landmark, Position
from veduta.library.assets import current_answers, current_landmarks, read_assets
from veduta.library.catalog import Catalog
from veduta.library.cluster.cache import FeatureCache
from veduta.library.cluster.earlier_names import remember_renamed
from veduta.library.cluster.features import (
    EMBEDDER,
    EXTRACTOR,
    GroupingModels,
    extract_features,
    find_groups,
    number_groups,
)
from veduta.library.model import Asset, StoredAnswer, Verdict
from veduta.progress import VerbProgress
from veduta.types import Failure, Float32

GROUP_FLOOR = 0.5  # least confidence of a gallery's answer that labels a photo of a group
MADE_KEY = "made by naming"  # of the catalog's values


class GroupGuess(NamedTuple):
    """A landmark and how many photos of a group a gallery said to show that landmark."""

    landmark: Landmark
    photos: int


class NamedGroup(NamedTuple):
    """The landmark that a group was named, and the photos that could not become references of that landmark."""

    landmark: Landmark
    failures: list[Failure]


@dataclass(frozen=True)
class Group:
    """Photos that show one place, found without knowing which.

    Attributes:
        number: identifies it; it stays when the library is grouped again.
        assets: its photos, the best picture first; of a burst only the one that stands for it.
        landmark: what a person named it, or None.
        guess: the landmark of most of a gallery's answers for its photos, with their count, or None.
        position: (degrees north, degrees east), the median position of its photos, or None.
        first: when its first dated photo was taken, or None.
        last: and its last.
    """

    number: int
    assets: tuple[Asset, ...]
    landmark: Landmark | None
    guess: GroupGuess | None
    position: Position | None
    first: datetime | None
    last: datetime | None


def landmark_id(name: str) -> str:
    """Return an id made of a name: its letters and digits, in lower case, joined by hyphens.

    >>> landmark_id("Sacré-Cœur, Paris")
    'sacré-cœur-paris'
    """
    plain = unicodedata.normalize("NFC", name).casefold()  # a letter's accent apart from it is no letter
    words = "".join(letter if letter.isalnum() else " " for letter in plain).split()
    if not words:
        raise LibraryError(f"{name!r}: has no letter or digit to make an id of; give one with --id")
    return "-".join(words)


def add_references(
    gallery: Gallery,
    assets: Iterable[Asset],
    landmark: Landmark,
    replacing: Collection[str] = (),
    root: Path | None = None,
) -> list[Failure]:
    """Make photos references of a landmark, and return those that could not be.

    A reference's id is the photo's path in the library: in a gallery given away, no id tells of the folders above.

    Args:
        gallery: where.
        assets: the photos.
        landmark: the landmark they show; facts that it lacks and the gallery has stay.
        replacing: ids of the landmarks that the same photos were references of before, and do not show.
        root: the library's folder; None for photos of no library, whose references are called by their whole path.
    """
    failures: list[Failure] = []
    references = {reference.sha256: reference for reference in gallery.references()}
    for asset in assets:
        before = references.get(asset.sha256)
        if before is not None and before.landmark in replacing:
            gallery.remove(reference=before.id)
        try:
            id = None if root is None else asset.file.relative_to(root).as_posix()
            failures += gallery.add_photo(asset.file, landmark, id).failures
        except ImageError as error:
            failures.append(Failure.of(utf8(str(asset.file)), error))
    known = gallery.landmarks(landmark.id)
    gallery.put_landmark(merged_landmark(known[0].landmark if known else None, landmark))
    return failures


def describe_group(
    number: int, assets: Sequence[Asset], verdicts: Mapping[str, Verdict], answers: Mapping[str, StoredAnswer]
) -> Group:
    """Return a group with its name, position and dates, the most typical photo first."""
    named = [v.landmark for a in assets if (v := verdicts.get(a.sha256)) and v.verdict == "named" and v.landmark]
    by_landmark: dict[str, list[Landmark]] = {}
    for asset in assets:
        answer = answers.get(asset.sha256)
        if answer is not None and answer.landmark is not None:
            by_landmark.setdefault(answer.landmark.id, []).append(answer.landmark)
    most = max(by_landmark.values(), key=len, default=None)
    position = median_position(asset.position for asset in assets if asset.position is not None)
    dates = sorted(asset.taken for asset in assets if asset.taken is not None)
    return Group(
        number=number,
        assets=tuple(assets),
        landmark=named[0] if named else None,
        guess=None if most is None else GroupGuess(most[0], len(most)),
        position=position,
        first=dates[0] if dates else None,
        last=dates[-1] if dates else None,
    )


def read_groups(catalog: Catalog) -> list[Group]:
    """Return the groups of the last grouping, the largest first."""
    assets = {asset.sha256: asset for asset in read_assets(catalog, GROUP_FLOOR)}
    verdicts, answers = _current_verdicts(catalog), current_answers(catalog, catalog.answers.all())
    groups = []
    for number, members in catalog.groups().items():
        present = [assets[sha256] for sha256 in members if sha256 in assets]
        if present:
            groups.append(describe_group(number, present, verdicts, answers))
    return sorted(groups, key=lambda group: (-len(group.assets), group.number))


def _current_verdicts(catalog: Catalog) -> dict[str, Verdict]:
    """Return sha256 -> verdict, its landmark with the name and place that the gallery gives now."""
    verdicts = catalog.verdicts.all()
    known = current_landmarks(catalog, (verdict.landmark for verdict in verdicts.values()))
    ids = {sha256: verdict.landmark.id for sha256, verdict in verdicts.items() if verdict.landmark}
    return verdicts | {
        sha256: replace(verdicts[sha256], landmark=known[id]) for sha256, id in ids.items() if id in known
    }


def update_groups(catalog: Catalog, max_memory: int, progress: VerbProgress | None = None) -> None:
    """Group the photos of a library anew and store the groups, numbered like those before.

    Photos are grouped by the first content of the same pixels: their metadata must not change their group.

    Args:
        catalog: the library's.
        max_memory: most bytes that decoding one photo may hold.
        progress: called with photos done, photos in all, and ``looking`` or ``matching``.
    """
    origins, followers = catalog.contents.aliases(), catalog.contents.followers()
    files = {sha256: path for sha256, path in catalog.first_files().items() if sha256 not in followers}
    current = {origins.get(sha256, sha256): sha256 for sha256 in files}  # origin -> the content that is there now
    places = _find_places(catalog, {origin: files[sha256] for origin, sha256 in current.items()}, max_memory, progress)
    before = {n: [origins.get(sha256, sha256) for sha256 in members] for n, members in catalog.groups().items()}
    last = int(catalog.get_meta("groups") or 0)
    numbered = number_groups(places, before, last)
    with catalog.transaction():
        catalog.set_meta("groups", max([*numbered, *before, last], default=0))
        catalog.set_groups({number: [current[origin] for origin in members] for number, members in numbered.items()})


def _find_places(
    catalog: Catalog, files: Mapping[str, str], max_memory: int, progress: VerbProgress | None
) -> list[list[str]]:
    """Return sets of photos that show one place, each by its origin; `files` is origin -> file."""
    models = GroupingModels(make_embedder(EMBEDDER), make_extractor(EXTRACTOR))
    cache = FeatureCache(catalog.folder, models.model)
    try:
        descriptors = _descriptors(catalog, models.embedding)
        failed = extract_features(cache, models, files, max_memory, descriptors, progress)
        unread = {failure.photo for failure in failed}
        return find_groups(cache, [origin for origin, file in files.items() if utf8(file) not in unread], progress)
    finally:
        cache.close()


def _descriptors(catalog: Catalog, model: str) -> dict[str, Float32]:
    """Return origin -> descriptor by this model, of the contents in the library that stand for their burst."""
    origins, followers, seen = catalog.contents.aliases(), catalog.contents.followers(), catalog.contents.appearances()
    rows = zip(seen.sha256, seen.descriptors, seen.models, strict=True)
    return {origins.get(key, key): row for key, row, row_model in rows if row_model == model and key not in followers}


def name_group(
    catalog: Catalog,
    group: Group,
    name: str,
    id: str | None = None,
    gallery: Gallery | None = None,
    position: tuple[float, float] | None = None,
) -> NamedGroup:
    """Store the landmark a group shows, as `Library.name` does; return the landmark and the failures."""
    if utf8(name + (id or "")) != name + (id or ""):
        raise LibraryError(f"{utf8(name)}: is not text that can be stored; use Unicode only")
    landmark = landmark_to_name(group, name, id, gallery, position)
    verdicts = catalog.verdicts.all()
    landmarks = {sha256: v.landmark.id for sha256, v in verdicts.items() if v.landmark}
    unnamed = [a for a in group.assets if a.sha256 not in verdicts or verdicts[a.sha256].verdict == "named"]
    wrong = {landmarks[a.sha256] for a in unnamed if a.sha256 in landmarks} - {landmark.id}
    with catalog.transaction():
        remember_renamed(catalog, [a.sha256 for a in unnamed], verdicts, landmark, gallery)
        for asset in unnamed:
            catalog.verdicts.put(asset.sha256, "named", landmark)
    if gallery is None:
        return NamedGroup(landmark, [])
    same = [a for a in group.assets if landmarks.get(a.sha256) == landmark.id]
    before = _contents_of(gallery)
    shown = {a.sha256: a for a in (*unnamed, *same)}.values()
    failures = add_references(gallery, shown, landmark, wrong, catalog.root)
    now, made = _contents_of(gallery), made_by_naming(catalog, gallery)
    photos, ids = made.photos | now.photos - before.photos, made.landmarks | now.landmarks - before.landmarks
    remember_made(catalog, gallery, MadeByNaming(photos, ids))
    return NamedGroup(landmark, failures)


def landmark_to_name(
    group: Group, name: str, id: str | None, gallery: Gallery | None, position: tuple[float, float] | None
) -> Landmark:
    """Return the landmark that a name means: one that the gallery has, by its id or else its name, keeps its place."""
    known = None if gallery is None else _known_landmark(gallery, name, id)
    north, east = position or (known and known.position) or group.position or (None, None)
    if known is None:
        return Landmark(id or landmark_id(name), name, north, east)
    return Landmark(known.id, known.name if _is_same(known.name, name) else name, north, east, known.url)


def _known_landmark(gallery: Gallery, name: str, id: str | None) -> Landmark | None:
    """Return the gallery's landmark of an id or, where only a name is given, the only one of this name; or None."""
    found = gallery.landmarks(id or landmark_id(name))
    if not found and id is None:
        found = [count for count in gallery.landmarks() if _is_same(count.landmark.name, name)]
    return found[0].landmark if len(found) == 1 else None


def _is_same(name: str, other: str) -> bool:
    return composed(name).casefold() == composed(other).casefold()


@dataclass(frozen=True)
class MadeByNaming:
    """The references and landmarks of a gallery that naming groups has made: only these may be taken back.

    Attributes:
        photos: sha256 of the references' photos.
        landmarks: ids.
    """

    photos: frozenset[str] = frozenset()
    landmarks: frozenset[str] = frozenset()


def made_by_naming(catalog: Catalog, gallery: Gallery) -> MadeByNaming:
    """Return which references and landmarks of a gallery were made by naming groups of this library."""
    stored = catalog.get_meta(MADE_KEY)
    with catalog.db.decoding():
        fields = (stored or {}).get(os.path.realpath(gallery.path), {})
        return MadeByNaming(**{key: frozenset(map(str, values)) for key, values in fields.items()})


def remember_made(catalog: Catalog, gallery: Gallery, made: MadeByNaming) -> None:
    """Store which references and landmarks of a gallery were made by naming groups."""
    fields = {key: sorted(values) for key, values in asdict(made).items()}
    catalog.set_meta(MADE_KEY, {**(catalog.get_meta(MADE_KEY) or {}), os.path.realpath(gallery.path): fields})


def _contents_of(gallery: Gallery) -> MadeByNaming:
    photos = frozenset(reference.sha256 for reference in gallery.references())
    return MadeByNaming(photos, frozenset(landmark.id for landmark, _ in gallery.landmarks()))
