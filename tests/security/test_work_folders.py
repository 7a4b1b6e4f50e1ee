"""Work folders of jobs, competition runs and training runs from somebody else: read, and never led elsewhere by."""

import json
import os
import shutil
import struct

import numpy as np
import pytest

from veduta.competition.descriptor_table import DescriptorTable, Provenance, open_shard, write_table
from veduta.competition.feature_file import FeatureFile
from veduta.competition.retrieval import RetrievedCandidates, load_candidates, save_candidates
from veduta.errors import DatasetError, JobError, TrainingError, VedutaError
from veduta.gallery import Gallery
from veduta.jobs import AddJob, RecognizeJob, VerifyJob, job_status, merge_job, run_shard
from veduta.jobs.plan import JobPlan
from veduta.records import Record

SECRET = b"nobody else's business\n"


@pytest.fixture
def victim(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for name in ("thesis.txt", "notes.txt"):
        (home / name).write_bytes(SECRET)
    return home


def untouched(home):
    return {path.name: path.read_bytes() for path in home.iterdir()} == {"thesis.txt": SECRET, "notes.txt": SECRET}


@pytest.fixture(scope="module")
def begun(photos, tmp_path_factory):
    """Work folders of the three kinds of job, one of two shards done. Read only."""
    home = tmp_path_factory.mktemp("begun")
    Gallery.create(home / "gallery").close()
    pairs = [f"palazzo-{i}/photo-0.jpg,palazzo-{i}/photo-1.jpg" for i in range(6)]
    (home / "pairs.csv").write_text(
        "a,b\n" + "".join(f"{photos / a},{photos / b}\n" for a, b in (pair.split(",") for pair in pairs))
    )
    for name, job in jobs(home, photos).items():
        run_shard(job, home / name, "1/2")
    return home


def jobs(home, photos):
    return {
        "add": AddJob(home / "gallery", photos),
        "recognize": RecognizeJob(home / "gallery", str(photos)),
        "verify": VerifyJob(home / "pairs.csv"),
    }


@pytest.fixture
def work(begun, photos, tmp_path):
    """A copy of a kind's work folder, and its job."""

    def of(kind):
        return shutil.copytree(begun / kind, tmp_path / kind), jobs(begun, photos)[kind]

    return of


def change_plan(work, **fields):
    file = work / "plan" / "job.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize("kind", ["add", "recognize", "verify"])
@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "delete"},
        {"counts": []},
        {"counts": [1.5, 2]},
        {"counts": [-1, 13]},
        {"counts": "12"},
        {"counts": [True, 6]},
        {"identity": []},
        {"identity": "x"},
        {"extra": None},
        {"failures": [["a", "b"]]},
        {"failures": [["a", "b", 3]]},
        {"failures": {"a": 1}},
        {"more": 1},
        {"shards": 2},
    ],
    ids=json.dumps,
)
def test_a_plan_of_another_shape_is_refused(work, kind, fields):
    folder, job = work(kind)
    change_plan(folder, **fields)
    for call in (lambda: job_status(folder), lambda: run_shard(job, folder, "2/2"), lambda: merge_job(folder)):
        with pytest.raises(JobError) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["add", "recognize", "verify"])
@pytest.mark.parametrize(
    "photo",
    [
        "{home}/thesis.txt",
        "/etc/passwd",
        "{photos}/../{name}/thesis.txt",
        "../../etc/passwd",
        "thesis.txt",
        "",
        "/",
        ".",
        "{photos}/palazzo-0/../../x.jpg",
        "{photos}x/a.jpg",
    ],
)
def test_a_plan_adds_no_photo_to_those_that_the_user_named(work, photos, victim, kind, photo):
    folder, job = work(kind)
    photo = photo.format(home=victim, photos=photos, name=victim.name)
    lines = (folder / "plan" / "items.jsonl").read_text().splitlines()
    changed = []
    for line in lines:
        shard, item = json.loads(line)
        changed.append(json.dumps([shard, item | ({"a": photo} if kind == "verify" else {"photo": photo})]))
    (folder / "plan" / "items.jsonl").write_text("\n".join(changed) + "\n")
    with pytest.raises(JobError, match="names photos that this job does not"):
        run_shard(job, folder, "2/2")


