"""How good and how honest the decision is, what each part of it is worth, and what each effort costs.

    python benchmarks/decision.py DATA --runs RUNS [--cache FOLDER] [--out benchmarks/results/decision.json]

DATA is in the competition's layout: train.csv, test_solution.csv, withheld.csv, photos under train/, test/ and bank/.
RUNS holds the descriptors trained on half of its landmarks each:
``python -m veduta.training.decision.cross_fit DATA --out RUNS``.
Everything that is learned (descriptor, decision, calibration, floors) is learned without the landmarks it is measured
on. Three settings:

- closed and open: the two protocols of the data set. Each query is described by the descriptor trained on the half its
  landmark is not in; half of the gallery's landmarks are in that half.
- shipped: the same with the descriptor that ships, which has been trained on the gallery's photos, not on the queries.
- unseen: galleries of the half not trained on, and nothing else: as for a user, but smaller.
"""

import argparse
import json
import pickle
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np
from recognize import Data, build
from rich.console import Console
from rich.table import Table

from veduta.concurrency import in_order
from veduta.decision.model import CASCADES, shipped_decider
from veduta.decision.terms import TERM_NAMES
from veduta.embedders import DEFAULT_EMBEDDER, make_embedder
from veduta.errors import GalleryError
from veduta.features_codec import pack_features, unpack_features
from veduta.images import load
from veduta.metrics import Prediction, accuracy, bootstrap_gap, gap, open_set
from veduta.training.decision.examples import distractor_centers
from veduta.training.decision.fit import FOLDS, held_out_answers, learn_decider, recalibrate
from veduta.training.decision.ship import DataSet, FineMatching, collect_photos, gallery_examples, read_data

PARTS = {
    "agreement of neighbors": ("agreement", "mean similarity"),
    "margins": ("margin", "above the crowd", "inlier margin", "glue margin"),
    "kinship": ("kinship", "beyond strangers"),
    "photos of nothing (B_j, C_q)": ("query like nothing", "reference like nothing"),
    "number of references": ("references",),
    "counts of inliers": ("inliers", "second inliers", "inliers in all", "inlier margin", "inlier deficit"),
    "quality of inliers": ("inlier share", "inlier similarity", "confirmed keypoints", "verified share"),
    "shape of the homography": ("query coverage", "reference coverage", "scale", "stretch", "rotation", "perspective"),
    "useful features": ("useful inliers", "expected inliers", "inlier deficit"),
    "all geometry": TERM_NAMES[TERM_NAMES.index("inliers") :],
}
PRECISIONS = (0.9, 0.95, 0.98)


def cached(folder, runs, cache):
    """Return the data set and its plain descriptors; descriptors and features are kept in a folder between runs."""
    models = tuple(runs / f"half-{part}" / "model" for part in (0, 1))
    key = "-".join(make_embedder(model).sha256[:8] for model in (DEFAULT_EMBEDDER, *models))
    file = cache / f"{folder.name}-{key}.npz" if cache else None
    if file and file.exists():
        with np.load(file, allow_pickle=False) as kept:
            blob = kept["features"].tobytes()
            features = [unpack_features(blob[a:b]) for a, b in kept["places"]]
            text = [kept[name].astype(object) for name in ("split", "landmark")]
            halves = (kept["first"], kept["second"])
            return DataSet(kept["ids"].tolist(), *text, features, kept["shipped"], halves), kept["plain"], key
    data = read_data(folder, models)
    embedder = make_embedder("efficientnet-lite2-gem")
    paths = [
        folder / split / id[0] / id[1] / id[2] / f"{id}.jpg" for id, split in zip(data.ids, data.split, strict=True)
    ]
    plain = np.stack([row for _, row in in_order(lambda path: embedder.embed([load(path)])[0], paths)])
    if file:
        cache.mkdir(parents=True, exist_ok=True)
        blobs = [pack_features(features) for features in data.features]
        ends = np.cumsum([len(blob) for blob in blobs])
        places = np.stack((np.r_[0, ends[:-1]], ends), 1)
        np.savez(
            file,
            ids=np.array(data.ids),
            split=data.split.astype(str),
            landmark=data.landmark.astype(str),
            plain=plain,
            shipped=data.shipped,
            first=data.by_half[0],
            second=data.by_half[1],
            features=np.frombuffer(b"".join(blobs), np.uint8),
            places=places,
        )
    return data, plain, key


