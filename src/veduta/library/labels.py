"""Labels: each photo's landmark by a person's verdict on the photo or its burst, else by the gallery's answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from veduta.geo.countries import country_of
from veduta.library.catalog import Catalog, StoredAnswer, Verdict
from veduta.library.model import Label
from veduta.types import Landmark


def labels_of(state: Catalog, present: Collection[str], floor: float) -> tuple[dict[str, Label], set[str]]:
    """Return sha256 -> label, for contents that have one, and the contents that a person rejected.

    Args:
        state: what is known of the library.
        present: contents that are in the library now.
        floor: least confidence of a gallery's answer that counts.
    """
    verdicts, answers, families = state.verdicts(), state.answers(), burst_members(state, present)
    labels: dict[str, Label] = {}
    rejected: set[str] = set()
    for sha256 in present:
        kin = families.get(sha256, [sha256])
        label = _label(sha256, kin, verdicts, answers, floor)
        if label is not None:
            labels[sha256] = label
        elif any(member in verdicts for member in kin):
            rejected.add(sha256)
    return labels, rejected


def burst_members(state: Catalog, present: Collection[str]) -> dict[str, list[str]]:
    """Return sha256 -> the contents of its burst that are in the library now, itself among them."""
    members: dict[int, list[str]] = {}
    for sha256, (number, _) in state.bursts().items():
        if sha256 in present:
            members.setdefault(number, []).append(sha256)
    return {sha256: burst for burst in members.values() for sha256 in burst}


def _label(
    sha256: str, kin: Sequence[str], verdicts: Mapping[str, Verdict], answers: Mapping[str, StoredAnswer], floor: float
) -> Label | None:
    """Return a content's label: by the last verdict on its burst, or by the most confident answer in the burst."""
    verdict = max(
        (verdicts[member] for member in (sha256, *kin) if member in verdicts), key=lambda v: v.at, default=None
    )
    if verdict is not None:
        return None if verdict.landmark is None else _labelled(verdict.landmark, 1.0, "person")
    sure = {key: a for key in kin if (a := answers.get(key)) and a.landmark is not None and a.confidence >= floor}
    best = sure.get(sha256)
    if best is None and len({a.landmark.id for a in sure.values() if a.landmark}) == 1:  # the others of its burst agree
        best = max(sure.values(), key=lambda a: a.confidence)
    return None if best is None or best.landmark is None else _labelled(best.landmark, best.confidence, "veduta")


def _labelled(landmark: Landmark, confidence: float, by: str) -> Label:
    place = (landmark.latitude, landmark.longitude)
    country = None if place[0] is None or place[1] is None else country_of(place[0], place[1])
    return Label(landmark, confidence, by, country)
