"""JPEGs of any size, and those whose end is missing but none of whose pixels is."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest
from support.image_files import drawn

from veduta.errors import ImageError, TooLargeError
from veduta.images import decoding_bytes, load
from veduta.library.scan import ScanLimits


def jpeg(image, **more):
    out = io.BytesIO()
    image.save(out, "JPEG", **more)
    return out.getvalue()


@pytest.mark.parametrize("size", [(9504, 6336), (12000, 9000), (16382, 3900), (3900, 16382), (16320, 12240)])
def test_a_large_jpeg_is_a_normal_photo(size):
    content = jpeg(PIL.Image.new("RGB", size, (90, 120, 40)), quality=30)
    assert decoding_bytes(content, "a.jpg") <= ScanLimits().decoding
    image = load(content, max_memory=ScanLimits().decoding)
    assert image.size == size
    assert max(image.pixels.shape) == 1024


def test_a_large_picture_of_another_format_is_refused_by_its_memory():
    out = io.BytesIO()
    PIL.Image.new("P", (30_000, 30_000)).save(out, "GIF")
    with pytest.raises(TooLargeError, match="MB to decode, more than 674 MB"):
        load(out.getvalue(), max_memory=ScanLimits().decoding)


KINDS = {
    "plain": {},
    "progressive": {"progressive": True},
    "gray": {"mode": "L"},
    "all colors": {"subsampling": 0},
    "half the colors": {"subsampling": 1},
    "with restarts": {"restart_marker_blocks": 4},
    "optimized": {"optimize": True},
    "best": {"quality": 100},
    "poor": {"quality": 5},
    "cmyk": {"mode": "CMYK"},
}


@pytest.mark.parametrize("max_side", [1024, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_without_its_end_is_whole(kind, max_side, tmp_path):
    options = dict(KINDS[kind])
    whole = jpeg(drawn().resize((320, 240)).convert(options.pop("mode", "RGB")), **options)
    assert whole.endswith(b"\xff\xd9")
    for cut in (whole[:-2], whole[:-1], whole[:-2] + bytes(7)):
        pixels = load(cut, max_side=max_side).pixels
        assert np.array_equal(pixels, load(whole, max_side=max_side).pixels)
    if kind != "cmyk":  # OpenCV, which is the witness, has no such colors
        for name, content in (("cut.jpg", whole[:-2]), ("whole.jpg", whole)):
            (tmp_path / name).write_bytes(content)
        assert np.array_equal(cv2.imread(tmp_path / "cut.jpg"), cv2.imread(tmp_path / "whole.jpg"))


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("kind", ["plain", "progressive", "gray", "best"])
def test_a_jpeg_that_lacks_pixels_is_refused(kind, kept):
    options = dict(KINDS[kind])
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
    whole = jpeg(PIL.Image.fromarray(noise).convert(options.pop("mode", "RGB")), **options)
    with pytest.raises(ImageError, match="is a JPEG that is damaged"):
        load(whole[: int(len(whole) * kept)])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x18ftypmif3\0\0\0\1mif3isom", "a HEIF of an unknown kind"),
        (b"\0\0\0\x18ftypmif2\0\0\0\1mif2isom", "a HEIF of an unknown kind"),
        (b"\0\0\0\x18ftypavci\0\0\0\1avciisom", "a HEIF of an unknown kind"),
        (b"\0\0\0\x18ftypqt  \0\0\0\1qt  isom", "a video"),
        (b"\0\0\0\x18ftypisom\0\0\0\1isommp42", "a video"),
        (b"\0\0\0\x18ftypM4V \0\0\0\1M4V isom", "a video"),
        (b"\0\0\0\x18ftyp3gp4\0\0\0\1isom3gp4", "a video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL file"),
        (b"\xff\x0a\0\0", "a JPEG XL file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 file"),
        (b"\xff\x4f\xff\x51\0\x2f", "a JPEG 2000 file"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"gimp xcf v011\0", "a GIMP picture"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_what_is_no_photo_is_called_what_it_is(head, expected):
    with pytest.raises(ImageError, match=f"is {expected}, not a photo"):
        load(head + bytes(400))
