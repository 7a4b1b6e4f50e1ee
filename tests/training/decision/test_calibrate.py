"""The decision fitted to a gallery: what is found, what is kept, and what changes. Each photo is looked at once."""

import contextlib
import json
import shutil
import subprocess
import sys
from functools import cache

import numpy as np
import PIL.Image
import pytest
from support import components, world
from support.cli import run, run_json
from support.processes import veduta

from veduta.decision.model import CASCADES, HeuristicDecider, LearnedDecider, shipped_decider
from veduta.decision.terms import TERM_NAMES
from veduta.embedders import make_embedder
from veduta.errors import DatasetError, GalleryError
from veduta.features import make_extractor
from veduta.gallery import Gallery, live_references
from veduta.gallery import components as gallery_components
from veduta.training.decision import calibrate as module
from veduta.training.decision.calibrate import MIN_PHOTOS, calibrate_gallery

PALAZZI = range(6)
VIEWS, STRANGERS = 5, 30
FEW = 5  # photos of each kind, where it only matters what becomes of them
SIZE = 240, 180
SHIPPED = shipped_decider("efficientnet-lite2-landmarks", "xfeat", "nearest")


class Remembering:
    """A plug that is asked about every photo once."""

    def __init__(self, plug):
        self._plug, self.name, self.settings, self.dim = plug, plug.name, plug.settings, plug.dim
        self.sha256 = getattr(plug, "sha256", "")  # of an embedder
        self._seen = {}

    def embed(self, images):
        return np.stack([self._once(image, lambda image: self._plug.embed([image])[0]) for image in images])

    def extract(self, image):
        return self._once(image, self._plug.extract)

    def _once(self, image, ask):
        if image.sha256 not in self._seen:
            self._seen[image.sha256] = ask(image)
        return self._seen[image.sha256]


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Networks that remember, the embedder one of small photos, and the cheap matcher in place of the costlier one."""
    embedder = cache(lambda name, *_: Remembering(make_embedder(name, 192)))
    extractor = cache(lambda *settings, **rest: Remembering(make_extractor(*settings, **rest)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery_components, "make_embedder", embedder)
        patch.setattr(gallery_components, "make_extractor", extractor)
        patch.setattr(gallery_components, "make_matcher", lambda *_: components.matcher("nearest"))
        yield


def facade(seed):
    return world.facade(seed, *SIZE)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Folder of the references: two photos each of six palazzi. Read only."""
    folder = tmp_path_factory.mktemp("references")
    for i in PALAZZI:
        for j, pixels in enumerate((facade(100 + i), world.view(facade(100 + i), 100 + i, 0.5).pixels)):
            world.save(pixels, folder / f"palazzo-{i}" / f"photo-{j}.jpg")
    return folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Folder with five other views of each palazzo, and one of each of thirty facades no gallery has. Read only."""
    folder = tmp_path_factory.mktemp("asked")
    for i in PALAZZI:
        for j in range(VIEWS):
            pixels = world.view(facade(100 + i), 5000 + 10 * i + j, 0.5, occlude=False).pixels
            world.save(pixels, folder / f"palazzo-{i}" / f"view-{j}.jpg")
    for i in range(STRANGERS):
        world.save(world.view(facade(800 + i), i, 0.5).pixels, folder / "none" / f"{i:02}.jpg")
    return folder


@pytest.fixture(scope="module")
def shipping(photos, tmp_path_factory):
    """Folder of a gallery with the decision that ships. Read only."""
    path = tmp_path_factory.mktemp("shipping") / "gallery"
    with Gallery.create(path, max_keypoints=256) as gallery:
        gallery.add(photos)
    return path


@pytest.fixture
def gallery_path(shipping, tmp_path):
    return shutil.copytree(shipping, tmp_path / "gallery")


@pytest.fixture(scope="module")
def calibrated(shipping, asked, tmp_path_factory):
    """Folder of the gallery calibrated, what was found, the folder of the report, and the progress told. Read only."""
    folder, told = tmp_path_factory.mktemp("calibrated"), []
    shutil.copytree(shipping, folder / "gallery")
    with Gallery.open(folder / "gallery") as gallery:
        found = calibrate_gallery(gallery, asked, out=folder / "report", progress=lambda *step: told.append(step))
    return folder / "gallery", found, folder / "report", told


@pytest.fixture
def few(monkeypatch):
    """Being content with a few photos."""
    monkeypatch.setattr(module, "MIN_PHOTOS", FEW)


@pytest.fixture
def table(asked, tmp_path):
    """A function that writes a table of as many photos of each kind, and rows of one's own, and returns its path."""

    def write(*rows, known=FEW, unknown=FEW):
        strangers, palazzi = sorted(asked.glob("none/*")), sorted(asked.glob("palazzo-*/view-0.jpg"))
        listed = [(path, path.parent.name) for path in palazzi[:known] + strangers[:unknown]]
        text = "\n".join(",".join(map(str, row)) for row in (("photo", "landmark"), *rows, *listed))
        (tmp_path / "table.csv").write_text(text + "\n")
        return tmp_path / "table.csv"

    return write


