"""The datasheet of a made world (after Gebru et al. 2021): what it is, and what it is not."""

from __future__ import annotations

from typing import Any

from sensorium import shelf
from sensorium.tables import FACT
from sensorium.world._setting import Setting

_PAGE = """\
# A composed world: {name}

{summary}

**It tells:** {tells}

**It does not tell:** {tells_not}

## What it is

{total:,} scenes of {things} on a canvas of {canvas} x {canvas} pixels, drawn from independent
factors with seed {seed}. Nothing in it was collected, annotated or filtered: every column follows
from the factors, so picture, texts and table agree exactly where the setting does not make them
disagree. The same setting and seed give the same bytes again, with any number of workers.

{splits}

Train, validation and test share no combination of {over}.{unseen}

## Columns

{columns}

The factors that differ stand beside them as columns called `{fact}FACTOR`, for probes, here with
how many values each has: {factors}.
They give answers away, so they take part only where they are named.
Training takes `image` and `caption` unless told otherwise.

## Knobs

{knobs}

## What it is not

- No photographs. The drawings are Noto emoji (Google, Apache-2.0) or plain shapes, tinted: a blue
  lion is as frequent as a yellow one, so nothing that is usual in the world can be learned here.
- No natural language. The texts are templates over a small lexicon; a model that reads them well
  may read nothing else.
- No proof about models at scale. It shows a difference between methods in a setting where theory
  expects one, at the size at which it was run.
- Not a benchmark to be topped: the best possible score of every question is known and stated in
  `world.json`, and so is what one modality alone can reach.
- No people, no personal data, nothing that needs consent.
"""


def page(setting: Setting, facts: dict[str, Any]) -> str:
    """Markdown."""
    counts = facts["counts"]
    unseen = ""
    if "unseen" in counts:
        unseen = (
            "\nThe folder `unseen` is a test of its own, of kinds that no other split shows: "
            + ", ".join(setting.unseen)
            + "."
        )
    varied = [f"{name} ({len(values)})" for name, values in setting.factors.items()
              if len(values) > 1]  # fmt: skip
    return _PAGE.format(
        name=setting.name,
        summary=setting.summary.strip(),
        tells=setting.tells.strip(),
        tells_not=setting.tells_not.strip(),
        total=sum(counts.values()),
        things="one thing" if setting.things == 1 else "two things",
        canvas=setting.canvas,
        seed=facts["seed"],
        splits="\n".join(f"- {split}: {count:,} scenes" for split, count in counts.items()),
        over=", ".join(setting.split.over),
        unseen=unseen,
        columns="\n".join(f"- {name}: {shelf.summary('world', name)}" for name in setting.emit),
        fact=FACT,
        factors=", ".join(varied),
        knobs="\n".join(_knobs(setting)),
    )


def _knobs(setting: Setting) -> list[str]:
    """Each knob that is turned."""
    told = [f"- {name.replace('_', ' ')} about the label: {bits:g} bits"
            for name, bits in setting.bits if bits]  # fmt: skip
    if setting.wrong_pairs:
        told.append(f"- {setting.wrong_pairs:.0%} of the train pictures have another scene's text")
    told += [f"- {share:.0%} of the records lack the {name}"
             for name, share in setting.missing if share]  # fmt: skip
    told += [f"- table field {name}: {column.of}, right with probability {column.reliability:g}"
             for name, column in setting.table.items()]  # fmt: skip
    silent = [name for name, values in setting.factors.items()
              if len(values) > 1 and name not in setting.mentions]  # fmt: skip
    if silent:
        told.append("- never mentioned in a caption: " + ", ".join(silent))
    bound = [name for name in silent if name in setting.split.over]
    if bound and set(setting.split.over) & set(setting.mentions):
        told.append(f"- not mentioned, yet told a little by which combinations a split holds "
                    f"(see its probe's floors): {', '.join(bound)}")  # fmt: skip
    if len(setting.languages) > 1:
        told.append("- languages of the captions: " + ", ".join(
            f"{name} {share:.0%}" for name, share in setting.languages.items()))  # fmt: skip
    return told or ["- none is turned"]
