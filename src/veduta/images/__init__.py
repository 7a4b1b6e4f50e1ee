"""The only place that decodes a photo: a file or its bytes in, upright RGB pixels or one ImageError out.

The content decides the format, never the suffix, and each format has its one decoder, called directly. That
keeps Pillow's rarer plugins (PostScript runs a program) out of reach, and its limits, which are global, out
of the way of ours: nothing here changes the state of the process, so any number of threads may load at once.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from veduta.errors import ImageError, TooLargeError
from veduta.types import Failure, Image, UInt8

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif"}
    | {".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
"""Lower-case suffixes by which `walk` knows a photo; `load` looks at the content instead."""


def load(
    source: str | os.PathLike[str] | bytes,
    *,
    name: str | None = None,
    max_side: int = 1024,
    max_bytes: int = 256 * 2**20,
    max_pixels: int = 200_000_000,
) -> Image:
    """Return the photo at a path, or in these bytes, upright, its longer side reduced to at most `max_side`.

    Its pixels are (H, W, 3) uint8 RGB of the first frame, white where transparent; its size, the original's.
    Raises ImageError, one line, if it cannot be read or has more than `max_bytes` or `max_pixels`.
    """
    if min(max_side, max_bytes, max_pixels) < 1:
        raise ValueError(f"expected limits of at least 1, got {max_side=}, {max_bytes=}, {max_pixels=}")
    path = source if isinstance(source, bytes) else os.fsdecode(source)
    if name is None:
        name = path if isinstance(path, str) else "<bytes>"
    shown = printable(name)
    data = _read(path, shown, max_bytes) if isinstance(path, str) else path
    _check_length(len(data), shown, max_bytes)
    pixels, (width, height), exif = _decode(data, shown, max_side, max_pixels)
    digest = hashlib.sha256(data).hexdigest()
    return Image(pixels, width, height, name, digest, _position(exif), _taken(exif))


def check_limits(data: bytes, name: str, *, max_bytes: int, max_pixels: int) -> None:
    """Raise TooLargeError, as `load` does, for a photo of too many bytes or pixels by its header; decode nothing.

    Bytes without a header that can be read pass: decoding them says why.
    """
    _check_length(len(data), printable(name), max_bytes)
    kind = _kind(data)
    if kind is None:
        return
    try:
        size = _opened(data, kind).size
    except Exception:
        return
    _check_pixels(size, printable(name), max_pixels)


def read_bytes(path: str | os.PathLike[str], *, max_bytes: int = 256 * 2**20) -> tuple[bytes, str]:
    """Return a photo file's bytes, undecoded, and their sha256 as hex digits; ImageError as `load`."""
    name = os.fsdecode(path)
    data = _read(name, printable(name), max_bytes)
    return data, hashlib.sha256(data).hexdigest()


def from_array(pixels: npt.NDArray[Any], name: str = "<array>") -> Image:
    """Return an Image of (H, W, 3) uint8 RGB or (H, W) uint8 gray pixels, uncopied where it can be.

    Raises ValueError for any other shape or dtype, and for no pixels.
    """
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)  # (H, W, 3)
    height, width = (*pixels.shape, 0, 0)[:2]
    return Image(np.ascontiguousarray(pixels), width, height, name)


def walk(
    path: str | os.PathLike[str],
    *,
    report: Callable[[Failure], None] | None = None,
    suffixes: Collection[str] = SUFFIXES,
    enter: Callable[[str], bool] = lambda folder: True,
) -> Iterator[str]:
    """Yield the photos beneath a folder, sorted, each path beginning with `path` as given.

    Anything but a folder is yielded as it is, for `load` to judge. Hidden entries are skipped, links are
    followed, each folder is visited once. One that cannot be listed goes to `report`, or raises ImageError.

    Args:
        path: the folder.
        report: takes a folder that cannot be listed.
        suffixes: lower-case suffixes of the files wanted.
        enter: whether to look into a folder, by its path with a separator at its end.
    """
    seen: set[tuple[int, int]] = set()
    top = os.fsdecode(path)
    waiting = [top] if not _is_folder(Path(top)) else _listing(top, seen, report, suffixes)[::-1]
    while waiting:
        entry = waiting.pop()
        if not entry.endswith(os.sep) or entry == top:
            yield entry
        elif enter(entry):
            waiting.extend(_listing(entry, seen, report, suffixes)[::-1])


