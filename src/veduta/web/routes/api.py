"""The native services: recognize, verify, landmarks, references, pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from veduta import __version__
from veduta.errors import ImageError, NotFoundError, PrecisionError
from veduta.gallery import Gallery
from veduta.types import Failure, Landmark
from veduta.web.engine import Engine, ServedGallery
from veduta.web.errors import ApiError, error_detail
from veduta.web.limits import may_write
from veduta.web.request import (
    MAX_TEXT,
    Address,
    Identifier,
    Number,
    OnePhoto,
    Photos,
    RequestModel,
    Text,
    UploadedPhoto,
    describe_body,
    is_text,
    read,
)
from veduta.web.schemas import (
    AddResponse,
    Answer,
    GallerySummary,
    LandmarkRow,
    LandmarksResponse,
    MapTiles,
    PairResponse,
    PhotoFailure,
    RecognizeResponse,
    ReferenceSchema,
    ReferencesResponse,
    RemoveResponse,
    ServerLimits,
    ServerResponse,
    keypoint_rows,
)

PAGE, MAX_PAGE = 100, 1000

GalleryName = Annotated[str | None, Query(description="Name of the gallery; the first one by default.")]
Offset = Annotated[int, Query(ge=0, le=10**9)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


def engine_of(request: Request) -> Engine:
    """Return the server's galleries."""
    engine: Engine = request.app.state.engine
    return engine


def writer(request: Request) -> None:
    """Refuse whoever may not write."""
    may_write(request, engine_of(request).settings)


EngineDependency = Annotated[Engine, Depends(engine_of)]
WRITING = [Depends(writer)]


async def in_room(engine: EngineDependency) -> AsyncIterator[None]:
    """Let a request in if there is room for it, before its body is read."""
    async with engine.admit():
        yield


WORKING = [Depends(in_room)]
info_router = APIRouter(prefix="/v1", tags=["server"])  # answered also when there is no room
api_router = APIRouter(prefix="/v1", dependencies=WORKING)


def checked_id(id: str) -> str:
    """Return an id that can be stored."""
    if not id or len(id) > MAX_TEXT or not is_text(id):
        raise ApiError(400, f"id: expected 1 to {MAX_TEXT} characters of text")
    return id


# --- the server -------------------------------------------------------------------------------------------------


@info_router.get("/server")
async def server(engine: EngineDependency) -> ServerResponse:
    """Return the galleries, the limits, and whether anything may be changed."""
    settings = engine.settings
    return ServerResponse(
        version=__version__,
        galleries=await engine.run(lambda: [_summary(served) for served in engine.served.values()]),
        writable=settings.token is not None and any(served.gallery.writable for served in engine.served.values()),
        limits=ServerLimits(photo_bytes=settings.max_photo, body_bytes=settings.max_body, photos=settings.max_photos),
        tiles=None if settings.tiles is None else MapTiles(url=settings.tiles[0], attribution=settings.tiles[1]),
    )


def _summary(served: ServedGallery) -> GallerySummary:
    with served.lock:
        landmarks, references = served.gallery.counts()
        writable = served.gallery.writable
    return GallerySummary(name=served.name, landmarks=landmarks, references=references, writable=writable)


@info_router.get("/session", status_code=204, dependencies=WRITING)
async def session() -> Response:
    """Say whether a token is right."""
    return Response(status_code=204)


# --- recognition ------------------------------------------------------------------------------------------------


class RecognizeRequest(RequestModel):
    """Photos, and the options of a recognizer."""

    photos: Photos
    gallery: Annotated[Text, Field(description="Name of the gallery; all of them by default.")] | None = None
    effort: Literal["fast", "default", "thorough"] = "default"
    floor: Annotated[Number, Field(ge=0, le=1, description="Least confidence of an answer.")] | None = None
    precision: Annotated[Number, Field(ge=0, le=1)] | None = None
    budget_ms: Annotated[Number, Field(ge=0, le=1e9)] | None = None
    keypoints: Annotated[bool, Field(description="Answer with keypoints and inlier lines too.")] = False

    def options(self) -> dict[str, Any]:
        """Return the options of a recognizer; a floor goes before a precision."""
        precision = self.precision if self.floor is None else None
        return {"effort": self.effort, "floor": self.floor, "precision": precision, "budget_ms": self.budget_ms}


