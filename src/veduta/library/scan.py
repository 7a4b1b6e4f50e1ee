"""A scan of a library: new and changed photos are read, recognized and recorded, photo by photo."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import PIL.Image

from veduta.concurrency import in_order
from veduta.errors import ImageError, LibraryError, NotInstalledError, TooLargeError
from veduta.files import MEGABYTE, utf8
from veduta.gallery import Gallery
from veduta.images import load, read_bytes
from veduta.images.hashing import difference_hash
from veduta.images.photo_bytes import MAX_BYTES
from veduta.library.catalog import Catalog, FileRecord
from veduta.library.catalog_content import PhotoContent, model_key
from veduta.library.cluster.near_duplicates import find_bursts, sharpness
from veduta.library.discover import DiscoveredPhoto, discover_photos
from veduta.library.known_files import KnownFiles
from veduta.library.model import ScanReport, StoredAnswer, StoredCandidate, unreadable
from veduta.progress import Progress
from veduta.protocols import Embedder
from veduta.recognizer import Recognizer
from veduta.types import Failure, Image, Recognition
from veduta.viz import thumbnail

THUMBNAIL, QUALITY = 320, 70  # pixels of the longer side: an album shows these
MAX_STORED_EVIDENCE = 5  # candidates kept with an answer
RESTING = 700 * MEGABYTE  # memory before a photo is decoded: networks, their buffers, a large gallery's index


@dataclass(frozen=True)
class ScanLimits:
    """How much a scan may do and take.

    Attributes:
        photos: most photos looked at; None for all.
        threads: photos decoded ahead of the one that is recognized.
        memory: bytes the process should stay below; photos too large for their share are reported and left out.
    """

    photos: int | None = None
    threads: int = 2
    memory: int = 2048 * MEGABYTE

    def __post_init__(self) -> None:
        if self.threads < 1 or (self.photos or 0) < 0:
            raise ValueError(f"expected threads >= 1 and photos >= 0, got {self.threads} and {self.photos}")
        if self.memory <= RESTING:
            raise ValueError(f"expected more than {RESTING // MEGABYTE} MB of memory, got {self.memory // MEGABYTE}")

    @property
    def decoding(self) -> int:
        """Most bytes that decoding one photo may hold."""
        return (self.memory - RESTING) // self.threads

    @property
    def bytes(self) -> int:
        """Most bytes of a photo that is read."""
        return min(MAX_BYTES, (self.memory - RESTING) // (2 * self.threads))


@dataclass(frozen=True)
class GalleryQuery:
    """The gallery a scan asks.

    Attributes:
        gallery: its folder, as stored with each answer.
        revision: the gallery's.
        recognizer: answers for the photos.
        model: name and sha256 of its embedder.
    """

    gallery: str
    revision: int
    recognizer: Recognizer
    model: str

    @classmethod
    def of(cls, gallery: Gallery, catalog: Catalog, *, again: bool) -> GalleryQuery:
        """Return the query of a gallery, which becomes the catalog's.

        Raises:
            LibraryError: the catalog has the answers of another gallery, and `again` is not set.
        """
        path = os.path.abspath(gallery.path)  # noqa: PTH100 - without what leads back and forth
        before = catalog.get_meta("gallery")
        if before not in (None, path) and not again:
            other = f"{utf8(path)}: the answers kept are by another gallery, {utf8(before)}"
            raise LibraryError(f"{other}; add --again to ask this one about every photo")
        catalog.set_meta("gallery", path)
        embedder = gallery.settings["embedder"]
        model = model_key(embedder["name"], embedder["sha256"])
        return cls(utf8(path), gallery.revision, gallery.recognizer(), model)


@dataclass(frozen=True)
class _DecodedPhoto:
    """A thread's result for a file: its content's sha256, and its pixels where they are needed."""

    sha256: str | None
    image: Image | None = None
    thumbnail: bytes = b""
    error: str | None = None


class Scan:
    """One scan of a library.

    Args:
        catalog: the library's.
        load_embedder: returns the embedder that makes descriptors where no gallery is asked.
        query: the gallery asked, or None.
        limits: how much it may do and take.
        again: whether photos are asked about again whose answer is from before the gallery last changed.
    """

    def __init__(
        self,
        catalog: Catalog,
        load_embedder: Callable[[], Embedder],
        query: GalleryQuery | None,
        limits: ScanLimits,
        *,
        again: bool,
    ) -> None:
        self.catalog, self.query, self.limits, self.again = catalog, query, limits, again
        self._load_embedder = load_embedder
        self._contents = catalog.contents.sha256s()
        self._answered = catalog.answers.revisions()
        self._revision = (query.gallery, query.revision) if query else None
        self._due: set[str] = set()
        self._before: dict[str, str | None] = {}
        self._failures: list[Failure] = []

    def run(self, progress: Progress | None = None) -> ScanReport:
        """Scan the library and return the report; each photo is recorded, also when the scan is interrupted."""
        known = self.catalog.files()
        self._before = {path: row.sha256 for path, row in known.items()}
        unlisted: list[Failure] = []
        photos = discover_photos(self.catalog.root, unlisted.append, self.catalog.folder)
        discovered = {photo.path: photo for photo in photos}
        self._failures += [replace(f, photo=utf8(f.photo), error=utf8(f.error)) for f in unlisted]
        report, tasks = self._sort(discovered, known)
        report = replace(report, gone=self._drop_gone(discovered, known, unlisted), older=self._older())
        due = tasks[: self.limits.photos]
        report = replace(report, waiting=len(tasks) - len(due))
        for done, recognized in enumerate(self._read(due), 1):
            report = replace(report, recognized=report.recognized + recognized, looked_at=done)
            if progress:
                progress(done, len(due))
        if report.looked_at or report.moved or report.gone:
            self._update_bursts()
        return replace(report, failures=tuple(self._failures))

    def _older(self) -> int:
        """Return how many answers are from before the gallery last changed."""
        if self._revision is None or self.again:
            return 0
        present = {row.sha256 for row in self.catalog.files().values()}
        return sum(revision != self._revision for sha256, revision in self._answered.items() if sha256 in present)

    def _update_bursts(self) -> None:
        seen = self.catalog.contents.appearances()
        bursts = find_bursts(seen.sha256, seen.descriptors, seen.fingerprints, seen.sharpness, seen.taken)
        self.catalog.contents.set_bursts(bursts)

    # --- which files are new or changed -------------------------------------------------------------------------

    def _sort(
        self, discovered: dict[str, DiscoveredPhoto], known: dict[str, FileRecord]
    ) -> tuple[ScanReport, list[DiscoveredPhoto]]:
        """Return the counts of files, and the files to read; record those that have only moved."""
        records = KnownFiles(known, discovered.values())
        earlier = {path: records.find(photo) for path, photo in discovered.items()}
        tasks, unchanged, moved = [], 0, 0
        with self.catalog.transaction():
            for path, photo in discovered.items():
                before = earlier[path]
                row = None if before is None else known[before]
                if row is None or row.sha256 is None:
                    tasks.append(photo)
                    continue
                self._put_unchanged(photo, row, known.get(path))
                if is_due := self._is_due(row):
                    tasks.append(photo)
                unchanged += not is_due
                moved += path not in known and before not in discovered
        return ScanReport(files=len(discovered), unchanged=unchanged, moved=moved), tasks

    def _put_unchanged(self, photo: DiscoveredPhoto, row: FileRecord, before: FileRecord | None) -> None:
        now = _record(photo, row.sha256, row.error)
        if now != before:
            self.catalog.put_file(photo.path, now)
        if row.error is not None:
            self._failures.append(unreadable(photo.path, row.error))

    def _is_due(self, row: FileRecord) -> bool:
        """Return whether an unchanged file has to be read: the first of a content that lacks something."""
        if row.error is not None or row.sha256 is None or row.sha256 in self._due or not self._lacks(row.sha256):
            return False
        self._due.add(row.sha256)
        return True

    def _lacks(self, sha256: str) -> bool:
        """Return whether a content has to be decoded: never decoded, or not yet answered by this gallery."""
        if sha256 not in self._contents:
            return True
        if self._revision is None:
            return False
        answered = self._answered.get(sha256)
        return answered is None or (self.again and answered != self._revision)

    def _drop_gone(
        self, discovered: dict[str, DiscoveredPhoto], known: dict[str, FileRecord], unlisted: list[Failure]
    ) -> int:
        """Drop files that are gone, but for those in folders that could not be listed; return how many."""
        hidden = {failure.photo for failure in unlisted}
        below = tuple(entry.rstrip(os.sep) + os.sep for entry in hidden)
        gone = [path for path in known if path not in discovered and path not in hidden and not path.startswith(below)]
        self.catalog.drop_files(gone)
        return len(gone)

    # --- reading ------------------------------------------------------------------------------------------------

    def _read(self, tasks: list[DiscoveredPhoto]) -> Iterator[bool]:
        """Read each file, store the results, and yield whether the photo was recognized."""
        for photo, decoded in in_order(self._decode, tasks, self.limits.threads):
            with self.catalog.transaction():
                recognized = self._put(photo, decoded)
            yield recognized

    def _decode(self, photo: DiscoveredPhoto) -> _DecodedPhoto:
        """Read a file, and decode one of unknown content. Runs in a thread, and leaves the catalog alone."""
        try:
            content = read_bytes(photo.path, max_bytes=self.limits.bytes)
        except ImageError as error:
            return _DecodedPhoto(None, error=error.reason)
        if not self._lacks(content.sha256):
            return _DecodedPhoto(content.sha256)
        try:
            image = load(content, name=utf8(photo.path), max_memory=self.limits.decoding)
        except TooLargeError as error:  # for now: there may be more memory next time
            return _DecodedPhoto(None, error=f"{error.reason}; --max-memory sets how large a photo may be")
        except NotInstalledError as error:  # nor is what is missing now missing for ever
            return _DecodedPhoto(None, error=error.reason)
        except ImageError as error:
            return _DecodedPhoto(content.sha256, error=error.reason)
        return _DecodedPhoto(content.sha256, image, thumbnail(image, THUMBNAIL, QUALITY))

    def _put(self, photo: DiscoveredPhoto, decoded: _DecodedPhoto) -> bool:
        """Store a file's results, and return whether the photo was recognized."""
        recognized, before = False, self._before.get(photo.path)
        # Another file with this content may have been stored since it was read.
        if decoded.image is not None and decoded.sha256 is not None and self._lacks(decoded.sha256):
            recognized = self._put_content(decoded.sha256, decoded.image, decoded.thumbnail)
            if before is not None and self.catalog.contents.looks_same(before, decoded.sha256):
                self.catalog.contents.alias(before, decoded.sha256)  # another program has changed its metadata
        if decoded.error is not None:
            self._failures.append(unreadable(photo.path, decoded.error))
        self.catalog.put_file(photo.path, _record(photo, decoded.sha256, decoded.error))
        return recognized

    def _put_content(self, sha256: str, image: Image, small: bytes) -> bool:
        """Store a photo's facts and the gallery's answer; return whether there is a gallery."""
        if self.query is None:
            embedder = self._load_embedder()
            descriptor = np.asarray(embedder.embed([image])[0], np.float32)
            model = model_key(embedder.name, embedder.sha256)
        else:
            descriptor, model = self.query.recognizer.embed(image), self.query.model
        gray = np.asarray(PIL.Image.fromarray(image.pixels).convert("L"))
        facts = image.size, image.taken, image.position, difference_hash(gray), sharpness(gray), small
        self.catalog.contents.put(PhotoContent(sha256, *facts, model, descriptor, image.utc_offset))
        self._contents.add(sha256)
        if self.query is None or self._revision is None:
            return False
        answer = self.query.recognizer.recognize(image, descriptor=descriptor)
        self.catalog.answers.put(sha256, _stored_answer(answer, *self._revision))
        self._answered[sha256] = self._revision
        return True


def _record(photo: DiscoveredPhoto, sha256: str | None, error: str | None) -> FileRecord:
    return FileRecord(photo.size, photo.mtime, photo.node, sha256, error, photo.companions)


def _stored_answer(recognition: Recognition, gallery: str, revision: int) -> StoredAnswer:
    evidence = tuple(
        StoredCandidate(c.reference, c.landmark, c.similarity, c.num_inliers)
        for c in recognition.evidence[:MAX_STORED_EVIDENCE]
    )
    return StoredAnswer(gallery, revision, recognition.landmark, recognition.confidence, recognition.guesses, evidence)
