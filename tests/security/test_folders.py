"""A folder that somebody else made can do nothing but be read: galleries, libraries, journals, databases, networks."""

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import world
from support.cli import run

from veduta.decision.model import LearnedDecider
from veduta.errors import GalleryError, LibraryError, ModelError, VedutaError
from veduta.files import draft, locked, write_atomic
from veduta.gallery import Gallery
from veduta.gallery.live_index import INDEX_SETTING, IndexChoice
from veduta.gallery.references import PHOTOS_FOLDER
from veduta.gallery.store import GALLERY_FILE
from veduta.jobs import AddJob, run_shard
from veduta.library import Library, journal
from veduta.library.catalog import CATALOG_FILE, is_library_file
from veduta.library.journal import Step
from veduta.models.cards import ModelCard
from veduta.models.session import open_session

SECRET = b"nobody else's business\n"


@pytest.fixture
def stranger(built, tmp_path, monkeypatch):
    """A gallery from somebody else, which this user has never accepted anything of."""
    monkeypatch.setenv("VEDUTA_USER_STATE", str(tmp_path / "state"))
    return shutil.copytree(built, tmp_path / "stranger")


@pytest.fixture
def victim(tmp_path):
    """A person's files outside of what they unpacked: name -> path."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("thesis.txt", "id_rsa", ".bashrc", "photo.jpg"):
        (home / name).write_bytes(SECRET + name.encode())
    return home


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def change(file, statement, *values):
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(statement, values)
    db.close()


def choose(gallery, **fields):
    change(
        gallery / GALLERY_FILE,
        "INSERT OR REPLACE INTO attachment VALUES (?, ?)",
        INDEX_SETTING,
        json.dumps(fields).encode(),
    )


# --- code of the current folder --------------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", [True, False])
def test_no_code_of_the_current_folder_runs(stranger, view, tmp_path, accepted):
    """An index to be built starts a process; whatever lies where the person is must not be taken for a module."""
    choose(stranger, kind="approximate")
    box = tmp_path / "box"
    box.mkdir()
    for name in ("veduta", "numpy", "faiss", "typer", "sqlite3", "json", "sitecustomize"):
        (box / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write({name!r})\n")
    if accepted:
        subprocess.run([sys.executable, "-P", "-m", "veduta", "trust", stranger], check=True, capture_output=True)
    command = [sys.executable, "-P", "-m", "veduta", "recognize", stranger, view]
    done = subprocess.run(command, cwd=box, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if accepted:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "veduta", "index", stranger], cwd=box, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


# --- what a gallery asks for -----------------------------------------------------------------------------------


class Listener(http.server.BaseHTTPRequestHandler):
    """Notes what is sent, and to which path."""

    heard = []  # noqa: RUF012 - of all connections

    def do_GET(self):
        self.heard.append((self.path, self.headers.get("api-key")))
        self.send_response(404)
        self.end_headers()

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def listener():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Listener.heard = []
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def name_qdrant(gallery, address):
    with Gallery.open(gallery) as opened:
        digest = opened.settings["embedder"]["sha256"]
    choose(gallery, kind="qdrant", address=address, name="sights")
    (gallery / "index").mkdir(exist_ok=True)
    state = {"address": address, "name": "sights", "collection": f"sights--{digest[:12]}-1", "row": 99, "count": 9}
    (gallery / "index" / "qdrant.json").write_text(json.dumps(state))


@pytest.mark.parametrize("call", ["recognize", "explain", "list", "info", "trust --list", "index", "add"])
def test_no_key_is_sent_where_a_gallery_says(stranger, view, photos, tmp_path, listener, monkeypatch, call):
    monkeypatch.setenv("VEDUTA_QDRANT_API_KEY", "my-secret-key")
    name_qdrant(stranger, listener)
    arguments = {
        "recognize": [stranger, view],
        "explain": [stranger, view, "--out", tmp_path / "out"],
        "add": [stranger, photos],
        "trust --list": [stranger, "--list"],
    }.get(call, [stranger])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(call.split()[0], *arguments, code=2 if call == "index" else 0)
    assert Listener.heard == []


def test_an_address_is_asked_once_its_owner_has_named_it(stranger, view, listener, monkeypatch):
    monkeypatch.setenv("VEDUTA_QDRANT_API_KEY", "my-secret-key")
    name_qdrant(stranger, listener)
    run("trust", stranger)
    run("recognize", stranger, view, code=2)  # nobody answers there as a Qdrant does
    assert {key for _, key in Listener.heard} == {"my-secret-key"}
    name_qdrant(stranger, listener + ",http://127.0.0.1:9")
    Listener.heard = []
    with pytest.warns(UserWarning, match="has not accepted"), Gallery.open(stranger) as gallery:
        list(gallery.recognize([view]))
    assert Listener.heard == []


def test_a_gallery_says_what_it_asks_for_and_does_not_do_it(stranger, view):
    choose(stranger, kind="approximate")
    with Gallery.open(stranger) as gallery:
        assert not any(gallery.requests().values())
        with pytest.warns(UserWarning, match=r"approximate index.*veduta trust"):
            answers = list(gallery.recognize([view]))
        assert answers[0].landmark.id == "palazzo-0"
        assert not (stranger / "index").exists()
        gallery.trust()
        assert all(gallery.requests().values())


def test_a_gallery_one_made_is_accepted_and_its_copy_asks(tmp_path):
    with Gallery.create(tmp_path / "mine") as gallery:
        gallery.choose_index("approximate")
        assert all(gallery.requests().values())
    copy = shutil.copytree(tmp_path / "mine", tmp_path / "copy")
    with Gallery.open(copy) as gallery:
        assert not any(gallery.requests().values())


@pytest.mark.parametrize("where", ["absolute", "above", "link", "folder of links", "short", "upper case"])
def test_removing_a_reference_removes_nothing_of_anybody_else(stranger, victim, where):
    digest = hashlib.sha256(b"x").hexdigest()
    photos = stranger / PHOTOS_FOLDER
    if where == "folder of links":
        photos.symlink_to(victim)
        (victim / digest).write_bytes(SECRET)
    else:
        photos.mkdir()
        (photos / digest).symlink_to(victim / "thesis.txt")
    name = {
        "absolute": str(victim / "thesis.txt"),
        "above": "../../home/thesis.txt",
        "short": "../../home/.bashrc",
        "upper case": digest.upper(),
    }.get(where, digest)
    change(stranger / GALLERY_FILE, "UPDATE reference SET sha256 = ? WHERE row = 1", name)
    before = contents(victim)
    with Gallery.open(stranger) as gallery:
        gallery.remove(landmark="palazzo-0")
    assert contents(victim) == before


def test_no_photo_outside_is_read_for_a_gallery_that_was_not_accepted(stranger, photos, monkeypatch):
    with Gallery.open(stranger) as gallery:
        reference = gallery.references()[0]
        opened = []
        monkeypatch.setattr("veduta.images.photo_bytes._read", lambda path, *_: opened.append(path) or b"")
        gallery.reference(reference.id).picture()
        assert opened == []


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE features SET features = ?", b""),
        ("UPDATE features SET features = ?", b"\xff" * 20),
        ("UPDATE features SET features = ?", np.ones(7, np.float32).tobytes()),
        ("UPDATE reference SET descriptor = ?", b"\0\0"),
        ("UPDATE reference SET descriptor = ?", b"\0"),
        ("UPDATE reference SET descriptor = ? WHERE row = 1", b"\0" * 4_000),
        ("UPDATE reference SET descriptor = ?", np.full(384, np.nan, np.float16).tobytes()),
        ("UPDATE keypoint_support SET counts = ?", b"\1\2\3"),
        ("UPDATE landmark SET id = ? WHERE id = 'palazzo-1'", ""),
        ("UPDATE reference_pair SET num_inliers = ?", -1),
        ("UPDATE reference_pair SET num_inliers = ?", 2**62),
        ("UPDATE meta SET value = ? WHERE key = 'settings'", "[]"),
        ("UPDATE meta SET value = ? WHERE key = 'settings'", "{}"),
        ("UPDATE meta SET value = ? WHERE key = 'settings'", "[" * 5_000),
        ("UPDATE meta SET value = ? WHERE key = 'settings'", '{"embedder": [], "extractor": {"name": 3}}'),
        ("DELETE FROM meta WHERE key = 'settings' OR key = ?", ""),
        ("INSERT OR REPLACE INTO attachment VALUES ('index', ?)", b"junk"),
        ("INSERT OR REPLACE INTO attachment VALUES ('index', ?)", b"[1]"),
        ("INSERT OR REPLACE INTO attachment VALUES ('index', ?)", b'{"kind": "qdrant", "address": ["x"]}'),
        ("INSERT OR REPLACE INTO attachment VALUES ('index', ?)", b'{"kind": "exact", "recall": "much"}'),
        ("INSERT OR REPLACE INTO attachment VALUES ('decision', ?)", b"junk"),
        ("INSERT OR REPLACE INTO attachment VALUES ('decision', ?)", b"PK\x05\x06" + b"\0" * 18),
        ("CREATE VIEW v AS SELECT ? AS x", None),
        ("CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM reference; END", None),
        ("CREATE TABLE t (a, b AS (hex(a)))", None),
    ],
)
def test_a_damaged_gallery_is_one_line(stranger, view, statement, value):
    values = () if value is None or "?" not in statement else (value,)
    if statement.startswith("CREATE VIEW"):
        statement, values = "CREATE VIEW v AS SELECT 1 AS x", ()
    if "reference" in statement and "sha256" not in statement and "descriptor" in statement:
        change(stranger / GALLERY_FILE, "DROP TRIGGER reference_removed")
        change(
            stranger / GALLERY_FILE,
            "CREATE TRIGGER reference_removed AFTER DELETE ON reference BEGIN\n"
            "    INSERT INTO removed (row) VALUES (old.row);\nEND",
        )
    change(stranger / GALLERY_FILE, statement, *values)
    result = run("recognize", stranger, view, code=None)
    assert result.returncode in (0, 2), result
    assert "Traceback" not in result.stderr
    if result.returncode:
        assert result.stderr.startswith("veduta: ")
        assert result.stderr.count("\n") == 1
        assert str(stranger) in result.stderr or "calibrat" in result.stderr


def test_every_part_of_a_decision_is_checked():
    from veduta.decision.model import shipped_decider

    good = shipped_decider("efficientnet-lite2-landmarks", "xfeat", "nearest").to_bytes()
    assert LearnedDecider.from_bytes(good).centers.shape[1] > 1
    for seed in range(40):
        bad = bytearray(good)
        rng = np.random.default_rng(seed)
        if seed % 2:
            bad = bad[: rng.integers(len(bad))]
        else:
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        try:
            LearnedDecider.from_bytes(bytes(bad))
        except GalleryError as error:
            assert "\n" not in str(error)  # noqa: PT017


# --- databases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["gallery.sqlite", "gallery.sqlite-wal", "gallery.sqlite-shm", "gallery.sqlite-journal"]
)
def test_a_database_of_links_is_not_opened(stranger, victim, name):
    file = stranger / name
    file.unlink(missing_ok=True)
    file.symlink_to(victim / "thesis.txt")
    before = contents(victim)
    with pytest.raises(VedutaError):
        Gallery.open(stranger)
    assert contents(victim) == before


def test_a_rollback_journal_is_not_played_back(stranger, victim):
    """SQLite deletes the file that a rollback journal names as its super-journal."""
    (stranger / "gallery.sqlite-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504))
    with pytest.raises(GalleryError, match=r"gallery\.sqlite-journal is not Veduta's"):
        Gallery.open(stranger)


# --- files ---------------------------------------------------------------------------------------------------------


def test_nothing_is_written_through_a_link(tmp_path, victim):
    before = contents(victim)
    (tmp_path / ".a.json.draft").symlink_to(victim / ".bashrc")
    (tmp_path / "a.json").symlink_to(victim / "thesis.txt")
    write_atomic(tmp_path / "a.json", "new")
    (tmp_path / ".lock").symlink_to(victim / "id_rsa")
    with pytest.raises(OSError, match=r"\.lock"), locked(tmp_path):
        pass
    assert contents(victim) == before
    assert (tmp_path / "a.json").read_text() == "new"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with draft(tmp_path / "a") as first, draft(tmp_path / "a") as second:
        first.write(b"first")
        second.write(b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_private_files_are_for_their_owner_only(library, stranger, photos):
    Library(library).close()
    with Gallery.open(stranger) as gallery:
        gallery.add_photo(next(Path(photos).rglob("*.jpg")), "palazzo-0")
    state = library / ".veduta"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / CATALOG_FILE).stat().st_mode) == 0o600


# --- libraries and their journals ----------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Folder of a library from somebody else, its catalog made by their Veduta."""
    monkeypatch.setenv("VEDUTA_USER_STATE", str(tmp_path / "state of somebody else"))
    folder = tmp_path / "library"
    for i in range(3):
        world.save(world.facade(i, 240, 180), folder / f"{i}.jpg")
    with Library(folder) as opened:
        opened.scan()
    monkeypatch.setenv("VEDUTA_USER_STATE", str(tmp_path / "state"))
    return folder


