"""The queue of photos that a person looks at: kept, judged, made references, forgotten."""

from __future__ import annotations

from typing import Any, Literal

import PIL.Image
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from veduta.errors import ImageError, NotFoundError
from veduta.review_queue import ReviewItem
from veduta.types import Landmark
from veduta.viz import encode
from veduta.web.engine import Engine, ServedGallery
from veduta.web.errors import ApiError, error_body
from veduta.web.openapi import REVIEW_FORM
from veduta.web.request import is_text, read
from veduta.web.routes.api import MAX_TEXT, WORKING, WRITING, EngineDependency, GalleryName, add_photos, checked_id
from veduta.web.schemas import answer_json, item_json

review_router = APIRouter(prefix="/v1/review", tags=["review"], dependencies=[*WRITING, *WORKING])
VERDICT_OF = {"accept": "accepted", "reject": "rejected", "correct": "corrected"}
MAX_ITEM_NUMBER = 2**62


class VerdictBody(BaseModel):
    """What a person says of an answer."""

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["accept", "reject", "correct"]
    landmark: str | None = Field(None, max_length=MAX_TEXT, description="Id of what it shows; for correct.")
    name: str | None = Field(None, max_length=MAX_TEXT, description="Its name, if it is new.")
    reference: bool = Field(default=False, description="Whether the photo becomes a reference of what it shows.")


@review_router.get("")
async def items(
    engine: EngineDependency, gallery: GalleryName = None, state: Literal["open", "done", "all"] = "open"
) -> dict[str, Any]:
    """Return the photos kept, those longest there first."""
    served = engine.named(gallery)

    def work() -> list[ReviewItem]:
        with served.lock:
            return served.review.items(state)

    found = await engine.run(work)
    return {"items": [item_json(item) for item in found], "total": len(found)}


@review_router.post("", openapi_extra=REVIEW_FORM)
async def keep(request: Request, engine: EngineDependency) -> dict[str, Any]:
    """Recognise photos and keep them for review; those that are no photos are told and not kept."""
    sent = await read(request, engine.settings, ("photos",))
    photos, served = sent.photos("photos", engine.settings), engine.named(sent.text("gallery"))
    kept, failures = [], []
    for name, content in photos:
        try:
            kept.append(item_json(await engine.run(_keep, engine, served, name, content)))
        except ImageError as error:
            failures.append({"photo": name, **error_body(400, str(error))})
    return {"items": kept, "failures": failures}


def _keep(engine: Engine, served: ServedGallery, name: str, content: bytes) -> ReviewItem:
    image = engine.decode(content, name)
    found, _ = served.recognize(image)
    engine.counted(served, found)
    with served.lock:
        return served.review.keep(name, content, answer_json(served.name, image, found))


def _number(number: int) -> int:
    if not 1 <= number <= MAX_ITEM_NUMBER:
        raise ApiError(404, f"there is no photo number {number}")
    return number


@review_router.get("/{number}/photo", responses={200: {"content": {"image/jpeg": {}}}})
async def photo(number: int, engine: EngineDependency, gallery: GalleryName = None) -> Response:
    """Return a photo that was kept."""
    served = engine.named(gallery)

    def work() -> bytes:
        with served.lock:
            content = served.review.content(_number(number))
        return encode(PIL.Image.fromarray(engine.decode(content, "photo").pixels), "jpeg", 85)

    return Response(await engine.run(work), media_type="image/jpeg", headers={"Cache-Control": "no-store"})


@review_router.post("/{number}")
async def judge(
    number: int, verdict: VerdictBody, engine: EngineDependency, gallery: GalleryName = None
) -> dict[str, Any]:
    """Note a verdict; the photo may become a reference of what it shows."""
    served = engine.named(gallery)
    return await engine.run(_judge, engine, served, _number(number), verdict)


def _judge(engine: Engine, served: ServedGallery, number: int, verdict: VerdictBody) -> dict[str, Any]:
    with served.lock:
        item, content = served.review.item(number), served.review.content(number)
    landmark = _shown(served, item, verdict)
    if verdict.reference and landmark is not None:
        report = add_photos(engine, served, [(item.photo, content)], landmark)
        if report["failures"]:
            raise ApiError(409, report["failures"][0]["error"]["message"])
    with served.lock:
        if landmark is not None and verdict.name and landmark.id not in served.gallery.covers():
            served.gallery.put_landmark(landmark)  # a new one: its name is kept for the day it gets a reference
        said = served.review.set_verdict(number, VERDICT_OF[verdict.verdict], None if landmark is None else landmark.id)
    return item_json(said)


def _shown(served: ServedGallery, item: ReviewItem, verdict: VerdictBody) -> Landmark | None:
    """Return what a photo shows by a verdict, or None."""
    if verdict.verdict == "reject":
        return None
    if verdict.verdict == "accept":
        answered = item.answer.get("landmark")
        if answered is None:
            raise ApiError(400, "the answer was none; reject it if that is right, or say what it shows")
        id = answered["id"]
    else:
        id = checked_id(verdict.landmark or "")
    if not is_text(verdict.name or ""):
        raise ApiError(400, "name: expected text")
    try:
        known, _ = served.landmark(id)
        return known
    except NotFoundError:
        return Landmark(id, verdict.name or "")


@review_router.delete("/{number}", status_code=204)
async def forget(number: int, engine: EngineDependency, gallery: GalleryName = None) -> Response:
    """Forget a photo and its verdict."""
    served = engine.named(gallery)

    def work() -> None:
        with served.lock:
            served.review.forget(_number(number))

    await engine.run(work)
    return Response(status_code=204)
