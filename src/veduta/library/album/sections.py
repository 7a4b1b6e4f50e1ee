"""The parts of an album, as the templates take them: places with photos, what is unnamed, in doubt, or left."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

from veduta.library import Group, Library, UncertainAsset
from veduta.library.album.content import AlbumContent, AlbumPlace, Burst, dates, proof
from veduta.library.album.format import day, degrees, overall_sureness, percent, period, plural, sureness
from veduta.library.album.images import AlbumImage, AlbumImages
from veduta.library.catalog import STATE_FOLDER
from veduta.library.metadata import keywords
from veduta.library.model import Asset
from veduta.text import utf8

View = dict[str, Any]
"""What a template shows of one thing."""
SHOWN_DOUBTS, SHOWN_UNNAMED, SHOWN_REST, SHOWN_FAILURES = 60, 60, 240, 200
NAMED = 400  # photos without a picture that are named one by one
CHAPTER = 4  # photos that make a place a chapter; a smaller one is a card
BESIDE = 6  # pictures that stand beside the best one, not below it
STRIP, GUESSES = 4, 3
NARROWEST, WIDEST = 5, 24  # tenths, width by height, of a picture in a row


class Sections:
    """Gathers what the templates show of one album, in the order of the page: pictures are taken while there is room.

    Args:
        library: whose album it is.
        chapters: what is told.
        plates: its pictures.
    """

    def __init__(self, library: Library, chapters: AlbumContent, plates: AlbumImages) -> None:
        self.library, self.chapters, self.plates = library, chapters, plates
        self._bursts = count(1)

    # --- photos -------------------------------------------------------------------------------------------------

    def photo(self, shot: Asset, plate: AlbumImage | None, alt: str) -> View:
        """Return a photo that leads to its file; its name stands in where there is no picture."""
        note = [alt, day(shot.taken) if shot.taken else "", sureness(shot.label) if shot.label else ""]
        return {
            "plate": plate,
            "name": shot.file.name,
            "href": self.plates.link(shot.file),
            "alt": _alt(shot, alt),
            "note": " · ".join(part for part in note if part),
        }

    def grid(self, kins: Sequence[Burst], alt: str, most: int) -> View:
        """Return photos in rows as high as one another; of those beyond the most, the names."""
        shown = [(kin, self.plates.small(kin[0])) for kin in kins[:most]]
        cells = [self._cell(kin, plate, alt) for kin, plate in shown if plate is not None]
        rest = [shot for kin, plate in shown if plate is None for shot in kin]
        rest += [shot for kin in kins[most:] for shot in kin]
        return {"cells": cells, "rest": self._unpictured(rest)}

    def _cell(self, kin: Burst, plate: AlbumImage, alt: str) -> View:
        return {
            "shape": min(max(round(10 * plate.width / plate.height), NARROWEST), WIDEST),
            "photo": self.photo(kin[0], plate, alt),
            "confirmed": kin[0].label is not None and kin[0].label.by == "person",
            "burst": self._burst(kin, alt),
        }

    def _burst(self, kin: Burst, alt: str) -> View | None:
        """Return what a badge opens: the photos that count as one."""
        if len(kin) == 1:
            return None
        # The first is beside the badge already; what has no picture is named.
        number, others = next(self._bursts), [self.photo(shot, self.plates.small(shot), alt) for shot in kin[1:]]
        return {"number": number, "count": len(kin), "others": others}

    def _unpictured(self, shots: Sequence[Asset]) -> View | None:
        """Return what is linked without a picture."""
        if not shots:
            return None
        return {
            "count": f"{len(shots):,}",
            "photos": [self.photo(shot, None, "") for shot in shots[:NAMED]],
            "besides": plural(len(shots) - NAMED, "photo") if len(shots) > NAMED else "",
        }

    # --- places -------------------------------------------------------------------------------------------------

    def places(self) -> Iterator[View]:
        """Yield each landmark: its best picture, what is known of it, the other photos, what speaks for it."""
        for number, place in enumerate(self.chapters.places, 1):
            yield self._place(place, number)

    def _place(self, place: AlbumPlace, number: int) -> View:
        others = [kin for kin in place.bursts if kin[0] != place.cover]
        own = next(kin for kin in place.bursts if kin[0] == place.cover)
        photos = self.grid(others, place.name, self.plates.each)
        is_chapter = len(place.bursts) >= CHAPTER
        plate = self.plates.large(place.cover) if is_chapter else self.plates.middling(place.cover)
        return {
            **entry(place, number),
            "kind": "chapter" if is_chapter else "card",
            "cover": self.photo(place.cover, plate, place.name),
            "burst": self._burst(own, place.name),
            "photos": photos,
            "beside": len(others) <= BESIDE,
            "country": place.country,
            **_facts(place),
            "proofs": self._proofs(place),
        }

    def _proofs(self, place: AlbumPlace) -> list[View]:
        """Return what speaks for the best picture's label, and for that of the least sure."""
        asked = [kin[0] for kin in place.bursts if kin[0].label is not None and kin[0].label.by != "person"]
        least = min(asked, key=lambda shot: shot.label.confidence if shot.label else 1.0, default=place.cover)
        shots = [place.cover] if least == place.cover else [place.cover, least]
        return [shown for shown in map(self._proof, shots) if shown]

    def _proof(self, shot: Asset) -> View | None:
        """Return a photo beside the reference that spoke for it."""
        spoke = None if shot.label is None else proof(shot.label, self.chapters.answers.get(shot.sha256))
        if spoke is None or shot.label is None:
            return None
        id, similarity, inliers = spoke
        title = keywords.display_name(shot.label.landmark)
        return {
            "photo": self.photo(shot, self.plates.small(shot), title),
            "reference": self.plates.reference(id),
            "reference_name": Path(id).name,
            "title": title,
            "caption": f"{_agree(inliers)}, similarity {similarity:.2f}: {sureness(shot.label)}",
        }

    # --- what is left to do -------------------------------------------------------------------------------------

    def unnamed(self) -> Iterator[View]:
        """Yield groups that nobody has named, each with the command that does."""
        return map(self._group, self.chapters.unnamed[:SHOWN_UNNAMED])

    def _group(self, group: Group) -> View:
        position = degrees(group.position) if group.position else ""
        facts = plural(len(group.assets), "photo"), period(group.first, group.last), position
        name = f"Place {group.number}"
        strip = [(shot, self.plates.small(shot)) for shot in group.assets[1 : STRIP + 1]]
        rest = [shot for shot, plate in strip if plate is None] + list(group.assets[STRIP + 1 :])
        return {
            "name": name,
            "cover": self.photo(group.assets[0], self.plates.middling(group.assets[0]), name),
            "facts": " · ".join(fact for fact in facts if fact),
            "strip": [self.photo(shot, plate, name) for shot, plate in strip if plate is not None],
            "rest": self._unpictured(rest),
            "command": command(self.library, "name", str(group.number), "'Name'"),
        }

    def uncertain(self) -> Iterator[View]:
        """Yield the photos that a person should look at, each with the best guesses."""
        return map(self._doubt, self.chapters.uncertain[:SHOWN_DOUBTS])

    def _doubt(self, doubt: UncertainAsset) -> View:
        shot, guesses = doubt.asset, doubt.answer.guesses[:GUESSES]
        alt = f"perhaps {keywords.display_name(guesses[0][0])}" if guesses else "in doubt"
        return {
            "photo": self.photo(shot, self.plates.middling(shot), alt),
            "guesses": [
                {"name": keywords.display_name(landmark), "percent": percent(p), "width": f"{100 * p:.1f}"}
                for landmark, p in guesses
            ],
            "others": doubt.others,
        }

    def rest(self) -> View:
        """Return the grid of the photos that show no landmark."""
        return self.grid(self.chapters.rest, "", min(SHOWN_REST, max(self.plates.each, 1) * 4))

    def failures(self) -> Iterator[View]:
        """Yield the files that could not be read, with the reasons."""
        root = utf8(str(self.library.path)) + "/"
        for path, reason in islice(self.chapters.failures.items(), SHOWN_FAILURES):
            yield {"name": utf8(path).removeprefix(root), "reason": reason}


