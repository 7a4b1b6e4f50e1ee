"""Points in Qdrant: the payload of a reference beside its descriptor, and conditions over ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from veduta.index.qdrant.client import request_types
from veduta.types import Float32, Int64

MAX_FILTER_IDS = 10_000  # ids of one filter


@dataclass(frozen=True, eq=False)
class PointBatch:
    """References as Qdrant keeps them, side by side.

    Attributes:
        ids: (N,) int64, their numbers, at least 0.
        descriptors: (N, D) float32.
        references: their ids in the gallery.
        landmarks: the ids of their landmarks.
        positions: (degrees north, degrees east) of the landmarks, None where that is not known.
        licenses: under which the photos may be used, None where that is not known.
    """

    ids: Int64
    descriptors: Float32
    references: Sequence[str]
    landmarks: Sequence[str]
    positions: Sequence[tuple[float, float] | None]
    licenses: Sequence[str | None]

    def __post_init__(self) -> None:
        fields = self.descriptors, self.references, self.landmarks, self.positions, self.licenses
        if any(len(field) != len(self.ids) for field in fields):
            raise ValueError(f"Points: expected {len(self.ids)} of each, got {[len(field) for field in fields]}")

    def payloads(self) -> list[dict[str, Any]]:
        """Return each reference's payload; unknown fields are left out."""
        rows = zip(self.references, self.landmarks, self.positions, self.licenses, strict=True)
        return [_payload(*row) for row in rows]


def _payload(
    reference: str, landmark: str, position: tuple[float, float] | None, licence: str | None
) -> dict[str, Any]:
    place = None if position is None else {"lat": position[0], "lon": position[1]}
    fields = {"reference": reference, "landmark": landmark, "position": place, "licence": licence}
    return {key: value for key, value in fields.items() if value is not None}


def id_conditions(ids: Int64) -> list[Any]:
    """Return conditions of which every point with one of these ids meets one, and no point two."""
    chosen = sorted({int(i) for i in ids if i >= 0})
    return [request_types().HasIdCondition(has_id=chosen[part]) for part in slices(len(chosen), MAX_FILTER_IDS)]


def slices(count: int, most: int) -> Iterator[slice]:
    """Yield slices that together cover so many, at most `most` each."""
    return (slice(start, start + most) for start in range(0, count, most))
