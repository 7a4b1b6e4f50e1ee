"""One shard of a job: run by one process at a time, killed at any moment, and resumed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from veduta.competition.descriptor_table import parse_shard
from veduta.errors import BusyError, JobError
from veduta.files import first_irregular, locked
from veduta.jobs.plan import Job, JobPlan, begin_job
from veduta.jobs.stored import failure_of
from veduta.progress import Progress
from veduta.records import DONE, MAKERS, PART, FinishedShard, Record, RecordFile, count_records
from veduta.types import Failure

STAY = {PART, DONE, MAKERS, ".lock"}  # in the folder of a finished shard


@dataclass(frozen=True)
class ShardReport:
    """The outcome of one shard.

    Attributes:
        work: the job's work folder.
        shard: which one: ``3/16``.
        items: photos, or pairs, that fall to it.
        new: how many of them were looked at now; the others were by an earlier run.
        failures: those without a result, each with its reason.
    """

    work: str
    shard: str
    items: int
    new: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class ShardStatus:
    """How far a shard is.

    Attributes:
        shard: which one: ``3/16``.
        state: ``finished``, ``begun`` or ``waiting``.
        done: photos, or pairs, that are done.
        items: how many there are.
        failed: how many of those done have no result; None before it is finished.
    """

    shard: str
    state: Literal["finished", "begun", "waiting"]
    done: int
    items: int
    failed: int | None


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        work: its work folder.
        kind: ``add``, ``recognize`` or ``verify``.
        items: photos, or pairs.
        done: how many of them are done.
        finished: shards that are.
        shards: each of them.
    """

    work: str
    kind: str
    items: int
    done: int
    finished: int
    shards: tuple[ShardStatus, ...]


def run_shard(
    job: Job, work: Path, shard: str = "1/1", progress: Progress | None = None, patience: float = 0.0
) -> ShardReport:
    """Run one shard of a job, or the rest of one, and report on that.

    The first process that comes lists the photos; all go by that list. A shard that is finished is not done again.

    Args:
        job: what is to be done.
        work: the job's folder, shared by all shards, new or empty at first.
        shard: ``i/N``, i from 1 to N.
        progress: called with items done and items in all.
        patience: seconds to wait for another process on the same shard to end.

    Raises:
        JobError: the folder belongs to another job, another process is on this shard, or it cannot be written.
        ValueError: the shard is none.
    """
    number, count = parse_shard(shard)
    plan = begin_job(job, work, count)
    folder = plan.shard_folder(number)
    try:
        if (found := first_irregular(folder)) is not None:
            raise JobError(f"{found}: is no plain file, so nothing is written there; remove it")
        folder.mkdir(exist_ok=True)
        with _alone(folder, patience):
            return _run(job, plan, number, progress)
    except OSError as error:
        raise JobError(f"{folder}: cannot be written ({error.strerror}); make room or give the right") from error


@contextmanager
def _alone(folder: Path, patience: float) -> Iterator[None]:
    """Lock a shard, waiting as long as `patience` allows."""
    end = time.monotonic() + patience
    while True:
        try:
            with locked(folder):
                yield
            return
        except BusyError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.1)


def _run(job: Job, plan: JobPlan, number: int, progress: Progress | None) -> ShardReport:
    folder, total = plan.shard_folder(number), plan.counts[number - 1]
    done, failures = FinishedShard.read(folder), list[Failure]()
    (folder / DONE).unlink() if done is None and (folder / DONE).exists() else None
    part = RecordFile(folder / PART)
    try:
        present = sum(1 for record in _noted(part, failures))
        if done is None:
            _finish(job, plan, number, part, present, failures, progress)
        return ShardReport(str(plan.work), f"{number}/{plan.shards}", total, total - present, tuple(failures))
    finally:
        part.close()


def _noted(part: RecordFile, failures: list[Failure]) -> Iterator[Record]:
    for _, record in part:
        if record.failed:
            failures.append(failure_of(record))
        yield record


def _finish(
    job: Job,
    plan: JobPlan,
    number: int,
    part: RecordFile,
    present: int,
    failures: list[Failure],
    progress: Progress | None,
) -> None:
    """Run the rest of a shard and mark the shard as finished."""
    folder, total = plan.shard_folder(number), plan.counts[number - 1]
    if present < total:
        with job.worker(plan, folder) as worker:
            _note_maker(folder, worker.fingerprint())
            left = [(place, item) for place, _, item in plan.items(number)][present:]
            permitted = job.permitted()
            if not all(permitted(item) for _, item in left):
                raise JobError(f"{plan.work}: its list names photos that this job does not; use another work folder")
            results = worker.results(item for _, item in left)
            for done, ((place, _), (content, failed)) in enumerate(zip(left, results, strict=True), present + 1):
                record = Record(place, failed, content)
                part.append(record)
                failures += [failure_of(record)] if failed else []
                if progress:
                    progress(done, total)
    FinishedShard(total, len(failures), part.sync(), _makers(folder)).write(folder)
    for left_over in folder.iterdir():
        if left_over.name not in STAY:
            left_over.unlink()


def _note_maker(folder: Path, maker: str) -> None:
    with (folder / MAKERS).open("a", encoding="ascii") as file:
        file.write(maker + "\n")


def _makers(folder: Path) -> tuple[str, ...]:
    path = folder / MAKERS
    return tuple(sorted(set(path.read_text("ascii", "replace").split()))) if path.exists() else ()


def job_status(work: Path) -> JobStatus:
    """Return how far each shard of a job is; JobError if the folder is no job's."""
    plan = JobPlan.read(work)
    shards = tuple(_status(plan, number) for number in range(1, plan.shards + 1))
    done = sum(shard.done for shard in shards)
    finished = sum(shard.state == "finished" for shard in shards)
    return JobStatus(str(work), plan.kind, sum(plan.counts), done, finished, shards)


def _status(plan: JobPlan, number: int) -> ShardStatus:
    folder, name, total = plan.shard_folder(number), f"{number}/{plan.shards}", plan.counts[number - 1]
    done = FinishedShard.read(folder)
    if done is not None:
        return ShardStatus(name, "finished", done.items, total, done.failed)
    return ShardStatus(name, "begun" if folder.exists() else "waiting", count_records(folder / PART), total, None)
