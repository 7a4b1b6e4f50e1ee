"""Names for several groups at once from a table, photos left out of a group, and names taken back."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from veduta.errors import LibraryError
from veduta.files import utf8
from veduta.gallery import Gallery
from veduta.library import Library
from veduta.library.cluster.group import Group

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


def without_photos(group: Group, photos: Iterable[str | os.PathLike[str]]) -> Group:
    """Return a group without some of its photos; LibraryError for one that is not in the group."""
    left_out = set()
    for photo in photos:
        path = Path(os.path.abspath(photo))  # noqa: PTH100 - without what leads back and forth
        asset = next((asset for asset in group.assets if path in asset.files), None)
        if asset is None:
            raise LibraryError(f"{utf8(str(photo))}: is not in group {group.number}", "see 'veduta library group'")
        left_out.add(asset.sha256)
    return replace(group, assets=tuple(asset for asset in group.assets if asset.sha256 not in left_out))


def forget_name(library: Library, number: int, gallery: Gallery | None = None) -> tuple[int, int]:
    """Take the name of a group back; return how many photos lost that, and how many references were removed.

    Args:
        library: the library.
        number: the group's.
        gallery: where its photos became references, which are removed; a landmark without any goes too.

    Raises:
        LibraryError: there is no such group, or it has no name.
    """
    group, verdicts = library.numbered(number), library.verdicts()
    named = [a for a in group.assets if a.sha256 in verdicts and verdicts[a.sha256].verdict == "named"]
    if not named:
        raise LibraryError(f"{utf8(str(library.path))}: group {number} has no name to take back")
    landmarks = {landmark.id for a in named if (landmark := verdicts[a.sha256].landmark)}
    removed = 0 if gallery is None else _remove_references(gallery, {a.sha256 for a in named}, landmarks)
    for asset in named:
        library.clear_verdict(asset.sha256)
    return len(named), removed


def _remove_references(gallery: Gallery, photos: set[str], landmarks: set[str]) -> int:
    ours = [r for r in gallery.references() if r.sha256 in photos and r.landmark in landmarks]
    for reference in ours:
        gallery.remove(reference=reference.id)
    for landmark, references in gallery.landmarks():
        if landmark.id in landmarks and not references:
            gallery.remove(landmark=landmark.id)
    return len(ours)


def _row(where: str, row: dict[str, str]) -> GroupName:
    try:
        number = int(row["group"])
    except ValueError as error:
        raise LibraryError(f"{where}: expected the number of a group, got {row['group']!r}") from error
    return GroupName(number, row["name"].strip(), (row.get("id") or "").strip() or None, _position(where, row))


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
