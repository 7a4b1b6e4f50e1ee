"""Name the landmark in every test photo of a data set in the competition's layout, and say how well and how fast.

    python benchmarks/recognize.py DATA [--out benchmarks/results/recognize.json]

DATA holds train.csv, test_solution.csv, withheld.csv and the photos under train/a/b/c and test/a/b/c. Two protocols:
closed (the whole of train is the gallery) and open (the landmarks in withheld.csv are taken out of the gallery, and
their train photos become queries that must be answered with "none"). The same photos go through the order of work of
a 2020 competition notebook, on descriptors that are not whitened: five candidates, local features of each computed
again for every pair, its score.

The decision that ships was learned from photos, and if they are those of DATA, its row flatters it a little:
benchmarks/decision.py measures it on landmarks it has not seen. This one says how fast the whole is, as installed.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import machine
import numpy as np
from rich.console import Console
from rich.table import Table

from veduta.gallery import Gallery
from veduta.images import load
from veduta.metrics import Prediction, accuracy, bootstrap_gap, gap, open_set
from veduta.models.cards import card

STAGES = ("decode", "embed", "retrieve", "gather")


def read(path):
    """Return the rows of a CSV file as dictionaries."""
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def photo(data, split, id):
    """Return the path of a photo in the competition's layout."""
    return data / split / id[0] / id[1] / id[2] / f"{id}.jpg"


class Data:
    """The tables of a data set, and the two protocols made of them."""

    def __init__(self, folder, limit):
        self.folder = folder
        self.train = [(r["id"], r["landmark_id"]) for r in read(folder / "train.csv")]
        self.test = [(r["id"], r["landmarks"].split()) for r in read(folder / "test_solution.csv")][:limit]
        self.withheld = {r["landmark_id"] for r in read(folder / "withheld.csv")}

    def queries(self, protocol):
        """Return [(path, id)] and {id: true landmarks}."""
        queries = [(photo(self.folder, "test", i), i) for i, _ in self.test]
        truth = dict(self.test)
        if protocol == "open":
            truth = {i: [landmark for landmark in true if landmark not in self.withheld] for i, true in self.test}
            unknown = [i for i, landmark in self.train if landmark in self.withheld]
            queries += [(photo(self.folder, "train", i), i) for i in unknown]
            truth |= {i: [] for i in unknown}
        return queries, truth


