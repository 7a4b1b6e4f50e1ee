# %% [markdown]
# # 6. Keypoints and descriptors
#
# **Aim.** Know what makes a place in a photo worth remembering, how a network finds such places and describes them, and how
# to measure whether it does that well.
#
# **You need** lesson 2 (descriptors and cosines) and to know what a derivative of a picture is: how much brighter the next
# pixel is.
#
# ## The idea in plain words
#
# Lessons 2 to 5 describe a whole photo by one vector. That says *this looks like a church*. To say *this is that church*, we
# compare small places: the corner of this window, the tip of that spire. It takes two things.
#
# - A **detector** chooses places, called **keypoints**. It must choose the same ones in another photo of the same thing.
# - A **descriptor** is a vector that says what a place looks like. The same place must get nearly the same vector in
#   another photo, and another place must get a different one.
#
# Which places can be found again? Those that change when you move. Cut a small patch out of a picture and lay it on again, a
# few pixels off. On a plain wall nothing changes. Along an edge nothing changes if you slide it along. At a corner, every
# step shows.

# %%
import cv2
import numpy as np
from display import drawn

world = drawn()
facade = world.facade(4)
gray = cv2.cvtColor(facade, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
gray = cv2.GaussianBlur(gray, (0, 0), 1.5)


def off_by(x, y, half=6, reach=5):
    """Return the mean squared difference of the patch around (x, y) from itself moved by up to `reach` pixels."""
    patch = gray[y - half : y + half + 1, x - half : x + half + 1]
    steps = range(-reach, reach + 1)
    moved = [[gray[y + v - half : y + v + half + 1, x + u - half : x + u + half + 1] for u in steps] for v in steps]
    return ((np.array(moved) - patch) ** 2).mean((2, 3))


# %% [markdown]
# ## Corners, by hand
#
# Near a pixel a picture is nearly a slope. Moving by a step $(u, v)$ changes it by $I_x u + I_y v$, where $I_x$ and $I_y$ are
# the derivatives to the right and down. Sum the squares over the patch and you get
#
# $$E(u, v) \approx \begin{pmatrix} u & v \end{pmatrix} M \begin{pmatrix} u \\ v \end{pmatrix}, \qquad
#   M = \sum_{\text{patch}} \begin{pmatrix} I_x^2 & I_x I_y \\ I_x I_y & I_y^2 \end{pmatrix}$$
#
# - $E(u, v)$, how much the patch changes when moved by $(u, v)$,
# - $M$, the **structure tensor**: two by two numbers for each pixel.
#
# $M$ has two eigenvalues, $\lambda_1 \ge \lambda_2$: the change per squared pixel in the direction that changes most, and in
# the one that changes least. Both small: a plain wall. One large: an edge. Both large: a corner. Harris and Stephens
# avoid computing them:
#
# $$R = \det M - k\,(\operatorname{trace} M)^2 = \lambda_1 \lambda_2 - k\,(\lambda_1 + \lambda_2)^2$$
#
# with $k$ a small number, usually 0.04 to 0.06. $R$ is positive at corners, negative along edges.


# %%
def harris(gray, side=5, k=0.05):
    """Return Harris and Stephens' measure for each pixel, and the smaller eigenvalue of the structure tensor."""
    ix, iy = (cv2.Sobel(gray, cv2.CV_32F, *order, ksize=3, scale=1 / (4 * side)) for order in ((1, 0), (0, 1)))
    a, b, c = (cv2.boxFilter(p, -1, (side, side), normalize=False) for p in (ix * ix, ix * iy, iy * iy))
    trace, det = a + c, a * c - b * b
    return det - k * trace**2, trace / 2 - np.sqrt(np.maximum(trace**2 / 4 - det, 0))


measure, smaller = harris(gray)
theirs = cv2.cornerHarris(gray, 5, 3, 0.05)
inner = (slice(8, -8), slice(8, -8))
assert np.allclose(measure[inner], theirs[inner], atol=1e-5 * np.abs(theirs).max())
print(
    f"the same as OpenCV's: largest difference {np.abs(measure - theirs)[inner].max() / theirs.max():.0e} of the largest"
)

# %% tags=["drawing"]
from display import BLUE, GREEN, ORANGE, image, picture, plt

larger = cv2.boxFilter(np.maximum(np.gradient(gray)[0] ** 2 + np.gradient(gray)[1] ** 2, 0), -1, (5, 5))


def best_place(goodness, avoid=()):
    """Return the pixel (x, y) of the largest value, away from the border and from places already chosen."""
    free = np.full(goodness.shape, -np.inf)
    free[130:-20, 50:-50] = goodness[130:-20, 50:-50]
    for x, y in avoid:
        free[max(0, y - 60) : y + 60, max(0, x - 60) : x + 60] = -np.inf
    return np.array(np.unravel_index(free.argmax(), free.shape))[::-1]


corner = best_place(smaller)
edge = best_place(np.where(cv2.dilate(smaller, np.ones((13, 13))) < 0.05 * smaller.max(), larger, 0), [corner])
flat = best_place(-cv2.blur(larger, (19, 19)), [corner, edge])
figure, axes = plt.subplots(1, 5, figsize=(12, 2.7), width_ratios=[1.7, 1.7, 1, 1, 1])
image(axes[0], facade, "three places")
limit = np.quantile(np.abs(measure), 0.995)
axes[1].imshow(measure, cmap="PuOr", vmin=-limit, vmax=limit)
axes[1].set(xticks=[], yticks=[], title="R: corners purple, edges orange")
axes[1].grid(visible=False)
surfaces = [off_by(*place) for place in (flat, edge, corner)]
for axis, place, surface, name, color in zip(
    axes[2:], (flat, edge, corner), surfaces, ("wall", "edge", "corner"), (BLUE, ORANGE, GREEN), strict=True
):
    axes[0].add_patch(plt.Rectangle(place - 7, 14, 14, fill=False, color=color, linewidth=2))
    label = {"boxstyle": "round,pad=0.15", "facecolor": color, "edgecolor": "none"}
    axes[0].text(place[0], place[1] - 14, name, color="white", fontsize=8, ha="center", bbox=label)
    axis.imshow(np.sqrt(surface), cmap="viridis", extent=(-5.5, 5.5, 5.5, -5.5), vmin=0, vmax=0.25)
    axis.set(title=name, xlabel="moved by u", xticks=[-4, 0, 4], yticks=[-4, 0, 4])
    axis.grid(visible=False)
axes[2].set_ylabel("and by v")
picture(
    figure,
    "A drawn facade with three places; Harris' measure; how much each place changes when moved: "
    "nothing on the wall, a valley along the edge, a bowl at the corner",
)

# %% [markdown]
# A dark valley is a direction in which one can slide unnoticed. Only the corner has none.
#
# ## From a heat map to keypoints
#
# A detector gives every pixel a score. Around one corner many pixels score well, and we want one keypoint, not twenty.
# **Non-maximum suppression** keeps a pixel only if no pixel in the window around it scores more. Then a threshold drops what
# scores too little, and **top-k** keeps the best $k$. All of it in a few lines:


# %%
def peaks(scores, window=5, threshold=0.0, most=512):
    """Return (K, 2) pixels x, y of the largest scores that no other within the window exceeds, best first."""
    largest = cv2.dilate(scores, np.ones((window, window), np.uint8))  # the maximum of each window
    y, x = np.nonzero((scores == largest) & (scores > threshold))
    best = np.argsort(-scores[y, x], kind="stable")[:most]
    return np.stack((x[best], y[best]), 1)


# %% tags=["drawing"]
def crowd(x, y, half=8):
    """Return the peaks' scores around a pixel, in parts of the largest."""
    near = np.array([measure[v, u] for u, v in every if max(abs(u - x), abs(v - y)) < half])
    return near / near.max()


every = [(u, v) for u, v in peaks(measure, threshold=1e-6, most=999) if 60 < u < 420 and 120 < v < 330]
x, y = max(every, key=lambda at: min(3, np.sum(crowd(*at) > 0.3)) + 2 * min(1, np.sum(crowd(*at) < 0.14)))
crop = (slice(y - 8, y + 9), slice(x - 8, x + 9))
scores = np.maximum(measure, 0) / measure[y - 10 : y + 11, x - 10 : x + 11].max()
largest = cv2.dilate(scores, np.ones((5, 5), np.uint8))
stages = {
    "1. scores": scores[crop],
    "2. largest within 5 x 5": largest[crop],
    "3. where 1 equals 2": np.where(scores == largest, scores, 0)[crop],
    "4. above the threshold": np.where((scores == largest) & (scores > 0.15), scores, 0)[crop],
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2))
for axis, (title, values) in zip(axes, stages.items(), strict=True):
    axis.imshow(values, cmap="viridis", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(values):
        if value >= 0.005:
            color = "black" if value > 0.6 else "white"
            axis.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=5.5, color=color)
    axis.set(xticks=[], yticks=[], title=title)
    axis.grid(visible=False)
