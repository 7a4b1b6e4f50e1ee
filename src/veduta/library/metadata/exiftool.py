"""A label put into HEIC, AVIF, WebP, PNG or TIFF, by the program that knows them all: exiftool, run on a copy."""

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
from veduta.images import read_bytes
from veduta.library.metadata import keywords, xmp
from veduta.library.model import Label
from veduta.text import utf8

SECONDS = 120  # longest that one photo may take
_ABSENT = "exiftool is not installed, see apt-get install libimage-exiftool-perl or brew install exiftool"
_POSITION = (
    *("GPSLatitude", "GPSLatitudeRef", "GPSLongitude", "GPSLongitudeRef"),
    *("GPSMapDatum", "GPSProcessingMethod", "GPSAreaInformation"),
)


def embed_with_exiftool(path: Path, label: Label, position_known: bool) -> bytes:  # noqa: FBT001
    """Return a photo's bytes with what a label says in them; the same bytes if they say it already.

    Args:
        path: the photo, which is only read.
        label: what to say. What an earlier call said is replaced.
        position_known: as for `xmp.merge`; a position that the camera wrote is found here too.

    Raises:
        ImageError: if the photo cannot be read.
        LibraryError: if exiftool is not installed, or cannot write into this photo.
    """
    return _changed(path, partial(_write, label=label, position_known=position_known))


def remove_with_exiftool(path: Path) -> bytes:
    """Return a photo's bytes without anything of ours; errors as `embed_with_exiftool`.

    Args:
        path: the photo, which is only read.
    """
    return _changed(path, _withdraw)


def _changed(path: Path, change: Callable[[Path], None]) -> bytes:
    """Return a photo's bytes after a change to a copy of it."""
    name, content = utf8(str(path)), read_bytes(path)[0]
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
    """Write what a label says into a copy, unless it says it already."""
    told = _told(copy)
    packet, position = _packet(told), _position(told)
    ours = _is_ours(told, packet)
    merged = xmp.merge_sidecar(packet, label, position_known or (position is not None and not ours), name="its XMP")
    place = keywords.place(label.landmark) if xmp.estimates(merged) else None
    if place is None:
        _exchange(copy, packet, merged, _gone(told, ours=ours))
    elif position is None or not keywords.same_place(position, place):
        _exchange(copy, packet, merged, _placed(place))
    else:
        _exchange(copy, packet, merged, [])


def _withdraw(copy: Path) -> None:
    """Take what is ours out of a copy."""
    told = _told(copy)
    packet = _packet(told)
    rest = None if packet is None else xmp.remove_ours(packet, name="its XMP")
    _exchange(copy, packet, rest, _gone(told, ours=_is_ours(told, packet)))


def _exchange(copy: Path, old: bytes | None, new: bytes | None, arguments: list[str]) -> None:
    """Give a copy other XMP, where it is another, and do what else exiftool is told."""
    if new is not None and new != old:
        copy.with_name("packet.xmp").write_bytes(new)
        arguments = ["-XMP<=packet.xmp", *arguments]
    if arguments:
        _run([*arguments, "-overwrite_original", copy.name], copy.parent)


def _is_ours(told: dict[str, Any], packet: bytes | None) -> bool:
    """Return whether the position in EXIF is an estimate of ours that nobody has changed."""
    position = _position(told)
    return position is not None and _is_marked(told) and xmp.confirms(packet, position, name="its XMP")


def _is_marked(told: dict[str, Any]) -> bool:
    return told.get("GPSAreaInformation") == keywords.ESTIMATE


def _told(copy: Path) -> dict[str, Any]:
    """Return what a photo says: its XMP as a whole, and its position in EXIF with the words about it."""
    asked = ["-XMP", *(f"-EXIF:{tag}" for tag in _POSITION)]
    answer: list[dict[str, Any]] = json.loads(_run(["-json", "-binary", "-n", *asked, copy.name], copy.parent))
    return answer[0]


def _packet(told: dict[str, Any]) -> bytes | None:
    if "XMP" not in told:
        return None
    text = str(told["XMP"])
    # Only what is no UTF-8 comes so.
    return base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()


def _position(told: dict[str, Any]) -> tuple[float, float] | None:
    """Return (degrees north, degrees east); zeros, which some cameras write without a fix, are none."""
    north, east = told.get("GPSLatitude"), told.get("GPSLongitude")
    if not isinstance(north, int | float) or not isinstance(east, int | float) or (north, east) == (0, 0):
        return None
    south, west = (str(told.get(f"GPS{axis}Ref")) in "SW" for axis in ("Latitude", "Longitude"))
    return -north if south else north, -east if west else east


def _placed(place: tuple[float, float]) -> list[str]:
    """Return what tells exiftool to write a position as an estimate."""
    sides = "S" if place[0] < 0 else "N", "W" if place[1] < 0 else "E"
    values = (
        f"{abs(place[0]):.8f}",
        sides[0],
        f"{abs(place[1]):.8f}",
        sides[1],
        "WGS-84",
        keywords.MANUAL,
        keywords.ESTIMATE,
    )
    return [f"-EXIF:{tag}={value}" for tag, value in zip(_POSITION, values, strict=True)]


def _gone(told: dict[str, Any], *, ours: bool) -> list[str]:
    """Return what tells exiftool to take out an estimate of ours, or our mark from one that somebody has corrected."""
    tags = _POSITION if ours else _POSITION[-1:] if _is_marked(told) else ()
    return [f"-EXIF:{tag}=" for tag in tags]


def _run(arguments: list[str], folder: Path) -> str:
    """Return what exiftool prints, run in a folder without the person's own settings."""
    program = which("exiftool")
    if program is None:
        raise LibraryError(_ABSENT)
    command = [program, "-config", "", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and the only file named is our copy
            command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LibraryError(f"exiftool took more than {SECONDS} seconds") from error
    if done.returncode:
        raise LibraryError(done.stderr.strip().partition(" - ")[0].partition("\n")[0] or "exiftool gave no reason")
    return done.stdout
