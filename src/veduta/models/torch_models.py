"""Networks run by torch, for the models whose weights do not ship."""

from __future__ import annotations

import importlib
import pickle
import warnings
from typing import Any

import numpy as np

from veduta.errors import ModelError
from veduta.models.cards import card
from veduta.models.weights import NEEDS, PACKAGE, SOURCES, Weights, find_weights

_SAID: set[str] = set()


def require_module(module: str, what: str) -> Any:
    """Return a module of the extra [torch]; ModelError with the line that installs a missing one."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelError(f"{what} needs {module.split('.')[0]}, which is not installed; {NEEDS}") from error


def device(provider: str, what: str) -> Any:
    """Return torch's device for an execution provider; ModelError for one that torch does not have here."""
    torch = require_module("torch", what)
    if provider == "cpu" or (provider == "cuda" and torch.cuda.is_available()):
        return torch.device(provider)
    raise ModelError(f"{what} is run by torch, which has no {provider!r} here; use 'cpu'")


def warn_license(name: str) -> None:
    """Warn once that a model's weights are for non-commercial research only, if they are."""
    if SOURCES[name].research_only and name not in _SAID:
        _SAID.add(name)
        warnings.warn(f"{name}: its weights are for non-commercial research only ({card(name).license})", stacklevel=2)


def open_transformers(name: str, kind: str, provider: str = "cpu", **changes: Any) -> tuple[Any, Weights]:
    """Return a model of ``transformers`` from its folder, ready to be asked, and where its weights are.

    Args:
        name: whose weights are opened.
        kind: the class of transformers.
        provider: ``cpu`` or ``cuda``.
        **changes: settings of its configuration that replace those in the folder.

    Raises:
        ModelError: the weights or what runs them are not here.
    """
    transformers = require_module("transformers", name)
    place, weights = device(provider, name), find_weights(name)
    transformers.utils.logging.disable_progress_bar()
    try:
        model = getattr(transformers, kind).from_pretrained(str(weights.folder), local_files_only=True, **changes)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{weights.folder}: cannot be opened as {kind} ({reason})") from error
    warn_license(name)
    return model.eval().to(place), weights


def open_state(name: str, what: str) -> tuple[dict[str, Any], Weights]:
    """Return the tensors in a model's weights by name, and where these are; ModelError when they cannot be used."""
    torch = require_module("torch", what)
    weights = find_weights(name)
    try:
        state = torch.load(weights.file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{weights.file}: is no file of weights ({reason}); pull it again or {PACKAGE}") from error
    return state, weights


def load_weights(network: Any, state: dict[str, Any], weights: Weights, provider: str) -> Any:
    """Return a network with these weights, ready to be asked; ModelError when they are another network's."""
    try:
        left = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{weights.file}: holds the weights of another network than {weights.name}") from error
    learned = {name for name, _ in network.named_parameters()}
    missing = sorted(learned & set(left.missing_keys))
    if missing:
        raise ModelError(f"{weights.file}: has no {missing[0]}; these are not the weights of {weights.name}")
    return network.eval().to(device(provider, weights.name))


def open_kornia(name: str, min_probability: float = 0.1, provider: str = "cpu") -> tuple[Any, Weights]:
    """Return kornia's LightGlue for descriptors of 128 numbers, and where its weights are."""
    make = require_module("kornia.feature", name).LightGlue
    state, weights = open_state(name, name)
    # All said: the package of XFeat's LighterGlue writes its own sizes over kornia's defaults when it is imported.
    network = make(
        features=None,
        input_dim=128,
        descriptor_dim=256,
        n_layers=9,
        num_heads=4,
        add_scale_ori=False,
        flash=True,
        mp=False,
        depth_confidence=0.95,
        width_confidence=0.99,
        filter_threshold=min_probability,
        weights=None,
    )
    for i in range(network.conf.n_layers):  # the file's older names
        for part in ("self_attn", "cross_attn"):
            state = {key.replace(f"{part}.{i}.", f"transformers.{i}.{part}."): value for key, value in state.items()}
    return load_weights(network, state, weights, provider), weights


def to_numpy(tensor: Any) -> Any:
    """Return a tensor as float32 NumPy array."""
    return np.ascontiguousarray(tensor.detach().to("cpu").float().numpy())
