"""A person's review of a library: which photos to ask about, and the verdicts on them."""

from __future__ import annotations

import os

from veduta.errors import LibraryError
from veduta.files import utf8
from veduta.landmarks import Landmark
from veduta.library.assets import current_answers, find_content, read_asset, read_assets
from veduta.library.catalog import Catalog
from veduta.library.model import Asset, UncertainAsset

ASKED_FLOOR = 0.5  # least confidence of a gallery's answer that labels a photo, where a person is asked
UNCERTAIN = (0.05, 0.9)  # confidences between which a person is asked


def uncertain_assets(catalog: Catalog, limit: int | None = None) -> list[UncertainAsset]:
    """Return the photos whose answers a person should look at, as `Library.uncertain` orders them."""
    answers = current_answers(catalog, catalog.answers.between(*UNCERTAIN))
    assets = read_assets(catalog, ASKED_FLOOR)
    sizes: dict[int, int] = {}
    for asset in assets:
        if asset.burst is not None:
            sizes[asset.burst] = sizes.get(asset.burst, 0) + 1
    uncertain = [
        UncertainAsset(asset, answers[asset.sha256], 0 if asset.burst is None else sizes[asset.burst] - 1)
        for asset in assets
        if asset.best and asset.sha256 in answers and not _is_judged(asset)
    ]
    uncertain.sort(key=lambda one: (abs(one.answer.confidence - 0.5), -one.others, one.asset.sha256))
    return uncertain[:limit]


def _is_judged(asset: Asset) -> bool:
    """Return whether a person judged a photo or another of its burst."""
    return asset.rejected or (asset.label is not None and asset.label.by == "person")


def set_verdict(catalog: Catalog, photo: str | os.PathLike[str], verdict: str, landmark: Landmark | None) -> Asset:
    """Store a verdict on a photo of the library, as `Library.set_verdict` does, and return the photo."""
    sha256 = find_content(catalog, photo)
    if verdict == "accepted" and landmark is None:
        answer = catalog.answers.get(sha256)
        if answer is None or not (answer.landmark or answer.guesses):
            name = utf8(str(read_asset(catalog, sha256, ASKED_FLOOR).file))
            raise LibraryError(f"{name}: has no answer to accept; scan with --gallery, or correct it")
        landmark = answer.landmark or answer.guesses[0].landmark
    keep_verdict(catalog, sha256, verdict, landmark)
    return read_asset(catalog, sha256, ASKED_FLOOR)


def keep_verdict(catalog: Catalog, sha256: str, verdict: str, landmark: Landmark | None) -> None:
    """Store a verdict on a content, present in the library or not, in the place of those on its burst."""
    with catalog.transaction():
        for member in catalog.contents.burst_members(sha256):
            catalog.verdicts.clear(member)
        catalog.verdicts.put(sha256, verdict, landmark)


def clear_verdict(catalog: Catalog, photo: str | os.PathLike[str]) -> Asset:
    """Delete the verdicts on a photo of the library and its burst, and return the photo."""
    sha256 = find_content(catalog, photo)
    with catalog.transaction():
        for member in catalog.contents.burst_members(sha256):
            catalog.verdicts.clear(member)
    return read_asset(catalog, sha256, ASKED_FLOOR)
