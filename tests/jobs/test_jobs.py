"""Jobs of many shards: byte for byte what one process makes, whatever is killed, in whatever order shards are done."""

import csv
import dataclasses
import inspect
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import unicodedata
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st
from support import world
from support.galleries import tables
from support.processes import PATIENCE, is_whole, veduta, wait_until
from typer.testing import CliRunner

from veduta.cli import app
from veduta.errors import BusyError, DatasetError, GalleryError, JobError, ModelError
from veduta.features_codec import pack_features
from veduta.files import locked
from veduta.gallery import Gallery
from veduta.gallery.ingest import ADD_BATCH
from veduta.gallery.options import RecognizeOptions
from veduta.gallery.store import NewReference, Store
from veduta.jobs import AddJob, RecognizeJob, VerifyJob, job_status, merge_job, run_on_ray, run_shard
from veduta.jobs import verify as pairing
from veduta.jobs.add import Digests
from veduta.jobs.entries import pack_entry, unpack_entry
from veduta.jobs.on_ray import USAGE
from veduta.jobs.plan import JobPlan
from veduta.landmarks import Landmark, Reference
from veduta.pair import verify
from veduta.records import DONE, PART, Record, RecordFile, count_records, read_records
from veduta.serialization import to_dict
from veduta.types import LocalFeatures


def changed(found):
    """Tables without the number that grows with every change."""
    return found | {"meta": [row for row in found["meta"] if row[0] != "revision"]}


def run_all(job, work, count):
    return [run_shard(job, work, f"{number}/{count}") for number in range(1, count + 1)]


@pytest.fixture(scope="module")
def labeled(photos, tmp_path_factory):
    """Folder of `photos` with a damaged one, one twice, and one under two landmarks. Read only."""
    folder = tmp_path_factory.mktemp("labeled") / "photos"
    shutil.copytree(photos, folder)
    (folder / "palazzo-1" / "damaged.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    shutil.copy(folder / "palazzo-0" / "photo-0.jpg", folder / "palazzo-0" / "same.jpg")
    shutil.copy(folder / "palazzo-0" / "photo-0.jpg", folder / "palazzo-3" / "same.jpg")
    return folder


@pytest.fixture(scope="module")
def alone(labeled, tmp_path_factory):
    """A gallery that one process has made of `labeled`, and its report."""
    path = tmp_path_factory.mktemp("alone") / "gallery"
    with Gallery.create(path) as gallery:
        return path, gallery.add(labeled)


@pytest.fixture
def empty(tmp_path):
    """An empty gallery."""
    Gallery.create(tmp_path / "empty").close()
    return tmp_path / "empty"


# --- adding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shards_merged_are_the_gallery_one_process_makes(labeled, alone, empty, tmp_path, count):
    reports = run_all(AddJob(empty, labeled), tmp_path / "work", count)
    assert sum(report.items for report in reports) == sum(report.new for report in reports) == 15
    assert [f.photo for report in reports for f in report.failures] == [str(labeled / "palazzo-1" / "damaged.jpg")]
    merged = merge_job(tmp_path / "work")
    gallery, report = alone
    assert tables(empty) == tables(gallery)
    assert merged.failures == report.failures
    assert (merged.added, merged.skipped, merged.alike) == (len(report.added), report.skipped, True)
    again = merge_job(tmp_path / "work")
    assert (again.added, again.skipped) == (0, 13)
    assert tables(empty) == tables(gallery)


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_a_landmark_is_one_however_its_id_is_composed(gallery_path, tmp_path, stored, written):
    forms = [unicodedata.normalize(form, "Caf\u00e9 Fran\u00e7ais") for form in (stored, written)]
    with Gallery.open(gallery_path) as gallery, gallery._store._writing() as db:
        db.execute("INSERT INTO landmark (id, name) VALUES (?, ?)", forms[:1] * 2)
    folder = tmp_path / "photos"
    (folder / forms[1]).mkdir(parents=True)
    world.save(world.facade(41), folder / forms[1] / "1.jpg")
    run_all(AddJob(gallery_path, folder), tmp_path / "work", 1)
    merge_job(tmp_path / "work")
    with Gallery.open(gallery_path) as gallery:
        assert [landmark.id for landmark, _ in gallery.landmarks() if landmark.id.startswith("C")] == forms[:1]
        assert len(gallery.references(forms[0])) == 1


def test_a_table_into_a_gallery_that_has_some_of_it(labeled, gallery_path, tmp_path):
    table = tmp_path / "table.csv"
    found = sorted(labeled.rglob("*.jpg"))
    extra = world.save(world.facade(40), tmp_path / "torre.jpg")
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "landmark", "name", "latitude", "longitude", "licence"])
        writer.writerow([extra, "torre", "La Torre", 45.5, 9.25, "CC0"])
        writer.writerows([photo, photo.parent.name, "A " + photo.parent.name, 45.0, 9.0, ""] for photo in found)
    other = shutil.copytree(gallery_path, tmp_path / "other")
    run_all(AddJob(gallery_path, csv=table), tmp_path / "work", 3)
    assert sum(merge_sizes(tmp_path / "work")) < 100_000, "what the gallery has was embedded again"
    merged = merge_job(tmp_path / "work")
    with Gallery.open(other) as gallery:
        report = gallery.add(csv=table)
    assert tables(gallery_path) == tables(other)
    assert (merged.added, merged.skipped, merged.failures) == (1, report.skipped, report.failures)


