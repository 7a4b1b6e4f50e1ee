"""A photo given in any form: path, bytes, Image, PIL image; alone or among others."""

import io
import pathlib
from collections import deque

import numpy as np
import PIL.Image
import pytest
from support import exif_writer, world

from veduta.images import PhotoBytes, as_photos, load, load_photo
from veduta.types import Failure

PLACE = (41.890, 12.492)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A turned JPEG with a position."""
    path = world.save(world.facade(3), tmp_path_factory.mktemp("photo") / "turned.jpg")
    orientation = exif_writer.numbers(0x0112, exif_writer.SHORT, (6,), "<")
    tiff = exif_writer.block("<", [orientation], [], exif_writer.position(PLACE, "<"))
    path.write_bytes(exif_writer.with_exif(path.read_bytes(), tiff.data))
    return path


FORMS = {
    "text": str,
    "path": lambda path: path,
    "pure path": lambda path: pathlib.PurePath(path),
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "part of a memoryview": lambda path: memoryview(b"--" + path.read_bytes())[2:],
    "bytes with a name": lambda path: PhotoBytes.of(path.read_bytes(), "upload.jpg"),
    "image": load,
    "picture from bytes": lambda path: PIL.Image.open(io.BytesIO(path.read_bytes())),
    "picture already decoded": lambda path: (opened := PIL.Image.open(path), opened.load())[0],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_photo_gives_the_same_image(photo, form):
    known, image = load(photo), load_photo(FORMS[form](photo))
    assert image.size == known.size
    assert image.position == pytest.approx(PLACE, abs=1e-5)
    assert np.abs(image.pixels.astype(int) - known.pixels).max() <= 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("several", [list, tuple, deque, iter, lambda photos: (p for p in photos)])
def test_one_photo_is_a_photo_and_several_are_several(photo, form, several):
    given = FORMS[form](photo)
    assert list(as_photos(given)) == [given]
    assert list(as_photos(several([given, given]))) == [given, given]


@pytest.mark.parametrize("form", FORMS)
def test_a_gallery_recognizes_every_form(gallery, view, form):
    given = FORMS[form](pathlib.Path(view))
    (alone,) = gallery.recognize(given)
    (among,) = gallery.recognize([given])
    assert alone.landmark == among.landmark
    assert alone.landmark.id == "palazzo-0"
    assert len(alone.photo) < 300, "the name is no photo"


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "CMYK", "1", "I;16", "I", "F", "YCbCr", "HSV"])
def test_a_pil_image_of_any_mode_becomes_rgb(mode):
    picture = PIL.Image.new("L", (40, 30), 255)
    picture = (
        PIL.Image.new(mode, (40, 30), 65535)
        if mode in ("I", "I;16")
        else picture.convert("RGB").convert(mode)
        if (mode in ("CMYK", "YCbCr", "HSV", "RGBA", "P"))
        else picture.convert(mode)
    )
    image = load_photo(picture)
    assert (image.size, image.pixels.shape, image.name) == ((40, 30), (30, 40, 3), "<PIL image>")
    assert image.pixels.min() >= 250


@pytest.mark.parametrize(
    "wrong", [None, 7, 1.5, True, object(), np.zeros((4, 4, 3), np.uint8), np.uint8(3), print, Failure("a", "b"), int]
)
def test_what_is_no_photo_is_a_type_error_that_says_what_is_one(gallery, wrong):
    for given in (wrong, [wrong]):
        with pytest.raises(TypeError, match="expected a path, the bytes of a photo, an Image or a PIL image, got"):
            list(gallery.recognize(given))


@pytest.mark.parametrize("content", [b"", b"no photo", b"\xff\xd8\xff\xe0", b"%PDF-1.7", b"<svg/>", b"PK\3\4"])
def test_bytes_that_are_no_photo_are_a_failure_without_them(gallery, content):
    (failure,) = gallery.recognize(content)
    assert isinstance(failure, Failure)
    assert failure.photo == "<bytes>"
    assert failure.error.startswith("<bytes>: ")


def test_a_pil_image_whose_file_is_cut_is_a_failure(gallery, view):
    cut = PIL.Image.open(io.BytesIO(pathlib.Path(view).read_bytes()[:5000]))
    (failure,) = gallery.recognize(cut)
    assert "pixels cannot be read" in failure.error


def test_a_folder_without_photos_is_a_failure(gallery, tmp_path):
    (tmp_path / "notes.txt").touch()
    (failure,) = gallery.recognize(tmp_path)
    assert (failure.photo, failure.error) == (str(tmp_path), f"{tmp_path}: has no photos in it")


@pytest.mark.parametrize("form", ["text", "bytes", "image", "picture from bytes"])
def test_every_form_can_be_explained(gallery, view, tmp_path, form):
    assert gallery.explain(FORMS[form](pathlib.Path(view)), tmp_path / "out").is_file()
