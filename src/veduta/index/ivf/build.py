"""Building an approximate index: rows written, centers learned, codes made in parts, and how far to look measured.

Every step leaves files that say how far it came, so a build that was killed goes on; and needs memory for a part only.
"""

from __future__ import annotations

import copy
import os
import shutil
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from veduta.index.brute_force import search_blocks
from veduta.index.ivf.index import FEW, BaseIndex, Selection
from veduta.index.ivf.inverted_file import NUM_NEAREST, SPREAD, InvertedFile, train_inverted_file
from veduta.index.ivf.lists_file import read_array
from veduta.index.ivf.manifest import AXES, LISTS, STEPS, Manifest
from veduta.index.ivf.vectors import CODES, IDS, NORMS, ROWS, DescriptorSource, RowFiles, append_rows
from veduta.progress import ShareProgress
from veduta.types import Int64

CODE = 256  # most components of a code: longer descriptors are turned, and their weakest axes left out
TRAINING_SAMPLE = 40  # descriptors a center is learned from
ITERATIONS = 8
PART = 250_000  # rows encoded at a time
SAVED = 1_000_000  # rows after which what is encoded is kept, so that a killed build does no more than that again
MEASURED_QUERIES = 512  # rows that the probe margin is measured with; half to choose by, half to say what it is worth
CANDIDATE_FACTORS = (4, 8, 16, 32, 64, 128)
RESCORE_FACTORS = (2, 4, 8, 16, 32)
PROBE_MARGINS = tuple(float(x) for x in np.round(np.arange(0.0, 12.01, 0.05), 2))
MIN_LISTS = 256  # descriptors that codes are learned from; fewer are repeated
GROWTH = 2  # centers learned from this many times fewer descriptors still serve
TRAINED = "trained.faiss"


def build(
    folder: Path,
    dim: int,
    source: DescriptorSource,
    recall: float = 0.99,
    *,
    origin: dict[str, Any] | None = None,
    earlier: Path | None = None,
    progress: ShareProgress = lambda what, share: None,
) -> Manifest:
    """Build an approximate index in a folder, resuming an earlier call that was killed; return its manifest.

    Args:
        folder: where it is to be, an empty folder.
        dim: length D of a descriptor.
        source: the descriptors, called with an id to yield what is past it.
        recall: share of the 30 nearest that a search is to find, in (0, 1]; 1 looks at everything.
        origin: what its maker wants to know of it again.
        earlier: an index that this is to extend: its rows, centers and codes are taken over, `source` adds to them.
        progress: called with what is being done and the share of it that is.

    Raises:
        ValueError: the recall is not a share, or the ids do not rise.
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall: expected a share in (0, 1], got {recall}")
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    before = None if earlier is None else _take_over(earlier, folder)
    held = RowFiles(earlier, dim) if earlier is not None else None
    progress("reading", 0.0)
    append_rows(folder, len(held.blocks) if held else 0, source, dim, int(held.ids[-1]) if held and len(held) else -1)
    rows = RowFiles(folder, dim)
    rows.check()
    trained = _train(folder, rows, progress)
    _encode(folder, rows, trained, len(held) if held else 0, progress)
    manifest = Manifest(
        dim=dim,
        code=trained.index.d,
        count=len(rows),
        lists=len(trained),
        probe_margin=None,
        candidate_factor=max(CANDIDATE_FACTORS),
        rescore_factor=max(RESCORE_FACTORS),
        recall=recall,
        measured=1.0,
        queries=0,
        trained=before.trained if before else len(rows),
        seconds=0.0,
        source=origin or {},
    )
    manifest = _tune(folder, manifest, progress)
    (folder / TRAINED).unlink()
    manifest = replace(manifest, seconds=round(time.monotonic() - start, 1))
    manifest.write(folder)
    progress("done", 1.0)
    return manifest


def can_extend(earlier: Manifest, count: int) -> bool:
    """Return whether an index's centers serve for `count` descriptors too."""
    return earlier.trained > 0 and count <= GROWTH * earlier.trained


