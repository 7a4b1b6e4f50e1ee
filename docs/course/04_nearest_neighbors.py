# %% [markdown]
# # 4. Nearest neighbors
#
# **Aim.** Find the most similar of many descriptors: exactly, by inverted lists, by product codes, and by all of these together. Measure
# recall against work in the lesson itself, and see why benchmarks on random vectors mislead.
#
# **You need** lesson 2 (descriptors, cosine).
#
# ## The idea in plain words
#
# A library with ten books needs no catalog: look at every spine. With five million you go to the right shelf first. You may
# miss a book that somebody put on the next shelf; look at two or three shelves, and you will hardly miss any. All fast search is a
# trade: how little can be looked at, and how much is still found?
#
# Here *recall@k* is the share of the true $k$ nearest that is found, whatever they show. (In lesson 3 it was the share of queries with the right landmark
# among the first $k$: the field uses one word for both.) Exact search has recall 1 by definition and is everyone's oracle.
#
# ## Exact search is one matrix product
#
# With references in the rows of $G$ ($N \times D$, norm 1) and queries in the rows of $Q$, all cosines are $Q G^T$. It costs $N D$
# multiplications a query: a quarter of a billion for a million references of 256 numbers.
#
# We need descriptors with the structure of real ones. The world of the project's benchmarks draws them: photos of landmarks, whose
# similarities were fitted to real photos' (benchmarks/descriptors_like.py).

# %%
import sys
import time

import numpy as np
from display import BLUE, GREEN, GRAY, ORANGE, RED, ROOT, picture, plt, scratch

sys.path.insert(0, str(ROOT / "benchmarks"))
from descriptors_like import World

from veduta.index import ExactIndex

COUNT, DIM, K = 30_000, 64, 30
world = World(COUNT, DIM, seed=0)
stored = np.concatenate(list(world.blocks())).astype(np.float16).astype(np.float32)  # a gallery keeps half precision
stored /= np.linalg.norm(stored, axis=1, keepdims=True)
queries = world.queries(100)

exact = ExactIndex(DIM)
exact.add(np.arange(COUNT), stored)
cosines, truth = exact.search(queries, K)
by_hand = np.argsort(-(queries @ stored.T), axis=1)[:, :K]
print(
    "the index and the matrix product agree on",
    f"{np.mean([len(set(a) & set(b)) / K for a, b in zip(truth, by_hand)]):.1%}",
)


