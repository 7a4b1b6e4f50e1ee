"""The assets of a library, each with its label: by a person's verdict on its burst, else by the gallery's answer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from veduta.errors import LibraryError, VedutaError
from veduta.files import utf8
from veduta.gallery.contents import GalleryContents
from veduta.geo.countries import country_of
from veduta.landmarks import Guess, Landmark, Position
from veduta.library.catalog import Catalog, is_library_file
from veduta.library.catalog_content import parse_landmark
from veduta.library.metadata.positions import sidecar_moment, sidecar_position, with_countries
from veduta.library.model import Asset, Label, StoredAnswer
from veduta.types import Size

# A verdict is stored with the first content of the same pixels; one on the content itself may be older than that.
ASSET_ROWS = """
SELECT f.path, f.companions, c.sha256, c.width, c.height, c.taken, c.latitude, c.longitude,
       b.number, b.best, m.number, a.landmark, a.confidence, v.landmark, v.said, c.utc_offset
FROM file AS f
JOIN content AS c ON c.sha256 = f.sha256
LEFT JOIN burst AS b ON b.sha256 = c.sha256
LEFT JOIN member AS m ON m.sha256 = c.sha256
LEFT JOIN answer AS a ON a.sha256 = c.sha256
LEFT JOIN same AS s ON s.sha256 = c.sha256
LEFT JOIN verdict AS v ON v.sha256 =
    CASE WHEN EXISTS (SELECT 1 FROM verdict WHERE sha256 = s.origin) THEN s.origin ELSE c.sha256 END
