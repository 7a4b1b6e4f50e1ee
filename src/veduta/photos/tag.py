"""What is known of photos put where other programs find it: into sidecars beside them or, when asked, into themselves.

A sidecar is named after the whole file, ``IMG.jpg.xmp``, as digiKam, darktable and Immich have it. Lightroom's
``IMG.xmp`` is left alone even where it is the only one: it belongs to the RAW, or to every file of that name, and
Lightroom itself reads none for a JPEG. A RAW that goes with a photo gets nothing: what is known was seen in the photo.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from veduta.adding import utf8
from veduta.errors import VedutaError
from veduta.images import read
from veduta.photos import exif, words, xmp
from veduta.photos.journal import Step
from veduta.photos.raw import RAW_SUFFIXES
from veduta.photos.shots import Label, Shot
from veduta.photos.sidecar import SPACES
from veduta.types import Failure

MARK = SPACES["veduta"].encode()  # in UTF-8, in which we write; whoever wrote a sidecar anew in UTF-16 keeps our words


@dataclass(frozen=True)
class TagPlan:
    """What is to be written; nothing is until the steps are applied.

    Attributes:
        steps: one per file that changes.
        new: sidecars that will be made.
        merged: sidecars there already that will say more, or something else.
        withdrawn: sidecars that will lose what was written there, as nobody is sure of it any more.
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
    """What becomes of one file.

    Attributes:
        what: its line in the counts.
        step: how, or None when nothing is to be done.
        position: ``ours`` for an estimate, ``theirs`` where one would have been written but for another, or neither.
    """

    what: Literal["new", "merged", "withdrawn", "embedded", "unchanged"]
    step: Step | None
    position: Literal["ours", "theirs", "none"]


def plan(shots: Sequence[Shot], *, embed: bool) -> TagPlan:
    """Return how to write the labels of these shots beside every file of each.

    Shots without a label are left alone, but for sidecars that say what was thought of them before.

    Args:
        shots: what is known of a library.
        embed: whether to write into the photos themselves. A sidecar that is there is kept true all the same, and a RAW
            gets a sidecar, for nothing is ever written into one.
    """
    changes: list[_Change] = []
    failures: list[Failure] = []
    for file, shot, label in ((file, s, s.label) for s in shots for file in s.files):
        try:
            if label is None:
                changes += _withdrawn(file)
            else:
                changes += _changes(file, label, camera=shot.position is not None, embed=embed)
        except VedutaError as error:
            failures.append(Failure(utf8(str(file)), str(error)))
    what = Counter(change.what for change in changes)
    return TagPlan(
        steps=tuple(change.step for change in changes if change.step),
        new=what["new"],
        merged=what["merged"],
        withdrawn=what["withdrawn"],
        embedded=what["embedded"],
        unchanged=what["unchanged"],
        positions=sum(change.position == "ours" for change in changes if change.step),
        positions_left=sum(change.position == "theirs" for change in changes),
        failures=tuple(failures),
    )


def _withdrawn(file: Path) -> list[_Change]:
    """Return what becomes of the sidecar of a photo that shows nothing known: nothing where none of it is ours."""
    sidecar = file.with_name(f"{file.name}.xmp")
    existing, name = _existing(sidecar), utf8(str(sidecar))
    if existing is None or MARK not in existing or xmp.withdraw(existing, name=name) == existing:
        return []

    def make() -> bytes:
        return xmp.withdraw(_existing(sidecar) or b"", name=name)

    return [_Change("withdrawn", Step("write", sidecar, make=make), "none")]


def _changes(file: Path, label: Label, *, camera: bool, embed: bool) -> list[_Change]:
    """Return what becomes of a file and its sidecar; `camera` is whether the camera wrote a position."""
    sidecar = file.with_name(f"{file.name}.xmp")
    existing = _existing(sidecar)
    into = embed and file.suffix.lower() not in RAW_SUFFIXES
    found = []
    if existing is not None or not into:
        found.append(_beside(sidecar, existing, label, camera=camera))
    if into:
        theirs = existing is not None and xmp.has_own_position(existing, name=utf8(str(sidecar)))
        found.append(_within(file, label, theirs=theirs))
    return found


def _beside(sidecar: Path, existing: bytes | None, label: Label, *, camera: bool) -> _Change:
    """Return what becomes of a sidecar."""
    name = utf8(str(sidecar))
    merged = xmp.merge(existing, label, camera, name=name)
    position = _position(label, ours=xmp.estimates(merged, name=name))
    if merged == existing:
        return _Change("unchanged", None, position)
    # Made again when its turn comes: somebody may have written into the sidecar meanwhile.
    step = Step("write", sidecar, make=lambda: xmp.merge(_existing(sidecar), label, camera, name=name))
    return _Change("new" if existing is None else "merged", step, position)


def _within(file: Path, label: Label, *, theirs: bool) -> _Change:
    """Return what becomes of a photo that is written into; `theirs` is whether its sidecar tells its position."""
    content = exif.embed(file, label, theirs)
    position = _position(label, ours=exif.estimated(content))
    if content == read(file)[0]:
        return _Change("unchanged", None, position)
    # Its pixels were made when they were, whatever is written about them now: the photo keeps its time.
    step = Step("write", file, make=partial(exif.embed, file, label, theirs), keep_times=True)
    return _Change("embedded", step, position)


def _position(label: Label, *, ours: bool) -> Literal["ours", "theirs", "none"]:
    if words.place(label.landmark) is None:
        return "none"
    return "ours" if ours else "theirs"


def _existing(sidecar: Path) -> bytes | None:
    """Return a sidecar's bytes, or None where there is none; ImageError if it cannot be read."""
    return read(sidecar, max_bytes=xmp.MOST_BYTES)[0] if os.path.lexists(sidecar) else None
