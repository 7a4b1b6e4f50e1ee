# %% [markdown]
# # 10. The decision, and the whole
#
# **Aim.** Turn candidates into one answer with an honest confidence, or into *none I know*. See what the notebook's product
# does, what the winners' penalties add, what a learned and calibrated decision adds to that, and how to check that a
# confidence means what it says. Then the whole pipeline once more, beside the notebook's cells.
#
# **You need** lessons 1 (GAP), 4 (retrieval) and 8 (inliers).
#
# ## The idea in plain words
#
# By now every question has a list of candidates: references with a similarity, and for the first of them a number of
# inliers. Three questions are left. *Which landmark?* Several candidates may speak for the same one. *How sure?* Photos
# of nothing have nearest neighbours, too. *Sure enough?* Somewhere there has to be a floor below which nothing is said.
#
# A formula written by hand answers all three with one number. A learned decision asks for many pieces of evidence, weighs
# them by what was right on other photos, and is then bent until seven answers in ten are right where it says 0.7.
#
# ## A small world to decide in
#
# A gallery of drawn facades, and three kinds of photos to ask about: views of facades in the gallery, *strangers* (facades
# that the gallery has never seen, the hard kind: an unknown building looks like a building), and photos of nothing.

# %%
import numpy as np
from shown import BLUE, GREEN, GREY, ORANGE, RED, drawn, picture, plt, scratch

import veduta
from veduta.images import from_array

world, folder = drawn(), scratch()
KNOWN, STRANGERS, NOTHING = 20, 20, 12
world.build(folder / "photos", landmarks=KNOWN)

gallery = veduta.Gallery.create(folder / "gallery")
report = gallery.add(folder / "photos")
print(f"{len(report.added)} references of {KNOWN} landmarks")

truth, asked = {}, {}
for i in range(KNOWN):
    for j in range(2):
        truth[f"known-{i}-{j}"] = [f"palazzo-{i}"]
        asked[f"known-{i}-{j}"] = world.view(world.facade(i), 9_000 + 10 * i + j, 1.3).pixels
for i in range(STRANGERS):
    truth[f"stranger-{i}"] = []
    asked[f"stranger-{i}"] = world.view(world.facade(700 + i), i, 0.7).pixels
for i in range(NOTHING):
    truth[f"nothing-{i}"] = []
    asked[f"nothing-{i}"] = world.distractor(i)
print(f"{len(asked)} photos to ask about, {2 * KNOWN} of which show a landmark")

# %% [markdown]
# Every stage of the pipeline is a method that can be called by itself: `embed`, `retrieve`, `extract`, `verify`, `decide`. We
# stop before the last one and keep what there is to decide by.

# %%
recognizer = gallery.recognizer()
gathered = {}
for name, pixels in asked.items():
    image = from_array(pixels, name=name)
    descriptor = recognizer.embed(image)
    candidates = recognizer.verify(recognizer.extract(image), recognizer.retrieve(descriptor), depth=5)
    gathered[name] = descriptor, candidates

for name in ("known-3-0", "stranger-3", "nothing-3"):
    best = gathered[name][1][0]
    print(f"{name:12s} {best.landmark:12s} similarity {best.similarity:.2f}, {best.num_inliers} inliers")

# %% [markdown]
# ## The notebook's product
#
# For a candidate with similarity $s$ and a sum of matching scores $n$, which lesson 7 calls a soft count of matches, the
# notebook's score is
#
# $$\mathrm{score} = \frac{\min(n + 1,\ 200)}{200} \cdot s$$
#
# Both have to be large for a large product: similar as a whole *and* matching point by point. The $+1$ keeps the similarity
# alive where nothing matched. Then the best three candidates vote: their scores are summed per landmark, and the largest
# sum is both the answer and its confidence. Five candidates are looked at; nothing is ever left unanswered.

# %%
from veduta.competition.votes import cosine_power, notebook_score, sum_of_best
from veduta.metrics import Prediction, evaluate


def notebook(candidates):
    """Return the landmark and confidence that the notebook's formula gives."""
    return sum_of_best((c.landmark, notebook_score(c.num_inliers, c.similarity)) for c in candidates[:5])


def clipped(found):
    """Return the same answers with confidences of at most 1: a sum of three scores may exceed it."""
    return [Prediction(p.id, p.landmark, min(p.confidence, 1.0)) for p in found]


def by_similarity(candidates):
    """Return the nearest reference's landmark and similarity."""
    return candidates[0].landmark, candidates[0].similarity


def by_power(candidates):
    """Return what the 3rd place of 2020 did: cosines to the eighth power, summed per landmark."""
    return cosine_power((c.landmark, c.similarity) for c in candidates)


