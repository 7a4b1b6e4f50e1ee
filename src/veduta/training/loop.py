"""The training of a descriptor, top to bottom: look at the photos, learn, judge by recognition, leave a model.

    veduta train DATA --out runs/first

or, on several GPUs or machines, ``torchrun --nproc-per-node 4 -m veduta train DATA --out runs/first``. Needs the extra
``[train]``. Everything random is drawn from the seed, the epoch or step, and the number of the photo, so that nothing
but weights, optimisers and a position has to be kept for a run to go on as if it had not been stopped.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from veduta.errors import TrainingError
from veduta.training import checkpoint
from veduta.training.batches import Batches, number_classes
from veduta.training.dataset import Dataset, Split, read_dataset, split
from veduta.training.journal import Journal
from veduta.training.learner import Learner
from veduta.training.leaving import leave
from veduta.training.network import Descriptor, linear
from veduta.training.noise import main_centers, worst
from veduta.training.outcome import Outcome, Report
from veduta.training.processes import Place, processes
from veduta.training.recipe import Recipe
from veduta.training.survey import Survey, leaked, survey, write_pairs
from veduta.training.validation import Figures, describe, judge
from veduta.training.whitening import learn as learn_whitening
from veduta.types import Failure, Float32, Int64, UInt8

Progress = Callable[..., None]  # (done, total, verb)
Say = Callable[[str], None]
SETTINGS, REPEATS, DROPPED, REPORT = "settings.json", "duplicates.csv", "dropped.csv", "report.json"
WEIGHTS = "network.safetensors"
ENOUGH = 20_000  # photos from which a whitening is learned, and up to which centres start at the means of their classes
FOR_JUDGING = 1_000  # photos from which one is learned only to judge by


def train(  # noqa: C901 - one loop, top to bottom
    data: Path,
    out: Path,
    recipe: Recipe,
    bank: Path | None = None,
    against: Path | None = None,
    *,
    name: str = "",
    device: str = "auto",
    workers: int = 2,
    minutes: float = 5.0,
    progress: Progress = lambda *_: None,
    say: Say = lambda text: None,
) -> Report | None:
    """Train a descriptor, leave it in a folder, and return what was done; a run that was stopped goes on.

    Args:
        data: a data set, see `veduta.training.dataset`.
        out: the run's folder.
        recipe: what changes the weights; a run goes on only with the recipe it began with.
        bank: a folder of photos that show no landmark.
        against: photos to be kept out of training; ``DATA/test`` where there is one.
        name: of the model on its card; the name of the run's folder unless given.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: threads that decode and change photos.
        minutes: between checkpoints; there is one after each epoch as well.
        progress: called with photos done, photos in all and what is being done.
        say: called with a line for a person.

    Returns:
        What was done; None in every process but the first.

    Raises:
        DatasetError: the data set is malformed or too small.
        ModelError: the backbone cannot be made.
        TrainingError: the run cannot go on; what it had is kept.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    began = time.monotonic()
    with processes(device) as place, _memory_explained(recipe, place), _stop_asked() as stop:
        if not place.first:
            progress, say = lambda *_: None, lambda text: None

        # What is there? Every photo is looked at once.
        _open(out, recipe, data, bank, place)
        listed, failures = read_dataset(data, bank if recipe.bank != "none" else None, against)
        found = place.shared(survey(listed, lambda d, n: progress(d, n, "looking")) if place.first else None)
        assert found is not None  # noqa: S101 - the first process has it, and has shared it
        dataset = listed.only(found.readable & ~leaked(listed, found))
        _tell_survey(out, listed, dataset, found, failures, place, say)
        held = split(dataset, recipe.hold_out, seed=recipe.seed)
        classes = number_classes(dataset, held.train, recipe.bank)
        counts = torch.from_numpy(np.bincount(classes))

        # What learns?
        batches = Batches(recipe, dataset, held.train, classes, place, workers, say)
        learner = Learner(recipe, counts, place, recipe.epochs * batches.steps)
        journal = Journal(out, place.first)
        judges = _Judge(recipe, dataset, held, place, workers, progress)
        best: dict[str, Any] = {"epoch": 0, "gap": -1.0, "network": None, "before": [], "after": []}
        _tell_start(learner, batches, counts, place, say)

        # Where were we?
        saved = checkpoint.read(out, str(place.device))
        if saved is not None:
            learner.take_up(saved["learner"])
            batches.kept = np.asarray(saved["kept"].cpu().numpy(), bool)
            best = saved["best"]
            journal.cut(saved["journal"])
            say(f"going on after step {learner.step} of {learner.steps}")
        else:
            journal.cut(0)
            judges.start(learner, batches)
            best = judges.better(learner, 0, best, journal)

        def save() -> None:
            if place.first:
                kept = torch.from_numpy(batches.kept)
                state = {"learner": learner.state(), "kept": kept, "best": best, "journal": journal.end()}
                checkpoint.save(out, state)

        # Learn.
        last = time.monotonic()
        while learner.step < learner.steps:
            epoch, first = divmod(learner.step, batches.steps)
            if recipe.drop_angle and epoch == recipe.drop_after and first == 0:
                judges.drop_worst(learner, batches, out, say)
            for done, parts in enumerate(batches.epoch(epoch, first), first + 1):
                loss = learner.learn(parts)
                if not math.isfinite(loss):
                    raise TrainingError(_not_a_number(learner, loss, out))
                journal.step(learner, epoch, loss)
                progress(done * recipe.batch, batches.steps * recipe.batch, f"epoch {epoch + 1}/{recipe.epochs}")
                if done == batches.steps:
                    best = judges.better(learner, epoch + 1, best, journal)
                _, stopped = place.agreed(0.0, stop.is_set())
                due, _ = place.agreed(float(time.monotonic() - last > 60 * minutes and place.first), stop=False)
                if stopped or due or done == batches.steps:
                    save()
                    last = time.monotonic()
                if stopped:
                    raise KeyboardInterrupt

        # Leave the best of it.
        journal.draw()
        if not place.first:
            return None
        network = learner.average
        network.load_state_dict(best["network"])
        before, after = (tuple(Figures(**figures) for figures in best[when]) for when in ("before", "after"))
        dropped = int((~batches.kept).sum())
        layer = judges.layer(network)
        outcome = Outcome(dataset, held, len(counts), dropped, best["epoch"], before, after, network.cpu(), layer.cpu())
        save_file({name: value.contiguous() for name, value in outcome.network.state_dict().items()}, out / WEIGHTS)
        variants = leave(outcome, out, recipe, name or out.absolute().name, say)
        lost = len(found.failures)
        took = time.monotonic() - began
        report = Report(
            str(out), len(held.train), len(counts), lost, dropped, best["epoch"], before, after, tuple(variants), took
        )
        write_whole(out / REPORT, json.dumps(report.as_dict(), indent=1) + "\n")
        return report


