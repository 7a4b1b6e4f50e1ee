"""Building a gallery's saved index: the draft, resuming after a kill, and the swap."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from veduta.errors import GalleryError
from veduta.files import first_irregular, locked, write_atomic, write_json
from veduta.gallery.live_index import (
    BUILD_NAME,
    CURRENT_FILE,
    DRAFT,
    INDEX_FOLDER,
    REMOVED_SHARE,
    IndexChoice,
    built_from,
    descriptor_batches,
    latest_build,
)
from veduta.gallery.qdrant_sync import SyncState, sync
from veduta.gallery.store import Store
from veduta.index import ApproximateIndex, Manifest
from veduta.index.ivf.build import build, can_extend
from veduta.progress import ShareProgress
from veduta.types import Float32, Int64


def build_index(
    store: Store, dim: int, progress: ShareProgress = lambda work, share: None, *, rebuild: bool = False
) -> Manifest | SyncState:
    """Build or rebuild a gallery's index, swap the old one for the new at once, and return its manifest.

    Centers are learned again only where the gallery has grown much. A build that was killed is gone on with.

    Raises:
        GalleryError: another process is building it, the gallery's folder cannot be written, or of a Qdrant whatever
            `veduta.gallery.qdrant_sync.sync` says of it.
    """
    choice, home = IndexChoice.of(store), store.path / INDEX_FOLDER
    try:
        if home.is_symlink():
            raise GalleryError(f"{home}: is a link, so nothing is written there; remove it")
        home.mkdir(exist_ok=True)
        with locked(home):
            if choice.target is not None:
                return sync(store, choice.target, dim, home, progress, rebuild=rebuild)
            return _build(store, dim, choice, home, progress, rebuild=rebuild)
    except OSError as error:
        reason = error.strerror or error
        raise GalleryError(f"{home}: cannot be written ({reason}); make room or give the right") from error


def _build(
    store: Store, dim: int, choice: IndexChoice, home: Path, progress: ShareProgress, *, rebuild: bool
) -> Manifest:
    earlier = None if rebuild else _extendable(store, home, dim)
    plan, draft = _plan(store, choice, earlier), home / DRAFT
    resumed = _same_plan(draft, plan)
    if not resumed:
        _begin(draft, plan)
    try:
        manifest = _draw(store, dim, choice, draft, progress, earlier)
    except (GalleryError, ValueError, LookupError):
        if not resumed:
            raise
        _begin(draft, plan)  # the draft that was begun is damaged
        manifest = _draw(store, dim, choice, draft, progress, earlier)
    number = 1 + max((int(p.name) for p in home.iterdir() if BUILD_NAME.fullmatch(p.name)), default=0)
    (draft / "plan.json").unlink()
    draft.replace(home / f"{number:06d}")
    write_atomic(home / CURRENT_FILE, f"{number:06d}\n")
    for old in home.iterdir():  # who has one of these open keeps it: what is mapped stays
        if BUILD_NAME.fullmatch(old.name) and int(old.name) < number:
            _remove(old)
    return manifest


def _begin(draft: Path, plan: dict[str, Any]) -> None:
    """Make the folder of a new draft; what lies there is removed, of a link only the link."""
    _remove(draft)
    draft.mkdir()
    write_json(draft / "plan.json", plan)


def _remove(path: Path) -> None:
    """Remove a folder with all in it, or whatever else lies in its place: of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _draw(
    store: Store, dim: int, choice: IndexChoice, draft: Path, progress: ShareProgress, earlier: Path | None
) -> Manifest:
    """Build in the draft's folder from what is in the store now."""
    plan = json.loads((draft / "plan.json").read_text("utf-8"))

    def source(after: int) -> Iterator[tuple[Int64, Float32]]:
        for rows, descriptors in descriptor_batches(store, after):
            planned = rows <= plan["row"]
            if planned.any():
                yield rows[planned], descriptors[planned]
            if not planned.all():
                return

    origin = {"row": plan["row"], "removals": plan["removals"]}
    return build(draft, dim, source, choice.recall, origin=origin, earlier=earlier, progress=progress)


def _plan(store: Store, choice: IndexChoice, earlier: Path | None) -> dict[str, Any]:
    """Return the contents of the next index; a draft begun for the same contents is resumed.

    What is removed from now on is to be removed again when it is opened; of an earlier one, what went since that.
    """
    removals = store.rows.removals() if earlier is None else Manifest.read(earlier).source["removals"]
    name = earlier.name if earlier else None
    return {"recall": choice.recall, "earlier": name, "row": store.rows.last(), "removals": removals}


def _same_plan(draft: Path, plan: dict[str, Any]) -> bool:
    with suppress(OSError, ValueError, TypeError, RecursionError):
        if first_irregular(draft) is not None:
            return False
        begun = json.loads((draft / "plan.json").read_text("utf-8"))
        places = all(type(begun.get(name)) is int and 0 <= begun[name] < 2**63 for name in ("row", "removals"))
        return places and bool({**begun, "row": 0, "removals": 0} == {**plan, "row": 0, "removals": 0})
    return False


def _extendable(store: Store, home: Path, dim: int) -> Path | None:
    """Return the folder of an index whose centers serve for what is in the store now, None where none is whole."""
    folder = latest_build(home.parent)
    if folder is None:
        return None
    try:
        row, removals = built_from(folder)
        index = ApproximateIndex(dim, folder)
    except GalleryError:
        return None
    index.remove(store.rows.removed_since(removals)[1])
    if index.manifest is None or len(index) != store.rows.count_until(row):
        return None
    count = index.manifest.count
    grown = can_extend(index.manifest, store.counts()[1]) and index.num_deleted <= REMOVED_SHARE * count
    return folder if grown and count else None
