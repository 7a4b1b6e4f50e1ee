"""The album: a person's photos as one HTML file that needs nothing else and can be opened from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from veduta.errors import GalleryError, ModelError
from veduta.gallery import Gallery
from veduta.library import Library
from veduta.library.album.content import AlbumContent, collect_content, dates
from veduta.library.album.format import day, in_page, period, plural
from veduta.library.album.images import AlbumImages
from veduta.library.album.map import Marker, draw_map
from veduta.library.album.sections import (
    NARROWEST,
    SHOWN_DOUBTS,
    SHOWN_FAILURES,
    SHOWN_UNNAMED,
    WIDEST,
    Sections,
    View,
    command,
    entry,
    grids,
    not_shown,
)
from veduta.library.album.timeline import Moment, draw_timeline
from veduta.library.export import write_text
from veduta.pages import page_template

HERE = Path(__file__).parent
MOSAIC = 5  # pictures the album opens with, or one
FILTERED = 8  # places beyond which there is a box to filter them


def write_album(library: Library, out: Path, floor: float = 0.5) -> Path:
    """Write the album of a library and return its path; the file appears whole or not at all.

    Args:
        library: the library, as it was last scanned.
        out: the HTML file; one that is there is replaced. Its links lead to the photos from where it lies.
        floor: least confidence of a gallery's answer that counts.

    Raises:
        LibraryError: the file cannot be written, or what is known of the library cannot be read.
    """
    chapters = collect_content(library, floor)
    with ExitStack() as stack:
        gallery = _gallery(library)
        if gallery is not None:
            stack.enter_context(gallery)
        plates = AlbumImages(library, out, gallery, tuple(grids(chapters)))
        write_text(out, _page(library, chapters, Sections(library, chapters, plates)))
    return out


def _gallery(library: Library) -> Gallery | None:
    """Return the gallery that was asked, for its pictures, or None where it is gone: its answers are kept."""
    if library.gallery is None:
        return None
    try:
        return Gallery.open(library.gallery)
    except (GalleryError, ModelError):
        return None


# --- the page -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A part of the page: its id, its heading, what it is called in the contents, and what makes it."""

    id: str
    heading: str
    short: str
    make: Callable[[], View]


def _page(library: Library, chapters: AlbumContent, sections: Sections) -> Iterator[str]:
    """Yield the page piece by piece: all its pictures need not be in memory at once."""
    style, script = _style(), (HERE / "album.js").read_text("utf-8")
    parts = _parts(library, chapters, sections)
    return page_template(__file__, "album.html", in_page).generate(
        title=library.path.name or str(library.path),
        style=style,
        script=script,
        policy=_policy(style, script),
        when=period(*dates(chapters.bursts)),
        numbers=_numbers(chapters),
        contents=parts,
        mosaic=_mosaic(chapters, sections),
        parts=({"id": part.id, "heading": part.heading, **part.make()} for part in parts),
        empty="" if chapters.bursts else command(library, "scan"),
        today=day(datetime.now()),  # noqa: DTZ005 - the reader's own day
    )


def _style() -> str:
    """Return the style sheet, with a class for each shape that decides how wide a picture is in its row."""
    shapes = "".join(f".r{tenths}{{--shape:{tenths / 10}}}" for tenths in range(NARROWEST, WIDEST + 1))
    return (HERE / "album.css").read_text("utf-8") + shapes


def _policy(style: str, script: str) -> str:
    """Return a policy by which nothing is loaded but what is in the page, and photos from where the page lies."""
    sheet, code = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in (style, script))
    return (
        "default-src 'none'; img-src data: file: 'self'; "
        f"style-src 'sha256-{sheet}'; script-src 'sha256-{code}'; base-uri 'none'; form-action 'none'"
    )


def _numbers(chapters: AlbumContent) -> str:
    photos, alike = len(chapters.bursts), sum(map(len, chapters.bursts)) - len(chapters.bursts)
    countries = len({place.country for place in chapters.places if place.country})
    told = [plural(photos, "photo") + (f" and {alike:,} nearly the same" if alike else "")]
    told += [plural(len(chapters.places), "landmark")] if chapters.places else []
    told += [plural(countries, "country", "countries")] if countries else []
    return " · ".join([told[0], *(part.replace(" ", "\u00a0") for part in told[1:])])


