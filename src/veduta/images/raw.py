"""RAW photos, seen through the preview that the camera put into each: made to be looked at, and read in no time."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import Any

from PIL.JpegImagePlugin import JpegImageFile

from veduta.errors import ImageError
from veduta.images import jpeg, read_bytes
from veduta.images.tiff import EXIF_POINTER, GPS_POINTER, ORIENTATION, SHORT, Field, Tiff, block, numbers, text
from veduta.text import utf8
from veduta.viz import encode

RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef"}
    | {".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
"""Lower-case suffixes by which a RAW is known."""

SMALLEST = 512  # pixels of the longer side: less shows no landmark
MOST_PIXELS = 200_000_000
QUALITY = 92
_TURNS = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's number for how the camera was held -> EXIF's
_SOFTWARE, _CHANGED, _ORIGINAL = 0x0131, 0x0132, 0x9003
_TIMES = (_ORIGINAL, 0x9004, 0x9011, 0x9291)  # when, when digitised, in which zone, and the fraction of a second
_PLACE = range(8)  # of the position: its version, latitude, longitude, altitude and time
_LONGEST = 64  # values in any of them
_LIBRAW = b"dcraw"  # how LibRaw signs the EXIF that it makes for previews without


def preview(path: str | os.PathLike[str]) -> bytes:
    """Return a JPEG of a RAW that `images.load` decodes upright, with the time and position that its camera wrote.

    It is the preview in the file; where there is none, or one too small to recognise anything by, the RAW is developed
    at half its size.

    Raises:
        ImageError: if rawpy is not installed, or the file cannot be read.
    """
    name = utf8(os.fsdecode(path))
    rawpy = _rawpy(name)
    data, _ = read_bytes(path)
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            picture, turn = _embedded(rawpy, raw) or (_developed(raw, name), 1)
            moment = raw.other.timestamp
    except (rawpy.LibRawError, rawpy.NotSupportedError, MemoryError) as error:
        raise ImageError(name, "is a RAW that is damaged, cut short or unusual", "save it as JPEG") from error
    photo = jpeg.split(picture)
    return photo.without(jpeg.EXIF).with_body(jpeg.EXIF, _exif(data, photo, moment, turn).data).joined()


def check_installed(name: str) -> None:
    """Raise ImageError, about the RAW of this name, when what reads RAWs is not installed."""
    _rawpy(name)


def _rawpy(name: str) -> ModuleType:
    try:
        import rawpy
    except ImportError as error:
        raise ImageError(name, "is a RAW, which takes rawpy", "install it with: pip install 'veduta[raw]'") from error
    library: ModuleType = rawpy
    return library


def _embedded(rawpy: ModuleType, raw: Any) -> tuple[bytes, int] | None:
    """Return the preview as JPEG, and how it is to be turned, as EXIF's number; None where it is worth nothing."""
    try:
        found = raw.extract_thumb()
    except rawpy.LibRawNonFatalError:  # none, or of a kind that LibRaw cannot read
        return None
    # A bitmap has a third axis even where it is grey.
    data = found.data if found.format == rawpy.ThumbFormat.JPEG else encode(found.data.squeeze(), "jpeg", QUALITY)
    try:
        photo = jpeg.split(data)
        width, height = JpegImageFile(io.BytesIO(photo.without(jpeg.EXIF).joined())).size
    except (ValueError, SyntaxError, OSError):  # Pillow's words for what is no JPEG
        return None
    sensor = raw.sizes.width, raw.sizes.height
    if max(width, height) < min(SMALLEST, max(sensor) // 2):
        return None
    return data, _turn(photo, raw.sizes.flip, is_turned=(width < height) != (sensor[0] < sensor[1]))


def _turn(photo: jpeg.Jpeg, flip: int, *, is_turned: bool) -> int:
    """Return how a preview is to be turned: as its camera says in it, else as the RAW is, unless it is upright."""
    tiff = _of_camera(photo)
    said = tiff and tiff.fields(tiff.first).get(ORIENTATION)
    if tiff and said:
        return tiff.number(said.place or 0, "H")
    # Some cameras turn the preview themselves and say so nowhere.
    return 1 if flip in (5, 6) and is_turned else _TURNS.get(flip, 1)


def _developed(raw: Any, name: str) -> bytes:
    """Return the RAW developed at half its size, upright."""
    width, height = raw.sizes.width, raw.sizes.height
    if width * height > MOST_PIXELS:
        much = f"is {width} x {height}, more than {MOST_PIXELS:,} pixels"
        raise ImageError(name, much, "save it as JPEG, smaller")
    return encode(raw.postprocess(half_size=True, use_camera_wb=True), "jpeg", QUALITY)


def _of_camera(photo: jpeg.Jpeg) -> Tiff | None:
    """Return a preview's own EXIF, or None; LibRaw puts some before it, with positions that lack their side."""
    return next((tiff for tiff in map(_own, photo.bodies(jpeg.EXIF)) if tiff), None)


def _own(body: bytes) -> Tiff | None:
    """Return EXIF, or None if it is LibRaw's or damaged."""
    try:
        tiff = Tiff(body)
        software = tiff.fields(tiff.first).get(_SOFTWARE)
        return None if software and tiff.value(software).startswith(_LIBRAW) else tiff
    except ValueError:
        return None


def _exif(data: bytes, photo: jpeg.Jpeg, moment: datetime | None, turn: int) -> Tiff:
    """Return EXIF with how to turn the preview, and with the time and position told in the RAW, else in its preview."""
    facts = _facts(lambda: Tiff(data)) or _facts(lambda: _of_camera(photo)) or _Facts("<", [], [], [])
    shot = facts.asset
    if not shot and not facts.file and moment is not None and moment.year > 1970:  # what LibRaw has for an unset clock
        shot = [text(_ORIGINAL, f"{moment:%Y:%m:%d %H:%M:%S}")]
    return block(facts.order, [numbers(ORIENTATION, SHORT, (turn,), facts.order), *facts.file], shot, facts.place)


@dataclass(frozen=True)
class _Facts:
    """Fields of EXIF as they can be written elsewhere: of the file, of the shot, of its place."""

    order: str
    file: list[Field]
    asset: list[Field]
    place: list[Field]


def _facts(source: Callable[[], Tiff | None]) -> _Facts | None:
    """Return the time and position that EXIF tells, or None where it tells neither or is none."""
    try:
        tiff = source()
        if tiff is None:
            return None
        first = tiff.fields(tiff.first)
        shot = first | tiff.pointed(first, EXIF_POINTER)  # some makers have all in one
        place = tiff.pointed(first, GPS_POINTER)
        kept = _kept(tiff, [_CHANGED], first), _kept(tiff, _TIMES, shot), _kept(tiff, _PLACE, place)
    except ValueError:
        return None
    return _Facts(tiff.order, *kept) if any(kept) else None


def _kept(tiff: Tiff, tags: Iterable[int], fields: dict[int, Field]) -> list[Field]:
    """Return the fields with these tags as they can be written elsewhere; one as long as none of them is, is broken."""
    return [tiff.whole(fields[tag]) for tag in tags if tag in fields and fields[tag].count <= _LONGEST]
