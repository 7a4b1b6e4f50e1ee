"""From two folders of photos and train.csv to submission.csv: every stage resumable, none done twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from veduta.competition.descriptor_table import DescriptorTable
from veduta.competition.embed import embed_split
from veduta.competition.feature_file import FeatureFile, check_ids_differ, extract_all
from veduta.competition.recipes import Recipe, frame_of, resolve_recipe
from veduta.competition.report import Evidence, write_report
from veduta.competition.retrieval import RetrievedCandidates, load_candidates, retrieve, save_candidates
from veduta.competition.run_report import RunReport, StageReport, peak_megabytes
from veduta.competition.score import Score, score_submission
from veduta.competition.stages import (
    decide_all,
    digest_of,
    extractor_of,
    gather_evidence,
    key_of,
    matched_keypoints,
    matcher_of,
    weights_of,
)
from veduta.competition.submissions import read_submission, write_submission
from veduta.competition.votes import ban_frequent
from veduta.datasets.gldv2 import read_recognition_solution, read_train
from veduta.datasets.layout import SAMPLE_SUBMISSION, SOLUTION, TRAIN, PhotoFolder, find_file, need_file, split_folder
from veduta.embedders import EMBEDDERS
from veduta.errors import DatasetError
from veduta.files import first_irregular, locked, write_json
from veduta.geometry import HomographyVerifier
from veduta.models.cards import card
from veduta.models.folder import is_model, read_card
from veduta.progress import StageProgress
from veduta.types import Float32


def run_recipe(
    data: Path,
    out: Path,
    recipe: str | Recipe = "veduta",
    solution: Path | None = None,
    bank: Path | None = None,
    ban: int | None = None,
    provider: str = "cpu",
    progress: StageProgress | None = None,
) -> RunReport:
    """Make a submission for a data set; what an earlier run with the same folder has done is not done again.

    Args:
        data: folder with train.csv, the folders train and test, and perhaps sample_submission.csv and a solution.
        out: folder for everything made; submission.csv among it.
        recipe: ``veduta``, ``dna-2020`` or a `ExportSpec` of one's own.
        solution: the truth; None for the one in `data`, if there is one.
        bank: a folder of photos that show no landmark; references that resemble them are held back, as the recipe's
            `penalty` says.
        ban: drop landmarks predicted more often than this; needs the whole test set, see `votes.ban_frequent`.
        provider: execution provider.
        progress: called with the stage's name, things done and things in all.

    Raises:
        DatasetError: something is missing or malformed; the message says what.
    """
    chosen = resolve_recipe(recipe)
    if ban is not None and ban < 1:
        raise ValueError(f"ban: expected at least 1, got {ban}")
    solution = solution or find_file(data, *SOLUTION)
    _check_inputs(data, solution, bank)
    try:
        if (found := first_irregular(out.resolve())) is not None:
            raise DatasetError(f"{found}: is no plain file, so nothing is written there; remove it")
        work = _Run(data, out, chosen, provider, progress)
        with locked(out):
            return work.go(solution, bank, ban)
    except OSError as error:
        reason = error.strerror or error
        raise DatasetError(f"{error.filename or out}: cannot be read or written ({reason})") from error


def _check_inputs(data: Path, solution: Path | None, bank: Path | None) -> None:
    """Raise DatasetError for what would otherwise be found missing or malformed only after hours."""
    read_train(need_file(data, *TRAIN))
    for split in ("train", "test"):
        split_folder(data, split)
    if solution is not None:
        read_recognition_solution(solution)
    if (sample := find_file(data, *SAMPLE_SUBMISSION)) is not None:
        read_submission(sample)
    if bank is not None:
        PhotoFolder.find(bank)


class _Run:
    """One run over one folder: the stages in the order they happen, and the log of what each took."""

    def __init__(self, data: Path, out: Path, recipe: Recipe, provider: str, progress: StageProgress | None) -> None:
        self.data, self.out, self.recipe, self.provider, self.progress = data, out, recipe, provider, progress
        self.stages: list[StageReport] = []
        self.folders: dict[str, PhotoFolder] = {}
        try:
            (out / recipe.name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetError(f"{out}: cannot be written ({error.strerror})") from error

    def go(self, solution: Path | None, bank: Path | None, ban: int | None) -> RunReport:
        train = [self.table(model, "train") for model in self.recipe.models]
        test = [self.table(model, "test") for model in self.recipe.models]
        nothing = [self.table(model, "bank", bank) for model in self.recipe.models] if bank else []
        retrieved = self.candidates(train, test, nothing)
        evidence = self.evidence(retrieved) if self.recipe.power is None else self.no_evidence(retrieved)
        submission, predictions, photos = self.submission(retrieved, evidence, ban)
        scores: dict[str, Score] | None = None
        page: str | None = None
        if solution is not None:
            scores = score_submission(solution, submission)
            page = str(self.page(retrieved, evidence, solution, submission, scores))
        report = RunReport(str(submission), self.recipe.name, predictions, photos, tuple(self.stages), scores, page)
        write_json(self.out / self.recipe.name / "summary.json", report.as_dict(), sort_keys=True, allow_nan=False)
        return report

    # --- stages -------------------------------------------------------------------------------------------------

    def table(self, model: str, split: str, bank: Path | None = None) -> DescriptorTable:
        """Return the descriptors of a split, or of a bank: embedded here, or made earlier."""
        with self.timed(f"embed {split}") as stage:
            if model not in EMBEDDERS and not is_model(model):
                stage["skipped"] = True
                return DescriptorTable.open(Path(model) / split)
            name = f"bank-{key_of(str(bank.absolute()))}" if bank else split
            trained = "" if model in EMBEDDERS else f"-{read_card(model).sha256[:12]}"
            path = self.out / "descriptors" / (Path(model).name + trained) / name
            where = (bank, path, ".") if bank else (self.data, path, split)
            report = embed_split(*where, embedder=model, provider=self.provider, progress=self.tell(stage))
            stage["skipped"] = report.new == 0
            return DescriptorTable.open(path)

    def candidates(
        self, train: list[DescriptorTable], test: list[DescriptorTable], nothing: list[DescriptorTable]
    ) -> RetrievedCandidates:
        labels_file = need_file(self.data, *TRAIN)
        recipe = self.recipe
        key = key_of(
            [asdict(table.maker) | {"ids": digest_of(table.ids)} for table in (*train, *test, *nothing)],
            [recipe.weights, recipe.depth, recipe.fuse, recipe.penalty, len(nothing)],
            labels_file.stat().st_mtime_ns,
            labels_file.stat().st_size,
        )
        path = self.out / recipe.name / "candidates.npz"
        with self.timed("retrieve") as stage:
            if path.exists() and self.key("retrieve") == key:
                stage["skipped"] = True
                return load_candidates(path)
            retrieved = retrieve(train, test, read_train(labels_file), recipe, nothing)
            check_ids_differ(retrieved.references, retrieved.queries)
            save_candidates(path, retrieved)
            self.keep_key("retrieve", key)
            return retrieved

    def evidence(self, retrieved: RetrievedCandidates) -> Float32:
        recipe = self.recipe
        features = self.features(retrieved)
        depth = min(recipe.rerank_depth, retrieved.rows.shape[1])
        matching = [recipe.matcher, recipe.match_threshold, recipe.geometry, weights_of(recipe)[2]]
        readable = sum(
            id in features for id, _ in self.photos_to_extract(retrieved)
        )  # a photo mended since changes the evidence
        key = key_of(self.key("retrieve"), self.extraction(), matching, depth, readable)
        path = self.out / recipe.name / "evidence.bin"
        with self.timed("match") as stage:
            if self.key("match") != key:
                path.unlink(missing_ok=True)
                self.keep_key("match", key)
            elif path.exists():
                stage["skipped"] = path.stat().st_size == len(retrieved.queries) * depth * 4
            verifier = HomographyVerifier() if recipe.geometry else None
            evidence = gather_evidence(path, retrieved, features, recipe, verifier, self.provider, self.tell(stage))
        features.close()
        return evidence

    def no_evidence(self, retrieved: RetrievedCandidates) -> Float32:
        """Return the evidence of a recipe without geometry: (Q, rerank_depth) NaN."""
        return np.full(
            (len(retrieved.queries), min(self.recipe.rerank_depth, retrieved.rows.shape[1])), np.nan, np.float32
        )

    def features(self, retrieved: RetrievedCandidates) -> FeatureFile:
        recipe = self.recipe
        cache = FeatureFile(self.out / "features" / self.extraction())
        photos = self.photos_to_extract(retrieved)
        extractor = extractor_of(recipe, self.provider)
        frame = frame_of(recipe)
        with self.timed("extract") as stage:
            stage["skipped"] = not extract_all(cache, extractor, photos, frame, self.tell(stage))
        return cache

    def photos_to_extract(self, retrieved: RetrievedCandidates) -> list[tuple[str, PhotoFolder]]:
        """Return the photos whose local features are compared: the queries, and the references that are matched."""
        rows = sorted(set(retrieved.rows[:, : self.recipe.rerank_depth].ravel().tolist()))
        queries = [(id, self.photos("test")) for id in retrieved.queries]
        return queries + [(retrieved.references[row], self.photos("train")) for row in rows]

    def submission(self, retrieved: RetrievedCandidates, evidence: Float32, ban: int | None) -> tuple[Path, int, int]:
        with self.timed("decide"):
            answers = decide_all(retrieved, evidence, self.recipe)
            if ban is not None:
                answers = ban_frequent(answers, ban)
            sample = find_file(self.data, *SAMPLE_SUBMISSION)
            ids = read_submission(sample)[0] if sample else sorted(self.photos("test").ids())
            path = self.out / self.recipe.name / "submission.csv"
            write_submission(path, ids, answers)
        return path, sum(id in answers for id in ids), len(ids)

    def page(
        self,
        retrieved: RetrievedCandidates,
        evidence: Float32,
        solution: Path,
        submission: Path,
        scores: dict[str, Score],
    ) -> Path:
        page = self.out / self.recipe.name / "report.html"
        key = key_of(self.recipe.name, *(p.stat().st_mtime_ns for p in (solution,)), _digest(submission))
        with self.timed("report") as stage:
            if page.exists() and self.key("report") == key:
                stage["skipped"] = True
                return page
            cache = FeatureFile(self.out / "features" / self.extraction())
            matcher = matcher_of(self.recipe, self.provider)
            verifier = HomographyVerifier() if self.recipe.geometry else None
            show = Evidence(
                self.photos("test"),
                self.photos("train"),
                lambda a, b: matched_keypoints(cache, a, b, matcher, verifier),
            )
            write_report(page, retrieved, evidence, solution, submission, scores, show, self.recipe)
            cache.close()
            self.keep_key("report", key)
        return page

    # --- what stages share --------------------------------------------------------------------------------------

    def photos(self, split: str) -> PhotoFolder:
        if split not in self.folders:
            self.folders[split] = split_folder(self.data, split)
        return self.folders[split]

    def extraction(self) -> str:
        """Return the name of the features' folder: what they were made by and how."""
        recipe = self.recipe
        extractor, mask, _ = weights_of(recipe)
        frame = recipe.squash and frame_of(recipe).__name__
        how = key_of(recipe.extractor, extractor, recipe.max_keypoints, recipe.max_side, frame, mask)
        return f"{recipe.extractor}-{recipe.max_keypoints}-{how[:8]}"

    def key(self, stage: str) -> str | None:
        return self._keys().get(stage)

    def keep_key(self, stage: str, key: str) -> None:
        write_json(self.out / self.recipe.name / "stages.json", self._keys() | {stage: key}, sort_keys=True)

    def _keys(self) -> dict[str, str]:
        path = self.out / self.recipe.name / "stages.json"
        try:
            keys = json.loads(path.read_text("utf-8")) if path.exists() else {}
        except (ValueError, RecursionError):
            return {}  # damaged: every stage is done again
        return keys if isinstance(keys, dict) else {}

    def tell(self, stage: dict[str, Any]) -> Callable[[int, int], None] | None:
        progress, name = self.progress, stage["stage"]
        return None if progress is None else lambda done, total: progress(name, done, total)

    @contextmanager
    def timed(self, name: str) -> Iterator[dict[str, Any]]:
        """Record the time and memory of the body, which may declare itself skipped."""
        start, stage = time.perf_counter(), {"stage": name, "skipped": False}
        yield stage
        seconds = round(time.perf_counter() - start, 3)
        self.stages.append(StageReport(name, seconds, round(peak_megabytes(), 1), bool(stage["skipped"])))


def _sha256(model: str) -> str:
    return card(model).sha256


def _digest(path: Path) -> str:
    return key_of(path.read_text("utf-8"))
