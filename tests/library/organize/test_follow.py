"""What goes along when a photo is moved, under which name; and that whatever stays behind is named before."""

from pathlib import Path

import pytest
from support.trees import put

from veduta.landmarks import Landmark
from veduta.library.companions import pair_companions
from veduta.library.journal import apply, undo
from veduta.library.model import Asset, Label
from veduta.library.organize.filenames import safe_file_name, with_stem
from veduta.library.organize.follow import join_edits
from veduta.library.organize.plan import plan_organize

DOM = Label(Landmark("dom"), 0.9, "veduta")
OTHER = Label(Landmark("tower"), 1.0, "person")


def scanned(folder, labels=None):
    """The assets that a scan would make of a folder's files, each of a content of its own."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    pairs = pair_companions([path.name for path in paths])
    return [
        Asset(name.ljust(64, "0"), (folder / name,), tuple(folder / c for c in companions), label=label)
        for name, companions in pairs.items()
        for label in [(labels or {}).get(name, DOM)]
    ]


def names(paths):
    return sorted(path.name for path in paths)


def placed(plan):
    return sorted(str(target.relative_to(plan.root)) for _, target in plan.rows())


@pytest.mark.parametrize(
    "files",
    [
        ["P1.jpg", "P1_01.jpg.xmp", "P1.jpg.xmp"],
        ["P1.jpg", "P1.CR2", "P1_01.CR2.xmp"],
        ["P1(1).jpg", "P1.jpg(1).json"],
        ["P1(1).jpg", "P1.jpg.supplemental-metadata(1).json"],
        ["P1.jpg", "P1.jpg.suppl.json"],
        [
            "A-photo-of-a-bridge-and-a-tower-in-the-evening-light.jpg",
            "A-photo-of-a-bridge-and-a-tower-in-the-evening.json",
        ],
        ["IMG_1234.HEIC", "IMG_1234.MOV", "IMG_1234.AAE", "IMG_O1234.AAE", "IMG_E1234.MOV"],
        ["P1.heic", "P1_HEVC.MOV", "P1_HEVC.MOV.xmp"],
        ["IMG_0001.JPG", "SND_0001.WAV"],
        ["P1.MP.jpg", "P1.MP", "P1.MP.jpg.json"],
        ["P1.CR2.jpg", "P1.CR2", "P1.CR2.xmp"],
        ["P1.jpg", "P1.jpg_original"],
        ["P1?.jpg", "P1?.jpg.xmp", "P1?_01.jpg.xmp"],
        ["aux.jpg", "aux.jpg.xmp", "aux.wav"],
    ],
)
def test_companions_are_known_again_under_their_new_names(tmp_path, files):
    for name in files:
        put(tmp_path / name, name.encode())
    put(tmp_path / "Sorted" / safe_file_name(files[0]), b"another photo of this name")
    plan = plan_organize(scanned(tmp_path), "Sorted", "move", tmp_path)
    assert (len(plan.steps), plan.beside, plan.left) == (len(files), (), ())
    apply(plan.steps, tmp_path / ".veduta", "organize")
    moved = [target.name for _, target in plan.rows()]
    assert {photo: sorted(others) for photo, others in pair_companions(moved).items()} == {moved[0]: sorted(moved[1:])}
    undo(tmp_path / ".veduta")
    assert set(files) <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("photo", "beside"),
    [
        ("P1.jpg", "P1.psd"),
        ("P1.jpg", "P1-crop.xcf"),
        ("P1.jpg", "P1.jpg.md"),
        ("P1.jpg", "P1 notes.pdf"),
        ("P1.jpg", "P1_1.mkv"),
        ("P1.jpg", "._P1.jpg"),
        ("P1.jpg", ".P1.jpg.xmp"),
        ("P1.jpg", "P1.jpg(5).json"),
        ("P1.png", "P1.mov"),
        ("P1.jpg", "P1.gpx"),
        ("P1.nef", "NKSC_PARAM/P1.nef.nksc"),
        ("P1.cr2", "CaptureOne/Settings153/P1.cr2.cos"),
        ("P1.cr2", "SILKYPIX_DS/P1.cr2.9.spd"),
        ("P1.jpg", ".picasaoriginals/P1.jpg"),
        ("P1.jpg", ".picasa.ini"),
        (
            "A-photo-of-a-bridge-and-a-tower-in-the-evening-light.jpg",
            "A-photo-of-a-bridge-and-a-tower-in-the-ev(1).json",
        ),
    ],
)
def test_what_stays_behind_is_named_before_anything_moves(tmp_path, photo, beside):
    put(tmp_path / photo, b"photo")
    left = put(tmp_path / beside, b"beside")
    put(tmp_path / "P10.pdf", b"no relative")
    assets = scanned(tmp_path)
    assert plan_organize(assets, "Sorted", "move", tmp_path).beside == (left,)
    for mode in ("hardlink", "copy", "symlink"):  # nothing is parted
        assert plan_organize(assets, "Sorted", mode, tmp_path).beside == ()


def test_what_belongs_to_a_photo_that_stays_is_not_named(tmp_path):
    for name in ("P1.jpg", "P1-b.jpg", "P1-b.jpg.xmp", "P1-b.txt"):
        put(tmp_path / name, name.encode())
    assert plan_organize(scanned(tmp_path, {"P1-b.jpg": None}), "Sorted", "move", tmp_path).beside == ()


@pytest.mark.parametrize(
    ("original", "edit"),
    [
        ("IMG_1234.HEIC", "IMG_E1234.JPG"),
        ("IMG_1234.JPG", "IMG_E1234.JPG"),
        ("IMG_1234.PNG", "IMG_E1234.PNG"),
        ("P1.jpg", "P1-edited.jpg"),
        ("P1.heic", "P1_edited.jpeg"),
        ("P1(1).jpg", "P1-edited(1).jpg"),
        ("P1.jpg", "P1-bearbeitet.jpg"),
        ("P1.jpg", "P1-ha editado.jpg"),
        ("P1.jpg", "P1-modificato.jpg"),
        ("P1.dng", "P1-edited.jpg"),
    ],
)
@pytest.mark.parametrize("unlabeled", ["original", "edit"])
def test_an_edit_and_its_original_stay_together(tmp_path, original, edit, unlabeled):
    for name in (original, edit, f"{edit}.xmp"):
        put(tmp_path / name, name.encode())
    put(tmp_path / "Sorted" / "dom" / original, b"another photo of this name")
    labels = {original: None} if unlabeled == "original" else {edit: None}
    plan = plan_organize(scanned(tmp_path, labels), "Sorted/{id}", "move", tmp_path)
    assert (names(source for source, _ in plan.rows()), plan.beside) == (sorted([original, edit, f"{edit}.xmp"]), ())
    assert all("(2)" in name for name in placed(plan))


def test_an_edit_that_a_person_judged_otherwise_goes_its_own_way(tmp_path):
    for name in ("P1.jpg", "P1-edited.jpg"):
        put(tmp_path / name, name.encode())
    both = {"P1.jpg": DOM, "P1-edited.jpg": OTHER}
    assert placed(plan_organize(scanned(tmp_path, both), "Sorted/{id}", "move", tmp_path)) == [
        "dom/P1.jpg",
        "tower/P1-edited.jpg",
    ]


def test_edits_placed_once_are_placed(tmp_path):
    for name in ("IMG_1234.HEIC", "IMG_E1234.JPG"):
        put(tmp_path / name, name.encode())
    assets = scanned(tmp_path)
    plan = plan_organize(assets, "Sorted", "copy", tmp_path)
    assert placed(plan) == ["IMG_1234.HEIC", "IMG_E1234.JPG"]
    apply(plan.steps, tmp_path / ".veduta", "organize")
    after = [Asset(a.sha256, (tmp_path / "Sorted" / a.file.name, a.file), label=DOM) for a in assets]
    real = {path.name: path for path in (tmp_path / "Sorted").iterdir()}
    assert set(real) == {"IMG_1234.HEIC", "IMG_E1234.JPG"}
    assert plan_organize(after, "Sorted", "hardlink", tmp_path).steps == ()
    assert len(join_edits(after)) == 1


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a:b.jpg", "a_b.jpg"),
        ("why?.jpg", "why_.jpg"),
        ('"x".jpg', "_x_.jpg"),
        ("a<b>c|d*.jpg", "a_b_c_d_.jpg"),
        ("back\\slash.jpg", "back_slash.jpg"),
        ("tab\there.jpg", "tab_here.jpg"),
        ("line\nfeed.jpg", "line_feed.jpg"),
        ("nul.jpg", "_nul.jpg"),
        ("COM3.old.jpg", "_COM3.old.jpg"),
        ("lpt\u00b9.jpg", "_lpt\u00b9.jpg"),
        ("conin$.jpg", "_conin$.jpg"),
        ("bytes\udcff.jpg", "bytes_.jpg"),
        ("end.", "end_"),
        ("end ", "end_"),
        ("Caf\u0065\u0301.jpg", "Caf\u0065\u0301.jpg"),
        ("console.jpg", "console.jpg"),
        (" blank.jpg", " blank.jpg"),
    ],
)
def test_names_become_safe_for_windows_and_exfat(tmp_path, name, safe):
    assert safe_file_name(name) == safe
    assert safe_file_name(safe) == safe
    if Path(name).suffix:
        assert with_stem([name, f"{name}.xmp"], Path(name).stem) == [safe, f"{safe}.xmp"]


def test_two_names_that_become_one_are_two(tmp_path):
    for name in ("a?.jpg", "a:.jpg", "a_.jpg"):
        put(tmp_path / name, name.encode())
    plan = plan_organize(scanned(tmp_path), "Sorted", "move", tmp_path)
    assert placed(plan) == ["a_ (2).jpg", "a_ (3).jpg", "a_.jpg"]
    assert len(plan.renamed) == 3 - sum(source.name == target.name for source, target in plan.rows())
