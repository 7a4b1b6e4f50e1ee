"""From photos to a scored submission: what a run makes, skips, survives; and that its formulas are the notebook's."""

import json
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import world
from typer.testing import CliRunner

from veduta.cli import app
from veduta.competition import votes
from veduta.competition.descriptor_table import locked
from veduta.competition.inspect import inspect_data
from veduta.competition.recipes import RECIPES, Recipe, frame_of, squashed, with_overrides
from veduta.competition.retrieval import load_candidates
from veduta.competition.run import run_recipe
from veduta.competition.score import score_submission
from veduta.competition.stages import evidence_of, extractor_of, matcher_of
from veduta.competition.submissions import read_submission
from veduta.errors import BusyError, DatasetError
from veduta.images import from_array, load

LANDMARKS, VIEWS, DISTRACTORS = 6, 2, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of drawn facades in the competition's layout: 6 landmarks, 12 test views, 4 distractors."""
    folder = tmp_path_factory.mktemp("drawn")
    train, truth = [], []
    for i in range(LANDMARKS):
        for j in range(2):
            pixels = world.facade(i) if j == 0 else world.view(world.facade(i), 10 * i, 0.5).pixels
            train.append((put(folder, "train", pixels, 100 + 10 * i + j), str(i)))
        for j in range(VIEWS):
            view = world.view(world.facade(i), 50 + 10 * i + j)
            truth.append((put(folder, "test", view.pixels, 500 + 10 * i + j), str(i)))
    truth += [(put(folder, "test", world.distractor(i), 900 + i), "") for i in range(DISTRACTORS)]
    write(folder / "train.csv", "id,landmark_id", *(f"{a},{b}" for a, b in train))
    usages = ["Public", "Private"] * len(truth)
    rows = [f"{a},{b},{usage}" for (a, b), usage in zip(truth, usages, strict=False)]
    write(folder / "solution.csv", "id,landmarks,Usage", *rows)
    write(folder / "sample_submission.csv", "id,landmarks", *(f"{a},0 0.0" for a, _ in truth))
    return folder


def put(folder, split, pixels, number):
    id = f"{number:016x}"[::-1]
    world.save(pixels, folder / split / id[0] / id[1] / id[2] / f"{id}.jpg")
    return id


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, run_recipe(data, out)


def test_a_run_names_what_it_knows(made):
    _, report = made
    assert report.predictions == report.photos == LANDMARKS * VIEWS + DISTRACTORS
    assert report.scores["all"].accuracy == 1
    assert report.scores["all"].gap > 0.95


def test_the_page_is_self_contained(made):
    page = Path(made[1].page).read_text()
    assert "Precision over recall" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("<img") >= 6


def test_a_second_run_does_nothing_and_says_the_same(data, made):
    out, first = made
    before = Path(first.submission).read_bytes()
    again = run_recipe(data, out)
    assert Path(again.submission).read_bytes() == before
    assert {stage.stage for stage in again.stages if not stage.skipped} == {"decide"}
    assert again.scores == first.scores


def test_a_changed_recipe_redoes_only_what_depends_on_it(data, made):
    out, first = made
    other = run_recipe(data, out, with_overrides("veduta", rerank_depth=3))
    done = {stage.stage for stage in other.stages if not stage.skipped}
    assert "embed train" not in done
    assert "retrieve" not in done
    assert "match" in done
    assert run_recipe(data, out).scores == first.scores


def test_the_notebooks_recipe_runs_and_answers_every_photo(data, made):
    report = run_recipe(data, made[0], "dna-2020")
    assert report.predictions == report.photos
    assert report.scores["all"].accuracy == 1


def test_several_models_are_fused(data, tmp_path):
    one = run_recipe(data, tmp_path / "one", with_overrides("dna-2020", matcher="nearest"))
    tables = str(tmp_path / "one" / "descriptors" / "efficientnet-lite2-gem")
    recipe = with_overrides("dna-2020", models=(tables, tables), weights=(2.0, 1.0), matcher="nearest")
    both = run_recipe(data, tmp_path / "both", recipe)
    for a, b in zip(read_submission(Path(both.submission))[1], read_submission(Path(one.submission))[1], strict=True):
        assert (a.id, a.landmark) == (b.id, b.landmark)
        assert a.confidence == pytest.approx(b.confidence, rel=1e-3)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process")
