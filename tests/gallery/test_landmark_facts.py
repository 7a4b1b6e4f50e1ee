"""Names, places and pages of landmarks: empty cells never erase, and one landmark however its name is composed."""

import shutil
import unicodedata

import pytest
from support import world
from support.servers import check_error, files, inside

from veduta.datasets.listing import composed, list_csv, list_folder
from veduta.errors import DatasetError, GalleryError
from veduta.gallery import Gallery
from veduta.gallery.rows import merged_landmark
from veduta.landmarks import Landmark

FULL = Landmark("a", "Name", 1.0, 2.0, "https://x.example/")


# --- empty cells ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (Landmark("a"), FULL),
        (Landmark("a", "Other"), Landmark("a", "Other", 1.0, 2.0, FULL.url)),
        (Landmark("a", "", 5.0, 6.0), Landmark("a", "Name", 5.0, 6.0, FULL.url)),
        (Landmark("a", "", 0.0, 0.0), Landmark("a", "Name", 0.0, 0.0, FULL.url)),
        (Landmark("a", "", None, None, "https://y.example/"), Landmark("a", "Name", 1.0, 2.0, "https://y.example/")),
        (Landmark("a", "", 5.0, None), FULL),
        (Landmark("a", "", None, 5.0), FULL),
        (Landmark("a", "a"), FULL),
        (Landmark("a", "", None, None, ""), FULL),
        (FULL, FULL),
        (Landmark("a", "New", 7.0, 8.0, "https://z.example/"), Landmark("a", "New", 7.0, 8.0, "https://z.example/")),
    ],
)
def test_what_a_later_row_leaves_empty_stays(later, expected):
    assert merged_landmark(FULL, later) == expected
    assert merged_landmark(None, later) == later


HEAD = "photo,landmark,name,latitude,longitude,url\n"
ROW = "{photo},a,Name,1,2,https://x.example/\n"
TABLES = {
    "the first row": [ROW, "{photo},a,,,,\n", "{photo},a,,,,\n"],
    "the middle row": ["{photo},a,,,,\n", ROW, "{photo},a,,,,\n"],
    "the last row": ["{photo},a,,,,\n", "{photo},a,,,,\n", ROW],
    "a cell in each row": ["{photo},a,Name,,,\n", "{photo},a,,1,2,\n", "{photo},a,,,,https://x.example/\n"],
    "blanks in the others": [ROW, "{photo},a, , , , \n", '{photo},a,"  ",,,\n'],
    "each row": [ROW, ROW, ROW],
}


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("kind", TABLES)
def test_a_tables_facts_are_those_of_all_its_rows(tmp_path, built, photos, kind, twice):
    table = tmp_path / "t.csv"
    listed = sorted(photos.rglob("*.jpg"))[:3]
    table.write_text(HEAD + "".join(row.format(photo=p) for row, p in zip(TABLES[kind], listed, strict=True)))
    with Gallery.create(tmp_path / "gallery") as gallery:
        gallery.add(csv=table)
        if twice:
            gallery.add(csv=table)
            (tmp_path / "empty.csv").write_text(f"photo,landmark,name,latitude,longitude,url\n{listed[0]},a,,,,\n")
            gallery.add(csv=tmp_path / "empty.csv")
        assert gallery.landmarks() == [(FULL, 3)]


# --- what is told -----------------------------------------------------------------------------------------------

TOLD = {
    "two names": (
        HEAD + "1.jpg,a,One,,,\n2.jpg,a,,,,\n3.jpg,a,Two,,,\n",
        r"line 4: landmark 'a' .*'Two', and 'One' in line 2",
    ),
    "a name with other letters": (HEAD + "1.jpg,a,One,,,\n2.jpg,a,ONE,,,\n", "line 3: .* give it one name"),
    "a latitude alone": (HEAD + "1.jpg,a,,5,,\n", "line 2: half a position, without its longitude"),
    "a longitude alone": (HEAD + "1.jpg,a,,,5,\n", "line 2: half a position, without its latitude"),
    "zero alone": (HEAD + "1.jpg,a,,0,,\n", "line 2: half a position"),
    "half in a later row": (HEAD + "1.jpg,a,,1,2,\n2.jpg,a,,,3,\n", "line 3: half a position"),
    "no column of longitudes": ("photo,landmark,latitude\n1.jpg,a,5\n", "line 2: half a position"),
    "a column twice": ("photo,landmark,name,name\n1.jpg,a,x,y\n", "line 1: has the column name twice"),
    "a column twice in other letters": (
        "photo,Landmark,landmark\n1.jpg,a,b\n",
        "line 1: has the column landmark twice",
    ),
    "a column twice with blanks": ("photo,photo ,landmark\n1.jpg,2.jpg,b\n", "line 1: has the column photo twice"),
    "two columns without a name": ("photo,landmark,,\n1.jpg,b,,\n", "line 1: has the column without a name twice"),
}


@pytest.mark.parametrize("kind", TOLD)
def test_what_contradicts_itself_in_a_table_is_told(tmp_path, kind):
    content, message = TOLD[kind]
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DatasetError, match=message):
        list_csv(tmp_path / "t.csv")


def test_two_landmarks_may_have_one_name_and_one_landmark_two_spellings_of_it(tmp_path):
    names = [unicodedata.normalize(form, "Sacré-Cœur") for form in ("NFC", "NFD")]
    (tmp_path / "t.csv").write_text(HEAD + f"1.jpg,a,{names[0]},,,\n2.jpg,b,{names[0]},,,\n3.jpg,a,{names[1]},,,\n")
    assert {item.landmark.name for item in list_csv(tmp_path / "t.csv")[0]} == {names[0]}