def protocol(data, withheld, name):
    """Return the numbers of the gallery's photos and of the queries."""
    test, train = data.numbers("test"), data.numbers("train")
    if name == "closed":
        return train, test
    known = ~np.isin(data.landmark[train], sorted(withheld))
    return train[known], np.concatenate((test, train[~known]))


def cross_validated(data, collection, withheld, name, glue):
    """Return the cases of a protocol, each query described without its landmark having been trained on."""
    gallery, queries = protocol(data, withheld, name)
    bank, cases = data.numbers("bank"), []
    for part, descriptors in enumerate(data.by_half):
        centers = distractor_centers(descriptors[bank])
        mine = queries[data.part[queries] == 1 - part]
        cases += collection.cases(descriptors, gallery, mine, centers, fine_matcher=glue)
    return cases


def as_shipped(data, collection, withheld, name, glue):
    """Return the cases of a protocol as the descriptor that ships sees them."""
    gallery, queries = protocol(data, withheld, name)
    centers = distractor_centers(data.shipped[data.numbers("bank")])
    return collection.cases(data.shipped, gallery, queries, centers, fine_matcher=glue)


def figures(truth, predictions, *, probability):
    """Return what one method reaches on one protocol."""
    report = open_set(truth, predictions, 0.5)
    low, high = bootstrap_gap(truth, predictions, resamples=500, seed=0)
    row = {"accuracy": accuracy(truth, predictions), "gap": gap(truth, predictions), "gap_low": low, "gap_high": high}
    row |= {"fpr95": report.fpr95, "auroc": report.auroc}
    if probability:
        row |= {"ece": report.ece, "landmarks_answered": report.landmarks_answered}
        row |= {"distractors_answered": report.distractors_answered}
    return {key: round(float(value), 4) for key, value in row.items()}


def of_answers(cases, answers):
    """Return truth and predictions; a query may occur in several cases."""
    truth = {str(i): sorted(case.truth) for i, case in enumerate(cases)}
    return truth, [Prediction(str(i), a.landmark or "-", a.confidence) for i, a in enumerate(answers)]


def notebook(data, plain, collection, gallery, queries):
    """Return predictions by the notebook's formula on plain descriptors: five candidates, the best three summed."""
    raw = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    found = {"best neighbor": [], "notebook's formula": [], "simple formula": []}
    simple = shipped_decider("efficientnet-lite2-gem", "xfeat", "nearest")
    for q in queries.tolist():
        similarity = raw[gallery] @ raw[q]
        nearest = np.argsort(-similarity, kind="stable")[:30]
        seen = [(gallery[i], float(similarity[i]), collection.pair(q, int(gallery[i]))[0]) for i in nearest]
        id = data.ids[q]
        found["best neighbor"].append(Prediction(id, data.landmark[seen[0][0]], seen[0][1]))
        scored = sorted(
            ((min(n + 1, 200) / 200 * max(0.8 - (1 - s), 0.1) / 0.8, data.landmark[g]) for g, s, n in seen[:5]),
            reverse=True,
        )
        totals = {}
        for score, landmark in scored[:3]:
            totals[landmark] = totals.get(landmark, 0) + score
        best = max(totals, key=totals.get)
        found["notebook's formula"].append(Prediction(id, best, totals[best]))
        score, landmark = max((s + 0.5 * min(max(0, n - 5), 60) / 60, data.landmark[g]) for g, s, n in seen)
        found["simple formula"].append(Prediction(id, landmark, simple.confidence(score)))
    return found


