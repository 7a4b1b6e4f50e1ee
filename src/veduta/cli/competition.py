"""``veduta competition``: Kaggle's and GLDv2's files in, submissions and reports out."""

from __future__ import annotations

import enum
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from veduta.cli import competition_output as pages
from veduta.cli import output
from veduta.cli.options import SOME_FAILED, AsListing, Listing, Provider

competition_app = typer.Typer(
    name="competition",
    help="Kaggle and GLDv2 files in, submission and report out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class RecipeName(enum.StrEnum):
    """The recipes there are."""

    veduta = "veduta"
    dna_2020 = "dna-2020"
    dna_2020_superglue = "dna-2020-superglue"
    dna_2020_own_shape = "dna-2020-own-shape"


Data = Annotated[Path, typer.Argument(metavar="DATA", help="The data set's folder.", show_default=False)]


@competition_app.command("inspect")
def inspect_command(
    data: Data,
    decode: Annotated[bool, typer.Option(help="Read every photo, to find damaged ones.")] = True,  # noqa: FBT002
    format: AsListing = Listing.table,
) -> None:
    """Show what a data set has: counts, the long tail, photos missing or damaged."""
    from veduta.competition.inspect import inspect_data as look

    with output.progress("reading") as progress:
        inspection = look(data, decode, progress)
    if format is Listing.json:
        pages.as_json(asdict(inspection) | {"splits": [split.to_dict() for split in inspection.splits]})
    else:
        pages.inspection(inspection)
    if any(split.missing or split.bad for split in inspection.splits):
        raise typer.Exit(SOME_FAILED)


@competition_app.command("score")
def score_command(
    solution: Annotated[Path, typer.Option(metavar="CSV", help="The truth: id,landmarks,Usage.")],
    submission: Annotated[Path, typer.Option(metavar="CSV", help="The answers: id,landmarks.")],
    floor: Annotated[float, typer.Option(help="Confidence from which a photo counts as answered.")] = 0.5,
    resamples: Annotated[int, typer.Option(min=0, help="Of the bootstrap; 0 for no interval.")] = 200,
    format: AsListing = Listing.table,
) -> None:
    """Print GAP and its companions for the public part, the private part and all."""
    from veduta.competition.score import score_submission as scored

    scores = scored(solution, submission, floor, resamples)
    parts = {part: figures.as_dict() for part, figures in scores.items()}
    (pages.as_json if format is Listing.json else pages.scores)(parts)


@competition_app.command("embed")
def embed_command(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The table's folder.")],
    split: Annotated[str, typer.Option(help="Folder of the photos: train, test or index.")] = "train",
    shard: Annotated[str, typer.Option(metavar="i/N", help="Only the i-th of N shares of the photos.")] = "1/1",
    embedder: Annotated[str, typer.Option(help="Model for the descriptor.")] = "efficientnet-lite2-landmarks",
    provider: Provider = "cpu",
) -> None:
    """Make the descriptors of a split in bulk; a run that was killed goes on when begun again."""
    from veduta.competition.embed import embed_split as embedded

    _check_shard(shard)
    with output.progress("embedding") as progress:
        report = embedded(data, out, split, shard, embedder, provider, progress)
    pages.print_bad_photos(report.bad)
    output.note(f"{report.new} new of {report.photos} photos, {len(report.bad)} cannot be read; in {report.table}")
    if report.bad:
        raise typer.Exit(SOME_FAILED)


def _check_shard(shard: str) -> None:
    from veduta.competition.descriptor_table import parse_shard

    try:
        parse_shard(shard)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@competition_app.command("import")
def import_command(
    descriptors: Annotated[Path, typer.Argument(metavar="FILE", help="A .npy of (N, D), or a .pth dictionary.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The table's folder.")],
    name: Annotated[str, typer.Option(help="What to call the model that made them.")],
    ids: Annotated[Path | None, typer.Option(metavar="TXT", help="With a .npy: its photo ids, one a line.")] = None,
) -> None:
    """Import descriptors made elsewhere. A .pth file is read without executing any code."""
    from veduta.competition.embed import import_npy, import_pth

    if (descriptors.suffix == ".npy") != (ids is not None):
        raise typer.BadParameter("--ids goes with a .npy file, and a .npy file needs it")
    table = import_npy(descriptors, ids, out, name) if ids is not None else import_pth(descriptors, out, name)
    output.note(f"{len(table)} descriptors of {table.maker.dim} numbers in {out}")


@competition_app.command("run")
def run_command(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for everything made.")],
    recipe: Annotated[
        RecipeName,
        typer.Option(help="veduta, or the 2020 notebook; see docs/competition.md."),
    ] = RecipeName.veduta,
    solution: Annotated[Path | None, typer.Option(metavar="CSV", help="The truth, if not in DATA.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Run both recipes, side by side.")] = False,  # noqa: FBT002
    bank: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Photos of no landmark: hold back references like them.")
    ] = None,
    ban: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Drop landmarks predicted more than N times.")
    ] = None,
    max_keypoints: Annotated[int | None, typer.Option(help="Change the recipe: keypoints of a photo.")] = None,
    matcher: Annotated[str | None, typer.Option(help="Change the recipe: nearest or lighterglue.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME|DIR", help="Change the recipe: an embedder, or a folder of tables."),
    ] = None,
    fuse: Annotated[
        str | None, typer.Option(help="Change the recipe: several models by product or concatenate.")
    ] = None,
    power: Annotated[
        float | None, typer.Option(metavar="P", help="Change the recipe: vote by the sum of cos^P, without geometry.")
    ] = None,
    provider: Provider = "cpu",
    format: AsListing = Listing.table,
) -> None:
    """Go from photos and train.csv to submission.csv; what an earlier run has done is not done again."""
    from veduta.competition.recipes import NOTEBOOK_WEIGHTS, with_overrides
    from veduta.competition.run import run_recipe as run_recipe

    weights = NOTEBOOK_WEIGHTS[: len(models)] if models else None
    changes: dict[str, Any] = {
        "max_keypoints": max_keypoints,
        "matcher": matcher,
        "models": tuple(models or ()) or None,
    }
    changes |= {"fuse": fuse, "power": power}
    names = [RecipeName.veduta, RecipeName.dna_2020] if compare else [recipe]
    reports = []
    for name in names:
        try:
            chosen = with_overrides(name.value, weights=weights, **changes)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        with pages.stages() as progress:
            reports.append(run_recipe(data, out, chosen, solution, bank, ban, provider, progress))
    results = [report.as_dict() for report in reports]
    (pages.as_json if format is Listing.json else pages.runs)(results)


@competition_app.command("check")
def check_command(
    submission: Annotated[Path, typer.Argument(metavar="SUBMISSION", help="The submission.", show_default=False)],
    sample: Annotated[Path, typer.Option(metavar="CSV", help="sample_submission.csv: the ids there must be.")],
    format: AsListing = Listing.table,
) -> None:
    """List everything that is wrong with a submission, with line numbers."""
    from veduta.competition.submissions import check_submission

    problems = check_submission(submission, sample)
    (pages.as_json if format is Listing.json else pages.problems)([asdict(problem) for problem in problems])
    if problems:
        raise typer.Exit(SOME_FAILED)
