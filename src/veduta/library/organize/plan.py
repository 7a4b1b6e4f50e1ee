"""The plan of sorting a library into folders: where each photo goes, by the files there are, changing nothing.

The plan is carried out and taken back by `journal`. Names are chosen so that nothing is overwritten on any file system,
a photo and the files that belong to it keep a common name, and a plan made again after it was applied is empty.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Literal, get_args

from veduta.errors import LibraryError
from veduta.library.journal.fsops import content_sha256
from veduta.library.journal.operation import Step
from veduta.library.model import Asset, FileMove
from veduta.library.organize.filenames import split_name, with_stem
from veduta.library.organize.follow import files_left_beside, goes_with, join_edits
from veduta.library.organize.path_template import PathTemplate, name_key
from veduta.library.organize.target_tree import FolderContents, TargetTree
from veduta.types import Failure

OrganizeMode = Literal["hardlink", "copy", "symlink", "move"]
DISK_BLOCK = 4096  # bytes by which a file's room on a disk grows
MOST_OF_A_NAME = 100_000  # photos of one name in one folder


@dataclass(frozen=True)
class OrganizePlan:
    """The steps and totals of sorting a library into folders.

    Attributes:
        root: the folder below which everything is placed.
        mode: how.
        steps: for `journal.apply`.
        photos: photos that get a new place.
        files: files that do, the photos' companions among them.
        size: bytes in these files.
        room: bytes the disk of `root` needs for them.
        folders: folders that are made.
        already: photos that are in their place already.
        elsewhere: photos that lie below `root` in another place only, and are left there; none in ``move`` mode.
        unlabeled: photos left alone because they have no label.
        copies_left: further files with the content of a photo that stay where they are; in ``move`` mode.
        renamed: (source, target) of photos that get another name, as theirs is taken or refused by some disks.
        left: what cannot be placed, and why.
        beside: files named after photos that move, which stay where they are.
    """

    root: Path
    mode: OrganizeMode
    steps: tuple[Step, ...]
    photos: int
    files: int
    size: int
    room: int
    folders: int
    already: int
    elsewhere: int
    unlabeled: int
    copies_left: int
    renamed: tuple[FileMove, ...]
    left: tuple[Failure, ...]
    beside: tuple[Path, ...] = ()

    def rows(self) -> list[FileMove]:
        """Return (source, target) of every file, in the order they are placed."""
        return [FileMove(step.source, step.target) for step in self.steps if step.source is not None]


def plan_organize(
    assets: Sequence[Asset],
    into: str,
    mode: str,
    base: Path,
    progress: Callable[[int], None] | None = None,
    *,
    forbidden: Sequence[Path] = (),
) -> OrganizePlan:
    """Return where each photo with a label goes.

    Args:
        assets: the library's photos; their order does not matter.
        into: folder with fields, see `patterns.Pattern`.
        mode: ``hardlink``, ``copy``, ``symlink`` or ``move``.
        base: what a relative `into` starts at, absolute.
        progress: called with how many photos were looked at.
        forbidden: folders into which nothing may be placed, such as the state folder; absolute.

    Raises:
        LibraryError: `into` cannot be understood, is hidden or forbidden, the folder cannot be written, is on another
            disk than the photos (hard links), has too little room, or a link in it leads out of it.
    """
    if mode not in get_args(OrganizeMode):
        raise ValueError(f"mode: expected one of {', '.join(get_args(OrganizeMode))}, got {mode!r}")
    pattern = PathTemplate.parse(into, base)
    folders = TargetTree(pattern.root, forbidden)
    _check_visible(pattern.root, base, assets)
    planner = _Planner(mode, folders)  # type: ignore[arg-type]
    for count, asset in enumerate(join_edits(sorted(assets, key=lambda asset: os.fsencode(asset.file))), 1):
        if asset.label is None:
            planner.unlabeled += 1
        else:
            planner.place(asset, planner.folders.find(pattern.folder(asset)))
        if progress is not None:
            progress(count)
    return planner.plan(assets)


def _check_visible(root: Path, base: Path, assets: Sequence[Asset]) -> None:
    """Raise LibraryError for a folder that scans would skip; one in which photos were found is above the library."""
    known = [base, *(file for asset in assets for file in asset.files)]
    for folder in [root, *root.parents]:
        if folder.name.startswith(".") and not any(path.is_relative_to(folder) for path in known):
            reason = f"{root}: {folder.name} is a hidden folder, in which a scan would not see the photos any more"
            raise LibraryError(f"{reason}; choose a name without the dot")


class _Planner:
    """A plan being made."""

    def __init__(self, mode: OrganizeMode, folders: TargetTree) -> None:
        self.folders = folders
        self.unlabeled = 0
        self._mode = mode
        self._device = folders.existing.stat().st_dev
        self._steps: list[Step] = []
        self._taken: set[Path] = set()  # files that have a place already
        self._photos = self._already = self._elsewhere = self._copies_left = self._size = self._room = 0
        self._renamed: list[FileMove] = []
        self._left: list[Failure] = []

    def place(self, asset: Asset, contents: FolderContents) -> None:
        """Plan for one photo with a label."""
        files = [file for file in asset.files if file.is_file()]
        if not files:
            self._leave(asset.file, "is not there any more; look through the library again")
            return
        try:
            name = contents.name_of(files[0].stat(), asset.sha256)
            if name is not None:
                self._stay(asset, files, contents, name)
            elif (source := self._source(files)) is not None:
                self._go(asset, files, source, contents)
        except OSError as error:
            self._leave(asset.file, f"cannot be compared with what is there ({error.strerror}: {error.filename})")

    def plan(self, assets: Sequence[Asset]) -> OrganizePlan:
        """Return the plan for these assets; LibraryError for a disk without enough room."""
        if self._room > (free := shutil.disk_usage(self.folders.existing).free):
            needs = f"{self._room / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free"
            raise LibraryError(f"{self.folders.root}: this disk has too little room ({needs}); choose another")
        return OrganizePlan(
            root=self.folders.root,
            mode=self._mode,
            steps=tuple(self._steps),
            photos=self._photos,
            files=len(self._steps),
            size=self._size,
            room=self._room,
            folders=len({above for step in self._steps for above in step.target.parents} & self.folders.new),
            already=self._already,
            elsewhere=self._elsewhere,
            unlabeled=self.unlabeled,
            copies_left=self._copies_left,
            renamed=tuple(self._renamed),
            left=tuple(self._left),
            beside=tuple(files_left_beside(self._taken, assets)) if self._mode == "move" else (),
        )

    def _leave(self, path: Path, why: str) -> None:
        self._left.append(Failure(str(path), f"{path}: {why}", "skipped"))

    def _stay(self, asset: Asset, files: list[Path], contents: FolderContents, target_name: str) -> None:
        """Count a photo that is in its place; companions follow, unless they would move without their photo."""
        self._already += 1
        if self._mode == "move":
            own = os.path.realpath(contents.path / target_name)
            self._copies_left += sum(os.path.realpath(file) != own for file in files)
            return
        source = min(files, key=self._rank)
        companions = [file for file in self._companions(asset, source, files) if not self.folders.holds(file)]
        names = with_stem([source.name, *(file.name for file in companions)], split_name(target_name)[0])
        for file, name in zip(companions, names[1:], strict=True):
            if not self._exists(file, contents, name):
                if name_key(name) in contents.names:
                    self._leave(file, f"another file is there as {contents.path / name}")
                else:
                    self._add(file, contents, name)

    def _source(self, files: list[Path]) -> Path | None:
        """Return the file to place; None when there is none to be placed."""
        source = min(files, key=self._rank)
        if self._mode == "move" and source.is_symlink():
            self._leave(source, "is a link and is not moved; move what it leads to")
            return None
        if self._mode != "move" and self.folders.holds(source):
            self._elsewhere += 1
            return None
        return source

    def _rank(self, file: Path) -> tuple[bool, bool, bytes]:
        inside, link = self.folders.holds(file), file.is_symlink()
        return (link, inside, os.fsencode(file)) if self._mode == "move" else (inside, link, os.fsencode(file))

    def _go(self, asset: Asset, files: list[Path], source: Path, contents: FolderContents) -> None:
        """Place a photo and its companions."""
        group = [source, *self._companions(asset, source, files)]
        names = self._choose(group, contents)
        if names is None:
            self._leave(source, f"finds no free name in {contents.path}")
            return
        self._photos += 1
        if self._mode == "move":
            self._copies_left += len(files) - 1
            self._tell_of_links(files, source)
        contents.planned[asset.sha256] = names[0]
        if names[0] != source.name:
            self._renamed.append(FileMove(source, contents.path / names[0]))
        for file, name in zip(group, names, strict=True):
            if name_key(name) not in contents.names:
                self._add(file, contents, name)

    def _tell_of_links(self, files: list[Path], source: Path) -> None:
        """List the links to a photo that will lead nowhere after the move."""
        real = os.path.realpath(source)
        for file in files:
            if file.is_symlink() and os.path.realpath(file) == real:
                self._leave(file, f"is a link to {source} and will lead nowhere when that is moved; make it anew then")

    def _companions(self, asset: Asset, source: Path, files: list[Path]) -> list[Path]:
        """Return the companions that go with this file of a photo, no two of one name."""
        others = [file for file in files if file != source]
        chosen: dict[str, Path] = {name_key(source.name): source}
        for file in asset.companions:
            if file in self._taken or not goes_with(file, source, others) or not file.is_file():
                continue
            if name_key(file.name) in chosen:
                self._leave(file, f"has the name of {chosen[name_key(file.name)]} on some disks; rename it")
            elif self._mode == "move" and file.is_symlink():
                self._leave(file, "is a link and is not moved; move what it leads to")
            else:
                chosen[name_key(file.name)] = file
        return list(chosen.values())[1:]

    def _choose(self, group: list[Path], contents: FolderContents) -> list[str] | None:
        """Return free names for a photo and its companions, all with the same ending if they need one."""
        old = [file.name for file in group]
        stem = split_name(old[0])[0]
        for number in range(1, MOST_OF_A_NAME):
            names = with_stem(old, stem, f" ({number})" if number > 1 else "")
            if self._are_free(group, contents, names):
                return names
        return None

    def _are_free(self, group: list[Path], contents: FolderContents, names: list[str]) -> bool:
        keys = [name_key(name) for name in names]
        if keys[0] in contents.names or len(set(keys)) < len(keys):
            return False
        taken = [i for i, key in enumerate(keys) if key in contents.names]
        if not all(self._exists(group[i], contents, names[i]) for i in taken):
            return False
        # A stem that is in use would make this photo's companions another's, or the other way round.
        relatives = contents.relatives[name_key(split_name(names[0])[0])] - len(taken)
        return relatives <= (0 if len(group) > 1 else 1)

    def _exists(self, file: Path, contents: FolderContents, name: str) -> bool:
        """Whether a file of this name and content is on the disk already."""
        target = contents.path / contents.names.get(name_key(name), name)
        try:
            if not S_ISREG(target.stat().st_mode) or target.stat().st_size != file.stat().st_size:
                return False
        except FileNotFoundError:
            return False
        return target.samefile(file) or content_sha256(target) == content_sha256(file)

    def _add(self, file: Path, contents: FolderContents, name: str) -> None:
        """Plan a step."""
        source = Path(os.path.realpath(file)) if file.is_symlink() else file
        status = source.stat()
        if self._mode == "hardlink" and status.st_dev != self._device:
            reason = f"{self.folders.root}: is on another disk than {file}, which hard links cannot span"
            raise LibraryError(f"{reason}; use --mode copy, move or symlink")
        if self._mode == "copy" or (self._mode == "move" and status.st_dev != self._device):
            self._room += -(-status.st_size // DISK_BLOCK) * DISK_BLOCK
        self._size += status.st_size
        self._taken.add(file)
        self._steps.append(Step(self._mode, contents.path / name, source))
        contents.add(name)
