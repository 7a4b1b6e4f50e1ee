"""The margin losses against a few lines of arithmetic, written from the papers' formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from veduta.training.descriptor.model.losses import (
    MARGINS,
    MarginHead,
    arcface,
    class_weights,
    cosface,
    dynamic_margins,
)

COUNTS = torch.tensor([1, 4, 20, 7, 2])
DIM = 6

# --- the formulas, written once more


def arcface_by_hand(theta, m):
    """ArcFace's logit of the right class; past the point where cos(theta + m) rises again, the straight line."""
    return math.cos(theta + m) if theta + m < math.pi else math.cos(theta) - m * math.sin(m)


def margins_by_hand(counts, low=0.05, high=0.5):
    share = [n ** (-1 / 4) for n in counts]
    return [low + (high - low) * (x - min(share)) / (max(share) - min(share)) for x in share]


def weights_by_hand(counts):
    raw = [1 / math.log(1 + n) for n in counts]
    mean = sum(w * n for w, n in zip(raw, counts, strict=True)) / sum(counts)
    return [w / mean for w in raw]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def loss_by_hand(descriptors, centers, targets, kind, scale, margins, weights):
    """The mean loss; centers[c][k] is the k-th sub-center of class c."""
    total = 0.0
    for x, target in zip(descriptors, targets, strict=True):
        logits = []
        for c, mine in enumerate(centers):
            nearest = max(cosine(x, one) for one in mine)
            if c == target and kind == "arcface":
                nearest = arcface_by_hand(math.acos(max(-1.0, min(1.0, nearest))), margins[c])
            elif c == target:
                nearest -= margins[c]
            logits.append(scale * nearest)
        most = max(logits)
        partition = most + math.log(sum(math.exp(logit - most) for logit in logits))
        total += weights[target] * (partition - logits[target])
    return total / len(targets)


# --- margins and weights


@pytest.mark.parametrize("m", [0.0, 0.05, 0.3, 0.5, 1.2])
def test_arcface_turns_the_right_class_by_the_margin_and_leaves_the_others(m):
    thetas = np.linspace(0.01, math.pi - 0.01, 60)
    cosines = torch.tensor(np.stack([np.cos(thetas), np.full(60, 0.3)], 1))
    moved = arcface(cosines, torch.zeros(60, dtype=torch.int64), m)
    np.testing.assert_allclose(moved[:, 0], [arcface_by_hand(theta, m) for theta in thetas], atol=1e-6)
    assert torch.equal(moved[:, 1], cosines[:, 1])


@pytest.mark.parametrize("m", [0.05, 0.5])
def test_past_the_turning_point_arcface_goes_on_falling(m):
    thetas = torch.linspace(0.0, math.pi, 2000, dtype=torch.float64)
    moved = arcface(thetas.cos()[:, None], torch.zeros(2000, dtype=torch.int64), m)[:, 0]
    assert (moved.diff() < 1e-9).all()
    assert thetas[-1] + m > math.pi
    assert moved[-1] == pytest.approx(-1 - m * math.sin(m), abs=1e-6)


def test_every_photo_has_a_margin_of_its_own():
    cosines, target = torch.full((3, 4), 0.5, dtype=torch.float64), torch.tensor([2, 0, 3])
    margins = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64)
    turned, shifted = arcface(cosines, target, margins), cosface(cosines, target, margins)
    for i, (c, m) in enumerate(zip(target.tolist(), margins.tolist(), strict=True)):
        assert float(turned[i, c]) == pytest.approx(math.cos(math.acos(0.5) + m))
        assert float(shifted[i, c]) == pytest.approx(0.5 - m)
        assert int((turned[i] == 0.5).sum()) == int((shifted[i] == 0.5).sum()) == 3