def _listing(
    folder: str, seen: set[tuple[int, int]], report: Callable[[Failure], None] | None, suffixes: Collection[str]
) -> list[str]:
    """Return the photos and folders in a folder; a separator ends, and sorts, a folder."""
    try:
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            return []
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            paths = [e.path + os.sep * _is_folder(e) for e in entries if not e.name.startswith(".")]
    except OSError as error:
        unlisted = ImageError(printable(folder), f"cannot be listed: {error.strerror}")
        if report is None:
            raise unlisted from error
        report(Failure.of(folder, unlisted))
        return []
    return sorted(p for p in paths if p.endswith(os.sep) or os.path.splitext(p)[1].lower() in suffixes)  # noqa: PTH122


def _is_folder(entry: os.DirEntry[str] | Path) -> bool:
    try:
        return entry.is_dir()
    except (OSError, ValueError):  # a link to itself, a parent out of bounds, a NUL
        return False


def printable(name: str) -> str:
    """Return the name as a message may show it: on one line, whatever a file system allowed."""
    return name if name and name.isprintable() else ascii(name)


def _read(path: str, shown: str, max_bytes: int) -> bytes:
    try:
        status = Path(path).stat()
        _check_kind(status.st_mode, shown)  # before opening: opening a pipe would wait for its other end
        _check_length(status.st_size, shown, max_bytes)
        with Path(path).open("rb") as file:
            return file.read(status.st_size)
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(shown, f"cannot be read: {reason}") from error


def _check_kind(mode: int, shown: str) -> None:
    if stat.S_ISDIR(mode):
        raise ImageError(shown, "is a folder, not a photo", "name the photos in it")
    if not stat.S_ISREG(mode):
        raise ImageError(shown, "is a device or a pipe, not a file", "save the photo in a file first")


def _check_length(length: int, shown: str, max_bytes: int) -> None:
    if length == 0:
        raise ImageError(shown, "is empty", "get a fresh copy")
    if length > max_bytes:
        size, most = (f"{n:,} bytes" for n in (length, max_bytes))
        raise TooLargeError(shown, f"has {size}, more than {most}", "make it smaller or raise max_bytes")


