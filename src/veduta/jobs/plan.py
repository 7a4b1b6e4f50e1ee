"""The plan of a job: made once in the work folder by the first process, and the same for all after that."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from veduta import __version__
from veduta.competition.descriptor_table import shard_of
from veduta.errors import BusyError, DatasetError, JobError, VedutaError
from veduta.files import first_irregular, locked, write_json
from veduta.jobs.stored import check_item, check_plan_fields
from veduta.trust import TrustedFolder
from veduta.types import Failure

JobItem = dict[str, Any]
PLAN_FOLDER, PLAN_FILE, ITEMS = "plan", "job.json", "items.jsonl"
POLL_SECONDS = 0.2  # seconds between looks while another process lists the photos
# What is called what in a message, in the order in which differences are looked for.
NAMES = {
    "kind": "kind of work",
    "photos": "photos",
    "named": "name of the photos",
    "sha256": "content of the list",
    "gallery": "gallery",
    "content": "content of the gallery",
}


class Job(Protocol):
    """A kind of work: one of `AddJob`, `RecognizeJob`, `VerifyJob`."""

    @property
    def kind(self) -> str:
        """Which of them."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return the job's identity: photos, gallery, models, settings; all shards have to agree on these."""
        ...

    def permitted(self) -> Callable[[JobItem], bool]:
        """Return a test of an item: whether the photos named by the user include those of the item."""
        ...

    def items(self, failures: list[Failure]) -> Iterator[tuple[str, JobItem]]:
        """Yield every item with the key that deals items to shards; unlistable folders go to `failures`."""
        ...

    def keep(self, folder: Path) -> dict[str, Any]:
        """Write into the plan's folder what all shards need, and return what else they do."""
        ...

    def worker(self, plan: JobPlan, shard: Path) -> AbstractContextManager[Worker]:
        """Return the worker, its models ready.

        Args:
            plan: the job as it was begun.
            shard: the shard's folder, for what is to survive being killed.
        """
        ...


class Worker(Protocol):
    """Does the work of a job."""

    def results(self, items: Iterator[JobItem]) -> Iterator[tuple[bytes, bool]]:
        """Yield each item's result in turn, and whether the result is a failure: JSON with an error then."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of what the models make of one drawn picture: equal where all results are, bit for bit."""
        ...


@dataclass(frozen=True)
class JobPlan(TrustedFolder):
    """The plan of a job as begun.

    Attributes:
        work: its folder.
        kind: ``add``, ``recognize`` or ``verify``.
        identity: what makes it this job.
        counts: how many items each shard has.
        extra: what `Job.keep` returned.
        failures: what could not be listed.
    """

    work: Path
    kind: str
    identity: dict[str, Any]
    counts: tuple[int, ...]
    extra: dict[str, Any]
    failures: tuple[Failure, ...]

    def _requests(self) -> dict[str, Path | None]:
        if self.kind != "add":
            return {}
        photos, gallery = self.identity["photos"], self.identity["gallery"]
        again = f"read photos of {photos} again where the gallery has lost them"
        return {f"add its photos to the gallery {gallery}": self.work, again: self.work}

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return len(self.counts)

    def shard_folder(self, number: int) -> Path:
        """Return the folder of a shard, numbered from 1."""
        return self.work / f"shard-{number:04d}-of-{self.shards:04d}"

    def items(self, shard: int | None = None) -> Iterator[tuple[int, int, JobItem]]:
        """Yield each item's place in the list, its shard, from 1, and the item; of one shard or of all.

        Raises:
            JobError: the list is damaged.
        """
        prefix, path = None if shard is None else f"[{shard}, ", self.work / PLAN_FOLDER / ITEMS
        try:
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file):
                    if prefix is None or line.startswith(prefix):
                        yield number, *check_item(self.kind, self.shards, line)
        except (ValueError, RecursionError) as error:
            raise JobError(f"{path}: is damaged ({error}); begin the job again in another folder") from error

    @classmethod
    def read(cls, work: Path) -> JobPlan:
        """Return the job in a work folder; JobError if there is none."""
        path = work / PLAN_FOLDER / PLAN_FILE
        try:
            if (found := first_irregular(work / PLAN_FOLDER)) is not None:
                raise JobError(f"{found}: is no plain file, so it is not read; begin the job again in another folder")
            fields = json.loads(path.read_text("utf-8"))
            check_plan_fields(fields)
            failures = tuple(Failure(*failure) for failure in fields.pop("failures"))
            return cls(work=work, counts=tuple(fields.pop("counts")), failures=failures, **fields)
        except (FileNotFoundError, NotADirectoryError):
            raise JobError(f"{work}: is no job's work folder; begin one with 'veduta jobs add' or another") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise JobError(f"{path}: cannot be read ({error}); begin the job again in another folder") from error