@pytest.mark.parametrize(
    "half", [{"latitude": 5}, {"longitude": 5}, {"latitude": 0}, {"latitude": 5, "longitude": None}]
)
def test_half_a_position_is_refused(gallery_path, view, half):
    with inside(gallery_path) as client:
        assert "send both or neither" in check_error(client.put("/v1/landmarks/palazzo-0", json=half), 400)
        sent = {key: value for key, value in half.items() if value is not None} | {"landmark": "new"}
        assert "send both" in check_error(client.post("/v1/references", files=files(view), data=sent), 400)
        assert client.put("/v1/landmarks/palazzo-0", json={"latitude": 1, "longitude": 2}).status_code == 200
        assert client.put("/v1/landmarks/palazzo-0", json={"longitude": 3}).json()["latitude"] == 1
        assert "send both" in check_error(client.put("/v1/landmarks/palazzo-0", json={"longitude": None}), 400)
    with Gallery.open(gallery_path) as gallery, pytest.raises(GalleryError, match="half a position"):
        gallery.add_photo(view, Landmark("new", "", half.get("latitude"), None if "latitude" in half else 5.0))


# --- composed names ---------------------------------------------------------------------------------------------

NAMES = [
    "Sacré-Cœur",
    "Köln",
    "Ångström",
    "Église Saint-Étienne",
    "São Jorge",
    "Český Krumlov",
    "Tượng đài",
    "サグラダ・ファミリア が",
    "한국의집",
    "Άγιος",
    "й",
    "ẛ̣",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
def test_a_landmark_is_one_however_its_name_is_composed(tmp_path, photos, gallery_path, stored, name):
    forms = {form: unicodedata.normalize(form, name) for form in ("NFC", "NFD")}
    paths = sorted(photos.rglob("*.jpg"))
    for form, path in zip(forms, paths, strict=False):
        folder = tmp_path / form / forms[form]
        folder.mkdir(parents=True)
        world.save(world.facade(500 + len(form) + ord(form[2])), folder / path.name)
        assert list_folder(tmp_path / form)[0][0].landmark.id == composed(name) == forms["NFC"]
    with Gallery.open(gallery_path) as gallery:
        gallery._store.put_landmark(Landmark(forms[stored]))  # as an older Veduta left it
        gallery.add(tmp_path / "NFC")
        gallery.add(tmp_path / "NFD")
        for form in forms.values():
            ((landmark, count),) = gallery.landmarks(form)
            assert (landmark.id, count, len(gallery.references(form))) == (forms[stored], 2, 2)
            gallery.put_landmark(Landmark(form, "A name"))
        assert gallery.counts()[0] == 7
        answers = gallery.recognize([paths[0]], landmarks=[forms["NFD"]])
        assert next(answers).landmark is None
        assert gallery.remove(landmark=forms["NFD" if stored == "NFC" else "NFC"]) == 2
        assert gallery.landmarks(name) == []


def test_a_new_landmark_is_stored_composed(gallery_path, view):
    apart = unicodedata.normalize("NFD", "Sacré-Cœur")
    with inside(gallery_path) as client:
        client.post("/v1/references", files=files(view), data={"landmark": apart})
        assert client.get(f"/v1/landmarks/{apart}").json()["id"] == composed(apart)
        assert client.get(f"/v1/landmarks/{composed(apart)}").json()["references"] == 1
        assert client.put(f"/v1/landmarks/{apart}", json={"name": "X"}).json()["name"] == "X"
        assert client.get("/v1/landmarks").json()["total"] == 7


# --- many -------------------------------------------------------------------------------------------------------


def test_many_landmarks_are_listed_as_few_are(tmp_path, gallery_path):
    from support.processes import veduta

    many = shutil.copytree(gallery_path, tmp_path / "many")
    rows = [(f"lm-{i:04d}", f"Name {i}" if i % 7 else "Straße\x07\u3042", 1.5, -2.0, None) for i in range(2000)]
    with Gallery.open(many) as gallery, gallery._store._writing() as db:
        db.executemany("INSERT INTO landmark (id, name, latitude, longitude, url) VALUES (?, ?, ?, ?, ?)", rows)
    lines = veduta("list", many).stdout.splitlines()
    assert len(lines) == 2007
    assert lines[0].split() == ["id", "name", "latitude", "longitude", "references"]
    assert lines[5].split() == ["lm-0004", "Name", "4", "1.5", "-2.0", "0"]
    assert all(line.isprintable() for line in lines)
    assert len({line.index("1.5") for line in lines[1:2001]}) == 1
    few = veduta("list", gallery_path).stdout.splitlines()
    assert few[1].split() == [cell for cell in lines[-6].split() if cell not in ("1.5", "-2.0")]


def test_one_landmark_is_listed_by_its_id(built):
    from support.processes import veduta

    assert [line.split()[0] for line in veduta("list", built, "--id", "palazzo-2").stdout.splitlines()[1:]] == [
        "palazzo-2"
    ]
    shown = veduta("list", built, "--id", "palazzo-2", "--references").stdout.splitlines()[1:]
    assert [line.split()[1] for line in shown] == ["palazzo-2"] * 2
    missing = veduta("list", built, "--id", "nothing")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "has no landmark 'nothing'" in missing.stderr


def test_one_landmark_is_asked_for_without_reading_all(gallery_path):
    with Gallery.open(gallery_path) as gallery:
        asked = []
        gallery._store._db.connection.set_trace_callback(asked.append)
        assert [landmark.id for landmark, _ in gallery.landmarks("palazzo-2")] == ["palazzo-2"]
        assert all("WHERE" in statement for statement in asked)
