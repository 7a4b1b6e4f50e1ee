"""Model folders: the card and the file that training leaves, read and written."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from veduta.errors import ModelError
from veduta.files import write_json
from veduta.models.cards import CARDS, ModelCard

CARD_FILE = "card.json"


def check_model_name(name: str) -> None:
    """Raise ModelError unless a trained model may be called this: a plain name, and not that of one that ships."""
    if not name or not name.isprintable() or name.startswith(".") or Path(name).name != name:
        raise ModelError(f"{name!r} is no name for a model; use one that can be a folder's, like my-landmarks")
    if any(known.name == name for known in CARDS):
        raise ModelError(f"{name!r} is the name of a model that ships; give the trained one another")


def is_model(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a model and its card."""
    return (Path(folder) / CARD_FILE).is_file()


def read_card(folder: str | os.PathLike[str]) -> ModelCard:
    """Return the card of the model in a folder, as training writes one; ModelError for an unusable one."""
    path = Path(folder) / CARD_FILE
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); expected a folder with a model's card") from error
    except ValueError as error:
        raise ModelError(f"{path}: is not a model's card ({error})") from error
    types = {field.name: field.type for field in fields(ModelCard) if field.name != "folder"}
    kinds = {"str": str, "int": int, "bool": bool}
    for name, kind in types.items():
        if not isinstance(values, dict) or type(values.get(name)) is not kinds[str(kind)]:
            raise ModelError(f"{path}: is not a model's card ({name} is missing or no {kind})")
    if Path(values["file"]).name != values["file"] or min(values["dim"], values["side"], values["step"]) < 1:
        raise ModelError(f"{path}: is not a model's card (file, dim, side or step cannot be)")
    try:
        check_model_name(values["name"])
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return ModelCard(**{name: values[name] for name in types}, folder=str(folder))


def write_card(folder: Path, known: ModelCard, **more: Any) -> None:
    """Write a model's card beside its file, with whatever else is worth knowing."""
    values = {name: value for name, value in asdict(known).items() if name != "folder"} | more
    write_json(folder / CARD_FILE, values)
