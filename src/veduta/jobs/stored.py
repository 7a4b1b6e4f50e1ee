"""Checks of what a work folder holds, which somebody else may have made: the shapes of plans, items and results."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veduta.errors import JobError
from veduta.records import Record
from veduta.types import Failure

TEXT, OPTIONAL_TEXT = (str,), (str, type(None))
OPTIONAL_NUMBER = (int, float, type(None))
FAILED = {"photo": TEXT, "error": TEXT, "code": TEXT}
ITEMS: dict[str, dict[str, tuple[type, ...]]] = {  # the fields of an item of each kind of job
    "add": {"photo": TEXT, "id": TEXT, "landmark": (dict,), "license": OPTIONAL_TEXT, "name": TEXT},
    "recognize": {"photo": TEXT},
    "verify": {"a": TEXT, "b": TEXT},
}
LANDMARK: dict[str, tuple[type, ...]] = {"id": TEXT, "name": TEXT, "latitude": OPTIONAL_NUMBER}
LANDMARK |= {"longitude": OPTIONAL_NUMBER, "url": OPTIONAL_TEXT}
REFERENCE = {"id": TEXT, "landmark": TEXT, "photo": TEXT, "sha256": TEXT, "license": OPTIONAL_TEXT}
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_SHARDS = 100_000


def has_fields(value: Any, fields: Mapping[str, tuple[type, ...]]) -> bool:
    """Return whether a value is an object with these fields and no others, each of one of its types."""
    if not isinstance(value, dict) or value.keys() != fields.keys():
        return False
    return all(type(value[name]) in types for name, types in fields.items())


def check_plan_fields(fields: Any) -> None:
    """Raise ValueError unless the fields of a plan have the shapes that a job begun by Veduta gives them."""
    shapes = {"kind": TEXT, "identity": (dict,), "counts": (list,), "extra": (dict,), "failures": (list,)}
    if not has_fields(fields, shapes) or fields["kind"] not in ITEMS:
        raise ValueError("expected kind, identity, counts, extra and failures of a job")
    counts = fields["counts"]
    if not 1 <= len(counts) <= MAX_SHARDS or any(type(n) is not int or not 0 <= n < 2**40 for n in counts):
        raise ValueError("counts are no numbers of items")
    for failure in fields["failures"]:
        if not isinstance(failure, list) or len(failure) != 3 or any(type(text) is not str for text in failure):
            raise ValueError("a failure is no photo with its reason")
    if fields["kind"] == "add" and any(not _is_line(fields["identity"].get(name)) for name in ("photos", "gallery")):
        raise ValueError("photos or gallery is no path")


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value != "" and not any(ord(letter) < 32 for letter in value)


def check_item(kind: str, shards: int, line: str) -> tuple[int, dict[str, Any]]:
    """Return the shard and the item in a line of a plan; ValueError for a malformed one."""
    value = json.loads(line)
    if not isinstance(value, list) or len(value) != 2 or type(value[0]) is not int or not 1 <= value[0] <= shards:
        raise ValueError("expected a shard and an item")
    item = value[1]
    if kind == "add":
        landmark = (item.get("landmark") if isinstance(item, dict) else None) or {}
        whole = has_fields(item, ITEMS["add"] | {"content": (type(None),)}) and has_fields(landmark, LANDMARK)
        if not whole or not landmark["id"] or not _on_the_globe(landmark["latitude"], landmark["longitude"]):
            raise ValueError("expected a labeled photo")
    elif not has_fields(item, ITEMS[kind]) and not (kind == "recognize" and has_fields(item, FAILED)):
        raise ValueError("expected a photo, or two")
    return value[0], item


def check_reference(fields: Any, item_id: str, landmark: str) -> None:
    """Raise ValueError unless the fields of an entry's reference are those of this item."""
    if not has_fields(fields, REFERENCE) or SHA256.fullmatch(fields["sha256"]) is None:
        raise ValueError("expected a reference")
    if (fields["id"], fields["landmark"]) != (item_id, landmark):
        raise ValueError("it is of another item")


def check_position(position: Any) -> None:
    """Raise ValueError unless a position is None or two numbers, degrees."""
    if position is not None and not (isinstance(position, list) and len(position) == 2 and _on_the_globe(*position)):
        raise ValueError("expected a position")


def _on_the_globe(latitude: Any, longitude: Any) -> bool:
    if (latitude, longitude) == (None, None):
        return True
    numbers = all(type(value) in (int, float) and math.isfinite(value) for value in (latitude, longitude))
    return numbers and abs(latitude) <= 90 and abs(longitude) <= 180


def result_of(content: bytes) -> dict[str, Any]:
    """Return the object that a record's line of JSON is; JobError for anything else."""
    try:
        value = json.loads(content)
        if not isinstance(value, dict) or content.count(b"\n") != 1 or not content.endswith(b"\n"):
            raise ValueError("expected one line")
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise JobError(
            f"a result is no line of JSON ({reason}); delete the shard's folder and run that again"
        ) from error
    return value


def failure_of(record: Record) -> Failure:
    """Return the failure that a record is."""
    fields = result_of(record.content)
    try:
        photo = fields["photo"] if "photo" in fields else f"{fields['a']}, {fields['b']}"
        failure = Failure(photo, fields["error"], fields.get("code", "unreadable"))
    except KeyError as error:
        raise JobError(f"a failure lacks {error}; delete the shard's folder and run that again") from error
    if any(type(value) is not str for value in vars(failure).values()):
        raise JobError("a failure is no text; delete the shard's folder and run that again")
    return failure


def is_below(photo: str, folder: str | Path) -> bool:
    """Return whether a path names something in a folder, by its parts alone."""
    return Path(photo).is_relative_to(folder) and ".." not in Path(photo).relative_to(folder).parts
