# %% [markdown]
# # 2. Global descriptors
#
# **Aim.** Turn a photo into one vector, so that photos of the same landmark have similar vectors. Follow the way from a convolution to
# generalized-mean pooling (GeM), and see on a photo what its exponent does.
#
# **You need** lesson 1, and to know what a dot product is.
#
# ## The idea in plain words
#
# A convolutional network slides many small templates over a photo. Early ones respond to edges and colors, late ones to things like
# *arch*, *window in a row*, *foliage*. What comes out at the end is a stack of maps: for every template a small picture of
# where it responded, and how strongly. A descriptor throws away the *where* and keeps the *how strongly*: one number a map. Two photos
# of one church give like responses, wherever the church stands in the picture.
#
# ## A convolution by hand
#
# A convolution puts, at every place, the sum of the products of a small template $w$ with what lies under it:
#
# $$y(i, j) = \sum_{a,b} w(a, b)\, x(i + a, j + b)$$
#
# where $x$ is the photo and $y$ the map of responses. Take a template that is dark above and bright below, and one that is dark on the
# left and bright on the right.

# %%
import cv2
import numpy as np
from display import drawn, image, photo, picture, plt

world = drawn()
gray = cv2.cvtColor(world.facade(3), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
below = np.repeat([[-1.0], [0.0], [1.0]], 3, axis=1)
templates = {"dark above, bright below": below, "dark left, bright right": below.T}


def convolved(picture_, template):
    """Return the responses (H - 2, W - 2) of a 3 x 3 template, summed place by place."""
    height, width = picture_.shape
    responses = np.zeros((height - 2, width - 2), np.float32)
    for a in range(3):
        for b in range(3):
            responses += template[a, b] * picture_[a : a + height - 2, b : b + width - 2]
    return responses


maps = {name: np.maximum(convolved(gray, template), 0) for name, template in templates.items()}
library = cv2.filter2D(gray, -1, below)[1:-1, 1:-1]
print("as OpenCV does it:", bool(np.allclose(convolved(gray, below), library, atol=1e-5)))

# %% tags=["drawing"]
figure, panels = plt.subplots(1, 3, figsize=(10, 2.8))
image(panels[0], gray, "a drawn facade")
for axes, (name, responses) in zip(panels[1:], maps.items(), strict=True):
    image(axes, np.minimum(responses, 1.5), name)
picture(figure, "A facade and the responses of two templates: one marks horizontal edges, the other vertical ones")

# %% [markdown]
# Negative responses are set to zero (that is what a *rectifier* does). A network stacks dozens of such steps, with templates that are
# learned and that each look at all maps of the step before: the sum runs over the maps, too. After every few steps the maps are made
# smaller.
#
# ## The maps of a real network
#
# The package ships EfficientNet-Lite2 as a file that ONNX Runtime executes. Its last maps are an inner value of that file; we ask for them
# by name, beside the descriptor.

# %%
import onnx
import onnxruntime

from veduta.embedders import make_embedder
from veduta.embedders.gem import resized
from veduta.models.session import read_file
from veduta.models.cards import card

known = card("efficientnet-lite2-gem")
graph = onnx.load_from_string(read_file(known))
before_pooling = next(node.input[0] for node in graph.graph.node if node.op_type == "Pow")
graph.graph.output.append(onnx.ValueInfoProto(name=before_pooling))
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def activations(shot):
    """Return the descriptor (D,) of a photo and the last maps (D, h, w), as the network makes them."""
    pixels = resized(shot.pixels, known.side, known.step)
    descriptor, maps = session.run(None, {"image": pixels[None]})
    return descriptor[0], maps[0]


shots = {
    name: photo(name) for name in ("montmartre_far", "montmartre_close", "notre_dame", "chartres", "china", "flower")
}
made = {name: activations(shot) for name, shot in shots.items()}
descriptor, maps = made["montmartre_far"]
print(
    f"{maps.shape[0]} maps of {maps.shape[1]} x {maps.shape[2]}; {np.mean(maps < 1e-3):.0%} of all responses are next to nothing"
)

strongest = np.argsort(-maps.mean((1, 2)))[[0, 3, 8, 13]]

# %% tags=["drawing"]
figure, panels = plt.subplots(1, 5, figsize=(11, 2.2))
image(panels[0], shots["montmartre_far"].pixels, "the photo")
for axes, number in zip(panels[1:], strongest, strict=True):
    image(axes, maps[number], f"map {number}")
    axes.images[0].set(cmap="magma", clim=(0, 6))
figure.colorbar(axes.images[0], ax=panels, label="response", shrink=0.8)
picture(
    figure,
    "A photo and four of its last maps: three respond to the church, one to what stands beside it",
    ["montmartre_far"],
)

# %% [markdown]
# Four of the maps that respond most to this photo, with places as large as the network sees them. Three respond to parts of the church, the
# last to what stands beside it. No response exceeds 6: this network's rectifier cuts off above, too.
#
# ## Pooling
#
# From each map $x_c$ of $h \times w$ responses one number $g_c$ is to be made. The obvious ways are the mean and the maximum. The
# *generalized mean* (GeM; Radenović and others, 2018) has both as its ends:
#
# $$g_c = \left( \frac{1}{h w} \sum_{i} x_{c,i}^{\,p} \right)^{1/p}$$
#
# $x_{c,i}$ is the response of map $c$ at place $i$ and $p$ the exponent. With $p = 1$ it is the mean: every place counts. As $p$ grows,
# strong responses count more and more, and in the end only the strongest does. The descriptor is $g$, scaled to length 1.


# %%
def generalized_mean(maps, p):
    """Return the GeM pooling (D,) of maps (D, h, w), scaled to norm 1."""
    largest = maps.max()  # taken out first, so that high powers do not overflow
    pooled = largest * ((maps / largest) ** p).mean((1, 2)) ** (1 / p)
    return pooled / np.linalg.norm(pooled)


embedder = make_embedder("efficientnet-lite2-gem")
package = embedder.embed([shots["montmartre_far"]])[0]
exponents = np.round(np.linspace(1, 5, 41), 1)
differences = [np.abs(generalized_mean(maps, p) - package).max() for p in exponents]
print(
    f"the package's descriptor is ours with p = {exponents[int(np.argmin(differences))]} (difference {min(differences):.0e})"
)
one_map = maps[strongest[0]] / 6
for p in (1, 2, 3, 10, 100):
    print(f"map {strongest[0]}, p = {p:3d}: {6 * np.mean(one_map**p) ** (1 / p):.2f}")
print(f"maximum: {6 * one_map.max():.2f}")

# %% [markdown]
# ## What the exponent looks at
#
# With descriptors of norm 1 the *cosine similarity* of two photos is $g \cdot g'$. It can be shared out among the places $i$ of the
# first photo. Place $i$ holds the share $x_{c,i}^p / \sum_j x_{c,j}^p$ of map $c$, so
#
# $$g \cdot g' = \sum_i \underbrace{\sum_c \frac{x_{c,i}^p}{\sum_j x_{c,j}^p}\; g_c\, g'_c}_{\text{what place } i \text{ adds}}$$
#
# Draw what every place of one photo adds to its similarity with another.


# %%
def added(maps, other, p):
    """Return (h, w) what each place of a photo adds to its similarity with another; they sum up to it."""
    powers = (maps / maps.max()) ** p
    shares = powers / np.maximum(powers.sum((1, 2), keepdims=True), 1e-30)
    together = generalized_mean(maps, p) * generalized_mean(other, p)
    return (shares * together[:, None, None]).sum(0)


far, close = made["montmartre_far"][1], made["montmartre_close"][1]
beside = np.ones(far.shape[1:], bool)
beside[1:9, 4:10] = False  # the church
for p in (1, 2, 3, 10):
    heat = added(far, close, p)
    exact = float(generalized_mean(far, p) @ generalized_mean(close, p))
    half = int(np.searchsorted(np.cumsum(np.sort(heat.ravel())[::-1]), exact / 2)) + 1
    print(
        f"p = {p:2d}: similarity {exact:.3f}, parts sum up to {heat.sum():.3f}; "
        f"half of it comes from {half:2d} of {heat.size} places, {heat[beside].sum() / exact:.0%} from beside the church"
    )

# %% tags=["drawing"]
figure, panels = plt.subplots(1, 4, figsize=(11, 2.7))
shot = shots["montmartre_far"]
image(panels[0], shots["montmartre_close"].pixels, "compared with this")
highest = max(added(far, close, p).max() for p in (1, 3, 10))
for axes, p in zip(panels[1:], (1, 3, 10), strict=True):
    heat = added(far, close, p)
    small = cv2.resize(shot.pixels, (heat.shape[1] * 32, heat.shape[0] * 32))
    large = cv2.resize(heat, small.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    image(axes, cv2.cvtColor(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), f"p = {p}")
    axes.imshow(np.maximum(large, 0), cmap="inferno", alpha=0.65, vmin=0, vmax=highest)
picture(
    figure,
    "Heat maps over a photo: all lie on the church, and draw together on fewer places as p grows",
    ["montmartre_far", "montmartre_close"],
)

# %% [markdown]
# All three are on one scale. Already with the mean the church adds most: its maps are the ones that both photos share. A larger
# exponent draws the similarity together on fewer places. Too large, and a descriptor hangs on a handful of places, which a passer-by
# may hide. Common values lie between 2 and 4; the notebook has 3, Veduta 2.
#
# ## Similarities
#
# Six photos: one church twice, two churches that look alike, and two other things. Compare all with all, for the network with ImageNet weights (it has learned to tell dogs from teapots) and for the one that
# ships, trained as lesson 3 explains.

# %%
names = list(shots)
trained = make_embedder("efficientnet-lite2-landmarks")
tables = {}
for title, which in {"ImageNet": embedder, "trained on landmarks": trained}.items():
    rows = which.embed([shots[n] for n in names])
    tables[title] = rows @ rows.T
    church, twins, flower = tables[title][0, 1], tables[title][2, 3], tables[title][5, :5].max()
    print(f"{title:21s} one church twice {church:.2f}   look-alikes {twins:.2f}   flower and anything {flower:.2f}")

# %% tags=["drawing"]
figure, panels = plt.subplots(
    1, 6, figsize=(11, 2), width_ratios=[s.pixels.shape[1] / s.pixels.shape[0] for s in shots.values()]
)
for axes, (name, each) in zip(panels, shots.items(), strict=True):
    image(axes, each.pixels, name.replace("montmartre", "m."))
picture(figure, "The six photos: a church from far and close, Notre-Dame, Chartres, a pagoda, a flower", names)

figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
for axes, (title, table) in zip(panels, tables.items(), strict=True):
    shown = axes.imshow(table, cmap="cividis", vmin=0, vmax=1)
    axes.set(xticks=range(6), yticks=range(6), yticklabels=names, title=title)
    axes.set_xticklabels(names, rotation=40, ha="right")
    axes.grid(visible=False)
    for i in range(6):
        for j in range(6):
            axes.text(
                j,
                i,
                f"{table[i, j]:.2f}",
                ha="center",
                va="center",
                color="black" if table[i, j] > 0.55 else "white",
                fontsize=8,
            )
figure.colorbar(shown, ax=panels, label="cosine similarity")
picture(figure, "Cosine similarities of six photos by two networks")

# %% [markdown]
# The absolute numbers of two networks cannot be compared. A descriptor with ImageNet weights has no negative numbers, so no cosine can
# be below 0, and even a flower has 0.3 with a church. The network that ships ends in a *whitening*: what all photos have in common is
# taken away, and all directions are made equally strong. What counts is the *order*, and the gap between right and wrong.
# Untrained, the church twice and the look-alikes are equally similar (0.79 and 0.78). Trained, there is a gap (0.38 and 0.29), but the
# look-alikes are still the most similar pair of different things. A global descriptor sees *a gothic front with two towers*; that
# these are two different churches only shows in the details, and that is what lessons 6 to 8 are for. (Two pairs prove nothing;
# [training](../training.md) has hundreds.)
#
# ## What the notebook does, and what we do instead
#
# The notebook has four large networks, GeM with $p = 3$, a linear layer to 512 numbers and a batch norm each, on photos of up to 1,024
# pixels: 215 ms a photo on a GPU. Veduta has one small network, on as many pixels as a square of 384 has: 25 to 50 ms on two CPU cores
# ([benchmarks](../benchmarks.md#recognition)). The photo keeps its shape in both; a tower should not be squashed into a square.
#
# ## Exercises
#
# **1.** Which exponent between 1 and 10 tells the two photos of Sacré-Cœur best from the other four photos? Take the gap between
# the similarity of the pair and the largest similarity of either with anything else.

# %% tags=["solution"]
for p in (1, 2, 3, 5, 10):
    rows = np.stack([generalized_mean(made[n][1], p) for n in names])
    table = rows @ rows.T
    print(f"p = {p:2d}: pair {table[0, 1]:.3f}, gap {table[0, 1] - table[:2, 2:].max():+.3f}")
# Two has the largest gap, but by so little that one pair cannot tell it from one or three.

# %% [markdown]
# **2.** Does the trained descriptor mind if a photo is mirrored, turned upside down, dark, or cut down to its middle? Compare each
# with the original.

# %% tags=["solution"]
from veduta.images import from_array

pixels = shots["china"].pixels
changed = {
    "mirrored": pixels[:, ::-1],
    "upside down": pixels[::-1],
    "half as bright": pixels // 2,
    "the middle half": pixels[
        pixels.shape[0] // 4 : -pixels.shape[0] // 4, pixels.shape[1] // 4 : -pixels.shape[1] // 4
    ],
}
original = trained.embed([shots["china"]])[0]
for name, other in changed.items():
    print(f"{name:16s} {float(trained.embed([from_array(np.ascontiguousarray(other))])[0] @ original):.2f}")
# Mirrors and darkness do next to nothing; networks are trained with both. Upside down is the hardest, and still far above the
# similarity with any other thing in the table above.

# %% [markdown]
# **3.** Cover the church in `montmartre_far` with gray where the heat of $p = 3$ is highest, a tenth of the places. What is left of the
# similarity? And if a tenth of the places is covered at random?

# %% tags=["solution"]
heat = added(far, close, 3)
step_y, step_x = shot.pixels.shape[0] / heat.shape[0], shot.pixels.shape[1] / heat.shape[1]


def covered(places):
    """Return the similarity with the other photo when these places are gray."""
    pixels = shot.pixels.copy()
    for place in places:
        y, x = divmod(int(place), heat.shape[1])
        pixels[int(y * step_y) : int((y + 1) * step_y), int(x * step_x) : int((x + 1) * step_x)] = 128
    return float(generalized_mean(activations(from_array(pixels))[1], 3) @ generalized_mean(close, 3))


tenth = heat.size // 10
draws = [np.random.default_rng(i).choice(heat.size, tenth, replace=False) for i in range(5)]
print(f"nothing covered {covered([]):.3f}, the hottest tenth {covered(np.argsort(-heat.ravel())[:tenth]):.3f}")
print("any tenth, five times:", " ".join(f"{covered(places):.3f}" for places in draws))
# The hottest tenth costs far more than any other, and yet most of the similarity is left: many places share it.

# %% [markdown]
# ## Further reading
#
# - F. Radenović, G. Tolias, O. Chum, *Fine-Tuning CNN Image Retrieval with No Human Annotation*, IEEE Transactions on Pattern Analysis and
#   Machine Intelligence, 2018: GeM.
# - M. Tan, Q. V. Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, ICML 2019.
# - [How it works](../how-it-works.md): the stage as it stands in the package.
