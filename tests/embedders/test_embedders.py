"""What every embedder promises, asked of each in the table."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from support import components, world

from veduta.embedders import EMBEDDERS, make_embedder
from veduta.images import from_array, load


@pytest.fixture(params=sorted(EMBEDDERS))
def embedder(request):
    return components.embedder(request.param)


def images():
    """Photos of several shapes, some of them the same shape."""
    views = [from_array(world.view(world.facade(i), i).pixels) for i in range(3)]
    tall = from_array(np.ascontiguousarray(views[0].pixels.transpose(1, 0, 2)))
    return [views[0], tall, views[1], from_array(world.facade(9, 300, 200)), views[2]]


def test_one_descriptor_of_norm_one_per_photo(embedder):
    descriptors = embedder.embed(images())
    assert descriptors.shape == (5, embedder.dim)
    assert descriptors.dtype == np.float32
    assert np.abs(np.linalg.norm(descriptors, axis=1) - 1).max() < 1e-5


def test_no_photos_give_no_descriptors(embedder):
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_it_says_who_it_is_and_what_it_was_set_to(embedder):
    assert embedder.name in EMBEDDERS
    assert embedder.settings == {"side": 384}
    assert make_embedder(embedder.name, 256).settings == {"side": 256}


def test_the_same_photo_gives_the_same_descriptor(embedder):
    first, second = embedder.embed(images()), embedder.embed(images())
    assert np.array_equal(first, second)


def test_a_batch_says_what_each_photo_says_alone(embedder):
    together = embedder.embed(images())
    alone = np.concatenate([embedder.embed([image]) for image in images()])
    assert np.abs(together - alone).max() < 1e-4
    assert (together * alone).sum(1).min() > 0.99999


def test_the_order_of_a_batch_is_kept(embedder):
    order = [3, 0, 4, 2, 1]
    there = embedder.embed([images()[i] for i in order])
    assert (there * embedder.embed(images())[order]).sum(1).min() > 0.9999


def test_threads_agree(embedder):
    photos = images()[:3]
    expected = embedder.embed(photos)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: embedder.embed(photos), range(8)))
    assert all(np.abs(answer - expected).max() < 1e-4 for answer in answers)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 2000), (2000, 5), (1, 3000), (33, 31)])
def test_any_shape_of_photo_has_a_descriptor(embedder, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    descriptor = embedder.embed([from_array(pixels)])[0]
    assert abs(np.linalg.norm(descriptor) - 1) < 1e-5


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_color_has_a_descriptor_too(embedder, value):
    descriptor = embedder.embed([from_array(np.full((90, 120, 3), value, np.uint8))])[0]
    assert np.isfinite(descriptor).all()
    assert abs(np.linalg.norm(descriptor) - 1) < 1e-5


def test_a_gray_photo_is_a_photo(embedder):
    gray = cv2.cvtColor(world.facade(1), cv2.COLOR_RGB2GRAY)
    repeated = embedder.embed([from_array(np.repeat(gray[:, :, None], 3, 2))])
    assert np.array_equal(embedder.embed([from_array(gray)]), repeated)


def test_a_photo_decoded_smaller_keeps_its_descriptor(embedder, tmp_path):
    path = world.save(world.facade(2, 1600, 1200), tmp_path / "large.jpg")
    whole, reduced = load(path, max_side=1600), load(path, max_side=800)
    assert reduced.pixels.shape[1] < whole.pixels.shape[1] == whole.width == reduced.width
    a, b = embedder.embed([whole, reduced])
    assert a @ b > 0.98


def test_another_view_of_a_facade_is_nearer_than_other_facades_are(embedder):
    straight = embedder.embed([from_array(world.facade(i)) for i in range(8)])
    seen = embedder.embed([from_array(world.view(world.facade(i), i, 0.3, occlude=False).pixels) for i in range(8)])
    similarity = seen @ straight.T
    own, others = similarity.diagonal(), similarity[~np.eye(8, dtype=bool)]
    assert own.min() > (0.85 if embedder.name.endswith("-landmarks") else 0.9)  # whitened cosines are smaller
    assert own.mean() > others.mean() + 0.05
