"""Tables of descriptors: append-only, resumable, importable without trusting what is imported."""

import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support import ROOT, world

from veduta.competition.descriptor_table import (
    DESCRIPTORS,
    ID_BYTES,
    IDS,
    DescriptorTable,
    Provenance,
    open_shard,
    parse_shard,
    shard_of,
    write_table,
)
from veduta.competition.embed import embed_split, import_npy, import_pth
from veduta.competition.feature_file import FeatureFile
from veduta.datasets.pth import read_pth
from veduta.errors import BusyError, DatasetError
from veduta.index import ExactIndex, search_blocks
from veduta.types import Failure

MAKER = Provenance("test", "", 8)


def unit(n, dim=8, seed=0):
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def names(n):
    return [f"{i:016x}" for i in range(n)]


def test_what_is_written_is_read_back(tmp_path):
    rows = unit(10)
    assert write_table(tmp_path, MAKER, names(10), rows) == 10
    table = DescriptorTable.open(tmp_path)
    assert [id.decode() for id in table.ids.tolist()] == names(10)
    assert np.allclose(table.rows(table.order(names(10)[::-1])), rows[::-1], atol=1e-3)
    assert table.order(["ffffffffffffffff"]).tolist() == [-1]


@given(cut_rows=st.integers(0, 200), cut_ids=st.integers(0, 400))
@settings(max_examples=30, deadline=None)
def test_whatever_a_kill_leaves_the_next_run_completes(tmp_path_factory, cut_rows, cut_ids):
    folder = tmp_path_factory.mktemp("table")
    rows = unit(10)
    write_table(folder, MAKER, names(10), rows)
    shard = folder / "shard-0001-of-0001"
    whole = {name: (shard / name).read_bytes() for name in (DESCRIPTORS, IDS)}
    os.truncate(shard / DESCRIPTORS, max(0, len(whole[DESCRIPTORS]) - cut_rows))
    os.truncate(shard / IDS, max(0, len(whole[IDS]) - cut_ids))
    write_table(folder, MAKER, names(10), rows)
    assert {name: (shard / name).read_bytes() for name in whole} == whole


def test_a_shard_has_one_writer_and_one_maker(tmp_path):
    with open_shard(tmp_path, MAKER), pytest.raises(BusyError, match="another process"), open_shard(tmp_path, MAKER):
        pass
    with pytest.raises(DatasetError, match="was made by test"), open_shard(tmp_path, Provenance("other", "", 8)):
        pass
    with pytest.raises(DatasetError, match="another number"), open_shard(tmp_path, MAKER, (1, 2)):
        pass


def test_tables_that_are_none_say_so(tmp_path):
    with pytest.raises(DatasetError, match="no shards"):
        DescriptorTable.open(tmp_path)
    write_table(tmp_path, MAKER, names(1), unit(1))
    (tmp_path / "shard-0001-of-0001" / "shard.json").write_text("{")
    with pytest.raises(DatasetError, match="not the description of a shard"):
        DescriptorTable.open(tmp_path)


@given(st.text("0123456789abcdef", min_size=16, max_size=16), st.integers(1, 50))
def test_each_photo_falls_to_exactly_one_shard(id, count):
    assert 0 <= shard_of(id, count) < count


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3"])
def test_shards_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match="expected i/N"):
        parse_shard(text)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for i in range(9):
        world.save(world.facade(i), folder / "train" / f"{i:016x}.jpg")
    (folder / "train" / "00000000000000ff.jpg").write_bytes(b"not a photo")
    return folder


def test_embedding_in_shards_equals_embedding_at_once(data, tmp_path):
    once = embed_split(data, tmp_path / "once")
    assert (once.photos, once.new, list(once.bad)) == (10, 9, ["00000000000000ff"])
    parts = [embed_split(data, tmp_path / "parts", shard=f"{i}/3") for i in (1, 2, 3)]
    assert sum(part.new for part in parts) == 9
    a, b = DescriptorTable.open(tmp_path / "once"), DescriptorTable.open(tmp_path / "parts")
    ids = sorted(id.decode() for id in a.ids.tolist())
    assert np.array_equal(a.rows(a.order(ids)), b.rows(b.order(ids)))
    assert "00000000000000ff" in b.bad


def test_embedding_again_does_nothing_and_a_cut_table_becomes_the_same(data, tmp_path):
    embed_split(data, tmp_path)
    shard = tmp_path / "shard-0001-of-0001"
    before = {path.name: path.read_bytes() for path in shard.iterdir()}
    assert embed_split(data, tmp_path).new == 0
    os.truncate(shard / IDS, 4 * ID_BYTES + 5)
    assert embed_split(data, tmp_path).new == 5
    assert {path.name: path.read_bytes() for path in shard.iterdir()} == before
    assert json.loads(before["shard.json"])["settings"] == {"side": 384}