STAMP = {"size": 5, "mtime_ns": 1, "mode": 0o644}
PART = ".veduta-0123456789abcdef.part"


def forge(library, *steps, number=1, end=True, roots=None):
    """Write a journal as somebody else would, and return its file."""
    state = library / ".veduta"
    file = state / "journal" / f"{number:04d}-organize.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    head = {"veduta": 1, "what": "organize", "when": "2026-11-24T10:00:00+00:00"}
    lines = [head | {"state": str(state), "roots": roots or [str(library)]}, *steps]
    lines += [{"end": "applied"}] * end
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def move(source, target, **fields):
    step = {"step": 1, "kind": "move", "source": str(source), "target": str(target), "part": PART, "was": STAMP}
    return step | fields


def done(path):
    status = path.lstat()
    return {"done": 1, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "mode": stat.S_IMODE(status.st_mode)}


def attacks(library, home):
    """Yield journals that plant, delete, replace or move what is not in the library."""
    evil = library / "evil.desktop"
    evil.write_bytes(b"evil\n")
    yield "plant", [move(home / "autostart" / "evil.desktop", evil), done(evil)]
    yield "plant unfinished", [move(home / "autostart" / "evil.desktop", evil)]
    yield "delete by part", [move(library / "0.jpg", library / "x.jpg", part="../../home/id_rsa"), done(evil)]
    yield "delete by part beside", [move(home / "photo.jpg", library / "x.jpg", part="id_rsa")]
    yield "steal", [move(library / "stolen", home / "id_rsa"), done(home / "id_rsa")]
    yield "dots", [move(f"{library}/../home/new.desktop", evil), done(evil)]
    yield "relative", [move("../home/new.desktop", evil), done(evil)]
    yield "made", [{"made": str(home / "empty")}, move(library / "0.jpg", library / "x.jpg")]
    yield "time", [{"folder": str(home), "mtime_ns": 1, "names": "0"}, move(library / "0.jpg", library / "x.jpg")]
    after = hashlib.sha256((home / ".bashrc").read_bytes()).hexdigest()
    backup = library / ".veduta" / "backup" / "0001" / "000001"
    backup.parent.mkdir(parents=True, exist_ok=True)
    backup.write_bytes(b"evil\n")
    write = {"step": 1, "kind": "write", "target": str(home / ".bashrc"), "part": PART, "was": STAMP, "after": after}
    yield "replace", [write | {"before": hashlib.sha256(b"evil\n").hexdigest(), "backup": str(backup)}, done(evil)]
    yield "backup elsewhere", [write | {"before": after, "backup": str(home / "thesis.txt")}, done(evil)]
    yield "unknown kind", [move(library / "0.jpg", library / "x.jpg", kind="burn"), done(evil)]
    yield "odd numbers", [move(library / "0.jpg", library / "x.jpg", was={"size": "5", "mtime_ns": 1e99, "mode": None})]
    copy = {"step": 1, "kind": "copy", "source": str(library / "0.jpg"), "part": PART, "was": STAMP}
    (home / "copy.jpg").write_bytes((library / "0.jpg").read_bytes())
    yield "copy", [copy | {"target": str(home / "copy.jpg")}, done(home / "copy.jpg")]
    yield "link", [move(library / "way" / "new.desktop", evil), done(evil)]


