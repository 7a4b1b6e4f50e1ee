"""What is handed out for running jobs says what the commands take, and does what it says."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import typer.main
import yaml
from support import ROOT
from support.processes import PATIENCE, is_whole, references

from veduta.cli import app
from veduta.gallery import Gallery
from veduta.jobs import job_status

DEPLOY = ROOT / "deploy" / "jobs"
JOBS = typer.main.get_command(app).commands["jobs"].commands


def texts():
    """File -> the text of it that runs commands."""
    return {path.name: path.read_text("utf-8").replace("\\\n", " ") for path in sorted(DEPLOY.iterdir())}


@pytest.mark.parametrize("name", sorted(path.name for path in DEPLOY.iterdir()))
def test_every_option_is_one_of_the_commands(name):
    found = re.findall(r"veduta jobs (\w+)(.*)", re.sub(r"\n\s*#.*", "", texts()[name]))
    assert found
    for command, rest in found:
        options = {option for parameter in JOBS[command].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, rest


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Have a command veduta, this one, and no GNU parallel."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "veduta").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m veduta "$@"\n')
    (folder / "veduta").chmod(0o755)
    for name in ("sh", "seq", "xargs", "nproc", "test"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_parallel_fills_a_gallery_and_may_be_run_again(photos, tmp_path, commands):
    Gallery.create(tmp_path / "gallery").close()
    (tmp_path / "photos").symlink_to(photos)
    line = ["sh", DEPLOY / "parallel.sh", tmp_path / "gallery", tmp_path / "photos", tmp_path / "work", "3", "2"]
    for _ in range(2):
        done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
    assert references(tmp_path / "gallery") == 12
    assert is_whole(tmp_path / "gallery")
    assert job_status(tmp_path / "work").finished == 3


def test_parallel_gives_gnu_parallel_the_same_line(tmp_path, commands):
    fake = commands / "parallel"
    fake.write_text(f'#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open("{tmp_path}/line", "w"))\n')
    fake.chmod(0o755)
    (commands / "veduta").write_text("#!/bin/sh\n")
    subprocess.run(["sh", DEPLOY / "parallel.sh", "a b", "p", "w", "3"], timeout=PATIENCE, check=True)
    *_, shell, flag, quoted, name, number = json.loads((tmp_path / "line").read_text())
    assert (shell, flag, name, number) == ("sh", "-c", "shard", "{}")  # which it joins by blanks for a shell to read
    assert re.fullmatch("'veduta jobs add [^']*'", quoted)


def test_the_slurm_script_submits_an_array_and_a_merge_that_waits(photos, tmp_path, commands):
    """With an sbatch that runs what it is given at once, each task in turn."""
    sbatch = commands / "sbatch"
    sbatch.write_text(
        f"""#!{sys.executable}
import os, re, subprocess, sys
options = dict(word[2:].split("=", 1) for word in sys.argv[1:] if word.startswith("--") and "=" in word)
script = [word for word in sys.argv[1:] if not word.startswith("--")]
environment = dict(os.environ, SLURM_JOB_ID="7", STEP=re.search("STEP=([a-z]+)", options["export"])[1])
first, last = map(int, re.match(r"(\\d+)-(\\d+)", options.get("array", "0-0")).groups())
assert "array" in options or options["dependency"] == "afterok:7"
for task in range(first, last + 1):
    environment["SLURM_ARRAY_TASK_ID"] = str(task)
    subprocess.run(["sh", *script], env=environment, check=True, stdout=sys.stderr)
print(7)
"""
    )
    sbatch.chmod(0o755)
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "palazzo-0" / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    Gallery.create(tmp_path / "gallery").close()
    line = ["sh", DEPLOY / "slurm.sh", tmp_path / "gallery", tmp_path / "photos", tmp_path / "work", "2"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert references(tmp_path / "gallery") == 12
    assert "damaged.jpg: " in done.stderr


def test_kubernetes_deals_every_shard_once_and_merges_later():
    shards, merge = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    (container,) = shards["spec"]["template"]["spec"]["containers"]
    assert shards["spec"]["completionMode"] == "Indexed"
    assert str(shards["spec"]["completions"]) == {each["name"]: each["value"] for each in container["env"]}["SHARDS"]
    assert merge["spec"]["suspend"]
    for job in (shards, merge):
        pod = job["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        (place,) = pod["containers"][0]["volumeMounts"]
        line = pod["containers"][0]["command"][-1]
        assert all(path.startswith(place["mountPath"]) for path in re.findall(r"(?<=\s)/[\w/]+", line))
    numbers = [
        subprocess.run(["sh", "-c", 'echo "$((JOB_COMPLETION_INDEX + 1))/$SHARDS"'], capture_output=True, text=True,
                       check=True, env={"JOB_COMPLETION_INDEX": str(i), "SHARDS": "16"} | dict(os.environ)).stdout
        for i in (0, 15)
    ]  # fmt: skip
    assert numbers == ["1/16\n", "16/16\n"]
    assert '"$((JOB_COMPLETION_INDEX + 1))/$SHARDS"' in container["command"][-1]
