"""Fixtures of all tests: drawn photos, and a gallery of them that is built once and copied for whoever changes it."""

import os
import tempfile

# Before numpy and faiss load. Their threads wait by spinning, which makes a busy machine many times as slow.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["VEDUTA_USER_STATE"] = tempfile.mkdtemp(prefix="veduta-state-")  # what this user accepts is left alone
os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # read when a worker starts; one arena a thread holds gigabytes

import ctypes
import gc
import shutil
import sys

import hypothesis
import pytest
from support import components, world

from veduta.gallery import Gallery
from veduta.landmarks import Landmark

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_finish():
    """Leave what is imported by now out of every later search for garbage, which then costs a thousandth."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _memory_given_back():
    """Return freed memory to the system after each module, for a worker runs thousands of tests in one process."""
    yield
    components.clear()
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)(0)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Folder with two photos each of palazzo-0 to palazzo-5. Read only."""
    return world.build(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def many_photos(tmp_path_factory):
    """Folder with three small photos each of twenty palazzi: what takes a moment to add. Read only."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(20):
        for j in range(3):
            world.save(world.facade(100 + 3 * i + j, 192, 144), folder / f"palazzo-{i}" / f"photo-{j}.jpg")
    return folder


@pytest.fixture(scope="session")
def views(tmp_path_factory):
    """Photo -> landmark id: `photos`' facades seen in ways their gallery has not. Read only."""
    folder = tmp_path_factory.mktemp("views")
    return {
        str(world.save(world.view(world.facade(i), 7000 + 10 * i + j).pixels, folder / f"{i}-{j}.jpg")): f"palazzo-{i}"
        for i in range(6)
        for j in range(2)
    }


@pytest.fixture(scope="session")
def view(views):
    """One photo of palazzo-0. Read only."""
    return next(iter(views))


@pytest.fixture(scope="session")
def distractors(tmp_path_factory):
    """Photos of nothing in particular. Read only."""
    folder = tmp_path_factory.mktemp("distractors")
    return [str(world.save(world.distractor(i), folder / f"{i}.jpg")) for i in range(4)]


@pytest.fixture(scope="session")
def strangers(tmp_path_factory):
    """Photos of facades that no gallery has. Read only."""
    folder = tmp_path_factory.mktemp("strangers")
    return [str(world.save(world.view(world.facade(500 + i), i).pixels, folder / f"{i}.jpg")) for i in range(5)]


@pytest.fixture(scope="session")
def built(photos, tmp_path_factory):
    """Folder of a gallery made of `photos`. Read only; `gallery_path` is a copy to change."""
    path = tmp_path_factory.mktemp("built") / "gallery"
    with Gallery.create(path) as gallery:
        gallery.add(photos)
    return path


@pytest.fixture
def gallery_path(built, tmp_path):
    """Folder of a gallery made of `photos`, this test's own."""
    path = shutil.copytree(built, tmp_path / "gallery")
    with Gallery.open(path) as gallery:
        gallery.trust()
    return path


@pytest.fixture
def gallery(gallery_path):
    """The gallery in `gallery_path`, open."""
    with Gallery.open(gallery_path) as opened:
        yield opened


@pytest.fixture
def placed(gallery_path):
    """A gallery two of whose landmarks have a place, in Rome and in Florence."""
    with Gallery.open(gallery_path) as gallery:
        gallery.put_landmark(Landmark("palazzo-0", "Palazzo", 41.9, 12.5))
        gallery.put_landmark(Landmark("palazzo-1", "Palazzo", 43.77, 11.25))
        yield gallery


@pytest.fixture
def corrupt(tmp_path):
    """A file that calls itself a photo and is none."""
    path = tmp_path / "corrupt.jpg"
    path.write_bytes(b"\xff\xd8\xff" + b"not a photo at all" * 9)
    return path
