"""The backbone: a network from photos to a map of features, with its normalization inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LITE_STEP = 32


class Backbone(nn.Module):
    """A network from photos to a map of features, with the normalization its weights expect inside.

    Args:
        inner: (B, 3, H, W) to (B, C, h, w).
        layers: its parts from photo to map; what `freeze` counts.
        channels: C.
        step: the sides of its input are multiples of this.
        mean: (3,) of the pixels, in [0, 255].
        std: (3,) of the pixels.
        signed: whether the map has negative values.
        square: whether photos are squashed into squares of one size: the graph of a network with learned places of
            its patches is exported for one size.
        source: where the weights come from.
        license: of the weights.
        partly_used: whether it has weights that its map does not depend on.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        inner: nn.Module,
        layers: list[nn.Module],
        channels: int,
        step: int,
        mean: list[float],
        std: list[float],
        *,
        signed: bool,
        square: bool,
        source: str,
        license: str,
        partly_used: bool = False,
    ) -> None:
        super().__init__()
        self.partly_used, self.frozen = partly_used, 0
        self.inner, self.layers, self.channels, self.step = inner, layers, channels, step
        self.signed, self.square, self.source, self.license = signed, square, source, license
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def freeze(self, layers: int) -> None:
        """Leave the first `layers` of the parts as they are; ValueError when there are fewer."""
        if not 0 <= layers <= len(self.layers):
            raise ValueError(f"freeze: expected 0 to {len(self.layers)} layers, got {layers}")
        self.frozen = layers
        for layer in self.layers[:layers]:
            layer.requires_grad_(requires_grad=False)

    def quiet(self, *, live_norm: bool) -> None:
        """Keep batch norms, those of frozen layers or all, from learning the statistics of their batches."""
        for part in self.layers[: self.frozen] if live_norm else (self,):
            for module in part.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the map (B, C, h, w) of pixels (B, H, W, 3) uint8 RGB."""
        x = pixels.permute(0, 3, 1, 2).float()
        return self.inner((x - self.mean) / self.std)
