"""COCO captions: a JSON with `images` and `annotations`; a picture keeps all of its captions.

The format is https://cocodataset.org/#format-data. The pictures' folder is the one of these that
holds most of the first pictures: the JSON's own; `images`, or the folder in the JSON's name
(`captions_train2017` -> `train2017`), or that below `images`, each beside the JSON or one level up;
the one above. A folder is read as all `captions*.json` in it or in its `annotations`; the names
then give the splits.
Rows count the entries of `images` from 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from sensorium.errors import DataError, clip
from sensorium.layouts._header import Unusable
from sensorium.layouts._media import Root
from sensorium.layouts._rows import ALIASES, Keys
from sensorium.records import Record, Rejected, Source, Value

SUMMARY = "a COCO captions JSON beside its pictures, or the folder of both"
TRIED = 20  # pictures that decide which folder is theirs


def recognise(path: Path) -> bool:
    """Whether `path` is a JSON object that begins like COCO's, or a folder with captions*.json."""
    if path.is_dir():
        return bool(_files(path))
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with open(path, "rb") as stream:
        head = stream.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith(b"{") and re.search(rb'"(images|annotations)"\s*:', head) is not None


def read(path: Path, fields: dict[str, str] | None = None) -> Iterator[Record | Rejected]:
    """Records in the order of `images`; the key is the image's id.

    Args:
        path: the JSON, or a folder.
        fields: not needed; the format says what is what.

    Raises:
        DataError: not JSON, not COCO, no captions, or no folder holds the pictures.
    """
    files = _files(path) if path.is_dir() else [path]
    keys = Keys()
    for file in files:
        split = None
        if path.is_dir() and (word := re.search(r"train|val|test", file.stem.lower())):
            split = ALIASES[word[0]]
        yield from _read(file, split, keys)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("captions*.json")) or sorted(
        folder.glob("annotations/captions*.json")
    )


def _read(file: Path, split: str | None, keys: Keys) -> Iterator[Record | Rejected]:
    images, annotations = _load(file)
    captions, strays = _captions(annotations, {_id(image) for image in images}, file.name)
    root = _pictures(file, images)
    for row, image in enumerate(images, 1):
        source, key = Source(file.name, row), _id(image)
        field: str | None = None
        try:
            if key is None:
                raise Unusable(f"expected an image with id and file_name, found {clip(image)}")
            keys.take(key, source)
            field = "image"
            found: dict[str, Value] = {"image": root.picture(_name(image))}
            field = "text"
            texts = captions.get(key)
            if not texts:
                raise Unusable("no caption: no annotation of this image has one")
            found["text"] = texts[0] if len(texts) == 1 else list(texts)
        except Unusable as reason:
            yield Rejected(source, str(reason), key, field)
            continue
        yield Record(key, source, found, split=split)
    yield from strays


def _load(file: Path) -> tuple[list, list]:
    try:
        found = json.loads(file.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(file=file, expected="JSON", found=clip(str(error))) from None
    if not isinstance(found, dict):
        raise DataError(file=file, expected="a JSON object", found=clip(found))
    for name in ("images", "annotations"):
        if not isinstance(found.get(name), list):
            raise DataError(
                file=file, expected=f"a list {name!r}", found="keys " + ", ".join(found)
            )
    annotations = found["annotations"]
    if annotations and not any(isinstance(a, dict) and "caption" in a for a in annotations):
        raise DataError(
            file=file,
            expected="annotations with a caption",
            found=clip(annotations[0]),
            nearest="captions_*.json of the same download",
        )
    return found["images"], annotations


def _captions(
    annotations: list, known: set[str | None], name: str
) -> tuple[dict[str, list[str]], list[Rejected]]:
    """Captions by image id, and the annotations that cannot be used."""
    found: dict[str, list[str]] = {}
    strays = []
    for at, annotation in enumerate(annotations, 1):
        source = Source(f"{name} annotations", at)
        image = str(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if image is None or image not in known:
            strays.append(Rejected(source, f"no image has the id of {clip(annotation)}"))
        elif not isinstance(caption := annotation.get("caption"), str) or not caption.strip():
            strays.append(Rejected(source, f"expected a caption, found {clip(caption)}", image))
        else:
            found.setdefault(image, []).append(" ".join(caption.split()))
    return found, strays


def _id(image: object) -> str | None:
    if not isinstance(image, dict) or image.get("id") is None or not _name(image):
        return None
    return str(image["id"])


def _name(image: object) -> str:
    told = image.get("file_name") if isinstance(image, dict) else None
    return told if isinstance(told, str) else ""


def _pictures(file: Path, images: list) -> Root:
    """The folder that holds the first pictures, of those named in the module's docstring.

    Raises:
        DataError: none does.
    """
    names = [name for image in images[:TRIED] if (name := _name(image))]
    word = file.stem.rpartition("_")[2]
    beside, above = file.parent, file.parent.parent
    places = [beside]
    for place in (beside, above):
        places += [place / "images", place / word, place / "images" / word]
    places.append(above)
    best, most = None, 0
    for place in dict.fromkeys(p for p in places if p.is_dir()):
        root = Root(place)
        if (hits := sum(root.holds(name) for name in names)) > most:
            best, most = root, hits
    if best is None:
        raise DataError(
            file=file,
            expected=f"{clip(names[0]) if names else 'pictures'} in one of "
            + ", ".join(str(place) for place in dict.fromkeys(places)),
            found="none of the first pictures there",
        )
    return best
