"""The shape of Google Cloud Vision's LANDMARK_DETECTION, so that its clients can use this server.

https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, Request

from veduta.errors import ImageError
from veduta.gallery.options import RecognizeOptions
from veduta.geo import Area
from veduta.landmarks import Landmark
from veduta.types import Image, Recognition
from veduta.web.engine import Engine
from veduta.web.errors import ApiError, one_line
from veduta.web.image_source import FaultError
from veduta.web.request import check_count, describe_body, parse_body, read_json
from veduta.web.routes.api import WORKING, EngineDependency
from veduta.web.routes.vision_schemas import (
    FEATURE,
    MAX_IMAGES,
    AnnotateRequest,
    AnnotateResponse,
    Annotation,
    BatchRequest,
    BatchResponse,
    BoundingPoly,
    DescribedBatch,
    LatLng,
    LatLongRect,
    LocationInfo,
    Operation,
    OperationMetadata,
    OperationResult,
    RpcStatus,
    Vertex,
    VisionImage,
)

vision_router = APIRouter(prefix="/v1", tags=["like Cloud Vision"], dependencies=WORKING)
DEFAULT_RESULTS = 10  # unless a request says otherwise
FLOOR = 0.5
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])
BAD_IMAGE, UNIMPLEMENTED = 3, 12  # google.rpc.Code
ANSWER_TYPE = "type.googleapis.com/google.cloud.vision.v1.AsyncBatchAnnotateImagesResponse"
METADATA_TYPE = "type.googleapis.com/google.cloud.vision.v1.OperationMetadata"
PARENTS = "/projects/{project}", "/projects/{project}/locations/{location}"  # which Google's clients may put before


def _route(method: str) -> Callable[[Handler], Handler]:
    """Return a decorator that serves a method of Google's at its address, and at those with a project before."""
    how: dict[str, Any] = {
        "openapi_extra": describe_body(DescribedBatch),
        "response_model_exclude_unset": True,
    }

    def add(handler: Handler) -> Handler:
        vision_router.post(f"/{method}", **how)(handler)
        for parent in PARENTS:
            vision_router.post(f"{parent}/{method}", include_in_schema=False, **how)(handler)
        return handler

    return add


@_route("images:annotate")
async def annotate(request: Request, engine: EngineDependency, gallery: str | None = None) -> BatchResponse:
    """Name the landmarks in up to 16 images."""
    body = parse_body(BatchRequest, await read_json(request))
    return BatchResponse(responses=await _batch(engine, body, gallery))


@_route("images:asyncBatchAnnotate")
async def annotate_later(request: Request, engine: EngineDependency, gallery: str | None = None) -> Operation:
    """Do the same at once, and answer with an operation that is done; nothing is written to any storage.

    The answer has the type that Google's clients wait for, and beside its fields, which name storage, the responses.
    """
    begun = _timestamp()
    body = parse_body(BatchRequest, await read_json(request))
    if body.output_config.gcs_destination:
        raise ApiError(400, "outputConfig: this server writes to no storage; leave it out and read the response")
    result = OperationResult(type=ANSWER_TYPE, responses=await _batch(engine, body, gallery))
    metadata = OperationMetadata(type=METADATA_TYPE, state="DONE", create_time=begun, update_time=_timestamp())
    parent = "".join(f"{kind}s/{id}/" for kind, id in request.path_params.items()) or body.prefix
    return Operation(name=f"{parent}operations/{uuid.uuid4().hex}", metadata=metadata, done=True, response=result)