# --- imports ----------------------------------------------------------------------------------------------------


def test_npy_with_ids_is_imported_with_norm_one(tmp_path):
    np.save(tmp_path / "d.npy", 3 * unit(5))
    (tmp_path / "ids.txt").write_text("\n".join(names(5)))
    table = import_npy(tmp_path / "d.npy", tmp_path / "ids.txt", tmp_path / "t", "resnext")
    assert table.maker.model == "resnext"
    assert np.allclose(table.rows(table.order(names(5))), unit(5), atol=1e-3)
    np.save(tmp_path / "d.npy", unit(5, seed=9))
    with pytest.raises(DatasetError, match="was made by resnext"):  # another content under the same name
        import_npy(tmp_path / "d.npy", tmp_path / "ids.txt", tmp_path / "t", "resnext")
    (tmp_path / "ids.txt").write_text("\n".join(names(4)))
    with pytest.raises(DatasetError, match="as many ids"):
        import_npy(tmp_path / "d.npy", tmp_path / "ids.txt", tmp_path / "u", "resnext")
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], object))
    with pytest.raises(DatasetError, match="cannot be read"):
        import_npy(tmp_path / "o.npy", tmp_path / "ids.txt", tmp_path / "v", "resnext")


@pytest.mark.parametrize("name", ["torch-zip", "torch-before-1.6", "torch-views", "torch-half", "torch-numpy"])
def test_dictionaries_written_by_torch_are_read(tmp_path, name):
    path = ROOT / "tests" / "data" / f"{name}.pth"
    expected = {f"{i:016x}": (i + 1) / (np.arange(6) + 2) for i in range(4)}
    found = read_pth(path)
    assert list(found) == list(expected)
    assert all(np.allclose(found[id], v, atol=2e-3) for id, v in expected.items())
    assert len(import_pth(path, tmp_path, "b6")) == 4


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: {"a": e}, lambda e: {"a": [e]}])
def test_a_file_that_wants_to_run_something_is_refused_and_runs_nothing(tmp_path, wrap, new):
    torch.save(wrap(Evil(tmp_path / "ran")), tmp_path / "evil.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(DatasetError, match="mkdir" if new else "is not a dictionary of vectors"):
        read_pth(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [{}, {1: torch.ones(2)}, [torch.ones(2)], {"a": torch.ones(2, 2)}, {"a": "text"}])
def test_other_contents_are_refused(tmp_path, value):
    torch.save(value, tmp_path / "other.pth")
    with pytest.raises(DatasetError, match=r"other\.pth"):
        import_pth(tmp_path / "other.pth", tmp_path / "table", "b6")


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_bytes_do_anything_but_fail_clearly(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("p") / "x.pth"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"x\.pth"):
        read_pth(path)


# --- searching what is on disk ----------------------------------------------------------------------------------

halves = arrays.arrays(np.float16, (12, 4), elements=st.sampled_from([-1, -0.5, 0, 0.5, 1]))


@settings(deadline=None, max_examples=40)
@given(halves, arrays.arrays(np.float32, (3, 4), elements=st.sampled_from([-1, 0, 0.25, 1])), st.integers(1, 14))
def test_blocks_on_disk_are_searched_as_the_exact_index_is(rows, queries, k):
    index = ExactIndex(4)
    index.add(np.arange(12), rows.astype(np.float32))
    expected = index.search(queries, k)
    got = search_blocks([rows[:5], rows[5:]], queries, k, block=4)
    assert np.array_equal(got[0], expected[0])


def test_blocks_name_the_same_rows_where_similarities_differ():
    rows, queries = unit(500, 16, 1), unit(20, 16, 2)
    index = ExactIndex(16)
    index.add(np.arange(500), rows)
    for got, expected in zip(
        search_blocks([rows[:123], rows[123:]], queries, 10, block=50), index.search(queries, 10), strict=True
    ):
        assert np.allclose(got, expected, atol=1e-6)


def test_features_survive_a_cut_file(tmp_path):
    file = FeatureFile(tmp_path)
    file.put([(id, bytes([i]) * 50) for i, id in enumerate(names(5))])
    file.close()
    os.truncate(tmp_path / "features.bin", 4 * 50 + 20)
    again = FeatureFile(tmp_path)
    assert names(5)[3] in again
    assert names(5)[4] not in again
    again.put([(names(5)[4], bytes([4]) * 50)])
    again.close()
    assert (tmp_path / "features.bin").read_bytes() == b"".join(bytes([i]) * 50 for i in range(5))


def test_bad_photos_are_remembered(tmp_path):
    with open_shard(tmp_path, MAKER) as writer:
        writer.put_bad(Failure("0a", '0a: is, "torn"'))
    with open_shard(tmp_path, MAKER) as writer:
        assert writer.bad == {"0a": '0a: is, "torn"'}
