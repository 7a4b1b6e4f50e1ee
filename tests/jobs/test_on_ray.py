"""Jobs on a real Ray of two workers, which a job survives the death of."""

import itertools
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time

import pytest
from support.galleries import tables
from support.processes import PATIENCE, veduta

from veduta.errors import JobError
from veduta.gallery import Gallery
from veduta.gallery.options import RecognizeOptions
from veduta.jobs import AddJob, RecognizeJob, VerifyJob, job_status, merge_job, run_on_ray, run_shard
from veduta.jobs.on_ray import TRIES
from veduta.jobs.plan import begin_job
from veduta.records import DONE, PART, count_records

ray = pytest.importorskip("ray", reason="Ray has no wheel for this Python or system")
# Ray sets its own deprecated options when it makes its defaults.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two CPUs on this machine, this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init("local", num_cpus=2, object_store_memory=100 << 20, **options)
        # What the tests define is not to be found by the workers under its name.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def pairs(photos, tmp_path_factory):
    """A table of pairs of photos. Read only."""
    table = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    names = [f"{photos}/palazzo-{i}/photo-{j}.jpg" for i in range(6) for j in range(2)]
    table.write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in itertools.pairwise(names)))
    return table


class Killer(threading.Thread):
    """Kills the worker of a shard as soon as that is certainly in the middle."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.killed, self.left = work, None, threading.Event()

    def run(self):
        while self.killed is None and not self.left.is_set():
            for tries in self.work.glob(f"shard-*/{TRIES}"):
                self.killed = self.killed or self.kill(tries)
            time.sleep(0.002)

    def kill(self, tries):
        """Stop a worker that has begun, look whether it is still at work, and kill it if so."""
        folder = tries.parent
        if not count_records(folder / PART):
            return None
        try:
            pid = json.loads(tries.read_text())["pid"]
            os.kill(pid, signal.SIGSTOP)
        except OSError:  # it has just ended
            return None
        if (folder / DONE).exists() or not tries.exists():
            os.kill(pid, signal.SIGCONT)
            return None
        done = count_records(folder / PART)
        os.kill(pid, signal.SIGKILL)
        return folder.name, done


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_is_killed_in_the_middle_changes_nothing(many_photos, tmp_path):
    for name in ("alone", "gallery"):
        Gallery.create(tmp_path / name).close()
    with Gallery.open(tmp_path / "alone") as gallery:
        gallery.add(many_photos)
    killer, seen = Killer(tmp_path / "work"), []
    killer.start()
    try:
        job = AddJob(tmp_path / "gallery", many_photos)
        merged = run_on_ray(job, tmp_path / "work", 3, progress=lambda done, total: seen.append((done, total)))
    finally:
        killer.left.set()
        killer.join(PATIENCE)
    name, done = killer.killed
    items = next(
        s.items for s in job_status(tmp_path / "work").shards if name == f"shard-{int(s.shard[0]):04d}-of-0003"
    )
    assert 0 < done <= items
    assert tables(tmp_path / "gallery") == tables(tmp_path / "alone")
    assert (merged.added, merged.failures, seen) == (60, (), [(1, 3), (2, 3), (3, 3)])


@pytest.mark.usefixtures("cluster")
def test_answers_and_pairs_are_those_of_one_process(built, photos, pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(photos.parent)
    for name, job in [
        ("recognize", RecognizeJob(built, photos.name, RecognizeOptions(effort="fast"))),
        ("verify", VerifyJob(pairs)),
    ]:
        run_shard(job, tmp_path / name / "alone")
        merge_job(tmp_path / name / "alone")
        found = run_on_ray(job, tmp_path / name / "ray", 4, out=tmp_path / name / "out.jsonl")
        assert (tmp_path / name / "out.jsonl").read_bytes() == (tmp_path / name / "alone" / "result.jsonl").read_bytes()
        assert found.items == (tmp_path / name / "out.jsonl").read_bytes().count(b"\n")


class Deadly(VerifyJob):
    """A job at which every worker dies."""

    def worker(self, plan, shard):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("cluster")
def test_a_shard_at_which_every_worker_dies_is_given_up(pairs, tmp_path):
    with pytest.raises(JobError, match=r"4 Ray workers have died at item 1 of shard 1/1; .* what is done is kept"):
        run_on_ray(Deadly(pairs), tmp_path / "work", 1)
    assert run_on_ray(VerifyJob(pairs), tmp_path / "work", 1).items == 11


@pytest.mark.usefixtures("cluster")
def test_a_fault_of_one_shard_is_told_when_the_others_are_done(pairs, tmp_path):
    begin_job(VerifyJob(pairs, "rootsift"), tmp_path, 3)
    (tmp_path / "shard-0002-of-0003").write_text("in the way")
    with pytest.raises(JobError, match=r"shard-0002-of-0003.*; what is done is kept, run the same job again"):
        run_on_ray(VerifyJob(pairs, "rootsift"), tmp_path, 3)
    (tmp_path / "shard-0002-of-0003").unlink()
    assert job_status(tmp_path).finished == 2
    run_on_ray(VerifyJob(pairs, "rootsift"), tmp_path, 3)
    assert job_status(tmp_path).finished == 3


@pytest.mark.usefixtures("cluster")
def test_more_than_any_machine_has_is_refused(pairs, tmp_path):
    with pytest.raises(JobError, match=r"no machine of Ray has what a shard is to take \(3 CPU\)"):
        run_on_ray(VerifyJob(pairs), tmp_path, 1, cpus=3)
    with pytest.raises(JobError, match=r"\(1 CPU, 1 GPU\)"):
        run_on_ray(VerifyJob(pairs), tmp_path, 1, gpus=1)
    with pytest.raises(ValueError, match="above 0"):
        run_on_ray(VerifyJob(pairs), tmp_path, 0)


def test_the_command_starts_a_ray_of_its_own_quietly(pairs, tmp_path):
    work = tmp_path / "work"
    done = veduta("jobs", "verify", pairs, "--work", work, "--ray", "--shards", "2", "--extractor", "rootsift")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"11 lines in {work / 'result.jsonl'}\n")
    shutil.rmtree(work)


def test_an_address_where_nobody_answers_is_one_line(pairs, tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, but nobody listens
        address = f"ray://127.0.0.1:{nobody.getsockname()[1]}"
        on_ray = ("--ray", "--shards", "2", "--address", address)
        done = veduta("jobs", "verify", pairs, "--work", tmp_path / "work", *on_ray)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"veduta: no Ray cluster answers at '{address}' (")
    assert done.stderr.count("\n") == 1
