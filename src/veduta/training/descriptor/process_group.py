"""One process or many, started by torchrun: the rank of this one, its device, and collective operations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed as dist

from veduta.errors import TrainingError

DEVICES = ("auto", "cpu", "cuda")
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process, the number of processes, and the device.

    Attributes:
        rank: its number.
        world: how many there are.
        device: where its network lies.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def broadcast(self, thing: Thing) -> Thing:
        """Return the first process's value on every process."""
        if self.world == 1:
            return thing
        box = [thing]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def all_reduce(self, loss: float, stop: bool) -> tuple[float, bool]:  # noqa: FBT001
        """Return the mean loss of all processes, and whether any of them was asked to stop."""
        if self.world == 1:
            return loss, stop
        both = torch.tensor([loss / self.world, float(stop)], dtype=torch.float64, device=self.device)
        dist.all_reduce(both)
        return float(both[0]), bool(both[1] > 0)

    def average_gradient(self, parameter: torch.nn.Parameter) -> None:
        """Make a gradient the mean of all processes' gradients; sparse ones must have the same rows everywhere."""
        gradient = parameter.grad
        if self.world == 1 or gradient is None:
            return
        if not gradient.is_sparse:
            dist.all_reduce(gradient)
            gradient /= self.world
            return
        rows = gradient.coalesce()
        values = rows.values()
        dist.all_reduce(values)
        parameter.grad = torch.sparse_coo_tensor(rows.indices(), values / self.world, gradient.shape)


@contextmanager
def join_processes(device: str = "auto") -> Iterator[ProcessGroup]:
    """Join the other processes that torchrun has started, if any, and leave them at the end.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        TrainingError: there is no GPU here.
    """
    if device not in DEVICES:
        raise ValueError(f"device: expected one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("no GPU can be used here; install a torch with CUDA, or use --device cpu")
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    gpu = device != "cpu" and torch.cuda.is_available()
    where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(where)
    if world > 1:
        # The others wait while the first looks at millions of photos.
        dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(days=2))
    try:
        yield ProcessGroup(rank, world, where)
    finally:
        if world > 1:
            dist.destroy_process_group()