def lists_for(count: int) -> int:
    """Return how many lists so many descriptors are dealt to: a power of two near four times their root."""
    if count < 2 * TRAINING_SAMPLE:
        return 1
    return int(min(2 ** round(np.log2(4 * np.sqrt(count))), count // TRAINING_SAMPLE))


def _take_over(earlier: Path, folder: Path) -> Manifest:
    """Link or copy what never changes of an index into the folder of the next."""
    manifest = Manifest.read(earlier)
    for file in earlier.iterdir():
        target = folder / file.name
        lasts = file.name.partition("-")[0] in (ROWS, NORMS, IDS, CODES) or file.name in (AXES, SPREAD, STEPS)
        if lasts and not target.exists():
            try:
                os.link(file, target)
            except OSError:  # another disk, or one without links
                shutil.copyfile(file, target)
    if not (folder / TRAINED).exists():
        shutil.copyfile(earlier / LISTS, folder / f".{TRAINED}")
        (folder / f".{TRAINED}").replace(folder / TRAINED)
    return manifest


def _train(folder: Path, rows: RowFiles, progress: ShareProgress) -> InvertedFile:
    """Return the inverted file to go on with, learned from a sample where there is none yet."""
    if (folder / TRAINED).exists():
        return InvertedFile.read(folder / TRAINED)
    progress("learning centers", 0.0)
    lists = lists_for(len(rows))
    size = min(len(rows), max(TRAINING_SAMPLE * lists, 4 * rows.dim))
    chosen = np.sort(np.random.default_rng(0).choice(len(rows), size, replace=False))
    sample = rows.take(chosen) if size else np.zeros((1, rows.dim), np.float32)
    if rows.dim > CODE:
        _, axes = np.linalg.eigh(sample.T @ sample)
        strongest = np.ascontiguousarray(axes[:, ::-1][:, :CODE], np.float32)
        np.save(folder / AXES, strongest)
        sample = sample @ strongest
    low, high = sample.min(0), sample.max(0)
    np.save(folder / STEPS, np.stack([low, np.maximum(high - low, 1e-6) / 255]).astype(np.float32))
    trained = train_inverted_file(
        np.resize(sample, (max(len(sample), MIN_LISTS), sample.shape[1])), lists, ITERATIONS, TRAINING_SAMPLE
    )
    trained.write(folder / TRAINED)
    return trained


def _encode(folder: Path, rows: RowFiles, lists: InvertedFile, first: int, progress: ShareProgress) -> None:
    """Write both codes of the rows past `first`, going on where an earlier call was killed."""
    segment = len(rows.blocks) - 1
    path, width = folder / f"{CODES}-{segment}", lists.index.d
    axes = read_array(folder / AXES, rows.dim, width) if (folder / AXES).exists() else None
    low, step = read_array(folder / STEPS, 2, width)
    path.touch()
    os.truncate(path, (lists.count - first) * width)  # what the inverted file has not kept is made again
    saved = lists.count
    with path.open("ab") as file:
        for start in range(lists.count, len(rows), PART):
            progress("encoding", (start - first) / (len(rows) - first))
            piece = rows.take(np.arange(start, min(start + PART, len(rows))))
            piece = piece if axes is None else piece @ axes
            lists.add(piece)
            np.clip(np.rint((piece - low) / step), 0, 255).astype(np.uint8).tofile(file)
            if lists.count - saved >= SAVED:
                file.flush()
                os.fsync(file.fileno())
                lists.write(folder / TRAINED)
                saved = lists.count
        file.flush()
        os.fsync(file.fileno())
    lists.write(folder / LISTS)


# --- how far to look -----------------------------------------------------------------------------------------------


def _tune(folder: Path, manifest: Manifest, progress: ShareProgress) -> Manifest:
    """Return the manifest with the least work that finds what is to be found."""
    if manifest.recall == 1 or manifest.count <= FEW:  # compared one by one
        return manifest
    progress("measuring recall", 0.0)
    base = BaseIndex(folder, manifest)
    chosen = np.random.default_rng(1).choice(manifest.count, min(MEASURED_QUERIES, manifest.count), replace=False)
    trial = _Trial(base, chosen, _truth(base.rows, chosen))
    half, rest = slice(len(chosen) // 2), slice(len(chosen) // 2, None)
    # Each of the first two choices may cost a tenth of what may be missed; the probe margin has the rest.
    allowance = (1 - manifest.recall) / 10
    trial = trial.least("rescore_factor", RESCORE_FACTORS, half, trial.recall(half) - allowance)
    trial = trial.least("candidate_factor", CANDIDATE_FACTORS, half, trial.recall(half) - allowance)
    progress("measuring recall", 0.5)
    trial = trial.least("probe_margin", PROBE_MARGINS, half, manifest.recall)
    return replace(trial.base.manifest, measured=round(trial.recall(rest), 4), queries=len(chosen[rest]))


class _Trial:
    """An index queried with a sample of its rows, whose true neighbors are known.

    Args:
        base: the index.
        chosen: (n,) positions of the rows.
        truth: the positions of the nearest of each, but for itself.
    """

    def __init__(self, base: BaseIndex, chosen: Int64, truth: list[set[int]]) -> None:
        self.base, self._chosen, self._truth = base, chosen, truth
        self._queries, self._all = base.rows.take(chosen), Selection(len(base.rows))

    def with_(self, **changes: Any) -> _Trial:
        """Return one of the same rows with other settings."""
        other = copy.copy(self)
        other.base = copy.copy(self.base)
        other.base.manifest = replace(self.base.manifest, **changes)
        return other

    def recall(self, which: slice) -> float:
        """Return the share of the true neighbors that is found, of some of the rows."""
        shares = []
        for own, query, expected in zip(self._chosen[which], self._queries[which], self._truth[which], strict=True):
            nearest = self.base.nearest(query, NUM_NEAREST + 1, self._all, NUM_NEAREST + 1)[1].tolist()
            shares.append(len(expected & set([i for i in nearest if i != own][:NUM_NEAREST])) / len(expected))
        return float(np.mean(shares))

    def least(self, field: str, values: Sequence[float], which: slice, enough: float) -> _Trial:
        """Return the one with the least of rising values of a setting that finds enough; else with the last of them."""
        place = bisect_left(values, True, hi=len(values) - 1, key=lambda v: self._finds(which, enough, {field: v}))  # noqa: FBT003
        return self.with_(**{field: values[place]})

    def _finds(self, which: slice, enough: float, changes: dict[str, Any]) -> bool:
        return self.with_(**changes).recall(which) >= enough


def _truth(rows: RowFiles, chosen: Int64) -> list[set[int]]:
    """Return the positions of the nearest of each of these rows, but for itself."""
    nearest = search_blocks(rows.blocks, rows.take(chosen), NUM_NEAREST + 1)[1]
    pairs = zip(nearest.tolist(), chosen.tolist(), strict=True)
    return [set([i for i in near if i != own][:NUM_NEAREST]) for near, own in pairs]
