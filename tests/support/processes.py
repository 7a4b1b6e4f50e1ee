"""``veduta`` as another process: run to its end, or started and watched through the gallery's file."""

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

from veduta.gallery.store import GALLERY_FILE

COMMAND = [sys.executable, "-m", "veduta"]
PATIENCE = 120  # seconds after which something hangs


def veduta(*arguments, **options):
    """Run a command to its end and return it with stdout and stderr, as text unless told otherwise."""
    options = {"text": True, "encoding": "utf-8", "capture_output": True, "timeout": PATIENCE} | options
    return subprocess.run([*COMMAND, *map(os.fspath, arguments)], **options)


@contextlib.contextmanager
def started(*arguments):
    """Start a command and kill it in the end, whatever happens."""
    # A runner started in the background ignores SIGINT and would hand that down to the command.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*COMMAND, *map(os.fspath, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(process, condition):
    """Wait for the condition, which has to come while the process runs."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, f"it ended first: {process.stderr.read()}"
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


@contextlib.contextmanager
def read_only(folder):
    """Take the right to write from a folder and all that is in it, and give it back in the end."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        yield
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def rows(gallery, query):
    """Return what a query finds in a gallery's file, without Veduta and without changing anything."""
    with contextlib.closing(sqlite3.connect(f"file:{Path(gallery) / GALLERY_FILE}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def references(gallery):
    """Return how many references are on disk by now."""
    return rows(gallery, "SELECT count(*) FROM reference")[0][0]


def content(gallery):
    """Return all that a gallery keeps of its references, except where and in which order they were added."""
    columns = "id, landmark, sha256, descriptor, features, thumbnail"
    tables = "reference JOIN features USING (row) JOIN thumbnail USING (row)"
    return rows(gallery, f"SELECT {columns} FROM {tables} ORDER BY id")


def is_whole(gallery):
    """Return whether SQLite finds nothing wrong with the file."""
    return rows(gallery, "PRAGMA integrity_check") == [("ok",)] and rows(gallery, "PRAGMA foreign_key_check") == []
