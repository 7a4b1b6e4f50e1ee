"""Labeled photos into a store: read, embedded, extracted ahead by threads, and written a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from veduta.concurrency import in_order
from veduta.datasets.listing import LabeledPhoto
from veduta.errors import ConflictError, ImageError
from veduta.files import utf8
from veduta.gallery.rows import merged_landmark
from veduta.gallery.store import NewReference, Store
from veduta.images import load, read_bytes
from veduta.landmarks import Landmark, Reference
from veduta.progress import Progress
from veduta.protocols import Embedder, Extractor
from veduta.types import Failure, Image
from veduta.viz import thumbnail

ADD_BATCH = 16  # references per transaction: the most a killed run does again


@dataclass(frozen=True)
class AddReport:
    """The outcome of `Gallery.add`, photo by photo.

    Attributes:
        added: references that are new.
        skipped: photos whose content was already in the gallery under the same landmark.
        failures: photos that could not be added, each with its reason.
    """

    added: tuple[Reference, ...]
    skipped: int
    failures: tuple[Failure, ...]


class ContentLookup:
    """The photos a store had before this run, looked up one by one, so that memory does not grow with the store.

    Photos that the run itself adds do not count, or the report on a photo listed twice would depend on how far the
    threads have come.

    Args:
        store: asked by one thread at a time, whichever that is.
        source: the folder, table or photo that the run adds from, kept with its addition.
    """

    def __init__(self, store: Store, source: str) -> None:
        self._store, self._source, self._lock, self._new = store, source, Lock(), set[str]()
        self._addition: int | None = None

    def earlier(self, sha256: str) -> Reference | None:
        """Return the reference with this content, None where there was none before this run."""
        with self._lock:
            return None if sha256 in self._new else self._store.find_content(sha256)

    def find_content(self, sha256: str) -> Reference | None:
        """Return the reference made from a photo with this content, or None."""
        with self._lock:
            return self._store.find_content(sha256)

    def landmark(self, id: str) -> Landmark | None:
        """Return one landmark, or None."""
        with self._lock:
            return self._store.landmark(id)

    def add(self, landmarks: Iterable[Landmark], entries: Sequence[NewReference]) -> list[Reference]:
        """Add references as `Store.add` does, all of the run as one addition, and remember the new ones."""
        with self._lock:
            if entries and self._addition is None:
                self._addition = self._store.additions.begin(self._source)
            added = self._store.add(landmarks, entries, self._addition)
            self._new.update(reference.sha256 for reference in added)
        return added


def add_listed(
    store: Store,
    embedder: Embedder,
    extractor: Extractor,
    listed: list[LabeledPhoto],
    failures: list[Failure],
    source: str,
    progress: Progress | None = None,
) -> AddReport:
    """Add photos to a store and report on each; photos that are ready are stored when the run is interrupted.

    A table's names and places of a landmark are taken over even if all its photos were there already.

    Args:
        store: the gallery's rows.
        embedder: makes the descriptors.
        extractor: makes the local features.
        listed: the photos.
        failures: those met while listing.
        source: the folder, table or photo they come from, kept with their addition.
        progress: called with photos done and photos in all.
    """
    known = ContentLookup(store, source)

    def work(item: LabeledPhoto) -> NewReference | Failure | None:
        return make_entry(item, known.earlier, embedder, extractor)

    with closing(in_order(work, listed)) as prepared:  # its threads ask the store, and whoever opened it may close it
        return add_entries(known, prepared, len(listed), failures, progress)


def add_entries(
    known: ContentLookup,
    prepared: Iterable[tuple[LabeledPhoto, NewReference | Failure | None]],
    total: int,
    failures: list[Failure],
    progress: Progress | None = None,
) -> AddReport:
    """Add photos that `make_entry` has prepared to a store, in their order, and report on each.

    Args:
        known: the store they go to, and the photos it had before.
        prepared: each photo with the result of `make_entry`.
        total: how many there are.
        failures: those met while listing.
        progress: called with photos done and photos in all.
    """
    batch = _Batch(known, failures)
    try:
        for done, (item, result) in enumerate(prepared, 1):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                batch.put(item, result)
            if progress:
                progress(done, total)
    finally:
        batch.flush()
    return AddReport(tuple(batch.added), batch.skipped, tuple(failures))


def make_entry(
    item: LabeledPhoto, earlier: Callable[[str], Reference | None], embedder: Embedder, extractor: Extractor
) -> NewReference | Failure | None:
    """Return the entry of a photo, a failure, or None for one the gallery has already under this landmark.

    Args:
        item: the photo.
        earlier: sha256 -> the reference with this content that the gallery has, or None; asked by any thread.
        embedder: makes its descriptor.
        extractor: makes its local features.
    """
    if (problem := _unstorable(item)) is not None:
        return problem
    try:
        photo = item.content or read_bytes(item.photo)
        known = earlier(photo.sha256)
        if known is not None:
            return conflict(item, known)
        return _entry(item, load(photo, name=item.name), embedder, extractor)
    except ImageError as error:
        return Failure.of(item.name, error)


def _entry(item: LabeledPhoto, image: Image, embedder: Embedder, extractor: Extractor) -> NewReference:
    reference = Reference(item.id, item.landmark.id, str(Path(item.photo).absolute()), image.sha256, item.license)
    descriptor, features = embedder.embed([image])[0], extractor.extract(image)
    return NewReference(reference, descriptor, features, thumbnail(image), image.position)


class _Batch:
    """Photos waiting for one transaction, so that a reference does not cost a write to disk each."""

    def __init__(self, known: ContentLookup, failures: list[Failure]) -> None:
        self._known, self._failures = known, failures
        self._stored: dict[str, Landmark | None] = {}  # of the landmarks met in this run
        self._landmarks: dict[str, Landmark] = {}
        self._waiting: list[tuple[LabeledPhoto, NewReference]] = []
        self.added: list[Reference] = []
        self.skipped = 0

    def put(self, item: LabeledPhoto, entry: NewReference | None) -> None:
        """Take a photo, or None for one that is there already and whose table may still rename its landmark."""
        key = item.landmark.id
        if key not in self._stored:
            self._stored[key] = self._known.landmark(key)
        landmark = merged_landmark(self._stored[key], item.landmark)
        if self._stored[key] != landmark or entry is not None:
            self._landmarks[key] = merged_landmark(self._landmarks.get(key), item.landmark)
        self._stored[key] = landmark
        if entry is None:
            self.skipped += 1
            return
        self._waiting.append((item, entry))
        if len(self._waiting) >= ADD_BATCH:
            self.flush()

    def flush(self) -> None:
        if not self._waiting and not self._landmarks:
            return
        new = self._known.add(self._landmarks.values(), [entry for _, entry in self._waiting])
        fresh = {reference.sha256 for reference in new}
        for item, entry in self._waiting:
            if entry.reference.sha256 in fresh:
                fresh.remove(entry.reference.sha256)
            else:
                self._note_repeated(item, entry.reference.sha256)
        self.added += new
        self._waiting, self._landmarks = [], {}

    def _note_repeated(self, item: LabeledPhoto, sha256: str) -> None:
        """Count a photo that another one, listed before or added meanwhile by another process, has forestalled."""
        known = self._known.find_content(sha256)
        failure = conflict(item, known) if known else None
        if failure:
            self._failures.append(failure)
        else:
            self.skipped += 1


def conflict(item: LabeledPhoto, known: Reference) -> Failure | None:
    """Return the failure of a photo that the gallery has under another landmark; None for the same landmark."""
    if known.landmark == item.landmark.id:
        return None
    return Failure.of(item.name, ConflictError(item.name, known.id, known.landmark, item.landmark.id))


def _unstorable(item: LabeledPhoto) -> Failure | None:
    """Return the failure of a photo whose path, id or landmark is no text: SQLite keeps UTF-8 only."""
    texts = str(Path(item.photo).absolute()), item.id, item.landmark.id, item.landmark.name, item.license or ""
    if all(utf8(text) == text for text in texts):
        return None
    return Failure(item.name, f"{utf8(item.name)}: its name or a folder's is not UTF-8; rename it", "unstorable")