picture(
    figure, "Seventeen by seventeen pixels around some corners, scores in hundredths, through the steps of suppression"
)

# %% [markdown]
# ## Detectors that have learned
#
# Harris' measure knows nothing of buildings: the grain of a stone is a corner, too. A network can learn which places are found
# again. **SuperPoint**, which the notebook uses, had the idea that nearly all have followed since:
#
# - The photo is cut into **cells** of 8 x 8 pixels. For each cell the network says 65 numbers: one a pixel, and one that means
#   *no keypoint in this cell*. A softmax makes them probabilities:
#   $p_i = e^{z_i} / \sum_{j=1}^{65} e^{z_j}$, where $z_i$ is what the network says of pixel $i$ of the cell.
# - Leave out the 65th, lay the cells side by side, and you have a score for every pixel of the photo, although the network
#   only ever worked at an eighth of its width and height. That is why it is fast.
# - Descriptors come from the same network, one for each cell. A keypoint between cells gets a mixture of its neighbors'.
#
# SuperPoint's weights are for non-commercial research only, so they cannot ship. **XFeat**, the default here, is built the
# same way, is smaller (64 numbers a descriptor, not 256), and adds one more map: how **reliable** descriptors are around
# here. A keypoint's score is the product of both. `make_extractor` gives it, suppression and top-k inside:

