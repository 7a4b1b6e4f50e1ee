"""A checkpoint is the old one or the new one, never half."""

import resource

import pytest
import torch
from support import training_runs

from veduta.errors import TrainingError
from veduta.training.descriptor import checkpoint

STATE = {
    "learner": {"step": 7, "network": {"weight": torch.arange(6.0).view(2, 3)}, "optimizers": [{"lr": 0.1}]},
    "kept": torch.tensor([True, False]),
    "best": {"epoch": 1, "gap": 0.5, "before": [{"protocol": "seen"}], "network": None},
    "journal": 120,
}


def test_what_is_saved_is_read_again(tmp_path):
    assert checkpoint.read_checkpoint(tmp_path) is None
    checkpoint.save_checkpoint(tmp_path, STATE)
    training_runs.assert_same(checkpoint.read_checkpoint(tmp_path), STATE | {"format": checkpoint.CHECKPOINT_FORMAT})
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.CHECKPOINT_FILE]


def large(value):
    return {"weight": torch.full((100_000,), value)}


def test_a_crash_while_writing_keeps_the_old_one(tmp_path, monkeypatch):
    checkpoint.save_checkpoint(tmp_path, large(1.0))

    def half(state, file):
        file.write(b"PK half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(TrainingError, match=r"cannot be written \(No space left on device\); the last one is kept"):
            checkpoint.save_checkpoint(tmp_path, large(2.0))
    assert float(checkpoint.read_checkpoint(tmp_path)["weight"][0]) == 1
    checkpoint.save_checkpoint(tmp_path, large(2.0))
    assert float(checkpoint.read_checkpoint(tmp_path)["weight"][0]) == 2
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.CHECKPOINT_FILE]


def test_a_disk_that_is_full_keeps_the_old_one(tmp_path):
    """Really full, as far as torch can tell: no file may grow any further."""
    checkpoint.save_checkpoint(tmp_path, large(1.0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot be written \(File too large\); the last one is kept"):
            checkpoint.save_checkpoint(tmp_path, large(2.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert float(checkpoint.read_checkpoint(tmp_path)["weight"][0]) == 1


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(TrainingError, match="cannot be written"):
        checkpoint.save_checkpoint(tmp_path / "missing", STATE)


@pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda data: b"not at all", lambda data: b""])
def test_a_damaged_file_is_told(tmp_path, damage):
    checkpoint.save_checkpoint(tmp_path, large(1.0))
    path = tmp_path / checkpoint.CHECKPOINT_FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainingError, match=f"is not a checkpoint or is damaged; remove {tmp_path} to start again"):
        checkpoint.read_checkpoint(tmp_path)


@pytest.mark.parametrize("state", [{"format": 0}, {"learner": {}}, torch.ones(2)])
def test_another_versions_checkpoint_is_told(tmp_path, state):
    torch.save(state, tmp_path / checkpoint.CHECKPOINT_FILE)
    with pytest.raises(TrainingError, match="was written by another version of Veduta"):
        checkpoint.read_checkpoint(tmp_path)


def test_a_checkpoint_cannot_run_a_program(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"format": checkpoint.CHECKPOINT_FORMAT, "learner": Evil()}, tmp_path / checkpoint.CHECKPOINT_FILE)
    with pytest.raises(TrainingError, match="is damaged"):
        checkpoint.read_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()
