"""Which files belong to a photo, by every program's way of naming them; and none of another photo's."""

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.photos import picture

from veduta.library import Library
from veduta.library.companions import KNOWN_SUFFIXES, is_companion, original_stem, pair_companions, sidecar_of

LONG = "Summer-in-the-mountains-with-all-of-the-family"  # 46 characters
CLIPPED = "A-photo-of-a-bridge-and-a-tower-in-the-evening-light"  # more than 46


@pytest.mark.parametrize(
    ("photo", "companion"),
    [
        ("P1.jpg", "P1.jpg.xmp"),
        ("P1.JPG", "p1.jpg.XMP"),
        ("P1.JPG", "P1.XMP"),
        ("P1.jpg", "P1_02.jpg.xmp"),
        ("P1.nef", "P1_11.nef.xmp"),
        ("P1.jpg", "P1_01.nef.xmp"),
        ("P1.jpg", "P1.nef.xmp"),
        ("P1.tif", "P1.tif.pp3"),
        ("P1.jpg", "P1.jpg.out.pp3"),
        ("P1.dng", "P1.dng.arp"),
        ("P1.raf", "P1.on1"),
        ("P1.cr3", "P1.cr3.dop"),
        ("P1.cr2", "P1.vrd"),
        ("P1.cr2", "P1.dr4"),
        ("P1.nef", "P1.nef.nksc"),
        ("P1.heic", "P1.AAE"),
        ("IMG_2001.HEIC", "IMG_O2001.AAE"),
        ("IMG_2001.HEIC", "IMG_E2001.MOV"),
        ("IMG_2001 (2).HEIC", "IMG_O2001 (2).AAE"),
        ("P1.heic", "P1.MOV"),
        ("P1.jpg", "P1.mp4"),
        ("P1.dng", "P1.mov"),
        ("P1.heic", "P1_HEVC.MOV"),
        ("P1.MP.jpg", "P1.MP"),
        ("P1.heic", "P1.MOV.xmp"),
        ("P1.heic", "P1.MOV.json"),
        ("P1.jpg", "P1.wav"),
        ("P1.jpg", "P1.jpg.m4a"),
        ("IMG_0007.JPG", "SND_0007.WAV"),
        ("P1.jpg", "P1.txt"),
        ("P1.jpg", "P1.jpg.txt"),
        ("P1.jpg", "P1.THM"),
        ("P1.jpg", "P1.LRV"),
        ("P1.jpg", "P1.jpg_original"),
        ("P1.cr2", "P1.cr2_original"),
        ("Caf\u00e9.jpg", "Cafe\u0301.jpg.xmp"),
    ],
)
def test_a_file_belongs_to_the_photo_that_its_program_means(photo, companion):
    assert pair_companions([companion, photo, "other.jpg"]) == {photo: [companion], "other.jpg": []}
    assert is_companion(companion, photo)
    assert not is_companion(companion, "other.jpg")


@pytest.mark.parametrize("length", range(len(".supplemental-metadata") + 1))
@pytest.mark.parametrize(("photo", "title", "number"), [("b.jpg", "b.jpg", ""), ("b(4).jpg", "b.jpg", "(4)")])
def test_every_truncation_of_takeouts_records_belongs(photo, title, number, length):
    record = f"{title}{'.supplemental-metadata'[:length]}{number}.json"
    assert pair_companions([photo, record, "c.jpg"]) == {photo: [record], "c.jpg": []}


@pytest.mark.parametrize(
    ("photo", "record"),
    [
        ("b.jpg", "b.json"),
        ("b.jpg", "b.supplemental-metadata.json"),
        ("b.jpg", "b.HEIC.json"),
        ("b.MP.jpg", "b.MP.jpg.supplemental-meta.json"),
        ("b(2).jpg", "b(2).jpg.json"),
        ("b-edited.jpg", "b.jpg.json"),
        ("b-edited(1).jpg", "b.jpg.supplemental-metadata(1).json"),
        ("b-bearbeitet.jpg", "b.jpg.supplemental-metadata.json"),
        ("b-modifi\u00e9.jpg", "b.jpg.json"),
        (f"{LONG}.jpg", f"{LONG}.json"),
        (f"{LONG[:43]}.jpg", f"{LONG[:43]}.jp.json"),
        (f"{LONG[:41]}.jpg", f"{LONG[:41]}.jpg.s.json"),
        (f"{CLIPPED}.jpg", f"{CLIPPED[:46]}.json"),
        (f"{CLIPPED}.jpg", f"{CLIPPED[:47]}.json"),
        (f"{CLIPPED}(3).jpg", f"{CLIPPED[:46]}(3).json"),
        ("\U0001f600" * 30 + ".jpg", "\U0001f600" * 23 + ".json"),
        (f"{CLIPPED[:44]}-edi.jpg", f"{CLIPPED[:44]}.j.json"),
    ],
)
def test_takeouts_other_names_belong(photo, record):
    assert pair_companions([photo, record, "c.jpg"]) == {photo: [record], "c.jpg": []}


