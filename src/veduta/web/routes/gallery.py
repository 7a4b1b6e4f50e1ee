"""Landmarks, references and pictures of a gallery: listed, added, changed, removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from veduta.errors import ImageError, NotFoundError
from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.types import Failure
from veduta.web.engine import Engine
from veduta.web.errors import ApiError, error_detail
from veduta.web.fields import MAX_TEXT, Identifier, Number, Photos, Text, UploadedPhoto, WebAddress
from veduta.web.request import RequestModel, describe_body, read
from veduta.web.routes.api import WORKING, WRITING, EngineDependency, GalleryName, checked_id
from veduta.web.schemas import (
    AddResponse,
    LandmarkRow,
    LandmarksResponse,
    PhotoFailure,
    ReferenceSchema,
    ReferencesResponse,
    RemoveResponse,
)
from veduta.web.served import ServedGallery

PAGE, MAX_PAGE = 100, 1000

Offset = Annotated[int, Query(ge=0, le=10**9)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
gallery_router = APIRouter(prefix="/v1", dependencies=WORKING)


# --- landmarks --------------------------------------------------------------------------------------------------


class LandmarkChange(BaseModel):
    """The new facts of a landmark; a field that is left out stays, null takes one away."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Text, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    latitude: Annotated[Number, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[Number, Field(ge=-180, le=180)] | None = None
    url: Annotated[WebAddress, Field(max_length=2000)] | None = None


@gallery_router.get("/landmarks", tags=["landmarks"])
async def landmarks(
    engine: EngineDependency, gallery: GalleryName = None, search: str = "", offset: Offset = 0, limit: Limit = PAGE
) -> LandmarksResponse:
    """Return the landmarks whose id or name contains a text, in the order of names."""
    served, text = engine.named(gallery), search.casefold()

    def work() -> LandmarksResponse:
        with served.lock:
            known, covers = served.gallery.landmarks(), served.gallery.covers()
        matching = [row for row in known if text in row[0].name.casefold() or text in row[0].id.casefold()]
        matching.sort(key=lambda row: (row[0].name.casefold(), row[0].id))
        rows = [LandmarkRow.of(*row, covers.get(row[0].id)) for row in matching[offset : offset + limit]]
        return LandmarksResponse(landmarks=rows, total=len(matching))

    return await engine.run(work)


def check_whole(latitude: float | None, longitude: float | None) -> None:
    """Refuse half a position."""
    if (latitude is None) != (longitude is None):
        missing, other = ("latitude", "longitude") if latitude is None else ("longitude", "latitude")
        raise ApiError(400, f"{missing}: expected one, for there is a {other}; send both or neither")


def _row(served: ServedGallery, id: str) -> LandmarkRow:
    landmark, count = served.landmark(id)
    with served.lock:
        cover = next((reference.id for reference in served.gallery.references(id)), None)
    return LandmarkRow.of(landmark, count, cover)


@gallery_router.get("/landmarks/{id:path}", tags=["landmarks"])
async def landmark(id: str, engine: EngineDependency, gallery: GalleryName = None) -> LandmarkRow:
    """Return one landmark."""
    return await engine.run(_row, engine.named(gallery), checked_id(id))


@gallery_router.put("/landmarks/{id:path}", tags=["landmarks"], dependencies=WRITING)
async def put_landmark(
    id: str, change: LandmarkChange, engine: EngineDependency, gallery: GalleryName = None
) -> LandmarkRow:
    """Change the name, place or page of a landmark, or create the landmark."""
    served, id = engine.named(gallery), checked_id(id)
    fields = change.model_dump(exclude_unset=True)

    def work() -> LandmarkRow:
        try:
            known, _ = served.landmark(id)
        except NotFoundError:
            known = Landmark(id)
        changed = replace(known, **{**fields, "name": fields.get("name") or known.name})
        if {"latitude", "longitude"} & fields.keys():
            check_whole(changed.latitude, changed.longitude)
        with served.lock:
            served.gallery.put_landmark(changed)
        return _row(served, id)

    return await engine.run(work)


@gallery_router.delete("/landmarks/{id:path}", tags=["landmarks"], dependencies=WRITING)
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
    url: WebAddress | None = None
    gallery: Text | None = None


@gallery_router.get("/references", tags=["references"])
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


@gallery_router.post(
    "/references",
    tags=["references"],
    status_code=201,
    dependencies=WRITING,
    openapi_extra=describe_body(AddRequest, form=True),
)
async def post_references(request: Request, engine: EngineDependency) -> AddResponse:
    """Add photos as references of a landmark, known or new. A reference in the answer is on disk."""
    body = await read(request, engine.settings, AddRequest)
    check_whole(body.latitude, body.longitude)
    landmark = Landmark(body.landmark, body.name, body.latitude, body.longitude, body.url)
    served = engine.named(body.gallery)
    return await engine.run(add_photos, engine, served, body.photos, landmark, heavy=True)


def add_photos(engine: Engine, served: ServedGallery, photos: list[UploadedPhoto], landmark: Landmark) -> AddResponse:
    """Add photos to a gallery and return the report."""
    accepted, failures = [], []
    for photo in photos:
        try:
            engine.check_limits(photo.readable(), photo.name)
            accepted.append((photo.name, photo.content))
        except ImageError as error:
            failures.append(Failure.of(photo.name, error))
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


@gallery_router.delete("/references/{id:path}", tags=["references"], dependencies=WRITING)
async def remove_reference(id: str, engine: EngineDependency, gallery: GalleryName = None) -> RemoveResponse:
    """Remove one reference."""
    id = checked_id(id)
    return await engine.run(_remove, engine.named(gallery), lambda gallery: gallery.remove(reference=id))


@gallery_router.get("/pictures/{id:path}", tags=["references"], responses={200: {"content": {"image/webp": {}}}})
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
