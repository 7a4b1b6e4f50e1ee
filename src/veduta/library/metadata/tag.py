"""Labels written where other programs find them: into sidecars beside the photos or, on request, into the photos.

A sidecar is named after the whole file, ``IMG.jpg.xmp``, as digiKam, darktable and Immich have it. Lightroom's
``IMG.xmp`` is left alone even where it is the only one: it belongs to the RAW, or to every file of that name, and
Lightroom itself reads none for a JPEG. A RAW that goes with a photo gets nothing: what is known was seen in the photo.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from veduta.errors import LibraryError, VedutaError
from veduta.files import utf8
from veduta.images import RAW_SUFFIXES, read_bytes
from veduta.library.companions import sidecar_of
from veduta.library.journal import Step
from veduta.library.metadata import embed, keywords, xmp
from veduta.library.metadata.xmp_document import SPACES
from veduta.library.model import Asset, Label
from veduta.library.organize.path_template import MAX_NAME_BYTES
from veduta.types import Failure

XMP_MARK = SPACES[
    "veduta"
].encode()  # in UTF-8, in which we write; whoever wrote a sidecar anew in UTF-16 keeps our words


@dataclass(frozen=True)
class TagPlan:
    """The planned changes to sidecars and photos; nothing is written until the steps are applied.

    Attributes:
        steps: one per file that changes.
        new: sidecars that will be made.
        merged: sidecars there already that will say more, or something else.
        withdrawn: sidecars and photos that will lose what was written there, as a person said that it is wrong.
        embedded: photos that will be written into.
        unchanged: sidecars and photos that say it already.
        positions: files that will have the landmark's place as an estimate.
        positions_left: files whose landmark has a place, but which have a position from the camera or somebody else.
        failures: files for which nothing can be planned, and why.
    """

    steps: tuple[Step, ...]
    new: int
    merged: int
    withdrawn: int
    embedded: int
    unchanged: int
    positions: int
    positions_left: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Change:
    """The planned change to one file.

    Attributes:
        what: its line in the counts.
        step: how, or None when nothing is to be done.
        position: ``estimate``, or ``other`` where one would have been written but for another, or neither.
    """

    what: Literal["new", "merged", "withdrawn", "embedded", "unchanged"]
    step: Step | None
    position: Literal["estimate", "other", "none"]


def plan_tags(assets: Sequence[Asset], *, embed: bool) -> TagPlan:
    """Return how to write the labels of these assets beside every file of each.

    Shots without a label are left alone: that nothing is known of one here does not mean that what was written of it,
    perhaps on another computer, is wrong. Only where a person said so it is taken out.

    Args:
        assets: what is known of a library.
        embed: whether to write into the photos themselves. A sidecar that is there is kept true all the same, and a RAW
            gets a sidecar, for nothing is ever written into one.
    """
    changes: list[_Change] = []
    failures: list[Failure] = []
    for asset in assets:
        has_other_position = asset.label is not None and any(map(_tells_position, asset.companions))
        for file in asset.files:
            try:
                for change in _changes(asset, file, has_other_position=has_other_position, embed=embed):
                    changes.append(change)  # noqa: PERF402 - those before a failure count
            except VedutaError as error:
                failures.append(Failure.of(utf8(str(file)), error))
    what = Counter(change.what for change in changes)
    return TagPlan(
        steps=tuple(change.step for change in changes if change.step),
        new=what["new"],
        merged=what["merged"],
        withdrawn=what["withdrawn"],
        embedded=what["embedded"],
        unchanged=what["unchanged"],
        positions=sum(change.position == "estimate" for change in changes if change.step),
        positions_left=sum(change.position == "other" for change in changes),
        failures=tuple(failures),
    )


def _tells_position(companion: Path) -> bool:
    """Return whether a companion is a sidecar with a position of somebody else's, such as Lightroom's ``IMG.xmp``."""
    if companion.suffix.lower() != ".xmp":
        return False
    try:
        return xmp.has_own_position(read_bytes(companion, max_bytes=xmp.MAX_SIDECAR_BYTES).data)
    except VedutaError:
        return False  # not ours to judge: it is only asked, never written


def _changes(asset: Asset, file: Path, *, has_other_position: bool, embed: bool) -> Iterator[_Change]:
    """Yield the changes to a file and its sidecar; `has_other_position`: whether a companion has a position."""
    into = embed and file.suffix.lower() not in RAW_SUFFIXES
    if asset.label is not None:
        yield from _labeled(asset, asset.label, file, has_other_position=has_other_position, into=into)
    elif asset.rejected:
        yield from _withdrawn(_sidecar(asset, file))
        if into and not _is_alias(file, asset):
            yield from _withdrawn_within(file)


def _labeled(asset: Asset, label: Label, file: Path, *, has_other_position: bool, into: bool) -> Iterator[_Change]:
    sidecar = _sidecar(asset, file)
    existing = _existing(sidecar)
    if existing is not None or not into:
        yield _beside(sidecar, existing, label, known=has_other_position or asset.position is not None)
    if into and not _is_alias(file, asset):
        has_other_position |= existing is not None and xmp.has_own_position(existing, name=utf8(str(sidecar)))
        yield _within(file, label, has_other_position=has_other_position)


def _sidecar(asset: Asset, file: Path) -> Path:
    """Return a file's sidecar, however its name is spelled, or the place for a new one."""
    names = [companion.name for companion in asset.companions if companion.parent == file.parent]
    since = [
        f"{file.name}{suffix}" for suffix in (".xmp", ".XMP") if os.path.lexists(file.with_name(file.name + suffix))
    ]
    return file.with_name(sidecar_of(file.name, [*names, *since]))


