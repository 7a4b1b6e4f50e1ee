# %% [markdown]
# # 8. Geometry
#
# **Aim.** Tell matches that agree on one change of viewpoint from matches that happen to look alike. Build a homography from four
# points, find it among wrong matches with RANSAC, learn what MAGSAC improves, how many inliers chance alone gives, and which
# solutions no camera could have made.
#
# **You need** lesson 7 (matches) and matrices.
#
# ## The idea in plain words
#
# A match says: this corner here looks like that corner there. Many such claims are wrong. But right ones have something in common.
# If both photos show one flat wall, there is a single rule that carries every point of the wall from one photo to the
# other. Wrong matches obey no common rule. So look for the rule that most matches obey; those that do are *inliers*, and their
# number is the best evidence there is that two photos show the same place.
#
# ## Homographies
#
# A camera that looks at a plane from two places sees two pictures that differ by a *homography*, a 3 x 3 matrix $H$. It carries the
# point $(x, y)$ of the query to $(x', y')$ of the reference:
#
# $$\begin{pmatrix} u \\ v \\ w \end{pmatrix} = H \begin{pmatrix} x \\ y \\ 1 \end{pmatrix}, \qquad x' = \frac{u}{w}, \quad y' = \frac{v}{w}$$
#
# $u, v, w$ are helpers; the division by $w$ makes far things small. $H$ counts up to a factor, so it has eight unknowns, and each
# pair of points gives two equations: **four pairs are enough**. With $h$ the nine numbers of $H$ in a row, every pair adds two rows
# to a system $A h = 0$:
#
# $$(-x, -y, -1, 0, 0, 0, x'x, x'y, x')\, h = 0 \qquad (0, 0, 0, -x, -y, -1, y'x, y'y, y')\, h = 0$$
#
# The solution is the direction that $A$ shrinks most: its last singular vector. That is the *direct linear transform*.

# %%
import cv2
import numpy as np
from display import BLUE, GREEN, GRAY, ORANGE, RED, drawn, image, picture, plt, scratch

import veduta

world = drawn()


def direct_linear_transform(a, b):
    """Return the homography (3, 3) that carries points a (N, 2) to b (N, 2), N >= 4."""
    rows = []
    for (x, y), (X, Y) in zip(a, b, strict=True):
        rows.append([-x, -y, -1, 0, 0, 0, X * x, X * y, X])
        rows.append([0, 0, 0, -x, -y, -1, Y * x, Y * y, Y])
    H = np.linalg.svd(np.array(rows, float))[2][-1].reshape(3, 3)
    return H / H[2, 2]


def carried(H, points):
    """Return points (N, 2) carried by a homography."""
    moved = np.c_[points, np.ones(len(points))] @ H.T
    return moved[:, :2] / moved[:, 2:]


facade = world.facade(5)
seen = world.view(facade, 5)  # knows its homography, from the facade to the view
corners = np.array([(60, 60), (400, 80), (380, 300), (80, 310)], float)
found = direct_linear_transform(corners, carried(seen.homography, corners))
print("known:\n", (seen.homography / seen.homography[2, 2]).round(4))
print("from four pairs:\n", found.round(4))
theirs = cv2.getPerspectiveTransform(*(np.asarray(p, np.float32) for p in (corners, carried(seen.homography, corners))))
print(f"largest difference from OpenCV's: {np.abs(theirs - found).max():.0e}")

# %% [markdown]
# Exact pairs give the exact matrix. Now the real thing: keypoints found and matched in both photos.

# %%
from veduta.features import make_extractor
from veduta.geometry import HomographyVerifier
from veduta.images import from_array
from veduta.matching import make_matcher

extractor, matcher = make_extractor("xfeat"), make_matcher("nearest")
query, reference = extractor.extract(from_array(seen.pixels)), extractor.extract(from_array(facade))
matches = matcher.match(query, reference)
a, b = query.keypoints[matches.indices[:, 0]], reference.keypoints[matches.indices[:, 1]]
truth = np.linalg.inv(seen.homography)  # from the view to the facade
error = np.linalg.norm(carried(truth, a) - b, axis=1)
print(f"{len(matches)} matches, {np.mean(error < 4):.0%} of them right to 4 pixels")
edge = np.array([(0, 0), (480, 0), (480, 360), (0, 360)], float)
for title, good in {"all matches": np.ones(len(a), bool), "the right ones alone": error < 4}.items():
    off = np.linalg.norm(carried(direct_linear_transform(a[good], b[good]), edge) - carried(truth, edge), axis=1)
    print(f"least squares over {title}: the photo's corners are off by {off.mean():.1f} pixels")

