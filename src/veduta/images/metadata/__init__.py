"""The time, place and orientation of a photo, read from EXIF, XMP and IPTC in every format, as exiftool does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from veduta.images.metadata import boxes, chunks, jpeg
from veduta.images.metadata.exif import Exif
from veduta.images.metadata.iptc import Iptc
from veduta.images.metadata.values import Moment, parse_creation_time
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
        taken: when, by the camera's clock, or None. EXIF goes before XMP, XMP before IPTC, IPTC before the text of a
            PNG, and when the file was changed counts last.
    """

    orientation: int | None = None
    position: tuple[float, float] | None = None
    estimate: tuple[float, float] | None = None
    taken: Moment | None = None

    @classmethod
    def of(cls, exif: Exif, xmp: XmpPacket, iptc: Iptc, created: Sequence[bytes] = ()) -> PhotoMetadata:
        """Return what EXIF, XMP, IPTC and the texts of a PNG about its creation say together."""
        by_camera = None if _is_marked(exif, xmp) else exif.position
        position = by_camera or (None if xmp.is_estimate else xmp.position)
        made = [parse_creation_time(text) for text in created]
        taken = [*exif.moments, *xmp.moments, *iptc.moments, *made, exif.changed, xmp.changed]
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
    if kind == "RAW" and data[8:12] == _CR3_BRAND:
        exif, packets = boxes.read_cr3(data)
        return PhotoMetadata.of(exif, XmpPacket(*packets), Iptc(*exif.iptc_blocks))
    if kind == "PNG":
        png = chunks.read_png(data)
        return _together(png.exif, png.xmp, png.iptc, png.created)
    blocks, packets = _READERS.get(kind, _nothing)(data)
    return _together(blocks, packets, jpeg.metadata(data, jpeg.IPTC) if kind == "JPEG" else [])


def _together(
    blocks: Sequence[bytes], packets: Sequence[bytes], iptc: Sequence[bytes], created: Sequence[bytes] = ()
) -> PhotoMetadata:
    exif = Exif(*blocks)
    xmp = XmpPacket(*packets, *([exif.xmp_packet] if exif.xmp_packet else []))
    return PhotoMetadata.of(exif, xmp, Iptc(*iptc, *exif.iptc_blocks), created)


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
    "RAW": _read_raw,
    "TIFF": lambda data: ([data], []),
    "WebP": chunks.read_webp,
}
