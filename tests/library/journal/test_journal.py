"""Changes of files that can be taken back: killed anywhere, on full, foreign and read-only disks, and after people."""

import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.crash import living
from support.trees import age, differences, put, snapshot

from veduta.errors import BusyError, ImageError, LibraryError
from veduta.library.journal import Step, apply, history, recover, undo

SHM = Path("/dev/shm")
KINDS = ["hardlink", "copy", "symlink", "move"]


@pytest.fixture
def library(tmp_path):
    """A folder with photos, one of them with a name that is no UTF-8, and its state folder."""
    return build(tmp_path / "library")


@pytest.fixture
def in_memory():
    """The same, in memory: what is killed at hundreds of moments would wait for a disk."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        yield build(Path(folder) / "library")


def build(folder):
    put(folder / "a" / "IMG_1.jpg", b"one" * 500, 0o640)
    put(folder / "a" / "IMG_1.xmp", b"<xmp/>", 0o600)
    put(folder / "a" / "b" / "Köln \udcff.jpg", b"two" * 500, 0o444, 1_600_000_000_000_000_001)
    put(folder / "empty.jpg", b"")
    (folder / ".veduta").mkdir()
    age(folder)
    return folder


@pytest.fixture
def abroad():
    """A folder on another file system."""
    if not SHM.is_dir() or SHM.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("there is one file system only")
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        yield Path(folder)


@pytest.fixture
def small(tmp_path):
    """A disk of 256 KiB, and the folder it is mounted on."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def state(library):
    return library / ".veduta"


def every_kind(library, target):
    """A step of each kind, with names that are made of others' and folders that have to be made."""
    one, two, empty = library / "a" / "IMG_1.jpg", library / "a" / "b" / "Köln \udcff.jpg", library / "empty.jpg"
    here = target.is_relative_to(library)
    return [
        Step("hardlink" if here else "copy", target / "x" / "one.jpg", one),
        Step("copy", target / "x" / "two.jpg", two),
        Step("symlink", target / "y" / "deep" / "link.jpg", one),
        Step("write", library / "a" / "IMG_1.xmp", make=lambda: b"<other/>"),
        Step("write", library / "a" / "IMG_1.xmp", make=lambda: b"<third/>"),
        Step("move", target / "y" / "two.jpg", two),
        Step("write", library / "a" / "b" / "new.xmp", make=lambda: b"<new/>"),
        Step("move", target / "empty.jpg", empty),
        Step("write", target / "y" / "two.jpg", make=lambda: b"tw2" * 500, keep_times=True),
        Step("move", library / "empty.jpg", target / "y" / "two.jpg"),
        Step("copy", two, target / "x" / "two.jpg"),
    ]


def undo_all(library):
    """Undo until there is nothing left to undo; nothing may stay behind."""
    while any(action.state != "undone" for action in history(state(library))):
        undone = undo(state(library))
        assert undone.left == ()
        assert undone.action.state == "undone"


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_does_what_it_says_and_undo_takes_it_back(library, kind):
    before = snapshot(library)
    source, target = library / "a" / "IMG_1.jpg", library / "Sorted" / "Köln" / "IMG.jpg"
    seen = source.stat()
    applied = apply([Step(kind, target, source)], state(library), "organize")
    assert (applied.done, applied.failures, applied.stopped) == (1, (), None)
    assert target.read_bytes() == b"one" * 500
    assert (target.stat().st_mtime_ns, target.stat().st_mode) == (seen.st_mtime_ns, seen.st_mode)
    assert source.exists() == (kind != "move")
    assert target.is_symlink() == (kind == "symlink")
    assert (target.stat().st_ino == seen.st_ino) == (kind != "copy")
    [action] = history(state(library))
    assert (action.number, action.what, action.steps, action.state) == (1, "organize", 1, "applied")
    assert action.when.tzinfo is not None
    undone = undo(state(library))
    assert (undone.done, undone.left, undone.action.state) == (1, (), "undone")
    assert snapshot(library) == before
    with pytest.raises(LibraryError, match="nothing to undo"):
        undo(state(library))


def test_write_keeps_what_it_replaces_with_mode_time_and_links(library):
    source, twin = library / "a" / "IMG_1.xmp", library / "twin.xmp"
    os.link(source, twin)
    age(library)
    before = snapshot(library)
    applied = apply([Step("write", source, make=lambda: b"new", keep_times=True)], state(library), "write")
    assert applied.done == 1
    assert source.read_bytes() == b"new"
    assert twin.read_bytes() == b"<xmp/>"
    assert oct(source.stat().st_mode) == before[str(source)][0]
    assert source.stat().st_mtime_ns == before[str(source)][1]
    undo(state(library))
    assert snapshot(library) == before
    assert not (state(library) / "backup").exists()
    assert source.stat().st_ino == twin.stat().st_ino


