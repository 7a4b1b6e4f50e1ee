"""Grouping a library without a gallery: how many of the photos of one place end up together, and how long it takes.

    python benchmarks/grouping.py DATA [--photos 5000] [--work FOLDER] [--out benchmarks/results/grouping.json]
    python benchmarks/grouping.py DATA --fit [--work FOLDER]

DATA is in the competition's layout; all its photos, distractors among them, are one library, filled up to --photos with
mirrored ones that count for the time only. A pair of photos is right when both show the same landmark, so two
distractors in one group are always wrong. Quality is given for the weights that ship, and for weights fitted in five
parts without the landmarks measured; for all photos, and without those of landmarks that came from a web search, of
which about a fifth show something else.

--fit prints the weights of `veduta.library.cluster.pairs`. They are fitted to the library as it is and to thinned
ones, in which a place has two to twelve photos, as in a person's own; photos of the data's bank are left
out, for what looks like nothing was learned from them.
"""

import argparse
import collections
import csv
import json
import os
import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import machine
import numpy as np
import PIL.Image

from veduta.decision.candidates import distractor_similarity
from veduta.decision.model import shipped_decider
from veduta.embedders import make_embedder
from veduta.features import make_extractor
from veduta.images import read_bytes
from veduta.library import Library
from veduta.library.cluster import features, linkage
from veduta.library.cluster import pairs as pair_model
from veduta.library.cluster.cache import FeatureCache

FOLDS, SEED, THINNED = 5, 0, 6
WEB = "world13-ddg"  # the set whose labels are a search engine's
RIDGE = 1.0


def photo(data, split, id):
    """Return a photo's path."""
    return data / split / id[0] / id[1] / id[2] / f"{id}.jpg"


def table(path):
    """Return a table's rows."""
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def listed(data):
    """Yield (path, landmark or "", whether the label is a search engine's, whether of the bank) of every photo."""
    sets = {row["id"]: row["set"] for row in table(data / "sources.csv")}
    for row in table(data / "train.csv"):
        yield photo(data, "train", row["id"]), row["landmark_id"], sets[row["id"]] == WEB, False
    for row in table(data / "test_solution.csv"):
        yield photo(data, "test", row["id"]), row["landmarks"], sets.get(row["id"]) == WEB, False
    for path in sorted((data / "bank").rglob("*.jpg")):
        yield path, "", False, True


def build(data, folder, count):
    """Fill a folder with links to the photos, and mirrored ones up to `count`; return sha256 -> what is known."""
    known = {}
    rows = list(listed(data))
    folder.mkdir(parents=True, exist_ok=True)
    for path, *facts in rows:
        known.setdefault(read_bytes(path).sha256, tuple(facts))
        if not (link := folder / path.name).exists():
            link.symlink_to(path)
    for path, *_ in rows[: max(0, count - len(rows))]:
        if not (mirrored := folder / f"mirrored-{path.name}").exists():
            with PIL.Image.open(path) as opened:
                opened.convert("RGB").transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored, quality=92)
    return known


# --- quality ------------------------------------------------------------------------------------------------------


