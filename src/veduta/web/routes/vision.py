"""The shape of Google Cloud Vision's LANDMARK_DETECTION, so that its clients can use this server.

https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np
from fastapi import APIRouter, Request

from veduta.errors import ImageError
from veduta.gallery.options import RecognizeOptions
from veduta.geo import Area
from veduta.types import Image, Landmark, Recognition
from veduta.web.engine import Engine
from veduta.web.errors import ApiError, one_line
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
from veduta.web.settings import Settings

vision_router = APIRouter(prefix="/v1", tags=["like Cloud Vision"], dependencies=WORKING)
DEFAULT_RESULTS = 10  # unless a request says otherwise
FLOOR = 0.5
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])
BAD_IMAGE, PERMISSION_DENIED, UNIMPLEMENTED = 3, 7, 12  # google.rpc.Code
FETCH_SECONDS, READ_SECONDS = 10.0, 3.0  # in all, and for each part of the answer
FETCH_BYTES = 64 * 1024
ANSWER_TYPE = "type.googleapis.com/google.cloud.vision.v1.AsyncBatchAnnotateImagesResponse"
METADATA_TYPE = "type.googleapis.com/google.cloud.vision.v1.OperationMetadata"
PARENTS = "/projects/{project}", "/projects/{project}/locations/{location}"  # which Google's clients may put before


class FaultError(Exception):
    """The reason why one image of a batch cannot be annotated, with a code of google.rpc."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


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
    return list(await asyncio.gather(*(engine.run(_annotate, engine, fields, gallery) for fields in body.requests)))


def _annotate(engine: Engine, fields: object, gallery: str | None) -> AnnotateResponse:
    try:
        request = _parse(fields)
        most, others = _features(request)
        if most is None:
            raise FaultError(
                UNIMPLEMENTED, f"only LANDMARK_DETECTION is done here, not {', '.join(others) or 'nothing'}"
            )
        image, area = _image(engine, request.image), _area(request.image_context.lat_long_rect)
        galleries, options = engine.select_galleries(gallery), RecognizeOptions(floor=FLOOR)
        _, recognition, _ = engine.best(image, galleries, area, options)
    except FaultError as fault:
        return AnnotateResponse(error=RpcStatus(code=fault.code, message=one_line(fault.message)))
    except ImageError as error:
        return AnnotateResponse(error=RpcStatus(code=BAD_IMAGE, message=f"Bad image data: {error}"))
    response = AnnotateResponse()
    if annotations := _annotations(image, recognition)[:most]:
        response.landmark_annotations = annotations
    if others:
        response.error = RpcStatus(code=UNIMPLEMENTED, message=one_line(f"not done here: {', '.join(others)}"))
    return response


def _parse(fields: object) -> AnnotateRequest:
    try:
        return parse_body(AnnotateRequest, fields)
    except ApiError as error:
        raise FaultError(BAD_IMAGE, error.message) from error


def _features(request: AnnotateRequest) -> tuple[int | None, list[str]]:
    """Return how many landmarks are asked for, None for none, and the other features asked for."""
    most = None
    for feature in request.features:
        if feature.type in FEATURE:
            most = feature.max_results if feature.max_results > 0 else DEFAULT_RESULTS
    return most, [str(feature.type)[:40] for feature in request.features if feature.type not in FEATURE]


def _image(engine: Engine, image: VisionImage) -> Image:
    if image.content:
        return engine.decode(image.content, "image.content")
    address = image.source.image_uri or image.source.gcs_image_uri
    if not address:
        raise FaultError(BAD_IMAGE, "image: expected content or source.imageUri")
    return engine.decode(fetch(address, engine.settings), "image.source")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirect: an allowed address does not speak for its target."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(address: str, settings: Settings) -> bytes:
    """Return the bytes at an address that begins as the settings allow.

    Raises:
        FaultError: the address may not be fetched, or cannot.
    """
    if not any(_begins(address, prefix) for prefix in settings.image_prefixes):
        raise FaultError(
            PERMISSION_DENIED, "source.imageUri: this server does not fetch from there; send content instead"
        )
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    until, data = time.monotonic() + FETCH_SECONDS - READ_SECONDS, bytearray()
    try:
        with opener.open(address, timeout=READ_SECONDS) as response:
            while len(data) <= settings.max_photo and (piece := response.read1(FETCH_BYTES)):
                data += piece
                if time.monotonic() > until:
                    raise FaultError(BAD_IMAGE, f"source.imageUri: took longer than {FETCH_SECONDS:.0f} s")
    except (HTTPException, OSError, ValueError) as error:
        reason = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else "no answer"
        raise FaultError(BAD_IMAGE, f"source.imageUri: cannot be fetched ({reason})") from error
    return bytes(data)


def _begins(address: str, prefix: str) -> bool:
    """Return whether an address lies where a prefix says, on that very host and nowhere above or beside its path."""
    if not address.startswith(("https://", "http://")) or set(address) & set("\\@#") or not address.isprintable():
        return False
    try:
        target, allowed = urlsplit(address), urlsplit(prefix)
    except ValueError:
        return False
    inside = ".." not in re.split(r"[/\\]", unquote(target.path)) and " " not in address
    return inside and target[:2] == allowed[:2] and address.startswith(prefix)


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
