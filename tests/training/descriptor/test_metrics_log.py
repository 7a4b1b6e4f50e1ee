"""What a run writes down: lines of JSON, cut where a run goes on, and the curves drawn from them."""

import json

import numpy as np
import pytest
import torch
from support import training_runs

from veduta.images import load
from veduta.training.descriptor.metrics_log import CURVES, METRICS, MetricsLog
from veduta.training.descriptor.process_group import ProcessGroup
from veduta.training.descriptor.protocols import RetrievalMetrics
from veduta.training.descriptor.train_state import TrainState
from veduta.training.plots import plot_curves

FIGURES = (RetrievalMetrics("unseen", 0.9, 0.8, 0.7), RetrievalMetrics("seen", 0.95, 0.85, 0.75))


@pytest.fixture(scope="module")
def learner():
    return TrainState(training_runs.small(rate=2e-4), torch.tensor([3, 5]), ProcessGroup(0, 1, torch.device("cpu")), 10)


def note(journal, learner, step, loss):
    learner.step = step
    journal.step(learner, 0, loss)


def said(folder):
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def test_every_step_and_every_epoch_is_a_line(tmp_path, learner):
    journal = MetricsLog(tmp_path, writes=True)
    assert journal.end() == 0
    journal.cut(0)
    journal.epoch(0, FIGURES)
    note(journal, learner, 1, 3.25)
    note(journal, learner, 2, 3.0)
    journal.epoch(1, FIGURES)
    lines = said(tmp_path)
    assert [line["event"] for line in lines] == ["epoch", "step", "step", "epoch"]
    assert [figures["protocol"] for figures in lines[0]["figures"]] == ["unseen", "seen"]
    assert lines[0]["figures"][0] == {"protocol": "unseen", "recall_at_1": 0.9, "gap_closed": 0.8, "gap_open": 0.7}
    step = {name: lines[1][name] for name in ("step", "epoch", "loss", "rate", "exponent")}
    assert step == {"step": 1, "epoch": 0, "loss": 3.25, "rate": 2e-4, "exponent": 2.0}
    assert lines[1]["photos_per_second"] > 0


def test_what_was_written_after_a_checkpoint_is_cut_off(tmp_path, learner):
    journal = MetricsLog(tmp_path, writes=True)
    note(journal, learner, 1, 3.0)
    end = journal.end()
    note(journal, learner, 2, 2.0)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"event": "ste')  # killed while writing
    journal.cut(end)
    note(journal, learner, 2, 1.0)
    assert [line["loss"] for line in said(tmp_path)] == [3.0, 1.0]
    journal.cut(10_000)
    assert len(said(tmp_path)) == 2, "nothing is made up where the file is shorter"
    journal.cut(0)
    assert said(tmp_path) == []


def test_only_the_first_process_writes(tmp_path, learner):
    journal = MetricsLog(tmp_path, writes=False)
    journal.cut(0)
    note(journal, learner, 1, 3.0)
    journal.epoch(1, FIGURES)
    journal.draw()
    assert list(tmp_path.iterdir()) == []


def steps(count, per_epoch=5):
    rng = np.random.default_rng(0)
    return [
        {"event": "step", "step": i + 1, "epoch": i // per_epoch, "loss": 10 / (1 + i) + rng.random()}
        for i in range(count)
    ]


def epochs(count, protocols=("unseen", "seen")):
    figures = [{"protocol": name, "gap_closed": 0.6, "gap_open": 0.5, "recall_at_1": 0.7} for name in protocols]
    return [{"event": "epoch", "epoch": i, "figures": figures} for i in range(count)]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        epochs(1),
        steps(1),
        steps(100) + epochs(21),
        steps(20) + [{"event": "epoch", "epoch": i, "figures": []} for i in range(5)],
        [line | {"loss": 0.0} for line in steps(3)],
    ],
    ids=["nothing", "before any step", "one step", "many", "no validation", "no loss"],
)
def test_curves_are_drawn_as_far_as_they_are_known(tmp_path, lines):
    path = tmp_path / CURVES
    plot_curves(path, lines)
    assert path.read_bytes().startswith(b"\x89PNG")
    picture = load(path)
    assert picture.width > 1000
    assert np.ptp(picture.pixels) > 100
    assert [file.name for file in tmp_path.iterdir()] == [CURVES]


def test_the_curves_show_what_they_are_given(tmp_path):
    """A loss that stays and one that falls are two pictures."""
    for name, lines in (("flat", [line | {"loss": 5.0} for line in steps(50)]), ("falls", steps(50))):
        plot_curves(tmp_path / f"{name}.png", lines)
    one, other = (load(tmp_path / f"{name}.png").pixels.astype(int) for name in ("flat", "falls"))
    half = one.shape[1] // 2
    assert np.abs(one - other)[:, :half].max() > 100
    assert np.abs(one - other)[:, half + 20 :].max() == 0