# --- what a run says --------------------------------------------------------------------------------------------


def _open(out: Path, recipe: Recipe, data: Path, bank: Path | None, place: Place) -> None:
    """Make the run's folder, or make sure that it belongs to this run."""
    said = {
        "recipe": recipe.as_dict(),
        "data": str(data.absolute()),
        "bank": None if bank is None else str(bank.absolute()),
    }
    path = out / SETTINGS
    if path.exists():
        then = json.loads(path.read_text("utf-8"))
        changed = [name for name in said["recipe"] if then["recipe"].get(name) != said["recipe"][name]]  # type: ignore[index,union-attr]
        changed += [name for name in ("data", "bank") if then[name] != said[name]]
        if changed:
            raise TrainingError(f"{out}: was begun with another {', '.join(changed)}; use the same, or another --out")
    elif place.first:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise TrainingError(f"{out}: is not empty and holds no run; choose a new folder")
        write_whole(path, json.dumps(said, indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file that is either the old one or the new one, never half."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def _tell_survey(
    out: Path, listed: Dataset, dataset: Dataset, found: Survey, failures: Sequence[Failure], place: Place, say: Say
) -> None:
    for failure in (*failures, *found.failures):
        say(failure.error)
    if place.first:
        write_pairs(out / REPEATS, found)
    say(
        f"{len(dataset)} photos of {len(dataset.landmarks)} landmarks and of none; near-duplicates: "
        f"{found.count('same')} photos within a landmark, {found.count('conflict')} across landmarks, "
        f"{found.count('leak')} also in the test set and therefore left out ({out / REPEATS})"
    )
    gone = sorted(set(listed.landmarks) - set(dataset.landmarks))
    if gone:
        say(f"{len(gone)} landmarks have no photo to train on: {', '.join(gone[:5])}{', ...' if len(gone) > 5 else ''}")


def _tell_start(learner: Learner, batches: Batches, counts: Tensor, place: Place, say: Say) -> None:
    cost = learner.head.cost(learner.recipe.batch // place.world // learner.recipe.accumulate)
    single = int((counts == 1).sum())
    say(
        f"training on {len(batches.train)} photos of {len(counts)} classes, {single} of them with one photo, "
        f"on {place.world} x {place.device.type}: {learner.steps} steps"
    )
    say(
        f"head: {cost.classes} classes, {cost.looked_at} of them in a step; "
        f"{cost.memory_mb:.0f} MB, {cost.step_ms:.0f} ms a step"
    )


def _not_a_number(learner: Learner, loss: float, out: Path) -> str:
    kept = "the last checkpoint is kept" if (out / checkpoint.NAME).exists() else "nothing was saved yet"
    remedy = "use a lower --rate" + (" or --precision bfloat16" if learner.recipe.precision == "float16" else "")
    return f"step {learner.step}: the loss is {loss}; {remedy}, and another --out; {kept}"


@contextmanager
def _memory_explained(recipe: Recipe, place: Place) -> Iterator[None]:
    """Say what to do when memory has run out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        full = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in text
        if not full:
            raise
        at_once = recipe.batch // place.world // recipe.accumulate
        raise TrainingError(
            f"out of memory with {at_once} photos of side {max(recipe.sizes)} at a time; in another --out use "
            f"--accumulate {2 * recipe.accumulate}, smaller --sizes or, with very many landmarks, --sample; "
            "the last checkpoint is kept"
        ) from error


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """Yield an event that is set when the process is asked to stop; asked again, it stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: object) -> None:
        asked.set()
        for one, handler in before.items():
            signal.signal(one, handler)

    before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


# --- judging ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Judge:
    """What is asked of the network beside its steps; the first process asks, the others are told."""

    recipe: Recipe
    dataset: Dataset
    held: Split
    place: Place
    workers: int
    progress: Progress

    def describe(self, photos: Int64, verb: str, network: Descriptor, what: Callable[[Tensor], Tensor]) -> Float32:
        """Return (N, ...) what a network says of these photos, as they are."""

        def run(pixels: UInt8) -> Float32:
            with torch.inference_mode():
                found = what(torch.from_numpy(pixels).to(self.place.device))
            return np.asarray(found.float().cpu().numpy(), np.float32)

        network.eval()
        backbone = network.backbone
        return describe(
            [self.dataset.photos[i] for i in photos.tolist()],
            run,
            self.recipe.side,
            backbone.step,
            square=backbone.square,
            workers=self.workers,
            progress=lambda done, total: self.progress(done, total, verb),
        )

    def start(self, learner: Learner, batches: Batches) -> None:
        """Let the projection begin as a whitening, and the centres at the means of their classes if there are few."""
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
        begun = self.place.shared(begun)
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

    def better(self, learner: Learner, epoch: int, best: dict[str, Any], journal: Journal) -> dict[str, Any]:
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

    def figures(self, network: Descriptor) -> list[Figures]:
        """Return what a network is worth, on landmarks not trained on first."""
        photos = self.held.validation()
        if not len(photos):
            return []
        descriptors = self.describe(photos, "judging", *self.used(network, FOR_JUDGING))
        return [judge(protocol, descriptors, photos) for protocol in self.held.protocols]

    def used(self, network: Descriptor, most: int) -> tuple[Descriptor, Callable[[Tensor], Tensor]]:
        """Return a network and what its photos become when it is used."""
        layer = self.layer(network, most)
        return network, lambda pixels: normalize(layer(network.pooled(pixels)), dim=1)

    def layer(self, network: Descriptor, most: int = ENOUGH) -> nn.Linear:
        """Return the last layer as it is used: a whitening learned from `most` photos, or the projection as trained."""
        if not self.recipe.whiten or self.recipe.dim > network.backbone.channels:
            return network.last_layer()
        rng = np.random.default_rng((self.recipe.seed, 4))
        photos = np.sort(rng.permutation(self.held.train)[:most])
        pooled = self.describe(photos, "whitening", network, network.pooled)
        return linear(*learn_whitening(pooled, self.recipe.dim, self.recipe.whiten)).to(self.place.device)

    def drop_worst(self, learner: Learner, batches: Batches, out: Path, say: Say) -> None:
        """Leave out the photos that are far from their landmark's main center."""
        gone: Int64 | None = None
        if self.place.first:
            descriptors = self.describe(self.held.train, "cleaning", learner.average, learner.average.embed)
            angles = main_centers(learner.head, descriptors, batches.classes)
            gone = worst(angles, batches.classes, self.recipe.drop_angle)
            with (out / DROPPED).open("w", encoding="utf-8", errors="surrogateescape") as file:
                file.write("photo,degrees\n")
                for row in gone.tolist():
                    file.write(f'"{self.dataset.photos[self.held.train[row]]}",{angles[row]:.1f}\n')
            say(
                f"left out {len(gone)} photos more than {self.recipe.drop_angle:g} degrees from their landmark's center"
            )
        gone = self.place.shared(gone)
        batches.kept[gone] = False
