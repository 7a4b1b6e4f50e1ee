"""Models of one's own: their cards, and galleries that keep a copy of them."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support import world
from support.cli import run, run_json

from veduta.embedders import make_embedder
from veduta.embedders.gem import resized
from veduta.errors import GalleryError, ModelError
from veduta.gallery import Gallery
from veduta.images import from_array, load
from veduta.models.cards import ModelCard
from veduta.models.folder import CARD_FILE, is_model, read_card, write_card
from veduta.models.session import open_session

DIM = 12


def graph(path, seed=0, square=0):
    """Write a network: a photo's colors, their squares and their correlations, turned by a random matrix."""
    matrix = np.random.default_rng(seed).normal(size=(6, DIM)).astype(np.float32)
    constants = {"scale": np.array([0.01], np.float32), "matrix": matrix, "axes": np.array([1, 2])}
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "scale"], ["small"]),
        helper.make_node("Mul", ["small", "small"], ["squares"]),
        helper.make_node("ReduceMean", ["small", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceMean", ["squares", "axes"], ["power"], keepdims=0),
        helper.make_node("Concat", ["mean", "power"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "matrix"], ["turned"]),
        helper.make_node("LpNormalization", ["turned"], ["descriptor"], axis=1, p=2),
    ]
    side = square or None
    made = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [None, side, side, 3])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, [None, DIM])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return matrix


def leave(folder, name="colors", seed=0, **about):
    """Write a folder with a model and its card, as training leaves one, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    graph(folder / "descriptor.onnx", seed, about.get("side", 64) if about.get("square") else 0)
    said = {
        "name": name,
        "stage": "embedder",
        "dim": DIM,
        "license": "Apache-2.0",
        "source": "a test",
        "paper": "none",
        "input": "photos",
        "output": "descriptors",
        "file": "descriptor.onnx",
        "sha256": hashlib.sha256((folder / "descriptor.onnx").read_bytes()).hexdigest(),
        "export": "a test",
        "side": 64,
        "step": 32,
    }
    write_card(folder, ModelCard(**said | about), figures=[], recipe={"epochs": 1})
    return folder


@pytest.fixture
def model(tmp_path):
    return leave(tmp_path / "model")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Folder with two small photos each of four palazzi."""
    return world.build(tmp_path_factory.mktemp("photos"), 4, 2, 240, 180)


def by_hand(image, seed=0, **how):
    matrix = np.random.default_rng(seed).normal(size=(6, DIM)).astype(np.float32)
    small = resized(image.pixels, how.pop("side", 64), **how).astype(np.float64) * 0.01
    turned = np.concatenate((small.mean((0, 1)), (small**2).mean((0, 1)))) @ matrix
    return turned / np.linalg.norm(turned)


# --- cards


def test_a_card_is_read_as_it_was_written(tmp_path, model):
    card = read_card(model)
    assert (card.name, card.dim, card.side, card.step, card.square) == ("colors", DIM, 64, 32, False)
    assert card.path == model / "descriptor.onnx"
    assert json.loads((model / CARD_FILE).read_text())["recipe"] == {"epochs": 1}
    moved = model.rename(tmp_path / "moved")
    assert read_card(moved).path == moved / "descriptor.onnx", "a card does not say where it lies"
    assert "folder" not in json.loads((moved / CARD_FILE).read_text())


def test_a_folder_is_a_model_when_it_has_a_card(tmp_path, model):
    assert is_model(model)
    assert is_model(str(model))
    assert not is_model(tmp_path)
    assert not is_model(tmp_path / "missing")
    assert not is_model("efficientnet-lite2-gem")


def test_a_folder_without_a_card_is_told(tmp_path):
    with pytest.raises(ModelError, match=r"card\.json: cannot be read \(No such file"):
        read_card(tmp_path)


def changed(model, **values):
    said = json.loads((model / CARD_FILE).read_text()) | values
    (model / CARD_FILE).write_text(json.dumps({name: value for name, value in said.items() if value is not None}))


@pytest.mark.parametrize("name", [name for name in ModelCard.__dataclass_fields__ if name != "folder"])
def test_a_card_must_say_everything(model, name):
    changed(model, **{name: None})
    with pytest.raises(ModelError, match=rf"card\.json: is not a model's card \({name} is missing"):
        read_card(model)
    changed(model, **{name: ["another kind"]})
    with pytest.raises(ModelError, match=rf"is not a model's card \({name} is missing or no"):
        read_card(model)


