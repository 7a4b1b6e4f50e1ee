"""The explanation of one answer: the query beside its candidates, with the inliers of each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack

from veduta.errors import GalleryError
from veduta.files import utf8
from veduta.gallery.evidence.page import QUALITY, EvidencePair, Explanation, draw_evidence
from veduta.images.source import load_photo
from veduta.masks import DEFAULT_MASK, make_mask
from veduta.types import Candidate, Image, LocalFeatures, Recognition
from veduta.viz import encode

if TYPE_CHECKING:
    from veduta.gallery import Gallery
    from veduta.gallery.options import RecognizeChanges, RecognizeOptions
    from veduta.images.source import PhotoSource
    from veduta.recognizer import Recognizer

FORMS = "png", "jpeg", "webp"
MASKED_EXTRACTOR = "xfeat"  # the mask that ships knows the keypoints of no other


def explain_image(gallery: Gallery, recognizer: Recognizer, image: Image, count: int = 4) -> Explanation:
    """Return the answer for a photo together with its first `count` candidates and their inliers.

    The answer's local features and inliers are used where they were needed for the answer; the others are made here.
    """
    recognition = recognizer.recognize(image)
    features = recognition.features or recognizer.extract(image)
    pairs = [_pair(gallery, recognizer, features, candidate) for candidate in recognition.evidence[:count]]
    shown = tuple(pair for pair in pairs if pair is not None)
    if recognizer.components.extractor.name != MASKED_EXTRACTOR:
        return Explanation(image, recognition, shown)
    repeatability = make_mask(DEFAULT_MASK).repeatability(image, features)
    return Explanation(image, recognition, shown, keypoints=features.keypoints, repeatability=repeatability)


def evidence_picture(
    gallery: Gallery,
    photo: PhotoSource,
    recognition: Recognition | None = None,
    rank: int = 1,
    form: Literal["png", "jpeg", "webp"] = "png",
    options: RecognizeOptions | None = None,
    **changes: Unpack[RecognizeChanges],
) -> bytes:
    """Return a photo beside a reference that speaks for its answer, with the points they share, as a picture's bytes.

    Args:
        gallery: the gallery that is asked.
        photo: its path or bytes, an `Image` or a PIL image.
        recognition: the answer for this photo, where that is known; the photo is not recognized again.
        rank: 1 for the best candidate, in the order of `Recognition.evidence`.
        form: format of the picture.
        options: how the photo is recognized; the defaults when None.
        **changes: fields of the options to replace; errors as in `Gallery.recognizer`.

    Raises:
        ImageError: the photo cannot be read.
        GalleryError: the answer has no candidate of this rank: the gallery is empty, or that reference went meanwhile.
        ValueError: the rank is below 1, or the format is another.
    """
    if rank < 1:
        raise ValueError(f"rank: expected 1 or more, got {rank}")
    if form not in FORMS:
        raise ValueError(f"form: expected one of {', '.join(FORMS)}, got {form!r}")
    recognizer, image = gallery.recognizer(options, **changes), load_photo(photo)
    recognition = recognition or recognizer.recognize(image)
    candidate = next(iter(recognition.evidence[rank - 1 : rank]), None)
    features = recognition.features or recognizer.extract(image)
    pair = None if candidate is None else _pair(gallery, recognizer, features, candidate)
    if pair is None:
        problem = f"{utf8(str(gallery.path))}: has no candidate number {rank} for {image.name}"
        raise GalleryError(problem, "ask for one that Recognition.evidence has")
    return encode(draw_evidence(Explanation(image, recognition, (pair,)), pair), form, QUALITY)


def _pair(gallery: Gallery, recognizer: Recognizer, query: LocalFeatures, candidate: Candidate) -> EvidencePair | None:
    """Return a candidate with its picture and inliers, or None for a reference removed meanwhile."""
    stored = gallery.find_reference(candidate.reference)
    if stored is None:
        return None
    inliers, problem = candidate.inliers, candidate.problem
    if inliers is None or inliers.max(initial=-1) >= len(stored.features):  # not verified, or pruned since
        matches, verification = recognizer.compare(query, stored.features)
        inliers, problem = matches.indices[verification.inliers], verification.problem
    return EvidencePair(
        candidate=candidate,
        landmark=recognizer.references.landmarks[candidate.landmark],
        picture=stored.picture(),
        query_points=query.keypoints[inliers[:, 0]],
        reference_points=stored.features.keypoints[inliers[:, 1]],
        problem=problem,
    )
