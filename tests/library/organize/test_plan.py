"""Where photos go when a library is put in order: names that are safe, nothing lost, everything undone exactly."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import unicodedata
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.crash import living
from support.trees import age, differences, put, snapshot

from veduta.errors import LibraryError
from veduta.landmarks import Landmark
from veduta.library.journal import apply, history, recover, undo
from veduta.library.journal.fsops import content_sha256
from veduta.library.model import Asset, Label
from veduta.library.organize.filenames import with_stem
from veduta.library.organize.path_template import PathTemplate, name_key, safe_name
from veduta.library.organize.plan import plan_organize

SHM = Path("/dev/shm")
MODES = ["hardlink", "copy", "symlink", "move"]
INTO = "Sorted/{country}/{landmark}/{date:%Y}"
DOM = Label(Landmark("dom", "Kölner Dom"), 0.9, "veduta", "Germany")


NOON = datetime(2019, 5, 1, 12)  # noqa: DTZ001 (cameras know no zones)


def shot_of(*files, label=DOM, companions=(), taken=NOON):
    sha256 = hashlib.sha256(files[0].read_bytes()).hexdigest() if files[0].is_file() else "0" * 64
    return Asset(sha256, tuple(files), tuple(companions), taken=taken, label=label)


def placed(plan):
    return [str(target.relative_to(plan.root)) for _, target in plan.rows()]


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    (folder / ".veduta").mkdir(parents=True)
    return folder


def carried_out(library, *args):
    made = plan_organize(*args)
    applied = apply(made.steps, library / ".veduta", "organize")
    assert (applied.done, applied.failures, applied.stopped) == (len(made.steps), (), None)
    return made


def test_a_photo_goes_where_its_label_and_date_say(library):
    photo = put(library / "a" / "IMG.jpg", b"photo")
    nowhere = put(library / "a" / "b.jpg", b"other")
    unknown = put(library / "a" / "c.jpg", b"third")
    shots = [
        shot_of(unknown, label=None),
        shot_of(photo),
        shot_of(nowhere, label=Label(Landmark("q1"), 0.9, "veduta"), taken=None),
    ]
    made = plan_organize(shots, INTO, "hardlink", library)
    assert made.rows() == [
        (photo, library / "Sorted" / "Germany" / "Kölner Dom" / "2019" / "IMG.jpg"),
        (nowhere, library / "Sorted" / "Unknown country" / "q1" / "Undated" / "b.jpg"),
    ]
    assert (made.root, made.mode, made.photos, made.files, made.size) == (library / "Sorted", "hardlink", 2, 2, 10)
    assert (made.room, made.folders, made.unlabeled, made.already) == (0, 7, 1, 0)
    assert made == plan_organize(shots[::-1], INTO, "hardlink", library)
    assert not made.root.exists()


@pytest.mark.parametrize("mode", MODES)
def test_doing_it_again_does_nothing(library, mode):
    photos = [put(library / name / "IMG.jpg", name.encode()) for name in "abc"]
    sidecar = put(library / "b" / "IMG.xmp", b"<xmp/>")
    shots = [shot_of(photo, companions=[sidecar] if photo.parent.name == "b" else []) for photo in photos]
    made = carried_out(library, shots, INTO, mode, library)
    folder = "Germany/Kölner Dom/2019"
    assert placed(made) == [f"{folder}/{n}" for n in ("IMG.jpg", "IMG (2).jpg", "IMG (2).xmp", "IMG (3).jpg")]
    assert made.renamed == tuple((photos[i], library / "Sorted" / folder / f"IMG ({i + 1}).jpg") for i in (1, 2))
    if mode == "move":
        now = [shot_of(target) for _, target in made.rows() if target.suffix == ".jpg"]
    else:
        inside = dict(made.rows())
        now = [shot_of(inside[shot.file], shot.file, companions=shot.companions) for shot in shots]
    for again in (
        plan_organize(now, INTO, mode, library),
        plan_organize(shots, INTO, mode, library) if mode != "move" else None,
    ):
        if again is not None:
            assert (again.steps, again.already, again.photos, again.left) == ((), 3, 0, ())


def test_no_file_is_read_twice_to_see_whether_it_is_there(library, monkeypatch):
    read = []
    monkeypatch.setattr(
        "veduta.library.organize.target_tree.content_sha256", lambda path: read.append(path) or content_sha256(path)
    )
    shots = [shot_of(put(library / f"{i}.jpg", b"%03d" % i)) for i in range(30)]
    carried_out(library, shots, "Sorted", "copy", library)
    assert plan_organize(shots, "Sorted", "copy", library).already == 30
    assert len(read) == len(set(read)) == 30
    read.clear()
    carried_out(library, shots, "Linked", "hardlink", library)
    assert plan_organize(shots, "Linked", "hardlink", library).already == 30
    assert read == []


def test_a_new_sidecar_follows_its_photo_and_a_changed_one_is_left(library):
    photo, raw = put(library / "IMG.jpg", b"photo"), put(library / "IMG.CR2", b"raw")
    first = put(library / "A" / "IMG.jpg", b"first")
    carried_out(library, [shot_of(first), shot_of(photo)], "Sorted", "copy", library)
    sidecar = put(library / "IMG.jpg.xmp", b"<xmp/>")
    shots = [shot_of(photo, companions=[raw, sidecar])]
    assert placed(carried_out(library, shots, "Sorted", "copy", library)) == ["IMG (2).CR2", "IMG (2).jpg.xmp"]
    sidecar.write_bytes(b"<other/>")
    again = plan_organize(shots, "Sorted", "copy", library)
    assert again.steps == ()
    assert "another file is there" in again.left[0].error


def test_companions_keep_the_name_of_their_photo(library):
    put(library / "Sorted" / "IMG.png", b"was here before")
    photo = put(library / "IMG.jpg", b"photo")
    companions = [put(library / name, name.encode()) for name in ("IMG.CR2", "IMG.jpg.xmp", "img.mov", "other.aae")]
    made = plan_organize([shot_of(photo, companions=companions)], "Sorted", "move", library)
    assert placed(made) == ["IMG (2).jpg", "IMG (2).CR2", "IMG (2).jpg.xmp", "IMG (2).mov", "other (2).aae"]


def test_a_photo_alone_does_not_take_the_name_of_a_photo_with_companions(library):
    first, raw = put(library / "a" / "IMG.jpg", b"photo"), put(library / "a" / "IMG.CR2", b"raw")
    other = put(library / "b" / "IMG.heic", b"other")
    made = plan_organize([shot_of(first, companions=[raw]), shot_of(other)], "Sorted", "copy", library)
    assert placed(made) == ["IMG.jpg", "IMG.CR2", "IMG (2).heic"]


def test_of_several_copies_one_is_moved_with_its_own_companions(library):
    copies = [put(library / name / "IMG.jpg", b"photo") for name in "ab"]
    sidecars = [put(library / name / "IMG.xmp", name.encode()) for name in "ab"]
    made = plan_organize([shot_of(*copies, companions=sidecars)], "Sorted", "move", library)
    assert [source for source, _ in made.rows()] == [copies[0], sidecars[0]]
    assert (made.photos, made.files, made.copies_left) == (1, 2, 1)


def test_a_photo_with_a_new_label_is_moved_from_its_old_place_but_never_linked_twice(library):
    old = put(library / "Sorted" / "Italy" / "IMG.jpg", b"photo")
    into = "Sorted/{country}"
    made = plan_organize([shot_of(old)], into, "move", library)
    assert placed(made) == ["Germany/IMG.jpg"]
    for mode in ("hardlink", "copy", "symlink"):
        made = plan_organize([shot_of(old)], into, mode, library)
        assert (made.steps, made.elsewhere) == ((), 1)


def test_links_are_followed_but_not_moved(library):
    photo = put(library / "album" / "IMG.jpg", b"photo")
    link = library / "favourite.jpg"
    link.symlink_to("album/IMG.jpg")
    assert plan_organize([shot_of(link)], "Sorted", "hardlink", library).rows() == [
        (photo, library / "Sorted/favourite.jpg")
    ]
    made = plan_organize([shot_of(link)], "Sorted", "move", library)
    assert made.steps == ()
    assert "is a link and is not moved" in made.left[0].error


def test_a_photo_that_is_gone_is_left(library):
    made = plan_organize([shot_of(library / "gone.jpg")], "Sorted", "copy", library)
    assert made.steps == ()
    assert "is not there any more" in made.left[0].error


@pytest.mark.parametrize(
    ("one", "other"), [("IMG.jpg", "img.JPG"), ("Café.jpg", "Cafe\u0301.jpg"), ("straße.jpg", "STRASSE.jpg")]
)
def test_names_that_some_disk_takes_for_one_are_two(library, one, other):
    photos = [put(library / "a" / one, b"one"), put(library / "b" / other, b"other")]
    made = plan_organize([shot_of(photo) for photo in photos], "Sorted", "copy", library)
    assert len({name_key(name) for name in placed(made)}) == 2
    assert len(made.renamed) == 1


def test_folders_that_some_disk_takes_for_one_are_one(library):
    put(library / "Sorted" / "PERÚ" / "x.jpg", b"x")
    labels = [Label(Landmark(str(i)), 0.9, "person", name) for i, name in enumerate(["Perú", "peru\u0301", "Chile"])]
    photos = [put(library / f"{i}.jpg", bytes([i])) for i in range(3)]
    shots = [shot_of(photo, label=label) for photo, label in zip(photos, labels, strict=True)]
    assert placed(plan_organize(shots, "Sorted/{country}", "copy", library)) == [
        "PERÚ/0.jpg",
        "PERÚ/1.jpg",
        "Chile/2.jpg",
    ]


def test_two_companions_that_some_disk_takes_for_one(library):
    photo = put(library / "IMG.jpg", b"photo")
    companions = [put(library / "IMG.XMP", b"1"), put(library / "IMG.xmp", b"2")]
    made = plan_organize([shot_of(photo, companions=companions)], "Sorted", "copy", library)
    assert placed(made) == ["IMG.jpg", "IMG.XMP"]
    assert "rename it" in made.left[0].error


def test_long_names_are_cut_before_their_ending(library):
    name = "ö" * 125 + ".jpg"  # 254 bytes
    photos = [put(library / folder / name, folder.encode()) for folder in "ab"]
    sidecar = put(library / "b" / ("ö" * 125 + ".xmp"), b"<xmp/>")
    shots = [shot_of(photos[0]), shot_of(photos[1], companions=[sidecar])]
    made = carried_out(library, shots, "Sorted", "move", library)
    assert placed(made) == [name, "ö" * 123 + " (2).jpg", "ö" * 123 + " (2).xmp"]


@pytest.mark.parametrize(
    ("into", "message"),
    [
        ("{country}/x", "begins with no fixed folder"),
        ("/{country}", "begins with no fixed folder"),
        ("./{country}", "begins with no fixed folder"),
        ("../{country}", "begins with no fixed folder"),
        ("~/{country}", "begins with no fixed folder"),
        ("", "begins with no fixed folder"),
        ("~nobody-of-this-name/Sorted/{country}", "a home that is not known"),
        ("Sorted/{city}", "there is no field {city}; there are country, landmark"),
        ("Sorted/{}", "there is no field"),
        ("Sorted/{landmark.name}", "there is no field"),
        ("Sorted/{country!r}", "there is no field"),
        ("Sorted/{country:>20}", "takes no format"),
        ("Sorted/{date:%Q}", "is no format for a date"),
        ("Sorted/{date:%-d}", "is no format for a date"),
        ("Sorted/{date:%}", "is no format for a date"),
        ("Sorted/{date:year}", "is no format for a date"),
        ("Sorted/{date:{name}}", "is no format for a date"),
        ("Sorted/{country", "expected '}'"),
        ("Sorted/country}", "single '}'"),
        ("Sorted/{country}/../..", "leads out of its fixed folder"),
        ("Sor\0ted/{country}", "leads out of its fixed folder"),
    ],
)
def test_a_pattern_that_makes_no_sense_is_refused(tmp_path, into, message):
    with pytest.raises(LibraryError, match=message):
        plan_organize([], into, "copy", tmp_path)


def test_patterns(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    shot = shot_of(put(tmp_path / "IMG.1.jpg", b"photo"))
    for into, root, names in [
        ("Sorted", tmp_path / "Sorted", ()),
        ("Sorted/", tmp_path / "Sorted", ()),
        ("../a/./b/{id}/", tmp_path.parent / "a" / "b", ("dom",)),
        ("~/Photos/{id}/.", Path("/home/me/Photos"), ("dom",)),
        ("/Photos/by {country}/{date:%Y/%m}/{name}", Path("/Photos"), ("by Germany", "2019", "05", "IMG.1")),
        ("S/{date} {{{id}}}/fixed", tmp_path / "S", ("2019-05-01 {dom}", "fixed")),
        ("S/{date:%H:%M}", tmp_path / "S", ("12_00",)),
    ]:
        pattern = PathTemplate.parse(into, tmp_path)
        assert (pattern.root, pattern.folder(shot)) == (root, names), into


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Notre-Dame de Paris", "Notre-Dame de Paris"),
        ("清水寺", "清水寺"),
        ("Cafe\u0301", "Café"),
        ("../../etc/passwd", "_.._etc_passwd"),
        (". .. .", "Unknown"),
        ("", "Unknown"),
        ("a\nb\x00c\x7f", "a_b_c_"),
        ('<>:"|?*\\', "________"),
        ("con", "_con"),
        ("COM¹.txt", "_COM¹.txt"),
        ("Console", "Console"),
        ("é" * 200, "é" * 127),
        ("a" * 254 + " b", "a" * 254),
        ("\udcff", "_"),
    ],
)
def test_safe_names(text, name):
    assert safe_name(text) == name


@given(st.text(st.characters(), max_size=300) | st.sampled_from(["NUL" + "." * 9, "x" * 253 + "\U0001f600", "LPT9 .a"]))
def test_every_text_becomes_one_safe_name(text):
    name = safe_name(text)
    assert 0 < len(name.encode("utf-8")) <= 255
    assert not set(name) & set('<>:"/\\|?*\0')
    assert name.strip(". ") == name
    assert not any(unicodedata.category(char) == "Cc" for char in name)
    assert unicodedata.is_normalized("NFC", name)
    assert Path("/root", name).name == name
    assert Path(os.path.normpath(Path("/root", name))) == Path("/root", name)
    assert name.split(".")[0].strip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
    assert safe_name(name) == name


@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=80), min_size=1))
def test_names_with_an_ending_fit_every_disk(names):
    for ending in ("", " (2)", " (99999)"):
        new = with_stem(names, names[0] * 4, ending)
        assert all(0 < len(os.fsencode(name)) <= 255 and "/" not in name for name in new)
        assert all(ending in name for name in new)


@given(st.lists(st.text(max_size=40), min_size=4, max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_label_leads_out_of_the_root(tmp_path, texts):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    label = Label(Landmark(texts[0] or "x", texts[1]), 0.9, "veduta", texts[2])
    into = "S/{country}/{landmark}{id}/{country}.{id}/{name}"
    [(_, target)] = plan_organize([shot_of(photo, label=label)], into, "copy", tmp_path).rows()
    relative = Path(os.path.normpath(target)).relative_to(tmp_path / "S")
    assert len(relative.parts) == 5
    assert ".." not in relative.parts


def test_a_link_that_leads_out_of_the_root_is_refused(library, tmp_path):
    (library / "Sorted").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (library / "Sorted" / "Germany").symlink_to(outside)
    shots = [shot_of(put(library / "a.jpg", b"photo"))]
    with pytest.raises(LibraryError, match="leads out of"):
        plan_organize(shots, INTO, "move", library)
    (library / "Sorted" / "Germany").unlink()
    (library / "Sorted" / "Germany").symlink_to("Germany")
    with pytest.raises(LibraryError, match="cannot be looked into"):
        plan_organize(shots, INTO, "move", library)
    (library / "Sorted" / "Germany").unlink()
    (library / "Sorted" / "Deutschland").mkdir()
    (library / "Sorted" / "Germany").symlink_to("Deutschland")
    assert len(plan_organize(shots, INTO, "move", library).steps) == 1
    (library / "Sorted" / "Germany").unlink()
    put(library / "Sorted" / "Germany", b"a file")
    with pytest.raises(LibraryError, match="is a file where a folder is needed"):
        plan_organize(shots, INTO, "move", library)
    with pytest.raises(LibraryError, match="is a file where a folder is needed"):
        plan_organize(shots, "a.jpg/Sorted/{country}", "move", library)


def test_what_cannot_fit_is_refused_before_anything_is_done(library):
    huge = library / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(1 << 20)
    free = shutil.disk_usage(library).free
    os.truncate(huge, min(free + (1 << 30), 1 << 43))
    shot = Asset("0" * 64, (huge,), label=DOM)
    with pytest.raises(LibraryError, match=r"too little room .* are needed"):
        plan_organize([shot], "Sorted", "copy", library)
    for mode in ("move", "hardlink", "symlink"):
        assert plan_organize([shot], "Sorted", mode, library).room == 0


def test_other_disks(library):
    if not SHM.is_dir() or SHM.stat().st_dev == library.stat().st_dev:
        pytest.skip("there is one file system only")
    shots = [shot_of(put(library / "a.jpg", b"photo" * 1000))]
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        into = f"{folder}/Sorted/{{country}}"
        with pytest.raises(LibraryError, match="use --mode copy, move or symlink"):
            plan_organize(shots, into, "hardlink", library)
        assert (
            plan_organize(shots, into, "move", library).room == plan_organize(shots, into, "copy", library).room == 8192
        )


def test_a_target_that_cannot_be_written_is_refused(library, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.chmod(0o500)
        undone = ["true"]
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        undone = ["umount", str(folder)]
    try:
        with pytest.raises(LibraryError, match="cannot be written to"):
            plan_organize([shot_of(put(library / "a.jpg", b"photo"))], f"{folder}/Sorted/{{id}}", "copy", library)
    finally:
        subprocess.run(undone, check=True)


def test_nothing_is_placed_where_the_state_is(library, tmp_path):
    shots = [shot_of(put(library / "a.jpg", b"photo"))]
    forbidden = [library / "State", tmp_path / "elsewhere"]
    (tmp_path / "link").symlink_to(library / "State")
    for into in ("State", "State/{landmark}", "State/deep/er/{landmark}", "b/../State", f"{tmp_path}/link/x/{{id}}"):
        with pytest.raises(LibraryError, match="no place for photos; choose another folder"):
            plan_organize(shots, into, "copy", library, forbidden=forbidden)
    assert len(plan_organize(shots, "States/{landmark}", "copy", library, forbidden=forbidden).steps) == 1
    assert len(plan_organize(shots, "State/{landmark}", "copy", library).steps) == 1
    state = Label(Landmark("State"), 0.9, "veduta")
    with pytest.raises(LibraryError, match="no place for photos"):
        plan_organize([shot_of(shots[0].file, label=state)], f"{library}/{{id}}", "copy", library, forbidden=forbidden)


@pytest.mark.parametrize(
    "into",
    [".Sorted/{id}", "Sorted/.now/{id}", ".veduta", "Sorted/{id}/.now", "Sorted/.{id}/x", "{library}/.Sorted/{id}"],
)
def test_a_folder_that_a_scan_would_not_see_is_refused(library, into):
    shots = [shot_of(put(library / "a.jpg", b"photo"))]
    with pytest.raises(LibraryError, match=r"hid(es a|den) folder"):
        plan_organize(shots, into.replace("{library}", str(library)), "move", library)
    assert sorted(path.name for path in library.iterdir()) == [".veduta", "a.jpg"]


def test_a_library_in_a_hidden_folder_is_put_in_order_there(tmp_path):
    library = tmp_path / ".mine" / "library"
    shots = [shot_of(put(library / "a.jpg", b"photo"))]
    assert placed(plan_organize(shots, f"{library}/Sorted/{{id}}", "move", tmp_path)) == ["dom/a.jpg"]
    assert placed(plan_organize([], "Sorted", "move", library)) == []


def test_links_that_a_move_breaks_are_told(library):
    photo, other = put(library / "a" / "IMG.jpg", b"photo"), put(library / "a" / "copy.jpg", b"photo")
    link, fine = library / "link.jpg", library / "fine.jpg"
    link.symlink_to(photo)
    fine.symlink_to(other)
    made = plan_organize([shot_of(photo, other, link, fine)], "Sorted", "move", library)
    assert made.rows() == [(photo, library / "Sorted" / "IMG.jpg")]
    assert [(failure.photo, "will lead nowhere" in failure.error) for failure in made.left] == [(str(link), True)]
    assert plan_organize([shot_of(photo, other, link, fine)], "Sorted", "hardlink", library).left == ()


def test_a_mode_that_is_none_is_the_programmers_fault(tmp_path):
    with pytest.raises(ValueError, match="mode: expected one of hardlink"):
        plan_organize([], "Sorted", "teleport", tmp_path)


def test_progress_counts_photos(library):
    seen = []
    plan_organize(
        [shot_of(put(library / f"{i}.jpg", bytes([i]))) for i in range(3)], "Sorted", "copy", library, seen.append
    )
    assert seen == [1, 2, 3]


# Any library, any mode, killed anywhere: afterwards it is as it was.

NAMES = [
    "IMG.jpg",
    "img.JPG",
    "IMG (2).jpg",
    "Köln \udcff.jpg",
    ".hidden.jpg",
    "ö" * 123 + ".jpg",
    "a\nb.jpg",
    "CON.png",
]
FOLDERS = ["", "a", "a/b c/d", "Sorted/Germany", "Sorted/Italy", "é\u0301"]
LABELS = [None, DOM, Label(Landmark("q2", "../.."), 1, "person", "Italy"), Label(Landmark("nul"), 0.5, "veduta")]

photos = st.fixed_dictionaries(
    {
        "folder": st.sampled_from(FOLDERS),
        "name": st.sampled_from(NAMES),
        "content": st.sampled_from([b"", b"one", b"two", b"three" * 50_000]),
        "mode": st.sampled_from([0o644, 0o600, 0o444, 0o755]),
        "mtime": st.integers(0, 2**60),
        "label": st.sampled_from(LABELS),
        "companions": st.lists(st.sampled_from([".xmp", ".jpg.xmp", ".CR2"]), max_size=2),
    }
)


def build(library, drawn):
    """Write the files and return the shots a scan would find."""
    by_content = {}
    for photo in drawn:
        path = library / photo["folder"] / photo["name"]
        if path.exists():
            continue
        put(path, photo["content"], photo["mode"], photo["mtime"])
        companions = []
        for suffix in photo["companions"]:
            companion = path.with_suffix(suffix)
            if len(os.fsencode(companion.name)) < 255 and not companion.exists():
                companions.append(put(companion, suffix.encode() + photo["content"][:2], photo["mode"]))
        files, together, _ = by_content.setdefault(photo["content"], ([], [], photo["label"]))
        files.append(path)
        together += companions
    (library / ".veduta").mkdir(exist_ok=True)
    age(library)
    return [shot_of(*sorted(f), companions=c, label=label) for f, c, label in by_content.values()]


@given(
    drawn=st.lists(photos, min_size=1, max_size=6),
    mode=st.sampled_from(MODES),
    into=st.sampled_from([INTO, "Sorted/{country}", "All", "By date/{date:%Y/%m}/{name}"]),
    abroad=st.booleans(),
    links=st.booleans(),
    deaths=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    again=st.booleans(),
)
@settings(deadline=None, max_examples=250)
def test_whatever_happens_it_can_be_undone(drawn, mode, into, abroad, links, deaths, again):
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as here, tempfile.TemporaryDirectory() as there:
        library, state = Path(here, "library"), Path(here, "library", ".veduta")
        library.mkdir()
        shots = build(library, drawn)
        base = Path(there) if abroad else library
        before = snapshot(library) | snapshot(base)
        contents = {seen[3] for seen in before.values()}
        made = plan_organize(shots, into, "copy" if abroad and mode == "hardlink" else mode, base)
        assert differences(before, snapshot(library) | snapshot(base)) == []
        with living(deaths[0], links):
            apply(made.steps, state, "organize")
        if again:
            recover(state)
            rest = [step for step in made.steps if step.source.exists() and not os.path.lexists(step.target)]
            with living(None, links):
                apply(rest, state, "organize")
        assert contents <= {seen[3] for seen in (snapshot(library) | snapshot(base)).values()}
        for at in [*deaths[1:], None]:
            with living(at, links):
                while any(action.state != "undone" for action in history(state)):
                    assert undo(state).left == ()
        assert differences(before, snapshot(library) | snapshot(base)) == []
