"""One gallery, and one library, of a server, each used by one thread at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from veduta.errors import ImageError, NotFoundError
from veduta.gallery import Gallery
from veduta.gallery.options import RecognizeOptions
from veduta.geo import Area
from veduta.images import from_array
from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.masks import DEFAULT_MASK, make_mask
from veduta.recognizer import Recognizer
from veduta.review_queue import ReviewQueue
from veduta.types import Float32, Image, LocalFeatures, Matches, Recognition, Verification
from veduta.viz import encode
from veduta.web.errors import ApiError


@dataclass(frozen=True, eq=False)
class Overlay:
    """The points that can be drawn over a recognized photo and its candidates.

    Attributes:
        features: of the photo.
        repeatability: (N,) probability that another photo confirms each keypoint; None where no mask knows them.
        references: id -> features of the references that were verified.
    """

    features: LocalFeatures
    repeatability: Float32 | None
    references: dict[str, LocalFeatures]


@dataclass(frozen=True, eq=False)
class ServedLibrary:
    """A library whose groups are named on the page.

    Attributes:
        library: the library; whoever opened that closes it.
        lock: held by the thread that uses the library, and taken before a gallery's.
    """

    library: Library
    lock: Lock = field(default_factory=Lock)


class ServedGallery:
    """One gallery, used by one thread at a time: its networks use all cores by themselves.

    Args:
        name: its name in requests.
        path: its folder.
        provider: execution provider.
        queue: folder of the photos kept for review; the gallery's own when it is None.
    """

    def __init__(self, name: str, path: Path, provider: str = "cpu", queue: Path | None = None) -> None:
        self.name, self.path, self._queue = name, path, queue or path
        self.gallery = Gallery.open(path, provider)
        self.lock = Lock()
        self._review: ReviewQueue | None = None

    def close(self) -> None:
        """Close its files."""
        with self.lock:
            self.gallery.close()
            if self._review is not None:
                self._review.close()

    @property
    def review(self) -> ReviewQueue:
        """The photos kept for review; their file is created at the first use."""
        if self._review is None:
            self._review = ReviewQueue(self._queue)
        return self._review

    def warm(self) -> None:
        """Load the networks and the index, so that the first request need not wait."""
        gray = from_array(np.full((256, 256, 3), 128, np.uint8))
        with self.lock:
            self.gallery.recognizer().recognize(gray)

    def recognize(
        self, image: Image, area: Area | None = None, options: RecognizeOptions | None = None
    ) -> tuple[Recognition, Recognizer]:
        """Return the answer for one photo, and its recognizer."""
        with self.lock:
            recognizer = self.gallery.recognizer(options)
            return recognizer.recognize(image, area=area), recognizer

    def overlay(self, image: Image, recognition: Recognition, recognizer: Recognizer) -> Overlay:
        """Return the points of a recognized photo and of its verified candidates; extract them only where none was."""
        row_ids = {
            c.row_id: c.reference for c in recognition.evidence if c.inliers is not None and c.row_id is not None
        }
        with self.lock:
            features = recognition.features
            if features is None:
                features = recognizer.extract(image)
            stored = recognizer.references.features(list(row_ids))
        references = {row_ids[row_id]: reference for row_id, (reference, _) in stored.items()}
        if self.gallery.settings["extractor"]["name"] != "xfeat":
            return Overlay(features, None, references)
        return Overlay(features, make_mask(DEFAULT_MASK).repeatability(image, features), references)

    def compare(self, image: Image, other: Image | str) -> tuple[LocalFeatures, LocalFeatures, Matches, Verification]:
        """Return the features of a photo and of another, or of a reference, their matches and their verification."""
        with self.lock:
            recognizer = self.gallery.recognizer()
            reference = self.gallery.reference(other).features if isinstance(other, str) else recognizer.extract(other)
            query = recognizer.extract(image)
            return query, reference, *recognizer.compare(query, reference)

    def picture(self, reference: str, *, small: bool) -> bytes:
        """Return a WebP picture of a reference."""
        with self.lock:
            stored = self.gallery.reference(reference)
            if small:
                return stored.thumbnail
            try:
                image = stored.picture()
            except ImageError:  # whose message would say where photos lie on this server
                raise ApiError(404, "the picture of this reference is damaged, and its photo is gone") from None
        return encode_webp(image)

    def landmark(self, id: str) -> tuple[Landmark, int]:
        """Return a landmark and its number of references; NotFoundError if there is no such landmark."""
        with self.lock:
            found = self.gallery.landmarks(id)
        if not found:
            raise NotFoundError("landmark", id, str(self.path), "see the list")
        return found[0]


def encode_webp(image: Image) -> bytes:
    """Return a photo's pixels as WebP."""
    import PIL.Image

    return encode(PIL.Image.fromarray(image.pixels), "webp", 82)
