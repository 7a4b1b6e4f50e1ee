"""The options of the commands that recognize, as what `Gallery.recognizer` takes."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from veduta.gallery import Gallery
    from veduta.gallery.options import RecognizeOptions
    from veduta.geo import Circle


class EffortName(enum.StrEnum):
    """How much work a photo is worth."""

    fast = "fast"
    default = "default"
    thorough = "thorough"


EffortOption = Annotated[EffortName, typer.Option(help="How much work a photo is worth: fast, default or thorough.")]
Budget = Annotated[
    float | None, typer.Option(min=0, metavar="MS", help="Begin no further work on a photo after this time.")
]
Precision = Annotated[
    float | None,
    typer.Option(min=0, max=1, metavar="SHARE", help="Choose the floor so that this share of the answers is right."),
]
Floor = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Least confidence of an answer, 0.5 by default; below it the answer is none."),
]
Gps = Annotated[bool, typer.Option("--gps/--no-gps", help="Whether the position in a photo counts.")]
MatcherOption = Annotated[
    str,
    typer.Option(
        help="nearest; or what finds more and costs more: lighterglue (xfeat), lightglue (superpoint, disk, aliked), "
        "superglue (superpoint)."
    ),
]
Depth = Annotated[int, typer.Option(min=1, help="Candidates retrieved.")]
RerankDepth = Annotated[
    int | None, typer.Option(min=0, help="Most candidates verified by geometry; set by --effort by default.")
]
Only = Annotated[
    list[str] | None, typer.Option("--landmark", metavar="ID", help="Look only among these; may be given many times.")
]
NearOption = Annotated[
    str | None,
    typer.Option("--near", metavar="LAT,LON,KM", help="Look only among landmarks known to be within this distance."),
]


def recognize_options(
    effort: EffortName,
    budget_ms: float | None,
    precision: float | None,
    floor: float | None,
    gps: bool,  # noqa: FBT001
    matcher: str,
    depth: int,
    rerank_depth: int | None,
    landmark: list[str] | None,
    near: str | None,
) -> RecognizeOptions:
    """Return the options of `Gallery.recognizer`."""
    if precision is not None and floor is not None:
        raise typer.BadParameter("give either --precision or --floor")
    from veduta.gallery.options import RecognizeOptions

    return RecognizeOptions(
        effort=effort.value,
        budget_ms=budget_ms,
        precision=precision,
        floor=floor,
        gps=gps,
        matcher=matcher,
        depth=depth,
        rerank_depth=rerank_depth,
        landmarks=landmark or None,
        near=None if near is None else _circle(near),
    )


def why_nothing(options: RecognizeOptions, gallery: Gallery) -> str:
    """Return why photos asked with these options are compared with no reference of a gallery."""
    if not gallery.counts()[1]:
        return "the gallery is empty"
    if options.near is None:
        return "no references of these landmarks"
    known = [landmark for landmark, _ in gallery.landmarks()]
    placeless = sum(landmark.position is None for landmark in known)
    without = f"; {placeless} of {len(known)} have no place" if placeless else ""
    return f"no landmark is known within {options.near.radius_km:g} km{without}"


def _circle(text: str) -> Circle:
    """Return the circle that LAT,LON,KM says."""
    from veduta.geo import Circle

    try:
        latitude, longitude, radius_km = map(float, text.split(","))
        return Circle(latitude, longitude, radius_km)
    except ValueError:
        raise typer.BadParameter(f"expected --near LAT,LON,KM, such as 48.858,2.294,5, got {text!r}") from None