def test_dynamic_margins_fall_with_the_fourth_root():
    counts = [1, 2, 16, 81, 10_000]
    found = dynamic_margins(torch.tensor(counts)).tolist()
    assert found == pytest.approx(margins_by_hand(counts))
    assert (found[0], found[-1]) == (pytest.approx(0.5), pytest.approx(0.05))
    wider = dynamic_margins(torch.tensor(counts), 0.1, 0.9).tolist()
    assert wider == pytest.approx(margins_by_hand(counts, 0.1, 0.9))


def test_landmarks_with_as_many_photos_have_the_same_margin():
    assert dynamic_margins(torch.tensor([5, 5, 5])).tolist() == pytest.approx([0.275] * 3)
    assert dynamic_margins(torch.tensor([3])).tolist() == pytest.approx([0.275])


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=30))
@settings(deadline=None)
def test_fewer_photos_never_have_the_smaller_margin_or_weight(counts):
    counts = torch.tensor(sorted(counts))
    for found in (dynamic_margins(counts), class_weights(counts)):
        assert (found.diff() <= 1e-6).all()
    margins = dynamic_margins(counts)
    assert margins.min() >= 0.05 - 1e-6
    assert margins.max() <= 0.5 + 1e-6


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=30))
@settings(deadline=None)
def test_class_weights_are_of_mean_one_over_the_photos(counts):
    found = class_weights(torch.tensor(counts))
    assert found.tolist() == pytest.approx(weights_by_hand(counts), rel=1e-5)
    assert float((found.double() * torch.tensor(counts)).sum()) / sum(counts) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("counts", [[], [3, 0], [[1, 2]]])
def test_a_class_without_photos_is_refused(counts):
    for one in (dynamic_margins, class_weights, lambda counts: MarginHead(DIM, counts)):
        with pytest.raises(ValueError, match="at least one photo of every class"):
            one(torch.tensor(counts, dtype=torch.int64))


# --- the loss


def batch(seed=0, photos=9):
    generator = torch.Generator().manual_seed(seed)
    descriptors = torch.randn(photos, DIM, generator=generator)
    return descriptors, torch.randint(0, len(COUNTS), (photos,), generator=generator)


@pytest.mark.parametrize("subcenters", [1, 3])
@pytest.mark.parametrize("margin", [None, 0.25])
@pytest.mark.parametrize("kind", ["arcface", "cosface"])
def test_the_loss_is_that_of_the_papers(kind, margin, subcenters):
    torch.manual_seed(3)
    head = MarginHead(DIM, COUNTS, kind, subcenters, 12.0, margin)
    descriptors, target = batch()
    descriptors[0] = -head.centers.weight[target[0], :DIM].detach()  # theta + m > pi for one sub-center
    centers = head.centers.weight.detach().view(len(COUNTS), subcenters, DIM).tolist()
    margins = margins_by_hand(COUNTS.tolist()) if margin is None else [margin] * len(COUNTS)
    expected = loss_by_hand(
        descriptors.tolist(), centers, target.tolist(), kind, 12.0, margins, weights_by_hand(COUNTS.tolist())
    )
    assert head(descriptors, target).item() == pytest.approx(expected, rel=1e-4)


def test_photos_weigh_alike_when_they_are_to():
    torch.manual_seed(3)
    head = MarginHead(DIM, COUNTS, "cosface", 2, 12.0, weighted=False)
    descriptors, target = batch()
    centers = head.centers.weight.detach().view(len(COUNTS), 2, DIM).tolist()
    margins = margins_by_hand(COUNTS.tolist())
    expected = loss_by_hand(descriptors.tolist(), centers, target.tolist(), "cosface", 12.0, margins, [1.0] * 5)
    assert head(descriptors, target).item() == pytest.approx(expected, rel=1e-5)


def test_the_norms_of_descriptors_and_centers_do_not_count():
    torch.manual_seed(3)
    head = MarginHead(DIM, COUNTS)
    descriptors, target = batch()
    before = head(descriptors, target).item()
    with torch.no_grad():
        head.centers.weight *= 7
    assert head(descriptors * 0.01, target).item() == pytest.approx(before, rel=1e-5)


