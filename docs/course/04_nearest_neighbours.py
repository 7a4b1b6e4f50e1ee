# %% [markdown]
# # 4. Nearest neighbours
#
# **Aim.** Find the most similar of many descriptors: exactly, by inverted lists, by product codes, and by all of these together. Measure
# recall against work in the lesson itself, and see why benchmarks on random vectors mislead.
#
# **You need** lesson 2 (descriptors, cosine).
#
# ## The idea in plain words
#
# A library with ten books needs no catalogue: look at every spine. With five million you go to the right shelf first. You may
# miss a book that somebody put on the next shelf; look at two or three shelves, and you will hardly miss any. All fast search is a
# trade: how little can be looked at, and how much is still found?
#
# *Recall@k* is the share of the true $k$ nearest that is found. Exact search has recall 1 by definition and is everyone's oracle.
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
from shown import BLUE, GREEN, GREY, ORANGE, RED, ROOT, picture, plt, scratch

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
# An *inverted file* (Sivic and Zisserman, 2003) deals the references to lists. Learn $L$ centres by k-means; every reference goes to
# the list of its nearest centre; a query looks at the lists of the `nprobe` centres nearest to it. In two dimensions one can see
# the cells that belong to the centres, and why one cell is not enough.

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
figure, axes = plt.subplots(figsize=(5.4, 5))
axes.contourf(
    *grid.reshape(400, 400, 2).transpose(2, 0, 1), np.isin(cell, near), [-0.5, 0.5, 1.5], colors=["white", "#dbe8f6"]
)
axes.contour(*grid.reshape(400, 400, 2).transpose(2, 0, 1), cell, np.arange(12) + 0.5, colors=GREY, linewidths=0.5)
axes.plot(*points.T, ".", color=GREY, markersize=3)
axes.plot(*points[best].T, "o", color=GREEN, markersize=5, label="its 12 nearest")
axes.plot(*kmeans.centroids.T, "+", color=ORANGE, markersize=9, label="centres")
axes.plot(*asked.T, "*", color=RED, markersize=14, label="query")
axes.set(title="Looking at 3 of 12 lists (blue)", xticks=[], yticks=[], aspect="equal")
axes.grid(visible=False)
axes.legend(frameon=False, loc="lower right", fontsize=8)
picture(
    figure, "Points in a plane cut into the cells of twelve centres; the query looks at the three cells nearest to it"
)

# %% [markdown]
# A query near a border has neighbours on both sides. How much is found for how much work? The honest measure of work is the share of
# references that were compared, for times differ between machines.

# %%
LISTS = 256
quantiser = faiss.IndexFlatIP(DIM)
lists = faiss.IndexIVFFlat(quantiser, DIM, LISTS, faiss.METRIC_INNER_PRODUCT)
lists.cp.seed, lists.cp.min_points_per_centroid = 1, 1
lists.train(stored)
lists.add(stored)
sizes = np.array([lists.invlists.list_size(i) for i in range(LISTS)])
order = np.argsort(-(queries @ quantiser.reconstruct_n(0, LISTS).T), axis=1)
curve = []
for probes in (1, 2, 4, 8, 16, 32, 64, 128):
    lists.nprobe = probes
    share = sizes[order[:, :probes]].sum(1).mean() / COUNT
    curve.append((share, recall(lists.search(queries, K)[1].tolist())))
    print(f"{probes:3d} lists: {share:6.1%} of the references compared, recall {curve[-1][1]:.3f}")

# %% [markdown]
# ## Codes
#
# Comparing fewer is one half; comparing *cheaper* is the other. A *product code* (Jégou and others, 2011) cuts a descriptor into $M$ pieces
# and replaces each piece by the number of the nearest of a few learned pieces. With 16 learned pieces a piece takes four bits. A
# query computes its products with all 16 x $M$ learned pieces once; after that a comparison is $M$ look-ups and a sum.
#
# $$q \cdot x \;\approx\; \sum_{m=1}^{M} q_m \cdot c_{m,\, i_m(x)}$$
#
# where $q_m$ is the $m$-th piece of the query, $c_{m,i}$ the $i$-th learned piece there, and $i_m(x)$ the code of the reference.

