"""Labels in the photos themselves: not a pixel and not a tag of anybody else's changes, and ours are known again."""

import io
import struct
import subprocess

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import world
from support.image_files import drawn, encoded, heic
from support.metadata import EIFFEL, NOWHERE, OPERA, complaints, exiftool, needs_exiftool, tags

from veduta.errors import ImageError, LibraryError
from veduta.images import jpeg, load, tiff
from veduta.library.metadata import gps, keywords, xmp
from veduta.library.metadata.embed import (
    embed_jpeg_label,
    embed_label,
    embed_with_exiftool,
    has_estimate,
    remove_embedded,
    remove_from_jpeg,
)
from veduta.library.model import Label
from veduta.types import Landmark

PLAIN = encoded(drawn(), "JPEG", quality=90)
OURS = ("GPS:", "XMP-", "IFD0:GPS", "ICC")
EIFFEL_PLACE = (48.858222, 2.2945)


def with_camera_exif(*, order="<", position=None, orientation=6):
    """A JPEG as a camera makes it: a maker's note that points at a place in the EXIF, a thumbnail, a colour profile."""
    note = b"Veduta maker's note, which is at byte %d" + bytes(range(200))
    thumbnail = encoded(drawn(16, 12), "JPEG")
    shot = [tiff.text(0x9003, "2024:05:01 12:34:56"), tiff.Field(0x927C, tiff.UNDEFINED, len(note), note)]
    first = [tiff.text(0x10F, "Veduta"), tiff.numbers(0x112, tiff.SHORT, (orientation,), order)]
    first += [tiff.numbers(tag, tiff.RATIONAL, (72, 1), order) for tag in (0x11A, 0x11B)]
    place = [f for f in gps.estimate(position, order) if f.tag < 5] if position else []
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
    profile = b"ICC_PROFILE\0\1\1" + bytes(400)
    photo = jpeg.split(PLAIN).with_body(jpeg.EXIF, data)
    icc = jpeg.Segment(0xE2, profile, b"\xff\xe2" + (len(profile) + 2).to_bytes(2) + profile)
    return jpeg.Jpeg((*photo.segments, icc), photo.rest + b"trailing bytes").joined()


CAMERA = {order: with_camera_exif(order=order) for order in "<>"}
JPEGS = {
    "plain": PLAIN,
    "little": CAMERA["<"],
    "big": CAMERA[">"],
    "progressive": encoded(drawn(), "JPEG", progressive=True),
}
CAMERAS = ("little", "big")


def exif_of(content):
    return tiff.Tiff(jpeg.split(content).body(jpeg.EXIF))


def second_directory(content):
    """Where the directory of the thumbnail begins."""
    block = exif_of(content)
    return block.number(block.first + 2 + 12 * len(block.fields(block.first)))


