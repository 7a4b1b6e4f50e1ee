"""The photos of references: where they lie, the gallery's own copies, and thumbnails in their place."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from veduta.errors import GalleryError, ImageError
from veduta.files import STALE_SECONDS, write_atomic
from veduta.images import load
from veduta.landmarks import Reference
from veduta.sqlite.faults import folder_fault
from veduta.trust import is_accepted
from veduta.types import Image, LocalFeatures

PHOTOS_FOLDER = "photos"  # of photos that are nowhere else, named by their sha256
PHOTOS_REQUEST = "read the photos of references where they lie"
CONTENT_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class StoredReference:
    """A reference with what the gallery stores of its photo.

    Attributes:
        reference: id, landmark, photo and content hash.
        features: its local features.
        thumbnail: a small WebP picture.
        gallery: the gallery's folder.
    """

    reference: Reference
    features: LocalFeatures
    thumbnail: bytes
    gallery: Path

    def picture(self) -> Image:
        """Return the photo if still there unchanged, else its thumbnail, at the photo's size.

        Outside the gallery's folder nothing is read for a gallery that this user neither made nor accepted.
        """
        name = self.reference.photo
        files: list[str | Path] = [name] if is_accepted(self.gallery, PHOTOS_REQUEST) else []
        files += own_copy(self.gallery, self.reference.sha256)  # goes where the gallery goes
        for file in files:
            try:
                image = load(file, name=name)
            except ImageError:
                continue  # gone or changed: the thumbnail is for that
            if image.sha256 == self.reference.sha256:
                return image
        return Image(load(self.thumbnail, name=name).pixels, *self.features.size, name=name)


def keep_photo(gallery: Path, content: bytes, sha256: str) -> Path:
    """Write a photo into the gallery's folder, named by its content, and return the path.

    Raises:
        GalleryError: the folder cannot be written.
    """
    folder = (gallery / PHOTOS_FOLDER).absolute()
    path = folder / sha256
    if folder.is_symlink():
        raise GalleryError(f"{folder}: is a link, so no photo is written there", "put a folder in its place")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _remove_stale(folder)
        if not path.exists():
            write_atomic(path, content, permissions=0o600)
    except OSError as error:
        raise folder_fault(folder, error) from error
    return path


def _remove_stale(folder: Path) -> None:
    """Remove drafts that processes left when they were killed."""
    for left in folder.glob(".*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            left.unlink(missing_ok=True)


def remove_photos(gallery: Path, references: Iterable[Reference]) -> None:
    """Remove the gallery's own copies of these references' photos, not photos that lie elsewhere."""
    for reference in references:
        for file in own_copy(gallery, reference.sha256):
            file.unlink()


def own_copy(gallery: Path, sha256: str) -> list[Path]:
    """Return the gallery's own copy of a photo, in a list of one; an empty list where there is none.

    A gallery may come from anybody: only a plain file named by a digest counts, in a folder that is no link.
    """
    folder = gallery / PHOTOS_FOLDER
    file = folder / sha256
    ours = CONTENT_NAME.fullmatch(sha256) and not folder.is_symlink() and file.is_file() and not file.is_symlink()
    return [file] if ours else []
