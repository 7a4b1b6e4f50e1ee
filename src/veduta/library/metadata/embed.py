"""A label embedded in a photo itself, by exiftool: XMP as in a sidecar, and the landmark's position in EXIF.

The XMP is what `xmp.merge_sidecar` makes of the packet in the photo, so it too knows its own words again. EXIF gets the
position only: of its texts each is one string, which belongs to the person or the camera.
"""

from __future__ import annotations

from pathlib import Path

from veduta.errors import LibraryError
from veduta.files import utf8
from veduta.images import RAW_SUFFIXES, PhotoBytes, formats, read_bytes
from veduta.images.metadata import read_metadata
from veduta.images.metadata.xmp import ESTIMATE
from veduta.library.metadata import exiftool
from veduta.library.metadata.xmp_document import SPACES
from veduta.library.model import Label

_OURS = SPACES["veduta"].encode(), ESTIMATE.encode()  # a photo with neither has nothing of ours


def embed_label(path: Path, label: Label, position_known: bool) -> bytes:  # noqa: FBT001
    """Return a photo's bytes with a label in them; the same bytes if the label is there already.

    Args:
        path: the photo, which is only read.
        label: replaces that of an earlier call.
        position_known: as for `xmp.merge_sidecar`; a position that the camera wrote is known too.

    Raises:
        ImageError: if the photo cannot be read.
        LibraryError: if exiftool is not installed, or cannot write into this photo; a RAW is never written into.
    """
    if path.suffix.lower() in RAW_SUFFIXES:
        raise LibraryError(f"{utf8(str(path))}: is a RAW, into which nothing is written", "write sidecars instead")
    return exiftool.embed_label(path, label, position_known)


def remove_embedded(path: Path) -> bytes:
    """Return a photo's bytes without anything of ours; the same bytes if there is nothing.

    Args:
        path: the photo, which is only read.

    Raises:
        ImageError: if the photo cannot be read.
        LibraryError: if there is something of ours in it, and exiftool is not installed or cannot take that out.
    """
    photo = read_bytes(path)
    if photo.has_raw_suffix or not any(mark in photo.data for mark in _OURS):
        return photo.data
    return exiftool.remove_label(path)


def has_estimate(content: bytes) -> bool:
    """Return whether the position in a photo is an estimate that Veduta wrote, and that nobody has corrected since."""
    kind = formats.identify(PhotoBytes(content, "", "<bytes>"))  # its digest is not needed here
    return kind is not None and read_metadata(content, kind).estimate is not None
