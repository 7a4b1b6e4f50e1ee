"""The files of an approximate index from somebody else: damaged ones are an error of one line, links are left."""

import contextlib
import json
import os
import shutil
import struct

import numpy as np
import pytest
from support.stores import entry, put, unit

from veduta.errors import GalleryError
from veduta.gallery import Gallery
from veduta.gallery.index_build import build_index
from veduta.gallery.live_index import BUILD_NAME, CURRENT_FILE, DRAFT, INDEX_FOLDER, LiveIndex, latest_build
from veduta.gallery.store import Store
from veduta.index import ExactIndex
from veduta.index.ivf import index as ivf
from veduta.index.ivf.lists_file import LISTS, read_lists

DIM, COUNT = 32, 300
SECRET = b"nobody else's business\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A gallery of drawn entries with an index. Read only."""
    path = tmp_path_factory.mktemp("indexed") / "gallery"
    with Gallery.create(path) as gallery:
        gallery.choose_index("approximate", 1.0)
    with contextlib.closing(Store.open(path)) as store:
        put(store, *(entry(i, f"l{i % 9}") for i in range(COUNT)))
        build_index(store, DIM)
    return path


@pytest.fixture
def gallery(made, tmp_path, monkeypatch):
    """A copy of it, whose index may be read, of which nothing is few enough to be compared one by one."""
    monkeypatch.setattr(ivf, "FEW", 16)
    monkeypatch.setattr(LiveIndex, "_start_rebuild", lambda self: None)
    path = shutil.copytree(made, tmp_path / "gallery")
    with Gallery.open(path) as opened:
        opened.trust()
    return path


@pytest.fixture
def victim(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_bytes(SECRET)
    return tmp_path / "home"


def queries():
    return unit(np.random.default_rng(9), 4, DIM)


def nearest(path):
    """Ids of the nearest by the index that the gallery has."""
    with contextlib.closing(Store.open(path)) as store, contextlib.closing(LiveIndex(store, DIM)) as live:
        index = live.refresh()
        return index.search(queries(), 10)[1].tolist()


def truth(path):
    with contextlib.closing(Store.open(path)) as store:
        index = ExactIndex(DIM)
        index.add(*store.rows.after())
        return index.search(queries(), 10)[1].tolist()


def is_refused(path):
    with pytest.raises(GalleryError) as caught:
        nearest(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    with contextlib.closing(Store.open(path)) as store:
        build_index(store, DIM)  # as the message says
    assert nearest(path) == truth(path)


def test_an_index_that_nobody_changed_answers_as_exact_search_does(gallery):
    assert nearest(gallery) == truth(gallery)


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": "32"},
        {"dim": 0},
        {"dim": 31},
        {"dim": 2**70},
        {"code": 64},
        {"code": 16},
        {"count": COUNT - 1},
        {"count": -1},
        {"lists": 1},
        {"lists": None},
        {"candidate_factor": 0},
        {"candidate_factor": 10**9},
        {"rescore_factor": -3},
        {"rescore_factor": 1.5},
        {"probe_margin": "far"},
        {"probe_margin": -1},
        {"recall": float("nan")},
        {"source": {}},
        {"source": []},
        {"source": {"row": 2**70, "removals": 0}},
        {"source": {"row": "9", "removals": 0}},
        {"source": {"row": 3, "removals": 0}},
        {"source": {"row": COUNT, "removals": None}},
        {"trained": True},
        {"another": 1},
    ],
    ids=json.dumps,
)
def test_a_manifest_with_a_value_that_cannot_be_is_refused(gallery, fields):
    file = latest_build(gallery) / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    is_refused(gallery)