# %%
from display import photo

from veduta.features import make_extractor

church = photo("montmartre_close")
extractor = make_extractor("xfeat", max_keypoints=512, max_side=576)
features = extractor.extract(church)
lengths = np.linalg.norm(features.descriptors, axis=1)
print(f"{len(features)} keypoints, descriptors {features.descriptors.shape} of length {lengths.mean():.3f}")

# %% [markdown]
# What goes on inside? The network is a file in ONNX's format: a list of operations. We may ask for the results of inner
# operations too. Three are of interest: the softmax (cells), the sigmoid (reliability), and what the descriptors are read
# from (`GridSample` reads a map at places that are no whole pixels).

# %%
from pathlib import Path

import onnx
import onnxruntime

import veduta.models
from veduta.images.resize import Frame
from veduta.images import from_array

graph = onnx.load(Path(veduta.models.__file__).parent / "xfeat.onnx")
inner = {node.op_type: node for node in graph.graph.node}
wanted = [inner["Softmax"].output[0], inner["Sigmoid"].output[0], inner["GridSample"].input[0]]
graph.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in wanted)
session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def look_inside(pixels):
    """Return the pixels as the network sees them, and its maps: heat, reliability (both H, W), descriptors (h, w, 64)."""
    pixels = Frame(576, 32, 64).resize(pixels)  # sides are multiples of 32
    cells, sure, dense = session.run(wanted, {"image": pixels[None], "count": np.array(512)})
    (h, w), (height, width) = cells.shape[1:3], pixels.shape[:2]
    heat = cells[0, :, :, :64].reshape(h, w, 8, 8).transpose(0, 2, 1, 3).reshape(height, width)
    smooth = cv2.resize(sure[0, 0], (width, height), interpolation=cv2.INTER_LINEAR)
    return pixels, heat, smooth, dense[0].transpose(1, 2, 0), cells[0]


seen, heat, sure, dense, cells = look_inside(church.pixels)
found = peaks(heat, window=5, threshold=0.05, most=heat.size)
score = (heat * sure)[found[:, 1], found[:, 0]]
best = found[np.argsort(-score, kind="stable")[:512]]
packaged = extractor.extract(from_array(seen)).keypoints.astype(int)
same = len({*map(tuple, best)} & {*map(tuple, packaged)})
print(f"{len(found)} peaks; of the best 512, {same} are those of make_extractor")
assert same >= 510

# %% tags=["drawing"]
figure, axes = plt.subplots(2, 2, figsize=(10, 7))
image(axes[0, 0], cv2.dilate(heat, np.ones((3, 3))), "heat: a probability for each pixel (dots enlarged)")
image(axes[0, 1], cells[:, :, 64], "'no keypoint in this cell'")
image(axes[1, 0], sure, "reliability")
image(axes[1, 1], seen, "the best 512 of their product, after suppression")
for axis in axes.flat[:3]:
    axis.images[0].set_cmap("viridis")
axes[1, 1].scatter(*best.T, s=5, color=ORANGE)
picture(figure, "Sacré-Cœur through XFeat: heat map, empty cells, reliability, and the keypoints", ["montmartre_close"])

