"""``veduta train``: photos of landmarks in, a descriptor out."""

from __future__ import annotations

import enum
import importlib.util
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from veduta.cli import output
from veduta.cli.options import SOME_FAILED, AsListing, Listing
from veduta.errors import ModelError, install_extra

NEEDED = ("torch", "onnx", "onnxscript", "safetensors", "matplotlib")


class Loss(enum.StrEnum):
    """The margin losses there are."""

    arcface = "arcface"
    cosface = "cosface"


class Bank(enum.StrEnum):
    """The roles of photos without a landmark."""

    one = "class"
    each = "each"
    none = "none"


class Sampler(enum.StrEnum):
    """Which photos an epoch looks at."""

    uniform = "uniform"
    tempered = "tempered"
    balanced = "balanced"


class Arithmetic(enum.StrEnum):
    """How numbers are kept while training."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Device(enum.StrEnum):
    """Where the network lies."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


NETWORK, LOSS, PHOTOS, STEPS, WHERE = "The network", "The loss", "The photos", "The steps", "Where it runs"


def _option(text: str, panel: str, **rest: object) -> typer.models.OptionInfo:
    return typer.Option(help=text, rich_help_panel=panel, **rest)  # type: ignore[arg-type,no-any-return]


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"expected sides like 224,256,288, got {text!r}") from None


