"""Readers for the files of Google Landmarks v2 and of the Kaggle competitions on that data set.

They take what the data set's own reader takes: blank lines are passed over, and numbers of landmarks are numbers.
Every malformed file is a DatasetError with the file, the line and the reason. Large tables are read in one pass into
arrays: the 4.1 million rows of the full train.csv take under 800 MB at the peak.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from veduta.datasets.rows import is_blank, landmark_of, landmark_rows, photo_id, read_rows, reading
from veduta.errors import DatasetError

Ids = npt.NDArray[np.bytes_]
ROWS_PER_CHUNK = 200_000  # rows kept as Python objects before they become arrays
USAGES = ("Public", "Private", "Ignored")


@dataclass(frozen=True, eq=False)
class Labels:
    """Which photo shows which landmark.

    Attributes:
        ids: (N,) photo ids as ASCII bytes, in the order of the file.
        codes: (N,) int32, index into `landmarks`.
        landmarks: landmark ids, in the order in which they first occur.
    """

    ids: Ids
    codes: npt.NDArray[np.int32]
    landmarks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield (photo id, landmark id) in the order of the file."""
        for photo, code in zip(self.ids.tolist(), self.codes.tolist(), strict=True):
            yield photo.decode("ascii"), self.landmarks[code]

    def counts(self) -> npt.NDArray[np.int64]:
        """Return (L,) how many photos each landmark has."""
        return np.bincount(self.codes, minlength=len(self.landmarks))


@dataclass(frozen=True)
class Attribution:
    """The author and license of a photo: training photos are CC BY, and whoever shows one must show this.

    Attributes:
        url: its page.
        author: who took it.
        license: under which terms.
        title: what the author called it.
    """

    url: str
    author: str
    license: str
    title: str


@dataclass(frozen=True)
class Hierarchy:
    """A row of train_label_to_hierarchical.csv.

    Attributes:
        category: URL of the landmark's Wikimedia Commons category.
        supercategory: the kind of thing, by Wikidata.
        hierarchical_label: the kind of thing, of a list of about a hundred.
        natural_or_human_made: ``natural`` or ``human-made``.
    """

    category: str
    supercategory: str
    hierarchical_label: str
    natural_or_human_made: str


@dataclass(frozen=True)
class Solution:
    """The truth of a test set, of recognition (landmark ids) or retrieval (photo ids).

    Attributes:
        truth: photo id -> what is right for it; empty for a photo that shows no landmark.
        usage: photo id -> Public, Private or Ignored.
    """

    truth: Mapping[str, tuple[str, ...]]
    usage: Mapping[str, str]

    def part(self, name: str) -> dict[str, tuple[str, ...]]:
        """Return the truth of one part: ``public``, ``private``, or ``all`` of both; ignored photos are in none."""
        parts = {"public": ("Public",), "private": ("Private",), "all": ("Public", "Private")}
        if name not in parts:
            raise ValueError(f"part: expected one of {', '.join(parts)}, got {name!r}")
        return {photo: right for photo, right in self.truth.items() if self.usage[photo] in parts[name]}


# --- rows -------------------------------------------------------------------------------------------------------


class _Columns:
    """Collects ids and codes chunk by chunk, so that millions of rows never are Python objects all at once."""

    def __init__(self) -> None:
        self.landmarks: dict[str, int] = {}
        self._ids: list[str] = []
        self._codes: list[int] = []
        self._chunks: list[tuple[Ids, npt.NDArray[np.int32]]] = []

    def put(self, id: str, landmark: str) -> None:
        self._ids.append(id)
        self._codes.append(self.landmarks.setdefault(landmark, len(self.landmarks)))
        if len(self._ids) == ROWS_PER_CHUNK:
            self._pack()

    def _pack(self) -> None:
        self._chunks.append((np.array(self._ids, np.bytes_), np.array(self._codes, np.int32)))
        self._ids, self._codes = [], []

    def labels(self) -> Labels:
        self._pack()
        ids = np.concatenate([chunk[0] for chunk in self._chunks])
        return Labels(ids, np.concatenate([chunk[1] for chunk in self._chunks]), tuple(self.landmarks))


def _repeated(ids: Ids) -> int | None:
    """Return the first row whose id has occurred before, or None."""
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
    return int(order[same + 1].min()) if len(same) else None


def _check_unique(path: Path, ids: Ids) -> None:
    """Raise DatasetError for an id that occurs twice, one id standing on each line."""
    row = _repeated(ids)
    if row is not None:
        raise DatasetError(f"{path}, line {_line_of(path, row)}: photo id {ids[row].decode()} occurs twice")


