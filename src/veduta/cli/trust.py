"""``veduta trust``: what a folder from elsewhere asks for, accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veduta.cli import output
from veduta.cli.library import StateOption


def trust_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A gallery or a library.", show_default=False)],
    list: Annotated[bool, typer.Option("--list", help="Only list what the folder asks for.")] = False,  # noqa: A002, FBT002
    state: StateOption = None,
) -> None:
    """Accept what a gallery or library that came from elsewhere asks for, such as its own network or a Qdrant."""
    from veduta.gallery import Gallery
    from veduta.gallery.store import GALLERY_FILE
    from veduta.library import Library

    opened = Gallery.open(folder) if (folder / GALLERY_FILE).is_file() else Library(folder, state)
    with opened:
        if not list:
            opened.trust()
        for request, accepted in opened.requests().items():
            output.print_lines([f"{'accepted' if accepted else 'asks to'}: {request}"])