def _check_pixels(size: tuple[int, int], shown: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        much = f"is {width} x {height}, more than {max_pixels:,} pixels"
        raise TooLargeError(shown, much, "make it smaller or raise max_pixels")


def _opened(data: bytes, kind: str) -> ImageFile.ImageFile:
    """Return the photo in these bytes with its header read and its pixels not yet decoded."""
    return _decoder(kind)(io.BytesIO(_without_metadata(data) if kind in _BOXED else data), "")


def _decode(data: bytes, shown: str, max_side: int, max_pixels: int) -> tuple[UInt8, tuple[int, int], object]:
    """Return the pixels (H, W, 3), upright and reduced, the upright size (width, height) before that, and the EXIF."""
    kind = _kind(data)
    if kind is None:
        raise ImageError(shown, f"is {_stranger(data)}, not a photo in {_KNOWN}")
    _decoder(kind)  # a library that is missing is no fault of the photo
    try:
        photo = _opened(data, kind)
        _check_pixels(photo.size, shown, max_pixels)
        exif = _boxed_exif(data) if kind in _BOXED else data if kind == "TIFF" else photo.info.get("exif")
        return *_upright(photo, kind, max_side), exif
    except ImageError:
        raise
    # Decoders raise nearly anything when their input is hostile, struct.error and TypeError included.
    except Exception as error:
        raise ImageError(shown, _reason(error, kind)) from error


def _upright(photo: ImageFile.ImageFile, kind: str, max_side: int) -> tuple[UInt8, tuple[int, int]]:
    size = photo.size
    if kind == "JPEG":  # reduced by 2, 4 or 8 while decoding, never below the size wanted
        photo.draft(None, _fitted(size, max_side))
    photo.load()
    size = size if kind == "JPEG" else photo.size  # HEIF may correct itself
    reduced = _flat(photo).resize(_fitted(size, max_side), PIL.Image.Resampling.HAMMING)
    turn = 1 if kind in _TURNED_BY_DECODER else _orientation(photo.info.get("exif"))
    if turn in _TURNS:
        reduced = reduced.transpose(_TURNS[turn])
    return np.array(reduced), (size[::-1] if turn in (5, 6, 7, 8) else size)


def _fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Return (width, height) shrunk until the longer side is at most `max_side`."""
    width, height = size
    scale = min(1.0, max_side / max(size))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _flat(photo: PIL.Image.Image) -> PIL.Image.Image:
    """Return the photo in RGB, on white where it is transparent."""
    if photo.mode.startswith(("I", "F")):
        return PIL.Image.fromarray(_shallow(np.asarray(photo), photo.mode)).convert("RGB")
    if not photo.has_transparency_data:
        return photo if photo.mode == "RGB" else photo.convert("RGB")
    white = PIL.Image.new("RGBA", photo.size, "white")
    return PIL.Image.alpha_composite(white, photo.convert("RGBA")).convert("RGB")


def _shallow(values: npt.NDArray[Any], mode: str) -> UInt8:
    """Return gray values (H, W) of 16 bits, 32 bits or float in 8 bits, 0 staying black."""
    finite = np.where(np.isfinite(values), values, 0).astype(np.float32)
    scaled = np.clip(finite * np.float32(255 / _white(finite, mode)), 0, 255)
    return np.asarray(np.rint(scaled), np.uint8)


def _white(values: npt.NDArray[np.float32], mode: str) -> float:
    """Return the value meant as white, which only 16-bit files settle; the usual scales are tried in turn."""
    if mode.startswith("I;16"):
        return 65535
    if mode == "F" and values.mean(dtype=np.float64) <= 1:  # 0 to 1, with highlights above it clipped
        return 1
    peak = float(values.max())
    return next((top for top in ((255, 65535) if mode == "F" else (65535,)) if peak <= top), peak)


class _Jpeg(JpegImageFile):
    """A JPEG whose EXIF Pillow leaves alone: it would look for the resolution, and warn of broken EXIF."""

    def getexif(self) -> PIL.Image.Exif:
        return PIL.Image.Exif()


class _Tiff(TiffImageFile):
    """A TIFF whose EXIF Pillow leaves alone, but for the orientation, and which its global limit spares."""

    def getexif(self) -> PIL.Image.Exif:
        exif = PIL.Image.Exif()
        exif[_ORIENTATION] = self.tag_v2.get(_ORIENTATION, 1)
        return exif

    def load_prepare(self) -> None:
        if self._im is None:  # Pillow would ask its limit before making this
            stored = self.tag_v2[256], self.tag_v2[257]
            self.im = PIL.Image.new(self.mode, stored, None).im
        super().load_prepare()


_PILLOW: dict[str, type[ImageFile.ImageFile]] = {
    "AVIF": AvifImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": _Jpeg,
    "PNG": PngImageFile,
    "TIFF": _Tiff,
    "WebP": WebPImageFile,
}
_KNOWN = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF or BMP"
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
}
_STRANGERS = {
    b"%PDF": "a PDF",
    b"PK": "a ZIP archive",
    b"<": "HTML, SVG or other markup",
    b"8BPS": "a Photoshop file",
    b"\xff\x0a": "a JPEG XL file",
    b"\0\0\0\x0cJXL ": "a JPEG XL file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 file",
}
_AVIF = {b"avif", b"avis"}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_BOXED = {"AVIF", "HEIF"}

_ORIENTATION, _GPS = 0x0112, 0x8825
_LATITUDE, _LONGITUDE = 2, 4  # each after the tag that says which side of zero
_EXIF, _CHANGED, _ORIGINAL, _DIGITIZED = 0x8769, 0x0132, 0x9003, 0x9004
_MOMENT = "%Y:%m:%d %H:%M:%S"
_TURNED_BY_DECODER = {"HEIF", "TIFF"}
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


def _kind(data: bytes) -> str | None:
    """Return the format the content claims, or None for one we don't decode."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _ftyp(data)
    return next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), None)


def _ftyp(data: bytes) -> str | None:
    """Return AVIF or HEIF by the brands of an ISO media file; mif1 may be either, so AVIF's go first."""
    end = min(int.from_bytes(data[:4]), 1024)
    brands = {data[i : i + 4] for i in (8, *range(16, end, 4))}
    return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIF else None


def _stranger(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return "a video"
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((what for mark, what in _STRANGERS.items() if start.startswith(mark)), "something unknown")


def _decoder(kind: str) -> type[ImageFile.ImageFile]:
    if kind != "HEIF":
        return _PILLOW[kind]
    import pi_heif  # loads libheif, which most photos don't need

    decoder: type[ImageFile.ImageFile] = pi_heif.HeifImageFile
    return decoder


def _without_metadata(data: bytes) -> bytes:
    """Return an ISO media file with what describes the picture cut loose from it; its rotation stays.

    Broken EXIF stops libavif, and an item of a type that is no text crashes pi_heif 1.4. Both look only at items
    that refer to the picture as its descriptions, so it is enough to rename that reference.
    """
    boxes, place = [], 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4])
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16])
        box = data[place : place + size] if size >= 8 else data[place:]  # 0: up to the end
        boxes.append(box if box[4:8] == b"mdat" else box.replace(b"cdsc", b"free"))
        place += len(box)
    return b"".join(boxes)