def judged(method):
    """Return a method's answers, and what they are worth."""
    found = [Prediction(name, *method(candidates)) for name, (_, candidates) in gathered.items()]
    return found, evaluate(truth, found, floor=0.5, resamples=0)


methods = {"nearest": by_similarity, "cos^8, summed": by_power, "notebook's product": notebook}
results = {title: judged(method) for title, method in methods.items()}
for title, (_, worth) in results.items():
    print(f"{title:20s} accuracy {worth.accuracy:.2f}  GAP {worth.gap:.3f}  FPR95 {worth.open_set.fpr95:.2f}")

# %% [markdown]
# *FPR95* is the share of photos of no known landmark that pass the threshold which keeps 95 % of the others: what GAP suffers
# from, in one number. Look at where the three kinds of photos fall:

# %% tags=["drawing"]
figure, panels = plt.subplots(1, 3, figsize=(10, 3), sharey=True)
kinds = {"known": GREEN, "stranger": RED, "nothing": GREY}
rng = np.random.default_rng(0)
for axes, (title, (found, worth)) in zip(panels, results.items(), strict=True):
    for row, (kind, colour) in enumerate(kinds.items()):
        values = [p.confidence for p in found if p.id.startswith(kind)]
        axes.plot(values, row + rng.uniform(-0.25, 0.25, len(values)), "o", color=colour, markersize=4, alpha=0.7)
    axes.set(title=f"{title}: GAP {worth.gap:.2f}", xlabel="confidence", yticks=range(3), yticklabels=list(kinds))
picture(figure, "Confidences of three methods by kind of photo; strangers overlap with known ones for the first two")

# %% [markdown]
# ## The winners' penalty
#
# A photo that is like many photos of *nothing* is itself likely to show nothing. Let $N$ be a set of photos without landmarks.
# For a descriptor $x$ let
#
# $$B(x) = \text{mean of the } k \text{ largest cosines of } x \text{ with } N$$
#
# The 8th place of 2021 took $B(q)$ of the question and $B(r)$ of the reference off the similarity: $s - B(q) - B(r)$. The 1st
# places of 2020 and 2021 did so in their own ways; the 8th place put its gain at 0.07 GAP, the largest of any single idea. It can be folded into the
# search itself: append $B(r)$ to every reference and $-1$ to the question, and the inner product is the penalised
# similarity.

# %%
from veduta.competition.votes import fold_penalty, non_landmark_similarity, unfold_query

bank = np.stack([recognizer.embed(from_array(world.distractor(500 + i))) for i in range(30)])
names = list(gathered)
queries = np.stack([gathered[name][0] for name in names])
like_nothing = non_landmark_similarity(queries @ bank.T, best=5)

pairs = [(name, candidate) for name in names for candidate in gathered[name][1][:1]]
references = recognizer.shelf.index.vectors(np.array([c.number for _, c in pairs]))
folded = fold_penalty(references, non_landmark_similarity(references @ bank.T, best=5))
penalised = np.sum(unfold_query(queries) * folded, axis=1) - like_nothing
by_hand = (queries * references).sum(1) - non_landmark_similarity(references @ bank.T, best=5) - like_nothing
print("folded and by hand differ by at most", float(np.abs(penalised - by_hand).max().round(6)))

answers = [Prediction(name, c.landmark, float(p)) for (name, c), p in zip(pairs, penalised, strict=True)]
worth = evaluate(truth, answers, floor=0.5, resamples=0)
results["nearest, penalised"] = answers, worth
print(f"nearest, penalised   accuracy {worth.accuracy:.2f}  GAP {worth.gap:.3f}  FPR95 {worth.open_set.fpr95:.2f}")

# %% [markdown]
# The penalty pushes the photos of nothing down. It does little against strangers: a facade nobody knows is not like nothing.
# What tells it from a known one is what no single formula holds: a second-best landmark that is nearly as good, inliers in one
# corner only, fewer of them than the references have among themselves.
#
# ## Learned
#
# Veduta describes the likeliest landmarks of a photo by 29 *terms* (`veduta.evidence`): similarities and their margins, inliers
# and their margins, how much of the photo they cover, likeness to nothing, what the references of the landmark
# share among themselves. A logistic regression learned from other photos turns terms $t_i$ into log odds,
#
# $$z = b + \sum_i w_i\, t_i, \qquad p = \frac{1}{1 + e^{-z}}$$
#
# with weights $w_i$ and a base $b$. Whole landmarks were withheld while it was learned, so it has met strangers. It also looks
# further than the notebook: up to thirty candidates are verified while the decision is open, not five.

