"""The formats of photos: told by their content, and each with its one decoder."""

from __future__ import annotations

import io
from dataclasses import dataclass

import PIL.Image
from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from veduta.images.metadata import read_metadata
from veduta.images.metadata.exif import DNG_VERSION, ORIENTATION, Exif
from veduta.images.metadata.values import Moment
from veduta.images.photo_bytes import PhotoBytes


class JpegPhoto(JpegImageFile):
    """A JPEG whose EXIF Pillow leaves alone, instead of reading the resolution and warning of broken EXIF.

    Attributes:
        full_size: (width, height) before `draft` had it decoded smaller.
    """

    full_size: tuple[int, int]

    def getexif(self) -> PIL.Image.Exif:
        """Return no EXIF."""
        return PIL.Image.Exif()


class _TiffPhoto(TiffImageFile):
    """A TIFF whose EXIF Pillow leaves alone, but for the orientation, and which its global limit spares."""

    def getexif(self) -> PIL.Image.Exif:
        exif = PIL.Image.Exif()
        exif[ORIENTATION] = self.tag_v2.get(ORIENTATION, 1)
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
    "JPEG": JpegPhoto,
    "PNG": PngImageFile,
    "TIFF": _TiffPhoto,
    "WebP": WebPImageFile,
}
KNOWN_FORMATS = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF or BMP"
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
    b"FUJIFILMCCD-RAW": "RAW",
    b"IIU\0": "RAW",  # Panasonic
    b"IIRO": "RAW",  # Olympus
    b"IIRS": "RAW",
    b"MMOR": "RAW",
    b"\0MRM": "RAW",  # Minolta
    b"FOVb": "RAW",  # Sigma
}
_UNREADABLE = {
    b"%PDF": "a PDF",
    b"PK": "a ZIP archive",
    b"<": "HTML, SVG or other markup",
    b"8BPS": "a Photoshop file",
    b"\xff\x0a": "a JPEG XL file",
    b"\0\0\0\x0cJXL ": "a JPEG XL file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 file",
    b"P7\n": "a netpbm picture",
    b"gimp xcf": "a GIMP picture",
}
_CANON_CR3, _CANON_CRW = b"crx ", b"HEAPCCDR"
_AVIF = {b"avif", b"avis"}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_STILL = {b"mif2", b"mif3", b"miaf", b"pred", b"jpeg", b"jpgs", b"avci", b"avcs", b"unif", b"vvic", b"evbi"}
_UNREADABLE_BRANDS = {b"jxl ": "a JPEG XL file", b"jp2 ": "a JPEG 2000 file", b"jpx ": "a JPEG 2000 file"}
_BOXED = {"AVIF", "HEIF"}
_TURNED_BY_DECODER = {"HEIF", "TIFF"}


@dataclass(frozen=True)
class OpenedPhoto:
    """A photo whose header has been read.

    Attributes:
        picture: its pixels, most not decoded yet.
        orientation: how they are to be turned, as EXIF's number.
        position: (degrees north, degrees east) where it was taken, or None.
        taken: when, by the camera's clock, or None.
    """

    picture: PIL.Image.Image
    orientation: int
    position: tuple[float, float] | None
    taken: Moment | None


def identify(photo: PhotoBytes) -> str | None:
    """Return the format of a photo, or None for one that is not decoded; a name decides only between TIFF and RAW."""
    kind = _kind(photo.data)
    if kind == "TIFF" and (photo.has_raw_suffix or _is_raw_tiff(photo.data)):
        return "RAW"
    return "RAW" if kind is None and photo.has_raw_suffix else kind


def open_photo(data: bytes, kind: str) -> OpenedPhoto:
    """Return a photo of a format but RAW, its header read; decoders raise nearly anything on damaged files."""
    photo = _decoder(kind)(io.BytesIO(_without_metadata(data) if kind in _BOXED else data), "")
    read = read_metadata(data, kind)
    # Pillow tells the boxes that turn an AVIF as an orientation of its EXIF.
    orientation = Exif(photo.info.get("exif")).orientation if kind == "AVIF" else read.orientation
    turned = 1 if kind in _TURNED_BY_DECODER else orientation or 1
    return OpenedPhoto(photo, turned, read.position, read.taken)


def _kind(data: bytes) -> str | None:
    """Return the format the content claims, or None for one we don't decode."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _ftyp(data)
    if data[6:14] == _CANON_CRW:
        return "RAW"
    return next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), None)


def _is_raw_tiff(data: bytes) -> bool:
    """Return whether a TIFF is a RAW by its content: Canon's CR2, or Adobe's DNG."""
    return data[8:10] == b"CR" or DNG_VERSION in Exif(data)


def _ftyp(data: bytes) -> str | None:
    """Return AVIF, HEIF or RAW by the brands of an ISO media file; mif1 may be AVIF or HEIF, so AVIF's go first."""
    brands = _brands(data)
    if _CANON_CR3 in brands:
        return "RAW"
    return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIF else None


def _brands(data: bytes) -> set[bytes]:
    end = min(int.from_bytes(data[:4]), 1024)
    return {data[i : i + 4] for i in (8, *range(16, end, 4))}


def describe_unreadable(data: bytes) -> str:
    """Return the kind of file that data seem to be which are no photo, for a message."""
    if data[4:8] == b"ftyp":
        return _UNREADABLE_BRANDS.get(data[8:12], "a HEIF of an unknown kind" if _brands(data) & _STILL else "a video")
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((what for mark, what in _UNREADABLE.items() if start.startswith(mark)), "something unknown")


def _decoder(kind: str) -> type[ImageFile.ImageFile]:
    if kind != "HEIF":
        return _PILLOW[kind]
    import pi_heif  # loads libheif, which most photos don't need

    decoder: type[ImageFile.ImageFile] = pi_heif.HeifImageFile
    return decoder


def _without_metadata(data: bytes) -> bytes:
    """Return an ISO media file whose picture has no descriptions (EXIF, XMP) any more; the rotation stays.

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
