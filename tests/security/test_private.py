"""What is private is readable by its owner only, and what is to be installed is named by a folder, not by an index."""

import re
import stat
from pathlib import Path

import pytest
from support import world

import veduta
from veduta.errors import install_extra
from veduta.gallery.references import keep_photo
from veduta.library import Library
from veduta.review_queue import ReviewQueue
from veduta.trust import accept

ROOT = Path(__file__).parents[2]
BY_INDEX = re.compile(r"pip install\s+(?:-\S+\s+)*[\"']?veduta\b")


def modes(folder):
    """The permission bits of files and folders below one: (those of files, those of folders)."""
    kinds = {True: set(), False: set()}
    for path in folder.rglob("*"):
        kinds[path.is_dir()].add(stat.S_IMODE(path.stat().st_mode))
    return kinds[False], kinds[True]


@pytest.fixture(autouse=True)
def open_umask():
    """Files are for everybody's eyes unless somebody says otherwise."""
    import os

    before = os.umask(0)
    yield
    os.umask(before)


def test_photos_kept_for_review_are_private(tmp_path):
    queue = ReviewQueue(tmp_path)
    try:
        queue.keep("a.jpg", b"a photo", {})
        assert modes(tmp_path)[0] == {0o600}  # SQLite's own files beside it too
    finally:
        queue.close()


def test_uploaded_references_are_private(tmp_path):
    keep_photo(tmp_path, b"a photo", "0" * 64)
    assert modes(tmp_path) == ({0o600}, {0o700})


def test_the_state_of_a_library_is_private(tmp_path):
    (tmp_path / "photos").mkdir()
    world.save(world.facade(0), tmp_path / "photos" / "a.png")
    with Library(tmp_path / "photos", tmp_path / "state") as library:
        library.scan()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert modes(tmp_path / "state")[0] == {0o600}


def test_the_users_record_of_trust_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("VEDUTA_USER_STATE", str(tmp_path / "user"))
    accept(tmp_path, "something")
    files, folders = modes(tmp_path)
    assert (files, folders) == ({0o600}, {0o700})


@pytest.mark.parametrize("extra", ["serve", "torch", "raw", "ray", "train"])
def test_an_extra_is_installed_from_the_folder(extra):
    assert f"'.[{extra}]'" in install_extra(extra)
    assert not BY_INDEX.search(install_extra(extra))


PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(Path(veduta.__file__).parent.rglob("*.py")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_nobody_is_told_to_install_by_a_name_that_others_could_take(page):
    assert not BY_INDEX.search(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_an_extra_does_not_replace_the_install_of_the_folder(page):
    assert not re.search(r"pip install (?!-e )['\"]?\.\[", page.read_text())


def test_the_rule_sees_what_it_looks_for():
    for told in (
        "pip install veduta",
        "pip install -U veduta[serve]",
        'pip install "veduta[raw]"',
        "pip install 'veduta'",
    ):
        assert BY_INDEX.search(told)
