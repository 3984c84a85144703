"""Asking an index, against loops over every pair written from the definition."""

import math

import numpy as np
import pytest
from miniature import jsonl_of, picture

from sensorium import index as indexing
from sensorium import search as searching
from sensorium import store
from sensorium.errors import DataError, RunError
from sensorium.run import Run


def cosine(a, b) -> float:
    dot = math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(
        math.fsum(float(x) ** 2 for x in a) * math.fsum(float(y) ** 2 for y in b)
    )


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def made(vectors, content, owner, keys) -> tuple[store.Index, store.Pool]:
    """An index in memory with one pool."""
    digests = np.zeros((len(vectors), 16), np.uint8)
    labels = [f"item {at}" for at in range(len(owner))]
    pool = store.Pool(vectors, digests, np.array(content), np.array(owner), labels)
    facts = {"fields": {"text": "text"}}
    position = {key: at for at, key in enumerate(keys)}
    index = store.Index("0" * 16, facts, keys, keys, [{}] * len(keys), {"text": pool}, position)
    return index, pool


def slow(index, pool, queries, allowed, k) -> list[tuple[float, str]]:
    """(score, key) of the k best: all items with all queries, a record by its best, ties by key."""
    scores: dict[str, float] = {}
    for content, owner in zip(pool.content, pool.owner, strict=True):
        for query in queries:
            if allowed[owner]:
                score = float(sum(np.float64(pool.vectors[content]) * np.float64(query)))
                key = index.keys[owner]
                scores[key] = max(score, scores.get(key, -2.0))
    return [(score, key) for key, score in sorted(scores.items(), key=lambda x: (-x[1], x[0]))][:k]


