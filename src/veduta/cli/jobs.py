"""``veduta jobs``: add, recognize and verify in shards, on many processes or on Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veduta.cli import output
from veduta.cli.options import (
    SOME_FAILED,
    AnyLayout,
    AsListing,
    ExtractorOption,
    Listing,
    MaxKeypoints,
    MaxSide,
    Provider,
)
from veduta.cli.recognize_options import (
    Depth,
    EffortName,
    EffortOption,
    Floor,
    Gps,
    MatcherOption,
    Precision,
    RerankDepth,
    recognize_options,
)

if TYPE_CHECKING:
    from veduta.jobs import MergeReport, ShardReport
    from veduta.jobs.plan import Job

jobs_app = typer.Typer(
    name="jobs",
    help="Add, recognize and verify in shards, on many processes or on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

JobGalleryPath = Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.", show_default=False)]
WorkPath = Annotated[Path, typer.Argument(metavar="DIR", help="The job's work folder.", show_default=False)]
WorkOption = Annotated[Path, typer.Option(metavar="DIR", help="The job's work folder, shared by all shards.")]
Shard = Annotated[str | None, typer.Option(metavar="i/N", help="Do the i-th of N shards, here and now.")]
OnRay = Annotated[bool, typer.Option("--ray", help="Do all shards on Ray, and merge them.")]
Shards = Annotated[int | None, typer.Option(min=1, metavar="N", help="With --ray: how many shards.")]
Workers = Annotated[int, typer.Option(min=1, help="With --ray: shards done at the same time, at most.")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="A", help="With --ray: auto, HOST:PORT or ray://HOST:PORT; a new Ray on this machine by default."
    ),
]
Cpus = Annotated[float, typer.Option(min=0.1, help="With --ray: CPUs that a shard takes.")]
Gpus = Annotated[float, typer.Option(min=0, help="With --ray: GPUs that a shard takes.")]


@jobs_app.command("add")
def add_job_command(
    gallery: JobGalleryPath,
    source: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A folder with one subfolder of photos per landmark.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of DIR, a table: photo,landmark[,name,...].")
    ] = None,
    *,
    work: WorkOption,
    shard: Shard = None,
    ray: OnRay = False,
    shards: Shards = None,
    workers: Workers = 2,
    address: Address = None,
    cpus: Cpus = 1.0,
    gpus: Gpus = 0.0,
    any_layout: AnyLayout = False,
    provider: Provider = "cpu",
    format: AsListing = Listing.table,
) -> None:
    """Add labeled photos to a gallery, in shards: what veduta add does. A killed shard goes on when run again."""
    from veduta.jobs import AddJob

    if (source is None) == (csv is None):
        raise typer.BadParameter("give either DIR or --csv FILE")
    place = _place(shard, shards, workers, address, cpus, gpus, ray=ray)
    _do(AddJob(gallery, source, csv, provider, any_layout), work, place, format)


@jobs_app.command("recognize")
def recognize_job_command(
    gallery: JobGalleryPath,
    photos: Annotated[str, typer.Argument(metavar="PHOTOS", help="A folder, or a text file with one path a line.")],
    *,
    work: WorkOption,
    shard: Shard = None,
    ray: OnRay = False,
    shards: Shards = None,
    workers: Workers = 2,
    address: Address = None,
    cpus: Cpus = 1.0,
    gpus: Gpus = 0.0,
    effort: EffortOption = EffortName.default,
    precision: Precision = None,
    floor: Floor = None,
    gps: Gps = True,
    matcher: MatcherOption = "nearest",
    depth: Depth = 100,
    rerank_depth: RerankDepth = None,
    provider: Provider = "cpu",
    format: AsListing = Listing.table,
) -> None:
    """Recognize many photos, in shards; merged they are one line of JSON each, in the order of the photos."""
    from veduta.jobs import RecognizeJob

    options = recognize_options(effort, None, precision, floor, gps, matcher, depth, rerank_depth, None, None)
    place = _place(shard, shards, workers, address, cpus, gpus, ray=ray)
    _do(RecognizeJob(gallery, photos, options, provider), work, place, format)


@jobs_app.command("verify")
def verify_job_command(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="A table with the columns a,b.", show_default=False)],
    *,
    work: WorkOption,
    shard: Shard = None,
    ray: OnRay = False,
    shards: Shards = None,
    workers: Workers = 2,
    address: Address = None,
    cpus: Cpus = 1.0,
    gpus: Gpus = 0.0,
    extractor: ExtractorOption = "xfeat",
    matcher: Annotated[str, typer.Option(help="As veduta verify takes it.")] = "nearest",
    max_keypoints: MaxKeypoints = 512,
    max_side: MaxSide = 576,
    provider: Provider = "cpu",
    format: AsListing = Listing.table,
) -> None:
    """Compare many pairs of photos, in shards; merged they are one line of JSON each, in the order of the table."""
    from veduta.jobs import VerifyJob

    place = _place(shard, shards, workers, address, cpus, gpus, ray=ray)
    _do(VerifyJob(pairs, extractor, matcher, max_keypoints, max_side, provider), work, place, format)


@jobs_app.command("status")
def status_job_command(work: WorkPath, format: AsListing = Listing.table) -> None:
    """Show how far each shard of a job is."""
    from veduta.jobs import job_status as look

    job = look(work)
    if format is Listing.json:
        output.print_facts(asdict(job), as_json=True)
        return
    output.print_rows([asdict(shard) for shard in job.shards], as_json=False)
    output.note(f"{job.kind}: {job.finished} of {len(job.shards)} shards finished, {job.done} of {job.items} done")


@jobs_app.command("merge")
def merge_job_command(
    work: WorkPath,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; default: DIR/result.jsonl.")
    ] = None,
    format: AsListing = Listing.table,
) -> None:
    """Put the results of all shards together: into the gallery, or into one file. May be killed and run again."""
    from veduta.jobs import merge_job as put_together

    with output.progress("merging") as progress:
        report = put_together(work, out, progress, lambda done, total: progress(done, total, "comparing"))
    _merged(report, format)


ShardPlacement = Callable[["Job", Path], "ShardReport | MergeReport"]


def _place(
    shard: str | None,
    shards: int | None,
    workers: int,
    address: str | None,
    cpus: float,
    gpus: float,
    *,
    ray: bool,
) -> ShardPlacement:
    """Return a runner of a job: for one shard here, or for all of them on Ray."""
    from veduta.competition.descriptor_table import parse_shard
    from veduta.jobs import run_on_ray, run_shard

    if ray == (shard is not None) or ray == (shards is None):
        raise typer.BadParameter("give either --shard i/N, or --ray and --shards N")
    if address is not None and not ray:
        raise typer.BadParameter("--address goes with --ray")
    try:
        parse_shard(shard or "1/1")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

    def here(job: Job, work: Path) -> ShardReport | MergeReport:
        with output.progress(job.kind) as progress:
            if shard is not None:
                return run_shard(job, work, shard, progress)
            every = {"workers": workers, "address": address, "cpus": cpus, "gpus": gpus}
            return run_on_ray(job, work, shards or 1, progress=progress, **every)  # type: ignore[arg-type]

    return here


def _do(job: Job, work: Path, place: ShardPlacement, format: Listing) -> None:
    from veduta.jobs import MergeReport

    report = place(job, work)
    if isinstance(report, MergeReport):
        _merged(report, format)
    else:
        _ended(report, format, f"shard {report.shard}: {report.new} new of {report.items}")


def _merged(report: MergeReport, format: Listing) -> None:
    if not report.alike:
        output.note("its shards were computed by machines that round differently: see docs/distributed.md")
    if report.kind == "add":
        skipped = f", {report.skipped} were there already" if report.skipped else ""
        _ended(report, format, f"added {report.added} references{skipped}")
    else:
        _ended(report, format, f"{report.items} lines in {report.result}")


def _ended(report: Any, format: Listing, text: str) -> None:
    """Print a report and end with 1 where anything has failed."""
    output.print_failures(report.failures)
    lost = f", {len(report.failures)} failed" if report.failures else ""
    output.note(text + lost)
    if format is Listing.json:
        output.print_facts(asdict(report) | {"failures": len(report.failures)}, as_json=True)
    if report.failures:
        raise typer.Exit(SOME_FAILED)
