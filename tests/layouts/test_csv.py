import pytest
from miniature import bad, csv_of, good, picture, pictures

from sensorium.errors import DataError
from sensorium.layouts import csv
from sensorium.records import Blob


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def three(tmp_path):
    pictures(tmp_path, 3)
    return tmp_path


def test_rows_become_records(three):
    path = table(three, "photo,title,price\n000.png,a boat,3\n001.png,a car,4\n")
    first, second = csv.read(path)
    assert first.key == "000.png"
    assert str(first.source) == "t.csv row 1"
    assert isinstance(first.fields["photo"], Blob)
    assert first.fields["photo"].read() == picture(0)
    assert (second.fields["title"], second.fields["price"]) == ("a car", "4")


def test_key_split_and_group_are_taken_from_columns(three):
    path = table(
        three,
        "ID,image,text,split,group\n7,000.png,a,train,x\n8,001.png,b,dev,y\n9,002.png,c,TEST,\n",
    )
    found = list(csv.read(path))
    assert [r.key for r in found] == ["7", "8", "9"]
    assert [r.split for r in found] == ["train", "validation", "test"]
    assert [r.group for r in found] == ["x", "y", None]
    assert all(set(r.fields) == {"image", "text"} for r in found)


def test_a_column_that_only_shares_the_name_split_is_a_field(three):
    path = table(three, "image,text,split\n000.png,a,banana\n001.png,b,pea\n")
    assert [(r.split, r.fields["split"]) for r in csv.read(path)] == [
        (None, "banana"),
        (None, "pea"),
    ]


def test_an_unknown_split_is_set_aside(three):
    path = table(three, "image,text,split\n000.png,a,train\n001.png,b,holdout\n")
    [refused] = bad(csv.read(path))
    assert "expected train, validation or test, found 'holdout'" in refused.reason
    assert refused.field == "split"


def test_duplicate_keys_name_both_rows(three):
    path = table(three, "key,image,text\nk,000.png,a\nm,001.png,b\nk,002.png,c\n,002.png,d\n")
    items = list(csv.read(path))
    assert [r.key for r in good(items)] == ["k", "m"]
    first, second = bad(items)
    assert str(first) == "t.csv row 3, field key: key 'k' is already that of t.csv row 1"
    assert "empty" in second.reason


def test_without_a_key_the_picture_names_the_record_in_any_order(three):
    rows = ["000.png,a", "001.png,b", "002.png,c"]
    keys = [
        {r.fields["text"]: r.key for r in csv.read(table(three, "image,text\n" + "\n".join(order)))}
        for order in (rows, rows[::-1])
    ]
    assert keys[0] == keys[1] == {"a": "000.png", "b": "001.png", "c": "002.png"}


def test_embedded_newlines_and_quotes_do_not_move_rows(three):
    path = csv_of(
        three / "t.csv",
        [
            {"image": "000.png", "text": 'two\nlines, "quoted"'},
            {"image": "001.png", "text": "b"},
            {"image": "gone.png", "text": "c"},
        ],
    )
    items = list(csv.read(path))
    assert items[0].fields["text"] == 'two\nlines, "quoted"'
    assert str(items[2]) == "t.csv row 3, field image: no file gone.png"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "mark"), [("t.csv", ","), ("t.csv", ";"), ("t.CSV", "|"), ("t.tsv", "\t")]
)
def test_byte_order_marks_and_delimiters(three, name, mark, encoding):
    text = f"image{mark}text\r\n000.png{mark}ein Früchtebrot 水\r\n"
    [record] = csv.read(table(three, text, name, encoding))
    assert set(record.fields) == {"image", "text"}
    assert record.fields["text"] == "ein Früchtebrot 水"


def test_one_bad_row_does_not_end_the_file(three):
    data = (
        b"image,text\n000.png,a\n001.png\n001.png,b,c\n002.png,caf\xe9\n"
        b'002.png,"x"y\n\n\xff\xff,z\n002.png,d\n'
    )
    path = three / "t.csv"
    path.write_bytes(data)
    items = list(csv.read(path))
    assert [r.fields["text"] for r in good(items)] == ["a", "d"]
    reasons = [(r.source.row, r.reason) for r in bad(items)]
    assert [row for row, _ in reasons] == [2, 3, 4, 5, 6]
    assert reasons[0][1] == "expected 2 cells, found 1"
    assert reasons[1][1] == "expected 2 cells, found 3"
    assert "UTF-8" in reasons[2][1]
    assert "malformed" in reasons[3][1]
    assert "UTF-8" in reasons[4][1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found an empty file"),
        ("000.png,a boat\n001.png,a car\n", "first line with the picture '000.png'"),
        ("image,text,text\n000.png,a,b\n", "two columns 'text'"),
        ('image,text\n000.png,a\n001.png,"never closed\n002.png,c\n', "row 2"),
    ],
)
def test_what_cannot_be_read_at_all_is_an_error(three, text, words):
    with pytest.raises(DataError) as error:
        list(csv.read(table(three, text)))
    assert "t.csv" in str(error.value)
    assert words in str(error.value)


def test_the_user_says_what_a_picture_is(three):
    (three / "000.png").rename(three / "plain")
    path = table(three, "id,what,icon\nplain,a,gone.png\n")
    [record] = csv.read(path, {"id": "image", "icon": "text"})
    assert isinstance(record.fields["id"], Blob)
    assert record.fields["icon"] == "gone.png"  # told to be text: not looked for
    assert bad(csv.read(path))  # left to us, it is a missing picture


def test_a_second_picture_may_be_absent_but_not_broken(three):
    path = table(
        three, "front,back,text\n000.png,001.png,a\n001.png,,b\n002.png,gone.png,c\n,000.png,d\n"
    )
    items = list(csv.read(path))
    assert [r.fields["back"] and r.fields["back"].name for r in good(items)] == ["001.png", None]
    assert [r.field for r in bad(items)] == ["back", "front"]


def test_bytes_count_not_the_suffix(three):
    (three / "000.png").write_text("hello there")
    (three / "001.png").write_bytes(picture(1, "JPEG"))
    path = table(three, "image,text\n000.png,a\n001.png,b\n")
    items = list(csv.read(path))
    assert len(good(items)) == 1
    assert "000.png: expected a picture" in bad(items)[0].reason
    assert "found text 'hello there'" in bad(items)[0].reason


def test_reading_is_lazy(three):
    rows = "".join(f"{n % 3:03d}.png,caption {n}\n" for n in range(5000))
    items = csv.read(table(three, "image,text\n" + rows))
    (three / "000.png").unlink()
    assert "no file" in next(items).reason  # opened now, not when the table was
