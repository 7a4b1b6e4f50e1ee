"""Looking through a library: what changed since the last time is read, recognised and kept, photo by photo."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import PIL.Image

from veduta.concurrency import in_order
from veduta.errors import ImageError, NotInstalledError, TooLargeError
from veduta.images import load, read_bytes
from veduta.images.hashing import difference_hash
from veduta.library.catalog import Catalog, FileRecord, PhotoContent, StoredAnswer
from veduta.library.cluster.near_duplicates import sharpness
from veduta.library.discover import DiscoveredPhoto, discover_photos
from veduta.library.metadata.embed import has_estimate
from veduta.library.scan_limits import ScanLimits, ScanReport
from veduta.progress import Progress
from veduta.protocols import Embedder
from veduta.recognizer import Recognizer
from veduta.text import printable, utf8
from veduta.types import Failure, Image, Recognition
from veduta.viz import thumbnail

THUMBNAIL, QUALITY = 320, 70  # pixels of the longer side: an album shows these
MAX_STORED_EVIDENCE = 5  # candidates kept with an answer


@dataclass(frozen=True)
class GalleryQuery:
    """The gallery a scan asks.

    Attributes:
        gallery: its folder, as it is kept with each answer.
        revision: the gallery's.
        recognizer: what answers.
        model: name and sha256 of its embedder.
    """

    gallery: str
    revision: int
    recognizer: Recognizer
    model: str


@dataclass(frozen=True)
class _DecodedPhoto:
    """A thread's result for a file: its content's sha256, and its pixels where they are needed."""

    sha256: str | None
    image: Image | None = None
    small: bytes = b""
    error: str | None = None


class Scan:
    """One look through a library.

    Args:
        state: what is known of it.
        embedder: makes descriptors where no gallery is asked.
        asking: the gallery asked, or None.
        limits: how much it may do and take.
        again: whether photos are asked about again whose answer the gallery gave before it last changed.
    """

    def __init__(
        self,
        state: Catalog,
        embedder: Callable[[], tuple[Embedder, str]],
        asking: GalleryQuery | None,
        limits: ScanLimits,
        *,
        again: bool,
    ) -> None:
        self.state, self.asking, self.limits, self.again = state, asking, limits, again
        self._embedder = embedder
        self._contents = state.contents()
        self._answered = state.answered()
        self._due: set[str] = set()
        self._before: dict[str, str | None] = {}
        self._failures: list[Failure] = []

    def run(self, progress: Progress | None = None) -> ScanReport:
        """Look through the library and return what was done; what is done is kept, also when this is interrupted."""
        known = self.state.files()
        self._before = {path: row.sha256 for path, row in known.items()}
        unlisted: list[Failure] = []
        discovered = {
            photo.path: photo for photo in discover_photos(self.state.root, unlisted.append, self.state.folder)
        }
        self._failures += [replace(f, photo=utf8(f.photo), error=utf8(f.error)) for f in unlisted]
        report, tasks = self._sort(discovered, known)
        report = replace(
            report, gone=self._forget(discovered, known, unlisted), older=0 if self.again else self._older()
        )
        most = len(tasks) if self.limits.photos is None else self.limits.photos
        report = replace(report, waiting=max(0, len(tasks) - most))
        for done, recognized in enumerate(self._look(tasks[:most]), 1):
            report = replace(report, recognized=report.recognized + recognized, looked_at=done)
            if progress:
                progress(done, min(most, len(tasks)))
        return replace(report, failures=tuple(self._failures))

    def _older(self) -> int:
        """Return how many answers were given before the gallery last changed."""
        now = self.asking and (self.asking.gallery, self.asking.revision)
        return sum(given != now for given in self._answered.values()) if now else 0

    def _sort(
        self, discovered: dict[str, DiscoveredPhoto], known: dict[str, FileRecord]
    ) -> tuple[ScanReport, list[DiscoveredPhoto]]:
        """Tell files that need no look from those that do, and note those that have only moved."""
        # The same file, whatever it is called now: two may have changed names.
        nodes = {(row.node, row.size, row.mtime): (path, row) for path, row in known.items()}
        tasks, unchanged, moved = [], 0, 0
        with self.state.changing():
            for path, photo in discovered.items():
                before, row = nodes.get((photo.node, photo.size, photo.mtime), (path, known.get(path)))
                if row is None or (row.size, row.mtime) != (photo.size, photo.mtime) or row.sha256 is None:
                    tasks.append(photo)
                    continue
                self._keep_file(photo, row, known.get(path))
                waiting = self._unanswered(photo, row)
                tasks += waiting
                unchanged += not waiting
                moved += path not in known and before not in discovered
        return ScanReport(files=len(discovered), unchanged=unchanged, moved=moved), tasks

    def _keep_file(self, photo: DiscoveredPhoto, row: FileRecord, before: FileRecord | None) -> None:
        now = FileRecord(photo.size, photo.mtime, photo.node, row.sha256, row.error, photo.companions)
        if now != before:
            self.state.put_file(photo.path, now)
        if row.error is not None:
            self._failures.append(unreadable(photo.path, row.error))

    def _unanswered(self, photo: DiscoveredPhoto, row: FileRecord) -> list[DiscoveredPhoto]:
        """Yield one unchanged file for each content that lacks something."""
        if row.error is not None or row.sha256 is None or row.sha256 in self._due or not self._lacks(row.sha256):
            return []
        self._due.add(row.sha256)
        return [photo]

    def _now(self) -> tuple[str, int]:
        return (self.asking.gallery, self.asking.revision) if self.asking else ("", 0)

    def _lacks(self, sha256: str) -> bool:
        """Return whether a content has to be decoded: never decoded, or not yet answered by this gallery."""
        if sha256 not in self._contents:
            return True
        if self.asking is None:
            return False
        given = self._answered.get(sha256)
        return given is None or (self.again and given != self._now())

    def _forget(
        self, discovered: dict[str, DiscoveredPhoto], known: dict[str, FileRecord], unlisted: list[Failure]
    ) -> int:
        """Forget files that are gone, but for those in folders that could not be listed; return how many."""
        hidden = {failure.photo for failure in unlisted}
        below = tuple(entry.rstrip(os.sep) + os.sep for entry in hidden)
        gone = [path for path in known if path not in discovered and path not in hidden and not path.startswith(below)]
        self.state.drop_files(gone)
        return len(gone)

    # --- looking ------------------------------------------------------------------------------------------------

    def _look(self, tasks: list[DiscoveredPhoto]) -> Iterator[bool]:
        """Read each file, store the results, and yield whether the photo was recognized."""
        for photo, seen in in_order(self._see, tasks, self.limits.threads):
            with self.state.changing():
                recognized = self._keep(photo, seen)
            yield recognized

    def _see(self, photo: DiscoveredPhoto) -> _DecodedPhoto:
        """Read a file, and decode one of unknown content. Runs in a thread, and touches no state."""
        try:
            content = read_bytes(photo.path, max_bytes=self.limits.bytes)
        except ImageError as error:
            return _DecodedPhoto(None, error=error.reason)
        sha256 = content.sha256
        if not self._lacks(sha256):
            return _DecodedPhoto(sha256)
        try:
            image = load(content, name=utf8(photo.path), max_pixels=self.limits.pixels)
        except TooLargeError as error:  # for now: there may be more memory next time
            return _DecodedPhoto(None, error=f"{error.reason}; --max-memory sets how large a photo may be")
        except NotInstalledError as error:  # nor is what is missing now missing for ever
            return _DecodedPhoto(None, error=error.reason)
        except ImageError as error:
            return _DecodedPhoto(sha256, error=error.reason)
        if image.position is not None and has_estimate(content.data):  # what was put into it is no evidence
            image = replace(image, position=None)
        return _DecodedPhoto(sha256, image, thumbnail(image, THUMBNAIL, QUALITY))

    def _keep(self, photo: DiscoveredPhoto, seen: _DecodedPhoto) -> bool:
        """Store a file's results, and return whether the photo was recognized."""
        recognized, before = False, self._before.get(photo.path)
        # Another file with this content may have been kept since it was read.
        if seen.image is not None and seen.sha256 is not None and self._lacks(seen.sha256):
            recognized = self._describe(seen.sha256, seen.image, seen.small)
            if before is not None and self.state.looks_same(before, seen.sha256):
                self.state.alias_content(before, seen.sha256)  # another program has written something about it
        if seen.error is not None:
            self._failures.append(unreadable(photo.path, seen.error))
        row = FileRecord(photo.size, photo.mtime, photo.node, seen.sha256, seen.error, photo.companions)
        self.state.put_file(photo.path, row)
        return recognized

    def _describe(self, sha256: str, image: Image, small: bytes) -> bool:
        """Store a photo's appearance and the gallery's answer."""
        if self.asking is None:
            embedder, model = self._embedder()
            descriptor = np.asarray(embedder.embed([image])[0], np.float32)
        else:
            descriptor, model = self.asking.recognizer.embed(image), self.asking.model
        grey = np.asarray(PIL.Image.fromarray(image.pixels).convert("L"))
        seen = (
            image.size,
            image.taken,
            image.position,
            difference_hash(grey),
            sharpness(grey),
            small,
            model,
            descriptor,
        )
        self.state.put_content(PhotoContent(sha256, *seen))
        self._contents.add(sha256)
        if self.asking is None:
            return False
        answer = self.asking.recognizer.recognize(image, descriptor=descriptor)
        self.state.put_answer(sha256, _answer(answer, *self._now()))
        self._answered[sha256] = self._now()
        return True


def unreadable(path: str, reason: str) -> Failure:
    """Return the failure of a file that could not be read, by its path and the reason that was kept."""
    return Failure.of(utf8(path), ImageError(printable(utf8(path)), utf8(reason)))


def _answer(recognition: Recognition, gallery: str, revision: int) -> StoredAnswer:
    evidence = tuple(
        (c.reference, c.landmark, c.similarity, c.num_inliers) for c in recognition.evidence[:MAX_STORED_EVIDENCE]
    )
    return StoredAnswer(gallery, revision, recognition.landmark, recognition.confidence, recognition.guesses, evidence)
