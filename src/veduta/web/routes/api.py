"""The native services: recognise, verify, landmarks, references, pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from veduta import __version__
from veduta.decision.model import CASCADES
from veduta.errors import ImageError, NotFoundError, PrecisionError
from veduta.types import Failure, Landmark
from veduta.web.engine import Engine, ServedGallery
from veduta.web.errors import ApiError, error_body
from veduta.web.limits import may_write
from veduta.web.openapi import FORM_OR_JSON, REFERENCES_FORM, VERIFY_FORM
from veduta.web.request import RequestBody, is_text, read
from veduta.web.schemas import answer_json, keypoints_json, landmark_json, pair_json, reference_json

PAGE, MOST = 100, 1000
MAX_TEXT = 500  # characters of an id or a name

GalleryName = Annotated[str | None, Query(description="Name of the gallery; the first one unless said.")]
Offset = Annotated[int, Query(ge=0, le=10**9)]
Limit = Annotated[int, Query(ge=1, le=MOST)]


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
async def server(engine: EngineDependency) -> dict[str, Any]:
    """Return the galleries, the limits, and whether anything may be changed."""

    def galleries() -> list[dict[str, Any]]:
        return [_gallery_json(each) for each in engine.served.values()]

    settings = engine.settings
    return {
        "version": __version__,
        "galleries": await engine.run(galleries),
        "writable": settings.token is not None and any(each.gallery.writable for each in engine.served.values()),
        "limits": {
            "photo_bytes": settings.max_photo,
            "body_bytes": settings.max_body,
            "photos": settings.max_photos,
        },
        "tiles": None if settings.tiles is None else {"url": settings.tiles[0], "attribution": settings.tiles[1]},
    }


def _gallery_json(served: ServedGallery) -> dict[str, Any]:
    with served.lock:
        landmarks, references = served.gallery.counts()
        writable = served.gallery.writable
    return {"name": served.name, "landmarks": landmarks, "references": references, "writable": writable}


@info_router.get("/session", status_code=204, dependencies=WRITING)
async def session() -> Response:
    """Say whether a token is right."""
    return Response(status_code=204)


# --- recognising ------------------------------------------------------------------------------------------------


@api_router.post("/recognize", tags=["recognising"], openapi_extra=FORM_OR_JSON)
async def recognize(request: Request, engine: EngineDependency) -> dict[str, Any]:
    """Name the landmark in each photo, or say that none is known, with the evidence."""
    sent = await read(request, engine.settings, ("photos",))
    photos = sent.photos("photos", engine.settings)
    asked, options = engine.select_galleries(sent.text("gallery")), options_of(sent)
    keypoints = sent.flag("keypoints")

    def one(name: str, content: bytes) -> dict[str, Any]:
        return _answer(engine, asked, name, content, options, keypoints=keypoints)

    return {"results": await asyncio.gather(*(engine.run(one, *photo) for photo in photos))}


def options_of(sent: RequestBody) -> dict[str, Any]:
    """Return the options of a recognizer among what was sent."""
    floor = sent.number("floor", 0, 1)
    return {
        "effort": sent.choice("effort", tuple(CASCADES), "default"),
        "floor": floor,
        "precision": sent.number("precision", 0, 1) if floor is None else None,
        "budget_ms": sent.number("budget_ms", 0, 1e9),
    }


def _answer(
    engine: Engine, asked: list[ServedGallery], name: str, content: bytes, options: dict[str, Any], *, keypoints: bool
) -> dict[str, Any]:
    try:
        image = engine.decode(content, name)
    except ImageError as error:
        return {"photo": name, **error_body(400, str(error))}
    try:
        served, found, recognizer = engine.best(image, asked, **options)
    except PrecisionError as error:
        raise ApiError(400, f"precision: {error}") from error
    answer = answer_json(served.name, image, found)
    stays = served.repeatability(image, recognizer) if keypoints else None
    return answer if stays is None else {**answer, "keypoints": keypoints_json(*stays)}


@api_router.post("/verify", tags=["recognising"], openapi_extra=VERIFY_FORM)
async def verify(request: Request, engine: EngineDependency) -> dict[str, Any]:
    """Say whether a photo shows what a reference, or another photo, shows, point by point."""
    sent = await read(request, engine.settings, ("photo", "other"))
    name, content = sent.photos("photo", engine.settings)[0]
    served, reference = engine.named(sent.text("gallery")), sent.text("reference")
    others = sent.files.get("other", [])
    if (reference is None) == (not others):
        raise ApiError(400, "expected either reference (an id) or other (a photo)")

    def work() -> dict[str, Any]:
        image = engine.decode(content, name)
        other = engine.decode(others[0][1], others[0][0]) if others else str(reference)
        return pair_json(*served.compare(image, other))

    return await engine.run(work)


# --- landmarks --------------------------------------------------------------------------------------------------


class LandmarkChange(BaseModel):
    """What is to be known of a landmark; what is not said stays as it is."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=MAX_TEXT)
    latitude: float | None = Field(None, ge=-90, le=90)
    longitude: float | None = Field(None, ge=-180, le=180)
    url: str | None = Field(None, max_length=2000)


