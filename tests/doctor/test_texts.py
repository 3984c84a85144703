import pytest
from clean_data import clean, rows, sentence
from conftest import need

from sensorium.doctor import examine


def _ids(diagnosis):
    return {finding.id for finding in diagnosis.findings} - {"towers-missing"}


def _found(diagnosis, name):
    return next(finding for finding in diagnosis.findings if finding.id == name)


DEFECTS = {
    "un cafÃ© noir sur la table": "misread-texts",
    "a photo of the \x1b[31mred\x1b[0m dog": "control-characters",
    "a photo at https://example.org/1.jpg": "address-texts",
    "a photo of the <i>dog</i>": "markup-texts",
    "IMG_1234.JPG": "file-name-texts",
    "untitled": "placeholder-texts",
}


@pytest.mark.parametrize("text", DEFECTS)
def test_each_defect_is_found_and_nothing_else(tmp_path, text):
    table = rows()
    table[5]["caption"] = text
    diagnosis = examine(clean(tmp_path, table=table))
    assert _ids(diagnosis) == {DEFECTS[text]}
    finding = _found(diagnosis, DEFECTS[text])
    assert finding.severity == "warning"
    assert finding.where[0].startswith("captions.csv row 6, 005.png: ")
    assert "\x1b" not in finding.where[0]


def test_a_text_on_a_fifth_of_the_pictures(tmp_path):
    table = rows()
    for row in table:
        if row["split"] == "train":
            row["caption"] = (
                "a photo of the sea at night" if row["image"] < "020" else row["caption"]
            )
    diagnosis = examine(clean(tmp_path, table=table))
    assert _ids(diagnosis) == {"repeated-text", "equal-texts"}
    finding = _found(diagnosis, "repeated-text")
    assert finding.what == "one text is 40% of all: 'a photo of the sea at night'"
    assert len(finding.where) == 16


def test_the_same_text_in_two_splits(tmp_path):
    table = rows()
    table[0]["caption"] = table[5]["caption"].upper()
    diagnosis = examine(clean(tmp_path, table=table))
    assert _ids(diagnosis) == {"leak-text"}
    assert "000.png (test) = 005.png (train)" in _found(diagnosis, "leak-text").where[0]


def test_splits_that_we_draw_never_leak_texts(tmp_path):
    table = [{"image": f"{at:03d}.png", "caption": sentence(at // 2)} for at in range(40)]
    assert "leak-text" not in _ids(examine(clean(tmp_path, table=table)))


def test_classes_are_not_leaks(tmp_path):
    table = [row | {"caption": ("dog", "cat", "none")[at % 3]} for at, row in enumerate(rows())]
    diagnosis = examine(clean(tmp_path, table=table))
    assert diagnosis.facts["texts"]["classes"]
    assert _ids(diagnosis) == {"equal-texts"}


@pytest.mark.parametrize(("count", "severity"), [(1, "note"), (6, "warning")])
def test_texts_that_are_cut(tmp_path, count, severity):
    table = rows()
    for row in table[2 : 2 + count]:
        row["caption"] = f"{row['caption']} and the sea " * 30
    diagnosis = examine(clean(tmp_path, table=table))
    assert _ids(diagnosis) == {"truncated-texts"}
    finding = _found(diagnosis, "truncated-texts")
    assert finding.severity == severity
    assert "128 tokens" in finding.what
    assert len(finding.where) == count
    assert diagnosis.facts["lengths"]["truncated"] == pytest.approx(count / 40)


def test_lengths_in_tokens_are_those_of_the_modality(tmp_path):
    need("minilm")
    from sensorium.modalities import text

    diagnosis = examine(clean(tmp_path))
    modality = text.Modality(text.Spec(tokenizer="minilm", length=128))
    lengths = [modality.tokens(row["caption"], None).ids.shape[1] for row in rows()]
    told = diagnosis.facts["lengths"]
    assert told["unit"] == "tokens"
    assert (told["least"], told["most"]) == (min(lengths), max(lengths))


def test_lengths_in_words_where_the_tokenizer_comes_later(tmp_path):
    table = rows()
    table[3]["caption"] = "word " * 31
    diagnosis = examine(clean(tmp_path, table=table), recipe="clip")
    assert diagnosis.facts["lengths"]["unit"] == "words"
    assert diagnosis.facts["lengths"]["most"] == 31
    assert "at least" in _found(diagnosis, "truncated-texts").what


def test_a_tower_that_knows_english_only(tmp_path):
    german = [
        row | {"caption": f"ein Bild mit der Nummer {at} auf dem Tisch"}
        for at, row in enumerate(rows())
    ]
    path = clean(tmp_path, table=german)
    diagnosis = examine(path)
    assert _ids(diagnosis) == {"language-mismatch"}
    assert "German" in _found(diagnosis, "language-mismatch").what
    assert len(_found(diagnosis, "language-mismatch").where) == 40
    assert _ids(examine(path, recipe="clip")) == set()


def test_one_foreign_text_is_no_mismatch(tmp_path):
    table = rows()
    table[3]["caption"] = "ein Bild mit der Nummer 3 auf dem Tisch"
    assert _ids(examine(clean(tmp_path, table=table))) == set()
