"""The training of a descriptor, top to bottom: look at the photos, learn, judge by recognition, leave a model.

    veduta train DATA --out runs/first

or, on several GPUs or machines, ``torchrun --nproc-per-node 4 -m veduta train DATA --out runs/first``. Needs the extra
``[train]``. Everything random is drawn from the seed, the epoch or step, and the number of the photo, so that nothing
but weights, optimizers and a position has to be kept for a run to go on as if it had not been stopped.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from veduta.errors import TrainingError
from veduta.files import write_json
from veduta.models.folder import check_model_name
from veduta.progress import Log, VerbProgress
from veduta.training.descriptor import checkpoint
from veduta.training.descriptor.config import TrainConfig
from veduta.training.descriptor.data import audit
from veduta.training.descriptor.data.audit import Audit, shown_in_test, write_pairs
from veduta.training.descriptor.data.batches import Batches, number_classes
from veduta.training.descriptor.data.dataset import NON_LANDMARK, Dataset, read_dataset, split_dataset
from veduta.training.descriptor.evaluate import Evaluator
from veduta.training.descriptor.export import export_variants
from veduta.training.descriptor.metrics_log import MetricsLog
from veduta.training.descriptor.process_group import ProcessGroup, join_processes
from veduta.training.descriptor.protocols import RetrievalMetrics
from veduta.training.descriptor.result import TrainReport, TrainResult
from veduta.training.descriptor.resume import changed_settings, check_plain, resume
from veduta.training.descriptor.train_state import TrainState
from veduta.types import Failure

SETTINGS, AUDIT_FILE, REPEATS, REPORT = "settings.json", "survey.json", "duplicates.csv", "report.json"
WEIGHTS = "network.safetensors"


def train_descriptor(  # noqa: C901 - one loop, top to bottom
    data: Path,
    out: Path,
    recipe: TrainConfig,
    bank: Path | None = None,
    against: Path | None = None,
    *,
    name: str = "",
    device: str = "auto",
    workers: int = 2,
    minutes: float = 5.0,
    progress: VerbProgress = lambda *_: None,
    say: Log = lambda text: None,
) -> TrainReport | None:
    """Train a descriptor, export the result into a folder, and report on the run; a stopped run resumes.

    Args:
        data: a data set, see `veduta.training.descriptor.data.dataset`.
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
        ModelError: the backbone cannot be made, or the model's name cannot be.
        TrainingError: the run cannot go on; what it had is kept.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    began = time.monotonic()
    with join_processes(device) as place, _memory_explained(recipe, place), _stop_asked() as stop:
        if not place.first:
            progress, say = lambda *_: None, lambda text: None

        name = name or out.absolute().name
        check_model_name(name)

        # What is there? Every photo is looked at once.
        _open(out, recipe, data, bank, place)
        listed, failures = read_dataset(data, bank if recipe.bank != "none" else None, against)
        audited = place.broadcast(
            audit.load_or_audit(out / AUDIT_FILE, listed, lambda d, n: progress(d, n, "looking"))
            if place.first
            else None
        )
        assert audited is not None  # noqa: S101 - the first process has it, and has shared it
        dataset = listed.only(audited.readable & ~shown_in_test(listed, audited))
        _tell_survey(out, listed, dataset, audited, failures, place, say)
        held = split_dataset(dataset, recipe.hold_out, seed=recipe.seed)
        classes = number_classes(dataset, held.train, recipe.bank)
        counts = torch.from_numpy(np.bincount(classes))

        # What learns?
        batches = Batches(recipe, dataset, held.train, classes, place, workers, say)
        learner = TrainState(recipe, counts, place, recipe.epochs * batches.steps)
        journal = MetricsLog(out, place.first)
        judges = Evaluator(recipe, dataset, held, place, workers, progress)
        best: dict[str, Any] = {"epoch": 0, "gap": -1.0, "network": None, "before": [], "after": []}
        _tell_start(learner, batches, counts, place, say)

        # Where were we?
        saved = checkpoint.read_checkpoint(out, str(place.device))
        if saved is not None:
            best, end = resume(out, saved, dataset.digest(), learner, batches)
            journal.cut(end)
            say(f"going on after step {learner.step} of {learner.steps}")
        else:
            journal.cut(0)
            judges.start(learner, batches)
            best = judges.better(learner, 0, best, journal)

        def save() -> None:
            if place.first:
                readable = torch.from_numpy(batches.readable)
                state = {"learner": learner.state(), "kept": readable, "best": best, "journal": journal.end()}
                checkpoint.save_checkpoint(out, state | {"photos": dataset.digest()})

        # Learn.
        last = time.monotonic()
        while learner.step < learner.steps:
            epoch, first = divmod(learner.step, batches.steps)
            if recipe.drop_angle and epoch == recipe.drop_after and first == 0:
                judges.drop_worst(learner, batches, out, say)
            for done, parts in enumerate(batches.epoch(epoch, first), first + 1):
                loss = learner.train_step(parts)
                if not math.isfinite(loss):
                    raise TrainingError(_not_a_number(learner, loss, out))
                journal.step(learner, epoch, loss)
                progress(done * recipe.batch, batches.steps * recipe.batch, f"epoch {epoch + 1}/{recipe.epochs}")
                if done == batches.steps:
                    best = judges.better(learner, epoch + 1, best, journal)
                _, stopped = place.all_reduce(0.0, stop.is_set())
                due, _ = place.all_reduce(float(time.monotonic() - last > 60 * minutes and place.first), stop=False)
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
        before, after = (tuple(RetrievalMetrics(**figures) for figures in best[when]) for when in ("before", "after"))
        dropped = int((~batches.readable).sum())
        layer = judges.layer(network)
        outcome = TrainResult(
            dataset, held, len(counts), dropped, best["epoch"], before, after, network.cpu(), layer.cpu()
        )
        save_file({name: value.contiguous() for name, value in outcome.network.state_dict().items()}, out / WEIGHTS)
        variants = export_variants(outcome, out, recipe, name, say)
        lost = len(audited.failures)
        took = time.monotonic() - began
        report = TrainReport(
            str(out), len(held.train), len(counts), lost, dropped, best["epoch"], before, after, tuple(variants), took
        )
        write_json(out / REPORT, report.as_dict())
        return report


