"""Margin losses for the descriptor: ArcFace, CosFace, sub-centers, and margins and weights that follow the long tail.

All work on cosines between a descriptor and a center of each class, both of norm 1, times a scale s, under softmax
cross-entropy: what is learned is an angle. B photos, C classes, D numbers, k sub-centers. Needs the extra ``[train]``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALE = 30.0
LOW, HIGH = 0.05, 0.5  # margins of the largest and of the smallest class


def arcface(cosine: Tensor, target: Tensor, margin: Tensor | float) -> Tensor:
    """Return (B, C) cosines with that of the target class at an angle larger by a margin: cos(theta + m).

    ArcFace: Deng et al., CVPR 2019. Past theta = pi - m the cosine would rise again; there cos(theta) - m sin(m) goes
    on falling instead.

    Args:
        cosine: (B, C), in [-1, 1].
        target: (B,) columns of the target classes, int64.
        margin: radians; one, or (B,), one for each photo.
    """
    own = cosine.gather(1, target[:, None])[:, 0].clamp(-1 + 1e-7, 1 - 1e-7)
    m = torch.as_tensor(margin, dtype=cosine.dtype, device=cosine.device)
    turned = own * torch.cos(m) - torch.sqrt(1 - own * own) * torch.sin(m)
    moved = torch.where(own > torch.cos(math.pi - m), turned, own - m * torch.sin(m))
    return cosine.scatter(1, target[:, None], moved[:, None])


def cosface(cosine: Tensor, target: Tensor, margin: Tensor | float) -> Tensor:
    """Return (B, C) cosines with that of the target class less a margin: cos(theta) - m.

    CosFace: Wang et al., CVPR 2018. Arguments as `arcface`; the margin is a difference of cosines.
    """
    own = cosine.gather(1, target[:, None])[:, 0]
    m = torch.as_tensor(margin, dtype=cosine.dtype, device=cosine.device)
    return cosine.scatter(1, target[:, None], (own - m)[:, None])


MARGINS: dict[str, Callable[[Tensor, Tensor, Tensor | float], Tensor]] = {"arcface": arcface, "cosface": cosface}


def dynamic_margins(counts: Tensor, low: float = LOW, high: float = HIGH) -> Tensor:
    """Return (C,) margins that fall with the number of photos n of a class as n^(-1/4), from `high` to `low`.

    Dynamic margins: Ha et al., "Google Landmark Recognition 2020 Competition Third Place Solution", 2020. The class
    with fewest photos has `high`, the one with most `low`; where all have as many, all have the middle.

    Args:
        counts: (C,) photos of each class, at least 1.
        low: least margin.
        high: largest margin.

    Raises:
        ValueError: a class is empty.
    """
    _check_counts(counts)
    share = counts.to(torch.float64).pow(-0.25)
    spread = share.max() - share.min()
    if spread < 1e-12:
        return torch.full_like(share, (low + high) / 2).float()
    return (low + (high - low) * (share - share.min()) / spread).float()


def class_weights(counts: Tensor) -> Tensor:
    """Return (C,) weights of the loss of each class, 1 / ln(1 + n) scaled to a mean of 1 over all photos.

    Raises:
        ValueError: a class is empty.
    """
    _check_counts(counts)
    weights = 1 / torch.log1p(counts.to(torch.float64))
    return (weights * counts.sum() / (weights * counts).sum()).float()


def _check_counts(counts: Tensor) -> None:
    if counts.ndim != 1 or counts.numel() == 0 or int(counts.min()) < 1:
        raise ValueError("counts: expected at least one photo of every class")


@dataclass(frozen=True)
class Cost:
    """The memory and time of a head.

    Attributes:
        classes: C.
        looked_at: classes in one step.
        memory_mb: centers, their gradient, the optimizer's two moments, and the cosines of one step.
        step_ms: one step forwards and backwards, measured.
    """

    classes: int
    looked_at: int
    memory_mb: float
    step_ms: float


class MarginHead(nn.Module):
    """A center for each class, or several: descriptors to a margin loss.

    Sub-center ArcFace: Deng et al., ECCV 2020. A class's cosine is that of its nearest of k sub-centers, so that a
    wrong photo takes its own center instead of pulling the right one. With a `sample` below the number of classes,
    each step looks at the classes of its photos and a random few of the others (Partial FC: An et al., CVPR 2022): the
    time and the memory of a step no longer grow with the number of classes.

    Args:
        dim: D, length of a descriptor.
        counts: (C,) photos of each class.
        loss: ``arcface`` or ``cosface``.
        subcenters: k.
        scale: s.
        margin: one margin for all classes; None for `dynamic_margins`.
        weighted: whether the loss of a photo is weighted by `class_weights`.
        sample: classes looked at in a step; 0 for all.

    Raises:
        ValueError: the loss is unknown, a class is empty, or a number is out of its range.
    """

    margins: Tensor
    weights: Tensor

    def __init__(
        self,
        dim: int,
        counts: Tensor,
        loss: str = "arcface",
        subcenters: int = 3,
        scale: float = SCALE,
        margin: float | None = None,
        *,
        weighted: bool = True,
        sample: int = 0,
    ) -> None:
        super().__init__()
        _check_counts(counts)
        if loss not in MARGINS:
            raise ValueError(f"loss: expected one of {', '.join(MARGINS)}, got {loss!r}")
        if min(dim, subcenters) < 1 or scale <= 0 or sample < 0:
            raise ValueError(f"expected dim, subcenters and scale above 0, got {dim}, {subcenters}, {scale}")
        classes = len(counts)
        self.dim, self.subcenters, self.scale = dim, subcenters, scale
        self.sample = sample if sample < classes else 0
        self.loss = loss
        self.centers = nn.Embedding(classes, subcenters * dim, sparse=bool(self.sample))
        nn.init.normal_(self.centers.weight, std=dim**-0.5)
        margins = dynamic_margins(counts) if margin is None else torch.full((classes,), float(margin))
        self.register_buffer("margins", margins, persistent=False)
        self.register_buffer("weights", class_weights(counts) if weighted else torch.ones(classes), persistent=False)

    def start_at(self, means: Tensor) -> None:
        """Put the centers at these (C, D) directions, sub-centers a little apart, instead of at random ones."""
        starts = F.normalize(means, dim=1)[:, None] + 0.3 * self.centers.weight.detach().view(
            len(means), self.subcenters, self.dim
        )
        with torch.no_grad():
            self.centers.weight.copy_(F.normalize(starts, dim=2).flatten(1))

    def chosen(self, present: Tensor, seed: int = 0) -> Tensor:
        """Return the classes looked at, rising: all of them, or those present and a random few of the others."""
        total = self.centers.num_embeddings
        if not self.sample:
            return torch.arange(total, device=present.device)
        own = torch.unique(present.cpu())
        free = torch.ones(total, dtype=torch.bool)
        free[own] = False
        others = free.nonzero()[:, 0]
        generator = torch.Generator().manual_seed(seed)
        more = others[torch.randperm(len(others), generator=generator)[: max(0, self.sample - len(own))]]
        return torch.cat((own, more)).sort().values.to(present.device)

    def every(self, descriptors: Tensor, classes: Tensor) -> Tensor:
        """Return (B, len(classes), k) cosines of descriptors (B, D) to every sub-center of these classes."""
        centers = F.normalize(self.centers(classes).view(-1, self.dim), dim=1)  # (n k, D)
        return (F.normalize(descriptors.float(), dim=1) @ centers.T).view(len(descriptors), -1, self.subcenters)

    def forward(self, descriptors: Tensor, target: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return the mean loss of descriptors (B, D), of any norm, whose classes are target (B,).

        Args:
            descriptors: (B, D).
            target: (B,) int64.
            classes: the classes looked at, rising, as from `chosen`; all unless given.
        """
        looked = self.chosen(target) if classes is None else classes
        place = torch.searchsorted(looked, target)
        cosine = self.every(descriptors, looked).amax(2)
        logits = self.scale * MARGINS[self.loss](cosine, place, self.margins[target])
        return (self.weights[target] * F.cross_entropy(logits, place, reduction="none")).mean()

    def cost(self, batch: int) -> Cost:
        """Return the head's memory and time with B = `batch` photos a step, measured on one step of noise."""
        total, wide = self.centers.num_embeddings, self.subcenters * self.dim
        looked = self.sample or total
        values = 3 * total * wide + 2 * looked * wide + 4 * batch * looked * self.subcenters
        device = self.centers.weight.device
        times = []
        for seed in range(2):  # the first also pays for memory being found
            start = time.perf_counter()
            noise = torch.randn(batch, self.dim, device=device, requires_grad=True)
            target = torch.arange(batch, device=device) % total
            self(noise, target, self.chosen(target, seed)).backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
            self.zero_grad(set_to_none=True)
        return Cost(total, looked, 4e-6 * values, 1e3 * times[-1])
