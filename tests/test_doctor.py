import json
import subprocess
import sys

import pytest
from clean_data import clean, rows, scene, sentence
from miniature import csv_of, jsonl_of

import sensorium.doctor as doctor
from sensorium.doctor import Diagnosis, examine, lines
from sensorium.errors import RecipeError
from sensorium.reading import read
from sensorium.records import Blob
from sensorium.world import _making, _setting

FACTS = {
    "records", "fields", "notes", "set_aside", "splits", "groups", "pictures", "duplicates",
    "texts", "lengths", "languages", "negatives", "balance", "plan",
}  # fmt: skip


def ids(diagnosis: Diagnosis) -> set[str]:
    """Of its findings; absent towers say nothing about the data."""
    return {finding.id for finding in diagnosis.findings} - {"towers-missing"}


def found(diagnosis: Diagnosis, name: str) -> doctor.Finding:
    return next(finding for finding in diagnosis.findings if finding.id == name)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_what_a_composed_world_lacks_is_a_note(tmp_path, share):
    setting = _setting.load("plain", [f"missing.image={share}"])
    _making.make(setting, 120, 0, tmp_path / "w")
    aside = found(examine(tmp_path / "w"), "set-aside")
    assert aside.severity == "note"
    assert aside.expected is None
    assert "by its setting" in aside.advice
    (tmp_path / "w" / "world.json").unlink()
    assert found(examine(tmp_path / "w"), "set-aside").severity == "unusable"


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("recipe", ["lit", "clip"])
def test_a_clean_data_set_has_no_findings(tmp_path, stated, recipe):
    table = rows()
    if not stated:
        table = [{k: v for k, v in row.items() if k != "split"} for row in table]
    diagnosis = examine(clean(tmp_path, table=table), recipe=recipe)
    assert ids(diagnosis) == set()
    assert diagnosis.exit_code == 0
    facts = diagnosis.facts
    assert set(facts) == FACTS
    assert facts["splits"] == {"train": 32, "validation": 4, "test": 4}
    assert facts["groups"] == {"stated": 0, "records": 0, "drawn": not stated}
    assert facts["pictures"]["decoded"] == facts["pictures"]["readable"] == 40
    assert facts["pictures"]["width"] == [64, 64]
    assert facts["texts"] == {"total": 40, "each": [1, 1], "distinct": 40, "classes": False}
    assert facts["languages"]["shares"]["en"] > 0.9
    assert facts["negatives"] == {"batch": 32, "equal": 0.0, "near_equal": 0.0}
    assert facts["fields"]["image"] == {"kind": "image", "modality": "image"}


def test_a_clean_set_fits_one_screen(tmp_path):
    told = lines(examine(clean(tmp_path)))
    assert len(told) <= 24
    assert told[0].startswith("data     40 records   image=image, caption=text")
    assert told[-1] == f"try      sensorium pretrain {tmp_path / 'captions.csv'}"


def test_json_has_the_same_keys_always(tmp_path):
    for data in (clean(tmp_path / "a"), tmp_path / "nowhere"):
        told = examine(data).to_json()
        assert json.loads(json.dumps(told)) == told
        assert list(told) == ["format", "data", "recipe", "exit_code", "facts", "findings"]
        assert told["data"] == str(data)
        assert set(told["facts"]) in (FACTS, set())
        for finding in told["findings"]:
            assert list(finding) == [
                "id", "severity", "what", "where", "expected", "found", "advice",
            ]  # fmt: skip


def test_ids_are_listed_in_the_docstring(tmp_path):
    """What a script may wait for is written down, and nothing else is ever said."""
    listed = set(doctor.__doc__.split("stable:")[1].split())
    used = set()
    folder = doctor.__path__[0]
    import ast
    from pathlib import Path

    from sensorium.doctor import pictures, texts

    for file in Path(folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                used |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    assert used | set(pictures._ODD) | set(texts._SUSPECT) == listed


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path / "nowhere", "a file, a folder, or one of"),
        (lambda path: csv_of(path / "a.csv", [{"caption": "a"}]), "a field with pictures"),
        (lambda path: clean(path, 4), "at least 10 usable records"),
    ],
)
def test_what_cannot_be_read_is_a_finding(tmp_path, make, expected):
    diagnosis = examine(make(tmp_path))
    assert ids(diagnosis) == {"unreadable-data"}
    assert diagnosis.exit_code == 2
    assert diagnosis.facts == {}
    error = found(diagnosis, "unreadable-data")
    assert error.expected.startswith(expected)
    told = lines(diagnosis)
    assert told[0].startswith("error    ")
    assert not any("sensorium doctor" in line or "pretrain" in line for line in told)


def test_what_was_set_aside_explains_why_nothing_is_left(tmp_path):
    table = [row | {"image": f"gone/{row['image']}"} for row in rows(20)]
    table[0]["image"] = "000.png"
    path = clean(tmp_path, 20, table)
    diagnosis = examine(path, {"image": "image", "caption": "text"})
    assert ids(diagnosis) == {"unreadable-data", "set-aside"}
    aside = found(diagnosis, "set-aside")
    assert aside.severity == "unusable"
    assert aside.what == "19 of 20 records are set aside: 19 no file …"
    assert aside.where[0] == "captions.csv row 2, field image: no file gone/001.png"
    assert len(aside.where) == 19


