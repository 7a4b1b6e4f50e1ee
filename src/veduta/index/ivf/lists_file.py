"""The file of an inverted file, checked before and after faiss reads it: faiss believes sizes and positions there."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss as stubbed
import numpy as np
import numpy.typing as npt

from veduta.errors import GalleryError
from veduta.types import Int64

faiss: Any = stubbed  # whose stubs know what C++ takes, not what its Python wrappers take
KIND, CENTERS_KIND, LISTS_KIND = b"IwPf", b"IxFI", b"ilbl"
HEAD = struct.Struct("<4siq")  # kind, components and descriptors, as every index of faiss begins
NUM_LISTS, CENTERS = 37, 53  # where the number of lists is, and where the centers begin
VECTOR = struct.Struct("<Q")  # length of what follows
LISTS = struct.Struct("<4sQQQQ")  # kind, lists, bytes a code, codes a block, bytes a block
BLOCK = 32  # codes compared at once
CENTROIDS = 16  # of codes of four bits
MAX_LISTS = 2**24


def read_array(path: Path, *shape: int | None) -> npt.NDArray[Any]:
    """Return the finite numbers in a file of numpy's; GalleryError unless they have this shape, None for any length."""
    try:
        array = np.load(path, allow_pickle=False)
        fits = array.ndim == len(shape) and all(n in (m, None) for n, m in zip(shape, array.shape, strict=True))
        if not fits or array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError("it does not hold the numbers expected")
        return np.asarray(array)
    except Exception as error:  # numpy raises many kinds for what is damaged
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise GalleryError(f"{path}: cannot be read ({reason}); build the index again") from error


def read_lists(path: Path) -> Any:
    """Return the index in a file that `write_index` made; GalleryError for any other file."""
    try:
        positions = _checked(path)
        index = faiss.read_index(str(path))
        if not _is_ours(index, len(positions)):
            raise ValueError("it is another kind of index")
        if not np.array_equal(np.sort(positions), np.arange(len(positions))):
            raise ValueError("its positions are not those of its descriptors")
        return index
    except (OSError, ValueError, struct.error, RuntimeError, MemoryError, IndexError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise GalleryError(f"{path}: cannot be read ({reason}); build the index again") from error


def _checked(path: Path) -> Int64:
    """Return all positions in a file's lists (N,), each size being what the sizes before make it."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        kind, dim, count = HEAD.unpack_from(data)
        (lists,) = VECTOR.unpack_from(data, NUM_LISTS)
        if kind != KIND or not 0 < dim <= 65_536 or not 0 < lists <= MAX_LISTS or not 0 <= count <= len(data):
            raise ValueError("it is another kind of index")
        centers = HEAD.unpack_from(data, CENTERS)
        tail = 172 + 4 * dim * (lists + CENTROIDS)  # behind centers, centroids and 172 bytes of settings
        sizes = VECTOR.unpack_from(data, CENTERS + 37)[0], VECTOR.unpack_from(data, tail - 4 * CENTROIDS * dim - 8)[0]
        if centers != (CENTERS_KIND, dim, lists) or sizes != (lists * dim, CENTROIDS * dim):
            raise ValueError("its centers are cut or too many")
        parts = list(_lists(data, tail, lists, -(-(dim // 2 if dim % 2 == 0 else dim) // 2) * BLOCK))
        positions = np.concatenate(parts)
    if len(positions) != count:
        raise ValueError(f"it holds {len(positions)} of {count} descriptors")
    return positions


def _lists(data: mmap.mmap, place: int, lists: int, block: int) -> Iterator[Int64]:
    """Yield the positions of each list (n,)."""
    kind, number, _, codes, size = LISTS.unpack_from(data, place)
    if (kind, number, codes, size) != (LISTS_KIND, lists, BLOCK, block):
        raise ValueError("its lists are of another kind")
    place += LISTS.size
    for _ in range(lists):
        (members,) = VECTOR.unpack_from(data, place)
        if members > len(data):
            raise ValueError("a list is cut")
        yield np.frombuffer(data[place + 8 : place + 8 + 8 * members], np.int64)
        place += 8 + 8 * members
        (stored,) = VECTOR.unpack_from(data, place)
        if stored != -(-members // BLOCK) * block:
            raise ValueError("a list has codes that are not of its members")
        place += 8 + stored
    if place != len(data):
        raise ValueError("it is cut or too long")


def _is_ours(index: Any, count: int) -> bool:
    """Return whether an index has the settings that one trained here has."""
    if not isinstance(index, faiss.IndexIVFPQFastScan):
        return False
    dim, pq, centers = index.d, index.pq, faiss.downcast_index(index.quantizer)
    parts = dim // 2 if dim % 2 == 0 else dim
    same = (
        (index.ntotal, index.is_trained, index.metric_type) == (count, True, faiss.METRIC_INNER_PRODUCT),
        (pq.d, pq.M, pq.nbits, pq.centroids.size()) == (dim, parts, 4, CENTROIDS * dim),
        (index.M, index.M2, index.nbits, index.bbs) == (parts, -(-parts // 2) * 2, 4, BLOCK),
        (index.by_residual, index.implem, index.qbs2, index.direct_map.type) == (True, 0, 0, 0),
        isinstance(centers, faiss.IndexFlatIP),
        (centers.d, centers.ntotal, centers.codes.size()) == (dim, index.nlist, 4 * dim * index.nlist),
    )
    return all(same)
