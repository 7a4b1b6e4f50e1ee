"""The record of one user: the key that signs what their Veduta writes, and the requests of folders they accept.

A gallery or library may come from anybody: a share, a stick, a download. What such a folder asks for beyond being read
(a Qdrant to contact, its own network to run, an index to build) is done only if this user asked for it or accepted
it. That is recorded here, outside all such folders, in `user_folder`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from veduta.errors import VedutaError
from veduta.files import utf8, write_json

STATE_VARIABLE = "VEDUTA_USER_STATE"
KEY_FILE, KEY_BYTES, ACCEPTED = "key", 32, "accepted"


class TrustedFolder(ABC):
    """A base for folders that ask for something beyond being read."""

    @abstractmethod
    def _requests(self) -> dict[str, Path | None]:
        """Return each request in one line, with its particulars -> the folder it is accepted for; None for any."""

    def requests(self) -> dict[str, bool]:
        """Return what the folder asks for beyond being read -> whether this user accepts that.

        A folder that somebody else made is read, and nothing more is done for it, until `trust` was called.
        """
        return {request: is_accepted(place, request) for request, place in self._requests().items()}

    def trust(self) -> None:
        """Accept all that the folder asks for, now and as it stands; another address or model will ask again.

        Raises:
            VedutaError: that cannot be recorded.
        """
        for request, place in self._requests().items():
            if not accept(place, request):
                raise VedutaError(f"{user_folder()}: cannot be written", f"name another folder by {STATE_VARIABLE}")


def user_folder() -> Path:
    """Return the folder of this user's key and accepted requests: VEDUTA_USER_STATE, or the usual place for state."""
    named = os.environ.get(STATE_VARIABLE)
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_state_path("veduta"))


def make_private(folder: Path) -> None:
    """Make a folder, and those above it, for nobody but this user; OSError on failure."""
    if not folder.parent.is_dir():
        make_private(folder.parent)  # mkdir would make these as readable as any folder
    folder.mkdir(mode=0o700, exist_ok=True)


def user_key() -> bytes | None:
    """Return this user's secret key of 32 bytes, made at first use; None where none can be kept."""
    file = user_folder() / KEY_FILE
    with suppress(OSError):
        if not file.exists():
            make_private(file.parent)
            draft = file.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, secrets.token_bytes(KEY_BYTES))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            try:
                file.hardlink_to(draft)  # unlike a rename, leaves the key of a process that was faster
            except FileExistsError:
                pass
            except OSError:  # a disk without hard links
                draft.replace(file)
            draft.unlink(missing_ok=True)
        key = file.read_bytes()
        return key if len(key) == KEY_BYTES else None
    return None


def signature(key: bytes, *parts: bytes) -> str:
    """Return the HMAC-SHA256 of some parts in hex; each part is hashed with its length, so that none can shift."""
    hasher = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big") + part)
    return hasher.hexdigest()


def accept(folder: Path | None, request: str) -> bool:
    """Record that this user allows a folder a request; return whether that could be recorded.

    Args:
        folder: the gallery or library; None where the request is as good or bad in any folder.
        request: one line on what is asked for, with all of its particulars: another address is another request.
    """
    file = _record(folder, request)
    try:
        make_private(file.parent)
        write_json(file, {"folder": folder and utf8(str(folder.resolve())), "request": request, "when": _now()}, 0o600)
    except OSError:
        return False
    return True


def is_accepted(folder: Path | None, request: str) -> bool:
    """Return whether this user has allowed a folder this very request."""
    return _record(folder, request).is_file()


def _record(folder: Path | None, request: str) -> Path:
    place = b"" if folder is None else os.fsencode(folder.resolve())
    digest = hashlib.sha256(len(place).to_bytes(8, "big") + place + request.encode("utf-8", "surrogateescape"))
    return user_folder() / ACCEPTED / f"{digest.hexdigest()}.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
