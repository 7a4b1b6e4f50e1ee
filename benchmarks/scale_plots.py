"""Draw the curves of docs/scale.md from benchmarks/results/scale.json: time, memory and disk against size.

python benchmarks/scale_plots.py [FOLDER]
"""

import io
import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("agg")
import matplotlib.pyplot as plt
import PIL.Image

ROOT = Path(__file__).parent.parent
COLORS = {"veduta": "#2f6db3", "exact": "#8a8f98", "ivf sq8": "#d9822b", "hnsw": "#3a8f5c"}
NAMES = {"veduta": "Veduta", "exact": "exact", "ivf sq8": "IVF, 8-bit codes", "hnsw": "HNSW"}
PANELS = [
    ("p50_ms", "median of a query, ms", 5),
    ("p99_ms", "99th percentile, ms", 20),
    ("process_mb", "memory of the process, MB", 2_560),
    ("disk_mb", "disk, MB", None),
    ("build_s", "build, s", None),
    ("recall", "recall@30", 0.97),
]


def main(folder=ROOT / "docs" / "pictures"):
    """Write scale.webp into a folder."""
    result = json.loads((ROOT / "benchmarks" / "results" / "scale.json").read_text())
    figure, panels = plt.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
    for axes, (key, title, goal) in zip(panels.flat, PANELS, strict=True):
        for kind, color in COLORS.items():
            points = [(int(n), row[kind][key]) for n, row in result["sizes"].items() if kind in row and row[kind][key]]
            if points and not (kind == "exact" and key in ("disk_mb", "build_s")):
                axes.plot(*zip(*points, strict=True), "o-", color=color, label=NAMES[kind], markersize=4)
        if goal:
            axes.axhline(goal, color="#c0392b", linestyle=":", linewidth=1)
        axes.set(xscale="log", yscale="linear" if key == "recall" else "log", title=title, xlabel="descriptors")
        axes.grid(color="#e6e8eb")
        axes.spines[["top", "right"]].set_visible(False)
    panels[1, 2].set_ylim(0.9, 1.005)
    rows = [(int(n), row["veduta"]["p50_ms"]) for n, row in result["sizes"].items() if int(n) >= 100_000]
    if len(rows) > 1:
        sizes = np.array([n for n, _ in rows], float)
        root = rows[0][1] * np.sqrt(sizes / sizes[0])
        panels[0, 0].plot(sizes, root, color="#2f6db3", linestyle="--", linewidth=1, label="square root of the size")
    panels[0, 0].legend(frameon=False, fontsize=8)
    data = io.BytesIO()
    figure.savefig(data, dpi=110)
    PIL.Image.open(data).convert("RGB").save(Path(folder) / "scale.webp", quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:2])
