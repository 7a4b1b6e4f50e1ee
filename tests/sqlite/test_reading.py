"""Files read by somebody who may not write them, and files replaced while open: the truth, or a clear error."""

import shutil
import sqlite3
import threading
from contextlib import closing

import pytest
from support.servers import check_error, files, inside

from veduta.errors import GalleryError, ReplacedError
from veduta.gallery import Gallery
from veduta.gallery.store import GALLERY_FILE
from veduta.landmarks import Landmark
from veduta.sqlite import Database
from veduta.sqlite.connections import connect, connect_read_only, file_state
from veduta.sqlite.faults import gallery_fault


@pytest.fixture
def file(tmp_path):
    """A database with one table of numbers, 0 to 999, closed by whoever made it."""
    path = tmp_path / "numbers.sqlite"
    with closing(connect(path)) as made:
        made.execute("CREATE TABLE number (n INTEGER PRIMARY KEY, text TEXT)")
        made.executemany("INSERT INTO number VALUES (?, ?)", [(n, "x" * 100) for n in range(1000)])
    return path


@pytest.fixture
def reader(file):
    """The same, open for reading only."""
    with closing(Database(file, gallery_fault, read_only=True)) as opened:
        assert numbers(opened) == list(range(1000))
        yield opened


def numbers(db):
    return [n for (n,) in db.rows("SELECT n FROM number ORDER BY n")]


CHANGES = {
    "added": "INSERT INTO number VALUES (5000, 'new')",
    "removed": "DELETE FROM number WHERE n = 7",
    "many removed": "DELETE FROM number WHERE n % 2",
    "all removed": "DELETE FROM number",
    "renamed": "UPDATE number SET n = n + 5000 WHERE n < 100",
    "rewritten": "UPDATE number SET text = 'y' || n WHERE n > 500",
    "much added": "WITH RECURSIVE a(n) AS (SELECT 2000 UNION ALL SELECT n + 1 FROM a WHERE n < 9000) "
    "INSERT INTO number SELECT n, hex(randomblob(100)) FROM a",
    "checkpointed": "DELETE FROM number WHERE n < 900; PRAGMA wal_checkpoint(TRUNCATE)",
    "indexed": "CREATE INDEX by_text ON number (text); DELETE FROM number WHERE n > 10",
    "two changes": "DELETE FROM number WHERE n < 10; INSERT INTO number VALUES (6000, 'z')",
}


