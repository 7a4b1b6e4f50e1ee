"""A job's shards as tasks of Ray Data, on this machine or on a cluster whose machines share a folder.

What a task does is `run_shard`, as everywhere; through Ray travels only what became of it. The worker of a task that
dies is replaced by Ray, and the next one goes on where it was.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from veduta.errors import JobError, ModelError, VedutaError, install_extra
from veduta.files import write_json
from veduta.jobs.add import AddJob
from veduta.jobs.merge import MergeReport, merge_job
from veduta.jobs.plan import Job, JobPlan, begin_job
from veduta.jobs.recognize import RecognizeJob
from veduta.jobs.shard import run_shard
from veduta.jobs.verify import VerifyJob
from veduta.progress import Progress
from veduta.records import PART, count_records

ShardWork = Callable[[dict[str, Any]], dict[str, Any]]
Room = tuple[int, float, float]
DEATHS = 4  # workers that may die at one photo; Ray itself would begin the shard again for ever
TRIES = "tries.json"  # in the folder of a shard that Ray works on
REACH = 10.0  # seconds in which a cluster has to answer
RAY_TIMEOUT = 60.0  # seconds in which a worker that Ray gives up has to end
STORE_BYTES = 100 << 20  # of a cluster started here; only reports go through it
USAGE = "RAY_USAGE_STATS_ENABLED"


def run_on_ray(
    job: Job,
    work: Path,
    shards: int,
    workers: int = 2,
    address: str | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Do all shards of a job on Ray, merge them, and return what the job has come to.

    A Ray that this process is connected to already is used as it is, and stays connected.

    Args:
        job: what is to be done.
        work: the job's folder; on a cluster, one that all its machines share, as the photos and the gallery.
        shards: how many.
        workers: shards done at the same time, at most.
        address: ``auto`` or that of a running cluster; None starts one on this machine.
        cpus: how many of Ray's CPUs a shard takes.
        gpus: how many of Ray's GPUs, for an execution provider that uses one.
        out: the file to write, of the kinds that write one.
        progress: called with shards done and shards in all.

    Raises:
        JobError: no cluster answers, its workers die again and again, or a shard cannot be done; what is done is kept.
        ModelError: Ray is not installed.
    """
    if shards < 1 or workers < 1 or cpus <= 0 or gpus < 0:
        raise ValueError(
            f"expected shards, workers and cpus above 0, gpus not below, got {shards}, {workers}, {cpus}, {gpus}"
        )
    ray = _import()
    job, work = absolute(job), work.absolute()
    plan = begin_job(job, work, shards)  # here, so that what cannot begin says so before any worker is started
    for path in plan.work.glob(f"shard-*/{TRIES}"):  # by an earlier run, after which something may be better now
        path.unlink(missing_ok=True)
    with _connected(ray, address, workers * cpus), _hushed():
        _check_room(ray, {"CPU": cpus, "GPU": gpus})
        names = [f"{number}/{shards}" for number in range(1, shards + 1)]
        rows = _rows(ray, names, partial(shard_on_ray, job=job, work=work), (workers, cpus, gpus), progress)
        problems = [row["error"] for row in rows if row["error"]]
    if problems:
        more = f"; and {len(problems) - 1} other shards" if len(problems) > 1 else ""
        raise JobError(f"{problems[0]}{more}; what is done is kept, run the same job again to go on")
    return merge_job(work, out)


def absolute(job: Job) -> Job:
    """Return the job for workers that may be in another folder."""
    if isinstance(job, AddJob):
        source, csv = (None if path is None else path.absolute() for path in (job.source, job.csv))
        return replace(job, gallery=job.gallery.absolute(), source=source, csv=csv)
    if isinstance(job, RecognizeJob):
        return replace(job, gallery=job.gallery.absolute())
    if isinstance(job, VerifyJob):
        return replace(job, pairs=job.pairs.absolute())
    return job


def shard_on_ray(row: dict[str, Any], job: Job, work: Path) -> dict[str, Any]:
    """Run one shard in a worker and report on that; errors of the world come back in the report."""
    try:
        _count_tries(work, row["shard"])
        report = run_shard(job, work, row["shard"], patience=RAY_TIMEOUT)
    except (VedutaError, OSError) as error:
        return {"shard": row["shard"], "items": 0, "failed": 0, "error": str(error)}
    return {"shard": row["shard"], "items": report.items, "failed": len(report.failures), "error": ""}


