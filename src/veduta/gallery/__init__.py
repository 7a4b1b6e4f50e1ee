"""What a user opens: a store of references, an index over it, and the recognizer that asks them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypedDict, Unpack

from veduta import __version__
from veduta.cascade import CascadeSettings
from veduta.concurrency import in_order
from veduta.datasets.listing import LabeledPhoto, list_csv, list_folder
from veduta.decision.model import CASCADES, DEFAULT_EFFORT, DEFAULT_FLOOR, Decider, LearnedDecider, shipped_decider
from veduta.embedders import DEFAULT_EMBEDDER, make_embedder
from veduta.errors import GalleryError, ImageError, NotFoundError, VedutaError
from veduta.features import DEFAULT_EXTRACTOR, make_extractor
from veduta.gallery.evidence_page import EvidencePair, Explanation, write_page
from veduta.gallery.ingest import AddReport, add_listed, compare_same_landmark, utf8
from veduta.gallery.live_index import INDEX_SETTING, IndexChoice, IndexKind, LiveIndex, build_index, describe_index
from veduta.gallery.qdrant_sync import SyncState
from veduta.gallery.store import MODELS_FOLDER, Store
from veduta.geo import Circle
from veduta.geometry import HomographyVerifier
from veduta.images import load, walk
from veduta.index import Manifest
from veduta.masks import DEFAULT_MASK, make_mask
from veduta.matching import make_matcher
from veduta.models import ModelCard, card, is_model, provider_name, read_card, read_file, write_card
from veduta.models.weights import SOURCES
from veduta.progress import Progress, ShareProgress
from veduta.protocols import Embedder, Extractor, Index, Matcher
from veduta.recognizer import Components, Recognizer, ReferenceSet, SearchFilter
from veduta.types import Candidate, Failure, Image, Landmark, LocalFeatures, Recognition, Reference


@dataclass(frozen=True)
class GalleryInfo:
    """What a gallery is made of.

    Attributes:
        path: its folder.
        landmarks: how many it knows.
        references: how many photos of them it keeps.
        bytes: size of all its files.
        settings: the models that made it, with sha256, and their settings.
        decision: what turns its evidence into confidences: where it comes from, and what it was measured to be worth.
        provider: the execution provider in use, by ONNX Runtime's name.
        index: what it is searched with, and for an approximate index what that was measured to find.
    """

    path: str
    landmarks: int
    references: int
    bytes: int
    settings: dict[str, Any]
    decision: dict[str, Any]
    provider: str
    index: dict[str, Any]


class RecognizeOptions(TypedDict, total=False):
    """What `Gallery.recognizer` takes, for the methods that make one."""

    effort: str
    budget_ms: float | None
    precision: float | None
    floor: float | None
    gps: bool
    matcher: str
    depth: int
    rerank_depth: int | None
    landmarks: Collection[str] | None
    near: Circle | None


DEFAULT_MATCHER, FINE_MATCHER = "nearest", "lighterglue"
FINE_MATCHER_INPUTS = ("xfeat", DEFAULT_MATCHER)  # extractor and matcher beside which the costlier one can be asked
DECISION = "decision"  # name of the attachment a calibration leaves
PHOTOS = "photos"  # folder of photos that are nowhere else, each named by its sha256
STALE_SECONDS = 3600.0  # seconds after which nobody is still writing a photo


class Gallery:
    """References of landmarks on disk, and the means to recognise them in photos.

    Make one with `Gallery.create` or `Gallery.open`; use it as a context manager, from one thread at a time.
    Several processes may have the same gallery open: each sees the others' changes at its next call.

    Args:
        store: the rows on disk.
        provider: execution provider for the networks.
    """

    def __init__(self, store: Store, provider: str = "cpu") -> None:
        self._store, self.provider = store, provider
        self.settings = store.settings()
        _check_settings(store.path, self.settings)
        self._embedder: Embedder | None = None
        self._extractor: Extractor | None = None
        self._matchers: dict[str, Matcher] = {}
        self._upkeep: LiveIndex | None = None
        self._index: Index | None = None
        self._landmarks: dict[str, Landmark] = {}
        self._counts: dict[str, int] = {}
        self._calibrated: LearnedDecider | None = None
        self._decided = -1
        self._revision = -1

    # --- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        gallery: str | os.PathLike[str],
        embedder: str | os.PathLike[str] = DEFAULT_EMBEDDER,
        extractor: str = DEFAULT_EXTRACTOR,
        max_keypoints: int = 512,
        max_side: int = 576,
    ) -> Gallery:
        """Make an empty gallery in a new folder and return it open.

        Args:
            gallery: the folder.
            embedder: one that ships, or the folder of a trained one; the gallery keeps a copy of that.
            extractor: local features.
            max_keypoints: keypoints kept per photo.
            max_side: photos are reduced so that their longer side has at most this many pixels before that.

        Raises:
            GalleryError: the folder is not empty or cannot be written.
            ModelError: there is no such embedder or extractor, or its weights are not here.
        """
        made, found = make_embedder(embedder), make_extractor(extractor, max_keypoints, max_side)
        settings = {
            "embedder": {"name": made.name, "sha256": made.sha256, **made.settings},
            "extractor": {"name": found.name, "sha256": found.sha256, **found.settings},
            "veduta": __version__,
        }
        if not is_model(embedder):
            return cls(Store.create(gallery, settings))
        return cls(Store.create(gallery, settings, lambda folder: _keep_model(folder, read_card(embedder))))

    @classmethod
    def open(cls, gallery: str | os.PathLike[str], provider: str = "cpu") -> Gallery:
        """Return the gallery in this folder, open.

        Raises:
            GalleryError: it is not a gallery, or was made by models this Veduta does not have.
            ModelError: the execution provider cannot run here.
        """
        provider_name(provider)
        store = Store.open(gallery)
        try:
            return cls(store, provider)
        except VedutaError:
            store.close()
            raise

    def close(self) -> None:
        """Close the gallery's file; everything is already on disk."""
        self._index = None
        if self._upkeep is not None:
            self._upkeep.close()
        self._store.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The gallery's folder."""
        return self._store.path

    @property
    def writable(self) -> bool:
        """Whether this process may change it."""
        return self._store.writable

    # --- what is in it ------------------------------------------------------------------------------------------

    def info(self) -> GalleryInfo:
        """Return what the gallery is made of, and the execution provider in use."""
        landmarks, references = self._store.counts()
        return GalleryInfo(
            path=str(self._store.path),
            landmarks=landmarks,
            references=references,
            bytes=self._store.bytes_on_disk(),
            settings=self.settings,
            decision=dict(self.decider().metadata),
            provider=provider_name(self.provider),
            index=describe_index(self._store),
        )

    def landmarks(self) -> list[tuple[Landmark, int]]:
        """Return every landmark with its number of references, in the order of ids."""
        return list(self._store.landmarks().values())

    def references(self, landmark: str | None = None) -> list[Reference]:
        """Return the references, of one landmark or of all, in the order of ids."""
        return self._store.references(landmark)

    @property
    def revision(self) -> int:
        """A number that grows with every change, whichever process made it."""
        return self._store.revision()

    def counts(self) -> tuple[int, int]:
        """Return how many landmarks and how many references there are."""
        return self._store.counts()

    def covers(self) -> dict[str, str]:
        """Return landmark id -> the id of a reference that may stand for it, for those that have any."""
        return self._store.covers()

    def thumbnail(self, reference: str) -> bytes:
        """Return the small WebP picture kept of a reference; NotFoundError if there is no such reference."""
        return self._evidence(reference)[2]

    def picture(self, reference: str) -> Image:
        """Return a reference's photo if it is still there unchanged, else its thumbnail, at the photo's size.

        Raises:
            NotFoundError: there is no such reference.
        """
        found, features, small = self._evidence(reference)
        return _reference_picture(self._store.path, found, small, features.size)

    def features(self, reference: str) -> LocalFeatures:
        """Return a reference's local features; NotFoundError if there is no such reference."""
        return self._evidence(reference)[1]

    def _evidence(self, reference: str) -> tuple[Reference, LocalFeatures, bytes]:
        found = self._store.evidence(reference) if utf8(reference) == reference else None
        if found is None:
            raise self._unknown("reference", reference)
        return found

    def _unknown(self, kind: Literal["landmark", "reference"], id: str) -> NotFoundError:
        return NotFoundError(kind, id, str(self._store.path), f"see 'veduta list {self._store.path}'")

    # --- adding and removing ------------------------------------------------------------------------------------

    def add(
        self,
        source: str | os.PathLike[str] | None = None,
        csv: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        comparing: Progress | None = None,
    ) -> AddReport:
        """Add the photos of a folder with one subfolder per landmark, or of a table, and return what became of them.

        Photos already in the gallery are left alone, so a run that was killed goes on where it stopped. A photo
        that cannot be read does not stop the others.

        Args:
            source: the folder; a subfolder's name is its landmark's id, and a reference's id its path below it.
            csv: the table instead, with photo, landmark and perhaps name, latitude, longitude, url.
            progress: called with photos done and photos in all.
            comparing: likewise, while the new ones are held against the photos of their landmark.

        Raises:
            DatasetError: the folder or table is malformed.
            GalleryError: the gallery cannot be written.
        """
        if (source is None) == (csv is None):
            raise ValueError("expected either a folder or a csv")
        listed, failures = list_folder(Path(source)) if source is not None else list_csv(Path(str(csv)))
        report = add_listed(self._store, *self._make_stages(), listed, failures, progress)
        self._compare(comparing)
        return report

    def add_photo(self, photo: str | os.PathLike[str], landmark: Landmark | str, id: str | None = None) -> AddReport:
        """Add one photo as a reference of a landmark, known or new; its id is the path as given unless said."""
        landmark = Landmark(landmark) if isinstance(landmark, str) else landmark
        listed = [LabeledPhoto(os.fsdecode(photo), id or os.fsdecode(photo), landmark)]
        report = add_listed(self._store, *self._make_stages(), listed, [])
        self._compare()
        return report

    def add_contents(self, photos: Iterable[tuple[str, bytes]], landmark: Landmark) -> AddReport:
        """Add photos that are nowhere else, such as those sent to a server; the gallery keeps the files themselves.

        Args:
            photos: (what to call it in messages, the file's bytes).
            landmark: what they show.
        """
        listed = []
        for name, content in photos:
            path = _keep_photo(self._store.path, content)
            listed.append(LabeledPhoto(str(path), f"{landmark.id}/{path.name[:16]}", landmark, name=name))
        report = add_listed(self._store, *self._make_stages(), listed, [])
        self._compare()
        for path in {Path(each.photo) for each in listed}:
            there = self._store.find_content(path.name)
            if there is None or Path(there.photo).name != path.name:  # no photo, or one that lies elsewhere
                path.unlink(missing_ok=True)
        return report

    def put_landmark(self, landmark: Landmark) -> None:
        """Keep a landmark as it is given here: new, or in the place of what was known of it."""
        texts = landmark.id, landmark.name, landmark.url or ""
        if any(utf8(text) != text for text in texts):
            raise GalleryError(f"landmark {utf8(landmark.id)!r}: is not text that can be stored; use Unicode only")
        self._store.put_landmark(landmark)

    def _compare(self, progress: Progress | None = None) -> None:
        """Hold references that are new against the photos of their landmark."""
        compare_same_landmark(self._store, self._matcher("nearest"), HomographyVerifier(), progress)

    def remove(self, landmark: str | None = None, reference: str | None = None) -> int:
        """Remove a landmark with all its references, or one reference, at once; return how many references went.

        Raises:
            NotFoundError: there is no such landmark or reference.
        """
        if (landmark is None) == (reference is None):
            raise ValueError("expected either a landmark or a reference")
        gone: list[Reference] = []
        if utf8(landmark or reference or "") != (landmark or reference):
            count = -1  # no text, so no id
        elif landmark is not None:
            gone = self._store.references(landmark)
            count = self._store.remove_landmark(landmark)
        else:
            found = self._store.evidence(str(reference))
            gone = [found[0]] if found else []
            count = 1 if self._store.remove_reference(str(reference)) else -1
        if count < 0:
            raise self._unknown("reference" if landmark is None else "landmark", str(landmark or reference))
        for each in gone:  # the gallery's own copies, not photos that lie elsewhere
            (self._store.path / PHOTOS / each.sha256).unlink(missing_ok=True)
        return count

    # --- indexing -----------------------------------------------------------------------------------------------

    def choose_index(
        self,
        kind: IndexKind | None = None,
        recall: float | None = None,
        *,
        address: str | None = None,
        name: str | None = None,
        shards: int | None = None,
        replicas: int | None = None,
    ) -> IndexChoice:
        """Keep in the gallery what it is to be searched with, and return that; what is not said stays as it is.

        Args:
            kind: ``auto``: exact below 200,000 references and approximate above; ``exact`` or ``approximate``: whatever
                their number; ``qdrant``: in a Qdrant, once `build_index` has uploaded it.
            recall: share of the 30 nearest that an approximate index, or a Qdrant, is to find.
            address: of the Qdrant: ``http(s)://host:port``, several nodes of one with commas between them, or a folder
                for one inside this process. A key is taken from VEDUTA_QDRANT_API_KEY and kept nowhere.
            name: what the references are called there; ``veduta`` unless said.
            shards: parts that a new collection is cut into there.
            replicas: nodes that have each part.

        Raises:
            ValueError: there is no such kind, the recall is not a share in (0, 1], or address, name or number is none.
        """
        now = IndexChoice.of(self._store)
        choice = IndexChoice(
            kind=now.kind if kind is None else kind,
            recall=now.recall if recall is None else recall,
            address=now.address if address is None else address,
            name=now.name if name is None else name,
            shards=now.shards if shards is None else shards,
            replicas=now.replicas if replicas is None else replicas,
        )
        if choice != now:
            self._store.put_attachment(INDEX_SETTING, choice.to_bytes())
        return choice

    def build_index(
        self, progress: ShareProgress = lambda what, share: None, *, anew: bool = False
    ) -> Manifest | SyncState | None:
        """Build or renew the approximate index, and return what it is; None where the gallery is searched exactly.

        What is there is added to as long as the gallery has not grown to twice of what the index was made for. A build
        that was killed is gone on with. Searches go on meanwhile, and go over to it when it is done. Of a gallery that
        names a Qdrant, uploads what that does not have yet.

        Args:
            progress: called with what is being done and the share of it that is.
            anew: make everything again.

        Raises:
            GalleryError: another process is building it, the gallery's folder cannot be written, or the Qdrant cannot
                be reached, refuses, or has lost something.
        """
        choice = IndexChoice.of(self._store)
        if choice.target is None and not choice.approximate(self._store.counts()[1]):
            return None
        return build_index(self._store, self._make_stages()[0].dim, progress, anew=anew)

    # --- deciding -----------------------------------------------------------------------------------------------

    def decider(self, matcher: str = DEFAULT_MATCHER) -> Decider:
        """Return what turns evidence into confidences: calibrated for this gallery, or what ships for its models."""
        self._load_calibration()
        if self._calibrated is not None and matcher == DEFAULT_MATCHER:
            return self._calibrated
        embedder = _kept_model(self._store.path, self.settings["embedder"]["name"])
        # For a model of the user's own none was learned, whatever it is called.
        return shipped_decider(
            embedder if isinstance(embedder, str) else "", self.settings["extractor"]["name"], matcher
        )

    def _load_calibration(self) -> None:
        revision = self._store.revision()
        if revision != self._decided:
            attached = self._store.get_attachment(DECISION)
            self._calibrated = None if attached is None else LearnedDecider.from_bytes(attached)
            self._decided = revision

    def set_decision(self, decision: LearnedDecider | None) -> None:
        """Keep a decision calibrated for this gallery inside it; None goes back to the one that ships."""
        self._store.put_attachment(DECISION, None if decision is None else decision.to_bytes())

    # --- recognising --------------------------------------------------------------------------------------------

    def recognizer(
        self,
        effort: str = DEFAULT_EFFORT,
        budget_ms: float | None = None,
        precision: float | None = None,
        floor: float | None = None,
        *,
        gps: bool = True,
        matcher: str = DEFAULT_MATCHER,
        depth: int = 100,
        rerank_depth: int | None = None,
        landmarks: Collection[str] | None = None,
        near: Circle | None = None,
    ) -> Recognizer:
        """Return a recognizer over the gallery as it is now.

        Args:
            effort: ``fast``, ``default`` or ``thorough``; see docs/decision.md for what each costs and gains.
            budget_ms: no further work is begun on a photo once this much time is spent on it.
            precision: share of right answers wanted; chooses the floor by what the decision was measured to reach.
            floor: least confidence of an answer instead; 0.5 when neither is given.
            gps: whether a photo's position counts, for landmarks whose place is known.
            matcher: ``nearest``, or ``lighterglue`` for fifty times the cost a pair.
            depth: candidates retrieved.
            rerank_depth: most candidates geometry is asked about; None for what the effort says.
            landmarks: ids of the only landmarks to be named; None for all. What the photo may show instead still
                counts against them, so the answer to a photo of another landmark is none.
            near: name only landmarks whose place is known to lie in this circle; with `landmarks`, those in both.

        Raises:
            NotFoundError: there is no such landmark.
            PrecisionError: no floor is known to reach the precision.
            ModelError: extractor and matcher do not fit.
            ValueError: an option is out of its range, or both precision and floor are given.
        """
        if effort not in CASCADES:
            raise ValueError(f"effort: expected one of {', '.join(CASCADES)}, got {effort!r}")
        if precision is not None and floor is not None:
            raise ValueError("expected a precision or a floor, got both")
        decider = self.decider(matcher)
        if precision is not None:
            floor = decider.floor_for(precision, effort)
        index = self._refresh()
        embedder, extractor = self._make_stages()
        steps = CASCADES[effort]
        glue = (
            self._matcher(FINE_MATCHER)
            if "fine" in steps and (extractor.name, matcher) == FINE_MATCHER_INPUTS
            else None
        )
        stages = Components(embedder, extractor, self._matcher(matcher), HomographyVerifier(), glue)
        shelf = ReferenceSet(
            index,
            self._store.labels,
            self._landmarks,
            self._store.features_of,
            self._counts,
            self._store.expected_inliers,
            self._select(landmarks, near),
        )
        wanted = CascadeSettings(steps, depth, rerank_depth, budget_ms)
        return Recognizer(stages, shelf, decider, wanted, DEFAULT_FLOOR if floor is None else floor, gps=gps)

    def _select(self, landmarks: Collection[str] | None, near: Circle | None) -> SearchFilter | None:
        """Return the landmarks to look among, None for all."""
        if landmarks is None and near is None:
            return None
        wanted = set(self._landmarks if landmarks is None else landmarks)
        unknown = sorted(wanted - self._landmarks.keys())
        if unknown:
            raise self._unknown("landmark", unknown[0])
        if near is not None:
            wanted = {key for key in wanted if near.contains(self._landmarks[key])}
        return SearchFilter(frozenset(wanted), self._store.rows_of(wanted))

    def recognize(
        self, photos: Iterable[str | os.PathLike[str]], **options: Unpack[RecognizeOptions]
    ) -> Iterator[Recognition | Failure]:
        """Yield the answer for each photo in turn, or its failure; folders stand for the photos in them.

        The next photo is decoded while this one is recognised.

        Args:
            photos: paths.
            **options: those of `recognizer`.
        """
        recognizer = self.recognizer(**options)
        for _, image in in_order(_timed_load, _walk_all(photos), workers=1):
            if isinstance(image, Failure):
                yield image
            else:
                result = recognizer.recognize(image[0], spent=image[1])
                yield replace(result, seconds=result.seconds + image[1])

    def explain(
        self, photo: str | os.PathLike[str], out: str | os.PathLike[str], **options: Unpack[RecognizeOptions]
    ) -> Path:
        """Write the evidence for one photo as pictures and one self-contained page, and return the page's path.

        Args:
            photo: its path.
            out: the folder to write to.
            **options: those of `recognizer`.

        Raises:
            ImageError: the photo cannot be read.
            GalleryError: the folder `out` cannot be written.
        """
        recognizer = self.recognizer(**options)
        exhibit = self.exhibit(recognizer, load(photo, name=utf8(os.fsdecode(photo))))
        return write_page(Path(out), [exhibit], exhibit.recognition.photo, f"Gallery {utf8(str(self._store.path))}")

    def exhibit(self, recognizer: Recognizer, image: Image, most: int = 4) -> Explanation:
        """Return the answer for a photo together with its first `most` candidates and their inliers."""
        recognition = recognizer.recognize(image)
        query = recognizer.extract(image)
        pairs = [self._pair(recognizer, query, candidate) for candidate in recognition.evidence[:most]]
        shown = tuple(pair for pair in pairs if pair is not None)
        if self.settings["extractor"]["name"] != "xfeat":  # the mask that ships knows the keypoints of no other
            return Explanation(image, recognition, shown)
        stays = make_mask(DEFAULT_MASK).repeatability(image, query)
        return Explanation(image, recognition, shown, keypoints=query.keypoints, repeatability=stays)

    def _pair(self, recognizer: Recognizer, query: LocalFeatures, candidate: Candidate) -> EvidencePair | None:
        found = self._store.evidence(candidate.reference)
        if found is None:
            return None
        reference, features, small = found
        matches, verification = recognizer.compare(query, features)
        lines = matches.indices[verification.inliers]
        return EvidencePair(
            candidate=candidate,
            landmark=self._landmarks[candidate.landmark],
            picture=_reference_picture(self._store.path, reference, small, features.size),
            query_points=query.keypoints[lines[:, 0]],
            reference_points=features.keypoints[lines[:, 1]],
            problem=verification.problem,
        )

    def _matcher(self, name: str) -> Matcher:
        if name not in self._matchers:
            self._matchers[name] = make_matcher(name, self.settings["extractor"]["name"], self.provider)
        return self._matchers[name]

    # --- keeping up with the disk -------------------------------------------------------------------------------

    def _make_stages(self) -> tuple[Embedder, Extractor]:
        if self._embedder is None or self._extractor is None:
            self._embedder, self._extractor = make_components(self._store.path, self.settings, self.provider)
        return self._embedder, self._extractor

    def _refresh(self) -> Index:
        """Bring index and landmarks up to what is on disk now, whoever changed it, and return the index."""
        if self._upkeep is None:
            self._upkeep = LiveIndex(self._store, self._make_stages()[0].dim)
        if self._index is not None and not self._upkeep.has_newer() and self._store.revision() == self._revision:
            return self._index
        with self._store.reading():
            revision = self._store.revision()
            self._index = self._upkeep.refresh()
            landmarks = self._store.landmarks()
        self._landmarks.clear()  # in place: a recognizer at work goes on with all of them
        self._landmarks.update({key: landmark for key, (landmark, _) in landmarks.items()})
        self._counts.clear()
        self._counts.update({key: count for key, (_, count) in landmarks.items()})
        self._revision = revision
        return self._index


