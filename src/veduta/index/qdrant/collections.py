"""Versions of what one name stands for in Qdrant: a collection each, and an alias that goes over to the next at once.

A collection is called ``NAME--SHA-N``: the first twelve digits of the sha256 of the model whose descriptors it holds,
and a number that grows. Clients ask for the alias NAME, which is given to a collection when it is complete, so that
they never see half of one, and never none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from veduta.errors import GalleryError
from veduta.index.qdrant.client import QdrantConnection, request_types

DIGITS = 12  # of the model's sha256
INDEXED = {"landmark": "keyword", "position": "geo"}  # fields of the payload that are filtered by


@dataclass(frozen=True)
class CollectionSettings:
    """How a collection is laid out in a cluster.

    Attributes:
        shards: parts it is cut into; a multiple of the number of nodes.
        replicas: nodes that have each part.
        writes: how many of them must have a change before it counts.
        hnsw_m: neighbors each descriptor is linked to in HNSW's graph.
        ef_construct: candidates from which those are chosen while the graph is built.
    """

    shards: int = 1
    replicas: int = 1
    writes: int = 1
    hnsw_m: int = 16
    ef_construct: int = 200

    def __post_init__(self) -> None:
        if min(self.shards, self.replicas, self.hnsw_m, self.ef_construct) < 1 or not 1 <= self.writes <= self.replicas:
            raise ValueError(f"Shape: expected numbers of at least 1 and no more writes than replicas, got {self}")


@dataclass(frozen=True, order=True)
class CollectionVersion:
    """One collection of a name.

    Attributes:
        number: which one, from 1.
        name: what it is a version of.
        model: the first twelve digits of its model's sha256.
    """

    number: int
    name: str
    model: str

    @property
    def collection(self) -> str:
        """The collection's name in Qdrant."""
        return f"{self.name}--{self.model}-{self.number}"

    @classmethod
    def parse(cls, collection: str) -> CollectionVersion | None:
        """Return the version in a collection's name, None for a name in another form."""
        match = re.fullmatch(r"(.+)--([0-9a-f]{12})-(\d+)", collection)
        return cls(int(match[3]), match[1], match[2]) if match else None


def check_collection_name(name: str) -> str:
    """Return the name itself; ValueError for one that Qdrant or a web address might refuse."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise ValueError(f"name: expected letters, digits, '.', '_' and '-', at most 100, got {name!r}")
    return name


def versions(link: QdrantConnection, name: str) -> list[CollectionVersion]:
    """Return the versions there are of a name, the oldest first; also half-finished ones."""
    collections = link.do("listing collections", "get_collections").collections
    parsed = [CollectionVersion.parse(collection.name) for collection in collections]
    return sorted(version for version in parsed if version is not None and version.name == name)


def resolve(link: QdrantConnection, name: str, model: str | None = None) -> str:
    """Return the collection that an alias leads to now.

    Args:
        link: to Qdrant.
        name: the alias.
        model: sha256 of the model that queries are embedded with; None not to ask.

    Raises:
        GalleryError: there is no such alias, or what it leads to was made by another model.
    """
    aliases = link.do("listing aliases", "get_aliases").aliases
    collection: str | None = next((alias.collection_name for alias in aliases if alias.alias_name == name), None)
    if collection is None:
        begun = [version.collection for version in versions(link, name)]
        half = f", though {begun[-1]} was begun" if begun else ""
        raise GalleryError(f"{link.address}: has nothing complete called {name!r}{half}; run 'veduta index GALLERY'")
    version = CollectionVersion.parse(collection)
    if model is not None and (version is None or version.model != model[:DIGITS]):
        expected = f"of model {model[:DIGITS]}"
        raise GalleryError(
            f"{link.address}: {name!r} leads to {collection}, expected one {expected}; "
            "upload a gallery of that model, or ask with the model that made it"
        )
    return collection


def propose(link: QdrantConnection, name: str, model: str) -> CollectionVersion:
    """Return the next version of a name, by the sha256 of its model, without creating a collection."""
    number = 1 + max((version.number for version in versions(link, check_collection_name(name))), default=0)
    return CollectionVersion(number, name, model[:DIGITS])


def create_collection(
    link: QdrantConnection, version: CollectionVersion, dim: int, shape: CollectionSettings | None = None
) -> None:
    """Create a version's collection, empty, or its missing parts; the alias stays unchanged.

    Descriptors lie on disk, and one byte a component of them in memory; Qdrant compares by those and then again by the
    descriptors.

    Args:
        link: to Qdrant.
        version: as `propose` returned it.
        dim: length D of a descriptor.
        shape: how it is laid out.
    """
    shape, kinds = shape or CollectionSettings(), request_types()
    scalar = kinds.ScalarQuantizationConfig(type=kinds.ScalarType.INT8, quantile=0.99, always_ram=True)
    options = {
        "vectors_config": kinds.VectorParams(size=dim, distance=kinds.Distance.DOT, on_disk=True),
        "quantization_config": kinds.ScalarQuantization(scalar=scalar),
        "hnsw_config": kinds.HnswConfigDiff(m=shape.hnsw_m, ef_construct=shape.ef_construct),
        "shard_number": shape.shards,
        "replication_factor": shape.replicas,
        "write_consistency_factor": shape.writes,
    }
    collection = version.collection

    def make(client: Any) -> None:
        if not client.collection_exists(collection):  # a try before may have got through
            client.create_collection(collection, **options)

    link.ask(f"making {collection}", make)
    for field, kind in () if link.local else INDEXED.items():  # in this process they would do nothing
        link.do(f"indexing {field} in {collection}", "create_payload_index", collection, field, kind, wait=True)


def switch(link: QdrantConnection, version: CollectionVersion) -> str | None:
    """Point a version's alias at the version, at once, and return the collection before, if any."""
    aliases = link.do("listing aliases", "get_aliases").aliases
    before = next((alias.collection_name for alias in aliases if alias.alias_name == version.name), None)
    kinds, changes = request_types(), []
    if before is not None:
        changes.append(kinds.DeleteAliasOperation(delete_alias=kinds.DeleteAlias(alias_name=version.name)))
    create_alias = kinds.CreateAlias(collection_name=version.collection, alias_name=version.name)
    changes.append(kinds.CreateAliasOperation(create_alias=create_alias))
    link.do(f"switching {version.name!r}", "update_collection_aliases", changes)
    return before
