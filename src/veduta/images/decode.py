"""Photos decoded: upright RGB pixels of any format, reduced while they are read."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from veduta.errors import ImageError, TooLargeError
from veduta.files import MEGABYTE
from veduta.images import formats, raw
from veduta.images.color import to_srgb
from veduta.images.cost import MAX_SCANS, MAX_TILES, held_bytes, passes, pieces
from veduta.images.photo_bytes import MAX_BYTES, PhotoBytes, check_length, read_bytes
from veduta.landmarks import Position
from veduta.types import Image, UInt8

MAX_MEMORY = 4 * 2**30  # bytes held while one photo is decoded
MAX_PIXELS = 10**9  # most are bounded by memory; a JPEG is reduced while it is decoded, which takes little of it
RAW_MEMORY = 256 * MEGABYTE
BAND = 256  # rows flattened at a time
_JPEG_END = b"\xff\xd9"
_STRAY_PIXELS = b"\x5a\xa5" * 64
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


def load(
    source: str | os.PathLike[str] | bytes | PhotoBytes,
    *,
    name: str | None = None,
    max_side: int = 1024,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    max_memory: int = MAX_MEMORY,
) -> Image:
    """Return a photo, upright, its longer side reduced to at most `max_side`.

    Its pixels are (H, W, 3) uint8 sRGB of the first frame, white where transparent; its size, the original's. A RAW is
    seen through the preview in it, which takes rawpy.

    Args:
        source: its path, its bytes, or both as `read_bytes` gives them, which are not hashed again.
        name: what to call the photo; as the source does when it is None.
        max_side: most pixels of the longer side.
        max_bytes: most bytes of the file.
        max_pixels: most pixels of the original.
        max_memory: most bytes that decoding may hold at once.

    Raises:
        ImageError: in one line, if the photo cannot be read.
        TooLargeError: if it has more than `max_bytes` or `max_pixels`, takes more than `max_memory`, or is made of so
            many scans or pieces that only decoding it would be work.
        NotInstalledError: if it is a RAW, and rawpy is not installed.
    """
    if min(max_side, max_bytes, max_pixels, max_memory) < 1:
        raise ValueError(f"expected limits of at least 1, got {max_side=}, {max_bytes=}, {max_pixels=}, {max_memory=}")
    photo = _photo_bytes(source, name, max_bytes)
    name = photo.name if name is None else name
    opened, pixels, (width, height) = _decode(photo, name, max_side, max_pixels, max_memory)
    position = None if opened.position is None else Position(*opened.position)
    taken, offset = (None, None) if opened.taken is None else (opened.taken.local, opened.taken.utc_offset)
    return Image(pixels, width, height, name, photo.sha256, position, taken, offset)


def check_limits(data: bytes, name: str, *, max_bytes: int, max_pixels: int) -> None:
    """Raise TooLargeError, as `load` does, for a photo of too many bytes or pixels by its header; decode nothing.

    Bytes without a readable header pass: decoding them gives the reason.
    """
    check_length(len(data), name, max_bytes)
    photo = PhotoBytes(data, "", name)  # its digest is not needed here
    kind = formats.identify(photo)
    if kind is None or kind == "RAW":
        return
    try:
        size = formats.open_photo(data, kind).picture.size
    except Exception:
        return
    check_size(size, name, max_pixels)


def _photo_bytes(source: str | os.PathLike[str] | bytes | PhotoBytes, name: str | None, max_bytes: int) -> PhotoBytes:
    """Return the bytes of a photo, within the limit."""
    if not isinstance(source, PhotoBytes | bytes):
        return read_bytes(source, max_bytes=max_bytes, shown=name)
    known, data = (source.name, source.data) if isinstance(source, PhotoBytes) else ("<bytes>", source)
    check_length(len(data), known if name is None else name, max_bytes)
    return source if isinstance(source, PhotoBytes) else PhotoBytes.of(data, name or known)


def from_array(pixels: npt.NDArray[Any], name: str = "<array>") -> Image:
    """Return an Image of (H, W, 3) uint8 RGB or (H, W) uint8 gray pixels, without a copy where possible.

    Raises ValueError for any other shape or dtype, and for no pixels.
    """
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)  # (H, W, 3)
    height, width = (*pixels.shape, 0, 0)[:2]
    return Image(np.ascontiguousarray(pixels), width, height, name)


def _decode(
    photo: PhotoBytes, shown: str, max_side: int, max_pixels: int, max_memory: int
) -> tuple[formats.OpenedPhoto, UInt8, tuple[int, int]]:
    """Return an opened photo, its pixels (H, W, 3), upright and reduced, and its upright size before that."""
    kind = formats.identify(photo)
    if kind is None:
        problem = f"is {formats.describe_unreadable(photo.data)}, not a photo in {formats.KNOWN_FORMATS}"
        raise ImageError(shown, problem)
    try:
        opened = raw.open_raw(photo.data, shown, max_pixels) if kind == "RAW" else formats.open_photo(photo.data, kind)
        check_size(opened.picture.size, shown, max_pixels)
        _check_cost(opened.picture, kind, photo.data, shown, max_side, max_memory)
        return opened, *upright_pixels(_whole(opened.picture, kind, photo.data, max_side), opened.orientation, max_side)
    except ImageError:
        raise
    # Decoders raise nearly anything when their input is hostile, struct.error and TypeError included.
    except Exception as error:
        raise ImageError(shown, _reason(error, kind)) from error


def check_size(size: tuple[int, int], shown: str, max_pixels: int) -> None:
    """Raise TooLargeError about the photo of this name for a (width, height) of more pixels."""
    width, height = size
    if width * height > max_pixels:
        problem = f"is {width} x {height}, more than {max_pixels:,} pixels"
        raise TooLargeError(shown, problem, "make it smaller or raise max_pixels")


def _check_cost(picture: PIL.Image.Image, kind: str, data: bytes, shown: str, max_side: int, max_memory: int) -> None:
    """Raise TooLargeError for a photo whose decoding would cost more than any honest one's."""
    scans = passes(data, kind)
    if scans > MAX_SCANS:
        raise TooLargeError(shown, f"has {scans:,} scans, more than {MAX_SCANS}", "save it again")
    if pieces(picture) > MAX_TILES:
        raise TooLargeError(shown, f"has {pieces(picture):,} pieces, more than {MAX_TILES:,}", "save it again")
    _reduce_early(picture, max_side)
    held = held_bytes(picture, kind, data)
    if held > max_memory:
        megabytes = f"{held / MEGABYTE:,.0f} MB to decode, more than {max_memory / MEGABYTE:,.0f} MB"
        raise TooLargeError(shown, f"takes {megabytes}", "make it smaller or save it as JPEG")


