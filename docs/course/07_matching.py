# %% [markdown]
# # 7. Matching
#
# **Aim.** Know how keypoints of two photos become pairs: by nearest descriptors and two tests of prudence, by optimal transport,
# and by networks with attention. Know how to say which of them is better, and what a sum of scores is worth.
#
# **You need** lesson 6 (keypoints and descriptors) and the softmax.
#
# ## The idea in plain words
#
# Two photos have 512 keypoints each. Which of the left ones shows the same point as which of the right ones? Most have no
# partner at all: it lies outside the other photo, is hidden, or was not found. So a **matcher** answers two questions for every
# keypoint: *who is most like you?* and *is that good enough?* The second one is where matchers differ.
#
# ## A judge
#
# In the drawn world we know the homography $H$ from a facade to its view (lesson 8), so we know which pairs are right: those
# whose left keypoint, carried over by $H$, lands within 4 pixels of its partner. Then, with $G$ the pairs a matcher gives and
# $A$ the keypoints that have a partner to be found,
#
# $$\text{precision} = \frac{|\{\text{right pairs in } G\}|}{|G|}, \qquad \text{recall} = \frac{|\{\text{right pairs in } G\}|}{|A|}$$

# %%
import cv2
import numpy as np
from display import drawn

from veduta.features import make_extractor
from veduta.images import from_array

world, extractor = drawn(), make_extractor("xfeat", max_keypoints=512)


def carried(H, points):
    """Return points (N, 2) carried by a homography."""
    return cv2.perspectiveTransform(points[None].astype(np.float64), H)[0]


def seen_twice(seed, change, tool=extractor):
    """Return a facade's features, those of a changed picture of it, and the homography between them."""
    facade = world.facade(seed)
    pixels, H = change(facade, seed)
    return tool.extract(from_array(facade)), tool.extract(from_array(pixels)), H


def moved(strength):
    """Return a change: a camera that has moved so far."""

    def change(facade, seed):
        view = world.view(facade, seed, strength, occlude=False)
        return view.pixels, view.homography

    return change


def right(a, b, H, pairs, pixels=4.0):
    """Return which pairs (M, 2) join the same point."""
    return np.linalg.norm(carried(H, a.keypoints[pairs[:, 0]]) - b.keypoints[pairs[:, 1]], axis=1) <= pixels


def findable(a, b, H, pixels=4.0):
    """Return how many keypoints of a have a partner in b."""
    return int((np.linalg.norm(carried(H, a.keypoints)[:, None] - b.keypoints, axis=2).min(1) <= pixels).sum())


a, b, H = seen_twice(2, moved(1.0))
print(f"{len(a)} and {len(b)} keypoints; {findable(a, b, H)} of the first have a partner among the second")

# %% [markdown]
# ## The nearest, and two doubts
#
# Descriptors have length 1, so a product of matrices gives all cosines at once, and the largest in each row is the **nearest**
# neighbor. Everybody has one, also who has no partner. Two doubts help:
#
# - **The ratio test** (Lowe). If the second nearest is nearly as near, the nearest is a guess. Keep a pair only if
#   $d_1 / d_2 < r$, where $d_1$ and $d_2$ are the distances of the nearest and the second nearest and $r$ is 0.8 or so.
# - **Mutual neighbors.** Keep a pair only if each is the other's nearest.

# %%
cosine = a.descriptors @ b.descriptors.T  # (N0, N1)
rows = np.arange(len(a))
nearest = cosine.argmax(1)
distances = np.sqrt(np.maximum(0, 2 - 2 * np.sort(cosine, 1)[:, :-3:-1]))  # of the nearest and the second nearest
ratio = distances[:, 0] / distances[:, 1]
mutual = cosine.argmax(0)[nearest] == rows
everyone = np.stack((rows, nearest), 1)
good = right(a, b, H, everyone)
for name, keep in {
    "nearest": rows >= 0,
    "ratio below 0.9": ratio < 0.9,
    "ratio below 0.8": ratio < 0.8,
    "mutual": mutual,
    "mutual, cosine above 0.82": mutual & (cosine.max(1) >= 0.82),
}.items():
    given, hits = keep.sum(), (keep & good).sum()
    print(f"{name:26s} {given:4d} pairs, precision {hits / given:.2f}, recall {hits / findable(a, b, H):.2f}")

