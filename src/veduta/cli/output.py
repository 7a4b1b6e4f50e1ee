"""How the command line prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import csv
import io
import json
import sys
import warnings as python_warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from veduta.types import Failure, Recognition

MANY_ROWS = 1000  # from which on a table is plain lines
WIDE = 32_768  # into a pipe or file a row stays on its line, however long its paths


def _out() -> Console:
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else WIDE)


def any_names() -> None:
    """Read and write UTF-8 whatever the locale, and let file names that are not pass as the bytes they are."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def note(text: str) -> None:
    """Print a line for a person, on stderr."""
    print(text, file=sys.stderr)  # noqa: T201


def error(text: str) -> None:
    """Print an error as one line on stderr."""
    note("veduta: " + " ".join(text.splitlines()))


def warnings() -> None:
    """Print warnings as one line each on stderr, without the place in the code they come from."""
    python_warnings.showwarning = lambda message, *_args, **_rest: error(str(message))


def print_failures(failures: Sequence[Failure]) -> None:
    """Print each photo that failed as one line on stderr."""
    for failure in failures:
        error(failure.error)


@contextmanager
def progress(verb: str) -> Iterator[Callable[..., None]]:
    """Yield a function of (done, total, verb) that draws a bar with rate and time left on stderr, on a terminal."""
    from rich import progress as bars

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
    speeds = (bars.TextColumn("{task.fields[rate]}"), bars.TimeRemainingColumn())
    console = Console(stderr=True)
    if not console.is_terminal:  # an older rich ends a bar that was never drawn with an empty line
        yield lambda done, total, verb=verb: None
        return
    with bars.Progress(*columns, *speeds, console=console) as drawn:
        tasks = {verb: drawn.add_task(verb, total=None, rate="")}

        def update(done: int, total: int | None, verb: str = verb) -> None:
            if verb not in tasks:
                tasks[verb] = drawn.add_task(verb, total=total, rate="")
            speed = next((task.speed for task in drawn.tasks if task.id == tasks[verb]), None)
            drawn.update(tasks[verb], completed=done, total=total, rate=f"{speed:.1f} photos/s" if speed else "")

        yield update


def from_stdin(photos: Iterable[str]) -> Iterator[str]:
    """Yield the photos named, and in the place of ``-`` one per line of standard input."""
    for photo in photos:
        if photo == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        else:
            yield photo


def recognitions(answers: Iterable[Recognition | Failure], format: str, nothing: str) -> int:
    """Print answers as they come and return how many photos failed.

    Args:
        answers: one for each photo.
        format: ``table``, ``json``, ``jsonl`` or ``csv``.
        nothing: shown in a table as the evidence of a photo that was compared with no reference.
    """
    failed = 0

    def counted() -> Iterator[Recognition | Failure]:
        nonlocal failed
        for answer in answers:
            if isinstance(answer, Failure):
                failed += 1
                error(answer.error)
            yield answer

    if format == "table":
        _as_table(counted(), nothing)
    else:
        {"json": _as_json, "jsonl": _as_jsonl, "csv": _as_csv}[format](counted())
    return failed


def _as_json(answers: Iterable[Recognition | Failure]) -> None:
    from veduta.serialization import to_dict

    # Written piece by piece: ten thousand answers need not wait in memory for the last. Nothing is written before
    # the first, which is when a run that cannot start says so.
    before = "[\n "
    try:
        for answer in answers:
            sys.stdout.write(before + _json(to_dict(answer)))
            before = ",\n "
    except KeyboardInterrupt:
        sys.stdout.write("\n]\n" if before.startswith(",") else "")  # what there is, is still a list
        raise
    sys.stdout.write("[]\n" if before.startswith("[") else "\n]\n")


def _as_jsonl(answers: Iterable[Recognition | Failure]) -> None:
    from veduta.serialization import to_dict

    for answer in answers:
        sys.stdout.write(_json(to_dict(answer)) + "\n")
        sys.stdout.flush()