def _count_tries(work: Path, shard: str) -> None:
    """Raise JobError when several workers have died here without getting any further."""
    folder = JobPlan.read(work).shard_folder(int(shard.partition("/")[0]))
    folder.mkdir(exist_ok=True)
    path, done = folder / TRIES, count_records(folder / PART)
    tried = json.loads(path.read_text("utf-8")) if path.exists() else {}
    tries = 1 + (tried["tries"] if tried.get("done") == done else 0)
    if tries > DEATHS:
        raise JobError(
            f"{work}: {DEATHS} Ray workers have died at item {done + 1} of shard {shard}; "
            "give each more memory, or take out the photo that kills them"
        )
    write_json(path, {"done": done, "tries": tries, "pid": os.getpid(), "host": socket.gethostname()})


def _import() -> Any:
    os.environ.setdefault(USAGE, "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ModelError(f"jobs on Ray need the extra [ray] ({error.name}): {install_extra('ray')}") from error
    return ray


@contextmanager
def _connected(ray: Any, address: str | None, cpus: float) -> Iterator[None]:
    """Be connected to a Ray: the one there is, the one at an address, or one of our own."""
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        here = {"num_cpus": max(1, round(cpus)), "include_dashboard": False, "object_store_memory": STORE_BYTES}
        address, quiet = "local", quiet | here
    try:
        _reach(address)
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise JobError(
            f"no Ray cluster answers at {address!r} ({reason}); start one, or leave --address out"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise OSError where nobody listens: Ray would go on trying for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), REACH).close()


def _check_room(ray: Any, resources: dict[str, float]) -> None:
    """Raise JobError where no machine could ever take a shard: Ray would wait for one that can."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(machine.get(what, 0) >= much for what, much in resources.items()) for machine in machines):
        demand = ", ".join(f"{much:g} {what}" for what, much in resources.items() if much)
        raise JobError(f"no machine of Ray has what a shard is to take ({demand}); ask for less")


def _rows(ray: Any, names: list[str], work: ShardWork, room: Room, progress: Progress | None) -> list[dict[str, Any]]:
    """Return the report of each shard."""
    try:
        if ray.util.client.ray.is_connected():  # Ray Data has to be driven from inside the cluster
            drive = ray.remote(num_cpus=0)(_driven)
            return list(ray.get(drive.remote(names, work, room)))
        return _driven(names, work, room, progress)
    except ray.exceptions.RayError as error:
        raise JobError(_explained(ray, error)) from error


def _driven(names: list[str], work: ShardWork, room: Room, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Return Ray Data's reports of the shards; `room` is how many at a time, with the CPUs and GPUs of each."""
    import ray.data

    workers, cpus, gpus = room
    rows = ray.data.from_items([{"shard": name} for name in names], override_num_blocks=len(names))
    rows.context.execution_no_progress_timeout_s = -1  # a shard may take hours in which nothing comes back
    rows.context.enable_progress_bars = False
    results = []
    for row in rows.map(work, num_cpus=cpus, num_gpus=gpus or None, concurrency=min(workers, len(names))).iter_rows():
        results.append(row)
        if progress:
            progress(len(results), len(names))
    return results


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep Ray Data from telling of its progress and from printing the tracebacks of what is raised anyway."""
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("ray", "ray.data")}
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)


def _explained(ray: Any, error: BaseException) -> str:
    """Return in one line what Ray's error means."""
    remedy = "what is done is kept, run the same job again to go on"
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ray.exceptions.OutOfMemoryError):
            return f"a Ray worker had not enough memory; give fewer workers or more CPUs to each; {remedy}"
        if isinstance(seen, ray.exceptions.WorkerCrashedError | ray.exceptions.NodeDiedError):
            return f"a Ray worker has died; look at its machine's log; {remedy}"
        seen = seen.__cause__ or seen.__context__
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"Ray has failed ({first.strip()[:200]}); {remedy}"
