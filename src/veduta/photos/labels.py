"""What each photo of a library shows: by what a person said of it or of its burst, else by what a gallery says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from veduta.photos.countries import country_of
from veduta.photos.shots import Label
from veduta.photos.state import Answer, State, Verdict
from veduta.types import Landmark


def labels_of(state: State, floor: float) -> dict[str, Label]:
    """Return sha256 -> what it shows, for those of which that is known.

    Args:
        state: what is known of the library.
        floor: least confidence of a gallery's answer that counts.
    """
    verdicts, answers, bursts = state.verdicts(), state.answers(), state.bursts()
    members: dict[int, list[str]] = {}
    for sha256, (number, _) in bursts.items():
        members.setdefault(number, []).append(sha256)
    found: dict[str, Label] = {}
    for sha256 in {*verdicts, *answers, *bursts}:
        kin = members[bursts[sha256][0]] if sha256 in bursts else [sha256]
        label = _label(sha256, kin, verdicts, answers, floor)
        if label is not None:
            found[sha256] = label
    return found


def _label(
    sha256: str, kin: Sequence[str], verdicts: Mapping[str, Verdict], answers: Mapping[str, Answer], floor: float
) -> Label | None:
    """Return what a photo shows: by its own verdict, by one of its burst, or by the surest answer in its burst."""
    said = [verdicts[each] for each in (sha256, *kin) if each in verdicts]
    if said:
        return None if said[0].landmark is None else _labelled(said[0].landmark, 1.0, "person")
    sure = {key: a for key in kin if (a := answers.get(key)) and a.landmark is not None and a.confidence >= floor}
    best = sure.get(sha256)
    if best is None and len({a.landmark.id for a in sure.values() if a.landmark}) == 1:  # the others of its burst agree
        best = max(sure.values(), key=lambda a: a.confidence)
    return None if best is None or best.landmark is None else _labelled(best.landmark, best.confidence, "veduta")


def _labelled(landmark: Landmark, confidence: float, by: str) -> Label:
    place = (landmark.latitude, landmark.longitude)
    country = None if place[0] is None or place[1] is None else country_of(place[0], place[1])
    return Label(landmark, confidence, by, country)
