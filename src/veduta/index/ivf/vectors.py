"""Descriptors in half precision on disk: memory-mapped files of rows that only ever grow by further files."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veduta.errors import GalleryError
from veduta.files import first_irregular
from veduta.types import Float32, Int64, UInt8

# What is past an id: ids (n,), rising, and descriptors (n, D), a piece at a time.
DescriptorSource = Callable[[int], Iterable[tuple[Int64, Float32]]]
ROWS, NORMS, IDS, CODES = "rows", "norms", "ids", "codes"
READ = 512  # as many rows are read one by one; more of them by a map, which is faster
UNIT = 1e-4  # norms nearer to 1 than this are meant to be 1


class RowFiles:
    """The rows of an index, by position: ids (N,), rising, and descriptors (N, D), widened where they are asked for.

    A segment is four files: half-precision rows, what each is to be divided by to have its norm again, ids, and codes
    of a byte a component.

    Args:
        folder: where the segments are.
        dim: length D of a descriptor.
        code: components of a code; 0 while there are none.
    """

    def __init__(self, folder: Path, dim: int, code: int = 0) -> None:
        self.folder, self.dim = folder, dim
        if (found := first_irregular(folder)) is not None:
            raise GalleryError(f"{found}: is no plain file, so it is not read; build the index again")
        names = [str(number) for number in range(sum(1 for _ in folder.glob(f"{ROWS}-*")))]
        self.blocks: tuple[npt.NDArray[Any], ...] = tuple(self._map(f"{ROWS}-{n}", dim, np.float16) for n in names)
        self._files = [os.open(folder / f"{ROWS}-{n}", os.O_RDONLY) for n in names]
        weakref.finalize(self, _close, self._files)
        self._codes = tuple(self._map(f"{CODES}-{n}", code, np.uint8) for n in names) if code else ()
        self.norms = _joined([np.fromfile(folder / f"{NORMS}-{name}", np.float32) for name in names], np.float32)
        self.ids: Int64 = _joined([np.fromfile(folder / f"{IDS}-{name}", np.int64) for name in names], np.int64)
        self._starts = np.cumsum([0, *(len(block) for block in self.blocks)])

    def _map(self, name: str, width: int, dtype: Any) -> npt.NDArray[Any]:
        path, bytes_each = self.folder / name, width * np.dtype(dtype).itemsize
        shape = path.stat().st_size // bytes_each, width
        return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.zeros(shape, dtype)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> set[int]:
        """How many rows each of the kinds of files has: one number, unless files are cut short or of another index."""
        parts = (self.blocks, self._codes) if self._codes else (self.blocks,)
        return {len(self.ids), len(self.norms), *(sum(map(len, blocks)) for blocks in parts)}

    def check(self) -> None:
        """Raise GalleryError unless ids rise and norms are those of directions."""
        if (self.ids[:1] < 0).any() or (np.diff(self.ids) <= 0).any():
            raise GalleryError(f"{self.folder}: its ids do not rise; build it again")
        if not (np.isfinite(self.norms) & (self.norms > 0)).all():
            raise GalleryError(f"{self.folder}: its norms are damaged; build it again")

    def take(self, positions: Int64) -> Float32:
        """Return the descriptors (n, D) float32 at these (n,) positions."""
        half = self._read(positions) if len(positions) <= READ else self._gather(self.blocks, positions)
        return np.asarray(half.astype(np.float32) / self.norms[positions][:, None], np.float32)

    def _read(self, positions: Int64) -> npt.NDArray[np.float16]:
        """Return a few rows (n, D), read and not mapped: what a map was looked at stays in this process's memory."""
        width, where = 2 * self.dim, np.searchsorted(self._starts, positions, side="right") - 1
        places = zip(where.tolist(), ((positions - self._starts[where]) * width).tolist(), strict=True)
        data = b"".join(os.pread(self._files[number], width, place) for number, place in places)
        return np.frombuffer(data, np.float16).reshape(len(positions), self.dim)

    def codes(self, positions: Int64) -> UInt8:
        """Return the codes (n, d) uint8 at these (n,) positions."""
        return np.asarray(self._gather(self._codes, positions), np.uint8)

    def _gather(self, parts: tuple[npt.NDArray[Any], ...], positions: Int64) -> npt.NDArray[Any]:
        if len(parts) == 1:
            return parts[0][positions]
        rows = np.empty((len(positions), parts[0].shape[1]), parts[0].dtype)
        where = np.searchsorted(self._starts, positions, side="right") - 1
        for number in np.unique(where):
            in_part = where == number
            rows[in_part] = parts[number][positions[in_part] - self._starts[number]]
        return rows

    def positions(self, ids: Int64) -> Int64:
        """Return the position of each of these (n,) ids, -1 for one that is not there."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, place, -1).astype(np.int64)


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def append_rows(folder: Path, segment: int, source: DescriptorSource, dim: int, after: int = -1) -> int:
    """Write a segment, resuming an earlier call that was killed, and return its number of rows.

    Args:
        folder: where the segments are.
        segment: its number.
        source: what is to be written.
        dim: length D of a descriptor.
        after: the last id of the segments before.

    Raises:
        ValueError: the ids do not rise.
    """
    widths = {ROWS: 2 * dim, NORMS: 4, IDS: 8}
    paths = {name: folder / f"{name}-{segment}" for name in widths}
    written = min((path.stat().st_size // widths[name] if path.exists() else 0) for name, path in paths.items())
    for name, path in paths.items():
        path.touch()
        os.truncate(path, written * widths[name])
    last = int(np.fromfile(paths[IDS], np.int64)[-1]) if written else after
    with paths[ROWS].open("ab") as rows, paths[NORMS].open("ab") as norms, paths[IDS].open("ab") as numbers:
        for ids, descriptors in source(last):
            if not len(ids):
                continue
            if ids[0] <= last or (np.diff(ids) <= 0).any():
                raise ValueError("ids: expected rising ones")
            half = descriptors.astype(np.float16)
            half.tofile(rows)
            _norms(descriptors, half).tofile(norms)
            np.asarray(ids, np.int64).tofile(numbers)
            written, last = written + len(half), int(ids[-1])
        for file in (rows, norms, numbers):
            file.flush()
            os.fsync(file.fileno())
    return written


def _norms(rows: Float32, half: npt.NDArray[np.float16]) -> Float32:
    """Return (n,) the norms of rounded rows, divided by those they had; those of norm 1 are not measured twice.

    A gallery keeps half precision and divides by the norm: so it gets the very same numbers here.
    """
    before = np.linalg.norm(rows.astype(np.float64), axis=1)
    after = np.linalg.norm(half.astype(np.float64), axis=1)
    ratio = np.divide(after, before, out=np.ones_like(before), where=(before > 0) & (after > 0))
    single = np.linalg.norm(half.astype(np.float32), axis=1)
    return np.asarray(np.where(np.abs(before - 1) < UNIT, single, ratio), np.float32)


def _joined(parts: list[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
