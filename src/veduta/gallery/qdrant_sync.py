"""A gallery's references in a Qdrant: sent there, gone on with where that was cut off, and opened to be searched.

What has been sent is written down beside the gallery after each batch that Qdrant has confirmed, and written again as
complete when everything is there and counted. Searches go by the complete record only: whoever has the gallery open
goes on with what it says, adds what came since from memory, and goes over to the next one as a whole.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from veduta.errors import GalleryError
from veduta.files import write_json
from veduta.gallery.store import Store
from veduta.index import OverlayIndex
from veduta.index.qdrant.client import QdrantConnection, RetryPolicy
from veduta.index.qdrant.collections import (
    DIGITS,
    CollectionSettings,
    CollectionVersion,
    create_collection,
    propose,
    switch,
)
from veduta.index.qdrant.index import UPLOAD_BATCH, QdrantIndex, SearchOptions
from veduta.index.qdrant.points import PointBatch
from veduta.progress import ShareProgress
from veduta.types import Float32, Int64

SYNC_FILE, SYNC_DRAFT = "qdrant.json", "qdrant-draft.json"
HNSW_EFS = (64, 128, 256, 512, 1024)  # of Qdrant's search, tried from the left until enough is found
QUERIES, NEAREST = 64, 30  # as many rows are looked up, and of so many neighbors the share found is the recall
INDEXING = 6 * 3600  # seconds that Qdrant may take to index what it was sent


@dataclass(frozen=True)
class SyncTarget:
    """Where references go.

    Attributes:
        address: of the Qdrant, as `veduta.index.qdrant.client.addresses` takes it.
        name: of the alias.
        shape: how a new collection is laid out.
        recall: share of the 30 nearest that is to be found.
    """

    address: str
    name: str
    shape: CollectionSettings
    recall: float


@dataclass(frozen=True)
class SyncState:
    """The part of a gallery that a Qdrant has.

    Attributes:
        address: of the Qdrant.
        name: the alias.
        collection: what the alias leads to, or will when it is complete.
        row: the last reference in it.
        removals: entries of the gallery's log of removals that it has followed.
        count: references in it, once it is complete.
        hnsw_ef: size of the candidate list of Qdrant's search; None where it compares everything.
        recall: share of the 30 nearest that it was to find.
        measured: share found, of the 30 nearest of a sample of its rows.
        queries: how many rows that is the mean of; 0 where everything is compared.
        seconds: what the last run took.
    """

    address: str
    name: str
    collection: str
    row: int = 0
    removals: int = 0
    count: int = 0
    hnsw_ef: int | None = None
    recall: float = 1.0
    measured: float = 1.0
    queries: int = 0
    seconds: float = 0.0

    @property
    def options(self) -> SearchOptions:
        """The search options."""
        return SearchOptions(hnsw_ef=self.hnsw_ef, exact=self.hnsw_ef is None)

    def write(self, path: Path) -> None:
        """Write the state in the place of an earlier one."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path, target: SyncTarget) -> SyncState | None:
        """Return a stored state, None for none, or for one of another target."""
        with suppress(OSError, ValueError, TypeError):
            fields = json.loads(path.read_text("utf-8"))
            if "breadth" in fields:  # the name of this field before gallery schema 4
                fields["hnsw_ef"] = fields.pop("breadth")
            state = cls(**fields)
            return state if (state.address, state.name) == (target.address, target.name) else None
        return None


def open_synced(store: Store, upload: SyncState, dim: int, patience: RetryPolicy | None = None) -> OverlayIndex:
    """Return the index of what a Qdrant has of a gallery, to which what came and went since can be added.

    Raises:
        GalleryError: it does not answer, or has less than what was uploaded, or descriptors of another model.
    """
    check_model(store, upload)
    index = QdrantIndex(QdrantConnection(upload.address, patience), upload.collection, dim, upload.options)
    opened = OverlayIndex(index, dim, upload.row)
    least = upload.count - len(store.rows.removed_since(upload.removals)[1])
    if len(opened) < least:
        raise GalleryError(_short(upload, len(opened), least, store.path))
    return opened