@api_router.get("/landmarks", tags=["landmarks"])
async def landmarks(
    engine: EngineDependency, gallery: GalleryName = None, search: str = "", offset: Offset = 0, limit: Limit = PAGE
) -> dict[str, Any]:
    """Return the landmarks whose id or name has a text in it, in the order of names."""
    served = engine.named(gallery)

    def work() -> dict[str, Any]:
        with served.lock:
            known, covers = served.gallery.landmarks(), served.gallery.covers()
        wanted = search.casefold()
        found = [row for row in known if wanted in row[0].name.casefold() or wanted in row[0].id.casefold()]
        found.sort(key=lambda row: (row[0].name.casefold(), row[0].id))
        rows = [_counted(*row, covers.get(row[0].id)) for row in found[offset : offset + limit]]
        return {"landmarks": rows, "total": len(found)}

    return await engine.run(work)


def _counted(landmark: Landmark, count: int, cover: str | None) -> dict[str, Any]:
    return {**landmark_json(landmark), "references": count, "cover": cover}


def _one(served: ServedGallery, id: str) -> dict[str, Any]:
    landmark, count = served.landmark(id)
    with served.lock:
        first = next((reference.id for reference in served.gallery.references(id)), None)
    return _counted(landmark, count, first)


@api_router.get("/landmarks/{id:path}", tags=["landmarks"])
async def landmark(id: str, engine: EngineDependency, gallery: GalleryName = None) -> dict[str, Any]:
    """Return one landmark."""
    return await engine.run(_one, engine.named(gallery), checked_id(id))


@api_router.put("/landmarks/{id:path}", tags=["landmarks"], dependencies=WRITING)
async def put_landmark(
    id: str, change: LandmarkChange, engine: EngineDependency, gallery: GalleryName = None
) -> dict[str, Any]:
    """Rename a landmark, or say where it is; make it if it is not there."""
    served, id = engine.named(gallery), checked_id(id)
    said = change.model_dump(exclude_unset=True)
    if not all(is_text(value) for value in said.values() if isinstance(value, str)):
        raise ApiError(400, "expected text that can be stored")
    _check_url(said.get("url"))

    def work() -> dict[str, Any]:
        try:
            known, _ = served.landmark(id)
        except NotFoundError:
            known = Landmark(id)
        with served.lock:
            served.gallery.put_landmark(replace(known, **{**said, "name": said.get("name") or known.name}))
        return _one(served, id)

    return await engine.run(work)


def _check_url(url: object) -> None:
    if url and not str(url).startswith(("https://", "http://")):
        raise ApiError(400, "url: expected an address that begins with https:// or http://")


