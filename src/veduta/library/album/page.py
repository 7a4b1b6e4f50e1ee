"""The album: a person's photos as one self-contained HTML file."""

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
from veduta.library.album.map import Marker, describe_map, leaflet
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
    content = collect_content(library, floor)
    with ExitStack() as stack:
        gallery = _gallery(library)
        if gallery is not None:
            stack.enter_context(gallery)
        images = AlbumImages(library, out, gallery, tuple(grids(content)))
        write_text(out, _page(library, content, Sections(library, content, images)))
    return out


def _gallery(library: Library) -> Gallery | None:
    """Return the gallery that gave the answers, for its pictures, or None where the folder is gone: answers stay."""
    if library.gallery is None:
        return None
    try:
        return Gallery.open(library.gallery)
    except (GalleryError, ModelError):
        return None


# --- the page -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A part of the page: its id, its heading, its name in the contents, and the function that makes its view."""

    id: str
    heading: str
    short: str
    make: Callable[[], View]


def _page(library: Library, content: AlbumContent, sections: Sections) -> Iterator[str]:
    """Yield the page piece by piece: all its pictures need not be in memory at once."""
    parts = _parts(library, content, sections)
    style, script = _style_and_script(has_map=any(part.id == "map" for part in parts))
    return page_template(__file__, "album.html", in_page).generate(
        title=library.path.name or str(library.path),
        style=style,
        script=script,
        policy=_policy(style, script),
        when=period(*dates(content.bursts)),
        numbers=_numbers(content),
        contents=parts,
        mosaic=_mosaic(content, sections),
        parts=({"id": part.id, "heading": part.heading, **part.make()} for part in parts),
        empty="" if content.bursts else command(library, "scan"),
        today=day(datetime.now()),  # noqa: DTZ005 - the reader's own day
    )


def _style_and_script(*, has_map: bool) -> tuple[str, str]:
    """Return the style sheet, in it a class for each shape that makes a picture so wide in its row, and the script."""
    shapes = "".join(f".r{tenths}{{--shape:{tenths / 10}}}" for tenths in range(NARROWEST, WIDEST + 1))
    style, script = ((HERE / name).read_text("utf-8") for name in ("album.css", "album.js"))
    if not has_map:
        return style + shapes, script
    map_style, map_script = leaflet()
    return map_style + style + shapes, "\n".join([map_script, (HERE / "map.js").read_text("utf-8"), script])


def _policy(style: str, script: str) -> str:
    """Return a policy that allows nothing but the page's own content, and photos from the page's folder."""
    sheet, code = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    return (
        "default-src 'none'; img-src data: file: 'self'; "
        f"style-src 'sha256-{sheet}'; script-src 'sha256-{code}'; base-uri 'none'; form-action 'none'"
    )


def _numbers(content: AlbumContent) -> str:
    photos, alike = len(content.bursts), sum(map(len, content.bursts)) - len(content.bursts)
    countries = len({place.country for place in content.places if place.country})
    phrases = [plural(photos, "photo") + (f" and {alike:,} nearly the same" if alike else "")]
    phrases += [plural(len(content.places), "landmark")] if content.places else []
    phrases += [plural(countries, "country", "countries")] if countries else []
    return " · ".join([phrases[0], *(part.replace(" ", "\u00a0") for part in phrases[1:])])


def _parts(library: Library, content: AlbumContent, sections: Sections) -> list[_Part]:
    """Return the parts that there is something for."""
    places, unnamed, doubts = len(content.places), len(content.unnamed), len(content.uncertain)
    rest, failures = len(content.rest), len(content.failures)
    world, time = _map(content), _timeline(content)
    review = command(library, "review")

    def listed(content: Callable[[], Iterator[View]], left_out: str, **more: Any) -> Callable[[], View]:
        return lambda: {"content": content(), "more": left_out, **more}

    parts = (
        (world, _Part("map", "On the map", "Map", lambda: {"map": world})),
        (time, _Part("time", "Through time", "Time", lambda: {"content": time})),
        (places, _Part("places", "Places", f"Places {places:,}", listed(sections.places, "", index=_index(content)))),
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
        (rest, _Part("rest", "No landmark", f"No landmark {rest:,}", lambda: _rest(content, sections))),
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
    return [part for has_content, part in parts if has_content]


def _map(content: AlbumContent) -> View | None:
    markers = [
        Marker(place.name, f"#place-{number}", len(place.bursts), place.position, estimated=not place.by_camera)
        for number, place in enumerate(content.places, 1)
        if place.position is not None
    ]
    cameras = [asset.position for burst in content.bursts for asset in burst if asset.position is not None]
    return describe_map(markers, cameras, {place.country for place in content.places if place.country})


def _timeline(content: AlbumContent) -> str:
    names = {f"place-{number}": place.name for number, place in enumerate(content.places, 1)}
    ids = {place.landmark.id: id for id, place in zip(names, content.places, strict=True)}
    heads = [burst[0] for burst in content.bursts]
    moments = [
        Moment(asset.taken, ids[asset.label.landmark.id] if asset.label else None) for asset in heads if asset.taken
    ]
    return draw_timeline(moments, names, len(heads) - len(moments))


def _index(content: AlbumContent) -> list[View]:
    """Return the entries of the index: all places, where they are many."""
    if len(content.places) <= FILTERED:
        return []
    return [entry(place, number) for number, place in enumerate(content.places, 1)]


def _rest(content: AlbumContent, sections: Sections) -> View:
    """Return the photos that show no landmark."""
    num_asked = sum(burst[0].sha256 in content.answers for burst in content.rest)
    num_unasked = len(content.rest) - num_asked
    if num_asked == 0:
        why = "No gallery has been asked about them yet."
    else:
        why = "Nothing in them was recognized."
        why += f" No gallery was asked about {num_unasked:,} of them." if num_unasked else ""
    return {"photos": plural(len(content.rest), "photo"), "content": sections.rest(), "why": why}


def _mosaic(content: AlbumContent, sections: Sections) -> View:
    """Return the pictures that the album opens with, each leading to its place."""
    images = sections.images
    covers = [(place.cover, place.name, n) for n, place in enumerate(content.places, 1)]
    others = [(burst[0], place.name, n) for n, place in enumerate(content.places, 1) for burst in place.bursts]
    seen = {asset.sha256 for asset, _, _ in covers[:MOSAIC]}
    chosen = (covers + [entry for entry in others if entry[0].sha256 not in seen])[:MOSAIC]
    chosen = chosen if len(chosen) == MOSAIC else chosen[:1]
    shown = [
        (name, number, images.middling(asset) if i else images.large(asset))
        for i, (asset, name, number) in enumerate(chosen)
    ]
    cells = [{"number": number, "name": name, "image": image} for name, number, image in shown if image is not None]
    return {"count": len(chosen), "cells": cells}