def _parts(library: Library, chapters: AlbumContent, sections: Sections) -> list[_Part]:
    """Return the parts that there is something for."""
    places, unnamed, doubts = len(chapters.places), len(chapters.unnamed), len(chapters.uncertain)
    rest, failures = len(chapters.rest), len(chapters.failures)
    world, time = _map(chapters), _timeline(chapters)
    review = command(library, "review")

    def listed(content: Callable[[], Iterator[View]], left_out: str, **more: Any) -> Callable[[], View]:
        return lambda: {"content": content(), "more": left_out, **more}

    parts = (
        (world, _Part("map", "On the map", "Map", lambda: {"content": world})),
        (time, _Part("time", "Through time", "Time", lambda: {"content": time})),
        (places, _Part("places", "Places", f"Places {places:,}", listed(sections.places, "", index=_index(chapters)))),
        (
            unnamed,
            _Part(
                "unnamed",
                "Places without a name yet",
                f"Without a name {unnamed:,}",
                listed(sections.unnamed, not_shown(unnamed - SHOWN_UNNAMED, "group")),
            ),
        ),
        (
            doubts,
            _Part(
                "doubts",
                "Worth a look first",
                f"Worth a look {doubts:,}",
                listed(sections.uncertain, not_shown(doubts - SHOWN_DOUBTS, "photo"), command=review),
            ),
        ),
        (rest, _Part("rest", "No landmark", f"No landmark {rest:,}", lambda: _rest(chapters, sections))),
        (
            failures,
            _Part(
                "failures",
                "Not readable",
                f"Not readable {failures:,}",
                listed(sections.failures, not_shown(failures - SHOWN_FAILURES, "file")),
            ),
        ),
    )
    return [part for there, part in parts if there]


def _map(chapters: AlbumContent) -> str:
    marks = [
        Marker(place.name, f"#place-{number}", len(place.bursts), place.position, estimated=not place.by_camera)
        for number, place in enumerate(chapters.places, 1)
        if place.position is not None
    ]
    stands = [shot.position for kin in chapters.bursts for shot in kin if shot.position is not None]
    return draw_map(marks, stands, {place.country for place in chapters.places if place.country})


def _timeline(chapters: AlbumContent) -> str:
    names = {f"place-{number}": place.name for number, place in enumerate(chapters.places, 1)}
    ids = {place.landmark.id: id for id, place in zip(names, chapters.places, strict=True)}
    heads = [kin[0] for kin in chapters.bursts]
    moments = [Moment(shot.taken, ids[shot.label.landmark.id] if shot.label else None) for shot in heads if shot.taken]
    return draw_timeline(moments, names, len(heads) - len(moments))


def _index(chapters: AlbumContent) -> list[View]:
    """Return what there is to filter by: all places, where they are many."""
    if len(chapters.places) <= FILTERED:
        return []
    return [entry(place, number) for number, place in enumerate(chapters.places, 1)]


def _rest(chapters: AlbumContent, sections: Sections) -> View:
    """Return the photos that show no landmark."""
    asked = sum(kin[0].sha256 in chapters.answers for kin in chapters.rest)
    unasked = len(chapters.rest) - asked
    why = f" No gallery was asked about {unasked:,} of them." if unasked else ""
    return {"photos": plural(len(chapters.rest), "photo"), "content": sections.rest(), "unasked": why}


def _mosaic(chapters: AlbumContent, sections: Sections) -> View:
    """Return the pictures that the album opens with, each leading to its place."""
    plates = sections.plates
    covers = [(place.cover, place.name, n) for n, place in enumerate(chapters.places, 1)]
    others = [(kin[0], place.name, n) for n, place in enumerate(chapters.places, 1) for kin in place.bursts]
    seen = {shot.sha256 for shot, _, _ in covers[:MOSAIC]}
    chosen = (covers + [each for each in others if each[0].sha256 not in seen])[:MOSAIC]
    chosen = chosen if len(chosen) == MOSAIC else chosen[:1]
    shown = [
        (name, number, plates.middling(shot) if i else plates.large(shot))
        for i, (shot, name, number) in enumerate(chosen)
    ]
    cells = [{"number": number, "name": name, "plate": plate} for name, number, plate in shown if plate is not None]
    return {"count": len(chosen), "cells": cells}
