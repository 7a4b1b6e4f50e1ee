"""The parts of an album, as the templates take them: places, unnamed groups, uncertain photos, the rest."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

from veduta.files import utf8
from veduta.library import Group, Library, UncertainAsset
from veduta.library.album.content import AlbumContent, AlbumPlace, Burst, dates, proof
from veduta.library.album.format import day, degrees, overall_sureness, percent, period, plural, sureness
from veduta.library.album.images import AlbumImage, AlbumImages
from veduta.library.catalog import STATE_FOLDER
from veduta.library.metadata import keywords
from veduta.library.model import Asset

View = dict[str, Any]
"""What a template shows of one thing."""
SHOWN_DOUBTS, SHOWN_UNNAMED, SHOWN_REST, SHOWN_FAILURES = 60, 60, 240, 200
NAMED = 400  # photos without a picture that are named one by one
CHAPTER = 4  # photos that make a place a chapter; a smaller one is a card
BESIDE = 6  # pictures that stand beside the best one, not below it
STRIP, GUESSES = 4, 3
NARROWEST, WIDEST = 5, 24  # tenths, width by height, of a picture in a row


class Sections:
    """Makes the views of one album's parts, in the order of the page: pictures are embedded while there is room.

    Args:
        library: whose album it is.
        content: what is shown.
        images: its pictures.
    """

    def __init__(self, library: Library, content: AlbumContent, images: AlbumImages) -> None:
        self.library, self.content, self.images = library, content, images
        self._bursts = count(1)

    # --- photos -------------------------------------------------------------------------------------------------

    def photo(self, asset: Asset, image: AlbumImage | None, alt: str) -> View:
        """Return a photo that leads to its file; its name stands in where there is no picture."""
        note = [alt, day(asset.taken) if asset.taken else "", sureness(asset.label) if asset.label else ""]
        return {
            "image": image,
            "name": asset.file.name,
            "href": self.images.link(asset.file),
            "alt": _alt(asset, alt),
            "note": " · ".join(part for part in note if part),
        }

    def grid(self, bursts: Sequence[Burst], alt: str, max_shown: int) -> View:
        """Return photos in rows as high as one another; of those beyond the most, the names."""
        shown = [(burst, self.images.small(burst[0])) for burst in bursts[:max_shown]]
        cells = [self._cell(burst, image, alt) for burst, image in shown if image is not None]
        rest = [asset for burst, image in shown if image is None for asset in burst]
        rest += [asset for burst in bursts[max_shown:] for asset in burst]
        return {"cells": cells, "rest": self._unpictured(rest)}

    def _cell(self, burst: Burst, image: AlbumImage, alt: str) -> View:
        return {
            "shape": min(max(round(10 * image.width / image.height), NARROWEST), WIDEST),
            "photo": self.photo(burst[0], image, alt),
            "confirmed": burst[0].label is not None and burst[0].label.by == "person",
            "burst": self._burst(burst, alt),
        }

    def _burst(self, burst: Burst, alt: str) -> View | None:
        """Return the view behind a badge: the photos that count as one."""
        if len(burst) == 1:
            return None
        # The first is beside the badge already; what has no picture is named.
        number, others = next(self._bursts), [self.photo(asset, self.images.small(asset), alt) for asset in burst[1:]]
        return {"number": number, "count": len(burst), "others": others}

    def _unpictured(self, assets: Sequence[Asset]) -> View | None:
        """Return the links of photos without an embedded picture."""
        if not assets:
            return None
        return {
            "count": f"{len(assets):,}",
            "photos": [self.photo(asset, None, "") for asset in assets[:NAMED]],
            "besides": plural(len(assets) - NAMED, "photo") if len(assets) > NAMED else "",
        }

    # --- places -------------------------------------------------------------------------------------------------

    def places(self) -> Iterator[View]:
        """Yield each landmark: its best picture, facts, other photos and evidence."""
        for number, place in enumerate(self.content.places, 1):
            yield self._place(place, number)

    def _place(self, place: AlbumPlace, number: int) -> View:
        others = [burst for burst in place.bursts if burst[0] != place.cover]
        own = next(burst for burst in place.bursts if burst[0] == place.cover)
        photos = self.grid(others, place.name, self.images.max_each)
        is_chapter = len(place.bursts) >= CHAPTER
        image = self.images.large(place.cover) if is_chapter else self.images.middling(place.cover)
        return {
            **entry(place, number),
            "kind": "chapter" if is_chapter else "card",
            "cover": self.photo(place.cover, image, place.name),
            "burst": self._burst(own, place.name),
            "photos": photos,
            "beside": len(others) <= BESIDE,
            "country": place.country,
            **_facts(place),
            "proofs": self._proofs(place),
        }

    def _proofs(self, place: AlbumPlace) -> list[View]:
        """Return the evidence for the best picture's label, and for that of the least sure."""
        answered = [burst[0] for burst in place.bursts if burst[0].label is not None and burst[0].label.by != "person"]
        least_sure = min(
            answered, key=lambda asset: asset.label.confidence if asset.label else 1.0, default=place.cover
        )
        assets = [place.cover] if least_sure == place.cover else [place.cover, least_sure]
        return [shown for shown in map(self._proof, assets) if shown]

    def _proof(self, asset: Asset) -> View | None:
        """Return a photo beside the reference that spoke for it."""
        spoke = None if asset.label is None else proof(asset.label, self.content.answers.get(asset.sha256))
        if spoke is None or asset.label is None:
            return None
        id, similarity, inliers = spoke
        title = keywords.display_name(asset.label.landmark)
        return {
            "photo": self.photo(asset, self.images.small(asset), title),
            "reference": self.images.reference(id),
            "reference_name": Path(id).name,
            "title": title,
            "caption": f"{_agree(inliers)}, similarity {similarity:.2f}: {sureness(asset.label)}",
        }

    # --- what is left to do -------------------------------------------------------------------------------------

    def unnamed(self) -> Iterator[View]:
        """Yield groups that nobody has named, each with the command that does."""
        return map(self._group, self.content.unnamed[:SHOWN_UNNAMED])

    def _group(self, group: Group) -> View:
        position = degrees(group.position) if group.position else ""
        facts = plural(len(group.assets), "photo"), period(group.first, group.last), position
        name = f"Place {group.number}"
        strip = [(asset, self.images.small(asset)) for asset in group.assets[1 : STRIP + 1]]
        rest = [asset for asset, image in strip if image is None] + list(group.assets[STRIP + 1 :])
        return {
            "name": name,
            "cover": self.photo(group.assets[0], self.images.middling(group.assets[0]), name),
            "facts": " · ".join(fact for fact in facts if fact),
            "strip": [self.photo(asset, image, name) for asset, image in strip if image is not None],
            "rest": self._unpictured(rest),
            "command": command(self.library, "name", str(group.number), "'Name'"),
        }

    def uncertain(self) -> Iterator[View]:
        """Yield the photos that a person should look at, each with the best guesses."""
        return map(self._doubt, self.content.uncertain[:SHOWN_DOUBTS])

    def _doubt(self, doubt: UncertainAsset) -> View:
        asset, guesses = doubt.asset, doubt.answer.guesses[:GUESSES]
        alt = f"perhaps {keywords.display_name(guesses[0][0])}" if guesses else "in doubt"
        return {
            "photo": self.photo(asset, self.images.middling(asset), alt),
            "guesses": [
                {"name": keywords.display_name(landmark), "percent": percent(p), "width": f"{100 * p:.1f}"}
                for landmark, p in guesses
            ],
            "others": doubt.others,
        }

    def rest(self) -> View:
        """Return the grid of the photos that show no landmark."""
        return self.grid(self.content.rest, "", min(SHOWN_REST, max(self.images.max_each, 1) * 4))

    def failures(self) -> Iterator[View]:
        """Yield the files that could not be read, with the reasons."""
        root = utf8(str(self.library.path)) + "/"
        for path, reason in islice(self.content.failures.items(), SHOWN_FAILURES):
            yield {"name": utf8(path).removeprefix(root), "reason": reason}