@api_router.post(
    "/recognize",
    tags=["recognition"],
    openapi_extra=describe_body(RecognizeRequest, form=True),
    response_model_exclude_unset=True,
)
async def recognize(request: Request, engine: EngineDependency) -> RecognizeResponse:
    """Name the landmark in each photo, or say that none is known, with the evidence."""
    body = await read(request, engine.settings, RecognizeRequest)
    galleries = engine.select_galleries(body.gallery)
    work = (engine.run(_answer, engine, galleries, photo, body) for photo in body.photos)
    return RecognizeResponse(results=await asyncio.gather(*work))


def _answer(
    engine: Engine, galleries: list[ServedGallery], photo: UploadedPhoto, body: RecognizeRequest
) -> Answer | PhotoFailure:
    try:
        image = engine.decode(photo.content, photo.name)
    except ImageError as error:
        return PhotoFailure(photo=photo.name, error=error_detail(400, str(error)))
    try:
        served, recognition, recognizer = engine.best(image, galleries, **body.options())
    except PrecisionError as error:
        raise ApiError(400, f"precision: {error}") from error
    if not body.keypoints:
        return Answer.of(served.name, image, recognition)
    overlay = served.overlay(image, recognition, recognizer)
    answer = Answer.of(served.name, image, recognition, overlay.references)
    if overlay.repeatability is not None:
        answer.keypoints = keypoint_rows(overlay.features, overlay.repeatability)
    return answer


class VerifyRequest(RequestModel):
    """A photo, and either the id of a reference or another photo."""

    photo: OnePhoto
    other: OnePhoto | None = None
    reference: Text | None = None
    gallery: Text | None = None


@api_router.post("/verify", tags=["recognition"], openapi_extra=describe_body(VerifyRequest, form=True))
async def verify(request: Request, engine: EngineDependency) -> PairResponse:
    """Say whether a photo shows what a reference, or another photo, shows, point by point."""
    body = await read(request, engine.settings, VerifyRequest)
    served = engine.named(body.gallery)
    if (body.reference is None) == (body.other is None):
        raise ApiError(400, "expected either reference (an id) or other (a photo)")

    def work() -> PairResponse:
        image = engine.decode(body.photo.content, body.photo.name)
        other = engine.decode(body.other.content, body.other.name) if body.other else str(body.reference)
        return PairResponse.of(*served.compare(image, other))

    return await engine.run(work)


# --- landmarks --------------------------------------------------------------------------------------------------


