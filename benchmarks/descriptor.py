"""What training the descriptor is worth, on landmarks it has not been trained on.

    python benchmarks/descriptor.py DATA --runs FOLDER [--out benchmarks/results/descriptor.json] [--only NAME...]

DATA is in the competition's layout: train.csv, test_solution.csv, withheld.csv, photos under train/, test/ and bank/.
The landmarks are drawn into two halves. Each recipe is trained twice, on either half and the bank, and judged by the
best neighbor alone, in two settings:

- halves: galleries of the half it was not trained on, and nothing else. As for a user, but small.
- protocols: the data set's closed and open protocols, each query described by the network that was not trained on its
  landmark. Half of the gallery's landmarks have been trained on.

A run that is in FOLDER already is not done again. Training needs the extra [train].
"""

import argparse
import csv
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np
from rich.console import Console
from rich.table import Table

from veduta.concurrency import in_order
from veduta.embedders import make_embedder
from veduta.images import load
from veduta.metrics import Prediction, accuracy, bootstrap_gap, gap, open_set
from veduta.training.decision.cross_fit import SEED, landmark_halves, part_of, train_half
from veduta.training.descriptor.config import SHIPPED

# Of the ablation, one change at a time. Small photos and few epochs: it is the differences that are looked at.
SHORT = replace(SHIPPED, epochs=2, sizes=(160,), side=256)
RECIPES = {
    "shipped": SHIPPED,
    "short": SHORT,
    "not trained, like short": replace(SHORT, epochs=1, rate=1e-12, head_rate=1e-12),
    "512 numbers": replace(SHORT, dim=512),
    "512 numbers, projection as trained": replace(SHORT, dim=512, head_dim=0, whiten=0.0),
    "cosface, margin 0.3": replace(SHORT, loss="cosface", margin=0.3),
    "arcface, margin 0.3 for all": replace(SHORT, margin=0.3),
    "one center a landmark": replace(SHORT, subcenters=1),
    "landmarks not weighted": replace(SHORT, weighted=False),
    "uniform sampler": replace(SHORT, sampler="uniform"),
    "balanced sampler": replace(SHORT, sampler="balanced"),
    "bank not used": replace(SHORT, bank="none"),
    "a class for each photo of the bank": replace(SHORT, bank="each"),
    "rate 3e-4": replace(SHORT, rate=3e-4),
    "weights not averaged": replace(SHORT, average=0.0),
    "side 224": replace(SHORT, sizes=(224,)),
}
FIGURES = ("recall@1", "gap", "fpr95")
BEFORE = {"plain": "efficientnet-lite2-gem"}  # not trained


