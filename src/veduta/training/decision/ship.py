"""Learn the decision that ships from a data set in the competition's layout, and write that as one file.

    python -m veduta.training.decision.cross_fit DATA --out RUNS
    python -m veduta.training.decision.ship DATA --runs RUNS --out src/veduta/models/decision.npz

DATA holds train.csv, test_solution.csv, and photos under train/, test/ and bank/ (photos that show no landmark). A
descriptor trained on half of the landmarks describes a gallery and queries of the other half, and the other way round:
what the decision learns from are galleries that no part of the pipeline has seen, as a user's are. Needs
``[calibrate]``, and ``[train]`` for the two descriptors.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from veduta.cascade import fine_candidates
from veduta.concurrency import in_order
from veduta.decision.answer import DEFAULT_FLOOR, LandmarkScore
from veduta.decision.candidates import CHANCE_INLIERS, INLIER_WEIGHT, SATURATED_INLIERS
from veduta.decision.model import CASCADES, CONTINUE_BETWEEN, LearnedDecider
from veduta.decision.terms import TERM_NAMES
from veduta.embedders import DEFAULT_EMBEDDER, make_embedder
from veduta.features import make_extractor
from veduta.features_codec import pack_features, unpack_features
from veduta.geometry import HomographyVerifier
from veduta.images import load
from veduta.matching import make_matcher
from veduta.metrics import Prediction, evaluate
from veduta.training.decision.cross_fit import landmark_halves, part_of
from veduta.training.decision.examples import Photo, PhotoCollection, distractor_centers
from veduta.training.decision.fit import Example, fold_of, held_out_answers, learn_decider
from veduta.types import Bool, Candidate, Float32, Float64, Int64, LocalFeatures

WITHHELD = 3  # one in so many landmarks of a gallery is unknown to it, each in one of the open galleries


@dataclass(frozen=True, eq=False)
class DataSet:
    """Photos, what they show, and what the networks say of them.

    Attributes:
        ids: of the photos.
        split: (N,) ``train``, ``test`` or ``bank``.
        landmark: (N,) landmark id, empty for none.
        features: local features.
        shipped: (N, D) descriptors by the embedder that ships.
        by_half: (N, D) descriptors by the two trained on half of the landmarks each.
    """

    ids: Sequence[str]
    split: np.ndarray[tuple[int], np.dtype[np.object_]]
    landmark: np.ndarray[tuple[int], np.dtype[np.object_]]
    features: Sequence[LocalFeatures]
    shipped: Float32
    by_half: tuple[Float32, Float32]

    @property
    def part(self) -> Int64:
        """The half (N,) each photo belongs to; the descriptor trained on the other has not seen its landmark."""
        both = landmark_halves(name for name in self.landmark if name)
        return np.array([part_of(id, name, both) for id, name in zip(self.ids, self.landmark, strict=True)], np.int64)

    def numbers(self, *splits: str) -> Int64:
        """Return the numbers of the photos in these splits."""
        return np.flatnonzero(np.isin(self.split, splits))

    def of(self, landmarks: frozenset[str]) -> Bool:
        """Return (N,) whether each photo shows one of these landmarks."""
        return np.array([landmark in landmarks for landmark in self.landmark], bool)


def read_data(folder: Path, by_half: tuple[Path, Path], progress: Callable[[int, int], None] | None = None) -> DataSet:
    """Return a data set with its descriptors and features.

    Args:
        folder: the data set.
        by_half: the models trained on half of the landmarks each.
        progress: called with photos done and photos in all.
    """
    listed = [(row["id"], "train", row["landmark_id"]) for row in _table(folder / "train.csv")]
    listed += [(row["id"], "test", row["landmarks"].split(" ")[0]) for row in _table(folder / "test_solution.csv")]
    listed += [(path.stem, "bank", "") for path in sorted((folder / "bank").rglob("*.jpg"))]
    embedders = [make_embedder(model) for model in (DEFAULT_EMBEDDER, *by_half)]
    extractor = make_extractor("xfeat")

    def look(item: tuple[str, str, str]) -> tuple[list[Float32], LocalFeatures]:
        id, split, _ = item
        image = load(folder / split / id[0] / id[1] / id[2] / f"{id}.jpg")
        # Through the bytes a gallery keeps, for queries too: the difference is smaller than that between two photos.
        features = unpack_features(pack_features(extractor.extract(image)))
        return [embedder.embed([image])[0] for embedder in embedders], features

    described: list[list[Float32]] = [[], [], []]
    features = []
    for done, (_, (rows, outputs)) in enumerate(in_order(look, listed), 1):
        for column, row in zip(described, rows, strict=True):
            column.append(row)
        features.append(outputs)
        if progress:
            progress(done, len(listed))
    ids, split, landmark = (np.array(column, object) for column in zip(*listed, strict=True))
    shipped, first, second = (np.stack(column) for column in described)
    return DataSet(ids.tolist(), split, landmark, features, shipped, (first, second))


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def collect_photos(data: DataSet) -> PhotoCollection:
    """Return the data set's photos with their relatives found."""
    photos = [Photo(*fields) for fields in zip(data.ids, data.landmark, data.features, strict=True)]
    train = data.numbers("train")
    return PhotoCollection(photos, make_matcher("nearest", "xfeat"), HomographyVerifier(), data.shipped, train)