# %% [markdown]
# The last line is what Veduta's `nearest` does; 0.82 was measured on real photos as the place where geometry hardly ever finds
# anything in unrelated ones ([decisions](../decisions.md), 5). The package gives the same pairs:

# %%
from veduta.matching import make_matcher

near = make_matcher("nearest", "xfeat")
matches = near.match(a, b)
by_hand = everyone[mutual & (cosine.max(1) >= 0.82)]
assert np.array_equal(matches.indices, by_hand)
print(f"{len(matches)} pairs, the same; the largest score, a cosine: {matches.scores.max():.3f}")

# %% [markdown]
# A single threshold is one point of a curve. Sort all pairs by how sure each rule is, the surest first, and go down the
# list: precision falls while recall rises.

# %% tags=["drawing"]
from display import BLUE, GREEN, GRAY, ORANGE, RED, picture, plt


def curves_of(tool, seeds=range(5)):
    """Return {rule: precision} at rising recall, of nearest neighbors, the mean over some facades."""
    found, grid = {"any, by cosine": [], "any, by ratio": [], "mutual, by cosine": []}, np.linspace(0.02, 0.98, 60)
    for seed in seeds:
        one, two, truth = seen_twice(seed, moved(1.5), tool)
        cosines = one.descriptors @ two.descriptors.T
        all_rows, first, best = np.arange(len(one)), cosines.argmax(1), cosines.max(1)
        each = np.sqrt(np.maximum(1e-9, 2 - 2 * np.sort(cosines, 1)[:, :-3:-1]))
        both = cosines.argmax(0)[first] == all_rows
        hits = right(one, two, truth, np.stack((all_rows, first), 1))
        for name, sure in zip(found, (best, -each[:, 0] / each[:, 1], np.where(both, best, -np.inf)), strict=True):
            order = np.argsort(-sure, kind="stable")[: both.sum() if "mutual" in name else None]
            recall = hits[order].cumsum() / findable(one, two, truth)
            found[name].append(
                np.interp(grid, recall, hits[order].cumsum() / np.arange(1, len(order) + 1), right=np.nan)
            )
    return grid, {name: np.mean(several, 0) for name, several in found.items()}


figure, panels = plt.subplots(1, 2, figsize=(9, 3.3), sharey=True)
for axes, tool in zip(panels, (extractor, make_extractor("rootsift", max_keypoints=512)), strict=True):
    grid, curves = curves_of(tool)
    for (name, precision), color, line in zip(curves.items(), (GRAY, ORANGE, BLUE), ("--", "-.", "-"), strict=True):
        axes.plot(grid, precision, line, color=color, label=name)
    axes.set(xlabel="recall", xlim=(0, 1), ylim=(0.4, 1.02), title=f"{tool.name}, mean of five facades")
panels[0].set_ylabel("precision")
panels[0].legend(frameon=False, loc="lower left")
picture(figure, "Precision against recall for three ways to judge a nearest neighbor, with XFeat and with RootSIFT")

# %% [markdown]
# Two surprises, and both are worth remembering. The ratio test was made for SIFT; for XFeat's descriptors the plain cosine is the
# better judge. And asking for mutual neighbors changes the list little where it is sure anyhow: it cuts off the tail, where most is
# wrong. Rules of thumb belong to the descriptors they were found for.
#
# ## Optimal transport
#
# Nearest neighbors are chosen one by one. But matching is one decision for all: if two keypoints want the same partner, one
# of them must give way. Think of every keypoint on the left as a sender of one parcel and of every one on the right as a
# receiver of one. $P_{ij}$ is the part of parcel $i$ that goes to $j$. We want $P$ to prefer large scores $S_{ij}$, every row to add up
# to 1, and every column too: a **doubly stochastic** matrix.
#
# Who has no partner? Add one more row and one more column, the **dustbin**, with the same score $z$ everywhere. It takes whatever
# fits nowhere: with $M$ senders and $N$ receivers the dustbin column may receive up to $M$ parcels, and the dustbin row may
# send up to $N$.
#
# **Sinkhorn's algorithm** finds such a matrix. Start with $e^{S_{ij}}$. Scale each row so that its sum is right. Now the columns are
# wrong: scale each column. Now the rows are a little wrong again. Repeat. In logarithms, so that no exponential overflows:
#
# $$u_i \leftarrow \log a_i - \log \sum_j e^{S_{ij} + v_j}, \qquad v_j \leftarrow \log b_j - \log \sum_i e^{S_{ij} + u_i},
#   \qquad P_{ij} = e^{S_{ij} + u_i + v_j}$$
#
# - $a_i$ and $b_j$, what row $i$ and column $j$ should add up to: 1, but $N$ and $M$ for the dustbins,
# - $u_i$ and $v_j$, the logarithms of what row $i$ and column $j$ are multiplied by.


