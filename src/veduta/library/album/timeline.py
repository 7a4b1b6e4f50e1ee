"""The timeline of an album: photos per day, month or year, as bars colored by landmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from veduta.library.album.format import day, in_page, plural
from veduta.pages import page_template

NUM_COLORS = 6  # landmarks with a color of their own
MAX_DAY_BARS, MAX_MONTH_BARS = 70, 84  # beyond which bars stand for months, and years
MIN_BARS = 12  # bars: a photo of one day should not fill the page
TICKS = 4
OTHER, NONE = "other", "none"


@dataclass(frozen=True)
class Moment:
    """A photo that has a date.

    Attributes:
        taken: when.
        shows: what the place is called on the page, or None.
    """

    taken: datetime
    shows: str | None


@dataclass(frozen=True)
class _Step:
    """The unit of time of one bar.

    Attributes:
        number: which bar a date belongs to.
        start: the first day of a bar.
        name: what a bar is called.
        tick: what it is called below the line, for short.
        ends: the first and the last bar that a calendar has.
    """

    number: Callable[[datetime], int]
    start: Callable[[int], datetime]
    name: Callable[[datetime], str]
    tick: Callable[[datetime], str]
    ends: tuple[int, int]


_DAYS = _Step(
    lambda moment: moment.toordinal(),
    datetime.fromordinal,
    day,
    lambda start: f"{start.day} {start:%b}",
    (1, date.max.toordinal()),
)
_MONTHS = _Step(
    lambda moment: moment.year * 12 + moment.month - 1,
    lambda number: datetime(number // 12, number % 12 + 1, 1),  # noqa: DTZ001 - by the camera's clock
    lambda start: f"{start:%B} {start.year}",
    lambda start: f"{start:%b} {start.year}",
    (12, 9999 * 12 + 11),
)
_YEARS = _Step(
    lambda moment: moment.year,
    lambda number: datetime(number, 1, 1),  # noqa: DTZ001
    lambda start: str(start.year),
    lambda start: str(start.year),
    (1, 9999),
)


def draw_timeline(moments: Sequence[Moment], names: Mapping[str, str], undated: int) -> str:
    """Return the timeline as SVG with its legend; nothing where nothing is dated.

    Args:
        moments: the photos that have a date.
        names: what a place is called on the page -> its name, those with most photos first.
        undated: how many photos have none.
    """
    if not moments:
        return ""
    step = _step(moments)
    bars: dict[int, Counter[str]] = {}
    colors = _color_classes(moments, names)
    for moment in moments:
        bars.setdefault(step.number(moment.taken), Counter())[moment.shows or NONE] += 1
    first, count = _padded(min(bars), max(bars), step)
    tallest = max(sum(bar.values()) for bar in bars.values())
    rects = [
        rect
        for number, bar in sorted(bars.items())
        for rect in _bar(number - first, step.name(step.start(number)), bar, tallest, colors, names)
    ]
    # What stands below the bars: the beginning of each quarter of the time.
    ticks = [step.tick(step.start(first + count * i // TICKS)) for i in range(TICKS)]
    return page_template(__file__, "timeline.html", in_page).render(
        count=count, rects=rects, ticks=ticks, legend=_legend(colors, names), caption=_caption(bars, step, undated)
    )


def _step(moments: Sequence[Moment]) -> _Step:
    first, last = min(moment.taken for moment in moments), max(moment.taken for moment in moments)
    if last - first <= timedelta(days=MAX_DAY_BARS):
        return _DAYS
    return _MONTHS if _MONTHS.number(last) - _MONTHS.number(first) < MAX_MONTH_BARS else _YEARS


def _padded(first: int, last: int, step: _Step) -> tuple[int, int]:
    """Return the first bar and how many there are, so many that none is too wide."""
    count = max(last - first + 1, MIN_BARS)
    first -= (count - (last - first + 1)) // 2
    return min(max(first, step.ends[0]), step.ends[1] - count + 1), count


def _color_classes(moments: Sequence[Moment], names: Mapping[str, str]) -> dict[str, str]:
    """Return place -> color class, in the order of the legend."""
    dated = {moment.shows for moment in moments}
    shown = [key for key in names if key in dated]
    classes = {key: f"c{i}" for i, key in enumerate(shown[:NUM_COLORS])} | dict.fromkeys(shown[NUM_COLORS:], OTHER)
    return classes | ({NONE: NONE} if None in dated else {})


def _bar(
    x: int, when: str, bar: Counter[str], tallest: int, colors: Mapping[str, str], names: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Yield the rectangles of one bar, the place with most photos at its foot."""
    top = 100.0
    for key in filter(bar.__getitem__, colors):
        height = 98.0 * bar[key] / tallest
        top -= height
        yield {
            "color": colors[key],
            "x": f"{x + 0.1:.1f}",
            "y": f"{top:.2f}",
            "height": f"{height:.2f}",
            "title": f"{when}: {names.get(key, 'no landmark')}, {plural(bar[key], 'photo')}",
            "link": key if key in names else "",
        }


def _legend(colors: Mapping[str, str], names: Mapping[str, str]) -> list[dict[str, str]]:
    keys = [
        {"color": color, "link": key, "name": names[key]} for key, color in colors.items() if color not in (OTHER, NONE)
    ]
    others = sum(color == OTHER for color in colors.values())
    keys += [{"color": OTHER, "link": "", "name": plural(others, "other place")}] if others else []
    keys += [{"color": NONE, "link": "", "name": "no landmark"}] if NONE in colors else []
    return keys


def _caption(bars: Mapping[int, Counter[str]], step: _Step, undated: int) -> str:
    number, bar = max(bars.items(), key=lambda bar_of: sum(bar_of[1].values()))
    most = f"Most photos: {step.name(step.start(number))}, {sum(bar.values()):,}."
    lacking = (
        f" {plural(undated, 'photo')} without a date {'is' if undated == 1 else 'are'} not here." if undated else ""
    )
    return most + lacking
