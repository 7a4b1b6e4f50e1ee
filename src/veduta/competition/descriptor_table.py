"""Descriptors of a whole split on disk: append-only shards that survive being killed, read by memory mapping.

A table is a folder of shards; a shard is a folder of four files:

- ``shard.json``: the model and its sha256, the length of a descriptor, how they were made;
- ``descriptors.bin``: rows of D numbers, float16 or float32;
- ``ids.bin``: one photo id per row, 32 bytes padded with zeros;
- ``bad.csv``: photos that could not be read, and why.

Rows are written descriptors first, ids second, and only whole rows count: what a killed run left half-written is cut
off when the next one opens the shard. Every photo goes through the network by itself, so a row does not depend on
where an earlier run was stopped, and a resumed table equals an uninterrupted one byte for byte.
"""

from __future__ import annotations

import csv
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veduta.errors import DatasetError
from veduta.files import first_irregular, locked, write_json
from veduta.types import Failure, Float32

ID_BYTES = 32
MAX_DIM = 65_536
TABLE_DTYPES = {"float16": np.float16, "float32": np.float32}
META, DESCRIPTORS, IDS, BAD = "shard.json", "descriptors.bin", "ids.bin", "bad.csv"


@dataclass(frozen=True)
class Provenance:
    """The model and settings behind the descriptors of a table; tables of different origin are never mixed.

    Attributes:
        model: name of the model, or of the table they were imported from.
        sha256: of the model's file, or of the files the table was imported from.
        dim: length D of a descriptor.
        dtype: ``float16`` or ``float32``.
        settings: what else changes the descriptors, such as the side photos are resized to.
    """

    model: str
    sha256: str
    dim: int
    dtype: str = "float16"
    settings: tuple[tuple[str, int], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the provenance as a JSON object."""
        return {**asdict(self), "settings": dict(self.settings)}


def shard_of(id: str, count: int) -> int:
    """Return which of `count` shards, from 0, a photo belongs to; a function of the id alone."""
    return zlib.crc32(id.encode("utf-8", "surrogatepass")) % count


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, N) of "i/N", i from 1 to N; ValueError for anything else.

    >>> parse_shard("2/8")
    (2, 8)
    """
    first, _, second = text.partition("/")
    if first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise ValueError(f"shard: expected i/N with 1 <= i <= N, such as 2/8, got {text!r}")


class ShardWriter:
    """Appends rows to one shard; `open_shard` makes one and locks the shard against a second writer."""

    def __init__(self, folder: Path, maker: Provenance) -> None:
        self._folder, self._maker = folder, maker
        self._row_bytes = maker.dim * np.dtype(TABLE_DTYPES[maker.dtype]).itemsize
        rows = self._cut_to_whole_rows()
        ids = np.fromfile(folder / IDS, f"S{ID_BYTES}", rows) if rows else np.zeros(0, f"S{ID_BYTES}")
        _check_ids(folder, ids)
        self.done = {id.decode("ascii") for id in ids.tolist()}
        self.bad = _read_bad(folder / BAD)
        self._pending: list[tuple[str, Float32]] = []

    def put(self, id: str, descriptor: Float32) -> None:
        """Add one (D,) descriptor, on disk after the next `flush`."""
        if descriptor.shape != (self._maker.dim,):
            raise ValueError(f"descriptor: expected ({self._maker.dim},), got {descriptor.shape}")
        if len(id) > ID_BYTES:
            raise DatasetError(f"{id}: a photo id may have at most {ID_BYTES} characters")
        self._pending.append((id, descriptor))
        self.done.add(id)

    def put_bad(self, failure: Failure) -> None:
        """Note a photo that cannot be read."""
        self.flush()
        if self.bad.get(failure.photo) == failure.error:
            return
        with (self._folder / BAD).open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([failure.photo, failure.error])
        self.bad[failure.photo] = failure.error

    def flush(self) -> None:
        """Write what is waiting, descriptors before ids."""
        if not self._pending:
            return
        rows = np.stack([row for _, row in self._pending]).astype(TABLE_DTYPES[self._maker.dtype])
        ids = np.array([id for id, _ in self._pending], f"S{ID_BYTES}")
        for name, data in ((DESCRIPTORS, rows.tobytes()), (IDS, ids.tobytes())):
            with (self._folder / name).open("ab") as file:
                file.write(data)
        self._pending = []

    def _cut_to_whole_rows(self) -> int:
        """Cut off what a killed run left half-written and return how many rows are whole."""
        files = ((self._folder / DESCRIPTORS, self._row_bytes), (self._folder / IDS, ID_BYTES))
        for path, _ in files:
            path.touch()
        rows = min(path.stat().st_size // width for path, width in files)
        for path, width in files:
            if path.stat().st_size != rows * width:
                os.truncate(path, rows * width)
        return rows


@contextmanager
def open_shard(table: Path, maker: Provenance, shard: tuple[int, int] = (1, 1)) -> Iterator[ShardWriter]:
    """Yield a writer for a shard of a table, new or begun earlier; the shard is flushed at the end.

    Raises:
        DatasetError: another process is writing to it, or another model made it.
    """
    folder = table / f"shard-{shard[0]:04d}-of-{shard[1]:04d}"
    try:
        if (found := first_irregular(folder)) is not None:
            raise DatasetError(f"{found}: is no plain file, so nothing is written there; remove it")
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            _check_siblings(table, shard[1])
            _check_maker(folder, maker)
            writer = ShardWriter(folder, maker)
            try:
                yield writer
            finally:
                writer.flush()
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written ({error.strerror})") from error


def _check_siblings(table: Path, count: int) -> None:
    others = {path.name.rpartition("-of-")[2] for path in table.glob("shard-*-of-*")}
    if others - {f"{count:04d}"}:
        raise DatasetError(f"{table}: has shards of another number ({', '.join(sorted(others))}); use another folder")


def _check_maker(folder: Path, maker: Provenance) -> None:
    path = folder / META
    if not path.exists():
        write_json(path, maker.as_dict(), indent=None, sort_keys=True)
    elif _read_maker(folder) != maker:
        stored = _read_maker(folder)
        raise DatasetError(
            f"{folder}: was made by {stored.model} {stored.sha256[:12]} {dict(stored.settings)}; use another"
        )


def _read_maker(folder: Path) -> Provenance:
    try:
        if (found := first_irregular(folder)) is not None:
            raise ValueError(f"{found.name} is no plain file")
        fields = json.loads((folder / META).read_text("utf-8"))
        maker = Provenance(**{**fields, "settings": tuple(sorted(fields["settings"].items()))})
        _check_provenance(maker)
        return maker
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{folder / META}: is not the description of a shard ({error})") from error


def _check_provenance(maker: Provenance) -> None:
    """Raise ValueError unless a provenance has the types and ranges that Veduta writes."""
    texts = all(type(text) is str for text in (maker.model, maker.sha256, *(name for name, _ in maker.settings)))
    if not texts or any(type(value) not in (int, bool) for _, value in maker.settings):
        raise ValueError("model, sha256 or settings are damaged")
    if type(maker.dim) is not int or not 1 <= maker.dim <= MAX_DIM or maker.dtype not in TABLE_DTYPES:
        raise ValueError("dim or dtype is out of range")


def _check_ids(folder: Path, ids: npt.NDArray[np.bytes_]) -> None:
    """Raise DatasetError unless ids (N,) are ASCII."""
    if len(ids) and ids.view(np.uint8).max() > 127:
        raise DatasetError(f"{folder / IDS}: is damaged; embed again into a new folder")


def _read_bad(path: Path) -> dict[str, str]:
    """Return photo id -> reason, cutting off a line that was not finished."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))
    try:
        rows = list(csv.reader(whole.decode("utf-8").splitlines()))
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{path}: is damaged ({error}); remove it") from error
    return {row[0]: row[1] for row in rows if len(row) == 2 and row[0].isascii()}


@dataclass(frozen=True, eq=False)
class DescriptorTable:
    """All descriptors of a split, memory-mapped.

    Attributes:
        maker: what made them.
        ids: (N,) photo ids as bytes.
        blocks: arrays (n, D) whose rows together are the N rows, in the order of `ids`; not read until used.
        bad: photo id -> why it has no descriptor.
    """

    maker: Provenance
    ids: npt.NDArray[np.bytes_]
    blocks: tuple[npt.NDArray[Any], ...]
    bad: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def open(cls, path: Path) -> DescriptorTable:
        """Return the table in a folder; DatasetError if there is none or its shards do not belong together."""
        folders = sorted(path.glob("shard-*-of-*"))
        if not folders:
            raise DatasetError(f"{path}: is not a table of descriptors (no shards in it)")
        makers = {folder: _read_maker(folder) for folder in folders}
        if len(set(makers.values())) > 1:
            raise DatasetError(f"{path}: its shards were made by different models; embed again into a new folder")
        maker = makers[folders[0]]
        parts = [_map_shard(folder, maker) for folder in folders]
        ids = parts[0][0] if len(parts) == 1 else np.concatenate([part[0] for part in parts])
        present = set(ids.tolist())
        bad = {
            id: reason
            for folder in folders
            for id, reason in _read_bad(folder / BAD).items()
            if id.encode("ascii") not in present
        }
        return cls(maker, ids, tuple(part[1] for part in parts if len(part[0])), bad)

    def order(self, photo_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return (n,) the row of each id, -1 for ids without one."""
        wanted_ids = np.array(photo_ids, f"S{ID_BYTES}")
        sorter = np.argsort(self.ids, kind="stable")
        place = np.searchsorted(self.ids, wanted_ids, sorter=sorter)
        rows = sorter[np.minimum(place, len(self.ids) - 1)] if len(self.ids) else np.zeros(len(photo_ids), np.int64)
        matching = self.ids[rows] == wanted_ids if len(self.ids) else np.zeros(len(photo_ids), bool)
        return np.where(matching, rows, -1).astype(np.int64)

    def rows(self, numbers: npt.NDArray[np.int64]) -> Float32:
        """Return the (n, D) float32 descriptors of these rows, with norm 1."""
        result = np.empty((len(numbers), self.maker.dim), np.float32)
        start = 0
        for block in self.blocks:
            in_block = (numbers >= start) & (numbers < start + len(block))
            result[in_block] = block[numbers[in_block] - start]
            start += len(block)
        return np.asarray(result / np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-12), np.float32)


def _map_shard(folder: Path, maker: Provenance) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[Any]]:
    """Return the ids and the mapped rows that are whole, without changing the files: they may be being written."""
    dtype = np.dtype(TABLE_DTYPES[maker.dtype])
    sizes = [(folder / name).stat().st_size if (folder / name).exists() else 0 for name in (IDS, DESCRIPTORS)]
    rows = min(sizes[0] // ID_BYTES, sizes[1] // (maker.dim * dtype.itemsize))
    if not rows:
        return np.zeros(0, f"S{ID_BYTES}"), np.zeros((0, maker.dim), dtype)
    ids = np.fromfile(folder / IDS, f"S{ID_BYTES}", rows)
    _check_ids(folder, ids)
    return ids, np.memmap(folder / DESCRIPTORS, dtype, "r", shape=(rows, maker.dim))


def write_table(path: Path, maker: Provenance, ids: Iterable[str], descriptors: Iterable[Float32]) -> int:
    """Write descriptors made elsewhere as a table of one shard and return how many were new."""
    with open_shard(path, maker) as writer:
        before = len(writer.done)
        for i, (id, row) in enumerate(zip(ids, descriptors, strict=True)):
            if id not in writer.done:
                writer.put(id, np.asarray(row, np.float32))
            if i % 4096 == 0:
                writer.flush()
        return len(writer.done) - before
