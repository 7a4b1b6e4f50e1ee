"""The manifest of an approximate index on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from veduta.errors import GalleryError
from veduta.files import write_json

MANIFEST, LISTS, AXES, STEPS = "manifest.json", "lists.faiss", "axes.npy", "steps.npy"
FORMER_FIELDS = {"reach": "probe_margin", "candidates": "candidate_factor", "rescored": "rescore_factor"}  # schema 3

MOST = {  # the largest numbers that make sense
    "dim": 65_536,
    "code": 65_536,
    "count": 2**40,
    "lists": 2**24,
    "candidate_factor": 4_096,
    "rescore_factor": 4_096,
    "queries": 2**40,
    "trained": 2**40,
}


@dataclass(frozen=True)
class Manifest:
    """The description of an approximate index on disk, with its measured recall.

    Attributes:
        dim: length D of a descriptor.
        code: components of a code, at most D.
        count: descriptors in it.
        lists: lists of the inverted file.
        probe_margin: by how many standard deviations a list's members may be less similar than the 30th found for
            it to be looked at; None: all lists are.
        candidate_factor: how many times the neighbors wanted are chosen by the inverted file, at least.
        rescore_factor: how many times the neighbors wanted are compared exactly.
        recall: share of the true neighbors that it was to find.
        measured: share found of the 30 nearest, by rows other than those that `probe_margin` was chosen by.
        queries: how many rows that is the mean of.
        trained: descriptors in it when its centers were learned.
        seconds: what building it took.
        source: what the maker wants to know of it again.
    """

    dim: int
    code: int
    count: int
    lists: int
    probe_margin: float | None
    candidate_factor: int
    rescore_factor: int
    recall: float
    measured: float
    queries: int
    trained: int
    seconds: float
    source: dict[str, Any]

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is out of range")
        for name in ("recall", "measured", "seconds", "probe_margin"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**63
            if not number and (name, value) != ("probe_margin", None):
                raise ValueError(f"{name} is no number")
        if min(self.dim, self.code, self.lists, self.candidate_factor, self.rescore_factor) < 1 or self.code > self.dim:
            raise ValueError("dim, code, lists or a factor cannot be")
        if not isinstance(self.source, dict):
            raise ValueError("source is no object")
        places = [self.source[name] for name in ("row", "removals") if name in self.source]
        if any(type(place) is not int or not 0 <= place < 2**63 for place in places):
            raise ValueError("row or removals is out of range")

    def write(self, folder: Path) -> None:
        """Write the manifest, which makes a folder an index."""
        write_json(folder / MANIFEST, asdict(self), sort_keys=True)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return that of a folder; GalleryError if there is none that this Veduta understands."""
        try:
            if (folder / MANIFEST).is_symlink():
                raise ValueError("its manifest is a link")
            values = json.loads((folder / MANIFEST).read_text("utf-8"))
            return cls(**{FORMER_FIELDS.get(name, name): value for name, value in values.items()})
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise GalleryError(f"{folder}: is not an approximate index ({error}); build it again") from error
