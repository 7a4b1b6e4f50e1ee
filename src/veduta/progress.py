"""The callables that long work reports through; the command line draws bars and lines of them."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total)."""
VerbProgress = Callable[..., None]
"""Called with (done, total), and with the name of the work as `verb` where one command does several kinds."""
StageProgress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""
ShareProgress = Callable[[str, float], None]
"""Called with (work, share done in [0, 1])."""
CountProgress = Callable[[int], None]
"""Called with the number done."""
Log = Callable[[str], None]
"""Called with a line of text for a person."""
