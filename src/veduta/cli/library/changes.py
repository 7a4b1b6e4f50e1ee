"""``veduta library tag``, ``organize`` and ``undo``: changes of a person's files, planned, applied and undone."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veduta.cli import output
from veduta.cli.library import LibraryPath, StateOption, opened_library
from veduta.cli.options import SOME_FAILED, AsListing, Listing

if TYPE_CHECKING:
    from veduta.library import Library
    from veduta.library.journal import Applied
    from veduta.library.metadata.tag import TagPlan
    from veduta.library.organize.plan import OrganizePlan

changes_app = typer.Typer()

ROWS_SHOWN = 12  # rows of a plan that are printed unless all are asked for
WrittenFloor = Annotated[
    float, typer.Option(min=0, max=1, help="Least confidence of an answer that counts; what you said always does.")
]
ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it; without this nothing is changed.")]
AllRows = Annotated[bool, typer.Option("--all", help="Print every file.")]


class ModeName(enum.StrEnum):
    """How photos get to their place."""

    hardlink = "hardlink"
    copy = "copy"
    symlink = "symlink"
    move = "move"


@changes_app.command("tag")
def tag_command(
    library: LibraryPath,
    apply: ApplyOption = False,  # noqa: FBT002
    embed: Annotated[bool, typer.Option("--embed", help="Write into the photos by exiftool, not beside them.")] = False,  # noqa: FBT002
    floor: WrittenFloor = 0.9,
    all: AllRows = False,  # noqa: A002, FBT002
    state: StateOption = None,
) -> None:
    """Write landmarks as XMP sidecars beside the photos, or into them. Shows what it would do; --apply does it."""
    from veduta.library.journal.hard_links import links_outside

    with opened_library(library, state) as opened:
        plan = opened.tag(embed=embed, floor=floor)
        _show_plan(_tag_facts(plan), [str(step.target) for step in plan.steps], every=all)
        output.print_failures(plan.failures)
        for path, count in links_outside(plan.steps).items():
            output.error(f"{path}: has {count} more names (hard links) that are not written, and keep the old content")
        failed = bool(plan.failures) | _apply_or_say(opened, plan, len(plan.steps), apply=apply)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _tag_facts(plan: TagPlan) -> dict[str, Any]:
    names = ("new", "merged", "withdrawn", "embedded", "unchanged", "positions", "positions_left")
    return {name: getattr(plan, name) for name in names}


@changes_app.command("organize")
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
    with opened_library(library, state) as opened:
        if apply:
            opened.recover()  # a step that a killed run died in is no place for a photo
        plan = opened.organize(into, mode.value, floor)
        _show_plan(_plan_facts(plan), [f"{source} -> {target}" for source, target in plan.rows()], every=all)
        output.print_failures(plan.left)
        for path in plan.beside:
            output.error(f"{path}: is named after a photo that moves, and stays; take it along if it belongs to that")
        failed = bool(plan.left) | _apply_or_say(opened, plan, len(plan.steps), apply=apply)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _plan_facts(plan: OrganizePlan) -> dict[str, Any]:
    return {
        "root": str(plan.root),
        "mode": plan.mode,
        "bytes": plan.size,
        "photos": plan.photos,
        "files": plan.files,
        "folders": plan.folders,
        "already": plan.already,
        "elsewhere": plan.elsewhere,
        "unlabelled": plan.unlabeled,
        "copies_left": plan.copies_left,
        "renamed": len(plan.renamed),
    }


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


@changes_app.command("undo")
def undo_command(
    library: LibraryPath,
    number: Annotated[int | None, typer.Option(help="Number of the action; the last one by default.")] = None,
    list: Annotated[bool, typer.Option("--list", help="Only list what was done, and what was taken back.")] = False,  # noqa: A002, FBT002
    state: StateOption = None,
    format: AsListing = Listing.table,
) -> None:
    """Take back what was applied last: files, names, times and folders are as they were. Again: the one before."""
    with opened_library(library, state) as opened:
        if list:
            rows = [_action_row(action) for action in opened.history()]
            output.print_rows(rows, as_json=format is Listing.json)
            _note_names(opened)
            return
        with output.progress("undoing") as progress:
            undone = opened.undo(number, lambda done: progress(done, None))
    output.print_failures(undone.left)
    output.note(f"took back {undone.done} steps of {undone.action.what} number {undone.action.number}")
    if undone.left:
        raise typer.Exit(SOME_FAILED)


def _note_names(library: Library) -> None:
    """Say which groups have a name, which is no change of files, and how to take one back."""
    named = {group.number: group.landmark.name for group in library.groups() if group.landmark}
    if named:
        shown = ", ".join(f"{n} {name if name.isprintable() else ascii(name)}" for n, name in sorted(named.items()))
        output.note(f"named groups: {shown}; take a name back with: veduta library name {library.path} GROUP --forget")


def _action_row(action: Any) -> dict[str, Any]:
    when = action.when.isoformat(timespec="seconds")
    return {
        "number": action.number,
        "what": action.what,
        "when": when,
        "steps": action.steps,
        "state": str(action.state),
    }
