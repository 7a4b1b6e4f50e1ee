"""Files that are made: each appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from veduta.errors import LibraryError
from veduta.text import utf8


def write_whole(out: Path, parts: Iterable[str]) -> None:
    """Write a file atomically.

    Args:
        out: the file; one that is there is replaced.
        parts: its text, written as UTF-8.

    Raises:
        LibraryError: it cannot be written.
    """
    draft = out.with_name(f".veduta-{secrets.token_hex(8)}")
    try:
        try:
            with draft.open("x", encoding="utf-8", newline="") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(out)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise LibraryError(f"{utf8(str(out))}: cannot be written ({error.strerror}); choose another place") from error
