"""``veduta library review``: the uncertain answers, listed, judged by options, or on a page."""

from __future__ import annotations

import html
import secrets
import tempfile
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veduta.cli import output, serve
from veduta.cli.library import LibraryPath, StateOption, opened_library
from veduta.cli.options import SOME_FAILED, AsListing, Listing, Provider
from veduta.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from veduta.library import Library, UncertainAsset

library_review_app = typer.Typer()

Paths = list[str]  # before a command's option takes the name


@library_review_app.command("review")
def review_command(
    library: LibraryPath,
    list: Annotated[bool, typer.Option("--list", help="Print the doubtful photos here, and open no page.")] = False,  # noqa: A002, FBT002
    accept: Annotated[
        Paths | None, typer.Option(metavar="PHOTO", help="Its answer, or else its best guess, is right.")
    ] = None,
    reject: Annotated[Paths | None, typer.Option(metavar="PHOTO", help="It shows nothing the gallery knows.")] = None,
    correct: Annotated[
        Paths | None, typer.Option(metavar="PHOTO=LANDMARK", help="It shows this landmark: an id or a name.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Let --correct name landmarks that are not known yet.")] = False,  # noqa: FBT002
    forget: Annotated[Paths | None, typer.Option(metavar="PHOTO", help="Forget what was said of it.")] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(metavar="GALLERY", help="Make references here on the page; made if it is not there."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most photos in the list or on the page.")] = 100,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 for one that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Whether to open the browser.")] = True,  # noqa: FBT002
    state: StateOption = None,
    provider: Provider = "cpu",
    format: AsListing = Listing.table,
) -> None:
    """Look at the uncertain answers, on a page or here, and say what is right; the page names groups too."""
    from veduta.library.review import collect_verdicts

    verdicts = {"accepted": accept, "rejected": reject, "corrected": correct, None: forget}
    with opened_library(library, state) as opened:
        if any(verdicts.values()):
            failed = False
            for verdict, photos in verdicts.items():
                for photo in photos or ():
                    failed |= _judge(opened, verdict, photo, new=new, provider=provider)
            if failed:
                raise typer.Exit(SOME_FAILED)
        elif list:
            rows = [_doubt_row(opened, doubt, as_json=format is Listing.json) for doubt in opened.uncertain(limit)]
            if rows or format is Listing.json:
                output.print_rows(rows, as_json=format is Listing.json)
            else:
                output.note("no answer is in doubt")
        else:
            _review_on_page(opened, _page_galleries(opened, gallery), limit, port, provider, browser=browser)
            saved = collect_verdicts(opened)
            output.note(f"{saved} {'verdict' if saved == 1 else 'verdicts'} saved")


def _judge(library: Library, verdict: str | None, photo: str, *, new: bool, provider: str) -> bool:
    """Store or forget one verdict, and print what is known of the photo after that; return whether that failed."""
    if verdict == "corrected":
        return _correct(library, photo, new=new, provider=provider)
    asset = library.clear_verdict(photo) if verdict is None else library.set_verdict(photo, verdict)
    label = asset.label.landmark.name if asset.label else None
    if verdict is None:
        output.note(f"{asset.file}: verdict forgotten" + (f"; the gallery says {label}" if label else ""))
    else:
        output.note(f"{asset.file}: {label or 'no landmark'}")
    return False


def _correct(library: Library, photo: str, *, new: bool, provider: str) -> bool:
    """Store which landmark a photo shows; one that is new to the gallery gets the photo as a reference."""
    from veduta.library.review import add_new_landmark, landmark_of

    path, _, text = photo.rpartition("=")
    if not path:
        raise typer.BadParameter(f"expected PHOTO=LANDMARK, got {photo}", param_hint="--correct")
    landmark, before = landmark_of(library, text, new=new), library.verdicts()
    asset = library.set_verdict(path, "corrected", landmark)
    said = f"{asset.file}: {asset.label.landmark.name if asset.label else landmark.name}"
    earlier = before[asset.sha256].landmark if asset.sha256 in before else None
    failures = add_new_landmark(library, asset, landmark, earlier, provider) if new else None
    if failures is None:
        output.note(said)
    elif not failures:
        output.note(f"{said} ({landmark.id}), new in {library.gallery}, with this photo as its reference")
    output.print_failures(failures or ())
    return bool(failures)


def _doubt_row(library: Library, doubt: UncertainAsset, *, as_json: bool) -> dict[str, Any]:
    """Return a doubtful photo as a row: for people its name in the library, for programs its path and the id too."""
    guess = doubt.answer.landmark or (doubt.answer.guesses[0].landmark if doubt.answer.guesses else None)
    name = guess.name if guess else None
    rest = {"confidence": round(doubt.answer.confidence, 3), "others": doubt.others}
    if as_json:
        return {"photo": str(doubt.asset.file), "guess": guess.id if guess else None, "name": name, **rest}
    return {"photo": str(doubt.asset.file.relative_to(library.path)), "guess": name, **rest}


def _page_galleries(library: Library, gallery: Path | None) -> list[Path]:
    """Return the galleries of the page: the one that was asked about the library, then the one that is named."""
    from veduta.errors import LibraryError

    asked = [] if library.gallery is None else [Path(library.gallery)]
    if gallery is not None and gallery.resolve() not in [path.resolve() for path in asked]:
        return [*asked, gallery]
    if not asked:
        raise LibraryError(
            f"{library.path}: no gallery was asked about it; scan it with --gallery first, or name one with --gallery"
        )
    return asked


def _review_on_page(
    library: Library, galleries: Sequence[Path], limit: int, port: int, provider: str, *, browser: bool
) -> None:
    """Serve the page on the uncertain photos and the unnamed groups until the process is stopped."""
    from veduta.gallery import Gallery
    from veduta.library.review import fill_queue

    waiting, failures = fill_queue(library, galleries[0].name, limit)
    unnamed = sum(group.landmark is None for group in library.groups())
    output.print_failures(failures)
    if not waiting and not unnamed:
        output.note("no answer is in doubt, and no group is without a name")
        return
    if galleries[-1] != Path(library.gallery or "") and not galleries[-1].exists():  # the one asked must be there
        Gallery.create(galleries[-1]).close()
    token = secrets.token_urlsafe(24)
    with serve.on_page(list(galleries), token, port, provider, library) as (server, address):
        where = f"{address}/#/review?token={token}{'' if waiting else '&state=places'}"
        output.note(f"{waiting} photos to look at, {unnamed} places to name: {where}  (Ctrl-C when you are done)")
        with tempfile.TemporaryDirectory(prefix="veduta-") as private, suppress(KeyboardInterrupt):
            if browser:
                webbrowser.open(_door(Path(private), where).as_uri())
            server()


def _door(private: Path, address: str) -> Path:
    """Write a page that leads to an address with a token, for this user's browser only, and return its path.

    The address itself would stand in the browser's command line, which every user of the machine can read.
    """
    page = private / "review.html"
    write_atomic(page, f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">\n', permissions=0o600)
    return page
