"""Pictures of what a decision is worth. Needs the extra ``[calibrate]`` (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from veduta.files import draft
from veduta.training.decision.fit import HeldOutAnswer

PLOT_BINS = 10
INK, SOFT = "#1d2027", "#8a8f99"
COLORS = ("#b5651d", "#1f7a4d", "#2b5fa4")


def plot_reliability(path: Path, answers: Mapping[str, Sequence[HeldOutAnswer]]) -> None:
    """Draw, for each series of answers, how often each confidence was right, and the number of answers.

    On the diagonal, of a hundred answers of 70 % seventy are right. Bars are 90 % intervals (Wilson's).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 6.8), layout="constrained", facecolor="white")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    top.plot((0, 1), (0, 1), color=SOFT, linewidth=1, linestyle=(0, (4, 4)), label="as often right as said")
    for i, (name, series) in enumerate(answers.items()):
        color, shift = COLORS[i % len(COLORS)], (i - (len(answers) - 1) / 2) * 0.012
        confidence = np.array([a.confidence for a in series])
        right = np.array([a.right for a in series], float)
        number = np.minimum((confidence * PLOT_BINS).astype(int), PLOT_BINS - 1)
        counts = np.bincount(number, minlength=PLOT_BINS)
        occupied = np.flatnonzero(counts)
        stated, hits = (np.bincount(number, weights=x, minlength=PLOT_BINS)[occupied] for x in (confidence, right))
        n = counts[occupied]
        share = hits / n
        low, high = _wilson(share, n)
        error = np.maximum(0, (share - low, high - share))
        top.errorbar(
            stated / n + shift,
            share,
            error,
            color=color,
            marker="o",
            markersize=5,
            linewidth=1.6,
            capsize=3,
            label=name,
        )
        width = 0.8 / PLOT_BINS / len(answers)
        places = (np.arange(PLOT_BINS) + 0.5) / PLOT_BINS + (i - (len(answers) - 1) / 2) * width
        below.bar(places, counts, width, color=color)
    top.set(ylim=(-0.03, 1.03), xlim=(-0.03, 1.03), ylabel="share that was right")
    top.legend(frameon=False, loc="lower right")
    below.set(yscale="symlog", ylabel="answers", xlabel="confidence said")
    for axes in (top, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK)
        axes.grid(visible=True, color="#e8e6e0", linewidth=0.7)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=150)


def _wilson(share: np.ndarray, n: np.ndarray, z: float = 1.645) -> tuple[np.ndarray, np.ndarray]:
    """Return the 90 % interval of shares of n, Wilson's: sensible for few and for all."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def plot_curves(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Draw the loss of every step, and GAP after every epoch, from the lines of a metrics file."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    steps = [line for line in lines if line["event"] == "step"]
    epochs = [line for line in lines if line["event"] == "epoch" and line["figures"]]
    figure = Figure(figsize=(9.6, 4.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    if steps:
        per_epoch = max(1, sum(line["epoch"] == steps[0]["epoch"] for line in steps))
        at = np.array([line["step"] for line in steps]) / per_epoch
        loss = np.array([line["loss"] for line in steps])
        left.plot(at, loss, color=SOFT, linewidth=0.6, alpha=0.6)
        width = max(1, len(loss) // 30)
        smooth = np.convolve(np.pad(loss, (width - 1, 0), mode="edge"), np.ones(width) / width, mode="valid")
        left.plot(at, smooth, color=COLORS[2], linewidth=1.8)
        left.set_ylim(0, max(1e-3, float(np.quantile(loss, 0.99)) * 1.1))
    left.set(xlabel="epoch", ylabel="loss", title="Loss of the batches, and its running mean")
    drawn = [figures["protocol"] for figures in epochs[0]["figures"]] if epochs else []
    for protocol, color in zip(drawn, COLORS, strict=False):
        found = [(line["epoch"], f) for line in epochs for f in line["figures"] if f["protocol"] == protocol]
        rows, at = [row for _, row in found], np.array([epoch for epoch, _ in found])
        for kind, style in (("open", "-"), ("closed", (0, (3, 3)))):
            right.plot(
                at,
                [row[f"gap_{kind}"] for row in rows],
                color=color,
                linestyle=style,
                marker="o",
                markersize=3.5,
                label=f"{protocol} landmarks, {kind}",
            )
    right.set(xlabel="epoch", ylabel="GAP", title="Recognition by the best neighbor")
    if drawn:
        right.legend(frameon=False)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK)
        axes.grid(visible=True, color="#e8e6e0", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.title.set_size(11)
    with draft(path) as file:
        figure.savefig(file, format="png", dpi=150)
