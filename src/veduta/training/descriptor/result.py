"""The result of a run: the trained network and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from veduta.training.descriptor.data.dataset import Dataset, Split
from veduta.training.descriptor.model.network import Descriptor
from veduta.training.descriptor.protocols import RetrievalMetrics


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A trained network with its data and figures.

    Attributes:
        dataset: all photos that can be read.
        split: what was trained on and judged by.
        classes: trained on: landmarks, and photos of none as far as they are classes.
        dropped: photos left out on the way as probably mislabelled.
        epoch: whose weights are the best; 0 is before any step.
        before: figures before any step.
        after: figures of the best weights.
        network: with these weights.
        layer: the last one, as it is used.
    """

    dataset: Dataset
    split: Split
    classes: int
    dropped: int
    epoch: int
    before: tuple[RetrievalMetrics, ...]
    after: tuple[RetrievalMetrics, ...]
    network: Descriptor
    layer: nn.Linear


@dataclass(frozen=True)
class ExportedVariant:
    """One of the files a run leaves.

    Attributes:
        name: ``float16``, ``float32`` or ``int8``: how weights are kept.
        folder: where it and its card are.
        megabytes: of the file.
        difference: the largest from torch, of any number of a descriptor.
        figures: what it is worth by validation, as ONNX Runtime computes it.
        gap_lost: GAP that full precision has more, closed and open, on the first protocol; 0 without validation.
    """

    name: str
    folder: str
    megabytes: float
    difference: float
    figures: tuple[RetrievalMetrics, ...]
    gap_lost: tuple[float, float]


@dataclass(frozen=True)
class TrainReport:
    """The report of a run.

    Attributes:
        folder: the run's.
        photos: trained on.
        classes: trained on.
        unreadable: photos that could not be read.
        dropped: photos left out on the way as probably mislabelled.
        epoch: whose weights were kept; 0 is before any step.
        before: figures before any step, on landmarks not trained on first.
        after: figures of the weights kept.
        variants: the files, the one to use first.
        seconds: of this call.
    """

    folder: str
    photos: int
    classes: int
    unreadable: int
    dropped: int
    epoch: int
    before: tuple[RetrievalMetrics, ...]
    after: tuple[RetrievalMetrics, ...]
    variants: tuple[ExportedVariant, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        from dataclasses import asdict

        return asdict(self)