def test_killed_at_random_moments_it_ends_the_same_byte_for_byte(data, made, tmp_path):
    expected = Path(made[1].submission).read_bytes()
    moments = random.Random(4)
    command = [sys.executable, "-m", "veduta", "competition", "run", str(data), "--out", str(tmp_path)]
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(0.8, 3.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert (tmp_path / "veduta" / "submission.csv").read_bytes() == expected


def test_a_photo_that_cannot_be_read_has_no_prediction(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / "data")
    victim = next((copy / "test").rglob("*.jpg"))
    victim.write_bytes(victim.read_bytes()[:500])
    report = run_recipe(copy, tmp_path / "out")
    ids, predictions = read_submission(Path(report.submission))
    assert victim.stem in ids
    assert victim.stem not in {p.id for p in predictions}
    assert report.photos == report.predictions + 1
    found = inspect_data(copy)
    assert [f.photo for split in found.splits for f in split.bad] == [str(victim)]
    assert [set(f) for split in found.splits for f in split.to_dict()["bad"]] == [{"photo", "error"}]


def test_inspect_counts(data):
    found = inspect_data(data)
    assert found.landmarks == LANDMARKS
    assert found.photos_per_landmark == (2, 2.0, 2)
    assert dict(found.histogram)["2"] == LANDMARKS
    assert [(s.split, s.photos, s.listed) for s in found.splits] == [("train", 12, 12), ("test", 16, 16)]
    assert found.test_landmark_photos == LANDMARKS * VIEWS
    assert found.usage == {"Public": 8, "Private": 8}


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(DatasetError, match=r"has no train\.csv"):
        run_recipe(tmp_path, tmp_path / "out")


# --- commands ---------------------------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(app, ["competition", *map(str, arguments)])


def test_score_prints_parts_as_json(data, made):
    done = invoke("score", "--solution", data / "solution.csv", "--submission", made[1].submission, "--format", "json")
    found = json.loads(done.stdout)
    assert set(found) == {"public", "private", "all"}
    assert found["all"]["gap"] == score_submission(data / "solution.csv", Path(made[1].submission))["all"].gap
    assert found["public"]["photos"] == 8


def test_score_refuses_ids_it_does_not_know(data, tmp_path):
    write(tmp_path / "s.csv", "id,landmarks", "ffffffffffffffff,1 0.5")
    with pytest.raises(DatasetError, match="ffffffffffffffff is not in"):
        score_submission(data / "solution.csv", tmp_path / "s.csv")


def test_check_says_good_or_lists(data, made, tmp_path):
    sample = data / "sample_submission.csv"
    assert invoke("check", made[1].submission, "--sample", sample).exit_code == 0
    bad = write(tmp_path / "bad.csv", "id,landmarks", "x,1 0.5")
    done = invoke("check", bad, "--sample", sample)
    assert done.exit_code == 1
    assert "line 2: photo id x is not in the sample" in done.stdout


def test_every_command_answers(data, made, tmp_path):
    assert json.loads(invoke("inspect", data, "--format", "json").stdout)["landmarks"] == LANDMARKS
    assert "landmarks" in invoke("inspect", data, "--no-decode").stdout
    assert invoke("embed", data, "--out", tmp_path / "t", "--split", "test", "--shard", "2/2").exit_code == 0
    assert invoke("embed", data, "--out", tmp_path / "t", "--shard", "3/2").exit_code == 2
    report = json.loads(invoke("run", data, "--out", made[0], "--compare", "--format", "json").stdout)
    assert [r["recipe"] for r in report] == ["veduta", "dna-2020"]
    table = invoke("run", data, "--out", made[0]).stdout
    assert "gap" in table
    np.save(tmp_path / "d.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "ids.txt").write_text("a b c")
    done = invoke("import", tmp_path / "d.npy", "--ids", tmp_path / "ids.txt", "--out", tmp_path / "i", "--name", "x")
    assert done.exit_code == 0
    assert invoke("import", tmp_path / "d.npy", "--out", tmp_path / "j", "--name", "x").exit_code == 2


# --- formulas ---------------------------------------------------------------------------------------------------

cosines = st.floats(-1, 1, width=32)


@given(st.lists(cosines, min_size=4, max_size=4), st.lists(st.floats(0.1, 3), min_size=4, max_size=4))
def test_fusion_is_the_notebooks_formula(values, weights):
    expected = 1.0
    for cosine, weight in zip(values, weights, strict=True):
        expected *= (max(0.8 - (1 - cosine), 0.1) / 0.8) ** (weight / sum(weights))
    got = votes.fuse_similarities([np.array([v], np.float32) for v in values], weights)
    assert got[0] == pytest.approx(expected, rel=1e-4)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=8))