# %%
def log_sum_exp(x, axis):
    """Return log(sum(exp(x))) along an axis, without overflow."""
    top = x.max(axis, keepdims=True)
    return (top + np.log(np.exp(x - top).sum(axis, keepdims=True))).squeeze(axis)


def sinkhorn(scores, dustbin=None, iterations=150):
    """Yield P after 0, 1, 2, ... half steps: first rows are put right, then columns, and so on."""
    m, n = scores.shape
    row_sums, column_sums = np.ones(m), np.ones(n)
    if dustbin is not None:
        scores = np.pad(scores, ((0, 1), (0, 1)), constant_values=dustbin)
        row_sums, column_sums = np.append(row_sums, n), np.append(column_sums, m)
    u, v = np.zeros(len(row_sums)), np.zeros(len(column_sums))
    yield np.exp(scores - scores.max())
    for _ in range(iterations):
        u = np.log(row_sums) - log_sum_exp(scores + v, 1)
        yield np.exp(scores + u[:, None] + v)
        v = np.log(column_sums) - log_sum_exp(scores + u[:, None], 0)
        yield np.exp(scores + u[:, None] + v)


# %% [markdown]
# A small example: five keypoints of the facade and six of the view. Four have a partner (1 with 1, 2 with 2, and so on). Keypoint 5
# of the facade has none, nor have 5 and 6 of the view. Scores are cosines divided by a *temperature* of 0.05: the smaller
# it is, the harder the decisions.

# %%
pairs = matches.indices[right(a, b, H, matches.indices, 2.0)]
lone_a = np.flatnonzero(np.linalg.norm(carried(H, a.keypoints)[:, None] - b.keypoints, axis=2).min(1) > 12)
lone_b = np.flatnonzero(np.linalg.norm(carried(H, a.keypoints)[:, None] - b.keypoints, axis=2).min(0) > 12)
some = pairs[[0, 40, 80, 120]]
left_ones, right_ones = [*some[:, 0], lone_a[3]], [*some[:, 1], *lone_b[[2, 8]]]
small = (a.descriptors[left_ones] @ b.descriptors[right_ones].T).astype(np.float64)
print(small.round(2))
steps = list(sinkhorn(small / 0.05, dustbin=0.8 / 0.05, iterations=30))

# %% tags=["drawing"]
from display import animation

names_a, names_b = [*"12345", "bin"], [*"123456", "bin"]
frames = []
for half in [0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 30, 60, 60]:
    P = steps[half]
    figure, (axes, bars, below) = plt.subplots(
        1, 3, figsize=(8.6, 3.2), width_ratios=[1.25, 0.8, 0.8], layout="constrained"
    )
    axes.imshow(P, cmap="Blues", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(P):
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if value > 0.6 else "black")
    what = "start" if half == 0 else f"iteration {(half + 1) // 2}, {'rows' if half % 2 else 'columns'} put right"
    axes.set(xticks=range(7), xticklabels=names_b, yticks=range(6), yticklabels=names_a, title=what)
    axes.set(xlabel="keypoints of the view", ylabel="of the facade")
    axes.grid(visible=False)
    bars.barh(names_a, P.sum(1), color=[BLUE] * 5 + [GRAY])
    bars.plot([1] * 5 + [6], range(6), "|", color=ORANGE, markersize=14, markeredgewidth=3)
    bars.invert_yaxis()
    bars.set(xlim=(0, 7), title="sums of rows")
    below.barh(names_b, P.sum(0), color=[BLUE] * 6 + [GRAY])
    below.plot([1] * 6 + [5], range(7), "|", color=ORANGE, markersize=12, markeredgewidth=3)
    below.invert_yaxis()
    below.set(xlim=(0, 7), title="sums of columns")
    frames.append(figure)
animation(frames, "A small matrix through Sinkhorn's iterations; the sums of rows and columns reach their marks", 700)