def check_model(store: Store, upload: SyncState) -> None:
    """Raise GalleryError if what was uploaded was made by another model than the gallery."""
    version, model = CollectionVersion.parse(upload.collection), str(store.settings()["embedder"]["sha256"])[:DIGITS]
    if version is None or version.model != model:
        wrong = f"{upload.collection} was not made by this gallery's model, {model}"
        raise GalleryError(f"{store.path}: {wrong}; upload it anew: veduta index {store.path} --anew")


def sync(
    store: Store,
    target: SyncTarget,
    dim: int,
    home: Path,
    progress: ShareProgress = lambda what, share: None,
    *,
    rebuild: bool = False,
    patience: RetryPolicy | None = None,
) -> SyncState:
    """Bring a Qdrant up to a gallery's contents and return the new state; one process at a time.

    Args:
        store: the gallery's references.
        target: where they go.
        dim: length D of a descriptor.
        home: the folder that keeps what has been done.
        progress: called with what is being done and the share of it that is.
        rebuild: fill a new collection, also if there is one; the alias goes over to it when it is complete.
        patience: how long Qdrant is waited for.

    Raises:
        GalleryError: it cannot be reached, refuses or has lost something. Run again, it goes on where it was.
    """
    started, link = time.monotonic(), QdrantConnection(target.address, patience)
    begun = _begin(store, link, target, dim, home, rebuild=rebuild)
    index = QdrantIndex(link, begun.collection, dim)
    sent = _follow(store, index, begun, home, progress)
    _settle(link, sent.collection, progress)
    present = len(index)
    if present != sent.count:
        raise GalleryError(_short(sent, present, sent.count, store.path))
    hnsw_ef, measured, queries = _measure(index, _sample(store), target.recall)
    done = replace(sent, hnsw_ef=hnsw_ef, recall=target.recall, measured=measured, queries=queries)
    done = replace(done, seconds=time.monotonic() - started)
    version = CollectionVersion.parse(done.collection)
    if version is not None:
        switch(link, version)
    done.write(home / SYNC_FILE)
    (home / SYNC_DRAFT).unlink(missing_ok=True)
    return done


def _begin(
    store: Store, link: QdrantConnection, target: SyncTarget, dim: int, home: Path, *, rebuild: bool
) -> SyncState:
    """Return the state to continue from: an interrupted one, a complete one, or one of a new collection."""
    draft, complete = SyncState.read(home / SYNC_DRAFT, target), SyncState.read(home / SYNC_FILE, target)
    if rebuild and draft is not None and complete is not None and draft.collection == complete.collection:
        draft = None
    for known in (draft, None if rebuild else complete):
        if known is not None and (known.row == 0 or _exists(link, known.collection)):
            return _made(store, link, known, target, dim)
    removals = store.rows.removals()  # before the first row is read, so that none that goes is missed
    version = propose(link, target.name, str(store.settings()["embedder"]["sha256"]))
    fresh = SyncState(target.address, target.name, version.collection, removals=removals)
    fresh.write(home / SYNC_DRAFT)  # before it is made, so that it is found again if it is made by half
    return _made(store, link, fresh, target, dim)


def _made(store: Store, link: QdrantConnection, known: SyncState, target: SyncTarget, dim: int) -> SyncState:
    """Return the state of an upload whose collection exists now."""
    check_model(store, known)
    version = CollectionVersion.parse(known.collection)
    if known.row == 0 and version is not None:
        create_collection(link, version, dim, target.shape)
    return known


def _exists(link: QdrantConnection, collection: str) -> bool:
    return bool(link.do(f"looking for {collection}", "collection_exists", collection))


