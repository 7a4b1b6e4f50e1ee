"""A step of training and what goes into it: recipe, batches, rates, the moving average; no run is needed for these."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support import training_runs, world

from veduta.errors import TrainingError
from veduta.training.descriptor.config import SHIPPED, TrainConfig
from veduta.training.descriptor.data.augment import Augmentation
from veduta.training.descriptor.data.batches import Batches
from veduta.training.descriptor.data.dataset import Dataset
from veduta.training.descriptor.data.samplers import epoch_order
from veduta.training.descriptor.process_group import ProcessGroup, join_processes
from veduta.training.descriptor.train_state import CENTERS, LEAST_RATE, MicroBatch, TrainState

ALONE = ProcessGroup(0, 1, torch.device("cpu"))

# --- recipes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "triplet"}, "loss: expected one of arcface, cosface, got 'triplet'"),
        ({"bank": "some"}, "bank: expected one of class, each, none"),
        ({"sampler": "random"}, "sampler: expected one of uniform, tempered, balanced"),
        ({"precision": "int8"}, "precision: expected one of float32, bfloat16, float16"),
        ({"epochs": 0}, "epochs: expected more than 0"),
        ({"rate": -1.0}, "rate: expected more than 0"),
        ({"rate": math.nan}, "rate: expected more than 0"),
        ({"decay": -0.1}, "decay: expected 0 or more"),
        ({"hold_out": 1.0}, "hold_out: expected 0 up to 1"),
        ({"average": 1.0}, "average: expected 0 up to 1"),
        ({"least_area": 1.5}, "least_area: expected at most 1"),
        ({"sizes": ()}, "sizes: expected sides of at least 32"),
        ({"sizes": (64, 16)}, "sizes: expected sides of at least 32"),
        ({"side": 31}, "sizes: expected sides of at least 32"),
        ({"whiten": 0.0, "head_dim": 64}, "head_dim: expected 512 where there is no whitening, got 64"),
        ({"batch": 10, "accumulate": 4}, "batch: expected a multiple of accumulate, got 10 and 4"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)


def test_sizes_take_turns_in_equal_shares_of_the_epochs():
    sides = [TrainConfig(epochs=6, sizes=(64, 96, 128)).size(epoch) for epoch in range(6)]
    assert sides == [64, 64, 96, 96, 128, 128]
    assert [TrainConfig(epochs=2, sizes=(64, 96, 128)).size(epoch) for epoch in range(2)] == [64, 96]
    assert [TrainConfig(epochs=4, sizes=(64,)).size(epoch) for epoch in range(4)] == [64] * 4


def test_a_recipe_is_the_same_after_json():
    for recipe in (TrainConfig(), SHIPPED, training_runs.small(margin=0.2)):
        said = recipe.as_dict()
        assert TrainConfig(**said | {"sizes": tuple(said["sizes"])}) == recipe


def test_the_loss_may_see_more_or_fewer_numbers_than_are_used():
    assert (TrainConfig(dim=64).trained_dim, TrainConfig(dim=64, head_dim=32).trained_dim) == (64, 32)


# --- batches


@pytest.fixture
def dataset(tmp_path):
    """Five landmarks with four small photos each."""
    photos = sorted(training_runs.draw(tmp_path / "data", 5, 4).rglob("*.jpg"))
    return Dataset(tuple(map(str, photos)), np.repeat(np.arange(5), 4), tuple(f"palazzo-{i}" for i in range(5)))


def batches(dataset, place=ALONE, train=None, said=None, **settings):
    train = np.arange(len(dataset)) if train is None else train
    say = said.append if said is not None else lambda text: None
    return Batches(training_runs.small(**settings), dataset, train, dataset.classes[train], place, say=say)


def flat(parts):
    """All that is in the parts of a batch, for comparison."""
    return [(part.photos.numpy().tobytes(), part.target.tolist(), part.everyone.tolist()) for part in parts]


def test_batches_are_the_photos_of_the_epochs_order_each_changed_its_own_way(dataset):
    train = np.arange(1, 20)
    made = batches(dataset, train=train, sampler="tempered", least_area=0.5)
    assert made.steps == 2
    for epoch in range(2):
        order = epoch_order(dataset.classes[train], 0.5, 0, epoch, 16)
        found = [part for parts in made.epoch(epoch) for part in parts]
        assert [len(part.photos) for part in found] == [8, 8]
        change = Augmentation(side=32, least_area=0.5)
        for i, row in enumerate(order):
            photo = int(train[row])
            part, place = found[i // 8], i % 8
            pixels = world.cv2.imread(dataset.photos[photo])[..., ::-1]
            assert np.array_equal(part.photos[place].numpy(), change(pixels, 0, epoch, photo))
            assert part.target[place] == part.everyone[place] == dataset.classes[photo]


def test_an_epoch_can_begin_in_the_middle(dataset):
    made = batches(dataset, batch=4)
    whole = [flat(parts) for parts in made.epoch(1)]
    assert [flat(parts) for parts in made.epoch(1, 3)] == whole[3:]
    assert len(whole) == made.steps == 5


def test_any_number_of_threads_makes_the_same_batches(dataset):
    one, many = batches(dataset), batches(dataset)
    one.workers, many.workers = 1, 5
    assert [flat(parts) for parts in one.epoch(0)] == [flat(parts) for parts in many.epoch(0)]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_processes_share_a_batch(dataset, accumulate):
    alone = batches(dataset, accumulate=accumulate)
    shares = [batches(dataset, ProcessGroup(rank, 2, ALONE.device), accumulate=accumulate) for rank in range(2)]
    for whole, *halves in zip(alone.epoch(0), *(share.epoch(0) for share in shares), strict=True):
        assert len(whole) == accumulate
        for part, *both in zip(whole, *halves, strict=True):
            assert torch.equal(part.photos, torch.cat([half.photos for half in both]))
            assert torch.equal(part.target, torch.cat([half.target for half in both]))
            for half in both:
                assert torch.equal(half.everyone, part.everyone), "all know what the others look at"


def test_photos_left_out_never_come_again(dataset):
    made = batches(dataset, sampler="uniform", batch=4)
    made.readable[:8] = False
    for epoch in range(3):
        seen = torch.cat([part.target for parts in made.epoch(epoch) for part in parts])
        assert len(seen) == 20
        assert set(seen.tolist()) == {2, 3, 4}


def test_a_photo_that_has_gone_is_replaced_by_its_neighbor_and_told_once(dataset):
    said = []
    made = batches(dataset, said=said, sampler="uniform", batch=10)
    lost = dataset.photos[6]
    Path(lost).unlink()
    for epoch in range(2):
        for parts in made.epoch(epoch):
            for part in parts:
                assert len(part.photos) == len(part.target) == len(part.everyone) == 10
                changed = (part.target != part.everyone).sum()
                assert changed <= 1
    assert len(said) == 1
    assert lost in said[0]


def test_a_batch_of_which_nothing_is_left_is_an_error(dataset):
    made = batches(dataset)
    for photo in dataset.photos:
        Path(photo).unlink()
    with pytest.raises(TrainingError, match=r"photo-\d\.jpg: can no longer be read, nor can others beside it"):
        list(made.epoch(0))


def test_batches_that_cannot_be_are_told(dataset):
    with pytest.raises(TrainingError, match=r"8 cannot be shared by 3 processes in 1 parts; .*multiple of 3"):
        batches(dataset, ProcessGroup(0, 3, ALONE.device))
    with pytest.raises(TrainingError, match="20 photos to train on are fewer than a batch; use a smaller --batch"):
        batches(dataset, batch=21)


# --- the learner


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    """A function that makes learners of a tiny network, whose first half does not learn."""
    folder = str(training_runs.tiny("resnet", tmp_path_factory.mktemp("network")))

    def make(steps=20, counts=(3, 5, 2), **settings):
        recipe = training_runs.small(**{"backbone": folder, "freeze": 1} | settings)
        return TrainState(recipe, torch.tensor(counts), ALONE, steps)

    return make


def part(seed=0, photos=4):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (photos, 64, 64, 3), generator=generator, dtype=torch.uint8)
    target = torch.arange(photos) % 3
    return MicroBatch(pixels, target, target)


def test_rates_rise_and_fall_along_half_a_cosine(learner):
    made = learner(steps=100, warmup=0.1, rate=1e-3, head_rate=2e-3)
    factors = []
    for made.step in range(100):
        factors.append(made.factor())
    assert factors[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    for step in range(10, 100):
        half = (1 + math.cos(math.pi * (step - 10) / 90)) / 2
        assert factors[step] == pytest.approx(LEAST_RATE + (1 - LEAST_RATE) * half)
    assert factors[-1] < 0.02
    rates = [group["lr"] for optimizer in made.optimizers for group in optimizer.param_groups]
    assert rates == [1e-3, 2e-3, 2e-3, CENTERS * 2e-3]


def test_a_step_changes_what_learns_and_nothing_else(learner):
    made = learner()
    before = {name: value.clone() for name, value in made.network.state_dict().items()}
    centers = made.head.centers.weight.detach().clone()
    assert math.isfinite(made.train_step([part()]))
    assert made.step == 1
    assert not torch.equal(made.head.centers.weight, centers)
    learns = {name for name, value in made.network.named_parameters() if value.requires_grad}
    assert 0 < len(learns) < len(before) / 2
    for name, value in made.network.state_dict().items():
        moves = name in learns or name.startswith("norm.")
        assert torch.equal(value, before[name]) != moves, name


def test_parts_of_a_batch_add_up_to_its_loss(learner):
    """The batch norm apart, which sees a part at a time."""
    both = part(photos=4)
    halves = [MicroBatch(both.photos[i : i + 2], both.target[i : i + 2], both.target[i : i + 2]) for i in (0, 2)]
    losses, gradients = [], []
    for parts in ([both], halves):
        made = learner(clip=0.0)
        made.network.norm = made.average.norm = torch.nn.Identity()
        losses.append(made.train_step(parts))
        state = made.optimizers[0].state
        gradients.append([state[p]["exp_avg"] for p in (made.network.project.weight, made.head.centers.weight)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
        assert one.norm() > 1e-3


def test_the_average_follows_closely_at_first_and_slowly_later(learner):
    made = learner(average=0.9)
    expected = {name: value.clone() for name, value in made.average.named_parameters()}
    for step in range(3):
        made.train_step([part(step)])
        keep = min(0.9, (1 + step) / (10 + step))
        for name, value in made.network.named_parameters():
            expected[name] = keep * expected[name] + (1 - keep) * value.detach()
    for name, value in made.average.named_parameters():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)
    for mine, theirs in zip(made.average.buffers(), made.network.buffers(), strict=True):
        assert torch.equal(mine, theirs)
    alone = learner(average=0.0)
    alone.train_step([part()])
    assert training_runs.difference(alone.average.state_dict(), alone.network.state_dict()) == 0


def test_a_loss_that_is_no_number_changes_nothing(learner):
    made = learner()
    with torch.no_grad():
        made.head.centers.weight[0, 0] = math.nan
    before = made.state()
    saved = {name: {k: v.clone() for k, v in before[name].items()} for name in ("average", "head")}
    assert math.isnan(made.train_step([part()]))
    for name, values in saved.items():
        for key, value in made.state()[name].items():
            torch.testing.assert_close(value, values[key], rtol=0, atol=0, equal_nan=True)


def test_the_gradient_is_clipped(learner):
    """AdamW hides a gradient's length; its moments do not."""
    moments = []
    for clip in (0.0, 1e-3):
        made = learner(clip=clip)
        made.train_step([part()])
        state = made.optimizers[0].state[made.network.project.weight]
        moments.append(float(state["exp_avg"].norm()) / 0.1)
    assert moments[0] > 0.01
    assert moments[1] <= 1e-3 * 1.01


