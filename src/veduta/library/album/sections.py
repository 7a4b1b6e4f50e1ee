"""The parts of an album in HTML: places with their photos, what has no name yet, what is in doubt, what is left."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

from veduta.gallery.ingest import utf8
from veduta.library import Group, Library, UncertainAsset
from veduta.library.album.content import AlbumContent, AlbumPlace, Burst, dates, proof
from veduta.library.album.format import day, degrees, escape_html, overall_sureness, percent, period, plural, sureness
from veduta.library.album.images import AlbumImage, AlbumImages
from veduta.library.catalog import STATE_FOLDER
from veduta.library.metadata import keywords
from veduta.library.model import Asset
from veduta.types import Failure

SHOWN_DOUBTS, SHOWN_UNNAMED, SHOWN_REST, SHOWN_FAILURES = 60, 60, 240, 200
NAMED = 400  # photos without a picture that are named one by one
CHAPTER = 4  # photos that make a place a chapter; a smaller one is a card
BESIDE = 6  # pictures that stand beside the best one, not below it
STRIP, GUESSES = 4, 3
NARROWEST, WIDEST = 5, 24  # tenths, width by height, of a picture in a row


class Sections:
    """Writes the parts of one album.

    Args:
        library: whose album it is.
        chapters: what is told.
        plates: its pictures.
    """

    def __init__(self, library: Library, chapters: AlbumContent, plates: AlbumImages) -> None:
        self.library, self.chapters, self.plates = library, chapters, plates
        self._bursts = count(1)

    # --- photos -------------------------------------------------------------------------------------------------

    def photo(self, shot: Asset, plate: AlbumImage | None, alt: str) -> str:
        """Return a photo that leads to its file; its name stands in where there is no picture."""
        name, href = escape_html(shot.file.name), self.plates.link(shot.file)
        if plate is None:
            return f'<a href="{href}" dir="auto">{name}</a>' if href else f"<span>{name}</span>"
        note = [alt, day(shot.taken) if shot.taken else "", sureness(shot.label) if shot.label else ""]
        told = escape_html(" · ".join(part for part in note if part))
        image = (
            f'<img src="{plate.source}" alt="{escape_html(_alt(shot, alt))}" '
            f'width="{plate.width}" height="{plate.height}" '
            f'decoding="async">'
        )
        if href is None:
            return f'<span class="photo">{image}</span>'
        return f'<a class="photo" href="{href}" data-note="{told}" data-name="{name}">{image}</a>'

    def grid(self, kins: Sequence[Burst], alt: str, most: int) -> str:
        """Return photos in rows as high as one another; of those beyond the most, the names."""
        if not kins:
            return ""
        shown = [(kin, self.plates.small(kin[0])) for kin in kins[:most]]
        cells = "".join(self._cell(kin, plate, alt) for kin, plate in shown if plate is not None)
        rest = [shot for kin, plate in shown if plate is None for shot in kin]
        rest += [shot for kin in kins[most:] for shot in kin]
        return (f'<ul class="grid">{cells}</ul>' if cells else "") + self._unpictured(rest)

    def _cell(self, kin: Burst, plate: AlbumImage, alt: str) -> str:
        shape = min(max(round(10 * plate.width / plate.height), NARROWEST), WIDEST)
        said = kin[0].label is not None and kin[0].label.by == "person"
        tick = '<span class="tick" title="confirmed by you">✓</span>' if said else ""
        return f'<li class="r{shape}">{self.photo(kin[0], plate, alt)}{tick}{self._alike(kin, alt)}</li>'

    def _alike(self, kin: Burst, alt: str) -> str:
        """Return a badge that opens the photos that count as one."""
        if len(kin) == 1:
            return ""
        number, said = next(self._bursts), f"{len(kin)} alike"
        # The first is beside the badge already; what has no picture is named.
        others = "".join(f"<li>{self.photo(shot, self.plates.small(shot), alt)}</li>" for shot in kin[1:])
        return (
            f'<button class="alike" popovertarget="alike-{number}">{said}</button>'
            f'<div class="others" popover id="alike-{number}"><p>{said}: the best one stands for these.</p>'
            f"<ul>{others}</ul></div>"
        )

    def _unpictured(self, shots: Sequence[Asset]) -> str:
        """Return what is linked without a picture."""
        if not shots:
            return ""
        names = "".join(f"<li>{self.photo(shot, None, '')}</li>" for shot in shots[:NAMED])
        more = f"<p>And {plural(len(shots) - NAMED, 'photo')} besides.</p>" if len(shots) > NAMED else ""
        return f'<details class="more"><summary>and {len(shots):,} more</summary><ul>{names}</ul>{more}</details>'

    # --- places -------------------------------------------------------------------------------------------------

    def place(self, place: AlbumPlace, number: int) -> str:
        """Return a landmark: its best picture, what is known of it, the other photos, what speaks for it."""
        kind = "chapter" if len(place.bursts) >= CHAPTER else "card"
        name = escape_html(place.name)
        others = [kin for kin in place.bursts if kin[0] != place.cover]
        own = next(kin for kin in place.bursts if kin[0] == place.cover)
        grid = self.grid(others, place.name, self.plates.each)
        beside, below = (grid, "") if len(others) <= BESIDE else ("", grid)
        country = f'<p class="country">{escape_html(place.country)}</p>' if place.country else ""
        return (
            f'<section class="place {kind}" id="place-{number}" data-find="{find_words(place)}" data-roll>'
            f'<div class="open">'
            f'<figure class="cover">{self._cover(place)}{self._alike(own, place.name)}</figure>'
            f'<div class="about">{country}<h3 dir="auto">{name}</h3>{self._facts(place)}{beside}'
            f"{self._proofs(place)}</div></div>{below}</section>"
        )

    def _cover(self, place: AlbumPlace) -> str:
        large = len(place.bursts) >= CHAPTER
        plate = self.plates.large(place.cover) if large else self.plates.middling(place.cover)
        return self.photo(place.cover, plate, place.name)

    def _facts(self, place: AlbumPlace) -> str:
        labels = [kin[0].label for kin in place.bursts if kin[0].label is not None]
        facts = [
            ("Photos", f"{len(place.bursts):,}"),
            ("When", escape_html(period(*dates(place.bursts)))),
            ("How sure", escape_html(overall_sureness(labels))),
            ("Where", _where(place)),
            ("More", _page(place)),
        ]
        return f'<dl class="facts">{"".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts if value)}</dl>'

    def _proofs(self, place: AlbumPlace) -> str:
        """Return what speaks for the best picture's label, and for that of the least sure."""
        asked = [kin[0] for kin in place.bursts if kin[0].label is not None and kin[0].label.by != "person"]
        least = min(asked, key=lambda shot: shot.label.confidence if shot.label else 1.0, default=place.cover)
        shots = [place.cover] if least == place.cover else [place.cover, least]
        shown = "".join(self._proof(shot) for shot in shots)
        return f'<details class="why"><summary>What speaks for it</summary>{shown}</details>' if shown else ""

    def _proof(self, shot: Asset) -> str:
        """Return a photo beside the reference that spoke for it."""
        spoke = None if shot.label is None else proof(shot.label, self.chapters.answers.get(shot.sha256))
        if spoke is None or shot.label is None:
            return ""
        id, similarity, inliers = spoke
        said = f"{_agree(inliers)}, similarity {similarity:.2f}: {sureness(shot.label)}"
        mine = self.photo(shot, self.plates.small(shot), keywords.display_name(shot.label.landmark))
        other = self.plates.reference(id)
        picture = (
            f'<img src="{other.source}" alt="reference of {escape_html(keywords.display_name(shot.label.landmark))}" '
            f'width="{other.width}" height="{other.height}" decoding="async">'
            if other
            else f'<span class="gone">reference {escape_html(Path(id).name)}</span>'
        )
        return (
            f'<figure class="proof"><div><div>{mine}<span>your photo</span></div><div>{picture}<span>the reference'
            f"</span></div></div><figcaption>{escape_html(said)}</figcaption></figure>"
        )

    # --- what is left to do -------------------------------------------------------------------------------------

    def unnamed(self, groups: Sequence[Group]) -> str:
        """Return groups that nobody has named, each with the command that does."""
        cards = "".join(map(self._group, groups[:SHOWN_UNNAMED]))
        lead = "Photos that show one and the same place. Say which, and all of them have its name."
        rest = _not_shown(len(groups) - SHOWN_UNNAMED, "group")
        return f'<p class="lead">{lead}</p><div class="cards">{cards}</div>{rest}'

    def _group(self, group: Group) -> str:
        best = group.assets[0]
        facts = (
            plural(len(group.assets), "photo"),
            period(group.first, group.last),
            degrees(group.position) if group.position else "",
        )
        name = f"Place {group.number}"
        strip = [(shot, self.plates.small(shot)) for shot in group.assets[1 : STRIP + 1]]
        cells = "".join(f"<li>{self.photo(shot, plate, name)}</li>" for shot, plate in strip if plate is not None)
        more = f'<ul class="strip">{cells}</ul>' if cells else ""
        rest = [shot for shot, plate in strip if plate is None] + list(group.assets[STRIP + 1 :])
        typed = command(self.library, "name", str(group.number), "'Name'")
        said = escape_html(" · ".join(each for each in facts if each))
        return (
            f'<section class="card" data-roll><figure class="cover">'
            f'{self.photo(best, self.plates.middling(best), name)}</figure><div class="about"><h3>{name}</h3>'
            f'<p class="soft">{said}</p>{more}{self._unpictured(rest)}{typed}</div></section>'
        )

    def uncertain(self, doubts: Sequence[UncertainAsset]) -> str:
        """Return the photos that a person should look at, each with the best guesses."""
        cards = "".join(map(self._doubt, doubts[:SHOWN_DOUBTS]))
        rest = _not_shown(len(doubts) - SHOWN_DOUBTS, "photo")
        lead = "Answers that are not sure. A verdict on one of the first tells most."
        typed = command(self.library, "review")
        return f'<p class="lead">{lead}</p>{typed}<div class="cards small" data-roll>{cards}</div>{rest}'

    def _doubt(self, doubt: UncertainAsset) -> str:
        shot, guesses = doubt.asset, doubt.answer.guesses[:GUESSES]
        told = "".join(
            f'<li><span dir="auto">{escape_html(keywords.display_name(landmark))}</span> '
            f'<span class="number">{percent(p)}</span>'
            f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect width="{100 * p:.1f}" '
            f'height="4"/></svg></li>'
            for landmark, p in guesses
        )
        like = f'<p class="soft">and {doubt.others} like it</p>' if doubt.others else ""
        alt = f"perhaps {keywords.display_name(guesses[0][0])}" if guesses else "in doubt"
        return (
            f'<div class="card"><figure class="cover">{self.photo(shot, self.plates.middling(shot), alt)}</figure>'
            f'<div class="about"><p class="file" dir="auto">{escape_html(shot.file.name)}</p>'
            f'<ol class="guesses">{told}</ol>{like}</div></div>'
        )

    def failures(self, failures: Sequence[Failure]) -> str:
        """Return the files that could not be read, with the reasons."""
        root = utf8(str(self.library.path)) + "/"
        rows = "".join(
            f'<li><span class="file" dir="auto">{escape_html(each.photo.removeprefix(root))}</span> '
            f'<span class="soft">{escape_html(each.error.removeprefix(f"{each.photo}: "))}</span></li>'
            for each in failures[:SHOWN_FAILURES]
        )
        return f'<ul class="failures">{rows}</ul>{_not_shown(len(failures) - SHOWN_FAILURES, "file")}'


