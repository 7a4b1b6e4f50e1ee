"""Scanning a library: what is a photo, what is looked at again, what survives a move, a stop and a kill."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from support import world
from support.photos import at, picture
from support.processes import PATIENCE
from support.raw import dng, needs_rawpy, small

from veduta.errors import LibraryError
from veduta.files import MEGABYTE
from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.library.catalog import CATALOG_FILE, STATE_FOLDER
from veduta.library.discover import discover_photos
from veduta.library.scan import RESTING, ScanLimits


def found(folder):
    """Path below the folder -> names of companions, and the failures."""
    failures = []
    photos = {
        os.path.relpath(each.path, folder): sorted(Path(c).name for c in each.companions)
        for each in discover_photos(folder, failures.append)
    }
    return photos, failures


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


# --- what is a photo ---------------------------------------------------------------------------------------------


def test_hidden_files_caches_and_sidecars_are_no_photos(tmp_path):
    touch(tmp_path, "a.jpg", "b.HEIC", "c.avif", "d.webp", "e.png", "f.tiff", "g.nef", "notes.txt", "film.mp4")
    touch(tmp_path, ".hidden.jpg", "._a.jpg", ".thumbnails/a.jpg", "@eaDir/a.jpg", "#recycle/old.jpg", "a.xmp")
    touch(tmp_path, "Catalog Previews.lrdata/1.jpg", "made/CACHEDIR.TAG", "made/a.jpg", "__MACOSX/b.jpg")
    touch(tmp_path, "My.photoslibrary/originals/1/o.jpg", "My.photoslibrary/resources/derivatives/o.jpg")
    photos, failures = found(tmp_path)
    assert sorted(photos) == [
        "My.photoslibrary/originals/1/o.jpg",
        *("a.jpg", "b.HEIC", "c.avif", "d.webp", "e.png", "f.tiff", "g.nef"),
    ]
    assert not failures


def test_a_raw_beside_its_jpeg_counts_once_and_goes_with_it(tmp_path):
    touch(tmp_path, "IMG_1.JPG", "IMG_1.CR2", "IMG_1.xmp", "IMG_1.JPG.xmp", "IMG_1.MOV", "IMG_1.AAE")
    touch(tmp_path, "IMG_2.nef", "IMG_2.xmp", "IMG_3.png", "IMG_3.dng", "other/IMG_1.jpg", "IMG_1.d/x.jpg")
    photos, _ = found(tmp_path)
    assert photos == {
        "IMG_1.JPG": ["IMG_1.AAE", "IMG_1.CR2", "IMG_1.JPG.xmp", "IMG_1.MOV", "IMG_1.xmp"],
        "IMG_1.d/x.jpg": [],
        "IMG_2.nef": ["IMG_2.xmp"],
        "IMG_3.dng": [],
        "IMG_3.png": [],
        "other/IMG_1.jpg": [],
    }


def test_two_photos_of_one_stem_share_no_sidecar(tmp_path):
    touch(tmp_path, "a.heic", "a.jpg", "a.xmp", "a.jpg.xmp", "a.heic.xmp", "a.nef", "a.nef.xmp")
    photos, _ = found(tmp_path)
    assert photos == {"a.heic": ["a.heic.xmp", "a.nef", "a.nef.xmp", "a.xmp"], "a.jpg": ["a.jpg.xmp"]}
    every = [name for names in photos.values() for name in names]
    assert len(every) == len(set(every))


def test_loops_and_links_that_lead_nowhere_are_survived(tmp_path):
    library = tmp_path / "library"
    touch(library, "sub/a.jpg")
    (library / "sub" / "loop").symlink_to(library)
    (library / "again").symlink_to(library / "sub")
    (library / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (library / "self.jpg").symlink_to(library / "self.jpg")
    photos, failures = found(library)
    assert [Path(path).name for path in photos] == ["a.jpg"]
    assert sorted(Path(f.photo).name for f in failures) == ["gone.jpg", "self.jpg"]


# --- what is looked at -------------------------------------------------------------------------------------------


def test_an_unchanged_photo_is_never_looked_at_twice(tmp_path, gallery, views):
    folder = tmp_path / "library"
    folder.mkdir()
    for photo in list(views)[:4]:
        shutil.copy2(photo, folder)
    with Library(folder) as library:
        first = library.scan(gallery)
        assert (first.files, first.looked_at, first.recognized, first.unchanged) == (4, 4, 4, 0)
        second = library.scan(gallery)
        assert (second.looked_at, second.recognized, second.unchanged) == (0, 0, 4)
        answers = [
            gallery_answer.landmark.id for gallery_answer in library.answers().values() if gallery_answer.landmark
        ]
    assert sorted(answers) == sorted(landmark for photo, landmark in list(views.items())[:4])


def test_answers_are_those_of_the_recognizer(tmp_path, gallery, views, distractors):
    folder = tmp_path / "library"
    folder.mkdir()
    photos = [*list(views)[:3], *distractors[:2]]
    copies = [shutil.copy2(photo, folder / f"{i}.jpg") for i, photo in enumerate(photos)]
    with Library(folder) as library:
        library.scan(gallery)
        answers = library.answers()
        shots = {shot.file: answers[shot.sha256] for shot in library.assets()}
    for copy, expected in zip(copies, gallery.recognize(photos), strict=True):
        mine = shots[Path(copy)]
        assert mine.landmark == expected.landmark
        assert mine.confidence == pytest.approx(expected.confidence, abs=1e-6)
        assert mine.evidence[0][0] == expected.evidence[0].reference


def test_a_moved_photo_keeps_its_answer_and_is_not_read(tmp_path, gallery, view):
    folder = tmp_path / "library"
    folder.mkdir()
    before = Path(shutil.copy2(view, folder / "before.jpg"))
    with Library(folder) as library:
        library.scan(gallery)
        (folder / "sub").mkdir()
        before.rename(folder / "sub" / "after.jpg")
        report = library.scan(gallery)
        assert (report.looked_at, report.moved, report.gone) == (0, 1, 1)
        (shot,) = library.assets()
    assert shot.file == folder / "sub" / "after.jpg"
    assert shot.label.landmark.id == "palazzo-0"


def test_a_copied_or_restored_photo_is_read_and_not_asked_about_again(tmp_path, gallery, view):
    folder = tmp_path / "library"
    folder.mkdir()
    original = Path(shutil.copy2(view, folder / "a.jpg"))
    with Library(folder) as library:
        library.scan(gallery)
        shutil.copy(original, folder / "b.jpg")  # another time, another file, the same content
        report = library.scan(gallery)
        assert (report.looked_at, report.recognized) == (1, 0)
        (shot,) = library.assets()
        assert [file.name for file in shot.files] == ["a.jpg", "b.jpg"]
        original.unlink()
        (folder / "b.jpg").unlink()
        assert library.scan(gallery).gone == 2
        assert library.assets() == []
        shutil.copy2(view, folder / "back.jpg")
        assert library.scan(gallery).recognized == 0
        assert library.assets()[0].label.landmark.id == "palazzo-0"


def test_a_changed_photo_is_looked_at_again(tmp_path):
    path = picture(tmp_path / "library" / "a.jpg", 1)
    with Library(tmp_path / "library") as library:
        library.scan()
        old = library.assets()[0].sha256
        picture(path, 2)
        os.utime(path, ns=(1, 1))
        assert library.scan().looked_at == 1
        assert library.assets()[0].sha256 != old


def test_time_place_and_size_are_the_cameras(tmp_path):
    when = datetime(2019, 5, 4, 3, 2, 1)  # noqa: DTZ001 - cameras have no zone
    picture(tmp_path / "a.jpg", 1, when, (-33.5, 151.25))
    with Library(tmp_path) as library:
        library.scan()
        (shot,) = library.assets()
    assert shot.taken == when
    assert shot.position == pytest.approx((-33.5, 151.25), abs=1e-5)
    assert shot.size == (240, 180)


def test_what_cannot_be_read_is_listed_every_time_and_decoded_once(tmp_path, corrupt, monkeypatch):
    folder = tmp_path / "library"
    picture(folder / "good.jpg")
    shutil.copy2(corrupt, folder / "bad.jpg")
    (folder / "empty.jpg").touch()
    with Library(folder) as library:
        first = library.scan()
        assert sorted(Path(f.photo).name for f in first.failures) == ["bad.jpg", "empty.jpg"]
        assert all("get a fresh copy" in failure.error for failure in first.failures)
        second = library.scan()
        assert sorted(f.error for f in second.failures) == sorted(f.error for f in first.failures)
        assert second.looked_at == 1  # the empty one has no content to know it by
        assert [shot.file.name for shot in library.assets()] == ["good.jpg"]


def test_the_limit_leaves_the_rest_for_the_next_scan(tmp_path):
    for i in range(5):
        picture(tmp_path / f"{i}.jpg", i)
    with Library(tmp_path) as library:
        first = library.scan(limit=2)
        assert (first.looked_at, first.waiting) == (2, 3)
        second = library.scan()
        assert (second.looked_at, second.unchanged) == (3, 2)


def test_names_that_are_not_text_are_photos_too(tmp_path):
    name = os.fsencode(tmp_path) + b"/sch\xf6n.jpg"
    picture(tmp_path / "plain.jpg", 3).rename(os.fsdecode(name))
    with Library(tmp_path) as library:
        assert library.scan().looked_at == 1
        assert library.scan().looked_at == 0
        assert os.fsencode(library.assets()[0].file) == name


def test_nothing_in_the_library_is_touched_when_its_state_is_elsewhere(tmp_path):
    folder = tmp_path / "library"
    picture(folder / "a.jpg")
    before = {p: (p.stat().st_mtime_ns, p.stat().st_mode) for p in (folder, folder / "a.jpg")}
    with Library(folder, tmp_path / "state") as library:
        library.scan()
    assert sorted(folder.iterdir()) == [folder / "a.jpg"]
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_mode) for p in before}


def test_a_library_of_a_linked_folder_keeps_the_names_a_person_gave(tmp_path):
    picture(tmp_path / "real" / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Library(tmp_path / "link") as library:
        library.scan()
        assert library.assets()[0].file == tmp_path / "link" / "a.jpg"


# --- galleries ---------------------------------------------------------------------------------------------------


def test_a_gallery_that_changed_is_asked_again_only_when_wanted(tmp_path, gallery, view):
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    with Library(folder) as library:
        library.scan(gallery)
        gallery.remove(landmark="palazzo-0")
        report = library.scan(gallery)
        assert (report.recognized, report.older) == (0, 1)
        report = library.scan(gallery, again=True)
        assert (report.recognized, report.older) == (1, 0)
        assert library.assets()[0].label is None
        assert library.scan(gallery, again=True).recognized == 0


def test_another_gallery_is_refused_unless_all_are_to_be_asked_again(tmp_path, gallery, photos, view):
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    with Library(folder) as library, Gallery.create(tmp_path / "other") as other:
        library.scan(gallery)
        with pytest.raises(LibraryError, match=r"another gallery.*--again"):
            library.scan(other)
        assert library.scan(other, again=True).recognized == 1
        assert library.gallery == str(tmp_path / "other")


def test_scanned_first_without_a_gallery_all_are_asked_about_later(tmp_path, gallery, view):
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    with Library(folder) as library:
        assert library.scan().recognized == 0
        assert library.scan(gallery).recognized == 1


# --- verdicts and bursts -----------------------------------------------------------------------------------------


def test_verdicts_survive_rescans_moves_and_other_galleries(tmp_path, gallery, view, distractors):
    folder = tmp_path / "library"
    folder.mkdir()
    for i, photo in enumerate([view, *distractors[:2]]):
        shutil.copy2(photo, folder / f"{i}.jpg")
    with Library(folder) as library:
        library.scan(gallery)
        library.set_verdict(folder / "0.jpg", "rejected")
        library.set_verdict(folder / "1.jpg", "corrected", Landmark("ca-d-oro", "Ca' d'Oro"))
        (folder / "1.jpg").rename(folder / "moved.jpg")
        library.scan(gallery)
        gallery.remove(landmark="palazzo-3")
        library.scan(gallery, again=True)
        labels = {shot.file.name: shot.label for shot in library.assets()}
    assert labels["0.jpg"] is None
    assert (labels["moved.jpg"].landmark.name, labels["moved.jpg"].by) == ("Ca' d'Oro", "person")
    assert labels["2.jpg"] is None


def test_a_verdict_can_be_forgotten_and_an_unknown_photo_is_refused(tmp_path, gallery, view):
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    with Library(folder) as library:
        library.scan(gallery)
        assert library.set_verdict(folder / "a.jpg", "rejected").label is None
        assert library.clear_verdict(folder / "a.jpg").label.landmark.id == "palazzo-0"
        with pytest.raises(LibraryError, match="is no photo known"):
            library.set_verdict(tmp_path / "b.jpg", "rejected")
        with pytest.raises(ValueError, match="expected one of"):
            library.set_verdict(folder / "a.jpg", "corrected")


def test_copies_saved_again_and_a_burst_count_once_and_are_asked_about_once(tmp_path, gallery, view):
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    with PIL.Image.open(view) as opened:
        opened.save(folder / "smaller.jpg", quality=60)
        opened.resize((240, 180)).save(folder / "tiny.jpg", quality=80)
    picture(folder / "other.jpg", 31)
    with Library(folder) as library:
        library.scan(gallery)
        shots = library.assets()
        bursts = {shot.file.name: shot.burst for shot in shots}
        assert bursts["a.jpg"] is not None
        assert bursts["a.jpg"] == bursts["smaller.jpg"] == bursts["tiny.jpg"]
        assert bursts["other.jpg"] is None
        assert sum(shot.best for shot in shots) == 2
        library.set_verdict(folder / "tiny.jpg", "corrected", Landmark("x"))
        assert [s.label.landmark.id for s in library.assets() if s.burst is not None] == ["x"] * 3
        assert not any(doubt.asset.burst is not None for doubt in library.uncertain())


def test_photos_taken_within_seconds_of_one_another_are_a_burst_and_those_of_another_day_are_not(tmp_path):
    facade = world.facade(40, 240, 180)
    for i, moment in enumerate([(1, 0), (1, 2), (1, 3), (9, 0)]):
        picture(tmp_path / f"{i}.jpg", taken=at(*moment), pixels=np.roll(facade, 3 * i, axis=1))
    picture(tmp_path / "elsewhere.jpg", taken=at(1, 1), pixels=world.distractor(3, 240, 180))
    with Library(tmp_path) as library:
        library.scan()
        bursts = {shot.file.name: shot.burst for shot in library.assets()}
    assert bursts["0.jpg"] == bursts["1.jpg"] == bursts["2.jpg"] is not None
    assert bursts["elsewhere.jpg"] is None


# --- stopped, killed, limited ------------------------------------------------------------------------------------


def test_a_killed_scan_loses_at_most_the_photo_in_hand(tmp_path):
    folder = tmp_path / "library"
    for i in range(40):
        picture(folder / f"{i:02}.jpg", i)
    process = subprocess.Popen(
        [sys.executable, "-m", "veduta", "library", "scan", str(folder)], stderr=subprocess.DEVNULL
    )
    state = folder / STATE_FOLDER / CATALOG_FILE
    until, kept = time.monotonic() + PATIENCE, 0
    while time.monotonic() < until and kept < 5 and process.poll() is None:
        kept = _kept(state)
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = _kept(state)
    assert kept >= 5
    with Library(folder) as library:
        report = library.scan()
        assert report.looked_at == 40 - kept
        assert len(library.assets()) == 40


def _kept(state):
    try:
        db = sqlite3.connect(f"file:{state}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return 0
    try:
        return db.execute("SELECT count(*) FROM file").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        db.close()


def test_a_stop_keeps_what_is_done(tmp_path):
    for i in range(6):
        picture(tmp_path / f"{i}.jpg", i)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with Library(tmp_path) as library:
        with pytest.raises(KeyboardInterrupt):
            library.scan(progress=stop)
        report = library.scan()
        assert report.looked_at == 3


def test_a_photo_too_large_for_the_memory_is_reported_and_does_not_stop_the_others(tmp_path):
    picture(tmp_path / "small.jpg")
    wide = 6000
    PIL.Image.new("L", (wide, wide)).save(tmp_path / "large.png")
    least = (RESTING // MEGABYTE) + 100
    with Library(tmp_path) as library:
        report = library.scan(max_memory=least)
        (failure,) = report.failures
        assert "large.png" in failure.error
        assert "--max-memory" in failure.error
        assert [shot.file.name for shot in library.assets()] == ["small.jpg"]
        assert not library.scan(max_memory=4000).failures  # now there is room
        assert len(library.assets()) == 2
        with pytest.raises(ValueError, match="memory"):
            library.scan(max_memory=10)


@needs_rawpy
def test_a_raw_is_looked_at_as_soon_as_rawpy_is_there(tmp_path, monkeypatch):
    (tmp_path / "a.dng").write_bytes(dng(small()))
    with Library(tmp_path) as library:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "rawpy", None)
            (failure,) = library.scan().failures
            assert "'.[raw]'" in failure.error
            assert library.assets() == []
        assert not library.scan().failures
        (shot,) = library.assets()
    assert shot.taken is not None
    assert shot.size == (640, 480)


def test_less_memory_than_a_scan_takes_without_any_photo_is_refused(tmp_path, gallery_path):
    """A process that has scanned one tiny photo shows how much is taken at rest; no photo fits beside that."""
    picture(tmp_path / "library" / "a.jpg", pixels=world.facade(0)[::6, ::6])
    code = """if True:
        import pathlib, re, resource, sys
        from veduta.gallery import Gallery
        from veduta.library import Library
        with Library(sys.argv[1]) as library, Gallery.open(sys.argv[2]) as gallery:
            assert library.scan(gallery).recognized == 1
        if sys.platform == "linux":  # where ru_maxrss begins with what the parent had
            status = pathlib.Path("/proc/self/status").read_text()
            print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024)
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    command = [sys.executable, "-c", code, tmp_path / "library", gallery_path]
    at_rest = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout)
    with pytest.raises(ValueError, match="of memory"):
        ScanLimits(memory=at_rest)


