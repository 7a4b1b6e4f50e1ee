"""Weights that do not ship: fetched only when asked, whole or not at all, and never mistaken for others."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from support.processes import PATIENCE

from veduta.errors import ModelError
from veduta.models.cards import card
from veduta.models.weights import SOURCES, describe_weights, file_sha256, find_weights, pull_weights

CONFIG = json.dumps({"model_type": "superpoint"}).encode()
WEIGHTS = bytes(range(256)) * 4096  # 1 MB
COMMIT = "c0ffee" * 6 + "0000"
REPOSITORY = SOURCES["superpoint"].repository


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download sees: what it says of a file, and the file or the rest of it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.serve(body=False)

    def do_GET(self):
        self.serve(body=True)

    def serve(self, *, body):
        state = self.server.state
        state.requests.append((self.command, self.path, self.headers.get("Range")))
        repository, _, name = self.path.lstrip("/").partition("/resolve/main/")
        if repository != REPOSITORY:
            return self.fail("RepoNotFound")
        if name not in state.files:
            return self.fail("EntryNotFound")
        data = state.files[name]
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{state.etags.get(name, hashlib.sha1(data).hexdigest())}"')
        if name == "model.safetensors":
            self.send_header("X-Linked-Etag", f'"{state.etags.get(name, hashlib.sha256(data).hexdigest())}"')
            self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if body and state.stall and name == "model.safetensors":
            self.wfile.write(data[start : len(data) // 2])
            self.wfile.flush()
            state.stalled.set()
            state.go_on.wait(PATIENCE)
        elif body:
            self.wfile.write(data[start:])
        return None

    def fail(self, code):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub():
    """A hub on this machine that has SuperPoint."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    state = SimpleNamespace(requests=[], files={"config.json": CONFIG, "model.safetensors": WEIGHTS}, etags={})
    state.stall, state.stalled, state.go_on = False, threading.Event(), threading.Event()
    state.url = f"http://127.0.0.1:{server.server_port}"
    server.state = state
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    state.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder for weights."""
    monkeypatch.setenv("VEDUTA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def veduta(*arguments, hub=None, start=False, **more):
    """Run the command with a hub of its own; the hub's address is read when its library is loaded."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | more
    environment |= {"HF_ENDPOINT": hub.url if hub else "http://127.0.0.1:9", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-m", "veduta", *map(str, arguments)]
    if start:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def kept(home):
    """What a pull leaves below the folder for weights."""
    return sorted(path.name for path in home.iterdir()) if home.exists() else []


# --- from the hub -----------------------------------------------------------------------------------------------


def test_weights_are_fetched_with_a_card_that_says_what_and_from_where(hub, home):
    done = veduta("models", "pull", "superpoint", hub=hub)
    assert done.returncode == 0, done.stderr
    assert "non-commercial research only" in done.stderr
    assert (home / "superpoint" / "model.safetensors").read_bytes() == WEIGHTS
    about = json.loads((home / "superpoint" / "card.json").read_text())
    assert about["license"] == card("superpoint").license
    assert about["fetched"] == {
        "repository": REPOSITORY,
        "revision": "main",
        "commit": COMMIT,
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    }
    assert find_weights("superpoint").sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert kept(home) == ["superpoint"]
    assert describe_weights("superpoint") == str(home / "superpoint")


def test_weights_that_are_there_are_not_asked_for_again(hub, home):
    assert veduta("models", "pull", "superpoint", hub=hub).returncode == 0
    before = len(hub.requests)
    assert veduta("models", "pull", "superpoint", hub=hub).returncode == 0
    assert len(hub.requests) == before


def test_a_fetch_that_was_killed_goes_on_where_it_was(hub, home):
    large = hub.files["model.safetensors"] = WEIGHTS * 40  # it is written in pieces of ten megabytes
    hub.stall = True
    process = veduta("models", "pull", "superpoint", hub=hub, start=True)
    assert hub.stalled.wait(PATIENCE)
    part = wait_for_part(home, len(large) // 4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert kept(home) == [".superpoint.part"], "nothing looks finished"
    arrived = part.stat().st_size
    with pytest.raises(ModelError, match="not on this machine"):
        find_weights("superpoint")
    hub.stall = False
    hub.requests.clear()
    done = veduta("models", "pull", "superpoint", hub=hub)
    assert done.returncode == 0, done.stderr
    ranges = [r for method, path, r in hub.requests if method == "GET" and path.endswith("model.safetensors")]
    assert ranges == [f"bytes={arrived}-"]
    assert (home / "superpoint" / "model.safetensors").read_bytes() == large


def wait_for_part(home, size):
    """Return the file that is being written, once it has this many bytes."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = [p for p in (home / ".superpoint.part").glob("model.safetensors.*.part") if p.stat().st_size >= size]
        if found:
            return found[0]
        time.sleep(0.02)
    raise AssertionError("nothing was written")


def test_a_file_that_changed_on_the_hub_is_not_continued_with_the_old_half(hub, home):
    part = home / ".superpoint.part"
    part.mkdir(parents=True)
    (part / "model.safetensors.0123456789abcdef.part").write_bytes(b"half of another version")
    assert veduta("models", "pull", "superpoint", hub=hub).returncode == 0
    assert (home / "superpoint" / "model.safetensors").read_bytes() == WEIGHTS


def test_a_file_that_is_not_what_the_hub_says_is_refused(hub, home):
    hub.etags["model.safetensors"] = "f" * 64
    done = veduta("models", "pull", "superpoint", hub=hub)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "arrived damaged (sha256 differs from the hub's); pull again" in done.stderr
    assert kept(home) == [".superpoint.part"]
    hub.etags.clear()
    assert veduta("models", "pull", "superpoint", hub=hub).returncode == 0, "the damaged half is not gone on with"


@pytest.mark.parametrize(
    ("model", "missing", "said"),
    [("superglue", None, "the hub has no such repository"), ("superpoint", "model.safetensors", "has no such file")],
)
def test_what_the_hub_does_not_have_is_said_in_one_line(hub, home, model, missing, said):
    hub.files.pop(missing, None)
    done = veduta("models", "pull", model, hub=hub)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
    assert SOURCES[model].repository in done.stderr
    assert model not in kept(home)


def test_without_a_network_it_is_said_in_one_line(home):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        done = veduta("models", "pull", "superpoint", hub=SimpleNamespace(url=url))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "could not be fetched" in done.stderr


def test_offline_means_that_nobody_is_asked(hub, home):
    done = veduta("models", "pull", "superpoint", hub=hub, HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "HF_HUB_OFFLINE forbids" in done.stderr
    assert hub.requests == []


def test_nothing_is_fetched_but_by_pull(hub, home, tmp_path):
    done = veduta("create", tmp_path / "gallery", "--extractor", "superpoint", hub=hub)
    assert done.returncode == 2
    assert "veduta models pull superpoint" in done.stderr
    assert veduta("models", hub=hub).returncode == 0
    assert hub.requests == []


# --- from a folder ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """SuperPoint's files, as somebody else has fetched them."""
    made = tmp_path / "elsewhere"
    made.mkdir()
    (made / "config.json").write_bytes(CONFIG)
    (made / "model.safetensors").write_bytes(WEIGHTS)
    return made


def test_weights_are_taken_from_a_folder(home, folder):
    assert pull_weights("superpoint", folder) == home / "superpoint"
    assert find_weights("superpoint").file.read_bytes() == WEIGHTS
    (folder / "model.safetensors").write_bytes(b"newer")
    pull_weights("superpoint", folder)
    assert find_weights("superpoint").sha256 == file_sha256(folder / "model.safetensors")


def test_a_folder_without_the_files_is_refused(home, folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model.safetensors; expected the files of"):
        pull_weights("superpoint", folder)
    assert kept(home) in ([], [".superpoint.part"])


def test_a_folder_of_another_model_is_refused(home, folder):
    with pytest.raises(ModelError, match="kind 'superpoint', expected 'superglue'"):
        pull_weights("superglue", folder)
    (folder / "config.json").write_text("no json")
    with pytest.raises(ModelError, match="is no configuration"):
        pull_weights("superpoint", folder)


def test_weights_that_changed_since_are_refused(home, folder):
    pull_weights("superpoint", folder)
    (home / "superpoint" / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ModelError, match="is not what was fetched"):
        find_weights("superpoint")
    (home / "superpoint" / "card.json").write_text("{}")
    with pytest.raises(ModelError, match="no card of fetched weights"):
        find_weights("superpoint")


def test_what_ships_or_does_not_exist_has_nothing_to_fetch(home):
    for name in ("xfeat", "nonesuch"):
        with pytest.raises(ModelError, match="has weights to fetch"):
            pull_weights(name)


def test_every_source_has_a_card_that_says_where_it_stands():
    for name, source in SOURCES.items():
        licence = card(name).license
        assert ("non-commercial" in licence) == source.research_only
        assert f"veduta models pull {name}" in card(name).source
