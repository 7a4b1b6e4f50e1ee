"""Folders of files: written as of years ago, and a snapshot of one to hold against another."""

import os
from pathlib import Path


def snapshot(folder, without=".veduta"):
    """Return kinds, modes, times and contents of all below a folder, and which names are one file."""
    return {str(path): _seen(path) for path in [Path(folder), *_below(Path(folder), without)]}


def differences(before, after):
    """Return the differences of two snapshots, as (path, before, after)."""
    paths = sorted(before.keys() | after.keys())
    return [(path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)]


def _below(folder, without):
    for path in sorted(folder.iterdir()):
        if path.name != without:
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from _below(path, without)


def _seen(path):
    status = path.lstat()
    content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
    nlink = status.st_nlink if path.is_file() else 0
    return oct(status.st_mode), status.st_mtime_ns, nlink, content


def put(path, content, mode=0o644, mtime_ns=1_500_000_000_123_456_789):
    """Write a file as it may have lain there for years."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def age(folder, mtime_ns=1_400_000_000_987_654_321):
    """Give a folder and all folders below it times of long ago."""
    for below in [path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()] + [folder]:
        os.utime(below, ns=(mtime_ns, mtime_ns))


def tree(folder):
    """Return all below a folder but its state: name -> (content, time, mode)."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        if ".veduta" in path.parts:
            continue
        status = path.lstat()
        entries[str(path.relative_to(folder))] = (
            path.read_bytes() if path.is_file() else None,
            status.st_mtime_ns,
            status.st_mode,
        )
    return entries
