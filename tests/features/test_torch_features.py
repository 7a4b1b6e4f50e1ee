"""SuperPoint, SuperGlue and the others run by torch: they say what the packages they come from say, in our terms.

Weights of SuperPoint, SuperGlue, EfficientLoFTR, LightGlue for SuperPoint and SegFormer are seeded random ones, saved
and opened as fetched ones are. Those of DISK, ALIKED and their LightGlue are the real ones, from their package.
"""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from support import seeded_models, world

import veduta
from veduta.errors import ModelError
from veduta.features import make_extractor
from veduta.features.superpoint import SuperPoint
from veduta.gallery import Gallery
from veduta.geometry import HomographyVerifier
from veduta.images import from_array
from veduta.masks import Masked, SegFormerMask, make_mask, select_keypoints
from veduta.matching import make_matcher, make_pair_matcher
from veduta.matching.lightglue import LightGlue
from veduta.matching.superglue import SuperGlue
from veduta.models import torch_models, weights
from veduta.types import Image, LocalFeatures

PAIRS = [("superpoint", "superglue"), ("superpoint", "lightglue"), ("disk", "lightglue"), ("aliked", "lightglue")]
KEYPOINTS = 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the weights lie that are pulled for this module."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module", autouse=True)
def home(folder):
    """A folder for weights in which all that have to be fetched are, made of random numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VEDUTA_MODELS", str(folder / "models"))
        torch_models._SAID.clear()
        for name in seeded_models.KINDS:
            weights.pull_weights(name, seeded_models.save(name, folder / name))
        yield folder / "models"


@pytest.fixture(autouse=True)
def licences_read():
    """Notices of licences are no errors here; one test looks at them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def photo(seed=0, width=320, height=240):
    return from_array(world.facade(seed, width, height))


def same(a, b):
    return all(np.array_equal(getattr(a, field), getattr(b, field)) for field in ("keypoints", "descriptors", "scores"))


def pairs_of(matches):
    return {tuple(row) for row in matches.indices.tolist()}


# --- extractors


@pytest.mark.parametrize("name", ["superpoint", "disk", "aliked"])
def test_keypoints_stand_with_their_descriptors_in_pixels_of_the_photo(name):
    extractor = make_extractor(name, KEYPOINTS)
    found = extractor.extract(photo())
    assert (extractor.name, extractor.settings) == (name, {"max_keypoints": KEYPOINTS, "max_side": 576})
    assert extractor.sha256 == weights.find_weights(name).sha256
    assert 60 < len(found) <= KEYPOINTS
    assert found.descriptors.shape == (len(found), extractor.dim)
    assert np.abs(np.linalg.norm(found.descriptors, axis=1) - 1).max() < 1e-5
    assert (np.diff(found.scores) <= 0).all()
    assert same(found, extractor.extract(photo()))


