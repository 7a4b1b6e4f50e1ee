"""A gallery written out as photos and tables, which `Gallery.add` reads back, whichever models made the gallery."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from veduta.datasets.listing import CSV_COLUMNS
from veduta.errors import GalleryError, ImageError
from veduta.gallery.contents import GalleryContents
from veduta.gallery.references import PHOTOS_REQUEST, StoredReference, own_copy
from veduta.images import PhotoBytes, formats, read_bytes
from veduta.landmarks import Landmark
from veduta.review_queue import REVIEW_FILE, ReviewQueue
from veduta.trust import is_accepted

REFERENCES_TABLE, LANDMARKS_TABLE = "references.csv", "landmarks.csv"
PHOTOS, VERDICTS = "photos", "verdicts"
LANDMARK_COLUMNS = ("landmark", "name", "latitude", "longitude", "url")


@dataclass(frozen=True)
class ExportReport:
    """The outcome of `export_gallery`.

    Attributes:
        landmarks: rows of ``landmarks.csv``.
        photos: references whose photo was written as it is.
        thumbnails: references whose photo is gone or changed, or not to be read, so that its thumbnail was written.
        verdicts: photos kept for review that have a verdict.
    """

    landmarks: int
    photos: int
    thumbnails: int
    verdicts: int


def export_gallery(gallery: GalleryContents, out: str | os.PathLike[str]) -> ExportReport:
    """Write a gallery's references, names, places and verdicts into a new folder, and report on them.

    ``references.csv`` has a row for each reference, whose photo lies in ``photos``; `Gallery.add` takes the table.
    ``landmarks.csv`` lists all landmarks, also those without references; ``verdicts/photos.csv`` the photos judged.
    No path of this machine is written.

    Args:
        gallery: the gallery.
        out: the folder, new or empty.

    Raises:
        GalleryError: the folder is not empty or cannot be written.
    """
    folder = Path(out)
    try:
        (folder / PHOTOS).mkdir(parents=True)
        if len(list(folder.iterdir())) > 1:
            (folder / PHOTOS).rmdir()
            raise FileExistsError(17, "is not empty")
        return _export(gallery, folder)
    except OSError as error:
        raise GalleryError(f"{folder}: cannot take an export ({error.strerror})", "choose a new folder") from error


def _export(gallery: GalleryContents, folder: Path) -> ExportReport:
    known = {landmark.id: landmark for landmark, _ in gallery.landmarks()}
    rows, thumbnails = [], 0
    for number, reference in enumerate(gallery.references(), 1):
        stored = gallery.reference(reference.id)
        photo = _original(stored)
        thumbnails += photo is None
        name = f"{PHOTOS}/{number:06d}{_suffix(photo)}"
        (folder / name).write_bytes(stored.thumbnail if photo is None else photo.data)
        rows.append((name, *_facts(known[reference.landmark]), reference.license or ""))
    _write(folder / REFERENCES_TABLE, CSV_COLUMNS, rows)
    _write(folder / LANDMARKS_TABLE, LANDMARK_COLUMNS, map(_facts, known.values()))
    return ExportReport(len(known), len(rows) - thumbnails, thumbnails, _verdicts(gallery.path, folder / VERDICTS))


def _original(stored: StoredReference) -> PhotoBytes | None:
    """Return the photo of a reference unchanged, or None; outside the gallery only what this user accepts is read."""
    files = own_copy(stored.gallery, stored.reference.sha256)
    if is_accepted(stored.gallery, PHOTOS_REQUEST):
        files = [*files, Path(stored.reference.photo)]
    for file in files:
        try:
            photo = read_bytes(file)
        except ImageError:
            continue  # gone: the thumbnail is for that
        if photo.sha256 == stored.reference.sha256:
            return photo
    return None


def _suffix(photo: PhotoBytes | None) -> str:
    """Return the suffix of a photo's format; a RAW is told by its own."""
    kind = "WebP" if photo is None else formats.identify(photo) or "JPEG"
    return Path(photo.name).suffix.lower() if photo is not None and kind == "RAW" else f".{kind.lower()}"


def _facts(landmark: Landmark) -> tuple[str, ...]:
    place = landmark.position
    degrees = ("", "") if place is None else (repr(place.latitude), repr(place.longitude))
    return landmark.id, landmark.name, *degrees, landmark.url or ""


def _write(table: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def _verdicts(gallery: Path, folder: Path) -> int:
    """Write the photos judged on the page, and return how many there are."""
    if not (gallery / REVIEW_FILE).is_file():
        return 0
    queue = ReviewQueue(gallery)
    try:
        return queue.export(folder)
    finally:
        queue.close()