def _json(value: Any, indent: int | None = None) -> str:
    """Return JSON in plain characters, or in escapes where stdout's encoding has none: a name may be no text."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def _as_csv(answers: Iterable[Recognition | Failure]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["photo", "landmark", "name", "confidence", "similarity", "num_inliers", "seconds", "error"])
    for answer in answers:
        if isinstance(answer, Failure):
            writer.writerow([answer.photo, "", "", "", "", "", "", answer.error])
            continue
        landmark, best = answer.landmark, next(iter(answer.evidence), None)
        named = [landmark.id, landmark.name] if landmark else ["", ""]
        figures = [f"{best.similarity:.4f}", best.num_inliers] if best else ["", ""]
        writer.writerow([answer.photo, *named, f"{answer.confidence:.4f}", *figures, f"{answer.seconds:.3f}", ""])


def _as_table(answers: Iterable[Recognition | Failure], nothing: str) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in (("photo", "left"), ("landmark", "left"), ("confidence", "right"), ("evidence", "left")):
        table.add_column(title, justify=side, overflow="fold")  # type: ignore[arg-type]
    try:
        for answer in answers:
            table.add_row(*_row(answer, nothing))
    except KeyboardInterrupt:
        _out().print(table)  # what is known by now
        raise
    _out().print(table)


def _row(answer: Recognition | Failure, nothing: str) -> list[Text]:
    if isinstance(answer, Failure):
        return [_cell(answer.photo), Text("not read", "red")]
    name = _cell(answer.landmark.name, "green") if answer.landmark else Text("none I know", "yellow")
    return [_cell(answer.photo), name, Text(f"{answer.confidence:.2f}"), _cell(_evidence(answer, nothing))]


def _cell(text: str, style: str = "") -> Text:
    """Return text for a table unchanged if printable: without markup and control sequences."""
    return Text(text if text.isprintable() else ascii(text), style)


def _evidence(answer: Recognition, nothing: str) -> str:
    if not answer.evidence:
        return nothing
    best = answer.evidence[0]
    inliers = "not verified" if best.num_inliers is None else f"{best.num_inliers} inliers"
    return f"{inliers}, similarity {best.similarity:.2f} with {Path(best.reference).name}"


def documented(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's fields under the names that the documented JSON has for them."""
    return {"licence" if name == "license" else name: value for name, value in fields.items()}


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print dictionaries with the same keys as a table, leaving out columns that are empty, or as JSON."""
    if as_json:
        sys.stdout.write(_json(list(rows), indent=1) + "\n")
        return
    keys = [key for key in (rows[0] if rows else ()) if any(row[key] is not None for row in rows)]
    if len(rows) > MANY_ROWS:
        _print_many(keys, rows)
        return
    table = Table(*keys, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell("" if row[key] is None else str(row[key])) for key in keys))
    _out().print(table) if rows else note("nothing in it yet")


def _print_many(keys: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print a table of many rows as plain lines: to measure and fold each cell takes Rich half a minute for 100,000."""
    lines = [list(keys), *([_plain(row[key]) for key in keys] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(keys))]
    for line in lines:
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(padded.rstrip() + "\n")


def _plain(value: object) -> str:
    text = "" if value is None else str(value)
    return text if text.isprintable() else ascii(text)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout, odd characters written out."""
    for line in lines:
        sys.stdout.write((line if line.isprintable() else ascii(line)) + "\n")


def print_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    """Print one dictionary, nested ones flattened, as lines of name and value, or as JSON."""
    if as_json:
        sys.stdout.write(_json(facts) + "\n")
        return
    lines = list(_flat("", facts))
    wide = max(len(name) for name, _ in lines)
    for name, value in lines:
        sys.stdout.write(f"{name:<{wide}}  {value if value.isprintable() else ascii(value)}\n")


def _flat(prefix: str, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield prefix + key, _fact(value)


def _fact(value: Any) -> str:
    """Return a fact in few characters: numbers with what matters of them, rows of a matrix behind one another."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return ("; " if value and isinstance(value[0], tuple) else ", ").join(_fact(v) for v in value)
    return "none" if value is None else str(value)


def print_cards(cards: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print the models' cards one below the other, or as JSON."""
    if as_json:
        sys.stdout.write(_json(list(cards), indent=1) + "\n")
        return
    for i, card in enumerate(cards):
        if i:
            _out().print()
        print_facts({key: value for key, value in card.items() if value}, as_json=False)


def print_training(report: dict[str, Any], *, as_json: bool) -> None:
    """Print what a training run has done: figures before and after, the files left, and how to use the first."""
    if as_json:
        sys.stdout.write(_json(report, indent=1) + "\n")
        return
    judged = ("protocol", "recall_at_1", "gap_closed", "gap_open")
    table = Table("landmarks", "", "recall@1", "GAP closed", "GAP open", box=None, pad_edge=False, header_style="bold")
    for when, figures in (("before", report["before"]), ("after", report["after"])):
        for row in figures:
            protocol, *numbers = (row[key] for key in judged)
            table.add_row(protocol, when, *(f"{number:.3f}" for number in numbers))
    if report["after"]:
        _out().print(table)
        _out().print()
    files = Table("file", "MB", "from torch", "GAP lost: closed", "open", box=None, pad_edge=False, header_style="bold")
    for row in report["variants"]:
        lost = [f"{value:+.4f}" for value in row["gap_lost"]] if row["figures"] else ["", ""]
        files.add_row(_cell(row["folder"]), f"{row['megabytes']:.1f}", f"{row['difference']:.1e}", *lost)
    _out().print(files)
    note(
        f"kept the weights of epoch {report['epoch']}; trained on {report['photos']} photos, "
        f"{report['classes']} classes; "
        f"make a gallery with: veduta create GALLERY --embedder {report['variants'][0]['folder']}"
    )
