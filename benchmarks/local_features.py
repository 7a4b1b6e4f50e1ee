"""What each kind of local features and each matcher costs and is worth, everything else equal.

    python benchmarks/local_features.py DATA [--queries 24] [--out benchmarks/results/local_features.json]

DATA is in the competition's layout. Every pair of extractor and matcher whose weights are on this machine is asked
about the same queries, as many of known landmarks as of none, drawn by a seed, and the same candidates, those the
descriptor that ships retrieves; the score is the simple formula's. So only the local features differ. Photos are
extracted once with the most keypoints, best first, and cut.

Beside it: matches on drawn facades, against the homography that made them; and the order of work of hloc rebuilt from
kornia, without any of this package's code: DISK at 1,024 pixels and 2,048 keypoints, LightGlue, matches counted.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from pathlib import Path

import machine
import numpy as np
from recognize import Data, photo
from rich.console import Console
from rich.table import Table

from veduta.concurrency import in_order, one_blas_thread
from veduta.decision.candidates import CHANCE_INLIERS, INLIER_WEIGHT, SATURATED_INLIERS
from veduta.embedders import make_embedder
from veduta.errors import ModelError
from veduta.features import EXTRACTORS, make_extractor
from veduta.features_codec import pack_features
from veduta.geometry import HomographyVerifier
from veduta.images import from_array, load
from veduta.masks import ColorRule, LearnedMask, select_keypoints
from veduta.matching import MATCHERS, make_matcher
from veduta.metrics import Prediction, accuracy, gap, open_set

SEED = 0
CANDIDATES = 5
KEYPOINTS = (512, 1024, 2048)
COSTLY = 0.05  # seconds a pair from which the larger numbers of keypoints are timed on a few pairs only
WITHIN = (1, 3, 5)  # pixels
FACADES = 6


def say(text):
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def drawn(data, queries):
    """Return for each protocol its queries' numbers: as many of known landmarks as of others."""
    rng = np.random.default_rng(SEED)
    asked = {}
    for protocol in ("closed", "open"):
        found, truth = data.queries(protocol)
        known = [q for q in found if truth[q[1]]]
        others = [q for q in found if not truth[q[1]]]
        picked = [rows[i] for rows in (known, others) for i in rng.permutation(len(rows))[:queries]]
        asked[protocol] = picked, {key: truth[key] for _, key in picked}
    return asked


class Retrieved:
    """The candidates of each query: what every pair of extractor and matcher is asked about."""

    def __init__(self, data, asked):
        self.paths = {id: photo(data.folder, "train", id) for id, _ in data.train}
        self.landmark = dict(data.train)
        embedder = make_embedder()
        paths = [self.paths[id] for id, _ in data.train]
        rows = np.stack([row for _, row in in_order(lambda p: embedder.embed([load(p)])[0], paths)])
        self.found = {}
        for protocol, (queries, _) in asked.items():
            known = np.array([protocol == "closed" or landmark not in data.withheld for _, landmark in data.train])
            for path, key in queries:
                similarity = np.where(known, rows @ embedder.embed([load(path)])[0], -1)
                best = [i for i in np.argsort(-similarity, kind="stable") if data.train[i][0] != key][:CANDIDATES]
                self.found[protocol, key] = [(data.train[i][0], float(similarity[i])) for i in best]


def cut(features, n):
    """Return the best n of these features."""
    return select_keypoints(features, np.arange(len(features)) < n)


class Features:
    """The local features of photos by one extractor, looked for once."""

    def __init__(self, extractor):
        self.extractor, self.kept, self.seconds = extractor, {}, []

    def of(self, path):
        """Return the features of a photo."""
        if path not in self.kept:
            image = load(path)
            start = time.perf_counter()
            self.kept[path] = self.extractor.extract(image)
            self.seconds.append(time.perf_counter() - start)
        return self.kept[path]


def pair_figures(retrieved, asked, inliers):
    """Return accuracy and GAP of both protocols, and inliers of true and false pairs, of (query, reference) -> n."""
    figures, true, false = {}, [], []
    for protocol, (queries, truth) in asked.items():
        said = []
        for path, key in queries:
            best = ("", -1.0)
            for reference, similarity in retrieved.found[protocol, key]:
                n = inliers[path, reference]
                landmark = retrieved.landmark[reference]
                (true if landmark in truth[key] else false).append(n)
                best = max(
                    best,
                    (
                        landmark,
                        similarity
                        + INLIER_WEIGHT * min(max(0, n - CHANCE_INLIERS), SATURATED_INLIERS) / SATURATED_INLIERS,
                    ),
                    key=lambda b: b[1],
                )
            said.append(Prediction(key, best[0], best[1]))
        figures[protocol] = {"accuracy": round(accuracy(truth, said), 4), "gap": round(gap(truth, said), 4)}
        figures[protocol]["fpr95"] = round(open_set(truth, said, 0.5).fpr95, 4)
    figures["true_inliers"] = [float(x) for x in np.percentile(true, [25, 50, 75])]
    figures["false_inliers"] = [float(x) for x in np.percentile(false, [50, 95, 100])]
    figures["pairs"] = [len(true), len(false)]
    return figures