@pytest.mark.parametrize(
    "values",
    [{"file": "../descriptor.onnx"}, {"file": "/etc/passwd"}, {"dim": 0}, {"side": -1}, {"step": 0}, {"dim": True}],
)
def test_a_card_must_say_something_possible(model, values):
    changed(model, **values)
    with pytest.raises(ModelError, match="is not a model's card"):
        read_card(model)


@pytest.mark.parametrize("name", ["../../escaped", "a/b", "", ".", ".hidden", "a\nb", "efficientnet-lite2-gem"])
def test_a_card_has_a_name_that_can_be_a_folders_and_is_nobody_elses(tmp_path, name):
    folder = leave(tmp_path / "model", name)
    with pytest.raises(ModelError, match=r"is no name for a model|is the name of a model that ships"):
        read_card(folder)
    with pytest.raises(ModelError):
        Gallery.create(tmp_path / "gallery", embedder=folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "\x00\xff", "null"])
def test_what_is_no_card_is_told(model, text):
    (model / CARD_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"card\.json: is not a model's card"):
        read_card(model)


# --- embedders


def test_a_folder_makes_an_embedder(model):
    embedder = make_embedder(model)
    assert (embedder.name, embedder.dim, embedder.settings) == ("colors", DIM, {"side": 64})
    assert embedder.sha256 == hashlib.sha256((model / "descriptor.onnx").read_bytes()).hexdigest()
    images = [from_array(world.facade(i, *size)) for i, size in enumerate([(96, 72), (300, 96), (96, 300), (96, 72)])]
    found = embedder.embed(images)
    for image, row in zip(images, found, strict=True):
        np.testing.assert_allclose(row, by_hand(image), atol=1e-5)
    np.testing.assert_allclose(
        make_embedder(str(model), side=96).embed(images[:1])[0], by_hand(images[0], side=96), atol=1e-5
    )


def test_a_card_says_how_photos_are_brought_to_size(tmp_path):
    image = from_array(world.facade(0, 240, 100))
    fine = make_embedder(leave(tmp_path / "fine", step=8, side=48)).embed([image])[0]
    np.testing.assert_allclose(fine, by_hand(image, side=48, step=8), atol=1e-5)
    squashed = make_embedder(leave(tmp_path / "squashed", square=True, side=96)).embed([image])[0]
    np.testing.assert_allclose(squashed, by_hand(image, side=96, square=True), atol=1e-5)


def test_a_model_of_squares_takes_no_other_side(tmp_path):
    with pytest.raises(ModelError, match="colors: takes photos of side 64 only, not 96"):
        make_embedder(leave(tmp_path / "squashed", square=True), side=96)


