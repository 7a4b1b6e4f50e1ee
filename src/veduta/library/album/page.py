"""The album: a person's photos as one HTML file that needs nothing else and can be opened from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from veduta.errors import GalleryError, ModelError
from veduta.gallery import Gallery
from veduta.library import Library
from veduta.library.album.content import AlbumContent, AlbumPlace, collect_content, dates
from veduta.library.album.format import day, escape_html, period, plural
from veduta.library.album.images import AlbumImages
from veduta.library.album.map import Marker, draw_map
from veduta.library.album.sections import NARROWEST, SHOWN_REST, WIDEST, Sections, command, find_words, grids
from veduta.library.album.timeline import Moment, draw_timeline
from veduta.library.atomic import write_whole

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
        write_whole(out, _page(library, chapters, Sections(library, chapters, plates)))
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
    make: Callable[[], str]


def _page(library: Library, chapters: AlbumContent, sections: Sections) -> Iterator[str]:
    style, script = _style(), (HERE / "album.js").read_text("utf-8")
    title, parts = escape_html(library.path.name or str(library.path)), _parts(chapters, sections)
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{title}</title><style>{style}</style></head>\n<body>"
        f'<a class="skip" href="#content">Skip to the photos</a>{_header(title, chapters, parts)}<main id="content">\n'
    )
    yield _mosaic(chapters, sections)
    for part in parts:
        yield f'<section class="part" id="{part.id}"><h2>{part.heading}</h2>{part.make()}</section>\n'
    if not chapters.bursts:
        yield f'<div class="empty"><p>No photos yet. Have them looked at:</p>{command(library, "scan")}</div>'
    yield (
        f"</main><footer><p>Written by Veduta on {day(datetime.now())}. "  # noqa: DTZ005 - the reader's own day
        "All pictures are in this one file; a click opens a photo, which lies where it always did.</p></footer>"
        f'<dialog id="viewer" aria-label="Photo"></dialog><script>{script}</script></body></html>\n'
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


def _header(title: str, chapters: AlbumContent, parts: Sequence[_Part]) -> str:
    links = "".join(f'<li><a href="#{part.id}">{part.short}</a></li>' for part in parts)
    return (
        f'<header><p class="when">{period(*dates(chapters.bursts))}</p><h1 dir="auto">{title}</h1>'
        f'<p class="numbers">{_numbers(chapters)}</p>'
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>'
    )


def _numbers(chapters: AlbumContent) -> str:
    photos, alike = len(chapters.bursts), sum(map(len, chapters.bursts)) - len(chapters.bursts)
    countries = len({place.country for place in chapters.places if place.country})
    told = [plural(photos, "photo") + (f" and {alike:,} nearly the same" if alike else "")]
    told += [plural(len(chapters.places), "landmark")] if chapters.places else []
    told += [plural(countries, "country", "countries")] if countries else []
    return " · ".join([told[0], *(part.replace(" ", "\u00a0") for part in told[1:])])


def _parts(chapters: AlbumContent, sections: Sections) -> list[_Part]:
    """Return the parts that there is something for."""
    places, unnamed, doubts = len(chapters.places), len(chapters.unnamed), len(chapters.uncertain)
    world, time = _map(chapters), _timeline(chapters)
    parts = (
        (world, _Part("map", "On the map", "Map", lambda: world)),
        (time, _Part("time", "Through time", "Time", lambda: time)),
        (places, _Part("places", "Places", f"Places {places:,}", lambda: _places(chapters, sections))),
        (
            unnamed,
            _Part(
                "unnamed",
                "Places without a name yet",
                f"Without a name {unnamed:,}",
                lambda: sections.unnamed(chapters.unnamed),
            ),
        ),
        (
            doubts,
            _Part(
                "doubts",
                "Worth a look first",
                f"Worth a look {doubts:,}",
                lambda: sections.uncertain(chapters.uncertain),
            ),
        ),
        (
            chapters.rest,
            _Part("rest", "No landmark", f"No landmark {len(chapters.rest):,}", lambda: _rest(chapters, sections)),
        ),
        (
            chapters.failures,
            _Part(
                "failures",
                "Not readable",
                f"Not readable {len(chapters.failures):,}",
                lambda: sections.failures(chapters.failures),
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


def _places(chapters: AlbumContent, sections: Sections) -> str:
    """Return all places, where they are many with a box to filter them and an index."""
    told = "".join(sections.place(place, number) for number, place in enumerate(chapters.places, 1))
    index = _index(chapters.places) if len(chapters.places) > FILTERED else ""
    return f'{index}<div class="places">{told}</div>'


def _index(places: Sequence[AlbumPlace]) -> str:
    """Return the names of all places, and a box to filter by, which the script shows when it runs."""
    names = "".join(
        f'<li data-find="{find_words(place)}"><a href="#place-{number}">'
        f'<span dir="auto">{escape_html(place.name)}</span> '
        f'<span class="soft">{len(place.bursts):,}</span></a></li>'
        for number, place in enumerate(places, 1)
    )
    box = (
        '<p class="filter" hidden><label for="filter">Find a place</label>'
        '<input id="filter" type="search" autocomplete="off" spellcheck="false"><span role="status"></span></p>'
    )
    return f'{box}<ul class="index">{names}</ul>'


def _rest(chapters: AlbumContent, sections: Sections) -> str:
    """Return the photos that show no landmark, folded away."""
    asked = sum(kin[0].sha256 in chapters.answers for kin in chapters.rest)
    why = "" if asked == len(chapters.rest) else f" No gallery was asked about {len(chapters.rest) - asked:,} of them."
    return (
        f'<details class="rest"><summary>Show {plural(len(chapters.rest), "photo")}</summary>'
        f"<div data-roll>{sections.grid(chapters.rest, '', min(SHOWN_REST, max(sections.plates.each, 1) * 4))}</div>"
        f'</details><p class="soft">Nothing in them was recognised.{why}</p>'
    )


def _mosaic(chapters: AlbumContent, sections: Sections) -> str:
    """Return the pictures that the album opens with, each leading to its place."""
    covers = [(place.cover, place.name, n) for n, place in enumerate(chapters.places, 1)]
    others = [(kin[0], place.name, n) for n, place in enumerate(chapters.places, 1) for kin in place.bursts]
    seen = {shot.sha256 for shot, _, _ in covers[:MOSAIC]}
    chosen = (covers + [each for each in others if each[0].sha256 not in seen])[:MOSAIC]
    chosen = chosen if len(chosen) == MOSAIC else chosen[:1]
    cells = ""
    for i, (shot, name, number) in enumerate(chosen):
        plate = sections.plates.middling(shot) if i else sections.plates.large(shot)
        if plate is not None:
            cells += (
                f'<a href="#place-{number}"><img src="{plate.source}" alt="" width="{plate.width}" '
                f'height="{plate.height}" decoding="async"><span dir="auto">{escape_html(name)}</span></a>'
            )
    return f'<div class="mosaic n{len(chosen)}">{cells}</div>' if cells else ""