# %% [markdown]
# Least squares counts the square of every error, so a wrong match that is a hundred pixels off outweighs many right ones. Averaging over wrong data does not
# help; they have to be left out.
#
# ## RANSAC
#
# *Random sample consensus*: guess instead of averaging. Take four matches at random, compute their homography, count how many of all
# matches agree with it to within a threshold. Repeat, keep the best. A guess is good if all four happen to be right. If a share $p$ of
# the matches is right, that happens with probability $p^4$ a try, and to have it at least once with probability $c$ one needs
#
# $$n = \frac{\log(1 - c)}{\log(1 - p^4)}$$
#
# tries.

# %%
for p in (0.9, 0.5, 0.3, 0.1):
    print(f"{p:.0%} right: {np.log(0.001) / np.log(1 - p**4):8.0f} tries to be 99.9 % sure")


def ransac(a, b, threshold=4.0, tries=300, seed=0):
    """Return the best homography found, its inliers (N,) bool, and the number of inliers of each try."""
    rng, best, counts = np.random.default_rng(seed), (None, np.zeros(len(a), bool)), []
    for _ in range(tries):
        four = rng.choice(len(a), 4, replace=False)
        H = direct_linear_transform(a[four], b[four])
        with np.errstate(all="ignore"):
            inliers = np.linalg.norm(carried(H, a) - b, axis=1) < threshold
        counts.append(int(inliers.sum()))
        if counts[-1] > best[1].sum():
            best = H, inliers
    return direct_linear_transform(a[best[1]], b[best[1]]), best[1], counts


H, inliers, counts = ransac(a, b)
print(f"\nRANSAC: {inliers.sum()} inliers, of which {np.mean(error[inliers] < 6):.0%} are right to 6 pixels")

# %% tags=["drawing"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=[1.7, 1])
height, width = facade.shape[:2]
image(left, np.hstack([seen.pixels, facade]), "Green agrees with the best guess, red does not")
for keep, color, thick in ((~inliers, RED, 0.5), (inliers, "#37d67a", 0.8)):
    for (x0, y0), (x1, y1) in zip(a[keep], b[keep], strict=True):
        left.plot([x0, x1 + width], [y0, y1], color=color, linewidth=thick)
right.plot(counts, ".", color=GRAY, markersize=3)
right.plot(np.maximum.accumulate(counts), color=BLUE, label="best so far")
right.set(xlabel="try", ylabel="inliers", title="Most guesses are bad; one good one is enough")
right.legend(frameon=False)
picture(figure, "Left: matches between a view and a facade. Right: inliers of each try, and the best so far")

# %% [markdown]
# What a guess looks like: the outline of the view, carried to the facade by a bad sample and by a good one. A bad sample fits its own
# four matches just as exactly. Only the others tell. (And four right ones close together make a poor guess, too: small errors grow.)

# %% tags=["drawing"]
rng = np.random.default_rng(0)
right_ones, wrong_ones = np.flatnonzero(error < 4), np.flatnonzero(error > 30)
samples = {
    "three right, one wrong": np.r_[rng.choice(right_ones, 3, replace=False), rng.choice(wrong_ones, 1)],
    "four right, far apart": max(
        (rng.choice(right_ones, 4, replace=False) for _ in range(50)),
        key=lambda four: cv2.contourArea(cv2.convexHull(a[four])),
    ),
}
outline = np.array([(40, 40), (440, 40), (440, 320), (40, 320), (40, 40)], float)
figure, panels = plt.subplots(1, 2, figsize=(9, 3.5))
for axes, (title, four), color in zip(panels, samples.items(), (RED, GREEN), strict=True):
    guess = direct_linear_transform(a[four], b[four])
    agree = int((np.linalg.norm(carried(guess, a) - b, axis=1) < 4).sum())
    image(axes, facade, f"{title}: {agree} of {len(a)} agree")
    axes.plot(*carried(truth, outline).T, color="white", linestyle="--", linewidth=1.5, label="truth")
    axes.plot(*carried(guess, outline).T, color=color, linewidth=2, label="guess")
    axes.plot(*b[four].T, "o", color="white", markeredgecolor="black")
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.legend(loc="upper right", fontsize=8, facecolor="#6b6f76", labelcolor="white")
picture(figure, "The outline carried by a bad sample lies askew; by a good one it covers the true outline")