def decoding_bytes(data: bytes, name: str, max_side: int = 1024) -> int:
    """Return how many bytes `load` will hold to decode a photo, by its header; the file's own for an unreadable one."""
    photo = PhotoBytes(data, "", name)  # its digest is not needed here
    kind = formats.identify(photo)
    if kind is None:
        return len(data)
    if kind == "RAW":  # LibRaw does not say; a preview takes little, developing more
        return len(data) + RAW_MEMORY
    try:
        picture = formats.open_photo(data, kind).picture
        _reduce_early(picture, max_side)
        return held_bytes(picture, kind, data)
    except Exception:
        return len(data)


def _reduce_early(picture: PIL.Image.Image, max_side: int) -> None:
    """Have a JPEG reduced by 2, 4 or 8 while it is decoded, never below the size asked for."""
    if isinstance(picture, formats.JpegPhoto):
        picture.full_size = getattr(picture, "full_size", picture.size)
        picture.draft(None, _fitted(picture.full_size, max_side))


def _whole(photo: PIL.Image.Image, kind: str, data: bytes, max_side: int) -> PIL.Image.Image:
    """Return a photo with its pixels decoded, and so a JPEG whose end is missing but none of its pixels."""
    try:
        photo.load()
        return photo
    except OSError:
        if kind != "JPEG":
            raise
        begun = data.rstrip(b"\xff")  # of a marker that was cut
        ended = [_decoded_jpeg(begun + end, max_side) for end in (_JPEG_END, _STRAY_PIXELS + _JPEG_END)]
        if ended[0].tobytes() != ended[1].tobytes():  # what stands behind the cut would have been pixels
            raise
        return ended[0]


