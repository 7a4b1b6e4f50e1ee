"""Places nobody trained on, with two to six references each, among buildings that look like them.

    python benchmarks/few.py DATA [--splits 6] [--cache FOLDER] [--out benchmarks/results/few.json]

DATA is a folder with train.csv and landmarks.csv, photos under train/a/b/c/, and hard distractors (streets, churches,
house fronts, other sights) under bank/. None of its landmarks and distractors may have been learned from. A split
draws half of the places that have three photos or more, and half of the distractors. Each photo of a place is asked
of a gallery of the others, at most six of its own place among them; the distractors are asked of all. Closed: every
place asked is known. Open: a third of the split's places is not in the gallery, and its photos must find nothing.

Methods: the best neighbor; the same less what both photos have in common with others (a quarter each of the query's
and the reference's mean similarity to their five nearest references of other places, and to their five nearest of the
distractors that are not asked); the decision that ships, by effort.
"""

import argparse
import csv
import itertools
import json
import sys
from pathlib import Path

import machine
import numpy as np
from rich.console import Console
from rich.table import Table

from veduta.concurrency import in_order
from veduta.decision.model import CASCADES, shipped_decider
from veduta.embedders import DEFAULT_EMBEDDER, make_embedder
from veduta.features import make_extractor
from veduta.features_codec import pack_features, unpack_features
from veduta.geometry import HomographyVerifier
from veduta.images import load
from veduta.matching import make_matcher
from veduta.metrics import Prediction, accuracy, gap, open_set
from veduta.training.decision.examples import Photo, PhotoCollection
from veduta.training.decision.fit import answer_example

LEAST, MOST = 3, 7  # photos of a place: two to six references once one of them is asked
NEIGHBORS, SHARE = 5, 0.25
FIGURES = ("accuracy", "gap", "fpr95", "auroc", "ece", "landmarks_answered", "distractors_answered")


def photos_of(data, cache):
    """Return ids, landmarks (empty for distractors), descriptors and local features, kept in a folder between runs."""
    with (data / "train.csv").open(newline="", encoding="utf-8") as file:
        listed = [(row["id"], "train", row["landmark_id"]) for row in csv.DictReader(file)]
    listed += [(path.stem, "bank", "") for path in sorted((data / "bank").rglob("*.jpg"))]
    embedder, extractor = make_embedder(DEFAULT_EMBEDDER), make_extractor("xfeat")
    kept = cache / f"few-{embedder.sha256[:8]}-{len(listed)}.npz" if cache else None
    if kept is None or not kept.exists():

        def look(item):
            id, split, _ = item
            image = load(data / split / id[0] / id[1] / id[2] / f"{id}.jpg")
            return embedder.embed([image])[0], np.frombuffer(pack_features(extractor.extract(image)), np.uint8)

        looked = [result for _, result in in_order(look, listed)]
        descriptors, packed = np.stack([d for d, _ in looked]), [p for _, p in looked]
        ends = np.cumsum([0, *map(len, packed)])
        arrays = {"descriptors": descriptors, "features": np.concatenate(packed), "ends": ends}
        if kept is not None:
            cache.mkdir(parents=True, exist_ok=True)
            np.savez(kept, **arrays)
    else:
        with np.load(kept, allow_pickle=False) as read:
            arrays = dict(read)
    blob, ends = arrays["features"].tobytes(), arrays["ends"].tolist()
    features = [unpack_features(blob[a:b]) for a, b in itertools.pairwise(ends)]
    ids, _, landmarks = zip(*listed, strict=True)
    return list(ids), np.array(landmarks, object), arrays["descriptors"], features


