import os

import pytest

from veduta.datasets.listing import LabeledPhoto, list_csv, list_folder, list_photos
from veduta.errors import DatasetError
from veduta.landmarks import Landmark

HEADER = "photo,landmark,name,latitude,longitude,url\n"


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def table(folder, text):
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


# --- a folder ---------------------------------------------------------------------------------------------------


def test_a_subfolder_names_the_landmark_of_the_photos_below_it(tmp_path):
    touch(tmp_path, "torre/1.jpg", "duomo/b.PNG", "duomo/inside/a.webp")
    listed, failures = list_folder(tmp_path)
    assert listed == [
        LabeledPhoto(str(tmp_path / "duomo/b.PNG"), "duomo/b.PNG", Landmark("duomo")),
        LabeledPhoto(str(tmp_path / "duomo/inside/a.webp"), "duomo/inside/a.webp", Landmark("duomo")),
        LabeledPhoto(str(tmp_path / "torre/1.jpg"), "torre/1.jpg", Landmark("torre")),
    ]
    assert failures == []


def test_what_is_hidden_or_no_photo_is_passed_over(tmp_path):
    touch(tmp_path, "duomo/a.jpg", "duomo/.b.jpg", "duomo/notes.txt", ".cache/c.jpg", "README.md")
    listed, failures = list_folder(tmp_path)
    assert [item.id for item in listed] == ["duomo/a.jpg"]
    assert failures == []


def test_a_photo_in_no_landmarks_folder_is_a_failure(tmp_path):
    touch(tmp_path, "duomo/a.jpg", "loose.jpg")
    listed, failures = list_folder(tmp_path)
    assert len(listed) == 1
    assert [failure.photo for failure in failures] == [str(tmp_path / "loose.jpg")]
    assert "lies in no landmark's folder; move it" in failures[0].error


def test_links_to_folders_are_followed(tmp_path):
    touch(tmp_path / "elsewhere", "a.jpg")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "duomo").symlink_to(tmp_path / "elsewhere")
    assert [item.id for item in list_folder(tmp_path / "photos")[0]] == ["duomo/a.jpg"]


@pytest.mark.parametrize("names", [(), ("loose.jpg",), ("duomo/notes.txt",), (".hidden/a.jpg",)])
def test_a_folder_without_photos_in_subfolders_is_an_error(tmp_path, names):
    folder = tmp_path / "photos"
    folder.mkdir()
    with pytest.raises(DatasetError, match=r"has no photos in subfolders; expected .*/LANDMARK/PHOTO") as raised:
        list_folder(touch(folder, *names))
    assert str(folder) in str(raised.value)


def test_what_is_no_folder_is_an_error(tmp_path):
    for path in (tmp_path / "missing", touch(tmp_path, "a.jpg") / "a.jpg"):
        with pytest.raises(DatasetError, match="is not a folder; expected") as raised:
            list_folder(path)
        assert str(path) in str(raised.value)


# --- a table ----------------------------------------------------------------------------------------------------


def test_a_table_says_all_that_is_known_of_a_landmark(tmp_path):
    path = table(tmp_path, HEADER + "a/1.jpg,duomo,Duomo di Firenze,43.7731,11.256,https://duomo.example\n")
    expected = Landmark("duomo", "Duomo di Firenze", 43.7731, 11.256, "https://duomo.example")
    assert list_csv(path) == ([LabeledPhoto(str(tmp_path / "a/1.jpg"), "a/1.jpg", expected)], [])


def test_photo_and_landmark_are_enough(tmp_path):
    (item,) = list_csv(table(tmp_path, "landmark,photo\nduomo,1.jpg\n"))[0]
    assert item.landmark == Landmark("duomo", "duomo", None, None, None)


def test_cells_may_be_empty_padded_quoted_or_in_any_script(tmp_path):
    text = HEADER + ' 1.jpg , duomo ,"Duomo, the ""big"" one",,,\n2.jpg,駅,東京駅,35.68,139.77,\n'
    first, second = list_csv(table(tmp_path, text))[0]
    assert first.landmark == Landmark("duomo", 'Duomo, the "big" one')
    assert second.landmark == Landmark("駅", "東京駅", 35.68, 139.77)


def test_headers_may_be_spaced_capitalized_and_begun_by_a_byte_order_mark(tmp_path):
    (item,) = list_csv(table(tmp_path, "\ufeffPhoto, Landmark ,NAME\r\n1.jpg,duomo,Duomo\r\n".encode()))[0]
    assert (item.id, item.landmark.name) == ("1.jpg", "Duomo")


def test_blank_lines_are_passed_over(tmp_path):
    assert len(list_csv(table(tmp_path, "photo,landmark\n\n1.jpg,duomo\n\n2.jpg,duomo\n\n"))[0]) == 2


