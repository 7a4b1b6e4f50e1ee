"""Approximate search for millions: four bits to look with, eight to choose by, sixteen to compare.

An inverted file of product codes says which thousand of the descriptors are worth a second look (`veduta.index.lists`);
codes of one byte a component choose among those; and the best by them get their exact cosine from half-precision
descriptors, as an exact index would give it. Codes and descriptors stay on disk, memory-mapped, in one folder that
never changes, so opening takes no time whatever the size. What came or went since is held in memory beside them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss as stubbed
import numpy as np

from veduta.errors import GalleryError
from veduta.index.exact import ExactIndex
from veduta.index.lists import Lists
from veduta.index.rows import CODES, RowFiles
from veduta.types import Float32, Int64

faiss: Any = stubbed  # whose stubs know what C++ takes, not what its Python wrappers take
MANIFEST, LISTS, AXES, STEPS = "manifest.json", "lists.faiss", "axes.npy", "steps.npy"
SPARE = 16  # compared beyond what is asked for, so that equal similarities at the edge are ordered by id
FEW = 4_096  # as many are compared exactly, one by one
SHARE = 0.02  # where fewer of all than this count, their codes are compared one by one
PIECE = 32_768  # rows compared at a time


@dataclass(frozen=True)
class Manifest:
    """What an approximate index on disk is, and what it was measured to find.

    Attributes:
        dim: length D of a descriptor.
        code: components of a code, at most D.
        count: descriptors in it.
        lists: lists of the inverted file.
        reach: how much less similar than the 30th found a list's centre may be for it to be looked at; None: all
            lists are.
        candidates: how many times the neighbours wanted are chosen by the inverted file, at least.
        rescored: how many times the neighbours wanted are compared exactly.
        recall: share of the true neighbours that it was to find.
        measured: share found, of the 30 nearest of rows of its own, others than those `reach` was chosen by.
        queries: how many rows that is the mean of.
        trained: descriptors in it when its centres were learned.
        seconds: what building it took.
        source: what the maker wants to know of it again.
    """

    dim: int
    code: int
    count: int
    lists: int
    reach: float | None
    candidates: int
    rescored: int
    recall: float
    measured: float
    queries: int
    trained: int
    seconds: float
    source: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write it, which makes a folder an index."""
        draft = folder / f".{MANIFEST}"
        draft.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", "utf-8")
        draft.replace(folder / MANIFEST)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return that of a folder; GalleryError if there is none that this Veduta understands."""
        try:
            return cls(**json.loads((folder / MANIFEST).read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise GalleryError(f"{folder}: is not an approximate index ({error}); build it again") from error


class Base:
    """The part of an approximate index that is on disk.

    Args:
        folder: where it is.
        manifest: what it is.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.rows = RowFiles(folder, manifest.dim, manifest.code)
        self.lists = Lists.read(folder / LISTS)
        axes = folder / AXES
        self._axes: Float32 | None = np.load(axes) if axes.exists() else None
        self._low, self._step = np.load(folder / STEPS)
        self._warm(folder)

    def _warm(self, folder: Path) -> None:
        """Have the system read the codes ahead: nearly every query needs some of any part of them."""
        for file in folder.glob(f"{CODES}-*") if hasattr(os, "posix_fadvise") else ():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def nearest(self, query: Float32, k: int, there: Any, allowed: Int64 | None) -> tuple[Float32, Int64]:
        """Return cosines (k,) and positions (k,) of the nearest that it finds, the most similar first.

        Args:
            query: (D,) float32.
            k: neighbours wanted, at most as many as there are.
            there: (N,) bool, which positions count.
            allowed: (n,) positions of those that are asked for and count, rising; None for all.
        """
        count = int(there.sum()) if allowed is None else len(allowed)
        if count <= FEW:
            positions = np.flatnonzero(there) if allowed is None else allowed
        elif allowed is not None and count < SHARE * len(there):
            positions = self._choose(self._coded(query), allowed, self._exactly(k))
        else:
            positions = self._look(query, k, there, allowed, count)
        similarity = cosines(self.rows.take(positions), query)
        best = np.lexsort((positions, -similarity))[:k]
        return similarity[best], positions[best]

    def _look(self, query: Float32, k: int, there: Any, allowed: Int64 | None, count: int) -> Int64:
        """Return the positions worth comparing exactly, from all lists if the nearest have too few that count."""
        coded, mask = self._coded(query), there
        if allowed is not None:
            mask = np.zeros(len(there), bool)
            mask[allowed] = True
        bits = None if mask.all() else np.packbits(mask, bitorder="little")
        selector = None if bits is None else faiss.IDSelectorBitmap(bits)
        wide = min(self.manifest.candidates * max(k, SPARE), count)
        found = self.lists.look(coded, wide, self.manifest.reach, selector)
        if len(found) < min(k, count):
            found = self.lists.look(coded, wide, None, selector)
        return self._choose(coded, found, self._exactly(k))

    def _exactly(self, k: int) -> int:
        return self.manifest.rescored * k + SPARE

    def _coded(self, query: Float32) -> Float32:
        """Return a query as codes are compared with, (d,)."""
        return query if self._axes is None else np.asarray(query @ self._axes, np.float32)

    def _choose(self, coded: Float32, positions: Int64, most: int) -> Int64:
        """Return the `most` of these positions that are best by their codes of eight bits."""
        if len(positions) <= most:
            return positions
        scaled, similarity = coded * self._step, np.empty(len(positions), np.float32)
        for start in range(0, len(positions), PIECE):
            codes = self.rows.codes(positions[start : start + PIECE])
            similarity[start : start + PIECE] = codes.astype(np.float32) @ scaled
        return positions[np.argpartition(-similarity, most - 1)[:most]]


