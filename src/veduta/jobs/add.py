"""The job that fills a gallery: shards make entries, the merge puts them in as `Gallery.add` would have alone."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from veduta.concurrency import in_order
from veduta.datasets.listing import LabeledPhoto, list_photos
from veduta.errors import GalleryError, JobError
from veduta.gallery.components import card_of, check_shape, make_components
from veduta.gallery.ingest import (
    AddReport,
    ContentLookup,
    add_entries,
    conflict,
    make_entry,
)
from veduta.gallery.store import NewReference, Store
from veduta.geometry import HomographyVerifier
from veduta.jobs.entries import pack_entry, unpack_entry
from veduta.jobs.fingerprint import features_digest, probe_image
from veduta.jobs.plan import PLAN_FOLDER, JobItem, JobPlan, file_digest, json_line
from veduta.jobs.stored import failure_of, is_below
from veduta.landmarks import Landmark, Reference
from veduta.matching import make_matcher
from veduta.progress import Progress
from veduta.protocols import Embedder, Extractor
from veduta.records import Record
from veduta.types import Failure

KNOWN = "known.bin"  # in the plan: the sha256 of every photo that the gallery had when the job was begun, sorted
DIGEST = 32  # bytes of one
THERE, ENTRY = b"T", b"E"  # what a record is: a photo the gallery has already, or an entry


@dataclass(frozen=True)
class AddJob:
    """Photos of a folder or table into a gallery, as `Gallery.add` takes them.

    Attributes:
        gallery: its folder.
        source: a folder with one subfolder of photos per landmark.
        csv: the table instead.
        provider: execution provider.
        any_layout: take each subfolder for a landmark even where the folder looks like a photo library.
    """

    gallery: Path
    source: Path | None = None
    csv: Path | None = None
    provider: str = "cpu"
    any_layout: bool = False

    def __post_init__(self) -> None:
        if (self.source is None) == (self.csv is None):
            raise ValueError("expected either a folder or a csv")

    @property
    def kind(self) -> str:
        """The name of the kind of job in a plan."""
        return "add"

    def identity(self) -> dict[str, Any]:
        """Return the job's identity; the gallery stays closed, for only one machine at a time may open that."""
        return {
            "photos": str((self.source or Path(str(self.csv))).absolute()),
            "sha256": "" if self.csv is None else file_digest(self.csv),
            "gallery": str(self.gallery.absolute()),
            "provider": self.provider,
        }

    def items(self, failures: list[Failure]) -> Iterator[tuple[str, JobItem]]:
        """Yield every photo of the listing with its reference's id."""
        source, table = (path.absolute() if path else None for path in (self.source, self.csv))
        listed, lost = list_photos(source, table, any_layout=self.any_layout)
        failures += lost
        for item in listed:
            yield item.id, asdict(item)

    def permitted(self) -> Callable[[JobItem], bool]:
        """Return a test of an item: whether its photo is in the folder or in the table."""
        return permitted_by(self.source and self.source.absolute(), self.csv)

    def keep(self, folder: Path) -> dict[str, Any]:
        """Write the digests of the gallery's contents, so that no shard need open that, and return its settings."""
        store = Store.open(self.gallery)
        try:
            digests = [bytes.fromhex(r.sha256) for key in store.landmarks() for r in store.references(key)]
            (folder / KNOWN).write_bytes(b"".join(sorted(digests)))
            return {"settings": store.settings()}
        finally:
            store.close()

    @contextmanager
    def worker(self, plan: JobPlan, shard: Path) -> Iterator[AddWorker]:
        """Yield what makes the entries."""
        check_shape(plan.work, plan.extra.get("settings"))
        stages = make_components(self.gallery.absolute(), plan.extra["settings"], self.provider)
        yield AddWorker(*stages, Digests(plan.work / PLAN_FOLDER / KNOWN))


def permitted_by(source: Path | None, table: Path | None) -> Callable[[JobItem], bool]:
    """Return a test of an item: whether its photo is in a folder, or in a table where there is no folder."""
    if source is not None:
        return lambda item: is_below(item["photo"], source)
    listed = {listed.photo for listed in list_photos(None, table and table.absolute(), any_layout=True)[0]}
    return lambda item: item["photo"] in listed


class Digests:
    """The sha256 of many photos, on disk.

    Args:
        path: a file of them, sorted, 32 bytes each.
    """

    def __init__(self, path: Path) -> None:
        kind = f"S{DIGEST}"
        if path.stat().st_size % DIGEST:
            raise JobError(f"{path}: is cut; begin the job again in another folder")
        self._sorted = np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)

    def __contains__(self, sha256: str) -> bool:
        digest = np.array(bytes.fromhex(sha256), self._sorted.dtype)
        place = int(np.searchsorted(self._sorted, digest))
        return place < len(self._sorted) and bool(self._sorted[place] == digest)


