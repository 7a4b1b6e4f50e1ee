"""``veduta library``: the group of commands, and those that scan, group, name and report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veduta.cli import output
from veduta.cli.options import SOME_FAILED, AsListing, Listing, Provider

if TYPE_CHECKING:
    from veduta.landmarks import Landmark
    from veduta.library import Group, Library
    from veduta.library.cluster.names import GroupNaming

library_app = typer.Typer(
    name="library",
    help="A library of your own photos: find the landmarks in it, show them, write them back, sort it, undo it.",
    no_args_is_help=True,
)

LibraryPath = Annotated[
    Path, typer.Argument(metavar="LIBRARY", help="The folder with your photos.", show_default=False)
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        envvar="VEDUTA_STATE",
        metavar="FOLDER",
        help="Folder for the library's state; default: LIBRARY/.veduta.",
    ),
]
GalleryOption = Annotated[Path | None, typer.Option("--gallery", metavar="GALLERY", help="The gallery's folder.")]
MaxMemory = Annotated[int, typer.Option(min=800, metavar="MB", help="Memory to stay below.")]


@contextmanager
def opened_library(library: Path, state: Path | None, *, known: bool = True) -> Iterator[Library]:
    """Yield a library; LibraryError for one never scanned when `known`: the folder may be mistyped."""
    from veduta.errors import LibraryError
    from veduta.library import Library
    from veduta.library.catalog import CATALOG_FILE, STATE_FOLDER
    from veduta.library.review import collect_verdicts

    if known and library.is_dir() and not ((state or library / STATE_FOLDER) / CATALOG_FILE).exists():
        raise LibraryError(f"{library}: nothing is known of it; look through it with: veduta library scan {library}")
    with Library(library, state) as opened:
        collect_verdicts(opened)  # a page may have been closed since
        yield opened


@library_app.command("scan")
def scan_command(
    library: LibraryPath,
    gallery: GalleryOption = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Look at no more photos than this.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Photos decoded ahead.")] = 2,
    max_memory: MaxMemory = 2048,
    again: Annotated[bool, typer.Option("--again", help="Ask again where the gallery has changed.")] = False,  # noqa: FBT002
    state: StateOption = None,
    provider: Provider = "cpu",
    format: AsListing = Listing.table,
) -> None:
    """Look at the photos that are new or changed, and ask a gallery what they show. Can be stopped at any time."""
    from veduta.gallery import Gallery

    with (
        Gallery.open(gallery, provider) if gallery else nullcontext() as opened_gallery,
        opened_library(library, state, known=False) as opened,
        output.progress("scanning") as progress,
    ):
        report = opened.scan(opened_gallery, limit, threads, max_memory, again=again, progress=progress)
        assets, doubts = opened.assets(), len(opened.uncertain())
        was_asked = opened.gallery is not None
        is_empty = opened_gallery is not None and opened_gallery.counts()[1] == 0
    output.print_failures(report.failures)
    counted = [asset for asset in assets if asset.best]
    named = sum(asset.label is not None for asset in counted)
    facts = asdict(report) | {
        "failures": len(report.failures),
        "photos": len(counted),
        "named": named,
        "doubts": doubts,
    }
    output.print_facts(facts, as_json=format is Listing.json)
    if is_empty:
        output.note(f"{gallery}: has no references, so it can name no photo; add some with veduta add")
    if not (assets or report.failures):
        output.note(f"{library}: has no photos in it")
    elif gallery is None and not was_asked:
        output.note(f"no gallery was asked; find photos of one place with: veduta library group {library}")
    if report.older:
        output.note(f"the gallery has changed since {report.older} answers were given; ask again with --again")
    if doubts:
        output.note(f"{doubts} answers are worth a look: veduta library review {library}")
    if report.failures:
        raise typer.Exit(SOME_FAILED)


@library_app.command("group")
def group_command(
    library: LibraryPath,
    max_memory: MaxMemory = 2048,
    state: StateOption = None,
    format: AsListing = Listing.table,
) -> None:
    """Find the photos that show the same place, without any gallery. Name a group with: veduta library name."""
    with opened_library(library, state, known=False) as opened, output.progress("scanning") as progress:
        groups = opened.group(max_memory, progress)
        failures = opened.failures()
    output.print_failures(failures)
    if groups or format is Listing.json:
        output.print_rows(
            [_group_row(one, as_json=format is Listing.json) for one in groups], as_json=format is Listing.json
        )
    if not groups:
        output.note("no two photos are known to show the same place")
    else:
        output.note(
            f"see them with: veduta library report {library} --out album.html; name one with: veduta library name"
        )
    if failures:
        raise typer.Exit(SOME_FAILED)


def _group_row(group: Group, *, as_json: bool) -> dict[str, Any]:
    guess = group.landmark or (group.guess.landmark if group.guess else None)
    row: dict[str, Any] = {
        "group": group.number,
        "photos": len(group.assets),
        "best": str(group.assets[0].file),
        "name": guess.name if guess else None,
        "named_by": "you" if group.landmark else "gallery" if guess else None,
        "first": group.first.isoformat() if group.first else None,
        "last": group.last.isoformat() if group.last else None,
        "position": "{:.5f}, {:.5f}".format(*group.position) if group.position else None,
    }
    return row | ({"files": [str(asset.file) for asset in group.assets]} if as_json else {})


@library_app.command("name")
def name_command(
    library: LibraryPath,
    number: Annotated[int | None, typer.Argument(metavar="GROUP", help="The group's number.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="What the place is called.")] = None,
    id: Annotated[str | None, typer.Option(help="Id of the landmark; made from the name by default.")] = None,
    position: Annotated[
        str | None,
        typer.Option(metavar="LAT,LON", help="Position of the landmark; default: the median of the photos' positions."),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(metavar="GALLERY", help="Make its photos references there; made if it is not there.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Name the groups in a CSV table with the columns group and name."),
    ] = None,
    without: Annotated[
        list[Path] | None, typer.Option(metavar="PHOTO", help="Leave a photo out that does not show the place.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Take the group's name back.")] = False,  # noqa: FBT002
    state: StateOption = None,
    provider: Provider = "cpu",
) -> None:
    """Say which place a group shows, or take that back; with --gallery its photos become references."""
    from veduta.gallery import Gallery
    from veduta.library.cluster.names import GroupName, forget_name, name_groups, read_group_names, without_photos

    if (table is None) == (number is None) or (number is not None and (name is None) != forget):
        raise typer.BadParameter("expected GROUP NAME, GROUP --forget, or --table FILE")
    names = read_group_names(table) if table else [GroupName(number or 0, name or "", id, _place(position))]
    failures = []
    with opened_library(library, state) as opened:
        groups = without_photos(
            [opened.numbered(one.group) for one in names], without or ()
        )  # before a gallery is made
        if gallery is not None and not forget and not gallery.exists():
            Gallery.create(gallery).close()
        with Gallery.open(gallery, provider) if gallery else nullcontext() as opened_gallery:
            if forget:
                output.note(
                    _forgotten(opened, groups[0].number, *forget_name(opened, groups[0].number, opened_gallery))
                )
                return
            for named in name_groups(opened, names, groups, opened_gallery):
                failures += named.failures
                output.note(_named(named))
    output.print_failures(failures)
    if failures:
        raise typer.Exit(SOME_FAILED)


def _forgotten(library: Library, number: int, photos: int, references: int) -> str:
    """Return the outcome of taking a group's name back, in one line."""
    landmark = library.numbered(number).landmark
    now = f"shows {_shown(landmark)} again" if landmark else "has no name now"
    return f"group {number} {now}: {photos} photos, {references} references removed"