def confidences(path, folder, kind):
    """How sure a gallery is of each photo in some of a folder's folders."""
    with Gallery.open(path) as gallery:
        return [answer.confidence for answer in gallery.recognize(sorted(folder.glob(kind)))]


def source(path):
    """Where a gallery's decision comes from."""
    with Gallery.open(path) as gallery:
        return gallery.info().decision["source"]


# --- what is found


def test_it_counts_the_photos_of_each_kind(calibrated):
    _, found, _, told = calibrated
    assert (found.known, found.unknown, found.withheld, found.references) == (30, 30, False, 0)
    assert found.fitted == "calibration"
    assert found.failures == ()
    assert told == [(n, 60) for n in range(1, 61)]


def test_photos_held_out_are_judged_better_than_before(calibrated):
    _, found, _, _ = calibrated
    assert found.after.log_loss < 0.75 * found.before.log_loss
    assert found.after.ece < found.before.ece
    assert found.before.accuracy == found.after.accuracy == 1.0
    for quality in (found.before, found.after):
        assert 0 <= quality.fpr95 <= 0.1
        assert 0.9 < quality.gap <= 1


def test_the_report_is_a_picture_and_its_figures(calibrated):
    _, found, report, _ = calibrated
    assert sorted(path.name for path in report.iterdir()) == ["calibration.json", "reliability.png"]
    with PIL.Image.open(report / "reliability.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 500
        assert np.ptp(np.asarray(picture.convert("L"))) > 150
    written = json.loads((report / "calibration.json").read_text("utf-8"))
    assert written["known"] == found.known
    assert written["after"]["log_loss"] == found.after.log_loss
    assert written["floors"] == found.floors
    assert set(written["floors"]) == {"0.9", "0.95", "0.98"}


# --- what is kept


def test_the_decision_stays_in_the_gallery(calibrated, shipping):
    path, found, _, _ = calibrated
    assert source(path) == "calibrated on 30 photos of known landmarks and 30 of others"
    assert source(shipping) == SHIPPED.metadata["source"]
    with Gallery.open(path) as gallery:
        decider = gallery.decider()
        assert isinstance(decider, LearnedDecider)
        assert set(decider.curves) == set(CASCADES)
        assert decider.metadata["measured"]["log_loss"] == found.after.log_loss
        assert np.array_equal(decider.centers, SHIPPED.centers)
        for name, stage in SHIPPED.stages.items():
            assert np.array_equal(decider.stages[name].weights, stage.weights)
        assert gallery.decider("lighterglue") is not decider, "which was never asked"


def test_strangers_are_seldom_taken_for_palazzi_any_more(calibrated, shipping, asked):
    before, after = (confidences(path, asked, "none") for path in (shipping, calibrated[0]))
    assert min(0.1, np.mean(np.array(before) > 0.5)) > np.mean(np.array(after) > 0.5)
    assert np.mean(after) < 0.5 * np.mean(before)
    assert all(a < b for a, b in zip(after, before, strict=True))


def test_palazzi_are_still_mostly_recognized(calibrated, asked):
    assert np.mean(np.array(confidences(calibrated[0], asked, "palazzo-*")) > 0.5) > 0.9


def test_adding_and_removing_leave_the_decision_alone(calibrated, photos, tmp_path):
    path = shutil.copytree(calibrated[0], tmp_path / "gallery")
    with Gallery.open(path) as gallery:
        before = gallery.decider().to_bytes()
        gallery.remove(landmark="palazzo-3")
        gallery.add(photos)
        assert gallery.decider().to_bytes() == before


def test_a_calibration_of_other_terms_is_refused(calibrated, tmp_path, monkeypatch):
    path = shutil.copytree(calibrated[0], tmp_path / "gallery")
    monkeypatch.setattr("veduta.decision.model.TERM_NAMES", ("another term", *TERM_NAMES[1:]))
    with Gallery.open(path) as gallery:
        with pytest.raises(
            GalleryError, match="was calibrated by another Veduta; run 'veduta calibrate --reset', then calib"
        ):
            gallery.decider()
        gallery.set_decision(None)
        assert gallery.decider() is SHIPPED


LISTENER = """
import sys
from veduta.gallery import Gallery
with Gallery.open(sys.argv[1]) as gallery:
    for _ in (0, 1, 2):
        print(gallery.decider().metadata["source"], flush=True)
        sys.stdin.readline()
"""


def test_another_process_sees_the_new_decision_at_its_next_call(calibrated, gallery_path):
    with Gallery.open(calibrated[0]) as gallery:
        decision = gallery.decider()
    command = [sys.executable, "-c", LISTENER, str(gallery_path)]
    with (
        contextlib.closing(Gallery.open(gallery_path)) as gallery,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        said = [other.stdout.readline()]
        for change in (decision, None):
            gallery.set_decision(change)
            print(file=other.stdin, flush=True)
            said.append(other.stdout.readline())
        other.stdin.close()
    assert [line.strip() for line in said] == [
        SHIPPED.metadata["source"],
        decision.metadata["source"],
        SHIPPED.metadata["source"],
    ]


def test_what_another_process_resets_is_seen_here(calibrated, tmp_path):
    path = shutil.copytree(calibrated[0], tmp_path / "gallery")
    with Gallery.open(path) as gallery:
        assert gallery.decider() is not SHIPPED
        assert veduta("calibrate", path, "--reset").returncode == 0
        assert gallery.decider() is SHIPPED


# --- the photos


@pytest.fixture
def seen(monkeypatch):
    """What is asked of the gallery, as it is asked: (photo, its landmarks, candidates)."""
    calls, original = [], module.make_example

    def noted(query, group, truth, candidates, around, *rest):
        calls.append((query, truth, candidates))
        return original(query, group, truth, candidates, around, *rest)

    monkeypatch.setattr(module, "make_example", noted)
    return calls


@pytest.mark.usefixtures("few")
def test_without_unknown_photos_each_is_asked_twice(gallery_path, table, seen):
    with Gallery.open(gallery_path) as gallery:
        found = calibrate_gallery(gallery, csv=table(unknown=0))
    assert (found.known, found.unknown, found.withheld) == (FEW, FEW, True)
    assert [query for query, _, _ in seen[:FEW]] == [query for query, _, _ in seen[FEW:]]
    for query, truth, candidates in seen[:FEW]:
        assert truth == {query.split("/")[-2]}
        assert len(candidates) == 2 * len(PALAZZI)
    for query, truth, candidates in seen[FEW:]:
        assert truth == frozenset()
        assert len(candidates) == 2 * len(PALAZZI) - 2
        assert query.split("/")[-2] not in {c.landmark for c in candidates}
    assert source(gallery_path) == f"calibrated on {FEW} photos of known landmarks and {FEW} of others"


@pytest.mark.usefixtures("few")
def test_a_photo_that_is_a_reference_is_left_out(photos, table, gallery_path, seen):
    reference = photos / "palazzo-5" / "photo-0.jpg"
    with Gallery.open(gallery_path) as gallery:
        found = calibrate_gallery(gallery, csv=table((reference, "palazzo-5")))
    assert (found.known, found.unknown, found.references) == (FEW, FEW, 1)
    assert len(seen) == 2 * FEW
    for query, truth, candidates in seen:
        name = query.split("/")[-2]
        assert truth == (frozenset() if name == "none" else {name})
        assert len(candidates) == 2 * len(PALAZZI)
        assert all(c.num_inliers is not None for c in candidates)


@pytest.mark.usefixtures("few")
def test_photos_that_cannot_be_read_do_not_stop_the_others(table, gallery_path, corrupt, tmp_path):
    missing = tmp_path / "missing.jpg"
    with Gallery.open(gallery_path) as gallery:
        found = calibrate_gallery(gallery, csv=table((missing, "palazzo-0"), (corrupt, "nowhere")))
    assert (found.known, found.unknown) == (FEW, FEW)
    assert [failure.photo for failure in found.failures] == [str(missing), str(corrupt)]
    assert all(failure.error.startswith(f"{failure.photo}: ") for failure in found.failures)


@pytest.mark.parametrize(("known", "unknown"), [(2, 0), (4, FEW), (FEW, 3)])
@pytest.mark.usefixtures("few")
def test_too_few_photos_are_refused_with_how_many_there_are(table, gallery_path, known, unknown):
    expected = (
        f"there are {known} photos of the gallery's landmarks and {unknown or known} of others; give at least {FEW} of"
    )
    with Gallery.open(gallery_path) as gallery:
        with pytest.raises(DatasetError, match=expected):
            calibrate_gallery(gallery, csv=table(known=known, unknown=unknown))
        assert gallery.decider() is SHIPPED


def test_thirty_of_each_kind_are_needed(table, gallery_path):
    assert MIN_PHOTOS == 30
    with Gallery.open(gallery_path) as gallery, pytest.raises(DatasetError, match="give at least 30 of each"):
        calibrate_gallery(gallery, csv=table())


def test_photos_of_nothing_known_are_refused(table, gallery_path):
    with (
        Gallery.open(gallery_path) as gallery,
        pytest.raises(DatasetError, match="there are 0 photos of the gallery's landmarks and 5 of others"),
    ):
        calibrate_gallery(gallery, csv=table(known=0))


def test_photos_left_out_as_references_are_counted(photos, gallery_path):
    with (
        Gallery.open(gallery_path) as gallery,
        pytest.raises(DatasetError, match="0 of others, besides 12 left out as references of it"),
    ):
        calibrate_gallery(gallery, photos)


def test_an_empty_gallery_knows_none_of_them(table, tmp_path):
    with (
        Gallery.create(tmp_path / "empty") as gallery,
        pytest.raises(DatasetError, match="there are 0 photos of the gallery's landmarks and 10 of others"),
    ):
        calibrate_gallery(gallery, csv=table())


def test_it_needs_either_a_folder_or_a_table(gallery_path, asked, table):
    with Gallery.open(gallery_path) as gallery:
        for sources in ({}, {"source": asked, "csv": table()}):
            with pytest.raises(ValueError, match="expected either a folder or a csv"):
                calibrate_gallery(gallery, **sources)


@pytest.mark.usefixtures("few")
def test_a_report_that_cannot_be_written_is_named(table, gallery_path, corrupt):
    with (
        Gallery.open(gallery_path) as gallery,
        pytest.raises(DatasetError, match=r"corrupt\.jpg: cannot be written .*; choose another folder"),
    ):
        calibrate_gallery(gallery, csv=table(), out=corrupt)


def test_a_gallery_that_may_only_be_read_is_refused_before_anything_is_asked(table, gallery_path, monkeypatch):
    monkeypatch.setattr("veduta.sqlite.connections.os.access", lambda *_: False)
    with Gallery.open(gallery_path) as gallery:
        with pytest.raises(GalleryError, match="cannot be written; what is fitted could not be kept") as raised:
            calibrate_gallery(gallery, csv=table(), progress=lambda *_: pytest.fail("a photo was asked"))
        assert str(raised.value).startswith(f"{gallery_path}: ")


# --- models no decision was learned for


@pytest.fixture
def simple(gallery_path, monkeypatch):
    """The gallery, open, as if no decision had been learned for its models."""
    for place in (live_references, module):
        monkeypatch.setattr(place, "shipped_decider", lambda *_: HeuristicDecider())
    with Gallery.open(gallery_path) as gallery:
        yield gallery


@pytest.mark.usefixtures("few")
def test_a_few_photos_teach_no_decision_where_there_was_none(simple, table):
    with pytest.raises(DatasetError, match="no decision ships for this gallery's models, and 300 photos"):
        calibrate_gallery(simple, csv=table())


def test_many_photos_teach_one(simple, asked, monkeypatch):
    monkeypatch.setattr(module, "MIN_TO_LEARN", 30)
    found = calibrate_gallery(simple, asked)
    assert found.fitted == "weights"
    assert found.before == found.after
    assert isinstance(simple.decider(), LearnedDecider)
    strangers, palazzi = (
        [answer.confidence for answer in simple.recognize(sorted(asked.glob(kind)))]
        for kind in ("none", "palazzo-*/view-0.jpg")
    )
    assert np.mean(palazzi) > 0.7 > 0.3 > np.mean(strangers)


# --- the command


def test_the_command_prints_what_was_found(asked, gallery_path, tmp_path):
    result = run("calibrate", gallery_path, asked, "--out", tmp_path / "report")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (lines["known"], lines["unknown"], lines["withheld"], lines["failures"]) == ("30", "30", "False", "0")
    assert float(lines["after.log_loss"]) < float(lines["before.log_loss"])
    assert result.stderr == ""
    assert (tmp_path / "report" / "reliability.png").is_file()
    assert source(gallery_path).startswith("calibrated on 30 photos")
    assert run_json("info", gallery_path)["decision"]["source"].startswith("calibrated on 30 photos")

    assert run("calibrate", gallery_path, "--reset").stderr == "the decision is the one that ships\n"
    assert source(gallery_path) == SHIPPED.metadata["source"]


@pytest.mark.usefixtures("few")
def test_the_command_prints_json_and_names_photos_that_failed(table, gallery_path, tmp_path):
    path = table((tmp_path / "missing.jpg", "palazzo-0"))
    result = run("calibrate", gallery_path, "--csv", path, "--format", "json", code=1)
    found = json.loads(result.stdout)
    assert (found["known"], found["unknown"], found["failures"]) == (FEW, FEW, 1)
    assert set(found["after"]) == {"gap", "accuracy", "ece", "fpr95", "log_loss"}
    assert result.stderr.startswith(f"veduta: {tmp_path / 'missing.jpg'}: ")


@pytest.mark.parametrize(
    "arguments", [[], ["photos", "--reset"], ["photos", "--csv", "a.csv"], ["--csv", "a", "--reset"]]
)
def test_the_command_takes_one_source(shipping, arguments):
    assert "give either DIR, --csv FILE or --reset" in run("calibrate", shipping, *arguments, code=2).stderr