def _timestamp() -> str:
    """Return the time now as protocol buffers write it in JSON."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


async def _batch(engine: Engine, body: BatchRequest, gallery: str | None) -> list[AnnotateResponse]:
    check_count("requests", body.requests, MAX_IMAGES)
    engine.named(gallery)
    return list(await asyncio.gather(*(_annotate(engine, fields, gallery) for fields in body.requests)))


async def _annotate(engine: Engine, fields: object, gallery: str | None) -> AnnotateResponse:
    """Return the answer to one request of a batch, or its error; an image is fetched while no thread waits for it."""
    try:
        with engine.held() as hold:
            request = await engine.run(_parse, fields)
            most, others = _features(request)
            content, name = request.image.content, "image.content"
            if not content:
                content, name = await engine.sources.fetch(_address(request.image), hold), "image.source"
            found = await engine.run(_found, engine, request, content, name, gallery)
    except FaultError as fault:
        return AnnotateResponse(error=RpcStatus(code=fault.code, message=one_line(fault.message)))
    except ImageError as error:
        return AnnotateResponse(error=RpcStatus(code=BAD_IMAGE, message=f"Bad image data: {error}"))
    response = AnnotateResponse()
    if annotations := found[:most]:
        response.landmark_annotations = annotations
    if others:
        response.error = RpcStatus(code=UNIMPLEMENTED, message=one_line(f"not done here: {', '.join(others)}"))
    return response


def _found(
    engine: Engine, request: AnnotateRequest, content: bytes, name: str, gallery: str | None
) -> list[Annotation]:
    """Return the landmarks in one image."""
    image, area = engine.decode(content, name), _area(request.image_context.lat_long_rect)
    galleries, options = engine.select_galleries(gallery), RecognizeOptions(floor=FLOOR)
    _, recognition, _ = engine.best(image, galleries, area, options)
    return _annotations(image, recognition)


def _parse(fields: object) -> AnnotateRequest:
    try:
        return parse_body(AnnotateRequest, fields)
    except ApiError as error:
        raise FaultError(BAD_IMAGE, error.message) from error


def _features(request: AnnotateRequest) -> tuple[int, list[str]]:
    """Return how many landmarks are asked for, and the other features asked for; FaultError for none of the first."""
    most = None
    for feature in request.features:
        if feature.type in FEATURE:
            most = feature.max_results if feature.max_results > 0 else DEFAULT_RESULTS
    others = [str(feature.type)[:40] for feature in request.features if feature.type not in FEATURE]
    if most is None:
        raise FaultError(UNIMPLEMENTED, f"only LANDMARK_DETECTION is done here, not {', '.join(others) or 'nothing'}")
    return most, others


def _address(image: VisionImage) -> str:
    """Return the address of an image that was sent without content."""
    address = image.source.image_uri or image.source.gcs_image_uri
    if not address:
        raise FaultError(BAD_IMAGE, "image: expected content or source.imageUri")
    return address


def _area(rectangle: LatLongRect | None) -> Area | None:
    if rectangle is None:
        return None
    low, high = rectangle.min_lat_lng, rectangle.max_lat_lng
    try:
        return Area(low.latitude, low.longitude, high.latitude, high.longitude)
    except ValueError as error:
        raise FaultError(BAD_IMAGE, "imageContext.latLongRect: expected a rectangle of degrees") from error


def _annotations(image: Image, recognition: Recognition) -> list[Annotation]:
    if recognition.landmark is None:
        return []
    likely = [(guess, p) for i, (guess, p) in enumerate(recognition.guesses) if i == 0 or p >= FLOOR]
    return [_annotation(landmark, p, recognition, image.size) for landmark, p in likely]


def _annotation(landmark: Landmark, confidence: float, recognition: Recognition, size: tuple[int, int]) -> Annotation:
    annotation = Annotation(mid=landmark.id, description=landmark.name, score=round(confidence, 6))
    if (box := _box(landmark.id, recognition, size)) is not None:
        annotation.bounding_poly = box
    if landmark.latitude is not None and landmark.longitude is not None:
        place = {"latitude": landmark.latitude, "longitude": landmark.longitude}
        annotation.locations = [LocationInfo(lat_lng=LatLng(**_without_zeros(place)))]
    return annotation


def _box(landmark: str, recognition: Recognition, size: tuple[int, int]) -> BoundingPoly | None:
    """Return the box around the inliers of a landmark's best candidate, within the image; None without inliers."""
    best = next((c for c in recognition.evidence if c.landmark == landmark and c.num_inliers), None)
    if best is None or best.inliers is None or recognition.features is None:
        return None
    points = recognition.features.keypoints[best.inliers[:, 0]]  # (K, 2)
    low, high = np.floor(points.min(0)), np.minimum(np.ceil(points.max(0)), np.array(size) - 1)
    (left, top), (right, bottom) = np.maximum(low, 0).astype(int).tolist(), high.astype(int).tolist()
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return BoundingPoly(vertices=[Vertex(**_without_zeros({"x": x, "y": y})) for x, y in corners])


def _without_zeros(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are not zero."""
    return {key: value for key, value in fields.items() if value}