@pytest.mark.parametrize("seed", range(8))
def test_best_equals_the_loops(seed):
    rng = np.random.default_rng(seed)
    u, records, e = int(rng.integers(1, 60)), int(rng.integers(1, 40)), int(rng.integers(2, 9))
    vectors = unit(rng.normal(size=(u, e)))
    vectors[rng.integers(0, u, u // 2)] = vectors[0]  # equal contents under different names
    owner = np.sort(rng.integers(0, records, 2 * records))
    content = rng.integers(0, u, 2 * records)
    keys = [f"{n}é" for n in rng.permutation(records)]
    index, pool = made(vectors, content, owner, keys)
    queries = unit(rng.normal(size=(int(rng.integers(1, 4)), e)))
    allowed = rng.random(records) < 0.7
    for k in (1, 3, records, 10 * records):
        found = searching.best(index, pool, queries, allowed, k)
        expected = slow(index, pool, queries, allowed, k)
        assert [keys[record] for _, record, _ in found] == [key for _, key in expected]
        np.testing.assert_allclose([f[0] for f in found], [x[0] for x in expected], atol=1e-12)
        for score, record, item in found:
            assert owner[item] == record
            best = max(np.float64(vectors[content[item]]) @ np.float64(q) for q in queries)
            assert abs(best - score) < 1e-12


def test_near_ties_are_ranked_in_double_precision():
    """Differences far below float32's rounding of a dot product decide, and only then the key."""
    e = 300
    base = unit(np.random.default_rng(1).normal(size=e))
    rows = np.stack([base] * 50)
    for at in range(50):
        rows[at, at] = np.nextafter(rows[at, at], np.float32(9 if at % 2 else -9))
    index, pool = made(rows, range(50), range(50), [f"{99 - n}" for n in range(50)])
    allowed = np.ones(50, bool)
    expected = slow(index, pool, base[None], allowed, 50)
    found = searching.best(index, pool, base[None], allowed, 7)
    exact = {key: score for score, key in expected}
    scores = [exact[index.keys[record]] for _, record, _ in found]
    np.testing.assert_allclose(scores, [score for score, _ in expected[:7]], rtol=0, atol=1e-15)


def test_a_collapsed_model_is_ranked_by_key():
    rows = unit(np.ones((30, 4)))
    keys = [f"k{n:02d}" for n in np.random.default_rng(0).permutation(30)]
    index, pool = made(rows, range(30), range(30), keys)
    found = searching.best(index, pool, rows[:1], np.ones(30, bool), 5)
    assert [keys[record] for _, record, _ in found] == sorted(keys)[:5]


@pytest.fixture
def searched(tiny_copy):
    tiny_copy.index()
    return tiny_copy


@pytest.fixture
def by_hand(tiny_run):
    """modality -> key -> vector, made without an index."""
    records = tiny_run.records().records
    return {
        modality: dict(
            zip(
                [record.key for record in records],
                tiny_run.embed(modality, tiny_run.column(modality, records)),
                strict=True,
            )
        )
        for modality in ("image", "text")
    }


def agrees(hits, query, vectors, excluded=()) -> None:
    """The hits are those of the loops, up to the rounding of another batch size."""
    scores = {key: cosine(query, row) for key, row in vectors.items() if key not in excluded}
    ranked = sorted(scores.values(), reverse=True)
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    assert len({hit["key"] for hit in hits}) == len(hits)
    for hit, expected in zip(hits, ranked, strict=False):
        assert hit["score"] == pytest.approx(expected, abs=1e-5)
        assert hit["score"] == pytest.approx(scores[hit["key"]], abs=1e-5)


def test_words_find_pictures(searched, by_hand):
    hits = searched.search("a large red square", k=7)
    agrees(hits, searched.vector("text", "a large red square", "q"), by_hand["image"])
    assert len(hits) == 7
    assert {hit["modality"] for hit in hits} == {"image"}
    first = hits[0]
    assert first["file"].endswith(first["key"])
    assert first["text"].startswith("a ")
    assert first["source"] == first["key"]
    assert first["fields"]["split"] in ("train", "validation", "test")
    texts = searched.search("a large red square", k=7, among="text")
    agrees(texts, searched.vector("text", "a large red square", "q"), by_hand["text"])
    assert texts[0]["text"] == "a large red square"
    assert texts[0]["score"] == pytest.approx(1, abs=1e-5)


def test_a_picture_finds_pictures_and_texts(searched, by_hand, tiny_data):
    file = tiny_data / "07.png"
    hits = searched.search(image=file, k=40)
    agrees(hits, by_hand["image"]["07.png"], by_hand["image"])
    assert hits[0]["key"] == "07.png"
    agrees(searched.search(image=str(file), k=9, among="text"), by_hand["image"]["07.png"],
           by_hand["text"])  # fmt: skip


def test_like_finds_neighbours_without_itself(searched, by_hand):
    opened = Run.open(searched.folder)
    hits = opened.search(like="07.png", k=99)
    assert opened._step is None  # no model is needed
    assert len(hits) == 39
    assert "07.png" not in {hit["key"] for hit in hits}
    agrees(hits, by_hand["image"]["07.png"], by_hand["image"], {"07.png"})
    across = searched.search(like="07.png", k=3, among="text")
    agrees(across, by_hand["text"]["07.png"], by_hand["text"], {"07.png"})


def test_a_record_with_several_texts_comes_once(tiny_copy, tmp_path):
    rows = [{"id": "one", "text": ["a small red circle", "a large red circle"]},
            {"id": "two", "text": ["a large blue cross", "a small red circle"]},
            {"id": "six", "text": "a large purple square"}]  # fmt: skip
    tiny_copy.index(jsonl_of(tmp_path / "t.jsonl", rows))
    hits = tiny_copy.search("a small red circle", k=10)
    assert sorted(hit["key"] for hit in hits) == ["one", "six", "two"]
    # Equal to the bit, so the key decides.
    assert [hit["key"] for hit in hits[:2]] == ["one", "two"]
    assert hits[0]["score"] == hits[1]["score"]
    assert {hit["text"] for hit in hits[:2]} == {"a small red circle"}
    assert [hit["key"] for hit in tiny_copy.search(like="two", k=1)] == ["one"]


def test_where_filters_before_ranking(tiny_copy, tmp_path):
    rows = []
    for n in range(12):
        (tmp_path / f"{n}.png").write_bytes(picture(n * 20))
        rows.append(
            {
                "image": f"{n}.png",
                "text": f"thing {n % 2}",
                "year": 2000 + n % 3,
                "price": n / 2,
                "sold": n < 4,
                "tags": ["all", f"t{n}"],
                "shop": "Zoë",
            }
        )
    tiny_copy.index(jsonl_of(tmp_path / "t.jsonl", rows))

    def keys(**where):
        hits = tiny_copy.search("anything", k=50, where=where)
        return {int(hit["key"].split(".")[0]) for hit in hits}

    assert keys() == set(range(12))
    assert keys(year="2001") == keys(year=2001) == keys(year="2001.0") == {1, 4, 7, 10}
    assert keys(year="2001", text="thing 0") == {4, 10}
    assert keys(price=".5") == {1}
    assert keys(sold="true") == keys(sold=True) == {0, 1, 2, 3}
    assert keys(tags="t5") == {5}
    assert keys(tags="all", shop="Zoë", sold=False) == set(range(4, 12))
    assert keys(shop="zoë") == keys(year="many") == set()
    everything = [hit["key"] for hit in tiny_copy.search("anything", k=50)]
    some = [hit["key"] for hit in tiny_copy.search("anything", k=3, where={"year": 2002})]
    assert some == [key for key in everything if int(key.split(".")[0]) % 3 == 2][:3]
    with pytest.raises(DataError, match="nearest  year"):
        keys(yeer="2001")


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ({}, "one of words, image and like, found none"),
        ({"words": "a", "like": "00.png"}, "found words and like"),
        ({"words": " \n"}, "expected words"),
        ({"words": "a", "k": 0}, "at least 1"),
        ({"like": "07.pgn"}, "nearest  07.png"),
        ({"image": "no/such.png"}, "no/such.png"),
        ({"words": "a", "among": "texts"}, "nearest  text"),
        ({"words": "a", "where": {"splot": "test"}}, "nearest  split"),
    ],
)
def test_mistakes(searched, question, told):
    with pytest.raises(DataError) as error:
        searching.search(searched, **question)
    assert told in str(error.value)


