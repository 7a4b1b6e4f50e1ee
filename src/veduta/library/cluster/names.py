"""Names for several groups at once from a table, photos left out of a group, and names taken back."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from veduta.errors import LibraryError
from veduta.files import utf8
from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.library.catalog import Catalog
from veduta.library.cluster.earlier_names import EarlierName, drop_earlier_names, earlier_names, was_reference
from veduta.library.cluster.group import (
    Group,
    MadeByNaming,
    add_references,
    landmark_id,
    landmark_to_name,
    made_by_naming,
    remember_made,
)
from veduta.library.model import Asset
from veduta.types import Failure

COLUMNS = ("group", "name", "id", "latitude", "longitude")
MAX_TABLE_BYTES = 2**24


@dataclass(frozen=True)
class GroupName:
    """One row of a table of names.

    Attributes:
        group: number of the group.
        name: the place it shows.
        id: of the landmark, or None for one made of the name.
        position: (degrees north, degrees east) of the landmark, or None for the median of the photos' positions.
    """

    group: int
    name: str
    id: str | None
    position: tuple[float, float] | None


@dataclass(frozen=True)
class GroupNaming:
    """The outcome of naming a group.

    Attributes:
        group: number of the group.
        landmark: the landmark that its photos show now.
        photos: how many of the photos have that name.
        references: how many of the photos are references of that landmark.
        added: how many references of that landmark are new.
        failures: photos that could not become references.
    """

    group: int
    landmark: Landmark
    photos: int
    references: int
    added: int
    failures: list[Failure]


def read_group_names(table: Path) -> list[GroupName]:
    """Return the rows of a CSV table with the columns group and name, and perhaps id, latitude and longitude.

    Rows without a name are passed over: the table may be an export of all groups, of which only some were filled in.

    Raises:
        LibraryError: the table cannot be read, or a row is wrong; the message names the line.
    """
    try:
        text = table.read_bytes()[:MAX_TABLE_BYTES].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LibraryError(
            f"{utf8(str(table))}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    reader = csv.DictReader(text.splitlines())
    if not {"group", "name"} <= set(reader.fieldnames or ()):
        raise LibraryError(f"{utf8(str(table))}: expected the columns {', '.join(COLUMNS[:2])}", "see docs/cli.md")
    rows = [(f"{utf8(str(table))}, line {reader.line_num}", row) for row in reader if (row["name"] or "").strip()]
    names = [_row(where, row) for where, row in rows]
    twice = {name.group for name in names if sum(other.group == name.group for other in names) > 1}
    if twice:
        raise LibraryError(f"{utf8(str(table))}: names group {min(twice)} twice", "keep one of the rows")
    return names


def name_groups(
    library: Library, names: Sequence[GroupName], groups: Sequence[Group], gallery: Gallery | None = None
) -> Iterator[GroupNaming]:
    """Name groups one after the other, and yield the outcome of each.

    Args:
        library: the library.
        names: the names, as a table has them.
        groups: the group of each name, without the photos that do not show the place.
        gallery: where the photos become references; None for no references.
    """
    for one, group in zip(names, groups, strict=True):
        meant = landmark_to_name(group, one.name, one.id, gallery, one.position).id
        before = 0 if gallery is None else len(gallery.references(meant))
        landmark, failures = library.name(group, one.name, one.id, gallery, one.position)
        after = 0 if gallery is None else len(gallery.references(landmark.id))
        photos, references = count_named(library, group, landmark, gallery)
        yield GroupNaming(group.number, landmark, photos, references, after - before, failures)


def without_photos(groups: Sequence[Group], photos: Iterable[str | os.PathLike[str]]) -> list[Group]:
    """Return groups without some of their photos; LibraryError for a photo that is in none of them.

    Args:
        groups: the groups.
        photos: files of the library, or the sha256 of photos in it.
    """
    left_out = set()
    for photo in photos:
        path = Path(os.path.abspath(photo))  # noqa: PTH100 - without what leads back and forth
        found = (a for group in groups for a in group.assets if a.sha256 == photo or path in a.files)
        asset = next(found, None)
        if asset is None:
            numbers = ", ".join(str(group.number) for group in groups)
            raise LibraryError(f"{utf8(str(photo))}: is not in group {numbers}", "see 'veduta library group'")
        left_out.add(asset.sha256)
    return [replace(group, assets=tuple(a for a in group.assets if a.sha256 not in left_out)) for group in groups]


class NamingCount(NamedTuple):
    """Numbers of photos and references that a naming, or taking a name back, concerned."""

    photos: int
    references: int


def count_named(library: Library, group: Group, landmark: Landmark, gallery: Gallery | None) -> NamingCount:
    """Return how many photos of a group have the name of a landmark, and how many are references of that."""
    verdicts, photos = library.verdicts(), {asset.sha256 for asset in group.assets}
    labels = (verdicts[sha256].landmark for sha256 in photos if sha256 in verdicts)
    named = sum(label is not None and label.id == landmark.id for label in labels)
    references = [] if gallery is None else gallery.references(landmark.id)
    return NamingCount(named, sum(reference.sha256 in photos for reference in references))


def forget_name(library: Library, number: int, gallery: Gallery | None = None) -> NamingCount:
    """Take the name of a group back, so that its photos have the name from before, if any; return how many lost theirs.

    Args:
        library: the library.
        number: the group's.
        gallery: where its photos became references. Those that naming made are removed and counted, and a landmark that
            naming made and that has no references any more; what was in the gallery before stays. Photos that were
            references of the earlier name there are so again.

    Raises:
        LibraryError: there is no such group, or it has no name.
    """
    group, verdicts, catalog = library.numbered(number), library.verdicts(), library.catalog
    named = [a for a in group.assets if a.sha256 in verdicts and verdicts[a.sha256].verdict == "named"]
    if not named:
        raise LibraryError(f"{utf8(str(library.path))}: group {number} has no name to take back")
    earlier = earlier_names(catalog, [a.sha256 for a in named])
    removed = 0 if gallery is None else _take_back(library, gallery, named, earlier)
    with catalog.transaction():
        for asset in named:
            library.clear_verdict(asset.sha256)
            if asset.sha256 in earlier:
                catalog.verdicts.put(asset.sha256, "named", earlier[asset.sha256].landmark)
        drop_earlier_names(catalog, earlier)
    return NamingCount(len(named), removed)


def _take_back(library: Library, gallery: Gallery, named: Sequence[Asset], earlier: Mapping[str, EarlierName]) -> int:
    """Bring a gallery's references of named photos back to what they were before; return how many went."""
    verdicts, before = library.verdicts(), _references_of(gallery, named)
    landmarks = {landmark.id: landmark for a in named if (landmark := verdicts[a.sha256].landmark)}
    again = [a for a in named if a.sha256 in earlier and was_reference(earlier[a.sha256], gallery)]
    for landmark in {earlier[a.sha256].landmark.id: earlier[a.sha256].landmark for a in again}.values():
        shown = [a for a in again if earlier[a.sha256].landmark.id == landmark.id]
        was = _with_present_name(gallery, landmark, landmarks.get(landmark.id))
        add_references(gallery, shown, was, landmarks.keys() - {landmark.id}, library.path)
    _remove_made(library.catalog, gallery, {a.sha256 for a in named} - {a.sha256 for a in again}, set(landmarks))
    return len(before - _references_of(gallery, named))