@pytest.mark.parametrize("name", range(15))
@pytest.mark.parametrize("roots", [None, ["/x", "/"]])
def test_a_forged_journal_touches_nothing_outside(library, victim, name, roots):
    (library / "way").symlink_to(victim)
    (victim / "empty").mkdir()
    _, steps = list(attacks(library, victim))[name]
    before = contents(victim), sorted(victim.rglob("*")), victim.stat().st_mtime_ns
    forge(library, *steps, roots=roots)
    run("library", "undo", library, "--list", code=None)
    run("library", "organize", library, "--into", "X/{landmark}", code=None)
    inside = contents(library)
    result = run("library", "undo", library, code=None)
    assert "Traceback" not in result.stderr
    run("library", "organize", library, "--into", "X/{landmark}", "--apply", code=None)
    run("library", "undo", library, code=None)
    assert (contents(victim), sorted(victim.rglob("*")), victim.stat().st_mtime_ns) == before
    assert {p.name for p in contents(library)} >= {p.name for p in inside if p.suffix == ".jpg"}


def test_a_plan_a_list_and_a_report_change_nothing(library, victim):
    forge(library, move(library / "0.jpg", library / "x.jpg"), end=False)
    (library / "x.jpg").write_bytes(b"")
    before = contents(library)
    for command in (["organize", library, "--into", "X/{landmark}"], ["undo", library, "--list"], ["tag", library]):
        run("library", *command, code=None)
    after = contents(library)
    mine = {path for path in before if ".veduta" not in path.parts}
    assert {path: after.get(path) for path in mine} == {path: before[path] for path in mine}
    assert {path for path in after if ".veduta" not in path.parts} == mine


