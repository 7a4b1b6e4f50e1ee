"""How ``veduta competition`` prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from veduta.cli import output

if TYPE_CHECKING:
    from veduta.competition.inspect import Inspection


def as_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def line(text: str = "") -> None:
    """Print a line of the result."""
    sys.stdout.write(text + "\n")


def print_bad_photos(bad: Mapping[str, str]) -> None:
    """Print each photo that has no descriptor as one line on stderr."""
    for reason in bad.values():
        output.error(reason)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function of (stage, done, total) that draws a bar per stage."""
    with output.progress("starting") as bar:

        def update(stage: str, done: int, total: int) -> None:
            bar(done, total, stage)

        yield update


def inspection(facts: Inspection) -> None:
    """Print what a data set has."""
    low, middle, high = facts.photos_per_landmark
    line(f"landmarks            {facts.landmarks:,}")
    line(f"photos per landmark  {low} to {high}, median {middle:g}; {facts.share_ten_or_fewer:.1%} have ten or fewer")
    most = max((n for _, n in facts.histogram), default=0) or 1
    for name, n in facts.histogram:
        line(f"{name:>12} photos  {n:>8,}  {'#' * round(40 * n / most)}")
    for split in facts.splits:
        listed = "" if split.listed is None else f", {split.listed:,} listed"
        faults = f"{len(split.missing)} missing, {len(split.bad)} damaged, {split.unlisted} unlisted"
        faults += f", {len(split.strays)} out of place" if split.strays else ""
        line(f"{split.split:<20} {split.photos:,} photos{listed}; {faults}")
        for id in split.missing:
            output.error(f"{split.split}: photo {id} is listed and not there")
        for failure in (*split.bad, *split.strays):
            output.error(failure.error)
    if facts.test_landmark_photos is not None:
        parts = ", ".join(f"{n:,} {part}" for part, n in sorted(facts.usage.items()))
        line(f"solution             {facts.test_landmark_photos:,} photos show a landmark; {parts}")


def scores(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the figures of each part side by side."""
    wide = max(12, *(len(part) + 2 for part in parts))
    line(f"{'':<22}" + "".join(f"{part:>{wide}}" for part in parts))
    for name in next(iter(parts.values())):
        line(f"{name:<22}" + "".join(f"{_figure(figures[name]):>{wide}}" for figures in parts.values()))


def _figure(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def runs(reports: Sequence[Mapping[str, Any]]) -> None:
    """Print what each run made, what its stages took, and the scores side by side."""
    for report in reports:
        line(f"recipe {report['recipe']}: {report['predictions']:,} of {report['photos']:,} photos predicted")
        for stage in report["stages"]:
            done = "  (was there)" if stage["skipped"] else ""
            line(f"  {stage['stage']:<14} {stage['seconds']:>9.2f} s {stage['peak_megabytes']:>9,.0f} MB{done}")
        line(f"  {report['submission']}")
        if report["page"]:
            line(f"  {report['page']}")
    if all(report["scores"] for report in reports):
        line()
        scores({f"{report['recipe']}, {part}": report["scores"][part] for report in reports for part in ("all",)})


def problems(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the problems of a submission, or that there are none."""
    for problem in rows:
        where = f"line {problem['line']}: " if problem["line"] else ""
        line(where + problem["reason"])
    if not rows:
        line("nothing wrong with it")
