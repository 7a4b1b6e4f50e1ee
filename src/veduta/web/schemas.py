"""The answers of the native services as JSON: the same words as the commands and Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from veduta.gallery.evidence.page import confidence_phrase
from veduta.landmarks import Landmark
from veduta.review_queue import ReviewItem
from veduta.types import Candidate, Image, LocalFeatures, Matches, Recognition, Verification

TOP_GUESSES = 5
Probability = Annotated[float, AfterValidator(lambda value: round(value, 6)), Field(ge=0, le=1)]
Size = Annotated[tuple[int, int], Field(description="Width and height in pixels, upright.")]
Lines = Annotated[list[list[float]], Field(description="[x, y, x, y] of each inlier, in pixels of both photos.")]


class ErrorDetail(BaseModel):
    """An error: an HTTP status, its name as Google's services have it, and one line."""

    code: int
    status: str
    message: str


class ErrorResponse(BaseModel):
    """The answer to a request that failed."""

    error: ErrorDetail


class PhotoFailure(BaseModel):
    """A photo that could not be handled, beside others that could."""

    photo: str
    error: ErrorDetail


class StatusResponse(BaseModel):
    """The answer of a server that runs."""

    status: str = "ok"


class GallerySummary(BaseModel):
    """A gallery that is served."""

    name: str
    landmarks: int
    references: int
    writable: bool


class ServerLimits(BaseModel):
    """The most that one request may bring."""

    photo_bytes: int
    body_bytes: int
    photos: int


class MapTiles(BaseModel):
    """Map tiles that the page may show."""

    url: str
    attribution: str


class ServerResponse(BaseModel):
    """The galleries of a server, its limits, and whether anything may be changed."""

    version: str
    galleries: list[GallerySummary]
    writable: bool
    library: bool = Field(description="Whether there is a library whose groups can be named.")
    limits: ServerLimits
    tiles: MapTiles | None


class LandmarkSchema(BaseModel):
    """A landmark; None where something is not known."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    latitude: float | None
    longitude: float | None
    url: str | None


class LandmarkRow(LandmarkSchema):
    """A landmark with its number of references and the id of one that may stand for it."""

    references: int
    cover: str | None

    @classmethod
    def of(cls, landmark: Landmark, references: int, cover: str | None) -> Self:
        """Return the row of a landmark."""
        return cls(**asdict(landmark), references=references, cover=cover)


class LandmarksResponse(BaseModel):
    """One page of the landmarks, and how many there are."""

    landmarks: list[LandmarkRow]
    total: int


class ReferenceSchema(BaseModel):
    """A reference; the server does not say where its photo lies."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    landmark: str
    sha256: str


class ReferencesResponse(BaseModel):
    """One page of the references, and how many there are."""

    references: list[ReferenceSchema]
    total: int


class AddResponse(BaseModel):
    """The references that are new, the number of photos that were there, and the photos that failed."""

    added: list[ReferenceSchema]
    skipped: int
    failures: list[PhotoFailure]


class RemoveResponse(BaseModel):
    """The number of references removed."""

    removed: int


class Guess(BaseModel):
    """A likely landmark."""

    landmark: LandmarkSchema
    confidence: Probability


class CandidateSchema(BaseModel):
    """A reference compared with the photo; the last three only with `keypoints`, of candidates that were verified."""

    reference: str
    landmark: str
    similarity: Annotated[float, AfterValidator(lambda value: round(value, 6))]
    num_inliers: int | None
    inliers: Lines = []
    problem: str | None = None
    reference_size: Size | None = None

    @classmethod
    def of(cls, candidate: Candidate, query: LocalFeatures | None, reference: LocalFeatures | None) -> Self:
        """Return a candidate, with its inlier lines where the features of both photos are given."""
        fields = {name: getattr(candidate, name) for name in ("reference", "landmark", "similarity", "num_inliers")}
        if query is not None and reference is not None and candidate.inliers is not None:
            fields["inliers"] = inlier_lines(query, reference, candidate.inliers)
            fields |= {"problem": candidate.problem, "reference_size": reference.size}
        return cls(**fields)


