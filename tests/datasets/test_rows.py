"""Tables as people and pandas write them: blank lines, leading zeros, numbers with fractions, ids that occur twice."""

import pytest
from support.photos import picture

from veduta.competition.inspect import inspect_data
from veduta.competition.score import score_submission
from veduta.competition.submissions import check_submission, parse_field, read_submission
from veduta.datasets import gldv2
from veduta.datasets.layout import PhotoFolder
from veduta.datasets.rows import is_blank, landmark_number
from veduta.errors import DatasetError

READERS = {
    "id,landmark_id\n{}a,1\n{}b,2\n{}": gldv2.read_train,
    "id,url,landmark_id\n{}a,u,1\n{}b,u,2\n{}": gldv2.read_train,
    "landmark_id,images\n{}1,a b\n{}2,c\n{}": gldv2.read_clean,
    "id\n{}a\n{}b\n{}": gldv2.read_ids,
    "id,url,author,license,title\n{}a,u,x,y,z\n{}b,u,x,y,z\n{}": gldv2.read_attribution,
    "landmark_id,category\n{}1,u\n{}2,u\n{}": gldv2.read_categories,
    "landmark_id,category,supercategory,hierarchical_label,natural_or_human_made\n{}1,a,b,c,d\n{}2,a,b,c,d\n{}": (
        gldv2.read_hierarchy
    ),
    "landmark_id,name\n{}1,x\n{}2,y\n{}": gldv2.read_names,
    "id,landmarks,Usage\n{}a,1,Public\n{}b,,Private\n{}": gldv2.read_recognition_solution,
    "id,images,Usage\n{}a,c d,Public\n{}b,None,Private\n{}": gldv2.read_retrieval_solution,
    "id,landmarks\n{}a,1 0.5\n{}b,\n{}": read_submission,
}


def write(path, text):
    path.write_text(text)
    return path


def shown(value):
    """A reader's result as something that can be compared."""
    if isinstance(value, gldv2.Labels):
        return list(value.pairs())
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("table", READERS, ids=lambda table: table.split("\n")[0])
@pytest.mark.parametrize(
    "blank", [("", "", "\n"), ("\n", "", ""), ("", "\n\n", ""), ("", "", "\n\n\n"), ("", "  \n", "\t\n"), ("\r\n",) * 3]
)
def test_blank_lines_are_passed_over(tmp_path, table, blank):
    read = READERS[table]
    plain = read(write(tmp_path / "plain.csv", table.format("", "", "")))
    assert shown(read(write(tmp_path / "blank.csv", table.format(*blank)))) == shown(plain)


@pytest.mark.parametrize(
    ("fields", "blank"),
    [([], True), ([""], True), ([" \t"], True), (["a"], False), (["", ""], False), ([" ", ""], False)],
)
def test_a_row_of_empty_cells_is_no_blank_line(fields, blank):
    assert is_blank(fields) is blank


def test_the_line_of_a_fault_counts_blank_ones(tmp_path):
    table = write(tmp_path / "train.csv", "id,landmark_id\n\na,1\n\nb,2\n\n\na,3\n")
    with pytest.raises(DatasetError, match="line 8: photo id a occurs twice"):
        gldv2.read_train(table)
    with pytest.raises(DatasetError, match=r"line 4: expected 2 fields, got 3"):
        gldv2.read_train(write(table, "id,landmark_id\n\na,1\na,1,2\n"))


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("27", "27"),
        ("0027", "27"),
        ("0", "0"),
        ("000", "0"),
        (" 7 ", "7"),
        ("tower", "tower"),
        ("07a", "07a"),
        ("1.2.3", "1.2.3"),
        ("v1.0", "v1.0"),
        ("٣", "٣"),
        ("e5", "e5"),
        ("100200", "100200"),
    ],
)
def test_numbers_are_compared_as_numbers(text, id):
    assert landmark_number(text) == id