def _withdrawn(sidecar: Path) -> Iterator[_Change]:
    """Yield the change to the sidecar of a photo that was rejected, if anything in there is ours."""
    existing, name = _existing(sidecar), utf8(str(sidecar))
    if existing is None or XMP_MARK not in existing or xmp.remove_ours(existing, name=name) == existing:
        return

    def make() -> bytes:
        return xmp.remove_ours(_existing(sidecar) or b"", name=name)

    yield _Change("withdrawn", _beside_step(sidecar, make), "none")


def _withdrawn_within(file: Path) -> Iterator[_Change]:
    """Yield the change to a photo that was rejected, if anything in there is ours."""
    if embed.remove_embedded(file) != read_bytes(file).data:
        yield _Change("withdrawn", _within_step(file, partial(embed.remove_embedded, file)), "none")


def _beside(sidecar: Path, existing: bytes | None, label: Label, *, known: bool) -> _Change:
    """Return the change to a sidecar; `known`: whether the photo's position is known from elsewhere."""
    name = utf8(str(sidecar))
    merged = xmp.merge_sidecar(existing, label, known, name=name)
    position = _position(label, ours=xmp.estimates(merged, name=name))
    if merged == existing:
        return _Change("unchanged", None, position)
    # Made again when its turn comes: somebody may have written into the sidecar meanwhile.
    step = _beside_step(sidecar, lambda: xmp.merge_sidecar(_existing(sidecar), label, known, name=name))
    return _Change("new" if existing is None else "merged", step, position)


def _within(file: Path, label: Label, *, has_other_position: bool) -> _Change:
    """Return the change to a photo that is written into; `has_other_position`: whether a sidecar has a position."""
    content = embed.embed_label(file, label, has_other_position)
    position = _position(label, ours=embed.has_estimate(content))
    if content == read_bytes(file).data:
        return _Change("unchanged", None, position)
    return _Change(
        "embedded", _within_step(file, partial(embed.embed_label, file, label, has_other_position)), position
    )


def _beside_step(sidecar: Path, make: Callable[[], bytes]) -> Step:
    """Return how to write a sidecar; LibraryError if that would be refused when its turn comes."""
    name = utf8(str(sidecar))
    if len(os.fsencode(sidecar.name)) > MAX_NAME_BYTES:
        raise LibraryError(
            f"{name}: is a longer name than the {MAX_NAME_BYTES} bytes that disks take; shorten the photo's"
        )
    if sidecar.is_symlink():
        raise LibraryError(f"{name}: is a link, through which nothing is written; put the file itself there")
    return Step("write", sidecar, make=make)


def _within_step(file: Path, make: Callable[[], bytes]) -> Step:
    """Return how to write into a photo; LibraryError if that would be refused when its turn comes."""
    if file.is_symlink():
        name, real = utf8(str(file)), utf8(os.path.realpath(file))
        raise LibraryError(f"{name}: is a link to {real}, which is no photo of this library; write sidecars instead")
    # Its pixels were made when they were, whatever is written about them now: the photo keeps its time.
    return Step("write", file, make=make, keep_times=True)


def _is_alias(file: Path, asset: Asset) -> bool:
    """Return whether a file is a link to another of the same asset, which is written into under its own name."""
    others = (os.path.realpath(other) for other in asset.files if not other.is_symlink())
    return file.is_symlink() and os.path.realpath(file) in others


def _position(label: Label, *, ours: bool) -> Literal["estimate", "other", "none"]:
    if keywords.place(label.landmark) is None:
        return "none"
    return "estimate" if ours else "other"


def _existing(sidecar: Path) -> bytes | None:
    """Return a sidecar's bytes, or None without one; ImageError for an unreadable one."""
    return read_bytes(sidecar, max_bytes=xmp.MAX_SIDECAR_BYTES).data if os.path.lexists(sidecar) else None
