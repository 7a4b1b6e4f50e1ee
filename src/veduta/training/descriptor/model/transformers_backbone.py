"""Image backbones of ``transformers``, from a folder and nowhere else: ViT, CLIP, DINOv2 and v3, ConvNeXtV2, ResNet.

What a model makes of a photo is tried out on an empty one, not read from its configuration: a map, or a row of tokens,
of which the last are the patches, row by row.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from veduta.errors import ModelError, install_extra
from veduta.training.descriptor.model.backbone import LITE_STEP, Backbone

BACKBONE_STEP = LITE_STEP  # of networks that halve their input five times
MOST_OTHERS = 16  # tokens before those of the patches: the class, registers
NEVER_NEGATIVE = {"resnet", "regnet"}  # whose last map comes out of a ReLU
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class FeatureMap(nn.Module):
    """The last hidden state of a model as a map: the tokens of patches laid out, others left out.

    Args:
        model: of transformers.
        step: side of a patch.
    """

    def __init__(self, model: nn.Module, step: int) -> None:
        super().__init__()
        self.model, self.step = model, step
        # Positions learned for one size are stretched to others, where a model can.
        able = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self.how = {"interpolate_pos_encoding": True} if able else {}

    def state(self, x: Tensor) -> Tensor:
        """Return the model's output for (B, 3, H, W)."""
        return self.model(pixel_values=x, **self.how).last_hidden_state

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H / step, W / step) of a (B, 3, H, W)."""
        state = self.state(x)
        if state.ndim == 4:
            return state
        h, w = x.shape[2] // self.step, x.shape[3] // self.step
        return state[:, state.shape[1] - h * w :].transpose(1, 2).reshape(x.shape[0], -1, h, w)


def load_backbone(folder: Path) -> Backbone:
    """Return the backbone in a folder; ModelError when there is none that makes a map of a photo."""
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ModelError(f"{folder}: needs transformers; {install_extra('train')}") from error
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{folder}: holds no model that transformers can load ({reason})") from error
    kind = str(model.config.model_type)
    if not hasattr(model.config, "num_channels"):
        raise ModelError(f"{folder}: {kind} is not an image backbone")
    step, channels, tokens = _tried(folder, kind, model)
    mean, std = _statistics(folder)
    return Backbone(
        FeatureMap(model, step),
        _layers(model),
        channels,
        step,
        mean,
        std,
        signed=kind not in NEVER_NEGATIVE,
        square=tokens,
        source=f"{kind} of transformers, from the folder {folder.name}",
        license=_license(folder),
        partly_used=True,  # of masks in training, of a head for classes
    )


def _tried(folder: Path, kind: str, model: Any) -> tuple[int, int, bool]:
    """Return step, channels, and whether a photo becomes a row of tokens, by trying an empty one."""
    patch = getattr(model.config, "patch_size", None)
    patch = patch if isinstance(patch, int) and patch > 0 else BACKBONE_STEP
    side = math.lcm(patch, BACKBONE_STEP)
    side *= math.ceil(2 * BACKBONE_STEP / side)
    try:
        with torch.no_grad():
            state = FeatureMap(model, patch).state(torch.zeros(1, 3, side, side))
    except Exception as error:  # each kind of model fails in its own way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder}: {kind} does not take a photo of {side} x {side} pixels ({reason})") from error
    if state.ndim == 4:
        return side // state.shape[2], state.shape[1], False
    for step in (patch, BACKBONE_STEP):
        if state.ndim == 3 and 0 <= state.shape[1] - (side // step) ** 2 <= MOST_OTHERS:
            return step, state.shape[2], True
    raise ModelError(f"{folder}: {kind} makes no map of a photo; use an image backbone, such as DINOv2 or ConvNeXtV2")


def _layers(model: nn.Module) -> list[nn.Module]:
    """Return the modules before the stages or layers of a model, then each of these."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    stages = max(lists, key=lambda modules: sum(p.numel() for p in modules.parameters()), default=nn.ModuleList())
    before = []
    for child in model.children():
        if any(module is stages for module in child.modules()):
            break
        before.append(child)
    return [nn.ModuleList(before), *stages]


def _statistics(folder: Path) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of the pixels a model was trained on, in [0, 255]; ImageNet's if unsaid."""
    try:
        config = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        config = {}
    mean, std = config.get("image_mean", IMAGENET[0]), config.get("image_std", IMAGENET[1])
    return [255 * value for value in mean], [255 * value for value in std]


def _license(folder: Path) -> str:
    """Return the license a model folder's README states, as the hub writes that; ``unknown`` without one."""
    try:
        lines = (folder / "README.md").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines[:40] if line.startswith("license:")), "unknown")
