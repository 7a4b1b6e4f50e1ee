"""SQLite's and the system's errors by their codes: the type, and advice that fits."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from support import world
from support.servers import BEARER, check_error, files, inside, jpeg

from veduta.errors import GalleryError, NoRoomError, ReplacedError, UnwritableError
from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.review_queue import ReviewQueue
from veduta.sqlite.faults import folder_fault, gallery_fault, shortened, with_code

ADVICE = [
    (sqlite3.SQLITE_FULL, "cannot be written", NoRoomError, "make room"),
    (sqlite3.SQLITE_FULL, "cannot be opened", NoRoomError, "make room"),
    (sqlite3.SQLITE_IOERR_WRITE, "cannot be written", NoRoomError, "make room"),
    (sqlite3.SQLITE_IOERR_SHMSIZE, "cannot be opened", NoRoomError, "make room"),
    (sqlite3.SQLITE_READONLY, "cannot be written", UnwritableError, "the right to write"),
    (sqlite3.SQLITE_READONLY_DBMOVED, "cannot be written", ReplacedError, "open it again"),
    (sqlite3.SQLITE_READONLY_DIRECTORY, "cannot be written", UnwritableError, "the right to write"),
    (sqlite3.SQLITE_PERM, "cannot be opened", UnwritableError, "the right to write"),
    (sqlite3.SQLITE_BUSY, "cannot be written", GalleryError, "another process"),
    (sqlite3.SQLITE_BUSY_SNAPSHOT, "cannot be written", GalleryError, "another process"),
    (sqlite3.SQLITE_LOCKED, "cannot be written", GalleryError, "another process"),
    (sqlite3.SQLITE_CANTOPEN, "cannot be opened", GalleryError, "the right to read"),
    (sqlite3.SQLITE_CORRUPT, "cannot be read", GalleryError, "from a copy"),
    (sqlite3.SQLITE_NOTADB, "cannot be opened", GalleryError, "from a copy"),
    (sqlite3.SQLITE_OK, "is damaged", GalleryError, "from a copy"),
    (sqlite3.SQLITE_IOERR_READ, "cannot be written", GalleryError, "its disk"),
]


@pytest.mark.parametrize(("code", "action", "kind", "advice"), ADVICE)
def test_each_code_has_its_type_and_advice(code, action, kind, advice):
    error = gallery_fault(action, shortened(with_code(sqlite3.OperationalError("why"), code)), Path("x.sqlite"))
    assert type(error) is kind
    assert str(error).startswith(f"x.sqlite: {action} (why); ")
    assert advice in str(error)
    assert ("another process" in str(error)) == (advice == "another process")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoRoomError),
        (errno.EDQUOT, NoRoomError),
        (errno.EACCES, UnwritableError),
        (errno.EPERM, UnwritableError),
        (errno.EROFS, UnwritableError),
        (errno.EIO, GalleryError),
        (errno.ENOTDIR, GalleryError),
    ],
)
def test_the_systems_reasons_are_told_alike(number, kind, monkeypatch, gallery_path, tmp_path):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    assert type(folder_fault(tmp_path, OSError(number, os.strerror(number)))) is kind
    with Gallery.open(gallery_path) as gallery:
        before = gallery.counts()
        monkeypatch.setattr("veduta.gallery.references.write_atomic", refuse)
        with pytest.raises(GalleryError) as raised:
            gallery.add_contents([("x.jpg", jpeg(world.facade(77)))], Landmark("new"))
        assert type(raised.value) is kind
        assert gallery.counts() == before
    monkeypatch.setattr("veduta.sqlite.connections.os.open", refuse)
    with pytest.raises(GalleryError) as raised:
        ReviewQueue(tmp_path)
    assert type(raised.value) is kind


def fill(gallery):
    """Let a gallery's file grow no more, as on a full disk."""
    connection = gallery._store._db.connection
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")


CHANGES = {
    "put": lambda client, view: client.put("/v1/landmarks/" + "n" * 400, json={"name": "x" * 400, "url": "https://x/"}),
    "add": lambda client, view: client.post("/v1/references", files=files(view), data={"landmark": "new"}),
}


def test_a_full_disk_is_told_and_nothing_is_acknowledged(gallery_path, view):
    with inside(gallery_path) as client:
        served = client.app.state.engine.served["gallery"]
        before = served.gallery.counts()
        fill(served.gallery)
        assert "disk is full" in check_error(CHANGES["add"](client, view), 507)
        assert served.gallery.counts() == before
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/recognize", files=files(view)).json()["results"][0]["landmark"]["id"] == "palazzo-0"
    with Gallery.open(gallery_path) as gallery:
        assert gallery.counts() == before
        fill(gallery)
        with pytest.raises(NoRoomError, match="make room"):
            gallery.add_photo(view, "new")


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("PUT", "/v1/landmarks/palazzo-0", {"json": {"name": "X"}}),
        ("PUT", "/v1/landmarks/new", {"json": {}}),
        ("DELETE", "/v1/landmarks/palazzo-0", {}),
        ("DELETE", "/v1/references/palazzo-0%2Fphoto-0.jpg", {}),
        ("POST", "/v1/references", {"data": {"landmark": "new"}, "files": {"photos": jpeg(world.facade(5))}}),
        ("POST", "/v1/references", {"json": {"landmark": "palazzo-0", "photos": "AAAA", "name": "Y"}}),
    ],
)
def test_a_gallery_that_may_not_be_written_is_read_and_changes_get_403(built, monkeypatch, method, path, sent):
    monkeypatch.setattr("veduta.gallery.store.is_writable", lambda file: False)
    monkeypatch.setattr("veduta.gallery.keep_photo", refuse_to_keep)
    with inside(built) as client:
        before = client.get("/v1/server").json()
        assert (before["writable"], before["galleries"][0]["writable"]) == (False, False)
        assert "only reads" in check_error(client.request(method, path, headers=BEARER, **sent), 403)
        assert client.get("/v1/server").json() == before
        assert client.get("/readyz").status_code == 200


def refuse_to_keep(folder, content, sha256):
    raise folder_fault(folder, PermissionError(errno.EACCES, "Permission denied"))
