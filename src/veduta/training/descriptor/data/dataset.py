"""The data of a training run: photos with landmarks, distractors, and photos held out for validation.

A data set is a folder in the competition's layout (train.csv, train/a/b/c/ID.jpg), a folder with a subfolder of photos
for each landmark, or a table with the columns photo,landmark.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from veduta.datasets.gldv2 import read_clean, read_train
from veduta.datasets.layout import CLEAN, TRAIN, find_file, split_folder
from veduta.datasets.listing import list_csv, list_folder
from veduta.errors import DatasetError
from veduta.images import walk
from veduta.types import Bool, Failure, Int64

NON_LANDMARK = -1  # the class of a photo that shows no landmark


@dataclass(frozen=True, eq=False)
class Dataset:
    """Photos and what they show.

    Attributes:
        photos: N paths.
        classes: (N,) number of the landmark each shows; -1 for none.
        landmarks: ids of the C landmarks.
        others: photos that are never trained on, to be looked through for near-duplicates: the test set.
    """

    photos: tuple[str, ...]
    classes: Int64
    landmarks: tuple[str, ...]
    others: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.photos)

    def digest(self) -> str:
        """Return a hash of what the photos are called and show."""
        digest = hashlib.sha256(self.classes.tobytes())
        for photo in (*self.photos, "", *self.others):
            digest.update(os.fsencode(photo) + b"\0")
        return digest.hexdigest()

    def only(self, keep: Bool) -> Dataset:
        """Return the data set with the photos kept (N,); landmarks that have none left are gone."""
        classes = self.classes[keep]
        left = np.unique(classes[classes != NON_LANDMARK])
        number = np.full(len(self.landmarks) + 1, NON_LANDMARK, np.int64)  # the last stands for none
        number[left] = np.arange(len(left))
        photos = tuple(photo for photo, is_kept in zip(self.photos, keep, strict=True) if is_kept)
        return Dataset(photos, number[classes], tuple(self.landmarks[i] for i in left), self.others)


def read_dataset(data: Path, bank: Path | None = None, against: Path | None = None) -> tuple[Dataset, list[Failure]]:
    """Return a data set and the photos left out.

    Args:
        data: its folder, or a table.
        bank: a folder of photos that show no landmark.
        against: a folder of photos to keep out of training; ``DATA/test`` where there is one.

    Raises:
        DatasetError: a table or folder is malformed or has no photos; a photo of the bank is one of a landmark.
    """
    labeled, failures = _read_labeled(data)
    nothing = list(walk(bank, report=failures.append)) if bank is not None else []
    if bank is not None and not nothing:
        raise DatasetError(f"{bank}: has no photos; expected photos that show no landmark")
    twice = {photo for photo, _ in labeled} & set(nothing)
    if twice:
        raise DatasetError(f"{min(twice)}: is labeled and in the bank of photos that show no landmark")
    names = tuple(sorted({landmark for _, landmark in labeled}))
    number = {landmark: i for i, landmark in enumerate(names)}
    classes = np.array([number[landmark] for _, landmark in labeled] + [NON_LANDMARK] * len(nothing), np.int64)
    test = against if against is not None else data / "test" if (data / "test").is_dir() else None
    others = tuple(walk(test, report=failures.append)) if test is not None else ()
    return Dataset((*(photo for photo, _ in labeled), *nothing), classes, names, others), failures


def _read_labeled(data: Path) -> tuple[list[tuple[str, str]], list[Failure]]:
    """Return (photo, landmark) of every labeled photo, whatever the layout."""
    if data.is_dir() and (table := find_file(data, *CLEAN, *TRAIN)) is not None:
        labels = read_clean(table) if table.name in CLEAN else read_train(table)
        folder = split_folder(data, "train")
        ids = (id.decode("ascii") for id in labels.ids.tolist())
        return [(str(folder.path(id)), labels.landmarks[code]) for id, code in zip(ids, labels.codes, strict=True)], []
    listed, failures = list_csv(data) if data.is_file() else list_folder(data)
    return [(one.photo, one.landmark.id) for one in listed], failures


@dataclass(frozen=True, eq=False)
class Protocol:
    """A recognition task: which references there are, which photos are asked, and what is right.

    Attributes:
        name: ``seen`` or ``unseen`` landmarks.
        gallery: (G,) numbers of photos.
        queries: (Q,) numbers of photos.
        classes: (N,) of all photos.
        withheld: classes taken out of the gallery for the open figures.
    """

    name: str
    gallery: Int64
    queries: Int64
    classes: Int64
    withheld: frozenset[int]


@dataclass(frozen=True, eq=False)
class Split:
    """The photos trained on, and the protocols of the validation.

    Attributes:
        train: (T,) numbers of photos.
        protocols: of landmarks not trained on, if any are held back, and of those that are.
    """

    train: Int64
    protocols: tuple[Protocol, ...]

    def validation(self) -> Int64:
        """Return the numbers of all photos that the protocols need, rising."""
        parts = [np.concatenate((p.gallery, p.queries)) for p in self.protocols]
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def split_dataset(dataset: Dataset, hold_out: float = 0.1, most: int = 4000, seed: int = 0) -> Split:
    """Hold landmarks and photos back to judge by, and return what is left to train on.

    A share of the landmarks (with two photos or more) is not trained on: half of their photos make a gallery, half are
    asked. Of the landmarks trained on, one photo in eight of those with eight or more is asked, of a gallery of
    photos trained on. A share of the photos of nothing is asked of both. For the open figures every third landmark is
    taken out of the gallery, and its photos must be answered with none.

    Args:
        dataset: what there is.
        hold_out: share of the landmarks, and of the photos of nothing; 0 for none.
        most: photos of a gallery or of its queries, so that judging takes no longer than learning.
        seed: of the choice.

    Raises:
        DatasetError: fewer than two landmarks are left to train on.
    """
    if len(dataset.landmarks) < 2:
        raise DatasetError("fewer than two landmarks are left to train on; add landmarks with photos that can be read")
    rng = np.random.default_rng((seed, 2))
    counts = np.bincount(dataset.classes[dataset.classes != NON_LANDMARK], minlength=len(dataset.landmarks))
    able = rng.permutation(np.flatnonzero(counts >= 2))
    count = round(hold_out * len(dataset.landmarks))
    unseen = able[: max(3, count)] if count and len(able) >= 6 else able[:0]
    nothing = rng.permutation(np.flatnonzero(dataset.classes == NON_LANDMARK))
    asked_nothing = np.sort(nothing[: round(hold_out * len(nothing))])
    apart = np.isin(dataset.classes, unseen)
    sides = [_halves(dataset, unseen, rng), _asked(dataset, counts, apart, hold_out, rng)]
    queries = np.concatenate((sides[1][1], asked_nothing))
    train = np.setdiff1d(np.flatnonzero(~apart), queries)
    if len(np.unique(dataset.classes[train][dataset.classes[train] != NON_LANDMARK])) < 2:
        raise DatasetError("fewer than two landmarks are left to train on; add landmarks or hold fewer back")
    sides[1] = (np.intersect1d(sides[1][0], train), sides[1][1])
    tasks = [
        Protocol(
            name,
            gallery,
            np.concatenate((query_photos, asked_nothing)),
            dataset.classes,
            _third(dataset.classes[gallery]),
        )
        for name, (gallery, query_photos) in zip(
            ("unseen", "seen"), [_fewer(pair, most, rng) for pair in sides], strict=True
        )
        if len(gallery) and len(query_photos)
    ]
    return Split(train, tuple(tasks))


def _halves(dataset: Dataset, landmarks: Int64, rng: np.random.Generator) -> tuple[Int64, Int64]:
    """Return gallery and queries: of each landmark's photos half and half, the odd one to the gallery."""
    gallery: list[int] = []
    queries: list[int] = []
    for landmark in np.sort(landmarks):
        photos = rng.permutation(np.flatnonzero(dataset.classes == landmark)).tolist()
        gallery += photos[: (len(photos) + 1) // 2]
        queries += photos[(len(photos) + 1) // 2 :]
    return np.sort(np.array(gallery, np.int64)), np.sort(np.array(queries, np.int64))


def _asked(
    dataset: Dataset,
    counts: Int64,
    apart: Bool,
    hold_out: float,
    rng: np.random.Generator,
) -> tuple[Int64, Int64]:
    """Return gallery and queries of the landmarks trained on: one photo in eight where there are eight or more."""
    large = ~apart & (dataset.classes != NON_LANDMARK) & (counts[dataset.classes] >= 8)
    query_photos = np.flatnonzero(large & (rng.random(len(dataset)) < 1 / 8)) if hold_out else np.zeros(0, np.int64)
    gallery = np.flatnonzero(np.isin(dataset.classes, np.unique(dataset.classes[query_photos])) & ~apart)
    return np.setdiff1d(gallery, query_photos), query_photos


def _fewer(pair: tuple[Int64, Int64], most: int, rng: np.random.Generator) -> tuple[Int64, Int64]:
    return tuple(np.sort(rng.permutation(part)[:most]) for part in pair)  # type: ignore[return-value]


def _third(classes: Sequence[int] | Int64) -> frozenset[int]:
    """Return every third of the classes."""
    return frozenset(np.unique(classes)[1::3].tolist())
