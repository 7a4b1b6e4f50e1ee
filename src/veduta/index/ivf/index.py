"""Approximate search for millions: four bits to look with, eight to choose by, sixteen to compare.

An inverted file of product codes says which thousand of the descriptors are worth a second look
(`veduta.index.ivf.inverted_file`);
codes of one byte a component choose among those; and the best by them get their exact cosine from half-precision
descriptors, as an exact index would give it. Codes and descriptors stay on disk, memory-mapped, in one folder that
never changes, so opening takes no time whatever the size. What came or went since is held in memory beside them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import faiss as stubbed
import numpy as np
import numpy.typing as npt

from veduta.errors import GalleryError
from veduta.index.exact import CLOSE, TIE_MARGIN, ExactIndex, cosines, roughly
from veduta.index.ivf.inverted_file import NUM_NEAREST, InvertedFile
from veduta.index.ivf.lists_file import read_array
from veduta.index.ivf.manifest import AXES, LISTS, STEPS, Manifest
from veduta.index.ivf.vectors import CODES, RowFiles
from veduta.index.overlay import merge_results
from veduta.types import Float32, Int64

faiss: Any = stubbed  # whose stubs know what C++ takes, not what its Python wrappers take
FEW = 4_096  # as many are compared exactly, one by one
SHARE = 0.02  # where fewer of all than this count, their codes are compared one by one
READ_ROWS = 32_768  # rows compared at a time


class Selection:
    """Which positions of an index count.

    Args:
        total: how many there are.
        present: (N,) bool, whether each counts; None for all.
    """

    def __init__(self, total: int, present: npt.NDArray[np.bool_] | None = None) -> None:
        self.total = total
        self.count = total if present is None else int(present.sum())
        few = self.count <= max(FEW, SHARE * total)
        self.positions: Int64 | None = None
        if few:
            self.positions = np.arange(total) if present is None else np.flatnonzero(present)
        # The selector looks at the bits, which have to stay.
        self._bits = None if self.count == total or present is None else np.packbits(present, bitorder="little")
        self.selector = None if self._bits is None else faiss.IDSelectorBitmap(self._bits)


class BaseIndex:
    """The part of an approximate index that is on disk.

    Args:
        folder: where it is.
        manifest: what it is.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.rows = RowFiles(folder, manifest.dim, manifest.code)
        self.lists = InvertedFile.read(folder / LISTS)
        self._check(folder)
        axes = folder / AXES
        self._axes: Float32 | None = read_array(axes, manifest.dim, manifest.code) if axes.exists() else None
        self._low, self._step = read_array(folder / STEPS, 2, manifest.code)
        self._warm(folder)

    def _check(self, folder: Path) -> None:
        """Raise GalleryError unless the files are whole, of one index, and have numbers that can be."""
        manifest, lists = self.manifest, self.lists
        counts, dims = self.rows.counts | {lists.count}, (manifest.code, manifest.lists)
        if counts != {manifest.count}:
            got = " or ".join(map(str, sorted(counts)))
            raise GalleryError(f"{folder}: expected {manifest.count} descriptors, got {got}; build it again")
        if (lists.index.d, len(lists)) != dims or (manifest.code < manifest.dim) > (folder / AXES).exists():
            raise GalleryError(f"{folder}: its files are not of one index; build it again")
        self.rows.check()

    def _warm(self, folder: Path) -> None:
        """Have the system read the codes ahead: nearly every query needs some of any part of them."""
        for file in folder.glob(f"{CODES}-*") if hasattr(os, "posix_fadvise") else ():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def nearest(self, query: Float32, k: int, selection: Selection, rank: int = NUM_NEAREST) -> tuple[Float32, Int64]:
        """Return cosines (k,) and positions (k,) of the nearest within the probe margin, the most similar first.

        Args:
            query: (D,) float32.
            k: neighbors wanted, at most as many as there are.
            selection: which positions count.
            rank: of the neighbor that says how far to look.
        """
        if selection.positions is not None and len(selection.positions) <= FEW:
            positions = selection.positions
        elif selection.positions is not None and len(selection.positions) < SHARE * selection.total:
            positions = self._choose(self._coded(query), selection.positions, self._exactly(k))
        else:
            positions = self.probe(query, k, selection, rank)[0]
        rows = self.rows.take(positions)
        if len(positions) > self._exactly(k):
            rough = roughly(rows, query)
            near = np.flatnonzero(rough >= np.partition(rough, -k)[-k] - CLOSE)
            rows, positions = rows[near], positions[near]
        similarity = cosines(rows, query)
        best = np.lexsort((positions, -similarity))[:k]
        return similarity[best], positions[best]

    def probe(self, query: Float32, k: int, selection: Selection, rank: int = NUM_NEAREST) -> tuple[Int64, Int64]:
        """Return positions (n,) worth comparing exactly, and the lists looked at (m,): all if the best have too few.

        Args: as `nearest`.
        """
        coded = self._coded(query)
        wide = min(self.manifest.candidate_factor * max(k, TIE_MARGIN), selection.count)
        positions, lists = self.lists.probe(coded, wide, self.manifest.probe_margin, selection.selector, rank)
        if len(positions) < min(k, selection.count):
            positions, lists = self.lists.probe(coded, wide, None, selection.selector)
        return self._choose(coded, positions, self._exactly(k)), lists

    def _exactly(self, k: int) -> int:
        return self.manifest.rescore_factor * k + TIE_MARGIN

    def _coded(self, query: Float32) -> Float32:
        """Return a query as codes are compared with, (d,)."""
        return query if self._axes is None else np.asarray(query @ self._axes, np.float32)

    def _choose(self, coded: Float32, positions: Int64, most: int) -> Int64:
        """Return the `most` of these positions that are best by their codes of eight bits."""
        if len(positions) <= most:
            return positions
        scaled, similarity = coded * self._step, np.empty(len(positions), np.float32)
        for start in range(0, len(positions), READ_ROWS):
            codes = self.rows.codes(positions[start : start + READ_ROWS])
            similarity[start : start + READ_ROWS] = roughly(codes.astype(np.float32), scaled)
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
        self.dim, self.delta = dim, ExactIndex(dim)
        self.base: BaseIndex | None = None
        if folder is None:
            return
        manifest = Manifest.read(folder)
        if manifest.dim != dim:
            wrong = f"expected {manifest.count} descriptors of {dim} components, got {manifest.dim}"
            raise GalleryError(f"{folder}: {wrong}; build it again")
        try:
            self.base = BaseIndex(folder, manifest)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise GalleryError(f"{folder}: cannot be read ({reason}); build it again") from error
        self._present = np.ones(manifest.count, bool)
        self._everything: Selection | None = None
        self._count = manifest.count

    def __len__(self) -> int:
        return len(self.delta) + (self._count if self.base else 0)

    @property
    def manifest(self) -> Manifest | None:
        """The manifest on disk, None for none."""
        return self.base.manifest if self.base else None

    @property
    def num_deleted(self) -> int:
        """How many of the descriptors on disk do not count any more."""
        return len(self._present) - self._count if self.base else 0

    def add(self, ids: Int64, descriptors: Float32) -> None:
        """Add (N,) ids with their (N, D) descriptors; ValueError for a wrong shape or an id already there."""
        known = np.asarray(ids)[self._positions(ids) >= 0] if len(ids) == len(descriptors) else ids[:0]
        if len(known):
            raise ValueError(f"ids: expected new and different ones, got {sorted(known.tolist())[:5]}")
        self.delta.add(ids, descriptors)

    def remove(self, ids: Int64) -> int:
        """Remove these ids, ignoring unknown ones; return how many were there."""
        positions = np.unique(self._positions(ids))
        positions = positions[positions >= 0]
        if len(positions):
            self._present[positions] = False
            self._count -= len(positions)
            self._everything = None
        return len(positions) + self.delta.remove(ids)

    def vectors(self, ids: Int64) -> Float32:
        """Return the descriptors (N, D) of these (N,) ids; KeyError for one that is not there."""
        positions = self._positions(ids)
        on_disk = positions >= 0
        descriptors = np.empty((len(ids), self.dim), np.float32)
        descriptors[~on_disk] = self.delta.vectors(np.asarray(ids)[~on_disk])
        if self.base and on_disk.any():
            descriptors[on_disk] = self.base.rows.take(positions[on_disk])
        return descriptors

    def search(self, descriptors: Float32, k: int, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Return cosines (Q, k') and ids (Q, k') of the nearest within the probe margin, nearest first, then by id.

        The cosines are exact, and k' = min(k, how many there are to find) is always reached.

        Args:
            descriptors: (Q, D) of the queries.
            k: neighbors wanted.
            among: (M,) the only ids that count, in any order; unknown ones are ignored. None for all.
        """
        recent = self.delta.search(descriptors, k, among)
        if self.base is None or not self._count:
            return recent
        selection = self._selected(among)
        width = min(k, selection.count + recent[1].shape[1])
        if not len(descriptors) or not selection.count:
            return recent if not selection.count else (np.zeros((0, width), np.float32), np.zeros((0, width), np.int64))
        parts = [self.base.nearest(query, min(k, selection.count), selection) for query in descriptors]
        ids = self.base.rows.ids
        similarity, numbers = np.stack([values for values, _ in parts]), np.stack([ids[where] for _, where in parts])
        return merge_results([similarity, recent[0]], [numbers, recent[1]], width)

    def searched_share(self, descriptors: Float32, k: int) -> Float32:
        """Return (Q,) the share of all descriptors, in [0, 1], that `search` compares each query with.

        What a question costs, whatever the machine. Where few count, and of what is in memory, all are compared.

        Args:
            descriptors: (Q, D) of the queries.
            k: neighbors wanted.
        """
        base = self.base
        if base is None or (selection := self._selected(None)).positions is not None:
            return np.ones(len(descriptors), np.float32)
        lists = [base.probe(query, min(k, selection.count), selection)[1] for query in descriptors]
        compared = np.array([base.lists.sizes(probed).sum() for probed in lists]) + len(self.delta)
        return np.asarray(compared / (base.lists.count + len(self.delta)), np.float32)

    def _selected(self, among: Int64 | None) -> Selection:
        """Return which positions on disk count: of all that are there, those asked for."""
        if among is None:
            if self._everything is None:
                self._everything = Selection(len(self._present), self._present)
            return self._everything
        allowed, positions = np.zeros(len(self._present), bool), self._positions(among)
        allowed[positions[positions >= 0]] = True
        return Selection(len(self._present), allowed)

    def _positions(self, ids: Int64) -> Int64:
        """Return where on disk each of these ids is, -1 for one that is not, or not any more."""
        if self.base is None:
            return np.full(len(ids), -1, np.int64)
        in_base = self.base.rows.positions(np.asarray(ids, np.int64))
        return np.where((in_base >= 0) & self._present[in_base], in_base, -1)
