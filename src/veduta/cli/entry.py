"""The entry point: faults of the world become one line on stderr and an exit status."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import warnings as python_warnings
from contextlib import suppress

from veduta.cli import output
from veduta.cli.app import app
from veduta.cli.options import (
    COULD_NOT_RUN,
    INTERRUPTED,
    SOME_FAILED,
)
from veduta.concurrency import keep_memory
from veduta.errors import VedutaError

RESUMABLE = {
    "add",
    "competition",
    "index",
    "jobs",
    "library",
    "models",
    "train",
}  # commands that go on where they were stopped
DECODING = RESUMABLE | {"calibrate", "explain", "recognize", "review", "serve", "verify"}  # commands that read photos


def open_missing_streams() -> None:
    """Open what a daemon or scheduler has closed, stdin, stdout or stderr, on the null device."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _hold_descriptor(descriptor)
            mode = "r" if descriptor == 0 else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _hold_descriptor(descriptor: int) -> None:
    """Put the null device on a closed descriptor, lest the next file opened gets that and what is printed goes in."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def silence_decoders() -> None:
    """Keep what decoders say of odd photos off stderr: a photo that cannot be read has its own line with its name.

    Pillow warns of tags that it cannot make sense of, libtiff prints such lines by itself; neither names the photo.
    """
    python_warnings.filterwarnings("ignore", module=r"PIL\.")
    module = importlib.util.find_spec("PIL._imaging")
    if module is None or module.origin is None:
        return
    with suppress(OSError, AttributeError):  # a Pillow built otherwise, whose libtiff is out of reach
        library = ctypes.CDLL(module.origin)
        for name in ("TIFFSetWarningHandler", "TIFFSetErrorHandler"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)


def main() -> None:
    """Run the command line; a fault of the world is one line on stderr and exit status 2."""
    open_missing_streams()
    output.any_names()
    output.warnings()
    if DECODING & set(sys.argv[1:2]):
        silence_decoders()
    keep_memory()
    if sys.argv[1:2] != ["train"]:  # which has the machine to itself, or should
        # Before faiss loads: its threads wait by spinning, on a busy machine for the very ones that spin.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except VedutaError as error:
        output.error(str(error))
        raise SystemExit(COULD_NOT_RUN) from None
    except BrokenPipeError:
        # The reader of our output has gone; keep Python from complaining about it while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(SOME_FAILED) from None
    except OSError as error:
        output.error(f"{error.filename or 'this machine'}: {error.strerror or error}")
        raise SystemExit(COULD_NOT_RUN) from None
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:  # Typer makes this of a Ctrl-C
            raise
        again = "; what was done is kept, run the same command again to go on" if RESUMABLE & set(sys.argv[1:2]) else ""
        output.error("interrupted" + again)
        raise SystemExit(INTERRUPTED) from None