# %%
decisions = {name: recognizer.recognize(from_array(pixels, name=name)) for name, pixels in asked.items()}
found = [Prediction(name, a.evidence[0].landmark, a.confidence) for name, a in decisions.items()]
worth = evaluate(truth, found, floor=0.5, resamples=0)
results["learned"] = found, worth
print(f"learned              accuracy {worth.accuracy:.2f}  GAP {worth.gap:.3f}  FPR95 {worth.open_set.fpr95:.2f}")
for name in ("known-3-0", "stranger-3"):
    answer = decisions[name]
    said = answer.landmark.name if answer.landmark else "none I know"
    print(f"\n{name}: {said}, {answer.confidence:.2f}")
    for term, value in answer.terms[:5]:
        print(f"   {value:+.2f}  {term}")

# %% [markdown]
# The terms add up to the log odds before calibration, so every answer can say why. What speaks against an answer is listed with
# the same right.

# %% tags=["drawing"]
figure, axes = plt.subplots(figsize=(7, 3))
order = list(results)
axes.barh(order, [results[t][1].gap for t in order], color=[BLUE if t == "learned" else GREY for t in order])
for row, title in enumerate(order):
    axes.text(results[title][1].gap + 0.01, row, f"{results[title][1].gap:.3f}", va="center")
axes.invert_yaxis()
axes.set(xlabel="GAP", xlim=(0, 1.08), title="The same photos, decided in five ways")
picture(figure, "Bars of GAP for the five ways to decide")

# %% [markdown]
# ## Calibrated
#
# Is a confidence a probability? Sort all answers by confidence into bins, and compare in each bin the mean confidence with the
# share that is right. That is a *reliability diagram*; its mean gap, weighted by how many answers a bin has, is the *expected
# calibration error* (ECE). GAP does not see it, for it looks at the order only; people do.


# %% tags=["drawing"]
def reliability(axes, found, title):
    """Draw how often answers are right, by confidence."""
    confidence = np.array([p.confidence for p in found])
    right = np.array([p.landmark in truth[p.id] for p in found])
    edges = np.linspace(0, 1, 6)
    bins = np.clip(np.digitize(confidence, edges) - 1, 0, 4)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--")
    for b in range(5):
        if (bins == b).any():
            x, y, n = confidence[bins == b].mean(), right[bins == b].mean(), int((bins == b).sum())
            axes.plot([x, x], [x, y], color=RED, linewidth=1)
            axes.plot(x, y, "o", color=BLUE, markersize=4 + n / 6)
            axes.annotate(str(n), (x, y), (6, -3), textcoords="offset points", fontsize=8)
    axes.set(
        xlim=(-0.03, 1.05), ylim=(-0.05, 1.08), xlabel="confidence", ylabel="share right", title=title, aspect="equal"
    )


figure, panels = plt.subplots(1, 2, figsize=(8, 4))
for axes, title in zip(panels, ("notebook's product", "learned"), strict=True):
    found = clipped(results[title][0])
    reliability(axes, found, f"{title}: ECE {evaluate(truth, found, 0.5, resamples=0).open_set.ece:.2f}")
picture(figure, "Reliability diagrams: the notebook's product far from the diagonal, the learned decision near it")

# %% [markdown]
# Numbers beside the points are how many answers each stands for. The notebook's product is no probability and was never meant
# to be one. The learned decision was calibrated on photos of real buildings, not on these drawings; whoever has photos of
# their own can fit it to them. `veduta calibrate` does that, and keeps the result in the gallery:

# %%
from veduta.training.calibrate import calibrate

for name, pixels in asked.items():
    label = truth[name][0] if truth[name] else "none"
    world.save(pixels, folder / "validation" / label / f"{name}.jpg")
fitted = calibrate(gallery, folder / "validation")
print("what was fitted:", fitted.fitted)
print(f"log loss  {fitted.before.log_loss:.3f} -> {fitted.after.log_loss:.3f}")
print(f"ECE       {fitted.before.ece:.3f} -> {fitted.after.ece:.3f}")
print("floor for 95 % right:", fitted.floors["0.95"])

# %% [markdown]
# Before and after are measured on photos held out: each is judged by a fit that has not seen it. The *floor* is the last choice. An
# answer below it is *none I know*. 0.5 is where being right and being wrong are equally likely; a library of holiday photos
# may want 0.95, a person who looks through suggestions 0.2.

