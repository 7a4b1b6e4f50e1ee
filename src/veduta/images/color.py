"""Colors as their ICC profile means them, told to sRGB, which networks and pages take."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import lru_cache
from typing import Any

import PIL.Image
from PIL import ImageCms

MAX_PROFILE_BYTES = 4 * 2**20
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # a profile's color space -> the mode of its pictures
_COLOR_SPACE = slice(16, 20)  # of a profile's head


def to_srgb(picture: PIL.Image.Image, profile: object) -> PIL.Image.Image:
    """Return a picture in RGB, by its profile in sRGB.

    Args:
        picture: of mode RGB, L or CMYK.
        profile: its ICC profile as bytes. Without one, with one that is damaged or that belongs to another mode, the
            numbers are taken as they are.
    """
    if not isinstance(profile, bytes) or len(profile) > MAX_PROFILE_BYTES:
        return picture.convert("RGB")
    space = profile[_COLOR_SPACE].decode("latin-1").strip()
    if _SPACES.get(space) != picture.mode or (space == "RGB" and _is_srgb(profile)):
        return picture.convert("RGB")
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, _srgb(), outputMode="RGB")
        if converted is not None:
            return converted
    return picture.convert("RGB")


def _is_srgb(profile: bytes) -> bool:
    """Return whether a profile names itself sRGB: most photos' do, and are left as they are to the last bit."""
    return b"sRGB" in profile or b"s\0R\0G\0B" in profile


@lru_cache(maxsize=1)
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")
