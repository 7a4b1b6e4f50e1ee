"""The references of one open gallery as they are on disk now, whichever process changed them, and its decision."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from veduta.decision.model import Decider, LearnedDecider, shipped_decider
from veduta.errors import NotFoundError
from veduta.gallery.components import GalleryModels
from veduta.gallery.live_index import LiveIndex
from veduta.gallery.options import DEFAULT_MATCHER
from veduta.gallery.store import Store
from veduta.geo import Circle
from veduta.landmarks import Landmark
from veduta.protocols import Index
from veduta.recognizer import ReferenceSet, SearchFilter

DECISION = "decision"  # name of the attachment a calibration leaves


def not_found(kind: Literal["landmark", "reference"], id: str, gallery: Path) -> NotFoundError:
    """Return the error of a gallery that has no landmark or reference of this id."""
    return NotFoundError(kind, id, str(gallery), f"see 'veduta list {gallery}'")


class LiveReferences:
    """The index, landmarks and counts of an open gallery, brought up to date when they are asked for.

    Args:
        store: the gallery's rows.
        models: its models.
    """

    def __init__(self, store: Store, models: GalleryModels) -> None:
        self._store, self._models = store, models
        self._live_index: LiveIndex | None = None
        self._index: Index | None = None
        self._landmarks: dict[str, Landmark] = {}
        self._counts: dict[str, int] = {}
        self._revision = -1

    def close(self) -> None:
        """Let the index go."""
        self._index = None
        if self._live_index is not None:
            self._live_index.close()

    def reference_set(self, landmarks: Collection[str] | None, near: Circle | None) -> ReferenceSet:
        """Return the references as they are now, for a recognizer; arguments as in `RecognizeOptions`.

        Raises:
            NotFoundError: there is no such landmark.
        """
        index = self._refresh()
        return ReferenceSet(
            index,
            self._store.rows.labels,
            self._landmarks,
            self._store.features_of,
            self._counts,
            self._store.graph.expected_inliers,
            self._search_filter(landmarks, near),
        )

    def _search_filter(self, landmarks: Collection[str] | None, near: Circle | None) -> SearchFilter | None:
        """Return the landmarks to search among, None for all."""
        if landmarks is None and near is None:
            return None
        allowed = set(self._landmarks if landmarks is None else map(self._store.rows.landmark_id, landmarks))
        unknown = sorted(allowed - self._landmarks.keys())
        if unknown:
            raise not_found("landmark", unknown[0], self._store.path)
        if near is not None:
            allowed = {key for key in allowed if near.contains(self._landmarks[key])}
        return SearchFilter(frozenset(allowed), self._store.rows.of_landmarks(allowed))

    def _refresh(self) -> Index:
        """Bring index and landmarks up to date and return the index."""
        if self._live_index is None:
            self._live_index = LiveIndex(self._store, self._models.pair()[0].dim)
        current = self._index is not None and not self._live_index.has_newer()
        if self._index is not None and current and self._store.revision() == self._revision:
            return self._index
        with self._store.reading():
            revision = self._store.revision()
            self._index = self._live_index.refresh()
            landmarks = self._store.landmarks()
        self._landmarks.clear()  # in place: a recognizer at work goes on with all of them
        self._landmarks.update({key: landmark for key, (landmark, _) in landmarks.items()})
        self._counts.clear()
        self._counts.update({key: count for key, (_, count) in landmarks.items()})
        self._revision = revision
        return self._index


class StoredDecision:
    """The decision of a gallery: calibrated and stored inside, or the one that ships for its models.

    Args:
        store: the gallery's rows.
        models: its models.
        extractor: name of its extractor.
    """

    def __init__(self, store: Store, models: GalleryModels, extractor: str) -> None:
        self._store, self._models, self._extractor = store, models, extractor
        self._calibrated: LearnedDecider | None = None
        self._revision = -1

    def decider(self, matcher: str = DEFAULT_MATCHER) -> Decider:
        """Return the decider for evidence by this matcher."""
        revision = self._store.revision()
        if revision != self._revision:
            attached = self._store.get_attachment(DECISION)
            self._calibrated = None if attached is None else LearnedDecider.from_bytes(attached)
            self._revision = revision
        if self._calibrated is not None and matcher == DEFAULT_MATCHER:
            return self._calibrated
        # For a model of the user's own none was learned, whatever its name.
        return shipped_decider(self._models.embedder_name(), self._extractor, matcher)

    def set(self, decision: LearnedDecider | None) -> None:
        """Store a calibrated decision inside the gallery; None goes back to the one that ships."""
        self._store.put_attachment(DECISION, None if decision is None else decision.to_bytes())
