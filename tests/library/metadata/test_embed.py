"""Labels in the photos themselves: not a pixel and not a tag of anybody else's changes, and ours are known again."""

import io
import struct
import subprocess

import numpy as np
import PIL.Image
import pytest
from support import exif_writer as tiff
from support import world
from support.image_files import drawn, encoded, heic
from support.metadata import EIFFEL, NOWHERE, OPERA, complaints, exiftool, needs_exiftool, stored_position, tags

from veduta.errors import ImageError, LibraryError
from veduta.images import load
from veduta.images.metadata import jpeg
from veduta.images.metadata.xmp import ESTIMATE
from veduta.landmarks import Landmark
from veduta.library.metadata import xmp
from veduta.library.metadata.embed import embed_label, has_estimate, remove_embedded
from veduta.library.model import Label

PLAIN = encoded(drawn(), "JPEG", quality=90)
EIFFEL_PLACE = (48.858222, 2.2945)
MARK = ESTIMATE.encode()


def with_camera_exif(*, order="<", position=None, orientation=6):
    """A JPEG as a camera makes it: a maker's note that points at a place in the EXIF, a thumbnail, a color profile."""
    note = b"Veduta maker's note, which is at byte %d" + bytes(range(200))
    thumbnail = encoded(drawn(16, 12), "JPEG")
    shot = [tiff.text(0x9003, "2024:05:01 12:34:56"), tiff.Field(0x927C, tiff.UNDEFINED, len(note), note)]
    first = [tiff.text(0x10F, "Veduta"), tiff.numbers(0x112, tiff.SHORT, (orientation,), order)]
    first += [tiff.numbers(tag, tiff.RATIONAL, (72, 1), order) for tag in (0x11A, 0x11B)]
    place = tiff.position(position, order) if position else []
    block = tiff.block(order, first, shot, place)
    # The second directory has the thumbnail, behind everything.
    start = len(block.data) + len(block.data) % 2
    block, second = block.with_directory(
        [
            tiff.numbers(0x103, tiff.SHORT, (6,), order),
            tiff.numbers(0x201, tiff.LONG, (start + 2 + 3 * 12 + 4,), order),
            tiff.numbers(0x202, tiff.LONG, (len(thumbnail),), order),
        ]
    )
    link = 8 + 2 + 12 * len(block.fields(8))
    data = block.at(link, struct.pack(order + "I", second)).data + thumbnail
    profile = tiff.segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(400))
    return tiff.in_jpeg(PLAIN, tiff.segment(0xE1, jpeg.EXIF + data), profile) + b"trailing bytes"


CAMERA = {order: with_camera_exif(order=order) for order in "<>"}
JPEGS = {
    "plain": PLAIN,
    "little": CAMERA["<"],
    "big": CAMERA[">"],
    "progressive": encoded(drawn(), "JPEG", progressive=True),
}
CAMERAS = ("little", "big")


@pytest.fixture
def embed(tmp_path):
    """Write a label into a JPEG and return its bytes."""

    def embed(content, label=EIFFEL, *, known=False, name="a.jpg"):
        return embed_label(written(tmp_path / name, content), label, known)

    return embed


@pytest.fixture
def remove(tmp_path):
    """Take ours out of a JPEG and return its bytes."""
    return lambda content: remove_embedded(written(tmp_path / "a.jpg", content))


def written(path, data):
    path.write_bytes(data)
    return path


def packet(content):
    (body,) = jpeg.metadata(content, jpeg.XMP)
    return body


def foreign(tmp_path, content):
    """Every tag of a JPEG that is none of ours, without where things lie and what EXIF demands of every JPEG."""
    demanded = {"IFD0:XResolution", "IFD0:YResolution", "IFD0:ResolutionUnit", "IFD0:YCbCrPositioning"}
    demanded |= {"IFD0:ExifOffset", "ExifIFD:ExifVersion", "ExifIFD:ComponentsConfiguration", "ExifIFD:FlashpixVersion"}
    demanded |= {"ExifIFD:ColorSpace"}
    fields = tags(written(tmp_path / "witness.jpg", content))
    ours = ("GPS:", "XMP-", "IFD0:GPS")
    return {k: v for k, v in fields.items() if not k.startswith(ours) and "Offset" not in k and k not in demanded}