def test_write_without_keeping_the_time_is_seen_by_backup_programs(library):
    source = library / "a" / "IMG_1.xmp"
    apply([Step("write", source, make=lambda: b"new")], state(library), "write")
    assert abs(source.stat().st_mtime - time.time()) < 60


def test_write_of_the_same_content_changes_nothing(library):
    before = snapshot(library)
    applied = apply([Step("write", library / "a" / "IMG_1.xmp", make=lambda: b"<xmp/>")], state(library), "write")
    assert (applied.done, applied.failures, applied.journal) == (0, (), None)
    assert snapshot(library) == before
    assert history(state(library)) == []


def test_write_does_not_touch_a_file_that_changes_while_its_content_is_made(library):
    target = library / "a" / "IMG_1.xmp"

    def make():
        target.write_bytes(b"by a person, at this very moment")
        return b"by us"

    [failure] = apply([Step("write", target, make=make)], state(library), "write").failures
    assert "was changed meanwhile" in failure.error
    assert target.read_bytes() == b"by a person, at this very moment"


def test_a_content_that_cannot_be_made_is_a_failure_and_the_next_step_is_tried(library):
    def make():
        raise ImageError("a.jpg", "is no photo")

    steps = [
        Step("write", library / "a" / "IMG_1.xmp", make=make),
        Step("copy", library / "c.jpg", library / "empty.jpg"),
    ]
    applied = apply(steps, state(library), "write")
    assert applied.done == 1
    assert [failure.error for failure in applied.failures] == ["a.jpg: is no photo"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"someone else's", b"one" * 500])