def all_pairs(retrieved, asked):
    """Return the (query, reference) pairs of both protocols, each once."""
    return sorted(
        {
            (path, reference)
            for protocol, (queries, _) in asked.items()
            for path, key in queries
            for reference, _ in retrieved.found[protocol, key]
        }
    )


def measure(extractor, matcher, features, retrieved, asked, keypoints):
    """Return one row of the table."""
    made, verifier = make_matcher(matcher, extractor), HomographyVerifier()
    pairs, inliers, seconds = all_pairs(retrieved, asked), {}, []
    few = seconds_of(made, verifier, features, retrieved, pairs[:8], keypoints)
    whole = keypoints == KEYPOINTS[0] or statistics.median(few) < COSTLY
    for path, reference in pairs if whole else pairs[:20]:
        a, b = (cut(features.of(p), keypoints) for p in (path, retrieved.paths[reference]))
        start = time.perf_counter()
        inliers[path, reference] = verifier.verify(a, b, made.match(a, b)).num_inliers
        seconds.append(time.perf_counter() - start)
    row = {"extractor": extractor, "matcher": matcher, "keypoints": keypoints, "ms_a_pair": machine.spread(seconds)}
    row["ms_a_photo"] = machine.spread(features.seconds)
    sizes = [len(pack_features(cut(found, keypoints))) for found in list(features.kept.values())[:100]]
    row["bytes_a_reference"] = round(float(np.mean(sizes)))
    if whole:
        row |= pair_figures(retrieved, asked, inliers)
    row["facades"] = facades(features.extractor, made, keypoints)
    return row


def seconds_of(made, verifier, features, retrieved, pairs, keypoints):
    """Return what a few pairs take."""
    seconds = []
    for path, reference in pairs:
        a, b = (cut(features.of(p), keypoints) for p in (path, retrieved.paths[reference]))
        start = time.perf_counter()
        verifier.verify(a, b, made.match(a, b))
        seconds.append(time.perf_counter() - start)
    return seconds


def facades(extractor, matcher, keypoints):
    """Return how many matches there are on drawn facades, and the share within so many pixels of the truth."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support import world

    off = []
    for seed in range(FACADES):
        view = world.view(world.facade(seed), seed, 1.0, occlude=False)
        pictures = from_array(view.pixels), from_array(world.facade(seed))
        a, b = (cut(extractor.extract(picture), keypoints) for picture in pictures)
        found = matcher.match(a, b)
        ends = np.c_[a.keypoints[found.indices[:, 0]], np.ones(len(found))] @ np.linalg.inv(view.homography).T
        off.append(np.hypot(*(ends[:, :2] / ends[:, 2:] - b.keypoints[found.indices[:, 1]]).T))
    every = np.concatenate(off)
    return {"matches": round(len(every) / FACADES, 1)} | {
        f"within_{px}_px": round(float((every <= px).mean()), 4) for px in WITHIN
    }


def masks(features, retrieved, asked):
    """Return what keeping the likeliest three in five of the query's keypoints does, by each mask, all equally many."""
    verifier, made, rows = HomographyVerifier(), make_matcher("nearest"), []
    share, rng = 0.6, np.random.default_rng(SEED)
    ways = {
        "all keypoints": None,
        "best by the detector": lambda image, found: -np.arange(len(found), dtype=np.float32),
        "at random": lambda image, found: rng.random(len(found)),
        "colors": lambda image, found: ColorRule().repeatability(image, found) * 1e6 - np.arange(len(found)),
        "usefulness": LearnedMask().repeatability,
    }
    for name, way in ways.items():
        kept, inliers = {}, {}
        for path, reference in all_pairs(retrieved, asked):
            if path not in kept:
                found = cut(features.of(path), 512)
                if way is not None:
                    order = np.argsort(-way(load(path), found), kind="stable")[: round(share * len(found))]
                    found = select_keypoints(found, np.isin(np.arange(len(found)), order))
                kept[path] = found
            b = cut(features.of(retrieved.paths[reference]), 512)
            inliers[path, reference] = verifier.verify(kept[path], b, made.match(kept[path], b)).num_inliers
        rows.append({"mask": name, **pair_figures(retrieved, asked, inliers)})
    return rows


def default_speed(retrieved, asked):
    """Return what extraction, and matching with verification, take on one core at 512 keypoints."""
    from veduta.features import XFeat

    extractor, verifier, made = XFeat(threads=1), HomographyVerifier(), make_matcher("nearest")
    pairs = all_pairs(retrieved, asked)[:150]
    features, photos = Features(extractor), {}
    with one_blas_thread():
        for path, reference in pairs:
            photos.setdefault(path, []).append(features.of(retrieved.paths[reference]))
            features.of(path)
        one, many = [], []
        for path, references in photos.items():
            query = features.of(path)
            start = time.perf_counter()
            for reference in references:
                verifier.verify(query, reference, made.match(query, reference))
            middle = time.perf_counter()
            for reference, matches in zip(references, made.match_many(query, references), strict=True):
                verifier.verify(query, reference, matches)
            one.append((middle - start) / len(references))
            many.append((time.perf_counter() - middle) / len(references))
    return {
        "ms_a_photo": machine.spread(features.seconds),
        "ms_a_pair": machine.spread(one),
        "ms_a_pair_of_several": machine.spread(many),
    }