class LandmarkChange(BaseModel):
    """The new facts of a landmark; a field that is left out stays as it is, null takes it away."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Text, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    url: Annotated[Address, Field(max_length=2000)] | None = None


@api_router.get("/landmarks", tags=["landmarks"])
async def landmarks(
    engine: EngineDependency, gallery: GalleryName = None, search: str = "", offset: Offset = 0, limit: Limit = PAGE
) -> LandmarksResponse:
    """Return the landmarks whose id or name has a text in it, in the order of names."""
    served, text = engine.named(gallery), search.casefold()

    def work() -> LandmarksResponse:
        with served.lock:
            known, covers = served.gallery.landmarks(), served.gallery.covers()
        matching = [row for row in known if text in row[0].name.casefold() or text in row[0].id.casefold()]
        matching.sort(key=lambda row: (row[0].name.casefold(), row[0].id))
        rows = [LandmarkRow.of(*row, covers.get(row[0].id)) for row in matching[offset : offset + limit]]
        return LandmarksResponse(landmarks=rows, total=len(matching))

    return await engine.run(work)


def _row(served: ServedGallery, id: str) -> LandmarkRow:
    landmark, count = served.landmark(id)
    with served.lock:
        cover = next((reference.id for reference in served.gallery.references(id)), None)
    return LandmarkRow.of(landmark, count, cover)


@api_router.get("/landmarks/{id:path}", tags=["landmarks"])
async def landmark(id: str, engine: EngineDependency, gallery: GalleryName = None) -> LandmarkRow:
    """Return one landmark."""
    return await engine.run(_row, engine.named(gallery), checked_id(id))


@api_router.put("/landmarks/{id:path}", tags=["landmarks"], dependencies=WRITING)
async def put_landmark(
    id: str, change: LandmarkChange, engine: EngineDependency, gallery: GalleryName = None
) -> LandmarkRow:
    """Rename a landmark, or say where it is; one that is not there is new."""
    served, id = engine.named(gallery), checked_id(id)
    fields = change.model_dump(exclude_unset=True)

    def work() -> LandmarkRow:
        try:
            known, _ = served.landmark(id)
        except NotFoundError:
            known = Landmark(id)
        with served.lock:
            served.gallery.put_landmark(replace(known, **{**fields, "name": fields.get("name") or known.name}))
        return _row(served, id)

    return await engine.run(work)


@api_router.delete("/landmarks/{id:path}", tags=["landmarks"], dependencies=WRITING)
async def remove_landmark(id: str, engine: EngineDependency, gallery: GalleryName = None) -> RemoveResponse:
    """Remove a landmark with all its references."""
    id = checked_id(id)
    return await engine.run(_remove, engine.named(gallery), lambda gallery: gallery.remove(landmark=id))


def _remove(served: ServedGallery, remove: Callable[[Gallery], int]) -> RemoveResponse:
    with served.lock:
        return RemoveResponse(removed=remove(served.gallery))


# --- references -------------------------------------------------------------------------------------------------


class AddRequest(RequestModel):
    """Photos, and the landmark they show."""

    photos: Photos
    landmark: Annotated[Identifier, Field(description="Id of the landmark.")]
    name: Annotated[Text, Field(max_length=MAX_TEXT)] = ""
    latitude: Annotated[Number, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[Number, Field(ge=-180, le=180)] | None = None
    url: Address | None = None
    gallery: Text | None = None


@api_router.get("/references", tags=["references"])
async def references(
    engine: EngineDependency,
    gallery: GalleryName = None,
    landmark: Annotated[str | None, Query(description="Only those of this landmark.")] = None,
    offset: Offset = 0,
    limit: Limit = PAGE,
) -> ReferencesResponse:
    """Return the references, of one landmark or of all, in the order of ids."""
    served = engine.named(gallery)

    def work() -> ReferencesResponse:
        with served.lock:
            known = served.gallery.references(None if landmark is None else checked_id(landmark))
        page = [ReferenceSchema.model_validate(reference) for reference in known[offset : offset + limit]]
        return ReferencesResponse(references=page, total=len(known))

    return await engine.run(work)


@api_router.post(
    "/references",
    tags=["references"],
    status_code=201,
    dependencies=WRITING,
    openapi_extra=describe_body(AddRequest, form=True),
)
async def add_references(request: Request, engine: EngineDependency) -> AddResponse:
    """Add photos as references of a landmark, known or new. A reference in the answer is on disk."""
    body = await read(request, engine.settings, AddRequest)
    landmark = Landmark(body.landmark, body.name, body.latitude, body.longitude, body.url)
    return await engine.run(add_photos, engine, engine.named(body.gallery), body.photos, landmark)


def add_photos(engine: Engine, served: ServedGallery, photos: list[UploadedPhoto], landmark: Landmark) -> AddResponse:
    """Add photos to a gallery and return the report."""
    accepted, failures = [], []
    for name, content in photos:
        try:
            engine.check_limits(content, name)
            accepted.append((name, content))
        except ImageError as error:
            failures.append(Failure.of(name, error))
    with served.lock:
        report = served.gallery.add_contents(accepted, landmark)
    return AddResponse(
        added=[ReferenceSchema.model_validate(reference) for reference in report.added],
        skipped=report.skipped,
        failures=[
            PhotoFailure(photo=f.photo, error=error_detail(409 if f.code == "conflict" else 400, f.error))
            for f in (*failures, *report.failures)
        ],
    )


@api_router.delete("/references/{id:path}", tags=["references"], dependencies=WRITING)
async def remove_reference(id: str, engine: EngineDependency, gallery: GalleryName = None) -> RemoveResponse:
    """Remove one reference."""
    id = checked_id(id)
    return await engine.run(_remove, engine.named(gallery), lambda gallery: gallery.remove(reference=id))


@api_router.get("/pictures/{id:path}", tags=["references"], responses={200: {"content": {"image/webp": {}}}})
async def picture(
    id: str,
    engine: EngineDependency,
    gallery: GalleryName = None,
    size: Annotated[str, Query(pattern="^(small|large)$")] = "small",
) -> Response:
    """Return the picture of a reference: small, or as large as the gallery can still show it."""
    served = engine.named(gallery)
    data = await engine.run(lambda: served.picture(checked_id(id), small=size == "small"))
    return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=300"})