def test_limits_shrink_with_threads():
    few, many = ScanLimits(threads=1), ScanLimits(threads=8)
    assert few.decoding > many.decoding
    assert many.decoding * 8 <= 2048 * MEGABYTE


# --- the state ---------------------------------------------------------------------------------------------------


def test_reasons_are_kept_without_paths_and_those_of_an_older_state_are_found_again(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    reason = "is something unknown, not a photo in JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF or BMP"
    whole = f"{tmp_path / 'a.jpg'}: {reason}"
    with Library(tmp_path) as library:
        assert [(f.photo, f.error, f.code) for f in library.scan().failures] == [
            (str(tmp_path / "a.jpg"), whole, "unreadable")
        ]
        assert library.unreadable() == {str(tmp_path / "a.jpg"): reason}
    db = sqlite3.connect(tmp_path / STATE_FOLDER / CATALOG_FILE)
    db.execute("UPDATE file SET error = ?", (whole,))
    db.execute("ALTER TABLE content DROP COLUMN utc_offset")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    with Library(tmp_path) as library:
        assert library.failures() == []
        assert [f.error for f in library.scan().failures] == [f.error for f in library.failures()] == [whole]


def test_a_folder_that_is_none_and_a_state_of_another_time_are_refused(tmp_path):
    with pytest.raises(LibraryError, match="is not a folder"):
        Library(tmp_path / "nothing")
    with Library(tmp_path):
        pass
    db = sqlite3.connect(tmp_path / STATE_FOLDER / CATALOG_FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LibraryError, match="schema 99"):
        Library(tmp_path)
    (tmp_path / STATE_FOLDER / CATALOG_FILE).write_bytes(b"no database at all, but long enough to be looked at" * 40)
    with pytest.raises(LibraryError, match="cannot be"):
        Library(tmp_path)


def test_a_folder_that_cannot_be_listed_is_told_and_what_is_known_of_it_stays(tmp_path, monkeypatch):
    picture(tmp_path / "sub" / "a.jpg", 1)
    picture(tmp_path / "b.jpg", 2)
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).rstrip("/").endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with Library(tmp_path) as library:
        library.scan()
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", refusing)
            report = library.scan()
        assert report.gone == 0
        assert "cannot be listed" in report.failures[0].error
        assert len(library.assets()) == 2