def picture(content):
    """The bytes of the compressed pixels, and whatever follows them."""
    place = 2
    while content[place + 1] != 0xDA:
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return content[place:]


def positions(tmp_path, content):
    """Every tag of a JPEG about its position."""
    fields = tags(written(tmp_path / "witness.jpg", content))
    return {tag: value for tag, value in fields.items() if tag.startswith("GPS:")}


def binary(path, tag):
    return subprocess.check_output(["exiftool", "-b", f"-{tag}", path])


@needs_exiftool
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_keeps_its_pixels_and_all_else(embed, tmp_path, kind):
    before = JPEGS[kind]
    after = embed(before)
    assert picture(after) == picture(before)
    assert np.array_equal(load(after).pixels, load(before).pixels)
    assert load(after).taken == load(before).taken
    assert stored_position(after) == pytest.approx(EIFFEL_PLACE, abs=1e-7)
    assert has_estimate(after)
    assert not has_estimate(before)
    assert xmp.merge_sidecar(None, EIFFEL, False) == packet(after)
    assert foreign(tmp_path, after) == foreign(tmp_path, before)


@needs_exiftool
@pytest.mark.parametrize("kind", JPEGS)
def test_maker_notes_thumbnail_and_color_profile_survive(embed, tmp_path, kind):
    before, after = (written(tmp_path / name, JPEGS[kind]) for name in ("before.jpg", "after.jpg"))
    written(after, embed(JPEGS[kind]))
    for tag in ("ThumbnailImage", "ICC_Profile", "MakerNoteUnknownBinary", "MakerNotes", "Trailer"):
        assert binary(before, tag) == binary(after, tag), tag
    assert bool(binary(after, "ThumbnailImage")) == (kind in CAMERAS)
    assert (b"Veduta maker's note" in after.read_bytes()) == (kind in CAMERAS)


@needs_exiftool
@pytest.mark.parametrize("kind", JPEGS)
def test_exiftool_reads_in_a_jpeg_what_was_written(embed, tmp_path, kind):
    before, after = (tmp_path / name for name in ("before.jpg", "after.jpg"))
    written(before, JPEGS[kind])
    written(after, embed(JPEGS[kind]))
    assert [c for c in complaints(after) if c not in complaints(before)] == []
    fields = tags(after)
    assert (fields["GPS:GPSLatitudeRef"], fields["GPS:GPSLongitudeRef"]) == ("N", "E")
    assert (fields["GPS:GPSLatitude"], fields["GPS:GPSLongitude"]) == pytest.approx(EIFFEL_PLACE, abs=1e-7)
    assert (fields["GPS:GPSProcessingMethod"], fields["GPS:GPSMapDatum"]) == ("MANUAL", "WGS-84")
    assert fields["GPS:GPSAreaInformation"] == ESTIMATE
    assert fields["XMP-dc:Subject"] == [EIFFEL.landmark.name, "France"]


@needs_exiftool
def test_exiftool_finds_nothing_wrong_with_a_jpeg_that_had_nothing(embed, tmp_path):
    for label in (EIFFEL, OPERA, NOWHERE):
        assert complaints(written(tmp_path / "b.jpg", embed(PLAIN, label))) == []


@needs_exiftool
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_written_twice_is_the_same_and_does_not_grow(embed, kind):
    once = embed(JPEGS[kind])
    assert embed(once) == once
    moved = embed(once, OPERA)
    assert stored_position(moved) == pytest.approx((-33.856784, 151.215297), abs=1e-7)
    back = embed(moved)
    assert len(back) == len(once)
    assert packet(back) == packet(once)
    assert stored_position(back) == stored_position(once)


@needs_exiftool
@pytest.mark.parametrize("kind", JPEGS)
def test_an_estimate_goes_when_the_new_landmark_has_no_place(embed, tmp_path, kind):
    gone = embed(embed(JPEGS[kind]), NOWHERE)
    assert stored_position(gone) is None
    assert not has_estimate(gone)
    assert MARK not in gone
    assert foreign(tmp_path, gone) == foreign(tmp_path, JPEGS[kind])
    assert stored_position(embed(gone)) == pytest.approx(EIFFEL_PLACE, abs=1e-7)