@pytest.mark.parametrize("kind", ["recognize", "verify"])
def test_a_plan_does_not_say_where_relative_paths_begin(work, victim, kind):
    folder, job = work(kind)
    change_plan(folder, extra={"base": str(victim)})
    report = run_shard(job, folder, "2/2")
    assert not report.failures


@pytest.mark.parametrize("which", ["gallery", "photos", "sha256", "provider", "veduta"])
def test_a_plan_for_another_gallery_or_other_photos_is_not_this_jobs(work, victim, which):
    folder, job = work("add")
    identity = json.loads((folder / "plan" / "job.json").read_text())["identity"]
    change_plan(folder, identity=identity | {which: str(victim)})
    with pytest.raises(JobError, match="was begun with another"):
        run_shard(job, folder, "2/2")
    with pytest.raises(JobError):
        merge_job(folder)
    assert untouched(victim)


@pytest.mark.parametrize("kind", ["add", "recognize", "verify"])
@pytest.mark.parametrize(
    "place",
    [
        "plan",
        "shard-0001-of-0002",
        "shard-0002-of-0002",
        "plan/job.json",
        "plan/items.jsonl",
        "shard-0001-of-0002/part.bin",
        "shard-0001-of-0002/done.json",
        "shard-0001-of-0002/makers.txt",
        "shard-0002-of-0002/part.bin",
        "shard-0002-of-0002/features.bin",
        "shard-0002-of-0002/makers.txt",
        ".lock",
    ],
)
def test_a_job_neither_writes_nor_deletes_through_a_link(work, victim, kind, place):
    folder, job = work(kind)
    link = folder / place
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim if "." not in place else victim / "thesis.txt")
    for call in (
        lambda: job_status(folder),
        lambda: run_shard(job, folder, "1/2"),
        lambda: run_shard(job, folder, "2/2"),
        lambda: merge_job(folder),
    ):
        try:
            call()
        except VedutaError as error:
            assert "\n" not in str(error)  # noqa: PT017
    assert untouched(victim)


