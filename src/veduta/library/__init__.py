"""The public API of one photo library: scan, review, group, tag, organize, undo."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from veduta.embedders import make_embedder
from veduta.errors import LibraryError
from veduta.files import MEGABYTE, Closable, utf8
from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.library import journal, verdicts
from veduta.library.assets import current_answers, read_assets
from veduta.library.catalog import LINKS_REQUEST, STATE_FOLDER, Catalog
from veduta.library.cluster.features import EMBEDDER
from veduta.library.cluster.group import Group as Group
from veduta.library.cluster.group import NamedGroup, name_group, read_groups, update_groups
from veduta.library.journal.provenance import check_links
from veduta.library.metadata.tag import TagPlan, plan_tags
from veduta.library.model import Asset, ScanReport, StoredAnswer, Verdict, unreadable
from veduta.library.model import UncertainAsset as UncertainAsset
from veduta.library.organize.plan import OrganizePlan, plan_organize
from veduta.library.scan import GalleryQuery, Scan, ScanLimits
from veduta.progress import VerbProgress
from veduta.trust import TrustedFolder
from veduta.types import Failure

WRITTEN_FLOOR = 0.9  # least confidence of an answer that is written down unless another is named


class Library(Closable, TrustedFolder):
    """A person's photos and their catalog. Use as a context manager, from one thread at a time.

    Nothing in the folder changes but by `apply` and `undo`, and by the catalog in ``.veduta`` or another place named.

    Args:
        path: the folder with the photos.
        state: the folder for the catalog and the journal; ``path/.veduta`` when it is None.

    Attributes:
        path: the folder with the photos, absolute.
        folder: the folder with the catalog, whose rows are `catalog`, and with the journal.

    Raises:
        LibraryError: there is no such folder, or the catalog cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str], state: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path).absolute()  # with its links: a library under one is where the person thinks it is
        if not self.path.is_dir():
            raise LibraryError(f"{utf8(os.fsdecode(path))}: is not a folder; name the one your photos lie in")
        self.folder = self.path / STATE_FOLDER if state is None else Path(state).absolute()
        self.catalog = Catalog(self.path, self.folder)
        self._embedder = cache(lambda: make_embedder(EMBEDDER))

    def close(self) -> None:
        """Close the catalog; everything is already on disk."""
        self.catalog.close()

    def scan(
        self,
        gallery: Gallery | None = None,
        limit: int | None = None,
        threads: int = 2,
        max_memory: int = 2048,
        *,
        again: bool = False,
        progress: VerbProgress | None = None,
    ) -> ScanReport:
        """Read new and changed photos, recognize them by a gallery, and report on the scan.

        Each photo is recorded at once: a scan that is stopped or killed goes on where it was. A file is read again only
        when its size or time of change is another; one that was moved keeps its answer.

        Args:
            gallery: the gallery asked; None only reads the photos.
            limit: most photos read; None for all.
            threads: photos decoded ahead of the one that is recognized.
            max_memory: megabytes that the process should stay below; a photo too large for that is reported.
            again: also ask about photos whose answer is from before the gallery changed, or from another gallery.
            progress: called with photos done and photos in all.

        Raises:
            LibraryError: the catalog has another gallery's answers, and `again` is not set.
            ValueError: a limit is out of its range.
        """
        limits = ScanLimits(limit, threads, max_memory * MEGABYTE)
        query = GalleryQuery.of(gallery, self.catalog, again=again) if gallery else None
        return Scan(self.catalog, self._embedder, query, limits, again=again).run(progress)

    # --- the catalog --------------------------------------------------------------------------------------------

    def assets(self, floor: float = 0.5) -> list[Asset]:
        """Return the photos, in the order of their paths, each with its label.

        A person's verdict counts before a gallery's answer, and for a whole burst.

        Args:
            floor: least confidence of a gallery's answer that counts.
        """
        return read_assets(self.catalog, floor)

    def unreadable(self) -> dict[str, str]:
        """Return path -> reason of the files that could not be read when they were last looked at."""
        return self.catalog.unreadable()

    def failures(self) -> list[Failure]:
        """Return the failures of the files that could not be read when they were last looked at."""
        return [unreadable(path, reason) for path, reason in self.unreadable().items()]

    def answers(self) -> dict[str, StoredAnswer]:
        """Return sha256 -> the gallery's answer for a photo, with the names that the gallery has now."""
        return current_answers(self.catalog, self.catalog.answers.all())

    def verdicts(self) -> dict[str, Verdict]:
        """Return sha256 -> a person's verdict on a photo."""
        return self.catalog.verdicts.all()

    def thumbnail(self, sha256: str) -> bytes:
        """Return a small WebP picture of a photo; LibraryError when none is known by this sha256."""
        return self.catalog.contents.thumbnail(sha256)

    @property
    def gallery(self) -> str | None:
        """The folder of the gallery that was asked, or None."""
        path = self.catalog.get_meta("gallery")
        return None if path is None else str(path)

    # --- review -------------------------------------------------------------------------------------------------

    def uncertain(self, limit: int | None = None) -> list[UncertainAsset]:
        """Return the photos whose answers a person should look at, those whose verdict tells most first.

        One photo stands for its burst. Those nearest to an even chance come first, and among equals those that stand
        for more photos.
        """
        return verdicts.uncertain_assets(self.catalog, limit)

    def set_verdict(self, photo: str | os.PathLike[str], verdict: str, landmark: Landmark | None = None) -> Asset:
        """Store a person's verdict on a photo and return the photo with its new label; rescans keep verdicts.

        Args:
            photo: a file of the library, or the sha256 of a photo in it.
            verdict: ``accepted`` (the gallery's answer, or its best guess, is right), ``rejected`` (nothing known), or
                ``corrected``.
            landmark: the landmark it shows instead; for ``corrected``.

        Raises:
            LibraryError: there is no such photo, or nothing to accept.
        """
        return verdicts.set_verdict(self.catalog, photo, verdict, landmark)

    def keep_verdict(self, sha256: str, verdict: str, landmark: Landmark | None) -> None:
        """Store a person's verdict on a content, present in the library or not; the whole burst shares it."""
        verdicts.keep_verdict(self.catalog, sha256, verdict, landmark)

    def clear_verdict(self, photo: str | os.PathLike[str]) -> Asset:
        """Delete a person's verdict on a photo and its burst, and return the photo with its new label."""
        return verdicts.clear_verdict(self.catalog, photo)

    # --- changes ------------------------------------------------------------------------------------------------

    def tag(self, *, embed: bool = False, floor: float = WRITTEN_FLOOR) -> TagPlan:
        """Return the plan of the labels to write beside the photos or into them; only `apply` writes.

        Args:
            embed: write into the photos themselves, not into sidecars.
            floor: least confidence of a gallery's answer that is written.
        """
        plan = plan_tags(self.assets(floor), embed=embed)
        if not all(self.requests().values()):
            check_links((step.target for step in plan.steps), self.path)
        return plan

    def organize(
        self,
        into: str,
        mode: str = "hardlink",
        floor: float = WRITTEN_FLOOR,
        base: str | os.PathLike[str] = ".",
        progress: Callable[[int], None] | None = None,
    ) -> OrganizePlan:
        """Return where each photo with a landmark would go; nothing is changed until the plan is applied.

        Args:
            into: a folder with fields: ``{country}``, ``{landmark}``, ``{id}``, ``{date:%Y}`` and ``{name}``.
            mode: ``hardlink``, ``copy``, ``symlink`` or ``move``.
            floor: least confidence of a gallery's answer that counts.
            base: where a relative `into` starts.
            progress: called with photos planned.

        Raises:
            LibraryError: the pattern, the mode or the target is impossible; nothing was changed.
        """
        start = Path(base).absolute()
        plan = plan_organize(self.assets(floor), into, mode, start, progress, forbidden=[self.folder])
        if not all(self.requests().values()):
            check_links((step.source for step in plan.steps if step.source is not None), self.path)
        return plan

    def _requests(self) -> dict[str, Path | None]:
        return {LINKS_REQUEST: self.folder}

    def recover(self) -> None:
        """Revert the step during which an earlier `apply` was killed; LibraryError while an undo is to be finished."""
        journal.recover(self.folder, self.path)

    def apply(self, plan: OrganizePlan | TagPlan, progress: Callable[[int], None] | None = None) -> journal.Applied:
        """Carry out a plan and report on each step; `undo` reverts that, also after a crash in the middle.

        Args:
            plan: of `tag` or `organize`.
            progress: called with steps dealt with.
        """
        contents = {path: row.sha256 for path, row in self.catalog.files().items() if row.error is None}

        def before_write(path: Path, sha256: str) -> None:
            # Before the photo is written: killed in between, its new content has the old one's records already.
            if before := contents.get(str(path)):
                self.catalog.contents.alias(before, sha256)

        name = "tag" if isinstance(plan, TagPlan) else "organize"
        done = journal.apply(plan.steps, self.folder, name, progress, self.path, before_write)
        self.catalog.note_written(done.written)
        self.scan(limit=0)
        return done

    def undo(self, number: int | None = None, progress: Callable[[int], None] | None = None) -> journal.Undone:
        """Take back the last action that was not, and report on that; files and folders are as they were before.

        Args:
            number: of the action, as `history` has it; None for the last.
            progress: called with steps dealt with.

        Raises:
            LibraryError: there is nothing to take back.
        """
        undone = journal.undo(self.folder, progress, number, self.path)
        self.scan(limit=0)
        return undone

    def history(self) -> list[journal.Action]:
        """Return the actions applied and undone, oldest first."""
        return journal.history(self.folder)

    # --- groups -------------------------------------------------------------------------------------------------

    def group(self, max_memory: int = 2048, progress: VerbProgress | None = None) -> list[Group]:
        """Find photos that show the same place, without a gallery, and return the groups, the largest first.

        New photos are scanned first. Features and pairs are stored on the way, so a run that was killed resumes.

        Args:
            max_memory: megabytes that the process should stay below.
            progress: called with photos done, photos in all, and ``scanning``, ``looking`` or ``matching``.
        """
        scanned = None if progress is None else lambda done, total: progress(done, total, "scanning")
        self.scan(max_memory=max_memory, progress=scanned)
        update_groups(self.catalog, ScanLimits(memory=max_memory * MEGABYTE).decoding, progress)
        return self.groups()

    def groups(self) -> list[Group]:
        """Return the groups of the last grouping, the largest first."""
        return read_groups(self.catalog)

    def numbered(self, number: int) -> Group:
        """Return the group of this number; LibraryError if there is none."""
        group = next((candidate for candidate in self.groups() if candidate.number == number), None)
        if group is None:
            raise LibraryError(f"{utf8(str(self.path))}: has no group {number}; see 'veduta library group'")
        return group

    def name(
        self,
        number: int | Group,
        name: str,
        id: str | None = None,
        gallery: Gallery | None = None,
        position: tuple[float, float] | None = None,
    ) -> NamedGroup:
        """Name the place of a group; with a gallery its photos become references. Return the landmark and failures.

        Photos of the group that a person judged by themselves keep that verdict, and are no references unless it is
        the same landmark.

        Args:
            number: the group's, or the group itself without photos that do not belong to it.
            name: the name of the place.
            id: the landmark's id in the gallery; made from the name when it is None.
            gallery: the gallery in which its photos become references.
            position: (degrees north, degrees east); the median of its photos' when it is None.

        Raises:
            LibraryError: there is no such group.
        """
        group = self.numbered(number) if isinstance(number, int) else number
        return name_group(self.catalog, group, name, id, gallery, position)
