"""Names for several groups at once from a table, photos left out of a group, and names taken back."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from veduta.errors import LibraryError
from veduta.files import utf8
from veduta.gallery import Gallery
from veduta.library import Library
from veduta.library.catalog import Catalog
from veduta.library.cluster.group import Group, MadeByNaming, landmark_id, made_by_naming, remember_made
from veduta.types import Failure, Landmark

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
class NamedGroup:
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
) -> Iterator[NamedGroup]:
    """Name groups one after the other, and yield the outcome of each.

    Args:
        library: the library.
        names: the names, as a table has them.
        groups: the group of each name, without the photos that do not show the place.
        gallery: where the photos become references; None for no references.
    """
    for one, group in zip(names, groups, strict=True):
        before = 0 if gallery is None else len(gallery.references(one.id or landmark_id(one.name)))
        landmark, failures = library.name(group, one.name, one.id, gallery, one.position)
        after = 0 if gallery is None else len(gallery.references(landmark.id))
        photos, references = count_named(library, group, landmark, gallery)
        yield NamedGroup(group.number, landmark, photos, references, after - before, failures)


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


def count_named(library: Library, group: Group, landmark: Landmark, gallery: Gallery | None) -> tuple[int, int]:
    """Return how many photos of a group have the name of a landmark, and how many are references of that."""
    verdicts, photos = library.verdicts(), {asset.sha256 for asset in group.assets}
    labels = (verdicts[sha256].landmark for sha256 in photos if sha256 in verdicts)
    named = sum(label is not None and label.id == landmark.id for label in labels)
    references = [] if gallery is None else gallery.references(landmark.id)
    return named, sum(reference.sha256 in photos for reference in references)


def forget_name(library: Library, number: int, gallery: Gallery | None = None) -> tuple[int, int]:
    """Take the name of a group back; return how many photos lost that, and how many references were removed.

    Args:
        library: the library.
        number: the group's.
        gallery: where its photos became references. Those that naming made are removed, and a landmark that naming
            made and that has no references any more; what was in the gallery before stays.

    Raises:
        LibraryError: there is no such group, or it has no name.
    """
    group, verdicts = library.numbered(number), library.verdicts()
    named = [a for a in group.assets if a.sha256 in verdicts and verdicts[a.sha256].verdict == "named"]
    if not named:
        raise LibraryError(f"{utf8(str(library.path))}: group {number} has no name to take back")
    landmarks = {landmark.id for a in named if (landmark := verdicts[a.sha256].landmark)}
    removed = 0 if gallery is None else _remove_made(library.catalog, gallery, {a.sha256 for a in named}, landmarks)
    for asset in named:
        library.clear_verdict(asset.sha256)
    return len(named), removed


def _remove_made(catalog: Catalog, gallery: Gallery, photos: set[str], landmarks: set[str]) -> int:
    """Remove references of these photos and landmarks, and then the landmarks, as far as naming has made them."""
    made = made_by_naming(catalog, gallery)
    ours = [r for id in landmarks for r in gallery.references(id) if r.sha256 in photos & made.photos]
    for reference in ours:
        gallery.remove(reference=reference.id)
    empty = {id for id in landmarks & made.landmarks if not gallery.references(id) and gallery.landmarks(id)}
    for id in empty:
        gallery.remove(landmark=id)
    remember_made(catalog, gallery, MadeByNaming(made.photos - {r.sha256 for r in ours}, made.landmarks - empty))
    return len(ours)


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
