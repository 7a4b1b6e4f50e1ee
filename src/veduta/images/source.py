"""A photo in any of the forms a program may have: a path, the bytes of a file, an `Image` or a PIL image."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias, cast

import PIL.Image

from veduta.errors import ImageError
from veduta.images.decode import MAX_PIXELS, check_size, load, upright_pixels
from veduta.images.metadata.exif import Exif
from veduta.images.photo_bytes import PhotoBytes
from veduta.landmarks import Position
from veduta.types import Image

Buffer: TypeAlias = bytes | bytearray | memoryview
PhotoSource: TypeAlias = str | os.PathLike[str] | Buffer | PhotoBytes | Image | PIL.Image.Image
KINDS = (str, os.PathLike, bytes, bytearray, memoryview, PhotoBytes, Image, PIL.Image.Image)
EXPECTED = "a path, the bytes of a photo, an Image or a PIL image"


def as_photos(photos: PhotoSource | Iterable[PhotoSource]) -> Iterable[PhotoSource]:
    """Return the photos, also where one was given instead of several; TypeError for what is neither.

    >>> list(as_photos("holiday.jpg"))
    ['holiday.jpg']
    """
    one = isinstance(photos, KINDS) or hasattr(photos, "shape")  # an array of pixels is iterable too, by rows
    return cast("Iterable[PhotoSource]", photos) if isinstance(photos, Iterable) and not one else [checked(photos)]


def checked(source: object) -> PhotoSource:
    """Return a photo as given; TypeError for an object that is none."""
    if not isinstance(source, KINDS):
        array = "; veduta.images.from_array makes an Image of pixels" if hasattr(source, "shape") else ""
        raise TypeError(f"expected {EXPECTED}, got {type(source).__name__}{array}")
    return source


def load_photo(source: PhotoSource, *, name: str | None = None) -> Image:
    """Return a photo, upright RGB, as `load` does; an `Image` as it is.

    Args:
        source: the photo.
        name: what to call the photo; its path, ``<bytes>`` or the PIL image's file when None.

    Raises:
        ImageError: the photo cannot be read.
        TypeError: the object is no photo.
    """
    source = checked(source)
    if isinstance(source, Image):
        return source
    if isinstance(source, PIL.Image.Image):
        return _from_pillow(source, name or str(getattr(source, "filename", "") or "<PIL image>"))
    return load(bytes(source) if isinstance(source, bytearray | memoryview) else source, name=name)


def _from_pillow(picture: PIL.Image.Image, name: str, max_side: int = 1024) -> Image:
    """Return a PIL image upright in sRGB, turned and placed as its EXIF says."""
    exif = Exif(picture.info.get("exif"))
    check_size(picture.size, name, MAX_PIXELS)
    try:
        pixels, (width, height) = upright_pixels(picture, exif.orientation or 1, max_side)
    except Exception as error:  # its file is decoded only now, and decoders raise nearly anything
        raise ImageError(name, "is a PIL image whose pixels cannot be read", "load it anew") from error
    return Image(pixels, width, height, name, position=Position(*exif.position) if exif.position else None)
