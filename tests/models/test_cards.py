"""The files that ship: they are the ones on their cards, and they still say what torch said."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from support import ROOT, canonical, components

from veduta.decision.model import LEARNED
from veduta.embedders import EMBEDDERS, make_embedder
from veduta.errors import ModelError
from veduta.features import EXTRACTORS, XFeat, make_extractor
from veduta.images import from_array
from veduta.masks import MASKS
from veduta.matching import MATCHERS, PAIR_MATCHERS, LighterGlue, make_matcher
from veduta.models.cards import CARDS, SHIPPED_MODELS, card, cards
from veduta.models.session import open_session, read_file
from veduta.models.weights import SOURCES
from veduta.types import LocalFeatures

WITH_FILE = [c.name for c in cards() if c.file]
EXPORTED = [c.name for c in cards() if "veduta.models.export.networks" in c.export]
RECORDED = canonical.recorded()
LIGHTGLUES = {f"lightglue-{extractor}" for extractor in MATCHERS["lightglue"][1]}


# --- cards


@pytest.mark.parametrize("name", WITH_FILE)
def test_the_file_is_the_one_on_the_card(name):
    known = card(name)
    assert hashlib.sha256((SHIPPED_MODELS / known.file).read_bytes()).hexdigest() == known.sha256


def test_no_model_ships_without_a_card():
    assert sorted(p.name for p in SHIPPED_MODELS.iterdir() if p.suffix in (".onnx", ".npz")) == sorted(
        c.file for c in cards() if c.file
    )


@pytest.mark.parametrize("card", cards(), ids=lambda c: c.name)
def test_the_notice_names_where_the_weights_come_from(card):
    package = card.name if card.name in SOURCES else card.source.split()[0].removesuffix("'s")
    assert re.search(rf"(?<![\w-]){re.escape(package)}(?![\w-])", (ROOT / "NOTICE").read_text("utf-8")), package


@pytest.mark.parametrize("card", cards(), ids=lambda c: c.name)
def test_a_card_says_all_there_is_to_say(card):
    assert all((card.license, card.source, card.paper, card.input, card.output))
    assert bool(card.file) == bool(card.sha256) == bool(card.export)
    assert card.name in card.export or not card.file
    assert bool(card.file) or card.name in SOURCES or "no weights" in card.output


def test_every_stage_has_exactly_the_plugs_that_have_cards():
    by_stage = {stage: {c.name for c in cards() if c.stage == stage} for stage in {c.stage for c in CARDS}}
    assert by_stage == {
        "embedder": set(EMBEDDERS),
        "extractor": set(EXTRACTORS),
        "matcher": {*(set(MATCHERS) - {"lightglue"}), *PAIR_MATCHERS, *LIGHTGLUES},
        "mask": set(MASKS),
        "decision": set(LEARNED.values()),
    }


# --- errors


@pytest.mark.parametrize("make", [card, open_session, make_embedder, make_extractor, make_matcher])
def test_an_unknown_model_is_told_with_those_there_are(make):
    with pytest.raises(ModelError, match=r"called 'delg'; there are .*(xfeat|nearest|gem)"):
        make("delg")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of the models' files that may be damaged."""
    for name in WITH_FILE:
        shutil.copy(SHIPPED_MODELS / card(name).file, tmp_path)
    monkeypatch.setattr("veduta.models.cards.SHIPPED_MODELS", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", WITH_FILE)
def test_a_damaged_file_is_not_opened(folder, name):
    path = folder / card(name).file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=f"{card(name).file}: is not the file on the card .* reinstall veduta"):
        read_file(card(name))


def test_a_missing_file_is_told_by_its_path(folder):
    (folder / "xfeat.onnx").unlink()
    with pytest.raises(ModelError, match=r"xfeat\.onnx: cannot be read \(No such file.*reinstall veduta"):
        XFeat()


def test_a_method_without_weights_has_no_session():
    with pytest.raises(ModelError, match="'rootsift' has no weights"):
        open_session("rootsift")


def test_an_unknown_provider_is_told_with_those_there_are():
    with pytest.raises(ModelError, match="called 'tpu'; there are cpu, cuda, coreml, openvino"):
        open_session("xfeat", "tpu")


