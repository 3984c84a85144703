"""Sentences in four languages, written by hand, and each language's grammar by its own rules."""

import json
import re
import zipfile

import numpy as np
import pytest

from sensorium.world import _drawing, _lexicon
from sensorium.world._kinds import DRAWINGS, KINDS
from sensorium.world._languages import say
from sensorium.world._meaning import WAYS, Meaning, Told, mentioned
from sensorium.world._scene import COLOURS, GROUNDS, PLACES, RELATIONS, SIZES, STRIPES
from sensorium.world._setting import WORDS

from .random_facts import some


def one(kind=None, colour=None, size=None, place=None, **rest):
    return Meaning((Told(kind, colour, size, place),), **rest)


def two(first, second, relation=None, **rest):
    return Meaning((Told(*first), Told(*second)), relation, **rest)


# (meaning, way), English, German, French, Chinese.
BY_HAND = [
    (
        (two(("cat", "red"), ("house", "blue"), "left_of"), 0),
        "a red cat left of a blue house",
        "eine rote Katze links von einem blauen Haus",
        "un chat rouge à gauche d'une maison bleue",
        "一只红色的猫在一座蓝色的房子的左边",
    ),
    (
        (two(("dog", "brown", "small"), ("owl", "white", "large"), "right_of"), 1),
        "there is a small brown dog right of a large white owl",
        "da ist ein kleiner brauner Hund rechts von einer großen weißen Eule",
        "il y a un petit chien marron à droite d'un grand hibou blanc",
        "有一只小的棕色的狗在一只大的白色的猫头鹰的右边",
    ),
    (
        (two(("monkey", "yellow"), ("elephant", "purple"), "above"), 2),
        "we see a yellow monkey above a purple elephant",
        "wir sehen einen gelben Affen über einem violetten Elefanten",
        "nous voyons un singe jaune au-dessus d'un éléphant violet",
        "我们看见一只黄色的猴子在一头紫色的大象的上面",
    ),
    (
        (two(("car", "green"), ("lion", "orange"), "below"), 3),
        "a green car is below an orange lion",
        "ein grünes Auto ist unter einem orangefarbenen Löwen",
        "une voiture verte est au-dessous d'un lion orange",
        "在一头橙色的狮子的下面有一辆绿色的汽车",
    ),
    (
        (two(("apple", "white", "large"), ("bee", "purple", "large"), "left_of"), 2),
        "we see a large white apple left of a large purple bee",
        "wir sehen einen großen weißen Apfel links von einer großen violetten Biene",
        "nous voyons une grande pomme blanche à gauche d'une grande abeille violette",
        "我们看见一个大的白色的苹果在一只大的紫色的蜜蜂的左边",
    ),
    (
        (two(("heart", "red"), ("heart", "blue"), "above"), 2),
        "we see a red heart above a blue heart",
        "wir sehen ein rotes Herz über einem blauen Herzen",
        "nous voyons un cœur rouge au-dessus d'un cœur bleu",
        "我们看见一颗红色的心在一颗蓝色的心的上面",
    ),
    (
        (two(("monkey", "brown"), ("lion", "white")), 2),
        "we see a brown monkey and a white lion",
        "wir sehen einen braunen Affen und einen weißen Löwen",
        "nous voyons un singe marron et un lion blanc",
        "我们看见一只棕色的猴子和一头白色的狮子",
    ),
    (
        (two(("key", None, "small"), ("bell", None, "large")), 1),
        "there is a small key and a large bell",
        "da sind ein kleiner Schlüssel und eine große Glocke",
        "il y a une petite clé et une grande cloche",
        "有一把小的钥匙和一个大的铃铛",
    ),
    (
        (two((None, "green"), (None, "red"), "right_of"), 0),
        "a green thing right of a red thing",
        "ein grünes Ding rechts von einem roten Ding",
        "une chose verte à droite d'une chose rouge",
        "一个绿色的东西在一个红色的东西的右边",
    ),
    (
        (one("umbrella", "orange", "small", "top_left"), 0),
        "a small orange umbrella in the top left corner",
        "ein kleiner orangefarbener Regenschirm in der linken oberen Ecke",
        "un petit parapluie orange dans le coin supérieur gauche",
        "一把小的橙色的雨伞在左上角",
    ),
    (
        (one("airplane", "white", place="bottom"), 3),
        "here is a white airplane at the bottom",
        "hier ist ein weißes Flugzeug unten",
        "voici un avion blanc en bas",
        "下方有一架白色的飞机",
    ),
    (
        (one("anchor", "blue", ground="sky", stripes="none"), 1),
        "there is a blue anchor on an azure ground without a pattern",
        "da ist ein blauer Anker auf himmelblauem Grund ohne Muster",
        "il y a une ancre bleue sur fond bleu ciel sans motif",
        "有一个蓝色的锚，天蓝色的背景上没有花纹",
    ),
    (
        (one("star", ground="grey", stripes="across"), 0),
        "a star on a grey ground with horizontal stripes",
        "ein Stern auf grauem Grund mit waagerechten Streifen",
        "une étoile sur fond gris à rayures horizontales",
        "一颗星星，灰色的背景上有横条纹",
    ),
    (
        (one("hat", "purple", ground="cream"), 2),
        "we see a purple hat on a cream ground",
        "wir sehen einen violetten Hut auf cremefarbenem Grund",
        "nous voyons un chapeau violet sur fond crème",
        "我们看见一顶紫色的帽子，背景是奶油色的",
    ),
    (
        (one("book", stripes="dots"), 0),
        "a book on a ground with dots",
        "ein Buch auf einem Grund mit Punkten",
        "un livre sur un fond à pois",
        "一本书，背景上有圆点",
    ),
    (
        (one("camera", "red", word="three"), 0),
        "a red camera in room three",
        "eine rote Kamera in Zimmer drei",
        "un appareil photo rouge dans la salle trois",
        "三号房间里，一台红色的照相机",
    ),
    (
        (one(word="eight"), 0),
        "something in room eight",
        "etwas in Zimmer acht",
        "quelque chose dans la salle huit",
        "八号房间里，某个东西",
    ),
    (
        (one(named_colour="white"), 0),
        "the word white",
        "das Wort weiß",
        "le mot blanc",
        "白色这个词",
    ),
    (
        (one("crown", "yellow", named_colour="green"), 3),
        "here is a yellow crown with the word green",
        "hier ist eine gelbe Krone mit dem Wort grün",
        "voici une couronne jaune avec le mot vert",
        "这里有一顶黄色的皇冠，写着绿色这个词",
    ),
]