def written(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_keeps_its_pixels_and_all_else(kind):
    before = JPEGS[kind]
    after = embed_jpeg_label(before, EIFFEL, False)
    assert jpeg.split(after).foreign() == jpeg.split(before).foreign()
    assert np.array_equal(load(after).pixels, load(before).pixels)
    assert load(after).taken == load(before).taken
    assert load(after).position == pytest.approx(EIFFEL_PLACE, abs=1e-7)
    assert has_estimate(after)
    assert not has_estimate(before)
    assert xmp.merge_sidecar(None, EIFFEL, False) == jpeg.split(after).body(jpeg.XMP)


@pytest.mark.parametrize("order", "<>")
def test_nothing_in_the_exif_of_a_camera_moves(order):
    before, after = (
        exif_of(content).data for content in (CAMERA[order], embed_jpeg_label(CAMERA[order], EIFFEL, False))
    )
    # But for where the header says that the first directory lies.
    assert after[:4] == before[:4]
    assert after[8 : len(before)] == before[8:]


@needs_exiftool
@pytest.mark.parametrize("kind", JPEGS)
def test_exiftool_reads_in_a_jpeg_what_was_written_and_the_rest_as_before(tmp_path, kind):
    before, after = (tmp_path / name for name in ("before.jpg", "after.jpg"))
    written(before, JPEGS[kind])
    written(after, embed_jpeg_label(JPEGS[kind], EIFFEL, False))
    assert [c for c in complaints(after) if c not in complaints(before)] == []
    said, was = tags(after), tags(before)
    assert (said["GPS:GPSLatitudeRef"], said["GPS:GPSLongitudeRef"]) == ("N", "E")
    assert (said["GPS:GPSLatitude"], said["GPS:GPSLongitude"]) == pytest.approx(EIFFEL_PLACE, abs=1e-7)
    assert (said["GPS:GPSProcessingMethod"], said["GPS:GPSMapDatum"]) == ("MANUAL", "WGS-84")
    assert said["GPS:GPSAreaInformation"] == keywords.ESTIMATE
    assert said["XMP-dc:Subject"] == [EIFFEL.landmark.name, "France"]
    made = {"IFD0:XResolution", "IFD0:YResolution", "IFD0:ResolutionUnit", "IFD0:YCbCrPositioning"} - was.keys()
    kept = {k: v for k, v in said.items() if not k.startswith(("GPS:", "XMP-")) and k not in made and "Offset" not in k}
    assert kept == {k: v for k, v in was.items() if "Offset" not in k}
    thumbnails = [subprocess.check_output(["exiftool", "-b", "-ThumbnailImage", path]) for path in (before, after)]
    assert thumbnails[0] == thumbnails[1]
    assert bool(thumbnails[0]) == (kind in CAMERAS)


@needs_exiftool
def test_exiftool_finds_nothing_wrong_with_a_jpeg_that_had_nothing(tmp_path):
    for label in (EIFFEL, OPERA, NOWHERE):
        assert complaints(written(tmp_path / "a.jpg", embed_jpeg_label(PLAIN, label, False))) == []


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_written_twice_is_the_same_and_does_not_grow(kind):
    once = embed_jpeg_label(JPEGS[kind], EIFFEL, False)
    assert embed_jpeg_label(once, EIFFEL, False) == once
    there = embed_jpeg_label(once, OPERA, False)
    assert load(there).position == pytest.approx((-33.856784, 151.215297), abs=1e-7)
    assert len(exif_of(there).data) == len(exif_of(once).data)
    assert embed_jpeg_label(there, EIFFEL, False) == once


@pytest.mark.parametrize("kind", JPEGS)
def test_an_estimate_goes_when_the_new_landmark_has_no_place(kind):
    gone = embed_jpeg_label(embed_jpeg_label(JPEGS[kind], EIFFEL, False), NOWHERE, False)
    assert load(gone).position is None
    assert not has_estimate(gone)
    assert keywords.ESTIMATE.encode() not in gone
    assert load(gone).taken == load(JPEGS[kind]).taken
    if kind in CAMERAS:
        assert second_directory(gone) == second_directory(JPEGS[kind]) > 0
    back = embed_jpeg_label(gone, EIFFEL, False)
    assert load(back).position == pytest.approx(EIFFEL_PLACE, abs=1e-7)


@pytest.mark.parametrize("order", "<>")
def test_the_position_of_the_camera_stays(order):
    photo = with_camera_exif(order=order, position=(10.25, -20.5))
    after = embed_jpeg_label(photo, EIFFEL, False)
    assert load(after).position == (10.25, -20.5)
    assert exif_of(after).data == exif_of(photo).data
    assert not has_estimate(after)
    assert not xmp.estimates(jpeg.split(after).body(jpeg.XMP))


def test_a_position_known_from_elsewhere_leaves_exif_as_it_is():
    after = embed_jpeg_label(CAMERA["<"], EIFFEL, True)
    assert exif_of(after).data == exif_of(CAMERA["<"]).data
    packet = xmp.merge_sidecar(None, EIFFEL, True).replace(
        b"<dc:subject>", b"<exif:GPSLatitude>1,2N</exif:GPSLatitude><dc:subject>"
    )
    told_in_xmp = jpeg.split(PLAIN).with_body(jpeg.XMP, packet).joined()
    assert load(embed_jpeg_label(told_in_xmp, EIFFEL, False)).position is None


def test_what_else_is_known_of_the_position_stays():
    stamp = [tiff.text(0x1D, "2024:05:01")]
    photo = jpeg.split(PLAIN).with_body(jpeg.EXIF, tiff.block("<", [], [], stamp).data).joined()
    after = embed_jpeg_label(photo, EIFFEL, False)
    assert has_estimate(after)
    block = exif_of(after)
    place = block.pointed(block.fields(block.first), tiff.GPS_POINTER)
    assert block.value(place[0x1D]) == b"2024:05:01\0"
    gone = exif_of(embed_jpeg_label(after, NOWHERE, False))
    place = gone.pointed(gone.fields(gone.first), tiff.GPS_POINTER)
    assert [(tag, gone.value(field)) for tag, field in place.items()] == [(0x1D, b"2024:05:01\0")]
    assert keywords.ESTIMATE.encode() not in gone.data


def test_exif_goes_before_xmp_and_both_before_what_counts_bytes_from_its_own_place():
    after = jpeg.split(embed_jpeg_label(PLAIN, EIFFEL, False))
    assert [segment.marker for segment in after.segments[:3]] == [0xE0, 0xE1, 0xE1]
    assert [segment.body[:4] for segment in after.segments[:3]] == [b"JFIF", b"Exif", b"http"]
    after = jpeg.split(embed_jpeg_label(CAMERA["<"], EIFFEL, False))
    assert [segment.body[:4] for segment in after.segments[:3]] == [b"JFIF", b"Exif", b"http"]


def test_zeros_without_a_fix_are_no_position():
    assert has_estimate(embed_jpeg_label(with_camera_exif(position=(0.0, 0.0)), EIFFEL, False))


@needs_exiftool
def test_an_estimate_the_person_has_corrected_is_theirs(tmp_path):
    path = written(tmp_path / "a.jpg", embed_jpeg_label(CAMERA["<"], EIFFEL, False))
    exiftool("-overwrite_original", "-GPSLatitude=48.86", path)
    corrected = path.read_bytes()
    assert not has_estimate(corrected)
    once = embed_jpeg_label(corrected, OPERA, False)
    for content in (once, embed_jpeg_label(once, EIFFEL, False), remove_from_jpeg(corrected)):
        assert load(content).position == pytest.approx((48.86, 2.2945), abs=1e-6)
        assert not has_estimate(content)
        assert keywords.ESTIMATE.encode() not in content


@pytest.mark.parametrize("kind", JPEGS)
def test_what_was_written_into_a_jpeg_comes_out_and_nothing_else(tmp_path, kind):
    before = JPEGS[kind]
    path = written(tmp_path / "a.jpg", embed_jpeg_label(before, EIFFEL, False))
    gone = remove_embedded(path)
    assert not any(word in gone for word in (b"Eiffel", b"urn:veduta", keywords.ESTIMATE.encode()))
    assert load(gone).position is None
    assert jpeg.split(gone).foreign() == jpeg.split(before).foreign()
    if kind in CAMERAS:
        assert second_directory(gone) == second_directory(before) > 0
    assert remove_embedded(written(path, gone)) == gone
    assert remove_embedded(written(path, before)) == before
    assert has_estimate(embed_jpeg_label(gone, EIFFEL, False))


def test_what_the_person_and_the_camera_wrote_stays_when_ours_comes_out(tmp_path):
    photo = with_camera_exif(position=(10.25, -20.5))
    mine = xmp.merge_sidecar(None, NOWHERE, True).replace(b"urn:veduta:", b"urn:somebody:")
    photo = jpeg.split(photo).with_body(jpeg.XMP, mine).joined()
    assert remove_embedded(written(tmp_path / "a.jpg", embed_jpeg_label(photo, EIFFEL, False))) == photo


def with_second_picture(*, behind=()):
    """A JPEG with a second picture behind the first and, behind the list that leads to it, EXIF or XMP."""
    out = io.BytesIO()
    first, second = (PIL.Image.fromarray(world.facade(seed, 96, 72)) for seed in (1, 2))
    first.save(out, "MPO", save_all=True, append_images=[second])
    photo = jpeg.split(out.getvalue())
    (place,) = (i for i, segment in enumerate(photo.segments) if segment.body.startswith(b"MPF\0"))
    block = tiff.Tiff(photo.segments[place].body[4:])
    spot = block.spot(block.fields(block.first)[0xB002])[0] + 16 + 8  # where the second of the entries counts to
    added = [jpeg.split(PLAIN).with_body(kind, body).segments[1] for kind, body in behind]
    further = block.number(spot) + sum(len(segment.raw) for segment in added)
    body = b"MPF\0" + block.at(spot, struct.pack(block.order + "I", further)).data
    listed = jpeg.Segment(0xE2, body, b"\xff\xe2" + (len(body) + 2).to_bytes(2) + body)
    segments = (*photo.segments[:place], listed, *added, *photo.segments[place + 1 :])
    return jpeg.Jpeg(segments, photo.rest).joined()


def second_picture(content):
    photo = PIL.Image.open(io.BytesIO(content))
    assert photo.n_frames == 2
    photo.seek(1)
    return np.asarray(photo)


def test_a_second_picture_is_found_where_its_list_says():
    before = with_second_picture()
    after = embed_jpeg_label(before, EIFFEL, False)
    assert has_estimate(after)
    assert np.array_equal(second_picture(after), second_picture(before))
    assert np.array_equal(second_picture(remove_from_jpeg(after)), second_picture(before))


@pytest.mark.parametrize("kind", ["exif", "xmp"])
def test_a_second_picture_that_would_be_lost_is_a_reason_to_refuse(kind):
    told = xmp.merge_sidecar(None, NOWHERE, True)
    behind = {"exif": (jpeg.EXIF, exif_of(CAMERA["<"]).data), "xmp": (jpeg.XMP, told)}[kind]
    photo = with_second_picture(behind=[behind])
    assert second_picture(photo).shape == (72, 96, 3)
    with pytest.raises(
        LibraryError, match=r"^a\.jpg: .*has a second picture whose place would change\); write sidecars"
    ):
        embed_jpeg_label(photo, EIFFEL, False, name="a.jpg")
    if kind == "xmp":
        assert embed_jpeg_label(photo, NOWHERE, True) == photo
        with pytest.raises(LibraryError, match="second picture"):
            remove_from_jpeg(photo)


@given(st.floats(-90, 90), st.floats(-180, 180), st.sampled_from("<>"))
@settings(deadline=None)
def test_any_place_comes_back(north, east, order):
    label = Label(Landmark("1", "x", north, east), 1.0, "person")
    block = exif_of(embed_jpeg_label(CAMERA[order], label, False))
    found = gps.position(block)
    assert found == pytest.approx((north, east), abs=1e-7) if found else max(abs(north), abs(east)) < 1e-7


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"\xff\xd8\xff", "no segment"),
        (PLAIN[:30], "cut short"),
        (b"\xff\xd8\xffgarbage, and more of it", "cut short|no segment"),
        (jpeg.split(PLAIN).with_body(jpeg.EXIF, b"nonsense").joined(), "no TIFF"),
        (jpeg.split(PLAIN).with_body(jpeg.EXIF, b"II*\0\xff\xff\0\0").joined(), "outside"),
        (jpeg.split(PLAIN).with_body(jpeg.EXIF, b"II*\0\x08\0\0\0\xff\0").joined(), "cut short"),
        (jpeg.split(PLAIN).with_body(jpeg.XMP, b"<x").joined(), "its XMP"),
        (jpeg.split(PLAIN).with_body(jpeg.XMP, b"<a/>" + b" " * 65000).joined(), "is not XMP"),
    ],
)
def test_what_cannot_be_written_into_is_an_error_that_names_it(bad, problem):
    with pytest.raises(LibraryError, match=rf"^a\.jpg.*({problem})"):
        embed_jpeg_label(bad, EIFFEL, False, name="a.jpg")


