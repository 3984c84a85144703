import io

import numpy as np
import pytest
from clean_data import scene
from PIL import Image

from sensorium import pictures
from sensorium.doctor import inspection
from sensorium.doctor.inspection import mended, oddities, see, suspicious
from sensorium.errors import DataError
from sensorium.records import Blob


def _bytes(picture: Image.Image, kind: str, **more) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **more)
    return out.getvalue()


def _see(data: bytes, name: str = "a.png") -> inspection.Sight:
    return see(Blob(name, data=data), 64)


def _corpus():
    picture = scene(1)
    whole = {
        "jpeg": _bytes(picture, "JPEG"),
        "progressive": _bytes(picture, "JPEG", progressive=True),
        "cmyk": _bytes(picture.convert("CMYK"), "JPEG"),
        "png": _bytes(picture, "PNG"),
        "palette": _bytes(picture.convert("P"), "PNG"),
        "transparent": _bytes(picture.convert("RGBA"), "PNG"),
        "16 bits": _bytes(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)), "PNG"),
        "webp": _bytes(picture, "WEBP"),
        "gif": _bytes(picture, "GIF"),
        "bmp": _bytes(picture, "BMP"),
        "tiff": _bytes(picture, "TIFF", compression="tiff_lzw"),
        "float tiff": _bytes(Image.fromarray(np.ones((20, 20), np.float32)), "TIFF"),
    }
    for name, data in whole.items():
        yield name, data
        for share in (0.05, 0.3, 0.6, 0.9):
            yield f"{name} {share}", data[: int(share * len(data))]
        damaged = bytearray(data)
        for at in range(len(data) // 2, len(data), 37):
            damaged[at] ^= 0xFF
        yield f"{name} damaged", bytes(damaged)
    yield "nothing", b""
    yield "text", b"not a picture at all"
    bomb = Image.new("1", (20_000, 20_000))
    yield "bomb", _bytes(bomb, "PNG")


@pytest.mark.filterwarnings("ignore")  # Pillow's, on what it mends
def test_readable_is_what_the_modality_can_read():
    """What the doctor calls readable is what training can read, and the other way round."""
    verdicts = set()
    for name, data in _corpus():
        try:
            picture = pictures.decode(data, "x", 64)
        except DataError:
            picture = None
        sight = _see(data)
        assert (sight.error is None) == (picture is not None), (name, sight.error)
        verdicts.add(sight.error is None)
        if sight.error is not None:
            assert sight.error.startswith("expected")
    assert verdicts == {True, False}


def test_a_sight_tells_what_is_there():
    sight = _see(_bytes(scene(1, (100, 60)), "WEBP"), "a.webp")
    assert (sight.format, sight.width, sight.height, sight.mode) == ("WEBP", 100, 60, "RGB")
    assert sight.mark is not None
    assert sight.seconds > 0
    assert oddities(sight) == []


def test_a_file_that_is_gone(tmp_path):
    sight = see(Blob("a.png", tmp_path / "a.png"), 64)
    assert sight.error == "expected a readable file, found No such file or directory"


def _frames() -> bytes:
    return _bytes(
        scene(1), "GIF", save_all=True, append_images=[scene(2), scene(3)], duration=50, loop=0
    )


@pytest.mark.parametrize(
    ("data", "name", "ids"),
    [
        (_bytes(scene(1), "JPEG"), "a.png", ["suffix-mismatch"]),
        (_bytes(scene(1), "JPEG"), "a.JPEG", []),
        (_bytes(scene(1), "JPEG"), "captions.parquet row 3", []),
        (_bytes(scene(1, (40, 12)), "PNG"), "a.png", ["tiny-pictures"]),
        (_bytes(scene(1, (200, 20)), "PNG"), "a.png", ["extreme-aspect"]),
        (_bytes(scene(1, (160, 20)), "PNG"), "a.png", []),
        (_bytes(Image.new("RGB", (40, 40), "navy"), "JPEG"), "a.jpg", ["single-colour"]),
        (_bytes(scene(1).convert("CMYK"), "JPEG"), "a.jpg", ["unusual-mode"]),
        (_bytes(scene(1).convert("L"), "PNG"), "a.png", []),
        (_frames(), "a.gif", ["animated"]),
    ],
)
def test_oddities(data, name, ids):
    assert oddities(_see(data, name)) == ids


def test_a_large_picture(monkeypatch):
    monkeypatch.setattr(inspection, "LARGE", 1000)
    assert oddities(_see(_bytes(scene(1), "PNG"))) == ["large-pictures"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty-texts"),
        ("  \n", "empty-texts"),
        ("un cafÃ© noir", "misread-texts"),
        ("itâ€™s a dog", "misread-texts"),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "misread-texts"),
        ("a smile ðŸ˜€", "misread-texts"),
        ("20 Â°C", "misread-texts"),
        ("caf\ufffd noir", "misread-texts"),
        ("a dog\x07", "control-characters"),
        ("a \u202egod", "control-characters"),
        ("see https://example.org/1.jpg", "address-texts"),
        ("www.example.org", "address-texts"),
        ("a <b>red</b> boat", "markup-texts"),
        ("cats &amp; dogs", "markup-texts"),
        ("line<br/>break", "markup-texts"),
        ("IMG_1234", "file-name-texts"),
        ("img 0042.JPG", "file-name-texts"),
        ("DSC00021", "file-name-texts"),
        ("IMG-20230405-WA0001", "file-name-texts"),
        ("red_boat.png", "file-name-texts"),
        ("d41d8cd98f00b204e9800998ecf8427e", "file-name-texts"),
        ("1b4e28ba-2fa1-11d2-883f-0016d3cca427", "file-name-texts"),
        ("Untitled", "placeholder-texts"),
        ("n/a", "placeholder-texts"),
    ],
)
def test_suspicious_texts(text, kind):
    assert suspicious(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "a dog on a beach", "déjà vu", "“CAFÉ”", "«ÉTÉ»", "ÇÃO", "naïve façade", "Ångström",
        "3 < 4 > 2", "a < b and b > a", "AT&T", "photo 3 of a dog", "image of a cat",
        "👨‍👩‍👧 family", "café", "привет мир", "猫と犬", "P button", "line one\nline two", "5 %",
        "no. 7", "a picture of a jpg", "deadbeef",
    ],
)  # fmt: skip
def test_honest_texts_are_not_suspected(text):
    assert suspicious(text) is None


def test_a_class_may_be_called_none():
    assert suspicious("none", classes=True) is None


def test_mended_texts():
    assert mended("un cafÃ© Ã\xa0 la crÃ¨me") == "un café à la crème"
    assert mended("â€œwordsâ€\x9d") == "“words”"
    for text in ("façade", "日本語", "привет", "“CAFÉ” – «été»"):
        assert mended(text) == text
    for text in ("façade", "日本語", "привет", "Ελλάδα", "😀"):
        assert mended(text.encode().decode("latin-1")) == text