def merge_sizes(work):
    return [path.stat().st_size for path in work.rglob(PART)]


def test_a_photo_that_leaves_the_gallery_before_the_merge_is_added_by_it(photos, gallery_path, tmp_path):
    run_all(AddJob(gallery_path, photos), tmp_path / "work", 2)
    with Gallery.open(gallery_path) as gallery:
        gallery.remove(reference="palazzo-2/photo-1.jpg")
    merged = merge_job(tmp_path / "work")
    assert (merged.added, merged.skipped) == (1, 11)


def test_photos_are_looked_up_one_by_one(gallery, photos, monkeypatch):
    def every(*_):
        raise AssertionError("all references were asked for")

    monkeypatch.setattr(Store, "references", every)
    monkeypatch.setattr(Store, "landmarks", every)
    world.save(world.facade(60), gallery.path.parent / "more" / "torre" / "a.jpg")
    assert gallery.add(photos).skipped == 12
    assert len(gallery.add(gallery.path.parent / "more").added) == 1


@given(data=st.data(), n=st.integers(0, 9), dim=st.sampled_from([1, 4, 64]))
@settings(max_examples=60, deadline=None)
def test_an_entry_lies_in_a_part_as_the_gallery_will_keep_it(data, n, dim):
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    size = tuple(int(x) for x in rng.integers(1, 20_000, 2))
    descriptors = (rng.standard_normal((n, dim)) * rng.choice([0, 1e-9, 1e-3, 1])).astype(np.float32)
    keypoints = (rng.uniform(-0.5, 1, (n, 2)) * size).astype(np.float32)
    features = LocalFeatures(keypoints, descriptors, rng.random(n).astype(np.float32), size)
    reference = Reference("é\n", "b", "/c", "0" * 64, data.draw(st.sampled_from([None, "CC0"])))
    entry = NewReference(reference, rng.standard_normal(dim).astype(np.float32), features, rng.bytes(50))
    back = unpack_entry(pack_entry(entry))
    assert (back.reference, back.thumbnail) == (entry.reference, entry.thumbnail)
    assert back.descriptor.tobytes() == entry.descriptor.tobytes()
    assert pack_features(back.features) == pack_features(features)