# %% [markdown]
# Orange marks are what the sums should be. After a few iterations both are right. The four partners have found one another, and
# the lone ones lie in the bin. (Keypoint 5 of the facade looks rather like 4 of the view. But that one is better served by
# another, so 5 goes to the bin: a decision for all, not one by one.) And without a bin? Then everybody *must* be matched. Take the five keypoints and the first five of the view:

# %%
*_, without = sinkhorn(small[:, :5] / 0.05, iterations=1000)
print(without.round(2), f"\nrows add up to {without.sum(1).round(3)}, columns to {without.sum(0).round(3)}")
final = steps[-1]
print(
    f"\nkeypoint 5 and keypoint 5, who have nothing in common: {without[4, 4]:.2f} without a bin, {final[4, 4]:.2f} with one"
)

# %% tags=["drawing"]
figure, axes = plt.subplots(figsize=(5.6, 2.9))
for temperature, color, mark in ((0.2, GREEN, "o"), (0.1, ORANGE, "^"), (0.05, BLUE, "s")):
    every = list(sinkhorn(small / temperature, 0.8 / temperature, 30))[2::2]
    errors = [np.abs(P.sum(1) - np.r_[np.ones(5), 6]).max() for P in every]
    axes.semilogy(
        range(1, 31), np.maximum(errors, 1e-16), mark + "-", color=color, markersize=3, label=f"{temperature}"
    )
axes.legend(title="temperature", frameon=False)
axes.set(xlabel="iteration", ylabel="rows are off by", title="Harder decisions take longer")
picture(figure, "How far the sums of rows are off, against iterations, at three temperatures")

# %% [markdown]
# SuperGlue has a learned score for the bin and runs a fixed number of iterations; the notebook asks for 150 and keeps pairs with
# $P_{ij} > 0.2$ whose entry is the largest of its row and of its column. LightGlue, its successor, drops Sinkhorn for something that
# needs no iterations: a softmax over rows, times one over columns, times how likely each of both has a partner at all:
#
# $$P_{ij} = \sigma_i\, \sigma_j\, \frac{e^{S_{ij}}}{\sum_k e^{S_{ik}}}\, \frac{e^{S_{ij}}}{\sum_k e^{S_{kj}}}$$
#
# where $\sigma_i$ is the network's *matchability* of keypoint $i$, in 0 to 1. It does the work of the bin.
#
# ## Attention
#
# Where do the scores $S$ come from? The descriptors of lesson 6 have seen a small patch only. A person who compares two photos looks
# to and fro: *this window, but the one beside the statue*. Both networks do that with **attention**, a few layers of it, before they
# compare anything. Each keypoint asks, and takes in a mixture of what the others know:
#
# $$w_{ij} = \frac{e^{q_i \cdot k_j / \sqrt{D}}}{\sum_l e^{q_i \cdot k_l / \sqrt{D}}}, \qquad x_i \leftarrow x_i + \mathrm{MLP}\Bigl(x_i, \sum_j w_{ij}\, v_j\Bigr)$$
#
# - $x_i$, what is known of keypoint $i$; at first its descriptor, and its position is added,
# - $q_i, k_j, v_j$, the *query*, *key* and *value*: three learned matrices times $x_i$ or $x_j$; $D$ is their length,
# - MLP, a small learned network; $w_{ij}$, how much $i$ listens to $j$.
#
# In **self attention** the $j$ are the keypoints of the same photo: they tell what surrounds $i$. In **cross attention** they are
# those of the other photo: candidates. The layers take turns.
#
# SuperGlue's weights are for non-commercial research only. **LighterGlue**, a small LightGlue trained for XFeat, ships: six layers, each
# with a self attention and a cross attention. Its graph is a file, so we may ask it for its attention weights, as we asked XFeat for
# its maps in lesson 6. They are the results of its softmaxes: of each layer four, self attention in either photo, then cross
# attention from the first to the second and back.

# %%
import onnx
import onnxruntime
from display import photo

from veduta.matching.mutual import centered
from veduta.models.session import read_file
from veduta.models.cards import card

graph = onnx.load_from_string(read_file(card("lighterglue")))
softmaxes = [node.output[0] for node in graph.graph.node if node.op_type == "Softmax"]
graph.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in softmaxes)
session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])

