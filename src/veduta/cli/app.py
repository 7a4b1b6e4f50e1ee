"""The commands. Heavy modules are imported inside them, so that ``veduta --help`` answers at once.

Results go to stdout, progress and one-line errors to stderr. Exit status: 0 all done, 1 some photos failed, 2 could
not run, 130 interrupted.
"""

from __future__ import annotations

import enum
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veduta import __version__
from veduta.cli import competition, index, jobs, library, models, output, serve, train, trust
from veduta.cli.gallery import edit_command, export_command
from veduta.cli.library import changes, review
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
    Budget,
    Depth,
    EffortName,
    EffortOption,
    Floor,
    Gps,
    MatcherOption,
    NearOption,
    Only,
    Precision,
    RerankDepth,
    recognize_options,
    why_nothing,
)

if TYPE_CHECKING:
    from veduta.gallery.rows import RemovedAddition

app = typer.Typer(
    name="veduta",
    help="Name the landmark in a photo, show the evidence, or say that none is known.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(competition.competition_app)
app.add_typer(jobs.jobs_app)
library.library_app.add_typer(changes.changes_app)
library.library_app.add_typer(review.library_review_app)
app.add_typer(library.library_app)

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Format(enum.StrEnum):
    """How answers are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


GalleryPath = Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.", show_default=False)]


def _version(show_version: bool) -> None:  # noqa: FBT001
    if show_version:
        typer.echo(f"veduta {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: FBT002
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Name the landmark in a photo, show the evidence, or say that none is known."""


@app.command("create")
def create_command(
    gallery: GalleryPath,
    embedder: Annotated[
        str, typer.Option(help="Model for the global descriptor, or the folder of a trained one.")
    ] = "efficientnet-lite2-landmarks",
    extractor: ExtractorOption = "xfeat",
    max_keypoints: MaxKeypoints = 512,
    max_side: MaxSide = 576,
) -> None:
    """Make an empty gallery in a new folder."""
    from veduta.gallery import Gallery

    with Gallery.create(gallery, embedder, extractor, max_keypoints, max_side):
        output.note(f"made an empty gallery in {gallery}; add photos with: veduta add {gallery} DIR")


@app.command("add")
def add_command(
    gallery: GalleryPath,
    source: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A folder with one subfolder of photos per landmark.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Instead of DIR, a table: photo,landmark[,name,latitude,longitude,url]."),
    ] = None,
    any_layout: AnyLayout = False,  # noqa: FBT002
    provider: Provider = "cpu",
) -> None:
    """Add labeled photos. Photos already there are left alone, so a killed run can simply be run again."""
    from veduta.gallery import Gallery

    if (source is None) == (csv is None):
        raise typer.BadParameter("give either DIR or --csv FILE")
    with Gallery.open(gallery, provider) as opened, output.progress("adding") as progress:
        report = opened.add(source, csv, progress, partial(progress, verb="comparing"), any_layout=any_layout)
    output.print_failures(report.failures)
    skipped = f", {report.skipped} were there already" if report.skipped else ""
    lost = f", {len(report.failures)} failed" if report.failures else ""
    output.note(f"added {len(report.added)} references{skipped}{lost}")
    if report.failures:
        raise typer.Exit(SOME_FAILED)


@app.command("remove")
def remove_command(
    gallery: GalleryPath,
    landmark: Annotated[str | None, typer.Option(metavar="ID", help="A landmark, with all its references.")] = None,
    reference: Annotated[str | None, typer.Option(metavar="ID", help="One reference.")] = None,
    last_added: Annotated[  # noqa: FBT002
        bool, typer.Option("--last-added", help="What the last call of add brought; again for the one before.")
    ] = False,
) -> None:
    """Remove a landmark, a reference or what was added last, at once and for good."""
    from veduta.gallery import Gallery

    if [landmark is None, reference is None, not last_added].count(False) != 1:
        raise typer.BadParameter("give one of --landmark ID, --reference ID and --last-added")
    with Gallery.open(gallery) as opened:
        if last_added:
            output.note(_removed_addition(opened.remove_last_addition()))
            return
        count = opened.remove(landmark, reference)
    output.note(f"removed {_counted(count, 'reference')}")


def _removed_addition(removed: RemovedAddition) -> str:
    addition, landmarks = removed.addition, removed.landmarks
    with_landmarks = f" and {_counted(landmarks, 'landmark')}" if landmarks else ""
    count = _counted(len(removed.references), "reference")
    return f"removed {count}{with_landmarks}, added {addition.added:%Y-%m-%d %H:%M} UTC from {addition.source}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


@app.command("list")
def list_command(
    gallery: GalleryPath,
    id: Annotated[
        str | None, typer.Option("--id", help="List only the landmark with this id, or its references.")
    ] = None,
    references: Annotated[bool, typer.Option("--references", help="List the references, not the landmarks.")] = False,  # noqa: FBT002
    format: AsListing = Listing.table,
) -> None:
    """List the landmarks of a gallery, or its references."""
    from veduta.gallery.contents import GalleryContents
    from veduta.gallery.live_references import not_found

    with GalleryContents.read(gallery) as opened:
        if id is not None and not opened.landmarks(id):
            raise not_found("landmark", id, gallery)
        if references:
            rows: list[dict[str, Any]] = [output.documented(asdict(reference)) for reference in opened.references(id)]
        else:
            rows = [vars(landmark) | {"references": count} for landmark, count in opened.landmarks(id)]
    output.print_rows(rows, as_json=format is Listing.json)