def _decoded_jpeg(data: bytes, max_side: int) -> PIL.Image.Image:
    picture = formats.JpegPhoto(io.BytesIO(data), "")
    _reduce_early(picture, max_side)
    picture.load()
    return picture


def upright_pixels(photo: PIL.Image.Image, orientation: int, max_side: int) -> tuple[UInt8, tuple[int, int]]:
    """Return pixels (H, W, 3) in sRGB, upright and reduced, and the (width, height) before that."""
    size = photo.full_size if isinstance(photo, formats.JpegPhoto) else photo.size  # HEIF may correct itself
    flat = photo if photo.mode == "CMYK" else _flat(photo)  # CMYK is told to RGB by its profile, if it has one
    reduced = to_srgb(flat.resize(_fitted(size, max_side), PIL.Image.Resampling.HAMMING), photo.info.get("icc_profile"))
    if orientation in _TURNS:
        reduced = reduced.transpose(_TURNS[orientation])
    return np.array(reduced), (size[::-1] if orientation in (5, 6, 7, 8) else size)


def _fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Return (width, height) shrunk until the longer side is at most `max_side`."""
    width, height = size
    scale = min(1.0, max_side / max(size))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _flat(photo: PIL.Image.Image) -> PIL.Image.Image:
    """Return the photo in RGB or 8-bit gray, transparent parts on white; by bands, as whole copies take memory."""
    gray = photo.mode.startswith(("I", "F"))
    transparent = not gray and photo.has_transparency_data
    if photo.mode in ("RGB", "L") and not transparent:
        return photo
    if not gray and not transparent:
        return photo.convert("RGB")
    white = _white(photo) if gray else 0.0
    flat = PIL.Image.new("L" if gray else "RGB", photo.size)
    for top in range(0, photo.height, BAND):
        band = photo.crop((0, top, photo.width, min(top + BAND, photo.height)))
        if gray:
            flat.paste(PIL.Image.fromarray(_to_8_bits(np.asarray(band), white)), (0, top))
        else:
            background = PIL.Image.new("RGBA", band.size, "white")
            flat.paste(PIL.Image.alpha_composite(background, band.convert("RGBA")).convert("RGB"), (0, top))
    return flat


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.where(np.isfinite(values), values, 0).astype(np.float32)


def _to_8_bits(values: npt.NDArray[Any], white: float) -> UInt8:
    """Return gray values (H, W) of 16 bits, 32 bits or float in 8 bits, 0 staying black."""
    scaled = np.clip(_finite(values) * np.float32(255 / white), 0, 255)
    return np.asarray(np.rint(scaled), np.uint8)


def _white(photo: PIL.Image.Image) -> float:
    """Return the value meant as white, which only 16-bit files settle; the usual scales are tried in turn."""
    mode = photo.mode
    if mode.startswith("I;16"):
        return 65535
    total, peak = 0.0, -np.inf
    for top in range(0, photo.height, BAND):
        values = _finite(np.asarray(photo.crop((0, top, photo.width, min(top + BAND, photo.height)))))
        total, peak = total + float(values.sum(dtype=np.float64)), max(peak, float(values.max()))
    if mode == "F" and total / (photo.width * photo.height) <= 1:  # 0 to 1, with highlights above it clipped
        return 1
    return next((top for top in ((255, 65535) if mode == "F" else (65535,)) if peak <= top), peak)


def _reason(error: Exception, kind: str) -> str:
    """Return the problem that a message states for a decoder's error; the error's own words may quote the file."""
    if isinstance(error, MemoryError):
        return "takes more memory than there is; make it smaller"
    if isinstance(error, PIL.Image.DecompressionBombError | PIL.Image.DecompressionBombWarning):
        return f"has more pixels than the {kind} decoder allows; make it smaller"
    return f"is a {kind} that is damaged, cut short or unusual; get a fresh copy or save it as JPEG"