def gallery_examples(
    data: DataSet, collection: PhotoCollection, fine_matcher: FineMatching | None = None
) -> list[Example]:
    """Return cases of galleries whose landmarks the descriptor has not been trained on.

    For each half, one gallery of all its landmarks, and one with each third of them unknown. Photos of train are asked
    of the others; those are easier than what a user asks, for they often come from the same walk, so only photos of
    test, and photos of landmarks withheld, are trusted with the calibration. The bank was trained on: none of it is
    asked.
    """
    bank, test = data.numbers("bank"), data.numbers("test")
    cases: list[Example] = []
    both = landmark_halves(name for name in data.landmark if name)
    for part, descriptors in enumerate(data.by_half):
        left = both[1 - part]
        centers = distractor_centers(descriptors[bank])
        thirds = [frozenset(sorted(left)[draw::WITHHELD]) for draw in range(WITHHELD)]
        for draw, unknown in enumerate((frozenset[str](), *thirds)):
            gallery = np.flatnonzero(data.of(left - unknown) & (data.split == "train"))
            is_query = (data.of(left) & (data.split != "bank")) | ((data.split == "test") & (data.landmark == ""))
            # Without itself the gallery knows nothing of a landmark's only photo.
            single = [g for g in gallery.tolist() if (data.landmark[gallery] == data.landmark[g]).sum() < 2]
            queries = np.setdiff1d(np.flatnonzero(is_query), single)
            examples = collection.cases(descriptors, gallery, queries, centers, fine_matcher=fine_matcher)
            trusted = {data.ids[int(i)] for i in np.union1d(np.flatnonzero(data.of(unknown)), test)}
            which = (draw, part, int(bool(unknown)))
            cases += [replace(c, gallery=which, calibration_weight=float(c.query in trusted)) for c in examples]
    return cases


class FineMatching:
    """Asks the costlier matcher about the queries whose decision is open, each pair once.

    Args:
        data: the photos.
        decisions: one for each fold, which has not seen it.
    """

    def __init__(self, data: DataSet, decisions: Sequence[LearnedDecider]) -> None:
        self._data, self._decisions = data, decisions
        self._number = {id: i for i, id in enumerate(data.ids)}
        self._matcher, self._verifier = make_matcher("lighterglue", "xfeat"), HomographyVerifier()
        self.known: dict[tuple[int, int], int] = {}  # (query, reference) -> inliers, as far as asked

    def __call__(self, query: int, case: Example, candidates: Sequence[Candidate]) -> Mapping[str, int]:
        """Return reference id -> inliers; nothing for a query whose decision is closed."""
        stage = self._decisions[fold_of(case.group)].stages["full"]
        if not case.landmarks["full"]:
            return {}
        scores = stage.score(case.evidence["full"])
        low, high = CONTINUE_BETWEEN["full"]
        if not low < float(stage.probability(scores.max())) < high:
            return {}
        ranked = [LandmarkScore(case.landmarks["full"][i], 0.0, 0.0, ()) for i in np.argsort(-scores, kind="stable")]
        chosen = [candidate.reference for candidate in fine_candidates(candidates, ranked)]
        return {id: self._inliers(query, self._number[id]) for id in chosen}

    def _inliers(self, query: int, reference: int) -> int:
        if (query, reference) not in self.known:
            a, b = (self._data.features[i] for i in (query, reference))
            verification = self._verifier.verify(a, b, self._matcher.match(a, b))
            self.known[query, reference] = verification.num_inliers
        return self.known[query, reference]


def fit_heuristic(cases: Sequence[Example]) -> tuple[float, float]:
    """Return slope and middle of the curve `HeuristicDecider` puts over similarity and saturated inliers."""
    from scipy.optimize import minimize

    best = [(c, c.evidence["full"][0], c.landmarks["full"][0]) for c in cases if c.landmarks["full"]]
    similarity, inliers = (np.array([e[TERM_NAMES.index(n)] for _, e, _ in best]) for n in ("similarity", "inliers"))
    score = (
        similarity
        + INLIER_WEIGHT * np.clip(np.expm1(inliers) - CHANCE_INLIERS, 0, SATURATED_INLIERS) / SATURATED_INLIERS
    )
    right = np.array([guess in c.truth for c, _, guess in best], float)

    def loss(p: Float64) -> float:
        z = p[0] * (score - p[1])
        return float((np.logaddexp(0, z) - right * z).mean())

    slope, middle = minimize(loss, np.array([14.0, float(score.mean())]), method="Nelder-Mead").x.tolist()
    return slope, middle


def ship_main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="where the descriptors of the halves are")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--no-glue", action="store_true", help="leave out the costlier matcher: minutes, not an hour")
    options = parser.parse_args()
    say = sys.stderr.write
    data = read_data(options.data, (options.runs / "half-0" / "model", options.runs / "half-1" / "model"))
    collection = collect_photos(data)
    say(f"{len(data.ids)} photos\n")
    cases = gallery_examples(data, collection)
    bank = data.shipped[data.numbers("bank")]
    metadata = {
        "source": f"learned from {len(data.ids)} photos, {len({name for name in data.landmark if name})} landmarks",
        "cases": len(cases),
    }
    decision, held_out = learn_decider(cases, distractor_centers(bank), metadata)
    say(f"{len(cases)} cases; simple decision: slope and middle {fit_heuristic(cases)}\n")
    if not options.no_glue:
        cases = gallery_examples(data, collection, fine_matcher=FineMatching(data, held_out))
        decision, held_out = learn_decider(cases, distractor_centers(bank), metadata)
    for effort in CASCADES:
        answers = held_out_answers(cases, held_out, effort)
        truth = {str(i): sorted(case.truth) for i, case in enumerate(cases)}
        predictions = [Prediction(str(i), a.landmark or "", a.confidence) for i, a in enumerate(answers)]
        figures = evaluate(truth, predictions, DEFAULT_FLOOR, resamples=0)
        say(f"{effort}: {figures}\n")
    options.out.write_bytes(decision.to_bytes())
    sys.stdout.write(f"{options.out}: sha256 {hashlib.sha256(options.out.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    ship_main()
