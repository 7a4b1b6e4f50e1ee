"""Dictionaries of vectors in torch's file formats, read without torch and without executing anything in them.

A ``.pth`` file holds a pickle, which may name any function to call. The reader here knows exactly the handful of names
that a dictionary of tensors or NumPy arrays needs and refuses every other.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veduta.errors import DatasetError

STORAGES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def _tensor(
    storage: npt.NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> npt.NDArray[Any]:
    """Return a view of a storage as torch would make one; ValueError for a view beyond the storage."""
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else offset
    if offset < 0 or min(stride, default=0) < 0 or min(size, default=0) < 0 or (all(size) and reach >= len(storage)):
        raise ValueError("a tensor reaches outside its storage")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


class _Array:
    """A pickled ndarray until its state is known: the class itself would accept dtypes that hold objects."""

    def __init__(self, *_: Any) -> None:
        self.value: npt.NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array is not made of numbers")
        flat = np.frombuffer(data, dtype.dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


class _Dtype:
    """A pickled dtype: only its name and byte order are taken over."""

    def __new__(cls, name: str, *_: Any) -> Any:
        if np.dtype(name).kind not in "fiu":
            raise pickle.UnpicklingError(f"an array of {name} is not made of numbers")
        return super().__new__(cls)

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _from_buffer(data: Any, dtype: Any, shape: tuple[int, ...], order: str) -> npt.NDArray[Any]:
    """Return the array that pickle's protocol 5 stores."""
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array is not made of numbers")
    return np.frombuffer(bytes(data), dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _latin(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin-1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin,
    **{("torch", name): name for name in STORAGES},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    """Unpickles numbers and nothing else."""

    def __init__(self, file: io.BytesIO | Any, storage: Callable[[Any], npt.NDArray[Any]]) -> None:
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Return the object behind a name; UnpicklingError for any that is not on the list."""
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}") from None

    def persistent_load(self, pid: Any) -> npt.NDArray[Any]:
        """Return the storage a tensor refers to."""
        return self._storage(pid)


def read_pth(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Return photo id -> (D,) float32 of a file written by ``torch.save`` or ``pickle.dump``.

    Raises:
        DatasetError: it is not such a dictionary, is damaged, or wants to run something.
    """
    try:
        pickled = _from_zip(path) if zipfile.is_zipfile(path) else _from_stream(path)
        if not isinstance(pickled, dict):
            raise pickle.UnpicklingError(f"it holds a {type(pickled).__name__}, not a dictionary")
        return {str(key): _vector(value) for key, value in pickled.items()}
    # A hostile pickle can make the machinery raise nearly anything.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DatasetError(f"{path}: is not a dictionary of vectors that can be read safely ({reason})") from error


def _vector(value: Any) -> npt.NDArray[np.float32]:
    """Return a dictionary's value as (D,) float32."""
    array = value.value if isinstance(value, _Array) else value
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__} where a vector belongs")
    return np.asarray(array, np.float32).ravel()


def _from_zip(path: Path) -> Any:
    """Read torch's format since 1.6: a zip with data.pkl and a file per storage."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(names) != 1:
            raise pickle.UnpicklingError("it has no data.pkl")
        folder = names[0][: -len("data.pkl")]

        def storage(pid: Any) -> npt.NDArray[Any]:
            _, kind, key, *_ = pid
            return np.frombuffer(archive.read(f"{folder}data/{key}"), STORAGES[kind])

        return _Reader(io.BytesIO(archive.read(names[0])), storage).load()


def _from_stream(path: Path) -> Any:
    """Read torch's older format, where the storages follow the pickle, or a plain pickle."""
    with path.open("rb") as file:
        storages: dict[str, npt.NDArray[Any]] = {}

        def storage(pid: Any) -> npt.NDArray[Any]:
            _, kind, key, _, size, *_ = pid
            if not 0 <= size * np.dtype(STORAGES[kind]).itemsize <= path.stat().st_size:
                raise pickle.UnpicklingError("a storage is larger than the file")
            return storages.setdefault(key, np.zeros(size, STORAGES[kind]))

        def load() -> Any:
            return _Reader(file, storage).load()

        first = load()
        if first != LEGACY_MAGIC:
            return first
        _protocol, _system, pickled = load(), load(), load()
        for key in load():
            (size,) = np.frombuffer(file.read(8), "<i8")
            waiting = storages[key]
            if size != len(waiting):
                raise pickle.UnpicklingError("a storage has another length than the pickle says")
            waiting[:] = np.frombuffer(file.read(waiting.nbytes), waiting.dtype)  # the tensors are views of it
        return pickled