@given(
    st.sampled_from(sorted(MARGINS)),
    st.lists(st.floats(-1, 1), min_size=2, max_size=6),
    st.floats(0, 1.5),
    st.floats(0, 1.5),
)
@settings(deadline=None)
def test_a_larger_margin_never_has_the_lower_loss(kind, cosines, one, other):
    row, target = torch.tensor([cosines]), torch.tensor([0])
    low, high = (
        float(torch.nn.functional.cross_entropy(30 * MARGINS[kind](row, target, m), target))
        for m in sorted((one, other))
    )
    assert low <= high + 1e-4


@pytest.mark.parametrize("kind", ["arcface", "cosface"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere(kind, dtype):
    values = [-1.0, -1 + 1e-7, -0.9999, -0.5, 0.0, 0.5, 0.9999, 1 - 1e-7, 1.0, math.cos(math.pi - 0.3)]
    for m in (0.0, 0.3, 0.5):
        cosines = torch.tensor([values, values], dtype=dtype).T.contiguous().requires_grad_()
        moved = MARGINS[kind](cosines, torch.zeros(len(values), dtype=torch.int64), m)
        assert torch.isfinite(moved).all()
        torch.nn.functional.cross_entropy(30 * moved, torch.zeros(len(values), dtype=torch.int64)).backward()
        assert torch.isfinite(cosines.grad).all()


@pytest.mark.parametrize("kind", ["arcface", "cosface"])
def test_gradients_are_finite_for_a_photo_on_its_center_opposite_it_or_nowhere(kind):
    torch.manual_seed(0)
    head = MarginHead(DIM, COUNTS, kind, subcenters=1)
    center = head.centers.weight[1].detach()
    descriptors = torch.stack([center, -center, torch.zeros(DIM), 1e-20 * center]).requires_grad_()
    loss = head(descriptors, torch.ones(4, dtype=torch.int64))
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(descriptors.grad).all()
    assert torch.isfinite(head.centers.weight.grad).all()


def test_steps_down_the_gradient_bring_photos_to_their_centers():
    torch.manual_seed(0)
    head = MarginHead(DIM, COUNTS)
    descriptors, target = batch()
    descriptors = descriptors.requires_grad_()
    optimizer = torch.optim.Adam([descriptors, *head.parameters()], 0.1)
    for _ in range(25):
        optimizer.zero_grad()
        head(descriptors, target).backward()
        optimizer.step()
    assert torch.equal(head.every(descriptors, torch.arange(5)).amax(2).argmax(1), target)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "triplet"}, "loss: expected one of arcface, cosface, got 'triplet'"),
        ({"subcenters": 0}, "above 0"),
        ({"scale": 0.0}, "above 0"),
        ({"sample": -1}, "above 0"),
    ],
)
def test_a_head_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MarginHead(DIM, COUNTS, **settings)


def test_centers_start_near_the_means_a_little_apart():
    torch.manual_seed(0)
    head = MarginHead(64, COUNTS, subcenters=3)
    means = torch.randn(5, 64) * 9
    head.start_at(means)
    centers = head.centers.weight.detach().view(5, 3, 64)
    assert torch.allclose(centers.norm(dim=2), torch.ones(5, 3), atol=1e-5)
    cosines = torch.einsum("ckd,ed->cke", centers, torch.nn.functional.normalize(means, dim=1))
    assert (cosines.argmax(2) == torch.arange(5)[:, None]).all()
    assert 0.9 < float(cosines.amax(2).min()) < float(cosines.amax(2).max()) < 0.9999


# --- some of the classes


def pair(sample):
    """Two heads with the same centers, one that looks at all classes and one that looks at some."""
    torch.manual_seed(1)
    every, some = MarginHead(DIM, COUNTS), MarginHead(DIM, COUNTS, sample=sample)
    some.load_state_dict(every.state_dict())
    return every, some