@pytest.mark.parametrize("name", ["superpoint", "disk", "aliked"])
@pytest.mark.parametrize("shape", [(1, 1), (9, 7), (40, 900), (700, 30)])
def test_any_shape_of_photo_can_be_looked_at(name, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    found = make_extractor(name, KEYPOINTS).extract(from_array(pixels))
    assert found.size == shape[::-1]
    assert found.descriptors.shape == (len(found), found.descriptors.shape[1])
    assert (found.keypoints >= -0.5).all()
    assert (found.keypoints <= np.array(found.size) - 0.5).all()


@pytest.mark.parametrize("name", ["superpoint", "disk", "aliked"])
def test_what_was_decoded_smaller_is_told_in_pixels_of_the_original(name):
    small = photo(3)
    original = Image(small.pixels, 2 * small.width, 2 * small.height)
    extractor = make_extractor(name, KEYPOINTS)
    expected, found = extractor.extract(small), extractor.extract(original)
    assert np.abs(found.keypoints - (2 * expected.keypoints + 0.5)).max() < 1e-3
    assert np.array_equal(found.descriptors, expected.descriptors)


def test_superpoint_says_what_transformers_says():
    import torch
    import transformers

    from veduta.images.resize import to_gray

    image = photo(1)
    model = transformers.SuperPointForKeypointDetection.from_pretrained(
        weights.find_weights("superpoint").folder
    ).eval()
    plane = torch.from_numpy(to_gray(image.pixels))[None, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        said = model(plane)
    found = make_extractor("superpoint", KEYPOINTS).extract(image)
    places = np.round(said.keypoints[0].numpy() * np.array([320, 240])).astype(int).tolist()
    rows = {tuple(place): i for i, place in enumerate(places)}
    assert np.abs(found.keypoints - np.round(found.keypoints)).max() < 1e-3
    same_ones = [rows[tuple(place)] for place in np.round(found.keypoints).astype(int).tolist()]
    assert len(set(same_ones)) == len(found) == KEYPOINTS
    assert np.abs(found.scores - said.scores[0].numpy()[same_ones]).max() < 1e-6
    assert np.abs(found.descriptors - said.descriptors[0].numpy()[same_ones]).max() < 1e-5
    assert found.scores.min() >= np.sort(said.scores[0].numpy())[-KEYPOINTS] - 1e-6, "the best ones"


def test_keypoints_of_a_reduced_photo_land_in_the_original():
    image = photo(1, 640, 480)
    found = make_extractor("superpoint", KEYPOINTS, 320).extract(image)
    reduced = (found.keypoints + 0.5) / 2 - 0.5
    assert np.abs(reduced - np.round(reduced)).max() < 1e-3, "whole pixels of the reduced photo, twice as far apart"
    assert found.keypoints.max() > 320


def test_superpoint_sees_many_photos_as_it_sees_each():
    extractor = SuperPoint(KEYPOINTS, 576)
    images = [photo(0), photo(1, 240, 320), photo(2), photo(3)]
    for together, alone in zip(extractor.extract_many(images), map(extractor.extract, images), strict=True):
        assert np.array_equal(together.keypoints, alone.keypoints)
        assert np.abs(together.descriptors - alone.descriptors).max() < 1e-5


# --- matchers


def features_of(name, *images):
    extractor = make_extractor(name, KEYPOINTS)
    return [extractor.extract(image) for image in images]


@pytest.mark.parametrize(("extractor", "matcher"), PAIRS)
def test_no_keypoint_has_two_partners(extractor, matcher):
    query, reference = features_of(extractor, photo(0), from_array(world.view(world.facade(0, 320, 240), 1).pixels))
    found = make_matcher(matcher, extractor).match(query, reference)
    assert len(set(found.indices[:, 0].tolist())) == len(set(found.indices[:, 1].tolist())) == len(found)
    assert ((found.scores >= 0) & (found.scores <= 1 + 1e-5)).all()
    assert found.indices[:, 0].max(initial=0) < len(query)
    assert found.indices[:, 1].max(initial=0) < len(reference)


@pytest.mark.parametrize(("extractor", "matcher"), PAIRS)
def test_several_references_are_matched_as_each_is(extractor, matcher):
    query, *references = features_of(extractor, photo(0), photo(0, 300, 240), photo(1, 200, 160), photo(2))
    query = select_keypoints(query, np.arange(len(query)) < 50)
    references = [
        select_keypoints(r, np.arange(len(r)) < n) for r, n in zip(references, (90, 40, KEYPOINTS), strict=True)
    ]
    nothing = LocalFeatures(
        np.zeros((0, 2), "f4"), np.zeros((0, query.descriptors.shape[1]), "f4"), np.zeros(0, "f4"), (9, 9)
    )
    # Random numbers are sure of nothing: all they would say is asked for.
    made = SuperGlue(min_probability=0.0) if matcher == "superglue" else LightGlue(extractor, min_probability=0.0)
    together = made.match_many(query, [*references, nothing])
    assert len(together) == 4
    assert all(map(len, together[:3]))
    assert len(together[3]) == 0
    for many, one in zip(together, [made.match(query, r) for r in references], strict=False):
        assert pairs_of(many) == pairs_of(one)
        assert np.abs(many.scores - one.scores).max(initial=0) < 1e-4
    assert made.match_many(nothing, references)[0].indices.shape == (0, 2)


@pytest.mark.parametrize(("matcher", "kind"), [("superglue", "SuperGlue"), ("lightglue", "LightGlue")])
def test_a_matcher_says_what_transformers_says_of_the_two_photos(matcher, kind):
    import torch
    import transformers

    from veduta.images.resize import to_gray

    name = matcher if matcher == "superglue" else "lightglue-superpoint"
    images = photo(0), from_array(world.view(world.facade(0, 320, 240), 1).pixels)
    planes = [torch.from_numpy(to_gray(image.pixels))[None].expand(3, -1, -1) for image in images]
    whole = (
        getattr(transformers, f"{kind}ForKeypointMatching").from_pretrained(weights.find_weights(name).folder).eval()
    )
    whole.config.matching_threshold, whole.config.sinkhorn_iterations = 0.0, 150
    whole.filter_threshold = 0.0
    detector = whole.keypoint_detector
    with torch.no_grad():
        said = whole(torch.stack(planes)[None])
        seen = detector(torch.stack(planes))
    features = [
        LocalFeatures(
            (seen.keypoints[i][seen.mask[i].bool()] * torch.tensor([320.0, 240.0])).numpy(),
            seen.descriptors[i][seen.mask[i].bool()].numpy(),
            seen.scores[i][seen.mask[i].bool()].numpy(),
            (320, 240),
        )
        for i in (0, 1)
    ]
    made = SuperGlue(min_probability=0.0) if matcher == "superglue" else LightGlue("superpoint", min_probability=0.0)
    found = made.match(*features)
    partner = said.matches.reshape(2, -1)[0].numpy()
    expected = {(i, int(j)) for i, j in enumerate(partner) if j >= 0}
    assert expected, "random numbers that match nothing would prove nothing"
    assert len(pairs_of(found) & expected) >= 0.98 * len(pairs_of(found) | expected)
    scores = dict(zip(map(tuple, found.indices.tolist()), found.scores.tolist(), strict=True))
    theirs = said.matching_scores.reshape(2, -1)[0].numpy()
    assert max(abs(scores[pair] - theirs[pair[0]]) for pair in pairs_of(found) & expected) < 1e-3


@pytest.mark.parametrize(("extractor", "matcher"), PAIRS[2:])
def test_two_views_of_a_facade_match_where_they_should_and_strangers_do_not(extractor, matcher):
    facade = world.facade(4)
    view = world.view(facade, 4, 0.6, occlude=False)
    features = features_of(extractor, from_array(view.pixels), from_array(facade), photo(9, world.WIDTH, world.HEIGHT))
    made = make_matcher(matcher, extractor)
    found = made.match(features[0], features[1])
    verified = HomographyVerifier().verify(features[0], features[1], found)
    assert verified.num_inliers > 30
    truth = np.linalg.inv(view.homography)
    ends = np.c_[features[0].keypoints[found.indices[:, 0]], np.ones(len(found))] @ truth.T
    off = np.hypot(*(ends[:, :2] / ends[:, 2:] - features[1].keypoints[found.indices[:, 1]]).T)
    assert (off < 3).mean() > 0.8
    strange = made.match(features[0], features[2])
    assert HomographyVerifier().verify(features[0], features[2], strange).num_inliers < 15


def test_a_matcher_of_photos_pairs_points_inside_both():
    made = make_pair_matcher("efficientloftr", 320)
    made.min_probability = -1.0  # random numbers are sure of nothing
    a, b = photo(0), photo(1, 200, 300)
    query, reference, matches = made.match_images(a, b)
    assert len(query) == len(reference) == len(matches)
    for features, image in ((query, a), (reference, b)):
        assert features.size == image.size
        assert (features.keypoints >= -0.5).all()
        assert (features.keypoints <= np.array(image.size) - 0.5).all()
    assert (matches.indices[:, 0] == matches.indices[:, 1]).all()


# --- exported


@pytest.mark.filterwarnings("ignore")
def test_an_exported_superpoint_says_what_torch_says_until_its_weights_change(tmp_path, folder, monkeypatch):
    from veduta.models.export import features

    monkeypatch.setenv("VEDUTA_MODELS", str(tmp_path))
    weights.pull_weights("superpoint", folder / "superpoint")
    images = photo(0), photo(1, 400, 300), photo(2, 333, 250)
    by_torch = make_extractor("superpoint", KEYPOINTS)
    assert by_torch._session is None
    expected = [by_torch.extract(image) for image in images]
    _, differences = features.export_features("superpoint")
    assert max(differences.values()) < 1e-4
    exported = make_extractor("superpoint", KEYPOINTS)
    assert exported._session is not None
    assert exported.sha256 == by_torch.sha256
    for image, wanted in zip(images, expected, strict=True):
        found = exported.extract(image)
        rows = {tuple(place): i for i, place in enumerate(np.round(wanted.keypoints, 2).tolist())}
        same_ones = [
            (i, rows[tuple(p)]) for i, p in enumerate(np.round(found.keypoints, 2).tolist()) if tuple(p) in rows
        ]
        assert len(same_ones) > 0.9 * len(wanted), "but for equal scores at the edge"
        mine, theirs = map(list, zip(*same_ones, strict=True))
        assert np.abs(found.descriptors[mine] - wanted.descriptors[theirs]).max() < 1e-4
        assert np.abs(found.scores[mine] - wanted.scores[theirs]).max() < 1e-5
    other = seeded_models.save("superpoint", tmp_path / "other")
    data = bytearray((other / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "model.safetensors").write_bytes(data)
    weights.pull_weights("superpoint", other)
    assert make_extractor("superpoint", KEYPOINTS)._session is None


@pytest.mark.filterwarnings("ignore")
def test_an_exported_lightglue_takes_the_place_of_torch(tmp_path, monkeypatch):
    from veduta.models.export import features

    def shallow(name):
        network, found = torch_models.open_kornia(name)
        network.transformers = network.transformers[:1]  # of nine: writing all takes a minute
        return network, found

    monkeypatch.setenv("VEDUTA_MODELS", str(tmp_path))
    monkeypatch.setattr(features, "open_kornia", shallow)
    extracted = features_of("disk", photo(4), photo(4))
    assert make_matcher("lightglue", "disk")._session is None
    _, differences = features.export_features("lightglue-disk")
    assert differences["probability0"] < 2e-3
    exported = make_matcher("lightglue", "disk")
    assert exported.sha256 == weights.find_weights("lightglue-disk").sha256
    found = exported.match(*extracted)
    assert len(found) > 0.5 * len(extracted[0])
    assert (found.indices[:, 0] == found.indices[:, 1]).mean() > 0.9, "a photo matches itself"
    (tmp_path / "lightglue-disk" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="sha256 differs"):
        make_matcher("lightglue", "disk")


# --- in use


def test_a_gallery_of_superpoint_records_its_weights_and_asks_for_them_again(tmp_path, photos, home, monkeypatch):
    with Gallery.create(tmp_path / "gallery", extractor="superpoint", max_keypoints=64, max_side=192) as gallery:
        gallery.add(photos)
    with Gallery.open(tmp_path / "gallery") as gallery:
        settings = gallery.info().settings["extractor"]
        assert settings == {
            "name": "superpoint",
            "sha256": weights.find_weights("superpoint").sha256,
            "max_keypoints": 64,
            "max_side": 192,
        }
        answers = list(gallery.recognize([next(photos.rglob("*.jpg"))], matcher="superglue"))
        assert answers[0].evidence[0].num_inliers is not None
        with pytest.raises(ModelError, match="has to see both photos"):
            gallery.recognizer(matcher="efficientloftr")
        with pytest.raises(ModelError, match="was trained on xfeat, not on 'superpoint'"):
            gallery.recognizer(matcher="lighterglue")
    monkeypatch.setenv("VEDUTA_MODELS", str(tmp_path / "empty"))
    with Gallery.open(tmp_path / "gallery") as gallery:
        assert len(gallery.references()) == 12, "what needs no network needs no weights"
        with pytest.raises(ModelError, match="veduta models pull superpoint"):
            gallery.recognizer()


def test_a_gallery_refuses_other_weights_than_it_was_made_with(tmp_path, photos, folder, monkeypatch):
    Gallery.create(tmp_path / "gallery", extractor="superpoint").close()
    other = seeded_models.save("superpoint", tmp_path / "other")
    data = bytearray((other / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "model.safetensors").write_bytes(data)
    monkeypatch.setenv("VEDUTA_MODELS", str(tmp_path / "elsewhere"))
    weights.pull_weights("superpoint", other)
    with (
        Gallery.open(tmp_path / "gallery") as gallery,
        pytest.raises(veduta.errors.GalleryError, match="made with another 'superpoint'"),
    ):
        gallery.recognizer()


def test_another_packages_lightglue_in_the_same_process_changes_nothing(monkeypatch):
    from kornia.feature import LightGlue as Kornias

    narrow = {"input_dim": 64, "descriptor_dim": 96, "n_layers": 6, "num_heads": 1, "depth_confidence": -1}
    before = torch_models.open_kornia("lightglue-disk")[0].conf
    monkeypatch.setattr(Kornias, "default_conf", Kornias.default_conf | narrow | {"filter_threshold": 0.5})
    assert torch_models.open_kornia("lightglue-disk")[0].conf == before


def test_two_photos_are_verified_by_any_pair_there_is(photos):
    a, b = sorted((photos / "palazzo-0").iterdir())[:2]
    found = veduta.verify(a, b, extractor="disk", matcher="lightglue", max_keypoints=KEYPOINTS)
    assert found.num_inliers > 20
    assert veduta.verify(a, b, matcher="efficientloftr", max_side=192).num_matches >= 0


def test_a_licence_for_research_only_is_said_once():
    torch_models._SAID.clear()
    with pytest.warns(UserWarning, match="superpoint: its weights are for non-commercial research only"):
        make_extractor("superpoint")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_extractor("superpoint")


def test_weights_of_another_network_are_refused(folder, tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("VEDUTA_MODELS", str(tmp_path / "models"))
    (tmp_path / "disk").mkdir()
    torch.save({"extractor": {"unet.path_up.0.conv.weight": torch.zeros(3)}}, tmp_path / "disk" / "depth-save.pth")
    weights.pull_weights("disk", tmp_path / "disk")
    with pytest.raises(ModelError, match=r"not the weights of disk|another network"):
        make_extractor("disk")
    (tmp_path / "disk" / "depth-save.pth").write_bytes(b"no weights")
    weights.pull_weights("disk", tmp_path / "disk")
    with pytest.raises(ModelError, match="is no file of weights"):
        make_extractor("disk")


def test_without_the_extra_the_line_that_installs_it_is_named():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = sys.modules['kornia'] = None\n"
        "from veduta.features import make_extractor\n"
        "from veduta.errors import ModelError\n"
        "for name in ('superpoint', 'disk', 'aliked'):\n"
        "    try: make_extractor(name)\n"
        "    except ModelError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.count("in Veduta's folder, run: pip install -e '.[torch]'") == 3, said


@pytest.mark.parametrize("name", ["dna-2020-superglue", "dna-2020-own-shape"])
def test_the_notebooks_local_step_runs_with_its_own_constants(name, tmp_path, monkeypatch):
    from veduta.competition import recipes, stages

    recipe = recipes.RECIPES[name]
    extractor, matcher = stages.extractor_of(recipe), stages.matcher_of(recipe)
    inner = extractor.extractor
    assert (inner.max_keypoints, inner.max_side, inner.threshold) == (2048, 896, 0.001)
    assert inner._model.config.keypoint_threshold == 0.001
    assert (matcher.iterations, matcher.min_probability) == (150, 0.0)
    assert matcher._model.config.sinkhorn_iterations == 150
    assert len(extractor.mask._moving) == len(recipes_masked()) == 4
    assert stages.weights_of(recipe) == tuple(
        weights.find_weights(n).sha256 for n in ("superpoint", "segformer", "superglue")
    )
    framed = recipes.frame_of(recipe)(photo(1, 400, 300))
    assert framed.size == ((672, 896) if recipe.squash else (400, 300))
    features = extractor.extract(framed)
    assert features.size == framed.size
    features = select_keypoints(features, np.arange(len(features)) < 200)
    matcher.min_probability = 0.0
    total = stages.evidence_of(features, features, matcher, None)
    assert 0 <= total <= len(features)


def recipes_masked():
    from veduta.masks import NOTEBOOK_MOVING

    return NOTEBOOK_MOVING


# --- masks


def test_a_segmenter_marks_what_it_calls_moving():
    mask = SegFormerMask()
    everything = SegFormerMask(moving=("building",)), photo(0)
    image = everything[1]
    assert mask.map(image).shape == image.pixels.shape[:2]
    assert set(np.unique(mask.map(image))) <= {0, 1}
    features = make_extractor("xfeat", 64).extract(image)
    stays = mask.repeatability(image, features)
    x, y = np.round(features.keypoints).astype(int).T
    assert np.array_equal(stays, 1 - mask.map(image)[y, x])
    with pytest.raises(ModelError, match="knows no unicorn"):
        SegFormerMask(moving=("sky", "unicorn"))


def test_masked_keypoints_are_gone_and_the_others_as_they_were():
    class Half:
        name = "half"

        def repeatability(self, image, features):
            return (features.keypoints[:, 0] < image.width / 2).astype(np.float32)

    plain = make_extractor("xfeat", 200)
    image = photo(2)
    found, masked = plain.extract(image), Masked(plain, Half()).extract(image)
    left = found.keypoints[:, 0] < image.width / 2
    assert 0 < left.sum() < len(found)
    assert np.array_equal(masked.keypoints, found.keypoints[left])
    assert np.array_equal(masked.descriptors, found.descriptors[left])


def test_an_unknown_mask_is_told_with_those_there_are():
    with pytest.raises(ModelError, match="no mask is called 'hrnet'; there are usefulness, segformer"):
        make_mask("hrnet")