def test_a_provider_that_is_not_installed_is_told_with_what_to_install(monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelError, match=r"'cuda' is not installed here; pip install onnxruntime-gpu, or use 'cpu'"):
        make_embedder(provider="cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_no_silent_fallback_to_the_cpu(monkeypatch):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("needs a build of ONNX Runtime without CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(ModelError, match="'cuda' is installed but does not start here; use 'cpu'"):
        open_session("lighterglue", "cuda")


def test_a_matcher_refuses_features_it_was_not_trained_on():
    with pytest.raises(ModelError, match="trained on xfeat, not on 'rootsift'; use 'nearest'"):
        make_matcher("lighterglue", "rootsift")


@pytest.mark.parametrize("wrong", [0, -1])
def test_no_keypoints_at_all_are_the_programmers_mistake(wrong):
    with pytest.raises(ValueError, match="max_keypoints: expected at least 1"):
        make_extractor("xfeat", max_keypoints=wrong)


# --- sessions


def test_the_number_of_threads_is_the_one_asked_for(monkeypatch):
    asked = open_session("lighterglue", threads=1).get_session_options().intra_op_num_threads
    assert asked == 1
    monkeypatch.delattr("os.sched_getaffinity", raising=False)  # as on macOS and Windows
    assert open_session("lighterglue", threads=1).get_session_options().intra_op_num_threads == 1
    assert open_session("lighterglue").get_session_options().intra_op_num_threads == 0


SIDES = [64, 96, 160, 384, 992, 2048]


@pytest.mark.parametrize("name", ["efficientnet-lite2-gem", "xfeat"])
def test_a_network_takes_every_size_on_its_card(name):
    session = open_session(name)
    for height, width in [(64, side) for side in SIDES] + [(side, 64) for side in SIDES] + [(416, 352)]:
        count = {"count": np.array(4096)} if name == "xfeat" else {}
        out = session.run(None, {"image": canonical.picture(height, width, 9)[None], **count})
        assert all(np.isfinite(array).all() for array in out), (height, width)
        assert np.abs(np.linalg.norm(out[-1], axis=1) - 1).max() < 1e-4


@pytest.mark.parametrize(("n0", "n1"), [(1, 1), (1, 300), (300, 1), (2, 3), (513, 40)])
def test_lighterglue_takes_any_number_of_keypoints(n0, n1):
    session = open_session("lighterglue")
    rng = np.random.default_rng(0)
    inputs = {}
    for i, n in enumerate((n0, n1)):
        inputs[f"keypoints{i}"] = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
        inputs[f"descriptors{i}"] = canonical.unit(rng.normal(0, 1, (n, 64)))
    partner0, probability, partner1 = session.run(None, inputs)
    assert (partner0.shape, probability.shape, partner1.shape) == ((n0,), (n0,), (n1,))
    assert ((probability >= 0) & (probability <= 1 + 1e-6)).all()
    assert 0 <= partner0.min() <= partner0.max() < n1


# --- what torch said, recorded


@pytest.mark.parametrize("name", ["efficientnet-lite2-gem", "efficientnet-lite2-landmarks"])
@pytest.mark.parametrize("number", range(3))
def test_descriptors_are_those_of_torch(name, number):
    case = RECORDED[name][number]
    image = from_array(canonical.picture(*case["input"]))
    descriptor = components.embedder(name).embed([image])[0]
    expected = np.array(case["descriptor_e5"]) / 1e5
    assert descriptor @ expected / np.linalg.norm(expected) > 0.9999
    assert np.abs(descriptor - expected).max() < 2e-3


def test_keypoints_are_those_of_torch_but_for_eight_bits():
    known = RECORDED["xfeat"]
    features = XFeat(max_keypoints=4096).extract(from_array(canonical.picture(*canonical.EXTRACTED)))
    mine = {tuple(xy): i for i, xy in enumerate(features.keypoints.tolist())}
    rows = {i: mine[tuple(xy)] for i, xy in enumerate(known["keypoints"]) if tuple(xy) in mine}
    assert len(rows) > 0.99 * max(len(mine), len(known["keypoints"]))
    theirs, ours = list(rows), list(rows.values())
    descriptors = features.descriptors
    assert np.abs(features.scores[ours] - np.array(known["scores_e4"])[theirs] / 1e4).max() < 0.05
    sums = descriptors[:, ::2].sum(1) - descriptors[:, 1::2].sum(1)
    off = np.abs(sums[ours] - np.array(known["descriptor_sums_e3"])[theirs] / 1e3)
    assert np.median(off) < 0.05
    assert off.max() < 0.4  # of 64 numbers of unit length together
    for i, expected in enumerate(known["first_descriptors_e4"]):
        assert descriptors[rows[i]] @ np.array(expected) / 1e4 > 0.99


def pair():
    """The features of `canonical` as the matcher is given them."""
    xy0, d0, xy1, d1 = canonical.features()
    return tuple(
        LocalFeatures(xy.astype(np.float32), d, np.ones(len(xy), np.float32), canonical.PHOTO)
        for xy, d in ((xy0, d0), (xy1, d1))
    )


def test_matches_are_those_of_torch():
    known = RECORDED["lighterglue"]
    probability = np.array(known["probability0_e4"]) / 1e4
    expected = {(i, j) for i, j in enumerate(known["partner0"]) if known["partner1"][j] == i and probability[i] >= 0.1}
    matches = components.matcher("lighterglue").match(*pair())
    got = {tuple(row): score for row, score in zip(matches.indices.tolist(), matches.scores, strict=True)}
    assert len(expected) > 30
    assert len(expected & set(got)) > 0.97 * max(len(expected), len(got))
    for i, j in expected & set(got):
        assert abs(got[i, j] - probability[i]) < 5e-3


@pytest.mark.filterwarnings("ignore")
def test_xfeat_in_full_precision_is_torch_and_eight_bits_come_after(tmp_path):
    from veduta.models.export import networks

    recipe = networks.EXPORT_SPECS["xfeat"]
    exact = replace(recipe, integers=(), integer_tolerance={})
    differences = networks.export_spec(exact, tmp_path / "exact.onnx")
    assert differences["keypoints"] < 0.005
    assert differences["descriptors"] < 1e-4
    eight = networks.export_spec(recipe, tmp_path / "eight.onnx")
    assert differences["descriptors"] < eight["descriptors"] < recipe.allowed["descriptors"]
    assert (tmp_path / "eight.onnx").stat().st_size < 0.4 * (tmp_path / "exact.onnx").stat().st_size


@pytest.mark.parametrize("asked", [1, 100, 700, 5000])
def test_fewer_keypoints_are_the_best_of_more(asked):
    photo = from_array(canonical.picture(*canonical.EXTRACTED))
    few, many = XFeat(max_keypoints=asked).extract(photo), XFeat(max_keypoints=4096).extract(photo)
    n = min(asked, len(many))
    assert len(few) == n
    assert (few.keypoints == many.keypoints[:n]).all()
    assert np.allclose(few.descriptors, many.descriptors[:n], atol=1e-6)


def test_two_networks_in_a_row_find_the_pairs_that_torch_found():
    a, b, shift = canonical.crops()
    xfeat = XFeat(max_keypoints=canonical.PAIRED)
    query, reference = xfeat.extract(from_array(a)), xfeat.extract(from_array(b))
    matches = LighterGlue().match(query, reference)
    ends = query.keypoints[matches.indices[:, 0]], reference.keypoints[matches.indices[:, 1]]
    got = {tuple(map(int, row)) for row in np.concatenate(ends, 1)}
    expected = {tuple(row) for row in RECORDED["crops"]}
    assert len(got & expected) > 0.8 * len(got | expected)  # 128 keypoints, and eight bits order them otherwise
    assert (ends[0] - ends[1] == shift).all()  # a cutting's pixels are the other's, moved


# --- what torch says now


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EXPORTED)
def test_the_file_agrees_with_torch_itself(name):
    from veduta.models.export import networks

    recipe = networks.EXPORT_SPECS[name]
    differences = networks.compare(recipe.build(), recipe, SHIPPED_MODELS / f"{name}.onnx")
    assert set(differences) == set(recipe.outputs)
    assert all(differences[output] <= recipe.allowed[output] for output in recipe.outputs)


def test_the_runtime_keeps_no_record_of_its_use(tmp_path):
    code = "from veduta.models.session import open_session; open_session('xfeat')"
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not any("onnxruntime" in path.name for path in tmp_path.rglob("*"))
