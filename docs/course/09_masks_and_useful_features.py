# %% [markdown]
# # 9. Masks and useful features
#
# **Aim.** See why keypoints on skies, people and trees mislead; what the notebook's mask does about it; and how a gallery can learn
# which keypoints are useful from its own photos, without any segmenter.
#
# **You need** lessons 6 (keypoints), 7 (matches) and 8 (inliers).
#
# ## The idea in plain words
#
# Two photos taken on the same square on the same day may share the sky, a parked bus and a tree. None of them is the landmark.
# A bus parked before another building a week later matches itself perfectly, point by point, and agrees on one change of
# viewpoint: geometry cannot object. So one may want to look away from what moves or grows.
#
# There are two ways to know what to look away from. Ask a network what each pixel shows (*segmentation*), and drop classes like sky
# and person. Or ask other photos of the same landmark: what they find again is the landmark, whatever it is called.
#
# ## A poster that travels
#
# We draw two different buildings and put the same poster in front of both.

# %%
import numpy as np
from display import BLUE, GRAY, ORANGE, drawn, image, photo, picture, plt, scratch

import veduta
from veduta.images import from_array

world, folder = drawn(), scratch()
poster = world.facade(900, 150, 200)


def with_poster(facade, x, y):
    """Return a facade with the poster in front of it."""
    pixels = facade.copy()
    height, width = poster.shape[:2]
    pixels[y : y + height, x : x + width] = poster
    return pixels


first = with_poster(world.facade(1), 60, 150)
second = with_poster(world.facade(2), 180, 130)
for name, pixels in {
    "first": first,
    "second": second,
    "first bare": world.facade(1),
    "second bare": world.facade(2),
}.items():
    world.save(pixels, folder / f"{name}.png")
bare = veduta.verify(folder / "first bare.png", folder / "second bare.png")
found = veduta.verify(folder / "first.png", folder / "second.png", draw=folder / "pair.png")
print(f"two different buildings: {bare.num_inliers} inliers; with the same poster before both: {found.num_inliers}")

# %% tags=["drawing"]
import cv2

figure, axes = plt.subplots(figsize=(8, 3.6))
image(axes, cv2.cvtColor(cv2.imread(str(folder / "pair.png")), cv2.COLOR_BGR2RGB))
axes.set_title("Different buildings, one poster: every inlier lies on it")
picture(figure, "Two drawn facades with the same poster; all lines between them join points of the poster")

# %% [markdown]
# ## The notebook's mask
#
# DNA runs a segmenter (HRNetV2, trained on the 150 classes of ADE20K) over every photo and drops the keypoints that lie on *sky, person,
# tree* or *flower*. Let $k$ be a keypoint at $(x_k, y_k)$ and $S(x, y)$ the class of a pixel; what is kept is
#
# $$\{\, k : S(x_k, y_k) \notin \{\text{sky}, \text{person}, \text{tree}, \text{flower}\} \,\}$$
#
# Here it is by another segmenter, SegFormer, with the same classes. Its weights do not ship with the package (their license
# does not allow all uses), so this lesson shows the call and says what is missing where they are:

# %%
from veduta.errors import VedutaError
from veduta.masks import NOTEBOOK_MOVING, make_mask

print("classes dropped:", ", ".join(NOTEBOOK_MOVING))
try:
    segmenter = make_mask("segformer")
    print("segmenter ready:", segmenter.name)
except VedutaError:
    print("not here; 'veduta models pull segformer' fetches it")

# %% [markdown]
# A mask of classes has two weaknesses. It costs a network that is larger than all the rest together. And its classes are not
# the question: a tree may be a landmark's most durable feature, a poster is not among the 150 classes, and a scaffold counts as
# building.
#
# ## A learned mask without a segmenter
#
# Veduta ships a small regression instead. For each keypoint it looks at the colors, edges and texture around it and at where it
# lies in the photo, and says how *repeatable* it is: how likely to be found again by another photo of the same thing. It has learned that
# from references of real landmarks: keypoints that other photos confirmed, and keypoints that none did.

# %%
from veduta.features import make_extractor
from veduta.masks import DEFAULT_MASK

extractor, mask = make_extractor("xfeat"), make_mask(DEFAULT_MASK)
shots = ["china", "montmartre_far", "notre_dame"]
kept = {}
for name in shots:
    shot = photo(name)
    features = extractor.extract(shot)
    kept[name] = shot, features, mask.repeatability(shot, features)
    high = features.keypoints[kept[name][2] > np.median(kept[name][2]), 1].mean() / shot.height
    low = features.keypoints[kept[name][2] <= np.median(kept[name][2]), 1].mean() / shot.height
    print(f"{name:15s} mean height of the likelier half {1 - high:.2f}, of the other {1 - low:.2f} (1 is the top)")

