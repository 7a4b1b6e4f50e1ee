"""The shape of PhotoPrism's vision service for labels: the landmark as a label of the photo, no label for none.

https://docs.photoprism.app/developer-guide/vision/
"""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from veduta import __version__
from veduta.errors import ImageError
from veduta.web.engine import Engine
from veduta.web.errors import ApiError
from veduta.web.openapi import LABELS_BODY
from veduta.web.request import decode_base64, is_text, read_json
from veduta.web.routes.api import EngineDependency

photoprism_router = APIRouter(prefix="/api/v1/vision", tags=["like PhotoPrism"])
PRIORITY = 10  # of a landmark among a photo's labels


@photoprism_router.post("/labels", openapi_extra=LABELS_BODY)
async def labels(request: Request, engine: EngineDependency, gallery: str | None = None) -> JSONResponse:
    """Return the landmarks of a photo given as data URLs of its pictures, as labels."""
    id = uuid.uuid4().hex
    try:
        async with engine.admit():
            body = await read_json(request)
            given = body.get("id")
            id = given[:200] if isinstance(given, str) and given and is_text(given) else id
            images = body.get("images")
            if not isinstance(images, list) or not images or not all(isinstance(each, str) for each in images):
                raise ApiError(400, "images: expected a list of data URLs")
            if len(images) > engine.settings.max_photos:
                raise ApiError(400, f"images: expected at most {engine.settings.max_photos}, got {len(images)}")
            found = await engine.run(_labels, engine, images, gallery)
    except ApiError as error:  # its clients read an error as text
        told = {"id": id, "code": error.code, "error": error.message, "result": {"labels": []}}
        return JSONResponse(told, error.code, error.headers)
    model = {"type": "labels", "name": "veduta", "version": __version__}
    return JSONResponse({"id": id, "code": 200, "model": model, "result": {"labels": found}})


def _labels(engine: Engine, images: list[str], gallery: str | None) -> list[dict[str, Any]]:
    sure: dict[str, float] = {}
    for number, address in enumerate(images):
        if not address.startswith("data:"):
            raise ApiError(400, f"images[{number}]: expected a data URL; no address is fetched")
        try:
            image = engine.decode(decode_base64(address, f"images[{number}]"), f"images[{number}]")
        except ImageError as error:
            raise ApiError(400, str(error)) from error
        _, found, _ = engine.best(image, engine.select_galleries(gallery))
        if found.landmark is not None:
            sure[found.landmark.name] = max(found.confidence, sure.get(found.landmark.name, 0.0))
    return [
        {
            "name": name,
            "source": "image",
            "priority": PRIORITY,
            "confidence": round(confidence, 6),
            "topicality": round(confidence, 6),
            "categories": ["landmark"],
        }
        for name, confidence in sorted(sure.items(), key=lambda item: (-item[1], item[0]))
    ]
