"""A gallery: references of landmarks on disk, an index over them, and the recognizer that searches them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from veduta.concurrency import in_order
from veduta.datasets.listing import LabeledPhoto, list_photos
from veduta.decision.answer import DEFAULT_FLOOR
from veduta.decision.model import Decider, LearnedDecider
from veduta.embedders import DEFAULT_EMBEDDER
from veduta.errors import GalleryError, ImageError, VedutaError
from veduta.features import DEFAULT_EXTRACTOR
from veduta.files import utf8
from veduta.gallery.components import GalleryModels, keep_model, model_request, new_settings
from veduta.gallery.contents import GalleryContents
from veduta.gallery.evidence.explain import explain_image
from veduta.gallery.evidence.page import write_page
from veduta.gallery.index_build import build_index
from veduta.gallery.ingest import AddReport, add_listed
from veduta.gallery.live_index import INDEX_SETTING, IndexChoice, IndexKind, describe_index
from veduta.gallery.live_references import LiveReferences, StoredDecision, not_found
from veduta.gallery.options import DEFAULT_MATCHER, RecognizeChanges, RecognizeOptions
from veduta.gallery.qdrant_sync import SyncState
from veduta.gallery.references import PHOTOS_REQUEST, keep_photo, remove_photos
from veduta.gallery.rows import check_position
from veduta.gallery.store import Store
from veduta.geometry import HomographyVerifier
from veduta.images import PhotoBytes, as_photos, checked, load_photo, walk
from veduta.index import Manifest
from veduta.landmarks import Landmark
from veduta.models.folder import is_model, read_card
from veduta.models.session import provider_name
from veduta.progress import Progress, ShareProgress
from veduta.recognizer import Recognizer
from veduta.trust import TrustedFolder, accept, is_accepted
from veduta.types import Failure, Image, Recognition

if TYPE_CHECKING:
    from veduta.images.source import PhotoSource


@dataclass(frozen=True)
class GalleryInfo:
    """The size, models and settings of a gallery.

    Attributes:
        path: its folder.
        landmarks: how many it knows.
        references: how many photos of them it keeps.
        bytes: size of all its files.
        settings: the models that made it, with sha256, and their settings.
        decision: the origin of the decision that turns evidence into confidences, and its measured worth.
        provider: the execution provider in use, by ONNX Runtime's name.
        index: the index it is searched with, and for an approximate one its measured recall.
    """

    path: str
    landmarks: int
    references: int
    bytes: int
    settings: dict[str, Any]
    decision: dict[str, Any]
    provider: str
    index: dict[str, Any]


class Gallery(GalleryContents, TrustedFolder):
    """References of landmarks on disk, and the means to recognize them in photos.

    Make one with `Gallery.create` or `Gallery.open`; use it as a context manager, from one thread at a time.
    Several processes may have the same gallery open: each sees the others' changes at its next call.

    Args:
        store: the rows on disk.
        provider: execution provider for the networks.

    Attributes:
        path: the gallery's folder.
        writable: whether this process may change it.
        provider: as given.
        settings: the models that made it, with sha256, and their settings.
    """

    def __init__(self, store: Store, provider: str = "cpu") -> None:
        super().__init__(store)
        self.provider, self.settings = provider, store.settings()
        self._models = GalleryModels(store.path, self.settings, provider)
        self._live = LiveReferences(store, self._models)
        self._decision = StoredDecision(store, self._models, self.settings["extractor"]["name"])

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
        """Make an empty gallery in a new folder and open that.

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
        settings = new_settings(embedder, extractor, max_keypoints, max_side)
        own = is_model(embedder)
        store = Store.create(gallery, settings, lambda folder: keep_model(folder, read_card(embedder)) if own else None)
        made = cls(store)
        with suppress(VedutaError):  # without a place for that it asks, as somebody else's does
            made.trust()
        return made

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
        """Close the gallery's file and release its models; everything is already on disk."""
        self._live.close()
        self._models.close()
        self._store.close()

    def _requests(self) -> dict[str, Path | None]:
        model = model_request(self.path, self.settings)
        networks: dict[str, Path | None] = {model: None} if model else {}  # the same network is as good anywhere
        return {PHOTOS_REQUEST: self.path, **networks, IndexChoice.of(self._store).request(): self.path}

    # --- contents -----------------------------------------------------------------------------------------------

    def info(self) -> GalleryInfo:
        """Return the gallery's size, models and settings, and the execution provider in use."""
        landmarks, references = self._store.counts()
        return GalleryInfo(
            path=str(self.path),
            landmarks=landmarks,
            references=references,
            bytes=self._store.bytes_on_disk(),
            settings=self.settings,
            decision=dict(self.decider().metadata),
            provider=provider_name(self.provider),
            index=describe_index(self._store),
        )

    # --- adding and removing ------------------------------------------------------------------------------------

    def add(
        self,
        source: str | os.PathLike[str] | None = None,
        csv: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        comparing: Progress | None = None,
        *,
        any_layout: bool = False,
    ) -> AddReport:
        """Add the photos of a folder with one subfolder per landmark, or of a table, and report on each.

        Photos already in the gallery are left alone, so a run that was killed goes on where it stopped. A photo
        that cannot be read does not stop the others.

        Args:
            source: the folder; a subfolder's name is its landmark's id, and a reference's id its path below it.
            csv: the table instead, with photo, landmark and perhaps name, latitude, longitude, url.
            progress: called with photos done and photos in all.
            comparing: likewise, while the new ones are compared with the photos of their landmark.
            any_layout: take each subfolder for a landmark even where the folder looks like a photo library.

        Raises:
            DatasetError: the folder or table is malformed, or the folder looks like a photo library.
            GalleryError: the gallery cannot be written.
        """
        if (source is None) == (csv is None):
            raise ValueError("expected either a folder or a csv")
        listed, failures = list_photos(source, csv, any_layout=any_layout)
        return _add(self._store, self._models, listed, failures, os.fsdecode(source or csv or ""), progress, comparing)

    def add_photo(self, photo: str | os.PathLike[str], landmark: Landmark | str, id: str | None = None) -> AddReport:
        """Add one photo as a reference of a landmark, known or new; its id is the path as given unless `id` is."""
        landmark, path = Landmark(landmark) if isinstance(landmark, str) else landmark, os.fsdecode(photo)
        return _add(self._store, self._models, [LabeledPhoto(path, id or path, landmark)], [], path)

    def add_contents(self, photos: Iterable[tuple[str, bytes]], landmark: Landmark) -> AddReport:
        """Add photos that are nowhere else, such as those sent to a server; the gallery keeps the files themselves.

        Args:
            photos: (name in messages, the file's bytes).
            landmark: the landmark they show.
        """
        self._store.revision()  # raises where the folder is no longer this gallery's, before a photo is put there
        landmark, listed = self._store.rows.stored_landmark(landmark), []
        for name, content in photos:
            photo = PhotoBytes.of(content, name)
            path = keep_photo(self.path, content, photo.sha256)
            listed.append(
                LabeledPhoto(str(path), f"{landmark.id}/{photo.sha256[:16]}", landmark, name=name, content=photo)
            )
        report = _add(self._store, self._models, listed, [], ", ".join(item.name for item in listed))
        for path in {Path(item.photo) for item in listed}:
            reference = self._store.find_content(path.name)
            if reference is None or Path(reference.photo).name != path.name:  # no photo, or one that lies elsewhere
                path.unlink(missing_ok=True)
        return report

    def remove(self, landmark: str | None = None, reference: str | None = None, *, last_added: bool = False) -> int:
        """Remove a landmark with all its references, one reference, or the last addition; return how many went.

        Args:
            landmark: its id.
            reference: its id.
            last_added: remove what the last addition brought, as `remove_last_addition` does.

        Raises:
            NotFoundError: there is no such landmark or reference.
            GalleryError: nothing is left of any addition.
        """
        if (landmark is not None) + (reference is not None) + last_added != 1:
            raise ValueError("expected one of a landmark, a reference and last_added")
        if last_added:
            return len(self.remove_last_addition().references)
        if landmark is not None:
            landmark = self._store.rows.landmark_id(landmark)
            removed = self._store.references(landmark) if utf8(landmark) == landmark else []
            count = self._store.remove_landmark(landmark) if utf8(landmark) == landmark else None
            if count is None:
                raise not_found("landmark", landmark, self.path)
        else:
            stored = self.reference(str(reference))
            removed, count = [stored.reference], int(self._store.remove_reference(str(reference)))
        remove_photos(self.path, removed)
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
        """Choose the kind of index to search and return the choice; None leaves a setting unchanged.

        Args:
            kind: ``auto``: exact below 200,000 references and approximate above; ``exact`` or ``approximate``: whatever
                their number; ``qdrant``: in a Qdrant, once `build_index` has uploaded it.
            recall: share of the 30 nearest that an approximate index, or a Qdrant, is to find.
            address: of the Qdrant: ``http(s)://host:port``, several nodes of one with commas between them, or a folder
                for one inside this process. A key is taken from VEDUTA_QDRANT_API_KEY and kept nowhere.
            name: of the collection there; ``veduta`` at first.
            shards: parts that a new collection is cut into there.
            replicas: nodes that have each part.

        Raises:
            ValueError: there is no such kind, the recall is not a share in (0, 1], or address, name or number is none.
        """
        before = IndexChoice.of(self._store)
        choice = IndexChoice(
            kind=before.kind if kind is None else kind,
            recall=before.recall if recall is None else recall,
            address=before.address if address is None else address,
            name=before.name if name is None else name,
            shards=before.shards if shards is None else shards,
            replicas=before.replicas if replicas is None else replicas,
        )
        if choice != before:
            self._store.put_attachment(INDEX_SETTING, choice.to_bytes())
        if choice.target is None or address is not None:  # an address that was in the gallery may be somebody else's
            accept(self.path, choice.request())
        return choice

    def build_index(
        self, progress: ShareProgress = lambda work, share: None, *, rebuild: bool = False
    ) -> Manifest | SyncState | None:
        """Build or renew the approximate index and return its manifest; None where the gallery is searched exactly.

        An existing index is added to as long as the gallery has not grown to twice the size it was made for. A build
        that was killed goes on. Searches go on meanwhile, and go over to the new index when it is done. For a gallery
        that names a Qdrant, the references that are missing there are uploaded.

        Args:
            progress: called with the work being done and the share of it that is.
            rebuild: make everything again.

        Raises:
            GalleryError: another process is building it, the gallery's folder cannot be written, or the Qdrant cannot
                be reached, refuses, or has lost something.
        """
        choice = IndexChoice.of(self._store)
        if choice.target is None and not choice.approximate(self._store.counts()[1]):
            return None
        if choice.target is None:
            accept(self.path, choice.request())
        elif not is_accepted(self.path, choice.request()):
            raise GalleryError(
                f"{self.path}: asks to {choice.request()}, which this user has not accepted",
                f"name it with --address, or look where the gallery comes from, then: veduta trust {self.path}",
            )
        return build_index(self._store, self._models.pair()[0].dim, progress, rebuild=rebuild)

    # --- recognizing --------------------------------------------------------------------------------------------

    def decider(self, matcher: str = DEFAULT_MATCHER) -> Decider:
        """Return the gallery's decider: calibrated for these references, or the one that ships for its models."""
        return self._decision.decider(matcher)

    def set_decision(self, decision: LearnedDecider | None) -> None:
        """Store a calibrated decision inside the gallery; None goes back to the one that ships."""
        self._decision.set(decision)

    def recognizer(self, options: RecognizeOptions | None = None, **changes: Unpack[RecognizeChanges]) -> Recognizer:
        """Return a recognizer over the gallery's present references.

        Args:
            options: how photos are recognized; the defaults when None.
            **changes: fields of the options to replace.

        Raises:
            NotFoundError: there is no such landmark.
            PrecisionError: no floor is known to reach the precision.
            ModelError: extractor and matcher do not fit.
            ValueError: an option is out of its range, or both precision and floor are given.
        """
        options = replace(options or RecognizeOptions(), **changes)
        decider = self.decider(options.matcher)
        floor = options.floor
        if options.precision is not None:
            floor = decider.floor_for(options.precision, options.effort)
        references = self._live.reference_set(options.landmarks, options.near)
        components = self._models.components(options.matcher, fine="fine" in options.cascade.stages)
        floor = DEFAULT_FLOOR if floor is None else floor
        return Recognizer(components, references, decider, options.cascade, floor, gps=options.gps)

    def recognize(
        self,
        photos: PhotoSource | Iterable[PhotoSource],
        options: RecognizeOptions | None = None,
        **changes: Unpack[RecognizeChanges],
    ) -> Iterator[Recognition | Failure]:
        """Yield the answer for each photo in turn, or its failure; folders stand for the photos in them.

        The next photo is decoded while this one is recognized.

        Args:
            photos: one photo or many: paths, the bytes of photo files, `Image`s or PIL images.
            options: how they are recognized; the defaults when None.
            **changes: fields of the options to replace; errors as in `recognizer`.

        Raises:
            TypeError: an object among them is no photo.
        """
        recognizer = self.recognizer(options, **changes)
        for _, image in in_order(_timed_load, _walk_all(as_photos(photos)), workers=1):
            if isinstance(image, Failure):
                yield image
            else:
                result = recognizer.recognize(image[0], spent=image[1])
                yield replace(result, seconds=result.seconds + image[1])

    def explain(
        self,
        photo: PhotoSource,
        out: str | os.PathLike[str],
        options: RecognizeOptions | None = None,
        **changes: Unpack[RecognizeChanges],
    ) -> Path:
        """Write the evidence for one photo as pictures and one self-contained page, and return the page's path.

        Args:
            photo: its path or bytes, an `Image` or a PIL image.
            out: the folder to write to.
            options: how it is recognized; the defaults when None.
            **changes: fields of the options to replace; errors as in `recognizer`.

        Raises:
            ImageError: the photo cannot be read.
            GalleryError: the folder `out` cannot be written.
        """
        recognizer = self.recognizer(options, **changes)
        explanation = explain_image(self, recognizer, load_photo(photo, name=_shown_name(photo)))
        title = explanation.recognition.photo
        return write_page(Path(out), [explanation], title, f"Gallery {utf8(str(self.path))}")


