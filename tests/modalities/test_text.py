"""Texts: what is read, what is refused, ids equal to transformers', tokenizers that repeat."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium import towers
from sensorium.errors import DataError, RunError
from sensorium.modalities import text
from sensorium.records import Blob, Record, Source
from sensorium.tokens import collate

CAPTIONS = [
    "A red boat on calm water",
    "two cats sleeping on a red sofa",
    "ein rotes Boot auf ruhigem Wasser",
    "停在水面上的红船",
    "a boat, a boat, a boat!",
]


def records(captions: list) -> list[Record]:
    return [
        Record(str(at), Source("captions.csv", at + 1), {"title": caption})
        for at, caption in enumerate(captions)
    ]


def trained(length: int = 12, captions: list | None = None) -> text.Modality:
    modality = text.Modality(text.Spec(length=length, vocabulary=320))
    modality.fit(records(CAPTIONS * 3 if captions is None else captions), "title")
    return modality


# reading


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("  a boat\n", "a boat"),
        (1984, "1984"),
        (2.5, "2.5"),
        (Blob("a.txt", data="\ufeffein Böot".encode()), "ein Böot"),
    ],
)
def test_what_is_a_text(value, want):
    assert trained().read(value, "title") == want


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "found nothing"),
        ("", "found an empty one"),
        (" \n\t", "found an empty one"),
        (True, "found True"),
        (["a", "b"], "found a list of 2"),
        (Blob("a.txt", data=b"\xff\xfe\x00"), "found 'utf-8' codec"),
        ("half \ud83d", "expected valid Unicode"),
    ],
)
def test_what_is_no_text(value, found):
    with pytest.raises(DataError, match=found):
        trained().read(value, "title")


# tokens


def test_tokens_are_first_pieces_last():
    modality = trained()
    tokens = modality.tokens("a boat", None)
    pieces = [modality._tokenizer.id_to_token(at) for at in tokens.ids[0].tolist()]
    assert pieces[0] == "[CLS]"
    assert pieces[-1] == "[SEP]"
    assert "".join(pieces[1:-1]).replace("Ġ", " ") == " a boat"
    assert tokens.ids.dtype == torch.int64
    assert tokens.real.all()
    assert tokens.position[0, :, 0].tolist() == list(range(len(pieces)))


def test_a_batch_equals_its_texts_one_by_one():
    modality = trained(length=8)
    rng = np.random.default_rng(0)
    batch, single = modality.batch(CAPTIONS), collate([modality.tokens(x, rng) for x in CAPTIONS])
    assert torch.equal(batch.ids, single.ids)
    assert torch.equal(batch.real, single.real)
    assert torch.equal(batch.position.expand_as(single.position), single.position)


def test_a_long_text_is_cut():
    modality = trained(length=6)
    tokens = modality.tokens(CAPTIONS[2] * 4, None)
    assert tokens.ids.shape == (1, 6)
    assert tokens.ids[0, -1] == modality.tokens("a", None).ids[0, -1]


@pytest.mark.parametrize(
    "name", ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "x [SEP] y", "[SEP][SEP]", "a [MASK] b"]
)
def test_a_special_token_in_a_text_is_plain_text(name):
    modality = trained(length=20)
    for one in (modality, pickle.loads(pickle.dumps(modality))):
        for tokens in (one.tokens(name, None), one.batch([name, "a"])):
            ids = tokens.ids[0][tokens.real[0]].tolist()
            assert not {0, ids[0], ids[-1], one.hide_id} & set(ids[1:-1])


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1).filter(lambda x: x.strip() and x.isprintable()))
def test_no_text_is_unknown(value):
    modality = _shared()
    ids = modality.tokens(value, None).ids[0, 1:-1].tolist()
    normal = modality._tokenizer.normalizer.normalize_str(value)
    assert modality._tokenizer.decode(ids).strip() == normal.strip()


_kept: list[text.Modality] = []


def _shared() -> text.Modality:
    if not _kept:
        _kept.append(trained(length=512))
    return _kept[0]


# the trained tokenizer


def test_training_repeats_whatever_the_order_and_the_process():
    data = trained().state()["tokenizer.json"]
    assert trained(captions=[CAPTIONS, *CAPTIONS[::-1] * 2]).state()["tokenizer.json"] == data
    code = (
        "import sys; from sensorium.modalities import text; from sensorium.records import *\n"
        "m = text.Modality(text.Spec(length=12, vocabulary=320))\n"
        f"m.fit([Record('a', Source('a'), {{'title': {CAPTIONS * 3!r}}})], 'title')\n"
        "sys.stdout.buffer.write(m.state()['tokenizer.json'])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert other == data


def test_vocabulary_is_what_was_learned_and_padding_is_zero():
    modality = trained()
    assert modality.vocabulary == modality._tokenizer.get_vocab_size() <= 320
    assert modality._tokenizer.id_to_token(0) == "[PAD]"
    assert int(modality.batch(CAPTIONS).ids.max()) < modality.vocabulary
    assert text.Modality(text.Spec(vocabulary=5000)).vocabulary == 5000


def test_state_is_read_back(tmp_path):
    modality = trained()
    for name, data in modality.state().items():
        (tmp_path / name).write_bytes(data)
    other = text.Modality(modality.spec)
    other.load(tmp_path)
    assert other.vocabulary == modality.vocabulary
    assert torch.equal(other.batch(CAPTIONS).ids, modality.batch(CAPTIONS).ids)


@pytest.mark.parametrize("data", [None, b"", b"{}", b"\xff", b'{"version": "1.0"}'])
def test_a_damaged_tokenizer_is_named(tmp_path, data):
    if data is not None:
        (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(RunError, match=r"tokenizer\.json"):
        text.Modality(text.Spec()).load(tmp_path)


def test_no_text_to_train_on():
    with pytest.raises(DataError, match="at least one text to train on"):
        trained(captions=[None, "", []])


def test_tokens_before_fit_is_a_programming_error():
    with pytest.raises(RuntimeError, match="fit or load"):
        text.Modality(text.Spec()).tokens("a", None)


# what hiding and generating ask


def test_special_entries_and_ends():
    modality = trained()
    for one in (modality, pickle.loads(pickle.dumps(modality))):
        entry = one._tokenizer.id_to_token
        assert [entry(at) for at in sorted(one.special)] == ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
        assert (entry(one.first), entry(one.last)) == ("[CLS]", "[SEP]")
        assert entry(one.hide_id) == "[MASK]"
        ids = one.tokens("a boat", None).ids[0].tolist()
        assert (ids[0], ids[-1]) == (one.first, one.last)
        assert np.array_equal(one.starts, modality.starts)


def test_words_begin_after_blanks():
    modality = trained(length=64)
    texts = ["two  cats, sleeping\ton a\nred-ish sofa!", "Ein rotes Boot"]
    assert modality.starts.shape == (modality.vocabulary,)
    for one in texts:
        ids = modality.tokens(one, None).ids[0, 1:-1].numpy()
        begins = np.flatnonzero(modality.starts[ids]).tolist()
        words = [modality.decode(w) for w in np.split(ids, begins[1:])]
        assert [word for word in words if word] == one.lower().split()


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1).filter(lambda x: x.strip() and x.isprintable()))
def test_a_text_comes_back(value):
    modality = _shared()
    normal = modality._tokenizer.normalizer.normalize_str(value)
    assert modality.decode(modality.tokens(value, None).ids[0]) == normal.strip()


def test_what_is_special_is_not_told():
    modality = trained()
    ids = modality.tokens("a boat", None).ids[0].tolist()
    assert modality.decode([0, modality.hide_id, *ids, modality.hide_id, 0]) == "a boat"
    assert modality.decode([]) == modality.decode([modality.first, modality.last]) == ""


def test_another_tokenizer_brings_its_own_tables(tmp_path):
    modality, other = trained(), trained(captions=["ab cd"] * 3)
    before = modality.starts
    (tmp_path / "tokenizer.json").write_bytes(other.state()["tokenizer.json"])
    modality.load(tmp_path)
    assert np.array_equal(modality.starts, other.starts)
    assert len(modality.starts) != len(before)


def old(tmp_path) -> text.Modality:
    """A tokenizer as it was trained before there was an entry for hidden words."""
    stored = json.loads(trained().state()["tokenizer.json"])
    stored["added_tokens"] = [x for x in stored["added_tokens"] if x["content"] != "[MASK]"]
    words = stored["model"]["vocab"]
    gone = words.pop("[MASK]")
    stored["model"]["vocab"] = {word: at - (at > gone) for word, at in words.items()}
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
    modality = text.Modality(text.Spec(length=12))
    modality.load(tmp_path)
    return modality


def test_an_old_tokenizer_reads_on_and_says_that_it_cannot_hide(tmp_path):
    modality = old(tmp_path)
    assert modality.decode(modality.tokens("a boat", None).ids[0]) == "a boat"
    assert len(modality.special) == 3
    with pytest.raises(RunError, match=r"tokenizer\.json\nexpected an entry \[MASK\]"):
        _ = modality.hide_id


# MiniLM's tokenizer


@pytest.fixture(scope="module")
def minilm_texts() -> text.Modality:
    return text.Modality(text.Spec(tokenizer="minilm", length=32))


@pytest.mark.towers
def test_minilm_ids_are_those_of_transformers(minilm, minilm_texts):
    theirs = transformers.BertTokenizerFast(tokenizer_file=str(towers.tokenizer_file()))
    texts = [
        *CAPTIONS,
        "Don't stop—it's 3:45 p.m., naïve café; e-mail: me@x.org #1 (50% off!)",
        "supercalifragilisticexpialidocious " * 8,
        "Ünïcödé 😀 ½ ﬁ\u200b\u00ad end",
        "x" * 150,
    ]
    want = theirs(texts, padding="longest", truncation=True, max_length=32, return_tensors="pt")
    got = minilm_texts.batch(texts)
    assert torch.equal(got.ids, want["input_ids"])
    assert torch.equal(got.real, want["attention_mask"].bool())
    assert minilm_texts.vocabulary == len(theirs) == 30522


@pytest.mark.towers
def test_minilm_special_tokens_in_a_text_are_plain_text(minilm, minilm_texts):
    ids = minilm_texts.tokens("[CLS] [SEP] [MASK] [PAD] [UNK]", None).ids[0, 1:-1].tolist()
    assert not {0, 100, 101, 102, 103} & set(ids)
    assert not minilm_texts.special & set(ids)


@pytest.mark.towers
def test_minilm_knows_its_special_entries_and_words(minilm):
    texts = text.Modality(text.Spec(tokenizer="minilm"))
    assert (texts.first, texts.last, texts.hide_id) == (101, 102, 103)
    theirs = transformers.BertTokenizerFast(tokenizer_file=str(towers.tokenizer_file()))
    words = theirs.get_vocab()
    spare = {at for word, at in words.items() if word.startswith("[unused")}
    assert texts.special == set(theirs.all_special_ids) | spare
    assert len(spare) == 994
    assert set(np.flatnonzero(~texts.starts)) == {
        at for word, at in words.items() if word.startswith("##")
    }


@pytest.mark.towers
def test_minilm_joins_its_pieces(minilm, minilm_texts):
    theirs = transformers.BertTokenizerFast(tokenizer_file=str(towers.tokenizer_file()))
    for caption in ("Two unbelievable caterpillars, asleep.", "it's 12 o'clock!", *CAPTIONS[:2]):
        ids = minilm_texts.tokens(caption, None).ids[0]
        said = theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True)
        assert minilm_texts.decode(ids) == said
    assert minilm_texts.decode(ids) == "two cats sleeping on a red sofa"


@pytest.mark.towers
def test_minilm_keeps_its_tokenizer_with_the_run(minilm, minilm_texts, tmp_path, monkeypatch):
    for name, data in minilm_texts.state().items():
        (tmp_path / name).write_bytes(data)
    want = minilm_texts.batch(CAPTIONS).ids
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "empty"))
    other = text.Modality(minilm_texts.spec)
    other.load(tmp_path)
    assert torch.equal(other.batch(CAPTIONS).ids, want)


def test_a_tokenizer_learns_from_the_fields_of_variants_too():
    """Words of the second field alone are one piece each, and those of neither are cut."""
    rows = [Record(str(at), Source("x"), {"a": "red", "b": "kirmizi"}) for at in range(5)]
    both, one = text.Modality(text.Spec(vocabulary=400)), text.Modality(text.Spec(vocabulary=400))
    both.fit(rows, ("a", "b"))
    one.fit(rows, "a")
    assert both.tokens("kirmizi", None).ids.shape == (1, 3)
    assert one.tokens("kirmizi", None).ids.shape[1] > 3
    assert one.tokens("red", None).ids.shape == (1, 3)
