"""The state of training: a network, the moving average of its weights, the head, and their optimizers."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from veduta.training.descriptor.config import TrainConfig
from veduta.training.descriptor.model.losses import MarginHead, dynamic_margins
from veduta.training.descriptor.model.network import Descriptor, make_backbone
from veduta.training.descriptor.process_group import ProcessGroup

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LEAST_RATE = 0.01  # of the rate, at the end
CENTERS = 3.0  # how much faster the centers learn than the projection


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """A part of a batch that goes through the network at once.

    Attributes:
        photos: (b, side, side, 3) uint8 RGB.
        target: (b,) their classes.
        everyone: classes of the photos all processes look at meanwhile.
    """

    photos: Tensor
    target: Tensor
    everyone: Tensor


class TrainState:
    """The weights of a run, and one step of theirs.

    Args:
        recipe: of the run.
        counts: (C,) photos of each class.
        place: which process this is.
        steps: of the whole run.
    """

    def __init__(self, recipe: TrainConfig, counts: Tensor, place: ProcessGroup, steps: int) -> None:
        self.recipe, self.place, self.steps, self.step = recipe, place, steps, 0
        torch.manual_seed(recipe.seed)
        backbone = make_backbone(recipe.backbone)
        backbone.freeze(recipe.freeze)
        self.network = Descriptor(backbone, recipe.trained_dim, live_norm=recipe.live_norm)
        self.network.to(place.device, memory_format=torch.channels_last)
        self.head = MarginHead(
            recipe.trained_dim,
            counts,
            recipe.loss,
            recipe.subcenters,
            recipe.scale,
            recipe.margin,
            weighted=recipe.weighted,
            sample=recipe.sample,
        )
        if recipe.margin is None:
            self.head.margins.copy_(dynamic_margins(counts, recipe.low, recipe.high))
        self.head.to(place.device)
        self.average = copy.deepcopy(self.network).requires_grad_(requires_grad=False)
        self.optimizers = self._optimizers()
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=recipe.precision == "float16")
        self._shared: nn.Module | None = None

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        recipe, network = self.recipe, self.network
        groups: list[dict[str, Any]] = [
            {"params": [p for p in network.backbone.parameters() if p.requires_grad], "lr": recipe.rate},
            {"params": list(network.project.parameters()), "lr": recipe.head_rate},
            {"params": [*network.norm.parameters(), *network.pool.parameters()], "lr": recipe.head_rate},
        ]
        for group, decay in zip(groups, (recipe.decay, recipe.decay, 0.0), strict=True):
            group["weight_decay"] = decay
        centers: dict[str, Any] = {"params": list(self.head.parameters()), "lr": CENTERS * recipe.head_rate}
        groups = [group for group in groups if group["params"]]
        if self.head.sample:
            return [torch.optim.AdamW(groups), torch.optim.SparseAdam([centers])]
        return [torch.optim.AdamW([*groups, centers | {"weight_decay": recipe.decay}])]

    # --- a step -----------------------------------------------------------------------------------------------

    def train_step(self, parts: Sequence[MicroBatch]) -> float:
        """Do one step with a batch in parts and return this process's loss; nothing changes if that is no number."""
        torch.manual_seed((self.recipe.seed * 1_000_003 + self.step) * 1009 + self.place.rank)  # for what drops out
        model = self._model()
        model.train()
        total = 0.0
        for number, part in enumerate(parts):
            waits = number < len(parts) - 1 and self.place.world > 1
            with model.no_sync() if waits else nullcontext():
                loss = self._loss(model, part, number) / len(parts)
                self.scaler.scale(loss).backward()
            total += float(loss.detach())
        self.place.average_gradient(self.head.centers.weight)
        mean, _ = self.place.all_reduce(total, stop=False)
        if math.isfinite(mean):
            self._update()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return mean

    def _model(self) -> nn.Module:
        """Return the network, in the wrapping that averages its gradients when there are several processes."""
        if self._shared is None:
            self._shared = self.network
            if self.place.world > 1:
                partly = self.network.backbone.partly_used
                self._shared = DistributedDataParallel(
                    self.network, broadcast_buffers=False, find_unused_parameters=partly
                )
        return self._shared

    def _loss(self, model: nn.Module, part: MicroBatch, number: int) -> Tensor:
        recipe, device = self.recipe, self.place.device
        looked = self.head.chosen(part.everyone.to(device), seed=self.step * recipe.accumulate + number)
        with torch.autocast(device.type, TORCH_DTYPES[recipe.precision], enabled=recipe.precision != "float32"):
            output = model(part.photos.to(device, non_blocking=True))
        return self.head(output.float(), part.target.to(device), looked)

    def _update(self) -> None:
        self._set_rates()
        if self.scaler.is_enabled():
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_([p for p in self.network.parameters() if p.grad is not None], self.recipe.clip)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        self._follow()

    def factor(self) -> float:
        """Return the share of the rates that holds in this step: up in the warm-up, then down along half a cosine."""
        warm = max(1, round(self.recipe.warmup * self.steps))
        done = max(0, self.step - warm) / max(1, self.steps - warm)
        return min((self.step + 1) / warm, LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * done)) / 2)

    def _set_rates(self) -> None:
        factor = self.factor()
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def _follow(self) -> None:
        """Update the moving average; quickly at first, to forget the start."""
        keep = min(self.recipe.average, (1 + self.step) / (10 + self.step)) if self.recipe.average else 0.0
        with torch.no_grad():
            for own, trained in zip(self.average.parameters(), self.network.parameters(), strict=True):
                own.lerp_(trained, 1 - keep)
            for own, trained in zip(self.average.buffers(), self.network.buffers(), strict=True):
                own.copy_(trained)

    # --- kept and taken up again ------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything a step depends on."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "head": self.head.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; RuntimeError for the state of another network."""
        self.step = int(state["step"])
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.head.load_state_dict(state["head"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])