# --- what was found to be wrong once -------------------------------------------------------------------------------


def test_two_files_that_change_names_change_answers(tmp_path):
    paths = [picture(tmp_path / f"{i}.bmp", i) for i in range(2)]
    for path in paths:
        PIL.Image.fromarray(world.facade(int(path.stem), 240, 180)).save(path)
        os.utime(path, ns=(10**18, 10**18))
    assert paths[0].stat().st_size == paths[1].stat().st_size
    with Library(tmp_path) as library:
        library.scan()
        before = {shot.file.name: shot.sha256 for shot in library.assets()}
        paths[0].rename(tmp_path / "x")
        paths[1].rename(paths[0])
        (tmp_path / "x").rename(paths[1])
        report = library.scan()
        after = {shot.file.name: shot.sha256 for shot in library.assets()}
    assert (report.looked_at, report.moved) == (0, 0)
    assert after == {"0.bmp": before["1.bmp"], "1.bmp": before["0.bmp"]}


def test_what_another_program_writes_about_a_photo_leaves_its_verdict(tmp_path, gallery, view):
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    with Library(folder) as library:
        library.scan(gallery)
        library.set_verdict(folder / "a.jpg", "corrected", Landmark("ca-d-oro"))
        content = (folder / "a.jpg").read_bytes()
        (folder / "a.jpg").write_bytes(content[:2] + b"\xff\xfe\x00\x07Hello" + content[2:])  # a comment
        assert library.scan(gallery).looked_at == 1
        (shot,) = library.assets()
        assert shot.label.landmark.id == "ca-d-oro"
        picture(folder / "a.jpg", 5)  # another photo
        library.scan(gallery)
        assert library.assets()[0].label is None or library.assets()[0].label.by == "veduta"


