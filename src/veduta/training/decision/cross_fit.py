"""The descriptor trained twice, on either half of a data set's landmarks: for what must not have seen its landmarks.

    python -m veduta.training.decision.cross_fit DATA --out RUNS

What a descriptor is worth, and what a decision can learn from its similarities, shows on landmarks it was not trained
on. DATA is in the competition's layout, with photos that show no landmark under bank/. Needs the extra ``[train]``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from veduta.datasets.gldv2 import read_train
from veduta.datasets.layout import need_file, split_folder
from veduta.progress import Log
from veduta.training.decision.examples import two_fold_split
from veduta.training.descriptor.config import SHIPPED, TrainConfig

SEED = 1


def landmark_halves(landmarks: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the landmarks in the two halves that networks are trained on."""
    return two_fold_split(landmarks, SEED)


def part_of(id: str, landmark: str, both: tuple[Collection[str], Collection[str]]) -> int:
    """Return the half a photo belongs to: that of its landmark, or one drawn by the photo's id without any."""
    if landmark:
        return int(landmark in both[1])
    return int(hashlib.sha256(id.encode()).hexdigest(), 16) % 2


def train_half(data: Path, out: Path, part: int, recipe: TrainConfig = SHIPPED, say: Log = lambda text: None) -> Path:
    """Return the folder of the model trained on one half and the bank, training unless the folder exists.

    Args:
        data: the data set.
        out: folder for the runs; this one goes to ``half-0`` or ``half-1``.
        part: which half.
        recipe: of the run.
        say: called with a line for a person.

    Raises:
        DatasetError: the data set is malformed.
        TrainingError: the run cannot go on.
    """
    run = out / f"half-{part}"
    if not (run / "report.json").exists():
        from veduta.training.descriptor.train import train_descriptor

        labels, photos = read_train(need_file(data, "train.csv")), split_folder(data, "train")
        taught = landmark_halves(labels.landmarks)[part]
        out.mkdir(parents=True, exist_ok=True)
        table = out / f"half-{part}.csv"
        with table.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("photo", "landmark"))
            rows.writerows((photos.path(id).absolute(), name) for id, name in labels.pairs() if name in taught)
        train_descriptor(table, run, recipe, data / "bank", say=say)
    return run / "model"


def cross_fit_main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for the two runs")
    options = parser.parse_args()
    for part in (0, 1):
        train_half(options.data, options.out, part, say=lambda text: print(text, file=sys.stderr))  # noqa: T201


if __name__ == "__main__":
    cross_fit_main()