def test_no_index_yet(tiny_copy):
    with pytest.raises(RunError, match="none yet") as error:
        tiny_copy.search("a")
    assert f"sensorium index {tiny_copy.folder}" in str(error.value)


def test_an_unfinished_run(tiny_copy):
    tiny_copy.index()
    tiny_copy.note(best_step=None)
    opened = Run.open(tiny_copy.folder)
    for ask in (opened.index, lambda: opened.search("a")):
        with pytest.raises(RunError, match="not finished training"):
            ask()


# The graph


def test_recall_of_the_graph():
    pytest.importorskip("usearch")
    rng = np.random.default_rng(0)
    n, e, k = 3000, 32, 10
    vectors = unit(rng.normal(size=(n, e)))
    index, pool = made(vectors, range(n), range(n), [f"{at:05d}" for at in range(n)])
    pool.graph = searching.graph_of(vectors)
    allowed = np.ones(n, bool)
    hits = 0
    for query in unit(rng.normal(size=(50, e))):
        exact = searching.best(index, pool, query[None], allowed, k)
        near = searching.best(index, pool, query[None], allowed, k, exact=False)
        hits += len({x[1] for x in exact} & {x[1] for x in near})
        # What is found is scored exactly and in order.
        assert [x[:2] for x in near] == sorted(((x[0], x[1]) for x in near), reverse=True)
    assert hits / (50 * k) >= 0.98


def test_the_graph_finds_enough_records():
    """A thousand items of one record must not hide the others."""
    pytest.importorskip("usearch")
    rng = np.random.default_rng(0)
    vectors = unit(np.concatenate([[1, 0, 0] + 0.01 * rng.normal(size=(1000, 3)),
                                   rng.normal(size=(30, 3))]))  # fmt: skip
    owner = [0] * 1000 + list(range(1, 31))
    index, pool = made(vectors, range(1030), owner, [f"{n:02d}" for n in range(31)])
    pool.graph = searching.graph_of(vectors)
    query = unit([[1, 0, 0]])
    found = searching.best(index, pool, query, np.ones(31, bool), 8, exact=False)
    assert len(found) == 8
    everything = searching.best(index, pool, query, np.ones(31, bool), 99, exact=False)
    assert everything == searching.best(index, pool, query, np.ones(31, bool), 99)


