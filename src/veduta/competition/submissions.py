"""Submissions: written, read, checked line by line."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from veduta.datasets.rows import is_blank, landmark_number, read_rows, reading
from veduta.errors import DatasetError
from veduta.files import draft
from veduta.metrics import Prediction

SUBMISSION = ("id", "landmarks")


@dataclass(frozen=True)
class Problem:
    """A fault in one line of a submission.

    Attributes:
        line: its number, 1 being the header; 0 for what is missing altogether.
        reason: what is wrong, with which id.
    """

    line: int
    reason: str


def parse_field(field: str) -> tuple[str, float] | None:
    """Return the landmark and confidence of a submission's second field, or None for an empty one.

    >>> parse_field("027 0.5"), parse_field("")
    (('27', 0.5), None)

    Raises:
        ValueError: it is neither empty nor a landmark and a finite number, or the landmark is a number like 27.0.
    """
    tokens = field.split()
    if not tokens:
        return None
    if len(tokens) != 2:
        raise ValueError(f"expected '<landmark> <confidence>' or nothing, got {field!r}")
    try:
        confidence = float(tokens[1])
    except ValueError:
        raise ValueError(f"{tokens[1]!r} is not a number") from None
    if not math.isfinite(confidence):
        raise ValueError(f"confidence {tokens[1]} is not finite")
    return landmark_number(tokens[0]), confidence


def read_submission(path: Path) -> tuple[list[str], list[Prediction]]:
    """Return all photo ids of a submission, and the predictions of those that have one.

    Raises:
        DatasetError: the first malformed line; `check_submission` lists them all.
    """
    ids: dict[str, None] = {}
    predictions = []
    for line, (id, field) in read_rows(path, SUBMISSION):
        if id in ids:
            raise DatasetError(f"{path}, line {line}: photo id {id} occurs twice")
        ids[id] = None
        try:
            parsed = parse_field(field)
        except ValueError as error:
            raise DatasetError(f"{path}, line {line}: {error}") from None
        if parsed:
            predictions.append(Prediction(id, *parsed))
    return list(ids), predictions


def write_submission(path: Path, ids: Sequence[str], predictions: Mapping[str, tuple[str, float]]) -> None:
    """Write submission.csv, a row per id in this order, the second field empty where there is no prediction.

    Raises:
        ValueError: a confidence is not finite; an earlier file then stays as it is.
    """
    wrong = next((id for id, (_, confidence) in predictions.items() if not math.isfinite(confidence)), None)
    if wrong is not None:
        raise ValueError(f"the confidence of {wrong} is not finite")
    with draft(path, "w") as file:
        file.write(",".join(SUBMISSION) + "\n")
        for id in ids:
            landmark, confidence = predictions.get(id, ("", 0.0))
            file.write(f"{id},{landmark} {confidence:.9g}\n" if landmark else f"{id},\n")


def check_submission(path: Path, sample: Path) -> list[Problem]:
    """Return everything that is wrong with a submission: ids missing, extra or repeated, fields malformed.

    Raises:
        DatasetError: a file is not a table with the header ``id,landmarks`` at all.
    """
    expected_ids = {fields[0] for _, fields in read_rows(sample, SUBMISSION)}
    seen: dict[str, int] = {}
    problems = []
    for line, fields in _loose_rows(path):
        reasons = list(_faults(fields, expected_ids, seen))
        problems += [Problem(line, reason) for reason in reasons]
        if fields:
            seen.setdefault(fields[0], line)
    missing = sorted(expected_ids - seen.keys())
    return problems + [Problem(0, f"photo id {id} of {sample.name} is missing") for id in missing]


def _loose_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) whatever their number; only the header must be right."""
    with reading(path) as reader:
        header = [name.strip() for name in next(reader, [])]
        if header != list(SUBMISSION):
            raise DatasetError(f"{path}, line 1: expected the header {','.join(SUBMISSION)}, got {','.join(header)}")
        for fields in reader:
            if not is_blank(fields):
                yield reader.line_num, fields


def _faults(fields: list[str], expected_ids: Collection[str], seen: Mapping[str, int]) -> Iterator[str]:
    if len(fields) != len(SUBMISSION):
        yield f"expected {len(SUBMISSION)} fields, got {len(fields)}"
        return
    id, field = fields
    if id in seen:
        yield f"photo id {id} occurs twice, first on line {seen[id]}"
    elif id not in expected_ids:
        yield f"photo id {id} is not in the sample"
    try:
        parse_field(field)
    except ValueError as error:
        yield f"photo id {id}: {error}"
