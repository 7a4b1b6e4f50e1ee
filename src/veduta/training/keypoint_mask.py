"""Learn which keypoints are worth keeping, from those that other photos of the same landmark confirm.

    python -m veduta.training.keypoint_mask DATA --out src/veduta/models/usefulness.npz

DATA is in the competition's layout: train.csv, and photos under train/. Every reference is held against its relatives;
a keypoint that two photos agree on is one that stays. Measures the prediction on landmarks not learned from.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from veduta.concurrency import in_order
from veduta.datasets.gldv2 import read_train
from veduta.datasets.layout import need_file, split_folder
from veduta.embedders import make_embedder
from veduta.features import make_extractor
from veduta.gallery.match_graph import MIN_CONFIRMING
from veduta.geometry import HomographyVerifier
from veduta.images import load
from veduta.masks import ColorRule, mask_features
from veduta.matching import make_matcher
from veduta.training.decision.cross_fit import landmark_halves
from veduta.training.decision.examples import Photo, PhotoCollection
from veduta.types import Bool, Float32, Float64, Image, LocalFeatures

MASK_RIDGE = 1e-3
AGREE = 8  # inliers from which a relative is believed


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Keypoints of references with relatives, side by side.

    Attributes:
        inputs: (K, D) what is known of each.
        rule: (K,) what the rule of thumb says.
        confirmed: (K,) whether a relative confirms it.
        landmark: (K,) of its photo.
        photo: (K,) number of its photo.
    """

    inputs: Float32
    rule: Float32
    confirmed: Bool
    landmark: np.ndarray[tuple[int], np.dtype[np.object_]]
    photo: np.ndarray[tuple[int], np.dtype[np.int64]]


def gather_keypoints(data: Path) -> Keypoints:
    """Return the keypoints of a data set's references that enough relatives agree with."""
    labels, folder = read_train(need_file(data, "train.csv")), split_folder(data, "train")
    embedder, extractor = make_embedder(), make_extractor()

    def look(item: tuple[str, str]) -> tuple[Float32, LocalFeatures, Float32, Float32]:
        image: Image = load(folder.path(item[0]))
        features = extractor.extract(image)
        return (
            embedder.embed([image])[0],
            features,
            mask_features(image, features),
            ColorRule().repeatability(image, features),
        )

    pairs = list(labels.pairs())
    looked = [outputs for _, outputs in in_order(look, pairs)]
    photos = [Photo(id, landmark, outputs[1]) for (id, landmark), outputs in zip(pairs, looked, strict=True)]
    likeness = np.stack([outputs[0] for outputs in looked])
    references = np.arange(len(photos))
    collection = PhotoCollection(photos, make_matcher("nearest"), HomographyVerifier(), likeness, references)
    usable = [i for i in references.tolist() if _believed(collection, i) >= MIN_CONFIRMING]
    counts = [len(photos[i].features) for i in usable]
    return Keypoints(
        inputs=np.concatenate([looked[i][2] for i in usable]),
        rule=np.concatenate([looked[i][3] for i in usable]),
        confirmed=np.concatenate([_confirmed(collection, i) for i in usable]),
        landmark=np.repeat(np.array([photos[i].landmark for i in usable], object), counts),
        photo=np.repeat(np.array(usable, np.int64), counts),
    )


def _believed(collection: PhotoCollection, reference: int) -> int:
    return sum(count >= AGREE for count, _ in collection.kin(reference).values())


def _confirmed(collection: PhotoCollection, reference: int) -> Bool:
    confirmed = np.zeros(len(collection.photos[reference].features), bool)
    for count, keypoints in collection.kin(reference).values():
        if count >= AGREE:
            confirmed[keypoints] = True
    return confirmed


def fit_mask(inputs: Float32, confirmed: Bool) -> dict[str, Float64]:
    """Return mean, scale, weights and bias of the logistic regression of least regularized loss."""
    from scipy.optimize import minimize

    mean, scale = inputs.mean(0, dtype=np.float64), inputs.std(0, dtype=np.float64) + 1e-6
    standard, y = ((inputs - mean) / scale).astype(np.float64), confirmed.astype(np.float64)

    def loss(p: Float64) -> tuple[float, Float64]:
        z = standard @ p[:-1] + p[-1]
        error = (1 / (1 + np.exp(-z)) - y) / len(y)
        value = (np.logaddexp(0, z) - y * z).mean() + MASK_RIDGE / 2 * p[:-1] @ p[:-1]
        return float(value), np.append(standard.T @ error + MASK_RIDGE * p[:-1], error.sum())

    solution = minimize(loss, np.zeros(standard.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return {"mean": mean, "scale": scale, "weights": solution[:-1], "bias": solution[-1:]}


def mask_log_odds(learned: dict[str, Float64], inputs: Float32) -> Float64:
    """Return (K,) log odds of being confirmed."""
    return np.asarray((inputs - learned["mean"]) / learned["scale"] @ learned["weights"] + learned["bias"])


def auroc(score: Sequence[float] | Float64 | Float32, right: Bool) -> float:
    """Return how often a confirmed keypoint is scored above one that is not; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata(score)
    positive, negative = int(right.sum()), int((~right).sum())
    return float((ranks[right].sum() - positive * (positive + 1) / 2) / (positive * negative))


def keypoint_mask_main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    options = parser.parse_args()
    keypoints = gather_keypoints(options.data)
    sys.stderr.write(f"{len(keypoints.confirmed)} keypoints, {keypoints.confirmed.mean():.0%} of them confirmed\n")
    for part, half in enumerate(landmark_halves(set(keypoints.landmark.tolist()))):
        taught = np.array([name in half for name in keypoints.landmark])
        score = mask_log_odds(
            fit_mask(keypoints.inputs[taught], keypoints.confirmed[taught]), keypoints.inputs[~taught]
        )
        right = keypoints.confirmed[~taught]
        sys.stderr.write(
            f"learned on half {part}, asked about the other: AUROC {auroc(score, right):.3f}, "
            f"the rule of thumb {auroc(keypoints.rule[~taught], right):.3f}\n"
        )
    learned = fit_mask(keypoints.inputs, keypoints.confirmed)
    with options.out.open("wb") as file:
        single = {name: array.astype(np.float32) for name, array in learned.items()}
        np.savez(file, mean=single["mean"], scale=single["scale"], weights=single["weights"], bias=single["bias"])
    sys.stdout.write(f"{options.out}: sha256 {hashlib.sha256(options.out.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    keypoint_mask_main()
