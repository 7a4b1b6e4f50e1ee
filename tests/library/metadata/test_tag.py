"""What is planned for a library's photos, and that applying it writes just that and can be taken back."""

import os
from dataclasses import replace
from datetime import datetime

import pytest
from support import world
from support.metadata import EIFFEL, NOWHERE, OPERA, needs_exiftool, stored_position

from veduta.images import load
from veduta.library.journal import apply, undo
from veduta.library.metadata import embed, xmp
from veduta.library.metadata.tag import plan_tags
from veduta.library.model import Asset
from veduta.types import Failure

LONG_AGO = 1_000_000_000


@pytest.fixture
def library(tmp_path):
    """Three shots: one in two files, one of the camera's own position, one without a label."""
    folder = tmp_path / "photos"
    files = [
        world.save(world.facade(i, 96, 72), folder / name)
        for i, name in enumerate(("a.jpg", "b/a copy.JPG", "c.jpg", "d.jpg"))
    ]
    files[1].write_bytes(files[0].read_bytes())
    for file in files:
        os.utime(file, (LONG_AGO, LONG_AGO))
    taken = datetime(2024, 5, 1, 12, 0, 0)  # noqa: DTZ001 - a camera's clock
    return [
        Asset("0" * 64, (files[0], files[1]), companions=(folder / "a.CR2",), taken=taken, label=EIFFEL),
        Asset("1" * 64, (files[2],), position=(48.86, 2.29), label=EIFFEL),
        Asset("2" * 64, (files[3],)),
    ]


