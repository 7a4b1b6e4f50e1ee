"""Qdrant against the exact index: what is asked of it beyond the contract of every index, and what happens when it
fails.

The contract itself is in test_index.py, for a Qdrant inside this process; here are also nodes of their own with real
sockets (qdrant_server.py).
"""

import subprocess
import sys
import threading

import numpy as np
import pytest
from support.processes import PATIENCE
from support.qdrant_server import Server
from support.vectors import clustered, exact, search_all

from veduta.errors import GalleryError
from veduta.index.qdrant.client import KEY, MEMORY, QdrantConnection, RetryPolicy, addresses
from veduta.index.qdrant.collections import (
    CollectionSettings,
    CollectionVersion,
    create_collection,
    propose,
    resolve,
    switch,
    versions,
)
from veduta.index.qdrant.index import UPLOAD_BATCH, QdrantIndex, SearchOptions
from veduta.index.qdrant.points import PointBatch

DIM, MODEL, OTHER = 32, "a" * 64, "b" * 64
QUERIES = clustered(5, DIM, stream=1)
STEADY = RetryPolicy(seconds=PATIENCE, tries=3, pause=0.01)


@pytest.fixture
def server():
    with Server() as node:
        yield node


def points(count, landmarks=7, first=1, places=None):
    """References first, first + 1, ... with what is known of them; every other landmark's place is not."""
    ids = np.arange(first, first + count, dtype=np.int64)
    names = [f"l{i % landmarks}" for i in ids]
    places = places or {f"l{i}": (40.0 + i, 11.0 - i) for i in range(0, landmarks, 2)}
    licences = ["CC-BY" if i % 3 else None for i in ids]
    references = [f"{i}.jpg" for i in ids]
    return PointBatch(
        ids, clustered(first + count, DIM)[first:], references, names, [places.get(n) for n in names], licences
    )


def made(link, name="sights", model=MODEL, shape=None):
    version = propose(link, name, model)
    create_collection(link, version, DIM, shape)
    return version


def filled(link, some, name="sights", model=MODEL):
    version = made(link, name, model)
    index = QdrantIndex(link, version.collection, DIM)
    index.upsert(some)
    return version, index


def refusal(call, *args, **options):
    with pytest.raises(GalleryError) as caught:
        call(*args, **options)
    return str(caught.value)


# --- the same answers -------------------------------------------------------------------------------------------------


def test_over_the_wire_it_finds_what_the_exact_index_finds_to_the_last_bit(server):
    some = points(300)
    _, index = filled(QdrantConnection(server.address, STEADY), some)
    truth = exact(some.ids, some.descriptors)
    assert len(index) == 300
    assert search_all(index, QUERIES) == search_all(truth, QUERIES)
    assert search_all(index, QUERIES, 5, some.ids[::3]) == search_all(truth, QUERIES, 5, some.ids[::3])
    assert np.array_equal(index.vectors(some.ids[::-7]), truth.vectors(some.ids[::-7]))
    assert index.remove(np.array([3, 4, 99_999])) == 2
    truth.remove(np.array([3, 4]))
    assert search_all(index, QUERIES) == search_all(truth, QUERIES)
    assert index.search(QUERIES, 7)[1].tolist() == truth.search(QUERIES, 7)[1].tolist()


def test_a_collection_is_made_with_codes_in_memory_and_searched_with_rescoring(server):
    link = QdrantConnection(server.address, STEADY)
    shape = CollectionSettings(shards=6, replicas=2, writes=2, hnsw_m=24, ef_construct=256)
    version = made(link, shape=shape)
    index = QdrantIndex(link, version.collection, DIM, SearchOptions(hnsw_ef=77, oversampling=3))
    index.upsert(points(60))
    index.search(QUERIES, 3)
    (asked,) = (body for body in server.sent(version.collection) if body)
    assert asked["vectors"] == {**asked["vectors"], "size": DIM, "distance": "Dot", "on_disk": True}
    assert asked["quantization_config"]["scalar"] == {"type": "int8", "quantile": 0.99, "always_ram": True}
    assert (asked["shard_number"], asked["replication_factor"], asked["write_consistency_factor"]) == (6, 2, 2)
    assert (asked["hnsw_config"]["m"], asked["hnsw_config"]["ef_construct"]) == (24, 256)
    assert {(b["field_name"], b["field_schema"]) for b in server.sent("/index")} == {
        ("landmark", "keyword"),
        ("position", "geo"),
    }
    (searches,) = (body["searches"] for body in server.sent("/query/batch"))
    assert len(searches) == len(QUERIES)
    params = searches[0]["params"]
    assert (params["hnsw_ef"], params["exact"]) == (77, False)
    assert params["quantization"]["rescore"]
    assert params["quantization"]["oversampling"] == 3