class Data:
    """The photos of a data set with what they show."""

    def __init__(self, folder):
        self.folder = folder
        rows = [(r["id"], "train", r["landmark_id"]) for r in self._rows("train.csv")]
        rows += [(r["id"], "test", r["landmarks"].split(" ")[0]) for r in self._rows("test_solution.csv")]
        rows += [(p.stem, "bank", "") for p in sorted((folder / "bank").rglob("*.jpg"))]
        self.ids, self.split, self.landmark = (np.array(column, object) for column in zip(*rows, strict=True))
        self.withheld = {r["landmark_id"] for r in self._rows("withheld.csv")}
        self.parts = landmark_halves({name for name in self.landmark if name})

    def _rows(self, name):
        with (self.folder / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def path(self, i):
        """Return where a photo lies."""
        id = self.ids[i]
        return self.folder / self.split[i] / id[0] / id[1] / id[2] / f"{id}.jpg"

    def part(self):
        """Return the half (N,) each photo belongs to: its landmark's, or one drawn by its id."""
        return np.array(
            [part_of(id, landmark, self.parts) for id, landmark in zip(self.ids, self.landmark, strict=True)]
        )


def say(text):
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def describe(data, folder, keep):
    """Return (N, D) descriptors of all photos, kept in a file."""
    if not keep.exists():
        embedder = make_embedder(folder)
        found = [row for _, row in in_order(lambda i: embedder.embed([load(data.path(i))])[0], range(len(data.ids)))]
        keep.parent.mkdir(parents=True, exist_ok=True)
        np.save(keep, np.stack(found).astype(np.float16))
    rows = np.load(keep).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def whitened(rows, data, half, dim):
    """Return plain descriptors whitened by what one half of the landmarks and the bank teach."""
    from veduta.training.descriptor.model.whitening import learn_whitening, whiten

    taught = (data.split == "train") & np.isin(data.landmark, sorted(data.parts[half])) | (data.split == "bank")
    mean, projection = learn_whitening(rows[taught], dim)
    return whiten(rows, mean, projection)


def ask(data, descriptors, gallery, queries, truth):
    """Return predictions of the best neighbor."""
    similarity = descriptors[queries] @ descriptors[gallery].T
    best = similarity.argmax(1)
    rows = zip(queries.tolist(), best.tolist(), similarity.max(1).tolist(), strict=True)
    return [Prediction(str(q), data.landmark[gallery[b]], s) for q, b, s in rows], {
        str(q): [t] if t else [] for q, t in zip(queries.tolist(), truth, strict=True)
    }


def figures(truth, said):
    """Return recall@1, GAP with its interval, and FPR@95."""
    report = open_set(truth, said, 0.5)
    low, high = bootstrap_gap(truth, said, resamples=300, seed=0)
    row = {"recall@1": accuracy(truth, said), "gap": gap(truth, said), "gap_low": low, "gap_high": high}
    return {key: round(float(value), 4) for key, value in (row | {"fpr95": report.fpr95}).items()}


def of_halves(data, both):
    """Return the mean figures over galleries of the half not trained on; three draws of landmarks withheld."""
    rows = {"closed": [], "open": []}
    for half, descriptors in enumerate(both):
        left = np.isin(data.landmark, sorted(data.parts[1 - half]))
        test = data.split == "test"
        for draw in range(4):
            names = sorted(data.parts[1 - half])
            rng = np.random.default_rng((SEED, half, draw))
            unknown = set(rng.permutation(names)[: len(names) // 3]) if draw else set()
            gone = np.isin(data.landmark, sorted(unknown))
            gallery = np.flatnonzero(left & (data.split == "train") & ~gone)
            asked = (test & (left | (data.landmark == ""))) | (left & gone & (data.split == "train"))
            queries = np.flatnonzero(asked)
            truth = np.where(gone[queries], "", data.landmark[queries])
            said, right = ask(data, descriptors, gallery, queries, truth)
            rows["open" if draw else "closed"].append(figures(right, said))
    mean = {name: {key: np.mean([row[key] for row in found]) for key in found[0]} for name, found in rows.items()}
    return {name: {key: round(float(value), 4) for key, value in row.items()} for name, row in mean.items()}


def of_protocols(data, both):
    """Return the figures of the data set's protocols, each query described by the network that has not seen it."""
    part, result = data.part(), {}
    for name in ("closed", "open"):
        unknown = np.isin(data.landmark, sorted(data.withheld)) if name == "open" else np.zeros(len(data.ids), bool)
        gallery = np.flatnonzero((data.split == "train") & ~unknown)
        said, truth = [], {}
        for half, descriptors in enumerate(both):
            asked = ((data.split == "test") | ((data.split == "train") & unknown)) & (part == 1 - half)
            queries = np.flatnonzero(asked)
            shown = np.where(unknown[queries], "", data.landmark[queries])
            mine, right = ask(data, descriptors, gallery, queries, shown)
            said += mine
            truth |= right
        result[name] = figures(truth, said)
    return result


def heads():
    """Return what heads of several sizes take: memory, and one step of 32 photos."""
    import torch

    from veduta.training.descriptor.model.losses import MarginHead

    rows = []
    for classes, sample in ((1_000, 0), (20_000, 0), (203_094, 0), (203_094, 10_000)):
        head = MarginHead(512, torch.full((classes,), 8), sample=sample)
        times = [head.cost(32) for _ in range(3)]
        milliseconds = sorted(cost.step_ms for cost in times)
        rows.append({"classes": classes, "looked_at": times[0].looked_at, "memory_mb": round(times[0].memory_mb)})
        rows[-1] |= {"median_ms": round(milliseconds[1], 1), "slowest_ms": round(milliseconds[2], 1)}
        del head
    return rows


def measure(data, both):
    """Return what the descriptors of the two networks are worth."""
    return {"halves": of_halves(data, both), "protocols": of_protocols(data, both), "dim": both[0].shape[1]}


def show(result):
    """Print the table."""
    table = Table(title="Best neighbor alone, landmarks not trained on")
    places = [(s, p, f) for s in ("halves", "protocols") for p in ("closed", "open") for f in FIGURES]
    for column in ("descriptor", "D", *(" ".join(place) for place in places)):
        table.add_column(column, justify="right" if column != "descriptor" else "left")
    for name, row in result["descriptors"].items():
        table.add_row(name, str(row["dim"]), *(f"{row[s][p][f]:.3f}" for s, p, f in places))
    Console(width=200).print(table)


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs, kept between calls")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--heads", action="store_true", help="measure heads of up to 203,094 classes too: 5 GB")
    parser.add_argument("--only", nargs="*", help=f"of {', '.join(RECIPES)}")
    options = parser.parse_args()
    started = time.time()
    data = Data(options.data)
    rows = {}
    for name, embedder in BEFORE.items():
        plain = describe(data, embedder, options.runs / f"{name}.npy")
        rows[f"{name}, ImageNet weights"] = measure(data, [plain, plain])
        for dim in (512, 1280):
            rows[f"{name}, whitened to {dim}"] = measure(data, [whitened(plain, data, h, dim) for h in (0, 1)])
    for name in RECIPES if options.only is None else options.only:
        where = options.runs / name.replace(" ", "-").replace(",", "")
        models = [train_half(data.folder, where, half, RECIPES[name], say) for half in (0, 1)]
        both = [describe(data, model, model.parent / "descriptors.npy") for model in models]
        rows[name] = measure(data, both)
    result = {
        "benchmark": "descriptor",
        **machine.describe(),
        "seed": SEED,
        "seconds": round(time.time() - started),
        "recipes": {name: RECIPES[name].as_dict() for name in rows if name in RECIPES},
        "descriptors": rows,
    }
    if options.heads:
        result["heads"] = heads()
    show(result)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
