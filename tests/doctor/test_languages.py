import pytest

from sensorium.datasets import emoji
from sensorium.doctor import languages
from sensorium.doctor.languages import guess, name, script

SENTENCES = {
    "en": ["a dog is running on the beach", "two people at a table in front of a window"],
    "fr": ["un chien court sur la plage", "deux personnes assises à une table devant la fenêtre"],
    "de": ["ein Hund läuft am Strand", "zwei Leute sitzen an einem Tisch vor dem Fenster"],
    "es": ["un perro corre por la playa", "dos personas sentadas en una mesa con flores"],
    "pt": ["um cachorro corre na praia", "duas pessoas sentadas em uma mesa com flores"],
    "it": ["un cane corre sulla spiaggia", "due persone sedute a un tavolo con dei fiori"],
    "nl": ["een hond rent op het strand", "twee mensen zitten aan een tafel met bloemen"],
    "sv": ["en hund springer på stranden och det är sommar", "två personer sitter vid ett bord"],
    "fi": ["koira juoksee rannalla ja aurinko paistaa", "kaksi ihmistä istuu pöydän ääressä"],
    "pl": ["pies biegnie po plaży", "dwie osoby siedzą przy stole z kwiatami"],
    "cs": ["pes běží po pláži", "dva lidé sedí u stolu s květinami"],
    "hu": ["egy kutya fut a tengerparton", "két ember ül az asztalnál"],
    "ro": ["un câine aleargă pe plajă", "două persoane stau la o masă cu flori"],
    "tr": ["sahilde koşan bir köpek", "masada oturan iki kişi ve bir çiçek"],
    "vi": ["một con chó đang chạy trên bãi biển", "hai người ngồi bên bàn"],
    "id": ["dua orang yang duduk di meja dengan bunga"],
    "sw": ["mbwa anakimbia kwenye ufuo wa bahari", "watu wawili wameketi kwenye meza ya mbao"],
    "ru": ["двое мужчин и женщина что-то делают на мосту, они стоят"],
    "uk": ["собака біжить по пляжу", "двоє людей сидять за столом біля вікна"],
    "sr": ["људи седе за столом"],
    "el": ["ένας σκύλος τρέχει στην παραλία"],
    "he": ["כלב רץ על החוף"],
    "ar": ["رجل وامرأة في الحديقة مع كلب"],
    "fa": ["سگی در ساحل می‌دود", "دو نفر پشت میز نشسته‌اند"],
    "ur": ["ایک کتا ساحل پر دوڑ رہا ہے"],
    "hi": ["एक कुत्ता समुद्र तट पर दौड़ रहा है", "मेज़ पर बैठे दो लोग"],
    "th": ["สุนัขวิ่งบนชายหาด"],
    "ko": ["개가 해변에서 달린다"],
    "ja": ["犬が浜辺を走っている", "テーブルに座る二人"],
    "zh": ["一只狗在沙滩上奔跑", "一位女士在看 iPhone"],
}
UNSURE = {
    "und-Latn": ["red heart", "grinning face", "Paris", "en hund"],
    "und-Cyrl": ["собака"],
    "und-Beng": ["কুকুর"],
    "zxx": ["12:30", "🙂", "", "— … !"],
}


@pytest.mark.parametrize(
    ("tag", "text"), [(tag, text) for tag, texts in SENTENCES.items() for text in texts]
)
def test_sentences(tag, text):
    assert guess(text) == tag


@pytest.mark.parametrize(
    ("tag", "text"), [(tag, text) for tag, texts in UNSURE.items() for text in texts]
)
def test_what_cannot_be_told_is_said(tag, text):
    assert guess(text) == tag


@pytest.mark.parametrize(
    "code", ["en", "fr", "de", "es", "pt", "ru", "ar", "hi", "sw", "tr", "vi", "id", "zh", "ko"]
)
def test_emoji_names_are_seldom_taken_for_another_language(code):
    """Names of one to four words: most cannot be told, but few may be told wrongly."""
    field = "text" if code == "en" else f"text_{code}"
    guesses = [guess(record.fields[field]) for record in emoji.read().records]
    wrong = [tag for tag in guesses if tag != code and not tag.startswith("und")]
    assert len(wrong) <= 0.025 * len(guesses)
    assert sum(tag == code for tag in guesses) > 10 * len(wrong) or len(wrong) <= 20


def test_scripts():
    assert script("Ünïcödé") == "Latn"
    assert script("ひらがな and kanji") == "Latn"
    assert script("P マーク") == "Kana"
    assert script("5 % ♥") is None


def test_stretches_are_in_order():
    starts = [start for start, _ in languages._STRETCHES]
    assert starts == sorted(set(starts))


def test_names():
    assert name("en") == "English"
    assert name("und-Beng") == "unknown, Beng script"
    assert name("xx") == "xx"
    known = {t for table in languages._WORDS.values() for t in table} | set(languages._ONE.values())
    assert len(known & set(languages.NAMES)) > 30