def _named(named: GroupNaming) -> str:
    """Return the outcome of naming a group, in one line."""
    rest = f"; {named.references} of them are references" if named.references else ""
    return f"group {named.group} shows {_shown(named.landmark)}: {named.photos} photos named{rest}"


def _shown(landmark: Landmark) -> str:
    """Return name and id of a landmark for a line of text."""
    return f"{landmark.name if landmark.name.isprintable() else ascii(landmark.name)} ({landmark.id})"


def _place(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        north, east = (float(part) for part in text.split(","))
    except ValueError:
        north, east = 999.0, 999.0
    if not (-90 <= north <= 90 and -180 <= east <= 180):  # a NaN neither
        raise typer.BadParameter(f"expected degrees north and east like 48.8867,2.3431, got {text}")
    return north, east


@library_app.command("report")
def report_command(
    library: LibraryPath,
    out: Annotated[
        list[Path], typer.Option(metavar="FILE", help="album.html, or a name ending in .csv .jsonl .geojson .kml .gpx.")
    ],
    floor: Annotated[float, typer.Option(min=0, max=1, help="Least confidence of an answer that counts.")] = 0.5,
    state: StateOption = None,
) -> None:
    """Write the album, one page that needs no network, or the photos as a table or for a map. --out can be repeated."""
    from veduta.library.album.page import write_album
    from veduta.library.export import FORMATS, export_assets

    suffixes = {".html", *(f".{name}" for name in FORMATS)}
    for path in out:
        if path.suffix.lower() not in suffixes:
            raise typer.BadParameter(f"expected a name ending in {', '.join(sorted(suffixes))}, got {path.name}")
    with opened_library(library, state) as opened:
        for path in out:
            if path.suffix.lower() == ".html":
                output.note(f"wrote {write_album(opened, path, floor)}")
            else:
                count = export_assets(opened.assets(floor), path.suffix.lower()[1:], path)
                output.note(f"wrote {count} photos to {path}")