shots = "montmartre_close", "montmartre_far"
one, two = (photo(name) for name in shots)
mine, theirs = extractor.extract(one), extractor.extract(two)
asked = {}
for i, features in enumerate((mine, theirs)):  # positions are measured from the middle of the photo
    asked |= {f"keypoints{i}": 2 * centered(features) - 1, f"descriptors{i}": features.descriptors}
partner, probability, back, *weights = session.run(None, asked)
layers = [[w.squeeze() for w in weights[i : i + 4]] for i in range(0, len(weights), 4)]
sure = np.flatnonzero((back[partner] == np.arange(len(mine))) & (probability > 0.5))
cosine = mine.descriptors @ theirs.descriptors.T
print(
    f"{len(sure)} pairs it is sure of; the nearest descriptor is another one for {np.sum(cosine.argmax(1)[sure] != partner[sure])}"
)


def listens_to(w):
    """Return to how many keypoints each row listens, in effect: the exponential of the entropy of its weights."""
    return np.exp(-(w * np.log(w + 1e-12)).sum(1))


apart = np.linalg.norm(mine.keypoints[:, None] - mine.keypoints, axis=2)
print("layer   self: to how many, how far (pixels)   cross: to how many, share of the later partner")
for number, (within, _, across, _) in enumerate(layers, 1):
    far = (within * apart).sum(1).mean()
    share = across[sure, partner[sure]].mean()
    print(f"{number:3d}{listens_to(within).mean():17.0f}{far:18.0f}{listens_to(across).mean():23.1f}{share:14.2f}")

# %% tags=["drawing"]
from display import image