PARTS = ("rows-0", "norms-0", "ids-0", "codes-0", "lists.faiss", "spread.npy", "steps.npy", "manifest.json")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("how", ["cut", "empty", "longer", "folder", "gone"])
def test_a_file_that_is_not_whole_is_refused(gallery, part, how):
    file = latest_build(gallery) / part
    content = file.read_bytes()
    match how:
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "empty":
            file.write_bytes(b"")
        case "longer":
            file.write_bytes(content + content[: -(-len(content) // 3)])
        case "folder":
            file.unlink()
            file.mkdir()
        case _:
            file.unlink()
    if part == "manifest.json" and how in ("folder", "gone"):
        assert nearest(gallery) == truth(gallery)  # there is no index then
    elif part.endswith(".npy") and how == "longer":
        assert nearest(gallery) == truth(gallery)  # numpy reads as far as it has to
    else:
        is_refused(gallery)


@pytest.mark.parametrize("part", [*PARTS[:-1], ""])
@pytest.mark.parametrize("kind", ["link", "pipe", "way to a folder"])
def test_nothing_is_read_through_a_link_or_pipe(gallery, victim, part, kind):
    place = latest_build(gallery) / part
    moved = gallery.parent / "moved"
    place.rename(moved)
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(moved if kind == "link" else victim)
    if part:
        is_refused(gallery)
    else:
        assert nearest(gallery) == truth(gallery)  # there is no index then
    assert [file.read_bytes() for file in victim.iterdir()] == [SECRET]


@pytest.mark.parametrize(
    "name",
    ["../../moved", "/etc", "..", ".", "", "a\0b", "\xff", "draft", "000001/../000001", "²", "9" * 5000, "000009"],
)
def test_the_pointer_leads_to_a_build_of_this_gallery_or_to_nothing(gallery, name):
    shutil.copytree(latest_build(gallery), gallery.parent / "moved")
    (gallery / INDEX_FOLDER / CURRENT_FILE).write_bytes(name.encode("latin-1"))
    assert latest_build(gallery) is None
    assert nearest(gallery) == truth(gallery)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_pointer_that_is_none_is_not_followed(gallery, tmp_path, kind):
    pointer = gallery / INDEX_FOLDER / CURRENT_FILE
    pointer.rename(tmp_path / "current")
    os.mkfifo(pointer) if kind == "pipe" else pointer.symlink_to(tmp_path / "current")
    assert latest_build(gallery) is None


# --- what faiss would believe ---------------------------------------------------------------------------------------


def lists_place(data):
    place = data.rindex(b"ilbl")
    return place, place + LISTS.size


@pytest.mark.parametrize("position", [-1, COUNT, 2**40, -(2**62), 0, 1])
def test_a_position_that_is_no_descriptors_is_refused(gallery, position):
    file = latest_build(gallery) / "lists.faiss"
    data = bytearray(file.read_bytes())
    place = lists_place(data)[1] + 8
    second = struct.unpack_from("<q", data, place + 8)[0]
    struct.pack_into("<q", data, place, second if position == 1 else position if position else second)
    file.write_bytes(data)
    is_refused(gallery)


@pytest.mark.parametrize("value", [0, 1, 2**31, 2**62, 2**64 - 1])
@pytest.mark.parametrize("field", ["count", "lists", "centers", "members", "codes", "block", "bytes"])
def test_a_size_that_lies_is_refused(gallery, field, value):
    file = latest_build(gallery) / "lists.faiss"
    data = bytearray(file.read_bytes())
    head, place = lists_place(data)
    members = struct.unpack_from("<Q", data, place)[0]
    where = {
        "count": 8,
        "lists": 37,
        "centers": 53 + 37,
        "members": place,
        "codes": place + 8 + 8 * members,
        "block": head + 20,
        "bytes": head + 28,
    }
    assert struct.unpack_from("<Q", data, where[field])[0] != value
    struct.pack_into("<Q", data, where[field], value)
    file.write_bytes(data)
    with pytest.raises(GalleryError, match="build the index again"):
        read_lists(file)
    is_refused(gallery)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0, -1])
@pytest.mark.parametrize("part", ["norms-0", "spread.npy"])
def test_numbers_that_cannot_be_are_refused(gallery, part, value):
    file = latest_build(gallery) / part
    content = file.read_bytes()
    file.write_bytes(content[:-4] + np.float32(value).tobytes())
    is_refused(gallery)


@pytest.mark.parametrize("change", ["fall", "repeat", "negative", "others"])
def test_ids_that_are_not_the_gallerys_rows_are_refused(gallery, change):
    file = latest_build(gallery) / "ids-0"
    ids = np.fromfile(file, np.int64)
    match change:
        case "fall":
            ids = ids[::-1]
        case "repeat":
            ids[5] = ids[4]
        case "negative":
            ids[0] = -4
        case _:
            (latest_build(gallery) / "manifest.json").write_text(
                json.dumps(
                    json.loads((latest_build(gallery) / "manifest.json").read_text())
                    | {"source": {"row": COUNT - 50, "removals": 0}}
                )
            )
            ids += 10_000
    ids.tofile(file)
    is_refused(gallery)


# --- building in a folder from somebody else --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["000002", "000099", DRAFT, ".lock", ""])
def test_a_build_neither_writes_nor_deletes_through_a_link(gallery, victim, name):
    (victim / "2019").mkdir()
    (victim / "2019" / "photo.jpg").write_bytes(SECRET)
    (victim / "000000").mkdir()
    (victim / "000000" / "photo.jpg").write_bytes(SECRET)
    place = gallery / INDEX_FOLDER / name
    if name in ("", ".lock"):
        shutil.rmtree(place) if not name else place.unlink()
    place.symlink_to(victim / "thesis.txt" if name == ".lock" else victim)
    before = {file: file.read_bytes() for file in victim.rglob("*") if file.is_file()}
    with contextlib.closing(Store.open(gallery)) as store, contextlib.suppress(GalleryError):
        build_index(store, DIM, rebuild=True)
    assert {file: file.read_bytes() for file in victim.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("part", ["rows-0", "norms-0", "ids-0", "codes-0", "steps.npy", "trained.faiss", "spread.npy"])
@pytest.mark.parametrize("kind", ["junk", "link"])
def test_a_draft_that_somebody_prepared_is_not_gone_on_with(gallery, victim, part, kind):
    shutil.copytree(latest_build(gallery), gallery / INDEX_FOLDER / DRAFT)
    draft = gallery / INDEX_FOLDER / DRAFT
    (draft / "lists.faiss").rename(draft / "trained.faiss")
    plan = {"recall": 1.0, "earlier": None, "row": COUNT, "removals": 0}
    (draft / "plan.json").write_text(json.dumps(plan))
    (draft / part).unlink()
    if kind == "junk":
        (draft / part).write_bytes(b"\x7f" * 4_000)
    else:
        (draft / part).symlink_to(victim / "thesis.txt")
    with contextlib.closing(Store.open(gallery)) as store:
        build_index(store, DIM, rebuild=True)
    assert (victim / "thesis.txt").read_bytes() == SECRET
    assert BUILD_NAME.fullmatch(latest_build(gallery).name)
    found, right = nearest(gallery), truth(gallery)
    if (part, kind) == ("rows-0", "junk"):  # rows of whatever numbers are rows of the gallery's references still
        assert {id for ids in found for id in ids} <= set(range(1, COUNT + 1))
    else:
        assert found == right