# %% [markdown]
# The sky has few dots, most of them at the edges of clouds, and there the reliability is low. Stone has many keypoints, and so
# have the trees: to a detector, twigs are nearly as good as tracery. Lesson 9 is about that.
#
# ## What a descriptor sees
#
# Take one keypoint of this photo, and compare its descriptor with the map of descriptors of the other photo of the church.
# The brighter, the more alike. A good descriptor lights up one place.

# %% tags=["drawing"]
other = photo("montmartre_far")
other_seen, _, _, dense, _ = look_inside(other.pixels)
fine = cv2.resize(dense, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)  # between cells, as for a keypoint
fine /= np.linalg.norm(fine, axis=2, keepdims=True)
mine = features.keypoints * (576 / church.width)
rows, columns = np.arange(fine.shape[0]), np.arange(fine.shape[1])
figure, axes = plt.subplots(2, 4, figsize=(12, 4.6))
image(axes[0, 0], church.pixels, "three keypoints")
image(axes[1, 0], other_seen, "the other photo")
places = {"beside a window": (337, 231), "on the balustrade": (267, 297), "twigs": (107, 236)}
for column, (name, place) in enumerate(places.items(), 1):
    k = np.linalg.norm(mine - place, axis=1).argmin()
    x, y = mine[k]
    letter = "ABC"[column - 1]
    axes[0, 0].plot(x, y, "o", color=ORANGE, markersize=6, markeredgecolor="white")
    axes[0, 0].text(x, y - 14, letter, color="black", weight="bold", ha="center")
    image(axes[0, column], church.pixels, f"{letter}: {name}")
    axes[0, column].plot(x, y, "+", color=ORANGE, markersize=18, markeredgewidth=2)
    axes[0, column].set(xlim=(x - 45, x + 45), ylim=(y + 31, y - 31))
    likeness = fine @ features.descriptors[k]
    v, u = np.unravel_index(likeness.argmax(), likeness.shape)
    away = (np.abs(rows - v)[:, None] > 8) | (np.abs(columns - u) > 8)  # 16 pixels
    axes[1, column].imshow(likeness, cmap="magma", vmin=0.4, vmax=0.95)
    axes[1, column].plot(
        u, v, "o", markersize=12, markerfacecolor="none", markeredgecolor="#35d0ff", markeredgewidth=1.5
    )
    axes[1, column].set(xticks=[], yticks=[], title=f"best {likeness.max():.2f}, elsewhere {likeness[away].max():.2f}")
    axes[1, column].grid(visible=False)
picture(
    figure,
    "Three keypoints of one photo, and how alike each is to every place of the other; the first lights up one place",
    ["montmartre_close", "montmartre_far"],
)

# %% [markdown]
# What counts is not the best cosine but how far it stands above the best *elsewhere*. A lights up one place, the right one. B
# looks as much like several pieces of balustrade, so whichever comes first by a hair would be taken. C lights up the
# trees; but next spring these twigs will be others. Lesson 7 is about telling such cases apart.
#
# ## Are the same places found again?
#
# **Repeatability** is the share of keypoints of one photo that are found again in another photo, to within a few pixels. To
# measure it one must know where each keypoint went. In our drawn world we do: every view comes with its homography $H$
# (lesson 8), the matrix that carries a point of the facade to the view. With $K$ the keypoints of the facade that are still
# inside the view, and $K'$ those found in the view,
#
# $$\text{repeatability} = \frac{1}{|K|}\,\bigl|\{\,k \in K : \min_{k' \in K'} \lVert H(k) - k' \rVert \le 3\text{ pixels}\,\}\bigr|$$
#
# Many keypoints hit something by chance alone, so we ask as many random points, too.


# %%
def found_again(a, b, H, size, pixels=3.0):
    """Return the share of points a (N, 2) that stand among b (M, 2) once carried by H, of those inside the view."""
    moved = cv2.perspectiveTransform(a[None].astype(np.float64), H)[0]
    moved = moved[np.all((moved >= 0) & (moved < size), axis=1)]
    return np.mean(np.linalg.norm(moved[:, None] - b[None], axis=2).min(1) <= pixels)


def corners_of(pixels):
    """Return the best 512 corners by Harris' measure, with the same suppression."""
    gray = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255, (0, 0), 1.5)
    return peaks(harris(gray)[0]).astype(np.float32)