def unseen(cases, held_out, effort):
    """Return mean and spread over galleries whose landmarks nothing has seen, test photos asked, by closed and open."""
    answers = held_out_answers(cases, held_out, effort)
    groups = {}
    for case, answer in zip(cases, answers, strict=True):
        gallery = case.gallery
        if case.calibration_weight:
            groups.setdefault(gallery, []).append((case, answer))
    rows = {"closed": [], "open": []}
    for gallery, pairs in groups.items():
        truth, said = of_answers([c for c, _ in pairs], [a for _, a in pairs])
        rows["open" if gallery[2] else "closed"].append(figures(truth, said, probability=True))
    return {
        name: {key: [round(float(f([row[key] for row in found])), 4) for f in (np.mean, np.std)] for key in found[0]}
        for name, found in rows.items()
    }


def precision_table(cases, held_out, decision, effort):
    """Return, for each precision asked, the floor it chooses and the precision and coverage measured on these cases."""
    answers = held_out_answers(cases, held_out, effort)
    known = sum(bool(case.truth) for case in cases)
    rows = []
    for wanted in PRECISIONS:
        try:
            floor = decision.floor_for(wanted, effort)
        except GalleryError as error:
            rows.append({"asked": wanted, "error": str(error)})
            continue
        given = [a for a in answers if a.confidence >= floor]
        others = sum(a.confidence >= floor and not c.truth for c, a in zip(cases, answers, strict=True))
        right = sum(a.right for a in given)
        rows.append(
            {
                "asked": wanted,
                "floor": round(floor, 3),
                "precision": round(right / max(1, len(given)), 4),
                "answered": len(given),
                "known_answered_right": round(right / known, 4),
                "others_answered": round(others / max(1, len(cases) - known), 4),
            }
        )
    return rows


