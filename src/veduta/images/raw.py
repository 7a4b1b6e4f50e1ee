"""RAW photos, seen through the preview that the camera put into each: made to be looked at, and read in no time."""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any

import PIL.Image

from veduta.errors import ImageError, NotInstalledError, TooLargeError, install_extra
from veduta.images.formats import JpegPhoto, OpenedPhoto
from veduta.images.metadata import PhotoMetadata, jpeg, read_metadata
from veduta.images.metadata.exif import Exif
from veduta.images.metadata.iptc import Iptc
from veduta.images.metadata.values import Moment
from veduta.images.metadata.xmp import XmpPacket

MIN_PREVIEW_SIDE = 512  # pixels of the longer side: less shows no landmark
_LIBRAW = b"dcraw"  # how LibRaw signs the EXIF that it makes for previews without
_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's number for how the camera was held -> EXIF's
_UNSET_CLOCK = 1970  # LibRaw's year for a camera whose clock was not set


def open_raw(data: bytes, shown: str, max_pixels: int) -> OpenedPhoto:
    """Return the preview in a RAW, not decoded yet, with the time and position that its camera wrote.

    Where there is none, or one too small to recognize anything by, the RAW is developed at half its size.

    Args:
        data: the RAW.
        shown: what to call the photo in messages.
        max_pixels: most pixels of a RAW that is developed.

    Raises:
        NotInstalledError: if rawpy is not installed.
        ImageError: if the RAW cannot be read.
    """
    rawpy = _rawpy(shown)
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            preview = _embedded(rawpy, raw)
            if preview is None:
                picture, orientation, own = _developed(raw, shown, max_pixels), 1, Exif(None)
            else:
                picture, own = preview
                orientation = _orientation(own, raw.sizes, picture.size)
            moment = raw.other.timestamp
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise ImageError(shown, "is a RAW that is damaged, cut short or unusual", "save it as JPEG") from error
    # The RAW has the last word: time and position are both its own, or both its preview's.
    of_preview = PhotoMetadata.of(own, XmpPacket(), Iptc())
    source = next(
        (said for said in (read_metadata(data, "RAW"), of_preview) if said.taken or said.position), of_preview
    )
    clock = Moment(moment) if moment is not None and moment.year > _UNSET_CLOCK else None
    return OpenedPhoto(picture, orientation, source.position, source.taken or clock)


def _rawpy(shown: str) -> ModuleType:
    try:
        import rawpy
    except ImportError as error:
        remedy = install_extra("raw")
        raise NotInstalledError(shown, "is a RAW, which takes rawpy", remedy) from error
    library: ModuleType = rawpy
    return library


def _embedded(rawpy: ModuleType, raw: Any) -> tuple[PIL.Image.Image, Exif] | None:
    """Return the preview and its camera's EXIF; None where there is no preview of use."""
    try:
        preview = raw.extract_thumb()
        if preview.format == rawpy.ThumbFormat.JPEG:
            own = _camera_exif(preview.data)
            picture: PIL.Image.Image = JpegPhoto(io.BytesIO(preview.data), "")
        else:  # a bitmap, which has a third axis even where it is gray
            own, picture = Exif(None), PIL.Image.fromarray(preview.data.squeeze()).copy()
    except rawpy.LibRawNonFatalError:  # none, or of a kind that LibRaw cannot read
        return None
    except (ValueError, SyntaxError, OSError):  # Pillow's words for what is no JPEG
        return None
    sensor = max(raw.sizes.width, raw.sizes.height)
    return (picture, own) if max(picture.size) >= min(MIN_PREVIEW_SIDE, sensor // 2) else None


def _camera_exif(preview: bytes) -> Exif:
    """Return a preview's own EXIF; LibRaw puts one before, with positions that lack their side."""
    all_exif = (Exif(body) for body in jpeg.metadata(preview, jpeg.EXIF))
    return next((exif for exif in all_exif if not exif.is_empty and not exif.software.startswith(_LIBRAW)), Exif(None))


def _orientation(own: Exif, sizes: Any, preview: tuple[int, int]) -> int:
    """Return a preview's orientation: its camera's, else the RAW's, unless the preview is upright."""
    if own.orientation is not None:
        return own.orientation
    # Some cameras turn the preview themselves and say so nowhere.
    is_turned = (preview[0] < preview[1]) != (sizes.width < sizes.height)
    return 1 if sizes.flip in (5, 6) and is_turned else _ORIENTATIONS.get(sizes.flip, 1)


def _developed(raw: Any, shown: str, max_pixels: int) -> PIL.Image.Image:
    """Return the RAW developed at half its size, upright."""
    width, height = raw.sizes.width, raw.sizes.height
    if width * height > max_pixels:
        problem = f"is {width} x {height}, more than {max_pixels:,} pixels"
        raise TooLargeError(shown, problem, "make it smaller or raise max_pixels")
    return PIL.Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True))