def test_metadata_too_long_for_a_jpeg_is_an_error():
    packet = xmp.merge_sidecar(None, NOWHERE, True)
    full = jpeg.split(PLAIN).with_body(jpeg.XMP, packet + b" " * (jpeg.MAX_SEGMENT - len(jpeg.XMP) - len(packet)))
    with pytest.raises(LibraryError, match="65,504"):
        embed_jpeg_label(full.joined(), EIFFEL, False)
    block = exif_of(CAMERA["<"]).data
    full = jpeg.split(PLAIN).with_body(jpeg.EXIF, block.ljust(jpeg.MAX_SEGMENT - len(jpeg.EXIF), b"\0"))
    with pytest.raises(LibraryError, match="metadata"):
        embed_jpeg_label(full.joined(), EIFFEL, False)


@given(st.binary(max_size=200), st.integers(0, 200))
@settings(deadline=None, max_examples=100)
def test_broken_exif_is_an_error_or_does_no_harm(noise, place):
    block = exif_of(CAMERA["<"]).data
    broken = block[:place] + noise + block[place + len(noise) :]
    photo = jpeg.split(PLAIN).with_body(jpeg.EXIF, broken).joined()
    try:
        after = embed_jpeg_label(photo, EIFFEL, False)
    except LibraryError:
        return
    assert jpeg.split(after).foreign() == jpeg.split(photo).foreign()
    assert embed_jpeg_label(after, EIFFEL, False) == after


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
    assert load(after).position == pytest.approx(EIFFEL_PLACE, abs=1e-7)
    assert has_estimate(after)
    written(path, after)
    assert complaints(path) == []
    said = tags(path)
    assert said["XMP-dc:Subject"] == [EIFFEL.landmark.name, "France"]
    assert said["GPS:GPSAreaInformation"] == keywords.ESTIMATE
    assert embed_label(path, EIFFEL, False) == after


