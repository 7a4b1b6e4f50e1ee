"""``veduta library``: a person's own photos, looked through, grouped, shown, tagged, put in order, and put back."""

from __future__ import annotations

import enum
import secrets
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veduta.cli import output, serve
from veduta.cli.options import AsListing, Listing, Provider

if TYPE_CHECKING:
    from veduta.library import Group, Library, UncertainAsset
    from veduta.library.journal import Applied
    from veduta.library.metadata.tag import TagPlan
    from veduta.library.organize.plan import OrganizePlan

library_app = typer.Typer(
    name="library",
    help="A library of your own photos: find the landmarks in it, show them, write them back, sort it, undo it.",
    no_args_is_help=True,
)

Paths = list[str]  # before a command's option takes the name


class ModeName(enum.StrEnum):
    """How photos get to their place."""

    hardlink = "hardlink"
    copy = "copy"
    symlink = "symlink"
    move = "move"


SOME_FAILED = 1
ROWS_SHOWN = 12  # rows of a plan that are printed unless all are asked for
LibraryPath = Annotated[
    Path, typer.Argument(metavar="LIBRARY", help="The folder with your photos.", show_default=False)
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        envvar="VEDUTA_STATE",
        metavar="FOLDER",
        help="Where to keep what is known; LIBRARY/.veduta unless said.",
    ),
]
GalleryOption = Annotated[Path | None, typer.Option("--gallery", metavar="GALLERY", help="The gallery's folder.")]
MaxMemory = Annotated[int, typer.Option(min=800, metavar="MB", help="Memory to stay below.")]
WrittenFloor = Annotated[
    float, typer.Option(min=0, max=1, help="Least confidence of an answer that counts; what you said always does.")
]
ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it; without this nothing is changed.")]
AllRows = Annotated[bool, typer.Option("--all", help="Print every file.")]


@contextmanager
def _opened(library: Path, state: Path | None, *, known: bool = True) -> Iterator[Library]:
    """Yield a library; LibraryError when a known one is expected and there is none: the folder may be mistyped."""
    from veduta.errors import LibraryError
    from veduta.library import Library
    from veduta.library.catalog import FILE, STATE_FOLDER
    from veduta.library.review import collect_verdicts

    if known and library.is_dir() and not ((state or library / STATE_FOLDER) / FILE).exists():
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
        _opened(library, state, known=False) as opened,
        output.progress("scanning") as progress,
    ):
        report = opened.scan(opened_gallery, limit, threads, max_memory, again=again, progress=progress)
        shots, doubts = opened.assets(), len(opened.uncertain())
    output.print_failures(report.failures)
    counted = [shot for shot in shots if shot.best]
    named = sum(shot.label is not None for shot in counted)
    facts = asdict(report) | {
        "failures": len(report.failures),
        "photos": len(counted),
        "named": named,
        "doubts": doubts,
    }
    output.print_facts(facts, as_json=format is Listing.json)
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
    with _opened(library, state, known=False) as opened, output.progress("scanning") as progress:
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
    guess = group.landmark or (group.guess[0] if group.guess else None)
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
    return row | ({"files": [str(shot.file) for shot in group.assets]} if as_json else {})


@library_app.command("name")
def name_command(
    library: LibraryPath,
    number: Annotated[int, typer.Argument(metavar="GROUP", help="The group's number.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the place is called.", show_default=False)],
    id: Annotated[str | None, typer.Option(help="Id of the landmark; made from the name unless said.")] = None,
    position: Annotated[
        str | None, typer.Option(metavar="LAT,LON", help="Where it stands; the photos' own median unless said.")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(metavar="GALLERY", help="Make its photos references there; made if it is not there.")
    ] = None,
    state: StateOption = None,
    provider: Provider = "cpu",
) -> None:
    """Say which place a group shows; with --gallery its photos become references."""
    from veduta.gallery import Gallery

    place = _place(position)
    with _opened(library, state) as opened:
        opened.numbered(number)  # before a gallery is made for it
        if gallery is not None and not gallery.exists():
            Gallery.create(gallery).close()
        with Gallery.open(gallery, provider) if gallery else nullcontext() as opened_gallery:
            landmark, failures = opened.name(number, name, id, opened_gallery, place)
    output.print_failures(failures)
    shown = landmark.name if landmark.name.isprintable() else ascii(landmark.name)
    output.note(f"group {number} shows {shown} ({landmark.id})")
    if failures:
        raise typer.Exit(SOME_FAILED)


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
    with _opened(library, state) as opened:
        for path in out:
            if path.suffix.lower() == ".html":
                output.note(f"wrote {write_album(opened, path, floor)}")
            else:
                count = export_assets(opened.assets(floor), path.suffix.lower()[1:], path)
                output.note(f"wrote {count} photos to {path}")


