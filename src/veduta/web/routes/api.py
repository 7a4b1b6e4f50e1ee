"""The native services that ask: the server itself, recognize, verify; and who is let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Event
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from veduta import __version__
from veduta.errors import ImageError, PrecisionError
from veduta.gallery.options import RecognizeOptions
from veduta.types import Float32, LocalFeatures
from veduta.web.engine import CLIENT_GONE, Engine
from veduta.web.errors import ApiError, error_detail
from veduta.web.fields import MAX_TEXT, Number, OnePhoto, Photos, Text, UploadedPhoto, is_text
from veduta.web.limits import may_write
from veduta.web.request import RequestModel, describe_body, read
from veduta.web.schemas import (
    Answer,
    GallerySummary,
    MapTiles,
    PairResponse,
    PhotoFailure,
    RecognizeResponse,
    ServerLimits,
    ServerResponse,
)
from veduta.web.served import ServedGallery

WATCH_SECONDS = 0.2
GalleryName = Annotated[str | None, Query(description="Name of the gallery; the first one by default.")]


def engine_of(request: Request) -> Engine:
    """Return the server's galleries."""
    engine: Engine = request.app.state.engine
    return engine


def writer(request: Request) -> None:
    """Refuse whoever may not write."""
    may_write(request, engine_of(request).settings)


EngineDependency = Annotated[Engine, Depends(engine_of)]
WRITING = [Depends(writer)]


@asynccontextmanager
async def watching(request: Request) -> AsyncIterator[None]:
    """Note when the client of a request whose body was read hangs up, so that what is left of its work is dropped."""
    gone = Event()

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(WATCH_SECONDS)
        gone.set()

    token, task = CLIENT_GONE.set(gone), asyncio.create_task(watch())
    try:
        yield
    finally:
        gone.set()  # a failure of one photo ends the request: the others need not be begun
        task.cancel()
        CLIENT_GONE.reset(token)


async def in_room(request: Request, engine: EngineDependency) -> AsyncIterator[None]:
    """Read a request's body and admit the request, if there is room; a client that may not write is refused before."""
    if any(needed.dependency is writer for needed in request.scope["route"].dependencies):
        writer(request)
    async with engine.holding(request), engine.admit(), watching(request):
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
        library=engine.library is not None,
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

    def options(self) -> RecognizeOptions:
        """Return the options of a recognizer; a floor goes before a precision."""
        precision = self.precision if self.floor is None else None
        return RecognizeOptions(self.effort, self.budget_ms, precision, self.floor)


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
        image = engine.decode(photo.readable(), photo.name)
    except ImageError as error:
        return PhotoFailure(photo=photo.name, error=error_detail(400, str(error)))
    try:
        served, recognition, recognizer = engine.best(image, galleries, options=body.options())
    except PrecisionError as error:
        raise ApiError(400, f"precision: {error}") from error
    if not body.keypoints:
        return Answer.of(served.name, image, recognition)
    overlay = served.overlay(image, recognition, recognizer)
    answer = Answer.of(served.name, image, recognition, overlay.references)
    if overlay.repeatability is not None:
        answer.keypoints = _keypoint_rows(overlay.features, overlay.repeatability)
    return answer


class VerifyRequest(RequestModel):
    """A photo, and either the id of a reference or another photo."""

    photo: OnePhoto
    other: OnePhoto | None = None
    reference: Text | None = None
    gallery: Text | None = None


@api_router.post("/verify", tags=["recognition"], openapi_extra=describe_body(VerifyRequest, form=True))
async def verify(request: Request, engine: EngineDependency) -> PairResponse:
    """Compare a photo with a reference, or with another photo, point by point."""
    body = await read(request, engine.settings, VerifyRequest)
    served = engine.named(body.gallery)
    if (body.reference is None) == (body.other is None):
        raise ApiError(400, "expected either reference (an id) or other (a photo)")

    def work() -> PairResponse:
        image = engine.decode(body.photo.content, body.photo.name)
        other = engine.decode(body.other.content, body.other.name) if body.other else str(body.reference)
        return PairResponse.of(*served.compare(image, other))

    return await engine.run(work)


def _keypoint_rows(features: LocalFeatures, repeatability: Float32) -> list[list[float]]:
    """Return [x, y, probability of confirmation by another photo] of each keypoint."""
    rows = zip(features.keypoints, repeatability, strict=True)
    return [[round(float(x), 1), round(float(y), 1), round(float(p), 3)] for (x, y), p in rows]