sift = make_extractor("rootsift", max_keypoints=512)
rng = np.random.default_rng(0)
detectors = {
    "RootSIFT": lambda pixels: sift.extract(from_array(pixels)).keypoints,
    "Harris, by hand": corners_of,
    "XFeat": lambda pixels: extractor.extract(from_array(pixels)).keypoints,
    "512 random points": lambda pixels: rng.uniform(0, pixels.shape[1::-1], (512, 2)),
}
strengths, views = [0.25, 0.5, 1.0, 1.5, 2.0], 5
facades = [world.facade(seed) for seed in range(views)]
straight = {name: [detect(pixels) for pixels in facades] for name, detect in detectors.items()}
shares = {name: [] for name in detectors}
for strength in strengths:
    seen_as = [world.view(pixels, seed, strength, occlude=False) for seed, pixels in enumerate(facades)]
    for name, detect in detectors.items():
        again = [
            found_again(a, detect(view.pixels), view.homography, (480, 360))
            for a, view in zip(straight[name], seen_as, strict=True)
        ]
        shares[name].append(float(np.mean(again)))
for name, values in shares.items():
    print(f"{name:18s}", "  ".join(f"{value:.2f}" for value in values))

# %% tags=["drawing"]
from display import GRAY

figure, axes = plt.subplots(figsize=(6.4, 3.4))
for (name, values), color, mark in zip(shares.items(), (BLUE, GREEN, ORANGE, GRAY), "o^sx", strict=True):
    axes.plot(strengths, values, mark + "-", color=color)
    axes.text(2.05, values[-1], name, color=color, va="center")
axes.set(xlim=(0.2, 2.75), ylim=(0, 1), xlabel="how much the camera has moved", ylabel="found again to 3 pixels")
axes.set_title("Repeatability on drawn facades")
picture(figure, "Share of keypoints found again against the strength of the change of view, for four detectors")

# %% [markdown]
# XFeat comes last of the three, and what we wrote by hand comes first! A drawn facade is made of corners. RootSIFT, from 2004 and
# 2012, has learned nothing either. (SIFT looks for blobs at many sizes and describes them by the directions in which it gets
# brighter; *Root* means the square root of its descriptors.) Should we use it, then? Ask a real pair.

# %%
from veduta.geometry import HomographyVerifier
from veduta.matching import make_matcher

verifier = HomographyVerifier()


def agreeing(a, b, extractor):
    """Return how many matches two photos have, and how many agree on one change of viewpoint (lesson 8)."""
    one, two = extractor.extract(a), extractor.extract(b)
    matches = make_matcher("nearest", extractor.name).match(one, two)
    return len(matches), verifier.verify(one, two, matches).num_inliers


for name, tool in {"XFeat": extractor, "RootSIFT": sift}.items():
    print(f"{name:9s} %d matches, %d of them inliers" % agreeing(church, other, tool))

# %% [markdown]
# A drawn view is the same paint, moved and a little noisier. That is an easy world for SIFT. Real photos differ by
# light, weather, camera and distance, and there its descriptors fail first. It is the same on many real
# pairs: the median number of inliers of true pairs is 15 for XFeat and 0 for RootSIFT, both with 512 keypoints
# ([local features](../local-features.md)). A measurement answers the question it asks, and repeatability under drawn homographies
# asks only a part of ours.
#
# ## What the notebook does, and what we do instead
#
# The notebook takes 2,048 keypoints of SuperPoint with a threshold of 0.001, and forces every photo into 896 x 672 pixels (height
# x width), whatever its shape. A landscape photo is squeezed to about half its width. Does it matter? Take landscape photos, and
# let a second photographer stand elsewhere, once with the camera held the same way, and once upright.


# %%
def squashed(pixels):
    """Return a photo forced into 672 x 896 pixels."""
    return cv2.resize(pixels, (672, 896), interpolation=cv2.INTER_AREA if pixels.shape[0] > 896 else cv2.INTER_LINEAR)


large = make_extractor("xfeat", max_keypoints=2048, max_side=896)
landscapes = ["china", "gcs_close", "montmartre_close", "montmartre_far", "sist_chapel"]
table = []
for name in landscapes:
    wide = photo(name, max_side=896).pixels
    width = wide.shape[0] * 3 // 4
    left = (wide.shape[1] - width) // 2
    tall = np.ascontiguousarray(wide[:, left : left + width])
    second = {"landscape": world.view(wide, 3, 0.5, occlude=False), "portrait": world.view(tall, 3, 0.5, occlude=False)}
    row = []
    for view in second.values():
        for change in (np.ascontiguousarray, squashed):
            row.append(agreeing(from_array(change(wide)), from_array(change(view.pixels)), large)[1])
    table.append(row)
    print(
        f"{name:17s} with a landscape photo: {row[0]:4d} -> {row[1]:4d}   with a portrait one: {row[2]:4d} -> {row[3]:4d}"
    )