@given(st.sets(st.binary(min_size=32, max_size=32), max_size=20), st.binary(min_size=32, max_size=32))
@settings(max_examples=50, deadline=None)
def test_digests_on_disk_are_found(tmp_path_factory, there, other):
    path = tmp_path_factory.mktemp("digests") / "known.bin"
    there |= {b"\0" * 32} if len(there) % 2 else set()
    path.write_bytes(b"".join(sorted(there)))
    known = Digests(path)
    assert all(digest.hex() in known for digest in there)
    assert (other.hex() in known) == (other in there)


# --- recognizing and verifying ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(views, distractors, tmp_path_factory):
    """A folder of photos, one damaged. Read only."""
    folder = tmp_path_factory.mktemp("asked")
    for i, photo in enumerate([*list(views)[:5], *distractors[:2]]):
        shutil.copy(photo, folder / f"{i % 3}-{Path(photo).name}")
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    return folder


def without_seconds(result):
    return {key: value for key, value in to_dict(result).items() if key != "seconds"}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_answers_merged_are_those_of_one_process(built, asked, tmp_path, count):
    run_all(RecognizeJob(built, str(asked), RecognizeOptions(effort="fast")), tmp_path / "work", count)
    merged = merge_job(tmp_path / "work")
    with Gallery.open(built) as gallery:
        expected = [without_seconds(each) for each in gallery.recognize([asked], effort="fast")]
    text = (tmp_path / "work" / "result.jsonl").read_text("utf-8")
    assert text == "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in expected)
    assert (merged.items, len(merged.failures)) == (8, 1)


def test_a_list_of_photos_is_answered_in_its_order(built, asked, tmp_path):
    names = [path.name for path in sorted(asked.iterdir(), reverse=True)] + ["gone.jpg"]
    listed = asked.parent / "list.txt"
    listed.write_text("\n".join(f"{asked.name}/{name}" for name in names) + "\n\n")
    run_all(RecognizeJob(built, str(listed)), tmp_path / "work", 2)
    merge_job(tmp_path / "work", tmp_path / "answers.jsonl")
    found = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [each["photo"] for each in found] == [f"{asked.name}/{name}" for name in names]
    assert found[-1]["error"] == f"{asked.name}/gone.jpg: cannot be read: No such file or directory"


@pytest.fixture(scope="module")
def pairs(photos, tmp_path_factory):
    """A table of pairs of photos, one of them damaged. Read only."""
    folder = tmp_path_factory.mktemp("pairs")
    shutil.copytree(photos, folder / "photos")
    (folder / "photos" / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    names = [f"photos/palazzo-{i}/photo-{j}.jpg" for i in range(3) for j in range(2)] + ["photos/damaged.jpg"]
    with (folder / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("a", "b"), *itertools.product(names, names[:4] + names[-1:])])
    return folder / "pairs.csv"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pairs_merged_are_what_verify_finds(pairs, tmp_path, count):
    run_all(VerifyJob(pairs), tmp_path / "work", count)
    merged = merge_job(tmp_path / "work")
    with pairs.open(newline="") as file:
        asked = list(csv.DictReader(file))
    found = [json.loads(line) for line in (tmp_path / "work" / "result.jsonl").read_text().splitlines()]
    assert [(each["a"], each["b"]) for each in found] == [(each["a"], each["b"]) for each in asked]
    assert len(merged.failures) == sum("damaged" in each["a"] + each["b"] for each in asked)
    for each in found[:12:5]:
        if "error" not in each:
            expected = vars(verify(pairs.parent / each["a"], pairs.parent / each["b"]))
            for name in ("num_keypoints", "num_matches", "num_inliers", "homography", "problem"):
                assert json.loads(json.dumps(expected[name])) == each[name]
    shards = {
        each["a"]: {s for _, s, item in JobPlan.read(tmp_path / "work").items() if item["a"] == each["a"]}
        for each in asked
    }
    assert all(len(of) == 1 for of in shards.values())


