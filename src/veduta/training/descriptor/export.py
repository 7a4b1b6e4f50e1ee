"""Export of a run: the descriptor as an ONNX file, checked against torch, its variants, and a card for each.

The last layer is the whitening of what the network pools, or the trained projection with its batch norm, folded into
one matrix. Variants: weights kept at half precision and widened when loaded (the one to use), full precision, and
convolutions of 8-bit integers, calibrated on training photos.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from veduta.embedders.gem import GemEmbedder, resized
from veduta.errors import ImageError, TrainingError
from veduta.images import load
from veduta.models.cards import ModelCard
from veduta.models.export.networks import ExportSpec as Export
from veduta.models.export.networks import compare, export_spec, halve_weights, noise_photos
from veduta.models.export.quantize import convolutions, quantize
from veduta.models.folder import write_card
from veduta.progress import Log
from veduta.protocols import Embedder
from veduta.training.descriptor.config import TrainConfig
from veduta.training.descriptor.model.backbone import Backbone
from veduta.training.descriptor.model.network import GeM
from veduta.training.descriptor.protocols import RetrievalMetrics, evaluate_protocol
from veduta.training.descriptor.result import ExportedVariant, TrainResult
from veduta.types import Image

EXPORT_FILE = "descriptor.onnx"
TOLERANCE = {True: 4e-3, False: 1e-3}  # difference from torch, with weights at half precision and without
QUANTIZATION_PHOTOS = 64  # photos
MODEL = "model"


class DeployedDescriptor(nn.Module):
    """A descriptor as deployed: backbone, GeM, norm 1, one linear layer, norm 1."""

    def __init__(self, backbone: Backbone, pool: GeM, layer: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.pool, self.layer = backbone, pool, layer

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, D) float32 of norm 1 of a (B, H, W, 3) uint8 RGB."""
        return normalize(self.layer(normalize(self.pool(self.backbone(image)), dim=1)), dim=1)


def export_variants(
    outcome: TrainResult, out: Path, recipe: TrainConfig, name: str, say: Log = lambda text: None
) -> list[ExportedVariant]:
    """Write the variants of a trained descriptor below `out` and return them, the one to use first.

    Args:
        outcome: what was learned.
        out: the run's folder; variants go to ``model``, ``model-float32`` and ``model-int8``.
        recipe: of the run.
        name: of the model on its card.
        say: called with a line for a person.

    Raises:
        TrainingError: a graph cannot be written, or differs from torch by more than is allowed.
    """
    used = DeployedDescriptor(outcome.network.backbone, outcome.network.pool, outcome.layer).cpu().eval()
    _freeze_exponent(used.pool)
    data = f"{len(outcome.split.train)} photos of {outcome.classes} classes"
    variants: list[ExportedVariant] = []
    for kind in ("float32", "float16", "int8"):
        folder = out / (MODEL if kind == "float16" else f"{MODEL}-{kind}")
        draft = out / f"{folder.name}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        file = draft / EXPORT_FILE
        full, how = out / f"{MODEL}-float32" / EXPORT_FILE, _how(used, recipe, half=kind == "float16")
        try:
            if kind == "float32":
                difference = export_spec(how, file)["descriptor"]
            elif kind == "float16":
                onnx.save(halve_weights(onnx.load(full)), file)
                difference = compare(used, how, file)["descriptor"]
            else:
                difference = _quantize(full, file, used, outcome, recipe)
        except RuntimeError as error:
            raise TrainingError(f"{folder}: cannot be written ({error}); the weights are kept in {out}") from error
        called = name if kind == "float16" else f"{name}-{kind}"
        card = _card(called, file, kind, outcome, recipe, data)
        figures = _figures(GemEmbedder(card), outcome)
        lost = _lost(variants[0].figures if variants else figures, figures)
        origin = {"trained_on": data, "recipe": recipe.as_dict(), "epoch": outcome.epoch, "difference": difference}
        write_card(draft, card, training=origin, figures=[asdict(one) for one in figures])
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
        variants.append(ExportedVariant(kind, str(folder), file_mb(folder / EXPORT_FILE), difference, figures, lost))
        say(
            f"{folder}: {variants[-1].megabytes:.1f} MB, {difference:.1e} from torch, "
            f"GAP lost {lost[0]:.4f}, {lost[1]:.4f}"
        )
    return sorted(variants, key=lambda variant: variant.name != "float16")


def file_mb(path: Path) -> float:
    """Return the size of a file in megabytes."""
    return path.stat().st_size / 1e6