@library_app.command("tag")
def tag_command(
    library: LibraryPath,
    apply: ApplyOption = False,  # noqa: FBT002
    embed: Annotated[bool, typer.Option("--embed", help="Write into the photos by exiftool, not beside them.")] = False,  # noqa: FBT002
    floor: WrittenFloor = 0.9,
    all: AllRows = False,  # noqa: A002, FBT002
    state: StateOption = None,
) -> None:
    """Write landmarks as XMP sidecars beside the photos, or into them. Shows what it would do; --apply does it."""
    with _opened(library, state) as opened:
        plan = opened.tag(embed=embed, floor=floor)
        _show_plan(_tag_facts(plan), [str(step.target) for step in plan.steps], every=all)
        output.print_failures(plan.failures)
        failed = bool(plan.failures) | _apply_or_say(opened, plan, len(plan.steps), apply=apply)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _tag_facts(plan: TagPlan) -> dict[str, Any]:
    names = ("new", "merged", "withdrawn", "embedded", "unchanged", "positions", "positions_left")
    return {name: getattr(plan, name) for name in names}


@library_app.command("organize")
def organize_command(
    library: LibraryPath,
    into: Annotated[
        str,
        typer.Option(metavar="PATTERN", help="Folder with fields, such as 'Sorted/{country}/{landmark}/{date:%Y}'."),
    ],
    mode: Annotated[ModeName, typer.Option(help="hardlink, copy, symlink or move.")] = ModeName.hardlink,
    apply: ApplyOption = False,  # noqa: FBT002
    floor: WrittenFloor = 0.9,
    all: AllRows = False,  # noqa: A002, FBT002
    state: StateOption = None,
) -> None:
    """Sort the photos that show a landmark into folders. Shows the plan; --apply carries it out, undo takes it back."""
    with _opened(library, state) as opened:
        plan = opened.organize(into, mode.value, floor)
        _show_plan(_plan_facts(plan), [f"{source} -> {target}" for source, target in plan.rows()], every=all)
        output.print_failures(plan.left)
        failed = bool(plan.left) | _apply_or_say(opened, plan, len(plan.steps), apply=apply)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _plan_facts(plan: OrganizePlan) -> dict[str, Any]:
    names = ("photos", "files", "folders", "already", "elsewhere", "unlabelled", "copies_left")
    counts = {name: getattr(plan, name) for name in names}
    return {"root": str(plan.root), "mode": plan.mode, "bytes": plan.size, **counts, "renamed": len(plan.renamed)}


def _show_plan(facts: dict[str, Any], rows: Sequence[str], *, every: bool) -> None:
    """Print the totals of a plan, and the files concerned, or some of them."""
    output.print_facts(facts, as_json=False)
    shown = rows if every else rows[:ROWS_SHOWN]
    output.print_lines(shown)
    if len(shown) < len(rows):
        output.note(f"and {len(rows) - len(shown)} more; see them with --all")


def _apply_or_say(library: Library, plan: OrganizePlan | TagPlan, steps: int, *, apply: bool) -> bool:
    """Carry out a plan if `apply` is set; return whether some of it failed."""
    if not steps:
        output.note("nothing to do")
        return False
    if not apply:
        output.note("nothing was changed; do it with --apply")
        return False
    with output.progress("applying") as progress:
        done = library.apply(plan, _counted(progress, steps))
    _say_applied(done, library)
    return bool(done.failures) or done.stopped is not None


def _counted(progress: Callable[..., None], total: int) -> Callable[[int], None]:
    return lambda done: progress(done, total)


def _say_applied(done: Applied, library: Library) -> None:
    output.print_failures(done.failures)
    if done.stopped is not None:
        output.error(done.stopped)
    back = "" if done.journal is None else f"; take them back with: veduta library undo {library.path}"
    output.note(f"did {done.done} steps{back}")


@library_app.command("undo")
def undo_command(
    library: LibraryPath,
    number: Annotated[int | None, typer.Option(help="Number of the action; the last unless said.")] = None,
    list: Annotated[bool, typer.Option("--list", help="Only list what was done, and what was taken back.")] = False,  # noqa: A002, FBT002
    state: StateOption = None,
    format: AsListing = Listing.table,
) -> None:
    """Take back what was applied last: files, names, times and folders are as they were. Again: the one before."""
    with _opened(library, state) as opened:
        if list:
            rows = [_action_row(action) for action in opened.history()]
            output.print_rows(rows, as_json=format is Listing.json)
            return
        with output.progress("undoing") as progress:
            undone = opened.undo(number, lambda done: progress(done, None))
    output.print_failures(undone.left)
    output.note(f"took back {undone.done} steps of {undone.action.what} number {undone.action.number}")
    if undone.left:
        raise typer.Exit(SOME_FAILED)


