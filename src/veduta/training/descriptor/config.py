"""Everything about a training run that changes its weights, in one place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from veduta.training.descriptor.data.samplers import SAMPLERS

LOSSES = ("arcface", "cosface")
DISTRACTOR_ROLES = ("class", "each", "none")
ARITHMETICS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class TrainConfig:
    """Everything about a training run that changes its weights.

    Attributes:
        backbone: ``efficientnet-lite0`` to ``lite2``, or a folder of a transformers model.
        dim: D, length of the descriptor that is used.
        head_dim: length of the one that the loss sees; 0 for `dim`. They can differ where a whitening comes last.
        freeze: the first parts of the backbone are left as they are.
        live_norm: whether the backbone's batch norms go on learning the statistics of their batches.
        loss: ``arcface`` or ``cosface``.
        subcenters: k.
        scale: s.
        margin: one for all landmarks; None for margins that fall with the number of photos.
        low: least of the dynamic margins.
        high: largest of the dynamic margins.
        weighted: whether landmarks with few photos weigh more in the loss.
        sample: landmarks the head looks at in a step; 0 for all.
        bank: photos of no landmark are one ``class``, a class ``each``, or ``none`` is used.
        sampler: which photos an epoch looks at: ``uniform``, ``tempered`` or ``balanced``.
        epochs: how often.
        batch: photos in a step of the optimizer, on all processes together.
        accumulate: parts in which a process works through its share of a batch, when that does not fit at once.
        sizes: sides of the squares trained on, one after another in equal shares of the epochs.
        side: photos are brought to about `side` x `side` pixels when the descriptor is used.
        rate: learning rate of the backbone.
        head_rate: of the projection; that of the centers is three times it.
        decay: weight decay.
        warmup: share of the steps in which the rates rise.
        clip: largest norm of the network's gradient; 0 for any.
        average: of the moving average of the weights, which is what is judged and kept; 0 for the weights themselves.
        drop_angle: photos further than this from their landmark's main center are dropped, in degrees; 0 for none.
        drop_after: epochs before that.
        least_area: least share of a photo that a crop keeps.
        precision: ``float32``, or on a GPU ``bfloat16`` or ``float16`` where that does no harm.
        hold_out: share of the landmarks kept for validation.
        whiten: shrinkage, in mean variances, of the whitening that takes the projection's place when the descriptor is
            judged and used; 0 for the projection as it was trained.
        seed: of everything random.
    """

    backbone: str = "efficientnet-lite2"
    dim: int = 512
    head_dim: int = 0
    freeze: int = 0
    live_norm: bool = False
    loss: str = "arcface"
    subcenters: int = 3
    scale: float = 30.0
    margin: float | None = None
    low: float = 0.05
    high: float = 0.5
    weighted: bool = True
    sample: int = 0
    bank: str = "class"
    sampler: str = "tempered"
    epochs: int = 10
    batch: int = 32
    accumulate: int = 1
    sizes: tuple[int, ...] = (224, 256, 288)
    side: int = 384
    rate: float = 1e-4
    head_rate: float = 3e-4
    decay: float = 1e-4
    warmup: float = 0.1
    clip: float = 5.0
    average: float = 0.99
    drop_angle: float = 0.0
    drop_after: int = 3
    least_area: float = 0.35
    precision: str = "float32"
    hold_out: float = 0.1
    whiten: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_ranges()
        if not self.sizes or min(*self.sizes, self.side) < 32:
            raise ValueError(f"sizes: expected sides of at least 32 pixels, got {self.sizes} and {self.side}")
        if not self.whiten and self.head_dim not in (0, self.dim):
            raise ValueError(f"head_dim: expected {self.dim} where there is no whitening, got {self.head_dim}")
        if self.batch % self.accumulate:
            raise ValueError(f"batch: expected a multiple of accumulate, got {self.batch} and {self.accumulate}")

    def _check_choices(self) -> None:
        choices = {"loss": LOSSES, "bank": DISTRACTOR_ROLES, "sampler": tuple(SAMPLERS), "precision": ARITHMETICS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")

    def _check_ranges(self) -> None:
        positive = ("dim", "subcenters", "epochs", "batch", "accumulate", "scale", "rate", "head_rate", "least_area")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        for name in ("head_dim", "freeze", "sample", "decay", "clip", "drop_angle", "drop_after", "whiten"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        for name in ("warmup", "average", "hold_out"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 0 up to 1, got {getattr(self, name)}")
        if self.least_area > 1:
            raise ValueError(f"least_area: expected at most 1, got {self.least_area}")

    @property
    def trained_dim(self) -> int:
        """Length of the descriptor that the loss sees."""
        return self.head_dim or self.dim

    def size(self, epoch: int) -> int:
        """Return the side of the squares in an epoch, counted from 0."""
        return self.sizes[min(epoch * len(self.sizes) // self.epochs, len(self.sizes) - 1)]

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as a JSON object."""
        return asdict(self) | {"sizes": list(self.sizes)}


# Found on a few thousand photos; docs/training.md has what it is worth on landmarks it has not seen.
SHIPPED = TrainConfig(
    dim=1280,
    head_dim=512,
    freeze=16,  # the stem and fifteen of the blocks: what they see is common to all photos, and costs most
    epochs=8,
    sizes=(256, 288),
    hold_out=0.0,
)