def test_where_the_graph_finds_too_few_everything_is_compared(server):
    _, index = filled(QdrantConnection(server.address, STEADY), points(9))
    assert index.search(QUERIES, 30)[1].shape == (len(QUERIES), 9)
    assert [body["searches"][0]["params"]["exact"] for body in server.sent("/query/batch")] == [False, True]


def test_what_is_known_of_a_reference_goes_along(server):
    _, index = filled(QdrantConnection(server.address, STEADY), points(4, landmarks=2))
    (sent,) = (body["batch"] for body in server.sent("/points") if "batch" in (body or {}))
    assert sent["payloads"][0] == {"reference": "1.jpg", "landmark": "l1", "licence": "CC-BY"}
    assert sent["payloads"][1] == {
        "reference": "2.jpg",
        "landmark": "l0",
        "licence": "CC-BY",
        "position": {"lat": 40.0, "lon": 11.0},
    }
    assert "licence" not in sent["payloads"][2]
    assert len(index) == 4


def test_sending_twice_changes_nothing_and_batches_are_confirmed(server):
    some, seen = points(2 * UPLOAD_BATCH + 10), []
    _, index = filled(QdrantConnection(server.address, STEADY), some)
    index.upsert(some, seen.append)
    assert len(index) == len(some.ids)
    assert seen == [UPLOAD_BATCH, 2 * UPLOAD_BATCH, 2 * UPLOAD_BATCH + 10]


def test_what_is_known_has_to_be_known_of_each():
    with pytest.raises(ValueError, match=r"Points: expected 2 of each, got \[2, 1, 2, 2, 2\]"):
        PointBatch(np.arange(2), clustered(2, DIM), ["a"], ["x", "y"], [None] * 2, [None] * 2)


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [False, True])
def test_an_alias_goes_over_to_a_new_version_while_somebody_searches(server, wire):
    link = QdrantConnection(server.address if wire else MEMORY, STEADY)
    old, new = points(80), points(80, first=1001)
    first, _ = filled(link, old)
    assert switch(link, first) is None
    index, answers, stop = QdrantIndex(link, "sights", DIM), [], threading.Event()

    def search():
        while not stop.is_set():
            answers.append(index.search(QUERIES[:1], 20)[1][0])

    searching = threading.Thread(target=search)
    if wire:
        searching.start()
    second, _ = filled(link, new, model=OTHER)
    assert resolve(link, "sights", MODEL) == first.collection
    search_before = index.search(QUERIES[:1], 20)[1][0]
    assert switch(link, second) == first.collection
    answers.append(index.search(QUERIES[:1], 20)[1][0])
    stop.set()
    if wire:
        searching.join()
    assert search_before.max() < 1000
    assert answers[-1].min() > 1000
    assert all(
        len(each) == 20 and (each.max() < 1000 or each.min() > 1000) for each in answers
    )  # never none, never both
    assert resolve(link, "sights", OTHER) == second.collection
    assert versions(link, "sights") == [first, second]


def test_an_alias_that_leads_nowhere_or_to_another_model_is_said(server):
    link = QdrantConnection(server.address, STEADY)
    assert "has nothing complete called 'sights'; run 'veduta index GALLERY'" in refusal(resolve, link, "sights")
    version, _ = filled(link, points(3))
    assert f"though {version.collection} was begun" in refusal(resolve, link, "sights")
    switch(link, version)
    message = refusal(resolve, link, "sights", OTHER)
    assert f"'sights' leads to {version.collection}, expected one of model bbbbbbbbbbbb" in message


def test_names_of_versions_are_read_back():
    assert CollectionVersion.parse(
        CollectionVersion(12, "my--sights-3", "0123456789ab").collection
    ) == CollectionVersion(12, "my--sights-3", "0123456789ab")
    assert CollectionVersion.parse("somebody-elses") is None
    with pytest.raises(ValueError, match="name: expected letters"):
        propose(QdrantConnection(MEMORY), "a/b", MODEL)
    with pytest.raises(ValueError, match="no more writes than replicas"):
        CollectionSettings(replicas=1, writes=2)


# --- when it fails ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["close", "hang", "lost", 500, 503, 429])
def test_a_fault_that_passes_is_not_noticed(server, fault):
    some = points(UPLOAD_BATCH + 40)
    version = made(QdrantConnection(server.address, STEADY))
    # A slow answer counts as none, and that is no fault either: there are more tries than faults.
    patience = RetryPolicy(seconds=2, tries=20, pause=0.01) if fault == "hang" else STEADY
    index = QdrantIndex(QdrantConnection(server.address, patience), version.collection, DIM)
    server.faults = [None, fault, fault]
    index.upsert(some)
    assert len(index) == len(some.ids)
    server.faults = [fault]
    assert search_all(index, QUERIES[:1]) == search_all(exact(some.ids, some.descriptors), QUERIES[:1])


