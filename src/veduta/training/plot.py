"""Pictures of what a decision is worth. Needs the extra ``[calibrate]`` (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from veduta.training.fitting import Answer

BINS = 10
INK, SOFT = "#1d2027", "#8a8f99"
COLOURS = ("#b5651d", "#1f7a4d", "#2b5fa4")


def reliability(path: Path, answers: Mapping[str, Sequence[Answer]]) -> None:
    """Draw, for each series of answers, how often a confidence was right, and how many answers had it.

    On the diagonal, of a hundred answers of 70 % seventy are right. Bars are 90 % intervals (Wilson's).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 6.8), layout="constrained", facecolor="white")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    top.plot((0, 1), (0, 1), color=SOFT, linewidth=1, linestyle=(0, (4, 4)), label="as often right as said")
    for i, (name, series) in enumerate(answers.items()):
        colour, shift = COLOURS[i % len(COLOURS)], (i - (len(answers) - 1) / 2) * 0.012
        confidence = np.array([a.confidence for a in series])
        right = np.array([a.right for a in series], float)
        number = np.minimum((confidence * BINS).astype(int), BINS - 1)
        counts = np.bincount(number, minlength=BINS)
        some = np.flatnonzero(counts)
        said, hits = (np.bincount(number, weights=x, minlength=BINS)[some] for x in (confidence, right))
        n = counts[some]
        share = hits / n
        low, high = _wilson(share, n)
        error = np.maximum(0, (share - low, high - share))
        top.errorbar(
            said / n + shift, share, error, color=colour, marker="o", markersize=5, linewidth=1.6, capsize=3, label=name
        )
        width = 0.8 / BINS / len(answers)
        places = (np.arange(BINS) + 0.5) / BINS + (i - (len(answers) - 1) / 2) * width
        below.bar(places, counts, width, color=colour)
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