def _references_of(gallery: Gallery, assets: Iterable[Asset]) -> set[str]:
    photos = {asset.sha256 for asset in assets}
    return {reference.sha256 for reference in gallery.references() if reference.sha256 in photos}


def _with_present_name(gallery: Gallery, landmark: Landmark, renamed: Landmark | None) -> Landmark:
    """Return an earlier landmark as the gallery has that now, with its earlier name if naming has replaced this."""
    found = gallery.landmarks(landmark.id)
    if not found or (renamed is not None and found[0].landmark.name == renamed.name):
        return landmark
    return found[0].landmark


def _remove_made(catalog: Catalog, gallery: Gallery, photos: set[str], landmarks: set[str]) -> None:
    """Remove references of these photos and landmarks, and then the landmarks, as far as naming has made them."""
    made = made_by_naming(catalog, gallery)
    ours = [r for id in landmarks for r in gallery.references(id) if r.sha256 in photos & made.photos]
    for reference in ours:
        gallery.remove(reference=reference.id)
    empty = {id for id in landmarks & made.landmarks if not gallery.references(id) and gallery.landmarks(id)}
    for id in empty:
        gallery.remove(landmark=id)
    remember_made(catalog, gallery, MadeByNaming(made.photos - {r.sha256 for r in ours}, made.landmarks - empty))


def _row(where: str, row: dict[str, str]) -> GroupName:
    try:
        number = int(row["group"])
    except ValueError as error:
        raise LibraryError(f"{where}: expected the number of a group, got {row['group']!r}") from error
    name, id = row["name"].strip(), (row.get("id") or "").strip() or None
    if id is None:
        try:
            landmark_id(name)
        except LibraryError as error:
            raise LibraryError(f"{where}: {error}") from error
    return GroupName(number, name, id, _position(where, row))


def _position(where: str, row: dict[str, str]) -> tuple[float, float] | None:
    texts = [(row.get(column) or "").strip() for column in COLUMNS[3:]]
    if not any(texts):
        return None
    try:
        north, east = (float(text) for text in texts)
    except ValueError:
        north, east = 999.0, 999.0
    if not (-90 <= north <= 90 and -180 <= east <= 180):
        raise LibraryError(f"{where}: expected degrees north and east, got {', '.join(map(repr, texts))}")
    return north, east
