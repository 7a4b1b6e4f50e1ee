"""Where the photos of a data set lie: ``split/a/b/c/<id>.jpg``, or a flat folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from veduta.errors import DatasetError
from veduta.images import SUFFIXES, walk


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
        """Return the layout of a folder, judged by its first photo; DatasetError for a folder without any."""
        if not root.is_dir():
            raise DatasetError(f"{root}: is not a folder of photos")
        first = next(walk(root), None)
        if first is None:
            raise DatasetError(f"{root}: has no photos; expected {root}/a/b/c/ID.jpg or {root}/ID.jpg")
        path = Path(first)
        nested = path.parent.relative_to(root).as_posix() == "/".join(path.stem[:3])
        if not nested and path.parent != root:
            raise DatasetError(f"{path}: is neither {root}/a/b/c/ID.jpg nor {root}/ID.jpg")
        return cls(root, nested, path.suffix)

    def path(self, id: str) -> Path:
        """Return where the photo with this id lies, or would lie."""
        parts = (*id[:3], id) if self.nested else (id,)
        return self.root.joinpath(*parts[:-1], parts[-1] + self.suffix)

    def ids(self) -> Iterator[str]:
        """Yield the ids of the photos that are there, sorted."""
        yield from sorted(Path(path).stem for path in walk(self.root) if Path(path).suffix.lower() in SUFFIXES)


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