@needs_exiftool
@pytest.mark.parametrize("order", "<>")
def test_the_position_of_the_camera_stays(embed, tmp_path, order):
    photo = with_camera_exif(order=order, position=(10.25, -20.5))
    after = embed(photo)
    assert stored_position(after) == (10.25, -20.5)
    assert positions(tmp_path, after) == positions(tmp_path, photo)
    assert foreign(tmp_path, after) == foreign(tmp_path, photo)
    assert not has_estimate(after)
    assert not xmp.estimates(packet(after))


@needs_exiftool
def test_a_position_known_from_elsewhere_leaves_exif_as_it_is(embed, tmp_path):
    after = embed(CAMERA["<"], known=True)
    assert positions(tmp_path, after) == {}
    assert foreign(tmp_path, after) == foreign(tmp_path, CAMERA["<"])
    told_in_xmp = xmp.merge_sidecar(None, EIFFEL, True).replace(
        b"<dc:subject>", b"<exif:GPSLatitude>1,2N</exif:GPSLatitude><dc:subject>"
    )
    assert stored_position(embed(tiff.with_xmp(PLAIN, told_in_xmp))) is None


@needs_exiftool
def test_what_else_is_known_of_the_position_stays(embed, tmp_path):
    photo = tiff.with_exif(PLAIN, tiff.block("<", [], [], [tiff.text(0x1D, "2024:05:01")]).data)
    after = embed(photo)
    assert has_estimate(after)
    assert tags(written(tmp_path / "b.jpg", after))["GPS:GPSDateStamp"] == "2024:05:01"
    gone = embed(after, NOWHERE)
    assert positions(tmp_path, gone) == positions(tmp_path, photo) == {"GPS:GPSDateStamp": "2024:05:01"}
    assert MARK not in gone


@needs_exiftool
def test_zeros_without_a_fix_are_no_position(embed):
    assert has_estimate(embed(with_camera_exif(position=(0.0, 0.0))))


@needs_exiftool
def test_an_estimate_the_person_has_corrected_is_theirs(embed, remove, tmp_path):
    path = written(tmp_path / "b.jpg", embed(CAMERA["<"]))
    exiftool("-overwrite_original", "-GPSLatitude=48.86", path)
    corrected = path.read_bytes()
    assert not has_estimate(corrected)
    once = embed(corrected, OPERA)
    for content in (once, embed(once), remove(corrected)):
        assert stored_position(content) == pytest.approx((48.86, 2.2945), abs=1e-6)
        assert not has_estimate(content)
        assert MARK not in content


@needs_exiftool
@pytest.mark.parametrize("kind", JPEGS)
def test_what_was_written_into_a_jpeg_comes_out_and_nothing_else(embed, remove, tmp_path, kind):
    before = JPEGS[kind]
    gone = remove(embed(before))
    assert not any(word in gone for word in (b"Eiffel", b"urn:veduta", MARK))
    assert stored_position(gone) is None
    assert picture(gone) == picture(before)
    assert foreign(tmp_path, gone) == foreign(tmp_path, before)
    assert positions(tmp_path, gone) == {}
    assert remove(gone) == gone
    assert remove(before) == before
    assert has_estimate(embed(gone))


@needs_exiftool
def test_what_the_person_and_the_camera_wrote_stays_when_ours_comes_out(embed, remove, tmp_path):
    theirs = xmp.merge_sidecar(None, NOWHERE, True).replace(b"urn:veduta:", b"urn:somebody:")
    photo = tiff.with_xmp(with_camera_exif(position=(10.25, -20.5)), theirs)
    gone = remove(embed(photo))
    assert packet(gone) == theirs
    assert tags(written(tmp_path / "b.jpg", gone)) == tags(written(tmp_path / "c.jpg", photo))
    assert picture(gone) == picture(photo)


def with_second_picture():
    """A JPEG with a second picture behind the first."""
    out = io.BytesIO()
    first, second = (PIL.Image.fromarray(world.facade(seed, 96, 72)) for seed in (1, 2))
    first.save(out, "MPO", save_all=True, append_images=[second])
    return out.getvalue()


