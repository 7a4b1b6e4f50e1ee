"""Requests and answers of Google Cloud Vision's LANDMARK_DETECTION, as far as this server supports them.

https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from veduta.web.fields import Base64, Number, WholeNumber
from veduta.web.request import RequestModel

MAX_IMAGES = 16  # requests of one batch
FEATURE = ("LANDMARK_DETECTION", 2, "2")  # by name and by number
PARENT = re.compile(r"projects/[^/]+(/locations/[^/]+)?")
CAMEL_CASE = ConfigDict(alias_generator=to_camel, populate_by_name=True)  # or names as in protocol buffers


# --- requests ---------------------------------------------------------------------------------------------------


class Coordinates(RequestModel):
    """A place in degrees; zero is left out."""

    latitude: Number = 0.0
    longitude: Number = 0.0


class LatLongRect(RequestModel):
    """The corners of a rectangle on the map."""

    model_config = CAMEL_CASE

    min_lat_lng: Coordinates = Field(default_factory=Coordinates)
    max_lat_lng: Coordinates = Field(default_factory=Coordinates)


class ImageContext(RequestModel):
    """Hints about an image."""

    model_config = CAMEL_CASE

    lat_long_rect: LatLongRect | None = None


class ImageSource(RequestModel):
    """The address of an image."""

    model_config = CAMEL_CASE

    image_uri: str = ""
    gcs_image_uri: str = ""


class VisionImage(RequestModel):
    """An image, or its address."""

    content: Base64 = b""
    source: ImageSource = Field(default_factory=ImageSource)


class VisionFeature(RequestModel):
    """A kind of annotation, by its name or number, and how many of them at most."""

    model_config = CAMEL_CASE

    type: Annotated[Any, WithJsonSchema({"enum": [FEATURE[0]]})] = 0
    max_results: WholeNumber = 0


class AnnotateRequest(RequestModel):
    """An image and the annotations to make."""

    model_config = CAMEL_CASE

    image: VisionImage = Field(default_factory=VisionImage)
    features: list[VisionFeature] = Field(default_factory=list)
    image_context: ImageContext = Field(default_factory=ImageContext)


class OutputConfig(RequestModel):
    """The place to write results to, of which there is none here."""

    model_config = CAMEL_CASE

    gcs_destination: Any = None


def _any_object(requests: list[Any]) -> list[Any]:
    """Return the requests if at least one is an object; those that are none get errors of their own beside that."""
    if not any(isinstance(request, dict) for request in requests):
        raise PydanticCustomError("object", "expected objects")
    return requests


class BatchRequest(RequestModel):
    """Requests, each parsed by itself: a malformed one gets its own error."""

    model_config = CAMEL_CASE

    requests: Annotated[list[Any], Field(min_length=1), AfterValidator(_any_object)]
    output_config: OutputConfig = Field(default_factory=OutputConfig)
    parent: str = ""

    @property
    def prefix(self) -> str:
        """The beginning of the names of operations for this parent."""
        return f"{self.parent}/" if PARENT.fullmatch(self.parent) else ""


class DescribedBatch(RequestModel):
    """A batch as the description of the service has it."""

    requests: list[AnnotateRequest] = Field(min_length=1, max_length=MAX_IMAGES)


# --- answers: a field that is zero or empty is left out, as protocol buffers write them ------------------------------


class Vertex(BaseModel):
    """A corner in pixels of the upright image."""

    x: int = 0
    y: int = 0


class BoundingPoly(BaseModel):
    """The box around the matched points."""

    vertices: list[Vertex]


class LatLng(BaseModel):
    """A place in degrees."""

    latitude: float = 0.0
    longitude: float = 0.0


class LocationInfo(BaseModel):
    """The place of a landmark."""

    model_config = CAMEL_CASE

    lat_lng: LatLng


class Annotation(BaseModel):
    """A landmark in an image: its id, name, confidence, box and place."""

    model_config = CAMEL_CASE

    mid: str
    description: str
    score: float
    bounding_poly: BoundingPoly | None = None
    locations: list[LocationInfo] = []


class RpcStatus(BaseModel):
    """An error with a code of google.rpc."""

    code: int
    message: str


class AnnotateResponse(BaseModel):
    """The landmarks in one image, or an error."""

    model_config = CAMEL_CASE

    landmark_annotations: list[Annotation] = []
    error: RpcStatus | None = None


class BatchResponse(BaseModel):
    """The answers to a batch, in the order of its requests."""

    responses: list[AnnotateResponse]


class OperationResult(BaseModel):
    """The answers to a batch, with their type as protocol buffers name it."""

    type: str = Field(serialization_alias="@type")
    responses: list[AnnotateResponse]


class OperationMetadata(BaseModel):
    """The state of an operation and when that was reached, with its type."""

    model_config = CAMEL_CASE

    type: str = Field(serialization_alias="@type")
    state: str
    create_time: str
    update_time: str


class Operation(BaseModel):
    """An operation that is done."""

    name: str
    metadata: OperationMetadata
    done: bool
    response: OperationResult
