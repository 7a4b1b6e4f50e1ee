"""Photos written into by the program that knows all their formats: exiftool, run on a copy."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any

from veduta.errors import LibraryError
from veduta.files import utf8
from veduta.images import read_bytes
from veduta.images.metadata.xmp import ESTIMATE, same_place
from veduta.library.metadata import keywords, xmp
from veduta.library.model import Label

MAX_SECONDS = 120  # that one photo may take
_ABSENT = "exiftool is not installed, see apt-get install libimage-exiftool-perl or brew install exiftool"
_POSITION_TAGS = (
    *("GPSLatitude", "GPSLatitudeRef", "GPSLongitude", "GPSLongitudeRef"),
    *("GPSMapDatum", "GPSProcessingMethod", "GPSAreaInformation"),
)
_MARK_TAG = "GPSAreaInformation"
_WRITTEN_TAGS = {*_POSITION_TAGS, "GPSVersionID"}  # exiftool adds the version to every position


def embed_label(path: Path, label: Label, position_known: bool) -> bytes:  # noqa: FBT001
    """Return a photo's bytes with a label in them; the same bytes if the label is there already.

    Args:
        path: the photo, which is only read.
        label: replaces that of an earlier call.
        position_known: as for `xmp.merge_sidecar`; a position that the camera wrote is known too.

    Raises:
        ImageError: if the photo cannot be read.
        LibraryError: if exiftool is not installed, or cannot write into this photo.
    """
    return _changed(path, partial(_write, label=label, position_known=position_known))


def remove_label(path: Path) -> bytes:
    """Return a photo's bytes without anything of ours; errors as `embed_label`.

    Args:
        path: the photo, which is only read.
    """
    return _changed(path, _remove)


def _changed(path: Path, change: Callable[[Path], None]) -> bytes:
    """Return a photo's bytes after a change to a temporary copy."""
    name, content = utf8(str(path)), read_bytes(path).data
    try:
        with tempfile.TemporaryDirectory(prefix="veduta-") as folder:
            # A copy under a name of ours: exiftool takes some names for options, replaces what it writes, and refuses
            # a photo whose suffix is another format's. Without one it goes by the content.
            copy = Path(folder) / "photo"
            copy.write_bytes(content)
            change(copy)
            return copy.read_bytes()
    except (OSError, LibraryError) as error:
        # Not the remedy: what to do about a broken sidecar does not help here.
        reason = error.problem if isinstance(error, LibraryError) else str(error)
        raise LibraryError(f"{name}: nothing is written into it ({reason})", "write sidecars instead") from error


def _write(copy: Path, label: Label, *, position_known: bool) -> None:
    """Write a label into a copy, unless the copy has the same."""
    fields = _read(copy)
    packet, position = _packet(fields), _position(fields)
    ours = _is_ours(fields, packet)
    merged = xmp.merge_sidecar(packet, label, position_known or (position is not None and not ours), name="its XMP")
    place = keywords.place(label.landmark) if xmp.estimates(merged) else None
    if place is None:
        _exchange(copy, packet, merged, _without_estimate(fields, ours=ours))
    elif position is None or not same_place(position, place):
        _exchange(copy, packet, merged, _with_estimate(place))
    else:
        _exchange(copy, packet, merged, [])


def _remove(copy: Path) -> None:
    """Take everything of ours out of a copy."""
    fields = _read(copy)
    packet = _packet(fields)
    rest = None if packet is None else xmp.remove_ours(packet, name="its XMP")
    _exchange(copy, packet, rest, _without_estimate(fields, ours=_is_ours(fields, packet)))


def _exchange(copy: Path, old: bytes | None, new: bytes | None, arguments: list[str]) -> None:
    """Replace a copy's XMP packet, if the new one differs, and change the tags that these arguments name."""
    if new is not None and new != old:
        copy.with_name("packet.xmp").write_bytes(new)
        arguments = ["-XMP<=packet.xmp", *arguments]
    if arguments:
        _run([*arguments, "-overwrite_original", copy.name], copy.parent)


def _is_ours(fields: dict[str, Any], packet: bytes | None) -> bool:
    """Return whether the position in EXIF is an estimate of ours that nobody has changed."""
    position = _position(fields)
    return position is not None and _is_marked(fields) and xmp.confirms(packet, position, name="its XMP")


def _is_marked(fields: dict[str, Any]) -> bool:
    return fields.get(_MARK_TAG) == ESTIMATE


def _read(copy: Path) -> dict[str, Any]:
    """Return a photo's XMP as a whole, and all GPS tags of its EXIF."""
    answer: list[dict[str, Any]] = json.loads(
        _run(["-json", "-binary", "-n", "-XMP", "-GPS:all", copy.name], copy.parent)
    )
    return answer[0]


def _packet(fields: dict[str, Any]) -> bytes | None:
    if "XMP" not in fields:
        return None
    text = str(fields["XMP"])
    # Only what is no UTF-8 comes so.
    return base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()


def _position(fields: dict[str, Any]) -> tuple[float, float] | None:
    """Return (degrees north, degrees east); zeros, which some cameras write without a fix, are none."""
    north, east = fields.get("GPSLatitude"), fields.get("GPSLongitude")
    if not isinstance(north, int | float) or not isinstance(east, int | float) or (north, east) == (0, 0):
        return None
    south, west = (str(fields.get(f"GPS{axis}Ref")) in "SW" for axis in ("Latitude", "Longitude"))
    return -north if south else north, -east if west else east


def _with_estimate(place: tuple[float, float]) -> list[str]:
    """Return the arguments by which exiftool writes a position as an estimate."""
    north, east = place
    values = (
        *(f"{abs(north):.8f}", "S" if north < 0 else "N", f"{abs(east):.8f}", "W" if east < 0 else "E"),
        *("WGS-84", keywords.MANUAL, ESTIMATE),
    )
    return [f"-EXIF:{tag}={value}" for tag, value in zip(_POSITION_TAGS, values, strict=True)]


def _without_estimate(fields: dict[str, Any], *, ours: bool) -> list[str]:
    """Return the arguments that take out an estimate of ours, or our mark from one that somebody has corrected."""
    if not ours:
        return [f"-EXIF:{_MARK_TAG}="] if _is_marked(fields) else []
    if {tag for tag in fields if tag.startswith("GPS")} <= _WRITTEN_TAGS:
        return ["-GPS:all="]
    return [f"-EXIF:{tag}=" for tag in _POSITION_TAGS]


def _run(arguments: list[str], folder: Path) -> str:
    """Return the output of exiftool, run in a folder without the person's own settings."""
    program = which("exiftool")
    if program is None:
        raise LibraryError(_ABSENT)
    command = [program, "-config", "", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and the only file named is our copy
            command,
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=MAX_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LibraryError(f"exiftool took more than {MAX_SECONDS} seconds") from error
    if done.returncode:
        raise LibraryError(done.stderr.strip().partition(" - ")[0].partition("\n")[0] or "exiftool gave no reason")
    return done.stdout
