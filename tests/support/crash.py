"""A process that dies at any of its calls of the file system."""

import errno
import os
from contextlib import contextmanager

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
