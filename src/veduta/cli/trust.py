"""``veduta trust``: what a folder from elsewhere asks for, accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veduta.cli import output
from veduta.cli.library import StateOption
from veduta.trust import TrustedFolder


def trust_command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A gallery, a library or a job's work folder.", show_default=False)
    ],
    list: Annotated[bool, typer.Option("--list", help="Only list what the folder asks for.")] = False,  # noqa: A002, FBT002
    state: StateOption = None,
) -> None:
    """Accept what a folder that came from elsewhere asks for, such as a gallery its own network or a Qdrant."""
    from veduta.gallery import Gallery
    from veduta.gallery.store import GALLERY_FILE
    from veduta.jobs.plan import PLAN_FOLDER, JobPlan
    from veduta.library import Library

    if (folder / PLAN_FOLDER).is_dir():
        _show(JobPlan.read(folder), accept=not list)
        return
    with Gallery.open(folder) if (folder / GALLERY_FILE).is_file() else Library(folder, state) as opened:
        _show(opened, accept=not list)


def _show(folder: TrustedFolder, *, accept: bool) -> None:
    """Print what a folder asks for, accepted before if that is wanted."""
    if accept:
        folder.trust()
    for request, accepted in folder.requests().items():
        output.print_lines([f"{'accepted' if accepted else 'asks to'}: {request}"])