def second_picture(content):
    photo = PIL.Image.open(io.BytesIO(content))
    assert photo.n_frames == 2
    photo.seek(1)
    return np.asarray(photo)


@needs_exiftool
def test_a_second_picture_is_where_its_list_says(embed, remove):
    before = with_second_picture()
    after = embed(before)
    assert has_estimate(after)
    assert np.array_equal(second_picture(after), second_picture(before))
    assert np.array_equal(second_picture(remove(after)), second_picture(before))


@needs_exiftool
@pytest.mark.parametrize(
    ("north", "east"), [(-90, -180), (90, 180), (0, 180), (59.99999999, -0.00000001), (-1e-9, 1e-9), (1 / 3, -2 / 3)]
)
@pytest.mark.parametrize("order", "<>")
def test_any_place_comes_back(embed, north, east, order):
    position = stored_position(embed(CAMERA[order], Label(Landmark("1", "x", north, east), 1.0, "person")))
    assert position == pytest.approx((north, east), abs=1e-7) if position else max(abs(north), abs(east)) < 1e-7


@needs_exiftool
@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xd8\xff",
        PLAIN[:30],
        b"\xff\xd8\xffgarbage, and more of it",
        tiff.with_exif(PLAIN, b"II*\0\xff\xff\0\0"),
        tiff.with_exif(PLAIN, b"II*\0\x08\0\0\0\xff\0"),
        tiff.with_xmp(PLAIN, b"<x"),
        tiff.with_xmp(PLAIN, b"<a/>" + b" " * 65000),
    ],
)
def test_what_cannot_be_written_into_is_an_error_that_names_it(embed, bad):
    with pytest.raises(
        LibraryError, match=r"a\.jpg: nothing is written into it \(.+\); write sidecars instead"
    ) as caught:
        embed(bad)
    assert "\n" not in str(caught.value)


@needs_exiftool
def test_metadata_too_long_for_one_segment_of_a_jpeg_is_still_read_again(embed, remove):
    foreign = xmp.merge_sidecar(None, NOWHERE, True).replace(b"urn:veduta:", b"urn:somebody:")
    photo = tiff.with_xmp(PLAIN, foreign + b" " * (65_533 - len(jpeg.XMP) - len(foreign)))
    after = embed(photo)
    assert has_estimate(after)
    assert embed(after) == after
    assert b"Eiffel" not in remove(after)


OTHERS = {
    "heic": heic(),
    "avif": encoded(drawn(), "AVIF"),
    "webp": encoded(drawn(), "WEBP", lossless=True),
    "png": encoded(drawn(), "PNG"),
    "tif": encoded(drawn(), "TIFF", dpi=(72, 72)),
}


@needs_exiftool
@pytest.mark.parametrize("suffix", OTHERS)
def test_other_formats_keep_their_pixels_and_say_what_was_written(tmp_path, suffix):
    # A name that exiftool would take for an option, in a folder that it would too.
    path = written(tmp_path / f"-delete_original!.{suffix}", OTHERS[suffix])
    after = embed_label(path, EIFFEL, False)
    assert path.read_bytes() == OTHERS[suffix]
    assert list(tmp_path.iterdir()) == [path]
    assert np.array_equal(load(after).pixels, load(OTHERS[suffix]).pixels)
    assert stored_position(after) == pytest.approx(EIFFEL_PLACE, abs=1e-7)
    assert has_estimate(after)
    written(path, after)
    assert complaints(path) == []
    said = tags(path)
    assert said["XMP-dc:Subject"] == [EIFFEL.landmark.name, "France"]
    assert said["GPS:GPSAreaInformation"] == ESTIMATE
    assert embed_label(path, EIFFEL, False) == after


@needs_exiftool
@pytest.mark.parametrize("suffix", OTHERS)
def test_what_was_written_into_other_formats_comes_out(tmp_path, suffix):
    path = written(tmp_path / f"a.{suffix}", OTHERS[suffix])
    assert remove_embedded(path) == OTHERS[suffix]
    written(path, embed_label(path, EIFFEL, False))
    exiftool("-overwrite_original", "-XMP-dc:Subject+=mine", "-EXIF:Artist=Jo", path)
    gone = remove_embedded(path)
    assert not any(word in gone for word in (b"Eiffel", b"urn:veduta", ESTIMATE.encode()))
    assert np.array_equal(load(gone).pixels, load(OTHERS[suffix]).pixels)
    assert stored_position(gone) is None
    written(path, gone)
    assert (tags(path)["XMP-dc:Subject"], tags(path)["IFD0:Artist"]) == (["mine"], "Jo")
    assert remove_embedded(path) == gone


