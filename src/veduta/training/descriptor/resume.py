"""Taking up a run again: settings and checkpoint, which somebody else may have made, are held against this run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from veduta.errors import TrainingError
from veduta.files import first_irregular
from veduta.training.descriptor.checkpoint import CHECKPOINT_FILE
from veduta.training.descriptor.data.batches import Batches
from veduta.training.descriptor.protocols import RetrievalMetrics
from veduta.training.descriptor.train_state import TrainState


def check_plain(out: Path) -> None:
    """Raise TrainingError where a run's folder holds a link or a pipe: nothing is written through those."""
    if (found := first_irregular(out.resolve())) is not None:
        raise TrainingError(f"{found}: is no plain file, so nothing is written there; remove it")


def changed_settings(path: Path, settings: dict[str, Any]) -> list[str]:
    """Return the names of the settings that a run was begun with otherwise; TrainingError for a damaged file."""
    try:
        then = json.loads(path.read_text("utf-8"))
        changed = [name for name in settings["recipe"] if then["recipe"].get(name) != settings["recipe"][name]]
        return changed + [name for name in ("data", "bank") if then[name] != settings[name]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingError(f"{path}: is damaged; use another --out") from error


def resume(
    out: Path, saved: dict[str, Any], photos: str, learner: TrainState, batches: Batches
) -> tuple[dict[str, Any], int]:
    """Bring a run to where its checkpoint was; return the best weights with their figures, and the journal's length.

    Raises:
        TrainingError: the checkpoint is of other photos or another network, or is damaged.
    """
    if saved.get("photos") != photos:
        raise TrainingError(f"{out}: the photos are not those it began with; put them back, or use another --out")
    try:
        best, end, kept = saved["best"], saved["journal"], np.asarray(saved["kept"].cpu().numpy())
        _check_learner(saved["learner"], learner)
        _check_best(best, learner)
        if type(end) is not int or end < 0 or kept.dtype != bool or kept.shape != batches.readable.shape:
            raise ValueError("journal or kept")
        learner.load_state_dict(saved["learner"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise TrainingError(f"{out / CHECKPOINT_FILE}: is damaged; remove {out} to start again") from error
    batches.readable = kept
    return best, end


def _check_learner(saved: Any, learner: TrainState) -> None:
    """Raise ValueError unless the state of what learns has the shapes of that which learns here."""
    own = learner.state()
    if type(saved["step"]) is not int or not 0 <= saved["step"] <= learner.steps:
        raise ValueError("step")
    for name in ("network", "average", "head", "scaler"):
        _check_like(own[name], saved[name])
    for optimizer, state in zip(learner.optimizers, saved["optimizers"], strict=True):
        groups = optimizer.state_dict()["param_groups"]
        _check_like([group | {"lr": 0.0} for group in groups], [group | {"lr": 0.0} for group in state["param_groups"]])
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        for number, values in state["state"].items():
            shape = parameters[number].shape
            if not all(_is_moment(value, torch.Size() if name == "step" else shape) for name, value in values.items()):
                raise ValueError("optimizers")


def _is_moment(value: Any, shape: torch.Size) -> bool:
    """Return whether a value is a tensor of this shape, or as a scalar a count, which SparseAdam keeps as an int."""
    if isinstance(value, torch.Tensor):
        return bool(value.shape == shape)
    return not shape and type(value) is int and 0 <= value < 2**31


def _check_best(best: Any, learner: TrainState) -> None:
    """Raise ValueError unless the best weights are of this network, with figures."""
    if type(best["epoch"]) is not int or type(best["gap"]) not in (int, float):
        raise ValueError("best")
    for when in ("before", "after"):
        for figures in best[when]:
            one = RetrievalMetrics(**figures)
            if any(type(value) is not float for value in (one.recall_at_1, one.gap_closed, one.gap_open)):
                raise ValueError("figures")
    if best["network"] is not None:
        _check_like(learner.average.state_dict(), best["network"])


def _check_like(own: Any, saved: Any) -> None:
    """Raise ValueError unless a saved value is of the same shape as that of now; other than tensors, the same."""
    if isinstance(own, torch.Tensor):
        same = isinstance(saved, torch.Tensor) and saved.shape == own.shape and saved.dtype == own.dtype
    elif isinstance(own, dict):
        same = isinstance(saved, dict) and saved.keys() == own.keys()
        for key in own if same else ():
            _check_like(own[key], saved[key])
    elif isinstance(own, list):
        same = isinstance(saved, list) and len(saved) == len(own)
        for one, other in zip(own, saved, strict=False) if same else ():
            _check_like(one, other)
    else:
        adapted = isinstance(own, float) and isinstance(saved, (int, float))  # as that of the scaler is
        same = adapted or own == saved
    if not same:
        raise ValueError("shapes")