@pytest.mark.parametrize(
    "text", ["27.0", "27.", "0.0", "-1.0", "+27.0", "1e5", "1E+05", "2.7e1", ".5", "27.5", "100000.0", "1.0e-3"]
)
def test_numbers_with_a_fraction_are_told(tmp_path, text):
    told = "no landmark id but a number with a fraction"
    with pytest.raises(ValueError, match=told):
        parse_field(f"{text} 0.5")
    with pytest.raises(DatasetError, match=f"train.csv, line 3: .*{told}"):
        gldv2.read_train(write(tmp_path / "train.csv", f"id,landmark_id\na,1\nb,{text}\n"))
    with pytest.raises(DatasetError, match=told):
        gldv2.read_recognition_solution(write(tmp_path / "s.csv", f"id,landmarks,Usage\na,3 {text},Public\n"))
    sample = write(tmp_path / "sample.csv", "id,landmarks\na,\n\nb,\n")
    (problem,) = check_submission(write(tmp_path / "sub.csv", f"id,landmarks\n\na,{text} 0.9\nb,7 0.2\n"), sample)
    assert (problem.line, told in problem.reason) == (3, True)


@pytest.mark.parametrize(
    ("right", "answered"), [("7", "007"), ("007", "7"), ("1 007", "7"), ("00", "0"), ("tower", "tower")]
)
def test_leading_zeros_change_no_score(tmp_path, right, answered):
    solution = write(tmp_path / "sol.csv", f"id,landmarks,Usage\na,{right},Public\nb,,Private\n\n")
    submission = write(tmp_path / "sub.csv", f"id,landmarks\na,{answered} 0.9\nb,\n\n")
    assert score_submission(solution, submission, resamples=0)["all"].gap == 1


@pytest.mark.parametrize(
    ("table", "read"),
    [
        ("id,landmark_id\na,1\na,2\n", gldv2.read_train),
        ("id\na\nb\na\n", gldv2.read_ids),
        ("landmark_id,images\n1,a b\n2,b\n", gldv2.read_clean),
        ("landmark_id,images\n1,a a\n", gldv2.read_clean),
        ("landmark_id,category\n1,u\n01,v\n", gldv2.read_categories),
        ("landmark_id,name\n1,u\n1,v\n", gldv2.read_names),
        ("id,landmarks,Usage\na,1,Public\na,1,Public\n", gldv2.read_recognition_solution),
        ("id,images,Usage\na,c,Public\na,c,Public\n", gldv2.read_retrieval_solution),
        ("id,landmarks\na,1 0.5\na,\n", read_submission),
        ("id,landmarks\na,\n\na,\n", read_submission),
    ],
)
def test_ids_that_occur_twice_are_told(tmp_path, table, read):
    with pytest.raises(DatasetError, match="occurs twice"):
        read(write(tmp_path / "table.csv", table))


@pytest.mark.parametrize(
    "stray",
    [
        "zzzz.jpg",
        "a/zzzz.jpg",
        "a/b/zzzz.jpg",
        "a/b/c/zzzz.jpg",
        "a/b/c/d/abcd.jpg",
        "x/y/z/abc2.jpg",
        "abc3.jpg",
        "a/b/c/abc4.png",
        "a/b/c/abc5.JPG",
        "extra/abc6.jpg",
        "A/b/c/abc7.jpg",
    ],
)
def test_a_photo_out_of_place_is_named_where_it_is(tmp_path, stray):
    content = picture(tmp_path / "any.jpg").read_bytes()
    for name in ("train/a/b/c/abc1.jpg", f"train/{stray}"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    write(tmp_path / "train.csv", "id,landmark_id\nabc1,1\n")
    (split,) = inspect_data(tmp_path).splits
    assert (split.photos, split.bad, split.missing, split.unlisted) == (1, (), (), 0)
    assert [failure.photo for failure in split.strays] == [str(tmp_path / "train" / stray)]
    assert "expected" in split.strays[0].error
    assert split.to_dict()["strays"][0]["photo"] == str(tmp_path / "train" / stray)
    assert list(PhotoFolder.find(tmp_path / "train").ids()) == ["abc1"]
