"""The job that recognizes many photos: one line of JSON for each, as `veduta recognize` prints."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from veduta.concurrency import in_order
from veduta.errors import DatasetError, ImageError, JobError
from veduta.gallery import Gallery
from veduta.gallery.live_index import describe_index
from veduta.gallery.options import RecognizeOptions
from veduta.gallery.store import Store
from veduta.images import load, walk
from veduta.jobs.fingerprint import features_digest, probe_image
from veduta.jobs.plan import JobItem, JobPlan, file_digest, json_line
from veduta.jobs.stored import is_below
from veduta.recognizer import Recognizer
from veduta.serialization import to_dict
from veduta.types import Failure, Image

ENDS = 256  # first and last references that a gallery is known by, beside its revision

# Options that tell a job from others.
IDENTIFYING = ("effort", "precision", "floor", "gps", "matcher", "depth", "rerank_depth")


@dataclass(frozen=True)
class RecognizeJob:
    """Photos to be recognized by a gallery.

    A budget of time is not among the options: the work done within one depends on the machine and its load.

    Attributes:
        gallery: its folder. It may not change before the job is done.
        photos: a folder, all photos in it; or a text file with one path a line, relative ones from its own folder.
        options: how they are recognized; without a budget of time and without a choice of landmarks.
        provider: execution provider.
        base: the folder that a relative `photos` starts at, and with it the photos in it.
    """

    gallery: Path
    photos: str
    options: RecognizeOptions = field(default_factory=RecognizeOptions)
    provider: str = "cpu"
    base: str = field(default_factory=os.getcwd)

    def __post_init__(self) -> None:
        if (self.options.budget_ms, self.options.landmarks, self.options.near) != (None, None, None):
            raise ValueError("expected options without budget_ms, landmarks and near, which a job does not take")

    @property
    def kind(self) -> str:
        """The name of the kind of job in a plan."""
        return "recognize"

    @property
    def _place(self) -> Path:
        return Path(self.base, self.photos)

    def identity(self) -> dict[str, Any]:
        """Return the job's identity; a gallery counts by content, for each machine may have a copy."""
        photos = self._place
        fields: dict[str, Any] = {"photos": str(photos.absolute()), "named": self.photos, "provider": self.provider}
        fields["sha256"] = "" if photos.is_dir() else file_digest(photos)
        options = {name: getattr(self.options, name) for name in IDENTIFYING}
        return fields | {"content": gallery_identity(self.gallery)} | options

    def items(self, failures: list[Failure]) -> Iterator[tuple[str, JobItem]]:
        """Yield every photo, by its name; then, as `veduta recognize` does, the folders that cannot be listed."""
        if not self._place.is_dir():
            for name in _lines(self._place):
                yield name, {"photo": name}
            return
        lost: list[Failure] = []
        for name in walk(self.photos, report=lost.append):
            yield name, {"photo": name}
        for failure in lost:
            yield failure.photo, asdict(failure)

    def permitted(self) -> Callable[[JobItem], bool]:
        """Return a test of an item: whether its photo is in the folder or in the list."""
        if self._place.is_dir():
            return lambda item: "error" in item or is_below(item["photo"], self.photos)
        listed = set(_lines(self._place))
        return lambda item: item["photo"] in listed

    def keep(self, folder: Path) -> dict[str, Any]:
        """Return the folder that relative paths start at."""
        return {"base": self.base if self._place.is_dir() else str(self._place.absolute().parent)}

    @contextmanager
    def worker(self, plan: JobPlan, shard: Path) -> Iterator[RecognizeWorker]:
        """Yield what recognizes, the gallery open."""
        with Gallery.open(self.gallery, self.provider) as opened:
            own = replace(plan, extra=self.keep(shard))  # not where a plan from somebody else says
            yield RecognizeWorker(opened, opened.recognizer(self.options), own)


class RecognizeWorker:
    """Recognizes photos.

    Args:
        gallery: open.
        recognizer: made from it.
        plan: the job.
    """

    def __init__(self, gallery: Gallery, recognizer: Recognizer, plan: JobPlan) -> None:
        self._gallery, self._recognizer, self._plan = gallery, recognizer, plan

    def fingerprint(self) -> str:
        """Return a digest of what is looked for of a drawn picture."""
        return features_digest(self._recognizer.extract(probe_image()), self._recognizer.embed(probe_image()))

    def results(self, items: Iterator[JobItem]) -> Iterator[tuple[bytes, bool]]:
        """Yield each photo's answer, or why there is none; the next photo is decoded meanwhile."""
        with closing(in_order(self._load, items, workers=1)) as loaded:
            for _, image in loaded:
                result = image if isinstance(image, Failure) else self._recognizer.recognize(image)
                if self._gallery.revision != self._plan.identity["content"]["revision"]:
                    raise JobError(f"{self._gallery.path}: has changed since the job was begun; begin it again")
                answer = to_dict(result)
                answer.pop("seconds", None)
                yield json_line(answer), isinstance(result, Failure)

    def _load(self, item: JobItem) -> Image | Failure:
        return load_item(self._plan, item["photo"]) if "error" not in item else Failure(**item)


def load_item(plan: JobPlan, photo: str) -> Image | Failure:
    """Return a photo of a job under the job's name for the photo, or the failure to read that."""
    try:
        return load(os.path.join(plan.extra["base"], photo), name=photo)  # noqa: PTH118 - keeps the path as it is
    except ImageError as error:
        return Failure.of(photo, error)


def gallery_identity(gallery: Path) -> dict[str, Any]:
    """Return the digest of a gallery's contents and index settings; every change of them shows."""
    store = Store.open(gallery)
    try:
        state, revision, references = hashlib.sha256(), store.revision(), store.counts()[1]
        for after in (0, max(0, store.rows.last() - ENDS)):
            rows, descriptors = store.rows.after(after, ENDS)
            state.update(rows.tobytes() + descriptors.tobytes())
        state.update(json_line([store.settings(), describe_index(store)]))
        return {"revision": revision, "references": references, "digest": state.hexdigest()[:16]}
    finally:
        store.close()


def _lines(path: Path) -> Iterator[str]:
    """Yield the paths in a text file, one a line."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for line in file:
                if "\0" in line:
                    raise DatasetError(f"{path}: is no list of photos; expected a text file with one path a line")
                if line.strip():
                    yield line.rstrip("\r\n")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
