"""The review queue: photos kept for a person, their verdicts, and references that come of them."""

from __future__ import annotations

from typing import Annotated, Literal

import PIL.Image
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from veduta.errors import ImageError, NotFoundError
from veduta.landmarks import Landmark
from veduta.review_queue import ReviewItem
from veduta.viz import encode
from veduta.web.engine import Engine
from veduta.web.errors import ApiError, error_detail
from veduta.web.fields import MAX_TEXT, Photos, Text, UploadedPhoto, is_text
from veduta.web.request import RequestModel, describe_body, read
from veduta.web.routes.api import WORKING, WRITING, EngineDependency, GalleryName, checked_id
from veduta.web.routes.gallery import add_photos
from veduta.web.schemas import Answer, KeepResponse, PhotoFailure, ReviewItemSchema, ReviewResponse
from veduta.web.served import ServedGallery

review_router = APIRouter(prefix="/v1/review", tags=["review"], dependencies=[*WRITING, *WORKING])
VERDICT_OF = {"accept": "accepted", "reject": "rejected", "correct": "corrected"}
MAX_ITEM_NUMBER = 2**62


class VerdictRequest(BaseModel):
    """A person's verdict on an answer."""

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["accept", "reject", "correct"]
    landmark: str | None = Field(None, max_length=MAX_TEXT, description="Id of the landmark it shows; for correct.")
    name: str | None = Field(None, max_length=MAX_TEXT, description="Name of that landmark, if it is new.")
    reference: bool = Field(default=False, description="Whether the photo becomes a reference of that landmark.")


class KeepRequest(RequestModel):
    """Photos to keep, and the gallery that answers."""

    photos: Photos
    gallery: Annotated[Text, Field(description="Name of the gallery; the first one by default.")] | None = None


@review_router.get("", response_model_exclude_unset=True)
async def list_items(
    engine: EngineDependency, gallery: GalleryName = None, state: Literal["open", "done", "all"] = "open"
) -> ReviewResponse:
    """Return the photos kept, those longest there first."""
    served = engine.named(gallery)

    def work() -> list[ReviewItem]:
        with served.lock:
            return served.review.items(state)

    kept_items = [ReviewItemSchema.of(item) for item in await engine.run(work)]
    return ReviewResponse(items=kept_items, total=len(kept_items))


@review_router.post("", openapi_extra=describe_body(KeepRequest, form=True), response_model_exclude_unset=True)
async def keep(request: Request, engine: EngineDependency) -> KeepResponse:
    """Recognize photos and keep them for review; files that are no photos are reported and not kept."""
    body = await read(request, engine.settings, KeepRequest)
    served, response = engine.named(body.gallery), KeepResponse(items=[], failures=[])
    for photo in body.photos:
        try:
            response.items.append(ReviewItemSchema.of(await engine.run(_keep, engine, served, photo, heavy=True)))
        except ImageError as error:
            response.failures.append(PhotoFailure(photo=photo.name, error=error_detail(400, str(error))))
    return response


def _keep(engine: Engine, served: ServedGallery, photo: UploadedPhoto) -> ReviewItem:
    image = engine.decode(photo.readable(), photo.name)
    recognition, _ = served.recognize(image)
    engine.on_answer(served, recognition)
    answer = Answer.of(served.name, image, recognition).model_dump(mode="json", exclude_unset=True)
    with served.lock:
        return served.review.keep(photo.name, photo.content, answer)


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


@review_router.post("/{number}", response_model_exclude_unset=True)
async def judge(
    number: int, verdict: VerdictRequest, engine: EngineDependency, gallery: GalleryName = None
) -> ReviewItemSchema:
    """Store a verdict; the photo may become a reference of the landmark named."""
    served = engine.named(gallery)
    return await engine.run(_judge, engine, served, _number(number), verdict, heavy=True)


def _judge(engine: Engine, served: ServedGallery, number: int, verdict: VerdictRequest) -> ReviewItemSchema:
    with served.lock:
        item, content = served.review.item(number), served.review.content(number)
    landmark = _landmark_of(served, item, verdict)
    if verdict.reference and landmark is not None:
        report = add_photos(engine, served, [UploadedPhoto(item.photo, content)], landmark)
        if report.failures:
            raise ApiError(409, report.failures[0].error.message)
    with served.lock:
        if landmark is not None and verdict.name and landmark.id not in served.gallery.covers():
            served.gallery.put_landmark(landmark)  # a new one: its name is kept for the day it gets a reference
        id = None if landmark is None else landmark.id
        judged = served.review.set_verdict(number, VERDICT_OF[verdict.verdict], id)
    return ReviewItemSchema.of(judged)


def _landmark_of(served: ServedGallery, item: ReviewItem, verdict: VerdictRequest) -> Landmark | None:
    """Return the landmark that a photo shows by a verdict, or None."""
    if verdict.verdict == "reject":
        return None
    if verdict.verdict == "accept":
        guesses = item.answer.get("guesses") or [{}]
        accepted = item.answer.get("landmark") or guesses[0].get("landmark")  # as in a library: else the best guess
        if accepted is None:
            raise ApiError(400, "there is no answer and no guess to accept; reject it, or say what it shows")
        id = accepted["id"]
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