def counted(groups, labels):
    """Return precision and recall over pairs of the photos that have an entry in labels; "" shows no landmark."""
    together = same = right = 0
    for some in groups:
        found = [labels[key] for key in some if key in labels]
        counts = collections.Counter(label for label in found if label)
        together += len(found) * (len(found) - 1) // 2
        right += sum(n * (n - 1) // 2 for n in counts.values())
    for n in collections.Counter(label for label in labels.values() if label).values():
        same += n * (n - 1) // 2
    return {"precision": round(right / max(together, 1), 4), "recall": round(right / max(same, 1), 4), "pairs": same}


def judged(groups, known):
    """Return quality for all labels, and for those that people gave."""
    everything = {key: label for key, (label, _, _) in known.items()}
    checked = {key: label for key, (label, web, _) in known.items() if not web}
    return {"all": counted(groups, everything), "checked": counted(groups, checked)}


# --- fitting ------------------------------------------------------------------------------------------------------


class World:
    """Some photos of a library with what grouping knows of their pairs."""

    def __init__(self, cache, contents, known):
        self.contents = sorted(contents)
        self.labels = np.array([known[key][0] for key in self.contents])
        self.bank = np.array([known[key][2] for key in self.contents])
        self.vectors = cache.descriptors(self.contents)
        self.neighbours = pair_model.nearest_photos(self.vectors, pair_model.NEIGHBORS)
        a, b = pair_model.pairs_of(self.neighbours)
        inliers = features.verify_pairs(cache, self.contents, a, b, None)
        similarity = np.einsum("ij,ij->i", self.vectors[a], self.vectors[b]).astype(np.float32)
        self.pairs = pair_model.PhotoPairs(a, b, similarity, inliers, np.ones(len(a), bool))
        centres = shipped_decider(features.EMBEDDER, features.EXTRACTOR, features.MATCHER).centers
        self.nothing = distractor_similarity(self.vectors, centres)

    def own(self):
        """Return pairs and their own evidence."""
        return self.pairs, pair_model.pair_features(self.pairs, self.nothing)

    def around(self, own):
        """Return pairs, further ones too, and the evidence around them, given the weights of their own."""
        chance = pair_model.pair_probability(pair_model.pair_features(self.pairs, self.nothing), own)
        likely = pair_model.WeightedGraph.of(len(self.contents), self.pairs.a, self.pairs.b, chance)
        wider = pair_model.with_second_order(self.pairs, self.vectors, likely)
        return wider, pair_model.context_features(wider, self.nothing, likely, self.neighbours)

    def same(self, pairs):
        """Return whether each pair shows one landmark."""
        return (self.labels[pairs.a] == self.labels[pairs.b]) & (self.labels[pairs.a] != "")

    def counted(self, pairs, kept):
        """Return which pairs to learn from: none of the bank, and of landmarks only those kept."""
        fine = ~self.bank & np.array([label in kept or not label for label in self.labels])
        return fine[pairs.a] & fine[pairs.b]


def logistic(evidence, right, weight):
    """Return weights for evidence (P, F), and a constant, of the ridge logistic regression, by Newton's method."""
    mean, scale = evidence.mean(0), evidence.std(0) + 1e-9
    design = np.column_stack([(evidence - mean) / scale, np.ones(len(evidence))])
    ridge = np.r_[np.full(evidence.shape[1], RIDGE), 1e-6]
    found = np.zeros(design.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(design @ found, -40, 40)))
        slope = design.T @ (weight * (chance - right)) + ridge * found
        bend = (design * (weight * chance * (1 - chance))[:, None]).T @ design + np.diag(ridge)
        found -= np.linalg.solve(bend, slope)
    plain = found[:-1] / scale
    return (*plain.tolist(), float(found[-1] - (plain * mean).sum()))


def fitted(worlds, kept):
    """Return both sets of weights, each world counting as much as any other."""

    def learn(parts):
        evidence, right, weight = [], [], []
        for world, (pairs, figures) in parts:
            use = world.counted(pairs, kept)
            evidence.append(figures[use])
            right.append(world.same(pairs)[use])
            weight.append(np.full(use.sum(), 1e5 / max(use.sum(), 1)))
        return logistic(*map(np.concatenate, (evidence, right, weight)))

    own = learn([(world, world.own()) for world in worlds])
    return own, learn([(world, world.around(own)) for world in worlds])


def thinned(contents, known, rng):
    """Return contents of a library in which a place has two to twelve photos and half the distractors are gone."""
    by_label = collections.defaultdict(list)
    for key in sorted(contents):
        by_label[known[key][0]].append(key)
    kept = []
    for label, some in sorted(by_label.items()):
        most = rng.integers(2, 13) if label else len(some) // 2
        kept += [some[i] for i in rng.permutation(len(some))[:most]]
    return kept


def folded(world, worlds):
    """Return groups by weights that were fitted without the landmarks of each fold; a pair's chance is their mean."""
    labels = sorted({label for label in world.labels.tolist() if label})
    fold = dict(
        zip(np.random.default_rng(SEED).permutation(labels).tolist(), np.arange(len(labels)) % FOLDS, strict=True)
    )
    rng = np.random.default_rng(SEED)
    of = np.array([fold.get(label, -1) for label in world.labels.tolist()])
    of[of < 0] = rng.integers(0, FOLDS, int((of < 0).sum()))
    total, count, pairs = {}, collections.Counter(), None
    for number in range(FOLDS):
        own, around = fitted(worlds, {label for label in labels if fold[label] != number})
        pairs, evidence = world.around(own)
        chances = pair_model.pair_probability(evidence, around)
        mine = (of[pairs.a] == number) | (of[pairs.b] == number)
        for i in np.flatnonzero(mine).tolist():
            key = int(pairs.a[i]), int(pairs.b[i])
            total[key] = total.get(key, 0.0) + float(chances[i])
            count[key] += 1
    keys = sorted(total)
    a, b = np.array(keys, np.int64).T
    inliers = {(int(x), int(y)): int(n) for x, y, n in zip(pairs.a, pairs.b, pairs.inliers, strict=True)}
    inliers |= {
        (int(x), int(y)): int(n) for x, y, n in zip(world.pairs.a, world.pairs.b, world.pairs.inliers, strict=True)
    }
    counts = np.array([inliers.get(key, 0) for key in keys], np.int64)
    every = pair_model.PhotoPairs(a, b, np.zeros(len(a), np.float32), counts, np.ones(len(a), bool))
    found = linkage.average_linkage(len(world.contents), every, np.array([total[key] / count[key] for key in keys]))
    return [[world.contents[i] for i in some] for some in found]


