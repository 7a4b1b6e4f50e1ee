"""Logs read after their library was moved or copied elsewhere: with the paths of today."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from veduta.library.journal.fsops import normalized
from veduta.library.journal.log import LogReplay, OperationLog
from veduta.library.journal.operation import Intent


def relocated(story: LogReplay, book: OperationLog, root: Path | None) -> LogReplay:
    """Return the replay with paths in the library, and of its backups, as they are now.

    Args:
        story: as the journal has it.
        book: the journal, where it lies now.
        root: the library as the person names it now, or None.
    """
    root = _root_now(story, normalized(book.state), root and normalized(root))

    def today(path: Path) -> Path:
        old = next((old for old in story.roots if path.is_relative_to(old)), None)
        return path if root is None or old is None else root / path.relative_to(old)

    def moved(intent: Intent) -> Intent:
        # The old name of the source stays known: symbolic links say it.
        backup = None if intent.backup is None else book.backups / intent.backup.name
        source, target = today(intent.source), today(intent.target)
        return replace(intent, source=source, target=target, backup=backup, link=str(intent.source))

    return replace(
        story,
        folders={today(folder): seen for folder, seen in story.folders.items()},
        created_folders=[today(folder) for folder in story.created_folders],
        intents={number: moved(intent) for number, intent in story.intents.items()},
    )


def _root_now(story: LogReplay, state: Path, root: Path | None) -> Path | None:
    """Return the library's root now, or None for one that did not move as far as can be told.

    A state folder inside it that is elsewhere now has taken the library with it. With one outside, the library is
    taken to have moved only if nothing is left at its old place: else another library would be taken for it.
    """
    for old in story.roots:
        if story.home is not None and story.home != state and story.home.is_relative_to(old):
            inner = story.home.relative_to(old).parts
            outer = len(state.parts) - len(inner)
            ancestor = Path(*state.parts[:outer])
            if state.parts[outer:] == inner and (root is None or os.path.realpath(root) == os.path.realpath(ancestor)):
                return ancestor
    return root if story.roots and not os.path.lexists(story.roots[0]) else None