# %% [markdown]
# ## From RANSAC to MAGSAC
#
# RANSAC's weak spot is the threshold: at 3.9 pixels a match counts fully, at 4.1 not at all. *MAGSAC++* (Barath and others, 2020)
# asks how well a hypothesis does on average over all thresholds up to a largest one, and refines it by weighted least squares where
# a match counts less the further off it is. OpenCV has it, and `veduta.geometry.HomographyVerifier` uses it. How far are
# both from the truth, over many views?

# %%
verifier = HomographyVerifier()
corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
rows = {"RANSAC, by hand": [], "MAGSAC++": []}
for seed in range(20):
    view = world.view(world.facade(seed), 60 + seed, 1.0)
    q, r = extractor.extract(from_array(view.pixels)), extractor.extract(from_array(world.facade(seed)))
    m = matcher.match(q, r)
    p0, p1 = q.keypoints[m.indices[:, 0]], r.keypoints[m.indices[:, 1]]
    verified = verifier.verify(q, r, m)
    if verified.homography is None:
        continue
    known = carried(np.linalg.inv(view.homography), corners)
    for name, estimate in {"RANSAC, by hand": ransac(p0, p1)[0], "MAGSAC++": verified.homography}.items():
        rows[name].append(np.linalg.norm(carried(estimate, corners) - known, axis=1).mean())
for name, errors in rows.items():
    print(f"{name:16s} corners off by {np.median(errors):.1f} pixels in the median of {len(errors)} views")

# %% [markdown]
# ## What chance alone gives
#
# Four points fit *any* homography. So two photos that share nothing have a few "inliers", too. How many? Ask geometry about matches
# between unrelated facades, and about pairs of points that are pure chance.

# %%
features = [extractor.extract(from_array(world.facade(100 + i))) for i in range(12)]
unrelated, related = [], []
for i in range(12):
    view = extractor.extract(from_array(world.view(world.facade(100 + i), i).pixels))
    for j in range(12):
        found = verifier.verify(view, features[j], matcher.match(view, features[j]))
        (related if i == j else unrelated).append(found.num_inliers)


def chance(pairs, model, seed):
    """Return how many of so many random pairs of points agree on a homography, or on a fundamental matrix."""
    rng = np.random.default_rng(seed)
    p, q = rng.uniform(0, 640, (2, pairs, 2)).astype(np.float32)
    if model == "homography":
        mask = cv2.findHomography(p, q, cv2.USAC_MAGSAC, 4.0, maxIters=1000, confidence=0.999)[1]
    else:
        mask = cv2.findFundamentalMat(p, q, cv2.USAC_MAGSAC, 4.0, 0.999, 1000)[1]
    return 0 if mask is None else int(mask.sum())


by_chance = {model: [chance(300, model, seed) for seed in range(40)] for model in ("homography", "fundamental matrix")}
print(f"unrelated facades: at most {max(unrelated)} inliers; the same facade: {min(related)} to {max(related)}")
for model, values in by_chance.items():
    print(f"300 random pairs, {model}: up to {max(values)} inliers, {np.mean(values):.1f} on average")

# %% tags=["drawing"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3))
left.hist(
    [unrelated, related], np.arange(0, max(related) + 8, 8), color=[RED, GREEN], label=["another facade", "the same"]
)
left.set(xlabel="inliers", ylabel="pairs", yscale="log", title="Verified matches")
left.legend(frameon=False)
most = max(map(max, by_chance.values()))
right.hist(list(by_chance.values()), np.arange(most + 2) - 0.5, color=[BLUE, ORANGE], label=list(by_chance))
right.set(xlabel="inliers by chance", ylabel="times", title="300 random pairs, nothing behind them")
right.legend(frameon=False)
picture(figure, "Left: inliers with the same and with other facades. Right: chance inliers of two models")