def _action_row(action: Any) -> dict[str, Any]:
    when = action.when.isoformat(timespec="seconds")
    return {
        "number": action.number,
        "what": action.what,
        "when": when,
        "steps": action.steps,
        "state": str(action.state),
    }


@library_app.command("review")
def review_command(
    library: LibraryPath,
    list: Annotated[bool, typer.Option("--list", help="Print the doubtful photos here, and open no page.")] = False,  # noqa: A002, FBT002
    accept: Annotated[
        Paths | None, typer.Option(metavar="PHOTO", help="Its answer, or else the best guess, is right.")
    ] = None,
    reject: Annotated[Paths | None, typer.Option(metavar="PHOTO", help="It shows nothing the gallery knows.")] = None,
    correct: Annotated[
        Paths | None, typer.Option(metavar="PHOTO=LANDMARK", help="It shows this landmark, an id of the gallery.")
    ] = None,
    forget: Annotated[Paths | None, typer.Option(metavar="PHOTO", help="Forget what was said of it.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most photos in the list or on the page.")] = 100,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 for one that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Whether to open the browser.")] = True,  # noqa: FBT002
    state: StateOption = None,
    provider: Provider = "cpu",
    format: AsListing = Listing.table,
) -> None:
    """Look at the uncertain answers, on a page or here, and say what is right. Verdicts survive every rescan."""
    from veduta.library.review import collect_verdicts

    verdicts = {"accepted": accept, "rejected": reject, "corrected": correct, None: forget}
    with _opened(library, state) as opened:
        if any(verdicts.values()):
            for verdict, photos in verdicts.items():
                for photo in photos or ():
                    _judge(opened, verdict, photo)
        elif list:
            rows = [_doubt_row(doubt) for doubt in opened.uncertain(limit)]
            if rows or format is Listing.json:
                output.print_rows(rows, as_json=format is Listing.json)
            else:
                output.note("no answer is in doubt")
        else:
            _review_on_page(opened, limit, port, provider, browser=browser)
            output.note(f"took over {collect_verdicts(opened)} verdicts")


def _judge(library: Library, verdict: str | None, photo: str) -> None:
    """Store one verdict, or forget it, and print the photo's label after that."""
    from veduta.library.review import landmark_of

    if verdict is None:
        shot = library.clear_verdict(photo)
    elif verdict == "corrected":
        path, _, id = photo.rpartition("=")
        if not path:
            raise typer.BadParameter(f"expected PHOTO=LANDMARK, got {photo}", param_hint="--correct")
        shot = library.set_verdict(path, verdict, landmark_of(library, id))
    else:
        shot = library.set_verdict(photo, verdict)
    output.note(f"{shot.file}: {shot.label.landmark.name if shot.label else 'none'}")


def _doubt_row(doubt: UncertainAsset) -> dict[str, Any]:
    guess = doubt.answer.landmark or (doubt.answer.guesses[0][0] if doubt.answer.guesses else None)
    return {
        "photo": str(doubt.asset.file),
        "guess": guess.id if guess else None,
        "name": guess.name if guess else None,
        "confidence": round(doubt.answer.confidence, 3),
        "others": doubt.others,
    }


def _review_on_page(library: Library, limit: int, port: int, provider: str, *, browser: bool) -> None:
    """Serve the page on the uncertain photos until the process is stopped."""
    from veduta.errors import LibraryError
    from veduta.library.review import fill_queue

    if library.gallery is None:
        raise LibraryError(f"{library.path}: no gallery was asked about it; scan it with --gallery first")
    gallery = Path(library.gallery)
    waiting, failures = fill_queue(library, gallery.name, limit)
    output.print_failures(failures)
    if not waiting:
        output.note("no answer is in doubt")
        return
    token = secrets.token_urlsafe(24)
    with serve.on_page([gallery], token, port, provider, library.folder) as (server, address):
        where = f"{address}/#/review?token={token}"
        output.note(f"{waiting} photos to look at: {where}  (Ctrl-C when you are done)")
        if browser:
            webbrowser.open(where)
        with suppress(KeyboardInterrupt):
            server()
