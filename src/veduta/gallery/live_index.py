"""Which index a gallery searches, and how that is kept up with what is in its store.

Exact up to `APPROXIMATE_FROM` references, approximate above: a cache in the gallery's folder, or in a Qdrant that the
gallery names, beside which what came and went since is held in memory. When that has become much, the cache is renewed
by a separate process, and every open gallery goes over to the new one at its next call.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from veduta.errors import GalleryError
from veduta.files import is_plain
from veduta.gallery.qdrant_sync import SYNC_FILE, SyncState, SyncTarget, open_synced
from veduta.gallery.store import Store
from veduta.index import ApproximateIndex, ExactIndex, Manifest, OverlayIndex
from veduta.index.qdrant.client import addresses
from veduta.index.qdrant.collections import CollectionSettings, check_collection_name
from veduta.protocols import Index
from veduta.trust import is_accepted
from veduta.types import Float32, Int64

IndexKind = Literal["auto", "exact", "approximate", "qdrant"]
APPROXIMATE_FROM = 200_000  # references; below, comparing all of them takes a few milliseconds
DEFAULT_RECALL = 0.99
INDEX_FOLDER, CURRENT_FILE, DRAFT, INDEX_SETTING = "index", "current", "draft", "index"
DESCRIPTOR_BATCH = 20_000  # descriptors read from the store at a time
BUILD_NAME = re.compile(r"[0-9]{6,12}")  # of the folder of one build
EXACT_BYTES = 4 << 30  # as much memory an exact index may take while there is no approximate one
STALE_SHARE, MIN_STALE, MAX_STALE = (
    0.02,
    5_000,
    20_000,
)  # share of the cache, and bounds, of recent ones that make it stale
REMOVED_SHARE = 0.1  # share of the cache that may have been removed


@dataclass(frozen=True)
class IndexChoice:
    """The kind of index a gallery is searched with, and its settings.

    Attributes:
        kind: ``auto``: exact below `APPROXIMATE_FROM` references and approximate above.
        recall: share of the 30 nearest that an approximate index, or a Qdrant, is to find.
        address: of the Qdrant: ``http(s)://host:port``, several of one cluster with commas between them, or a folder.
        name: what the references are called there.
        shards: parts they are cut into there.
        replicas: nodes that have each part.
    """

    kind: IndexKind = "auto"
    recall: float = DEFAULT_RECALL
    address: str | None = None
    name: str = "veduta"
    shards: int = 1
    replicas: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(IndexKind):
            raise ValueError(f"kind: expected one of {', '.join(get_args(IndexKind))}, got {self.kind!r}")
        if not 0 < self.recall <= 1:
            raise ValueError(f"recall: expected a share in (0, 1], got {self.recall}")
        if self.kind == "qdrant" and self.address is None:
            raise ValueError("address: expected that of a Qdrant, got none")
        if self.address is not None:
            addresses(self.address)
        check_collection_name(self.name)
        CollectionSettings(self.shards, self.replicas)

    @property
    def target(self) -> SyncTarget | None:
        """Where the references go, None if they stay in the gallery's folder."""
        if self.kind != "qdrant" or self.address is None:
            return None
        return SyncTarget(self.address, self.name, CollectionSettings(self.shards, self.replicas), self.recall)

    def request(self) -> str:
        """Return what a gallery with this choice asks of the user who opens it, in one line."""
        if self.target is not None:
            return f"send queries to the Qdrant at {self.address}, for what is called {self.name} there"
        return "read and rebuild the approximate index in its folder"

    def to_bytes(self) -> bytes:
        """Return the choice as JSON."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def of(cls, store: Store) -> IndexChoice:
        """Return a gallery's choice, the default where nobody chose; GalleryError for one that is none."""
        stored = store.get_attachment(INDEX_SETTING)
        try:
            return cls() if stored is None else cls(**json.loads(stored))
        except (ValueError, TypeError, AttributeError, RecursionError, GalleryError) as error:
            wrong = f"{store.path}: its choice of an index is damaged ({error})"
            raise GalleryError(f"{wrong}; choose again with 'veduta index {store.path} --exact'") from error

    @classmethod
    def accepted(cls, store: Store) -> IndexChoice:
        """Return a gallery's choice as far as this user accepts it: exact search, and a warning, instead of another."""
        choice = cls.of(store)
        lasting = choice.target is not None or choice.approximate(store.counts()[1])
        if not lasting or is_accepted(store.path, choice.request()):
            return choice
        warnings.warn(
            f"{store.path}: asks to {choice.request()}. This user has not accepted that, so it is searched exactly; "
            f"look where the gallery comes from, then: veduta trust {store.path}",
            stacklevel=3,
        )
        return replace(choice, kind="exact")

    def approximate(self, count: int) -> bool:
        """Return whether so many references are searched approximately."""
        return self.kind == "approximate" or (self.kind == "auto" and count >= APPROXIMATE_FROM)