@needs_exiftool
def test_an_estimate_in_a_png_that_the_person_has_corrected_is_theirs(tmp_path):
    path = written(tmp_path / "a.png", OTHERS["png"])
    written(path, embed_label(path, EIFFEL, False))
    exiftool("-overwrite_original", "-GPSLatitude=48.86", path)
    for label in (OPERA, EIFFEL):
        written(path, embed_label(path, label, False))
        assert stored_position(path) == pytest.approx((48.86, 2.2945), abs=1e-6)
        assert not has_estimate(path.read_bytes())


@needs_exiftool
def test_a_heic_gets_another_label_and_keeps_what_the_person_wrote(tmp_path):
    path = written(tmp_path / "a.heic", embed_label(written(tmp_path / "b.heic", heic()), EIFFEL, False))
    exiftool("-overwrite_original", "-XMP-dc:Subject+=mine", "-EXIF:Artist=Jo", path)
    written(path, embed_label(path, NOWHERE, False))
    said = tags(path)
    assert said["XMP-dc:Subject"] == ["mine", "Somewhere"]
    assert said["IFD0:Artist"] == "Jo"
    assert not [tag for tag in said if tag.startswith("GPS:") and tag != "GPS:GPSVersionID"]
    assert not has_estimate(path.read_bytes())


@needs_exiftool
def test_the_position_of_the_camera_stays_in_a_png_too(tmp_path):
    path = written(tmp_path / "a.png", OTHERS["png"])
    exiftool(
        "-overwrite_original", "-GPSLatitude=10.5", "-GPSLatitudeRef=S", "-GPSLongitude=20", "-GPSLongitudeRef=E", path
    )
    written(path, embed_label(path, EIFFEL, False))
    assert stored_position(path) == pytest.approx((-10.5, 20), abs=1e-6)
    assert not xmp.estimates(exiftool("-b", "-XMP", path).encode())


@needs_exiftool
def test_what_exiftool_cannot_write_into_is_an_error_that_names_it(tmp_path):
    for name, data in (("a.bmp", encoded(drawn(), "BMP")), ("b.png", OTHERS["png"][:-40]), ("c.heic", heic()[:200])):
        path = written(tmp_path / name, data)
        with pytest.raises(
            LibraryError, match=rf"{name}: nothing is written into it \(.+\); write sidecars instead"
        ) as caught:
            embed_label(path, EIFFEL, False)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == data


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_without_exiftool_the_error_says_how_to_install_it(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", str(tmp_path))
    content = PLAIN if name == "a.jpg" else OTHERS["png"]
    path = written(tmp_path / name, content)
    with pytest.raises(LibraryError, match=rf"{name}: .*\(exiftool is not installed, see apt-get install"):
        embed_label(path, EIFFEL, False)
    assert remove_embedded(path) == content
    with pytest.raises(LibraryError, match=rf"{name}: .*\(exiftool is not installed"):
        remove_embedded(written(path, content + b"urn:veduta:xmp:1.0/"))


def test_into_a_raw_nothing_is_written(tmp_path):
    with pytest.raises(LibraryError, match=r"a\.NEF: is a RAW"):
        embed_label(written(tmp_path / "a.NEF", b"II*\0"), EIFFEL, False)
    with pytest.raises(ImageError, match=r"b\.jpg: cannot be read"):
        embed_label(tmp_path / "b.jpg", EIFFEL, False)


@needs_exiftool
def test_pillow_reads_the_photo_as_before(tmp_path, embed):
    photo = world.save(world.facade(3), tmp_path / "b.jpg").read_bytes()
    before, after = (PIL.Image.open(io.BytesIO(content)) for content in (photo, embed(photo, OPERA)))
    assert np.array_equal(np.asarray(before), np.asarray(after))