def test_a_photo_of_many_pairs_is_extracted_once_a_shard(pairs, tmp_path, monkeypatch):
    looked, make = [], pairing.make_extractor

    def counted(*arguments):
        made = make(*arguments)
        real = made.extract
        made.extract = lambda image: looked.append(image.name) or real(image)
        return made

    monkeypatch.setattr(pairing, "make_extractor", counted)
    run_shard(VerifyJob(pairs, "rootsift"), tmp_path / "work")
    names = [name for name in looked if name != "<drawn>"]
    assert len(names) == len(set(names)) == 6
    assert {path.name for path in (tmp_path / "work" / "shard-0001-of-0001").iterdir()} == {
        ".lock",
        DONE,
        PART,
        "makers.txt",
    }


def test_pairs_of_one_photo_beyond_a_number_go_to_other_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(pairing, "PAIRS_AT_ONCE", 3)
    (tmp_path / "pairs.csv").write_text("a,b\n" + "x.jpg,y.jpg\n" * 40)
    keys = [key for key, _ in VerifyJob(tmp_path / "pairs.csv").items([])]
    assert [sum(1 for _ in run) for _, run in itertools.groupby(keys)] == [3] * 13 + [1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "expected the columns a,b, got nothing"),
        (b"a,b\nx\n", "line 2: expected the paths of two"),
        (b"a,b\n\xff,b", "UTF-8"),
    ],
)
def test_a_malformed_table_of_pairs_says_where(tmp_path, text, words):
    (tmp_path / "pairs.csv").write_bytes(text)
    with pytest.raises(DatasetError, match=words):
        run_shard(VerifyJob(tmp_path / "pairs.csv"), tmp_path / "work")
    assert not (tmp_path / "work" / "plan").exists()


# --- being killed -----------------------------------------------------------------------------------------------

# A process that stops for ever when its shard has so many records, so that it is killed right there.
CHILD = """
import pathlib, sys, time
from veduta.jobs import AddJob, RecognizeJob, VerifyJob, run_shard
from veduta.records import RecordFile
gate, most, kind, shard, work, *paths = sys.argv[1:]
append, count = RecordFile.append, 0
def gated(self, record):
    global count
    place = append(self, record)
    count += self._file.name.endswith("part.bin")
    if count == int(most):
        pathlib.Path(gate).touch()
        time.sleep(10_000)
    return place
RecordFile.append = gated
paths = [pathlib.Path(path) for path in paths]
job = {"add": AddJob, "verify": VerifyJob, "recognize": lambda g, p: RecognizeJob(g, str(p))}[kind](*paths)
run_shard(job, pathlib.Path(work), shard)
"""


