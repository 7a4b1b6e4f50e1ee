"""Photos to batches: which, in which order, changed how; made ahead by threads, the same whoever makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from veduta.concurrency import in_order
from veduta.errors import ImageError, TrainingError
from veduta.images import load
from veduta.progress import Log
from veduta.training.descriptor.config import TrainConfig
from veduta.training.descriptor.data.augment import Augmentation
from veduta.training.descriptor.data.dataset import NON_LANDMARK, Dataset
from veduta.training.descriptor.data.samplers import SAMPLERS, epoch_order
from veduta.training.descriptor.process_group import ProcessGroup
from veduta.training.descriptor.train_state import MicroBatch
from veduta.types import Bool, Int64, UInt8


def number_classes(dataset: Dataset, train: Int64, bank: str) -> Int64:
    """Return the class (T,) of each photo trained on, from 0 without gaps.

    Args:
        dataset: what there is.
        train: (T,) numbers of photos.
        bank: photos of no landmark are one more ``class``, a class ``each``, or not there: ``none``.
    """
    landmarks = dataset.classes[train]
    present, classes = np.unique(landmarks, return_inverse=True)
    if present[0] != NON_LANDMARK:
        return np.asarray(classes, np.int64)
    if bank == "none":
        raise ValueError("bank: expected no photos of no landmark")
    known = len(present) - 1
    nothing = landmarks == NON_LANDMARK
    extra = np.arange(nothing.sum()) if bank == "each" else np.zeros(int(nothing.sum()), np.int64)
    classes = np.asarray(classes, np.int64) - 1
    classes[nothing] = known + extra
    return classes


@dataclass
class Batches:
    """The batches of a run.

    Attributes:
        recipe: of the run.
        dataset: all photos.
        train: (T,) numbers of those trained on.
        classes: (T,) of these.
        place: which process this is.
        workers: threads.
        say: called once for a photo that has become unreadable.
        readable: (T,) whether a photo is still trained on.
    """

    recipe: TrainConfig
    dataset: Dataset
    train: Int64
    classes: Int64
    place: ProcessGroup
    workers: int = 2
    say: Log = lambda text: None
    readable: Bool = field(init=False)

    def __post_init__(self) -> None:
        self.readable = np.ones(len(self.train), bool)
        self._lost: set[str] = set()
        share = self.recipe.accumulate * self.place.world
        if self.recipe.batch % share:
            raise TrainingError(
                f"a batch of {self.recipe.batch} cannot be shared by {self.place.world} processes "
                f"in {self.recipe.accumulate} parts; use a multiple of {share}"
            )
        if len(self.train) < self.recipe.batch:
            raise TrainingError(f"{len(self.train)} photos to train on are fewer than a batch; use a smaller --batch")

    @property
    def steps(self) -> int:
        """How many batches an epoch has; the same in all, however many photos are dropped."""
        return len(self.train) // self.recipe.batch

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[MicroBatch]]:
        """Yield this process's share of each batch of an epoch, in parts, from the batch numbered `first`."""
        recipe, world = self.recipe, self.place.world
        left = np.flatnonzero(self.readable)
        power = SAMPLERS[recipe.sampler]
        chosen = left[epoch_order(self.classes[left], power, recipe.seed, epoch, self.steps * recipe.batch)]
        change = Augmentation(side=recipe.size(epoch), least_area=recipe.least_area)

        def make(batch: int) -> list[MicroBatch]:
            rows = chosen[batch * recipe.batch : (batch + 1) * recipe.batch].reshape(recipe.accumulate, world, -1)
            return [self._part(part, change, epoch) for part in rows]

        for _, parts in in_order(make, range(first, self.steps), self.workers):
            yield parts

    def _part(self, rows: Int64, change: Augmentation, epoch: int) -> MicroBatch:
        """Return a part from rows (world, b) of the training photos; a photo that is gone is replaced by the next."""
        own_rows = rows[self.place.rank]
        pictures = [self._picture(int(self.train[row]), change, epoch) for row in own_rows]
        present = [i for i, picture in enumerate(pictures) if picture is not None]
        if not present:
            photo = self.dataset.photos[int(self.train[own_rows[0]])]
            raise TrainingError(
                f"{photo}: can no longer be read, nor can others beside it; the last checkpoint is kept"
            )
        use = [min((j for j in present if j >= i), default=present[0]) for i in range(len(pictures))]
        photos = torch.from_numpy(np.stack([picture for i in use if (picture := pictures[i]) is not None]))
        everyone = torch.from_numpy(self.classes[rows.ravel()])
        return MicroBatch(photos, torch.from_numpy(self.classes[own_rows[use]]), everyone)

    def _picture(self, number: int, change: Augmentation, epoch: int) -> UInt8 | None:
        try:
            pixels = load(self.dataset.photos[number], max_side=4 * change.side).pixels
        except ImageError as error:
            if str(error) not in self._lost:
                self._lost.add(str(error))
                self.say(str(error))
            return None
        return change(pixels, self.recipe.seed, epoch, number)
