"""The shape of PhotoPrism's vision service for labels: the landmark as a label of the photo, no label for none.

https://docs.photoprism.app/developer-guide/vision/
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from veduta import __version__
from veduta.errors import ImageError
from veduta.types import Image
from veduta.web.engine import Engine
from veduta.web.errors import ApiError
from veduta.web.fields import decode_base64, is_text
from veduta.web.request import RequestModel, check_count, describe_body, parse_body, read_json
from veduta.web.routes.api import EngineDependency, watching

photoprism_router = APIRouter(prefix="/api/v1/vision", tags=["like PhotoPrism"])
PRIORITY = 10  # of a landmark among a photo's labels


DataUrl = Annotated[Any, WithJsonSchema({"type": "string", "description": "A data URL."})]


class LabelsRequest(RequestModel):
    """Pictures of one photo; the id comes back in the answer."""

    id: Any = Field(default=None, json_schema_extra={"type": "string"})
    images: list[DataUrl] = Field(min_length=1)


class PhotoLabel(BaseModel):
    """A landmark as a label."""

    name: str
    source: str = "image"
    priority: int = PRIORITY
    confidence: float
    topicality: float
    categories: list[str] = ["landmark"]


class LabelsResult(BaseModel):
    """The labels of a photo."""

    labels: list[PhotoLabel]


class LabelsModel(BaseModel):
    """The program that gave the labels."""

    type: str = "labels"
    name: str = "veduta"
    version: str = __version__


class LabelsResponse(BaseModel):
    """The labels of a photo."""

    id: str
    code: int = 200
    model: LabelsModel = LabelsModel()
    result: LabelsResult


class LabelsError(BaseModel):
    """A request that failed, as PhotoPrism reads it."""

    id: str
    code: int
    error: str
    result: LabelsResult = LabelsResult(labels=[])


@photoprism_router.post(
    "/labels",
    response_model=LabelsResponse,
    responses={400: {"description": "Something in the request is wrong.", "model": LabelsError}},
    openapi_extra=describe_body(LabelsRequest),
)
async def labels(request: Request, engine: EngineDependency, gallery: str | None = None) -> Any:
    """Return the landmarks of a photo given as data URLs of its pictures, as labels."""
    id = uuid.uuid4().hex
    try:
        async with engine.holding(request), engine.admit(), watching(request):
            fields = await read_json(request)
            given = fields.get("id")
            id = given[:200] if isinstance(given, str) and given and is_text(given) else id
            result = await engine.run(_labels, engine, fields, gallery)
    except ApiError as error:  # its clients read an error as text
        answer = LabelsError(id=id, code=error.code, error=error.message)
        return JSONResponse(answer.model_dump(), error.code, error.headers)
    return LabelsResponse(id=id, result=result)


def _decode(engine: Engine, address: object, name: str) -> Image:
    """Return the picture in a data URL."""
    if not isinstance(address, str) or address[:5].lower() != "data:":
        raise ImageError(name, "expected a data URL", "no address is fetched")
    try:
        return engine.decode(decode_base64(address), name)
    except PydanticCustomError as error:
        raise ImageError(name, error.message()) from error


def _labels(engine: Engine, fields: dict[str, Any], gallery: str | None) -> LabelsResult:
    images = parse_body(LabelsRequest, fields).images
    check_count("images", images, engine.settings.max_photos)
    confidences: dict[str, float] = {}
    galleries, faults = engine.select_galleries(gallery), []
    for number, address in enumerate(images):
        try:
            image = _decode(engine, address, f"images[{number}]")
        except ImageError as error:
            faults.append(str(error))
            continue
        _, recognition, _ = engine.best(image, galleries)
        if recognition.landmark is not None:
            name = recognition.landmark.name
            confidences[name] = max(recognition.confidence, confidences.get(name, 0.0))
    if len(faults) == len(images):
        raise ApiError(400, faults[0])
    ranked = sorted(confidences.items(), key=lambda item: (-item[1], item[0]))
    return LabelsResult(
        labels=[PhotoLabel(name=name, confidence=round(p, 6), topicality=round(p, 6)) for name, p in ranked]
    )
