"""Which language a text is in: by script, then by function words and letters of its own.

A guess is a BCP 47 tag: `en`; `und-Latn` where only the script is certain; `zxx` where there is
nothing to read. Captions are short, and "red heart" holds no function word, so many honest
answers are `und-Latn`. Chinese characters alone count as Chinese, though many a Japanese title is
just that. The table is our own and small; it tells the share of a data set that a tower cannot
read, not the language of one caption.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter

# First letter of each stretch of the Unicode blocks that matter here, with its script (ISO 15924).
_STRETCHES = (
    (0x0000, "Latn"), (0x0370, "Grek"), (0x0400, "Cyrl"), (0x0530, "Armn"), (0x0590, "Hebr"),
    (0x0600, "Arab"), (0x0700, ""), (0x0750, "Arab"), (0x0780, ""), (0x08A0, "Arab"),
    (0x0900, "Deva"), (0x0980, "Beng"), (0x0A00, "Guru"), (0x0A80, "Gujr"), (0x0B00, "Orya"),
    (0x0B80, "Taml"), (0x0C00, "Telu"), (0x0C80, "Knda"), (0x0D00, "Mlym"), (0x0D80, "Sinh"),
    (0x0E00, "Thai"), (0x0E80, "Laoo"), (0x0F00, "Tibt"), (0x1000, "Mymr"), (0x10A0, "Geor"),
    (0x1100, "Hang"), (0x1200, "Ethi"), (0x13A0, ""), (0x1780, "Khmr"), (0x1800, "Mong"),
    (0x18B0, ""), (0x1E00, "Latn"), (0x1F00, "Grek"), (0x2000, ""), (0x3005, "Hani"),
    (0x3008, ""), (0x3040, "Kana"), (0x3100, "Hani"), (0x3130, "Hang"), (0x3190, "Hani"),
    (0x31F0, "Kana"), (0x3200, ""), (0x3400, "Hani"), (0x4DC0, ""), (0x4E00, "Hani"),
    (0xA000, ""), (0xAC00, "Hang"), (0xD7B0, ""), (0xF900, "Hani"), (0xFB00, "Latn"),
    (0xFB1D, "Hebr"), (0xFB50, "Arab"), (0xFE00, ""), (0xFE70, "Arab"), (0xFF00, ""),
    (0xFF21, "Latn"), (0xFF5B, ""), (0xFF66, "Kana"), (0xFFA0, "Hang"), (0xFFE0, ""),
    (0x20000, "Hani"), (0x32000, ""),
)  # fmt: skip
_STARTS = [start for start, _ in _STRETCHES]

# Scripts that, in captions, are all but always one language.
_ONE = {
    "Grek": "el", "Armn": "hy", "Hebr": "he", "Guru": "pa", "Gujr": "gu", "Orya": "or",
    "Taml": "ta", "Telu": "te", "Knda": "kn", "Mlym": "ml", "Sinh": "si", "Thai": "th",
    "Laoo": "lo", "Tibt": "bo", "Mymr": "my", "Geor": "ka", "Hang": "ko", "Khmr": "km",
    "Kana": "ja", "Hani": "zh",
}  # fmt: skip

# Function words: articles, prepositions, pronouns, auxiliaries. A word that several languages
# share counts the less for each.
_WORDS = {
    "Latn": {
        "en": "the of and with on in a an is at for to from by are his her its that this while "
        "near over under into as it be was were has have not or two up out off their there",
        "fr": "le la les un une des du de et avec sur dans en au aux est sont pour par qui que "
        "ce cette son sa ses à deux sous ne pas ou d l il elle",
        "de": "der die das ein eine einen einem einer des dem den und mit auf im in am ist sind "
        "von zu zum zur für bei nach aus vor über unter an nicht sich oder zwei",
        "es": "el la los las un una unos unas de del y con en al es están está por para que su "
        "sus se no sobre dos muy o hacia lo",
        "pt": "o a os as um uma uns umas de do da dos das e com em no na nos nas ao à é são por "
        "para que seu sua se não sobre dois duas ou está",
        "it": "il lo la i gli le un uno una di del della dei delle e con su sul sulla in nel "
        "nella al alla è sono per che da si non due o ed dal",
        "nl": "de het een van en met op in aan is zijn voor bij uit naar te dat die niet door "
        "over onder twee of hij zij er wordt",
        "sv": "en ett och med på i av som är det den att för till från under över inte han hon "
        "två eller vid sin sitt",
        "da": "en et og med på i af som er det den at for til fra under over ikke han hun to "
        "eller ved sin sit",
        "no": "en et ei og med på i av som er det den å for til fra under over ikke han hun to "
        "eller ved sin sitt",
        "fi": "ja on ei se että hän joka kanssa ovat mutta tai kun oli päällä alla kaksi",
        "pl": "i w z na do się jest nie to że po od za przed przez dla oraz są ze pod nad dwa",
        "cs": "a v na se je z do k ve ze o po pro od za před jsou není který která nebo dva",
        "hu": "a az egy és van nem hogy is meg ez mint között alatt vagy két",
        "ro": "un o și cu pe în de la este sunt din pentru care nu se al a lui sau doi două",
        "tr": "bir ve ile bu için olan da de çok var üzerinde içinde altında yanında iki veya",
        "vi": "và của là có trong với trên một các những cho không người được đang ở hai hoặc",
        "id": "yang dan di dengan dari ini itu untuk pada adalah sebuah seorang ke tidak dalam "
        "sedang dua atau oleh",
        "sw": "ya na wa kwa ni la katika cha za vya kwenye hii huyo mtu yenye mwenye wenye au",
    },
    "Cyrl": {
        "ru": "и в на с не что по из за от для это как у к его под над возле два или он она",
        "uk": "і в на з не що по із за від для це як у до його під над біля два або та він вона",
        "bg": "и в на с не че по от за да е са се като до един една под над два или той тя",
        "sr": "и у на са не да по из за од је су се као до један једна под над два или он она",
    },
    "Arab": {
        "ar": "في من على مع إلى هذا هذه التي الذي عن و أو هو هي كان بين تحت فوق",
        "fa": "در از با به که این آن را و یک برای است روی بر یا دو زیر",
        "ur": "میں کے کی کا سے پر اور ہے ایک کو نے یہ وہ ہیں ساتھ یا دو",
    },
    "Deva": {
        "hi": "में के की का से पर और है एक को ने यह वह हैं साथ या दो वाला वाली",
        "mr": "आणि आहे एक च्या मध्ये वर हा ही हे ते आहेत किंवा दोन खाली",
        "ne": "र मा को छ एक लाई ले यो त्यो छन् सँग वा दुई",
    },
}  # fmt: skip
# Letters beyond the plain alphabet: like a word, a letter counts the less the more share it.
_LETTERS = {
    "Latn": {
        "de": "ßäöü", "es": "ñ¿¡áéíóú", "pt": "ãõçâêáéíóú", "it": "àèìòù", "fr": "œùêèëîçâéàô",
        "pl": "łąęśźżćńó", "cs": "řěůšžčáéíúý", "hu": "őűáéíóöúü", "ro": "șțţăîâ", "tr": "ğışöüç",
        "da": "æøå", "no": "æøå", "sv": "äöå", "fi": "äö",
        "vi": "âêôéèàáíìóòúùãõơưđạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
    },
    "Cyrl": {"ru": "ыэё", "uk": "іїєґ", "bg": "ъ", "sr": "ђћљњџј"},
    "Arab": {"fa": "پچژگ", "ur": "ٹڈڑںے"},
    "Deva": {"mr": "ळ"},
}  # fmt: skip
NAMES = {
    "en": "English", "fr": "French", "de": "German", "es": "Spanish", "pt": "Portuguese",
    "it": "Italian", "nl": "Dutch", "sv": "Swedish", "da": "Danish", "no": "Norwegian",
    "fi": "Finnish", "pl": "Polish", "cs": "Czech", "hu": "Hungarian", "ro": "Romanian",
    "tr": "Turkish", "vi": "Vietnamese", "id": "Indonesian", "sw": "Swahili", "ru": "Russian",
    "uk": "Ukrainian", "bg": "Bulgarian", "sr": "Serbian", "ar": "Arabic", "fa": "Persian",
    "ur": "Urdu", "hi": "Hindi", "mr": "Marathi", "ne": "Nepali", "el": "Greek", "he": "Hebrew",
    "th": "Thai", "ko": "Korean", "ja": "Japanese", "zh": "Chinese", "hy": "Armenian",
    "ka": "Georgian", "ta": "Tamil", "te": "Telugu", "bn": "Bengali", "km": "Khmer",
    "zxx": "no letters", "und-Latn": "unknown, Latin script",
}  # fmt: skip
_SURE = 0.7  # least evidence for a language, in words of its own
_AHEAD = 1.3  # times the evidence of the second
_POSSESSIVE = re.compile(r"['’]s\b")  # else its s is a word, and Slavic
_TOKENS = re.compile(r"[^\W\d_]+(?:[̀-ͯऀ-ॿ]+[^\W\d_]*)*")


_Shares = dict[str, dict[str, dict[str, float]]]


def _shares(table: dict[str, dict[str, str]], split: bool) -> _Shares:
    """script -> word or letter -> {language: weight}; the weights of one word sum to 1."""
    made: _Shares = {}
    for script, languages in table.items():
        owners: dict[str, list[str]] = {}
        for language, items in languages.items():
            for item in items.split() if split else items:
                owners.setdefault(item, []).append(language)
        made[script] = {k: dict.fromkeys(v, 1 / len(v)) for k, v in owners.items()}
    return made


_WORD_SHARES = _shares(_WORDS, True)
_LETTER_SHARES = _shares(_LETTERS, False)


def script(text: str) -> str | None:
    """The script of most letters (ISO 15924: Latn, Cyrl, Hani ...); None without letters.

    Any kana makes it Kana, as Japanese is written with Chinese characters beside.
    """
    counts = Counter(
        _STRETCHES[bisect.bisect_right(_STARTS, ord(letter)) - 1][1]
        for letter in text
        if letter.isalpha()
    )
    counts.pop("", None)
    if not counts:
        return None
    if counts["Kana"] and counts["Kana"] + counts["Hani"] >= counts["Latn"]:
        return "Kana"
    # One Chinese character says what three Latin letters say.
    counts["Hani"] *= 3
    return counts.most_common(1)[0][0]


def guess(text: str) -> str:
    """The BCP 47 tag of a text's language, `und-Xxxx` where only the script is certain."""
    found = script(text)
    if found is None:
        return "zxx"
    if found in _ONE:
        return _ONE[found]
    words, letters = _WORD_SHARES.get(found), _LETTER_SHARES.get(found, {})
    if words is None:
        return f"und-{found}"
    score: dict[str, float] = {}
    for word in _TOKENS.findall(_POSSESSIVE.sub("", text.casefold())):
        for evidence in (words.get(word, {}), _marked(word, letters)):
            for language, weight in evidence.items():
                score[language] = score.get(language, 0.0) + weight
    first, second, *_ = sorted(((v, k) for k, v in score.items()), reverse=True) + [(0.0, "")] * 2
    if first[0] >= _SURE and first[0] >= _AHEAD * second[0]:
        return first[1]
    return f"und-{found}"


def _marked(word: str, letters: dict[str, dict[str, float]]) -> dict[str, float]:
    """The letter of a word that says most: one word is evidence once, however many it has."""
    marked = [letters[letter] for letter in word if letter in letters]
    return min(marked, key=len, default={})


def name(tag: str) -> str:
    """A tag in English, e.g. `und-Cyrl` -> `unknown, Cyrl script`."""
    if tag.startswith("und-"):
        return NAMES.get(tag, f"unknown, {tag[4:]} script")
    return NAMES.get(tag, tag)
