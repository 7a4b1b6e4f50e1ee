"""Where and when photos were taken when they do not say so themselves: by sidecars, and countries by one rule."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

from veduta.geo import median_position
from veduta.geo.countries import country_of
from veduta.images.metadata.values import Moment
from veduta.images.metadata.xmp import XmpPacket
from veduta.landmarks import Position
from veduta.library.metadata.xmp import MAX_SIDECAR_BYTES
from veduta.library.model import Asset

_MARKS = b"GPSLatitude", b"Date"  # without which no position and no date is in a sidecar
_UTF_16 = b"\xff\xfe", b"\xfe\xff"


@dataclass(frozen=True)
class SidecarFacts:
    """The facts that a sidecar gives about a photo.

    Attributes:
        position: (degrees north, degrees east), or None; an estimate of Veduta is none.
        taken: when, or None; the time when the sidecar was changed is none.
    """

    position: Position | None = None
    taken: Moment | None = None


def sidecar_position(companions: Iterable[str]) -> Position | None:
    """Return (degrees north, degrees east) in a photo's XMP sidecars, or None; an estimate of Veduta is none.

    Args:
        companions: paths of the files that belong to the photo.
    """
    return next((facts.position for facts in _facts(companions) if facts.position), None)


def sidecar_moment(companions: Iterable[str]) -> Moment | None:
    """Return when a photo was taken by its XMP sidecars, or None.

    Args:
        companions: paths of the files that belong to the photo.
    """
    return next((facts.taken for facts in _facts(companions) if facts.taken), None)


def with_countries(assets: Sequence[Asset], likely: Sequence[Asset]) -> list[Asset]:
    """Return assets whose labels have a country: of the landmark, else of the photo, else of the landmark's photos.

    The landmark's place decides, which a label has already; without one, the position of the photo itself; without
    that, the median position of all photos of the landmark.

    Args:
        assets: the photos.
        likely: the same photos or more with the labels by which a landmark's photos are known.
    """
    taken_at: dict[str, list[Position]] = {}
    for asset in likely:
        if asset.label is not None and asset.position is not None:
            taken_at.setdefault(asset.label.landmark.id, []).append(asset.position)
    return [_with_country(asset, taken_at) for asset in assets]


def _with_country(asset: Asset, taken_at: dict[str, list[Position]]) -> Asset:
    label = asset.label
    if label is None or label.country is not None or label.landmark.latitude is not None:
        return asset
    position = asset.position or median_position(taken_at.get(label.landmark.id, []))
    return asset if position is None else replace(asset, label=replace(label, country=country_of(*position)))


def _facts(companions: Iterable[str]) -> Iterator[SidecarFacts]:
    return (_facts_in(path) for path in companions if path.lower().endswith(".xmp"))


def _facts_in(path: str) -> SidecarFacts:
    try:
        status = os.lstat(path)
    except OSError:
        return SidecarFacts()
    if not S_ISREG(status.st_mode):  # a link in somebody else's folder may lead anywhere
        return SidecarFacts()
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _read(path: str, mtime_ns: int, size: int) -> SidecarFacts:
    del mtime_ns  # another time is another content
    if size > MAX_SIDECAR_BYTES:
        return SidecarFacts()
    try:
        data = Path(path).read_bytes()
    except OSError:
        return SidecarFacts()
    if not any(mark in data for mark in _MARKS) and not data.startswith(_UTF_16):
        return SidecarFacts()
    packet = XmpPacket(data)
    position = None if packet.is_estimate or packet.position is None else Position(*packet.position)
    return SidecarFacts(position, next(iter(packet.moments), None))