# --- the whole ------------------------------------------------------------------------------------------------------


def looked_through(library, known, progress):
    """Return the cache of features, and sha256 -> a file of the data's photos, of a burst the one standing for it."""
    bests = {shot.sha256: str(shot.file) for shot in library.assets() if shot.best and shot.sha256 in known}
    eyes = features.GroupingModels(make_embedder(features.EMBEDDER), make_extractor(features.EXTRACTOR))
    cache = FeatureCache(library.folder, eyes.model)
    features.extract_features(cache, eyes, bests, 10**9, progress=progress)
    return cache, bests


def worlds_of(cache, bests, known):
    """Return the library as a world, and thinned ones."""
    rng = np.random.default_rng(SEED)
    return [World(cache, some, known) for some in (bests, *(thinned(bests, known, rng) for _ in range(THINNED)))]


def by_shipped(world):
    """Return the groups of a world by the weights that ship."""
    pairs, chances = pair_model.score_pairs(world.pairs, world.vectors, world.nothing, world.neighbours)
    return [[world.contents[i] for i in some] for some in linkage.average_linkage(len(world.contents), pairs, chances)]


def quality(worlds, known):
    """Return, of the library as it is and of a thinned one, what shipped and held-out weights reach."""
    found = {}
    for name, world in (("whole", worlds[0]), ("thinned", worlds[1])):
        here = {key: known[key] for key in world.contents}
        found[name] = {"shipped": judged(by_shipped(world), here), "folded": judged(folded(world, worlds), here)}
        print(name, found[name], flush=True)
    return found


def fit(folder, known, progress):
    """Print weights fitted to everything, and what they reach."""
    with Library(folder) as library:
        library.scan(progress=lambda done, total: progress(done, total, "scanning"))
        cache, bests = looked_through(library, known, progress)
        worlds = worlds_of(cache, bests, known)
        pair_model.PAIR_WEIGHTS, pair_model.CONTEXT_WEIGHTS = fitted(
            worlds, {label for label, web, _ in known.values() if label and not web}
        )
        for name, weights in (("OWN", pair_model.PAIR_WEIGHTS), ("AROUND", pair_model.CONTEXT_WEIGHTS)):
            print(name, "=", tuple(round(weight, 3) for weight in weights))
        quality(worlds, known)
        cache.close()


def measure(folder, known, progress, marks):
    """Return what grouping a library that nobody has looked through takes and reaches."""
    shutil.rmtree(folder / ".veduta", ignore_errors=True)
    with Library(folder) as library:
        begun = time.perf_counter()
        found = library.group(progress=progress)
        marks["end"] = time.perf_counter()
        seconds = {a: round(marks[b] - marks[a], 1) for a, b in pairwise(marks)}
        seconds["whole"] = round(marks["end"] - begun, 1)
        library.group()
        seconds["again"] = round(time.perf_counter() - marks["end"], 1)
        shots, kin = library.assets(), collections.defaultdict(list)
        for shot in shots:
            kin[shot.burst or shot.sha256].append(shot.sha256)
        groups = [[key for s in each.assets for key in kin[s.burst or s.sha256]] for each in found]
        cache, bests = looked_through(library, known, progress)
        reached = quality(worlds_of(cache, bests, known), known)
        cache.close()
    return {
        "photos": len(shots),
        "of_the_data": len(known),
        "groups": len(found),
        "seconds": seconds,
        "library": judged(groups, known),
        **reached,
    }


def main():
    """Measure, or fit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    marks = {}

    def progress(done, total, verb):
        marks.setdefault(verb, time.perf_counter())
        if done % 250 == 0:
            print(verb, f"{done}/{total}", flush=True)

    with tempfile.TemporaryDirectory(prefix="veduta-grouping-") as held:
        folder = (options.work or Path(held)) / "photos"
        known = build(options.data.absolute(), folder, 0 if options.fit else options.photos)
        if options.fit:
            fit(folder, known, progress)
            return
        report = {"machine": machine.describe(), "seed": SEED} | measure(folder, known, progress, marks)
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
