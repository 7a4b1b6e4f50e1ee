"""Fields of requests: photos as files or as base64, texts and numbers, as the clients of several kinds write them."""

from __future__ import annotations

import base64
import binascii
import unicodedata
from contextlib import suppress
from typing import Annotated, NamedTuple
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from veduta.errors import ImageError

MAX_NAME = 200  # characters of a photo's name
MAX_TEXT = 500  # characters of an id or a name
STANDARD, SPACES = bytes.maketrans(b"-_", b"+/"), b" \t\r\n\v\f"  # digits of the other alphabet, and what lines end in
BASE64_SCHEMA = {"type": "string", "contentEncoding": "base64"}
PHOTO_SCHEMA = {
    "type": "object",
    "required": ["content"],
    "properties": {"name": {"type": "string"}, "content": BASE64_SCHEMA},
}


class UploadedPhoto(NamedTuple):
    """A photo as a client sent it.

    Attributes:
        name: to show.
        content: the file's bytes.
        fault: why there are none; empty where there are.
    """

    name: str
    content: bytes
    fault: str = ""

    def readable(self) -> bytes:
        """Return the file's bytes; ImageError where the client sent none that can be read."""
        if self.fault:
            raise ImageError(self.name, self.fault, "send the file's bytes as base64")
        return self.content


def decode_base64(content: object) -> bytes:
    """Return the bytes of base64, or of a data URL of it.

    Taken is all that proto3's JSON allows and that common tools write: both alphabets, with padding or without, in one
    line or in many.
    """
    if not isinstance(content, str):
        raise PydanticCustomError("base64", "expected base64")
    content = content.strip()
    head, comma, _ = content[:200].partition(",")
    if comma and head[:5].lower() == "data:":
        content = unquote(content[len(head) + 1 :])
    try:
        digits = content.encode("ascii").translate(STANDARD, SPACES)
        body = digits.rstrip(b"=")
        padded = digits if len(body) < len(digits) else body + b"=" * (-len(body) % 4)
        return base64.b64decode(padded, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise PydanticCustomError("base64", "is not base64") from None


def _to_photo(value: object, info: ValidationInfo) -> UploadedPhoto:
    """Return a file of a form, or in JSON {"name", "content"} or base64 alone, as a photo."""
    if isinstance(value, UploadedPhoto):
        return value
    if info.context == "form":
        raise PydanticCustomError("photo", "expected a file, got text; name the file in the form")
    name, content = _name_and_content(value)
    return UploadedPhoto(name, decode_base64(content))


def _name_and_content(value: object) -> tuple[str, object]:
    name, content = (value.get("name"), value.get("content")) if isinstance(value, dict) else (None, value)
    return clean_name(name if isinstance(name, str) else None), content


def _to_photos(value: object, info: ValidationInfo) -> list[object]:
    """Return what was sent as a list of photos; one that is malformed beside others keeps its fault for its own answer.

    Where none can be read the list comes back as it is, and the request is refused.
    """
    values = value if isinstance(value, list) else [value]
    photos: list[object] = []
    for one in values:
        try:
            photos.append(_to_photo(one, info))
        except PydanticCustomError as error:
            photos.append(UploadedPhoto(_name_and_content(one)[0], b"", error.message()))
    return values if all(isinstance(photo, UploadedPhoto) and photo.fault for photo in photos) else photos


def clean_name(name: str | None) -> str:
    """Return a client's name of a photo, fit to be shown; no path of the server is ever made from that."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    printable = "".join(c for c in last if unicodedata.category(c)[0] != "C")[:MAX_NAME]
    return printable or "photo"


def is_text(value: str) -> bool:
    """Return whether a text can be stored."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _check_text(value: str) -> str:
    if not is_text(value):
        raise PydanticCustomError("text", "expected text that can be stored")
    return value


def _check_address(value: str) -> str:
    if value and not value.startswith(("https://", "http://")):
        raise PydanticCustomError("address", "expected an address that begins with https:// or http://")
    return value


def _check_number(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("number", "expected a number")
    return value


def _whole(value: object) -> object:
    """Return a whole number from all that proto3's JSON writes as one: ``3``, ``"3"``, ``3.0`` and ``"3e0"``."""
    if isinstance(value, str):
        with suppress(ValueError):
            number = float(value)
            return int(number) if number.is_integer() else value
    return _check_number(value)


Base64 = Annotated[bytes, PlainValidator(decode_base64), WithJsonSchema(BASE64_SCHEMA)]
PhotoField = Annotated[UploadedPhoto, PlainValidator(_to_photo), WithJsonSchema(PHOTO_SCHEMA)]
OnePhoto = Annotated[
    PhotoField, BeforeValidator(lambda value: value[0] if isinstance(value, list) and value else value)
]
Photos = Annotated[list[PhotoField], Field(min_length=1), BeforeValidator(_to_photos)]
Text = Annotated[str, AfterValidator(_check_text)]
Identifier = Annotated[Text, Field(min_length=1, max_length=MAX_TEXT)]
WebAddress = Annotated[Text, AfterValidator(_check_address)]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_check_number)]
WholeNumber = Annotated[int, BeforeValidator(_whole)]