misled = sure[cosine.argmax(1)[sure] != partner[sure]]
asking = misled[layers[0][2][misled, partner[misled]].argmin()]  # the one that is furthest from its partner at first
scales = [shot.pixels.shape[1] / shot.width for shot in (one, two)]
at, there = (f.keypoints * scale for f, scale in zip((mine, theirs), scales, strict=True))
figure, panels = plt.subplots(2, 3, figsize=(11, 5.4))
for column, number in enumerate((1, 3, 6)):
    for axes, shot, points, w, name, color in zip(
        panels[:, column],
        (one, two),
        (at, there),
        (layers[number - 1][0][asking], layers[number - 1][2][asking]),
        ("listens to, in its own photo", "and in the other"),
        ("#ffd23f", "#35d0ff"),
        strict=True,
    ):
        image(axes, shot.pixels // 2 + 90, f"layer {number}: {name}" if not column else f"layer {number}")
        axes.scatter(*points.T, s=900 * w + 0.5, color=color, edgecolors="black", linewidths=0.3, alpha=0.75)
    panels[0, column].plot(*at[asking], "+", color=RED, markersize=16, markeredgewidth=2.5)
    for spot, mark in ((there[partner[asking]], "o"), (there[cosine[asking].argmax()], "x")):
        panels[1, column].plot(
            *spot, mark, color=RED, markersize=15 if mark == "o" else 9, markerfacecolor="none", markeredgewidth=2
        )
picture(
    figure,
    "One keypoint through three layers: dots as large as the weights, spread at first, gathered on the partner at last",
    shots,
)

# %% [markdown]
# The red cross above is the keypoint that asks; dots are as large as its weights. Below, the circle is the partner it ends with, and the x
# the keypoint whose *descriptor* is nearest: another one. In the first layer it listens to nearly everybody in its own photo, to learn what kind of place this is; later to
# its neighborhood. Across, it looks at several candidates first and at one in the end. No step is a decision, and yet a
# decision comes out.

# %% [markdown]
# ## When it gets hard
#
# Let us make things harder step by step, in three ways: the camera moves aside, the camera is turned, the photo is taken from
# farther away.


# %%
def turned(degrees):
    """Return a change: a camera held at an angle."""

    def change(facade, _seed):
        H = np.vstack([cv2.getRotationMatrix2D((240, 180), degrees, 1), (0, 0, 1)])
        return cv2.warpPerspective(facade, H, (480, 360), borderMode=cv2.BORDER_REFLECT), H

    return change


def farther(times):
    """Return a change: a facade seen from so many times the distance."""

    def change(facade, _seed):
        small = cv2.resize(facade, None, fx=1 / times, fy=1 / times, interpolation=cv2.INTER_AREA)
        # Pixel centers stand at whole numbers: half a pixel is half a pixel in either photo.
        H = np.array([[1 / times, 0, 0.5 / times - 0.5], [0, 1 / times, 0.5 / times - 0.5], [0, 0, 1]])
        return small, H

    return change


glue = make_matcher("lighterglue", "xfeat")
ways = {
    "moved aside": (moved, [0.5, 1, 2, 3, 4]),
    "turned, degrees": (turned, [15, 30, 45, 60, 90]),
    "times the distance": (farther, [1.25, 1.67, 2, 2.5, 3.3]),
}
table = {}
for way, (change, amounts) in ways.items():
    for amount in amounts:
        seen = [seen_twice(seed, change(amount)) for seed in range(4)]
        for name, matcher in {"nearest": near, "lighterglue": glue}.items():
            found = [matcher.match(p, q) for p, q, _ in seen]
            hits = [right(p, q, T, m.indices).sum() for (p, q, T), m in zip(seen, found, strict=True)]
            table[way, amount, name] = np.mean(hits), np.sum(hits) / max(1, sum(map(len, found)))
    for name in ("nearest", "lighterglue"):
        print(f"{way:20s} {name:12s}", "  ".join("{:4.0f} ({:.2f})".format(*table[way, x, name]) for x in amounts))

# %% tags=["drawing"]
figure, panels = plt.subplots(1, 3, figsize=(11, 3), sharey=True)
for axes, (way, (_, amounts)) in zip(panels, ways.items(), strict=True):
    for name, color, mark in (("nearest", BLUE, "o-"), ("lighterglue", ORANGE, "s-")):
        axes.plot(amounts, [table[way, amount, name][0] for amount in amounts], mark, color=color, label=name)
    axes.set(xlabel=way, ylim=(0, None))
panels[0].set_ylabel("right matches")
panels[0].legend(frameon=False)
panels[1].set_title("Right matches on harder and harder views")
picture(figure, "Right matches of two matchers against how far the camera moved, turned, and stood back")

# %% [markdown]
# Printed are right matches and, in brackets, precision. On easy views both find about the same, but LighterGlue hardly ever gives a
# wrong pair. When it gets hard, the cosines of true partners sink below 0.82 and `nearest` gives up; LighterGlue knows what surrounds a
# keypoint, and holds on. A photo turned by 60 degrees defeats both: neither learned from such photos, and Veduta turns photos
# upright by what the camera says before anything else. The price: LighterGlue takes about fifty times as long for a pair
# ([how it works](../how-it-works.md)), so by default it is asked only on request.
#
# ## Adding up scores, or counting
#
# The notebook's evidence for a candidate is the *sum of the matching scores*, each clipped to 0 to 1: a match with probability 0.3 counts 0.3. It
# then takes $\min(n + 1, 200)/200$ of it. That is a count of expected right matches, a good idea where scores are probabilities.
# Veduta counts *inliers*: matches that agree on one change of viewpoint. Here are three kinds of evidence, for photos of one facade
# and of two.

# %%
from veduta.geometry import HomographyVerifier

verifier, houses = HomographyVerifier(), 7
references = [extractor.extract(from_array(world.facade(20 + i))) for i in range(houses)]
queries = [extractor.extract(from_array(world.view(world.facade(20 + i), i, 2.5).pixels)) for i in range(houses)]
evidence = {"sum of cosines, nearest": [], "sum of probabilities, LighterGlue": [], "inliers, nearest": []}
same = []
for i, query in enumerate(queries):
    for j, reference in enumerate(references):
        plain, learned = near.match(query, reference), glue.match(query, reference)
        evidence["sum of cosines, nearest"].append(plain.scores.sum())
        evidence["sum of probabilities, LighterGlue"].append(learned.scores[learned.scores > 0.2].clip(0, 1).sum())
        evidence["inliers, nearest"].append(verifier.verify(query, reference, plain).num_inliers)
        same.append(i == j)
same = np.array(same)
for name, values in evidence.items():
    values = np.array(values)
    least, most = values[same].min(), values[~same].max()
    print(f"{name:34s} one facade: at least {least:5.1f}   two: at most {most:4.1f}   {least / most:.1f} times as much")

# %% tags=["drawing"]
figure, panels = plt.subplots(1, 3, figsize=(11, 2.4), sharey=True)
jitter = np.random.default_rng(0).uniform(-0.25, 0.25, len(same))
for axes, (name, values) in zip(panels, evidence.items(), strict=True):
    for there, color, mark in ((same, GREEN, "o"), (~same, RED, "x")):
        axes.plot(
            np.array(values)[there], there[there] * 0 + same[there] + jitter[there], mark, color=color, markersize=4
        )
    axes.set(xlabel=name, xlim=(-3, None), ylim=(-0.6, 1.6))
    axes.set(yticks=[0, 1], yticklabels=["two facades", "one facade"])
picture(figure, "Three kinds of evidence for pairs of one facade and of two; sums of cosines are far from zero for two")

# %% [markdown]
# A cosine is no probability: adding cosines gives unrelated facades tens of points, because every accidental neighbor counts
# nearly 1 ([decisions](../decisions.md), 21). Probabilities of a learned matcher do better. Inliers of the cheap matcher do
# better still, for chance pairs do not agree with one another. That is lesson 8.
#
# ## What the notebook does, and what we do instead
#
# | | notebook | Veduta |
# |---|---|---|
# | matcher | SuperGlue, 150 iterations of Sinkhorn | mutual nearest neighbors; LighterGlue on request |
# | evidence | sum of matching scores | inliers of one homography |
# | candidates | five, because each is dear | eight, then thirty while the decision is open |
# | features of the gallery | computed anew for each pair | computed once, kept in the gallery |
#
# ## Exercises
#
# **1.** `min_probability` of LighterGlue is 0.1. What do precision and recall become at 0.02, 0.3, 0.6 and 0.9?

# %% tags=["solution"]
from veduta.matching import LighterGlue

one, two, truth = seen_twice(4, moved(3.0))
for least in (0.02, 0.1, 0.3, 0.6, 0.9):
    m = LighterGlue(min_probability=least).match(one, two)
    hits = right(one, two, truth, m.indices).sum()
    print(f"{least:.2f}: {len(m)} pairs, precision {hits / len(m):.2f}, recall {hits / findable(one, two, truth):.2f}")
# Up to 0.3 precision costs hardly any recall: what is sorted out was wrong. From 0.6 on right pairs go, too.

# %% [markdown]
# **2.** In the small example, raise the score of the bin from 0.8 to 0.95, then lower it to 0.6. What happens to the four pairs, and
# to the lone ones? (Largest of each of the five rows, bin left out.)

# %% tags=["solution"]
for score in (0.6, 0.8, 0.95):
    P = list(sinkhorn(small / 0.05, score / 0.05))[-1]
    print(f"bin {score}: four pairs {np.diag(P)[:4].round(2)}, largest of the lone keypoint {P[4, :6].max():.2f}")
# The better the bin pays, the more it draws from the four, until a threshold of 0.5 would miss them all. SuperGlue learns its price.

# %% [markdown]
# **3.** Cut a facade into twelve upright stripes and put them together in reverse order. A person would say *not the same*.
# What do the matchers say, what do the sums of scores, and what does geometry?

# %% tags=["solution"]
stripes = np.split(world.facade(20), 12, axis=1)
shuffled = np.hstack(stripes[::-1])
other = extractor.extract(from_array(np.ascontiguousarray(shuffled)))
for name, matcher in {"nearest": near, "lighterglue": glue}.items():
    m = matcher.match(references[0], other)
    agree = verifier.verify(references[0], other, m).num_inliers
    print(f"{name:12s} {len(m)} matches, sum of scores {m.scores.sum():.0f}, inliers {agree}")
# A patch matches well wherever it went, and the scores are sure. But no single change of viewpoint carries all stripes to their
# places, so geometry keeps only a part.

# %% [markdown]
# ## Further reading
#
# - D. G. Lowe, *Distinctive Image Features from Scale-Invariant Keypoints*, International Journal of Computer Vision, 2004: the
#   ratio test.
# - M. Cuturi, *Sinkhorn Distances: Lightspeed Computation of Optimal Transport*, NIPS 2013.
# - A. Vaswani, N. Shazeer, N. Parmar, J. Uszkoreit, L. Jones, A. N. Gomez, Ł. Kaiser, I. Polosukhin, *Attention Is All You Need*, NIPS
#   2017.
# - P.-E. Sarlin, D. DeTone, T. Malisiewicz, A. Rabinovich, *SuperGlue: Learning Feature Matching with Graph Neural Networks*, CVPR
#   2020.
# - P. Lindenberger, P.-E. Sarlin, M. Pollefeys, *LightGlue: Local Feature Matching at Light Speed*, ICCV 2023.
