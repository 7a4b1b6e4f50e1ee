"""Average linkage: photos are joined while their pairs are probable on average and geometry links them twice."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from veduta.library.cluster.pairs import LINKED, PhotoPairs
from veduta.types import Float64

MIN_PROBABILITY = 0.35  # mean probability, over all pairs between two groups, from which they are joined
ALONE, SURE = 0.5, 0.8  # and from which no geometry is asked for: of a single photo with a group, of two groups
MIN_LINKS = 3  # pairs with inliers asked for between two groups of so many photos or more: one may be false, or two
CONFIRMED_SHARE = 0.5  # share of a group's photos that geometry has to link with another of it


@dataclass
class _Linkage:
    """The pairs between two groups: the sum of their probabilities, and how many geometry links."""

    chance: float = 0.0
    links: int = 0


class _AverageLinkage:
    """Groups being joined, the likeliest pair of them first (average linkage, Sokal and Michener 1958).

    Args:
        count: how many photos there are, each its own group to begin with.
    """

    def __init__(self, count: int) -> None:
        self.members = {i: [i] for i in range(count)}
        self.bonds: dict[int, dict[int, _Linkage]] = {i: {} for i in range(count)}
        self._queue: list[tuple[float, int, int]] = []
        self._next = count

    def run(self) -> None:
        """Join until no two groups are left that may be."""
        for i, bonds in self.bonds.items():
            for j in bonds:
                if i < j:
                    self._push(i, j)
        while self._queue:
            _, i, j = heapq.heappop(self._queue)
            if i in self.members and j in self.members:
                self._join(i, j)

    def _push(self, i: int, j: int) -> None:
        """Queue two groups if they may be joined as they are."""
        bond, (small, large) = self.bonds[i][j], sorted((len(self.members[i]), len(self.members[j])))
        mean = bond.chance / (small * large)
        sure = ALONE if small == 1 else SURE
        if mean >= sure or (mean >= MIN_PROBABILITY and bond.links >= min(small, MIN_LINKS)):
            heapq.heappush(self._queue, (-mean, i, j))

    def _join(self, i: int, j: int) -> None:
        """Make a new group of two."""
        new, self._next = self._next, self._next + 1
        self.members[new] = self.members.pop(i) + self.members.pop(j)
        own_bonds = self.bonds[new] = {}
        for old in (i, j):
            for other, bond in self.bonds.pop(old).items():
                if other in (i, j):
                    continue
                linkage = own_bonds.setdefault(other, _Linkage())
                linkage.chance += bond.chance
                linkage.links += bond.links
                del self.bonds[other][old]
        for other, bond in own_bonds.items():
            self.bonds[other][new] = bond
            self._push(new, other)


def average_linkage(count: int, pairs: PhotoPairs, chances: Float64) -> list[list[int]]:
    """Return sets of two or more photos that show one place, the largest first.

    Args:
        count: how many photos there are.
        pairs: P pairs of them.
        chances: (P,) how likely each pair shows one place.
    """
    joining = _AverageLinkage(count)
    linked = pairs.inliers >= LINKED
    for a, b, chance, link in zip(pairs.a.tolist(), pairs.b.tolist(), chances.tolist(), linked.tolist(), strict=True):
        joining.bonds[a][b] = joining.bonds[b][a] = _Linkage(chance, int(link))
    joining.run()
    groups = [sorted(members) for members in joining.members.values() if len(members) > 1]
    return sorted(_confirmed(groups, pairs), key=lambda members: (-len(members), members))


def _confirmed(groups: list[list[int]], pairs: PhotoPairs) -> Iterator[list[int]]:
    """Yield the groups in which geometry links enough of the photos with another of the group."""
    of = {photo: number for number, members in enumerate(groups) for photo in members}
    seen: set[int] = set()
    for a, b in zip(pairs.a[pairs.inliers >= LINKED].tolist(), pairs.b[pairs.inliers >= LINKED].tolist(), strict=True):
        if a in of and of[a] == of.get(b, -1):
            seen |= {a, b}
    for members in groups:
        if sum(photo in seen for photo in members) >= CONFIRMED_SHARE * len(members):
            yield members