class ApproximateIndex:
    """Millions of descriptors on disk, and what changed since in memory.

    `add` and `remove` change what is in memory only: the folder is a cache, and its maker's to renew.

    Args:
        dim: length D of a descriptor.
        folder: one that `build` made; None for nothing on disk.

    Raises:
        GalleryError: it is not one.
    """

    def __init__(self, dim: int, folder: Path | None = None) -> None:
        self.dim, self.recent = dim, ExactIndex(dim)
        self.base: Base | None = None
        if folder is None:
            return
        manifest = Manifest.read(folder)
        self.base = Base(folder, manifest)
        found = len(self.base.rows), self.base.lists.count, manifest.dim
        if found != (manifest.count, manifest.count, dim):
            expected = f"{manifest.count} descriptors of {dim} components"
            raise GalleryError(f"{folder}: expected {expected}, got {found}; build it again")
        self._there = np.ones(manifest.count, bool)
        self._count = manifest.count

    def __len__(self) -> int:
        return len(self.recent) + (self._count if self.base else 0)

    @property
    def manifest(self) -> Manifest | None:
        """What is on disk, None for nothing."""
        return self.base.manifest if self.base else None

    @property
    def gone(self) -> int:
        """How many of the descriptors on disk do not count any more."""
        return len(self._there) - self._count if self.base else 0

    def add(self, ids: Int64, descriptors: Float32) -> None:
        """Add (N,) ids with their (N, D) descriptors; ValueError for a wrong shape or an id already there."""
        known = np.asarray(ids)[self._positions(ids) >= 0] if len(ids) == len(descriptors) else ids[:0]
        if len(known):
            raise ValueError(f"ids: expected new and different ones, got {sorted(known.tolist())[:5]}")
        self.recent.add(ids, descriptors)

    def remove(self, ids: Int64) -> int:
        """Remove these ids, ignoring unknown ones; return how many were there."""
        positions = np.unique(self._positions(ids))
        positions = positions[positions >= 0]
        if len(positions):
            self._there[positions] = False
            self._count -= len(positions)
        return len(positions) + self.recent.remove(ids)

    def vectors(self, ids: Int64) -> Float32:
        """Return the descriptors (N, D) of these (N,) ids; KeyError for one that is not there."""
        positions = self._positions(ids)
        on_disk = positions >= 0
        found = np.empty((len(ids), self.dim), np.float32)
        found[~on_disk] = self.recent.vectors(np.asarray(ids)[~on_disk])
        if self.base and on_disk.any():
            found[on_disk] = self.base.rows.take(positions[on_disk])
        return found

    def search(self, descriptors: Float32, k: int, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Return cosines (Q, k') and ids (Q, k') of the nearest that it finds, nearest first, then id rising.

        The cosines are exact, and k' = min(k, how many there are to find) is always reached.

        Args:
            descriptors: (Q, D) of the queries.
            k: neighbours wanted.
            among: (M,) the only ids that count, in any order; unknown ones are ignored. None for all.
        """
        recent = self.recent.search(descriptors, k, among)
        if self.base is None or not self._count or not len(descriptors):
            return recent if self.base is None else (recent[0], recent[1]) if len(descriptors) else self._none(k, among)
        allowed = self._allowed(among)
        total = self._count if allowed is None else len(allowed)
        parts = [self.base.nearest(query, min(k, total), self._there, allowed) for query in descriptors]
        ids = self.base.rows.ids
        similarity = np.concatenate([np.stack([found for found, _ in parts]), recent[0]], axis=1)
        numbers = np.concatenate([np.stack([ids[where] for _, where in parts]), recent[1]], axis=1)
        order = np.lexsort((numbers, -similarity), axis=1)[:, : min(k, numbers.shape[1])]
        return np.take_along_axis(similarity, order, 1), np.take_along_axis(numbers, order, 1)

    def _none(self, k: int, among: Int64 | None) -> tuple[Float32, Int64]:
        """Return the answer to no queries."""
        allowed = self._allowed(among)
        there = self._count if allowed is None else len(allowed)
        width = min(k, there + self.recent.search(np.zeros((0, self.dim), np.float32), k, among)[1].shape[1])
        return np.zeros((0, width), np.float32), np.zeros((0, width), np.int64)

    def _allowed(self, among: Int64 | None) -> Int64 | None:
        """Return where on disk the ids asked for are, rising; None for all."""
        if among is None:
            return None
        positions = np.unique(self._positions(among))
        return np.asarray(positions[positions >= 0], np.int64)

    def _positions(self, ids: Int64) -> Int64:
        """Return where on disk each of these ids is, -1 for one that is not, or not any more."""
        if self.base is None:
            return np.full(len(ids), -1, np.int64)
        found = self.base.rows.positions(np.asarray(ids, np.int64))
        return np.where((found >= 0) & self._there[found], found, -1)


def cosines(rows: Float32, query: Float32) -> Float32:
    """Return the inner products (n,) of rows (n, D) and a query (D,), as an exact index makes them for one query."""
    # By faiss and not by BLAS: the same sums in the same order.
    found, arrays = np.empty(len(rows), np.float32), (np.ascontiguousarray(query), np.ascontiguousarray(rows))
    faiss.fvec_inner_products_ny(faiss.swig_ptr(found), *map(faiss.swig_ptr, arrays), *rows.shape[::-1])
    return found