def entry(place: AlbumPlace, number: int) -> View:
    """Return a place as the index has it."""
    found_by = f"{place.name} {place.country or ''}".casefold()
    return {"number": number, "name": place.name, "count": f"{len(place.bursts):,}", "find": found_by}


def command(library: Library, verb: str, *arguments: str) -> str:
    """Return a command about this library, as it is typed; the arguments as they are."""
    own = [] if library.folder == library.path / STATE_FOLDER else ["--state", utf8(str(library.folder))]
    return " ".join([*map(shlex.quote, ["veduta", "library", verb, utf8(str(library.path)), *own]), *arguments])


def not_shown(count: int, noun: str) -> str:
    """Return how many are left out, or nothing."""
    return plural(count, "more " + noun) if count > 0 else ""


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


def _facts(place: AlbumPlace) -> View:
    labels = [kin[0].label for kin in place.bursts if kin[0].label is not None]
    source = f"camera of {plural(place.by_camera, 'photo')}" if place.by_camera else "estimated from the landmark"
    url = keywords.xml_line(place.landmark.url or "")
    is_web = url.lower().startswith(("https://", "http://"))
    return {
        "when": period(*dates(place.bursts)),
        "sure": overall_sureness(labels),
        "where": degrees(place.position) if place.position else "",
        "source": source,
        "url": url if is_web else "",
        "host": url.split("/")[2] if is_web else "",
    }
