"""Calibration: fit the decision to one gallery with labeled photos, store the result there, and plot reliability.

Needs the extra ``[calibrate]`` (scipy, matplotlib).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from veduta import __version__
from veduta.concurrency import in_order
from veduta.datasets.listing import LabeledPhoto, list_csv, list_folder
from veduta.decision.model import DEFAULT_EFFORT, LearnedDecider, shipped_decider
from veduta.errors import DatasetError, GalleryError, ImageError, VedutaError, install_extra
from veduta.files import utf8
from veduta.gallery import Gallery
from veduta.gallery.options import DEFAULT_MATCHER
from veduta.images import load
from veduta.metrics import Prediction, evaluate
from veduta.progress import Progress
from veduta.recognizer import Recognizer
from veduta.training.decision.examples import empty_example, make_example, with_fine_matches
from veduta.training.decision.fit import (
    FOLDS,
    Example,
    HeldOutAnswer,
    assign_folds,
    held_out_answers,
    learn_decider,
    precision_curves,
    recalibrate,
)
from veduta.types import Candidate, Failure, Float32, Image, LocalFeatures

MIN_PHOTOS = 30  # photos of each kind, known and not, below which a calibration says nothing
MIN_TO_LEARN = 300  # of each kind, from which the weights are learned anew as well
REPORTED_PRECISIONS = (0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Quality:
    """The figures of a decision on the photos given, each judged by models that had not seen the photo.

    Attributes:
        gap: global average precision.
        accuracy: share of the photos of known landmarks whose landmark is guessed right.
        ece: expected calibration error of the confidences.
        fpr95: share of the other photos that pass the confidence which keeps 95 % of the known ones.
        log_loss: mean negative logarithm of the probability given to what was true.
    """

    gap: float
    accuracy: float
    ece: float
    fpr95: float
    log_loss: float


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate_gallery`.

    Attributes:
        known: photos that show a landmark of the gallery.
        unknown: photos that show none of them.
        withheld: whether the known ones were asked a second time with their landmark withheld, for want of others.
        references: photos left out because they are references of the gallery.
        fitted: what did best on photos held out and is kept: ``weights``, ``calibration``, or ``nothing`` but floors.
        before: the decision that ships.
        after: the decision as it is now.
        floors: precision -> least confidence that reached it, or None where none did.
        failures: photos that could not be read.
    """

    known: int
    unknown: int
    withheld: bool
    references: int
    fitted: str
    before: Quality
    after: Quality
    floors: dict[str, float | None]
    failures: tuple[Failure, ...]


