"""Learn the decision that ships from a data set in the competition's layout, and write it as one file.

    python -m veduta.training.decision DATA --out src/veduta/models/decision.npz

DATA holds train.csv, test_solution.csv, and photos under train/, test/ and bank/ (photos that show no landmark). Half
of the landmarks teach a whitening, the other half are gallery and queries, and the other way round, several times: what
the decision learns from are galleries that no part of the pipeline has seen, as a user's are. Needs ``[calibrate]``.
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

from veduta.decide import DEFAULT_FLOOR, EFFORTS, OPEN, Judgement, LearnedDecision
from veduta.embedders import make_embedder
from veduta.embedders.whitened import whiten
from veduta.evidence import CAP, CHANCE, NAMES, WEIGHT
from veduta.features import make_extractor
from veduta.geometry import HomographyVerifier
from veduta.images import load
from veduta.matching import make_matcher
from veduta.metrics import Prediction, evaluate
from veduta.recognizer import to_glue
from veduta.store import pack_features, unpack_features
from veduta.threads import in_order
from veduta.training.cases import Collection, Photo, halves, nothing_centres
from veduta.training.fitting import Case, fold_of, held_out_answers, learn
from veduta.training.whitening import BASE
from veduta.training.whitening import learn as learn_whitening
from veduta.types import Candidate, Float32, Float64, Int64, LocalFeatures

SEEDS = (0, 1, 2)
WITHHELD = 3  # one in so many landmarks of the gallery is unknown to it, in every other gallery


@dataclass(frozen=True, eq=False)
class DataSet:
    """Photos, what they show, and what the networks say of them.

    Attributes:
        ids: of the photos.
        split: (N,) ``train``, ``test`` or ``bank``.
        landmark: (N,) landmark id, empty for none.
        raw: (N, E) descriptors before whitening.
        features: local features.
    """

    ids: Sequence[str]
    split: np.ndarray[tuple[int], np.dtype[np.object_]]
    landmark: np.ndarray[tuple[int], np.dtype[np.object_]]
    raw: Float32
    features: Sequence[LocalFeatures]

    def numbers(self, *splits: str) -> Int64:
        """Return the numbers of the photos in these splits."""
        return np.flatnonzero(np.isin(self.split, splits))

    def of(self, landmarks: frozenset[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return (N,) whether each photo shows one of these landmarks."""
        return np.array([landmark in landmarks for landmark in self.landmark], bool)


def read(folder: Path, progress: Callable[[int, int], None] | None = None) -> DataSet:
    """Return a data set with its descriptors and features, computed with the models that ship."""
    listed = [(row["id"], "train", row["landmark_id"]) for row in _table(folder / "train.csv")]
    listed += [(row["id"], "test", row["landmarks"].split(" ")[0]) for row in _table(folder / "test_solution.csv")]
    listed += [(path.stem, "bank", "") for path in sorted((folder / "bank").rglob("*.jpg"))]
    embedder, extractor = make_embedder(BASE), make_extractor("xfeat")

    def look(item: tuple[str, str, str]) -> tuple[Float32, LocalFeatures]:
        id, split, _ = item
        image = load(folder / split / id[0] / id[1] / id[2] / f"{id}.jpg")
        # Through the bytes a gallery keeps, for queries too: the difference is smaller than that between two photos.
        return embedder.embed([image])[0], unpack_features(pack_features(extractor.extract(image)))

    raw, features = [], []
    for done, (_, (descriptor, found)) in enumerate(in_order(look, listed), 1):
        raw.append(descriptor)
        features.append(found)
        if progress:
            progress(done, len(listed))
    ids, split, landmark = (np.array(column, object) for column in zip(*listed, strict=True))
    return DataSet(ids.tolist(), split, landmark, np.stack(raw), features)


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def collect(data: DataSet) -> Collection:
    """Return the data set's photos with their relatives found."""
    photos = [Photo(*each) for each in zip(data.ids, data.landmark, data.features, strict=True)]
    likeness = whitened(data, data.numbers("train", "bank"))
    return Collection(photos, make_matcher("nearest", "xfeat"), HomographyVerifier(), likeness, data.numbers("train"))


def whitened(data: DataSet, learned_from: Int64) -> Float32:
    """Return (N, D) descriptors, whitened by what some of the photos teach."""
    mean, projection = learn_whitening(data.raw[learned_from])
    return whiten(data.raw, mean.astype(np.float32), projection.astype(np.float32))


