"""Descriptors of a split in bulk, and descriptors imported from elsewhere."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from veduta.competition.descriptor_table import (
    DescriptorTable,
    Provenance,
    open_shard,
    parse_shard,
    shard_of,
    write_table,
)
from veduta.concurrency import in_order
from veduta.datasets.layout import PhotoFolder, split_folder
from veduta.datasets.pth import read_pth
from veduta.embedders import DEFAULT_EMBEDDER, make_embedder
from veduta.errors import DatasetError, ImageError
from veduta.images import load
from veduta.progress import Progress
from veduta.protocols import Embedder
from veduta.types import Failure, Float32

FLUSH_SECONDS = 2.0  # the most work a killed run does again


@dataclass(frozen=True)
class EmbedReport:
    """The outcome of embedding a split, or a shard of one.

    Attributes:
        table: the folder of the table.
        photos: how many there are in this shard.
        new: how many descriptors were added now.
        bad: photo id -> why it has none.
    """

    table: str
    photos: int
    new: int
    bad: dict[str, str]


def embed_split(
    data: Path,
    out: Path,
    split: str = "train",
    shard: str = "1/1",
    embedder: str = DEFAULT_EMBEDDER,
    provider: str = "cpu",
    progress: Progress | None = None,
) -> EmbedReport:
    """Add the descriptors of a split's photos to a table, going on where an earlier run stopped.

    Args:
        data: the data set's folder.
        out: the table's folder.
        split: folder of the photos below `data`: train, test, index.
        shard: ``i/N``: only the photos that fall to the i-th of N workers.
        embedder: name of the model, or the folder of a trained one.
        provider: execution provider.
        progress: called with photos done and photos in all.

    Raises:
        DatasetError: there are no photos, or the table was made by another model or is being written to.
    """
    number, count = parse_shard(shard)
    folder = split_folder(data, split)
    ids = [id for id in folder.ids() if shard_of(id, count) == number - 1]
    model = make_embedder(embedder, provider=provider)
    with open_shard(out, maker_of(model), (number, count)) as writer:
        todo = [id for id in ids if id not in writer.done]  # those that could not be read are tried again
        present, flushed = len(ids) - len(todo), time.monotonic()
        for done, (id, result) in enumerate(in_order(lambda id: embed_one(model, folder, id), todo), present + 1):
            if isinstance(result, Failure):
                writer.put_bad(result)
            else:
                writer.put(id, result)
            if time.monotonic() - flushed > FLUSH_SECONDS:
                writer.flush()
                flushed = time.monotonic()
            if progress:
                progress(done, len(ids))
        bad = {id: reason for id, reason in writer.bad.items() if id not in writer.done}
        return EmbedReport(str(out), len(ids), sum(id in writer.done for id in todo), bad)


def maker_of(model: Embedder, dtype: str = "float16") -> Provenance:
    """Return the provenance that a table records of an embedder."""
    return Provenance(model.name, model.sha256, model.dim, dtype, tuple(sorted(model.settings.items())))


def embed_one(model: Embedder, folder: PhotoFolder, id: str) -> Float32 | Failure:
    """Return the (D,) descriptor of one photo, or the reason why there is none."""
    try:
        return np.asarray(model.embed([load(folder.path(id))])[0], np.float32)
    except ImageError as error:
        return Failure.of(id, error)


def import_npy(descriptors: Path, ids: Path, out: Path, name: str) -> DescriptorTable:
    """Return a new table of descriptors made elsewhere: an ``.npy`` of (N, D) and a text file of N ids, one a line.

    Rows are given norm 1.

    Raises:
        DatasetError: the two do not fit, or are not what they should be.
    """
    try:
        matrix = np.load(descriptors, mmap_mode="r", allow_pickle=False)
        names = ids.read_text("ascii").split()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{descriptors} with {ids}: cannot be read ({error})") from error
    if matrix.ndim != 2 or len(matrix) != len(names) or matrix.dtype.kind != "f":
        shape = f"{matrix.shape} of {matrix.dtype} and {len(names)} ids"
        raise DatasetError(f"{descriptors}: expected (N, D) floats and as many ids in {ids}, got {shape}")
    maker = Provenance(name, _digest(descriptors, ids), matrix.shape[1])
    return _import(out, maker, list(names), (matrix[i] for i in range(len(matrix))))


def import_pth(path: Path, out: Path, name: str) -> DescriptorTable:
    """Return a new table of the descriptors in a ``.pth`` dictionary of photo id -> vector, as the notebook has them.

    Nothing in the file is executed: see `veduta.datasets.pth`.
    """
    descriptors = read_pth(path)
    if not descriptors or len({len(row) for row in descriptors.values()}) != 1:
        raise DatasetError(f"{path}: expected a dictionary of photo id -> vectors of one length")
    maker = Provenance(name, _digest(path), len(next(iter(descriptors.values()))))
    return _import(out, maker, list(descriptors), iter(descriptors.values()))


def _digest(*paths: Path) -> str:
    """Return the sha256 of some files' contents: what an imported table is known by, as a model's is by its file."""
    state = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()


def _import(out: Path, maker: Provenance, ids: list[str], rows: Iterator[Float32]) -> DescriptorTable:
    def unit() -> Iterator[Float32]:
        for id, row in zip(ids, rows, strict=True):
            norm = float(np.linalg.norm(np.asarray(row, np.float32)))
            if not np.isfinite(norm) or norm == 0:
                raise DatasetError(f"{maker.model}: the descriptor of {id} is not a direction (norm {norm})")
            yield np.asarray(row, np.float32) / np.float32(norm)

    write_table(out, maker, ids, unit())
    return DescriptorTable.open(out)
