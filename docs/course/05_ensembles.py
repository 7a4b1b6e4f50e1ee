# %% [markdown]
# # 5. Ensembles
#
# **Aim.** Put several descriptors together: the notebook's weighted geometric mean of four similarities, the plain mean, and
# concatenation. See what a weight does, why several weak descriptors beat the best of them, and what it costs.
#
# **You need** lesson 2 (descriptors, cosine) and lesson 4 (neighbors).
#
# ## The idea in plain words
#
# Two people who look for different things make different mistakes, and mistakes that are not shared cancel out when opinions are averaged. Team DNA asked four networks, the winners of
# 2020 and 2021 seven to nine. What has to be decided is how to put four opinions into one number.
#
# ## Four opinions that need no big network
#
# The notebook's four networks are not part of this package, so we take four descriptors that differ more than four networks do:
#
# 1. the trained network that ships (lesson 3),
# 2. the same backbone with ImageNet weights, which has never seen a landmark on purpose,
# 3. a histogram of colors,
# 4. a grid of edge directions.
#
# The last two are a few lines each. All are vectors of norm 1, so that their product is a cosine.

# %%
import cv2
import numpy as np
from display import BLUE, GRAY, ORANGE, drawn, picture, plt

from veduta.embedders import make_embedder
from veduta.images import from_array

world = drawn()
trained, plain = make_embedder("efficientnet-lite2-landmarks"), make_embedder("efficientnet-lite2-gem")


def unit(rows):
    """Return rows of norm 1."""
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def colors(pixels):
    """Return a histogram of 4 x 4 x 4 colors, its roots taken so that no color outweighs the rest."""
    counts = cv2.calcHist([pixels], [0, 1, 2], None, [4, 4, 4], [0, 256] * 3).ravel()
    return np.sqrt(counts / counts.sum())


