"""The commands that change what a gallery says of its landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veduta.cli import output


def edit_command(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.", show_default=False)],
    id: Annotated[str, typer.Argument(metavar="ID", help="The landmark's id.", show_default=False)],
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="The landmark's new name.")] = None,
    position: Annotated[str | None, typer.Option(metavar="LAT,LON", help="The landmark's place, in degrees.")] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="A page about the landmark.")] = None,
) -> None:
    """Change the name, place or page of a landmark; its id stays."""
    from veduta.gallery.contents import GalleryContents

    if name is None and position is None and url is None:
        raise typer.BadParameter("give --name, --position or --url")
    place = None if position is None else _degrees(position)
    with GalleryContents.read(gallery) as opened:
        try:
            landmark = opened.edit(id, name, place, url)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    where = "" if landmark.position is None else f" at {landmark.latitude:g}, {landmark.longitude:g}"
    output.note(f"{landmark.id}: {landmark.name}{where}" + (f", {landmark.url}" if landmark.url else ""))


def _degrees(text: str) -> tuple[float, float]:
    """Return the position that LAT,LON says."""
    try:
        latitude, longitude = map(float, text.split(","))
    except ValueError:
        raise typer.BadParameter(f"expected --position LAT,LON, such as 48.858,2.294, got {text!r}") from None
    return latitude, longitude


def export_command(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.", show_default=False)],
) -> None:
    """Write names, places, reference photos and verdicts into a folder, from which veduta add --csv makes a gallery."""
    from veduta.gallery.contents import GalleryContents
    from veduta.gallery.contents.export import REFERENCES_TABLE, export_gallery

    with GalleryContents.read(gallery) as opened:
        report = export_gallery(opened, out)
    kept = f"{report.photos} photos, {report.thumbnails} thumbnails of photos that are not here"
    output.note(f"wrote {report.landmarks} landmarks, {kept}, {report.verdicts} verdicts")
    output.note(f"make a gallery of them with: veduta add GALLERY --csv {out / REFERENCES_TABLE}")