# %% [markdown]
# (The drawn facades have windows from one pen, so two of them share more than two real buildings would.) Two lessons. *A count means something only above chance*, so fewer than eight pairs that agree are no evidence, and Veduta says *no
# agreement*. And *the poorer the model, the more chance fits it*: a fundamental matrix, which holds for any rigid scene, asks only
# that a point lies somewhere on a line, so chance satisfies it far more often. A homography holds for planes only, but
# facades are nearly planes, and what it finds it means. That is why it comes first.
#
# ## What no camera could have made
#
# A homography may fit and still be nonsense. `Verification.problem` names what rules it out:

# %%
from veduta.types import LocalFeatures, Matches


def pairs_of(a, b, size=(640, 480)):
    """Return two photos' features and matches made of pairs of points."""
    n = len(a)
    blank = np.tile(np.eye(1, 64, dtype=np.float32), (n, 1))
    sides = [LocalFeatures(np.asarray(p, np.float32), blank, np.ones(n, np.float32), size) for p in (a, b)]
    return *sides, Matches(np.repeat(np.arange(n)[:, None], 2, 1), np.ones(n, np.float32))


rng = np.random.default_rng(1)
points = rng.uniform((40, 40), (600, 440), (60, 2))
line = np.c_[np.linspace(50, 600, 60), np.linspace(60, 400, 60)]
turn = np.array([[0.9, -0.2, 40], [0.2, 0.9, -20], [1e-4, 5e-5, 1]])
cases = {
    "a plain change of view": (points, carried(turn, points)),
    "five matches": (points[:5], carried(turn, points[:5])),
    "pure chance": (points, rng.uniform(0, 480, (60, 2))),
    "all on one line": (line, np.add(line, (10, 5))),
    "a mirror": (points, (640, 0) + points * (-1, 1)),
    "everything into one spot": (points, 320 + (points - 320) * 0.02 + rng.normal(0, 0.2, points.shape)),
    "all on one repeated window": (points, np.add((200, 150), rng.uniform(-12, 12, points.shape))),
    "everything onto a thin stripe": (points, points * (1, 0.1)),
}
for name, (p, q) in cases.items():
    found = verifier.verify(*pairs_of(p, q))
    print(f"{name:30s} {found.num_inliers:3d} inliers   {found.problem or ''}")

# %% [markdown]
# *Collinear*: points on one line leave the rest of the plane undetermined, as along the edge of a roof. *Collapsed*: everything shrunk
# to next to nothing, or squeezed flat. *Folded*: the plane would pass through the camera; so it goes when keypoints from all over a photo
# match one window that is repeated. (If they match the very same spot, there are too few different pairs to begin with.) Cameras do not mirror,
# either; OpenCV looks at the orientation of every sample of four, so nothing agrees here, and what gets through all the same is called *flipped*.
#
# ## The look-alikes
#
# Notre-Dame in Paris and the cathedral of Chartres are the classic pair that misleads a global descriptor: two towers, a rose
# window, three portals. Sacré-Cœur from near and far is one church.

# %%
from display import PHOTOS as FOLDER

folder = scratch()
pairs = {"the same church": ("montmartre_close", "montmartre_far"), "look-alikes": ("notre_dame", "chartres")}
checked = {}
for title, (one, other) in pairs.items():
    drawing = folder / f"{one}.png"
    checked[title] = veduta.verify(FOLDER / f"{one}.jpg", FOLDER / f"{other}.jpg", draw=drawing), drawing
    found = checked[title][0]
    print(f"{title:16s} {found.num_matches} matches, {found.num_inliers} inliers, {found.problem or 'plausible'}")

# %% tags=["drawing"]
figure, panels = plt.subplots(1, 2, figsize=(11, 3.4))
for axes, (title, (found, drawing)) in zip(panels, checked.items(), strict=True):
    image(axes, cv2.cvtColor(cv2.imread(str(drawing)), cv2.COLOR_BGR2RGB), f"{title}: {found.num_inliers} inliers")