def begin_job(job: Job, work: Path, shards: int) -> JobPlan:
    """Return the plan of a job, made now if no other process has; the photos are those that are there then.

    Raises:
        JobError: the folder holds another job, or something else, or cannot be written.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        _make(job, work, shards)
    except OSError as error:
        raise JobError(f"{work}: cannot be written ({error.strerror}); choose another folder") from error
    plan = JobPlan.read(work)
    check_plan(plan, job, shards)
    with suppress(VedutaError):  # the gallery was named to this process; without a place for that, a merge asks
        plan.trust()
    return plan


def _make(job: Job, work: Path, shards: int) -> None:
    while not (work / PLAN_FOLDER).exists():
        try:
            with locked(work):
                if not (work / PLAN_FOLDER).exists():
                    _draw(job, work, shards)
        except BusyError:
            time.sleep(POLL_SECONDS)


def _draw(job: Job, work: Path, shards: int) -> None:
    draft = work / f".{PLAN_FOLDER}"
    shutil.rmtree(draft, ignore_errors=True)  # by a process that was killed
    if any(path.name != ".lock" for path in work.iterdir()):
        raise JobError(f"{work}: is not empty and no job's work folder; choose a new one")
    draft.mkdir()
    identity, failures, counts = identity_of(job), list[Failure](), [0] * shards
    with (draft / ITEMS).open("w", encoding="utf-8") as file:
        for key, item in job.items(failures):
            shard = shard_of(key, shards)
            counts[shard] += 1
            file.write(json.dumps([shard + 1, item]) + "\n")
    fields = {"kind": job.kind, "identity": identity, "counts": counts, "extra": job.keep(draft)}
    write_json(draft / PLAN_FILE, fields | {"failures": [[f.photo, f.error, f.code] for f in failures]})
    draft.rename(work / PLAN_FOLDER)


def identity_of(job: Job) -> dict[str, Any]:
    """Return the job's identity as JSON values; shards with equal identities may share a work folder."""
    identity: dict[str, Any] = json.loads(json.dumps(job.identity() | {"veduta": __version__}))
    return identity


def check_plan(plan: JobPlan, job: Job, shards: int) -> None:
    """Raise JobError unless a plan is that of this job and has so many shards."""
    own = {"kind": job.kind} | identity_of(job)
    begun = {"kind": plan.kind} | plan.identity
    for key in sorted(own.keys() | begun.keys(), key=lambda key: list(NAMES).index(key) if key in NAMES else 99):
        if own.get(key) != begun.get(key):
            raise JobError(
                f"{plan.work}: was begun with another {NAMES.get(key, key)} ({_short(begun.get(key))}, "
                f"now {_short(own.get(key))}); use another work folder"
            )
    if plan.shards != shards:
        raise JobError(f"{plan.work}: was begun with {plan.shards} shards, not {shards}; use another work folder")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else text[:200] + "..."


def file_digest(path: Path) -> str:
    """Return the sha256 of a list of photos; DatasetError for an unreadable file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error


def json_line(value: Any) -> bytes:
    """Return one line of JSON, in plain characters, or in escapes where a name is no text."""
    try:
        return (json.dumps(value, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value) + "\n").encode()
