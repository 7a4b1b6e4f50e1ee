"""Options that several commands share."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


class Listing(enum.StrEnum):
    """How lists and figures are printed."""

    table = "table"
    json = "json"


AsListing = Annotated[Listing, typer.Option("--format", help="table or json.")]
Provider = Annotated[
    str, typer.Option(envvar="VEDUTA_PROVIDER", help="Execution provider: cpu, cuda, coreml or openvino.")
]