def _keep_model(gallery: Path, known: ModelCard) -> None:
    """Copy a trained model into the gallery, so that it can be moved and the training's folder thrown away."""
    folder = gallery / MODELS_FOLDER / known.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / known.file).write_bytes(read_file(known))
    write_card(folder, known)


def _keep_photo(gallery: Path, content: bytes) -> Path:
    """Write a photo into the gallery's folder, named by its content, and return where it is."""
    folder = (gallery / PHOTOS).absolute()
    path = folder / hashlib.sha256(content).hexdigest()
    try:
        folder.mkdir(exist_ok=True)
        for left in folder.glob(".*"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink(missing_ok=True)
        if not path.exists():
            draft = folder / f".{path.name}.{os.getpid()}"
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
    except OSError as error:
        raise GalleryError(f"{folder}: cannot be written ({error.strerror}); make room or give the right") from error
    return path


def make_components(gallery: Path, settings: Mapping[str, Any], provider: str = "cpu") -> tuple[Embedder, Extractor]:
    """Return the embedder and the extractor that made a gallery.

    Args:
        gallery: its folder, which keeps a model of the user's own.
        settings: what it was made with, as `GalleryInfo.settings` has it.
        provider: execution provider.

    Raises:
        GalleryError: the weights here are others.
    """
    made, found = dict(settings["embedder"]), dict(settings["extractor"])
    embedder = make_embedder(_kept_model(gallery, made["name"]), made["side"], provider)
    extractor = make_extractor(found["name"], found["max_keypoints"], found["max_side"], provider)
    _check_same(gallery, made["name"], made["sha256"], embedder.sha256)
    _check_same(gallery, found["name"], found["sha256"], extractor.sha256)
    return embedder, extractor


def _kept_model(gallery: Path, name: str) -> str | Path:
    """Return the folder of the gallery's own model of this name, or the name of one that ships."""
    folder = gallery / MODELS_FOLDER / name
    return folder if is_model(folder) else name


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Raise GalleryError unless this Veduta has the very models that made the gallery.

    Weights that do not ship are looked at when they are needed: without them a gallery can still be listed.
    """
    for stage in ("embedder", "extractor"):
        name, sha256 = settings[stage]["name"], settings[stage]["sha256"]
        kept = _kept_model(path, name)
        try:
            known = read_card(kept) if isinstance(kept, Path) else card(name)
        except VedutaError as error:
            raise GalleryError(f"{path}: was made with {stage} {name!r}, which this Veduta does not have") from error
        if name not in SOURCES:
            _check_same(path, name, sha256, known.sha256)


def _check_same(path: Path, name: str, made: str, here: str) -> None:
    """Raise GalleryError unless the weights here are those that made the gallery."""
    if here != made:
        raise GalleryError(
            f"{path}: was made with another {name!r} (sha256 {made[:12]}, here {here[:12]}); "
            "use the Veduta that made it, or create a new gallery and add the photos again"
        )


def _walk_all(photos: Iterable[str | os.PathLike[str]]) -> Iterator[str | Failure]:
    for photo in photos:
        lost: list[Failure] = []
        yield from walk(photo, report=lost.append)
        yield from lost


def _timed_load(photo: str | Failure) -> tuple[Image, float] | Failure:
    if isinstance(photo, Failure):
        return photo
    start = time.perf_counter()
    try:
        return load(photo), time.perf_counter() - start
    except ImageError as error:
        return Failure.of(photo, error)


def _reference_picture(gallery: Path, reference: Reference, small: bytes, size: tuple[int, int]) -> Image:
    """Return the reference's photo if it is still there unchanged, else its thumbnail, at the photo's size."""
    for file in (reference.photo, gallery / PHOTOS / reference.sha256):  # its own copy goes where the gallery goes
        try:
            image = load(file, name=reference.photo)
        except ImageError:
            continue  # gone or changed: that is what the thumbnail is for
        if image.sha256 == reference.sha256:
            return image
    picture = load(small, name=reference.photo)
    return Image(picture.pixels, *size, name=reference.photo)


def to_dict(result: Recognition | Failure) -> dict[str, Any]:
    """Return an answer as what its JSON says: photo, landmark, confidence, evidence, seconds; or photo, error."""
    if isinstance(result, Failure):
        return dict(result.to_dict())
    landmark = result.landmark
    return {
        "photo": result.photo,
        "landmark": None if landmark is None else {"id": landmark.id, "name": landmark.name},
        "confidence": round(result.confidence, 6),
        "evidence": [
            {
                "reference": candidate.reference,
                "landmark": candidate.landmark,
                "similarity": round(candidate.similarity, 6),
                "num_inliers": candidate.num_inliers,
            }
            for candidate in result.evidence
        ],
        "terms": {name: round(value, 3) for name, value in result.terms},
        "guesses": [{"landmark": guess.id, "confidence": round(p, 6)} for guess, p in result.guesses],
        "seconds": round(result.seconds, 4),
    }
