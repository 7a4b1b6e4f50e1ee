"""Building a gallery's saved index: the draft, resuming after a kill, and the swap."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from veduta.errors import GalleryError
from veduta.files import locked, write_atomic, write_json
from veduta.gallery.live_index import (
    CURRENT_FILE,
    DRAFT,
    INDEX_FOLDER,
    REMOVED_SHARE,
    IndexChoice,
    descriptor_batches,
    latest_build,
)
from veduta.gallery.qdrant_sync import SyncState, sync
from veduta.gallery.store import Store
from veduta.index import Manifest
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
    earlier = None if rebuild else _extendable(store, home)
    plan, draft = _plan(store, choice, earlier), home / DRAFT
    if not _same_plan(draft, plan):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        write_json(draft / "plan.json", plan)
    manifest = _draw(store, dim, choice, draft, progress, earlier)
    number = 1 + max((int(p.name) for p in home.iterdir() if p.name.isdigit()), default=0)
    (draft / "plan.json").unlink()
    draft.replace(home / f"{number:06d}")
    write_atomic(home / CURRENT_FILE, f"{number:06d}\n")
    for old in home.iterdir():  # who has one of these open keeps it: what is mapped stays
        if old.name.isdigit() and int(old.name) < number:
            shutil.rmtree(old, ignore_errors=True)
    return manifest


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
    with suppress(OSError, ValueError):
        begun = json.loads((draft / "plan.json").read_text("utf-8"))
        return bool({**begun, "row": 0, "removals": 0} == {**plan, "row": 0, "removals": 0})
    return False


def _extendable(store: Store, home: Path) -> Path | None:
    """Return the folder of an index whose centers serve for what is in the store now."""
    folder = latest_build(home.parent)
    if folder is None:
        return None
    manifest = Manifest.read(folder)
    removed = len(store.rows.removed_since(int(manifest.source["removals"]))[1])
    grown = can_extend(manifest, store.counts()[1]) and removed <= REMOVED_SHARE * manifest.count
    return folder if grown and manifest.count else None