# --- what a run says --------------------------------------------------------------------------------------------


def _open(out: Path, recipe: TrainConfig, data: Path, bank: Path | None, place: ProcessGroup) -> None:
    """Make the run's folder, or check that the folder belongs to this run."""
    settings: dict[str, Any] = {
        "recipe": recipe.as_dict(),
        "data": str(data.absolute()),
        "bank": None if bank is None else str(bank.absolute()),
    }
    check_plain(out)
    path = out / SETTINGS
    if path.exists() and (out / checkpoint.CHECKPOINT_FILE).exists():  # before that nothing is lost by other settings
        changed = changed_settings(path, settings)
        if changed:
            raise TrainingError(f"{out}: was begun with another {', '.join(changed)}; use the same, or another --out")
    elif place.first:
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists() and any(file.suffix != ".draft" for file in out.iterdir()):
            raise TrainingError(f"{out}: is not empty and holds no run; choose a new folder")
        write_json(path, settings)


def _tell_survey(
    out: Path,
    listed: Dataset,
    dataset: Dataset,
    audit: Audit,
    failures: Sequence[Failure],
    place: ProcessGroup,
    say: Log,
) -> None:
    for failure in (*failures, *audit.failures):
        say(failure.error)
    if place.first:
        write_pairs(out / REPEATS, audit)
    say(
        f"{len(dataset)} photos, {int((dataset.classes != NON_LANDMARK).sum())} of them of "
        f"{len(dataset.landmarks)} landmarks; "
        "near-duplicates: "
        f"{audit.count('same')} photos within a landmark, {audit.count('conflict')} across landmarks, "
        f"{audit.count('leak')} also in the test set and therefore left out ({out / REPEATS})"
    )
    gone = sorted(set(listed.landmarks) - set(dataset.landmarks))
    if gone:
        say(f"{len(gone)} landmarks have no photo to train on: {', '.join(gone[:5])}{', ...' if len(gone) > 5 else ''}")


def _tell_start(learner: TrainState, batches: Batches, counts: Tensor, place: ProcessGroup, say: Log) -> None:
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


def _not_a_number(learner: TrainState, loss: float, out: Path) -> str:
    remark = "the last checkpoint is kept" if (out / checkpoint.CHECKPOINT_FILE).exists() else "nothing was saved yet"
    remedy = "use a lower --rate" + (" or --precision bfloat16" if learner.recipe.precision == "float16" else "")
    return f"step {learner.step}: the loss is {loss}; {remedy}, and another --out; {remark}"


@contextmanager
def _memory_explained(recipe: TrainConfig, place: ProcessGroup) -> Iterator[None]:
    """Log what to do when memory has run out."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise TrainingError(f"{error.filename or 'the run'}: cannot be read or written ({reason})") from error
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
    """Yield an event that is set on a signal to stop; a second signal stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: object) -> None:
        stop.set()
        for one, handler in before.items():
            signal.signal(one, handler)

    before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
