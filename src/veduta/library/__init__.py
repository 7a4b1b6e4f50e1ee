"""The public API of one photo library: scan, review, group, tag, organize, undo."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType

from veduta.embedders import make_embedder
from veduta.errors import LibraryError
from veduta.features import make_extractor
from veduta.files import MEGABYTE
from veduta.gallery import Gallery
from veduta.library import journal
from veduta.library.catalog import STATE_FOLDER, Catalog, StoredAnswer, Verdict
from veduta.library.cluster.cache import FeatureCache
from veduta.library.cluster.features import (
    EMBEDDER,
    EXTRACTOR,
    GroupingModels,
    extract_features,
    find_groups,
    model_key,
    number_groups,
)
from veduta.library.cluster.group import Group as Group
from veduta.library.cluster.group import add_references, describe_group, landmark_id
from veduta.library.cluster.near_duplicates import find_bursts
from veduta.library.labels import burst_members, labels_of
from veduta.library.metadata.tag import TagPlan
from veduta.library.metadata.tag import plan_tags as plan_tags
from veduta.library.model import Asset
from veduta.library.organize.plan import OrganizePlan
from veduta.library.organize.plan import plan_organize as plan_order
from veduta.library.scan import GalleryQuery, Scan, unreadable
from veduta.library.scan_limits import ScanLimits, ScanReport
from veduta.progress import VerbProgress
from veduta.protocols import Embedder
from veduta.text import utf8
from veduta.types import Failure, Landmark

UNSURE = (0.05, 0.9)  # confidences between which a person is asked
WRITTEN = 0.9  # least confidence of an answer that is written down unless another is named


@dataclass(frozen=True)
class UncertainAsset:
    """A photo whose answer a person should look at.

    Attributes:
        asset: the photo, standing for its burst.
        answer: what the gallery says of it.
        others: how many photos the verdict will be for, itself left out.
    """

    asset: Asset
    answer: StoredAnswer
    others: int


class Library:
    """A person's photos, and what is known of them. Use as a context manager, from one thread at a time.

    Nothing in the folder is changed but by `apply` of a plan and `undo`, and by what is kept in its subfolder
    ``.veduta``, unless another place is named for that.

    Args:
        path: the folder with the photos.
        state: where to keep what is known of them; ``path/.veduta`` when it is None.

    Raises:
        LibraryError: there is no such folder, or what is known of it cannot be read or kept.
    """

    def __init__(self, path: str | os.PathLike[str], state: str | os.PathLike[str] | None = None) -> None:
        # Absolute, but with its links: a library under a linked folder is where the person thinks it is.
        self.path = Path(path).absolute()
        if not self.path.is_dir():
            raise LibraryError(f"{utf8(os.fsdecode(path))}: is not a folder; name the one your photos lie in")
        self.folder = self.path / STATE_FOLDER if state is None else Path(state).absolute()
        self._state = Catalog(self.path, self.folder)

    def close(self) -> None:
        """Close its file; everything is already on disk."""
        self._state.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- looking ------------------------------------------------------------------------------------------------

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

        What is done is kept photo by photo: a scan that is stopped or killed goes on where it was. A file is read again
        only when its size or time of change is another; one that was moved keeps its answer.

        Args:
            gallery: what to ask; None only looks.
            limit: most photos looked at; None for all.
            threads: photos decoded ahead of the one that is recognised.
            max_memory: megabytes that the process should stay below; a photo too large for that is reported.
            again: also ask about photos whose answer is from before the gallery changed, or from another gallery.
            progress: called with photos done and photos in all.

        Raises:
            LibraryError: the answers kept are another gallery's, and `again` is not set.
            ValueError: a limit is out of its range.
        """
        limits = ScanLimits(limit, threads, max_memory * MEGABYTE)
        asking = None if gallery is None else self._asking(gallery, again=again)
        report = Scan(self._state, lambda: self._plain_embedder, asking, limits, again=again).run(progress)
        if report.looked_at or report.moved or report.gone:
            self._find_bursts()
        return report

    def _asking(self, gallery: Gallery, *, again: bool) -> GalleryQuery:
        path = os.path.abspath(gallery.path)  # noqa: PTH100 - without what leads back and forth
        before = self._state.noted("gallery")
        if before not in (None, path) and not again:
            other = f"{utf8(path)}: the answers kept are by another gallery, {utf8(before)}"
            raise LibraryError(f"{other}; add --again to ask this one about every photo")
        self._state.note("gallery", path)
        embedder = gallery.settings["embedder"]
        return GalleryQuery(
            utf8(path), gallery.revision, gallery.recognizer(), model_key(embedder["name"], embedder["sha256"])
        )

    @cached_property
    def _plain_embedder(self) -> tuple[Embedder, str]:
        embedder = make_embedder(EMBEDDER)
        return embedder, model_key(embedder.name, embedder.sha256)

    def _find_bursts(self) -> None:
        present = {row.sha256 for row in self._state.files().values() if row.sha256 and row.error is None}
        keys, descriptors, fingerprints, sharp, _ = self._state.appearances(present)
        facts = self._state.facts()
        taken = [facts[key][1] for key in keys]
        self._state.set_bursts(find_bursts(keys, descriptors, fingerprints, sharp, taken))

    # --- what is known ------------------------------------------------------------------------------------------

    def assets(self, floor: float = 0.5) -> list[Asset]:
        """Return the photos, in the order of their paths, each with its label.

        What a person said counts before what a gallery says, and for a whole burst.

        Args:
            floor: least confidence of a gallery's answer that counts.
        """
        files = self._files()
        labels, rejected = labels_of(self._state, files, floor)
        facts, bursts = self._state.facts(), self._state.bursts()
        groups = {sha256: number for number, members in self._state.groups().items() for sha256 in members}
        assets = []
        for sha256, (paths, companions) in files.items():
            size, taken, position = facts[sha256]
            burst, best = bursts.get(sha256, (None, True))
            assets.append(
                Asset(
                    sha256=sha256,
                    files=tuple(map(Path, paths)),
                    companions=tuple(map(Path, companions)),
                    size=size,
                    taken=taken,
                    position=position,
                    label=labels.get(sha256),
                    burst=burst,
                    best=best,
                    group=groups.get(sha256),
                    rejected=sha256 in rejected,
                )
            )
        return sorted(assets, key=lambda shot: str(shot.file))

    def _files(self) -> dict[str, tuple[list[str], list[str]]]:
        """Return sha256 -> (files with this content, sorted; what belongs to the first), of what can be read."""
        files: dict[str, tuple[list[str], list[str]]] = {}
        for path, row in self._state.files().items():
            if row.sha256 is not None and row.error is None:
                entry = files.setdefault(row.sha256, ([], list(row.companions)))
                entry[0].append(path)
        return files

    def unreadable(self) -> dict[str, str]:
        """Return path -> reason of the files that could not be read when they were last looked at."""
        return {path: row.error for path, row in self._state.files().items() if row.error is not None}

    def failures(self) -> list[Failure]:
        """Return the failures of the files that could not be read when they were last looked at."""
        return [unreadable(path, reason) for path, reason in self.unreadable().items()]

    def answers(self) -> dict[str, StoredAnswer]:
        """Return sha256 -> what the gallery says of a photo."""
        return self._state.answers()

    def verdicts(self) -> dict[str, Verdict]:
        """Return sha256 -> what a person says of a photo."""
        return self._state.verdicts()

    def thumbnail(self, sha256: str) -> bytes:
        """Return a small WebP picture of a photo; LibraryError when none is known by this sha256."""
        return self._state.thumbnail(sha256)

    @property
    def gallery(self) -> str | None:
        """The folder of the gallery that was asked, or None."""
        noted = self._state.noted("gallery")
        return None if noted is None else str(noted)

    # --- reviewing ----------------------------------------------------------------------------------------------

    def uncertain(self, limit: int | None = None) -> list[UncertainAsset]:
        """Return the photos whose answers a person should look at, those whose verdict tells most first.

        One photo stands for its burst. Those nearest to an even chance come first, and among equals those that stand
        for more photos.
        """
        answers, verdicts = self._state.answers(), self._state.verdicts()
        shots = self.assets()
        kin: dict[int, list[str]] = {}
        for shot in shots:
            if shot.burst is not None:
                kin.setdefault(shot.burst, []).append(shot.sha256)
        uncertain = []
        for shot in shots:
            burst = kin.get(shot.burst, []) if shot.burst is not None else [shot.sha256]
            answer = answers.get(shot.sha256)
            if not shot.best or answer is None or any(sha256 in verdicts for sha256 in burst):
                continue
            if UNSURE[0] <= answer.confidence < UNSURE[1]:
                uncertain.append(UncertainAsset(shot, answer, len(burst) - 1 if burst else 0))
        uncertain.sort(key=lambda doubt: (abs(doubt.answer.confidence - 0.5), -doubt.others, doubt.asset.sha256))
        return uncertain[:limit]

    def set_verdict(self, photo: str | os.PathLike[str], verdict: str, landmark: Landmark | None = None) -> Asset:
        """Store a person's verdict on a photo and return the photo with its new label; rescans keep verdicts.

        Args:
            photo: a file of the library, or the sha256 of a photo in it.
            verdict: ``accepted`` (what the gallery answered, or its best guess), ``rejected`` (nothing known), or
                ``corrected``.
            landmark: what it shows instead; for ``corrected``.

        Raises:
            LibraryError: there is no such photo, or nothing to accept.
        """
        shot = self._shot(photo)
        if verdict == "accepted" and landmark is None:
            answer = self._state.answers().get(shot.sha256)
            if answer is None or not (answer.landmark or answer.guesses):
                raise LibraryError(
                    f"{utf8(str(shot.file))}: has no answer to accept; scan with --gallery, or correct it"
                )
            landmark = answer.landmark or answer.guesses[0][0]
        self.keep_verdict(shot.sha256, verdict, landmark)
        return self._shot(shot.sha256)

    def keep_verdict(self, sha256: str, verdict: str, landmark: Landmark | None) -> None:
        """Store a person's verdict on a content, present in the library or not; the whole burst shares it."""
        for member in self._kin(sha256):
            self._state.clear_verdict(member)
        self._state.set_verdict(sha256, verdict, landmark)

    def clear_verdict(self, photo: str | os.PathLike[str]) -> Asset:
        """Forget a person's verdict on a photo and its burst, and return the photo with its new label."""
        shot = self._shot(photo)
        for member in self._kin(shot.sha256):
            self._state.clear_verdict(member)
        return self._shot(shot.sha256)

    def _kin(self, sha256: str) -> list[str]:
        return burst_members(self._state, self._files()).get(sha256, [sha256])

    def _shot(self, photo: str | os.PathLike[str]) -> Asset:
        name = os.fsdecode(photo)
        path, real = Path(name).absolute(), os.path.realpath(name)
        shots = self.assets()
        for shot in shots:
            if name == shot.sha256 or path in shot.files:
                return shot
        for shot in shots:  # named through a link, or by way of another folder
            if any(os.path.realpath(file) == real for file in shot.files):
                return shot
        raise LibraryError(f"{utf8(name)}: is no photo known of {utf8(str(self.path))}; scan it first")

    # --- changing, and taking back --------------------------------------------------------------------------------

    def tag(self, *, embed: bool = False, floor: float = WRITTEN) -> TagPlan:
        """Return the plan of what to write beside the photos or into them; only `apply` writes.

        Args:
            embed: write into the photos themselves, not into sidecars.
            floor: least confidence of a gallery's answer that is written.
        """
        return plan_tags(self.assets(floor), embed=embed)

    def organize(
        self,
        into: str,
        mode: str = "hardlink",
        floor: float = WRITTEN,
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
        journal.recover(self.folder, self.path)  # a step that a killed run died in is no place for a photo
        return plan_order(self.assets(floor), into, mode, Path(base).absolute(), progress, forbidden=[self.folder])

    def apply(self, plan: OrganizePlan | TagPlan, progress: Callable[[int], None] | None = None) -> journal.Applied:
        """Carry out a plan and report on each step; `undo` reverts that, also after a crash in the middle.

        Args:
            plan: of `tag` or `organize`.
            progress: called with steps dealt with.
        """
        written: dict[str, str] = {}
        if isinstance(plan, TagPlan):
            contents = {path: shot.sha256 for shot in self.assets(0.0) for path in shot.files}
            steps = [self._followed(step, contents, written) for step in plan.steps]
            done = journal.apply(steps, self.folder, "tag", progress, self.path)
        else:
            done = journal.apply(plan.steps, self.folder, "organize", progress, self.path)
        self._follow(written)
        return done

    def undo(self, number: int | None = None, progress: Callable[[int], None] | None = None) -> journal.Undone:
        """Take back the last action that was not, and return what was; files and folders are as they were before.

        Args:
            number: of the action, as `history` has it; None for the last.
            progress: called with steps dealt with.

        Raises:
            LibraryError: there is nothing to take back.
        """
        undone = journal.undo(self.folder, progress, number, self.path)
        self._follow({})
        return undone

    def history(self) -> list[journal.Action]:
        """Return the actions applied and undone, oldest first."""
        return journal.history(self.folder)

    def _followed(self, step: journal.Step, contents: Mapping[Path, str], written: dict[str, str]) -> journal.Step:
        """Return a step that moves a photo's records to its new content before the photo is written."""
        old, make = contents.get(step.target), step.make
        if old is None or make is None:
            return step

        def followed() -> bytes:
            content = make()
            new = hashlib.sha256(content).hexdigest()
            self._state.alias_content(old, new)
            written[str(step.target)] = new
            return content

        return replace(step, make=followed)

    def _follow(self, written: Mapping[str, str]) -> None:
        """Bring what is known of files up to where they are now, without reading one."""
        for path, row in self._state.files().items():
            if path in written and Path(path).exists():
                status = Path(path).stat()
                node = status.st_dev, status.st_ino
                now = replace(row, size=status.st_size, mtime=status.st_mtime_ns, node=node, sha256=written[path])
                self._state.put_file(path, now)
        self.scan(limit=0)

    # --- grouping -----------------------------------------------------------------------------------------------

    def group(self, max_memory: int = 2048, progress: VerbProgress | None = None) -> list[Group]:
        """Find photos that show the same place, without a gallery, and return the groups, the largest first.

        What is new since the last scan is looked at first. Features and verified pairs are kept on the way, so a run
        that was killed goes on, and a second one does only what is new.

        Args:
            max_memory: megabytes that the process should stay below.
            progress: called with photos done, photos in all, and ``scanning``, ``looking`` or ``matching``.
        """
        self.scan(max_memory=max_memory, progress=_named(progress, "scanning"))
        bursts, origins = self._state.bursts(), self._state.content_aliases()
        files = {key: paths[0] for key, (paths, _) in self._files().items() if bursts.get(key, (0, True))[1]}
        # By their first content: what is written about a photo must not change what it is grouped with.
        now = {origins.get(key, key): key for key in files}
        eyes = GroupingModels(make_embedder(EMBEDDER), make_extractor(EXTRACTOR))
        keys, vectors, _, _, models = self._state.appearances(files)
        descriptors = {
            origins.get(k, k): v for k, v, model in zip(keys, vectors, models, strict=True) if model == eyes.embedding
        }
        cache = FeatureCache(self.folder, eyes.model)
        try:
            pixels = ScanLimits(memory=max_memory * MEGABYTE).pixels
            failed = extract_features(
                cache, eyes, {origin: files[key] for origin, key in now.items()}, pixels, descriptors, progress
            )
            gone = {failure.photo for failure in failed}
            present = [origin for origin, key in now.items() if utf8(files[key]) not in gone]
            places = find_groups(cache, present, progress)
        finally:
            cache.close()
        before = {n: [origins.get(key, key) for key in members] for n, members in self._state.groups().items()}
        numbered = number_groups(places, before, int(self._state.noted("groups") or 0))
        self._state.note("groups", max([*numbered, *before, int(self._state.noted("groups") or 0)], default=0))
        self._state.set_groups({number: [now[origin] for origin in members] for number, members in numbered.items()})
        return self.groups()

    def groups(self) -> list[Group]:
        """Return the groups found last, the largest first."""
        shots, verdicts, answers = (
            {shot.sha256: shot for shot in self.assets()},
            self._state.verdicts(),
            self._state.answers(),
        )
        groups = []
        for number, members in self._state.groups().items():
            present = [shots[sha256] for sha256 in members if sha256 in shots]
            if present:
                groups.append(describe_group(number, present, verdicts, answers))
        return sorted(groups, key=lambda group: (-len(group.assets), group.number))

    def numbered(self, number: int) -> Group:
        """Return the group of this number; LibraryError if there is none."""
        group = next((candidate for candidate in self.groups() if candidate.number == number), None)
        if group is None:
            raise LibraryError(f"{utf8(str(self.path))}: has no group {number}; see 'veduta library group'")
        return group

    def name(
        self,
        number: int,
        name: str,
        id: str | None = None,
        gallery: Gallery | None = None,
        position: tuple[float, float] | None = None,
    ) -> tuple[Landmark, list[Failure]]:
        """Say what a group shows; with a gallery its photos become references there. Return the landmark and failures.

        Photos of the group that a person judged by themselves keep that verdict, and are no references unless it is
        the same landmark.

        Args:
            number: the group's.
            name: what people call the place.
            id: the landmark's id in the gallery; made from the name when it is None.
            gallery: where its photos become references.
            position: (degrees north, degrees east); the median of its photos' when it is None.

        Raises:
            LibraryError: there is no such group.
        """
        group = self.numbered(number)
        if utf8(name + (id or "")) != name + (id or ""):
            raise LibraryError(f"{utf8(name)}: is not text that can be stored; use Unicode only")
        north, east = position or group.position or (None, None)
        landmark = Landmark(id or landmark_id(name), name, north, east)
        verdicts = self._state.verdicts()
        unnamed = [s for s in group.assets if s.sha256 not in verdicts or verdicts[s.sha256].verdict == "named"]
        wrong = {v.landmark.id for s in unnamed if (v := verdicts.get(s.sha256)) and v.landmark} - {landmark.id}
        with self._state.changing():
            for shot in unnamed:
                self._state.set_verdict(shot.sha256, "named", landmark)
        same = [
            s for s in group.assets if (v := verdicts.get(s.sha256)) and v.landmark and v.landmark.id == landmark.id
        ]
        failures = (
            []
            if gallery is None
            else add_references(gallery, {s.sha256: s for s in (*unnamed, *same)}.values(), landmark, wrong)
        )
        return landmark, failures


def _named(progress: VerbProgress | None, verb: str) -> VerbProgress | None:
    return None if progress is None else lambda done, total: progress(done, total, verb)