def test_looking_at_a_sample_of_all_classes_is_looking_at_all():
    every, some = pair(sample=3)
    descriptors, target = batch()
    losses = [every(descriptors, target), some(descriptors, target, torch.arange(len(COUNTS)))]
    assert losses[0].item() == losses[1].item()
    for loss in losses:
        loss.backward()
    assert some.centers.weight.grad.is_sparse
    assert torch.allclose(some.centers.weight.grad.to_dense(), every.centers.weight.grad, atol=1e-7)


@pytest.mark.parametrize("sample", [5, 6, 0])
def test_a_sample_as_large_as_all_is_all(sample):
    _, some = pair(sample)
    assert some.sample == 0
    assert some.chosen(torch.tensor([2])).tolist() == [0, 1, 2, 3, 4]
    descriptors, target = batch()
    some(descriptors, target).backward()
    assert not some.centers.weight.grad.is_sparse


def test_the_loss_of_a_sample_is_that_of_these_classes_alone():
    _, some = pair(sample=3)
    descriptors, _ = batch(photos=4)
    target, looked = torch.tensor([4, 1, 1, 4]), torch.tensor([1, 3, 4])
    centers = some.centers.weight.detach().view(5, 3, DIM)[looked].tolist()
    margins, weights = (by_hand(COUNTS.tolist()) for by_hand in (margins_by_hand, weights_by_hand))
    here = [looked.tolist().index(c) for c in target.tolist()]
    picked = [[values[c] for c in looked.tolist()] for values in (margins, weights)]
    expected = loss_by_hand(descriptors.tolist(), centers, here, "arcface", 30.0, *picked)
    assert some(descriptors, target, looked).item() == pytest.approx(expected, rel=1e-4)


@given(st.lists(st.integers(0, 39), min_size=1, max_size=12), st.integers(1, 39), st.integers(0, 99))
@settings(deadline=None)
def test_gradients_touch_only_the_classes_looked_at(present, sample, seed):
    head = MarginHead(4, torch.full((40,), 3), sample=sample)
    target = torch.tensor(present)
    looked = head.chosen(target, seed)
    assert len(looked) == max(sample, len(set(present)))
    assert looked.tolist() == sorted(set(looked.tolist()))
    assert set(present) <= set(looked.tolist())
    assert torch.equal(looked, head.chosen(target, seed))
    head(torch.randn(len(present), 4), target, looked).backward()
    gradient = head.centers.weight.grad.coalesce()
    assert gradient.indices()[0].tolist() == looked.tolist()


def test_all_others_are_looked_at_equally_often():
    head = MarginHead(2, torch.full((20,), 3), sample=5)
    seen = torch.zeros(20)
    for seed in range(600):
        seen[head.chosen(torch.tensor([3, 17]), seed)] += 1
    assert seen[3] == seen[17] == 600
    others = np.delete(seen.numpy(), [3, 17])
    assert np.abs(others - 600 * 3 / 18).max() < 5 * math.sqrt(600 * 3 / 18)


def test_the_landmarks_of_a_whole_competition_are_looked_at_in_part():
    classes, photos = 203_094, 8
    head = MarginHead(2, torch.ones(classes, dtype=torch.int64), subcenters=1, sample=1000)
    cost = head.cost(photos)
    assert (cost.classes, cost.looked_at) == (classes, 1000)
    assert cost.memory_mb == pytest.approx(4e-6 * (3 * classes * 2 + 2 * 1000 * 2 + 4 * photos * 1000))
    assert cost.step_ms > 0
    assert head.centers.weight.grad is None
    target = torch.tensor([0, 5, classes - 1])
    head(torch.randn(3, 2), target, head.chosen(target)).backward()
    assert len(head.centers.weight.grad.coalesce().indices()[0]) == 1000


def test_the_cost_of_looking_at_all_grows_with_the_classes():
    costs = [MarginHead(4, torch.ones(classes, dtype=torch.int64)).cost(8) for classes in (50, 500)]
    assert [cost.looked_at for cost in costs] == [50, 500]
    assert costs[1].memory_mb == pytest.approx(10 * costs[0].memory_mb)
