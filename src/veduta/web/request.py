"""Bodies of requests: JSON or forms as pydantic models, read within the limits and described for OpenAPI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError, model_validator
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from veduta.web.errors import ApiError, first_problem
from veduta.web.fields import UploadedPhoto, clean_name
from veduta.web.settings import Settings

MAX_FIELDS = 64
MAX_VALUES = 10_000  # commas in a JSON body: sixteen photos with all their fields have a few hundred
FILE_SCHEMA = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}


# --- bodies -----------------------------------------------------------------------------------------------------


class RequestModel(BaseModel):
    """The body of a request; a field that is null or empty counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {key: value for key, value in fields.items() if value is not None and value != ""}


Body = TypeVar("Body", bound=RequestModel)


def parse_body(model: type[Body], fields: object, context: str = "json") -> Body:
    """Return a body as its model.

    Raises:
        ApiError: a field is missing or of another kind; the message begins with its name.
    """
    try:
        return model.model_validate(fields, context=context)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise ApiError(400, first_problem(problems)) from None


async def read(request: Request, settings: Settings, model: type[Body]) -> Body:
    """Return the body of a request, sent as a form or as JSON.

    Args:
        request: its body has not been read.
        settings: the limits.
        model: of the body.

    Raises:
        ApiError: the body is neither, is malformed, or has too many photos.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        body = parse_body(model, await _read_form(request, settings), "form")
    elif kind == "application/json":
        fields = await read_json(request)
        if isinstance(fields.get("photos"), list):  # before the content of any is looked at
            check_count("photos", fields["photos"], settings.max_photos)
        body = await asyncio.to_thread(parse_body, model, fields)
    else:
        shown = ascii(kind or "no content type")[:60]
        raise ApiError(415, f"expected multipart/form-data or application/json, got {shown}")
    check_count("photos", getattr(body, "photos", ()), settings.max_photos)
    return body


def check_count(name: str, items: Any, most: int) -> None:
    """Refuse a list with more than `most` items."""
    if len(items) > most:
        raise ApiError(400, f"{name}: expected at most {most}, got {len(items)}")


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request, parsed beside the event loop, which goes on answering others."""
    content = await request.body()
    if content.count(b",") > MAX_VALUES:
        raise ApiError(400, f"the body: expected at most {MAX_VALUES:,} values")
    try:
        body = await asyncio.to_thread(json.loads, content)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON ({str(error)[:80]})") from None
    if not isinstance(body, dict):
        raise ApiError(400, "the body: expected a JSON object")
    return body


class _Form(MultiPartParser):
    """A form whose files stay in memory, however large: the body has a limit, and no photo is written anywhere."""

    spool_max_size = max_file_size = 2**40  # by its names from Starlette 0.46 on, and before


async def _read_form(request: Request, settings: Settings) -> dict[str, Any]:
    """Return the fields of a form: texts, and lists of the files of one name."""
    limits = {"max_files": settings.max_photos + 1, "max_fields": MAX_FIELDS}
    try:
        form = await _Form(request.headers, request.stream(), **limits).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise ApiError(400, f"the form is malformed ({getattr(error, 'message', error)})") from None
    files: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    try:
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.setdefault(key, []).append(UploadedPhoto(clean_name(value.filename), await value.read()))
            else:
                texts[key] = value
    finally:
        await form.close()
    return files | texts


# --- their description ------------------------------------------------------------------------------------------


def describe_body(model: type[BaseModel], *, form: bool = False) -> dict[str, Any]:
    """Return the part of a route's OpenAPI description for a body that is read by hand.

    Args:
        model: of the body.
        form: whether the body may also come as a form with files.
    """
    described = model.model_json_schema()
    definitions = described.pop("$defs", {})
    schema = _replaced(described, lambda part: definitions.get(str(part.get("$ref")).rpartition("/")[2]))
    content = {"application/json": {"schema": schema}}
    if form:
        files = _replaced(schema, lambda part: FILE_SCHEMA if "content" in part.get("properties", ()) else None)
        content = {"multipart/form-data": {"schema": files}, **content}
    return {"requestBody": {"required": True, "content": content}}


def _replaced(schema: Any, replacement: Callable[[dict[str, Any]], Any]) -> Any:
    """Return a schema with each part for which there is a replacement replaced."""
    if isinstance(schema, list):
        return [_replaced(part, replacement) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if (new := replacement(schema)) is not None:
        return _replaced(new, replacement)
    return {key: _replaced(value, replacement) for key, value in schema.items()}