def _follow(store: Store, index: QdrantIndex, sent: SyncState, home: Path, progress: ShareProgress) -> SyncState:
    """Send what is new and remove what went, until there is nothing of either, and return how far that is."""
    while True:
        removals, gone = store.rows.removed_since(sent.removals)
        index.remove(gone)  # also those past `row`: they may be of a batch that was not confirmed
        sent = replace(sent, removals=removals)
        batch = _batch(store, sent.row)
        if batch is not None:
            index.upsert(batch)
            sent = replace(sent, row=int(batch.ids[-1]))
        sent.write(home / SYNC_DRAFT)
        with store.reading():
            last, count, now = store.rows.last(), store.counts()[1], store.rows.removals()
        progress("uploading", min(1.0, sent.row / max(last, 1)))
        if last <= sent.row and now == sent.removals:
            return replace(sent, count=count)


def _batch(store: Store, after: int) -> PointBatch | None:
    """Return the next references past a row, None for none."""
    with store.reading():
        rows, descriptors = store.rows.after(after, UPLOAD_BATCH)
        known = store.rows.full_labels(rows.tolist())
    if not len(rows):
        return None
    labels = [known[row_id] for row_id in rows.tolist()]
    return PointBatch(
        rows,
        descriptors,
        [label.reference for label in labels],
        [label.landmark for label in labels],
        [label.position for label in labels],
        [label.license for label in labels],
    )


def _settle(link: QdrantConnection, collection: str, progress: ShareProgress) -> None:
    """Wait until Qdrant has indexed all points: before, searches are slow and find more than later."""
    until = time.monotonic() + INDEXING
    while time.monotonic() < until:
        info = link.do(f"looking at {collection}", "get_collection", collection)
        status = str(getattr(info.status, "value", info.status))
        if status in ("green", "gray"):
            return
        if status == "red":
            raise GalleryError(f"{link.address}: {collection} is broken; see Qdrant's log, then upload it anew")
        progress("indexing", (info.indexed_vectors_count or 0) / max(info.points_count or 1, 1))
        time.sleep(1.0)
    raise GalleryError(f"{link.address}: {collection} is still being indexed; run the same again later")


def _sample(store: Store) -> Float32:
    """Return the descriptors (n, D) of a few references, spread over all of them."""
    starts = np.unique(np.linspace(0, max(store.rows.last() - 1, 0), QUERIES).astype(int))
    parts = [store.rows.after(int(start), 1)[1] for start in starts]
    return np.concatenate([part for part in parts if len(part)] or [np.zeros((0, 0), np.float32)])


def _measure(index: QdrantIndex, sample: Float32, recall: float) -> tuple[int | None, float, int]:
    """Return the least hnsw_ef with enough recall, that recall, and the number of queries behind the mean."""
    if index.link.local or recall == 1 or not len(sample):
        return None, 1.0, 0
    truth = _searched(index, sample, None)
    for hnsw_ef in HNSW_EFS:
        nearest = _searched(index, sample, hnsw_ef)
        shares = [len(np.intersect1d(a, b)) / len(b) for a, b in zip(nearest, truth, strict=True)]
        if np.mean(shares) >= recall:
            return hnsw_ef, float(np.mean(shares)), len(sample)
    return None, 1.0, 0


def _searched(index: QdrantIndex, sample: Float32, hnsw_ef: int | None) -> Int64:
    """Return the numbers (Q, k) of those found near each of a sample; None compares everything."""
    options = SearchOptions(hnsw_ef=hnsw_ef, exact=hnsw_ef is None)
    return QdrantIndex(index.link, index.collection, index.dim, options).search(sample, NEAREST)[1]


def _short(upload: SyncState, present: int, expected: int, gallery: Path) -> str:
    wrong = f"{upload.collection} has {present:,} references, expected {expected:,}"
    return f"{upload.address}: {wrong}; see whether a node is gone, or upload it anew: veduta index {gallery} --anew"