def entry(place: AlbumPlace, number: int) -> View:
    """Return a place as an entry of the index."""
    found_by = f"{place.name} {place.country or ''}".casefold()
    return {"number": number, "name": place.name, "count": f"{len(place.bursts):,}", "find": found_by}


def command(library: Library, verb: str, *arguments: str) -> str:
    """Return a command about this library, as typed in a shell; the arguments are taken as they are."""
    own = [] if library.folder == library.path / STATE_FOLDER else ["--state", utf8(str(library.folder))]
    return " ".join([*map(shlex.quote, ["veduta", "library", verb, utf8(str(library.path)), *own]), *arguments])


def not_shown(count: int, noun: str) -> str:
    """Return how many are left out, or nothing."""
    return plural(count, "more " + noun) if count > 0 else ""


def grids(content: AlbumContent) -> Iterator[int]:
    """Yield how many photos each grid of the page has, those of bursts among them."""
    parts: Iterable[Sequence[Burst]] = (*(place.bursts for place in content.places), content.rest[:SHOWN_REST])
    for bursts in parts:
        yield sum(map(len, bursts))


def _agree(inliers: int | None) -> str:
    if inliers is None:
        return "Points not compared"
    return f"{plural(inliers, 'point')} agree{'s' if inliers == 1 else ''}" if inliers else "No points agree"


def _alt(asset: Asset, what: str) -> str:
    when = f", {day(asset.taken)}" if asset.taken else ""
    return f"{what}{when} ({asset.file.name})" if what else f"{asset.file.name}{when}"


def _facts(place: AlbumPlace) -> View:
    labels = [burst[0].label for burst in place.bursts if burst[0].label is not None]
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