@pytest.mark.parametrize("closed", [True, False], ids=["writer gone", "writer at work"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_reader_sees_what_others_change(file, reader, change, closed):
    for statements in (CHANGES[change], "DELETE FROM number WHERE n % 5 = 0; INSERT INTO number VALUES (-1, '')"):
        writer = connect(file)
        writer.executescript(statements)
        expected = [n for (n,) in writer.execute("SELECT n FROM number ORDER BY n")]
        if closed:
            writer.close()
        assert numbers(reader) == expected
        assert reader.rows("PRAGMA integrity_check") == [("ok",)]
        writer.close()
        assert numbers(reader) == expected


def test_a_reader_beside_a_writer_reads_whole_transactions(file, reader):
    """The sum of all rows stays the same in each transaction, so that a torn read would show."""
    stop = threading.Event()

    def write():
        while not stop.is_set():
            with closing(connect(file)) as writer:
                writer.executescript(
                    "BEGIN; UPDATE number SET text = hex(randomblob(60)) WHERE n % 3 = 0;"
                    "UPDATE number SET n = -n WHERE n % 2; COMMIT"
                )

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(100):
            assert reader.rows("SELECT count(*), sum(abs(n)) FROM number") == [(1000, 499_500)]
    finally:
        stop.set()
        thread.join()


def test_what_a_transaction_reads_of_a_changing_file_is_no_damage(file, reader):
    def read():
        with reader.transaction("BEGIN", "cannot be read"):
            numbers(reader)
            with closing(connect(file)) as writer:
                writer.executescript(CHANGES["checkpointed"])

    with pytest.raises(GalleryError, match="changed while being read"):
        read()
    assert numbers(reader) == list(range(900, 1000))


def test_a_damaged_file_is_still_called_so(file, reader):
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xff" * 20_000)
    with pytest.raises(GalleryError, match=r"malformed.*; restore it from a copy"):
        numbers(reader)


@pytest.mark.parametrize("change", CHANGES)
def test_a_log_without_its_index_is_read(file, tmp_path, change):
    copy = tmp_path / "copy" / file.name
    copy.parent.mkdir()
    with closing(connect(file)) as writer:
        writer.executescript(CHANGES[change])
        expected = [n for (n,) in writer.execute("SELECT n FROM number ORDER BY n")]
        for ending in ("", "-wal"):
            shutil.copy(f"{file}{ending}", f"{copy}{ending}")
    before = file_state(copy)
    with closing(Database(copy, gallery_fault, read_only=True)) as reader:
        assert numbers(reader) == expected
    assert file_state(copy) == before
    assert sorted(left.name for left in copy.parent.iterdir()) == [copy.name, f"{copy.name}-wal"]
    with closing(connect_read_only(copy)) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM number")


# --- replaced while open ----------------------------------------------------------------------------------------


def replace(path, aside):
    path.rename(aside)
    shutil.copytree(aside, path)


PLACES = {
    "replaced by a copy": replace,
    "moved": lambda path, aside: path.rename(aside),
    "deleted": lambda path, aside: shutil.rmtree(path),
    "emptied": lambda path, aside: [file.unlink() for file in path.iterdir() if file.is_file()],
    "its file deleted": lambda path, aside: (path / GALLERY_FILE).unlink(),
    "its file moved": lambda path, aside: (path / GALLERY_FILE).rename(path / "old.sqlite"),
    "its file replaced": lambda path, aside: shutil.copy(path / GALLERY_FILE, aside).replace(path / GALLERY_FILE),
    "another put there": lambda path, aside: (path.rename(aside), Gallery.create(path).close()),
    "a folder put there": lambda path, aside: (path.rename(aside), (path / GALLERY_FILE).mkdir(parents=True)),
    "a file put there": lambda path, aside: (path.rename(aside), path.write_text("x")),
    "a link put there": lambda path, aside: (
        path.rename(aside),
        path.mkdir(),
        (path / GALLERY_FILE).symlink_to(shutil.copy(aside / GALLERY_FILE, aside / "copy.sqlite")),
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_gallery_replaced_while_served_is_refused(gallery_path, tmp_path, view, place):
    with inside(gallery_path) as client:
        assert client.get("/readyz").status_code == 200
        PLACES[place](gallery_path, tmp_path / "aside")
        photo = {"files": files(view), "data": {"landmark": "new"}}
        for response in (
            client.post("/v1/references", **photo),
            client.put("/v1/landmarks/x", json={"name": "X"}),
            client.delete("/v1/landmarks/palazzo-0"),
            client.post("/v1/recognize", files=files(view)),
            client.get("/v1/landmarks"),
            client.get("/v1/landmarks/palazzo-0"),
            client.get("/readyz"),
        ):
            assert "restart the server" in check_error(response, 503)
        assert client.get("/healthz").status_code == 200
    if (gallery_path / "photos").is_dir():
        assert list((gallery_path / "photos").iterdir()) == []


def test_a_gallery_replaced_while_open_says_what_to_do(gallery_path, tmp_path):
    with Gallery.open(gallery_path) as gallery:
        replace(gallery_path, tmp_path / "aside")
        for use in (gallery.counts, lambda: gallery.put_landmark(Landmark("x")), lambda: gallery.remove("palazzo-0")):
            with pytest.raises(ReplacedError, match=r"replaced, moved or deleted since it was opened.*; open it again"):
                use()
    with Gallery.open(gallery_path) as again, Gallery.open(tmp_path / "aside") as aside:
        assert again.counts() == aside.counts() == (6, 12)


def test_what_is_replaced_within_a_transaction_is_not_acknowledged(gallery_path, tmp_path):
    def change(gallery):
        with gallery._store._writing() as db:
            db.execute("UPDATE landmark SET name = 'X'")
            replace(gallery_path, tmp_path / "aside")

    with Gallery.open(gallery_path) as gallery, pytest.raises(ReplacedError):
        change(gallery)


def test_a_gallery_that_is_only_read_shows_what_its_owner_changes(gallery_path, view, monkeypatch):
    with Gallery.open(gallery_path) as owner, monkeypatch.context() as patched:
        patched.setattr("veduta.gallery.store.is_writable", lambda file: False)
        patched.setattr("veduta.gallery.parallel_reader.is_writable", lambda file: False)
        owner.close()
        with inside(gallery_path, token=None) as client:
            assert client.get("/v1/landmarks/new").status_code == 404
            patched.setattr("veduta.gallery.store.is_writable", lambda file: True)
            with Gallery.open(gallery_path) as writer:
                writer.remove("palazzo-3")
                writer.add_photo(view, Landmark("new", "New"))
                assert client.get("/v1/landmarks/new").json()["references"] == 1
            (answer,) = client.post("/v1/recognize", files=files(view)).json()["results"]
            assert answer["landmark"]["id"] == "new"
            assert client.get("/v1/landmarks/palazzo-3").status_code == 404
            assert client.get("/readyz").status_code == 200
