"""Evaluation beside the training steps: the start, the validation figures, and photos with wrong labels."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from veduta.errors import TrainingError
from veduta.progress import Log, VerbProgress
from veduta.training.descriptor.config import TrainConfig
from veduta.training.descriptor.data.batches import Batches
from veduta.training.descriptor.data.dataset import Dataset, Split
from veduta.training.descriptor.data.label_noise import main_centers, worst
from veduta.training.descriptor.metrics_log import MetricsLog
from veduta.training.descriptor.model.network import Descriptor, linear
from veduta.training.descriptor.model.whitening import learn_whitening as learn_whitening
from veduta.training.descriptor.process_group import ProcessGroup
from veduta.training.descriptor.protocols import RetrievalMetrics, embed_photos, evaluate_protocol
from veduta.training.descriptor.train_state import TrainState
from veduta.types import Float32, Int64, UInt8

DROPPED = "dropped.csv"
ENOUGH = 20_000  # photos from which a whitening is learned, and up to which centers start at the means of their classes
FOR_JUDGING = 1_000  # photos from which one is learned only to judge by


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Evaluates the network beside its steps; the first process does the work and broadcasts the results."""

    recipe: TrainConfig
    dataset: Dataset
    held: Split
    place: ProcessGroup
    workers: int
    progress: VerbProgress

    def describe(self, photos: Int64, verb: str, network: Descriptor, what: Callable[[Tensor], Tensor]) -> Float32:
        """Return (N, ...) what a network says of these photos, as they are."""

        def run(pixels: UInt8) -> Float32:
            with torch.inference_mode():
                output = what(torch.from_numpy(pixels).to(self.place.device))
            return np.asarray(output.float().cpu().numpy(), np.float32)

        network.eval()
        backbone = network.backbone
        output = embed_photos(
            [self.dataset.photos[i] for i in photos.tolist()],
            run,
            self.recipe.side,
            backbone.step,
            square=backbone.square,
            workers=self.workers,
            progress=lambda done, total: self.progress(done, total, verb),
        )
        if not np.isfinite(output).all():
            raise TrainingError(f"{verb}: descriptors are no numbers; use a lower --rate and another --out")
        return output

    def start(self, learner: TrainState, batches: Batches) -> None:
        """Let the projection begin as a whitening, and the centers at the means of their classes if there are few."""
        few = len(self.held.train) <= ENOUGH
        rng = np.random.default_rng((self.recipe.seed, 3))
        rows = np.arange(len(self.held.train)) if few else rng.permutation(len(self.held.train))[:ENOUGH]
        network = learner.network
        begun: tuple[Tensor, ...] | None = None
        if self.place.first and min(len(rows), network.backbone.channels) >= self.recipe.trained_dim:
            pooled = self.describe(self.held.train[rows], "beginning", network, network.pooled)
            mean, projection = learn_whitening(pooled, self.recipe.trained_dim)
            projected = (pooled - mean) @ projection
            begun = tuple(
                torch.from_numpy(np.asarray(x, np.float32)) for x in (mean, projection, projected.var(0), projected)
            )
        begun = self.place.broadcast(begun)
        if begun is None:  # too few photos to whiten with, or a projection to more numbers than there are
            return
        mean_, projection_, variance, projected_ = (x.to(self.place.device) for x in begun)
        for one in (network, learner.average):
            one.start_at(mean_, projection_, variance)
        if few:
            classes = torch.from_numpy(batches.classes).to(self.place.device)
            unit = normalize(projected_, dim=1)
            means = torch.zeros(int(classes.max()) + 1, self.recipe.trained_dim, device=self.place.device)
            learner.head.start_at(means.index_add(0, classes, unit))

    def better(self, learner: TrainState, epoch: int, best: dict[str, Any], journal: MetricsLog) -> dict[str, Any]:
        """Return the best weights so far with their figures, after judging those of now by landmarks not trained on."""
        if self.place.first:
            figures = self.figures(learner.average)
            journal.epoch(epoch, figures)
            gap = figures[0].gap_open + figures[0].gap_closed if figures else float(epoch)
            if gap > best["gap"]:
                weights = {name: value.detach().cpu().clone() for name, value in learner.average.state_dict().items()}
                now = [asdict(one) for one in figures]
                best = best | {"epoch": epoch, "gap": gap, "network": weights, "after": now}
                if epoch == 0:
                    best["before"] = now
        return best

    def figures(self, network: Descriptor) -> list[RetrievalMetrics]:
        """Return a network's validation figures, on landmarks not trained on first."""
        photos = self.held.validation()
        if not len(photos):
            return []
        descriptors = self.describe(photos, "judging", *self.used(network, FOR_JUDGING))
        return [evaluate_protocol(protocol, descriptors, photos) for protocol in self.held.protocols]

    def used(self, network: Descriptor, most: int) -> tuple[Descriptor, Callable[[Tensor], Tensor]]:
        """Return the network as deployed, with the transform of its inputs."""
        layer = self.layer(network, most)
        return network, lambda pixels: normalize(layer(network.pooled(pixels)), dim=1)

    def layer(self, network: Descriptor, most: int = ENOUGH) -> nn.Linear:
        """Return the last layer as deployed: a whitening learned from `most` photos, or the projection as trained."""
        if not self.recipe.whiten or self.recipe.dim > network.backbone.channels:
            return network.last_layer()
        rng = np.random.default_rng((self.recipe.seed, 4))
        photos = np.sort(rng.permutation(self.held.train)[:most])
        pooled = self.describe(photos, "whitening", network, network.pooled)
        return linear(*learn_whitening(pooled, self.recipe.dim, self.recipe.whiten)).to(self.place.device)

    def drop_worst(self, learner: TrainState, batches: Batches, out: Path, say: Log) -> None:
        """Leave out the photos that are far from their landmark's main center."""
        gone: Int64 | None = None
        if self.place.first:
            descriptors = self.describe(self.held.train, "cleaning", learner.average, learner.average.embed)
            angles = main_centers(learner.head, descriptors, batches.classes)
            gone = worst(angles, batches.classes, self.recipe.drop_angle)
            with (out / DROPPED).open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                table = csv.writer(file)
                table.writerow(("photo", "degrees"))
                for row in gone.tolist():
                    table.writerow((self.dataset.photos[self.held.train[row]], f"{angles[row]:.1f}"))
            say(
                f"left out {len(gone)} photos more than {self.recipe.drop_angle:g} degrees from their landmark's center"
            )
        gone = self.place.broadcast(gone)
        batches.readable[gone] = False