def test_the_best_three_are_summed_per_landmark(scored):
    best = sorted(scored, key=lambda item: (-item[1], item[0]))[:3]
    sums = {}
    for landmark, value in best:
        sums[landmark] = sums.get(landmark, 0) + value
    answer = votes.sum_of_best(scored)
    if not scored:
        assert answer is None
    else:
        assert answer[1] == max(sums.values())
        assert sums[answer[0]] == answer[1]


def unit(n, seed):
    rows = np.random.default_rng(seed).standard_normal((n, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_concatenation_averages_the_cosines():
    a, b, c, d = (unit(5, seed) for seed in range(4))
    left, right = votes.concatenate([a, b], [3, 1]), votes.concatenate([c, d], [3, 1])
    assert np.allclose(left @ right.T, (3 * a @ c.T + b @ d.T) / 4, atol=1e-5)


def test_the_penalty_is_folded_into_the_product():
    references, queries, nothing = unit(6, 0), unit(4, 1), unit(20, 2)
    penalty = votes.non_landmark_similarity(references @ nothing.T, best=3)
    assert np.allclose(penalty, np.sort(references @ nothing.T, axis=1)[:, -3:].mean(1))
    product = votes.unfold_query(queries) @ votes.fold_penalty(references, penalty).T
    assert np.allclose(product, queries @ references.T - penalty, atol=1e-5)


def test_recipes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="a positive weight per model"):
        Recipe("x", models=("a", "b"))
    with pytest.raises(ValueError, match="rerank_depth"):
        Recipe("x", depth=5, rerank_depth=6)
    with pytest.raises(ValueError, match="how several are fused"):
        Recipe("x", models=("a", "b"), weights=(1.0, 1.0))


def test_the_notebooks_frame_is_portrait_whatever_the_photo():
    image = squashed(from_array(world.facade(1)))
    assert image.size == (672, 896)
    assert RECIPES["dna-2020"].depth == 5


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("size", [(320, 240), (1024, 600), (1025, 700), (700, 1400), (2048, 1536), (2600, 800)])
def test_the_notebooks_frame_is_made_of_the_photo_on_disk(tmp_path, size, suffix):
    path = tmp_path / f"a.{suffix}"
    PIL.Image.fromarray(world.facade(1, *size)).save(path, quality=95)
    pixels = np.asarray(PIL.Image.open(path).convert("RGB"))
    framed = squashed(load(path))
    assert framed.size == (672, 896)
    np.testing.assert_array_equal(framed.pixels, cv2.resize(pixels, (672, 896), interpolation=cv2.INTER_LINEAR))
    averaged = frame_of(replace(RECIPES["dna-2020"], averaged=True))(load(path))
    assert averaged.size == (672, 896)
    assert (averaged.pixels != framed.pixels).any()


def test_a_photo_whose_file_is_gone_or_changed_is_framed_as_it_is(tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.fromarray(world.facade(1, 1600, 1200)).save(path)
    image = load(path)
    expected = cv2.resize(image.pixels, (672, 896), interpolation=cv2.INTER_LINEAR)
    PIL.Image.fromarray(world.facade(2, 1600, 1200)).save(path)
    np.testing.assert_array_equal(squashed(image).pixels, expected)
    path.unlink()
    np.testing.assert_array_equal(squashed(image).pixels, expected)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if not recipe.geometry])
def test_the_notebook_sums_every_mutual_pair(name):
    assert RECIPES[name].match_threshold == 0


@pytest.mark.parametrize("seed", range(5))
def test_weak_pairs_count_in_the_notebooks_sum(seed):
    recipe = RECIPES["dna-2020"]
    extractor = extractor_of(recipe)
    a, b = (extractor.extract(squashed(from_array(world.facade(seed + i)))) for i in (0, 7))
    pairs = matcher_of(replace(recipe, match_threshold=0.0)).match(a, b)
    total = evidence_of(a, b, matcher_of(recipe), None)
    assert total == pytest.approx(float(np.clip(pairs.scores, 0, 1).sum(dtype=np.float64)))
    assert total > evidence_of(a, b, matcher_of(replace(recipe, match_threshold=0.2)), None)


