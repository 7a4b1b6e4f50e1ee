"""A label put into a photo itself: XMP as in a sidecar, and the position as EXIF, the picture's own bytes untouched.

The XMP is what `xmp.merge` makes of the one in the photo, so it too knows its own words again. EXIF gets the position
only: of its texts each is one string, which belongs to the person or the camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from veduta.errors import LibraryError
from veduta.images import jpeg, read_bytes
from veduta.images.raw import RAW_SUFFIXES
from veduta.images.tiff import EXIF_POINTER, GPS_POINTER, Tiff
from veduta.library.metadata import gps, keywords, xmp
from veduta.library.metadata.exiftool import embed_with_exiftool, remove_with_exiftool
from veduta.library.metadata.xmp_document import SPACES
from veduta.library.model import Label
from veduta.text import utf8

_JPEG = b"\xff\xd8\xff"
_OURS = SPACES["veduta"].encode(), keywords.ESTIMATE.encode()  # a photo with neither has nothing of ours


def embed_label(path: Path, label: Label, position_known: bool) -> bytes:  # noqa: FBT001
    """Return a photo's bytes with what a label says in them; JPEG needs nothing else, other formats exiftool.

    Args:
        path: the photo, which is only read.
        label: what to say. What an earlier call said is replaced.
        position_known: as for `xmp.merge`; a position that the camera wrote is found here too.

    Raises:
        ImageError: if the photo cannot be read.
        LibraryError: if nothing can be put into it without a loss, or exiftool is needed and absent.
    """
    name = utf8(str(path))
    if path.suffix.lower() in RAW_SUFFIXES:
        raise LibraryError(f"{name}: is a RAW, into which nothing is written", "write sidecars instead")
    content = read_bytes(path)[0]
    if content.startswith(_JPEG):
        return embed_jpeg_label(content, label, position_known, name=name)
    return embed_with_exiftool(path, label, position_known)


def remove_embedded(path: Path) -> bytes:
    """Return a photo's bytes without anything of ours; the same bytes if there is nothing.

    Args:
        path: the photo, which is only read.

    Raises:
        ImageError: if the photo cannot be read.
        LibraryError: if there is something of ours in it that cannot be taken out without a loss, or exiftool is
            needed for that and absent.
    """
    content = read_bytes(path)[0]
    if path.suffix.lower() in RAW_SUFFIXES or not any(mark in content for mark in _OURS):
        return content
    if content.startswith(_JPEG):
        return remove_from_jpeg(content, name=utf8(str(path)))
    return remove_with_exiftool(path)


def embed_jpeg_label(content: bytes, label: Label, position_known: bool, *, name: str = "<photo>") -> bytes:  # noqa: FBT001
    """Return a JPEG's bytes with what a label says in them; the same bytes if they say it already.

    Args:
        content: the JPEG.
        label: what to say. What an earlier call said is replaced.
        position_known: as for `xmp.merge`; a position that the camera wrote is found here too.
        name: what to call the photo in messages.

    Raises:
        LibraryError: if it is damaged, or nothing can be put into it without a loss.
    """
    with _refused(name):
        before = jpeg.split(content)
        tiff, packet = _tiff(before), before.body(jpeg.XMP)
        position = None if tiff is None else gps.position(tiff)
        ours = _is_ours(tiff, packet)
        merged = xmp.merge_sidecar(packet, label, position_known or (position is not None and not ours), name="its XMP")
        place = keywords.place(label.landmark) if xmp.estimates(merged) else None
        after = _placed(before, tiff, place, ours=ours).with_body(jpeg.XMP, merged)
        _check(before, after)
    return after.joined()


def remove_from_jpeg(content: bytes, *, name: str = "<photo>") -> bytes:
    """Return a JPEG's bytes without anything of ours; LibraryError as `embed_jpeg_label`.

    Args:
        content: the JPEG.
        name: what to call the photo in messages.
    """
    with _refused(name):
        before = jpeg.split(content)
        tiff, packet = _tiff(before), before.body(jpeg.XMP)
        after = _placed(before, tiff, None, ours=_is_ours(tiff, packet))
        if packet is not None:
            after = after.with_body(jpeg.XMP, xmp.remove_ours(packet, name="its XMP"))
        _check(before, after)
    return after.joined()


def has_estimate(content: bytes) -> bool:
    """Return whether the position in a photo's EXIF is an estimate that we wrote, and so not the camera's.

    In a JPEG that somebody has corrected since it is none any more; in other formats it is told by its words alone.
    """
    if not content.startswith(_JPEG):
        return gps.GPS_MARK in content  # formats keep EXIF as it is, wherever they put it
    try:
        photo = jpeg.split(content)
        return _is_ours(_tiff(photo), photo.body(jpeg.XMP))
    except (ValueError, LibraryError):
        return False


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Say of which photo it is that nothing can be written into it."""
    try:
        yield
    except (ValueError, LibraryError) as error:
        # Not the remedy: what to do about a broken sidecar does not help here.
        reason = error.problem if isinstance(error, LibraryError) else str(error)
        raise LibraryError(f"{name}: nothing is written into it ({reason})", "write sidecars instead") from error


def _tiff(photo: jpeg.Jpeg) -> Tiff | None:
    body = photo.body(jpeg.EXIF)
    return None if body is None else Tiff(body)


def _is_ours(tiff: Tiff | None, packet: bytes | None) -> bool:
    if tiff is None or not gps.is_marked(tiff):
        return False
    position = gps.position(tiff)
    return position is not None and xmp.confirms(packet, position, name="its XMP")


def _placed(photo: jpeg.Jpeg, tiff: Tiff | None, place: tuple[float, float] | None, *, ours: bool) -> jpeg.Jpeg:
    """Return a JPEG with an estimate in its EXIF or, with None, without one of ours or what is left of one."""
    if place is not None:
        return photo.with_body(jpeg.EXIF, (gps.with_estimate(tiff, place) if tiff else gps.new_block(place)).data)
    if tiff is None or not gps.is_marked(tiff):
        return photo
    # One that somebody has corrected must not pass for ours once the XMP that tells what we wrote has changed.
    return photo.with_body(jpeg.EXIF, (gps.without_estimate(tiff) if ours else gps.without_mark(tiff)).data)


def _check(before: jpeg.Jpeg, after: jpeg.Jpeg) -> None:
    """Raise ValueError unless all is kept that was not meant to change."""
    again = jpeg.split(after.joined())
    if again.foreign() != before.foreign():
        raise ValueError("its other parts would change")
    if again.counted_on() != before.counted_on():
        raise ValueError("it has a second picture whose place would change")
    old, new = _tiff(before), _tiff(again)
    if old is not None and (new is None or _told(old) != _told(new)):
        raise ValueError("its other EXIF would change")


def _told(tiff: Tiff) -> list[tuple[int, int, bytes]]:
    """Return tag, type and value of what EXIF tells beside the position."""
    fields = tiff.fields(tiff.first)
    within = tiff.pointed(fields, EXIF_POINTER)
    found = [f for f in (*fields.values(), *within.values()) if f.tag != GPS_POINTER]
    return [(f.tag, f.kind, tiff.value(f)) for f in found]