def listed(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def counts(planned):
    names = ("new", "merged", "withdrawn", "embedded", "unchanged", "positions", "positions_left")
    return {name: value for name in names if (value := getattr(planned, name))}


def test_every_file_of_a_labeled_shot_gets_a_sidecar_and_undo_takes_them_away(library, tmp_path):
    before = listed(tmp_path / "photos")
    planned = plan_tags(library, embed=False)
    assert counts(planned) == {"new": 3, "positions": 2, "positions_left": 1}
    assert listed(tmp_path) == {f"photos/{name}": data for name, data in before.items()}
    assert apply(planned.steps, tmp_path / "state", "tag").done == 3
    after = listed(tmp_path / "photos")
    assert after.keys() - before.keys() == {"a.jpg.xmp", "b/a copy.JPG.xmp", "c.jpg.xmp"}
    assert after["a.jpg.xmp"] == after["b/a copy.JPG.xmp"] == xmp.merge_sidecar(None, EIFFEL, False)
    assert after["c.jpg.xmp"] == xmp.merge_sidecar(None, EIFFEL, True)
    again = plan_tags(library, embed=False)
    assert (again.steps, counts(again)) == ((), {"unchanged": 3, "positions_left": 1})
    undo(tmp_path / "state")
    assert listed(tmp_path / "photos") == before


def test_a_sidecar_that_is_there_is_merged_and_lightrooms_is_left_alone(library, tmp_path):
    folder = tmp_path / "photos"
    mine = xmp.merge_sidecar(None, OPERA, False)
    (folder / "a.jpg.xmp").write_bytes(mine)
    (folder / "c.xmp").write_bytes(b"Lightroom's")
    planned = plan_tags(library, embed=False)
    assert counts(planned) == {"merged": 1, "new": 2, "positions": 2, "positions_left": 1}
    apply(planned.steps, tmp_path / "state", "tag")
    assert (folder / "a.jpg.xmp").read_bytes() == xmp.merge_sidecar(None, EIFFEL, False)
    assert (folder / "c.xmp").read_bytes() == b"Lightroom's"
    assert (folder / "c.jpg.xmp").exists()
    undo(tmp_path / "state")
    assert (folder / "a.jpg.xmp").read_bytes() == mine


def test_what_a_person_has_rejected_is_taken_out_of_its_sidecar_and_nothing_else(library, tmp_path):
    sidecar = tmp_path / "photos" / "c.jpg.xmp"
    foreign = xmp.merge_sidecar(None, NOWHERE, position_known=True).replace(b"urn:veduta:", b"urn:somebody:")
    sidecar.write_bytes(foreign)
    apply(plan_tags(library, embed=False).steps, tmp_path / "state", "tag")
    assert sidecar.read_bytes() != foreign
    silent = [replace(shot, label=None) for shot in library]
    assert plan_tags(silent, embed=False) == plan_tags(
        [], embed=False
    )  # nothing is known here, but nobody said it is wrong
    silent = [replace(shot, rejected=True) for shot in silent]
    planned = plan_tags(silent, embed=False)
    assert counts(planned) == {"withdrawn": 3}
    apply(planned.steps, tmp_path / "state", "tag")
    assert sidecar.read_bytes() == foreign
    assert plan_tags(silent, embed=False).steps == ()
    assert b"Eiffel" not in (tmp_path / "photos" / "a.jpg.xmp").read_bytes()
    undo(tmp_path / "state")
    assert b"Eiffel" in sidecar.read_bytes()


def test_what_is_written_is_made_when_its_turn_comes(library, tmp_path):
    sidecar = tmp_path / "photos" / "c.jpg.xmp"
    sidecar.write_bytes(xmp.merge_sidecar(None, OPERA, True))
    (step,) = (step for step in plan_tags(library, embed=False).steps if step.target == sidecar)
    mine = b'<rdf:Description xmlns:p="http://example.org/p/" p:mine="meanwhile"/></rdf:RDF>'
    later = sidecar.read_bytes().replace(b"</rdf:RDF>", mine)
    sidecar.write_bytes(later)
    assert step.make() == xmp.merge_sidecar(later, EIFFEL, True)
    assert b"meanwhile" in step.make()


def test_a_sidecar_that_cannot_be_used_is_a_failure_and_the_others_go_on(library, tmp_path):
    (tmp_path / "photos" / "a.jpg.xmp").write_bytes(b"broken")
    (tmp_path / "photos" / "c.jpg.xmp").mkdir()
    planned = plan_tags(library, embed=False)
    assert counts(planned) == {"new": 1, "positions": 1}
    assert [failure.photo for failure in planned.failures] == [str(library[0].files[0]), str(library[1].files[0])]
    for failure, problem in zip(planned.failures, ("damaged", "is a folder"), strict=True):
        assert failure.error.startswith(f"{failure.photo}.xmp: ")
        assert problem in failure.error


@needs_exiftool
def test_embedding_keeps_the_time_of_the_photo_and_undo_its_bytes(library, tmp_path):
    before = listed(tmp_path / "photos")
    planned = plan_tags(library, embed=True)
    # The third photo has its position from a camera according to the library only, not in its EXIF.
    assert counts(planned) == {"embedded": 3, "positions": 3}
    assert all(step.keep_times for step in planned.steps)
    apply(planned.steps, tmp_path / "state", "tag")
    for name, data in listed(tmp_path / "photos").items():
        path = tmp_path / "before.jpg"
        path.write_bytes(before[name])
        assert data == (before[name] if name == "d.jpg" else embed.embed_label(path, EIFFEL, False))
        assert (tmp_path / "photos" / name).stat().st_mtime == LONG_AGO
    again = plan_tags(library, embed=True)
    assert (again.steps, counts(again)) == ((), {"unchanged": 3})
    undo(tmp_path / "state")
    assert listed(tmp_path / "photos") == before


@needs_exiftool
def test_embedding_keeps_a_sidecar_true_and_its_position_above_ours(library, tmp_path):
    sidecar = tmp_path / "photos" / "a.jpg.xmp"
    sidecar.write_bytes(
        xmp.merge_sidecar(None, OPERA, True).replace(
            b"<dc:subject>",
            b"<exif:GPSLatitude>1,2N</exif:GPSLatitude><exif:GPSLongitude>1,2E</exif:GPSLongitude><dc:subject>",
        )
    )
    planned = plan_tags(library[:1], embed=True)
    assert counts(planned) == {"merged": 1, "embedded": 2, "positions": 1, "positions_left": 2}
    apply(planned.steps, tmp_path / "state", "tag")
    assert b"Eiffel" in sidecar.read_bytes()
    assert b"Sydney" not in sidecar.read_bytes()
    assert load(library[0].files[0]).position is None
    assert stored_position(library[0].files[1]) is not None


@needs_exiftool
def test_what_a_person_has_rejected_is_taken_out_of_the_photo_too(library, tmp_path):
    apply(plan_tags(library, embed=True).steps, tmp_path / "state", "tag")
    apply(plan_tags(library[:1], embed=False).steps, tmp_path / "state", "tag")
    before = listed(tmp_path / "photos")
    silent = [replace(shot, label=None) for shot in library]
    assert plan_tags(silent, embed=True) == plan_tags([], embed=True)
    silent = [replace(shot, rejected=True) for shot in silent]
    assert counts(plan_tags(silent, embed=False)) == {"withdrawn": 2}
    planned = plan_tags(silent, embed=True)
    assert counts(planned) == {"withdrawn": 5}
    assert not planned.failures
    assert apply(planned.steps, tmp_path / "state", "tag").done == 5
    for name, data in listed(tmp_path / "photos").items():
        assert b"Eiffel" not in data
        if not name.endswith(".xmp"):
            assert load(data).position is None
            assert (tmp_path / "photos" / name).stat().st_mtime == LONG_AGO
    assert plan_tags(silent, embed=True) == plan_tags([], embed=True)
    undo(tmp_path / "state")
    assert listed(tmp_path / "photos") == before


def test_a_rejected_photo_that_has_our_words_and_cannot_be_written_into_is_a_failure(library, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    ours, clean = tmp_path / "ours.png", tmp_path / "clean.png"
    ours.write_bytes(b"\x89PNG\r\n\x1a\n" + xmp.merge_sidecar(None, EIFFEL, True))
    clean.write_bytes(b"\x89PNG\r\n\x1a\n")
    ours.with_name("ours.png.xmp").write_bytes(xmp.merge_sidecar(None, EIFFEL, True))
    planned = plan_tags([replace(library[2], files=(clean, ours), rejected=True)], embed=True)
    assert counts(planned) == {"withdrawn": 1}  # its sidecar
    (failure,) = planned.failures
    assert failure.photo == str(ours)
    assert "exiftool is not installed" in failure.error


OWN_POSITION = xmp.merge_sidecar(None, NOWHERE, True).replace(
    b"<dc:subject>", b"<exif:GPSLatitude>1,2N</exif:GPSLatitude><exif:GPSLongitude>1,2E</exif:GPSLongitude><dc:subject>"
)


@pytest.mark.parametrize("name", ["a.xmp", "a.CR2.XMP"])
@pytest.mark.parametrize("embed", [False, pytest.param(True, marks=needs_exiftool)])
def test_a_position_in_any_sidecar_of_the_persons_is_above_ours(library, tmp_path, name, embed):
    lightrooms = tmp_path / "photos" / name
    broken = [lightrooms.with_name(other) for other in ("a.pp3", "gone.xmp", "broken.xmp", "folder.xmp")]
    broken[2].write_bytes(b"broken")
    broken[3].mkdir()
    shot = replace(library[0], companions=(*broken, lightrooms))
    lightrooms.write_bytes(xmp.merge_sidecar(None, NOWHERE, True))
    assert counts(plan_tags([shot], embed=embed))["positions"] == 2
    lightrooms.write_bytes(OWN_POSITION)
    planned = plan_tags([shot], embed=embed)
    assert counts(planned) == {"embedded" if embed else "new": 2, "positions_left": 2}
    assert not planned.failures
    apply(planned.steps, tmp_path / "state", "tag")
    assert lightrooms.read_bytes() == OWN_POSITION
    for file in shot.files:
        assert load(file).position is None
        assert embed or not xmp.estimates(file.with_name(f"{file.name}.xmp").read_bytes())


@needs_exiftool
def test_a_sidecar_whose_name_no_disk_takes_is_a_failure_when_planned(library, tmp_path):
    files = [library[2].file.with_name("é" * 123 + "a" * more + ".jpg") for more in (1, 2)]  # 251 and 252 bytes
    for file in files:
        file.write_bytes(library[2].file.read_bytes())
    shot = replace(library[2], files=tuple(files), label=NOWHERE)
    planned = plan_tags([shot], embed=False)
    assert counts(planned) == {"new": 1}
    (failure,) = planned.failures
    assert failure.photo == str(files[1])
    assert failure.error.startswith(f"{files[1]}.xmp: is a longer name than the 255 bytes")
    assert apply(planned.steps, tmp_path / "state", "tag").failures == ()
    assert counts(plan_tags([shot], embed=True)) == {"embedded": 2, "unchanged": 1}


@needs_exiftool
@pytest.mark.parametrize("rejected", [False, True])
def test_through_a_link_nothing_is_written(library, tmp_path, rejected):
    real, folder = library[0].file, tmp_path / "photos"
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(embed.embed_label(real, OPERA, False))
    if rejected:
        real.write_bytes(outside.read_bytes())
    alias, link = folder / "alias.jpg", folder / "link.jpg"
    alias.symlink_to("a.jpg")
    link.symlink_to(outside)
    shot = Asset("0" * 64, (real, alias, link), label=None if rejected else EIFFEL, rejected=rejected)
    planned = plan_tags([shot], embed=True)
    assert [step.target for step in planned.steps] == [real]
    (failure,) = planned.failures
    assert failure.photo == str(link)
    assert failure.error.startswith(f"{link}: is a link to {outside}, ")
    assert apply(planned.steps, tmp_path / "state", "tag").failures == ()


def test_through_a_link_to_a_sidecar_nothing_is_written(library, tmp_path):
    (tmp_path / "elsewhere.xmp").write_bytes(xmp.merge_sidecar(None, OPERA, True))
    sidecar = tmp_path / "photos" / "c.jpg.xmp"
    sidecar.symlink_to(tmp_path / "elsewhere.xmp")
    planned = plan_tags(library[1:], embed=False)
    assert planned.steps == ()
    (failure,) = planned.failures
    assert failure.error.startswith(f"{sidecar}: is a link")


def test_a_raw_gets_a_sidecar_even_when_photos_are_written_into(tmp_path):
    raw = tmp_path / "a.ARW"
    raw.write_bytes(b"II*\0 and more")
    planned = plan_tags([Asset("0" * 64, (raw,), label=NOWHERE)], embed=True)
    assert [step.target.name for step in planned.steps] == ["a.ARW.xmp"]
    assert counts(planned) == {"new": 1}


@needs_exiftool
def test_a_photo_that_cannot_be_written_into_is_a_failure(library, tmp_path):
    bitmap = tmp_path / "e.png"
    bitmap.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    planned = plan_tags([replace(library[2], files=(bitmap,), label=NOWHERE), library[1]], embed=True)
    assert counts(planned) == {"embedded": 1, "positions": 1}
    (failure,) = planned.failures
    assert isinstance(failure, Failure)
    assert failure.photo == str(bitmap)
    assert "write sidecars instead" in failure.error


def test_a_name_that_is_no_text_gets_a_sidecar_too(library, tmp_path):
    strange = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    strange.write_bytes(library[0].file.read_bytes())
    planned = plan_tags([Asset("0" * 64, (strange,), label=EIFFEL)], embed=False)
    assert apply(planned.steps, tmp_path / "state", "tag").done == 1
    assert strange.with_name(strange.name + ".xmp").exists()
    strange.with_name(strange.name + ".xmp").write_bytes(b"broken")
    (failure,) = plan_tags([Asset("0" * 64, (strange,), label=EIFFEL)], embed=False).failures
    assert failure.error.startswith(f"{tmp_path}/caf\\udce9.jpg.xmp: is damaged")