picture(figure, "Pairs with their inliers: many for the same church, none for the look-alikes", sum(pairs.values(), ()))

# %% [markdown]
# ## What the notebook does, and what we do instead
#
# The notebook has no geometry: it sums SuperGlue's matching scores, and SuperGlue, which sees all keypoints at once, has learned
# some geometry on its own. Others of the same year added RANSAC and gained 0.017 GAP by it. Veduta matches cheaply and lets
# geometry judge: a pair costs about a millisecond, so thirty candidates can be asked where the notebook asks five.
#
# ## Exercises
#
# **1.** Give `ransac` a threshold of 1 and of 30 pixels. Which inliers are right?

# %% tags=["solution"]
for threshold in (1, 4, 30):
    _, kept, _ = ransac(a, b, threshold)
    print(f"{threshold:2d} pixels: {kept.sum()} inliers, {np.mean(error[kept] < 6):.0%} right")
# Too strict loses half of the right ones, which are a little off as keypoints are; too lax takes in wrong ones.

# %% [markdown]
# **2.** The real world is not flat. Take points on two walls of a corner, project them into two cameras, and see what share one
# homography holds.

# %% tags=["solution"]
rng = np.random.default_rng(2)
left_wall = np.c_[rng.uniform(-3, 0, 100), rng.uniform(0, 4, 100), np.zeros(100)]
right_wall = np.c_[np.zeros(100), rng.uniform(0, 4, 100), rng.uniform(-3, 0, 100)]
corner = np.r_[left_wall, right_wall]


def seen_from(eye, target=(0, 2, 0)):
    """Return where a camera at `eye` sees the points, in pixels."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    side = np.cross(forward, (0, 1, 0)) / np.linalg.norm(np.cross(forward, (0, 1, 0)))
    rotated = (corner - eye) @ np.c_[side, -np.cross(side, forward), forward]
    return 320 + 500 * rotated[:, :2] / rotated[:, 2:]


found = verifier.verify(*pairs_of(seen_from((-6, 2, -9)), seen_from((-9, 2, -6)), (640, 640)))
print(
    f"{found.num_inliers} of {len(corner)}; {found.inliers[:100].sum()} on the left wall, {found.inliers[100:].sum()} on the right"
)
# One homography holds one plane: a wall, and where the other comes close to it. A facade with a tower in front gives as many inliers as
# its larger plane, which is why counts are compared with those that references have among themselves (lesson 9).

# %% [markdown]
# **3.** How many right matches among 300 wrong ones does it take for `HomographyVerifier` to find them?

# %% tags=["solution"]
for right_ones in (10, 20, 40, 60, 80):
    found_them = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        p = rng.uniform((40, 40), (600, 440), (300 + right_ones, 2))
        q = rng.uniform((40, 40), (600, 440), p.shape)
        q[:right_ones] = carried(turn, p[:right_ones])
        found = verifier.verify(*pairs_of(p, q))
        found_them += found.inliers[:right_ones].mean() > 0.8
    tries = np.log(0.001) / np.log(1 - (right_ones / (300 + right_ones)) ** 4)
    print(f"{right_ones} right among 300 wrong: found in {found_them} of 10; RANSAC would want {tries:,.0f} tries")
# About one match in five has to be right. It needs fewer than the formula's tries, for it refines every promising guess; but tries are
# limited, and below one in ten it finds nothing. That is why matching (lesson 7) leaves out doubtful pairs before.

# %% [markdown]
# ## Further reading
#
# - M. A. Fischler, R. C. Bolles, *Random Sample Consensus: A Paradigm for Model Fitting with Applications to Image Analysis and
#   Automated Cartography*, Communications of the ACM, 1981.
# - R. Hartley, A. Zisserman, *Multiple View Geometry in Computer Vision*, Cambridge University Press, 2nd edition, 2004.
# - D. Barath, J. Noskova, M. Ivashechkin, J. Matas, *MAGSAC++, a Fast, Reliable and Accurate Robust Estimator*, CVPR 2020.