def test_a_tampered_file_is_not_opened(model):
    data = bytearray((model / "descriptor.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (model / "descriptor.onnx").write_bytes(data)
    for opens in (make_embedder, lambda model: open_session(read_card(model))):
        with pytest.raises(ModelError, match=r"not the file on the card of 'colors' \(sha256 differs\); train or"):
            opens(model)


def test_a_missing_file_is_told(model):
    (model / "descriptor.onnx").unlink()
    with pytest.raises(ModelError, match=r"descriptor\.onnx: cannot be read \(No such file.*train or copy it again"):
        make_embedder(model)


def test_a_folder_that_is_no_model_is_told_with_what_there_is(tmp_path):
    with pytest.raises(ModelError, match=f"called '{tmp_path}'; there are .* or give a folder with a card"):
        make_embedder(tmp_path)


# --- galleries


def test_a_gallery_describes_photos_by_the_model_it_was_made_with(model, photos, tmp_path):
    with Gallery.create(tmp_path / "gallery", embedder=model) as gallery:
        gallery.add(photos)
        embedder = gallery.info().settings["embedder"]
        assert embedder == {"name": "colors", "sha256": read_card(model).sha256, "side": 64}
        rows, found = gallery._store.rows.after()
        labels = gallery._store.rows.labels(rows.tolist())
    assert len(rows) == 8
    for (reference, _), row in zip(map(labels.get, rows.tolist()), found, strict=True):
        np.testing.assert_allclose(row, by_hand(load(photos / reference)), atol=2e-3)


def test_a_gallery_outlives_the_folder_it_was_made_with_and_may_be_moved(model, photos, tmp_path):
    with Gallery.create(tmp_path / "gallery", embedder=model) as gallery:
        gallery.add(photos)
        before = [answer.evidence[0] for answer in gallery.recognize([photos])]
    shutil.rmtree(model)
    moved = (tmp_path / "gallery").rename(tmp_path / "elsewhere")
    with Gallery.open(moved) as gallery:
        assert [answer.evidence[0] for answer in gallery.recognize([photos])] == before
        assert gallery.add(photos).skipped == 8
        gallery.add_photo(world.save(world.facade(9, 240, 180), tmp_path / "new.jpg"), "new")
    assert [evidence.landmark for evidence in before] == sorted([f"palazzo-{i}" for i in range(4)] * 2)


def test_a_gallery_does_not_follow_a_model_that_was_trained_again(model, photos, tmp_path):
    with Gallery.create(tmp_path / "gallery", embedder=model) as gallery:
        gallery.add(photos)
    leave(model, seed=5)
    with Gallery.open(tmp_path / "gallery") as gallery:
        answers = list(gallery.recognize([photos]))
    assert all(answer.evidence[0].similarity > 0.999 for answer in answers)


def kept(gallery):
    (card,) = gallery.rglob(CARD_FILE)
    return card.parent


def test_a_gallery_whose_model_was_exchanged_does_not_open(model, tmp_path):
    Gallery.create(tmp_path / "gallery", embedder=model).close()
    leave(kept(tmp_path / "gallery"), seed=5)
    with pytest.raises(GalleryError, match="was made with another 'colors'"):
        Gallery.open(tmp_path / "gallery")


def test_a_gallery_whose_model_is_damaged_opens_and_recognizes_nothing(model, photos, tmp_path):
    with Gallery.create(tmp_path / "gallery", embedder=model) as gallery:
        gallery.add(photos)
    file = kept(tmp_path / "gallery") / "descriptor.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with Gallery.open(tmp_path / "gallery") as gallery:
        assert len(gallery.references()) == 8
        with pytest.raises(ModelError, match="is not the file on the card"):
            list(gallery.recognize([photos]))


def test_a_gallery_whose_model_is_lost_is_told(model, tmp_path):
    Gallery.create(tmp_path / "gallery", embedder=model).close()
    shutil.rmtree(kept(tmp_path / "gallery"))
    with pytest.raises(GalleryError, match="was made with embedder 'colors', which this Veduta does not have"):
        Gallery.open(tmp_path / "gallery")


def test_a_tampered_model_makes_no_gallery(model, tmp_path):
    (model / "descriptor.onnx").write_bytes(b"something else")
    with pytest.raises(ModelError, match="is not the file on the card"):
        Gallery.create(tmp_path / "gallery", embedder=model)
    assert not (tmp_path / "gallery").exists()


def test_two_galleries_of_two_models_of_one_name_live_side_by_side(photos, tmp_path):
    for seed in range(2):
        with Gallery.create(tmp_path / f"gallery-{seed}", embedder=leave(tmp_path / "model", seed=seed)) as gallery:
            gallery.add(photos)
    for seed in range(2):
        with Gallery.open(tmp_path / f"gallery-{seed}") as gallery:
            assert all(answer.evidence[0].similarity > 0.999 for answer in gallery.recognize([photos]))


# --- the command


def test_the_command_takes_a_folder(model, photos, tmp_path):
    gallery = tmp_path / "gallery"
    run("create", gallery, "--embedder", model)
    assert "added 8 references" in run("add", gallery, photos).stderr
    shutil.rmtree(model)
    answers = run_json("recognize", gallery, photos)
    assert [answer["landmark"]["id"] for answer in answers] == sorted([f"palazzo-{i}" for i in range(4)] * 2)
    assert run_json("info", gallery)["settings"]["embedder"]["name"] == "colors"


def test_the_command_tells_of_a_model_that_is_none(model, tmp_path):
    (model / "descriptor.onnx").write_bytes(b"something else")
    for name in (model, tmp_path):
        result = run("create", tmp_path / "gallery", "--embedder", name, code=2)
        assert result.stderr.startswith("veduta: ")
        assert len(result.stderr.splitlines()) == 1


def test_the_command_shows_the_cards_of_trained_models(model):
    (card,) = run_json("models", "show", model)
    assert (card["name"], card["sha256"]) == ("colors", read_card(model).sha256)
    assert "colors" in run("models", "show", model).stdout