def damaged(content, how):  # noqa: C901 - a table of cases
    """A record's content with something else in it."""
    size = struct.unpack_from("<III", content, 1)
    head = json.loads(content[13 : 13 + size[0]])
    match how:
        case "cut":
            return content[: len(content) // 2]
        case "empty":
            return b""
        case "kind":
            return b"X" + content[1:]
        case "digest":
            return b"T" + b"\0" * 31
        case "lengths":
            return content[:1] + struct.pack("<III", 2**32 - 1, 9, 9) + content[13:]
        case "numbers":
            place = 13 + size[0]
            return content[:place] + np.full(size[1] // 4, np.nan, "<f4").tobytes() + content[place + size[1] :]
        case "short":
            place = 13 + size[0]
            return (
                content[:1]
                + struct.pack("<III", size[0], 40, size[2])
                + content[13 : place + 40]
                + content[place + size[1] :]
            )
        case "position":
            head["position"] = [900, "x"]
        case _:
            head["reference"] |= {"sha256": "../../x"} if how == "sha256" else {how: "other"}
    text = json.dumps(head).encode()
    return content[:1] + struct.pack("<III", len(text), *size[1:]) + text + content[13 + size[0] :]


@pytest.mark.parametrize(
    "how",
    ["cut", "empty", "kind", "digest", "lengths", "numbers", "short", "position", "sha256", "id", "landmark"],
)
def test_an_entry_that_the_gallery_could_not_have_made_is_refused(work, begun, how):
    folder, job = work("add")
    run_shard(job, folder, "2/2")
    part = folder / "shard-0001-of-0002" / "part.bin"
    with part.open("rb") as file:
        records = list(iter(lambda: Record.read(file), None))
    records = [Record(r.number, r.failed, damaged(r.content, how)) for r in records]
    part.write_bytes(b"".join(record.to_bytes() for record in records))
    done = part.with_name("done.json")
    done.write_text(json.dumps(json.loads(done.read_text()) | {"bytes": part.stat().st_size}))
    before = (begun / "gallery" / "gallery.sqlite").read_bytes()
    with pytest.raises(JobError, match="damaged") as caught:
        merge_job(folder)
    assert "\n" not in str(caught.value)
    assert (begun / "gallery" / "gallery.sqlite").read_bytes() == before or JobPlan.read(folder)


# --- competition ----------------------------------------------------------------------------------------------------

MAKER = Provenance("m", "0" * 64, 8, settings=(("side", 64),))


@pytest.fixture
def table(tmp_path):
    write_table(tmp_path / "table", MAKER, [f"{i:016x}" for i in range(5)], np.eye(8, dtype=np.float32)[:5])
    return tmp_path / "table" / "shard-0001-of-0001"


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": 0},
        {"dim": -8},
        {"dim": "8"},
        {"dim": 2**70},
        {"dim": 8.0},
        {"dtype": "object"},
        {"dtype": None},
        {"model": []},
        {"sha256": 5},
        {"settings": []},
        {"settings": {"side": []}},
        {"settings": {"side": "64"}},
        {"more": 1},
    ],
    ids=json.dumps,
)
def test_the_description_of_a_table_that_cannot_be_is_refused(table, fields):
    file = table / "shard.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    with pytest.raises(DatasetError, match="not the description of a shard"):
        DescriptorTable.open(table.parent)


@pytest.mark.parametrize("name", ["shard.json", "descriptors.bin", "ids.bin", "bad.csv"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_table_is_not_read_or_written_through_a_link(table, victim, name, kind):
    (table / name).unlink(missing_ok=True)
    os.mkfifo(table / name) if kind == "pipe" else (table / name).symlink_to(victim / "thesis.txt")
    with pytest.raises(DatasetError):
        DescriptorTable.open(table.parent)
    with pytest.raises(DatasetError), open_shard(table.parent, MAKER):
        pass
    assert untouched(victim)


@pytest.mark.parametrize(
    ("name", "content"),
    [("ids.bin", b"\xff" * 160), ("bad.csv", b"a,\xff\n"), ("bad.csv", b'a,"' + b"a" * 200_000 + b"\n")],
)
def test_a_damaged_table_is_one_error(table, name, content):
    (table / name).write_bytes(content)
    with pytest.raises(DatasetError, match="damaged"):
        DescriptorTable.open(table.parent)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": np.array([[9, 0]], np.int32)},
        {"rows": np.array([[-1, 0]], np.int32)},
        {"rows": np.zeros((1, 0), np.int32)},
        {"rows": np.zeros((1, 2))},
        {"rows": np.zeros(2, np.int32)},
        {"similarity": np.full((1, 2), np.nan, np.float32)},
        {"similarity": np.zeros((1, 3), np.float32)},
        {"similarity": np.array([["a", "b"]])},
        {"landmarks": np.arange(2)},
        {"landmarks": np.array(["x"])},
        {"queries": np.array([b"\xff"])},
        {"queries": np.array([b"a", b"b"])},
    ],
    ids=str,
)
def test_candidates_that_cannot_be_are_refused(tmp_path, changes):
    path = tmp_path / "candidates.npz"
    rows, similarity = np.array([[0, 1]], np.int32), np.ones((1, 2), np.float32)
    save_candidates(path, RetrievedCandidates(("q",), ("a", "b"), ("1", "2"), rows, similarity))
    assert load_candidates(path).references == ("a", "b")
    with np.load(path) as data:
        arrays = dict(data) | changes
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match="run again"):
        load_candidates(path)


