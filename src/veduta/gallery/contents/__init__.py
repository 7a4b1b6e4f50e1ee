"""The contents of a gallery: its landmarks and references, listed, looked up and edited without a model."""

from __future__ import annotations

import os
from dataclasses import replace

from veduta.errors import GalleryError
from veduta.files import Closable, utf8
from veduta.gallery.live_references import not_found
from veduta.gallery.references import StoredReference, remove_photos
from veduta.gallery.rows import Addition, RemovedAddition
from veduta.gallery.store import Store
from veduta.landmarks import GalleryCounts, Landmark, LandmarkCount, Position, Reference


class GalleryContents(Closable):
    """A gallery without its models: all of `Gallery` that lists, shows and edits what is kept.

    Such a view opens where the models are of another Veduta too; make one with `GalleryContents.read`.

    Args:
        store: the rows on disk.

    Attributes:
        path: the gallery's folder.
        writable: whether this process may change the gallery.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path, self.writable = store.path, store.writable

    @classmethod
    def read(cls, gallery: str | os.PathLike[str]) -> GalleryContents:
        """Return the contents of the gallery in this folder, whichever models made them.

        Raises:
            GalleryError: the folder is not a gallery, or the gallery's file is damaged.
        """
        return GalleryContents(Store.open(gallery))

    def close(self) -> None:
        """Close the gallery's file; everything is already on disk."""
        self._store.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def landmarks(self, id: str | None = None) -> list[LandmarkCount]:
        """Return every landmark with its number of references, in the order of ids; with an id, that one or none."""
        if id is not None and utf8(id) != id:  # is no text, and nothing is stored under it
            return []
        return list(self._store.landmarks(None if id is None else self._store.rows.landmark_id(id)).values())

    def landmark(self, id: str) -> Landmark:
        """Return one landmark; NotFoundError if there is none of this id."""
        found = self.landmarks(id)
        if not found:
            raise not_found("landmark", id, self.path)
        return found[0].landmark

    def references(self, landmark: str | None = None) -> list[Reference]:
        """Return the references, of one landmark or of all, in the order of ids."""
        return self._store.references(None if landmark is None else self._store.rows.landmark_id(landmark))

    @property
    def revision(self) -> int:
        """A number that grows with every change, whichever process made it."""
        return self._store.revision()

    def counts(self) -> GalleryCounts:
        """Return how many landmarks and how many references there are."""
        return GalleryCounts(*self._store.counts())

    def covers(self) -> dict[str, str]:
        """Return landmark id -> the id of a reference as its picture, for landmarks that have any."""
        return self._store.covers()

    def find_reference(self, reference: str) -> StoredReference | None:
        """Return a reference with its local features and thumbnail, or None if there is no such reference."""
        stored = self._store.evidence(reference) if utf8(reference) == reference else None
        return None if stored is None else StoredReference(*stored, self.path)

    def reference(self, reference: str) -> StoredReference:
        """Return a reference with its local features and thumbnail; NotFoundError if there is no such reference."""
        stored = self.find_reference(reference)
        if stored is None:
            raise not_found("reference", reference, self.path)
        return stored

    def put_landmark(self, landmark: Landmark) -> None:
        """Store a landmark as given: new, or in the place of the one with its id."""
        texts = landmark.id, landmark.name, landmark.url or ""
        if any(utf8(text) != text for text in texts):
            raise GalleryError(f"landmark {utf8(landmark.id)!r}: is not text that can be stored; use Unicode only")
        self._store.put_landmark(self._store.rows.stored_landmark(landmark))

    def edit(
        self,
        id: str,
        name: str | None = None,
        position: Position | tuple[float, float] | None = None,
        url: str | None = None,
    ) -> Landmark:
        """Change the name, place or page of a landmark and return the landmark; None leaves a fact as it is.

        Args:
            id: of the landmark; it stays, so that answers and verdicts go on to mean this landmark.
            name: what people call it.
            position: (degrees north, degrees east).
            url: a page about it.

        Raises:
            NotFoundError: there is no such landmark.
            ValueError: the name is empty, or the position is not on the globe.
        """
        landmark = self.landmark(id)
        if name is not None:
            if not name.strip():
                raise ValueError("name: expected text, got an empty string")
            landmark = replace(landmark, name=name)
        if position is not None:
            latitude, longitude = position
            if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
                raise ValueError(f"position: expected degrees within 90 and 180, got {latitude}, {longitude}")
            landmark = replace(landmark, latitude=float(latitude), longitude=float(longitude))
        self.put_landmark(landmark if url is None else replace(landmark, url=url))
        return self.landmark(landmark.id)

    def rename(self, id: str, name: str) -> Landmark:
        """Give a landmark another name and return the landmark; errors as in `edit`."""
        return self.edit(id, name)

    def last_addition(self) -> Addition | None:
        """Return the last addition of which references are still there, or None."""
        return self._store.additions.last()

    def remove_last_addition(self) -> RemovedAddition:
        """Remove the references of the last addition, with the landmarks it made, and return what was removed.

        Landmarks that were there before keep the names and places they have now. Called again, the addition before
        that goes.

        Raises:
            GalleryError: nothing is left of any addition, or the gallery cannot be written.
        """
        removed = self._store.additions.remove_last()
        if removed is None:
            raise GalleryError(f"{self.path}: has no addition to take back", "remove --landmark or --reference instead")
        remove_photos(self.path, removed.references)
        return removed
