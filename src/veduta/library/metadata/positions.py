"""Where photos were taken when they do not say so themselves: by their sidecars, and countries by one rule."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

from veduta.geo import median_position
from veduta.geo.countries import country_of
from veduta.images.metadata.xmp import XmpPacket
from veduta.library.metadata.xmp import MAX_SIDECAR_BYTES
from veduta.library.model import Asset

Degrees = tuple[float, float]
_MARK = b"GPSLatitude"


def sidecar_position(companions: Iterable[str]) -> Degrees | None:
    """Return (degrees north, degrees east) in a photo's XMP sidecars, or None; an estimate of Veduta is none.

    Args:
        companions: paths of the files that belong to the photo.
    """
    sidecars = (path for path in companions if path.lower().endswith(".xmp"))
    return next((position for path in sidecars if (position := _position_in(path))), None)


def with_countries(assets: Sequence[Asset], likely: Sequence[Asset]) -> list[Asset]:
    """Return assets whose labels have a country: of the landmark, else of the photo, else of the landmark's photos.

    The landmark's place decides, which a label has already; without one, the position of the photo itself; without
    that, the median position of all photos of the landmark.

    Args:
        assets: the photos.
        likely: the same photos or more with the labels by which a landmark's photos are known.
    """
    taken_at: dict[str, list[Degrees]] = {}
    for asset in likely:
        if asset.label is not None and asset.position is not None:
            taken_at.setdefault(asset.label.landmark.id, []).append(asset.position)
    return [_with_country(asset, taken_at) for asset in assets]


def _with_country(asset: Asset, taken_at: dict[str, list[Degrees]]) -> Asset:
    label = asset.label
    if label is None or label.country is not None or label.landmark.latitude is not None:
        return asset
    position = asset.position or median_position(taken_at.get(label.landmark.id, []))
    return asset if position is None else replace(asset, label=replace(label, country=country_of(*position)))


def _position_in(path: str) -> Degrees | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if not S_ISREG(status.st_mode):  # a link in somebody else's folder may lead anywhere
        return None
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _read(path: str, mtime_ns: int, size: int) -> Degrees | None:
    del mtime_ns  # another time is another content
    if size > MAX_SIDECAR_BYTES:
        return None
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    packet = XmpPacket(data) if _MARK in data or data[:2] in (b"\xff\xfe", b"\xfe\xff") else None
    return None if packet is None or packet.is_estimate else packet.position
