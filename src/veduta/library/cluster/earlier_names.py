"""The names that photos had before their group was renamed, so that a name taken back leaves the earlier one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.library.catalog import Catalog
from veduta.library.catalog_content import landmark_of
from veduta.library.model import Verdict

EARLIER_KEY = "earlier names"  # of the catalog's values


@dataclass(frozen=True)
class EarlierName:
    """A name that a photo had with its group until the group was renamed.

    Attributes:
        landmark: what the photo was said to show.
        gallery: the folder of the gallery in which the renaming replaced the photo's reference, or None.
    """

    landmark: Landmark
    gallery: str | None = None


def remember_renamed(
    catalog: Catalog,
    photos: Iterable[str],
    verdicts: Mapping[str, Verdict],
    landmark: Landmark,
    gallery: Gallery | None,
) -> None:
    """Store the names that photos have before they get another; those that have none lose what was stored earlier.

    Args:
        catalog: the library's.
        photos: sha256 of the photos of the group.
        verdicts: sha256 -> the verdict that a photo has still.
        landmark: what the photos are named now.
        gallery: where they become references of that landmark.
    """
    names = _read(catalog)
    of_photo = {} if gallery is None else {one.sha256: one.landmark for one in gallery.references()}
    for sha256 in photos:
        before = verdicts[sha256].landmark if sha256 in verdicts else None
        key = catalog.contents.origin(sha256)
        if before is None:
            names.pop(key, None)
        elif (before.id, before.name) != (landmark.id, landmark.name):
            replaced = gallery is not None and of_photo.get(sha256) == before.id
            names.setdefault(key, []).append(EarlierName(before, _folder(gallery) if gallery and replaced else None))
    _store(catalog, names)


def earlier_names(catalog: Catalog, photos: Iterable[str]) -> dict[str, EarlierName]:
    """Return sha256 -> the name before the present one, of the photos that had any."""
    names = _read(catalog)
    return {sha256: names[key][-1] for sha256 in photos if names.get(key := catalog.contents.origin(sha256))}


def drop_earlier_names(catalog: Catalog, photos: Iterable[str]) -> None:
    """Delete the last of the earlier names of each photo, which is its present one again."""
    names = _read(catalog)
    for key in {catalog.contents.origin(sha256) for sha256 in photos}:
        names[key] = names.get(key, [])[:-1]
    _store(catalog, names)


def was_reference(name: EarlierName, gallery: Gallery) -> bool:
    """Return whether the photo was a reference of the name's landmark in this gallery."""
    return name.gallery == _folder(gallery)


def _folder(gallery: Gallery) -> str:
    return os.path.realpath(gallery.path)


def _read(catalog: Catalog) -> dict[str, list[EarlierName]]:
    stored = catalog.get_meta(EARLIER_KEY)
    with catalog.db.decoding():
        return {key: [_name(**fields) for fields in rows] for key, rows in dict(stored or {}).items()}


def _name(landmark: dict[str, object], gallery: str | None) -> EarlierName:
    return EarlierName(landmark_of(landmark), None if gallery is None else str(gallery))


def _store(catalog: Catalog, names: Mapping[str, list[EarlierName]]) -> None:
    stored = {key: [asdict(name) for name in rows] for key, rows in names.items() if rows}
    if stored or catalog.get_meta(EARLIER_KEY):
        catalog.set_meta(EARLIER_KEY, stored)