def costs(data_folder, limit):
    """Return what each effort costs a photo, all on the same photos in turn, beside always verifying thirty."""
    data = Data(data_folder, None)
    photos = [path for path, _ in data.queries("closed")[0]][:: max(1, 1025 // limit)]
    seconds, stages = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        gallery, made = build(data, Path(folder))
        plain, made_plain = build(data, Path(folder) / "plain", embedder="efficientnet-lite2-gem")
        recognizers = {effort: gallery.recognizer(effort=effort) for effort in CASCADES}
        before = plain.recognizer()
        before.effort = replace(before.effort, stages=("full",))
        recognizers["simple formula, 30 verified"] = before
        for photo in photos:
            for name, recognizer in recognizers.items():
                start = time.perf_counter()
                answer = recognizer.recognize(load(photo))
                seconds.setdefault(name, []).append(time.perf_counter() - start)
                verified = sum(c.num_inliers is not None for c in answer.evidence)
                stages.setdefault(name, []).append(verified)
        gallery.close(), plain.close()
    return {
        "gallery": made,
        "plain_gallery": made_plain,
        "photos": len(photos),
        "efforts": {
            name: {**machine.spread(times), "mean_ms": round(1000 * float(np.mean(times)), 1)}
            for name, times in seconds.items()
        },
    }


def show(result):
    """Print the tables."""
    console = Console(width=170)
    columns = ["accuracy", "gap", "gap_low", "gap_high", "fpr95", "auroc", "ece"]
    for name, rows in result["protocols"].items():
        table = Table("method", *columns, title=name)
        for row in rows:
            table.add_row(row["method"], *(str(row.get(c, "")) for c in columns))
        console.print(table)
    for key in ("unseen", "precision", "costs"):
        console.print(key, result.get(key))
    table = Table("without", *(f"{p} {c}" for p in ("closed", "open", "unseen open") for c in ("gap", "fpr95", "ece")))
    for row in result["ablation"]:
        table.add_row(
            row["without"], *(str(row[p][c]) for p in ("closed", "open", "unseen") for c in ("gap", "fpr95", "ece"))
        )
    console.print(table)


def learned(data, kept, *, with_glue):
    """Return the collection, the costlier matcher, the cases of many galleries, and what is learned from them.

    Args:
        data: the photos.
        kept: a file in which pairs looked at are kept between runs, or None.
        with_glue: whether the costlier matcher is asked.
    """
    collection, nothing, glued = collect_photos(data), np.zeros((0, 0), np.float32), {}
    if kept and kept.exists():
        found, glued = pickle.loads(kept.read_bytes())
        collection.pairs.update(found)
    cases = gallery_examples(data, collection)
    decision, held_out = learn_decider(cases, nothing)
    glue = None
    if with_glue:
        glue = FineMatching(data, held_out)
        glue.known.update(glued)
        cases = gallery_examples(data, collection, fine_matcher=glue)
        decision, held_out = learn_decider(cases, nothing)
    if kept:
        kept.write_bytes(pickle.dumps((collection.pairs, glue.known if glue else glued)))
    return collection, glue, cases, decision, held_out


def methods(data, plain, collection, withheld, name, measured, shipped_cases, held_out):
    """Return a row for each method on one protocol."""
    gallery, queries = protocol(data, withheld, name)
    known = set(data.landmark[gallery])
    truth = {data.ids[q]: [data.landmark[q]] if data.landmark[q] in known else [] for q in queries}
    rows = [
        {"method": method, **figures(truth, said, probability=method.startswith("simple"))}
        for method, said in notebook(data, plain, collection, gallery, queries).items()
    ]
    fitted = [recalibrate(held_out[k], measured)[1][k] for k in range(FOLDS)]
    asked = [(f"learned, {effort}", measured, held_out, effort) for effort in CASCADES]
    asked.append(("learned, default, calibrated to photos like these", measured, fitted, "default"))
    asked.append(("learned, default, descriptor as shipped", shipped_cases, held_out, "default"))
    for method, cases, decisions, effort in asked:
        said = of_answers(cases, held_out_answers(cases, decisions, effort))
        rows.append({"method": method, **figures(*said, probability=True)})
    return rows


def ablation(cases, measured):
    """Return a row for each part left out, the rest learned anew."""
    rows = []
    for name, terms in {"nothing": (), **PARTS}.items():
        _, less = learn_decider(cases, np.zeros((0, 0), np.float32), without=terms)
        row = {"without": name}
        for which, asked in measured.items():
            row[which] = figures(*of_answers(asked, held_out_answers(asked, less, "default")), probability=True)
        row["unseen"] = {key: value[0] for key, value in unseen(cases, less, "default")["open"].items()}
        rows.append(row)
    return rows


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="where the descriptors of the halves are")
    parser.add_argument("--cache", type=Path, help="keep descriptors, features and pairs here between runs")
    parser.add_argument("--out", type=Path, help="write the figures as JSON too")
    parser.add_argument("--no-glue", action="store_true", help="leave out the costlier matcher")
    parser.add_argument("--costs", type=int, default=200, help="photos timed; 0 for none")
    options = parser.parse_args()
    result = {"benchmark": "decision", **machine.describe(), "data": options.data.name, "folds": FOLDS, "seed": 0}
    if options.costs:  # first, while nothing else has filled the memory
        result["costs"] = costs(options.data, options.costs)
    data, plain, key = cached(options.data, options.runs, options.cache)
    kept = options.cache / f"{options.data.name}-{key}-pairs.pickle" if options.cache else None
    withheld = set((options.data / "withheld.csv").read_text().split()[1:])
    collection, glue, cases, decision, held_out = learned(data, kept, with_glue=not options.no_glue)
    measured = {name: cross_validated(data, collection, withheld, name, glue) for name in ("closed", "open")}
    result["protocols"] = {
        name: methods(
            data, plain, collection, withheld, name, asked, as_shipped(data, collection, withheld, name, glue), held_out
        )
        for name, asked in measured.items()
    }
    result["unseen"] = {effort: unseen(cases, held_out, effort) for effort in CASCADES}
    result["precision"] = {n: precision_table(asked, held_out, decision, "default") for n, asked in measured.items()}
    result["ablation"] = ablation(cases, measured)
    result["load_at_end"] = machine.describe()["load_at_start"]
    show(result)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