def _add(
    store: Store,
    models: GalleryModels,
    listed: list[LabeledPhoto],
    failures: list[Failure],
    source: str,
    progress: Progress | None = None,
    comparing: Progress | None = None,
) -> AddReport:
    """Add photos, and compare the new references with those of their landmarks."""
    for landmark in {item.landmark for item in listed}:
        check_position(landmark)
    stored = {item.landmark: store.rows.stored_landmark(item.landmark) for item in listed}
    listed = [replace(item, landmark=stored[item.landmark]) for item in listed]
    report = add_listed(store, *models.pair(), listed, failures, utf8(source), progress)
    store.graph.compare(models.matcher(), HomographyVerifier(), comparing)
    return report


def _shown_name(photo: PhotoSource) -> str | None:
    """Return the name of a photo on a page: its path; None for one that has none."""
    return utf8(os.fsdecode(photo)) if isinstance(photo, str | os.PathLike) else None


def _walk_all(photos: Iterable[PhotoSource]) -> Iterator[PhotoSource | Failure]:
    for photo in photos:
        if not isinstance(photo, str | os.PathLike):
            yield checked(photo)
            continue
        failures: list[Failure] = []
        empty = True
        for path in walk(photo, report=failures.append):
            empty = False
            yield path
        if empty and not failures:
            failures.append(Failure.of(os.fsdecode(photo), ImageError(os.fsdecode(photo), "has no photos in it")))
        yield from failures


def _timed_load(photo: PhotoSource | Failure) -> tuple[Image, float] | Failure:
    if isinstance(photo, Failure):
        return photo
    start = time.perf_counter()
    try:
        return load_photo(photo), time.perf_counter() - start
    except ImageError as error:
        return Failure.of(error.name, error)
