"""The time, place and orientation of a photo, read from EXIF and XMP in every format, as exiftool does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from veduta.images.metadata import boxes, chunks, jpeg
from veduta.images.metadata.exif import Exif
from veduta.images.metadata.values import Moment
from veduta.images.metadata.xmp import ESTIMATE, XmpPacket, same_place

_EXIF_MARK = b"ASCII\0\0\0" + ESTIMATE.encode()  # EXIF's free texts begin with their encoding
_CR3_BRAND = b"crx "
_RAF, _RAF_PREVIEW = b"FUJIFILMCCD-RAW", 84  # where its preview's place and length stand


@dataclass(frozen=True)
class PhotoMetadata:
    """What a photo says of itself.

    Attributes:
        orientation: how its pixels are to be turned, as EXIF's number, 1 to 8 where the camera kept to the standard.
        position: (degrees north, degrees east) where it was taken, in EXIF or else in XMP; None where nothing is said,
            and for an estimate that Veduta wrote.
        estimate: the position that Veduta wrote as an estimate and nobody has changed, unless there is another.
        taken: when, by the camera's clock, or None.
    """

    orientation: int | None = None
    position: tuple[float, float] | None = None
    estimate: tuple[float, float] | None = None
    taken: Moment | None = None

    @classmethod
    def of(cls, exif: Exif, xmp: XmpPacket) -> PhotoMetadata:
        """Return what EXIF and XMP of one photo say together."""
        by_camera = None if _is_marked(exif, xmp) else exif.position
        position = by_camera or (None if xmp.is_estimate else xmp.position)
        taken = [*exif.moments, *xmp.moments, exif.changed, xmp.changed]
        return cls(
            exif.orientation,
            position,
            None if position else exif.position or xmp.position,
            next((moment for moment in taken if moment is not None), None),
        )


def read_metadata(data: bytes, kind: str) -> PhotoMetadata:
    """Return what a photo says of itself; damaged parts count as absent.

    Args:
        data: the file.
        kind: its format, as `veduta.images.formats.identify` tells it.
    """
    exif, packets = boxes.read_cr3(data) if kind == "RAW" and data[8:12] == _CR3_BRAND else _parts(data, kind)
    return PhotoMetadata.of(exif, XmpPacket(*packets))


def _parts(data: bytes, kind: str) -> tuple[Exif, list[bytes]]:
    blocks, packets = _READERS.get(kind, _nothing)(data)
    exif = Exif(*blocks)
    return exif, [*packets, *([exif.xmp_packet] if exif.xmp_packet else [])]


def _is_marked(exif: Exif, xmp: XmpPacket) -> bool:
    """Return whether the position in EXIF is marked as Veduta's, and is still the one that was written."""
    position, wrote = exif.position, xmp.written_by_veduta
    if position is None or exif.area_information.rstrip(b"\0") != _EXIF_MARK:
        return False
    return wrote is None or same_place(wrote, position)


def _read_jpeg(data: bytes) -> tuple[list[bytes], list[bytes]]:
    return jpeg.metadata(data, jpeg.EXIF), jpeg.metadata(data, jpeg.XMP)


def _read_raw(data: bytes) -> tuple[list[bytes], list[bytes]]:
    if not data.startswith(_RAF):
        return [data], []
    start, length = (int.from_bytes(data[place : place + 4]) for place in (_RAF_PREVIEW, _RAF_PREVIEW + 4))
    return _read_jpeg(data[start : start + length])


def _nothing(data: bytes) -> tuple[list[bytes], list[bytes]]:
    del data
    return [], []


_READERS: dict[str, Callable[[bytes], tuple[list[bytes], list[bytes]]]] = {
    "AVIF": boxes.read_items,
    "GIF": chunks.read_gif,
    "HEIF": boxes.read_items,
    "JPEG": _read_jpeg,
    "PNG": chunks.read_png,
    "RAW": _read_raw,
    "TIFF": lambda data: ([data], []),
    "WebP": chunks.read_webp,
}