@needs_exiftool
@pytest.mark.parametrize("suffix", OTHERS)
def test_what_was_written_into_other_formats_comes_out(tmp_path, suffix):
    path = written(tmp_path / f"a.{suffix}", OTHERS[suffix])
    assert remove_embedded(path) == OTHERS[suffix]
    written(path, embed_label(path, EIFFEL, False))
    exiftool("-overwrite_original", "-XMP-dc:Subject+=mine", "-EXIF:Artist=Jo", path)
    gone = remove_embedded(path)
    assert not any(word in gone for word in (b"Eiffel", b"urn:veduta", keywords.ESTIMATE.encode()))
    assert np.array_equal(load(gone).pixels, load(OTHERS[suffix]).pixels)
    assert load(gone).position is None
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
        assert load(path).position == pytest.approx((48.86, 2.2945), abs=1e-6)
        assert not has_estimate(path.read_bytes())


@needs_exiftool
def test_a_heic_gets_another_label_and_keeps_what_the_person_wrote(tmp_path):
    path = written(tmp_path / "a.heic", embed_with_exiftool(written(tmp_path / "b.heic", heic()), EIFFEL, False))
    exiftool("-overwrite_original", "-XMP-dc:Subject+=mine", "-EXIF:Artist=Jo", path)
    written(path, embed_with_exiftool(path, NOWHERE, False))
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
    assert load(path).position == pytest.approx((-10.5, 20), abs=1e-6)
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


