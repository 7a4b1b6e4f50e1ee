"""Files of several names that are written anew: one file before, after, and after an undo, killed or not."""

import os
import tempfile
from pathlib import Path

import pytest
from support.crash import living
from support.trees import differences, put, snapshot

from veduta.library.journal import Step, apply, history, undo
from veduta.library.journal.hard_links import links_outside

SHM = Path("/dev/shm")


def write(path, content=b"new"):
    return Step("write", path, make=lambda: content)


def linked(folder, *names):
    first = put(folder / names[0], b"old")
    (folder / ".veduta").mkdir(exist_ok=True)
    for name in names[1:]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(first, folder / name)
    return [folder / name for name in names]


@pytest.mark.parametrize(
    "names",
    [
        ["a.jpg", "b.jpg"],
        ["a.jpg", "sub/a.jpg"],
        ["a.jpg", "sub/deep/er/b.jpg", "c.jpg"],
        ["a.jpg.xmp", "Sorted/a.jpg.xmp"],
        ["1", "2", "3", "4", "5"],
        ["K\u00f6ln \udcff.jpg", "b.jpg"],
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_names_of_one_file_stay_names_of_one_file(tmp_path, names, backwards):
    paths = linked(tmp_path, *names)
    alone = put(tmp_path / "alone.jpg", b"old")
    before = snapshot(tmp_path)
    steps = [write(path) for path in [*paths, alone]]
    done = apply(steps[::-1] if backwards else steps, tmp_path / ".veduta", "tag")
    assert (done.done, done.failures) == (len(steps), ())
    assert {path.read_bytes() for path in [*paths, alone]} == {b"new"}
    assert len({path.stat().st_ino for path in paths}) == 1
    assert alone.stat().st_ino != paths[0].stat().st_ino
    assert undo(tmp_path / ".veduta").left == ()
    assert differences(before, snapshot(tmp_path)) == []
    assert len({path.stat().st_ino for path in paths}) == 1


def test_names_that_get_different_contents_are_parted(tmp_path):
    paths = linked(tmp_path, "a", "b")
    apply([write(paths[0], b"one"), write(paths[1], b"two")], tmp_path / ".veduta", "tag")
    assert [path.read_bytes() for path in paths] == [b"one", b"two"]


def test_a_name_that_was_changed_meanwhile_is_no_twin(tmp_path):
    first, second = linked(tmp_path, "a", "b")

    def make():
        first.write_bytes(b"by somebody else")
        return b"new"

    apply([write(first), Step("write", second, make=make)], tmp_path / ".veduta", "tag")
    assert (first.read_bytes(), second.read_bytes()) == (b"by somebody else", b"new")


def test_a_disk_without_links_gets_files(tmp_path):
    paths = linked(tmp_path, "a", "b")
    with living(None, links=False):
        done = apply([write(path) for path in paths], tmp_path / ".veduta", "tag")
    assert (done.done, {path.read_bytes() for path in paths}) == (2, {b"new"})


def test_killed_anywhere_both_names_come_back_as_one_file():
    deaths = 0
    for at in range(400):
        with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
            paths = linked(Path(folder), "a", "sub/b")
            before = snapshot(folder)
            with living(at) as mortal:
                apply([write(path) for path in paths], Path(folder, ".veduta"), "tag")
            while any(action.state != "undone" for action in history(Path(folder, ".veduta"))):
                assert undo(Path(folder, ".veduta")).left == ()
            assert differences(before, snapshot(folder)) == []
            assert len({path.stat().st_ino for path in paths}) == 1
            deaths += mortal.dead
            if not mortal.dead:
                break
    assert deaths > 20


@pytest.mark.parametrize(
    ("names", "written", "outside"),
    [
        (["a", "b"], ["a", "b"], {}),
        (["a", "b"], ["a"], {"a": 1}),
        (["a", "b", "c"], ["b"], {"b": 2}),
        (["a", "b", "c"], ["b", "c"], {"b": 1}),
        (["a"], ["a"], {}),
        (["a"], ["new"], {}),
    ],
)
def test_names_that_are_not_written_are_counted(tmp_path, names, written, outside):
    linked(tmp_path, *names)
    counted = links_outside([write(tmp_path / name) for name in written])
    assert counted == {tmp_path / name: count for name, count in outside.items()}
    assert links_outside([Step("copy", tmp_path / "x", tmp_path / names[0])]) == {}