def test_each_record_is_of_its_own_photo():
    photos = ["b.jpg", "b(1).jpg", "b(2).jpg", "b-edited.jpg", "bb.jpg"]
    records = ["b.jpg.json", "b.jpg(1).json", "b.jpg.supplemental-metadata(2).json", "bb.jpg.su.json", "b.jpg(7).json"]
    assert pair_companions([*photos, *records, "metadata.json"]) == {
        "b.jpg": ["b.jpg.json"],
        "b(1).jpg": ["b.jpg(1).json"],
        "b(2).jpg": ["b.jpg.supplemental-metadata(2).json"],
        "b-edited.jpg": [],
        "bb.jpg": ["bb.jpg.su.json"],
    }


def test_a_photo_of_its_own_is_nobodys_version():
    names = ["P1.jpg", "P1_01.jpg", "P1_01.jpg.xmp", "P1.jpg.xmp", "P2_02.jpg", "P2_02.jpg.xmp"]
    assert pair_companions(names) == {
        "P1.jpg": ["P1.jpg.xmp"],
        "P1_01.jpg": ["P1_01.jpg.xmp"],
        "P2_02.jpg": ["P2_02.jpg.xmp"],
    }


@pytest.mark.parametrize(
    ("photo", "other"),
    [
        ("P1.jpg", "P10.jpg.xmp"),
        ("P1.jpg", "P1_1.jpg.xmp"),
        ("P1.jpg", "P1_2020.jpg.xmp"),
        ("P1.png", "P1.mov"),
        ("P1.jpg", "P1.mkv"),
        ("P1.jpg", "metadata.json"),
        ("P1.jpg", "P1.jpg(1).json"),
        ("P1(1).jpg", "P1.jpg.json"),
        ("P1.jpg", "secret.txt"),
        ("P1.jpg", "xmp"),
        (f"{CLIPPED}.jpg", f"{CLIPPED[:40]}.json"),
    ],
)
def test_a_file_of_something_else_does_not_belong(photo, other):
    assert pair_companions([photo, other]) == {photo: []}


NAMES = st.tuples(st.text(st.sampled_from("aE_1(). -e")), st.sampled_from(sorted(KNOWN_SUFFIXES))).map("".join)


@given(st.lists(NAMES, unique=True, max_size=12))
@settings(deadline=None)
def test_no_file_belongs_to_two_photos_and_none_is_made_up(names):
    pairs = pair_companions(names)
    every = [name for companions in pairs.values() for name in companions] + list(pairs)
    assert len(every) == len(set(every))
    assert set(every) <= set(names)
    assert pairs == pair_companions(names[::-1])


@pytest.mark.parametrize(
    ("stem", "original"),
    [
        ("IMG_E0042", "IMG_0042"),
        ("img_e0042", "img_0042"),
        ("IMG_O0042", "IMG_0042"),
        ("IMG_E0042 (2)", "IMG_0042 (2)"),
        ("a-edited", "a"),
        ("a_edited", "a"),
        ("a-bewerkt(2)", "a(2)"),
        ("a-EFFECTS", "a"),
        ("IMG_0042", None),
        ("IMG_EXIT", None),
        ("edited", None),
        ("a-edited-b", None),
    ],
)
def test_an_edit_names_its_original(stem, original):
    assert original_stem(stem) == original


@pytest.mark.parametrize(
    ("names", "sidecar"),
    [
        ([], "P1.JPG.xmp"),
        (["P1.JPG.XMP"], "P1.JPG.XMP"),
        (["p1.jpg.xmp"], "p1.jpg.xmp"),
        (["P1.jpg.Xmp"], "P1.jpg.Xmp"),
        (["P1.JPG.XMP", "P1.JPG.xmp"], "P1.JPG.xmp"),
        (["P1.XMP", "P1.JPEG.XMP", "P1.JPG"], "P1.JPG.xmp"),
    ],
)
def test_a_sidecar_in_other_letters_is_the_sidecar(names, sidecar):
    assert sidecar_of("P1.JPG", names) == sidecar


def test_a_catalog_names_no_companion_that_a_scan_would_not(tmp_path):
    picture(tmp_path / "a" / "P1.jpg", 1)
    honest = ["a/P1.jpg.xmp", "a/P1.wav"]
    foreign = ["a/secret.txt", "b/P1.jpg.xmp", "P1.jpg.xmp", "a/../P1.jpg.xmp", "a/P2.jpg", "a/P1.jpg"]
    with Library(tmp_path) as library:
        library.scan()
        with contextlib.closing(sqlite3.connect(library.folder / "library.sqlite")) as db, db:
            db.execute("UPDATE file SET companions = ?", (json.dumps([*honest, *foreign]),))
        db.close()
        (asset,) = library.assets()
    assert asset.companions == tuple(tmp_path / Path(name) for name in honest)


def test_the_companions_of_every_copy_are_known(tmp_path):
    for folder in "ab":
        picture(tmp_path / folder / "P1.jpg", 1)
        (tmp_path / folder / "P1.jpg.xmp").write_text(folder)
    with Library(tmp_path) as library:
        library.scan()
        (asset,) = library.assets()
    assert asset.companions == (tmp_path / "a" / "P1.jpg.xmp", tmp_path / "b" / "P1.jpg.xmp")
