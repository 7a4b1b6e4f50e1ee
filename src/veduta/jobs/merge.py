"""All shards' results put together, in the order of the job's list: into the gallery, or into one file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from veduta.errors import JobError
from veduta.files import draft, locked
from veduta.jobs.add import merge_added
from veduta.jobs.plan import JobItem, JobPlan
from veduta.jobs.stored import failure_of, result_of
from veduta.progress import Progress
from veduta.records import FinishedShard, Record, read_records
from veduta.types import Failure

RESULT = "result.jsonl"
AHEAD = 1024  # results held in memory, of all shards together
MOST_NAMED = 8  # unfinished shards named in a message


@dataclass(frozen=True)
class MergeReport:
    """The outcome of a job.

    Attributes:
        kind: ``add``, ``recognize`` or ``verify``.
        items: photos, or pairs.
        result: the gallery's folder, or the file with one line of JSON for each item.
        added: references that are new in the gallery; None for the other kinds.
        skipped: photos that the gallery had already; likewise.
        failures: items without a result, each with its reason.
        alike: whether all machines computed the same to the last bit; if not, neither need the result be what one
            machine would have made.
    """

    kind: str
    items: int
    result: str
    added: int | None
    skipped: int | None
    failures: tuple[Failure, ...]
    alike: bool


def merge_job(
    work: Path, out: Path | None = None, progress: Progress | None = None, comparing: Progress | None = None
) -> MergeReport:
    """Put the results of all shards together and return what the job has come to; may be killed and run again.

    Args:
        work: the job's folder.
        out: the file to write, of the kinds that write one; default: ``result.jsonl`` in the work folder.
        progress: called with items done and items in all.
        comparing: likewise, while new references are held against the photos of their landmark.

    Raises:
        JobError: a shard is missing, unfinished or damaged, or another process merges; the message says which.
        GalleryError: the gallery is gone or was made anew by other models.
    """
    plan = JobPlan.read(work)
    if plan.kind == "add" and out is not None:
        raise JobError(f"{work}: goes into the gallery {plan.identity['gallery']}, not into a file")
    for request, accepted in plan.requests().items():
        if not accepted:
            remedy = f"look where the folder comes from, then: veduta trust {work}"
            raise JobError(f"{work}: asks to {request}, which this user has not accepted", remedy)
    try:
        with locked(work):
            alike = len(_makers(plan)) <= 1
            if plan.kind == "add":
                return _into_gallery(plan, progress, comparing, alike=alike)
            return _into_file(plan, out or work / RESULT, progress, alike=alike)
    except OSError as error:
        place = error.filename or work
        raise JobError(f"{place}: cannot be read or written ({error.strerror}); then merge again") from error


def _makers(plan: JobPlan) -> set[str]:
    """Return the fingerprints of all machines that took part; JobError unless every shard is finished."""
    shards = {number: FinishedShard.read(plan.shard_folder(number)) for number in range(1, plan.shards + 1)}
    missing = [f"{n}/{plan.shards}" for n, done in shards.items() if done is None or done.items != plan.counts[n - 1]]
    if missing:
        named = ", ".join(missing[:MOST_NAMED]) + (", ..." if len(missing) > MOST_NAMED else "")
        which = f"shard {named} is" if len(missing) == 1 else f"{len(missing)} shards are"
        listed = "" if len(missing) == 1 else f" ({named})"
        raise JobError(f"{plan.work}: {which} not finished{listed}; run what is left, then merge again")
    return {maker for done in shards.values() if done is not None for maker in done.makers}


def _in_order(plan: JobPlan) -> Iterator[tuple[JobItem, Record]]:
    """Yield every item of the job with its result: each shard's lie in the order of the list."""
    ahead = max(1, AHEAD // plan.shards)
    parts = {number: read_records(plan.shard_folder(number), ahead) for number in range(1, plan.shards + 1)}
    for number, shard, item in plan.items():
        record = next(parts[shard], None)
        if record is None or record.number != number:
            folder = plan.shard_folder(shard)
            raise JobError(f"{folder}: is not a shard of this job; delete it and run the shard again")
        yield item, record


def _into_gallery(plan: JobPlan, progress: Progress | None, comparing: Progress | None, *, alike: bool) -> MergeReport:
    report = merge_added(plan, _in_order(plan), progress, comparing)
    gallery, added = plan.identity["gallery"], len(report.added)
    return MergeReport("add", sum(plan.counts), gallery, added, report.skipped, report.failures, alike)


def _into_file(plan: JobPlan, out: Path, progress: Progress | None, *, alike: bool) -> MergeReport:
    failures, total = list(plan.failures), sum(plan.counts)
    with draft(out) as file:
        for done, (_, record) in enumerate(_in_order(plan), 1):
            result_of(record.content)
            file.write(record.content)
            failures += [failure_of(record)] if record.failed else []
            if progress:
                progress(done, total)
    return MergeReport(plan.kind, total, str(out), None, None, tuple(failures), alike)