def edges(pixels, cells=4, bins=8):
    """Return how strong edges are, by direction, in each cell of a grid."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    strength, angle = cv2.cartToPolar(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    height, width = gray.shape
    rows, columns = np.indices(gray.shape)
    cell = (rows * cells // height) * cells + columns * cells // width
    bin_ = (angle % np.pi / np.pi * bins).astype(int) % bins
    return np.sqrt(np.bincount((cell * bins + bin_).ravel(), strength.ravel(), cells * cells * bins))


LANDMARKS = 100
references = [world.facade(i) for i in range(LANDMARKS)]
queries = [world.view(world.facade(i), 4_000 + i, 0.9).pixels for i in range(LANDMARKS)]


def described(photos):
    """Return the four descriptors of photos, each (N, D)."""
    images = [from_array(pixels) for pixels in photos]
    return {
        "trained": trained.embed(images),
        "ImageNet": plain.embed(images),
        "colors": unit([colors(pixels) for pixels in photos]),
        "edges": unit([edges(pixels) for pixels in photos]),
    }


known, asked = described(references), described(queries)
cosines = {name: asked[name] @ known[name].T for name in known}


def recall(similarity):
    """Return the share of queries whose most similar reference is their own."""
    return float(np.mean(similarity.argmax(1) == np.arange(len(similarity))))


for name, similarity in cosines.items():
    print(f"{name:9s} D = {known[name].shape[1]:4d}  recall@1 {recall(similarity):.3f}")

# %% [markdown]
# The drawn facades are hard on purpose: they all come from one pen, and a view darkens them and hides a part. What the trained network has learned from real buildings
# does not serve it here, and histograms do better. What matters for an ensemble is not only how good each is but whether they fail *together*.

# %% tags=["drawing"]
names = list(cosines)
wrong = {name: similarity.argmax(1) != np.arange(LANDMARKS) for name, similarity in cosines.items()}
figure, axes = plt.subplots(figsize=(9, 1.9))
axes.imshow([wrong[name] for name in names], aspect="auto", cmap="Grays", vmin=0, vmax=1.6, interpolation="nearest")
axes.set(yticks=range(4), yticklabels=names, xlabel="query", title="Dark: a wrong nearest neighbor")
axes.grid(visible=False)
picture(figure, "Which queries each of four descriptors gets wrong: few columns are dark in all rows")
some = 1 - np.mean(np.all(list(wrong.values()), axis=0))
print(
    f"right by at least one of the four: {some:.0%}; trained and ImageNet agree on {np.mean(wrong['trained'] == wrong['ImageNet']):.0%}"
)

# %% [markdown]
# ## Three ways to put them together, two of them the same
#
# Let $c_m$ be the cosine of a pair by model $m$, $w_m$ its weight, and $W = \sum_m w_m$.
#
# **The mean** $\bar c = \frac{1}{W} \sum_m w_m c_m$. An inner product again: scale each descriptor by $\sqrt{w_m / W}$, write them one
# after another, and the cosine of the long vectors *is* the mean. So concatenation needs no change to the search.
#
# **The notebook's geometric mean**
#
# $$s = \prod_m \left( \frac{\max(0.8 - (1 - c_m),\ 0.1)}{0.8} \right)^{w_m / W}$$
#
# Each model's cosine is shifted: a cosine distance $1 - c_m$ of 0 gives 1, one of 0.7 or more gives the floor $0.1 / 0.8$. Then the
# values are multiplied, each to the power of its share. A product is a veto: one model that says *no* drags the whole down,
# as far as the floor lets it.

# %%
from veduta.competition.votes import concatenate, fuse_similarities

weights = {"trained": 2.0, "ImageNet": 1.0, "colors": 0.5, "edges": 0.5}
geometric = fuse_similarities([cosines[n] for n in names], [weights[n] for n in names])
together = [concatenate([d[n] for n in names], [weights[n] for n in names]) for d in (asked, known)]
concatenated = together[0] @ together[1].T
mean = sum(weights[n] * cosines[n] for n in names) / sum(weights.values())
print("concatenation is the mean:", bool(np.allclose(concatenated, mean, atol=1e-5)))
print(f"geometric mean  recall@1 {recall(geometric):.3f}")
print(f"concatenation   recall@1 {recall(concatenated):.3f}")
print(f"best of the four         {max(map(recall, cosines.values())):.3f}")

# %% [markdown]
# How do they differ? Take two models of equal weight and draw the fused similarity for all pairs of cosines.

# %% tags=["drawing"]
grid = np.linspace(0, 1, 101, dtype=np.float32)
first, second = np.meshgrid(grid, grid)
figure, panels = plt.subplots(1, 2, figsize=(9, 3.9), sharey=True)
for axes, (title, fused) in zip(
    panels,
    {
        "mean: no difference": (first + second) / 2,
        "notebook's geometric mean: a veto": fuse_similarities([first, second], [1.0, 1.0]),
    }.items(),
    strict=True,
):
    shown = axes.contourf(grid, grid, fused, np.linspace(0, 1, 11), cmap="viridis")
    lines = axes.contour(grid, grid, fused, np.linspace(0, 1, 11), colors="white", linewidths=0.6)
    axes.clabel(lines, fontsize=7)
    axes.plot([0.9, 0.55], [0.2, 0.55], "o", color=ORANGE)
    axes.annotate(
        "one says no", (0.9, 0.2), (-6, -13), textcoords="offset points", color="white", ha="right", fontsize=8
    )
    axes.annotate(
        "both half sure", (0.55, 0.55), (-8, -14), textcoords="offset points", color="white", ha="right", fontsize=8
    )
    axes.set(title=title, xlabel="cosine of model 1", ylabel="cosine of model 2" if axes is panels[0] else "")
    axes.grid(visible=False)
figure.colorbar(shown, ax=panels, label="similarity")
picture(
    figure, "Contours of both fusions: straight lines for the mean, curves that bend toward the axes for the product"
)

# %%
for title, pair in {"one says no": (0.9, 0.2), "both half sure": (0.55, 0.55)}.items():
    arrays = [np.array([c], np.float32) for c in pair]
    print(f"{title:15s} mean {np.mean(pair):.2f}   geometric mean {fuse_similarities(arrays, [1.0, 1.0])[0]:.2f}")

# %% [markdown]
# The mean does not tell the two pairs apart. The product does: where the models disagree it is far lower. Below a cosine of 0.3 a model's
# opinion has no more effect: there the contours run straight. Without that floor, one model that finds nothing alike would
# silence the others. Here, the two fusions come out nearly equal: hardly a cosine of ours is low enough for a veto.
#
# ## A weight multiplies a spread
#
# The notebook gives its best model 2, the next 1, the others one half. We have done the same by reputation, not by quality: the edges, which are the best here, have
# one half. Does it matter? A sum of cosines is decided by the cosines that *differ* between references. Look at how far they spread:

# %%
apart = ~np.eye(LANDMARKS, dtype=bool)
for name, similarity in cosines.items():
    print(
        f"{name:9s} cosines of different facades: {similarity[apart].mean():.3f}, deviation {similarity[apart].std():.3f}"
    )


def weighed(shares, similarities):
    """Return recall@1 of the mean with these shares."""
    return recall(sum(w * similarity for w, similarity in zip(shares, similarities.values(), strict=True)))


spread_alike = {name: (c - c[apart].mean()) / c[apart].std() for name, c in cosines.items()}
by_quality = [recall(c) ** 2 for c in cosines.values()]
for title, shares in {"equal": [1] * 4, "notebook's": list(weights.values()), "by quality": by_quality}.items():
    print(
        f"{title:11s} weights: as they are {weighed(shares, cosines):.3f}, spread alike first {weighed(shares, spread_alike):.3f}"
    )

# %% [markdown]
# All cosines of the edges lie within a hair of one another, so whatever weight they are given, they decide next to nothing; the colors,
# which spread the most, decide the most. Only where opinions are brought to one scale first does a weight say what one means by it. The notebook's four networks were trained in
# the same way and spread alike, so its weights mean what they seem to; whoever mixes descriptors of different kinds has to look.
#
# ## Why several beat one
#
# Write a model's cosine as truth plus error, $c_m = t + e_m$. The mean of $M$ models has the error $\frac{1}{M} \sum_m e_m$. If
# errors have variance $\sigma^2$ and any two of them the correlation $\rho$, its variance is
#
# $$\sigma^2 \left( \rho + \frac{1 - \rho}{M} \right)$$
#
# With $\rho = 0$ four models halve the deviation; with $\rho = 1$ nothing is gained, however many there are. Measure it: the
# correlation of the models' similarities over pairs that do *not* belong together. All of them should be equally low there.

# %% tags=["drawing"]
correlation = np.corrcoef([cosines[n][apart] for n in names])
figure, axes = plt.subplots(figsize=(4.4, 3.6))
shown = axes.imshow(correlation, cmap="cividis", vmin=0, vmax=1)
axes.set(xticks=range(4), xticklabels=names, yticks=range(4), yticklabels=names, title="Correlation of errors")
axes.grid(visible=False)
for i in range(4):
    for j in range(4):
        color = "black" if correlation[i, j] > 0.6 else "white"
        axes.text(j, i, f"{correlation[i, j]:.2f}", ha="center", va="center", color=color)
picture(figure, "Correlations between the four descriptors' similarities of pairs that do not belong together")

# %% [markdown]
# The two networks err together: they are one network, trained further. Colors and edges err alone, and that is what makes them worth
# having.
#
# ## What weights do
#
# Here is recall as the share of the trained network goes from nothing to everything, the other three sharing the rest equally, all
# spread alike first. (The geometric mean takes cosines as they are.)

# %%
shares = np.linspace(0, 1, 21)
curves = {"mean": [], "geometric mean": []}
for share in shares:
    w = np.maximum([share, *[(1 - share) / 3] * 3], 1e-6)
    curves["mean"].append(weighed(w, spread_alike))
    curves["geometric mean"].append(recall(fuse_similarities([cosines[n] for n in names], w.tolist())))

# %% tags=["drawing"]
figure, axes = plt.subplots(figsize=(6, 3))
for (title, values), color in zip(curves.items(), (BLUE, ORANGE), strict=True):
    axes.plot(shares, values, color=color, label=title)
axes.axhline(recall(cosines["trained"]), color=GRAY, linestyle=":", label="trained network alone")
axes.set(
    xlabel="share of the trained network", ylabel="recall@1", ylim=(0, 1), title="How much to trust the trained network"
)
axes.legend(frameon=False)
picture(figure, "Recall against the share of the trained network, for both fusions")

# %% [markdown]
# A broad plateau up to about one half, then a long fall. Weights are few numbers and easily fitted to the photos one has, and so to their
# accidents: with a hundred queries a recall of 0.7 is known to within 0.05. Keep them coarse.
#
# ## What it costs, and what we do instead
#
# Four networks take four times the time for each photo, and their vectors four times the memory: DNA's took 215 ms a photo on a
# GPU. The gains that winning teams report are about 0.03 GAP, for seven to nine models. Veduta ships one small network and spends the time on geometry
# (lesson 8) and the decision (lesson 10) instead. Whoever has descriptors of several models can import and
# fuse them: `veduta competition import`, and `--model` once for each.
#
# ## Exercises
#
# **1.** Leave each of the four out in turn, once with cosines as they are, once spread alike. Which one does the mean miss most?

# %% tags=["solution"]
for left in names:
    rest = [weights[n] * (n != left) for n in names]
    print(f"without {left:9s} as they are {weighed(rest, cosines):.3f}, spread alike {weighed(rest, spread_alike):.3f}")
# As they are, the colors: they decide the most. Spread alike, colors and edges, which err alone. Without the trained network it is
# even better: a weight of 2 was more than it earns here.

# %% [markdown]
# **2.** Add the trained network a second time instead of the other three. What does the formula above say, and what happens?

# %% tags=["solution"]
print(f"{recall((cosines['trained'] + cosines['trained']) / 2):.3f}")  # correlation 1: nothing is gained

# %% [markdown]
# **3.** What would the geometric mean do without its floor? Replace 0.1 by 0.001 in a fusion of your own and compare.


# %% tags=["solution"]
def fused_with_floor(floor):
    """Return the notebook's fusion with another floor."""
    total, product = sum(weights.values()), 1.0
    for n in names:
        product = product * (np.maximum(0.8 - (1 - cosines[n]), floor) / 0.8) ** (weights[n] / total)
    return product


assert np.allclose(fused_with_floor(0.1), geometric, atol=1e-5)
print(f"cosines below 0.3: {np.mean([c < 0.3 for c in cosines.values()]):.1%}")
for floor in (0.1, 0.01, 0.001):
    print(f"floor {floor}: recall@1 {recall(fused_with_floor(floor)):.3f}")
# Nothing here: next to no cosine is low enough to reach it. It is there for pairs that one model finds utterly different.

# %% [markdown]
# ## Further reading
#
# - T. Weyand, A. Araujo, B. Cao, J. Sim, *Google Landmarks Dataset v2: A Large-Scale Benchmark for Instance-Level
#   Recognition and Retrieval*, CVPR 2020: what single models and ensembles reach.
# - L. Breiman, *Bagging Predictors*, Machine Learning, 1996: why averages of differing models are better than the models.
# - [Competition](../competition.md): importing descriptors, and the recipe with the notebook's fusion.