def test_a_state_within_the_library_is_not_looked_through(tmp_path, view):
    folder = tmp_path / "library"
    (folder / "state" / "backup").mkdir(parents=True)
    shutil.copy2(view, folder / "a.jpg")
    shutil.copy2(view, folder / "state" / "backup" / "b.jpg")
    with Library(folder, folder / "state") as library:
        assert library.scan().files == 1


def test_a_state_is_of_one_library_and_follows_it(tmp_path):
    picture(tmp_path / "a" / "1.jpg", 1)
    picture(tmp_path / "b" / "2.jpg", 2)
    with Library(tmp_path / "a", tmp_path / "state") as library:
        library.scan()
    with pytest.raises(LibraryError, match="another folder with --state"):
        Library(tmp_path / "b", tmp_path / "state")
    (tmp_path / "a").rename(tmp_path / "c")
    with Library(tmp_path / "c", tmp_path / "state") as library:
        assert library.scan().looked_at == 0
        assert library.assets()[0].file == tmp_path / "c" / "1.jpg"


def test_a_gallery_whose_name_is_no_text_is_asked(tmp_path, gallery_path, view):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/g\xe9l"))
    shutil.copytree(gallery_path, odd)
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy2(view, folder / "a.jpg")
    with Library(folder) as library, Gallery.open(odd) as opened:
        assert library.scan(opened).recognized == 1
        assert library.scan(opened).unchanged == 1
        assert library.gallery == os.fspath(odd)