def test_what_this_user_wrote_can_be_undone_outside_and_what_was_changed_in_it_cannot(library, tmp_path):
    target = tmp_path / "Sorted" / "0.jpg"
    applied = journal.apply([Step("move", target, library / "0.jpg")], library / ".veduta", "organize", root=library)
    whole = applied.journal.read_text()
    applied.journal.write_text(whole.replace("Sorted/0.jpg", "Sorted/1.jpg"))
    with pytest.raises(LibraryError, match="was not written by your Veduta"):
        journal.undo(library / ".veduta", root=library)
    assert target.exists()
    applied.journal.write_text(whole)
    assert journal.undo(library / ".veduta", root=library).done == 1
    assert (library / "0.jpg").exists()


def test_a_backup_that_was_changed_is_not_put_back(library):
    step = Step("write", library / "0.xmp", make=lambda: b"second")
    (library / "0.xmp").write_bytes(b"first")
    journal.apply([step], library / ".veduta", "tag", root=library)
    backup = next((library / ".veduta" / "backup").rglob("0*.xmp"))
    backup.write_bytes(b"evil")
    undone = journal.undo(library / ".veduta", root=library)
    assert undone.done == 0
    assert "was changed there" in undone.left[0].error
    assert (library / "0.xmp").read_bytes() == b"second"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../home/id_rsa",
        "a/../../b.jpg",
        "..",
        "",
        "id_rsa",
        "a/notes.txt",
        "a//b.jpg",
        "./a.jpg",
        "a\0.jpg",
    ],
)
def test_a_row_that_no_scan_has_written_is_as_if_it_were_not_there(library, path):
    assert not is_library_file(path)
    file = library / ".veduta" / CATALOG_FILE
    change(file, "UPDATE file SET path = ? WHERE path = ?", os.fsencode(path), b"0.jpg")
    change(file, "UPDATE file SET companions = ?", json.dumps([path, "1.xmp"]))
    with Library(library) as opened:
        names = {str(f.relative_to(library)) for asset in opened.assets() for f in (*asset.files, *asset.companions)}
    assert names == {"1.jpg", "2.jpg", "1.xmp"}


