"""Dictionaries of vectors in torch's file format, read by torch with `weights_only`, which executes nothing in them.

A ``.pth`` file holds a pickle, which may name any function to call; torch's restricted reader refuses every name but
those of tensors and plain containers, and the handful of NumPy's that arrays need.
"""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from veduta.errors import DatasetError
from veduta.models.torch_models import require_module
from veduta.types import Float32


def read_pth(path: Path) -> dict[str, Float32]:
    """Return photo id -> (D,) float32 of a file written by ``torch.save``, whose values are tensors or arrays.

    Raises:
        DatasetError: the file cannot be read, names anything beside tensors and arrays, or is no such dictionary.
        ModelError: torch is not installed.
    """
    torch = require_module("torch", "reading a .pth file")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_array_globals()):
            warnings.simplefilter("ignore")  # about how old the format is
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch raises nearly anything when its input is hostile
        raise DatasetError(f"{path}: is not a dictionary of vectors{_refused_names(torch, path)}") from error
    if not isinstance(loaded, dict) or not all(isinstance(id, str) for id in loaded):
        raise DatasetError(f"{path}: expected a dictionary of photo id -> vector")
    return {id: _vector(path, id, value) for id, value in loaded.items()}


def _refused_names(torch: Any, path: Path) -> str:
    """Return a remark on the functions and classes a file names beside tensors and arrays; empty without any."""
    try:
        with torch.serialization.safe_globals(_array_globals()):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:
        return ""
    return f"; it names {', '.join(sorted(names))}, which are not called" if names else ""


def _array_globals() -> list[Any]:
    """Return the functions and classes of NumPy that a pickled array of numbers names."""
    kinds = [np.float16, np.float32, np.float64]
    dtypes = [type(np.dtype(kind)) for kind in kinds]
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    names: list[Any] = [multiarray._reconstruct, np.ndarray, np.dtype, *dtypes, *kinds]
    with contextlib.suppress(AttributeError):
        names.append(np._core.numeric._frombuffer)  # type: ignore[attr-defined]
    # Files of NumPy before 2 name the module by its former place.
    return [*names, (multiarray._reconstruct, "numpy.core.multiarray._reconstruct")]


def _vector(path: Path, id: str, value: Any) -> Float32:
    """Return a dictionary's value as (D,) float32; DatasetError for one that is no vector of numbers."""
    try:
        array = np.asarray(value, np.float32)  # a tensor offers its numbers as an array does
    except (TypeError, ValueError, RuntimeError) as error:
        raise DatasetError(f"{path}: {id} is no vector of numbers ({error})") from error
    if array.ndim != 1 or not len(array):
        raise DatasetError(f"{path}: {id} is no vector of numbers, its shape is {array.shape}")
    return array
