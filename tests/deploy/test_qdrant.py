"""The file that starts a Qdrant of three nodes says what its comments and docs/qdrant.md do."""

import re

import pytest
import yaml
from support import ROOT

from veduta.index.qdrant.client import KEY, addresses

TEXT = (ROOT / "deploy" / "qdrant" / "compose.yaml").read_text("utf-8")
NODES = yaml.safe_load(TEXT)["services"]
DOCS = (ROOT / "docs" / "qdrant.md").read_text("utf-8")


def ports(node):
    return [port.split(":") for port in node["ports"]]


@pytest.mark.parametrize("name", sorted(NODES))
def test_a_node_is_pinned_bounded_and_on_loopback_and_keeps_what_it_has(name):
    node = NODES[name]
    assert re.fullmatch(r"qdrant/qdrant:v\d+\.\d+\.\d+", node["image"])
    assert [(host, inside) for host, _, inside in ports(node)] == [("127.0.0.1", "6333")]
    assert node["volumes"] == [f"{name}:/qdrant/storage"]
    assert name in yaml.safe_load(TEXT)["volumes"]
    assert node["mem_limit"]
    assert node["cpus"]
    assert node["environment"]["QDRANT__SERVICE__API_KEY"].startswith(f"${{{KEY}:?")


def test_the_nodes_find_one_another():
    first, *others = NODES.items()
    assert first[1]["command"] == ["./qdrant", "--uri", f"http://{first[0]}:6335"]
    for name, node in others:
        assert node["command"][1:] == ["--bootstrap", f"http://{first[0]}:6335", "--uri", f"http://{name}:6335"]
        assert node["environment"]["QDRANT__CLUSTER__ENABLED"] == "true"
    assert len({outside for node in NODES.values() for _, outside, _ in ports(node)}) == len(NODES)


def test_the_docs_name_all_nodes():
    address = re.search(r'address="(http://[^"]+,[^"]+)"', DOCS)[1]
    published = {f"http://127.0.0.1:{outside}" for node in NODES.values() for _, outside, _ in ports(node)}
    assert set(addresses(address)) == published