def test_nothing_is_overwritten(library, kind, content):
    target = put(library / "taken.jpg", content)
    before = snapshot(library)
    [failure] = apply([Step(kind, target, library / "a" / "IMG_1.jpg")], state(library), "organize").failures
    assert "is there already" in failure.error
    assert snapshot(library) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_overwritten_by_a_file_that_appears_at_the_last_moment(library, kind, links, monkeypatch):
    """Another program writes the target, with the same content even, right before the call that would make it."""
    target = library / "IMG.jpg"
    real = {name: getattr(os, name) for name in ("link", "symlink", "open")}

    def late(name):
        def call(*args, **kwargs):
            if str(target) in map(str, args[:2]) and not target.exists():
                with monkeypatch.context() as calm:
                    for other, function in real.items():
                        calm.setattr(os, other, function)
                    target.write_bytes(b"one" * 500)
            if name == "link" and not links:
                raise OSError(errno.EPERM, "no links", *args[:2])
            return real[name](*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for name in real:
            patched.setattr(os, name, late(name))
        applied = apply([Step(kind, target, library / "a" / "IMG_1.jpg")], state(library), "organize")
    assert applied.done == 0
    assert target.read_bytes() == b"one" * 500
    assert target.stat().st_nlink == 1
    assert (library / "a" / "IMG_1.jpg").read_bytes() == b"one" * 500
    assert list(library.glob(".veduta-*")) == []
    if history(state(library)):  # on a disk without links it cannot be told that the target is not ours
        undo(state(library))
    assert target.exists()


def test_files_added_and_changed_since_stay_and_are_reported(library):
    target = library / "Sorted"
    steps = [
        Step("copy", target / "copy.jpg", library / "a" / "IMG_1.jpg"),
        Step("move", target / "moved.jpg", library / "empty.jpg"),
        Step("write", library / "a" / "IMG_1.xmp", make=lambda: b"ours"),
        Step("hardlink", target / "fine" / "link.jpg", library / "a" / "IMG_1.jpg"),
        Step("symlink", target / "fine" / "symlink.jpg", library / "a" / "IMG_1.jpg"),
    ]
    apply(steps, state(library), "organize")
    (target / "copy.jpg").write_bytes(b"cropped")
    (target / "moved.jpg").write_bytes(b"cropped, too")
    (library / "a" / "IMG_1.xmp").write_bytes(b"theirs")
    put(target / "added.jpg", b"added")
    undone = undo(state(library))
    assert undone.done == 2
    assert [(failure.photo, "changed since" in failure.error) for failure in undone.left] == [
        (str(target / "copy.jpg"), True),
        (str(target / "moved.jpg"), True),
        (str(library / "a" / "IMG_1.xmp"), True),
    ]
    assert (target / "copy.jpg").read_bytes() == b"cropped"
    assert (target / "moved.jpg").read_bytes() == b"cropped, too"
    assert (library / "a" / "IMG_1.xmp").read_bytes() == b"theirs"
    assert (target / "added.jpg").read_bytes() == b"added"
    assert not (target / "fine").exists()
    [backup] = (state(library) / "backup" / "0001").iterdir()
    assert backup.read_bytes() == b"<xmp/>"
    assert str(backup) in undone.left[2].error
    assert undone.action.state == "partly undone"
    with pytest.raises(LibraryError, match="nothing to undo"):
        undo(state(library))


def test_what_was_left_can_be_tried_again_by_its_number(library):
    before = snapshot(library)
    apply([Step("move", library / "new.jpg", library / "empty.jpg")], state(library), "organize")
    put(library / "empty.jpg", b"in the way")
    assert "another file lies at its old place" in undo(state(library)).left[0].error
    apply([Step("copy", library / "more.jpg", library / "a" / "IMG_1.jpg")], state(library), "organize")
    with pytest.raises(LibraryError, match="number 2 came later"):
        undo(state(library), number=1)
    undo(state(library))
    (library / "empty.jpg").unlink()
    assert undo(state(library), number=1).action.state == "undone"
    age(library)
    assert {k: v for k, v in snapshot(library).items() if k in before} == before
    with pytest.raises(LibraryError, match="no action number 1"):
        undo(state(library), number=1)


@pytest.mark.parametrize("kind", ["hardlink", "copy"])
@pytest.mark.parametrize("how", ["deleted", "edited", "replaced"])
def test_a_link_or_copy_is_kept_when_it_may_be_the_only_one(library, kind, how):
    source, target = library / "a" / "IMG_1.jpg", library / "Sorted" / "IMG.jpg"
    apply([Step(kind, target, source)], state(library), "organize")
    if how != "edited":
        source.unlink()
    if how == "replaced" or (how == "edited" and kind == "copy"):
        source.write_bytes(b"another picture")
    [*left] = undo(state(library)).left
    if how == "edited" and kind == "hardlink":
        assert left == []
    else:
        assert "is kept" in left[0].error
        assert target.read_bytes() == b"one" * 500


def test_a_copy_is_kept_when_the_old_folder_became_a_link_to_the_new_one(library):
    source, target = library / "a" / "IMG_1.jpg", library / "Sorted" / "IMG_1.jpg"
    apply([Step("copy", target, source)], state(library), "organize")
    source.parent.rename(library / "old")
    (library / "old" / "IMG_1.jpg").unlink()
    source.parent.symlink_to(target.parent)
    assert len(undo(state(library)).left) == 1
    assert target.read_bytes() == b"one" * 500


def test_a_moved_photo_finds_back_when_its_folder_is_gone(library):
    source, target = library / "a" / "b" / "Köln \udcff.jpg", library / "new.jpg"
    apply([Step("move", target, source)], state(library), "organize")
    source.parent.rmdir()
    assert undo(state(library)).left == ()
    assert source.read_bytes() == b"two" * 500


def test_a_folder_keeps_the_time_at_which_a_person_added_something(library):
    apply([Step("copy", library / "c.jpg", library / "empty.jpg")], state(library), "organize")
    put(library / "added.jpg", b"added")
    then = library.stat().st_mtime_ns
    undo(state(library))
    assert library.stat().st_mtime_ns >= then


@pytest.mark.parametrize("kind", [*KINDS, "write"])
@pytest.mark.parametrize("renamed", [True, False])
def test_what_is_not_where_it_was_put_is_reported(library, kind, renamed):
    source, target = library / "a" / "IMG_1.jpg", library / "Sorted" / "IMG.jpg"
    apply([Step("copy", library / "first.jpg", library / "empty.jpg")], state(library), "organize")
    step = Step("write", target, make=lambda: b"new") if kind == "write" else Step(kind, target, source)
    apply([step], state(library), "organize")
    if renamed:
        target.rename(library / "mine.jpg")
    else:
        target.unlink()
    undone = undo(state(library))
    assert (undone.done, undone.action.number, undone.action.state) == (0, 2, "partly undone")
    [left] = undone.left
    assert (left.photo, "is gone" in left.error) == (str(target), True)
    assert (library / "mine.jpg").exists() == renamed
    if renamed:
        target.parent.mkdir()
        (library / "mine.jpg").rename(target)
        assert undo(state(library), number=2).action.state == "undone"
    assert (undo(state(library)).action.number, (library / "first.jpg").exists()) == (1, False)


def test_a_photo_that_the_person_put_back_counts_as_taken_back(library):
    source, target = library / "a" / "IMG_1.jpg", library / "IMG.jpg"
    for content, left in ((b"", 0), (b"another photo", 1)):
        apply([Step("move", target, source)], state(library), "organize")
        target.rename(source)
        if content:
            source.write_bytes(content)
        assert len(undo(state(library)).left) == left


def relative(folder):
    return {os.path.relpath(path, folder): seen for path, seen in snapshot(folder).items()}


def test_a_library_that_was_moved_is_undone_where_it_lies(library):
    before, now = relative(library), library.with_name("now")
    apply(every_kind(library, library / "Sorted"), state(library), "all", root=library)
    library.rename(now)
    undone = undo(state(now), root=now)
    assert (undone.done, undone.left, undone.action.state) == (11, (), "undone")
    assert relative(now) == before
    assert not (state(now) / "backup").exists()
    assert not library.exists()


def test_a_library_that_was_moved_twice_and_changed_in_between(library, tmp_path):
    before, names = relative(library), [library, tmp_path / "x" / "second", tmp_path / "third"]
    names[1].parent.mkdir()
    for old, new in itertools.pairwise(names):
        steps = [
            Step("move", old / f"{new.name}.jpg", old / "a" / "IMG_1.jpg"),
            Step("write", old / "a" / "IMG_1.xmp", make=lambda new=new: new.name.encode(), keep_times=True),
            Step("symlink", old / new.name / "link.jpg", old / "empty.jpg"),
            Step("copy", old / "a" / "IMG_1.jpg", old / f"{new.name}.jpg"),
        ]
        assert apply(steps, state(old), "all", root=old).done == 4
        old.rename(new)
    undo_all(names[-1])
    assert relative(names[-1]) == before


def test_a_library_called_by_a_link_is_moved_with_what_was_done_below_its_own_name(library, tmp_path):
    before, other, now = relative(library), tmp_path / "other", tmp_path / "now"
    other.symlink_to(library)
    apply(every_kind(library, library / "Sorted"), state(other), "all", root=other)
    library.rename(now)
    assert undo(state(now), root=now).left == ()
    assert relative(now) == before


def test_with_its_state_elsewhere_a_library_is_undone_where_the_person_says_it_is(library, tmp_path):
    before, folder, now = relative(library), tmp_path / "state", tmp_path / "now"
    apply(every_kind(library, library / "Sorted"), folder, "all", root=library)
    library.rename(now)
    assert undo(folder, root=now).left == ()
    assert relative(now) == before


def test_another_library_is_not_taken_for_one_that_is_still_there(library, tmp_path):
    before, folder, other = snapshot(library), tmp_path / "state", build(tmp_path / "other")
    theirs = snapshot(other)
    apply(every_kind(library, library / "Sorted"), folder, "all", root=library)
    assert undo(folder, root=other).left == ()
    assert (snapshot(library), snapshot(other)) == (before, theirs)


def test_the_undo_of_a_copied_library_leaves_the_first_alone(library, tmp_path):
    other = tmp_path / "other"
    apply(every_kind(library, library / "Sorted"), state(library), "all", root=library)
    subprocess.run(["cp", "-a", library, other], check=True)
    first = snapshot(library, without="")
    assert undo(state(other), root=other).left == ()
    assert not (other / "Sorted").exists()
    assert snapshot(library, without="") == first


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_outside_of_a_moved_library_stays_where_it_is(library, tmp_path, kind):
    before, now, target = relative(library), tmp_path / "now", tmp_path / "Sorted" / "IMG.jpg"
    apply([Step(kind, target, library / "a" / "IMG_1.jpg")], state(library), "organize", root=library)
    library.rename(now)
    assert undo(state(now), root=now).left == ()
    assert relative(now) == before
    assert not target.parent.exists()


def test_a_journal_of_nobody_knows_where_reports_a_library_that_was_moved(library):
    """Journals had no place once, and no signature: nothing is taken back, and it is not said to be."""
    applied = apply([Step("copy", library / "c.jpg", library / "empty.jpg")], state(library), "organize")
    head, rest = applied.journal.read_text("ascii").split("\n", 1)
    old = {key: value for key, value in json.loads(head).items() if key not in ("state", "roots")}
    applied.journal.write_text(json.dumps(old) + "\n" + rest, "ascii")
    now = library.rename(library.with_name("now"))
    with pytest.raises(LibraryError, match=f"which is not in {now}, and was not written by your Veduta"):
        undo(state(now), root=now)
    now.rename(library)
    assert undo(state(library), number=1).done == 1


def test_an_action_of_which_every_step_failed_is_not_in_the_way_of_an_undo(library):
    before = snapshot(library)
    apply([Step("copy", library / "c.jpg", library / "empty.jpg")], state(library), "organize")
    between = snapshot(library)
    steps = [Step("move", library / "new" / ("x" * 256), library / "a" / "IMG_1.jpg")]
    vain = apply(steps, state(library), "organize")
    assert (vain.done, len(vain.failures), vain.journal) == (0, 1, None)
    assert snapshot(library) == between
    assert [action.number for action in history(state(library))] == [1]
    assert undo(state(library)).action.number == 1
    assert snapshot(library) == before
    with pytest.raises(LibraryError, match="no action number 2"):
        undo(state(library), number=2)


@pytest.mark.parametrize("kind", ["copy", "move", "symlink"])
def test_other_file_systems(library, abroad, kind):
    before = snapshot(library), snapshot(abroad)
    target = abroad / "Sorted" / "two.jpg"
    source = library / "a" / "b" / "Köln \udcff.jpg"
    seen = source.stat()
    applied = apply([Step(kind, target, source)], state(library), "organize")
    assert (applied.done, applied.failures) == (1, ())
    assert target.read_bytes() == b"two" * 500
    assert (target.stat().st_mtime_ns, target.stat().st_mode) == (seen.st_mtime_ns, seen.st_mode)
    undo(state(library))
    assert (snapshot(library), snapshot(abroad)) == before


def test_a_hard_link_to_another_file_system_fails_with_advice(library, abroad):
    before = snapshot(library), snapshot(abroad)
    steps = [Step("hardlink", abroad / "x" / "one.jpg", library / "a" / "IMG_1.jpg")]
    [failure] = apply(steps, state(library), "organize").failures
    assert "use --mode copy" in failure.error
    assert "move" in failure.error
    assert (snapshot(library), snapshot(abroad)) == before


def test_a_backup_on_another_file_system(library, abroad):
    before = snapshot(library)
    steps = [Step("write", library / "a" / "IMG_1.xmp", make=lambda: b"new", keep_times=True)]
    assert apply(steps, abroad, "write").done == 1
    assert undo(abroad).left == ()
    assert snapshot(library) == before


def test_a_full_disk_ends_the_run_and_what_was_done_can_be_undone(library, small):
    photos = [put(library / "big" / f"{i}.jpg", bytes([i]) * 50_000) for i in range(9)]
    age(library)
    before = snapshot(library), snapshot(small)
    for kind in ("copy", "move"):
        applied = apply(
            (Step(kind, small / "Sorted" / photo.name, photo) for photo in photos), state(library), "organize"
        )
        assert 0 < applied.done < len(photos)
        assert "disk is full" in applied.stopped
        assert len(applied.failures) == 1
        assert len(list((small / "Sorted").iterdir())) == applied.done
        assert undo(state(library)).left == ()
        assert (snapshot(library), snapshot(small)) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fills_up_with_the_journal_on_it(small, kind):
    library = small / "library"
    photos = [put(library / f"{i}.jpg", bytes([i]) * 3_000) for i in range(20)]
    (library / ".veduta").mkdir()
    age(library)
    before = snapshot(library)
    fill = put(small / "fill", b"")
    free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize - 3 * 4096
    fill.write_bytes(b"x" * free)
    applied = apply((Step(kind, library / "s" / p.name, p) for p in photos), state(library), "organize")
    assert applied.stopped is not None or applied.done == len(photos)
    undo_all(library)
    assert snapshot(library) == before


def test_a_read_only_disk_is_a_failure_per_step(library, small):
    photo = library / "a" / "IMG_1.jpg"
    on_disk = put(small / "photo.jpg", b"abc")
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    before = snapshot(library), snapshot(small)
    steps = [Step("copy", small / "x" / "one.jpg", photo), Step("move", library / "moved.jpg", on_disk)]
    applied = apply(steps, state(library), "organize")
    assert applied.done == 0
    assert all("Read-only" in f.error and "make it writable" in f.error for f in applied.failures)
    undo_all(library)
    assert (snapshot(library), snapshot(small)) == before
    with pytest.raises(LibraryError, match="cannot hold a journal"):
        apply(steps, small, "organize")


def test_names_that_are_too_long_and_links_in_a_circle(library):
    (library / "circle").symlink_to(library / "circle")
    (library / "nowhere").symlink_to(library / "is not there")
    age(library)
    before = snapshot(library)
    photo = library / "a" / "IMG_1.jpg"
    steps = [
        Step("copy", library / ("x" * 300) / "a.jpg", photo),
        Step("copy", library / "new" / ("ö" * 200 + ".jpg"), photo),
        Step("copy", library / "circle" / "a.jpg", photo),
        Step("copy", library / "nowhere" / "a.jpg", photo),
        Step("copy", library / "empty.jpg" / "a.jpg", photo),
        Step("hardlink", library / "a.jpg", library / "circle"),
        Step("move", library / "a.jpg", library / "a"),
        Step("move", library / "b.jpg", library / "is not there"),
    ]
    applied = apply(steps, state(library), "organize")
    assert (applied.done, len(applied.failures)) == (0, len(steps))
    assert "choose a shorter or plainer one" in applied.failures[0].error
    assert "choose a shorter or plainer one" in applied.failures[1].error
    undo_all(library)
    assert snapshot(library) == before


def meanwhile(monkeypatch, name, on, act):
    """Have something happen right before the first call of an os function whose first argument ends so."""
    real, happened = getattr(os, name), []

    def call(first, *args, **kwargs):
        place = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(first)  # noqa: PTH115
        if not happened and place.endswith(on):
            happened.append(place)
            return act(real, first, *args, **kwargs)
        return real(first, *args, **kwargs)

    monkeypatch.setattr(os, name, call)
    return happened


def test_a_photo_edited_while_it_is_moved_to_another_disk_is_not_removed(library, abroad, monkeypatch):
    source, target = library / "a" / "IMG_1.jpg", abroad / "Sorted" / "IMG_1.jpg"

    def edit(fsync, descriptor):
        source.write_bytes(b"edited")
        fsync(descriptor)

    happened = meanwhile(monkeypatch, "fsync", "/Sorted", edit)
    [failure] = apply([Step("move", target, source)], state(library), "organize").failures
    assert "was changed meanwhile" in failure.error
    assert happened
    assert "another file lies at its old place" in failure.error
    assert (source.read_bytes(), target.read_bytes()) == (b"edited", b"one" * 500)
    assert len(undo(state(library)).left) == 1
    assert (source.read_bytes(), target.read_bytes()) == (b"edited", b"one" * 500)


def test_a_sidecar_edited_while_it_is_written_is_not_replaced(library, monkeypatch):
    target = library / "a" / "IMG_1.xmp"

    def edit(link, *args, **kwargs):
        link(*args, **kwargs)
        target.unlink()
        target.write_bytes(b"by a person")

    happened = meanwhile(monkeypatch, "link", "IMG_1.xmp", edit)
    [failure] = apply([Step("write", target, make=lambda: b"ours")], state(library), "write").failures
    assert happened
    assert "was changed meanwhile" in failure.error
    assert target.read_bytes() == b"by a person"
    [backup] = (state(library) / "backup" / "0001").iterdir()
    assert backup.read_bytes() == b"<xmp/>"
    assert not [path for path in target.parent.iterdir() if path.suffix == ".part"]


def test_a_disk_that_does_not_keep_what_is_written_keeps_no_photo(library, abroad, monkeypatch):
    before = snapshot(library), snapshot(abroad)

    def lose(write, descriptor, data):
        return write(descriptor, b"\0" * len(data))

    happened = meanwhile(monkeypatch, "write", ".part", lose)
    steps = [Step("move", abroad / "Sorted" / "IMG_1.jpg", library / "a" / "IMG_1.jpg")]
    [failure] = apply(steps, state(library), "organize").failures
    assert happened
    assert "does not read as it was written" in failure.error
    undo_all(library)
    assert (snapshot(library), snapshot(abroad)) == before


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_journal_that_cannot_be_written_ends_the_run_before_the_change(library, monkeypatch, line):
    """The disk is full after half a line: of the first intention, of its completion, of the next intention."""
    before, calls = snapshot(library), []

    def fill(descriptor, data, write=os.write):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".jsonl"):  # noqa: PTH115
            calls.append(data)
            if len(calls) == line:
                return write(descriptor, bytes(data)[: len(data) // 2])
            if len(calls) == line + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    with monkeypatch.context() as full:
        full.setattr(os, "write", fill)
        steps = [Step("hardlink", library / f"{i}.jpg", library / "a" / "IMG_1.jpg") for i in range(3)]
        applied = apply(steps, state(library), "organize")
    assert "cannot be written (No space left on device)" in applied.stopped
    assert [path.name for path in library.glob("[0-9].jpg")] == ["0.jpg"][: line // 2]
    undo_all(library)
    assert snapshot(library) == before


def test_two_processes_do_not_change_a_library_at_once(library):
    def steps():
        for call in (
            lambda: apply([], state(library), "organize"),
            lambda: undo(state(library)),
            lambda: recover(state(library)),
        ):
            with pytest.raises(BusyError, match="another Veduta is changing"):
                call()
        yield Step("copy", library / "c.jpg", library / "empty.jpg")

    assert apply(steps(), state(library), "organize").done == 1


def test_undo_of_a_folder_that_is_no_state_says_so_and_makes_nothing(tmp_path):
    assert history(tmp_path / "no") == []
    recover(tmp_path / "no")
    with pytest.raises(LibraryError, match="nothing to undo"):
        undo(tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_progress_counts_steps_both_ways(library):
    there, back = [], []
    apply(every_kind(library, library / "Sorted"), state(library), "all", there.append)
    undo(state(library), back.append)
    assert there == back == list(range(1, 12))


def test_a_journal_can_be_read_by_a_person_and_is_not_believed_when_damaged(library):
    applied = apply(every_kind(library, library / "Sorted"), state(library), "all")
    lines = applied.journal.read_text("ascii").splitlines()
    assert json.loads(lines[0])["what"] == "all"
    assert json.loads(lines[-1]) | {"mac": ""} == {"end": "applied", "mac": ""}
    moves = [json.loads(line) for line in lines if '"move"' in line]
    assert moves[0]["source"] == str(library / "a" / "b" / "Köln \udcff.jpg")
    whole = applied.journal.read_bytes()
    applied.journal.write_bytes(whole.replace(b'"step": 3', b'"st', 1))
    for call in (history, undo):
        with pytest.raises(LibraryError, match="is damaged"):
            call(state(library))
    applied.journal.write_bytes(whole.replace(b'{"veduta": 1', b'{"veduta": 9', 1))
    with pytest.raises(LibraryError, match="another version"):
        undo(state(library))


@pytest.mark.parametrize(
    "make",
    [
        lambda f: Step("move", Path("relative"), f / "a"),
        lambda f: Step("burn", f / "a", f / "b"),
        lambda f: Step("move", f / "a"),
        lambda f: Step("write", f / "a", f / "b"),
    ],
)
def test_a_step_that_makes_no_sense_is_the_programmers_fault(tmp_path, make):
    with pytest.raises(ValueError, match="Step"):
        make(tmp_path)


@pytest.fixture(params=["here", "abroad"])
def target(request, in_memory, tmp_path):
    """Where to put things: within the library, or on another file system."""
    if request.param == "abroad" and in_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    return (in_memory if request.param == "here" else tmp_path) / "Sorted"


def killed_at(library, target, links, applying, *undoing):
    """Apply `every_kind` and undo it, each of them killed after so many half-calls; return whether each was killed."""
    before = snapshot(library) | snapshot(target.parent)
    with living(applying, links) as life:
        applied = apply(every_kind(library, target), state(library), "all")
        assert applied.done + len(applied.failures) == 11
        assert links or applied.done > 8
    lives = [life]
    for at in undoing:
        with living(at, links) as life:
            undo_all(library)
        lives.append(life)
    with living(None, links):
        undo_all(library)
    times = f"killed after {applying} half-calls, undoing after {undoing}"
    assert differences(before, snapshot(library) | snapshot(target.parent)) == [], times
    for journal in (state(library) / "journal").glob("*.jsonl"):
        journal.unlink()
    return [life.dead for life in lives]


@pytest.mark.parametrize("links", [True, False])
def test_killed_anywhere_while_applying(in_memory, target, links):
    at, step = 0, 1 if target.is_relative_to(in_memory) else 3
    while killed_at(in_memory, target, links, at, 5 + at * 7 % 150)[0]:
        at += step
    assert at > 200


@pytest.mark.parametrize("links", [True, False])
def test_killed_anywhere_while_undoing(in_memory, target, links):
    at, step = 0, 1 if target.is_relative_to(in_memory) else 3
    while killed_at(in_memory, target, links, None, at, at // 2)[1]:
        at += step
    assert at > 100


@pytest.mark.parametrize("state_moves", [True, False])
def test_killed_anywhere_and_moved_before_each_undo(in_memory, state_moves):
    """Applying and the first undo are killed; the library lies elsewhere each time."""
    names = [in_memory, in_memory.with_name("second"), in_memory.with_name("a third")]
    outside, before, alive, at = in_memory.with_name("state"), relative(in_memory), False, 0
    while not alive:
        here = names[0]
        with living(at) as life:
            apply(every_kind(here, here / "Sorted"), state(here) if state_moves else outside, "all", root=here)
        alive = not life.dead
        for new, death in zip([*names[1:], names[0]], [at * 7 % 150, at * 3 % 60, None], strict=True):
            here = here.rename(new)
            folder = state(here) if state_moves else outside
            with living(death):
                while any(action.state != "undone" for action in history(folder)):
                    assert undo(folder, root=here).left == ()
        assert relative(here) == before, f"killed after {at} half-calls"
        for journal in (folder / "journal").glob("*.jsonl"):
            journal.unlink()
        at += 3
    assert at > 200


@pytest.mark.parametrize("settled", [True, False])
def test_killed_anywhere_in_an_action_that_comes_to_nothing(in_memory, settled):
    before, alive, at = snapshot(in_memory), False, 0
    while not alive:
        with living(at, links=False) as life:
            steps = [Step("hardlink", in_memory / "x" / "y" / f"{i}.jpg", in_memory / "empty.jpg") for i in range(2)]
            assert apply(steps, state(in_memory), "organize").done == 0
        alive = not life.dead
        if settled:
            with living():
                recover(state(in_memory))
            assert history(state(in_memory)) == []
        with living():
            undo_all(in_memory)
        assert snapshot(in_memory) == before, f"killed after {at} half-calls"
        for journal in (state(in_memory) / "journal").glob("*.jsonl"):
            journal.unlink()
        at += 1
    assert at > 40


def test_settle_leaves_whole_steps_and_nothing_half_made(in_memory, tmp_path):
    """After a kill and `settle` every step is either done or not there; going on from there completes the work."""
    if in_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    photos = [in_memory / "a" / "IMG_1.jpg", in_memory / "a" / "b" / "Köln \udcff.jpg"]
    targets = [tmp_path / "Sorted" / photo.name for photo in photos]
    before = snapshot(in_memory), snapshot(tmp_path)
    alive, at = False, 0
    while not alive:
        with living(at) as life:
            apply(map(Step, ["move"] * 2, targets, photos), state(in_memory), "organize")
        alive = not life.dead
        with living():
            recover(state(in_memory))
        assert [photo.exists() for photo in photos] == [not target.exists() for target in targets]
        assert len(list(tmp_path.rglob("*.*"))) == sum(target.exists() for target in targets)
        rest = [Step("move", t, p) for p, t in zip(photos, targets, strict=True) if p.exists()]
        with living():
            assert apply(rest, state(in_memory), "organize").done == len(rest)
            undo_all(in_memory)
        assert (snapshot(in_memory), snapshot(tmp_path)) == before
        at += 1
        for journal in (state(in_memory) / "journal").glob("*.jsonl"):
            journal.unlink()


def test_an_interrupted_undo_is_finished_before_anything_else_is_applied(library):
    before = snapshot(library)
    apply(every_kind(library, library / "Sorted"), state(library), "all")
    with living(40):
        undo(state(library))
    assert [action.state for action in history(state(library))] == ["partly undone"]
    with pytest.raises(LibraryError, match="finish it with veduta library undo"):
        apply([Step("copy", library / "c.jpg", library / "a" / "IMG_1.jpg")], state(library), "organize")
    undo_all(library)
    assert snapshot(library) == before


CHILD = """
import sys
from pathlib import Path
from veduta.library.journal import Step, apply, undo
library, target, state, kind = map(Path, sys.argv[1:])
print("ready", flush=True)
if str(kind) == "undo":
    undo(state)
else:
    photos = sorted(library.rglob("*.jpg"))
    apply((Step(str(kind), target / str(i % 7) / f"{i}.jpg", p) for i, p in enumerate(photos)), state, "organize")
"""


def run_and_kill(lines, *args):
    """Run CHILD and kill it when the newest journal has grown by about this many lines."""
    journal = args[2] / "journal"

    def length():
        return max((len(file.read_bytes().splitlines()) for file in journal.glob("*.jsonl")), default=0)

    begin = length() if args[3] == "undo" else 0
    process = subprocess.Popen([sys.executable, "-c", CHILD, *map(str, args)], stdout=subprocess.PIPE)
    process.stdout.readline()
    while process.poll() is None and length() - begin < lines:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("kind", ["copy", "move"])
def test_killed_by_the_kernel(tmp_path, abroad, kind):
    library, folder = tmp_path / "library", tmp_path / "state"
    for i in range(150):
        put(library / str(i % 5) / f"{i}.jpg", os.urandom(20_000), 0o600 + i % 64)
    age(library)
    before = snapshot(library) | snapshot(abroad)
    chance, reached = random.Random(0), []
    for _ in range(3):
        run_and_kill(chance.randrange(250), library, abroad / "Sorted", folder, kind)
        reached += [history(folder)[-1].state]
        run_and_kill(chance.randrange(100), library, abroad / "Sorted", folder, "undo")
        reached += [history(folder)[-1].state]
        while any(action.state != "undone" for action in history(folder)):
            assert undo(folder).left == ()
        assert differences(before, snapshot(library) | snapshot(abroad)) == []
        for journal in (folder / "journal").glob("*.jsonl"):
            journal.unlink()
    assert "interrupted" in reached
    assert "partly undone" in reached