def test_without_exiftool_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LibraryError, match=r"a\.png: .*\(exiftool is not installed, see apt-get install"):
        embed_label(written(tmp_path / "a.png", OTHERS["png"]), EIFFEL, False)
    assert has_estimate(embed_label(written(tmp_path / "a.jpg", PLAIN), EIFFEL, False))
    assert remove_embedded(tmp_path / "a.png") == OTHERS["png"]
    with pytest.raises(LibraryError, match=r"a\.png: .*\(exiftool is not installed"):
        remove_embedded(written(tmp_path / "a.png", OTHERS["png"] + b"urn:veduta:xmp:1.0/"))


def test_into_a_raw_nothing_is_written(tmp_path):
    with pytest.raises(LibraryError, match=r"a\.NEF: is a RAW"):
        embed_label(written(tmp_path / "a.NEF", b"II*\0"), EIFFEL, False)
    with pytest.raises(ImageError, match=r"b\.jpg: cannot be read"):
        embed_label(tmp_path / "b.jpg", EIFFEL, False)


def test_pillow_reads_the_photo_as_before(tmp_path):
    photo = world.save(world.facade(3), tmp_path / "a.jpg").read_bytes()
    before, after = (PIL.Image.open(io.BytesIO(content)) for content in (photo, embed_jpeg_label(photo, OPERA, False)))
    assert np.array_equal(np.asarray(before), np.asarray(after))
    assert after.info["dpi"] == (72, 72)