def test_many_may_open_a_new_library_at_once(tmp_path):
    code = f"from veduta.library import Library; Library({str(tmp_path)!r}).close()"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    assert [(process.wait(), process.stderr.read()) for process in processes] == [(0, b"")] * 4
    for process in processes:
        process.stderr.close()


def test_numbers_add_up_when_photos_are_asked_about_later(tmp_path, gallery, views):
    folder = tmp_path / "library"
    folder.mkdir()
    for i, photo in enumerate(list(views)[:3]):
        shutil.copy2(photo, folder / f"{i}.jpg")
    with Library(folder) as library:
        library.scan()
        report = library.scan(gallery)
        assert (report.files, report.looked_at, report.unchanged) == (3, 3, 0)
        os.link(folder / "0.jpg", folder / "again.jpg")
        report = library.scan(gallery)
        assert (report.files, report.moved, report.unchanged, report.looked_at) == (4, 0, 4, 0)


def test_a_folder_that_may_be_listed_and_not_entered_does_not_stop_the_scan(tmp_path, monkeypatch):
    picture(tmp_path / "a.jpg", 1)
    picture(tmp_path / "sub" / "b.jpg", 2)
    stat = os.stat

    def refusing(path, *args, **options):
        if "/sub/" in os.fspath(path):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, *args, **options)

    with Library(tmp_path) as library:
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", refusing)
            report = library.scan()
        assert [shot.file.name for shot in library.assets()] == ["a.jpg"]
        assert "b.jpg" in report.failures[0].error