def _line_of(path: Path, row: int) -> int:
    """Return the line of a row, counted from 0 without header and blank lines."""
    with reading(path) as reader:
        lines = (reader.line_num for fields in reader if not is_blank(fields))
        return int(next(itertools.islice(lines, row + 1, None)))


# --- the files, in the order of the data set's page --------------------------------------------------------------


def read_train(path: Path) -> Labels:
    """Return train.csv: Kaggle's ``id,landmark_id`` or the full ``id,url,landmark_id``."""
    columns = _Columns()
    for line, fields in read_rows(path, ("id", "landmark_id"), ("id", "url", "landmark_id")):
        if not fields[-1]:
            raise DatasetError(f"{path}, line {line}: has no landmark_id")
        columns.put(photo_id(path, line, fields[0]), landmark_of(path, line, fields[-1]))
    labels = columns.labels()
    _check_unique(path, labels.ids)
    return labels


def read_clean(path: Path) -> Labels:
    """Return train_clean.csv, ``landmark_id,images`` with the ids of its photos separated by spaces."""
    columns = _Columns()
    for line, (text, images) in read_rows(path, ("landmark_id", "images")):
        landmark = landmark_of(path, line, text)
        for id in images.split():
            columns.put(photo_id(path, line, id), landmark)
    labels = columns.labels()
    row = _repeated(labels.ids)
    if row is not None:
        raise DatasetError(f"{path}: photo id {labels.ids[row].decode()} occurs twice")
    return labels


def read_ids(path: Path) -> Ids:
    """Return the photo ids of index.csv or test.csv, (N,) bytes."""
    columns = _Columns()
    for line, (id,) in read_rows(path, ("id",)):
        columns.put(photo_id(path, line, id), "")
    ids = columns.labels().ids
    _check_unique(path, ids)
    return ids


def read_attribution(path: Path, photo_ids: Collection[str] | None = None) -> dict[str, Attribution]:
    """Return train_attribution.csv by photo id; only of the photos wanted, for all four million take gigabytes."""
    header = ("id", "url", "author", "license", "title")
    return {
        fields[0]: Attribution(*fields[1:])
        for _, fields in read_rows(path, header)
        if photo_ids is None or fields[0] in photo_ids
    }


def read_categories(path: Path) -> dict[str, str]:
    """Return train_label_to_category.csv: landmark id -> URL of its Wikimedia Commons category."""
    return {landmark: category for landmark, (category,) in landmark_rows(path, "landmark_id", "category")}


def read_hierarchy(path: Path) -> dict[str, Hierarchy]:
    """Return train_label_to_hierarchical.csv by landmark id."""
    header = ("landmark_id", "category", "supercategory", "hierarchical_label", "natural_or_human_made")
    return {landmark: Hierarchy(*fields) for landmark, fields in landmark_rows(path, *header)}


def read_index_labels(path: Path) -> Labels:
    """Return index_image_to_landmark.csv, ``id,landmark_id``; its landmark ids are not those of train.csv."""
    return read_train(path)


def read_names(path: Path) -> dict[str, str]:
    """Return landmarks.csv, ``landmark_id,name``, as landmark id -> name."""
    return {landmark: name for landmark, (name,) in landmark_rows(path, "landmark_id", "name")}


def read_recognition_solution(path: Path) -> Solution:
    """Return recognition_solution_v2.1.csv: ``id,landmarks,Usage``, several landmarks separated by spaces, or none."""
    return _read_solution(path, "landmarks")


def read_retrieval_solution(path: Path) -> Solution:
    """Return retrieval_solution_v2.1.csv: ``id,images,Usage``, photo ids separated by spaces, or ``None``."""
    return _read_solution(path, "images")


def _read_solution(path: Path, column: str) -> Solution:
    truth: dict[str, tuple[str, ...]] = {}
    usage: dict[str, str] = {}
    for line, (id, right, part) in read_rows(path, ("id", column, "Usage")):
        if id in truth:
            raise DatasetError(f"{path}, line {line}: photo id {id} occurs twice")
        if part not in USAGES:
            raise DatasetError(f"{path}, line {line}: Usage {part!r} is not one of {', '.join(USAGES)}")
        names = () if right == "None" else tuple(right.split())
        is_landmark = column == "landmarks"
        truth[photo_id(path, line, id)] = (
            tuple(landmark_of(path, line, name) for name in names) if is_landmark else names
        )
        usage[id] = part
    return Solution(truth, usage)