def test_relative_paths_start_at_the_tables_folder_and_absolute_ones_stay(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    path = table(tmp_path / "sub", f"photo,landmark\n1.jpg,duomo\n./2.jpg,duomo\n{tmp_path / '3.jpg'},duomo\n")
    monkeypatch.chdir(tmp_path)
    listed = list_csv(path.relative_to(tmp_path))[0]
    assert [item.photo for item in listed] == ["sub/1.jpg", "sub/./2.jpg", str(tmp_path / "3.jpg")]
    assert [item.id for item in listed] == ["1.jpg", "./2.jpg", str(tmp_path / "3.jpg")]


MALFORMED = {
    "nothing at all": ("", ", line 1: expected the columns photo,landmark .*got nothing"),
    "only a header": (HEADER, ": has no rows"),
    "no photo column": ("file,landmark\n", ", line 1: expected the columns photo,landmark .*got file,landmark"),
    "no landmark column": ("photo,name\n", ", line 1: expected the columns photo,landmark .*got photo,name"),
    "an unknown column": ("photo,landmark,lat\n1.jpg,a,3\n", ", line 1: expected .*got photo,landmark,lat"),
    "too many fields": ("photo,landmark\n1.jpg,a\n2.jpg,b,c\n", ", line 3: expected 2 fields"),
    "too few fields": ("photo,landmark\n1.jpg,a\n2.jpg\n", ", line 3: expected 2 fields"),
    "an empty photo": ("photo,landmark\n,a\n", ", line 2: photo and landmark may not be empty"),
    "an empty landmark": ("photo,landmark\n1.jpg,  \n", ", line 2: photo and landmark may not be empty"),
    "a latitude in words": (HEADER + "1.jpg,a,,north,0,\n", ", line 2: latitude 'north' is not a number"),
    "a latitude past the pole": (HEADER + "1.jpg,a,,90.5,0,\n", ", line 2: latitude 90.5 is not within -90 and 90"),
    "a longitude past the date line": (HEADER + "1.jpg,a,,0,-181,\n", ", line 2: longitude -181 is not within"),
    "a longitude that is nan": (HEADER + "1.jpg,a,,0,nan,\n", ", line 2: longitude nan is not within"),
    "a line break inside quotes before": ('photo,landmark\n"1\n.jpg",a\n2.jpg\n', ", line 4: expected 2 fields"),
    "Latin-1": ("photo,landmark\n1.jpg,a\n2.jpg,Köln\n".encode("latin-1"), ", line 3: is not UTF-8; save"),
    "UTF-16": ("photo,landmark\n1.jpg,a\n".encode("utf-16"), ", line 1: is not UTF-8; save"),
    "a field without end": ("photo,landmark\n1.jpg," + "a" * 200_000 + "\n", ", line 2: is not CSV .*field larger"),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_table_is_an_error_that_names_file_and_line(tmp_path, text, message):
    path = table(tmp_path, text)
    with pytest.raises(DatasetError, match=message) as raised:
        list_csv(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_table_that_is_missing_or_a_folder_is_an_error(tmp_path):
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(DatasetError, match="cannot be read") as raised:
            list_csv(path)
        assert str(raised.value).startswith(os.fspath(path))


# --- a photo library given as references -------------------------------------------------------------------------

LIBRARIES = {
    "by years": ["2018/a", "2019/b", "2020/c"],
    "by months": ["2019-05/a", "2019-06/b"],
    "by days": ["2019-05-03/a", "2019.06.17/b", "20190618/c"],
    "by days with titles": ["2019-05-03 Rome/a", "2019_06_17-Pisa/b"],
    "years with titles": ["2019 Italy/a", "2020, at home/b"],
    "of a camera": ["100CANON/a", "101_PANA/b"],
    "of a phone": ["Camera/a", "Screenshots/b"],
    "of a phone's cloud": ["Camera Uploads/a", "2019/b"],
    "of Google Takeout": ["Photos from 2019/a", "Photos from 2020/b"],
    "of messengers": ["WhatsApp Images/a", "2021/b"],
    "of Windows": ["Camera Roll/a", "Saved Pictures/b"],
    "deeper": ["Italy/Rome/a", "Italy/Pisa/b", "France/Paris/c"],
    "deeper in one place only": ["colosseum/a", "trevi/b", "trevi/close up/c"],
    "half of the subfolders": ["2019/a", "colosseum/b"],
}
LANDMARKS = {
    "names": ["colosseum/a", "Trevi Fountain/b"],
    "numbers of a competition": ["2019/a", "27/b", "203093/c", "1001/d"],
    "names with numbers": ["123_rome/a", "007 museum/b"],
    "one like a year among many": ["2001/a", "colosseum/b", "trevi/c"],
    "names with a year inside": ["Expo 2020/a", "Pavilion 1958/b"],
    "years that are no photo's": ["1666/a", "2525/b"],
    "cameras in names": ["Camera Obscura/a", "Museum of Photography/b"],
    "a month that is none": ["2019-13/a", "1999-99/b"],
}


def tree(folder, photos):
    for photo in photos:
        path = folder / f"{photo}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize("photos", LIBRARIES.values(), ids=LIBRARIES)
def test_a_photo_library_is_refused_with_the_way_out(tmp_path, photos):
    folder = tree(tmp_path / "Pictures", photos)
    with pytest.raises(DatasetError, match="looks like a photo library") as raised:
        list_photos(folder, None, any_layout=False)
    assert f"veduta library scan {folder}" in str(raised.value)
    listed, _ = list_photos(folder, None, any_layout=True)
    assert listed == list_folder(folder)[0]
    assert len(listed) == len(photos)


@pytest.mark.parametrize("photos", LANDMARKS.values(), ids=LANDMARKS)
def test_a_folder_of_landmarks_is_taken(tmp_path, photos):
    listed, _ = list_photos(tree(tmp_path, photos), None, any_layout=False)
    assert sorted(item.id for item in listed) == sorted(f"{photo}.jpg" for photo in photos)