class TermValue(BaseModel):
    """The share of one kind of evidence in the log odds of the best guess."""

    name: str
    value: float


class Answer(BaseModel):
    """The landmark in one photo, or None, with the evidence."""

    photo: str
    gallery: str
    size: Size
    landmark: LandmarkSchema | None
    confidence: Probability
    words: str
    guesses: list[Guess]
    candidates: list[CandidateSchema]
    terms: list[TermValue]
    position: list[float] | None = Field(description="Degrees north and east, as the camera wrote them.")
    seconds: float
    keypoints: list[list[float]] = Field(default=[], description="[x, y, repeatability], with `keypoints` only.")

    @classmethod
    def of(
        cls,
        gallery: str,
        image: Image,
        recognition: Recognition,
        references: Mapping[str, LocalFeatures] | None = None,
    ) -> Self:
        """Return the answer for one photo.

        Args:
            gallery: name of the gallery that answers.
            image: the photo.
            recognition: the library's answer.
            references: id -> features of the references whose inlier lines are to be shown.
        """
        landmark, query, references = recognition.landmark, recognition.features, references or {}
        return cls(
            photo=image.name,
            gallery=gallery,
            size=image.size,
            landmark=None if landmark is None else LandmarkSchema.model_validate(landmark),
            confidence=recognition.confidence,
            words=confidence_phrase(recognition.confidence),
            guesses=[
                Guess(landmark=LandmarkSchema.model_validate(guess), confidence=probability)
                for guess, probability in recognition.guesses[:TOP_GUESSES]
            ],
            candidates=[CandidateSchema.of(c, query, references.get(c.reference)) for c in recognition.evidence],
            terms=[TermValue(name=name, value=round(value, 3)) for name, value in recognition.terms],
            position=None if image.position is None else [round(degrees, 6) for degrees in image.position],
            seconds=round(recognition.seconds, 4),
        )


class RecognizeResponse(BaseModel):
    """The answer, or the error, for each photo in the order sent."""

    results: list[Answer | PhotoFailure]


class PairResponse(BaseModel):
    """Two photos compared point by point; the homography maps the first to the second."""

    num_inliers: int
    problem: str | None
    inliers: Lines
    homography: list[list[float]] | None
    query_size: Size
    reference_size: Size

    @classmethod
    def of(cls, query: LocalFeatures, reference: LocalFeatures, matches: Matches, verification: Verification) -> Self:
        """Return the geometry of two photos."""
        return cls(
            num_inliers=verification.num_inliers,
            problem=verification.problem,
            inliers=inlier_lines(query, reference, matches.indices[verification.inliers]),
            homography=None if verification.homography is None else verification.homography.tolist(),
            query_size=query.size,
            reference_size=reference.size,
        )


class ReviewItemSchema(BaseModel):
    """A photo kept for review."""

    id: int
    photo: str
    sha256: str
    added: str
    answer: Answer | dict[str, Any] = Field(union_mode="left_to_right")  # one kept by an older server is shown as is
    verdict: str | None
    landmark: str | None

    @classmethod
    def of(cls, item: ReviewItem) -> Self:
        """Return an item of the queue."""
        return cls(**{"id" if key == "number" else key: value for key, value in asdict(item).items()})


class ReviewResponse(BaseModel):
    """Photos kept for review, and how many."""

    items: list[ReviewItemSchema]
    total: int


class KeepResponse(BaseModel):
    """The photos kept, and those that could not be read."""

    items: list[ReviewItemSchema]
    failures: list[PhotoFailure]


def inlier_lines(query: LocalFeatures, reference: LocalFeatures, pairs: Any) -> list[list[float]]:
    """Return [x, y, x, y] of each inlier in pixels of both photos, from (K, 2) indices of their keypoints."""
    ends = zip(query.keypoints[pairs[:, 0]], reference.keypoints[pairs[:, 1]], strict=True)
    return [[round(float(value), 1) for value in (*a, *b)] for a, b in ends]