@pytest.mark.parametrize("said", BY_HAND, ids=[said[1] for said in BY_HAND])
def test_sentences_written_by_hand(said):
    (meaning, way), *expected = said
    assert [say(language, meaning, way) for language in ("en", "de", "fr", "zh")] == expected


def test_every_word_of_the_world_has_its_entry():
    for table, wanted in (
        (_lexicon.NOUNS, [*KINDS, _lexicon.THING]),
        (_lexicon.COLOURS, COLOURS),
        (_lexicon.SIZES, SIZES),
        (_lexicon.RELATIONS, RELATIONS),
        (_lexicon.PLACES, PLACES),
        (_lexicon.GROUNDS, GROUNDS),
        (_lexicon.STRIPES, STRIPES),
        (_lexicon.WORDS, WORDS),
    ):
        assert set(table) == set(wanted)
    assert len(_lexicon.NOUNS) >= 64


@pytest.mark.parametrize(
    ("code", "language", "ours"),
    [
        ("de", "german", {"shirt"}),  # T-Shirt
        ("fr", "french", {"doughnut", "clock"}),  # doughnut, réveil
        ("zh", "chinese", {"shirt"}),  # T恤
    ],
)
def test_nouns_are_those_of_the_drawings_in_unicode(code, language, ours):
    """Names and keywords of Unicode's CLDR, which come with the drawings."""
    with zipfile.ZipFile(_drawing.FILE) as archive:
        rows = {row["id"]: row for row in json.loads(archive.read("records.json"))}
    differing = set()
    for kind, drawing in DRAWINGS.items():
        noun = getattr(_lexicon.NOUNS[kind], language).lower()
        told = [rows[drawing]["names"][code], *rows[drawing]["kw"][code]]
        if not any(noun in name.lower() or name.lower() in noun for name in told):
            differing.add(kind)
    assert differing == ours


