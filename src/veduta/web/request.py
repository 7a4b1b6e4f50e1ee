"""What clients send: photos as files of a form or as base64 in JSON, and the options beside them."""

from __future__ import annotations

import base64
import binascii
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from veduta.web.errors import ApiError
from veduta.web.settings import Settings

LONGEST_NAME = 200
MOST_FIELDS = 64


@dataclass(frozen=True)
class RequestBody:
    """What one request brought.

    Attributes:
        files: field -> (name, bytes) of its files.
        fields: the other fields; texts from a form, anything from JSON.
    """

    files: Mapping[str, list[tuple[str, bytes]]]
    fields: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        """Return a field as text, or None where it is missing or empty."""
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or not is_text(value):
            raise ApiError(400, f"{name}: expected text, got {_shown(value)}")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """Return a field as a number between two bounds, or None where it is missing or empty."""
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value) if not isinstance(value, bool) else float("nan")
        except (OverflowError, TypeError, ValueError):
            number = float("nan")
        if not low <= number <= high:
            raise ApiError(400, f"{name}: expected a number from {low:g} to {high:g}, got {_shown(value)}")
        return number

    def choice(self, name: str, of: tuple[str, ...], unless: str) -> str:
        """Return a field that is one of several words."""
        value = self.text(name) or unless
        if value not in of:
            raise ApiError(400, f"{name}: expected one of {', '.join(of)}, got {_shown(value)}")
        return value

    def flag(self, name: str) -> bool:
        """Return whether a field says yes."""
        value = self.fields.get(name, False)
        if isinstance(value, bool):
            return value
        if value in ("true", "1", "on", "yes"):
            return True
        if value in ("false", "0", "off", "no", "", None):
            return False
        raise ApiError(400, f"{name}: expected true or false, got {_shown(value)}")

    def photos(self, name: str, settings: Settings) -> list[tuple[str, bytes]]:
        """Return the photos of a field, at least one."""
        found = self.files.get(name, [])
        if not found:
            raise ApiError(400, f"{name}: expected at least one photo, got none")
        if len(found) > settings.max_photos:
            raise ApiError(400, f"{name}: expected at most {settings.max_photos} photos, got {len(found)}")
        return found


async def read(request: Request, settings: Settings, files: tuple[str, ...]) -> RequestBody:
    """Return what a request brought, as a form or as JSON.

    Args:
        request: its body has not been read.
        settings: the limits.
        files: the fields that hold photos; in JSON each is a list of {"name", "content"}, or one of them.

    Raises:
        RefusalError: it is neither, or is malformed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request, settings, files)
    if kind == "application/json":
        return _sent(await read_json(request), files)
    raise ApiError(415, f"expected multipart/form-data or application/json, got {_shown(kind or 'no content type')}")


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON ({str(error)[:80]})") from None
    if not isinstance(body, dict):
        raise ApiError(400, "the body: expected a JSON object")
    return body


class _Form(MultiPartParser):
    """A form whose files stay in memory, however large: the body has a limit, and no photo is written anywhere."""

    spool_max_size = 2**40


async def _read_form(request: Request, settings: Settings, files: tuple[str, ...]) -> RequestBody:
    most = {"max_files": settings.max_photos + 1, "max_fields": MOST_FIELDS}
    try:
        form = await _Form(request.headers, request.stream(), **most).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise ApiError(400, f"the form is malformed ({getattr(error, 'message', error)})") from None
    found: dict[str, list[tuple[str, bytes]]] = {}
    fields: dict[str, Any] = {}
    try:
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                found.setdefault(key, []).append((clean_name(value.filename), await value.read()))
            else:
                fields[key] = value
    finally:
        await form.close()
    wrong = [key for key in files if key in fields]
    if wrong:
        raise ApiError(400, f"{wrong[0]}: expected a file, got text; name the file in the form")
    return RequestBody(found, fields)


def _sent(body: dict[str, Any], files: tuple[str, ...]) -> RequestBody:
    found: dict[str, list[tuple[str, bytes]]] = {}
    for key in files:
        if key in body:
            given = body[key] if isinstance(body[key], list) else [body[key]]
            found[key] = [_photo(f"{key}[{i}]", each) for i, each in enumerate(given)]
    return RequestBody(found, {key: value for key, value in body.items() if key not in files})


def _photo(where: str, given: object) -> tuple[str, bytes]:
    """Return the name and bytes of {"name", "content"} or of base64 alone."""
    content = given.get("content") if isinstance(given, dict) else given
    name = given.get("name") if isinstance(given, dict) else None
    if not isinstance(content, str):
        raise ApiError(400, f"{where}: expected base64, or an object with base64 as its content, got {_shown(given)}")
    return clean_name(name if isinstance(name, str) else None), decode_base64(content, where)


def decode_base64(content: str, where: str) -> bytes:
    """Return what base64, or a data URL of it, stands for."""
    head, comma, _ = content[:200].partition(",")
    if comma and head.startswith("data:"):
        content = content[len(head) + 1 :]
    try:
        return base64.b64decode(content.replace("-", "+").replace("_", "/").encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ApiError(400, f"{where}: is not base64") from None


def clean_name(name: str | None) -> str:
    """Return what a client calls a photo, fit to be shown: it is never a path here."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    shown = "".join(c for c in last if unicodedata.category(c)[0] != "C")[:LONGEST_NAME]
    return shown or "photo"


def is_text(value: str) -> bool:
    """Return whether a text can be stored."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _shown(value: object) -> str:
    return ascii(value)[:60]