# %%
rows = []
for pieces in (8, 16, 32, 64):
    coded = faiss.IndexPQ(DIM, pieces, 4, faiss.METRIC_INNER_PRODUCT)
    coded.train(stored[:10_000])
    coded.add(stored)
    found = coded.search(queries, 8 * K)[1].tolist()
    rows.append((pieces // 2, recall([f[:K] for f in found]), recall(found)))
    print(
        f"{pieces // 2:3d} bytes (of {4 * DIM}): recall {rows[-1][1]:.3f}, and {rows[-1][2]:.3f} are among the best {8 * K}"
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
    axes.plot([x0, x1], [y0, y1], color=GREY, linewidth=0.4)
axes.plot(*flat.T, ".", color=BLUE, markersize=4, label="descriptor")
axes.plot(
    *np.stack(np.meshgrid(*levels), -1).reshape(-1, 2).T, "s", color=ORANGE, markersize=4, label="what codes can say"
)
axes.set(title="Two pieces, six values each: 36 places", xticks=[], yticks=[], aspect="equal")
axes.grid(visible=False)
axes.legend(frameon=False, loc="lower right", fontsize=8)
picture(figure, "Points joined to the nearest crossing of a grid of six by six learned lines")

# %% [markdown]
# The codes' order is rough, but the true neighbours are nearly all among the best few hundred. So look roughly, then **re-score**: compute
# exact cosines for a few hundred, and sort again. That is the whole recipe: *lists say where, codes say which, and exact
# descriptors have the last word.*
#
# ## How far to look
#
# A fixed number of lists is a poor choice. A query with many near neighbours needs few lists; a lonely one needs many. Veduta looks at
# the few most promising lists first and then knows a similarity $s$ that 30 references reach. Of any other list it knows how
# alike its members are to their centre: on average $\mu$, with variance $v$. If the query's cosine with the centre is $c$, a member's similarity to
# the query is about
#
# $$c\,\mu \;\pm\; \sqrt{c^2 v + \frac{(1 - c^2)(1 - \mu^2 - v)}{f}}$$
#
# with $f$ the number of dimensions the members differ in. A list is looked at if its average comes up to $s$ within a number of
# standard deviations, its *reach* (`veduta.index.lists.Spread`). The reach is not guessed but measured on the gallery's own
# descriptors, for the recall that is asked for.

# %%
from veduta.index import ApproximateIndex
from veduta.index.building import build

folder = scratch()


def source(after):
    """Yield ids past this one, and their descriptors: what a build asks for."""
    if after < 0:
        yield np.arange(COUNT), stored


for wanted in (0.9, 0.98):
    made = build(folder / str(wanted), DIM, source, wanted)
    index = ApproximateIndex(DIM, folder / str(wanted))
    similarity, found = index.search(queries, K)
    print(
        f"asked for {wanted}: measured {made.measured:.3f} on its own rows; {recall(found.tolist()):.3f} on these queries"
    )

# %%
looked = index.looked_at(queries, K)
print(f"looked at: {np.median(looked):.1%} of the references in the median, {np.max(looked):.0%} at most")

# %% tags=["drawing"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.3))
left.plot(*np.array(curve).T, "o-", color=ORANGE, label="fixed number of lists")
left.plot(np.mean(looked), recall(found.tolist()), "*", color=BLUE, markersize=13, label="as far as needed")
left.set(xlabel="share of references compared", ylabel="recall@30", xscale="log", title="Recall against work")
left.legend(frameon=False)
right.scatter(similarity[:, -1], looked, s=12, color=BLUE)
right.set(
    xlabel="similarity of the 30th neighbour", ylabel="share looked at", yscale="log", title="Lonely queries cost more"
)
picture(
    figure, "Left: recall against share compared. Right: the share looked at falls with the 30th neighbour's similarity"
)

# %% [markdown]
# Whatever it finds, its cosines are those of exact search to the last digit:

# %%
pairs = [dict(zip(t.tolist(), c.tolist(), strict=True)) for t, c in zip(truth, cosines, strict=True)]
same = [
    known[i] == s
    for known, ids, values in zip(pairs, found.tolist(), similarity.tolist(), strict=True)
    for i, s in zip(ids, values)
    if i in known
]
print(f"{len(same)} neighbours found by both, {sum(same)} with the very same cosine")

# %% [markdown]
# ## Why random vectors mislead
#
# Draw vectors without any structure, and every approximate index looks broken. In high dimensions all of them are about equally far
# from a query: cosines crowd around 0 with a deviation of $1 / \sqrt{D}$. The nearest is hardly nearer than the thousandth, so no
# list is better than another.

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
print(
    f"16 of {LISTS} lists: recall {share:.2f} on noise, {dict(zip((1, 2, 4, 8, 16), [r for _, r in curve]))[16]:.2f} on photos' like"
)

# %% tags=["drawing"]
figure, axes = plt.subplots(figsize=(6, 3))
for (dim, values), colour in zip(spreads.items(), (GREY, GREEN, ORANGE, BLUE), strict=True):
    axes.hist(
        values, np.linspace(-1, 1, 81), density=True, histtype="step", color=colour, linewidth=1.5, label=f"D = {dim}"
    )
axes.set(xlabel="cosine with one vector", ylabel="density", title="Random vectors: everybody is equally far away")
axes.legend(frameon=False)
picture(figure, "Histograms of cosines between random vectors, narrower and narrower as the dimension grows")

# %% [markdown]
# ## What the notebook does, and what we do instead
#
# The notebook compares each query with every row by SciPy's `cdist`, one photo at a time, and keeps five. On the photos that this
# project measures with, the right landmark was first for 92 % of the queries, among five for 97 %, among twenty for 99 %: five
# lose what a later look could have saved. Veduta compares all exactly up to 200,000 references, in a matrix product; above that it uses
# lists, codes and re-scoring as here, and keeps a hundred. How that goes up to five million: [scale](../scale.md).
#
# ## Exercises
#
# **1.** Time exact search against the approximate index on your machine, query by query. By how much would you have to grow $N$ for the second to
# be worth its build?

# %% tags=["solution"]
for name, which in {"exact": exact, "approximate": index}.items():
    start = time.perf_counter()
    for query in queries:
        which.search(query[None], K)
    print(f"{name}: {(time.perf_counter() - start) / len(queries) * 1000:.2f} ms a query")

# %% [markdown]
# **2.** Re-score: of the 32-byte codes' best 240, compute exact cosines and keep 30. What is the recall?

# %% tags=["solution"]
coded = faiss.IndexPQ(DIM, 64, 4, faiss.METRIC_INNER_PRODUCT)
coded.train(stored[:10_000])
coded.add(stored)
rough = coded.search(queries, 240)[1]
rescored = [ids[np.argsort(-(stored[ids] @ q))[:K]].tolist() for q, ids in zip(queries, rough, strict=True)]
print(f"{recall(rescored):.3f}")

# %% [markdown]
# **3.** Look only among a tenth of the references (`among=`). Does the approximate index still find what an exact index of those alone finds?

# %% tags=["solution"]
among = np.arange(0, COUNT, 10)
alone = ExactIndex(DIM)
alone.add(among, stored[among])
a, b = alone.search(queries, K)[1].tolist(), index.search(queries, K, among)[1].tolist()
print(f"{np.mean([len(set(x) & set(y)) / K for x, y in zip(a, b)]):.3f}")

# %% [markdown]
# ## Further reading
#
# - J. Sivic, A. Zisserman, *Video Google: A Text Retrieval Approach to Object Matching in Videos*, ICCV 2003: inverted files for pictures.
# - H. Jégou, M. Douze, C. Schmid, *Product Quantization for Nearest Neighbor Search*, IEEE Transactions on Pattern Analysis and Machine
#   Intelligence, 2011.
# - M. Douze, A. Guzhva, C. Deng, J. Johnson, G. Szilvasy, P.-E. Mazaré, M. Lomeli, L. Hosseini, H. Jégou, *The Faiss library*, 2024.