def test_set_aside_is_a_warning_up_to_a_tenth_and_then_unusable(tmp_path):
    for gone, severity, code in ((2, "warning", 1), (10, "unusable", 2)):
        table = rows()
        for row in table[:gone]:
            row["caption"] = ""
        diagnosis = examine(clean(tmp_path / str(gone), table=table))
        assert ids(diagnosis) == {"set-aside"}
        assert found(diagnosis, "set-aside").severity == severity
        assert diagnosis.exit_code == code
        assert diagnosis.facts["set_aside"] == {
            "records": gone, "reasons": {"expected text, found an empty cell": gone},
        }  # fmt: skip


def test_a_group_in_two_splits(tmp_path):
    table = [row | {"group": f"{row['split']} {at // 20}"} for at, row in enumerate(rows())]
    table[2]["group"] = table[0]["group"]
    diagnosis = examine(clean(tmp_path, table=table))
    assert ids(diagnosis) == {"leak-group"}
    assert found(diagnosis, "leak-group").where == ("test 0: 000.png (test) = 002.png (train)",)
    assert diagnosis.facts["groups"] == {"stated": 6, "records": 40, "drawn": False}


def test_groups_are_kept_together_where_splits_are_drawn(tmp_path):
    table = [
        {"image": f"{at:03d}.png", "caption": sentence(at), "group": f"g{at // 2}"}
        for at in range(40)
    ]
    diagnosis = examine(clean(tmp_path, table=table))
    assert ids(diagnosis) == set()
    assert diagnosis.facts["groups"] == {"stated": 20, "records": 40, "drawn": True}


def test_fields_that_are_told_and_records_that_are_read(tmp_path):
    table = [row | {"title": f"thing {at}"} for at, row in enumerate(rows())]
    path = clean(tmp_path, table=table)
    told = examine(path, {"image": "image", "title": "text"})
    assert told.facts["fields"]["title"]["modality"] == "text"
    assert told.facts["fields"]["caption"] == {"kind": "text", "modality": None}
    records = read(path, {"image": "image", "title": "text"})
    assert examine(records).to_json()["findings"] == told.to_json()["findings"]


def test_a_wrong_recipe_is_an_error():
    with pytest.raises(RecipeError) as caught:
        examine("emoji", recipe="lot")
    assert caught.value.nearest == "lit"


def test_progress(tmp_path):
    told = []
    examine(clean(tmp_path), progress=lambda *args: told.append(args))
    assert told == [("pictures", at, 40) for at in range(1, 41)]


def test_a_sample_is_keyed_and_said(tmp_path):
    path = clean(tmp_path)
    diagnosis = examine(path, most=20)
    assert diagnosis.facts["pictures"]["decoded"] == 20
    assert diagnosis.facts["pictures"]["sampled"]
    assert any("20 of 40 decoded (a keyed sample)" in line for line in lines(diagnosis))
    table = rows()
    csv_of(tmp_path / "captions.csv", table[::-1])
    again = examine(path, most=20)
    told = [x.facts["pictures"] | {"seconds_each": 0} for x in (diagnosis, again)]
    assert told[0] == told[1]


def test_emoji_are_examined_in_a_second_or_two_without_torch():
    program = """if True:
        import sys
        from sensorium.doctor import examine
        diagnosis = examine("emoji")
        assert "torch" not in sys.modules
        print(diagnosis.exit_code, sorted(f.id for f in diagnosis.findings))
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    code, told = done.stdout.split(" ", 1)
    # Two drawings of a supervillain are almost one, and the archive's split has them apart.
    assert code == "1"
    assert "leak-near-picture" in told
    assert "near-duplicates" in told
    assert "leak-text" not in told


def test_a_jsonl_with_captions_and_a_long_field_name(tmp_path):
    for at in range(20):
        scene(at).save(tmp_path / f"{at:03d}.png")
    path = jsonl_of(
        tmp_path / "a.jsonl",
        [{"picture": f"{at:03d}.png", "captions": [sentence(at), sentence(at + 100)]}
         for at in range(20)],
    )  # fmt: skip
    diagnosis = examine(path)
    assert ids(diagnosis) == set()
    assert diagnosis.facts["texts"]["each"] == [2, 2]
    assert diagnosis.facts["texts"]["total"] == 40


def test_near_equal_texts(tmp_path):
    table = rows()
    table[5]["caption"] = f"{table[2]['caption'].upper()}!"
    diagnosis = examine(clean(tmp_path, table=table))
    assert ids(diagnosis) == {"near-equal-texts"}
    finding = found(diagnosis, "near-equal-texts")
    assert finding.severity == "note"
    # A pair among 32 records that are one batch: 2 of the 32 meet one such other.
    assert diagnosis.facts["negatives"]["near_equal"] == pytest.approx(2 / 32)
    one, other = finding.where[0].split(" ~ ")
    assert one.startswith("'a photo of the dog number 2")
    assert other.startswith("'A PHOTO OF THE DOG NUMBER 2")


def test_records_without_texts_or_with_texts_in_files(tmp_path):
    records = read(clean(tmp_path))
    for record in records:
        record.fields["caption"] = Blob("a.txt", data=record.fields["caption"].encode())
    assert ids(examine(records)) == set()
    for record in records:
        record.fields["caption"] = None
    diagnosis = examine(records)
    assert ids(diagnosis) == {"unreadable-data"}
    assert diagnosis.exit_code == 2