@pytest.mark.parametrize("language", ["english", "german", "french", "chinese"])
def test_no_two_kinds_have_the_same_noun(language):
    nouns = [getattr(noun, language) for noun in _lexicon.NOUNS.values()]
    assert len(set(nouns)) == len(nouns)


@pytest.mark.parametrize("column", range(4))
def test_no_two_values_are_told_alike(column):
    """Of a colour German has a stem, French two forms: they may be alike within one colour."""
    for table in (_lexicon.RELATIONS, _lexicon.PLACES, _lexicon.GROUNDS, _lexicon.STRIPES,
                  _lexicon.WORDS):  # fmt: skip
        assert len({entry[column] for entry in table.values()}) == len(table)
    for table in (_lexicon.COLOURS, _lexicon.SIZES):
        assert len({entry[column] for entry in table.values()}) == len(table)


def sentences(language, count=1500):
    rng = np.random.default_rng(6)
    for _ in range(count):
        meaning = mentioned(*some(rng))
        for way in range(WAYS):
            yield say(language, meaning, way)


def test_german_articles_agree_with_adjectives_and_dative_follows_its_prepositions():
    endings = {
        "ein": {"er", "es"}, "eine": {"e"}, "einen": {"en"}, "einem": {"en"}, "einer": {"en"},
    }  # fmt: skip
    stems = "klein|groß|rot|grün|blau|gelb|violett|orangefarben|weiß|braun"
    adjective = re.compile(rf"({stems})(er|es|en|e)")
    for told in sentences("de"):
        words = told.split()
        for at, word in enumerate(words):
            if word in endings:
                assert words[at + 1 :], told
                used = set()
                for after in words[at + 1 :]:
                    found = adjective.fullmatch(after)
                    if not found:
                        assert after[0].isupper(), told  # the noun
                        break
                    used.add(found[2])
                assert len(used) <= 1, told  # parallel endings
                assert used <= endings[word], told
            if word in ("von", "über", "unter") and words[at + 1].startswith("ein"):
                assert words[at + 1] in ("einem", "einer"), told


def test_german_weak_nouns_change_in_accusative_and_dative_alone():
    def told(kind, way):
        return say("de", one(kind, "red"), way), say("de", two(("cat",), (kind,), "above"))

    for kind, noun in (("lion", "Löwe"), ("monkey", "Affe"), ("elephant", "Elefant")):
        weak = noun + ("n" if noun.endswith("e") else "en")
        assert told(kind, 0)[0] == f"ein roter {noun}"
        assert told(kind, 2)[0] == f"wir sehen einen roten {weak}"
        assert told(kind, 0)[1] == f"eine Katze über einem {weak}"
    changing = {kind for kind, noun in _lexicon.NOUNS.items() if noun.german != noun.german_oblique}
    assert changing == {"lion", "monkey", "elephant", "heart"}


def test_french_elides_and_agrees():
    feminine = {"verte", "bleue", "blanche", "violette", "petite", "grande"}
    masculine = {"vert", "bleu", "blanc", "violet", "petit", "grand"}
    for told in sentences("fr"):
        assert "de un" not in told
        thing = re.split(r" sur (?:un )?fond| avec le mot| dans la salle|^le mot", told)[0]
        for phrase in re.findall(r"\bune? .*?(?=\bune? |$)", thing):
            wrong = masculine if phrase.startswith("une ") else feminine
            assert not wrong & set(phrase.split()), told


def test_chinese_counts_every_thing_with_the_measure_word_of_its_noun():
    for noun in _lexicon.NOUNS.values():
        assert len(noun.measure) == 1
    for told in sentences("zh"):
        assert " " not in told
        assert not re.search("[a-zA-Z]", told)
        assert "的的" not in told
    measures = {
        "dog": "只", "fish": "条", "car": "辆", "ship": "艘", "airplane": "架", "book": "本",
        "horse": "匹", "house": "座", "key": "把", "hat": "顶", "tree": "棵", "tulip": "朵",
        "shirt": "件", "train": "列", "lamp": "盏", "drum": "面",
    }  # fmt: skip
    for kind, measure in measures.items():
        assert say("zh", one(kind)).startswith(f"一{measure}")