def build(data, folder, **models):
    """Return a gallery of the whole of train, and how long it took to fill."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "train.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "landmark"])
        writer.writerows((photo(data.folder.resolve(), "train", i), landmark) for i, landmark in data.train)
    gallery = Gallery.create(folder / "gallery", **models)
    start = time.perf_counter()
    report = gallery.add(csv=table)
    seconds = time.perf_counter() - start
    size = gallery.info().bytes
    return gallery, {
        "references": len(report.added),
        "failures": len(report.failures),
        "photos_per_second": round(len(report.added) / seconds, 2),
        "kilobytes_per_reference": round(size / 1000 / len(report.added), 2),
    }


def timed(clock, stage, call, *arguments):
    """Return what a call returns and note how long it took."""
    start = time.perf_counter()
    result = call(*arguments)
    clock[stage].append(time.perf_counter() - start)
    return result


def ours(recognizer, queries):
    """Return predictions by method, every stage timed by itself."""
    clock, found = defaultdict(list), {"best neighbor": [], "veduta": []}
    for path, key in queries:
        image = timed(clock, "decode", load, path)
        descriptor = timed(clock, "embed", recognizer.embed, image)
        candidates = timed(clock, "retrieve", recognizer.retrieve, descriptor)
        judged = timed(clock, "gather", recognizer.gather, image, descriptor, candidates).scores
        found["best neighbor"].append(Prediction(key, candidates[0].landmark, max(0.0, candidates[0].similarity)))
        found["veduta"].append(Prediction(key, judged[0].landmark, judged[0].probability))
    return found, clock


def notebook(recognizer, paths, queries, verifier):
    """Return predictions by the notebook's order of work and formula, and the time each photo took.

    Five candidates; the local features of each computed again; score min(n + 1, 200) / 200 x s with
    s = max(0.8 - (1 - cosine), 0.1) / 0.8; the best three scores summed per landmark; every photo answered.
    n is the number of inliers, or without a verifier the sum of the matching scores, as in the notebook.
    """
    found, seconds = [], []
    for path, key in queries:
        start = time.perf_counter()
        image = load(path)
        candidates = recognizer.retrieve(recognizer.embed(image))[:5]
        features = recognizer.extract(image)
        scored = []
        for candidate in candidates:
            reference = recognizer.extract(load(paths[candidate.reference]))
            matches = recognizer.components.matcher.match(features, reference)
            if verifier is None:
                n = float(np.clip(matches.scores, 0, 1).sum())
            else:
                n = verifier.verify(features, reference, matches).num_inliers
            s = max(0.8 - (1 - candidate.similarity), 0.1) / 0.8
            scored.append((min(n + 1, 200) / 200 * s, candidate.landmark))
        totals = defaultdict(float)
        for score, landmark in sorted(scored, reverse=True)[:3]:
            totals[landmark] += score
        landmark = max(totals, key=totals.get)
        found.append(Prediction(key, landmark, totals[landmark]))
        seconds.append(time.perf_counter() - start)
    return found, seconds


def figures(truth, predictions, floor, *, probability):
    """Return accuracy, GAP with its interval, and the open-set figures of one method."""
    report = open_set(truth, predictions, floor)
    low, high = bootstrap_gap(truth, predictions, resamples=500, seed=0)
    row = {
        "accuracy": accuracy(truth, predictions),
        "gap": gap(truth, predictions),
        "gap_low": low,
        "gap_high": high,
        "fpr95": report.fpr95,
        "auroc": report.auroc,
    }
    if probability:
        row |= {
            "landmarks_answered": report.landmarks_answered,
            "distractors_answered": report.distractors_answered,
            "ece": report.ece,
        }
    return {key: round(float(value), 4) for key, value in row.items()}


def run_protocol(data, gallery, plain, protocol, *, slow):
    """Return the rows of one protocol and the durations of our stages."""
    queries, truth = data.queries(protocol)
    recognizer = gallery.recognizer()
    found, clock = ours(recognizer, queries)
    total = [sum(times) for times in zip(*(clock[stage] for stage in STAGES), strict=True)]
    floor = recognizer.floor
    rows = [
        {"method": "best neighbor", **figures(truth, found["best neighbor"], floor, probability=False)},
        {"method": "veduta", **figures(truth, found["veduta"], floor, probability=True), **machine.spread(total)},
    ]
    paths = {reference.id: reference.photo for reference in gallery.references()}
    orders = [("notebook's order, XFeat, nearest + MAGSAC", "nearest", recognizer.components.verifier)]
    if slow:
        orders.append(("notebook's order, XFeat, LighterGlue, no geometry", "lighterglue", None))
    for name, matcher, verifier in orders:
        predictions, seconds = notebook(plain.recognizer(matcher=matcher), paths, queries, verifier)
        rows.append({"method": name, **figures(truth, predictions, 0, probability=False), **machine.spread(seconds)})
    stages = {stage: machine.spread(clock[stage]) for stage in STAGES} | {"total": machine.spread(total)}
    positives = sum(bool(true) for true in truth.values())
    return {"queries": len(queries), "landmark_queries": positives, "rows": rows, "stages": stages}


def show(result):
    """Print the tables."""
    console = Console(width=150)
    console.print(result["gallery"])
    for name, protocol in result["protocols"].items():
        table = Table(title=f"{name}: {protocol['landmark_queries']} landmark photos of {protocol['queries']}")
        columns = ["method", "accuracy", "gap", "gap_low", "gap_high", "fpr95", "auroc", "ece", "median_ms", "p90_ms"]
        for column in columns:
            table.add_column(column, justify="left" if column == "method" else "right")
        for row in protocol["rows"]:
            table.add_row(*(str(row.get(column, "")) for column in columns))
        console.print(table)
        console.print(
            {stage: f"{t['median_ms']} ({t['p10_ms']}-{t['p90_ms']})" for stage, t in protocol["stages"].items()}
        )


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="write the figures as JSON too")
    parser.add_argument("--limit", type=int, help="only the first test photos, for a quick look")
    parser.add_argument("--slow", action="store_true", help="also the notebook's order with LighterGlue (20 minutes)")
    options = parser.parse_args()
    data = Data(options.data, options.limit)
    result = {
        "benchmark": "recognize",
        **machine.describe(),
        "data": options.data.name,
        "seed": 0,
        "models": {name: card(name).sha256 for name in ("efficientnet-lite2-landmarks", "xfeat", "decision")},
    }
    with tempfile.TemporaryDirectory() as folder:
        gallery, result["gallery"] = build(data, Path(folder))
        plain, _ = build(data, Path(folder) / "plain", embedder="efficientnet-lite2-gem")
        result["protocols"] = {"closed": run_protocol(data, gallery, plain, "closed", slow=options.slow)}
        known = {landmark for _, landmark in data.train}
        for landmark in sorted(data.withheld & known):
            gallery.remove(landmark=landmark)
            plain.remove(landmark=landmark)
        result["protocols"]["open"] = run_protocol(data, gallery, plain, "open", slow=options.slow)
        gallery.close(), plain.close()
    result["load_at_end"] = machine.describe()["load_at_start"]
    show(result)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