@pytest.mark.parametrize("fault", ["close", "lost"])
def test_a_collection_whose_making_was_not_confirmed_is_made_once(server, fault):
    server.faults = [None, None, fault]
    version = made(QdrantConnection(server.address, STEADY))
    assert versions(QdrantConnection(server.address), "sights") == [version]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "close",
            r"cannot be reached or broke off \(.+\) while counting in sights--a+-1, tried 3 times; is it running",
        ),
        ("hang", "gave no answer within 1 s while counting in sights--a+-1, tried 3 times; is it running"),
        (
            503,
            r"failed \(503 Service internal error: a shard has no living replica\) while .* tried 3 times; see Qdrant",
        ),
        (400, r"refused \(400 .*\) while counting"),
        ("html", "did not answer as a Qdrant does while counting in sights--a+-1; is the address right"),
    ],
)
def test_a_fault_that_stays_is_said_after_a_while(server, fault, said):
    version, index = filled(QdrantConnection(server.address, STEADY), points(3))
    if fault == "hang":  # from here on nothing is answered, so that a second is as good as a minute
        index.link = QdrantConnection(server.address, RetryPolicy(seconds=1, tries=3, pause=0.01))
    server.faults = [fault] * 3
    with pytest.raises(GalleryError, match=f"^{server.address}: {said}"):
        len(index)
    server.faults = []
    assert len(QdrantIndex(QdrantConnection(server.address, STEADY), version.collection, DIM)) == 3


def test_nobody_there_is_said():
    with Server() as node:
        address = node.address
    message = refusal(QdrantIndex, QdrantConnection(address, STEADY), "sights", DIM)
    assert message.startswith(f"{address}: cannot be reached or broke off (")
    assert "while opening sights, tried 3 times" in message


def test_when_a_node_goes_the_next_one_answers(server):
    with Server(server.store) as other:
        link = QdrantConnection(f"{server.address}, {other.address}", STEADY)
        some = points(40)
        _, index = filled(link, some)
        server.dead = True
        assert search_all(index, QUERIES) == search_all(exact(some.ids, some.descriptors), QUERIES)
        assert other.seen
        other.dead = True
        assert "broke off" in refusal(len, index)


def test_another_length_of_descriptors_and_a_collection_that_is_not_there_are_said(server):
    link = QdrantConnection(server.address, STEADY)
    version, index = filled(link, points(3))
    message = refusal(QdrantIndex, link, version.collection, DIM + 1)
    assert f"{version.collection} has descriptors of length 32, expected 33" in message
    assert "has no such collection (Collection nothing not found)" in refusal(QdrantIndex, link, "nothing", DIM)
    server.store.delete_collection(version.collection)
    assert "upload with 'veduta index GALLERY'" in refusal(index.search, QUERIES, 3)


def test_the_key_comes_from_the_environment_alone(server, monkeypatch):
    server.key = "secret"
    message = refusal(made, QdrantConnection(server.address, STEADY))
    assert (
        f"refuses the key (Must provide an API key) while listing collections; put the right one into {KEY}" in message
    )
    monkeypatch.setenv(KEY, "secret")
    version = made(QdrantConnection(server.address, STEADY))
    assert "secret" not in repr(vars(QdrantIndex(QdrantConnection(server.address, STEADY), version.collection, DIM)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("", "got nothing"),
        ("ftp://host", "got 'ftp://host'"),
        ("http://host:6333, elsewhere", "got 'elsewhere'"),
        ("https://user:secret@host", "expected none with a password in it"),
    ],
)
def test_an_address_that_is_none_is_refused(wrong, said):
    with pytest.raises(ValueError, match=f"address: .*{said}"):
        addresses(wrong)


def test_a_folder_is_for_one_process_and_is_shared_within_it(tmp_path):
    _, index = filled(QdrantConnection(str(tmp_path)), points(5))
    assert len(QdrantIndex(QdrantConnection(str(tmp_path)), index.collection, DIM)) == 5
    code = f"from veduta.index.qdrant.client import QdrantConnection as Q; Q({str(tmp_path)!r})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    assert "cannot be opened as a Qdrant inside this process" in said
    assert "end the process that has it open, or name a server" in said


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    assert "in Veduta's folder, run: pip install -e '.[qdrant]'" in refusal(QdrantConnection, MEMORY)


def test_nobody_loads_it_who_does_not_ask_for_it():
    code = "import sys, veduta.gallery, veduta.index.qdrant.index; print('qdrant_client' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_patience_has_its_bounds():
    with pytest.raises(ValueError, match="Patience: expected at least"):
        RetryPolicy(tries=0)
