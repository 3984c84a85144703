"""Captions of natural length out of the emoji corpus: its name, then what else it is called.

`chicken: animal, bird, ornithology`; an emoji's own name is three or four tokens, far shorter than
the captions of photographs.
"""

from __future__ import annotations

import dataclasses

from sensorium import reading
from sensorium.records import Record


def caption(record: Record) -> str:
    """The name and the keywords that the name does not say."""
    name = str(record.fields["text"])
    said = name.lower()
    words = record.fields.get("keywords")
    more = [str(x) for x in words if str(x).lower() not in said] if isinstance(words, list) else []
    return f"{name}: {', '.join(more)}" if more else name


def records() -> list[Record]:
    """The emoji records with such a caption as their text."""
    return [
        dataclasses.replace(record, fields=record.fields | {"text": caption(record)})
        for record in reading.read("emoji").records
    ]
