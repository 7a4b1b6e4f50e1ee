"""The review queue of a library: filled with uncertain photos for the page, emptied of the verdicts given there."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from veduta.datasets.listing import composed
from veduta.errors import ImageError, LibraryError, VedutaError
from veduta.files import utf8
from veduta.gallery import Gallery
from veduta.gallery.evidence.page import confidence_phrase
from veduta.images import load, read_bytes
from veduta.images.photo_bytes import check_length
from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.library.cluster.group import add_references, landmark_id
from veduta.library.model import Asset, UncertainAsset
from veduta.review_queue import REVIEW_FILE, ReviewItem, ReviewQueue
from veduta.types import Failure
from veduta.viz import encode

MAX_PHOTO_BYTES = 25 * 2**20  # that the page takes
RAW_SIDE, RAW_QUALITY = 2048, 92  # pixels of the longer side, and quality, of the JPEG of a RAW


def fill_queue(library: Library, gallery: str, limit: int) -> tuple[int, list[Failure]]:
    """Put the doubtful photos into the library's queue; return how many wait there, and the failures.

    Earlier verdicts are stored in the library first, and leave the queue.

    Args:
        library: the library.
        gallery: the server's name of the gallery that answered.
        limit: most photos in the queue.
    """
    collect_verdicts(library)
    queue, failures = ReviewQueue(library.folder), list[Failure]()
    try:
        for item in queue.items("all"):  # of the last time; those still uncertain come again
            queue.forget(item.number)
        for uncertain in library.uncertain(limit):
            try:
                queue.keep(_title(library, uncertain), _content(uncertain.asset.file), _answer(gallery, uncertain))
            except ImageError as error:
                failures.append(Failure(utf8(str(uncertain.asset.file)), utf8(str(error)), error.code))
        return len(queue.items()), failures
    finally:
        queue.close()


def collect_verdicts(library: Library) -> int:
    """Move the verdicts given on the page into the library, and return how many there were."""
    if not (library.folder / REVIEW_FILE).exists():
        return 0
    queue = ReviewQueue(library.folder)
    try:
        done = queue.items("done")
        for item in done:
            # Kept before it is forgotten: killed in between, it is kept twice, which is once. The photo may be gone by
            # now, or one that was kept on the page and never was in the library: verdicts are of contents.
            library.keep_verdict(
                str(item.answer.get("content", item.sha256)), str(item.verdict), _landmark(library, item)
            )
            queue.forget(item.number)
    finally:
        queue.close()
    return len(done)


def _landmark(library: Library, item: ReviewItem) -> Landmark | None:
    """Return the landmark of a verdict, with all its known fields."""
    if item.landmark is None:
        return None
    guesses = [guess.get("landmark") for guess in item.answer.get("guesses", ())]
    named = [item.answer.get("landmark"), *guesses]
    answered = {fields["id"]: Landmark(**fields) for fields in named if fields is not None}
    return answered.get(item.landmark) or _in_gallery(library.gallery, item.landmark) or Landmark(item.landmark)


def landmark_of(library: Library, text: str, *, new: bool = False) -> Landmark:
    """Return a landmark by its id or name, of the gallery that was asked or one that a person named before.

    Args:
        library: the library.
        text: the id, or else the name whatever its case.
        new: whether text that is neither becomes the name of a new landmark.

    Raises:
        LibraryError: there is none, or there are several of this name.
    """
    named = {v.landmark.id: v.landmark for v in library.verdicts().values() if v.landmark is not None}
    known = named | {landmark.id: landmark for landmark in _gallery_landmarks(library.gallery)}
    text = composed(text)
    if utf8(text) != text:
        raise LibraryError(f"{utf8(text)}: is not text that can be stored; use Unicode only")
    if text in known:
        return known[text]
    alike = [one for one in known.values() if composed(one.name).casefold() == text.casefold()]
    where = f"{utf8(str(library.path))}: "
    if len(alike) > 1:
        ids = ", ".join(landmark.id for landmark in alike)
        raise LibraryError(f"{where}{len(alike)} landmarks are called {text!r}; name one by its id: {ids}")
    if not alike and not new:
        raise LibraryError(
            f"{where}neither its gallery nor a group of it has a landmark {text!r}; see 'veduta list', or add --new"
        )
    id = landmark_id(text) if new and not alike else ""
    return alike[0] if alike else known.get(id, Landmark(id, text))


def add_new_landmark(
    library: Library, asset: Asset, landmark: Landmark, before: Landmark | None, provider: str = "cpu"
) -> list[Failure] | None:
    """Make a photo the first reference of a landmark in the gallery that was asked, as the page does with a new one.

    Args:
        library: the library.
        asset: the photo.
        landmark: the landmark it shows; without a place, it gets the photo's position.
        before: the landmark that a person named until now, of which the photo is no reference any more, or None.
        provider: execution provider for the gallery's networks.

    Returns:
        The failures; None where no gallery was asked, or the gallery has the landmark already.

    Raises:
        GalleryError: the gallery is gone, or cannot be written.
    """
    if library.gallery is None or _in_gallery(library.gallery, landmark.id):
        return None
    if landmark.position is None and asset.position is not None:
        landmark = replace(landmark, latitude=asset.position[0], longitude=asset.position[1])
    with Gallery.open(library.gallery, provider) as gallery:
        failures = add_references(gallery, [asset], landmark, {before.id} if before else (), library.path)
        if failures:  # a landmark without any reference can name nothing
            gallery.remove(landmark=landmark.id)
        return failures


def _in_gallery(path: str | None, id: str) -> Landmark | None:
    """Return a landmark of the gallery that was asked; None where that is gone, or has none of this id."""
    return next((landmark for landmark in _gallery_landmarks(path) if landmark.id == id), None)


def _gallery_landmarks(path: str | None) -> list[Landmark]:
    """Return the landmarks of the gallery that was asked; none where that is gone."""
    try:
        with Gallery.open(path or "") as gallery:
            return [landmark for landmark, _ in gallery.landmarks()]
    except VedutaError:
        return []


def _title(library: Library, uncertain: UncertainAsset) -> str:
    name = utf8(str(uncertain.asset.file.relative_to(library.path)))
    return f"{name} and {uncertain.others} like it" if uncertain.others else name


def _content(file: Path) -> bytes:
    """Return a photo in a form the page can show: its bytes, or a JPEG of a RAW."""
    photo = read_bytes(file)
    if photo.has_raw_suffix:
        return encode(load(photo, max_side=RAW_SIDE).pixels, "jpeg", RAW_QUALITY)
    check_length(len(photo.data), photo.name, MAX_PHOTO_BYTES)
    return photo.data


def _answer(gallery: str, uncertain: UncertainAsset) -> dict[str, Any]:
    """Return an answer in the form of the native service, with the sha256 of its photo."""
    answer, asset = uncertain.answer, uncertain.asset
    return {
        "content": asset.sha256,
        "photo": utf8(asset.file.name),
        "gallery": gallery,
        "size": list(asset.size),
        "landmark": None if answer.landmark is None else asdict(answer.landmark),
        "confidence": round(answer.confidence, 6),
        "words": confidence_phrase(answer.confidence),
        "guesses": [{"landmark": asdict(guess), "confidence": round(p, 6)} for guess, p in answer.guesses],
        "candidates": [
            {"reference": a, "landmark": b, "similarity": round(c, 6), "num_inliers": d}
            for a, b, c, d in answer.evidence
        ],
        "terms": [],
        "position": None if asset.position is None else list(asset.position),
        "seconds": 0.0,
    }