@api_router.delete("/landmarks/{id:path}", tags=["landmarks"], dependencies=WRITING)
async def remove_landmark(id: str, engine: EngineDependency, gallery: GalleryName = None) -> dict[str, int]:
    """Remove a landmark with all its references."""
    served = engine.named(gallery)

    def work() -> dict[str, int]:
        with served.lock:
            return {"removed": served.gallery.remove(landmark=checked_id(id))}

    return await engine.run(work)


# --- references -------------------------------------------------------------------------------------------------


@api_router.get("/references", tags=["references"])
async def references(
    engine: EngineDependency,
    gallery: GalleryName = None,
    landmark: Annotated[str | None, Query(description="Only those of this landmark.")] = None,
    offset: Offset = 0,
    limit: Limit = PAGE,
) -> dict[str, Any]:
    """Return the references, of one landmark or of all, in the order of ids."""
    served = engine.named(gallery)

    def work() -> dict[str, Any]:
        with served.lock:
            found = served.gallery.references(None if landmark is None else checked_id(landmark))
        return {"references": [reference_json(each) for each in found[offset : offset + limit]], "total": len(found)}

    return await engine.run(work)


@api_router.post(
    "/references", tags=["references"], status_code=201, dependencies=WRITING, openapi_extra=REFERENCES_FORM
)
async def add_references(request: Request, engine: EngineDependency) -> dict[str, Any]:
    """Add photos as references of a landmark, known or new. What is answered is on disk."""
    sent = await read(request, engine.settings, ("photos",))
    photos = sent.photos("photos", engine.settings)
    served, told = engine.named(sent.text("gallery")), _landmark_of(sent)
    return await engine.run(add_photos, engine, served, photos, told)


def _landmark_of(sent: RequestBody) -> Landmark:
    name, url = sent.text("name"), sent.text("url")
    _check_url(url)
    if len(name or "") > MAX_TEXT:
        raise ApiError(400, f"name: expected at most {MAX_TEXT} characters")
    return Landmark(
        checked_id(sent.text("landmark") or ""),
        name or "",
        sent.number("latitude", -90, 90),
        sent.number("longitude", -180, 180),
        url,
    )


def add_photos(
    engine: Engine, served: ServedGallery, photos: list[tuple[str, bytes]], landmark: Landmark
) -> dict[str, Any]:
    """Add photos to a gallery and return what became of them."""
    good, failures = [], []
    for name, content in photos:
        try:  # its size is looked at before the gallery would decode it
            engine.decode(content, name)
            good.append((name, content))
        except ImageError as error:
            failures.append(Failure.of(name, error))
    with served.lock:
        report = served.gallery.add_contents(good, landmark)
    return {
        "added": [reference_json(each) for each in report.added],
        "skipped": report.skipped,
        "failures": [
            {"photo": each.photo, **error_body(409 if each.code == "conflict" else 400, each.error)}
            for each in (*failures, *report.failures)
        ],
    }


@api_router.delete("/references/{id:path}", tags=["references"], dependencies=WRITING)
async def remove_reference(id: str, engine: EngineDependency, gallery: GalleryName = None) -> dict[str, int]:
    """Remove one reference."""
    served = engine.named(gallery)

    def work() -> dict[str, int]:
        with served.lock:
            return {"removed": served.gallery.remove(reference=checked_id(id))}

    return await engine.run(work)


@api_router.get("/pictures/{id:path}", tags=["references"], responses={200: {"content": {"image/webp": {}}}})
async def picture(
    id: str,
    engine: EngineDependency,
    gallery: GalleryName = None,
    size: Annotated[str, Query(pattern="^(small|large)$")] = "small",
) -> Response:
    """Return the picture of a reference: small, or as large as is still to be had."""
    served = engine.named(gallery)
    data = await engine.run(lambda: served.picture(checked_id(id), small=size == "small"))
    return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=300"})