WHERE f.error IS NULL {} ORDER BY f.path
"""
COUNTRY_FLOOR = 0.5  # least confidence of the answers whose photos tell the country of a landmark without a place
OF_ONE_BURST = """AND c.sha256 IN (SELECT ? UNION SELECT sha256 FROM burst
                  WHERE number = (SELECT number FROM burst WHERE sha256 = ?))"""


@dataclass(frozen=True, eq=False)
class _Content:
    """A content of the library, with the evidence for its label.

    Attributes:
        asset: the photo, not labeled yet.
        answer: the landmark that the gallery answered, or None.
        confidence: of the gallery's best guess; 0 where none was asked.
        verdict: the landmark that a person named, or None.
        judged_at: when a person judged the photo, in UTC, as ISO 8601, or None.
    """

    asset: Asset
    answer: Landmark | None
    confidence: float
    verdict: Landmark | None
    judged_at: str | None


def read_assets(catalog: Catalog, floor: float) -> list[Asset]:
    """Return the assets of a library in the order of their paths, each with its label.

    A photo without a position, or without a date, has that of its sidecar. Names and places of landmarks are those of
    the gallery now.

    Args:
        catalog: the library's catalog.
        floor: least confidence of a gallery's answer that counts.
    """
    contents = _contents(catalog, catalog.db.rows(ASSET_ROWS.format("")))
    likely = _labeled(contents, COUNTRY_FLOOR)  # so that a photo's country is one, whichever floor is asked for
    return with_countries(_with_current_names(catalog, _labeled(contents, floor)), likely)


def read_asset(catalog: Catalog, sha256: str, floor: float) -> Asset:
    """Return one asset as `read_assets` does; LibraryError when no readable file has this content."""
    rows = catalog.db.rows(ASSET_ROWS.format(OF_ONE_BURST), (sha256, sha256))
    assets = _labeled(_contents(catalog, rows), floor)
    for asset in with_countries(_with_current_names(catalog, assets), assets):
        if asset.sha256 == sha256:
            return asset
    raise LibraryError(f"{catalog.file}: knows no photo {sha256[:16]}; scan the library again")


def current_landmarks(catalog: Catalog, landmarks: Iterable[Landmark | None]) -> dict[str, Landmark]:
    """Return id -> landmark with the name, place and page that the gallery gives now; what it does not give stays.

    Landmarks that the gallery does not have, or all where it is gone or cannot be read, are left out.
    """
    stored = {landmark.id: landmark for landmark in landmarks if landmark is not None}
    path = catalog.get_meta("gallery")
    if not stored or not isinstance(path, str):
        return {}
    try:
        with GalleryContents.read(path) as gallery:
            found = [count.landmark for id in stored for count in gallery.landmarks(id)]
    except (VedutaError, ValueError):  # a catalog may come from anybody
        return {}
    return {now.id: _updated(stored[now.id], now) for now in found if now.id in stored}


def current_answers(catalog: Catalog, answers: Mapping[str, StoredAnswer]) -> dict[str, StoredAnswer]:
    """Return sha256 -> answer, its landmarks with the names and places that the gallery gives now."""
    landmarks = [answer.landmark for answer in answers.values()]
    landmarks += [guess for answer in answers.values() for guess, _ in answer.guesses]
    known = current_landmarks(catalog, landmarks)
    return {sha256: _renamed(answer, known) for sha256, answer in answers.items()}


def _renamed(answer: StoredAnswer, known: Mapping[str, Landmark]) -> StoredAnswer:
    landmark = answer.landmark and known.get(answer.landmark.id, answer.landmark)
    guesses = tuple(Guess(known.get(guess.id, guess), confidence) for guess, confidence in answer.guesses)
    return replace(answer, landmark=landmark, guesses=guesses)


def _with_current_names(catalog: Catalog, assets: list[Asset]) -> list[Asset]:
    """Return assets whose labels have the names and places that the gallery gives now."""
    known = current_landmarks(catalog, (asset.label.landmark for asset in assets if asset.label))
    return [
        replace(asset, label=_make_label(known[label.landmark.id], label.confidence, label.by))
        if (label := asset.label) and label.landmark.id in known
        else asset
        for asset in assets
    ]


def _updated(stored: Landmark, now: Landmark) -> Landmark:
    name = stored.name if now.name == now.id else now.name
    place = now if now.latitude is not None and now.longitude is not None else stored
    return Landmark(stored.id, name, place.latitude, place.longitude, now.url or stored.url)


def find_content(catalog: Catalog, photo: str | os.PathLike[str]) -> str:
    """Return the sha256 of a photo of the library.

    Args:
        catalog: the library's catalog.
        photo: a file of the library, by any path that leads there, or the sha256 itself.

    Raises:
        LibraryError: the library has no such photo.
    """
    name = os.fsdecode(photo)
    if catalog.has_content(name):
        return name
    sha256 = catalog.content_of(Path(name).absolute())
    if sha256 is None:  # named through a link, or by way of another folder
        real = os.path.realpath(name)
        files = ((path, row.sha256) for path, row in catalog.files().items() if row.error is None)
        sha256 = next((content for path, content in files if os.path.realpath(path) == real), None)
    if sha256 is None:
        raise LibraryError(f"{utf8(name)}: is no photo known of {utf8(str(catalog.root))}; scan it first")
    return sha256


def _contents(catalog: Catalog, rows: Sequence[tuple[Any, ...]]) -> list[_Content]:
    """Return the contents in rows of the query, which has one for each file."""
    by_content: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        if is_library_file(row[0]):
            by_content.setdefault(row[2], []).append(row)
    with catalog.db.decoding():
        return [_content(catalog, rows) for rows in by_content.values()]


def _content(catalog: Catalog, rows: Sequence[tuple[Any, ...]]) -> _Content:
    _, _, sha256, width, height, taken, north, east, burst, best, group, *evidence = rows[0]
    companions = [path for row in rows for path in catalog.companions(row[0], row[1])]
    asset = Asset(
        sha256=sha256,
        files=tuple(Path(catalog.absolute(row[0])) for row in rows),
        companions=tuple(map(Path, companions)),
        size=Size(width, height),
        taken=datetime.fromisoformat(taken) if taken else None,
        position=sidecar_position(companions) if north is None else Position(north, east),
        burst=burst,
        best=best is None or bool(best),
        group=group,
    )
    answer, confidence, verdict, judged_at, offset = evidence
    if offset is not None:
        asset = replace(asset, utc_offset=timedelta(seconds=offset))
    if taken is None and (moment := sidecar_moment(companions)):
        asset = replace(asset, taken=moment.local, utc_offset=moment.utc_offset)
    return _Content(asset, parse_landmark(answer), confidence or 0.0, parse_landmark(verdict), judged_at)


def _labeled(contents: Sequence[_Content], floor: float) -> list[Asset]:
    """Return the assets of contents, among them every other one of a burst, with their labels."""
    bursts: dict[int, list[_Content]] = {}
    for content in sorted(contents, key=lambda content: content.asset.sha256):
        if content.asset.burst is not None:
            bursts.setdefault(content.asset.burst, []).append(content)
    assets = []
    for content in contents:
        burst = [content] if content.asset.burst is None else bursts[content.asset.burst]
        label, is_rejected = _label(content, burst, floor)
        assets.append(replace(content.asset, label=label, rejected=is_rejected))
    return sorted(assets, key=lambda asset: str(asset.file))


def _label(content: _Content, burst: Sequence[_Content], floor: float) -> tuple[Label | None, bool]:
    """Return a content's label, and whether a person rejected that.

    The last verdict on the burst decides, else the content's own answer, else the most confident one of a burst whose
    answers all name one landmark.
    """
    judged = [member for member in (content, *burst) if member.judged_at is not None]
    if judged:
        verdict = max(judged, key=lambda member: str(member.judged_at)).verdict
        return (None, True) if verdict is None else (_make_label(verdict, 1.0, "person"), False)
    sure = [member for member in burst if member.answer is not None and member.confidence >= floor]
    best = content if content in sure else None
    if best is None and len({member.answer.id for member in sure if member.answer}) == 1:
        best = max(sure, key=lambda member: member.confidence)
    if best is None or best.answer is None:
        return None, False
    return _make_label(best.answer, best.confidence, "veduta"), False


def _make_label(landmark: Landmark, confidence: float, by: str) -> Label:
    north, east = landmark.latitude, landmark.longitude
    return Label(landmark, confidence, by, None if north is None or east is None else country_of(north, east))
