"""`veduta index`: what a gallery is searched with."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from veduta.cli import output
from veduta.cli.options import AsListing, Listing

STEPS = 1000  # of a bar


class IndexKindName(enum.StrEnum):
    """The kinds of index a gallery can be searched with."""

    auto = "auto"
    exact = "exact"
    approximate = "approximate"
    qdrant = "qdrant"


def index_command(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.", show_default=False)],
    kind: Annotated[
        IndexKindName | None,
        typer.Option(help="auto (exact below 200,000 references), exact, approximate or qdrant; kept in the gallery."),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(min=0.5, max=1, metavar="SHARE", help="Share of the 30 nearest to find; kept in the gallery."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Of the Qdrant; several nodes with commas between; or a folder."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What the gallery is called in the Qdrant.")] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Parts that a new collection is cut into there.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Nodes that have each part.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Make everything again, not only what is new.")] = False,  # noqa: FBT002
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,  # noqa: FBT002
    format: AsListing = Listing.table,
) -> None:
    """Choose what a gallery is searched with, bring that up to date, and say what it was measured to find."""
    from veduta.gallery import Gallery

    with Gallery.open(gallery) as opened:
        try:
            kind_name: Any = None if kind is None else kind.value
            opened.choose_index(kind_name, recall, address=address, name=name, shards=shards, replicas=replicas)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        with output.progress("index") as progress:
            opened.build_index(lambda what, share: progress(round(share * STEPS), STEPS, what), rebuild=anew)
        facts = opened.info().index
    if not quiet:
        output.print_facts(facts, as_json=format is Listing.json)