@given(path=st.text(max_size=30) | st.sampled_from(["a/b.jpg", "ä/ü.heic", "x.JPG.xmp", "..a.jpg"]))
def test_only_paths_within_are_files_of_a_library(path):
    if is_library_file(path):
        assert os.path.normpath(f"/library/{path}") == f"/library/{path}"


def test_photos_behind_a_link_of_somebody_elses_library_are_left_alone(library, victim, tmp_path):
    world.save(world.facade(7, 240, 180), victim / "mine.jpg")
    (library / "way").symlink_to(victim)
    with Library(library) as opened:
        opened.scan()
        file = library / "way" / "mine.jpg"
        opened.set_verdict(file, "corrected", world_landmark())
        for plan in (opened.tag, lambda: opened.organize(str(tmp_path / "X" / "{landmark}"), "move")):
            with pytest.raises(LibraryError, match=r"lies behind a link.*veduta trust"):
                plan()
        opened.trust()
        assert len(opened.organize(str(tmp_path / "X" / "{landmark}"), "move").steps) == 1


def world_landmark():
    from veduta.landmarks import Landmark

    return Landmark("palazzo", "Palazzo")


def test_a_state_folder_that_is_a_link_is_not_used(tmp_path, victim):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / ".veduta").symlink_to(victim)
    before = sorted(victim.rglob("*"))
    with pytest.raises(LibraryError, match="is a link"):
        Library(tmp_path / "pictures")
    assert sorted(victim.rglob("*")) == before


