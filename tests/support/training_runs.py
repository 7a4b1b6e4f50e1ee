"""Training in small: drawn photos, tiny networks of `transformers`, runs stopped on purpose."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from support import world
from veduta.training.descriptor import checkpoint
from veduta.training.descriptor.config import TrainConfig
from veduta.training.descriptor.data.dataset import Dataset
from veduta.training.descriptor.train import train_descriptor

# What all runs have in common: a network of four million weights of which the last fourth learns, on tiny photos.
SMALL = {
    "backbone": "efficientnet-lite0",
    "freeze": 14,
    "dim": 16,
    "epochs": 2,
    "batch": 8,
    "sizes": (32,),
    "side": 64,
    "hold_out": 0.25,
}


def small(**changes):
    """A recipe whose steps take a moment."""
    return TrainConfig(**SMALL | changes)


def options(**changes):
    """The same as the command line takes it."""
    settings = SMALL | changes
    for name, value in settings.items():
        yield f"--{name.replace('_', '-')}"
        yield ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def draw(folder, landmarks=8, photos=4):
    """Write LANDMARK/PHOTO.jpg, a hundred pixels wide, and return the folder."""
    return world.build(folder, landmarks, photos, 96, 72)


def nothing(folder, count=4):
    """Write small photos of nothing in particular and return the folder."""
    for i in range(count):
        world.save(world.distractor(i, 96, 72), folder / f"nothing-{i}.jpg")
    return folder


def listed(classes):
    """A data set of photos that are nowhere, of these classes."""
    classes = np.asarray(classes, np.int64)
    names = tuple(f"landmark {i}" for i in range(int(classes.max(initial=-1)) + 1))
    return Dataset(tuple(f"{i}.jpg" for i in range(len(classes))), classes, names)


# --- networks


def tiny(kind, folder, **changes):
    """Write a folder with a tiny network of random weights, as `transformers` keeps one, and return it."""
    import transformers

    name, settings = KINDS[kind]
    torch.manual_seed(7)
    config = getattr(transformers, name + "Config")(**settings | changes)
    getattr(transformers, name + "Model")(config).save_pretrained(folder)
    return folder


REGISTERS = 3
CONVOLUTIONS = {"hidden_sizes": [8, 24], "depths": [1, 1]}
PATCHES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
PATCHES |= {"image_size": 32, "patch_size": 8}
TEXT = {"vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
KINDS = {
    "resnet": ("ResNet", CONVOLUTIONS | {"embedding_size": 8, "layer_type": "basic"}),
    "convnext": ("ConvNextV2", CONVOLUTIONS | {"num_stages": 2}),
    "dino": ("Dinov2", PATCHES),
    "registers": ("Dinov2WithRegisters", PATCHES | {"num_register_tokens": REGISTERS}),
    "text": ("Bert", TEXT),
}


# --- runs


def stopping(after):
    """A function to follow a run with that asks it to stop, as Ctrl-C does, once it has done so many steps."""
    steps = 0

    def follow(done, total, verb):
        nonlocal steps
        steps += verb.startswith("epoch ")
        if steps == after and verb.startswith("epoch "):
            os.kill(os.getpid(), signal.SIGINT)

    return follow


def learn(data, out, recipe, steps, **rest):
    """Do so many steps of a run and stop it, and return its checkpoint: what comes after the last takes long."""
    with contextlib.suppress(KeyboardInterrupt):
        train_descriptor(data, out, recipe, progress=stopping(steps), device="cpu", **rest)
        raise AssertionError(f"it ended before step {steps}")
    return checkpoint.read_checkpoint(out)


def lines(out, event="step"):
    """The lines of a run's journal that are about steps, or about epochs."""
    entries = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [line for line in entries if line["event"] == event]


def assert_same(one, other, where="checkpoint"):
    """Two checkpoints, or parts of them, hold the same to the last bit."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    else:
        assert one == other, where


def distance(one, other):
    """How far the numbers of two dictionaries of weights are apart, all in all."""
    assert one.keys() == other.keys()
    return sum(float((one[name].double() - other[name].double()).square().sum()) for name in one) ** 0.5


def difference(one, other):
    """The largest difference between the numbers of two dictionaries of weights."""
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


if __name__ == "__main__":  # as one of several processes of `torch.distributed.run`
    data, out, steps, changes = sys.argv[1:]
    learn(Path(data), Path(out), small(**json.loads(changes)), int(steps))
