import numpy as np
import pytest

from sensorium.world import _sampling, caption
from sensorium.world._meaning import holds, mentioned
from sensorium.world._ranking import _expected, retrieval
from sensorium.world._setting import load


def gallery(setting, size, seed):
    scenes = [_sampling.scene(setting, seed, "test", at) for at in range(size)]
    keys = [_sampling.key(setting, seed, "test", at) for at in range(size)]
    texts = [
        caption.emit(scene, setting, place)["caption"]
        for scene, place in zip(scenes, keys, strict=True)
    ]
    return scenes, texts


@pytest.mark.parametrize(
    ("name", "changes", "k"),
    [
        ("binding", [], 1),
        ("binding", ["languages={en: 0.5, de: 0.5}"], 1),
        ("plain", [], 5),
        ("spatial", [], 1),
    ],
)
def test_who_ranks_what_fits_first_scores_what_is_stated(name, changes, k):
    """Galleries of 400 as they are made; the player asks the facts whether a text is true."""
    setting, size = load(name, changes), 400
    stated = retrieval(setting, "test", "text_to_image", k, size)
    rng = np.random.default_rng(0)
    best, luck = [], []
    for seed in range(5):
        scenes, texts = gallery(setting, size, seed)
        for at in rng.choice(size, 60, replace=False):
            meaning = mentioned(scenes[at].facts, setting.mentions)
            fits = np.array([holds(meaning, scene.facts) for scene in scenes])
            right = np.array([text == texts[at] for text in texts])
            order = np.lexsort((rng.random(size), ~fits))
            best.append(right[order[:k]].any())
            luck.append(right[rng.permutation(size)[:k]].any())
    for hits, floor in ((best, "best_possible"), (luck, "chance")):
        value = stated[floor]
        assert abs(np.mean(hits) - value) < 4.5 * np.sqrt(value * (1 - value) / len(hits)) + 1e-9


def test_the_sums_are_those_of_a_plain_simulation():
    rng = np.random.default_rng(1)
    own, alike, n, k = 0.01, 0.05, 60, 3
    best, luck = [], []
    for _ in range(20_000):
        kind = rng.choice(3, n - 1, p=[own, alike - own, 1 - alike])
        right, wrong = 1 + (kind == 0).sum(), (kind == 1).sum()
        best.append((rng.permutation(right + wrong)[:k] < right).any())
        luck.append((rng.permutation(n)[:k] < right).any())
    chance, stated = _expected(own, alike, n, k)
    assert abs(np.mean(best) - stated) < 4.5 * 0.5 / np.sqrt(len(best))
    assert abs(np.mean(luck) - chance) < 4.5 * 0.5 / np.sqrt(len(luck))


def test_without_doubles_luck_is_k_in_n_and_the_best_is_sure():
    assert _expected(0.0, 0.0, 50, 5) == pytest.approx((0.1, 1.0))


def test_texts_about_what_no_picture_shows_find_it_by_luck():
    found = retrieval(load("dropout"), "test", "text_to_image", 1, 100)
    assert found["best_possible"] == pytest.approx(found["chance"])


def test_wrong_texts_find_their_pictures_by_luck():
    clean = retrieval(load("noise", ["wrong_pairs=0.0"]), "train", "text_to_image", 1, 500)
    noisy = retrieval(load("noise"), "train", "text_to_image", 1, 500)
    assert noisy["best_possible"] == pytest.approx(
        0.6 * clean["best_possible"] + 0.4 * clean["chance"]
    )


def test_where_a_text_leans_on_what_is_unseen_nothing_is_stated():
    assert retrieval(load("synergy"), "test", "text_to_image", 1, 100) is None
    assert retrieval(load("plain"), "test", "text_to_image", 10, 5) is None
