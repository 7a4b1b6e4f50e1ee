"""The photos of references: where they lie, the gallery's own copies, and thumbnails in their place."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from veduta.errors import GalleryError, ImageError
from veduta.files import write_atomic
from veduta.images import load
from veduta.types import Image, LocalFeatures, Reference

PHOTOS_FOLDER = "photos"  # of photos that are nowhere else, named by their sha256
STALE_SECONDS = 3600.0  # after which nobody is still writing a draft


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
        """Return the photo if still there unchanged, else its thumbnail, at the photo's size."""
        name = self.reference.photo
        own_copy = self.gallery / PHOTOS_FOLDER / self.reference.sha256  # goes where the gallery goes
        for file in (name, own_copy):
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
    try:
        folder.mkdir(exist_ok=True)
        _remove_stale(folder)
        if not path.exists():
            write_atomic(path, content)
    except OSError as error:
        raise GalleryError(f"{folder}: cannot be written ({error.strerror})", "make room or give the right") from error
    return path


def _remove_stale(folder: Path) -> None:
    """Remove drafts that processes left when they were killed."""
    for left in folder.glob(".*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            left.unlink(missing_ok=True)


def remove_photos(gallery: Path, references: Iterable[Reference]) -> None:
    """Remove the gallery's own copies of these references' photos, not photos that lie elsewhere."""
    for reference in references:
        (gallery / PHOTOS_FOLDER / reference.sha256).unlink(missing_ok=True)
