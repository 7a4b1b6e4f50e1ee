"""A process that dies at any of its calls of the file system, and a picture of a folder to hold against another."""

import errno
import os
from contextlib import contextmanager
from pathlib import Path

CHANGES = ["link", "symlink", "unlink", "rename", "replace", "mkdir", "rmdir", "utime", "chmod", "chown"]
CHANGES += ["open", "write", "fsync", "ftruncate"]


class Died(BaseException):
    """The process was killed."""


class Mortal:
    """Counts the calls that may change the file system and dies at one of them.

    Args:
        at: half-calls it lives for: 2n dies before call n, 2n + 1 after it (of a write, in the middle). None: for ever.
        links: whether the disk knows hard links.
    """

    def __init__(self, at=None, links=True):
        self.calls, self.at, self.links = 0, at, links

    @property
    def dead(self):
        return self.at is not None and 2 * self.calls > self.at

    def wrap(self, name, call):
        def mortal(*args, **kwargs):
            if self.at is not None and 2 * self.calls >= self.at:
                self.calls += 1
                raise Died
            self.calls += 1
            if name == "link" and not self.links:
                raise OSError(errno.EPERM, "Operation not permitted", *args)
            if 2 * self.calls - 1 == self.at and name == "write":
                call(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise Died
            result = None if name == "fsync" else call(*args, **kwargs)  # a kill loses nothing that was not flushed
            if 2 * self.calls - 1 == self.at:
                raise Died
            return result

        return mortal


@contextmanager
def living(at=None, links=True):
    """Die after `at` half-calls; yields the Mortal, which knows whether it did."""
    mortal, real = Mortal(at, links), {name: getattr(os, name) for name in CHANGES}
    try:
        for name, call in real.items():
            setattr(os, name, mortal.wrap(name, call))
        yield mortal
    except Died:
        pass
    finally:
        for name, call in real.items():
            setattr(os, name, call)


def picture(folder, without=".veduta"):
    """Everything that can be seen of a folder: kinds, modes, times, contents, and which names are one file."""
    return {str(path): _seen(path) for path in [Path(folder), *_below(Path(folder), without)]}


def differences(before, after):
    """What differs between two pictures, as (path, before, after)."""
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