def find_words(place: AlbumPlace) -> str:
    """Return what a place is found by, as an attribute's value."""
    return escape_html(f"{place.name} {place.country or ''}".casefold())


def command(library: Library, verb: str, *arguments: str) -> str:
    """Return a command about this library, as it is typed; the arguments as they are."""
    own = [] if library.folder == library.path / STATE_FOLDER else ["--state", utf8(str(library.folder))]
    typed = [*map(shlex.quote, ["veduta", "library", verb, utf8(str(library.path)), *own]), *arguments]
    return f'<p class="command"><code>{escape_html(" ".join(typed))}</code></p>'


def grids(chapters: AlbumContent) -> Iterator[int]:
    """Yield how many photos each grid of the page has, those of bursts among them."""
    parts: Iterable[Sequence[Burst]] = (*(place.bursts for place in chapters.places), chapters.rest[:SHOWN_REST])
    for kins in parts:
        yield sum(map(len, kins))


def _agree(inliers: int | None) -> str:
    if inliers is None:
        return "Points not compared"
    return f"{plural(inliers, 'point')} agree{'s' if inliers == 1 else ''}" if inliers else "No points agree"


def _alt(shot: Asset, what: str) -> str:
    when = f", {day(shot.taken)}" if shot.taken else ""
    return f"{what}{when} ({shot.file.name})" if what else f"{shot.file.name}{when}"


def _where(place: AlbumPlace) -> str:
    if place.position is None:
        return ""
    source = f"camera of {plural(place.by_camera, 'photo')}" if place.by_camera else "estimated from the landmark"
    return f'{degrees(place.position)} <span class="soft">({source})</span>'


def _page(place: AlbumPlace) -> str:
    """Return a link to the landmark's page, where that is one of the web."""
    url = keywords.xml_line(place.landmark.url or "")
    if not url.lower().startswith(("https://", "http://")):
        return ""
    shown = escape_html(url.split("/")[2])
    return f'<a href="{escape_html(url)}" rel="noopener noreferrer external">{shown}</a>'


def _not_shown(count: int, noun: str) -> str:
    return f'<p class="soft">And {plural(count, "more " + noun)}.</p>' if count > 0 else ""