# %% tags=["drawing"]
figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), width_ratios=[1.5, 1.42, 0.74])
for axes, (name, (shot, features, repeatability)) in zip(panels, kept.items(), strict=True):
    scale = shot.pixels.shape[1] / shot.width
    image(axes, shot.pixels, name)
    order = np.argsort(repeatability)
    dots = axes.scatter(
        *(features.keypoints[order] * scale).T, c=repeatability[order], s=7, cmap="plasma", vmin=0, vmax=1
    )
figure.colorbar(dots, ax=panels, label="repeatability", shrink=0.8)
picture(figure, "Keypoints on three photos, colored by how likely they are to be found again", photos=shots)

# %% [markdown]
# The clouds over Sacré-Cœur have many keypoints, and nearly all of them are dark; so are trees, lawn and people. Stone is bright.
#
# Is it obeyed? On real photos, keeping the likeliest three in five keypoints of a *query* keeps the median number of true inliers:
# ten of ten, where the detector's own best three in five keep nine and any three in five keep eight. But accuracy and GAP
# do not move by more than a photo, so Veduta shows the mask (`veduta explain`) and does not obey it
# ([decisions](../decisions.md), 43). An honest finding is also one that says *not needed*.
#
# ## Useful features
#
# A reference has better witnesses than any mask: the other photos of its landmark. Match it with them; every keypoint that
# is an inlier with one of them is *confirmed* once more. Keypoints on the passer-by are confirmed by nobody. Turcot and Lowe
# proposed it in 2009; Veduta does so while photos are added (the *match graph* of a gallery, `veduta.gallery.match_graph`), and then keeps the most confirmed 320 of 512.
#
# Let us do it by hand for one landmark with six photos, each with different clutter in front of it.

# %%
from veduta.geometry import HomographyVerifier
from veduta.matching import make_matcher
from veduta.gallery.match_graph import count_confirmed, expected_inliers, keep_confirmed


def cluttered(seed, strength=0.5):
    """Return a view of facade 3 with three posters of that day in front of it, and where these are."""
    rng = np.random.default_rng(seed)
    pixels, covered = world.view(world.facade(3), seed, strength, occlude=False).pixels.copy(), []
    for i in range(3):
        clutter = cv2.resize(world.facade(2_000 + 10 * seed + i), (90, 110), interpolation=cv2.INTER_AREA)
        x, y = int(rng.integers(0, pixels.shape[1] - 90)), int(rng.integers(60, pixels.shape[0] - 110))
        pixels[y : y + 110, x : x + 90] = clutter
        covered.append((x, y, x + 90, y + 110))
    return from_array(pixels), covered


photos = [cluttered(seed) for seed in range(6)]
features = [extractor.extract(shot) for shot, _ in photos]
matcher, verifier = make_matcher("nearest"), HomographyVerifier()


def inliers(a, b):
    """Return which keypoints of a and of b agree on one change of viewpoint, (M, 2)."""
    matches = matcher.match(a, b)
    return matches.indices[verifier.verify(a, b, matches).inliers]


counts = np.zeros(len(features[0]), np.uint8)
agreements = []
for other in features[1:]:
    agreed = inliers(features[0], other)
    agreements.append(len(agreed))
    counts = count_confirmed(counts, agreed[:, 0])
print("inliers with the five others:", agreements)
print("a photo of the same should reach about", round(expected_inliers(agreements)), "inliers")
for n in range(5):
    print(f"confirmed by {n}: {int((counts == n).sum())} keypoints")

# %% tags=["drawing"]
shot, covered = photos[0]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9))
image(left, shot.pixels, "One reference, three posters in front")
image(right, shot.pixels, "Keypoints by how many other photos confirm them")
never = counts == 0
right.plot(*features[0].keypoints[never].T, ".", color=GRAY, markersize=3)
dots = right.scatter(
    *features[0].keypoints[~never].T, c=counts[~never], cmap="autumn_r", s=14, edgecolors="black", linewidths=0.3
)
for x0, y0, x1, y1 in covered:
    right.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="white", linewidth=1)
figure.colorbar(dots, ax=right, label="photos that confirm it", ticks=range(1, 6))
picture(figure, "A drawn facade with posters; confirmed keypoints lie on the facade, gray ones on the posters")