@pytest.mark.parametrize("name", ["features.bin", "features.idx", ""])
@pytest.mark.parametrize("kind", ["link", "pipe", "dangling"])
def test_features_are_not_cut_or_written_through_a_link(tmp_path, victim, name, kind):
    folder = tmp_path / "features"
    place = folder / name
    place.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(victim / ("new" if kind == "dangling" else "thesis.txt" if name else ""))
    with pytest.raises(DatasetError):
        FeatureFile(folder)
    assert untouched(victim)


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = pytest.importorskip("support.training_runs")
    home = tmp_path_factory.mktemp("trained")
    data = runs.draw(home / "data", 6, 3)
    runs.learn(data, home / "out", runs.small(epochs=3), 3)
    return data, home / "out"


CHANGES = {
    "step": lambda s: s["learner"].update(step=-1),
    "many steps": lambda s: s["learner"].update(step=10**9),
    "step as text": lambda s: s["learner"].update(step="3"),
    "network": lambda s: s["learner"].update(network={}),
    "network of another": lambda s: s["learner"]["network"].popitem(),
    "network as text": lambda s: s["learner"].update(network="x"),
    "optimizers": lambda s: s["learner"].update(optimizers=[]),
    "weight decay": lambda s: s["learner"]["optimizers"][0]["param_groups"][0].update(weight_decay="x"),
    "optimizer state": lambda s: s["learner"]["optimizers"][0]["state"][0].update(exp_avg="x"),
    "optimizer of others": lambda s: s["learner"]["optimizers"][0]["state"].update({9999: {}, -9999: {"a": 1}}),
    "kept": lambda s: s.update(kept=s["kept"][:1]),
    "kept as numbers": lambda s: s.update(kept=s["kept"].double()),
    "journal": lambda s: s.update(journal=-5),
    "journal as text": lambda s: s.update(journal="all"),
    "best": lambda s: s.update(best=None),
    "best figures": lambda s: s["best"].update(before=[{"protocol": 1}]),
    "best gap": lambda s: s["best"].update(gap="much"),
    "best network": lambda s: s["best"].update(network={"a": 1}),
    "learner": lambda s: s.pop("learner"),
    "photos": lambda s: s.update(photos=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_that_is_not_of_this_run_is_refused(trained, tmp_path, change):
    runs, torch = pytest.importorskip("support.training_runs"), pytest.importorskip("torch")
    data, out = trained[0], shutil.copytree(trained[1], tmp_path / "out")
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    CHANGES[change](saved)
    torch.save(saved, out / "checkpoint.pt")
    with pytest.raises(TrainingError) as caught:
        runs.learn(data, out, runs.small(epochs=3), 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b'{"recipe": []}', b'{"recipe": {}}', b"[" * 9999, b"1", b"null", b'"x"']
)
def test_settings_that_are_none_are_refused(trained, tmp_path, content):
    runs = pytest.importorskip("support.training_runs")
    data, out = trained[0], shutil.copytree(trained[1], tmp_path / "out")
    (out / "settings.json").write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        runs.learn(data, out, runs.small(epochs=3), 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint.pt",
        "settings.json",
        "metrics.jsonl",
        "survey.json",
        "curves.png",
        "duplicates.csv",
        "model",
        "model.draft",
        "network.safetensors",
        "dropped.csv",
    ],
)
def test_a_run_writes_nothing_through_a_link(trained, tmp_path, victim, name):
    runs = pytest.importorskip("support.training_runs")
    data, out = trained[0], shutil.copytree(trained[1], tmp_path / "out")
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(victim if "model" in name else victim / "thesis.txt")
    with pytest.raises(TrainingError, match="no plain file"):
        runs.learn(data, out, runs.small(epochs=3), 1)
    assert untouched(victim)