def calibrate_gallery(
    gallery: Gallery,
    source: str | Path | None = None,
    csv: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Fit a gallery's decision to photos whose landmarks are known, and store the result in the gallery.

    Photos that are references are left out. A landmark the gallery does not have stands for none. Where no photo shows
    none, each is asked again with its own landmark withheld. Calibrating again starts again from what ships.

    Args:
        gallery: the gallery, open.
        source: a folder with one subfolder of photos per landmark.
        csv: the table instead, with photo and landmark.
        out: folder for ``reliability.png`` and ``calibration.json``, or None.
        progress: called with photos done and photos in all.

    Raises:
        DatasetError: the folder or table is malformed, or has too few photos.
        GalleryError: the gallery cannot be written.
    """
    _check_installed()
    if (source is None) == (csv is None):
        raise ValueError("expected either a folder or a csv")
    if not gallery.writable:
        raise GalleryError(f"{gallery.path}: cannot be written; what is fitted could not be kept")
    listed, failures = list_folder(Path(source)) if source is not None else list_csv(Path(str(csv)))
    known_ids = {id: found[0].landmark for id in {i.landmark.id for i in listed} if (found := gallery.landmarks(id))}
    listed = [replace(item, landmark=known_ids.get(item.landmark.id, item.landmark)) for item in listed]
    asking = _Asking(gallery)
    cases = asking.cases(listed, failures, progress)
    known = sum(bool(case.truth) for case in cases)
    unknown = len(cases) - known
    withheld = unknown == 0
    if withheld:
        cases, unknown = asking.twice(), known
    if min(known, unknown) < MIN_PHOTOS:
        left_out = f", besides {asking.references} left out as references of it" if asking.references else ""
        raise DatasetError(
            f"there are {known} photos of the gallery's landmarks and {unknown} of others{left_out}",
            f"give at least {MIN_PHOTOS} of each that are no references",
        )
    if len({case.group for case in cases if case.truth}) < 2 * FOLDS:  # too few landmarks to set some aside
        cases = [replace(case, group=asking.sha256[case.query]) for case in cases]
    settings = gallery.settings
    ships = shipped_decider(settings["embedder"]["name"], settings["extractor"]["name"], DEFAULT_MATCHER)
    before = ships if isinstance(ships, LearnedDecider) else None
    after, answers, fitted = _fit(cases, before, asking.centers)
    old = answers if before is None else held_out_answers(cases, [before] * FOLDS, DEFAULT_EFFORT)
    result = Calibration(
        known=known,
        unknown=unknown,
        withheld=withheld,
        references=asking.references,
        fitted=fitted,
        before=quality(cases, old),
        after=quality(cases, answers),
        floors={f"{p:g}": _floor(after, p) for p in REPORTED_PRECISIONS},
        failures=tuple(failures),
    )
    metadata = {
        "source": f"calibrated on {known} photos of known landmarks and {unknown} of others",
        "measured": asdict(result.after),
        "floors": result.floors,
        "veduta": __version__,
    }
    gallery.set_decision(replace(after, metadata=metadata))
    if out is not None:
        _write(Path(out), result, old, answers)
    return result


class _Asking:
    """Recognizes photos and keeps the evidence that the decision sees."""

    def __init__(self, gallery: Gallery) -> None:
        self._recognizer: Recognizer = gallery.recognizer(effort="thorough", floor=0.0, gps=False)
        self._contents = {reference.sha256 for reference in gallery.references()}
        self._counts = {landmark.id: count for landmark, count in gallery.landmarks()}
        self._queries: list[tuple[LabeledPhoto, Float32, LocalFeatures]] = []
        self.sha256: dict[str, str] = {}  # of the photos asked about: what is in them, wherever they lie
        self._first: list[Example] = []
        self.references = 0

    @property
    def centers(self) -> Float32:
        """Descriptors of photos of nothing."""
        return self._recognizer.decider.centers

    def cases(
        self, listed: Sequence[LabeledPhoto], failures: list[Failure], progress: Progress | None
    ) -> list[Example]:
        """Return a case for every photo that can be read."""
        for done, (item, image) in enumerate(in_order(_load, listed, workers=1), 1):
            if isinstance(image, Failure):
                failures.append(image)
            elif image.sha256 in self._contents:
                self.references += 1
            else:
                self._queries.append((item, self._recognizer.embed(image), self._recognizer.extract(image)))
                self.sha256[item.photo] = image.sha256
                self._first.append(self._case(*self._queries[-1], withheld=False))
            if progress:
                progress(done, len(listed))
        return self._first

    def twice(self) -> list[Example]:
        """Return each photo's case, and one with its landmark withheld; together they weigh as much as one."""
        again = [self._case(*query, withheld=True) for query in self._queries]
        return [replace(case, weight=0.5) for case in (*self._first, *again)]

    def _case(self, item: LabeledPhoto, descriptor: Float32, features: LocalFeatures, *, withheld: bool) -> Example:
        name = item.landmark.id
        recognizer = self._recognizer
        retrieved = recognizer.retrieve(descriptor, without=(name,) if withheld else ())
        candidates: list[Candidate] = recognizer.verify(features, retrieved)
        truth = frozenset([name] if self._counts.get(name) and not withheld else [])
        # Photos of one landmark stay together when folds are made; those of none may all lie in one folder.
        group = name if self._counts.get(name) else self.sha256[item.photo]
        if not candidates:
            return empty_example(item.photo, group)
        context = recognizer.context(descriptor, candidates)
        case = make_example(item.photo, group, truth, candidates, context)
        judged = recognizer.score_landmarks(candidates, context, "full")
        return with_fine_matches(case, candidates, context, recognizer.fine_inliers(features, candidates, judged))


def quality(cases: Sequence[Example], answers: Sequence[HeldOutAnswer]) -> Quality:
    """Return the figures of these answers to these examples."""
    truth = {str(i): sorted(case.truth) for i, case in enumerate(cases)}
    predictions = [Prediction(str(i), a.landmark or "-", a.confidence) for i, a in enumerate(answers)]
    figures = evaluate(truth, predictions, 0.5, resamples=0)
    given = np.clip([a.confidence if a.right else 1 - a.confidence for a in answers], 1e-6, 1)
    return Quality(
        figures.gap, figures.accuracy, figures.open_set.ece, figures.open_set.fpr95, float(-np.log(given).mean())
    )


def _fit(
    cases: Sequence[Example], before: LearnedDecider | None, centers: Float32
) -> tuple[LearnedDecider, list[HeldOutAnswer], str]:
    """Return the option that did best on held-out examples, with its answers and a name for the new part.

    Tried: the decision that ships, if there is one; the same with its calibration fitted; one learned anew, if there
    are photos enough. In all cases the floors are measured on the photos given.
    """
    known = sum(bool(case.truth) for case in cases)
    enough = min(known, len(cases) - known) >= MIN_TO_LEARN
    if before is None and not enough:
        raise DatasetError(
            f"no decision ships for this gallery's models, and {MIN_TO_LEARN} photos of known landmarks and as many "
            f"of others are needed to learn one; there are {known} and {len(cases) - known}"
        )
    fold_of = assign_folds(cases)
    tried: list[tuple[LearnedDecider, list[LearnedDecider], str]] = []
    try:
        if before is not None:
            measured = replace(before, curves=precision_curves(cases, [before] * FOLDS, fold_of))
            tried.append((measured, [before] * FOLDS, "nothing"))
            tried.append((*recalibrate(before, cases, fold_of), "calibration"))
        if enough:
            tried.append((*learn_decider(cases, centers, fold_of=fold_of), "weights"))
    except ValueError as error:
        raise DatasetError(str(error)) from error
    answered = [(held_out_answers(cases, held_out, DEFAULT_EFFORT, fold_of), d, what) for d, held_out, what in tried]
    answers, decision, what = min(answered, key=lambda option: quality(cases, option[0]).log_loss)
    return decision, answers, what


def _floor(decision: LearnedDecider, precision: float) -> float | None:
    try:
        return decision.floor_for(precision, DEFAULT_EFFORT)
    except VedutaError:
        return None


def _load(item: LabeledPhoto) -> Image | Failure:
    try:
        return load(item.photo, name=utf8(item.photo))
    except ImageError as error:
        return Failure.of(item.photo, error)


def _check_installed() -> None:
    try:
        import matplotlib  # noqa: F401
        import scipy  # noqa: F401
    except ImportError as error:
        raise DatasetError(f"calibrating needs {error.name}; {install_extra('calibrate')}") from error


def _write(out: Path, result: Calibration, before: Sequence[HeldOutAnswer], after: Sequence[HeldOutAnswer]) -> None:
    from veduta.training.plots import plot_reliability

    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "calibration.json").write_text(json.dumps(asdict(result), indent=1) + "\n", "utf-8")
        plot_reliability(out / "reliability.png", {"before": before, "after": after})
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