def galleries(
    data: DataSet, collection: Collection, seeds: Sequence[int] = SEEDS, glue: Gluing | None = None
) -> list[Case]:
    """Return cases of many galleries whose landmarks the whitening has not seen.

    Every other photo of the bank stands for nothing; the rest are queries. Photos of train are asked of the others;
    those are easier than what a user asks, for they often come from the same walk, so only photos of test, and photos
    of landmarks withheld, are trusted with the calibration.
    """
    bank = data.numbers("bank")
    nothing, asked = bank[::2], bank[1::2]
    test = data.numbers("test")
    cases: list[Case] = []
    for seed in seeds:
        both = halves({name for name in data.landmark if name}, seed)
        for part, (taught, left) in enumerate((both, both[::-1])):
            learned = np.union1d(np.flatnonzero(data.of(taught) & (data.split == "train")), nothing)
            descriptors = whitened(data, learned)
            centres = nothing_centres(descriptors[nothing])
            for unknown in (frozenset[str](), frozenset(sorted(left)[part::WITHHELD])):
                gallery = np.flatnonzero(data.of(left - unknown) & (data.split == "train"))
                queries = np.concatenate(
                    (np.flatnonzero(data.of(left) & (data.split != "bank")), asked, test[data.landmark[test] == ""])
                )
                # Without itself the gallery knows nothing of a landmark's only photo.
                single = [g for g in gallery.tolist() if (data.landmark[gallery] == data.landmark[g]).sum() < 2]
                found = collection.cases(descriptors, gallery, np.setdiff1d(queries, single), centres, glue=glue)
                trusted = {data.ids[int(i)] for i in np.union1d(np.flatnonzero(data.of(unknown)), test)}
                which = (seed, part, int(bool(unknown)))
                cases += [replace(c, gallery=which, trust=float(c.query in trusted)) for c in found]
    return cases


class Gluing:
    """Asks the costlier matcher about the queries whose decision is open, each pair once.

    Args:
        data: the photos.
        decisions: one for each fold, which has not seen it.
    """

    def __init__(self, data: DataSet, decisions: Sequence[LearnedDecision]) -> None:
        self._data, self._decisions = data, decisions
        self._number = {id: i for i, id in enumerate(data.ids)}
        self._matcher, self._verifier = make_matcher("lighterglue", "xfeat"), HomographyVerifier()
        self.known: dict[tuple[int, int], int] = {}  # (query, reference) -> inliers, as far as asked

    def __call__(self, query: int, case: Case, candidates: Sequence[Candidate]) -> Mapping[str, int]:
        """Return reference id -> inliers; nothing for a query whose decision is closed."""
        stage = self._decisions[fold_of(case.group)].stages["full"]
        if not case.landmarks["full"]:
            return {}
        scores = stage.score(case.evidence["full"])
        low, high = OPEN["full"]
        if not low < float(stage.probability(scores.max())) < high:
            return {}
        ranked = [Judgement(case.landmarks["full"][i], 0.0, 0.0, ()) for i in np.argsort(-scores, kind="stable")]
        return {id: self._inliers(query, self._number[id]) for id in to_glue(candidates, ranked)}

    def _inliers(self, query: int, reference: int) -> int:
        if (query, reference) not in self.known:
            a, b = (self._data.features[i] for i in (query, reference))
            found = self._verifier.verify(a, b, self._matcher.match(a, b))
            self.known[query, reference] = found.num_inliers
        return self.known[query, reference]


def fit_simple(cases: Sequence[Case]) -> tuple[float, float]:
    """Return slope and middle of the curve `SimpleDecision` puts over similarity and saturated inliers."""
    from scipy.optimize import minimize

    found = [(c, c.evidence["full"][0], c.landmarks["full"][0]) for c in cases if c.landmarks["full"]]
    similarity, inliers = (np.array([e[NAMES.index(n)] for _, e, _ in found]) for n in ("similarity", "inliers"))
    score = similarity + WEIGHT * np.clip(np.expm1(inliers) - CHANCE, 0, CAP) / CAP
    right = np.array([guess in c.truth for c, _, guess in found], float)

    def loss(p: Float64) -> float:
        z = p[0] * (score - p[1])
        return float((np.logaddexp(0, z) - right * z).mean())

    slope, middle = minimize(loss, np.array([14.0, float(score.mean())]), method="Nelder-Mead").x.tolist()
    return slope, middle


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--no-glue", action="store_true", help="leave out the costlier matcher: minutes, not an hour")
    options = parser.parse_args()
    say = sys.stderr.write
    data = read(options.data)
    collection = collect(data)
    say(f"{len(data.ids)} photos\n")
    cases = galleries(data, collection)
    bank = whitened(data, data.numbers("train", "bank"))[data.numbers("bank")]
    about = {
        "source": f"learned from {len(data.ids)} photos, {len({name for name in data.landmark if name})} landmarks",
        "cases": len(cases),
    }
    decision, held_out = learn(cases, nothing_centres(bank), about)
    say(f"{len(cases)} cases; simple decision: slope and middle {fit_simple(cases)}\n")
    if not options.no_glue:
        cases = galleries(data, collection, glue=Gluing(data, held_out))
        decision, held_out = learn(cases, nothing_centres(bank), about)
    for effort in EFFORTS:
        answers = held_out_answers(cases, held_out, effort)
        truth = {str(i): sorted(case.truth) for i, case in enumerate(cases)}
        said = [Prediction(str(i), a.landmark or "", a.confidence) for i, a in enumerate(answers)]
        found = evaluate(truth, said, DEFAULT_FLOOR, resamples=0)
        say(f"{effort}: {found}\n")
    options.out.write_bytes(decision.to_bytes())
    sys.stdout.write(f"{options.out}: sha256 {hashlib.sha256(options.out.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    main()