def test_a_built_graph_is_used_and_a_filter_is_exact(tiny_copy, monkeypatch):
    pytest.importorskip("usearch")
    plain = [tiny_copy.index() and tiny_copy.search("a red cross", k=40)]
    monkeypatch.setattr(indexing, "LARGE", 10)
    tiny_copy.index()
    opened = Run.open(tiny_copy.folder)
    asked = []
    near = searching._Graph.near
    monkeypatch.setattr(searching._Graph, "near", lambda *args: asked.append(1) or near(*args))
    assert opened.search("a red cross", k=40) == plain[0]
    assert opened.search("a red cross", k=3)[0] == plain[0][0]
    assert len(asked) == 2
    opened.search("a red cross", k=3, where={"split": "test"})
    assert len(asked) == 2


@pytest.mark.parametrize("how", ["truncated", "altered", "missing"])
def test_a_damaged_graph_never_reaches_the_library(tiny_copy, monkeypatch, how):
    usearch = pytest.importorskip("usearch.index")
    monkeypatch.setattr(indexing, "LARGE", 10)
    tiny_copy.index()
    place = tiny_copy.folder / "index"
    file = place / store.current(place) / "image.usearch"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data if how == "altered" else data[:200])
    if how == "missing":
        file.unlink()
    opened = []
    monkeypatch.setattr(usearch.Index, "load", lambda self, *args, **more: opened.append(1))
    with pytest.raises(RunError, match="sensorium index"):
        Run.open(tiny_copy.folder).search("a red cross")
    assert not opened


def test_without_the_extra_a_graph_is_passed_over(tiny_copy, monkeypatch):
    pytest.importorskip("usearch")
    plain = [tiny_copy.index() and tiny_copy.search("a red cross", k=40)]
    monkeypatch.setattr(indexing, "LARGE", 10)
    tiny_copy.index()
    monkeypatch.setitem(__import__("sys").modules, "usearch.index", None)
    assert Run.open(tiny_copy.folder).search("a red cross", k=40) == plain[0]


# Matching


def test_match_stands_among_wrong_pairs(tiny_copy, tiny_data):
    from sensorium.evaluation import match

    told = match(tiny_copy, tiny_data / "07.png", "a small green cross")
    words = tiny_copy.vector("text", "a small green cross", "q")
    records = tiny_copy.records()
    chosen = [records[at] for at in records.positions("validation")]
    image = tiny_copy.embed("image", tiny_copy.column("image", chosen))
    text = tiny_copy.embed("text", tiny_copy.column("text", chosen))
    one = tiny_copy.vector("image", tiny_data / "07.png", "q")
    assert told["similarity"] == pytest.approx(cosine(one, words), abs=1e-5)
    wrong = [cosine(text[a], image[b]) for a in range(len(chosen)) for b in range(len(chosen))
             if a != b]  # fmt: skip
    right = [cosine(text[a], image[a]) for a in range(len(chosen))]
    assert told["median_of_wrong_pairs"] == pytest.approx(np.median(wrong), abs=1e-5)
    assert told["median_of_right_pairs"] == pytest.approx(np.median(right), abs=1e-5)
    below = sum(score < told["similarity"] for score in wrong) / len(wrong)
    assert told["share_of_wrong_pairs_below"] == pytest.approx(below, abs=1e-5)
    # 07 may be one of the right pairs, whose score another batch size rounds otherwise.
    below = sum(score < told["similarity"] - 1e-5 for score in right) / len(right)
    assert told["share_of_right_pairs_below"] == pytest.approx(below, abs=1 / len(right))
    with pytest.raises(DataError):
        match(tiny_copy, tiny_data / "07.txt", "a small green cross")
    with pytest.raises(DataError):
        match(tiny_copy, tiny_data / "07.png", " ")


def test_match_needs_a_wrong_pair(tiny_copy, tiny_data):
    from sensorium.evaluation import match

    records = tiny_copy.records()
    records.records = [records[at] for at in records.positions("validation")[:1]]
    with pytest.raises(RunError, match="at least one wrong pair"):
        match(tiny_copy, tiny_data / "07.png", "a small green cross")