class Split:
    """One draw: the photos in the gallery, those asked, and the distractors that are not asked.

    Args:
        landmarks: (N,) of all photos, empty for distractors.
        seed: of the draw.
        withheld: whether a third of the places is not in the gallery.
    """

    def __init__(self, landmarks, seed, *, withheld):
        rng = np.random.default_rng(seed)
        names, counts = np.unique(landmarks[landmarks != ""].astype(str), return_counts=True)
        drawn = rng.permutation(names[counts >= LEAST])[: np.count_nonzero(counts >= LEAST) // 2]
        places = np.concatenate([rng.permutation(np.flatnonzero(landmarks == name))[:MOST] for name in drawn])
        distractors = rng.permutation(np.flatnonzero(landmarks == ""))
        middle = len(distractors) // 2
        unknown = set(drawn[::3]) if withheld else set()
        self.gallery = np.sort([i for i in places if landmarks[i] not in unknown])
        self.queries = np.concatenate((np.sort(places), np.sort(distractors[:middle])))
        self.bank = distractors[middle:]


def mean_of_nearest(similarity):
    """Return the mean of the largest few of each row."""
    return np.sort(similarity, axis=1)[:, -NEIGHBORS:].mean(1)


def neighbors(ids, landmarks, descriptors, split):
    """Return predictions of the best neighbor, plain and less what is common."""
    d, g = descriptors, split.gallery
    own, among = landmarks[g], d[g] @ d[g].T
    to_bank = mean_of_nearest(d[g] @ d[split.bank].T)
    to_others = np.array([np.sort(among[i][own != own[i]])[-NEIGHBORS:].mean() for i in range(len(g))])
    plain, less = [], []
    for q in split.queries.tolist():
        similarity = np.where(g == q, -2.0, d[g] @ d[q])
        order = np.argsort(-similarity, kind="stable")
        plain.append(Prediction(ids[q], own[order[0]], float(similarity[order[0]])))
        bank = mean_of_nearest((d[split.bank] @ d[q])[None])[0]
        best = {}
        for i in order[:30]:
            others = similarity[[j for j in order[:60] if own[j] != own[i]][:NEIGHBORS]].mean()
            score = similarity[i] - SHARE * (others + bank + to_others[i] + to_bank[i])
            best[own[i]] = max(best.get(own[i], -np.inf), score)
        name = max(best, key=best.get)
        less.append(Prediction(ids[q], name, float(best[name])))
    return {"best neighbor": plain, "best neighbor, less what is common": less}


def figures(truth, predictions, *, probability):
    """Return what one method reaches on one split."""
    report = open_set(truth, predictions, 0.5)
    row = {"accuracy": accuracy(truth, predictions), "gap": gap(truth, predictions)}
    row |= {"fpr95": report.fpr95, "auroc": report.auroc}
    if probability:
        row |= {"ece": report.ece, "landmarks_answered": report.landmarks_answered}
        row |= {"distractors_answered": report.distractors_answered}
    return row


def run(ids, landmarks, descriptors, collection, split):
    """Return method -> figures on one split."""
    decider = shipped_decider(DEFAULT_EMBEDDER, "xfeat", "nearest")
    known = set(landmarks[split.gallery])
    truth = {ids[q]: [landmarks[q]] if landmarks[q] in known else [] for q in split.queries.tolist()}
    rows = {
        name: figures(truth, said, probability=False)
        for name, said in neighbors(ids, landmarks, descriptors, split).items()
    }
    cases = collection.cases(descriptors, split.gallery, split.queries, decider.centers)
    for effort in CASCADES:
        if effort == "thorough":  # its costlier matcher is not asked here
            continue
        answers = [answer_example(case, decider, effort) for case in cases]
        said = [Prediction(a.query, a.landmark or "-", a.confidence) for a in answers]
        rows[f"decision, {effort}"] = figures(truth, said, probability=True)
    return rows


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--splits", type=int, default=6)
    parser.add_argument("--cache", type=Path, help="keep descriptors and features here between runs")
    parser.add_argument("--out", type=Path, help="write the figures as JSON too")
    options = parser.parse_args()
    result = {"benchmark": "few", **machine.describe(), "data": options.data.name, "splits": options.splits}
    ids, landmarks, descriptors, features = photos_of(options.data, options.cache)
    photos = [Photo(*fields) for fields in zip(ids, landmarks, features, strict=True)]
    collection = PhotoCollection(
        photos, make_matcher("nearest", "xfeat"), HomographyVerifier(), descriptors, np.flatnonzero(landmarks != "")
    )
    console = Console(width=150)
    for name, withheld in (("closed", False), ("open", True)):
        splits = [
            run(ids, landmarks, descriptors, collection, Split(landmarks, seed, withheld=withheld))
            for seed in range(options.splits)
        ]
        table = Table("method", *FIGURES, title=name)
        result[name] = {}
        for method in splits[0]:
            values = {key: [split[method][key] for split in splits] for key in splits[0][method]}
            result[name][method] = {
                key: {"mean": round(float(np.mean(v)), 4), "spread": round(float(np.std(v)), 4)}
                for key, v in values.items()
            }
            shown = result[name][method]
            cells = (
                f"{shown[key]['mean']:.3f} ± {shown[key]['spread']:.3f}" if key in shown else "" for key in FIGURES
            )
            table.add_row(method, *cells)
        console.print(table)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
