"""The shape of Google Cloud Vision's LANDMARK_DETECTION, so that what speaks it speaks to this server.

https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate
"""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from fastapi import APIRouter, Request

from veduta.errors import ImageError
from veduta.geo import Area
from veduta.recognizer import Recognizer
from veduta.types import Image, Landmark, Recognition
from veduta.web.engine import Engine
from veduta.web.errors import ApiError, one_line
from veduta.web.openapi import VISION_BODY
from veduta.web.request import decode_base64, read_json
from veduta.web.routes.api import WORKING, EngineDependency
from veduta.web.settings import Settings

vision_router = APIRouter(prefix="/v1", tags=["like Cloud Vision"], dependencies=WORKING)
MAX_IMAGES = 16  # requests of one batch
FEATURE = ("LANDMARK_DETECTION", 2)  # by name and by number
FLOOR = 0.5
BAD_IMAGE, PERMISSION_DENIED, UNIMPLEMENTED = 3, 7, 12  # google.rpc.Code
FETCH_SECONDS = 10.0


class FaultError(Exception):
    """Why one image of a batch cannot be annotated, with a code of google.rpc."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@vision_router.post("/images:annotate", openapi_extra=VISION_BODY)
async def annotate(request: Request, engine: EngineDependency, gallery: str | None = None) -> dict[str, Any]:
    """Name the landmarks in up to 16 images."""
    return {"responses": await _batch(engine, await read_json(request), gallery)}


@vision_router.post("/images:asyncBatchAnnotate", openapi_extra=VISION_BODY)
async def annotate_later(request: Request, engine: EngineDependency, gallery: str | None = None) -> dict[str, Any]:
    """Do the same at once, and answer with an operation that is done; nothing is written to any storage."""
    body = await read_json(request)
    output = body.get("outputConfig", body.get("output_config")) or {}
    if not isinstance(output, dict) or output.get("gcsDestination", output.get("gcs_destination")):
        raise ApiError(400, "outputConfig: this server writes to no storage; leave it out and read the response")
    responses = await _batch(engine, body, gallery)
    kind = "type.googleapis.com/google.cloud.vision.v1.BatchAnnotateImagesResponse"
    return {"name": f"operations/{uuid.uuid4().hex}", "done": True, "response": {"@type": kind, "responses": responses}}


async def _batch(engine: Engine, body: Mapping[str, Any], gallery: str | None) -> list[dict[str, Any]]:
    try:
        asked = _get(body, "requests", list, [])
    except FaultError as fault:
        raise ApiError(400, fault.message) from fault
    if not asked:
        raise ApiError(400, "requests: expected at least one")
    if len(asked) > MAX_IMAGES:
        raise ApiError(400, f"requests: expected at most {MAX_IMAGES}, got {len(asked)}")
    if not all(isinstance(each, dict) for each in asked):
        raise ApiError(400, "requests: expected objects")
    engine.named(gallery)
    return list(await asyncio.gather(*(engine.run(_one, engine, each, gallery) for each in asked)))


def _one(engine: Engine, asked: Mapping[str, Any], gallery: str | None) -> dict[str, Any]:
    try:
        most, others = _features(asked)
        if most is None:
            raise FaultError(
                UNIMPLEMENTED, f"only LANDMARK_DETECTION is done here, not {', '.join(others) or 'nothing'}"
            )
        image = _image(engine, _get(asked, "image", dict, {}))
        area = _area(_get(asked, "imageContext", dict, {}))
        _, found, recognizer = engine.best(image, engine.select_galleries(gallery), area, floor=FLOOR)
    except FaultError as fault:
        return {"error": {"code": fault.code, "message": one_line(fault.message)}}
    except ImageError as error:
        return {"error": {"code": BAD_IMAGE, "message": f"Bad image data: {error}"}}
    answer: dict[str, Any] = {}
    annotations = _annotations(image, found, recognizer)[:most]
    if annotations:
        answer["landmarkAnnotations"] = annotations
    if others:
        answer["error"] = {"code": UNIMPLEMENTED, "message": one_line(f"not done here: {', '.join(others)}")}
    return answer


def _features(asked: Mapping[str, Any]) -> tuple[int | None, list[str]]:
    """Return how many landmarks are asked for, None for none, and which other features are."""
    most, others = None, []
    for feature in _get(asked, "features", list, []):
        if not isinstance(feature, dict):
            raise FaultError(BAD_IMAGE, "features: expected objects with a type")
        kind = feature.get("type", 0)
        if kind not in FEATURE:
            others.append(str(kind)[:40])
            continue
        wanted = _get(feature, "maxResults", int, 0)
        most = wanted if wanted > 0 else 10
    return most, others


def _image(engine: Engine, given: Mapping[str, Any]) -> Image:
    content, source = _get(given, "content", str, ""), _get(given, "source", dict, {})
    if content:
        try:
            return engine.decode(decode_base64(content, "image.content"), "image.content")
        except ApiError as error:
            raise FaultError(BAD_IMAGE, error.message) from error
    address = _get(source, "imageUri", str, "") or _get(source, "gcsImageUri", str, "")
    if not address:
        raise FaultError(BAD_IMAGE, "image: expected content or source.imageUri")
    return engine.decode(fetch(address, engine.settings), "image.source")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An allowed address does not speak for the one it points to."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(address: str, settings: Settings) -> bytes:
    """Return what lies at an address, if it begins as the settings allow.

    Raises:
        FaultError: it may not be fetched, or cannot.
    """
    if not any(_begins(address, prefix) for prefix in settings.image_prefixes):
        raise FaultError(
            PERMISSION_DENIED, "source.imageUri: this server does not fetch from there; send content instead"
        )
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=FETCH_SECONDS) as response:
            data: bytes = response.read(settings.max_photo + 1)
    except (HTTPException, OSError, ValueError) as error:
        reason = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else "no answer"
        raise FaultError(BAD_IMAGE, f"source.imageUri: cannot be fetched ({reason})") from error
    return data


def _begins(address: str, prefix: str) -> bool:
    """Return whether an address lies where a prefix says, on that very host and nowhere above or beside its path."""
    if not address.startswith(("https://", "http://")) or set(address) & set("\\@#") or not address.isprintable():
        return False
    try:
        asked, allowed = urlsplit(address), urlsplit(prefix)
    except ValueError:
        return False
    inside = ".." not in re.split(r"[/\\]", unquote(asked.path)) and " " not in address
    return inside and asked[:2] == allowed[:2] and address.startswith(prefix)


def _area(context: Mapping[str, Any]) -> Area | None:
    given = _get(context, "latLongRect", dict, {})
    if not given:
        return None
    corners = [_get(given, key, dict, {}) for key in ("minLatLng", "maxLatLng")]
    values = [corner.get(key, 0.0) for corner in corners for key in ("latitude", "longitude")]
    try:
        south, west, north, east = map(float, values)
        return Area(south, west, north, east)
    except (OverflowError, TypeError, ValueError) as error:
        raise FaultError(BAD_IMAGE, "imageContext.latLongRect: expected a rectangle of degrees") from error


def _annotations(image: Image, found: Recognition, recognizer: Recognizer) -> list[dict[str, Any]]:
    if found.landmark is None:
        return []
    sure = [(guess, p) for i, (guess, p) in enumerate(found.guesses) if i == 0 or p >= FLOOR]
    points = recognizer.extract(image).keypoints
    return [_annotation(landmark, p, found, points, image.size) for landmark, p in sure]


def _annotation(
    landmark: Landmark, confidence: float, found: Recognition, points: Any, size: tuple[int, int]
) -> dict[str, Any]:
    annotation: dict[str, Any] = {
        "mid": landmark.id,
        "description": landmark.name,
        "score": round(confidence, 6),
    }
    best = next((c for c in found.evidence if c.landmark == landmark.id and c.num_inliers), None)
    if best is not None and best.geometry is not None and len(best.geometry.keypoints):
        hull = points[list(best.geometry.keypoints)]
        low, high = np.floor(hull.min(0)), np.minimum(np.ceil(hull.max(0)), np.array(size) - 1)
        (left, top), (right, bottom) = np.maximum(low, 0).astype(int).tolist(), high.astype(int).tolist()
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        annotation["boundingPoly"] = {"vertices": [_without_zeros({"x": x, "y": y}) for x, y in corners]}
    if landmark.latitude is not None and landmark.longitude is not None:
        place = {"latitude": landmark.latitude, "longitude": landmark.longitude}
        annotation["locations"] = [{"latLng": _without_zeros(place)}]
    return annotation


def _without_zeros(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as protocol buffers write them: what is zero goes without saying."""
    return {key: value for key, value in fields.items() if value}


def _get(given: Mapping[str, Any], key: str, kind: type, unless: Any) -> Any:
    """Return a field by its name in JSON or in protocol buffers; FaultError for one of another kind."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in key)
    value = given.get(key, given.get(snake))
    if value is None:
        return unless
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FaultError(BAD_IMAGE, f"{key}: expected {kind.__name__}, got {type(value).__name__}")
    return value