# %% tags=["drawing"]
floors = np.linspace(0, 1, 101)
found = results["learned"][0]
confidence = np.array([p.confidence for p in found])
right = np.array([p.landmark in truth[p.id] for p in found])
answered = np.array([(confidence >= f).sum() for f in floors])
precision = np.array([right[confidence >= f].mean() if (confidence >= f).any() else 1.0 for f in floors])
recall = np.array([right[confidence >= f].sum() / (2 * KNOWN) for f in floors])
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(floors, precision, color=BLUE, label="share of answers that are right")
axes.plot(floors, recall, color=ORANGE, label="share of known photos named rightly")
axes.axvline(0.5, color=GREY, linestyle=":")
axes.set(xlabel="floor", ylim=(0, 1.05), title="A higher floor: fewer answers, and truer ones")
axes.legend(frameon=False)
picture(figure, "Precision rises and recall falls as the floor rises")

# %% [markdown]
# ## The whole, beside the notebook
#
# | the notebook's cell | what it does, and why | what it costs | what we do instead |
# |---|---|---|---|
# | load four networks | four backbones with GeM pooling see four things (lessons 2, 5) | 215 ms a photo on a GPU | one small network trained with margins, 25 ms on two cores (lesson 3) |
# | load the gallery's tables | descriptors of 1.6 million photos, made before | four tables of 512 numbers a photo | one file that says which model made it, and refuses any other |
# | `cdist`, one photo at a time | exact neighbours, five kept | a pass over the table for each photo | exact up to 200,000 references, then lists and codes (lesson 4); a hundred kept |
# | weighted geometric mean | one similarity of four (lesson 5) | next to nothing | not needed for one model; there for yours |
# | SuperPoint on a squashed photo | keypoints in a frame of 896 x 672 (lesson 6) | as often as a photo is in a pair | XFeat, in the photo's own shape, once a photo, kept |
# | segmentation mask | keypoints on sky and people dropped (lesson 9) | one more network | a reference keeps the keypoints that other photos confirm |
# | SuperGlue, scores summed | soft count of matches, no geometry (lesson 7) | the most of all | mutual neighbours and a homography (lesson 8): one millisecond a pair, so thirty candidates |
# | product, best three summed | one number for everything | nothing | 29 terms, learned, calibrated; a floor |
# | write every row | every photo gets an answer | GAP | *none I know* where that is the truth |
#
# And in two lines:

# %%
answer = next(gallery.recognize([folder / "validation" / "palazzo-3" / "known-3-0.jpg"]))
print(answer.landmark.name, round(answer.confidence, 2))
gallery.close()

# %% [markdown]
# ## Exercises
#
# **1.** The notebook sums the best *three* candidates. What do one and five do here?

# %% tags=["solution"]
for voters in (1, 3, 5):

    def method(candidates, voters=voters):
        scored = [(c.landmark, notebook_score(c.num_inliers, c.similarity)) for c in candidates[:5]]
        return sum_of_best(scored, voters)

    worth = judged(method)[1]
    print(f"{voters} voters: accuracy {worth.accuracy:.2f}, GAP {worth.gap:.3f}")

# %% [markdown]
# **2.** Combine the penalty with the notebook's product: `max(product - a * B(q), 0)`. Is there an `a` that helps GAP here? Which
# kind of photo moves?

# %% tags=["solution"]
for a in (0.0, 0.25, 0.5, 1.0):
    found = []
    for name, nothing in zip(names, like_nothing, strict=True):
        landmark, score = notebook(gathered[name][1])
        found.append(Prediction(name, landmark, max(score - a * float(nothing), 0.0)))
    worth = evaluate(truth, found, floor=0.5, resamples=0)
    print(f"a = {a:.2f}: GAP {worth.gap:.3f}, FPR95 {worth.open_set.fpr95:.2f}")

# %% [markdown]
# **3.** Square every confidence of the learned decision. What do GAP and ECE say?

# %% tags=["solution"]
found = [Prediction(p.id, p.landmark, p.confidence**2) for p in results["learned"][0]]
worth = evaluate(truth, found, floor=0.5, resamples=0)
print(f"GAP {worth.gap:.3f} (before {results['learned'][1].gap:.3f}: the order is the same)")
print(f"ECE {worth.open_set.ece:.3f} (before {results['learned'][1].open_set.ece:.3f})")

# %% [markdown]
# ## Further reading
#
# - C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017: ECE and reliability
#   diagrams.
# - S. Liang, Y. Li, R. Srikant, *Enhancing the Reliability of Out-of-distribution Image Detection in Neural Networks*, ICLR 2018:
#   the false positive rate at 95 %.
# - T. Fawcett, *An introduction to ROC analysis*, Pattern Recognition Letters, 2006.
# - [The decision](../decision.md): the terms, the efforts and what each part is worth on photos.
