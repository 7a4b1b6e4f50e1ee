"""Options that several commands share."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

# Exit statuses.
SOME_FAILED, COULD_NOT_RUN, INTERRUPTED = 1, 2, 130


class Listing(enum.StrEnum):
    """How lists and figures are printed."""

    table = "table"
    json = "json"


AsListing = Annotated[Listing, typer.Option("--format", help="table or json.")]
Provider = Annotated[
    str, typer.Option(envvar="VEDUTA_PROVIDER", help="Execution provider: cpu, cuda, coreml or openvino.")
]
AnyLayout = Annotated[
    bool, typer.Option("--any-layout", help="Take each subfolder of DIR for a landmark, even in a photo library.")
]
ExtractorOption = Annotated[str, typer.Option(help="Local features: xfeat, rootsift, superpoint, disk or aliked.")]
MaxKeypoints = Annotated[int, typer.Option(min=8, max=4096, help="Keypoints kept per photo.")]
MaxSide = Annotated[int, typer.Option(min=64, max=4096, help="Longer side of photos before that, in pixels at most.")]