def test_the_same_seed_begins_the_same_way_and_another_another(learner):
    one, same, other = (learner(seed=seed) for seed in (3, 3, 4))
    training_runs.assert_same(one.state(), same.state())
    assert not torch.equal(one.head.centers.weight, other.head.centers.weight)


@pytest.mark.parametrize("settings", [{}, {"sample": 2}, {"loss": "cosface", "subcenters": 1, "margin": 0.3}])
def test_a_learner_taken_up_again_goes_on_as_if_nothing_had_been(learner, settings):
    whole, first = learner(**settings), learner(**settings)
    for step in range(3):
        whole.train_step([part(step)])
    first.train_step([part(0)])
    second = learner(**settings)
    second.load_state_dict(first.state())
    for step in (1, 2):
        second.train_step([part(step)])
    training_runs.assert_same(whole.state(), second.state())


def test_every_step_and_every_part_looks_at_other_landmarks(learner):
    made = learner(counts=[3] * 40, sample=8, accumulate=2)
    looked = []
    for _ in range(3):
        before = made.head.centers.weight.detach().clone()
        made.train_step([part(photos=3), part(photos=3)])
        looked.append(frozenset((made.head.centers.weight != before).any(1).nonzero()[:, 0].tolist()))
    assert len(set(looked)) == 3
    for classes in looked:
        assert {0, 1, 2} <= classes, "those of the photos are always among them"
        assert 8 < len(classes) <= 3 + 2 * 5


def test_margins_follow_the_recipe(learner):
    assert learner(low=0.1, high=0.3).head.margins[[2, 1]].tolist() == pytest.approx([0.3, 0.1])
    assert learner(margin=0.2).head.margins.tolist() == pytest.approx([0.2] * 3)
    assert learner(weighted=False).head.weights.tolist() == [1, 1, 1]


def test_half_precision_learns_nearly_the_same(learner):
    full, half = learner(), learner(precision="bfloat16")
    losses = [made.train_step([part(photos=12)]) for made in (full, half)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.25)
    assert all(value.dtype == torch.float32 for value in half.network.parameters())


def test_alone_a_process_agrees_with_itself():
    with join_processes("cpu") as place:
        assert (place.rank, place.world, place.first, place.device.type) == (0, 1, True, "cpu")
        assert place.broadcast([1]) == [1]
        assert place.all_reduce(0.5, stop=True) == (0.5, True)
    with pytest.raises(ValueError, match="device: expected one of auto, cpu, cuda"), join_processes("tpu"):
        pass


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match=r"no GPU can be used here; .*or use --device cpu"), join_processes("cuda"):
        pass
