"""``veduta models``: the cards of models, and weights that do not ship."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from veduta.cli import output
from veduta.cli.options import AsListing, Listing

models_app = typer.Typer(help="The models: their cards, and weights that do not ship.", invoke_without_command=True)


@models_app.callback()
def models_callback(context: typer.Context, format: AsListing = Listing.table) -> None:
    """Show the cards of all models: source, license, sha256, and where their weights are."""
    if context.invoked_subcommand is not None:
        return
    from veduta.models.cards import cards
    from veduta.models.weights import describe_weights

    rows = [output.documented(asdict(card)) | {"weights": describe_weights(card.name)} for card in cards()]
    output.print_cards(rows, as_json=format is Listing.json)


@models_app.command("show")
def show_command(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Names of models, or folders of trained ones.")
    ],
    format: AsListing = Listing.table,
) -> None:
    """Show the cards of some models, or of trained ones."""
    from veduta.models.cards import card
    from veduta.models.folder import is_model, read_card

    cards = [read_card(name) if is_model(name) or Path(name).is_dir() else card(name) for name in models]
    output.print_cards([output.documented(asdict(card)) for card in cards], as_json=format is Listing.json)


@models_app.command("pull")
def pull_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="superpoint, superglue, disk, ...; see veduta models.")],
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Take the files from this folder, not from the hub.")
    ] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
) -> None:
    """Fetch weights that do not ship, from the hub or a folder; one that was cut off goes on when run again."""
    from veduta.models.cards import card
    from veduta.models.weights import SOURCES, find_weights
    from veduta.models.weights import pull_weights as fetch

    folder = fetch(model, source, revision)
    output.note(f"{model} is in {folder} (sha256 {find_weights(model).sha256[:12]})")
    if SOURCES[model].research_only:
        output.note(f"its license: {card(model).license}")
