"""The contents of a data set: counts, the long tail, photos missing or damaged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veduta.competition.submissions import read_submission
from veduta.concurrency import in_order
from veduta.datasets.gldv2 import Labels, Solution, read_recognition_solution, read_train
from veduta.datasets.layout import SAMPLE_SUBMISSION, SOLUTION, TRAIN, PhotoFolder, find_file, split_folder
from veduta.errors import DatasetError, ImageError
from veduta.images import load
from veduta.progress import Progress
from veduta.types import Failure

SPLITS = ("train", "test", "index")
EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # the histogram's classes end here


@dataclass(frozen=True)
class SplitReport:
    """The photos of one split.

    Attributes:
        split: its name.
        photos: how many lie in its folder.
        listed: how many its table names; None without a table.
        missing: ids that the table names and the folder lacks.
        unlisted: how many lie in the folder and are in no table.
        bad: photos that cannot be read, each with its reason.
        strays: photos that lie where no id leads, each with the places expected.
    """

    split: str
    photos: int
    listed: int | None
    missing: tuple[str, ...]
    unlisted: int
    bad: tuple[Failure, ...]
    strays: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the split as a JSON object."""
        facts = asdict(self)
        for name in ("bad", "strays"):
            facts[name] = [failure.to_dict() for failure in getattr(self, name)]
        return facts


@dataclass(frozen=True)
class Inspection:
    """The result of `inspect_data`.

    Attributes:
        landmarks: how many train.csv names.
        photos_per_landmark: smallest, median and largest number.
        histogram: (at most n photos, landmarks with that many) for n = 1, 2, 5, 10, ...
        share_ten_or_fewer: of the landmarks.
        splits: what is in each folder.
        test_landmark_photos: test photos that show a landmark, by the solution; None without one.
        usage: photos by Public, Private, Ignored; empty without a solution.
    """

    landmarks: int
    photos_per_landmark: tuple[int, float, int]
    histogram: tuple[tuple[str, int], ...]
    share_ten_or_fewer: float
    splits: tuple[SplitReport, ...]
    test_landmark_photos: int | None
    usage: dict[str, int]


def inspect_data(data: Path, decode: bool = True, progress: Progress | None = None) -> Inspection:  # noqa: FBT001, FBT002
    """Return the contents of a data set's folder.

    Args:
        data: the folder.
        decode: read every photo, to find those that are damaged; without, only look whether they are there.
        progress: called with photos done and photos in all.

    Raises:
        DatasetError: a table is malformed.
    """
    if not data.is_dir():
        raise DatasetError(f"{data}: is not a folder; expected a data set's, with train.csv and photos below train")
    train = find_file(data, *TRAIN)
    labels = read_train(train) if train else None
    solution_file = find_file(data, *SOLUTION)
    solution = read_recognition_solution(solution_file) if solution_file else None
    sample = find_file(data, *SAMPLE_SUBMISSION)
    tables: dict[str, list[str] | None] = {
        "train": [id.decode("ascii") for id in labels.ids.tolist()] if labels else None,
        "test": list(solution.truth) if solution else read_submission(sample)[0] if sample else None,
        "index": None,
    }
    folders = {split: split_folder(data, split) for split in SPLITS if (data / split).is_dir()}
    if labels is None and not folders:
        raise DatasetError(f"{data}: has neither train.csv nor a folder {', '.join(SPLITS)}; is it a data set's?")
    present = {split: list(folder.ids()) for split, folder in folders.items()}
    bad = _damaged(folders, present, progress) if decode else {}
    reports = [_split(split, folders[split], present[split], tables[split], bad.get(split, [])) for split in folders]
    return _inspection(labels, solution, tuple(reports))


def _split(
    split: str, folder: PhotoFolder, present: list[str], listed: list[str] | None, bad: list[Failure]
) -> SplitReport:
    present_ids, named = set(present), set(listed or ())
    missing = tuple(sorted(named - present_ids))
    unlisted = len(present_ids - named) if listed is not None else 0
    strays = tuple(
        Failure(str(path), f"{path}: lies where no id leads; expected {folder.expected}", "unsorted")
        for path in folder.strays()
    )
    count = None if listed is None else len(listed)
    return SplitReport(split, len(present), count, missing, unlisted, tuple(bad), strays)


def _damaged(
    folders: dict[str, PhotoFolder], present: dict[str, list[str]], progress: Progress | None
) -> dict[str, list[Failure]]:
    """Return the photos of each split that cannot be decoded; small pictures are enough to find out."""
    todo: Iterable[tuple[str, str]] = [(split, id) for split, ids in present.items() for id in ids]
    total = sum(map(len, present.values()))

    def work(item: tuple[str, str]) -> Failure | None:
        path = folders[item[0]].path(item[1])
        try:
            load(path, max_side=64)
        except ImageError as error:
            return Failure.of(str(path), error)
        return None

    failures: dict[str, list[Failure]] = {}
    for done, ((split, _), failure) in enumerate(in_order(work, todo), 1):
        if failure:
            failures.setdefault(split, []).append(failure)
        if progress:
            progress(done, total)
    return failures


def _inspection(labels: Labels | None, solution: Solution | None, splits: tuple[SplitReport, ...]) -> Inspection:
    counts = labels.counts() if labels is not None and len(labels) else np.zeros(0, np.int64)
    usage: dict[str, int] = {}
    for part in solution.usage.values() if solution else ():
        usage[part] = usage.get(part, 0) + 1
    return Inspection(
        landmarks=len(counts),
        photos_per_landmark=(int(counts.min()), float(np.median(counts)), int(counts.max()))
        if len(counts)
        else (0, 0, 0),
        histogram=_histogram(counts),
        share_ten_or_fewer=float((counts <= 10).mean()) if len(counts) else 0.0,
        splits=splits,
        test_landmark_photos=sum(bool(right) for right in solution.truth.values()) if solution else None,
        usage=usage,
    )


def _histogram(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[tuple[str, int], ...]:
    """Return the number of landmarks by their number of photos."""
    classes, low = [], 1
    for high in EDGES:
        name = str(high) if low == high else f"{low}-{high}"
        classes.append((name, int(((counts >= low) & (counts <= high)).sum())))
        low = high + 1
    return (*classes, (f"over {EDGES[-1]}", int((counts > EDGES[-1]).sum())))
