"""Opening model files: ONNX Runtime sessions, arrays, and bytes checked against their cards."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import weakref
from typing import TYPE_CHECKING, Any

from veduta.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnxruntime
from veduta.models.cards import ModelCard, card

# Name on the command line -> ONNX Runtime's provider, the options that keep full precision, the package to install.
PROVIDERS: dict[str, tuple[str, dict[str, str], str]] = {
    "cpu": ("CPUExecutionProvider", {}, "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}, "onnxruntime-gpu"),
    "coreml": ("CoreMLExecutionProvider", {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUOnly"}, "onnxruntime"),
    "openvino": ("OpenVINOExecutionProvider", {"device_type": "CPU", "precision": "FP32"}, "onnxruntime-openvino"),
}


_open: weakref.WeakValueDictionary[tuple[str, str, int | None], onnxruntime.InferenceSession] = (
    weakref.WeakValueDictionary()
)  # by the file's sha256, provider and threads
_opening = threading.Lock()


def _runtime() -> Any:
    """Return the module onnxruntime, with telemetry disabled before loading."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def provider_name(provider: str = "cpu") -> str:
    """Return ONNX Runtime's name of an execution provider; ModelError for one this machine cannot run."""
    if provider not in PROVIDERS:
        raise ModelError(f"no execution provider is called {provider!r}; there are {', '.join(PROVIDERS)}")
    onnxruntime = _runtime()
    name, _, package = PROVIDERS[provider]
    if name not in onnxruntime.get_available_providers():
        raise ModelError(f"execution provider {provider!r} is not installed here; pip install {package}, or use 'cpu'")
    return name


def open_session(
    model: str | ModelCard, provider: str = "cpu", threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session for a model: the one that is open for the same file, if any is.

    Sessions may be used by several threads at once. A file may hold no external data: what it names would be read from
    wherever the process happens to be.

    Args:
        model: a card with a file, or the name of one.
        provider: ``cpu``, ``cuda``, ``coreml`` or ``openvino``; always in full precision.
        threads: threads inside one operator; None means all cores this process may use.

    Raises:
        ModelError: the model or provider is unknown, the provider does not start, or the file is not the card's.
    """
    known = card(model) if isinstance(model, str) else model
    provider_name(provider)
    content = read_file(known)
    with _opening:
        key = (known.sha256, provider, threads)
        session = _open.get(key)
        if session is None:
            session = _open[key] = _new_session(content, known, provider, threads)
        return session


def _new_session(content: bytes, known: ModelCard, provider: str, threads: int | None) -> onnxruntime.InferenceSession:
    onnxruntime = _runtime()
    engine, options, _ = PROVIDERS[provider]
    settings = onnxruntime.SessionOptions()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0  # 0: ONNX Runtime's own choice
    settings.intra_op_num_threads = threads or cores
    settings.log_severity_level = 3
    # Idle threads that spin would steal the cores from photos being decoded meanwhile.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [(engine, options)] if engine == "CPUExecutionProvider" else [(engine, options), "CPUExecutionProvider"]
    with tempfile.TemporaryDirectory(prefix="veduta-") as empty:
        settings.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
        try:
            session = onnxruntime.InferenceSession(content, settings, providers=providers)
        except Exception as error:  # ONNX Runtime has no base class for its errors
            if not known.folder:
                raise
            reason = str(error).strip().splitlines()[0][:200]
            raise ModelError(
                f"{known.path}: is no network that can be opened ({reason}); train or copy it again"
            ) from error
    if engine not in session.get_providers():  # ONNX Runtime goes on with the CPU and only logs why
        raise ModelError(f"execution provider {provider!r} is installed but does not start here; use 'cpu'")
    return session


def open_arrays(name: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays in the ``.npz`` file of model `name`; ModelError for an unknown or altered one."""
    import io

    import numpy as np

    with np.load(io.BytesIO(read_file(card(name))), allow_pickle=False) as data:
        return dict(data)


def read_file(known: ModelCard) -> bytes:
    """Return the model file's bytes after comparing them with the card."""
    path = known.path
    if not known.file:
        raise ModelError(f"model {known.name!r} has no weights to open")
    remedy = "train or copy it again" if known.folder else "reinstall veduta"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    if hashlib.sha256(data).hexdigest() != known.sha256:
        raise ModelError(f"{path}: is not the file on the card of {known.name!r} (sha256 differs); {remedy}")
    return data