# %%
on_clutter = np.zeros(len(counts), bool)
for x0, y0, x1, y1 in covered:
    x, y = features[0].keypoints.T
    on_clutter |= (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
print(f"on the posters: {on_clutter.mean():.0%} of all keypoints, {on_clutter[counts > 0].mean():.0%} of the confirmed")

# %% [markdown]
# ## What it is worth
#
# Keep some keypoints of the reference by three rules, and count the inliers with views that had no part in choosing.

# %%
tests = [extractor.extract(cluttered(seed, 0.8)[0]) for seed in range(50, 62)]
scores = features[0].scores
rules = {
    "most confirmed": counts + 1e-3 * scores / scores.max(),
    "detector's best": scores,
    "any": np.random.default_rng(0).random(len(scores)),
}
sizes = [64, 128, 192, 256, 320, 384, len(counts)]


def reduced(order, most):
    """Return the reference with `most` of its keypoints, the first by a rule."""
    keep = np.sort(np.argsort(-order, kind="stable")[:most])
    whole = features[0]
    return veduta.types.LocalFeatures(whole.keypoints[keep], whole.descriptors[keep], whole.scores[keep], whole.size)


curves = {}
for rule, order in rules.items():
    curves[rule] = [np.mean([len(inliers(query, reduced(order, n))) for query in tests]) for n in sizes]
    print(f"{rule:16s}", dict(zip(sizes, np.round(curves[rule], 1).tolist(), strict=True)))

# %% tags=["drawing"]
figure, axes = plt.subplots(figsize=(6, 3.2))
for (rule, values), color in zip(curves.items(), (BLUE, ORANGE, GRAY), strict=True):
    axes.plot(sizes, values, "o-", color=color, label=rule, markersize=4)
axes.set(xlabel="keypoints kept of the reference", ylabel="inliers with new views", ylim=(0, None))
axes.legend(frameon=False)
axes.set_title("Confirmed keypoints are the ones that are found again")
picture(figure, "Inliers against keypoints kept, for three rules; the most confirmed ones lead")

# %% [markdown]
# The package's own function does the same, with one caution: it drops nothing before at least two others have confirmed
# something, for the only other photo may show just a corner.

# %%
from veduta.features_codec import pack_features

small, small_counts = keep_confirmed(features[0], counts, confirming=len(agreements))
print(f"{len(features[0])} keypoints, {len(pack_features(features[0])):,} bytes")
print(f"{len(small)} kept, {len(pack_features(small)):,} bytes")
alone, _ = keep_confirmed(features[0], counts, confirming=1)
print(f"with one other photo: {len(alone)} kept")

# %% [markdown]
# On real photos 320 confirmed keypoints are as good as 512, in two thirds of the bytes and of the time. At five million
# references that is 65 gigabytes (see [scale](../scale.md)).
#
# ## What the notebook does, and what we do instead
#
# | | notebook | Veduta |
# |---|---|---|
# | asks | a segmenter, what each pixel shows | other photos, what they find again |
# | drops | keypoints on four classes, of queries and references | the least confirmed keypoints of references |
# | costs | one more network for every photo | a millisecond for each reference pair, when photos are added |
# | a poster | is kept | is confirmed by nobody |
# | a lone reference | is masked | keeps all its keypoints |
#
# ## Exercises
#
# **1.** Take the poster's keypoints out of both photos of the first example by hand. How many inliers are left?

# %% tags=["solution"]
from veduta.masks import select_keypoints

without = []
for name, (x, y) in {"first": (60, 150), "second": (180, 130)}.items():
    whole = extractor.extract(veduta.load(folder / f"{name}.png"))
    edge = 16  # a descriptor near the poster's edge sees it, too
    inside = np.all(
        (whole.keypoints >= (x - edge, y - edge)) & (whole.keypoints < (x + 150 + edge, y + 200 + edge)), axis=1
    )
    without.append(select_keypoints(whole, ~inside))
print(len(inliers(*without)), "inliers")  # every one of them was the poster's

# %% [markdown]
# **2.** How many other photos does it take? Count confirmations with one, two, three, four and five of them, and keep 192.

# %% tags=["solution"]
for n in range(1, 6):
    confirmed = np.zeros(len(features[0]), np.uint8)
    for other in features[1 : n + 1]:
        confirmed = count_confirmed(confirmed, inliers(features[0], other)[:, 0])
    order = confirmed + 1e-3 * scores / scores.max()
    print(n, "others:", round(np.mean([len(inliers(query, reduced(order, 192))) for query in tests]), 1), "inliers")
# One other photo already does most of it; each further one adds a little, for it has seen other parts without clutter.

# %% [markdown]
# **3.** When would useful features do harm? Think of a palace whose references all show the front.
#
# ??? note "Solution"
#
#     A photo of the back confirms none of the front's keypoints and is confirmed by none of them. If it is a reference itself, it
#     keeps all of its own: too few others confirm anything. But a corner that shows a little of both sides loses the
#     keypoints of the back, because only the front has witnesses. So the number kept is large (320), and photos from all
#     sides are worth more than many from one.
#
# ## Further reading
#
# - P. Turcot, D. G. Lowe, *Better matching with fewer features: The selection of useful features in large database recognition
#   problems*, ICCV Workshops 2009.
# - E. Xie, W. Wang, Z. Yu, A. Anandkumar, J. M. Alvarez, P. Luo, *SegFormer: Simple and Efficient Design for Semantic Segmentation
#   with Transformers*, NeurIPS 2021.
# - [Local features](../local-features.md): what each mask leaves, measured on photos.