@app.command("info")
def info_command(gallery: GalleryPath, provider: Provider = "cpu", format: AsListing = Listing.table) -> None:
    """Show what a gallery is made of, and the execution provider in use."""
    from veduta.gallery import Gallery

    with Gallery.open(gallery, provider) as opened:
        facts = opened.info()
    output.print_facts(asdict(facts), as_json=format is Listing.json)


@app.command("recognize")
def recognize_command(
    gallery: GalleryPath,
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTO...", help="Photos, folders of photos, or - for a list on stdin.")
    ],
    effort: EffortOption = EffortName.default,
    budget_ms: Budget = None,
    precision: Precision = None,
    floor: Floor = None,
    gps: Gps = True,  # noqa: FBT002
    matcher: MatcherOption = "nearest",
    depth: Depth = 100,
    rerank_depth: RerankDepth = None,
    landmark: Only = None,
    near: NearOption = None,
    provider: Provider = "cpu",
    format: Annotated[
        Format, typer.Option(help="table, json (one list), jsonl (one object a line) or csv.")
    ] = Format.table,
) -> None:
    """Name the landmark in each photo, or say that the gallery knows none."""
    from veduta.gallery import Gallery

    options = recognize_options(effort, budget_ms, precision, floor, gps, matcher, depth, rerank_depth, landmark, near)
    with Gallery.open(gallery, provider) as opened:
        answers = opened.recognize(output.from_stdin(photos), options)
        failed = output.recognitions(answers, format.value, why_nothing(options, opened))
        if not opened.counts()[1]:
            output.error(f"{gallery}: is empty, so every answer is none; add photos with: veduta add {gallery} DIR")
    if failed:
        raise typer.Exit(SOME_FAILED)


@app.command("verify")
def verify_command(
    a: Annotated[str, typer.Argument(metavar="A", help="A photo.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another photo.")],
    draw: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw both, joined by their inliers.")] = None,
    extractor: ExtractorOption = "xfeat",
    matcher: MatcherOption = "nearest",
    max_keypoints: MaxKeypoints = 512,
    max_side: MaxSide = 576,
    provider: Provider = "cpu",
    format: AsListing = Listing.table,
) -> None:
    """Say whether two photos show the same place, by their local features and one homography."""
    from veduta.pair import verify as verify_pair

    if draw is not None and draw.suffix.lower() not in PICTURES:
        raise typer.BadParameter(f"expected a name ending in {', '.join(PICTURES)}, got {draw.name}")
    verification = verify_pair(a, b, draw, extractor, matcher, max_keypoints, max_side, provider)
    output.print_facts(asdict(verification), as_json=format is Listing.json)


@app.command("explain")
def explain_command(
    gallery: GalleryPath,
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="The photo asked about.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the pictures and index.html.")],
    effort: EffortOption = EffortName.default,
    budget_ms: Budget = None,
    precision: Precision = None,
    floor: Floor = None,
    gps: Gps = True,  # noqa: FBT002
    matcher: MatcherOption = "nearest",
    depth: Depth = 100,
    rerank_depth: RerankDepth = None,
    landmark: Only = None,
    near: NearOption = None,
    provider: Provider = "cpu",
) -> None:
    """Write the evidence for one photo as pictures and a self-contained page."""
    from veduta.gallery import Gallery

    options = recognize_options(effort, budget_ms, precision, floor, gps, matcher, depth, rerank_depth, landmark, near)
    with Gallery.open(gallery, provider) as opened:
        page = opened.explain(photo, out, options)
    output.note(f"wrote {page}")


@app.command("calibrate")
def calibrate_command(
    gallery: GalleryPath,
    source: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A folder with one subfolder of photos per landmark.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of DIR, a table with the columns photo,landmark.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder for reliability.png and calibration.json.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the decision that ships.")] = False,  # noqa: FBT002
    provider: Provider = "cpu",
    format: AsListing = Listing.table,
) -> None:
    """Fit confidences to a gallery and photos of known landmarks, none of them references; others stand for none."""
    from veduta.gallery import Gallery

    if reset + (source is not None) + (csv is not None) != 1:
        raise typer.BadParameter("give either DIR, --csv FILE or --reset")
    with Gallery.open(gallery, provider) as opened:
        if reset:
            opened.set_decision(None)
            output.note("the decision is the one that ships")
            return
        from veduta.training.decision.calibrate import calibrate_gallery as fit

        with output.progress("asking") as progress:
            calibration = fit(opened, source, csv, out, progress)
    output.print_failures(calibration.failures)
    output.print_facts(asdict(calibration) | {"failures": len(calibration.failures)}, as_json=format is Listing.json)
    if calibration.failures:
        raise typer.Exit(SOME_FAILED)


app.command("edit")(edit_command)
app.command("export")(export_command)
app.command("index")(index.index_command)
app.command("trust")(trust.trust_command)
app.command("train")(train.train_command)
app.add_typer(models.models_app, name="models")
app.command("serve")(serve.serve_command)
app.add_typer(serve.review_app, name="review")