def test_the_winners_options_change_the_run_as_they_say(data, made, tmp_path):
    bank = tmp_path / "bank"
    for i in range(3):
        world.save(world.distractor(50 + i), bank / f"{i:016x}.jpg")
    plain = read_submission(Path(run_recipe(data, made[0]).submission))[1]
    held = run_recipe(data, made[0], bank=bank)
    assert held.scores["all"].accuracy == 1
    lower = {p.id: p.confidence for p in read_submission(Path(held.submission))[1]}
    assert all(lower[p.id] < p.confidence for p in plain)
    assert not any((made[0] / "descriptors" / "efficientnet-lite2-landmarks").glob("bank"))
    voted = run_recipe(data, made[0], with_overrides("veduta", power=8.0))
    assert not {"extract", "match"} & {s.stage for s in voted.stages}
    assert {s.stage for s in voted.stages if not s.skipped} & {"embed train", "embed test"} == set()
    found = load_candidates(made[0] / "veduta" / "candidates.npz")
    for p in read_submission(Path(voted.submission))[1]:
        query = found.queries.index(p.id)
        pairs = zip(found.rows[query].tolist(), found.similarity[query].tolist(), strict=True)
        mine = sorted((max(s, 0) ** 8 for row, s in pairs if found.landmarks[row] == p.landmark), reverse=True)
        assert p.confidence == pytest.approx(sum(mine[:5]), rel=1e-5)
    banned = run_recipe(data, made[0], ban=1)
    assert banned.predictions < banned.photos
    assert run_recipe(data, made[0]).predictions == banned.photos


def test_concatenation_in_a_run_is_the_mean_of_the_cosines(data, made, tmp_path):
    tables = str(made[0] / "descriptors" / "efficientnet-lite2-landmarks")
    changes = {"models": (tables, tables), "weights": (1.0, 1.0), "fuse": "concatenate"}
    both = run_recipe(data, tmp_path, with_overrides("veduta", **changes))
    one = run_recipe(data, made[0])
    for a, b in zip(read_submission(Path(both.submission))[1], read_submission(Path(one.submission))[1], strict=True):
        assert (a.id, a.landmark) == (b.id, b.landmark)
        assert a.confidence == pytest.approx(b.confidence, abs=0.01)


def test_what_is_missing_or_wrong_is_found_before_any_work(data, tmp_path):
    for wrong in ({"solution": tmp_path / "none.csv"}, {"bank": tmp_path / "none"}):
        with pytest.raises(DatasetError, match="none"):
            run_recipe(data, tmp_path / "out", **wrong)
    with pytest.raises(ValueError, match="ban"):
        run_recipe(data, tmp_path / "out", ban=0)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DatasetError, match="not a folder"):
        inspect_data(tmp_path / "none")
    with pytest.raises(ValueError, match="power"):
        with_overrides("veduta", power=float("nan"))


def test_a_photo_that_is_mended_is_taken_up(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / "data")
    victim = next((copy / "test").rglob("*.jpg"))
    whole = victim.read_bytes()
    victim.write_bytes(b"")
    assert run_recipe(copy, tmp_path / "out").predictions == LANDMARKS * VIEWS + DISTRACTORS - 1
    victim.write_bytes(whole)
    mended = run_recipe(copy, tmp_path / "out")
    assert mended.predictions == mended.photos
    assert mended.scores["all"].accuracy == 1


def test_the_summary_is_json_whatever_is_undefined(data, made, tmp_path):
    lines = (data / "solution.csv").read_text().replace("Public", "Private")
    (tmp_path / "s.csv").write_text(lines)
    report = run_recipe(data, made[0], solution=tmp_path / "s.csv")

    def refuse(text):
        raise AssertionError(text)

    found = json.loads((made[0] / "veduta" / "summary.json").read_text(), parse_constant=refuse)
    assert found["scores"]["public"]["gap"] is None
    assert report.scores["private"].photos == report.photos


def test_one_run_at_a_time_in_a_folder(data, made):
    with locked(made[0]), pytest.raises(BusyError, match="another process"):
        run_recipe(data, made[0])
