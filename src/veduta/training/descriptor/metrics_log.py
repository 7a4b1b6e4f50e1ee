"""The metrics log of a run: a line of JSON for each step and each epoch, and the curves drawn from them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from veduta.training.descriptor.protocols import RetrievalMetrics
from veduta.training.descriptor.train_state import TrainState
from veduta.training.plots import plot_curves

MOST_DRAWN = 1e12  # larger numbers are none of a run
METRICS, CURVES = "metrics.jsonl", "curves.png"


class MetricsLog:
    """The metrics file of a run.

    Args:
        out: the run's folder.
        writes: whether this process writes it; the others' journals do nothing.
    """

    def __init__(self, out: Path, writes: bool) -> None:  # noqa: FBT001
        self._file, self._curves, self._writes = out / METRICS, out / CURVES, writes
        self._last = time.monotonic()

    def end(self) -> int:
        """Return how many bytes are written."""
        return self._file.stat().st_size if self._file.exists() else 0

    def cut(self, end: int) -> None:
        """Forget what was written after these many bytes: steps that were lost and will be done again."""
        if self._writes:
            with self._file.open("ab") as file:
                file.truncate(min(end, file.tell()))

    def step(self, learner: TrainState, epoch: int, loss: float) -> None:
        """Write down a step."""
        now = time.monotonic()
        rate = learner.recipe.batch / max(1e-9, now - self._last)
        self._last = now
        exponent = float(learner.network.pool.exponent.detach())
        self._write(
            event="step",
            step=learner.step,
            epoch=epoch,
            loss=round(loss, 6),
            rate=learner.optimizers[0].param_groups[0]["lr"],
            exponent=round(exponent, 4),
            photos_per_second=round(rate, 2),
        )

    def epoch(self, epoch: int, figures: Sequence[RetrievalMetrics]) -> None:
        """Write down what the weights are worth after an epoch, and draw the curves so far."""
        self._write(event="epoch", epoch=epoch, figures=[asdict(one) for one in figures])
        self._last = time.monotonic()
        self.draw()

    def draw(self) -> None:
        """Draw loss and validation figures as far as they are known."""
        if self._writes:
            lines = self._file.read_text("utf-8", "replace").splitlines()
            plot_curves(self._curves, list(filter(None, map(_drawn, lines))))

    def _write(self, **line: Any) -> None:
        if self._writes:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _drawn(line: str) -> dict[str, Any] | None:
    """Return a line of the log as plots take one; None for a damaged one, which no curve shows."""
    try:
        entry = json.loads(line)
        figures = [RetrievalMetrics(**one) for one in entry["figures"]] if entry["event"] == "epoch" else []
        numbers = [entry["epoch"], *(value for one in figures for value in (one.gap_open, one.gap_closed))]
        numbers += [entry["step"], entry["loss"]] if entry["event"] == "step" else []
        whole = all(type(n) in (int, float) and abs(n) < MOST_DRAWN for n in numbers)
        return entry if whole and all(one.protocol in ("seen", "unseen") for one in figures) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
