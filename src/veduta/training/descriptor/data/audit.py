"""A look at every photo before training starts: which cannot be read, which are nearly the same, which leak.

Near-duplicates are found by `images.hashing.perceptual_hash`: resizing, mild cropping and JPEG change few of its bits;
two photos of one place taken apart differ in about half.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from veduta.concurrency import in_order
from veduta.errors import ImageError
from veduta.files import write_json
from veduta.images import load
from veduta.images.hashing import perceptual_hash
from veduta.progress import Progress
from veduta.training.descriptor.data.dataset import NON_LANDMARK, Dataset
from veduta.types import Bool, Failure, UInt8

DECODED_SIDE = 128  # pixels of the longer side: four times that of the picture that is hashed
WITHIN = 5  # bits of 64 that may differ
BANDS = 4
HASHES_PER_CHUNK = 4096


@dataclass(frozen=True)
class NearDuplicate:
    """Two photos that are nearly the same.

    Attributes:
        kind: ``same`` landmark, ``conflict`` of two landmarks (or of one and none), or ``leak`` into the test set.
        photo: one of the training set.
        other: the other, of the training set or of the test set.
        bits: of the hash that differ.
    """

    kind: str
    photo: str
    other: str
    bits: int


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of auditing a data set.

    Attributes:
        readable: (N,) whether each photo of the data set can be read.
        failures: those that cannot, with the reason.
        pairs: near-duplicates.
    """

    readable: Bool
    failures: tuple[Failure, ...]
    pairs: tuple[NearDuplicate, ...]

    def count(self, kind: str) -> int:
        """Return how many photos of the data set are in a pair of this kind."""
        return len({pair.photo for pair in self.pairs if pair.kind == kind})


def audit_dataset(dataset: Dataset, progress: Progress | None = None) -> Audit:
    """Return the unreadable photos and near-duplicates of a data set.

    Args:
        dataset: the photos, and those of the test set.
        progress: called with photos done and photos in all.
    """
    paths = (*dataset.photos, *dataset.others)
    hashes, failures = _hashes(paths, progress)
    readable = np.array([row is not None for row in hashes], bool)
    numbers = np.flatnonzero(readable)
    duplicates = near(np.array([row for row in hashes if row is not None], np.uint8).reshape(-1, 8))
    pairs = [_pair(dataset, paths, int(numbers[a]), int(numbers[b]), bits) for a, b, bits in duplicates]
    return Audit(readable[: len(dataset)], tuple(failures), tuple(pair for pair in pairs if pair is not None))


def load_or_audit(path: Path, dataset: Dataset, progress: Progress | None = None) -> Audit:
    """Return an audit from a file, or make one and store that: a resumed run need not repeat the audit."""
    if path.exists():
        try:
            stored = json.loads(path.read_text("utf-8", errors="surrogateescape"))
            if stored["photos"] == dataset.digest():
                failures = tuple(Failure(**row) for row in stored["failures"])
                pairs = tuple(NearDuplicate(**row) for row in stored["pairs"])
                _check_stored(failures, pairs)
                gone = {failure.photo for failure in failures}
                readable = np.array([photo not in gone for photo in dataset.photos], bool)
                return Audit(readable, failures, pairs)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # damaged, or written by another version: look again
    audit = audit_dataset(dataset, progress)
    rows = {"failures": [asdict(row) for row in audit.failures], "pairs": [asdict(row) for row in audit.pairs]}
    write_json(path, {"photos": dataset.digest()} | rows, indent=None)
    return audit


def _check_stored(failures: tuple[Failure, ...], pairs: tuple[NearDuplicate, ...]) -> None:
    """Raise ValueError unless a stored audit has the types that one made here has."""
    texts = [text for failure in failures for text in vars(failure).values()]
    texts += [text for pair in pairs for text in (pair.kind, pair.photo, pair.other)]
    if any(type(text) is not str for text in texts) or any(type(pair.bits) is not int for pair in pairs):
        raise ValueError("expected failures and pairs of photos")


def _hashes(paths: Sequence[str], progress: Progress | None) -> tuple[list[UInt8 | None], list[Failure]]:
    def look(path: str) -> UInt8 | Failure:
        try:
            return perceptual_hash(load(path, max_side=DECODED_SIDE).pixels)
        except ImageError as error:
            return Failure.of(path, error)

    hashes: list[UInt8 | None] = []
    failures: list[Failure] = []
    for done, (_, result) in enumerate(in_order(look, paths), 1):
        if isinstance(result, Failure):
            failures.append(result)
        hashes.append(None if isinstance(result, Failure) else result)
        if progress:
            progress(done, len(paths))
    return hashes, failures


def near(hashes: UInt8, within: int = WITHIN) -> list[tuple[int, int, int]]:
    """Return (a, b, bits) with a < b of all pairs of hashes (N, 8) that differ in at most `within` bits, in order.

    Of 64 bits in four bands, one band differs in at most one bit when at most seven differ in all: looking up each band
    and its neighbors finds every pair (multi-index hashing: Norouzi et al., CVPR 2012).

    Raises:
        ValueError: `within` is above 7, which this finds only in part.
    """
    if not 0 <= within <= 7:
        raise ValueError(f"within: expected 0 to 7 bits, got {within}")
    return sorted(_search(hashes, within))


def _search(hashes: UInt8, within: int) -> Iterator[tuple[int, int, int]]:
    import faiss

    index = faiss.IndexBinaryMultiHash(64, BANDS, 16)
    index.nflip = 1
    index.add(hashes)
    for start in range(0, len(hashes), HASHES_PER_CHUNK):
        limits, bits, neighbors = index.range_search(
            hashes[start : start + HASHES_PER_CHUNK], within + 1
        )  # nearer than
        for row, (low, high) in enumerate(zip(limits[:-1].tolist(), limits[1:].tolist(), strict=True), start):
            for other, differing in zip(neighbors[low:high].tolist(), bits[low:high].tolist(), strict=True):
                if row < other:
                    yield row, other, int(differing)


def _pair(dataset: Dataset, paths: Sequence[str], a: int, b: int, bits: int) -> NearDuplicate | None:
    if a >= len(dataset):
        return None  # both in the test set: nothing to us
    if b >= len(dataset):
        return NearDuplicate("leak", paths[a], paths[b], bits)
    own, other = dataset.classes[a], dataset.classes[b]
    if own == other == NON_LANDMARK:
        return None
    return NearDuplicate("same" if own == other else "conflict", paths[a], paths[b], bits)


def shown_in_test(dataset: Dataset, audit: Audit) -> Bool:
    """Return (N,) whether each photo is nearly one of the test set."""
    gone = {pair.photo for pair in audit.pairs if pair.kind == "leak"}
    return np.array([photo in gone for photo in dataset.photos], bool)


def write_pairs(path: Path, audit: Audit) -> None:
    """Write the near-duplicates as a table: kind, photo, other, bits."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file)
        table.writerow(("kind", "photo", "other", "bits"))
        table.writerows((pair.kind, pair.photo, pair.other, pair.bits) for pair in audit.pairs)
