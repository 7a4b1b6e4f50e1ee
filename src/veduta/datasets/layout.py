"""Where the photos of a data set lie: ``split/a/b/c/<id>.jpg``, or a flat folder."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from veduta.errors import DatasetError
from veduta.images import SUFFIXES, walk

JUDGED = 1000  # photos looked at to tell how a folder is laid out


@dataclass(frozen=True)
class PhotoFolder:
    """The photos of one split.

    Attributes:
        root: its folder.
        nested: whether a photo lies under the first three characters of its id.
        suffix: of the files, when they all have the same one.
    """

    root: Path
    nested: bool
    suffix: str = ".jpg"

    @classmethod
    def find(cls, root: Path) -> PhotoFolder:
        """Return the layout of a folder, judged by its first photos; DatasetError for a folder without any."""
        if not root.is_dir():
            raise DatasetError(f"{root}: is not a folder of photos")
        first = [Path(path) for path in itertools.islice(walk(root), JUDGED)]
        if not first:
            raise DatasetError(f"{root}: has no photos; expected {root}/a/b/c/ID.jpg or {root}/ID.jpg")
        nested = next((p for p in first if p.parent.relative_to(root).as_posix() == "/".join(p.stem[:3])), None)
        flat = next((path for path in first if path.parent == root), None)
        sample = nested or flat  # a photo that strayed to the top of a nested folder makes that no flat one
        if sample is None:
            raise DatasetError(f"{first[0]}: is neither {root}/a/b/c/ID.jpg nor {root}/ID.jpg")
        return cls(root, nested is not None, sample.suffix)

    @property
    def expected(self) -> str:
        """The place of a photo, with letters for the characters of its id."""
        return str(self.root / ("a/b/c/abc" if self.nested else "ID")) + self.suffix

    def path(self, id: str) -> Path:
        """Return where the photo with this id lies, or would lie."""
        parts = (*id[:3], id) if self.nested else (id,)
        return self.root.joinpath(*parts[:-1], parts[-1] + self.suffix)

    def ids(self) -> Iterator[str]:
        """Yield the ids of the photos that lie where their ids say, sorted."""
        yield from sorted(path.stem for path in self._files() if path == self.path(path.stem))

    def strays(self) -> Iterator[Path]:
        """Yield the photos that lie elsewhere, sorted; nothing finds these by their ids."""
        yield from sorted(path for path in self._files() if path != self.path(path.stem))

    def _files(self) -> Iterator[Path]:
        return (Path(path) for path in walk(self.root) if Path(path).suffix.lower() in SUFFIXES)


def split_folder(data: Path, split: str) -> PhotoFolder:
    """Return the photos of a split below a data set's folder; DatasetError if there is no such folder."""
    if not (data / split).is_dir():
        raise DatasetError(f"{data}: has no folder {split!r} of photos")
    return PhotoFolder.find(data / split)


def find_file(data: Path, *names: str) -> Path | None:
    """Return the first of these files that a data set has, or None."""
    return next((data / name for name in names if os.path.isfile(data / name)), None)  # noqa: PTH113


def need_file(data: Path, *names: str) -> Path:
    """Return the first of these files that exists in a data set; DatasetError when none does."""
    file = find_file(data, *names)
    if file is None:
        raise DatasetError(f"{data}: has no {' or '.join(names)}")
    return file


TRAIN = ("train.csv",)
CLEAN = ("train_clean.csv",)
SOLUTION = ("recognition_solution_v2.1.csv", "recognition_solution_v2.csv", "test_solution.csv", "solution.csv")
RETRIEVAL = ("retrieval_solution_v2.1.csv", "retrieval_solution_v2.csv")
SAMPLE_SUBMISSION = ("sample_submission.csv",)