lost = 1 - np.array(table)[:, 1::2].sum(0) / np.array(table)[:, ::2].sum(0)
print(f"inliers lost by squashing: landscape {lost[0]:.0%}, portrait {lost[1]:.0%}")

# %% tags=["drawing"]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3), width_ratios=[1.9, 0.9, 1.6])
china = photo("china").pixels
image(left, china, "china, 640 x 427")
image(middle, squashed(china), "in 672 x 896")
place = np.arange(len(landscapes))
for offset, column, color, label in ((-0.2, 2, BLUE, "shape kept"), (0.2, 3, ORANGE, "squashed")):
    right.barh(place + offset, np.array(table)[:, column], 0.38, color=color, label=label)
right.set(yticks=place, yticklabels=landscapes, xlabel="inliers with a portrait photo")
right.invert_yaxis()
right.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.4, 1.2), ncols=2)
picture(
    figure,
    "A photo of a tower, the same squashed, and inliers lost by squashing when photos have two shapes",
    ["china"],
)

# %% [markdown]
# Two photos of one shape are squeezed alike, and little is lost. Where the shapes differ, they are squeezed by different factors, and
# the same window has two looks. Veduta keeps the shape: the longer side has at most 576 pixels, each side is rounded to a
# multiple of 32, and keypoints are given in pixels of the original photo. It keeps 512 of them: matching costs grow with the
# square.
#
# ## Exercises
#
# **1.** Shi and Tomasi use the smaller eigenvalue itself instead of $R$. How many of the best 200 corners are the same?

# %% tags=["solution"]
ours = {tuple(p) for p in peaks(measure, most=200)}
shi_tomasi = {tuple(p) for p in peaks(smaller, most=200)}
print(len(ours & shi_tomasi), "of 200 to the pixel")
# About half. Both want change in two directions; R is a product and forgives a weak one where the other is strong.

# %% [markdown]
# **2.** What does the window of the suppression do? Try 3, 5, 9 and 17 pixels: how many peaks are there, and what part of the
# photo's cells of 32 x 32 pixels do the best 512 reach?

# %% tags=["solution"]
for window in (3, 5, 9, 17):
    many = peaks(heat * sure, window, 0.01, most=heat.size)
    reached = len({(x // 32, y // 32) for x, y in many[:512].tolist()}) / (heat.size / 32**2)
    print(f"window {window:2d}: {len(many):5d} peaks, the best 512 reach {reached:.0%} of the photo")
# A small window leaves crowds around strong corners. A wide one spreads the points, until there are too few of them to choose from.

# %% [markdown]
# **3.** Repeatability depends on the tolerance. Measure it at 1, 2, 3 and 6 pixels for XFeat and for random points. At
# which is the difference largest?

# %% tags=["solution"]
view = world.view(facades[0], 0, 1.0, occlude=False)
for pixels in (1, 2, 3, 6):
    real, chance = (
        found_again(straight[name][0], detectors[name](view.pixels), view.homography, (480, 360), pixels)
        for name in ("XFeat", "512 random points")
    )
    print(f"{pixels} pixels: XFeat {real:.2f}, random {chance:.2f}, difference {real - chance:.2f}")
# At two or three. With a larger tolerance chance catches up, with a smaller one good keypoints that are a little off are lost.

# %% [markdown]
# ## Further reading
#
# - C. Harris, M. Stephens, *A Combined Corner and Edge Detector*, Alvey Vision Conference 1988.
# - J. Shi, C. Tomasi, *Good Features to Track*, CVPR 1994.
# - D. G. Lowe, *Distinctive Image Features from Scale-Invariant Keypoints*, International Journal of Computer Vision, 2004.
# - R. Arandjelović, A. Zisserman, *Three Things Everyone Should Know to Improve Object Retrieval*, CVPR 2012: RootSIFT.
# - D. DeTone, T. Malisiewicz, A. Rabinovich, *SuperPoint: Self-Supervised Interest Point Detection and Description*, CVPR
#   Workshops 2018.
# - G. Potje, F. Cadar, A. Araujo, R. Martins, E. R. Nascimento, *XFeat: Accelerated Features for Lightweight Image Matching*,
#   CVPR 2024.