def train_command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A data set's folder, or a table photo,landmark.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The run's folder; a run that was stopped goes on.")],
    bank: Annotated[Path | None, _option("Folder of photos that show no landmark.", PHOTOS, metavar="FOLDER")] = None,
    against: Annotated[
        Path | None,
        _option("Photos to keep out of training; default: DATA/test.", PHOTOS, metavar="FOLDER"),
    ] = None,
    name: Annotated[str, _option("Name of the model; default: that of DIR.", NETWORK)] = "",
    shipped: Annotated[  # noqa: FBT002
        bool, typer.Option("--shipped", help="Begin from the recipe that docs/training.md measures.")
    ] = False,
    backbone: Annotated[
        str | None, _option("efficientnet-lite0 to lite2, or the folder of a transformers model.", NETWORK)
    ] = None,
    dim: Annotated[int | None, _option("Length of a descriptor.", NETWORK, min=1)] = None,
    head_dim: Annotated[int | None, _option("Length of the one the loss sees; 0 for --dim.", NETWORK, min=0)] = None,
    freeze: Annotated[int | None, _option("First parts of the backbone left as they are.", NETWORK, min=0)] = None,
    live_norm: Annotated[
        bool | None, _option("Let the backbone's batch norms learn the batches' statistics.", NETWORK)
    ] = None,
    whiten: Annotated[float | None, _option("Shrinkage of the last whitening; 0 for none.", NETWORK, min=0)] = None,
    loss: Annotated[Loss | None, _option("arcface or cosface.", LOSS)] = None,
    subcenters: Annotated[int | None, _option("Centers of a landmark.", LOSS, min=1)] = None,
    scale: Annotated[float | None, _option("Of the cosines.", LOSS)] = None,
    margin: Annotated[
        float | None, _option("One for all; by default larger for landmarks with few photos.", LOSS)
    ] = None,
    low: Annotated[float | None, _option("Margin of the landmark with most photos.", LOSS)] = None,
    high: Annotated[float | None, _option("Margin of the landmarks with fewest.", LOSS)] = None,
    weighted: Annotated[bool | None, _option("Weigh landmarks with few photos more.", LOSS)] = None,
    sample: Annotated[
        int | None, _option("Landmarks looked at in a step; 0 for all. Bounds memory and time.", LOSS, min=0)
    ] = None,
    bank_as: Annotated[Bank | None, _option("Photos of the bank are one class, a class each, or none.", LOSS)] = None,
    drop_angle: Annotated[
        float | None, _option("Leave out photos further from their landmark's center; 0 for none.", LOSS, min=0)
    ] = None,
    drop_after: Annotated[int | None, _option("Epochs before that.", LOSS, min=0)] = None,
    sampler: Annotated[Sampler | None, _option("uniform, tempered or balanced.", PHOTOS)] = None,
    sizes: Annotated[str | None, _option("Sides trained on, in turn, like 224,256,288.", PHOTOS)] = None,
    side: Annotated[int | None, _option("Side of a photo when the descriptor is used.", PHOTOS, min=32)] = None,
    least_area: Annotated[float | None, _option("Least share of a photo that a crop keeps.", PHOTOS)] = None,
    hold_out: Annotated[float | None, _option("Share of the landmarks kept for validation.", PHOTOS)] = None,
    epochs: Annotated[int | None, _option("How often every photo is looked at.", STEPS, min=1)] = None,
    batch: Annotated[int | None, _option("Photos in a step, on all processes together.", STEPS, min=1)] = None,
    accumulate: Annotated[int | None, _option("Parts a batch is worked through in.", STEPS, min=1)] = None,
    rate: Annotated[float | None, _option("Learning rate of the backbone.", STEPS)] = None,
    head_rate: Annotated[float | None, _option("Of the projection; a third of the centers'.", STEPS)] = None,
    decay: Annotated[float | None, _option("Weight decay.", STEPS, min=0)] = None,
    warmup: Annotated[float | None, _option("Share of the steps in which the rates rise.", STEPS)] = None,
    clip: Annotated[float | None, _option("Largest norm of the gradient; 0 for any.", STEPS, min=0)] = None,
    average: Annotated[float | None, _option("Moving average of the weights; 0 for none.", STEPS)] = None,
    precision: Annotated[Arithmetic | None, _option("float32, or on a GPU bfloat16 or float16.", STEPS)] = None,
    seed: Annotated[int | None, _option("Of everything random.", STEPS, min=0)] = None,
    device: Annotated[Device, _option("auto, cpu or cuda; several GPUs by torchrun.", WHERE)] = Device.auto,
    workers: Annotated[int, _option("Threads that decode and change photos.", WHERE, min=1)] = 2,
    minutes: Annotated[float, _option("Between checkpoints.", WHERE, min=0)] = 5.0,
    format: AsListing = Listing.table,
) -> None:
    """Train a descriptor of your own, and leave it as a folder that 'veduta create --embedder' takes.

    What is not said is as in `veduta.training.descriptor.config.TrainConfig`; docs/training.md
    tells what each choice is worth.
    """
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelError(f"training needs {', '.join(missing)}; {install_extra('train')}")
    from dataclasses import replace

    from veduta.training.descriptor.config import SHIPPED, TrainConfig
    from veduta.training.descriptor.train import train_descriptor as run

    choices: dict[str, Any] = {
        "backbone": backbone, "dim": dim, "head_dim": head_dim, "freeze": freeze, "live_norm": live_norm,
        "whiten": whiten, "loss": loss and loss.value, "subcenters": subcenters, "scale": scale, "margin": margin,
        "low": low, "high": high, "weighted": weighted, "sample": sample, "bank": bank_as and bank_as.value,
        "drop_angle": drop_angle, "drop_after": drop_after, "sampler": sampler and sampler.value,
        "sizes": _sizes(sizes) if sizes else None, "side": side, "least_area": least_area, "hold_out": hold_out,
        "epochs": epochs, "batch": batch, "accumulate": accumulate, "rate": rate, "head_rate": head_rate,
        "decay": decay, "warmup": warmup, "clip": clip, "average": average,
        "precision": precision and precision.value, "seed": seed,
    }  # fmt: skip
    try:
        base = SHIPPED if shipped else TrainConfig()
        recipe = replace(base, **{field: value for field, value in choices.items() if value is not None})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with output.progress("looking") as progress:
        report = run(
            data, out, recipe, bank, against, name=name, device=device.value, workers=workers, minutes=minutes,
            progress=progress, say=output.note,
        )  # fmt: skip
    if report is not None:
        output.print_training(report.as_dict(), as_json=format is Listing.json)
        # torchrun would take this for a process that has died.
        if report.unreadable and "WORLD_SIZE" not in os.environ:
            raise typer.Exit(SOME_FAILED)