def _orientation(exif: object) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none, or none that can be read."""
    try:
        tiff, order, start = _first_directory(exif)
        return int(_entries(tiff, order, start)[_ORIENTATION][2]) >> (16 if order == ">" else 0) & 0xFFFF
    except (struct.error, KeyError):
        return 1


def _position(exif: object) -> tuple[float, float] | None:
    """Return (degrees north, degrees east) as EXIF says, or None where it says nothing or nothing possible."""
    try:
        tiff, order, start = _first_directory(exif)
        gps = _entries(tiff, order, _entries(tiff, order, start)[_GPS][2])
        north, east = (_degrees(tiff, order, gps, tag) for tag in (_LATITUDE, _LONGITUDE))
    except (struct.error, KeyError, ZeroDivisionError):
        return None
    # Cameras without a fix write zeros.
    return (north, east) if abs(north) <= 90 and abs(east) <= 180 and (north, east) != (0, 0) else None


def _taken(exif: object) -> datetime | None:
    """Return when the shutter was pressed by the camera's clock, or when the file was written, or None."""
    try:
        tiff, order, start = _first_directory(exif)
        first = _entries(tiff, order, start)
        inner = _entries(tiff, order, first[_EXIF][2]) if _EXIF in first else {}
    except struct.error:
        return None
    found = (inner.get(_ORIGINAL), inner.get(_DIGITIZED), first.get(_CHANGED))
    moments = (_moment(tiff[entry[2] :][:19]) for entry in found if entry is not None and entry[0] == 2)
    return next((moment for moment in moments if moment is not None), None)


def _moment(text: bytes) -> datetime | None:
    try:
        if len(text) < len("YYYY:MM:DD HH:MM:SS"):
            return None  # strptime would take what is left of a second
        return datetime.strptime(text.decode("ascii"), _MOMENT)  # noqa: DTZ007 - EXIF has no zone
    except ValueError:  # blanks and zeros, where the camera's clock was not set
        return None


def _first_directory(exif: object) -> tuple[bytes, str, int]:
    """Return EXIF as TIFF bytes, their byte order, and where the first directory begins."""
    tiff = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    return tiff, order, struct.unpack_from(order + "I", tiff, 4)[0]


def _entries(tiff: bytes, order: str, start: int) -> dict[int, tuple[int, int, int]]:
    """Return tag -> (type, count, the four bytes of its value or of its place, as a number) of one directory."""
    (count,) = struct.unpack_from(order + "H", tiff, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    found = (struct.unpack_from(order + "HHII", tiff, place) for place in places)
    return {tag: (kind, number, value) for tag, kind, number, value in found}


def _degrees(tiff: bytes, order: str, gps: dict[int, tuple[int, int, int]], tag: int) -> float:
    """Return a coordinate: three fractions of degrees, minutes and seconds, and in the tag before it the side."""
    kind, number, place = gps[tag]
    if (kind, number) != (5, 3):
        raise KeyError(tag)
    parts = struct.unpack_from(order + "6I", tiff, place)
    degrees = float(sum(parts[2 * i] / parts[2 * i + 1] / 60.0**i for i in range(3)))
    side = gps[tag - 1][2] >> (24 if order == ">" else 0) & 0xFF  # N, S, E or W, the first of four bytes
    return -degrees if side in b"SWsw" else degrees


def _boxed_exif(data: bytes) -> bytes:
    """Return the EXIF in an ISO media file, found by how it begins: its place is in a table decoders trip over."""
    for header in (b"MM\0*", b"II*\0"):
        for mark in (b"Exif\0\0", b"\0\0\0\0"):
            start = data.find(mark + header)
            if start >= 0:
                return data[start + len(mark) :]
    return b""


def _reason(error: Exception, kind: str) -> str:
    """Return what to tell of a decoder's error; its own words may quote the file."""
    if isinstance(error, MemoryError):
        return "takes more memory than there is; make it smaller"
    if isinstance(error, PIL.Image.DecompressionBombError | PIL.Image.DecompressionBombWarning):
        return f"has more pixels than the {kind} decoder allows; make it smaller"
    return f"is a {kind} that is damaged, cut short or unusual; get a fresh copy or save it as JPEG"