def recall(found):
    """Return the share of the true K nearest that is among those found, over all queries."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(truth.tolist(), found)]))


# %% [markdown]
# ## Lists
#
# An *inverted file* (Sivic and Zisserman, 2003) deals the references to lists. Learn $L$ centers by k-means; every reference goes to
# the list of its nearest center; a query looks at the lists of the `nprobe` centers nearest to it. In two dimensions one can see
# the cells that belong to the centers, and why one cell is not enough.

# %% tags=["drawing"]
import faiss

rng = np.random.default_rng(3)
points = np.concatenate([rng.normal(c, 0.35, (60, 2)) for c in rng.uniform(-2, 2, (9, 2))]).astype(np.float32)
kmeans = faiss.Kmeans(2, 12, niter=20, seed=1)
kmeans.train(points)
asked = np.array([[0.35, -0.62]], np.float32)
grid = np.stack(np.meshgrid(np.linspace(-3, 3, 400), np.linspace(-3, 3, 400)), -1).reshape(-1, 2).astype(np.float32)
cell = kmeans.index.search(grid, 1)[1][:, 0].reshape(400, 400)
near = kmeans.index.search(asked, 3)[1][0]
best = np.argsort(((points - asked) ** 2).sum(1))[:12]
elsewhere = int((kmeans.index.search(points[best], 1)[1][:, 0] != near[0]).sum())
figure, axes = plt.subplots(figsize=(5.4, 5))
axes.contourf(
    *grid.reshape(400, 400, 2).transpose(2, 0, 1), np.isin(cell, near), [-0.5, 0.5, 1.5], colors=["white", "#dbe8f6"]
)
for number in range(12):
    axes.contour(*grid.reshape(400, 400, 2).transpose(2, 0, 1), cell == number, [0.5], colors=GRAY, linewidths=0.5)
axes.plot(*points.T, ".", color=GRAY, markersize=3)
axes.plot(*points[best].T, "o", color=GREEN, markersize=5, label="its 12 nearest")
axes.plot(*kmeans.centroids.T, "+", color=ORANGE, markersize=9, label="centers")
axes.plot(*asked.T, "*", color=RED, markersize=14, label="query")
axes.set(title=f"{elsewhere} of the 12 nearest lie outside the query's own list", xticks=[], yticks=[], aspect="equal")
axes.grid(visible=False)
axes.legend(frameon=False, loc="lower right", fontsize=8)
picture(
    figure,
    "Points in a plane cut into the cells of twelve centers; the query looks at the three cells nearest to it, in blue",
)

# %% [markdown]
# A query near a border has neighbors on both sides. How much is found for how much work? The honest measure of work is the share of
# references that were compared, for times differ between machines.

# %%
LISTS = 256
quantizer = faiss.IndexFlatIP(DIM)
lists = faiss.IndexIVFFlat(quantizer, DIM, LISTS, faiss.METRIC_INNER_PRODUCT)
lists.cp.seed, lists.cp.min_points_per_centroid = 1, 1
lists.train(stored)
lists.add(stored)
sizes = np.array([lists.invlists.list_size(i) for i in range(LISTS)])
order = np.argsort(-(queries @ quantizer.reconstruct_n(0, LISTS).T), axis=1)
curve = []
for probes in (1, 2, 4, 8, 16, 32, 64, 128):
    lists.nprobe = probes
    share = sizes[order[:, :probes]].sum(1).mean() / COUNT
    curve.append((share, recall(lists.search(queries, K)[1].tolist())))
    print(f"{probes:3d} lists: {share:6.1%} of the references compared, recall {curve[-1][1]:.3f}")

# %% [markdown]
# ## Codes
#
# Comparing fewer is one half; comparing *cheaper* is the other. A *product code* (Jégou and others, 2011) cuts a descriptor into $M$ parts
# and replaces each part by the number of the nearest of a few learned ones, its *codewords*. With 16 codewords a part takes four bits. A
# query computes its products with all 16 x $M$ codewords once; after that a comparison is $M$ look-ups and a sum.
#
# $$q \cdot x \;\approx\; \sum_{m=1}^{M} q_m \cdot c_{m,\, i_m(x)}$$
#
# where $q_m$ is the $m$-th part of the query, $c_{m,i}$ the $i$-th codeword there, and $i_m(x)$ the number that stands for that part of the reference.

# %%
rows = []
for parts in (8, 16, 32, 64):
    coded = faiss.IndexPQ(DIM, parts, 4, faiss.METRIC_INNER_PRODUCT)
    coded.train(stored[:10_000])
    coded.add(stored)
    found = coded.search(queries, 8 * K)[1].tolist()
    rows.append((parts // 2, recall([f[:K] for f in found]), recall(found)))
    print(
        f"{parts // 2:3d} bytes (of {4 * DIM}): recall {rows[-1][1]:.3f}, and {rows[-1][2]:.3f} are among the best {8 * K}"
    )

# %% tags=["drawing"]
flat = points - points.mean(0)
pieces = [faiss.Kmeans(1, 6, niter=20, seed=1) for _ in range(2)]
for axis, piece in enumerate(pieces):
    piece.train(np.ascontiguousarray(flat[:, axis : axis + 1]))
levels = [np.sort(piece.centroids[:, 0]) for piece in pieces]
near = [np.abs(flat[:, axis, None] - levels[axis]).argmin(1) for axis in range(2)]
coded_points = np.c_[levels[0][near[0]], levels[1][near[1]]]
figure, axes = plt.subplots(figsize=(5, 4.6))
for (x0, y0), (x1, y1) in zip(flat, coded_points, strict=True):
    axes.plot([x0, x1], [y0, y1], color=GRAY, linewidth=0.4)
axes.plot(*flat.T, ".", color=BLUE, markersize=4, label="descriptor")
axes.plot(
    *np.stack(np.meshgrid(*levels), -1).reshape(-1, 2).T, "s", color=ORANGE, markersize=4, label="what codes can say"
)
axes.set(title="Two parts, six codewords each: 36 places", xticks=[], yticks=[], aspect="equal")
axes.grid(visible=False)
axes.legend(frameon=False, loc="lower right", fontsize=8)
picture(figure, "Points joined to the nearest crossing of a grid of six by six learned lines")

# %% [markdown]
# The codes' order is rough. But with 16 bytes or more, nearly all true neighbors are among the best 240, which is less than a hundredth of all. So look roughly,
# then **re-score**: compute exact cosines for those, and sort again. That is the whole recipe: *lists say where, codes say which, and
# exact descriptors have the last word.*
#
# ## How far to look
#
# How many lists are enough? That depends on the gallery, and on the query: one with many near neighbors needs few lists, a lonely one needs many.
# Veduta looks at the few most promising lists first and then knows a similarity $s$ that 30 references reach. Which other lists may
# hold something better? Take a member $x$ of a list apart, into a share along the list's center $z$ and a rest $e$ at right angles to it:
# $x = m z + e$. Over the members of a list, $m$ has a mean $\mu$ and a variance $v$; both are kept for every list. Let $c$ be the cosine of the
# query with the center. The query sees the share as much as it sees the center, $c\,m$, and the rest as it sees any direction: like a random one among $f$, where $f$ is in how many
# dimensions the rests lie. So a member's similarity with the query has
#
# $$\text{mean } c\,\mu \qquad\text{and variance}\qquad \sigma^2 = \underbrace{c^2 v}_{\text{the share}} + \underbrace{\frac{(1 - c^2)(1 - \mu^2 - v)}{f}}_{\text{the rest}}$$
#
# and a list is looked at if $c\,\mu + \rho\,\sigma \ge s$ (`veduta.index.ivf.inverted_file.ListStatistics`). The *probe radius* $\rho$ says how unlikely a find may be and still be looked for.
# It is not guessed but measured on the gallery's own descriptors, for the recall that is asked for.

# %%
from veduta.index import ApproximateIndex
from veduta.index.ivf.build import build

folder = scratch()


def source(after):
    """Yield ids past this one, and their descriptors: what a build asks for."""
    if after < 0:
        yield np.arange(COUNT), stored


stars = []
for wanted in (0.8, 0.9, 0.95, 0.98):
    made = build(folder / str(wanted), DIM, source, wanted)
    index = ApproximateIndex(DIM, folder / str(wanted))
    similarity, found = index.search(queries, K)
    looked = index.searched_share(queries, K)
    stars.append((looked.mean(), recall(found.tolist())))
    print(
        f"asked for {wanted}: {made.measured:.3f} on its own rows, {stars[-1][1]:.3f} on these queries; looked at "
        f"{looked.mean():.0%} of all on average, a tenth of the queries at less than {np.quantile(looked, 0.1):.1%}"
    )

# %% tags=["drawing"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.3))
left.plot(*np.array(curve).T, "o-", color=ORANGE, label="fixed number of lists, no codes")
left.plot(
    *np.array(stars).T, "*--", color=BLUE, markersize=11, linewidth=1, label="recall asked for: 0.8, 0.9, 0.95, 0.98"
)
left.set(
    xlabel="share of references compared, on average", ylabel="recall@30", xscale="log", title="Recall against work"
)
left.legend(frameon=False, fontsize=8)
right.scatter(similarity[:, -1], looked, s=12, color=BLUE)
right.set(
    xlabel="similarity of the 30th neighbor", ylabel="share looked at", yscale="log", title="Lonely queries cost more"
)
picture(
    figure, "Left: recall against share compared. Right: the share looked at falls with the 30th neighbor's similarity"
)

# %% [markdown]
# On average it costs about as much as a fixed number of lists with the same recall. What differs: one asks for a recall, not for a number of
# lists that has to be found out for every gallery; and easy queries are cheap, while lonely ones get what they need. (New queries find a little less than its own rows did:
# they are a little harder.)
#
# Whatever it finds, its cosines are those of exact search to the last digit:

# %%
pairs = [dict(zip(t.tolist(), c.tolist(), strict=True)) for t, c in zip(truth, cosines, strict=True)]
same = [
    known[i] == s
    for known, ids, values in zip(pairs, found.tolist(), similarity.tolist(), strict=True)
    for i, s in zip(ids, values)
    if i in known
]
print(f"{len(same)} neighbors found by both, {sum(same)} with the very same cosine")

# %% [markdown]
# ## All together
#
# The same queries, one by one, in every way of this lesson. Bytes are what is read of a reference when it is compared.


# %%
def timed(search):
    """Return what a search finds for each query, and milliseconds a query."""
    start = time.perf_counter()
    found = [search(query[None])[0].tolist() for query in queries]
    return found, (time.perf_counter() - start) / len(queries) * 1000


def rescored(query, rough):
    """Return the K best of these by exact cosines."""
    return rough[:, np.argsort(-(stored[rough[0]] @ query[0]))[:K]]


coded = faiss.IndexPQ(DIM, 32, 4, faiss.METRIC_INNER_PRODUCT)
coded.train(stored[:10_000])
coded.add(stored)
lists.nprobe = 32
ways = {
    "exact": (lambda q: exact.search(q, K)[1], 1.0, 4 * DIM),
    "32 of 256 lists": (lambda q: lists.search(q, K)[1], curve[5][0], 4 * DIM),
    "codes": (lambda q: coded.search(q, K)[1], 1.0, 16),
    "codes, 240 re-scored": (lambda q: rescored(q, coded.search(q, 240)[1]), 1.0, 16),
    "Veduta, asked for 0.98": (lambda q: index.search(q, K)[1], float(looked.mean()), DIM // 4),
}
for name, (search, share, size) in ways.items():
    found_so, milliseconds = timed(search)
    print(
        f"{name:23s} {share:5.0%} compared, {size:3d} bytes each: recall {recall(found_so):.3f}, {milliseconds:5.2f} ms"
    )

# %% [markdown]
# Lists alone are quick and miss a fifth; with codes, thirty thousand are too few for the trouble to pay: exact search is one product of matrices and hard
# to beat. At five million it is another story: then the descriptors do not even fit into memory, and the last line is the one that
# is left ([scale](../scale.md)).
#
# ## Why random vectors mislead
#
# Draw vectors without any structure, and every approximate index looks half as good. In high dimensions all of them are about equally
# far from a query: cosines crowd around 0 with a deviation of $1 / \sqrt{D}$. The nearest stands out less, and where one
# neighbor lies says little about the next.

# %%
rng = np.random.default_rng(0)
spreads = {}
for dim in (2, 8, 64, 512):
    some = rng.normal(size=(4_000, dim)).astype(np.float32)
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    spreads[dim] = some[1:] @ some[0]
    print(f"D = {dim:3d}: deviation of cosines {spreads[dim].std():.3f}, 1/sqrt(D) = {dim**-0.5:.3f}")

noise = rng.normal(size=(COUNT, DIM)).astype(np.float32)
noise /= np.linalg.norm(noise, axis=1, keepdims=True)
other = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, LISTS, faiss.METRIC_INNER_PRODUCT)
other.cp.min_points_per_centroid = 1
other.train(noise)
other.add(noise)
oracle = ExactIndex(DIM)
oracle.add(np.arange(COUNT), noise)
lonely = rng.normal(size=(50, DIM)).astype(np.float32)
lonely /= np.linalg.norm(lonely, axis=1, keepdims=True)
true = oracle.search(lonely, K)[1]
other.nprobe = 16
share = np.mean([len(set(a) & set(b)) / K for a, b in zip(true.tolist(), other.search(lonely, K)[1].tolist())])
print(f"16 of {LISTS} lists, a fifteenth of all: recall {share:.2f} on noise, {curve[4][1]:.2f} on what is like photos")

# %% tags=["drawing"]
figure, axes = plt.subplots(figsize=(6, 3))
for (dim, values), color in zip(spreads.items(), (GRAY, GREEN, ORANGE, BLUE), strict=True):
    axes.hist(
        values, np.linspace(-1, 1, 81), density=True, histtype="step", color=color, linewidth=1.5, label=f"D = {dim}"
    )
axes.set(
    xlabel="cosine with one vector", ylabel="density", title="The higher the dimension, the more alike all distances"
)
axes.legend(frameon=False)
picture(figure, "Histograms of cosines between random vectors, narrower and narrower as the dimension grows")

# %% [markdown]
# ## What the notebook does, and what we do instead
#
# The notebook compares each query with every row by SciPy's `cdist`, one photo at a time, and keeps five. On the photos that this
# project measures with, a descriptor with ImageNet weights had the right landmark first for 92 % of the queries, among five for 97 %,
# among twenty for 99 %: five lose what a later look could have saved. Veduta compares all exactly up to 200,000 references, in a matrix product; above that it uses
# lists, codes and re-scoring as here, and keeps a hundred. How that goes up to five million: [scale](../scale.md).
#
# ## Exercises
#
# **1.** Time exact search of 7,500, 15,000 and 30,000 references. At which $N$ would it take as long as the approximate index takes for 30,000?

# %% tags=["solution"]
for count in (7_500, 15_000, 30_000):
    part = ExactIndex(DIM)
    part.add(np.arange(count), stored[:count])
    print(f"exact, {count:6,d}: {timed(lambda q, part=part: part.search(q, K)[1])[1]:.2f} ms")
print(f"approximate, 30,000: {timed(lambda q: index.search(q, K)[1])[1]:.2f} ms")
# Exact search grows in proportion to N, the approximate one more slowly, so they meet somewhat above the N at which the times would be
# equal. An index also has to be built and kept: Veduta changes over at 200,000.

# %% [markdown]
# **2.** Re-score the codes of *eight* bytes: of their best 60, 240 and 960, compute exact cosines and keep 30. What bounds the recall?

# %% tags=["solution"]
short = faiss.IndexPQ(DIM, 16, 4, faiss.METRIC_INNER_PRODUCT)
short.train(stored[:10_000])
short.add(stored)
for wide in (60, 240, 960):
    print(
        f"best {wide}: {recall([rescored(q[None], short.search(q[None], wide)[1])[0].tolist() for q in queries]):.3f}"
    )
# What is not among the rough ones cannot be found again: the recall is the share of true neighbors among these.

# %% [markdown]
# **3.** Look only among a tenth of the references (`among=`). Does the approximate index still find what an exact index of those alone finds?

# %% tags=["solution"]
among = np.arange(0, COUNT, 10)
alone = ExactIndex(DIM)
alone.add(among, stored[among])
a, b = alone.search(queries, K)[1].tolist(), index.search(queries, K, among)[1].tolist()
print(f"{np.mean([len(set(x) & set(y)) / K for x, y in zip(a, b)]):.3f}")
# All of it: lists are of no help where few references count, so their codes are compared all, and then re-scored.

# %% [markdown]
# ## Further reading
#
# - J. Sivic, A. Zisserman, *Video Google: A Text Retrieval Approach to Object Matching in Videos*, ICCV 2003: inverted files for pictures.
# - H. Jégou, M. Douze, C. Schmid, *Product Quantization for Nearest Neighbor Search*, IEEE Transactions on Pattern Analysis and Machine
#   Intelligence, 2011.
# - M. Douze, A. Guzhva, C. Deng, J. Johnson, G. Szilvasy, P.-E. Mazaré, M. Lomeli, L. Hosseini, H. Jégou, *The Faiss library*, 2024.