def hloc_order(retrieved, asked, limit):
    """Return what hloc's order of work takes and is worth, by kornia alone: no geometry, matches are the score."""
    import cv2
    import torch
    from kornia.feature import DISK, LightGlue

    from veduta.models.weights import find_weights

    disk, glue = DISK().eval(), LightGlue(features=None, input_dim=128).eval()
    disk.load_state_dict(torch.load(find_weights("disk").file, map_location="cpu", weights_only=True)["extractor"])
    state = torch.load(find_weights("lightglue-disk").file, map_location="cpu", weights_only=True)
    for i in range(9):
        for part in ("self_attn", "cross_attn"):
            state = {k.replace(f"{part}.{i}.", f"transformers.{i}.{part}."): v for k, v in state.items()}
    glue.load_state_dict(state, strict=False)
    seen, photo_seconds, pair_seconds = {}, [], []

    def look(path):
        if path not in seen:
            pixels = load(path).pixels
            start = time.perf_counter()
            factor = 1024 / max(pixels.shape[:2])
            pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            photo = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            with torch.inference_mode():
                found = disk(photo, n=2048, pad_if_not_divisible=True)[0]
            seen[path] = {
                "keypoints": found.keypoints[None],
                "descriptors": found.descriptors[None],
                "image_size": torch.tensor([[pixels.shape[1], pixels.shape[0]]]),
            }
            photo_seconds.append(time.perf_counter() - start)
        return seen[path]

    for path, reference in all_pairs(retrieved, asked)[:limit]:
        a, b = look(path), look(retrieved.paths[reference])
        start = time.perf_counter()
        with torch.inference_mode():
            glue({"image0": a, "image1": b})
        pair_seconds.append(time.perf_counter() - start)
    return {"ms_a_photo": machine.spread(photo_seconds), "ms_a_pair": machine.spread(pair_seconds)}


def show(result):
    """Print the tables."""
    console = Console(width=190)
    table = Table(
        "pair", "keypoints", "ms/photo", "ms/pair", "bytes", "true inliers", "false", "closed", "open", "3 px"
    )
    for row in result["pairs"]:
        worth = [f"{row[p]['accuracy']:.3f} {row[p]['gap']:.3f}" if p in row else "" for p in ("closed", "open")]
        counts = [str(row.get(f"{kind}_inliers", "")) for kind in ("true", "false")]
        times = [f"{row[key]['median_ms']:.1f}" for key in ("ms_a_photo", "ms_a_pair")]
        shown = [f"{row['extractor']} + {row['matcher']}", str(row["keypoints"]), *times, str(row["bytes_a_reference"])]
        table.add_row(*shown, *counts, *worth, f"{row['facades']['within_3_px']:.3f}")
    console.print(table)
    for key in ("masks", "default", "hloc's order"):
        console.print(key, result.get(key))


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--queries", type=int, default=24, help="of known landmarks, and as many of none")
    parser.add_argument("--only", nargs="*", help="extractors; all whose weights are here unless said")
    parser.add_argument("--out", type=Path, help="write the figures as JSON too")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    result = {"benchmark": "local_features", **machine.describe(), "seed": SEED, "queries": options.queries}
    result |= {"data": options.data.name, "candidates": CANDIDATES, "missing": {}, "pairs": []}
    asked = drawn(Data(options.data, None), options.queries)
    retrieved = Retrieved(Data(options.data, None), asked)
    result["default"] = default_speed(retrieved, asked)
    for name in options.only or EXTRACTORS:
        try:
            features = Features(make_extractor(name, max(KEYPOINTS)))
        except ModelError as error:
            result["missing"][name] = str(error).split(";")[0]
            continue
        for matcher, (_, understands) in MATCHERS.items():
            for keypoints in KEYPOINTS if understands is None or name in understands else ():
                result["pairs"].append(measure(name, matcher, features, retrieved, asked, keypoints))
                say(f"{name} + {matcher}, {keypoints}: {result['pairs'][-1]['ms_a_pair']['median_ms']} ms a pair")
                write(result, options.out)
        if name == "xfeat":
            result["masks"] = masks(features, retrieved, asked)
    try:
        result["hloc's order"] = hloc_order(retrieved, asked, 20)
    except (ImportError, ModelError) as error:
        result["missing"]["hloc's order"] = str(error).split(";")[0]
    result["load_at_end"] = machine.describe()["load_at_start"]
    show(result)
    write(result, options.out)
    return 0


def write(result, out):
    """Write what there is so far: an hour's figures are not to be lost to the last of them."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