class AddWorker:
    """Makes the entries of a gallery.

    Args:
        embedder: the gallery's.
        extractor: likewise.
        known: what the gallery has already.
    """

    def __init__(self, embedder: Embedder, extractor: Extractor, known: Digests) -> None:
        self._embedder, self._extractor, self._known = embedder, extractor, known

    def fingerprint(self) -> str:
        """Return a digest of the entry of a drawn picture."""
        return features_digest(self._extractor.extract(probe_image()), self._embedder.embed([probe_image()]))

    def results(self, items: Iterator[JobItem]) -> Iterator[tuple[bytes, bool]]:
        """Yield each photo's entry, the mark of one already in the gallery, or its failure."""
        with closing(in_order(self._look, items)) as looked:
            for _, result in looked:
                yield result

    def _look(self, item: JobItem) -> tuple[bytes, bool]:
        listed, met = to_listed(item), list[str]()

        def earlier(sha256: str) -> Reference | None:
            met.append(sha256)
            if sha256 not in self._known:
                return None
            return Reference(listed.id, listed.landmark.id, listed.photo, sha256)  # whose it is, the merge will ask

        entry = make_entry(listed, earlier, self._embedder, self._extractor)
        if isinstance(entry, Failure):
            return json_line(asdict(entry)), True
        return (THERE + bytes.fromhex(met[0]) if entry is None else ENTRY + pack_entry(entry)), False


def to_listed(item: JobItem) -> LabeledPhoto:
    """Return a labeled photo from its item in a plan."""
    return LabeledPhoto(**item | {"landmark": Landmark(**item["landmark"])})


def merge_added(
    plan: JobPlan,
    records: Iterator[tuple[JobItem, Record]],
    progress: Progress | None = None,
    comparing: Progress | None = None,
) -> AddReport:
    """Add the results of all shards to the gallery, in the listing's order, and report on each photo.

    Args:
        plan: the job.
        records: every item of the job with its result, in order.
        progress: called with photos done and photos in all.
        comparing: likewise, while the new ones are held against the photos of their landmark.

    Raises:
        GalleryError: the gallery is gone, or is another one than the job was begun for.
    """
    gallery, settings = Path(plan.identity["gallery"]), plan.extra.get("settings")
    provider = str(plan.identity.get("provider"))
    store = Store.open(gallery)
    try:
        check_shape(plan.work, settings)
        if store.settings() != settings:
            raise GalleryError(f"{gallery}: was made by other models than the job was begun for; begin it again")
        known = ContentLookup(store, plan.identity["photos"])
        dims = card_of(gallery, settings, "embedder").dim, card_of(gallery, settings, "extractor").dim
        restore = partial(_restored, known, plan, dims)
        listed = ((item := to_listed(entry), _as_stored(store, item), record) for entry, record in records)
        prepared = ((stored, restore(item, stored, record)) for item, stored, record in listed)
        report = add_entries(known, prepared, sum(plan.counts), list(plan.failures), progress)
        matcher = make_matcher("nearest", settings["extractor"]["name"], provider)
        store.graph.compare(matcher, HomographyVerifier(), comparing)
        return report
    finally:
        store.close()


def _as_stored(store: Store, item: LabeledPhoto) -> LabeledPhoto:
    """Return a photo with its landmark as the gallery has it, however the letters of the id are composed."""
    return replace(item, landmark=store.rows.stored_landmark(item.landmark))


def _restored(
    known: ContentLookup, plan: JobPlan, dims: tuple[int, int], item: LabeledPhoto, stored: LabeledPhoto, record: Record
) -> NewReference | Failure | None:
    """Return the result that `make_entry` would give now; `stored` has the landmark as the gallery spells its id."""
    if record.failed:
        return failure_of(record)
    kind, content = record.content[:1], record.content[1:]
    entry = _unpacked(plan, dims, item, content) if kind == ENTRY else None
    if entry is None and (kind != THERE or len(content) != DIGEST):
        raise JobError(f"{plan.work}: the result of {item.photo} is damaged; delete the shard and run it again")
    reference = known.earlier(content.hex() if entry is None else entry.reference.sha256)
    if reference is not None:
        return conflict(stored, reference)
    if entry is None:  # the gallery had it when the job was begun, and has it no longer
        return _made_again(plan, known, stored)
    return replace(entry, reference=replace(entry.reference, landmark=stored.landmark.id))


def _unpacked(plan: JobPlan, dims: tuple[int, int], item: LabeledPhoto, content: bytes) -> NewReference:
    """Return the entry of an item; JobError for one that the gallery could not have made."""
    try:
        entry = unpack_entry(content, item)
        if (len(entry.descriptor), entry.features.descriptors.shape[1]) != dims:
            raise ValueError("its descriptors are of other models")
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        wrong = f"the entry of {item.photo} is damaged ({error})"
        raise JobError(f"{plan.work}: {wrong}; delete the shard and run it again") from error
    return entry


def _made_again(plan: JobPlan, known: ContentLookup, item: LabeledPhoto) -> NewReference | Failure | None:
    """Return the entry of a photo that the gallery has lost; JobError for one that the job's source does not name."""
    photos, gallery = Path(plan.identity["photos"]), Path(plan.identity["gallery"])
    source, table = (None, photos) if plan.identity["sha256"] else (photos, None)
    if not permitted_by(source, table)({"photo": item.photo}):
        raise JobError(f"{plan.work}: its list names {item.photo}, which is not of {photos}; begin the job again")
    stages = make_components(gallery, plan.extra["settings"], plan.identity["provider"])
    return make_entry(item, known.earlier, *stages)
