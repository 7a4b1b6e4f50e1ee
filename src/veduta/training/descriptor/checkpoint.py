"""Checkpoints: everything a stopped run needs to resume, in one file written atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from veduta.errors import TrainingError
from veduta.files import draft, sync_folder

CHECKPOINT_FILE = "checkpoint.pt"
CHECKPOINT_FORMAT = 1


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors, numbers, texts, lists and dictionaries, atomically.

    Raises:
        TrainingError: the folder cannot be written; the old checkpoint is still there.
    """
    try:
        with draft(folder / CHECKPOINT_FILE) as file:
            torch.save(state | {"format": CHECKPOINT_FORMAT}, file)
        sync_folder(folder)
    except (OSError, RuntimeError) as error:
        # Where a write fails in the middle, torch raises its own error on top.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        reason = cause.strerror or cause
        raise TrainingError(
            f"{folder / CHECKPOINT_FILE}: cannot be written ({reason}); the last one is kept"
        ) from error


def read_checkpoint(folder: Path, device: str = "cpu") -> dict[str, Any] | None:
    """Return the state saved in a folder, or None if there is none.

    Raises:
        TrainingError: the file is not a checkpoint of this Veduta.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for what is damaged
        raise TrainingError(f"{path}: is not a checkpoint or is damaged; remove {folder} to start again") from error
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
        raise TrainingError(f"{path}: was written by another version of Veduta; remove {folder} to start again")
    return dict(state)