SearchIndex = ExactIndex | ApproximateIndex | OverlayIndex
SavedIndex = Path | SyncState | None  # a folder, or what a Qdrant has


class LiveIndex:
    """The index of one open gallery.

    Args:
        store: its references.
        dim: length D of a descriptor.
    """

    def __init__(self, store: Store, dim: int) -> None:
        self._store, self._dim = store, dim
        self._index: SearchIndex | None = None
        self._cache: SavedIndex = None
        self._choice: IndexChoice | None = None
        self._stored: bytes | None = None  # what the choice was made from
        self._count = 0
        self._row, self._removals = 0, 0
        self._builder: subprocess.Popen[bytes] | None = None

    def refresh(self) -> Index:
        """Return an index of the store's present contents; call this inside `Store.reading`."""
        stored, count = self._store.get_attachment(INDEX_SETTING), self._store.counts()[1]
        if self._choice is None or self._count != count or stored != self._stored:
            self._choice, self._stored = IndexChoice.accepted(self._store), stored
        choice, self._count = self._choice, count
        cache = find_saved(self._store, choice, count)
        lasting = choice.target is not None or choice.approximate(count)
        declined = choice != IndexChoice.of(self._store)
        if (lasting or declined) and cache is None and count * self._dim * 4 > EXACT_BYTES:
            ours = f"; make one with 'veduta index {self._store.path}'"
            theirs = f" that this user accepts; see 'veduta trust {self._store.path}'"
            lacking = f"{self._store.path}: has {count:,} references and no index of them"
            raise GalleryError(lacking + (theirs if declined else ours))
        if self._index is None or cache != self._cache:
            self._index = None  # until the new one has turned out to be whole
            index = self._open(cache)
            self._catch_up_or_refuse(index, cache, count)
            self._index = index
        else:
            self._catch_up(self._index)
        if lasting and self._store.writable and needs_rebuild(self._index) and not _first_upload(choice, cache):
            self._start_rebuild()
        return self._index

    def _open(self, cache: SavedIndex) -> SearchIndex:
        self._cache, self._row, self._removals = None, 0, 0
        index: SearchIndex = ExactIndex(self._dim)
        if isinstance(cache, Path):
            index, (self._row, self._removals) = ApproximateIndex(self._dim, cache), built_from(cache)
        elif cache is not None:
            index = open_synced(self._store, cache, self._dim)
            self._row, self._removals = cache.row, cache.removals
        self._cache = cache
        return index

    def _catch_up_or_refuse(self, index: SearchIndex, cache: SavedIndex, count: int) -> None:
        """Bring a newly opened index up to date; GalleryError for a folder that is not of this gallery's references."""
        if not isinstance(cache, Path):
            self._catch_up(index)
            return
        try:
            self._catch_up(index)
            if len(index) != count:
                raise ValueError(f"it has {len(index)} of {count}")
        except ValueError as error:
            wrong = f"is not an index of this gallery's references ({error})"
            raise GalleryError(f"{cache}: {wrong}; build it again with 'veduta index {self._store.path}'") from error

    def _catch_up(self, index: SearchIndex) -> None:
        """Bring an index up to what is in the store."""
        self._removals, gone = self._store.rows.removed_since(self._removals)
        index.remove(gone)
        for rows, descriptors in descriptor_batches(self._store, self._row):
            if descriptors.shape[1] != self._dim:
                wrong = f"has descriptors of length {descriptors.shape[1]}, its model makes {self._dim}"
                raise GalleryError(f"{self._store.path}: {wrong}; restore it from a copy")
            index.add(rows, descriptors)
            self._row = int(rows[-1])

    def has_newer(self) -> bool:
        """Return whether another cache lies on disk than the one in use."""
        return self._choice is not None and find_saved(self._store, self._choice, self._count) != self._cache

    def _start_rebuild(self) -> None:
        """Start a process that renews the cache, unless the last one is at work still."""
        if self._builder is not None and self._builder.poll() is None:
            return
        # -P and another folder: what lies where this user happens to be must not be taken for a module.
        command = [sys.executable, "-P", "-m", "veduta", "index", str(self._store.path.absolute()), "--quiet"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._builder = subprocess.Popen(command, cwd=sys.prefix, **quiet)  # type: ignore[call-overload]  # noqa: S603

    def close(self) -> None:
        """Release the index, and end the process that rebuilds the saved one; another resumes that work."""
        self._index = None
        if self._builder is not None and self._builder.poll() is None:
            self._builder.terminate()
            self._builder.wait()


def needs_rebuild(index: Index) -> bool:
    """Return whether an index should be rebuilt: there is none on disk, or much has changed since."""
    if isinstance(index, OverlayIndex):
        count = len(index) - len(index.delta) + index.num_deleted
    elif isinstance(index, ApproximateIndex) and index.manifest is not None:
        count = index.manifest.count
    else:
        return True
    return (
        len(index.delta) > min(max(STALE_SHARE * count, MIN_STALE), MAX_STALE)
        or index.num_deleted > REMOVED_SHARE * count
    )


def latest_build(gallery: Path) -> Path | None:
    """Return the folder of a gallery's approximate index, None if there is none."""
    home = gallery / INDEX_FOLDER
    if home.is_symlink() or not is_plain(home / CURRENT_FILE):
        return None
    try:
        name = (home / CURRENT_FILE).read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    known = BUILD_NAME.fullmatch(name) is not None and not (home / name).is_symlink()
    return home / name if known and is_plain(home / name / "manifest.json") else None


def built_from(folder: Path) -> tuple[int, int]:
    """Return the last row and the last removal that an index on disk knows of; GalleryError where that is not told."""
    source = Manifest.read(folder).source
    try:
        return source["row"], source["removals"]
    except KeyError as error:
        raise GalleryError(f"{folder}: does not tell what it was built from; build it again") from error


def find_saved(store: Store, choice: IndexChoice, count: int) -> SavedIndex:
    """Return a gallery's saved index, None for none."""
    target = choice.target
    if target is not None:
        return SyncState.read(store.path / INDEX_FOLDER / SYNC_FILE, target)
    return latest_build(store.path) if choice.approximate(count) else None


def _first_upload(choice: IndexChoice, cache: SavedIndex) -> bool:
    """Return whether a person has to start the upload: the first one, or one to a folder here."""
    return choice.target is not None and (cache is None or "://" not in choice.target.address)


def descriptor_batches(store: Store, after: int) -> Iterator[tuple[Int64, Float32]]:
    """Yield the rows past this one and their descriptors, a piece at a time."""
    while True:
        rows, descriptors = store.rows.after(after, DESCRIPTOR_BATCH)
        if not len(rows):
            return
        yield rows, descriptors
        after = int(rows[-1])


def describe_index(store: Store) -> dict[str, Any]:
    """Return a gallery's index and its measured recall."""
    choice = IndexChoice.of(store)
    cache = find_saved(store, choice, store.counts()[1])
    if cache is None:
        return {"kind": "exact", "wanted": choice.kind, "recall": 1.0}
    if isinstance(cache, Path):
        return {"kind": "approximate", "wanted": choice.kind, **asdict(Manifest.read(cache))}
    return {"kind": "qdrant", "wanted": choice.kind, **asdict(cache)}