# --- networks --------------------------------------------------------------------------------------------------------


def network(folder, location):
    """Write a network whose weights are named to lie in another file, and return its card."""
    onnx = pytest.importorskip("onnx")
    helper, tensor_proto = onnx.helper, onnx.TensorProto
    weights = tensor_proto(name="w", data_type=tensor_proto.FLOAT, data_location=tensor_proto.EXTERNAL)
    weights.dims.append(16)
    for key, value in (("location", location), ("offset", "0"), ("length", "64")):
        weights.external_data.add(key=key, value=value)
    values = [helper.make_tensor_value_info(name, tensor_proto.FLOAT, [16]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    data = model.SerializeToString()
    folder.mkdir(exist_ok=True)
    (folder / "network.onnx").write_bytes(data)
    fields = {
        "name": "theirs",
        "file": "network.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "dim": 16,
        "side": 64,
        "step": 32,
        "folder": str(folder),
    }
    from dataclasses import fields as fields_of

    rest = {f.name: "" if f.type == "str" else 0 for f in fields_of(ModelCard) if f.name not in fields}
    return ModelCard(**fields, **rest)


@pytest.mark.parametrize("place", ["here", "absolute", "above", "model's folder"])
def test_a_network_reads_no_file_but_its_own(tmp_path, monkeypatch, place):
    weights = np.arange(16, dtype=np.float32).tobytes()
    for folder in (tmp_path / "cwd", tmp_path / "model"):
        folder.mkdir()
        (folder / "local.bin").write_bytes(weights)
    monkeypatch.chdir(tmp_path / "cwd")
    location = {"absolute": str(tmp_path / "cwd" / "local.bin"), "above": "../cwd/local.bin"}.get(place, "local.bin")
    with pytest.raises(ModelError, match="is no network that can be opened"):
        open_session(network(tmp_path / "model", location))


def test_a_model_named_by_a_path_is_none_of_the_gallerys(stranger, tmp_path):
    with contextlib.closing(sqlite3.connect(stranger / GALLERY_FILE)) as db:
        settings_of = json.loads(db.execute("SELECT value FROM meta WHERE key='settings'").fetchone()[0])
    network(tmp_path / "elsewhere", "x.bin")
    (tmp_path / "elsewhere" / "card.json").write_text("{}")
    for name in ("../../elsewhere", str(tmp_path / "elsewhere"), ".", ".."):
        settings_of["embedder"]["name"] = name
        change(stranger / GALLERY_FILE, "UPDATE meta SET value = ? WHERE key = 'settings'", json.dumps(settings_of))
        with pytest.raises(GalleryError, match="which this Veduta does not have"):
            Gallery.open(stranger)


# --- anything at all -------------------------------------------------------------------------------------------------


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_gallery_is_read_or_refused_in_one_line(built, view, tmp_path_factory, data):
    path = shutil.copytree(built, tmp_path_factory.mktemp("mutated") / "gallery")
    file = path / GALLERY_FILE
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        with Gallery.open(path) as gallery:
            list(gallery.recognize([view]))
    except VedutaError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        shutil.rmtree(path)


def test_index_choice_of_nothing_is_the_default(stranger):
    with Gallery.open(stranger) as gallery:
        assert IndexChoice.of(gallery._store) == IndexChoice()


def test_a_damaged_schema_quotes_nothing_of_several_lines(stranger):
    file = stranger / GALLERY_FILE
    content = file.read_bytes()
    place = content.index(b"CREATE TABLE reference (")
    file.write_bytes(content[: place + 25] + b"\x80\x81" + content[place + 27 :])
    with pytest.raises(GalleryError) as caught:
        Gallery.open(stranger)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_job_of_somebody_else_adds_to_no_gallery(built, photos, tmp_path, monkeypatch):
    mine = shutil.copytree(built, tmp_path / "mine")
    monkeypatch.setenv("VEDUTA_USER_STATE", str(tmp_path / "state of somebody else"))
    run_shard(AddJob(mine, photos), tmp_path / "work")
    monkeypatch.setenv("VEDUTA_USER_STATE", str(tmp_path / "state"))
    before = contents(mine)
    result = run("jobs", "merge", tmp_path / "work", code=2)
    assert f"asks to add its photos to the gallery {mine}, which this user has not accepted" in result.stderr
    assert contents(mine) == before
    run("trust", tmp_path / "work")
    run("jobs", "merge", tmp_path / "work")


# --- what was planned, and what leads elsewhere since ---------------------------------------------------------------


def planned_copies(folder, target):
    for name in ("a", "b", "c"):
        (folder / f"{name}.jpg").write_bytes(name.encode())
    return [Step("copy", target / "deep" / f"{name}.jpg", folder / f"{name}.jpg") for name in ("a", "b", "c")]


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("kind", ["copy", "move", "hardlink", "symlink", "write"])
def test_a_folder_that_became_a_link_since_the_plan_is_not_written_through(tmp_path, victim, kind, depth):
    folder, target = tmp_path / "library", tmp_path / "library" / "sorted"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    place = target / "deep" / "a.jpg" if depth else target / "a.jpg"
    step = Step("write", place, make=lambda: b"new") if kind == "write" else Step(kind, place, folder / "a.jpg")
    before = contents(victim)
    target.symlink_to(victim, target_is_directory=True)
    applied = journal.apply([step], folder / ".veduta", "organize", root=folder)
    assert applied.done == 0
    assert "plan again" in applied.failures[0].error
    assert contents(victim) == before
    assert (folder / "a.jpg").read_bytes() == b"a"


def test_a_link_that_was_there_when_it_was_planned_is_the_persons(tmp_path):
    folder, real = tmp_path / "library", tmp_path / "disk"
    folder.mkdir()
    real.mkdir()
    (folder / "sorted").symlink_to(real, target_is_directory=True)
    steps = planned_copies(folder, folder / "sorted")
    assert journal.apply(steps, folder / ".veduta", "organize", root=folder).done == 3
    assert (real / "deep" / "b.jpg").read_bytes() == b"b"