def kill(code, gate, *arguments):
    """Run a program until it opens the gate, and kill it there."""
    command = [sys.executable, "-c", code, str(gate), *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(process, gate.exists)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(PATIENCE) == -signal.SIGKILL
        finally:
            process.kill()


def test_a_killed_shard_of_adding_goes_on_where_it_was(labeled, alone, empty, tmp_path):
    kill(CHILD, tmp_path / "gate", 4, "add", "1/2", tmp_path / "work", empty, labeled)
    before = job_status(tmp_path / "work").shards[0]
    assert (before.state, before.done) == ("begun", 4)
    with pytest.raises(JobError, match=r"2 shards are not finished \(1/2, 2/2\)"):
        merge_job(tmp_path / "work")
    reports = run_all(AddJob(empty, labeled), tmp_path / "work", 2)
    assert reports[0].new == reports[0].items - 4 > 0
    merge_job(tmp_path / "work")
    assert tables(empty) == tables(alone[0])


@pytest.mark.parametrize("kind", ["recognize", "verify"])
def test_other_killed_shards_go_on_where_they_were(built, asked, pairs, tmp_path, kind):
    paths = {"recognize": (built, asked), "verify": (pairs,)}[kind]
    job = RecognizeJob(built, str(asked)) if kind == "recognize" else VerifyJob(pairs)
    kill(CHILD, tmp_path / "gate", 2, kind, "1/1", tmp_path / "killed", *paths)
    report = run_shard(job, tmp_path / "killed")
    assert report.new == report.items - 2
    run_shard(job, tmp_path / "whole")
    merge_job(tmp_path / "killed", tmp_path / "killed.jsonl")
    merge_job(tmp_path / "whole", tmp_path / "whole.jsonl")
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


MERGING = """
import pathlib, sys, time
from veduta.jobs import merge_job
gate, work, phase, most = sys.argv[1:]
def watch(done, total):
    if done == int(most):
        pathlib.Path(gate).touch()
        time.sleep(10_000)
merge_job(pathlib.Path(work), None, *((watch, None) if phase == "adding" else (None, watch)))
"""


@pytest.mark.parametrize(("phase", "most"), [("adding", 2 * ADD_BATCH + 5), ("comparing", 7)])
def test_a_killed_merge_is_run_again(many_photos, tmp_path, phase, most, sixty):
    gallery, work = tmp_path / "gallery", shutil.copytree(sixty / "work", tmp_path / "work")
    Gallery.create(gallery).close()
    plan = json.loads((work / "plan" / "job.json").read_text())
    plan["identity"]["gallery"] = str(gallery)
    (work / "plan" / "job.json").write_text(json.dumps(plan))
    JobPlan.read(work).trust()  # the copy asks for another gallery
    kill(MERGING, tmp_path / "gate", work, phase, most)
    merge_job(work)
    # The revision counts transactions, of which the one that was killed may have been made twice.
    assert changed(tables(gallery)) == changed(tables(sixty / "alone"))
    assert is_whole(gallery)


@pytest.fixture(scope="module")
def sixty(many_photos, tmp_path_factory):
    """A work folder with all shards of sixty photos done, and the gallery one process makes of them."""
    folder = tmp_path_factory.mktemp("sixty")
    with Gallery.create(folder / "alone") as gallery:
        gallery.add(many_photos)
    Gallery.create(folder / "gallery").close()
    run_all(AddJob(folder / "gallery", many_photos), folder / "work", 3)
    return folder


@pytest.fixture(scope="module")
def finished(pairs, tmp_path_factory):
    """A work folder with three finished shards of a job without networks, and what they merge to."""
    work = tmp_path_factory.mktemp("finished") / "work"
    run_all(VerifyJob(pairs, "rootsift", max_side=128), work, 3)
    merge_job(work)
    return work, (work / "result.jsonl").read_bytes()


@given(st.permutations([1, 2, 3]), st.lists(st.floats(0, 1), min_size=3, max_size=3), st.binary(max_size=40))
@settings(max_examples=20, deadline=None)
def test_any_order_and_any_interruption_give_the_same_bytes(pairs, finished, tmp_path_factory, order, cuts, rest):
    work = shutil.copytree(finished[0], tmp_path_factory.mktemp("any") / "work")
    (work / "result.jsonl").unlink()
    for number, cut in enumerate(cuts, 1):
        part = work / f"shard-{number:04d}-of-0003" / PART
        if cut == 1:
            continue  # this one was not interrupted
        if cut == 0:
            shutil.rmtree(part.parent)
            continue
        (part.parent / DONE).unlink()
        os.truncate(part, int(cut * part.stat().st_size))
        with part.open("ab") as file:
            file.write(rest)  # a machine without power may leave anything
    for number in order:
        run_shard(VerifyJob(pairs, "rootsift", max_side=128), work, f"{number}/3")
    merge_job(work)
    assert (work / "result.jsonl").read_bytes() == finished[1]


@given(
    st.lists(st.tuples(st.integers(0, 2**40), st.booleans(), st.binary(max_size=30)), max_size=6), st.integers(0, 400)
)
@settings(max_examples=60, deadline=None)
def test_a_file_of_records_keeps_what_is_whole(tmp_path_factory, given_records, cut):
    folder = tmp_path_factory.mktemp("records")
    records = [Record(*each) for each in given_records]
    with closing(RecordFile(folder / PART)) as file:
        places = [file.append(record) for record in records]
        assert [file.at(place) for place in places] == records
    assert count_records(folder / PART) == len(records)
    assert list(read_records(folder, 2)) == records
    size = (folder / PART).stat().st_size
    os.truncate(folder / PART, min(cut, size))
    with closing(RecordFile(folder / PART)) as file:
        left = [record for _, record in file]
        assert left == records[: len(left)]
        assert len(left) == len(records) or cut < size
        for record in records[len(left) :]:
            file.append(record)
    assert list(read_records(folder)) == records


def test_a_finished_shard_is_not_done_again(pairs, finished, tmp_path, monkeypatch):
    work = shutil.copytree(finished[0], tmp_path / "work")
    monkeypatch.setattr(VerifyJob, "worker", None)
    report = run_shard(VerifyJob(pairs, "rootsift", max_side=128), work, "2/3")
    assert report.new == 0
    assert report.items == len(list(read_records(work / "shard-0002-of-0003")))


# --- what is refused --------------------------------------------------------------------------------------------


def test_a_shard_has_one_process(pairs, tmp_path):
    run_shard(VerifyJob(pairs, "rootsift"), tmp_path, "1/2")
    with locked(tmp_path / "shard-0001-of-0002"), pytest.raises(BusyError, match="another process is writing here"):
        run_shard(VerifyJob(pairs, "rootsift"), tmp_path, "1/2")
    run_shard(VerifyJob(pairs, "rootsift"), tmp_path, "2/2")
    with locked(tmp_path), pytest.raises(BusyError, match="another process is writing here"):
        merge_job(tmp_path)


def test_a_work_folder_is_for_one_job(labeled, photos, pairs, empty, built, tmp_path):
    work = tmp_path / "work"
    run_shard(AddJob(empty, photos), work, "1/40")
    for job, shard, words in [
        (AddJob(empty, labeled), "1/40", "begun with another photos"),
        (AddJob(built, photos), "1/40", "begun with another gallery"),
        (AddJob(empty, photos, provider="cuda"), "1/40", "begun with another provider"),
        (AddJob(empty, photos), "1/41", "begun with 40 shards, not 41"),
        (VerifyJob(pairs), "1/40", "begun with another kind of work"),
    ]:
        with pytest.raises(JobError, match=words):
            run_shard(job, work, shard)
    with pytest.raises(JobError, match="is not empty and no job"):
        run_shard(AddJob(empty, photos), labeled, "1/2")
    with pytest.raises(JobError, match="is no job's work folder"):
        job_status(labeled)
    with pytest.raises(JobError, match="is no job's work folder"):
        merge_job(tmp_path / "nowhere")
    with pytest.raises(JobError, match="goes into the gallery"):
        merge_job(work, tmp_path / "file.jsonl")
    with pytest.raises(ValueError, match="expected i/N"):
        run_shard(AddJob(empty, photos), work, "3/2")


def test_another_version_of_the_list_or_of_the_settings_is_another_job(pairs, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("a,b\nx.jpg,y.jpg\n")
    run_shard(VerifyJob(table), tmp_path / "work", "1/2")
    with pytest.raises(JobError, match="begun with another extractor"):
        run_shard(VerifyJob(table, "rootsift"), tmp_path / "work", "2/2")
    table.write_text("a,b\nx.jpg,z.jpg\n")
    with pytest.raises(JobError, match="begun with another content of the list"):
        run_shard(VerifyJob(table), tmp_path / "work", "2/2")


def test_a_gallery_that_changes_ends_the_recognizing(gallery_path, asked, tmp_path):
    job = RecognizeJob(gallery_path, str(asked), RecognizeOptions(effort="fast"))
    run_shard(job, tmp_path / "work", "1/2")
    copy = shutil.copytree(gallery_path, tmp_path / "copy")
    with Gallery.open(gallery_path) as gallery:
        gallery.remove(reference="palazzo-2/photo-1.jpg")
    with pytest.raises(JobError, match="begun with another content of the gallery"):
        run_shard(job, tmp_path / "work", "2/2")
    run_shard(
        RecognizeJob(copy, str(asked), RecognizeOptions(effort="fast")), tmp_path / "work", "2/2"
    )  # its own copy will do
    assert merge_job(tmp_path / "work").items == 8


def test_a_gallery_that_changes_while_a_shard_is_at_work_ends_it(gallery_path, asked, tmp_path):
    def change(done, total):
        if done == 2:
            with Gallery.open(gallery_path) as gallery:
                gallery.remove(reference="palazzo-2/photo-1.jpg")

    with pytest.raises(JobError, match="has changed since the job was begun"):
        run_shard(
            RecognizeJob(gallery_path, str(asked), RecognizeOptions(effort="fast")), tmp_path / "work", progress=change
        )


def test_a_gallery_made_anew_by_other_models_is_not_merged_into(photos, empty, tmp_path):
    run_all(AddJob(empty, photos), tmp_path / "work", 2)
    shutil.rmtree(empty)
    Gallery.create(empty, extractor="rootsift").close()
    with pytest.raises(GalleryError, match="was made by other models"):
        merge_job(tmp_path / "work")


def test_merging_says_which_shard_is_missing_or_damaged(pairs, finished, tmp_path):
    work = shutil.copytree(finished[0], tmp_path / "work")
    part = work / "shard-0002-of-0003" / PART
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    with pytest.raises(JobError, match="shard 2/3 is not finished"):
        merge_job(work)
    assert [shard.state for shard in job_status(work).shards] == ["finished", "begun", "finished"]
    part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(JobError, match=r"part.bin: is damaged at byte \d+; delete .*shard-0002"):
        merge_job(work)
    shutil.copy(work / "shard-0001-of-0003" / PART, part)
    (part.parent / DONE).write_text(
        json.dumps(json.loads((part.parent / DONE).read_text()) | {"bytes": part.stat().st_size})
    )
    with pytest.raises(JobError, match="is not a shard of this job"):
        merge_job(work)
    shutil.rmtree(part.parent)
    run_shard(VerifyJob(pairs, "rootsift", max_side=128), work, "2/3")
    merge_job(work)
    assert (work / "result.jsonl").read_bytes() == finished[1]


def test_machines_that_round_differently_are_told_of(pairs, finished, tmp_path):
    work = shutil.copytree(finished[0], tmp_path / "work")
    assert merge_job(work).alike
    done = work / "shard-0003-of-0003" / DONE
    done.write_text(json.dumps(json.loads(done.read_text()) | {"makers": ["0123456789abcdef"]}))
    assert not merge_job(work).alike


def test_a_listing_is_made_once_by_whoever_comes_first(labeled, empty, tmp_path):
    code = "import sys; from pathlib import Path; from veduta.jobs import AddJob\n"
    code += "from veduta.jobs.plan import begin_job\n"
    code += "begin_job(AddJob(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3]), 4)"
    command = [sys.executable, "-c", code, str(empty), str(labeled), str(tmp_path / "work")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0]
    plan = JobPlan.read(tmp_path / "work")
    assert [number for number, _, _ in plan.items()] == list(range(15))
    assert sum(plan.counts) == 15
    for shard, count in enumerate(plan.counts, 1):
        assert sum(1 for _ in plan.items(shard)) == count
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == [".lock", "plan"]


def test_what_a_landmark_says_is_taken_over(photos, gallery_path, tmp_path):
    (tmp_path / "t.csv").write_text(f"photo,landmark,name\n{photos}/palazzo-0/photo-0.jpg,palazzo-0,Named\n")
    run_all(AddJob(gallery_path, csv=tmp_path / "t.csv"), tmp_path / "work", 1)
    merge_job(tmp_path / "work")
    with Gallery.open(gallery_path) as gallery:
        assert gallery.landmarks()[0][0] == Landmark("palazzo-0", "Named")


# --- the commands -----------------------------------------------------------------------------------------------

COMMANDS = typer.main.get_command(app).commands["jobs"].commands
PLACE = {"gallery", "work", "shard", "ray", "shards", "workers", "address", "cpus", "gpus", "format"}


@pytest.mark.parametrize(("name", "job"), [("add", AddJob), ("recognize", RecognizeJob), ("verify", VerifyJob)])
def test_a_command_takes_what_its_job_takes(name, job):
    fields = {f.name: None if f.default is dataclasses.MISSING else f.default for f in dataclasses.fields(job)}
    if "options" in fields:
        left_out = {"budget_ms", "landmarks", "near"}  # a job takes none of them
        options = {f.name: f.default for f in dataclasses.fields(RecognizeOptions) if f.name not in left_out}
        fields = {key: default for key, default in fields.items() if key != "options"} | options
    command = {p.name: p.default for p in COMMANDS[name].params if p.name not in PLACE}
    assert command == {key: default for key, default in fields.items() if key not in ("gallery", "base")}
    taken = inspect.signature(run_on_ray).parameters
    for p in COMMANDS[name].params:
        if p.name in ("workers", "address", "cpus", "gpus"):
            assert p.default == taken[p.name].default


def test_the_commands_from_the_first_shard_to_the_gallery(labeled, alone, empty, tmp_path):
    work = tmp_path / "work"
    first = veduta("jobs", "add", empty, labeled, "--work", work, "--shard", "2/2", "--format", "json")
    report = json.loads(first.stdout)
    assert (first.returncode, report["new"], report["failures"]) == (1, report["items"], 1)
    assert f"{labeled / 'palazzo-1' / 'damaged.jpg'}: is " in first.stderr
    refused = veduta("jobs", "merge", work)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"veduta: {work}: shard 1/2 is not finished; run what is left, then merge again\n"
    assert veduta("jobs", "add", empty, labeled, "--work", work, "--shard", "1/2").returncode == 0
    assert veduta("jobs", "status", work).stderr == "add: 2 of 2 shards finished, 15 of 15 done\n"
    found = json.loads(veduta("jobs", "status", work, "--format", "json").stdout)
    assert [each["state"] for each in found["shards"]] == ["finished", "finished"]
    merged = veduta("jobs", "merge", work)
    assert merged.returncode == 1
    assert merged.stderr.splitlines()[-1] == "added 12 references, 1 were there already, 2 failed"
    assert tables(empty) == tables(alone[0])


@pytest.mark.parametrize(
    "options",
    [[], ["--shard", "1/2", "--ray", "--shards", "2"], ["--ray"], ["--shards", "2"], ["--shard", "3/2"],
     ["--shard", "1/2", "--address", "auto"]],
    ids=" ".join,
)  # fmt: skip
def test_options_that_do_not_go_together_end_with_2(pairs, tmp_path, options):
    done = CliRunner().invoke(app, ["jobs", "verify", str(pairs), "--work", str(tmp_path / "work"), *options])
    assert done.exit_code == 2
    assert not (tmp_path / "work").exists()


def test_without_the_extra_ray_says_what_to_install(pairs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModelError, match=r"need the extra \[ray\] .*pip install -e '\.\[ray\]'"):
        run_on_ray(VerifyJob(pairs), tmp_path / "work", 2)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("said", "expected"), [(None, "0"), ("1", "1")])
def test_ray_is_told_to_send_nothing_unless_the_user_says_so(monkeypatch, pairs, tmp_path, said, expected):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv(USAGE, said or "")
    if said is None:
        monkeypatch.delenv(USAGE)
    with pytest.raises(ModelError):
        run_on_ray(VerifyJob(pairs), tmp_path / "work", 2)
    assert os.environ[USAGE] == expected