def _freeze_exponent(pool: GeM) -> None:
    """Make the exponent a constant of the graph."""
    pool.exponent.requires_grad_(requires_grad=False)


def _how(used: DeployedDescriptor, recipe: TrainConfig, *, half: bool) -> Export:
    """Return how the graph is written and compared: sides free, or one square for a network that knows its patches."""
    step = used.backbone.step
    side = max(1, round(recipe.side / step)) * step  # as `resized` makes squares

    def inputs(seed: int) -> dict[str, Tensor]:
        shape = (side, side) if used.backbone.square else (step * (8 + seed), step * 9)
        full = [-(-length // 16) * 16 for length in shape]
        return {"image": noise_photos(seed, 2 + seed % 2, *full, 3)[:, : shape[0], : shape[1]].contiguous()}

    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if not used.backbone.square:
        free |= {axis: step * torch.export.Dim(f"side{axis}", min=2, max=4096 // step) for axis in (1, 2)}
    return Export(
        build=lambda: used,
        inputs=inputs,
        outputs=("descriptor",),
        dynamic=(free,),
        half=half,
        tolerance={"descriptor": TOLERANCE[half]},
    )


def _card(name: str, file: Path, kind: str, outcome: TrainResult, recipe: TrainConfig, data: str) -> ModelCard:
    backbone = outcome.network.backbone
    shape = "squares" if backbone.square else f"sides multiples of {backbone.step}, the photo's shape kept"
    return ModelCard(
        name=name,
        stage="embedder",
        dim=recipe.dim,
        license=backbone.license,
        source=f"trained on {data}, from {backbone.source}",
        paper="sub-center ArcFace, Deng et al., ECCV 2020; GeM pooling, Radenovic et al., TPAMI 2018",
        input=f"RGB uint8 (B, H, W, 3), {shape}, about {recipe.side} x {recipe.side} pixels in all",
        output=f"descriptor (B, {recipe.dim}) float32 of norm 1; weights stored as {kind}",
        file=EXPORT_FILE,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        export="veduta train DATA --out DIR",
        side=recipe.side,
        step=backbone.step,
        square=backbone.square,
        folder=str(file.parent),
    )


def _lost(before: Sequence[RetrievalMetrics], after: Sequence[RetrievalMetrics]) -> tuple[float, float]:
    if not before:
        return 0.0, 0.0
    return before[0].gap_closed - after[0].gap_closed, before[0].gap_open - after[0].gap_open


def _figures(embedder: Embedder, outcome: TrainResult) -> tuple[RetrievalMetrics, ...]:
    """Return an embedder's validation figures, computed the way a gallery computes."""
    photos = outcome.split.validation()
    if not len(photos):
        return ()
    rows = np.zeros((len(photos), embedder.dim), np.float32)
    for row, image in enumerate(_readable(outcome, photos.tolist())):
        if image is not None:
            rows[row] = embedder.embed([image])[0]
    return tuple(evaluate_protocol(protocol, rows, photos) for protocol in outcome.split.protocols)


def _readable(outcome: TrainResult, photos: Sequence[int]) -> Iterator[Image | None]:
    for number in photos:
        try:
            yield load(outcome.dataset.photos[number])
        except ImageError:
            yield None


# --- integers ---------------------------------------------------------------------------------------------------


def _calibration(outcome: TrainResult, recipe: TrainConfig) -> Iterator[dict[str, Any]]:
    """Yield training photos as inputs of the graph."""
    train = outcome.split.train
    chosen = train[np.linspace(0, len(train) - 1, min(QUANTIZATION_PHOTOS, len(train))).astype(int)]
    kind = outcome.network.backbone
    for image in _readable(outcome, chosen.tolist()):
        if image is not None:
            yield {"image": resized(image.pixels, recipe.side, kind.step, square=kind.square)[None]}


def _quantize(source: Path, target: Path, used: DeployedDescriptor, outcome: TrainResult, recipe: TrainConfig) -> float:
    """Write a graph whose convolutions multiply 8-bit integers, and return its largest difference from torch."""
    quantize(
        source,
        target,
        _calibration(outcome, recipe),
        # A convolution's range is only known once what cuts it off is an integer too; the first one sees pixels.
        op_types_to_quantize=["Conv", "Clip", "Add", "Gemm"],
        nodes_to_exclude=convolutions(source)[:1],
    )
    import onnxruntime

    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    photo = next(_calibration(outcome, recipe), None)
    if photo is None:
        return float("nan")
    with torch.inference_mode():
        expected = used(torch.from_numpy(photo["image"])).numpy()
    return float(np.abs(session.run(None, photo)[0] - expected).max())
